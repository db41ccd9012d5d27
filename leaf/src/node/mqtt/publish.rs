//! Messages from MQTT.

use mqtt_bridge::packet::Publish;
use mqtt_bridge::{Forwarded, Outgoing, QoS, Reason, SECOND, Version, Will, subject};

use super::super::forward::Captured;
use super::super::publish::Source;
use super::super::{CloseReason, Nanos, Node};
use crate::account::AccountId;
use crate::message::{Message, trace};
use crate::mqtt::{Publication, Shared, write_headers};

/// Buffers that every message uses again.
#[derive(Debug, Default)]
pub(in super::super) struct Scratch {
    subject: Vec<u8>,
    reply: Vec<u8>,
    body: Vec<u8>,
}

/// Prefixes that only servers publish to.
fn is_reserved(subject: &[u8]) -> bool {
    subject.starts_with(b"$NRG.") || subject.starts_with(b"_GR_.")
}

impl Node {
    /// Routes a message, keeps it if it is to be retained, and acknowledges it.
    pub(super) fn mqtt_publish(&mut self, slot: u32, publish: &Publish<'_>) {
        let id = self.conns[slot as usize].core.id;
        if publish.payload.len() > self.payload_max(slot) {
            return self.close(id, CloseReason::MaxPayload);
        }
        let mut scratch = std::mem::take(&mut self.mqtt_scratch);
        self.forwards.captured = Captured::No;
        let (reason, retained) = self.mqtt_route(slot, publish, &mut scratch);
        self.mqtt_scratch = scratch;
        let outbox = match self.forwards.captured {
            Captured::Yes(at, commit) => Some((at, commit)),
            Captured::No | Captured::Refused => None,
        };
        let refused = self.forwards.captured == Captured::Refused;
        let queued = self.mqtt_queued(outbox);
        if publish.qos == QoS::AtMostOnce {
            return;
        }
        let taken = match publish.qos {
            QoS::ExactlyOnce if !reason.is_error() => self.mqtt_save_taken(slot, publish.id),
            _ => Some(0),
        };
        let (Some(queued), Some(taken), false) = (queued, taken, refused) else {
            return self.mqtt_not_kept(slot, publish);
        };
        let promise = queued.max(taken).max(retained);
        self.mqtt_wait(slot, promise);
        self.with_mqtt(slot, |peer, shared, out| {
            peer.connection.published(publish, reason, promise, shared.synced, out);
        });
    }

    /// A message that should have been kept was not. 5.0 can be told; others come again with it.
    fn mqtt_not_kept(&mut self, slot: u32, publish: &Publish<'_>) {
        let id = self.conns[slot as usize].core.id;
        if self.mqtt_peer(slot).and_then(|peer| peer.connection.version()) != Some(Version::V5) {
            return self.close(id, CloseReason::WriteError);
        }
        self.with_mqtt(slot, |peer, shared, out| {
            peer.connection.published(publish, Reason::QuotaExceeded, 0, shared.synced, out);
        });
    }

    fn payload_max(&self, slot: u32) -> usize {
        let conn = &self.conns[slot as usize];
        let account = conn.core.account.and_then(|id| self.accounts.get(id).limits.max_payload);
        account.unwrap_or(usize::MAX).min(self.facts.bounds.payload_bytes)
    }

    fn mqtt_route(&mut self, slot: u32, publish: &Publish<'_>, scratch: &mut Scratch) -> (Reason, u64) {
        let now = self.now;
        let Scratch { subject, reply, body } = scratch;
        [&mut *subject, &mut *reply, &mut *body].into_iter().for_each(Vec::clear);
        let Some(shared) = &mut self.pool.mqtt else { return (Reason::Unspecified, 0) };
        let conn = &mut *self.conns[slot as usize];
        let Some(account) = conn.core.account else { return (Reason::NotAuthorized, 0) };
        let Some(peer) = conn.peer.mqtt() else { return (Reason::Unspecified, 0) };
        let topic = peer.connection.topic(publish);
        subject::of_topic(topic, subject);
        write_headers(publish, body, reply);
        body.extend_from_slice(publish.payload);
        let expires = publish.expiry.map(|seconds| now + Nanos::from(seconds) * SECOND);
        shared.publication.set(subject, topic, publish.qos, publish.retain, expires, publish.forwarded(), Some(slot));
        shared.tally.received[publish.qos as usize] += 1;
        conn.core.stats.in_msgs += 1;
        conn.core.stats.in_bytes += body.len() as u64;
        if is_reserved(subject) || !peer.may_publish(subject, now) {
            shared.publication.clear();
            self.mqtt_violation(slot, "Publish", subject);
            return (Reason::NotAuthorized, 0);
        }
        self.tally.received.count(body.len());
        let header_len = body.len() - publish.payload.len();
        let message = Message { subject, reply, header_len, body, framed: b"" };
        let asks = header_len > 0 && trace::may_ask(message.headers());
        let delivered = match asks {
            false => self.publish(slot, &message, Source::Client),
            true => self.publish_asking(slot, &message, Source::Client),
        };
        let kept = if publish.retain { self.mqtt_retain(account, publish.payload) } else { Some(0) };
        self.shared().publication.clear();
        match (kept, delivered) {
            (None, _) => (Reason::QuotaExceeded, 0),
            (Some(promise), true) => (Reason::Success, promise),
            (Some(promise), false) if publish.retain => (Reason::Success, promise),
            (Some(promise), false) => (Reason::NoMatchingSubscribers, promise),
        }
    }

    /// Keeps the message that is being routed, or with an empty one forgets the old `[MQTT-3.3.1-6]`. Returns what that
    /// rests on, or `None` if there was no room.
    fn mqtt_retain(&mut self, account: AccountId, payload: &[u8]) -> Option<u64> {
        let (now, clock) = (self.now, self.mqtt_clock());
        let Self { pool, accounts, .. } = self;
        let Shared { publication, retained, tally, gone, journal, promises, reopen, .. } = pool.mqtt.as_deref_mut()?;
        if reopen.is_some() {
            return None;
        }
        if payload.is_empty() {
            let old = retained.remove(account, &publication.topic);
            let tag = old.map_or(0, |old| old.tag);
            let Some(journal) = journal.as_mut().filter(|_| tag > 0) else { return Some(0) };
            return Some(promises.make(journal.forget_now(clock, tag), None));
        }
        let bytes = publication.topic.len() + publication.properties.len() + payload.len();
        if !retained.has_room(account, &publication.topic, bytes) {
            gone.extend(retained.drop_expired(now).into_iter().filter(|tag| *tag > 0));
        }
        if !retained.has_room(account, &publication.topic, bytes) {
            tally.retained_refused += 1;
            return None;
        }
        let mut kept = publication.kept(payload);
        let mut promise = 0;
        if let Some(journal) = journal {
            let (seq, commit) = journal.save_retained(clock, &accounts.get(account).name, &kept.message).ok()?;
            kept.tag = seq;
            promise = promises.make(commit, None);
        }
        retained.insert(account, kept);
        Some(promise)
    }

    /// Publishes the will of a client that has gone; `slot` is its connection if that is still there.
    pub(super) fn mqtt_will(&mut self, account: AccountId, slot: Option<u32>, will: &Will) {
        let now = self.now;
        let mut scratch = std::mem::take(&mut self.mqtt_scratch);
        let Scratch { subject, reply, body } = &mut scratch;
        [&mut *subject, &mut *reply, &mut *body].into_iter().for_each(Vec::clear);
        subject::of_topic(&will.topic, subject);
        let may = slot.is_none_or(|slot| self.mqtt_peer(slot).is_some_and(|peer| peer.may_publish(subject, now)));
        if !may || is_reserved(subject) {
            if let Some(slot) = slot {
                self.mqtt_violation(slot, "Publish", subject);
            }
            self.mqtt_scratch = scratch;
            return;
        }
        crate::mqtt::write_will_headers(will, body, reply);
        let header_len = body.len();
        body.extend_from_slice(&will.payload);
        let expires = will.expiry.map(|seconds| now + Nanos::from(seconds) * SECOND);
        let publication = &mut self.shared().publication;
        publication.set(subject, &will.topic, will.qos, will.retain, expires, will.forwarded(), None);
        let message = Message { subject, reply, header_len, body, framed: b"" };
        match slot {
            Some(slot) => drop(self.publish(slot, &message, Source::Client)),
            None => self.publish_as_server(account, &message),
        }
        if will.retain {
            self.mqtt_retain(account, &will.payload);
        }
        self.shared().publication.clear();
        self.mqtt_scratch = scratch;
        self.mqtt_queued(None);
    }
}

impl Publication {
    #[allow(clippy::too_many_arguments, reason = "the parts of a message")]
    #[inline]
    fn set(
        &mut self,
        subject: &[u8],
        topic: &str,
        qos: QoS,
        retain: bool,
        expires: Option<Nanos>,
        forwarded: Forwarded<'_>,
        from: Option<u32>,
    ) {
        self.subject = Some(Self::place(subject));
        self.topic.clear();
        self.topic.push_str(topic);
        self.properties.clear();
        forwarded.write(&mut self.properties);
        (self.qos, self.retain, self.expires, self.from) = (qos, retain, expires, from);
    }

    #[inline]
    fn clear(&mut self) {
        self.subject = None;
        self.stored.take();
    }

    /// A copy to be kept.
    fn kept(&self, payload: &[u8]) -> crate::mqtt::Kept {
        let forwarded = Forwarded::known(&self.properties);
        let Self { qos, expires, .. } = *self;
        let message = Outgoing {
            topic: &self.topic,
            qos,
            retain: true,
            expires,
            forwarded,
            payload,
            serial: 0,
            stored: Some(&self.stored),
        };
        crate::mqtt::Kept { message: message.stored(), tag: 0 }
    }
}
