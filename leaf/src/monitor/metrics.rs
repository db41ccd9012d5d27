//! `/metrics`: the same numbers for Prometheus, in its text format (version 0.0.4).

use std::fmt::{Display, Write};

use super::{Response, View, outboxz, wear};
use crate::account::Account;
use crate::node::{DownlinkView, Kind, Node, OutboxView, SECOND};

pub(super) fn page(view: &View<'_>) -> Response {
    let mut text = Text::default();
    server(&mut text, view);
    process(&mut text, view);
    connections(&mut text, view);
    traffic(&mut text, view.node);
    accounts(&mut text, view.node);
    mqtt(&mut text, view.node);
    outboxes(&mut text, view);
    downlinks(&mut text, view.node);
    wear(&mut text, view);
    requests(&mut text, view);
    Response { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body: text.0.into_bytes() }
}

fn server(text: &mut Text, view: &View<'_>) {
    let node = view.node;
    text.family("petiole_info", "gauge", "Which server this is; always 1.");
    let program = node.identity.program;
    let labels = [
        ("program", program),
        ("version", env!("CARGO_PKG_VERSION")),
        ("server_id", view.server_id()),
        ("server_name", view.server_name()),
    ];
    text.sample("petiole_info", &labels, 1);
    let started = view.origin as f64 / SECOND as f64;
    text.gauge("petiole_start_time_seconds", "When the server started, since 1970.", started);
    text.gauge("petiole_uptime_seconds", "Time since the start.", view.host.now as f64 / SECOND as f64);
    let loaded = started + node.config_loaded as f64 / SECOND as f64;
    text.gauge("petiole_config_load_time_seconds", "When the configuration was last read, since 1970.", loaded);
    let leaving = u8::from(node.is_lame_duck());
    text.gauge("petiole_lame_duck", "1 while connections are sent away before a shutdown.", leaving);
}

fn process(text: &mut Text, view: &View<'_>) {
    let host = view.host;
    text.gauge("petiole_process_resident_memory_bytes", "Memory in use.", host.rss_bytes);
    text.counter("petiole_process_cpu_seconds_total", "Processor time used.", host.cpu_seconds);
    text.gauge("petiole_cores", "Processors that may be used.", host.cores);
}

fn connections(text: &mut Text, view: &View<'_>) {
    let node = view.node;
    text.family("petiole_connections", "gauge", "Connections now, logged in or not.");
    text.sample("petiole_connections", &[("kind", "client")], view.count(Kind::Client));
    text.sample("petiole_connections", &[("kind", "leaf")], view.count(Kind::Leaf));
    text.counter("petiole_connections_accepted_total", "Connections ever.", node.tally.connections);
    let pending: usize = node.conns.iter().map(|(_, conn)| conn.out.pending()).sum();
    text.gauge("petiole_pending_bytes", "Bytes waiting to be written to connections.", pending);
    text.gauge("petiole_subscriptions", "Subscriptions now.", node.subs.len());
    let tally = &node.tally;
    text.counter("petiole_slow_consumers_total", "Connections closed as too slow.", tally.slow_consumers);
    text.counter("petiole_stale_connections_total", "Connections closed as silent.", tally.stale_connections);
    text.counter("petiole_refused_logins_total", "Logins refused.", tally.refused_logins);
}

fn traffic(text: &mut Text, node: &Node) {
    let tally = &node.tally;
    text.counter("petiole_received_messages_total", "Messages from connections.", tally.received.msgs);
    text.counter("petiole_received_bytes_total", "Headers and payloads from connections.", tally.received.bytes);
    text.counter("petiole_sent_messages_total", "Messages to connections.", tally.out.msgs);
    text.counter("petiole_sent_bytes_total", "Headers and payloads to connections.", tally.out.bytes);
    text.counter("petiole_stalls_total", "Times that a producer waited for slow receivers.", tally.stalls);
    text.counter("petiole_lost_requests_total", "Requests to the server that got no answer.", node.system.lost);
    let (open, evicted) = node.open_responses();
    text.gauge("petiole_open_responses", "Requests to other accounts that wait for an answer.", open);
    text.counter(
        "petiole_evicted_responses_total",
        "Requests to other accounts that made room for newer ones.",
        evicted,
    );
    text.counter("petiole_dropped_messages_total", "Messages withheld from slow receivers.", tally.dropped);
}

/// A number of an account.
type Figure = fn(&Account) -> u64;

/// What there is to tell of each account: name, type, help, value.
const OF_ACCOUNTS: [(&str, &str, &str, Figure); 10] = [
    ("petiole_account_connections", "gauge", "Connections logged in.", |a| u64::from(a.connections)),
    ("petiole_account_logins_total", "counter", "Logins ever.", |a| a.total_connections),
    ("petiole_account_subscriptions", "gauge", "Subscriptions.", |a| a.interest.len() as u64),
    ("petiole_account_received_messages_total", "counter", "Messages published.", |a| a.received.msgs),
    ("petiole_account_received_bytes_total", "counter", "Bytes published.", |a| a.received.bytes),
    ("petiole_account_sent_messages_total", "counter", "Messages delivered.", |a| a.sent.msgs),
    ("petiole_account_sent_bytes_total", "counter", "Bytes delivered.", |a| a.sent.bytes),
    ("petiole_account_slow_consumers_total", "counter", "Connections closed as too slow.", |a| a.slow_consumers),
    ("petiole_account_lookups_total", "counter", "Searches for subscribers.", |a| a.interest.counters().matches),
    ("petiole_account_cache_hits_total", "counter", "Searches that the cache answered.", |a| {
        a.interest.counters().cache_hits
    }),
];

fn accounts(text: &mut Text, node: &Node) {
    for (name, kind, help, figure) in OF_ACCOUNTS {
        text.family(name, kind, help);
        for account in node.accounts.iter() {
            text.sample(name, &[("account", &account.name)], figure(account));
        }
    }
}

/// The versions of MQTT and its qualities of service, as labels.
const MQTT_VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5.0"];
const QOS: [&str; 3] = ["0", "1", "2"];

fn mqtt(text: &mut Text, node: &Node) {
    if node.config.mqtt.is_none() {
        return;
    }
    let mqtt = node.mqtt_figures();
    let of = |text: &mut Text, name: &str, kind: &str, help: &str, label: &str, values: [&str; 3], counts: [u64; 3]| {
        text.family(name, kind, help);
        for (value, count) in values.iter().zip(counts) {
            text.sample(name, &[(label, value)], count);
        }
    };
    let tally = mqtt.tally;
    of(text, "petiole_mqtt_clients", "gauge", "MQTT clients now.", "version", MQTT_VERSIONS, tally.connected);
    of(
        text,
        "petiole_mqtt_clients_total",
        "counter",
        "MQTT clients ever.",
        "version",
        MQTT_VERSIONS,
        tally.connections,
    );
    of(text, "petiole_mqtt_received_total", "counter", "Messages from MQTT clients.", "qos", QOS, tally.received);
    of(
        text,
        "petiole_mqtt_sent_total",
        "counter",
        "Messages to MQTT clients, queued ones included.",
        "qos",
        QOS,
        tally.sent,
    );
    text.gauge("petiole_mqtt_absent_sessions", "Sessions whose client is away.", mqtt.absent);
    text.gauge(
        "petiole_mqtt_absent_queued_bytes",
        "Bytes that wait for clients that are away.",
        mqtt.absent_queued_bytes,
    );
    text.gauge("petiole_mqtt_retained", "Retained messages.", mqtt.retained);
    text.gauge("petiole_mqtt_retained_bytes", "Bytes of retained messages.", mqtt.retained_bytes);
    let name = "petiole_mqtt_dropped_total";
    text.family(name, "counter", "Messages not delivered to an MQTT client, or not retained.");
    for (reason, count) in [
        ("queue_full", tally.dropped_full),
        ("packet_too_large", tally.dropped_large),
        ("no_topic", tally.unmappable),
        ("retained_full", tally.retained_refused),
    ] {
        text.sample(name, &[("reason", reason)], count);
    }
}

/// A number of a log of store-and-forward.
type OutboxFigure = fn(&OutboxView<'_>) -> u64;

/// What there is to tell of each log: name, type, help, value.
const OF_OUTBOXES: [(&str, &str, &str, OutboxFigure); 15] = [
    ("petiole_outbox_open", "gauge", "1 while its log can be written.", |o| u64::from(o.open)),
    ("petiole_outbox_link_up", "gauge", "1 while there is a link to a hub.", |o| u64::from(o.link.is_some())),
    ("petiole_outbox_blocked", "gauge", "1 while something else than the link is in the way.", |o| {
        u64::from(o.link.is_some() && o.obstacle.is_some())
    }),
    ("petiole_outbox_pending_messages", "gauge", "Messages without an answer from the hub.", |o| o.pending),
    ("petiole_outbox_bytes", "gauge", "Bytes of the messages in the log.", |o| o.log.bytes),
    ("petiole_outbox_in_flight_messages", "gauge", "Messages sent and not answered.", |o| o.in_flight as u64),
    ("petiole_outbox_captured_total", "counter", "Messages taken in.", |o| o.figures.captured),
    ("petiole_outbox_duplicates_total", "counter", "Messages that were there already.", |o| o.figures.duplicates),
    ("petiole_outbox_not_taken_total", "counter", "Messages that the log did not take.", |o| o.figures.not_taken),
    ("petiole_outbox_dropped_total", "counter", "Messages that left the log unanswered.", |o| o.figures.dropped),
    ("petiole_outbox_acknowledged_total", "counter", "Answers to publishers.", |o| o.figures.acknowledged),
    ("petiole_outbox_sent_total", "counter", "Messages sent to the hub, repeats included.", |o| o.upstream.sent),
    ("petiole_outbox_sent_again_total", "counter", "Messages sent to the hub again.", |o| o.upstream.resent),
    ("petiole_outbox_written_bytes_total", "counter", "Bytes written to flash.", |o| o.log.written_bytes),
    ("petiole_outbox_syncs_total", "counter", "Syncs of the log's files.", |o| o.log.syncs),
];

fn wear(text: &mut Text, view: &View<'_>) {
    let wear = wear::of(view);
    if wear.worn_bytes == 0 {
        return;
    }
    text.counter("petiole_store_worn_bytes_total", "Bytes written since there are logs.", wear.worn_bytes);
    if let Some(bytes) = wear.endurance_bytes {
        text.gauge("petiole_store_endurance_bytes", "Bytes that the medium can take, as configured.", bytes);
    }
    if let Some(days) = wear.days_left {
        text.gauge("petiole_store_endurance_days_left", "How long it lasts at the rate since the start.", days);
    }
}

fn outboxes(text: &mut Text, view: &View<'_>) {
    if view.node.outboxes().next().is_none() {
        return;
    }
    for (name, kind, help, figure) in OF_OUTBOXES {
        text.family(name, kind, help);
        for outbox in view.node.outboxes() {
            text.sample(name, &[("log", &outbox.forward.name)], figure(&outbox));
        }
    }
    const AGE: &str = "petiole_outbox_oldest_pending_seconds";
    text.family(AGE, "gauge", "Age of the oldest message without an answer.");
    for outbox in view.node.outboxes() {
        text.sample(AGE, &[("log", &outbox.forward.name)], outboxz::age(view, &outbox));
    }
}

/// A number of a durable subscription.
type DownlinkFigure = fn(&DownlinkView<'_>) -> u64;

/// The same of each durable subscription.
const OF_DOWNLINKS: [(&str, &str, &str, DownlinkFigure); 11] = [
    ("petiole_downlink_open", "gauge", "1 while its log can be written.", |d| u64::from(d.open)),
    ("petiole_downlink_link_up", "gauge", "1 while there is a link to a hub.", |d| u64::from(d.link.is_some())),
    ("petiole_downlink_blocked", "gauge", "1 while something else than the link is in the way.", |d| {
        u64::from(d.link.is_some() && d.obstacle.is_some())
    }),
    ("petiole_downlink_messages", "gauge", "Messages in the log.", |d| d.log.messages),
    ("petiole_downlink_waiting_messages", "gauge", "Messages that nobody here listens to.", |d| d.waiting),
    ("petiole_downlink_received_total", "counter", "Messages taken in.", |d| d.figures.received),
    ("petiole_downlink_duplicates_total", "counter", "Messages that came again.", |d| d.figures.duplicates),
    ("petiole_downlink_published_total", "counter", "Messages published here.", |d| d.figures.published),
    ("petiole_downlink_expired_total", "counter", "Messages whose time was over.", |d| d.figures.expired),
    ("petiole_downlink_failures_total", "counter", "Requests that the hub did not grant.", |d| d.figures.failures),
    ("petiole_downlink_written_bytes_total", "counter", "Bytes written to flash.", |d| d.log.written_bytes),
];

fn downlinks(text: &mut Text, node: &Node) {
    if node.downlinks().next().is_none() {
        return;
    }
    for (name, kind, help, figure) in OF_DOWNLINKS {
        text.family(name, kind, help);
        for downlink in node.downlinks() {
            text.sample(name, &[("subscription", &downlink.settings.name)], figure(&downlink));
        }
    }
}

fn requests(text: &mut Text, view: &View<'_>) {
    text.family("petiole_http_requests_total", "counter", "Requests for monitoring.");
    for (path, count) in view.host.requests.iter() {
        text.sample("petiole_http_requests_total", &[("path", path)], count);
    }
}

/// The text format. A String takes everything, so nothing fails.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escape(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// A label's value between its quotes.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
