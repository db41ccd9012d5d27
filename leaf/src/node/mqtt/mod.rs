//! What the node does for connections that speak MQTT.

mod broker_topics;
mod journal;
mod publish;
mod reopen;
mod session;
mod subscribe;

use mqtt_bridge::{Event, Limits, QoS};
use tracing::error;

use super::{CloseReason, ConnId, Facts, Nanos, Node};
use crate::config::{self, Config};
use crate::mqtt::{Mqtt, Sessions, Shared};
pub(crate) use journal::{LOG as MQTT_LOG, Loading, Promises};
pub(super) use publish::Scratch;
pub(crate) use reopen::Reopen;

/// Bytes of a packet beside its payload: a topic, and what comes with it.
const PACKET_EXTRA_BYTES: usize = 66_000;

/// Figures of MQTT.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Counters.
    pub(crate) tally: crate::mqtt::Tally,
    /// Sessions whose client is away.
    pub(crate) absent: usize,
    /// Bytes that wait for them.
    pub(crate) absent_queued_bytes: usize,
    /// Retained messages.
    pub(crate) retained: usize,
    /// Bytes of them.
    pub(crate) retained_bytes: usize,
}

/// How soon the disk is asked again at the earliest.
const DISK_PAUSE: Nanos = 10_000_000;

/// How long CONNECT may take where nobody must log in.
const LOGIN_WITHIN: Nanos = 10 * super::SECOND;

/// What a configuration says of MQTT, with the defaults where it says nothing: sessions of a server that
/// no longer listens for MQTT still end.
fn limits(config: &Config, facts: &Facts) -> Limits {
    let mqtt = config.mqtt.clone().unwrap_or_default();
    Limits {
        packet_bytes_max: (facts.bounds.payload_bytes + PACKET_EXTRA_BYTES).min(268_435_460),
        window_max: mqtt.max_ack_pending,
        queued_max: mqtt.max_queued_messages,
        queued_bytes_max: mqtt.max_queued_bytes,
        max_qos: if mqtt.reject_qos2_publish { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
        max_granted: if mqtt.downgrade_qos2_subscribe { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
        keep_alive_max: mqtt.max_keep_alive.map_or(0, |max| max.as_secs().clamp(1, u16::MAX.into()) as u16),
        session_expiry_max: mqtt.max_session_expiry.map_or(u32::MAX, |max| max.as_secs().min(u32::MAX.into()) as u32),
    }
}

impl Node {
    /// Makes room for what MQTT keeps.
    pub(super) fn raise_mqtt(&mut self) {
        let mqtt = self.config.mqtt.clone().unwrap_or_default();
        let mut shared = Box::<Shared>::default();
        shared.limits = limits(&self.config, &self.facts);
        shared.queued_bytes_max = mqtt.max_total_queued_bytes;
        shared.sessions = Sessions::new(self.hasher.clone());
        shared.retained.bytes_max = mqtt.max_retained_bytes;
        self.pool.mqtt = Some(shared);
    }

    /// The configuration has changed.
    pub(super) fn reread_mqtt(&mut self) {
        let limits = limits(&self.config, &self.facts);
        let mqtt: config::Mqtt = self.config.mqtt.clone().unwrap_or_default();
        if let Some(shared) = &mut self.pool.mqtt {
            shared.limits = limits;
            shared.queued_bytes_max = mqtt.max_total_queued_bytes;
            shared.retained.bytes_max = mqtt.max_retained_bytes;
        }
    }

    /// What MQTT keeps. It is away only while a peer writes, and no peer calls the node.
    pub(super) fn shared(&mut self) -> &mut Shared {
        self.pool.mqtt.get_or_insert_default()
    }

    /// The MQTT peer of a connection that has one.
    pub(super) fn mqtt_peer(&mut self, slot: u32) -> Option<&mut Mqtt> {
        self.conns.get_mut(slot as usize)?.peer.mqtt()
    }

    /// Calls `f` with a connection's peer, what MQTT keeps, and where to write.
    fn with_mqtt<R>(
        &mut self,
        slot: u32,
        f: impl FnOnce(&mut Mqtt, &mut Shared, &mut super::Out<'_>) -> R,
    ) -> Option<R> {
        let mut shared = self.pool.mqtt.take()?;
        let now = self.now;
        let conn = self.conns.get_mut(slot as usize);
        let result = conn.and_then(|conn| {
            let mut out = super::Out { queue: &mut conn.out, urgent: None, pool: &mut self.pool, now };
            let peer = conn.peer.mqtt()?;
            let result = f(peer, &mut shared, &mut out);
            shared.gone.append(&mut peer.connection.take_gone());
            Some(result)
        });
        self.pool.mqtt = Some(shared);
        if result.is_some() {
            self.touch(slot);
        }
        result
    }

    /// Does what a client asks for.
    pub(super) fn mqtt_event(&mut self, slot: u32, event: Event<'_>) {
        match event {
            // The peer makes a login of it.
            Event::None | Event::Connect(_) => {}
            Event::Publish(publish) => self.mqtt_publish(slot, &publish),
            Event::Release(id) => self.mqtt_release(slot, id),
            Event::Subscribe(subscribe) => self.mqtt_subscribe(slot, subscribe),
            Event::Unsubscribe(unsubscribe) => self.mqtt_unsubscribe(slot, unsubscribe),
            Event::Arrived(received) => self.mqtt_arrived(slot, received),
        }
    }

    /// How long CONNECT may take. A client that need not say who it is has more time: nats-server gives it for ever.
    pub(super) fn mqtt_login_within(&self) -> Nanos {
        let configured = self.config.mqtt.as_ref().and_then(|mqtt| mqtt.login.timeout).map(super::nanos);
        let required = self.facts.info.auth_required || self.mqtt_directory.is_some();
        let patience = if required { self.facts.login_within } else { LOGIN_WITHIN };
        configured.unwrap_or(patience)
    }

    /// The client must have been heard: closes the connection, or says when to ask again.
    pub(super) fn mqtt_keep_alive(&mut self, id: ConnId) {
        let now = self.now;
        let Some(peer) = self.mqtt_peer(id.slot) else { return };
        if peer.connection.is_overdue(now) {
            return self.close(id, CloseReason::StaleConnection);
        }
        let due = peer.connection.deadline();
        if let (Some(due), Some(conn)) = (due, self.find_mut(id)) {
            conn.timers.set(super::conn::Timer::Ping, due);
        }
    }

    fn mqtt_violation(&self, slot: u32, what: &str, subject: &[u8]) {
        let Some(conn) = self.conns.get(slot as usize) else { return };
        let (remote, cid) = (conn.core.remote, conn.core.id.cid());
        error!("{remote} - mid:{cid} - {what} Violation - Subject \"{}\"", subject.escape_ascii());
    }

    /// Figures for monitoring.
    pub(crate) fn mqtt_figures(&self) -> Figures {
        let Some(shared) = &self.pool.mqtt else { return Figures::default() };
        Figures {
            tally: shared.tally,
            absent: shared.sessions.absent_count(),
            absent_queued_bytes: shared.sessions.queued_bytes,
            retained: shared.retained.len(),
            retained_bytes: shared.retained.bytes(),
        }
    }

    /// When something of MQTT is due.
    pub(super) fn mqtt_due(&self) -> Option<Nanos> {
        let shared = self.pool.mqtt.as_ref()?;
        // A full disk is tried again later; all else of the log is done at the end of a turn.
        let disk = shared.journal.as_ref().and_then(|journal| journal.log().deadline());
        let disk =
            disk.map(|at| self.now.saturating_add(u64::try_from(at - self.wall_time()).unwrap_or(0).max(DISK_PAUSE)));
        let reopen = self.mqtt_reopen_due();
        shared.sessions.next_due().into_iter().chain(disk).chain(reopen).chain(shared.broker_watch.due()).min()
    }
}
