//! What deliveries to MQTT must reach, wherever they come from.

use mqtt_bridge::{Connection, Delivered, Forwarded, Limits, Outgoing, QoS, SECOND, Stored, Subscription, subject};
use std::cell::OnceCell;
use std::rc::Rc;

use super::journal::Journal;
use super::{Retained, Sessions, headers};
use crate::account::AccountId;
use crate::message::Message;
use crate::node::{Loading, Nanos, Out, Promises, Reopen, Sub};

/// The state of MQTT that outlives a call; one for a node.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// What every connection is held to.
    pub(crate) limits: Limits,
    /// Bytes that wait for all absent sessions together at most.
    pub(crate) queued_bytes_max: usize,
    /// The last promise that is kept: see [`Promises`].
    pub(crate) synced: u64,
    /// The message of MQTT that is being routed.
    pub(crate) publication: Publication,
    /// Who has which session, and those that nobody has.
    pub(crate) sessions: Sessions,
    /// What is kept for those who subscribe later.
    pub(crate) retained: Retained,
    /// Messages that were queued and not yet dealt with: for whom, and the packet identifier.
    pub(crate) queued: Vec<(Holder, u16)>,
    /// Names of kept messages that need not be kept any more.
    pub(crate) gone: Vec<u64>,
    /// What must not be forgotten.
    pub(crate) journal: Option<Box<Journal>>,
    /// It is not open yet.
    pub(crate) opening: bool,
    /// It failed and is not yet what it was.
    pub(crate) reopen: Option<Reopen>,
    /// It is being read.
    pub(crate) loading: Option<Box<Loading>>,
    /// What acknowledgements rest on.
    pub(crate) promises: Promises,
    /// Who wants to hear of the server.
    pub(crate) broker_watch: Watch,
    /// Counters.
    pub(crate) tally: Tally,
    /// Scratch: the topic of a message that did not come by MQTT, and its properties.
    topic: Vec<u8>,
    properties: Vec<u8>,
}

/// Accounts that get `$SYS/broker/…`.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) accounts: std::collections::BTreeSet<AccountId>,
    /// When next.
    pub(crate) due: Nanos,
}

impl Watch {
    pub(crate) fn due(&self) -> Option<Nanos> {
        (!self.accounts.is_empty()).then_some(self.due)
    }
}

/// Counters of MQTT, as monitoring shows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Connections that are in, by version: 3.1, 3.1.1, 5.0.
    pub connected: [u64; 3],
    /// Connections that came in, by version.
    pub connections: [u64; 3],
    /// Messages from clients, by quality of service.
    pub received: [u64; 3],
    /// Messages to clients, by quality of service; those that wait are counted once they are queued.
    pub sent: [u64; 3],
    /// Messages dropped because a queue was full.
    pub dropped_full: u64,
    /// Messages dropped because the client takes none that large.
    pub dropped_large: u64,
    /// Messages not delivered because their subject has no topic.
    pub unmappable: u64,
    /// Retained messages refused because there was no room.
    pub retained_refused: u64,
}

/// Who holds a session: a connection's slot, or a place among the absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Holder {
    Connection(u32),
    Absent(u32),
}

/// A message that came by MQTT, while it is routed.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    /// Its subject as it was published, by where it is: what a mapping changed has another place.
    pub(crate) subject: Option<(usize, usize)>,
    /// Its topic.
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expires: Option<Nanos>,
    pub(crate) properties: Vec<u8>,
    /// The slot of the publisher.
    pub(crate) from: Option<u32>,
    pub(crate) stored: OnceCell<Rc<Stored>>,
}

impl Publication {
    /// Where a subject is, to know it again while it is routed.
    pub(crate) fn place(subject: &[u8]) -> (usize, usize) {
        (subject.as_ptr() as usize, subject.len())
    }
}

/// The connection's name for a subscription of the session: its index, and whether it is the one to the parent level.
pub fn sid(index: u32, parent: bool) -> [u8; 5] {
    let [a, b, c, d] = index.to_le_bytes();
    [a, b, c, d, u8::from(parent)]
}

fn index(sub: &Sub) -> Option<u32> {
    sub.sid.as_bytes().first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

impl Shared {
    /// Delivers to a session that is connected.
    #[inline]
    pub(super) fn deliver(&mut self, connection: &mut Connection, out: &mut Out<'_>, message: &Message<'_>, sub: &Sub) {
        let Some(index) = index(sub) else { return };
        let Some(how) = connection.session().and_then(|session| session.subscription(index)) else { return };
        let now = out.now;
        let Self { publication, topic, properties, tally, limits, queued, .. } = self;
        let Some(outgoing) = outgoing(publication, topic, properties, tally, message, sub, how, now) else { return };
        let qos = outgoing.qos.min(how.options.qos);
        let outgoing = Outgoing { serial: out.pool.routings, ..outgoing };
        match connection.deliver(now, limits, &outgoing, index, out) {
            Delivered::Sent => tally.sent[qos as usize] += 1,
            Delivered::Queued(id) => {
                tally.sent[qos as usize] += 1;
                queued.push((Holder::Connection(sub.conn), id));
            }
            Delivered::Full => tally.dropped_full += 1,
            Delivered::TooLarge => tally.dropped_large += 1,
            Delivered::Nothing | Delivered::Merged => {}
        }
    }

    /// Queues for a session whose client is away; says whether it will be delivered.
    pub(crate) fn deliver_absent(
        &mut self,
        at: u32,
        message: &Message<'_>,
        sub: &Sub,
        now: Nanos,
        serial: u64,
    ) -> bool {
        let Some(index) = index(sub) else { return false };
        let Self { publication, topic, properties, tally, limits, queued, sessions, queued_bytes_max, .. } = self;
        let over = sessions.queued_bytes >= *queued_bytes_max;
        let Some(absent) = sessions.absent_mut(at) else { return false };
        if sub.filtered && !absent.may_deliver(message.subject, sub.queue.as_deref()) {
            return false;
        }
        let Some(how) = absent.session.subscription(index).cloned() else { return false };
        if how.options.qos == QoS::AtMostOnce {
            return false;
        }
        let Some(outgoing) = outgoing(publication, topic, properties, tally, message, sub, &how, now) else {
            return false;
        };
        if over && outgoing.qos > QoS::AtMostOnce {
            tally.dropped_full += 1;
            return false;
        }
        let outgoing = Outgoing { serial, ..outgoing };
        let before = absent.session.queued_bytes();
        match absent.session.enqueue(limits, &outgoing, &how) {
            Delivered::Queued(id) => {
                sessions.queued_bytes += sessions.absent(at).map_or(0, |absent| absent.session.queued_bytes()) - before;
                tally.sent[outgoing.qos.min(how.options.qos) as usize] += 1;
                queued.push((Holder::Absent(at), id));
                true
            }
            Delivered::Merged => true,
            Delivered::Full => {
                tally.dropped_full += 1;
                false
            }
            _ => false,
        }
    }
}

/// The message as this subscription gets it; `None` if it does not.
#[allow(clippy::too_many_arguments, reason = "the parts of Shared one by one, as its session is borrowed too")]
#[inline]
fn outgoing<'a>(
    publication: &'a Publication,
    topic: &'a mut Vec<u8>,
    properties: &'a mut Vec<u8>,
    tally: &mut Tally,
    message: &Message<'a>,
    sub: &Sub,
    how: &Subscription,
    now: Nanos,
) -> Option<Outgoing<'a>> {
    if let Some(place) = publication.subject {
        if how.options.no_local && publication.from == Some(sub.conn) {
            return None;
        }
        let retain = publication.retain && how.options.retain_as_published;
        let forwarded = Forwarded::known(&publication.properties);
        let Publication { qos, expires, .. } = *publication;
        let payload = message.payload();
        if place == Publication::place(message.subject) {
            if !how.takes(&publication.topic) {
                return None;
            }
            let (topic, stored) = (&*publication.topic, Some(&publication.stored));
            return Some(Outgoing { topic, qos, retain, expires, forwarded, payload, serial: 0, stored });
        }
        let topic = topic_of(message.subject, topic, tally)?;
        return how.takes(topic).then_some(Outgoing {
            topic,
            qos,
            retain,
            expires,
            forwarded,
            payload,
            serial: 0,
            stored: None,
        });
    }
    let topic = topic_of(message.subject, topic, tally)?;
    if !how.takes(topic) {
        return None;
    }
    let told = headers::read(message, properties);
    Some(Outgoing {
        topic,
        qos: told.qos,
        retain: false,
        expires: told.expiry.map(|seconds| now + Nanos::from(seconds) * SECOND),
        forwarded: Forwarded::known(properties),
        payload: message.payload(),
        serial: 0,
        stored: None,
    })
}

fn topic_of<'a>(of: &[u8], topic: &'a mut Vec<u8>, tally: &mut Tally) -> Option<&'a str> {
    topic.clear();
    if subject::to_topic(of, topic).is_err() {
        tally.unmappable += 1;
        return None;
    }
    std::str::from_utf8(topic).ok()
}
