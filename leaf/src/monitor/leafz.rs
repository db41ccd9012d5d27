//! `/leafz`: leaf node links.

use serde::Serialize;

use super::query::Query;
use super::time::{Rfc3339, Rtt};
use super::{Refusal, Response, View};
use crate::node::{Conn, LinkFacts, Role};

#[derive(Serialize)]
struct Leafz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    leafnodes: usize,
    leafs: Vec<Leaf<'a>>,
}

#[derive(Serialize)]
struct Leaf<'a> {
    id: u64,
    name: &'a str,
    is_spoke: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_isolated: bool,
    account: &'a str,
    ip: String,
    port: u16,
    rtt: Rtt,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<String>>,
    compression: &'static str,
    /// Ours: messages that a slow link had no room for.
    #[serde(skip_serializing_if = "is_zero")]
    dropped_msgs: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    let subs = query.switch("subs")?;
    let account = query.text("acc");
    let up = view.node.conns.iter().filter_map(|(_, conn)| Some((&**conn, conn.core.link.as_deref()?)));
    let mut leafs: Vec<Leaf<'_>> = up.map(|(conn, link)| leaf(view, conn, link, subs)).collect();
    leafs.retain(|leaf| account.is_empty() || leaf.account == account);
    leafs.sort_by_key(|leaf| leaf.id);
    Ok(view.json(&Leafz { server_id: view.server_id(), now: view.now(), leafnodes: leafs.len(), leafs }))
}

fn leaf<'a>(view: &View<'a>, conn: &'a Conn, link: &'a LinkFacts, subs: bool) -> Leaf<'a> {
    let core = &conn.core;
    let list = || {
        let subs = conn.subs.iter().filter_map(|id| view.node.subs.get(*id));
        let mut list: Vec<String> = subs.map(|sub| String::from_utf8_lossy(&sub.subject).into_owned()).collect();
        list.sort_unstable();
        list
    };
    Leaf {
        id: core.id.cid(),
        name: &link.name,
        is_spoke: link.role == Role::Spoke,
        is_isolated: link.isolated,
        account: core.account.map_or("", |id| &view.node.accounts.get(id).name),
        ip: core.remote.ip().to_canonical().to_string(),
        port: core.remote.port(),
        rtt: Rtt(core.pulse.rtt),
        in_msgs: core.stats.in_msgs,
        out_msgs: core.stats.out_msgs,
        in_bytes: core.stats.in_bytes,
        out_bytes: core.stats.out_bytes,
        subscriptions: core.subs,
        subscriptions_list: subs.then(list),
        compression: link.compression.name(),
        dropped_msgs: core.stats.dropped,
    }
}
