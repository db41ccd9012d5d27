//! One connection in full.

use data_encoding::HEXLOWER;
use serde::{Serialize, Serializer};
use std::net::IpAddr;

use super::super::query::SubLists;
use super::super::sub_detail::SubDetail;
use super::super::time::{Rfc3339, Rtt, Uptime};
use super::super::{GLOBAL_ACCOUNT, View};
use super::options::Options;
use super::row::Row;
use crate::auth::certificate::Certificate;
use crate::interest::SubId;
use crate::node::{Conn, Kind, Node, Sub, TlsFacts};

#[derive(Serialize)]
pub(super) struct Connection<'a> {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    ip: IpAddr,
    port: u16,
    start: Rfc3339,
    last_activity: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    rtt: Rtt,
    uptime: Uptime,
    idle: Uptime,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalls: Option<u64>,
    subscriptions: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cipher_suite: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<PeerCertificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_first: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    authorized_user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Subjects<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list_detail: Option<Details<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_client: Option<&'a str>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(view: &View<'a>, options: &Options<'_>, row: &Row<'a>) -> Self {
        let (about, stats, tls) = (row.about(), row.stats(), row.tls());
        let now = view.host.now;
        let (name, mut protocol) = kind(row.kind());
        if about.mqtt_client.is_some() {
            protocol = Some("mqtt");
        } else if about.websocket {
            protocol = Some("websocket");
        }
        let account = row.account().filter(|_| options.auth).map(|id| view.node.accounts.get(id));
        Self {
            cid: row.cid(),
            kind: name,
            protocol,
            ip: row.remote().ip().to_canonical(),
            port: row.remote().port(),
            start: view.time(row.start()),
            last_activity: view.time(row.last_activity()),
            stop: row.stop().map(|at| view.time(at)),
            reason: row.reason(),
            rtt: Rtt(row.rtt()),
            uptime: Uptime(row.uptime(now)),
            idle: Uptime(row.idle(now)),
            pending_bytes: row.pending(),
            in_msgs: stats.in_msgs,
            out_msgs: stats.out_msgs,
            in_bytes: stats.in_bytes,
            out_bytes: stats.out_bytes,
            stalls: (stats.stalls > 0).then_some(stats.stalls),
            subscriptions: row.subs(),
            name: about.name,
            lang: about.lang,
            version: about.version,
            tls_version: tls.map(|tls| tls.version),
            tls_cipher_suite: tls.map(|tls| tls.cipher_suite),
            tls_peer_certs: tls.filter(|_| options.auth).map(certificates).unwrap_or_default(),
            tls_first: tls.and_then(first),
            authorized_user: if options.auth { about.user } else { "" },
            account: account.map(|account| account.name.as_str()).filter(|name| *name != GLOBAL_ACCOUNT),
            subscriptions_list: held(view.node, row, options.subs == SubLists::Subjects).map(Subjects),
            subscriptions_list_detail: held(view.node, row, options.subs == SubLists::Detail).map(Details),
            mqtt_client: about.mqtt_client,
            name_tag: account.filter(|_| row.stop().is_none()).map(|account| view.tag(account)),
        }
    }
}

/// A kind of connection, and the protocol that clients speak.
pub(crate) fn kind(kind: Kind) -> (&'static str, Option<&'static str>) {
    match kind {
        Kind::Client => ("Client", Some("nats")),
        Kind::Leaf => ("Leafnode", None),
        Kind::Route => ("Router", None),
        Kind::Gateway => ("Gateway", None),
    }
}

/// What the other side of TLS showed.
#[derive(Serialize)]
struct PeerCertificate {
    #[serde(skip_serializing_if = "String::is_empty")]
    subject: String,
    spki_sha256: String,
    cert_sha256: String,
}

fn certificates(tls: &TlsFacts) -> Vec<PeerCertificate> {
    let parsed = tls.certificates.iter().filter_map(|der| Certificate::parse(der));
    let shown = parsed.map(|one| PeerCertificate {
        subject: one.subject(),
        spki_sha256: one.key_id(),
        cert_sha256: HEXLOWER.encode(&one.digest),
    });
    shown.collect()
}

fn first(tls: &TlsFacts) -> Option<bool> {
    tls.first.then_some(true)
}

/// The subscriptions of a connection if they are asked for, it is still there, and has any.
fn held<'a>(node: &'a Node, row: &Row<'a>, wanted: bool) -> Option<Held<'a>> {
    match row {
        Row::Open(conn) if wanted && conn.core.subs > 0 => Some(Held { node, conn }),
        _ => None,
    }
}

/// The subscriptions of a connection; looked up only while they are written.
struct Held<'a> {
    node: &'a Node,
    conn: &'a Conn,
}

impl<'a> Held<'a> {
    /// In the same order every time.
    fn subs(&self) -> impl Iterator<Item = &'a Sub> {
        let mut ids: Vec<SubId> = self.conn.subs.iter().copied().collect();
        ids.sort_unstable();
        let node = self.node;
        ids.into_iter().filter_map(|id| node.subs.get(id))
    }
}

struct Subjects<'a>(Held<'a>);

impl Serialize for Subjects<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.subs().map(|sub| String::from_utf8_lossy(&sub.subject)))
    }
}

struct Details<'a>(Held<'a>);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let cid = self.0.conn.core.id.cid();
        to.collect_seq(self.0.subs().map(|sub| SubDetail::new(sub, cid)))
    }
}
