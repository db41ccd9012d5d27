//! The machine behind a connection, and the session that outlives it.
//!
//! [`Connection`] takes bytes and gives [`Event`]s. What an event asks for is the owner's to do; where the client waits
//! for an answer, the owner says what came of it with the method named at the event. [`Session`] is what must survive:
//! subscriptions, messages under way in both directions, the will. While the client is connected it is inside the
//! connection; [`Connection::take_session`] gets it out.
//!
//! Order of calls: after [`Connection::next`] answered [`Event::Connect`] nothing more is fed until
//! [`Connection::accept`] or the end. [`Connection::deadline`] says when [`Connection::is_overdue`] must be asked.

mod aliases;
mod connection;
mod message;
mod queue;
mod received;
mod subscriptions;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;

pub use connection::{Ack, Connection, Ending, Event, Opening, Received, Step};
pub use message::{Delivered, Outgoing, Stored, Will};
pub use queue::{QUEUED_MAX, Restored};
pub use subscriptions::{Added, Subscription};

use crate::{Nanos, QoS};
use queue::Queue;
use received::ReceivedIds;
use subscriptions::Subscriptions;

/// Messages of QoS 1 and 2 that a client that speaks 5.0 may have under way to us: our Receive Maximum.
pub const RECEIVE_MAX: usize = 1024;
/// Acknowledgements that may wait for the disk, of any client: one for each packet identifier.
pub const RELEASES_MAX: usize = 65_535;
/// Topic aliases kept for a connection, in each direction.
pub const TOPIC_ALIASES_MAX: usize = 32;

/// Where packets are written.
pub trait Sink {
    /// Appends what `write` appends to the buffer it gets, at most about `room` bytes.
    fn append(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>));

    /// Bytes that wait there.
    fn pending(&self) -> usize;

    /// Takes the last `count` bytes back, which were appended in one piece and followed by nothing.
    fn retract(&mut self, count: usize);
}

impl Sink for Vec<u8> {
    fn append(&mut self, _: usize, write: impl FnOnce(&mut Self)) {
        write(self);
    }

    fn pending(&self) -> usize {
        self.len()
    }

    fn retract(&mut self, count: usize) {
        self.truncate(self.len() - count);
    }
}

/// What every connection is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a packet from a client.
    pub packet_bytes_max: usize,
    /// Messages of QoS 1 and 2 under way to a client.
    pub window_max: u16,
    /// Messages that wait for a client, those under way included.
    pub queued_max: usize,
    /// Bytes of topics, properties and payloads that wait for a client.
    pub queued_bytes_max: usize,
    /// The best quality of service that clients may publish with.
    pub max_qos: QoS,
    /// The best that subscriptions are granted.
    pub max_granted: QoS,
    /// Seconds that a session may outlive its connection.
    pub session_expiry_max: u32,
    /// Seconds of keep alive that a client that speaks 5.0 is held to; 0 for no such bound.
    pub keep_alive_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: (1 << 20) + 66_000,
            window_max: 1024,
            queued_max: 10_000,
            queued_bytes_max: 16 << 20,
            max_qos: QoS::ExactlyOnce,
            max_granted: QoS::ExactlyOnce,
            session_expiry_max: u32::MAX,
            keep_alive_max: 0,
        }
    }
}

/// What a CONNACK of 5.0 tells beside the obvious.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The session's expiry, when it is not the one asked for.
    pub session_expiry: Option<u32>,
    /// The client id, when the client had none.
    pub assigned_id: Option<&'a str>,
    /// The keep alive, when it is not the one asked for.
    pub keep_alive: Option<u16>,
}

/// What outlives a connection.
#[derive(Debug)]
pub struct Session {
    client_id: Box<str>,
    expiry: u32,
    subscriptions: Subscriptions,
    queue: Queue,
    received: ReceivedIds,
    will: Option<Box<Will>>,
    /// The owner's name for it; 0 for none.
    key: u64,
}

impl Session {
    /// A new session that outlives its connections by `expiry` seconds; `u32::MAX` is for ever.
    pub fn new(client_id: &str, expiry: u32) -> Self {
        Self {
            client_id: client_id.into(),
            expiry,
            subscriptions: Subscriptions::default(),
            queue: Queue::default(),
            received: ReceivedIds::default(),
            will: None,
            key: 0,
        }
    }

    /// Whose it is.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Seconds that it outlives a connection.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Changes that.
    pub fn set_expiry(&mut self, seconds: u32) {
        self.expiry = seconds;
    }

    /// Whether anything of it is worth keeping after the connection.
    pub fn outlives(&self) -> bool {
        self.expiry > 0
    }

    /// The owner's name for it where it is kept; 0 for none.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Names it.
    pub fn set_key(&mut self, key: u64) {
        self.key = key;
    }

    /// What is published if the connection breaks.
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// Takes the will out, to publish it or to forget it.
    pub fn take_will(&mut self) -> Option<Box<Will>> {
        self.will.take()
    }

    /// Sets the will.
    pub fn set_will(&mut self, will: Option<Box<Will>>) {
        self.will = will;
    }

    /// Its subscriptions with the index of each.
    pub fn subscriptions(&self) -> impl Iterator<Item = (u32, &Subscription)> {
        self.subscriptions.iter()
    }

    /// How many there are.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// The subscription at `index`.
    #[inline]
    pub fn subscription(&self, index: u32) -> Option<&Subscription> {
        self.subscriptions.get(index)
    }

    /// Adds a subscription, or replaces the one to the same filter `[MQTT-3.8.4-3]`.
    pub fn subscribe(&mut self, subscription: Subscription) -> Added {
        self.subscriptions.insert(subscription)
    }

    /// Removes the subscription to exactly this filter `[MQTT-3.10.4-1]`.
    pub fn unsubscribe(&mut self, filter: &str) -> Option<(u32, Subscription)> {
        self.subscriptions.remove(filter)
    }

    /// Puts a message in the queue; see [`Connection::deliver`] for one who is connected. Returns the packet identifier it
    /// will be sent with; with QoS 0 there is nothing to keep.
    pub fn enqueue(&mut self, limits: &Limits, message: &Outgoing<'_>, how: &Subscription) -> Delivered {
        let qos = message.qos.min(how.options.qos);
        if qos == QoS::AtMostOnce {
            return Delivered::Nothing;
        }
        if how.merges() && self.queue.merge_queued(message, how, qos) {
            return Delivered::Merged;
        }
        self.queue.push(limits, message, how, qos)
    }

    /// The owner's name for the message with this packet identifier, and the commit that makes it last. Until that is
    /// synced, a message of QoS 2 is not sent: after a crash it could come again with another identifier.
    pub fn saved(&mut self, id: u16, tag: u64, commit: u64) {
        self.queue.saved(id, tag, commit);
    }

    /// What the message with this packet identifier rests on, see [`Self::saved`].
    pub fn promised(&mut self, id: u16, commit: u64) {
        self.queue.promised(id, commit);
    }

    /// The message with this packet identifier and how it is to be sent, for keeping.
    pub fn queued(&self, id: u16) -> Option<Restored> {
        self.queue.get(id)
    }

    /// Puts a message back that was kept; call it in the order of the first time.
    pub fn restore(&mut self, restored: Restored, tag: u64) {
        self.queue.restore(restored, tag);
    }

    /// The names of all messages that the owner keeps for it.
    pub fn tags(&self) -> impl Iterator<Item = u64> + '_ {
        self.queue.tags()
    }

    /// All messages that wait or are under way, by packet identifier, with the owner's names for them (0 for none).
    pub fn kept(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.queue.kept()
    }

    /// A QoS 2 message with this packet identifier was taken before.
    pub fn restore_received(&mut self, id: u16) {
        self.received.insert(id);
    }

    /// The packet identifiers of QoS 2 messages that were taken and not released.
    pub fn received_ids(&self) -> impl Iterator<Item = u16> + '_ {
        self.received.iter()
    }

    /// Messages that wait or are under way.
    pub fn queued_count(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of them.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Drops what expired before it was ever sent `[MQTT-3.3.2-5]`; gives the owner's names of it.
    pub fn drop_expired(&mut self, now: Nanos, dropped: &mut Vec<u64>) {
        self.queue.drop_expired(now, dropped);
    }
}
