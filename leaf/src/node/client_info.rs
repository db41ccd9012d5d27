//! What a service in another account is told of who asks, and samples of both sides: nats-server's `ClientInfo`.

use serde::Serialize;

use super::Node;
use super::publish::Trail;
use crate::account::sharing::ServiceImport;
use crate::monitor::{Rfc3339, json};

/// Nothing that is zero or empty is written.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ClientInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<Rfc3339>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) host: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) id: u64,
    #[serde(rename = "acc", skip_serializing_if = "str::is_empty")]
    pub(super) account: &'a str,
    #[serde(rename = "svc", skip_serializing_if = "str::is_empty")]
    pub(super) service: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) lang: &'a str,
    #[serde(rename = "ver", skip_serializing_if = "str::is_empty")]
    pub(super) version: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) rtt: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) server: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) issuer_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<Box<str>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) client_type: &'a str,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Node {
    /// What is told of a connection: its account and round-trip time, and the rest if it is `shared`.
    pub(crate) fn client_info(&self, slot: u32, shared: bool) -> ClientInfo<'_> {
        let Some(conn) = self.conns.get(slot as usize) else { return ClientInfo::default() };
        let account = conn.core.account.map_or("", |id| self.accounts.get(id).name.as_str());
        let brief = ClientInfo { account, rtt: conn.core.pulse.rtt, ..ClientInfo::default() };
        if !shared {
            return brief;
        }
        let about = conn.peer.about();
        let identity = conn.peer.identity();
        let credential = identity.as_ref().and_then(|identity| identity.credential.as_deref());
        ClientInfo {
            start: Some(Rfc3339(self.wall_at(conn.core.start))),
            host: conn.core.remote.ip().to_canonical().to_string(),
            id: conn.core.id.cid(),
            user: about.user,
            name: about.name,
            lang: about.lang,
            version: about.version,
            server: &self.facts.info.server_name,
            issuer_key: credential.map_or("", |one| one.signer.as_deref().unwrap_or(account)).to_owned(),
            name_tag: credential.map_or("", |one| &one.name).to_owned(),
            tags: credential.map(|one| one.tags.clone()).unwrap_or_default(),
            kind: conn.peer.kind().name(),
            client_type: "nats",
            ..brief
        }
    }

    /// Writes what the service behind `import` is told of the connection `from`. After the first of several imports
    /// it is what the first one shares, and through which account it came.
    pub(super) fn write_client_info(&self, from: u32, trail: &Trail<'_>, import: &ServiceImport, out: &mut Vec<u8>) {
        let first = trail.first_import().unwrap_or(import);
        let mut info = self.client_info(from, first.share);
        if trail.hops > 0 {
            info.service = &self.accounts.get(import.importer).name;
            if import.share {
                info.server = &self.facts.info.server_name;
            }
        }
        json::compact_into(&info, out);
    }
}
