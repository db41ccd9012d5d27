//! `INFO`: what a server says about itself.

use serde::Serialize;

/// The JSON of INFO on the client port, in nats-server's order of fields.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Info {
    /// Public key of the server, new at every start.
    pub server_id: String,
    /// The configured name, or the id.
    pub server_name: String,
    /// The version of nats-server whose protocol this is; clients look for features by it.
    pub version: &'static str,
    /// 1: async INFO and `echo`.
    pub proto: u8,
    /// The language, where nats-server names its Go.
    pub go: &'static str,
    /// Where clients connect.
    pub host: String,
    /// Where clients connect.
    pub port: u16,
    /// Headers are served.
    pub headers: bool,
    /// One must log in.
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    /// TLS must follow.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    /// A client certificate is asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    /// TLS may follow.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_available: bool,
    /// Bytes of a message at most.
    pub max_payload: i64,
    /// The connection's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<u64>,
    /// Where the client comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// To be signed by a client with a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Where else to connect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// Lame duck: go elsewhere.
    #[serde(skip_serializing_if = "is_false", rename = "ldm")]
    pub lame_duck: bool,
    /// This one follows the first PONG.
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    /// The account the client is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_account: Option<String>,
    /// That account is the system account.
    #[serde(skip_serializing_if = "is_false")]
    pub acc_is_sys: bool,
    /// JetStream API level.
    pub api_lvl: u8,
    /// Public curve key: what is sealed for the server is sealed with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xkey: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(b: &bool) -> bool {
    !b
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
