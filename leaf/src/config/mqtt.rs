//! The `mqtt` block: nats-server's options, and ours.

use std::time::Duration;

use super::duration;
use super::error::{Error, Notes};
use super::listen::{Port, address, port, some};
use super::model::{HandshakeFirst, Tls};
use super::own_login::OwnLogin;
use super::read::{Draft, Taken, entries, unknown_field};
use super::tls;
use super::value::{Node, Value};

/// The `mqtt` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// `host`; `None` follows the client listener's.
    pub host: Option<String>,
    /// `port`; `None` is any free one.
    pub port: Option<u16>,
    /// `tls`; it comes first, before any packet.
    pub tls: Option<Tls>,
    /// `authorization` and `no_auth_user`: in place of the server's; its timeout is how long CONNECT may take.
    pub login: OwnLogin,
    /// `ack_wait`, as configured; nothing waits for it, see the documentation.
    pub ack_wait: Option<Duration>,
    /// `max_ack_pending`: messages of QoS 1 and 2 under way to a client.
    pub max_ack_pending: u16,
    /// `reject_qos2_publish`.
    pub reject_qos2_publish: bool,
    /// `downgrade_qos2_subscribe`.
    pub downgrade_qos2_subscribe: bool,
    /// `max_queued_messages` (ours): messages that wait for one client; at most 65,000.
    pub max_queued_messages: usize,
    /// `max_queued_bytes` (ours): the same in bytes.
    pub max_queued_bytes: usize,
    /// `max_total_queued_bytes` (ours): bytes that wait for all absent clients together.
    pub max_total_queued_bytes: usize,
    /// `memory_only` (ours): nothing is kept on disk, and a restart forgets all of it.
    pub memory_only: bool,
    /// `max_sessions` (ours): sessions of absent clients.
    pub max_sessions: usize,
    /// `max_retained_bytes` (ours).
    pub max_retained_bytes: usize,
    /// `max_keep_alive` (ours): the longest silence of clients that speak 5.0.
    pub max_keep_alive: Option<Duration>,
    /// `server_reference` (ours): where clients that speak 5.0 are sent in lame duck mode; several with blanks between them.
    pub server_reference: Option<String>,
    /// `max_session_expiry` (ours): how long a session may outlive its connection.
    pub max_session_expiry: Option<Duration>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            tls: None,
            login: OwnLogin::default(),
            ack_wait: None,
            max_ack_pending: 1024,
            reject_qos2_publish: false,
            downgrade_qos2_subscribe: false,
            max_queued_messages: 10_000,
            max_queued_bytes: 16 << 20,
            max_total_queued_bytes: 128 << 20,
            memory_only: false,
            max_sessions: 100_000,
            max_retained_bytes: 64 << 20,
            max_keep_alive: None,
            max_session_expiry: None,
            server_reference: None,
        }
    }
}

impl Mqtt {
    /// What cannot change while the server runs.
    pub fn fixed(mqtt: &Option<Self>) -> Option<(Option<&str>, Option<u16>, bool, bool)> {
        mqtt.as_ref().map(|mqtt| (mqtt.host.as_deref(), mqtt.port, mqtt.tls.is_some(), mqtt.memory_only))
    }
}

/// `mqtt`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if key != "mqtt" {
        return Ok(Taken::No);
    }
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, format!("Expected mqtt to be a map, got {}", node.value.kind())));
    };
    let mut mqtt = Mqtt::default();
    let mut at = Port::Default;
    entries(map, &mut draft.notes, unknown_field, |key, node, notes| {
        match key {
            "listen" => (mqtt.host, at) = address(node)?,
            "host" | "net" => mqtt.host = some(node)?,
            "port" => at = port(node)?,
            "tls" => {
                let block = tls::block(node, notes)?;
                mqtt.tls = Some(Tls { handshake_first: HandshakeFirst::Yes, ..block });
            }
            "authorization" | "authentication" => mqtt.login.read(node, notes)?,
            "no_auth_user" => mqtt.login.no_auth_user = some(node)?,
            _ => return option(&mut mqtt, key, node, notes),
        }
        Ok(Taken::Yes)
    });
    mqtt.port = match at {
        // Without a port there is no MQTT, as in nats-server.
        Port::Default => return Ok(Taken::Yes),
        Port::Any => None,
        Port::Fixed(port) => Some(port),
    };
    draft.config.mqtt = Some(mqtt);
    Ok(Taken::Yes)
}

fn option(mqtt: &mut Mqtt, key: &str, node: &Node, notes: &mut Notes) -> Result<Taken, Error> {
    match key {
        "ack_wait" | "ackwait" => {
            let wait = duration::of_option(key, node, notes)?;
            if wait.is_zero() {
                return Err(Error::at(&node.at, "ack wait must be a positive value"));
            }
            mqtt.ack_wait = Some(wait);
        }
        "max_ack_pending" | "max_pending" | "max_inflight" => mqtt.max_ack_pending = window(node)?,
        "reject_qos2_publish" => mqtt.reject_qos2_publish = node.boolean()?,
        "downgrade_qos2_subscribe" => mqtt.downgrade_qos2_subscribe = node.boolean()?,
        "max_queued_messages" => mqtt.max_queued_messages = count(node)?.min(mqtt_bridge::QUEUED_MAX),
        "max_queued_bytes" => mqtt.max_queued_bytes = count(node)?,
        "max_total_queued_bytes" => mqtt.max_total_queued_bytes = count(node)?,
        "memory_only" => mqtt.memory_only = node.boolean()?,
        "max_sessions" => mqtt.max_sessions = count(node)?,
        "max_retained_bytes" => mqtt.max_retained_bytes = count(node)?,
        "max_keep_alive" => mqtt.max_keep_alive = Some(duration::of_option(key, node, notes)?),
        "max_session_expiry" => mqtt.max_session_expiry = Some(duration::of_option(key, node, notes)?),
        "server_reference" | "server_references" => mqtt.server_reference = references(node)?,
        _ => return elsewhere(key, node),
    }
    Ok(Taken::Yes)
}

/// Options about JetStream, in which nats-server keeps what we keep ourselves.
fn elsewhere(key: &str, node: &Node) -> Result<Taken, Error> {
    let asks_nothing = match (key, &node.value) {
        ("stream_replicas" | "consumer_replicas", Value::Integer(count)) => matches!(count, 0 | 1),
        ("consumer_memory_storage", Value::Bool(on)) => !on,
        ("js_domain", Value::Text(domain)) => domain.is_empty(),
        _ => false,
    };
    match key {
        _ if asks_nothing => Ok(Taken::Yes),
        "js_domain"
        | "stream_replicas"
        | "consumer_replicas"
        | "consumer_memory_storage"
        | "consumer_inactive_threshold"
        | "consumer_auto_cleanup"
        | "js_api_timeout"
        | "api_timeout" => {
            let text = "is about JetStream, and MQTT sessions are not kept there";
            Err(Error::at(&node.at, format!("mqtt: {key} {text}")))
        }
        _ => Ok(Taken::No),
    }
}

/// `host`, `host:port` or several `[MQTT 5.0, 4.11]`.
fn references(node: &Node) -> Result<Option<String>, Error> {
    let texts = node.texts("server_reference")?;
    let is_bad = |text: &String| text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control());
    let joined = texts.join(" ");
    if texts.iter().any(is_bad) || joined.len() > usize::from(u16::MAX) {
        return Err(Error::at(&node.at, "server_reference must be host:port, or a list of them"));
    }
    Ok(Some(joined).filter(|text| !text.is_empty()))
}

fn window(node: &Node) -> Result<u16, Error> {
    let number = node.integer()?;
    match u16::try_from(number) {
        Ok(0) => Ok(Mqtt::default().max_ack_pending),
        Ok(window) => Ok(window),
        Err(_) => Err(Error::at(&node.at, format!("invalid value {number}, should in [0..65535] range"))),
    }
}

fn count(node: &Node) -> Result<usize, Error> {
    let number = node.integer()?;
    usize::try_from(number).map_err(|_| Error::at(&node.at, format!("invalid value {number}, should not be negative")))
}
