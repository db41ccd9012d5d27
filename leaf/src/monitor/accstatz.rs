//! `/accstatz`: what the accounts do.

use serde::Serialize;

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View};
use crate::account::{AccountId, Volume};
use crate::node::{Kind, Node};

#[derive(Serialize)]
struct Accstatz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    account_statz: Vec<AccountStats<'a>>,
}

/// An account in numbers (nats-server: `AccountStat`).
#[derive(Serialize)]
pub(super) struct AccountStats<'a> {
    acc: &'a str,
    name: &'a str,
    conns: usize,
    leafnodes: usize,
    total_conns: usize,
    num_subscriptions: usize,
    sent: Traffic,
    received: Traffic,
    slow_consumers: u64,
}

/// All traffic, and what of it went over which kind of link.
#[derive(Serialize)]
struct Traffic {
    #[serde(flatten)]
    all: Counts,
    gateways: Counts,
    routes: Counts,
    leafs: Counts,
}

#[derive(Default, Serialize)]
struct Counts {
    msgs: u64,
    bytes: u64,
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    count_and_page(view, query).map(|(_, response)| response)
}

/// How many accounts are told of, and the page.
pub(super) fn count_and_page(view: &View<'_>, query: &Query) -> Result<(usize, Response), Refusal> {
    let unused = query.switch("unused")?;
    let node = view.node;
    let (named, inside) = (query.all("acc").collect::<Vec<_>>(), tally(node));
    let wanted: Vec<AccountId> = node
        .accounts
        .ids()
        .filter(|id| {
            let account = node.accounts.get(*id);
            let asked = named.is_empty() || named.contains(&account.name.as_str());
            asked && (unused || inside[id.0 as usize].0 > 0)
        })
        .collect();
    let stats = wanted.iter().map(|&id| AccountStats::of(node, id, inside[id.0 as usize])).collect();
    Ok((wanted.len(), view.json(&Accstatz { server_id: view.server_id(), now: view.now(), account_statz: stats })))
}

/// Connections of each account and how many of them are links of leaf nodes, counted in one go: there may be many
/// accounts and many connections. Who has not logged in belongs to `$G`.
fn tally(node: &Node) -> Vec<(usize, usize)> {
    let mut counts = vec![(0, 0); node.accounts.ids().count()];
    for (_, conn) in &node.conns {
        let count = &mut counts[conn.core.account.unwrap_or(AccountId::GLOBAL).0 as usize];
        match conn.peer.kind() {
            Kind::Client => count.0 += 1,
            Kind::Leaf => *count = (count.0 + 1, count.1 + 1),
            Kind::Route | Kind::Gateway => {}
        }
    }
    counts
}

impl<'a> AccountStats<'a> {
    /// `inside` counts its connections, and how many of them are links of leaf nodes.
    pub(super) fn of(node: &'a Node, id: AccountId, inside: (usize, usize)) -> Self {
        let account = node.accounts.get(id);
        let (total, leafnodes) = inside;
        Self {
            acc: &account.name,
            name: node.account_tag(id),
            conns: total.saturating_sub(leafnodes),
            leafnodes,
            total_conns: total,
            num_subscriptions: account.interest.len(),
            sent: Traffic::of(account.sent),
            received: Traffic::of(account.received),
            slow_consumers: account.slow_consumers,
        }
    }
}

impl Traffic {
    fn of(all: Volume) -> Self {
        Self {
            all: Counts { msgs: all.msgs, bytes: all.bytes },
            gateways: Counts::default(),
            routes: Counts::default(),
            leafs: Counts::default(),
        }
    }
}
