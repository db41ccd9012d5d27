//! STATSZ: the server in a few numbers, as it tells them of its own accord.

use serde::Serialize;

use super::time::Rfc3339;
use super::varz::ByKind;
use super::{View, json};
use crate::account::Volume;

#[derive(Serialize)]
struct Stats {
    start: Rfc3339,
    mem: u64,
    cores: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: usize,
    sent: Counts,
    sent_to_clients: Counts,
    received: Counts,
    received_from_clients: Counts,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_consumer_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connection_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled_clients: Option<u64>,
    active_servers: usize,
    /// As in /varz.
    gomaxprocs: usize,
}

#[derive(Serialize)]
struct Counts {
    msgs: u64,
    bytes: u64,
}

impl From<Volume> for Counts {
    fn from(Volume { msgs, bytes }: Volume) -> Self {
        Self { msgs, bytes }
    }
}

pub(super) fn page(view: &View<'_>) -> Vec<u8> {
    let (node, host, tally) = (view.node, view.host, &view.node.tally);
    let some = |number: u64| (number > 0).then_some(number);
    let clients = |number: u64| some(number).map(|clients| ByKind { clients, ..ByKind::default() });
    json::compact(&Stats {
        start: view.time(0),
        mem: host.rss_bytes,
        cores: host.cores,
        cpu: host.cpu_percent,
        connections: view.count(crate::node::Kind::Client),
        total_connections: tally.connections,
        active_accounts: node.accounts.iter().filter(|account| account.connections > 0).count(),
        subscriptions: node.subs.len(),
        sent: tally.out.into(),
        sent_to_clients: tally.out.into(),
        received: tally.received.into(),
        received_from_clients: tally.received.into(),
        slow_consumers: tally.slow_consumers,
        slow_consumer_stats: clients(tally.slow_consumers),
        stale_connections: some(tally.stale_connections),
        stale_connection_stats: clients(tally.stale_connections),
        stalled_clients: some(tally.stalls),
        active_servers: 1,
        gomaxprocs: 1,
    })
}
