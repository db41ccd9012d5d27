//! `/accstatz`: what the accounts do.

use serde::Serialize;

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View, json};
use crate::account::{Account, Volume};
use crate::node::{Kind, Node};

#[derive(Serialize)]
struct Accstatz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    account_statz: Vec<AccountStats<'a>>,
}

#[derive(Serialize)]
struct AccountStats<'a> {
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
    let unused = query.switch("unused")?;
    let accounts = view.node.accounts.iter().zip(leafs(view.node));
    let wanted = accounts.filter(|(account, _)| unused || account.connections > 0);
    Ok(json::pretty(&Accstatz {
        server_id: view.server_id(),
        now: view.now(),
        account_statz: wanted.map(|(account, leafs)| AccountStats::of(account, leafs)).collect(),
    }))
}

/// Leaf node links of each account, counted in one go: there may be many accounts and many connections.
fn leafs(node: &Node) -> Vec<usize> {
    let mut counts = vec![0; node.accounts.iter().count()];
    let leafs = node.conns.iter().filter(|(_, conn)| conn.peer.kind() == Kind::Leaf);
    for id in leafs.filter_map(|(_, conn)| conn.core.account) {
        counts[usize::from(id.0)] += 1;
    }
    counts
}

impl<'a> AccountStats<'a> {
    fn of(account: &'a Account, leafnodes: usize) -> Self {
        let total = account.connections as usize;
        Self {
            acc: &account.name,
            name: &account.name,
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
