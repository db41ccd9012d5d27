//! `CONNECT`: what a client says about itself.

use serde::Deserialize;
use std::fmt;

/// The options of a client's CONNECT (nats-server: `ClientOpts`). Unknown ones are ignored.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// `+OK` after each operation.
    #[serde(deserialize_with = "or_true")]
    pub verbose: Switch,
    /// Check the subjects of publishes.
    #[serde(deserialize_with = "or_true")]
    pub pedantic: Switch,
    /// Deliver the connection's own messages to it.
    #[serde(deserialize_with = "or_true")]
    pub echo: Switch,
    /// 0, or 1 for a client that takes INFO at any time.
    pub protocol: i64,
    /// The client reads headers.
    pub headers: bool,
    /// Tell when nobody listens to a request.
    pub no_responders: bool,
    /// The client's name, language and version, for monitoring.
    pub name: Option<String>,
    /// See `name`.
    pub lang: Option<String>,
    /// See `name`.
    pub version: Option<String>,
    /// A user's name.
    pub user: Option<String>,
    /// A user's password.
    pub pass: Option<String>,
    /// A token.
    pub auth_token: Option<String>,
    /// A public key.
    pub nkey: Option<String>,
    /// The signature of the nonce.
    pub sig: Option<String>,
    /// A user JWT.
    pub jwt: Option<String>,
    /// Legacy; refused when it names one.
    pub account: Option<String>,
    /// Legacy; refused when it is on.
    pub new_account: bool,
}

/// A switch that is on unless the client says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Default for Switch {
    fn default() -> Self {
        Self(true)
    }
}

fn or_true<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Switch, D::Error> {
    Ok(Switch(Option::<bool>::deserialize(from)?.unwrap_or(true)))
}

impl Connect {
    /// Reads the JSON of a CONNECT.
    ///
    /// # Errors
    /// When it is no JSON object, or a field has another type.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

/// Without anything that is secret.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("name", &self.name)
            .field("lang", &self.lang)
            .field("version", &self.version)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_switches_are_on() {
        let connect = Connect::read(b"{}").expect("an object");
        assert!(connect.verbose.0 && connect.pedantic.0 && connect.echo.0 && !connect.headers);
        let connect =
            Connect::read(br#"{"verbose":false,"echo":null,"what":[1],"user":"u","pass":"p"}"#).expect("json");
        assert!(!connect.verbose.0 && connect.echo.0);
        assert!(!format!("{connect:?}").contains("\"p\""));
        assert!(Connect::read(br#"{"verbose":"#).is_err());
        assert!(Connect::read(br#"{"verbose":"yes"}"#).is_err());
    }
}
