//! Messages of QoS 1 and 2 to a client: those under way, and behind them those that wait.
//!
//! ```text
//!   front -> | released | sent | sent |  waiting  waiting ... <- back
//!             `--- under way: sent ---'
//! ```
//! A message gets its packet identifier when it comes in, so that the same one is used however often it is sent,
//! before and after a restart. Identifiers rise from the front to the back (and wrap), so an acknowledgement is found
//! by its distance from the front, and a new identifier is free unless it is the front's.

use std::collections::VecDeque;
use std::rc::Rc;

use super::message::{Delivered, Outgoing, Stored};
use super::subscriptions::Subscription;
use super::{Limits, Sink};
use crate::encode::{self, AckKind, Publish};
use crate::{Nanos, QoS, Reason, Version};

/// Messages of a queue, whatever its owner allows: there must be free packet identifiers.
pub const QUEUED_MAX: usize = 65_000;

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not sent, or sent on an earlier connection.
    Waiting,
    /// Sent on this connection.
    Sent,
    /// PUBREC came; PUBREL goes out once that is on disk.
    Releasing,
    /// PUBREL was sent, or is to be sent again.
    Released,
}

#[derive(Debug)]
struct Entry {
    id: u16,
    progress: Progress,
    qos: QoS,
    retain: bool,
    /// It was sent on an earlier connection: DUP.
    again: bool,
    ids: Ids,
    /// None where nobody needs it again: the session ends with the connection.
    stored: Option<Rc<Stored>>,
    /// The owner's name for its copy; 0 for none.
    tag: u64,
    /// When that copy is on disk.
    commit: u64,
}

/// The subscription identifiers that a message carries: mostly none or one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    first: [u32; 1],
    #[allow(clippy::box_collection, reason = "mostly there is none: eight bytes of an entry, not twenty-four")]
    more: Option<Box<Vec<u32>>>,
}

impl Ids {
    pub(super) fn new(id: u32) -> Self {
        Self { first: [id], more: None }
    }

    pub(super) fn add(&mut self, id: u32) {
        match &mut self.more {
            _ if id == 0 => {}
            Some(more) => more.push(id),
            None if self.first == [0] => self.first = [id],
            None => self.more = Some(Box::new(vec![self.first[0], id])),
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        match &self.more {
            Some(more) => more,
            None if self.first == [0] => &[],
            None => &self.first,
        }
    }
}

/// A message of a queue, to be kept elsewhere or put back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its packet identifier.
    pub id: u16,
    /// How it is sent.
    pub qos: QoS,
    /// With the retain flag.
    pub retain: bool,
    /// Of the subscriptions that it is for.
    pub subscription_ids: Vec<u32>,
    /// The message; none once PUBREC has come.
    pub stored: Option<Rc<Stored>>,
}

/// What came of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// There is nothing with this identifier.
    Unknown,
    /// The message is done; the owner's name for it.
    Done(u64),
    /// PUBREC: the message may be forgotten, its identifier not. The owner's name for it.
    Received(u64),
    /// The client said PUBREC again.
    Again,
}

/// How messages are sent on this connection.
pub(super) struct Wire<'a> {
    pub(super) version: Version,
    pub(super) window: usize,
    pub(super) packet_max: usize,
    pub(super) aliases: &'a mut super::aliases::Outgoing,
    pub(super) now: Nanos,
    pub(super) synced: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// How many from the front are under way.
    sent: usize,
    bytes: usize,
    last_id: u16,
    releasing: usize,
    /// The routing that the last message of the queue came from.
    serial: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message may be sent at once.
    #[inline]
    pub(super) fn is_open(&self, window: usize) -> bool {
        self.sent == self.entries.len() && self.sent < window
    }

    fn next_id(&mut self) -> Option<u16> {
        let id = if self.last_id == u16::MAX { 1 } else { self.last_id + 1 };
        if self.entries.front().is_some_and(|front| front.id == id) {
            return None;
        }
        self.last_id = id;
        Some(id)
    }

    /// A message that is sent at once and of which nothing is kept.
    #[inline]
    pub(super) fn pass(&mut self, qos: QoS) -> Option<u16> {
        let id = self.next_id()?;
        self.entries.push_back(Entry {
            id,
            progress: Progress::Sent,
            qos,
            retain: false,
            again: false,
            ids: Ids::default(),
            stored: None,
            tag: 0,
            commit: 0,
        });
        self.sent += 1;
        Some(id)
    }

    pub(super) fn push(&mut self, limits: &Limits, message: &Outgoing<'_>, how: &Subscription, qos: QoS) -> Delivered {
        let size = message.topic.len() + message.forwarded.len() + message.payload.len();
        let full = self.entries.len() >= limits.queued_max.min(QUEUED_MAX);
        if full || (self.bytes + size > limits.queued_bytes_max && self.bytes > 0) {
            return Delivered::Full;
        }
        let Some(id) = self.next_id() else { return Delivered::Full };
        self.bytes += size;
        self.entries.push_back(Entry {
            id,
            progress: Progress::Waiting,
            qos,
            retain: message.retain,
            again: false,
            ids: Ids::new(how.id),
            stored: Some(message.stored()),
            tag: 0,
            commit: 0,
        });
        self.serial = message.serial;
        Delivered::Queued(id)
    }

    /// If the last message of the queue is this one, for another subscription: makes it serve both.
    pub(super) fn merge_queued(&mut self, message: &Outgoing<'_>, how: &Subscription, qos: QoS) -> bool {
        let waits = self.sent < self.entries.len() && message.serial > 0 && self.serial == message.serial;
        let Some(entry) = self.entries.back_mut().filter(|_| waits) else { return false };
        entry.qos = entry.qos.max(qos);
        entry.retain |= message.retain;
        entry.ids.add(how.id);
        true
    }

    /// The last message is for these subscriptions.
    pub(super) fn set_ids(&mut self, ids: &Ids) {
        if let Some(entry) = self.entries.back_mut() {
            entry.ids = ids.clone();
        }
    }

    /// The last message, which [`Self::pass`] gave an identifier, was not sent after all.
    pub(super) fn withdraw(&mut self) {
        self.remove(self.entries.len() - 1);
    }

    /// The last message, which [`Self::pass`] gave an identifier, is sent with this quality instead.
    pub(super) fn raise(&mut self, qos: QoS) {
        if let Some(entry) = self.entries.back_mut() {
            entry.qos = qos;
        }
    }

    /// Where the message with this identifier is.
    fn position(&self, id: u16) -> Option<usize> {
        let front = self.entries.front()?.id;
        let distance = |id: u16| id.wrapping_sub(front);
        self.entries.binary_search_by_key(&distance(id), |entry| distance(entry.id)).ok()
    }

    pub(super) fn saved(&mut self, id: u16, tag: u64, commit: u64) {
        if let Some(at) = self.position(id) {
            self.entries[at].tag = tag;
            self.entries[at].commit = commit;
        }
    }

    pub(super) fn promised(&mut self, id: u16, commit: u64) {
        if let Some(at) = self.position(id) {
            self.entries[at].commit = commit;
        }
    }

    pub(super) fn get(&self, id: u16) -> Option<Restored> {
        let entry = &self.entries[self.position(id)?];
        Some(Restored {
            id,
            qos: entry.qos,
            retain: entry.retain,
            subscription_ids: entry.ids.as_slice().to_vec(),
            stored: entry.stored.clone(),
        })
    }

    pub(super) fn restore(&mut self, restored: Restored, tag: u64) {
        let Restored { id, qos, retain, subscription_ids, stored } = restored;
        let mut ids = Ids::default();
        subscription_ids.iter().for_each(|id| ids.add(*id));
        self.bytes += stored.as_ref().map_or(0, |stored| stored.len());
        self.last_id = id;
        let progress = if stored.is_some() { Progress::Waiting } else { Progress::Released };
        // Nobody knows whether it was sent before, and DUP only says that it may have been.
        let again = stored.is_some();
        self.entries.push_back(Entry { id, progress, qos, retain, again, ids, stored, tag, commit: 0 });
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().map(|entry| entry.tag).filter(|tag| *tag > 0)
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.entries.iter().map(|entry| (entry.id, entry.tag))
    }

    fn remove(&mut self, at: usize) -> Option<Entry> {
        let entry = if at == 0 { self.entries.pop_front() } else { self.entries.remove(at) }?;
        self.sent -= usize::from(at < self.sent);
        self.forget(entry.stored.as_deref());
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        Some(entry)
    }

    fn forget(&mut self, stored: Option<&Stored>) {
        self.bytes -= stored.map_or(0, Stored::len);
    }

    /// PUBACK, or PUBREC with an error: the message is done.
    pub(super) fn finished(&mut self, id: u16, qos: QoS) -> Acked {
        let Some(at) = self.position(id).filter(|at| *at < self.sent && self.entries[*at].qos == qos) else {
            return Acked::Unknown;
        };
        self.remove(at).map_or(Acked::Unknown, |entry| Acked::Done(entry.tag))
    }

    /// PUBREC: the message has arrived. Without a tag PUBREL may go out at once.
    pub(super) fn received(&mut self, id: u16) -> Acked {
        let Some(at) = self.position(id).filter(|at| *at < self.sent) else { return Acked::Unknown };
        let entry = &mut self.entries[at];
        if entry.qos != QoS::ExactlyOnce {
            return Acked::Unknown;
        }
        match entry.progress {
            Progress::Releasing => return Acked::Again,
            Progress::Released => return Acked::Received(0),
            Progress::Waiting | Progress::Sent => {}
        }
        let tag = entry.tag;
        let stored = entry.stored.take();
        entry.progress = if tag > 0 { Progress::Releasing } else { Progress::Released };
        self.releasing += usize::from(tag > 0);
        self.forget(stored.as_deref());
        Acked::Received(tag)
    }

    /// PUBCOMP.
    pub(super) fn completed(&mut self, id: u16) -> Acked {
        let released = |at: &usize| *at < self.sent && self.entries[*at].progress == Progress::Released;
        let Some(at) = self.position(id).filter(released) else { return Acked::Unknown };
        self.remove(at).map_or(Acked::Unknown, |entry| Acked::Done(entry.tag))
    }

    /// Sends PUBREL for what is on disk by now.
    pub(super) fn release(&mut self, wire: &Wire<'_>, out: &mut impl Sink) {
        if self.releasing == 0 {
            return;
        }
        for entry in self.entries.iter_mut().take(self.sent) {
            if entry.progress == Progress::Releasing && entry.commit <= wire.synced {
                entry.progress = Progress::Released;
                self.releasing -= 1;
                let (id, version) = (entry.id, wire.version);
                out.append(5, |out| encode::ack(AckKind::PubRel, id, Reason::Success, version, out));
            }
        }
    }

    /// Sends what waits, as far as the window goes. What is not worth sending any more goes to `gone`, by the owner's
    /// name for it.
    pub(super) fn pump(&mut self, wire: &mut Wire<'_>, out: &mut impl Sink, gone: &mut Vec<u64>) {
        self.release(wire, out);
        while self.sent < wire.window && self.sent < self.entries.len() {
            let entry = &mut self.entries[self.sent];
            if entry.qos == QoS::ExactlyOnce && entry.commit > wire.synced {
                return;
            }
            if entry.progress == Progress::Released {
                let (id, version) = (entry.id, wire.version);
                out.append(5, |out| encode::ack(AckKind::PubRel, id, Reason::Success, version, out));
                self.sent += 1;
                continue;
            }
            let Some(stored) = entry.stored.clone() else {
                // Only what was passed on has none, and that is sent already.
                self.remove(self.sent);
                continue;
            };
            let late = !entry.again && stored.expires.is_some_and(|at| at <= wire.now);
            if late || !send(entry, &stored, wire, out) {
                if let Some(entry) = self.remove(self.sent).filter(|entry| entry.tag > 0) {
                    gone.push(entry.tag);
                }
                continue;
            }
            entry.progress = Progress::Sent;
            self.sent += 1;
        }
    }

    /// The connection is over: whatever was under way must be sent again.
    pub(super) fn disconnected(&mut self) {
        for entry in self.entries.iter_mut().take(self.sent) {
            match entry.progress {
                Progress::Waiting | Progress::Sent => {
                    entry.progress = Progress::Waiting;
                    entry.again = true;
                }
                // PUBREL it is, though not before it is on disk that PUBREC came.
                Progress::Releasing | Progress::Released => entry.progress = Progress::Released,
            }
        }
        self.sent = 0;
        self.releasing = 0;
        self.entries.retain(|entry| entry.stored.is_some() || entry.progress == Progress::Released);
        self.entries.shrink_to_fit();
    }

    pub(super) fn drop_expired(&mut self, now: Nanos, dropped: &mut Vec<u64>) {
        let mut at = self.sent;
        while at < self.entries.len() {
            let entry = &self.entries[at];
            let late = entry.stored.as_ref().and_then(|stored| stored.expires).is_some_and(|at| at <= now);
            if late && !entry.again {
                dropped.extend(self.remove(at).map(|entry| entry.tag).filter(|tag| *tag > 0));
            } else {
                at += 1;
            }
        }
    }
}

/// Writes a message of the queue; `false` if it is too large for the client.
fn send(entry: &Entry, stored: &Stored, wire: &mut Wire<'_>, out: &mut impl Sink) -> bool {
    let (alias, known) = wire.aliases.find(stored.topic());
    let publish = Publish {
        topic: if known { "" } else { stored.topic() },
        qos: entry.qos,
        retain: entry.retain,
        dup: entry.again,
        id: entry.id,
        alias,
        expiry: stored.expires.map(|at| seconds_left(at, wire.now)),
        subscription_ids: entry.ids.as_slice(),
        forwarded: stored.forwarded(),
        payload: stored.payload(),
    };
    if publish.packet_len(wire.version) > wire.packet_max {
        return false;
    }
    if alias > 0 && !known {
        wire.aliases.told(stored.topic());
    }
    let room = stored.len() + encode::PUBLISH_OVERHEAD_BYTES + 5 * publish.subscription_ids.len();
    out.append(room, |out| publish.write(wire.version, out));
    true
}

/// What is left of a message's life `[MQTT-3.3.2-6]`, at least a second while it is delivered at all.
pub(super) fn seconds_left(expires: Nanos, now: Nanos) -> u32 {
    let left = expires.saturating_sub(now).div_ceil(crate::SECOND);
    u32::try_from(left).unwrap_or(u32::MAX).max(1)
}
