//! What the server tells of itself in the system account: the JSON of its messages, in nats-server's order of fields.

use serde::Serialize;
use std::collections::BTreeMap;

use super::accstatz::AccountStats;
use super::connz;
use super::json;
use super::time::Rfc3339;
use crate::account::AccountId;
use crate::auth::callout;
use crate::auth::permissions::Shown;
use crate::node::{Conn, Node};

/// Flags of nats-server's JetStream and Raft, as they are when nobody sets them; see `feature_flags`.
const FEATURE_FLAGS: [(&str, bool); 4] = [
    ("js_ack_fc_v2", false),
    ("js_api_reply_v2", false),
    ("js_raft_delete_range", true),
    ("js_snapshot_sources", false),
];

/// The flags as configured.
pub(super) fn feature_flags(node: &Node) -> BTreeMap<&'static str, bool> {
    let set = &node.config.feature_flags;
    FEATURE_FLAGS.into_iter().map(|(name, default)| (name, set.get(name).copied().unwrap_or(default))).collect()
}

/// `server` of every message.
#[derive(Serialize)]
pub(super) struct Server<'a> {
    name: &'a str,
    host: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    ver: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: Rfc3339,
}

impl<'a> Server<'a> {
    pub(super) fn of(node: &'a Node, seq: u64) -> Self {
        Self {
            name: &node.facts.info.server_name,
            host: &node.facts.info.host,
            id: &node.identity.server_id,
            cluster: &node.facts.links.info_cluster,
            ver: crate::PROTOCOL_VERSION,
            tags: &node.config.tags,
            metadata: &node.config.metadata,
            feature_flags: feature_flags(node),
            jetstream: false,
            flags: 0,
            seq,
            time: Rfc3339(node.wall_now()),
        }
    }
}

/// Who is speaking, as its own message (LAMEDUCK, SHUTDOWN) or as a part of one; `seq` counts the messages.
pub(crate) fn server(node: &Node, seq: u64) -> Vec<u8> {
    json::compact(&Server::of(node, seq))
}

#[derive(Serialize)]
struct ServerId<'a> {
    name: &'a str,
    host: &'a str,
    id: &'a str,
}

/// The answer to IDZ.
pub(crate) fn identity(node: &Node) -> Vec<u8> {
    let info = &node.facts.info;
    json::compact(&ServerId { name: &info.server_name, host: &info.host, id: &node.identity.server_id })
}

/// What makes an event one of its kind.
pub(crate) struct Stamp {
    /// Names it; nobody else has it.
    pub(crate) id: String,
    /// Counts the messages of this server.
    pub(crate) seq: u64,
}

#[derive(Serialize)]
struct Typed<'a> {
    r#type: &'static str,
    id: &'a str,
    timestamp: Rfc3339,
    server: Server<'a>,
}

impl<'a> Typed<'a> {
    fn new(r#type: &'static str, node: &'a Node, stamp: &'a Stamp) -> Self {
        let timestamp = Rfc3339(node.wall_now());
        Self { r#type, id: &stamp.id, timestamp, server: Server::of(node, stamp.seq) }
    }
}

/// `client` of an event (nats-server: `ClientInfo`).
#[derive(Serialize)]
struct Client<'a> {
    start: Rfc3339,
    host: std::net::IpAddr,
    id: u64,
    acc: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ver: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_key: Option<Box<str>>,
    name_tag: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Box<str>>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_type: Option<&'static str>,
}

impl<'a> Client<'a> {
    fn of(node: &'a Node, conn: &'a Conn, stopped: bool) -> Self {
        let about = conn.peer.about();
        // Who has not said who it is belongs nowhere else.
        let account = conn.core.account.unwrap_or(AccountId::GLOBAL);
        let identity = conn.peer.identity();
        let credential = identity.as_ref().and_then(|identity| identity.credential.as_deref());
        let name = node.accounts.get(account).name.as_str();
        let (kind, mut client_type) = connz::kind(conn.peer.kind());
        if about.websocket {
            client_type = Some("websocket");
        }
        Self {
            start: Rfc3339(node.wall() + i128::from(conn.core.start)),
            host: conn.core.remote.ip().to_canonical(),
            id: conn.core.id.cid(),
            acc: name,
            user: if about.user.is_empty() { &conn.offered } else { about.user },
            name: about.name,
            lang: about.lang,
            ver: about.version,
            rtt: stopped.then_some(conn.core.pulse.rtt).filter(|&rtt| rtt > 0),
            stop: stopped.then(|| Rfc3339(node.wall_now())),
            issuer_key: credential.map(|own| own.signer.clone().unwrap_or_else(|| name.into())),
            name_tag: node.account_tag(account),
            tags: credential.map(|own| own.tags.clone()).unwrap_or_default(),
            kind,
            client_type,
        }
    }
}

#[derive(Serialize)]
struct Connected<'a> {
    #[serde(flatten)]
    event: Typed<'a>,
    client: Client<'a>,
}

/// Somebody has logged in.
pub(crate) fn connected(node: &Node, conn: &Conn, stamp: &Stamp) -> Vec<u8> {
    let event = Typed::new("io.nats.server.advisory.v1.client_connect", node, stamp);
    json::compact(&Connected { event, client: Client::of(node, conn, false) })
}

#[derive(Serialize)]
struct Disconnected<'a> {
    #[serde(flatten)]
    event: Typed<'a>,
    client: Client<'a>,
    sent: Counts,
    received: Counts,
    reason: &'a str,
}

#[derive(Serialize)]
struct Counts {
    msgs: u64,
    bytes: u64,
}

/// A connection has ended, or was not let in.
pub(crate) fn disconnected(node: &Node, conn: &Conn, reason: &str, stamp: &Stamp) -> Vec<u8> {
    let stats = &conn.core.stats;
    json::compact(&Disconnected {
        event: Typed::new("io.nats.server.advisory.v1.client_disconnect", node, stamp),
        client: Client::of(node, conn, true),
        sent: Counts { msgs: stats.in_msgs, bytes: stats.in_bytes },
        received: Counts { msgs: stats.out_msgs, bytes: stats.out_bytes },
        reason,
    })
}

#[derive(Serialize)]
struct Connections<'a> {
    #[serde(flatten)]
    event: Typed<'a>,
    #[serde(flatten)]
    stats: AccountStats<'a>,
}

/// How many connections an account has.
pub(crate) fn connections(node: &Node, account: AccountId, stamp: &Stamp) -> Vec<u8> {
    let live = node.accounts.get(account);
    let inside = (live.connections as usize, live.leafs as usize);
    json::compact(&Connections {
        event: Typed::new("io.nats.server.advisory.v1.account_connections", node, stamp),
        stats: AccountStats::of(node, account, inside),
    })
}

#[derive(Serialize)]
struct User<'a> {
    user: &'a str,
    account: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    account_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<i128>,
}

/// Who somebody is: the answer to `$SYS.REQ.USER.INFO`.
pub(crate) fn user(node: &Node, conn: &Conn, account: AccountId) -> Vec<u8> {
    let identity = conn.peer.identity();
    let credential = identity.as_ref().and_then(|identity| identity.credential.as_deref());
    let permissions = identity.as_ref().and_then(|identity| identity.permissions.as_ref()).map(|rules| rules.shown());
    let permissions = match node.accounts.get(account).is_callout {
        true => Some(permissions.unwrap_or_default().without(callout::SUBJECT)),
        false => permissions,
    };
    let second = i128::from(crate::node::SECOND);
    let expires = credential.map(|own| i128::from(own.expires) * second).filter(|&at| at > 0);
    json::compact(&User {
        user: conn.peer.about().user,
        account: &node.accounts.get(account).name,
        account_name: node.account_tag(account),
        user_name: credential.map_or("", |own| &own.name),
        permissions,
        expires: expires.map(|at| (at - node.wall_now()).max(0)),
    })
}
