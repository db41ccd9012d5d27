//! Traces as nats-server sends them (`server/msgtrace.go`): one event of one server about one message.

use serde::Serialize;
use std::collections::BTreeMap;

use super::events::Server;
use super::json;
use super::time::Rfc3339;
use crate::node::Node;

/// Something that happened to the message.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(crate) enum Event {
    /// It came in.
    #[serde(rename = "in")]
    Ingress {
        ts: Rfc3339,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: String,
        acc: String,
        subj: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: String,
    },
    /// Its subject was mapped.
    #[serde(rename = "sm")]
    SubjectMapping { ts: Rfc3339, to: String },
    /// It went to an account that imports the stream.
    #[serde(rename = "se")]
    StreamExport { ts: Rfc3339, acc: String, to: String },
    /// It went to the account whose service it asks for.
    #[serde(rename = "si")]
    ServiceImport { ts: Rfc3339, acc: String, from: String, to: String },
    /// A log has it (nats-server: a stream of JetStream).
    #[serde(rename = "js")]
    Stored { ts: Rfc3339, stream: String, subject: String },
    /// It came to a connection.
    #[serde(rename = "eg")]
    Egress(Egress),
}

/// See [`Event::Egress`].
#[derive(Serialize)]
pub(crate) struct Egress {
    pub(crate) ts: Rfc3339,
    pub(crate) kind: u8,
    pub(crate) cid: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) hop: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) acc: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) sub: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) queue: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) error: String,
}

impl Event {
    /// Says in which account it happened.
    pub(crate) fn set_account(&mut self, name: &str) {
        match self {
            Self::StreamExport { acc, .. } | Self::ServiceImport { acc, .. } => name.clone_into(acc),
            Self::Egress(egress) => name.clone_into(&mut egress.acc),
            Self::Ingress { .. } | Self::SubjectMapping { .. } | Self::Stored { .. } => {}
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    header: &'a BTreeMap<String, Vec<String>>,
    msgsize: usize,
}

#[derive(Serialize)]
struct Trace<'a> {
    server: Server<'a>,
    request: Request<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    hops: u32,
    events: &'a [Event],
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What this server saw of a message.
pub(crate) fn event(
    node: &Node,
    seq: u64,
    header: &BTreeMap<String, Vec<String>>,
    msgsize: usize,
    hops: u32,
    events: &[Event],
) -> Vec<u8> {
    json::compact(&Trace { server: Server::of(node, seq), request: Request { header, msgsize }, hops, events })
}
