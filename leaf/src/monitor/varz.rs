//! `/varz`: the server as a whole.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

use super::time::{Rfc3339, Uptime};
use super::varz_leaf::{self, Leaf};
use super::{Response, View};
use crate::node::{Kind, SECOND};

/// What a feature says that is not in use: `{}`.
#[derive(Serialize)]
struct Unused {}

#[derive(Serialize)]
struct Varz<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    go: &'a str,
    host: &'a str,
    port: u16,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    max_connections: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_subscriptions: u32,
    ping_interval: u64,
    ping_max: u32,
    http_host: String,
    http_port: u16,
    http_base_path: &'a str,
    https_port: u16,
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: i64,
    max_pending: usize,
    cluster: Unused,
    gateway: Unused,
    leaf: Leaf<'a>,
    mqtt: Mqtt<'a>,
    websocket: Unused,
    jetstream: Unused,
    tls_timeout: f64,
    write_deadline: u64,
    start: Rfc3339,
    now: Rfc3339,
    uptime: Uptime,
    mem: u64,
    cores: usize,
    /// Processors that are used at once: there is one event loop.
    gomaxprocs: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    routes: usize,
    remotes: usize,
    leafnodes: usize,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: usize,
    http_req_stats: BTreeMap<&'static str, u64>,
    config_load_time: Rfc3339,
    config_digest: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_account: Option<&'a str>,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
}

/// What is configured of MQTT; nothing without it, as in nats-server.
#[derive(Default, Serialize)]
struct Mqtt<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_auth_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_timeout: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_map: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_timeout: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_pinned_certs: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_wait: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ack_pending: Option<u16>,
}

fn mqtt(config: &crate::config::Config) -> Mqtt<'_> {
    let Some(mqtt) = &config.mqtt else { return Mqtt::default() };
    Mqtt {
        host: mqtt.host.as_deref(),
        port: mqtt.port,
        no_auth_user: mqtt.login.no_auth_user.as_deref(),
        auth_timeout: mqtt.login.timeout.map(|timeout| timeout.as_secs_f64()),
        tls_map: mqtt.tls.as_ref().is_some_and(|tls| tls.map),
        tls_pinned_certs: mqtt.tls.iter().flat_map(|tls| tls.pinned.iter().map(String::as_str)).collect(),
        tls_timeout: mqtt.tls.as_ref().map(|tls| tls.timeout.as_secs_f64()),
        ack_wait: mqtt.ack_wait.map(|wait| wait.as_nanos() as u64),
        max_ack_pending: Some(mqtt.max_ack_pending),
    }
}

/// A number of each kind of connection.
#[derive(Default, Serialize)]
pub(super) struct ByKind {
    pub(super) clients: u64,
    pub(super) routes: u64,
    pub(super) gateways: u64,
    pub(super) leafs: u64,
}

/// Nothing of ours waits for a disk.
#[derive(Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The time for a TLS handshake when TLS is not configured, as nats-server shows it.
const TLS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

pub(super) fn page(view: &View<'_>) -> Response {
    let (node, host) = (view.node, view.host);
    let (config, facts, tally) = (&node.config, &node.facts, &node.tally);
    let (info, limits) = (&facts.info, &facts.limits);
    let tls_timeout = config.tls.as_ref().map_or(TLS_TIMEOUT_DEFAULT, |tls| tls.timeout);
    view.json(&Varz {
        server_id: view.server_id(),
        server_name: view.server_name(),
        version: info.version,
        proto: 1,
        go: info.go,
        host: &node.identity.host,
        port: node.identity.port,
        auth_required: facts.login_configured,
        tls_required: info.tls_required,
        tls_verify: info.tls_verify,
        max_connections: match limits.max_connections {
            u32::MAX => -1,
            max => i64::from(max),
        },
        max_subscriptions: limits.max_subscriptions,
        ping_interval: crate::node::nanos(limits.ping_interval),
        ping_max: limits.ping_max,
        http_host: host.monitor.map_or_else(|| node.identity.host.clone(), |at| at.ip().to_string()),
        http_port: host.monitor.map_or(0, |at| at.port()),
        http_base_path: config.monitor.as_ref().map_or("", |monitor| &monitor.base_path),
        https_port: 0,
        auth_timeout: facts.login_within as f64 / SECOND as f64,
        max_control_line: limits.max_control_line,
        max_payload: info.max_payload,
        max_pending: limits.max_pending,
        cluster: Unused {},
        gateway: Unused {},
        leaf: varz_leaf::leaf(node),
        mqtt: mqtt(config),
        websocket: Unused {},
        jetstream: Unused {},
        tls_timeout: tls_timeout.as_secs_f64(),
        write_deadline: crate::node::nanos(limits.write_deadline),
        start: view.time(0),
        now: view.now(),
        uptime: Uptime(host.now),
        mem: host.rss_bytes,
        cores: host.cores,
        gomaxprocs: 1,
        cpu: host.cpu_percent,
        connections: view.count(Kind::Client),
        total_connections: tally.connections,
        routes: view.count(Kind::Route),
        remotes: 0,
        leafnodes: view.count(Kind::Leaf),
        in_msgs: tally.received.msgs,
        in_bytes: tally.received.bytes,
        in_client_msgs: tally.received.msgs,
        in_client_bytes: tally.received.bytes,
        out_msgs: tally.out.msgs,
        out_bytes: tally.out.bytes,
        out_client_msgs: tally.out.msgs,
        out_client_bytes: tally.out.bytes,
        slow_consumers: tally.slow_consumers,
        stale_connections: tally.stale_connections,
        stalled_clients: tally.stalls,
        subscriptions: node.subs.len(),
        http_req_stats: host.requests.iter().collect(),
        config_load_time: view.time(node.config_loaded),
        config_digest: &config.digest,
        tags: &config.tags,
        metadata: &config.metadata,
        feature_flags: super::events::feature_flags(node),
        system_account: config.system_account.as_deref(),
        slow_consumer_stats: ByKind { clients: tally.slow_consumers, ..ByKind::default() },
        stale_connection_stats: ByKind { clients: tally.stale_connections, ..ByKind::default() },
        disk_io_wait_stats: DiskWaits::default(),
    })
}
