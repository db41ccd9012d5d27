//! `CONNECT`: what a client says about itself.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The options of a client's CONNECT (nats-server: `ClientOpts`). It is read as Go reads JSON: unknown fields are
/// ignored, names are in any case, `null` changes nothing, and what is said twice counts the second time.
#[derive(Clone, Default)]
pub struct Connect {
    /// `+OK` after each operation.
    pub verbose: Switch,
    /// Check the subjects of publishes.
    pub pedantic: Switch,
    /// Deliver the connection's own messages to it.
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

impl<'de> Deserialize<'de> for Connect {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Connect;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Connect, E> {
        Ok(Connect::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Connect, A::Error> {
        let mut to = Connect::default();
        while let Some(mut name) = map.next_key::<String>()? {
            name.make_ascii_lowercase();
            match &*name {
                "verbose" => given(&mut map, |on| to.verbose.0 = on)?,
                "pedantic" => given(&mut map, |on| to.pedantic.0 = on)?,
                "echo" => given(&mut map, |on| to.echo.0 = on)?,
                "protocol" => given(&mut map, |number| to.protocol = number)?,
                "headers" => given(&mut map, |on| to.headers = on)?,
                "no_responders" => given(&mut map, |on| to.no_responders = on)?,
                "name" => given(&mut map, |text| to.name = Some(text))?,
                "lang" => given(&mut map, |text| to.lang = Some(text))?,
                "version" => given(&mut map, |text| to.version = Some(text))?,
                "user" => given(&mut map, |text| to.user = Some(text))?,
                "pass" => given(&mut map, |text| to.pass = Some(text))?,
                "auth_token" => given(&mut map, |text| to.auth_token = Some(text))?,
                "nkey" => given(&mut map, |text| to.nkey = Some(text))?,
                "sig" => given(&mut map, |text| to.sig = Some(text))?,
                "jwt" => given(&mut map, |text| to.jwt = Some(text))?,
                "account" => given(&mut map, |text| to.account = Some(text))?,
                "new_account" => given(&mut map, |on| to.new_account = on)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(to)
    }
}

/// Reads a value and, unless it is `null`, has it set.
fn given<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A, set: impl FnOnce(T)) -> Result<(), A::Error> {
    map.next_value::<Option<T>>().map(|value| value.map(set).unwrap_or_default())
}

impl Connect {
    /// Who it says it is, as monitoring shows it: never a token.
    pub fn shown_name(&self) -> &str {
        let given = |text: &'_ Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        match self {
            _ if given(&self.nkey) => self.nkey.as_deref().unwrap_or_default(),
            _ if given(&self.user) => self.user.as_deref().unwrap_or_default(),
            _ if given(&self.auth_token) || given(&self.jwt) => "[REDACTED]",
            _ => "",
        }
    }

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

    #[test]
    fn json_is_read_as_go_reads_it() {
        let connect = Connect::read(br#"{"VERBOSE":false,"user":"a","protocol":null,"User":"b"}"#).expect("json");
        assert!(!connect.verbose.0 && connect.user.as_deref() == Some("b"));
        assert!(Connect::read(b"null").expect("nothing said").verbose.0);
        for other in ["[]", "1", "\"x\"", "true", "{}{}", r#"{"headers":1}"#] {
            assert!(Connect::read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
