//! `/outboxz`: the logs of store-and-forward, what waits in them, and why. A page of ours.

use serde::Serialize;

use super::time::Rfc3339;
use super::wear::{self, Wear};
use super::{Response, View};
use crate::config::Discard;
use crate::node::{DownlinkView, OutboxView, SECOND};

#[derive(Serialize)]
struct Outboxz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    wear: Wear,
    outboxes: Vec<Row<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    durable_subscriptions: Vec<Durable<'a>>,
    /// Messages of hubs that were passed over, for they come from a stream.
    #[serde(skip_serializing_if = "is_zero")]
    passed_over: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct Durable<'a> {
    name: &'a str,
    account: &'a str,
    stream: &'a str,
    consumer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    subjects: &'a [String],
    /// Its log can be written.
    open: bool,
    /// The connection that it is asked on.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<u64>,
    /// Why nothing comes down.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
    /// The highest number in the stream that has been here.
    last_stream_seq: u64,
    /// Here, and nobody listens to them.
    waiting_messages: u64,
    /// Here, and the hub has not been told.
    unacknowledged: usize,
    messages: u64,
    bytes: u64,
    received: u64,
    duplicates: u64,
    put_off: u64,
    acknowledged: u64,
    published: u64,
    expired: u64,
    failures: u64,
    made_anew: u64,
    written_bytes: u64,
    syncs: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    account: &'a str,
    subjects: &'a [String],
    confirm: &'static str,
    discard: &'static str,
    priority: i32,
    /// Its log can be written.
    open: bool,
    /// The connection that its records go up on.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<u64>,
    /// Why nothing goes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
    /// Without an answer from the hub.
    pending_messages: u64,
    /// The oldest of them is so many seconds old, to within 64 KiB of messages.
    oldest_pending_seconds: f64,
    in_flight: usize,
    confirmed_seq: u64,
    committed_seq: u64,
    first_seq: u64,
    last_seq: u64,
    messages: u64,
    bytes: u64,
    segments: u64,
    captured: u64,
    duplicates: u64,
    not_taken: u64,
    dropped: u64,
    acknowledged: u64,
    sent: u64,
    sent_again: u64,
    refused: u64,
    timeouts: u64,
    written_bytes: u64,
    syncs: u64,
}

pub(super) fn page(view: &View<'_>) -> Response {
    let outboxes = view.node.outboxes().map(|outbox| row(view, &outbox)).collect();
    let durable_subscriptions = view.node.downlinks().map(durable).collect();
    view.json(&Outboxz {
        server_id: view.server_id(),
        now: view.now(),
        wear: wear::of(view),
        outboxes,
        durable_subscriptions,
        passed_over: view.node.downlinks.passed_over,
    })
}

/// How old the oldest message without an answer is, seconds.
pub(super) fn age(view: &View<'_>, outbox: &OutboxView<'_>) -> f64 {
    let Some(time) = outbox.oldest_pending else { return 0.0 };
    let now = view.node.wall_time();
    now.saturating_sub(time).max(0) as f64 / SECOND as f64
}

fn durable(view: DownlinkView<'_>) -> Durable<'_> {
    let (settings, log, figures) = (view.settings, view.log, view.figures);
    Durable {
        name: &settings.name,
        account: view.account,
        stream: &settings.stream,
        consumer: view.consumer,
        domain: view.domain,
        subjects: &settings.subjects,
        open: view.open,
        link: view.link,
        obstacle: view.obstacle,
        last_stream_seq: view.last_seq,
        waiting_messages: view.waiting,
        unacknowledged: view.unacknowledged,
        messages: log.messages,
        bytes: log.bytes,
        received: figures.received,
        duplicates: figures.duplicates,
        put_off: figures.put_off,
        acknowledged: figures.acknowledged,
        published: figures.published,
        expired: figures.expired,
        failures: figures.failures,
        made_anew: figures.made_anew,
        written_bytes: log.written_bytes,
        syncs: log.syncs,
    }
}

fn row<'a>(view: &View<'a>, outbox: &OutboxView<'a>) -> Row<'a> {
    let (forward, log, figures, up) = (outbox.forward, outbox.log, outbox.figures, outbox.upstream);
    Row {
        name: &forward.name,
        account: outbox.account,
        subjects: &forward.subjects,
        confirm: forward.terms.confirm.text(),
        discard: if forward.discard == Discard::Old { "old" } else { "new" },
        priority: forward.priority,
        open: outbox.open,
        link: outbox.link,
        obstacle: outbox.obstacle.clone(),
        pending_messages: outbox.pending,
        oldest_pending_seconds: age(view, outbox),
        in_flight: outbox.in_flight,
        confirmed_seq: outbox.confirmed,
        committed_seq: outbox.committed,
        first_seq: log.first_seq,
        last_seq: log.last_seq,
        messages: log.messages,
        bytes: log.bytes,
        segments: log.segments,
        captured: figures.captured,
        duplicates: figures.duplicates,
        not_taken: figures.not_taken,
        dropped: figures.dropped,
        acknowledged: figures.acknowledged,
        sent: up.sent,
        sent_again: up.resent,
        refused: up.refused,
        timeouts: up.timeouts,
        written_bytes: log.written_bytes,
        syncs: log.syncs,
    }
}
