//! Subscriptions of MQTT.

use mqtt_bridge::packet::{Request, RetainHandling, Subscribe, Unsubscribe};
use mqtt_bridge::topic::Asked;
use mqtt_bridge::{Forwarded, Outgoing, QoS, Reason, Stored, Subscription, subject as mapping};
use std::rc::Rc;

use super::super::{Node, SUBSCRIPTION_BYTES_PER_CONNECTION_MAX};
use crate::auth::permissions::SubscribeDecision;
use crate::mqtt::{Holder, sid};
use crate::subject;

/// A filter as the node takes it.
pub(super) struct Pattern {
    subject: Vec<u8>,
    pub(super) queue: Option<Vec<u8>>,
    /// `a/#` matches `a` too.
    has_parent: bool,
}

impl Pattern {
    pub(super) fn parse(filter: &str) -> Option<Self> {
        Asked::parse(filter).map(Self::new)
    }

    fn new(asked: Asked<'_>) -> Self {
        let mut subject = Vec::new();
        mapping::of_filter(asked.filter, &mut subject);
        let queue = asked.group.map(|group| {
            let mut queue = Vec::new();
            mapping::of_topic(group, &mut queue);
            queue
        });
        Self { subject, queue, has_parent: asked.filter.ends_with("/#") }
    }

    /// The subjects to subscribe to, and whether each is the parent's.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let parent = if self.has_parent { mapping::parent(&self.subject) } else { None };
        std::iter::once((&*self.subject, false)).chain(parent.map(|parent| (parent, true)))
    }
}

impl Node {
    pub(super) fn mqtt_subscribe(&mut self, slot: u32, subscribe: Subscribe<'_>) {
        let Some(version) = self.mqtt_peer(slot).and_then(|peer| peer.connection.version()) else { return };
        let mut answers = Vec::new();
        let mut wanted = Vec::new();
        for request in subscribe.requests(version) {
            match self.mqtt_subscribe_one(slot, &request, subscribe.subscription_id) {
                Ok((granted, index, is_new)) => {
                    answers.push([Reason::Success, Reason::GrantedQoS1, Reason::GrantedQoS2][granted as usize]);
                    let shared = request.filter.starts_with("$share/");
                    let send = match request.options.retain_handling {
                        RetainHandling::Always => true,
                        RetainHandling::IfNew => is_new,
                        RetainHandling::Never => false,
                    };
                    if send && !shared {
                        wanted.push(index);
                    }
                }
                Err(reason) => answers.push(reason),
            }
        }
        let promise = self.mqtt_save_session(Holder::Connection(slot));
        self.mqtt_wait(slot, promise);
        self.with_mqtt(slot, |peer, shared, out| {
            peer.connection.suback(subscribe.id, &answers, promise, shared.synced, out);
        });
        for index in wanted {
            self.mqtt_send_retained(slot, index);
        }
        self.mqtt_queued(None);
    }

    /// Returns what is granted, the subscription's index, and whether it is new.
    fn mqtt_subscribe_one(&mut self, slot: u32, request: &Request<'_>, id: u32) -> Result<(QoS, u32, bool), Reason> {
        let asked = Asked::parse(request.filter).ok_or(Reason::TopicFilterInvalid)?;
        let pattern = Pattern::new(asked);
        let filtered = self.mqtt_may_subscribe(slot, &pattern)?;
        let max_granted = self.shared().limits.max_granted;
        let mut options = request.options;
        options.qos = options.qos.min(max_granted);
        let Some(peer) = self.mqtt_peer(slot) else { return Err(Reason::Unspecified) };
        let Some(session) = peer.connection.session_mut() else { return Err(Reason::Unspecified) };
        let added = session.subscribe(Subscription::new(request.filter, options, id));
        if !added.replaced {
            for (subject, is_parent) in pattern.subjects() {
                self.subscribe(slot, subject, pattern.queue.as_deref(), &sid(added.index, is_parent), filtered);
            }
        }
        Ok((options.qos, added.index, !added.replaced))
    }

    /// Whether a filter may be subscribed to; then, whether deliveries are filtered.
    fn mqtt_may_subscribe(&mut self, slot: u32, pattern: &Pattern) -> Result<bool, Reason> {
        let queue = pattern.queue.as_deref();
        let tokens_max = usize::from(self.facts.limits.max_subscription_tokens);
        if tokens_max > 0 && subject::token_count(&pattern.subject) > tokens_max {
            return Err(Reason::ImplementationSpecific);
        }
        let conn = &mut *self.conns[slot as usize];
        let account_max = conn.core.account.map_or(0, |id| self.accounts.get(id).subscriptions_max());
        let full = conn.core.subs >= self.facts.subs_max.min(account_max);
        if full || conn.core.subs_bytes >= SUBSCRIPTION_BYTES_PER_CONNECTION_MAX {
            return Err(Reason::QuotaExceeded);
        }
        let Some(peer) = conn.peer.mqtt() else { return Err(Reason::Unspecified) };
        let mut filtered = false;
        for (subject, _) in pattern.subjects() {
            match peer.may_subscribe(subject, queue) {
                SubscribeDecision::Allowed => {}
                SubscribeDecision::AllowedFiltered => filtered = true,
                SubscribeDecision::Refused => {
                    self.mqtt_violation(slot, "Subscription", &pattern.subject);
                    // The public suites take no other code for it.
                    return Err(Reason::Unspecified);
                }
            }
        }
        Ok(filtered)
    }

    fn mqtt_send_retained(&mut self, slot: u32, index: u32) {
        let now = self.now;
        let Some(account) = self.conns[slot as usize].core.account else { return };
        let Some(peer) = self.mqtt_peer(slot) else { return };
        let Some(how) = peer.connection.session().and_then(|session| session.subscription(index)) else { return };
        let filter: Box<str> = how.inner().into();
        let mut found = self.shared().retained.matching(account, &filter, now);
        if filter.starts_with(super::broker_topics::PREFIX) {
            self.watch_broker(account);
            let topics = self.broker_topics();
            let wanted = topics.iter().filter(|(topic, _)| mqtt_bridge::topic::matches(&filter, topic));
            found.extend(wanted.map(|(topic, value)| Rc::new(said(topic, value))));
        }
        let mut subject = Vec::new();
        for stored in found {
            subject.clear();
            mapping::of_topic(stored.topic(), &mut subject);
            self.with_mqtt(slot, |peer, shared, out| {
                let denied = !crate::node::Peer::may_deliver(peer, &subject, None);
                let message = stored.outgoing(true);
                let wanted = peer.connection.session().and_then(|session| session.subscription(index));
                let Some(how) = wanted.filter(|how| !denied && how.takes(message.topic)) else { return };
                let qos = message.qos.min(how.options.qos);
                match peer.connection.deliver(now, &shared.limits, &message, index, out) {
                    mqtt_bridge::Delivered::Queued(id) => shared.queued.push((Holder::Connection(slot), id)),
                    mqtt_bridge::Delivered::Sent => {}
                    mqtt_bridge::Delivered::Full => shared.tally.dropped_full += 1,
                    mqtt_bridge::Delivered::TooLarge => shared.tally.dropped_large += 1,
                    mqtt_bridge::Delivered::Nothing | mqtt_bridge::Delivered::Merged => return,
                }
                shared.tally.sent[qos as usize] += 1;
            });
        }
    }

    pub(super) fn mqtt_unsubscribe(&mut self, slot: u32, unsubscribe: Unsubscribe<'_>) {
        let mut answers = Vec::new();
        for filter in unsubscribe.filters() {
            let Some(session) = self.mqtt_peer(slot).and_then(|peer| peer.connection.session_mut()) else { return };
            let Some((index, _)) = session.unsubscribe(filter) else {
                answers.push(Reason::NoSubscriptionExisted);
                continue;
            };
            for is_parent in [false, true] {
                self.unsubscribe(slot, &sid(index, is_parent), 0);
            }
            answers.push(Reason::Success);
        }
        let promise = self.mqtt_save_session(Holder::Connection(slot));
        self.mqtt_wait(slot, promise);
        self.with_mqtt(slot, |peer, shared, out| {
            peer.connection.unsuback(unsubscribe.id, &answers, promise, shared.synced, out);
        });
    }
}

/// A message of the server's own.
fn said(topic: &str, value: &str) -> Stored {
    Stored::new(&Outgoing {
        topic,
        qos: QoS::AtMostOnce,
        retain: true,
        expires: None,
        forwarded: Forwarded::default(),
        payload: value.as_bytes(),
        serial: 0,
        stored: None,
    })
}
