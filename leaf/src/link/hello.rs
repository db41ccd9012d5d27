//! `INFO` and `CONNECT` as servers exchange them on a leaf node link.

use serde::{Deserialize, Serialize};

use crate::config::Secret;

/// What the side that was dialled says about itself, in nats-server's order of fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Its public key.
    pub server_id: String,
    /// Its name.
    pub server_name: String,
    /// The version of nats-server whose protocol it speaks.
    pub version: String,
    /// The level of the protocol between servers.
    pub proto: i64,
    /// Its language.
    pub go: String,
    /// Where leaf nodes connect.
    pub host: String,
    /// Where leaf nodes connect.
    pub port: u16,
    /// Headers are served.
    pub headers: bool,
    /// Always, even where nobody must log in.
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    /// TLS must follow.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    /// A certificate is asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    /// Bytes of a message at most.
    pub max_payload: i64,
    /// `host:port` of the leaf node port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// The connection's id; 0 is a wrong port.
    #[serde(skip_serializing_if = "is_zero")]
    pub client_id: u64,
    /// To be signed by one who has a key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// The name of its cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The JetStream domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// JetStream is there.
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    /// Lame duck: go elsewhere.
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    /// How it would compress; absent where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// The one that answers CONNECT.
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    /// The account of the link on its side.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// Its JetStream's level.
    pub api_lvl: u8,
    /// What the dialler may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<Rules>,
    /// What the dialler may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<Rules>,
    /// CONNECT will be answered with another INFO.
    #[serde(skip_serializing_if = "is_false")]
    pub info_on_connect: bool,
    /// Where the leaf node ports of its cluster are, `host:port`; absent on other ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leafnode_urls: Option<Vec<String>>,
}

/// Subjects that are allowed, or all if there is no list; and those that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// What the dialler says about itself.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// The version of nats-server whose protocol it speaks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// A public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<String>,
    /// A user JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    /// The signature of the nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
    /// A user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// A token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
    /// Its public key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_id: String,
    /// The JetStream domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// It is the hub, although it dialled.
    #[serde(skip_serializing_if = "is_false")]
    pub is_hub: bool,
    /// The name of its cluster, or its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// It takes headers.
    #[serde(skip_serializing_if = "is_false")]
    pub headers: bool,
    /// JetStream is there.
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    /// What it must not be sent.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_none")]
    pub deny_pub: Vec<String>,
    /// It wants no interest of other leaf nodes.
    #[serde(skip_serializing_if = "is_false")]
    pub isolate: bool,
    /// How the link is compressed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compress_mode: String,
    /// The account of the link on its side.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// The level of the protocol between servers.
    #[serde(skip_serializing_if = "is_zero_i")]
    pub protocol: i64,
    /// Only clients say so.
    #[serde(skip_serializing)]
    pub lang: String,
    /// Only gateways say so.
    #[serde(skip_serializing)]
    pub gateway: String,
}

/// How somebody shows who he is.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// An nkey seed.
    pub seed: Option<Secret>,
    /// The text of a credentials file.
    pub file: Option<Secret>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(b: &bool) -> bool {
    !b
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero_i(n: &i64) -> bool {
    *n == 0
}

/// Go writes `null` for a list that is not there.
fn or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(from)?.unwrap_or_default())
}

impl Info {
    /// The whole line. nats-server leaves a blank before the end of it, and so do we.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"INFO ".to_vec();
        // Strings, numbers and booleans cannot fail to serialize into memory.
        let _ = serde_json::to_writer(&mut line, self);
        line.extend_from_slice(b" \r\n");
        line
    }
}

impl Connect {
    /// The whole line.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"CONNECT ".to_vec();
        // As above.
        let _ = serde_json::to_writer(&mut line, self);
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nats-server 2.15.1 said in `leaf-basic.txt`, but for the id.
    #[test]
    fn reads_and_writes_what_the_reference_does() {
        let said = r#"{"server_id":"N","server_name":"HUB","version":"2.15.1","proto":3,"go":"go1.27.2","host":"127.0.0.1","port":17499,"headers":true,"auth_required":true,"max_payload":1048576,"ip":"127.0.0.1:17499","client_id":7,"nonce":"h32gWtvQYZPMjpc","compression":"s2_auto","api_lvl":5,"info_on_connect":true,"leafnode_urls":["127.0.0.1:17499"]}"#;
        let info: Info = serde_json::from_str(said).expect("INFO");
        assert_eq!(info.line(), format!("INFO {said} \r\n").into_bytes());
        let said = r#"{"version":"2.15.1","server_id":"N","name":"LEAF","cluster":"LEAF","headers":true,"compress_mode":"off","remote_account":"$G","protocol":3}"#;
        let connect: Connect = serde_json::from_str(said).expect("CONNECT");
        assert_eq!(connect.line(), format!("CONNECT {said}\r\n").into_bytes());
        let connect: Connect = serde_json::from_str(r#"{"deny_pub":null,"tls_required":false}"#).expect("CONNECT");
        assert!(connect.deny_pub.is_empty());
        // A client port has no `leafnode_urls`.
        assert!(serde_json::from_str::<Info>("{}").expect("INFO").leafnode_urls.is_none());
    }
}
