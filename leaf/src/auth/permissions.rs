//! What a user may publish and subscribe to.
//!
//! [`Compiled`] is made once for each user of the configuration; every connection of that user has a
//! [`Session`] with what changes: remembered decisions, and replies it may still answer.

use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::config::{Permissions, Responses, Rules};
use crate::subject;

/// Publish decisions remembered for each connection; all are forgotten when there are more.
pub const REMEMBERED_DECISIONS: usize = 128;

/// Replies that a connection may have open under `allow_responses`. When there are more, the
/// expired go, and if that is not enough the oldest quarter.
pub const OPEN_REPLIES: usize = 4096;

type Table<V> = HashMap<Box<[u8]>, V, FixedState>;

/// What may be done with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeDecision {
    /// It is a violation.
    Refused,
    /// Every message may be delivered.
    Allowed,
    /// It may stand, but ask [`Compiled::may_deliver`] about every message: some of what it matches
    /// is denied or not allowed.
    AllowedFiltered,
}

/// Permissions in the form that answers quickly; shared by all connections of a user.
#[derive(Debug)]
pub struct Compiled {
    publish_allow: Option<Patterns>,
    publish_deny: Patterns,
    subscribe_allow: Option<Entries>,
    subscribe_deny: Entries,
    responses: Option<Responses>,
}

impl Compiled {
    /// Compiles a user's permissions.
    ///
    /// With `allow_responses` and no list of what may be published, only replies may be: that is
    /// nats-server's rule.
    pub fn new(permissions: &Permissions) -> Self {
        let Permissions { publish, subscribe, responses } = permissions;
        let replies_only = responses.is_some().then(Patterns::default);
        Self {
            publish_allow: publish.allow.as_deref().map(Patterns::new).or(replies_only),
            publish_deny: Patterns::new(&publish.deny),
            subscribe_allow: subscribe.allow.as_deref().map(Entries::new),
            subscribe_deny: Entries::new(&subscribe.deny),
            responses: *responses,
        }
    }

    /// As monitoring shows them.
    pub fn shown(&self) -> Shown {
        Shown {
            publish: Lists {
                allow: self.publish_allow.as_ref().map(Patterns::texts).unwrap_or_default(),
                deny: self.publish_deny.texts(),
            },
            subscribe: Lists {
                allow: self.subscribe_allow.as_ref().map(Entries::texts).unwrap_or_default(),
                deny: self.subscribe_deny.texts(),
            },
            responses: self.responses.map(|responses| Answers {
                max: responses.max.map_or(-1, i64::from),
                ttl: responses.expires.map_or(-1, |ttl| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)),
            }),
        }
    }

    /// The lists it was made from, each in another order.
    pub fn lists(&self) -> Permissions {
        let publish_allow = self.publish_allow.as_ref().map(Patterns::texts);
        Permissions {
            // Who may only answer has no list, as far as others can tell.
            publish: Rules {
                allow: publish_allow.filter(|list| self.responses.is_none() || !list.is_empty()),
                deny: self.publish_deny.texts(),
            },
            subscribe: Rules {
                allow: self.subscribe_allow.as_ref().map(Entries::texts),
                deny: self.subscribe_deny.texts(),
            },
            responses: self.responses,
        }
    }

    /// Whether the lists let one publish to `subject`, responses aside.
    fn may_publish(&self, subject: &[u8]) -> bool {
        let allowed = self.publish_allow.as_ref().is_none_or(|allow| allow.matches(subject));
        allowed && !self.publish_deny.matches(subject)
    }

    /// Whether the lists let one publish to `subject`; unlike [`Session::may_publish`] it remembers nothing.
    pub fn publishes(&self, subject: &[u8]) -> bool {
        self.may_publish(subject)
    }

    /// Whether something that `pattern` matches may be published.
    pub fn publishes_some_of(&self, pattern: &[u8]) -> bool {
        if self.publish_deny.covers(pattern) {
            return false;
        }
        let allow = self.publish_allow.as_ref();
        allow.is_none_or(|allow| allow.covers(pattern) || subject::has_wildcard(pattern) && allow.overlaps(pattern))
    }

    /// Whether one may subscribe to `subject`, in the queue group `queue` if any.
    ///
    /// * An allow entry must cover the whole subject. As with nats-server `in.*` also lets one subscribe to `in.>`, but
    ///   there that opens every subject below; here only messages that an allow entry matches are delivered.
    /// * Allow entries with a queue pattern are the only ones that count for a queue subscription,
    ///   as soon as one of them covers the subject: `["foo", "foo q1"]` refuses `foo q2`. Without
    ///   a queue only entries without one count.
    /// * A deny entry that is as wide as the subject refuses it; one that only overlaps filters.
    pub fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> SubscribeDecision {
        let admitted = self.subscribe_allow.as_ref().map_or(Admission::Whole, |allow| allow.admits(subject, queue));
        if admitted == Admission::None || self.subscribe_deny.denies(subject, queue) {
            return SubscribeDecision::Refused;
        }
        if admitted == Admission::Part {
            return SubscribeDecision::AllowedFiltered;
        }
        // A literal subject is denied as a whole or not at all.
        if subject::has_wildcard(subject) && self.subscribe_deny.denies_some_of(subject, queue) {
            return SubscribeDecision::AllowedFiltered;
        }
        SubscribeDecision::Allowed
    }

    /// Whether a message on `subject` may be delivered to a filtered subscription, which is in the
    /// queue group `queue` if any.
    pub fn may_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.subscribe_allow.as_ref().is_none_or(|allow| allow.names(subject, queue))
            && !self.subscribe_deny.denies(subject, queue)
    }
}

/// Permissions as JSON (nats-server: `Permissions`).
#[derive(Debug, Default, Serialize)]
pub struct Shown {
    publish: Lists,
    subscribe: Lists,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<Answers>,
}

impl Shown {
    /// The same without leave to publish to `subject`.
    pub fn without(mut self, subject: &[u8]) -> Self {
        self.publish.deny.push(text(subject));
        self
    }
}

#[derive(Debug, Default, Serialize)]
struct Lists {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

/// `allow_responses`; -1 is no limit.
#[derive(Debug, Serialize)]
struct Answers {
    max: i64,
    /// Nanoseconds.
    ttl: i64,
}

/// The permissions of one connection, and what they depend on.
#[derive(Debug)]
pub struct Session {
    rules: Rc<Compiled>,
    /// Whether the lists let it publish. What may be published as a response is not in here.
    decisions: Table<bool>,
    /// The replies it may answer.
    replies: Table<Reply>,
}

/// A reply subject that may be answered.
#[derive(Clone, Copy, Debug)]
struct Reply {
    /// When the request was delivered, nanoseconds since start.
    since: u64,
    answers: u32,
}

impl Session {
    /// A session without history. Subjects are a stranger's: he must not know the seed of `hasher`.
    pub fn new(rules: Rc<Compiled>, hasher: &FixedState) -> Self {
        let (decisions, replies) = (Table::with_hasher(hasher.clone()), Table::with_hasher(hasher.clone()));
        Self { rules, decisions, replies }
    }

    /// The permissions behind it.
    pub fn rules(&self) -> &Rc<Compiled> {
        &self.rules
    }

    /// New permissions after a reload. Open replies stay if responses are still allowed.
    pub fn replace_rules(&mut self, rules: Rc<Compiled>) {
        if rules.responses.is_none() {
            self.replies.clear();
        }
        self.rules = rules;
        self.decisions.clear();
    }

    /// Whether it may publish to `subject` at `now`, nanoseconds since start. A response uses up
    /// one of its answers with this question.
    pub fn may_publish(&mut self, subject: &[u8], now: u64) -> bool {
        self.listed(subject) || self.use_answer(subject, now)
    }

    /// As [`Compiled::may_subscribe`].
    pub fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> SubscribeDecision {
        self.rules.may_subscribe(subject, queue)
    }

    /// As [`Compiled::may_deliver`].
    pub fn may_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.rules.may_deliver(subject, queue)
    }

    /// A message with this reply is being delivered: with `allow_responses` it may be answered.
    /// A reply that is already open starts afresh. (nats-server would take one of its answers.)
    pub fn note_reply(&mut self, reply: &[u8], now: u64) {
        if self.rules.responses.is_none() || reply.is_empty() || self.listed(reply) {
            return;
        }
        let fresh = Reply { since: now, answers: 0 };
        if let Some(open) = self.replies.get_mut(reply) {
            *open = fresh;
            return;
        }
        if self.replies.len() >= OPEN_REPLIES {
            self.prune(now);
        }
        self.replies.insert(reply.into(), fresh);
    }

    /// What the lists say, remembered.
    fn listed(&mut self, subject: &[u8]) -> bool {
        if let Some(&known) = self.decisions.get(subject) {
            return known;
        }
        let decision = self.rules.may_publish(subject);
        if self.decisions.len() >= REMEMBERED_DECISIONS {
            self.decisions.clear();
        }
        self.decisions.insert(subject.into(), decision);
        decision
    }

    fn use_answer(&mut self, subject: &[u8], now: u64) -> bool {
        let Some(responses) = self.rules.responses else { return false };
        let Some(reply) = self.replies.get_mut(subject) else { return false };
        reply.answers = reply.answers.saturating_add(1);
        let answers = reply.answers;
        let granted = responses.max.is_none_or(|max| answers <= max) && !expired(reply, responses.expires, now);
        let more = responses.max.is_none_or(|max| answers < max);
        if !granted || !more {
            self.replies.remove(subject);
        }
        granted
    }

    fn prune(&mut self, now: u64) {
        let limit = self.rules.responses.and_then(|responses| responses.expires);
        self.replies.retain(|_, reply| !expired(reply, limit, now));
        // Several at once, so that not every message pays for a walk over all.
        let mut excess = self.replies.len().saturating_sub(OPEN_REPLIES * 3 / 4);
        if excess == 0 {
            return;
        }
        let mut ages: Vec<u64> = self.replies.values().map(|reply| reply.since).collect();
        let (_, &mut limit, _) = ages.select_nth_unstable(excess - 1);
        // Counted: all of them may be of the same age.
        self.replies.retain(|_, reply| {
            let goes = reply.since <= limit && excess > 0;
            excess -= usize::from(goes);
            !goes
        });
    }
}

fn expired(reply: &Reply, expires: Option<Duration>, now: u64) -> bool {
    expires.is_some_and(|limit| u128::from(now.saturating_sub(reply.since)) > limit.as_nanos())
}

/// How much of what a subscription can match an allow list admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    None,
    /// Its wildcard stands where an entry has a narrower one: the messages must be looked at.
    Part,
    Whole,
}

/// Patterns, of which one must match.
#[derive(Debug, Default)]
struct Patterns {
    /// Sorted.
    literals: Vec<Box<[u8]>>,
    wild: Vec<Box<[u8]>>,
}

impl Patterns {
    fn new<T: AsRef<[u8]>>(patterns: &[T]) -> Self {
        let all = patterns.iter().map(|pattern| Box::from(pattern.as_ref()));
        let (wild, mut literals): (Vec<_>, Vec<Box<[u8]>>) = all.partition(|pattern| subject::has_wildcard(pattern));
        literals.sort_unstable();
        Self { literals, wild }
    }

    fn texts(&self) -> Vec<String> {
        self.literals.iter().chain(&self.wild).map(|pattern| text(pattern)).collect()
    }

    fn has_literal(&self, subject: &[u8]) -> bool {
        self.literals.binary_search_by(|literal| literal.as_ref().cmp(subject)).is_ok()
    }

    /// Whether one matches `subject`, all of whose tokens are taken literally. A subject with an
    /// empty token is matched by nothing.
    fn matches(&self, subject: &[u8]) -> bool {
        self.has_literal(subject)
            || self.wild.iter().any(|pattern| subject::matches(pattern, subject)) && !has_empty_token(subject)
    }

    /// Whether one matches all that `subject` can.
    fn covers(&self, subject: &[u8]) -> bool {
        self.has_literal(subject) || self.wild.iter().any(|pattern| subject::covers(pattern, subject))
    }

    /// As an allow list.
    fn admits(&self, subject: &[u8]) -> Admission {
        if self.covers(subject) {
            return Admission::Whole;
        }
        if self.matches(subject) { Admission::Part } else { Admission::None }
    }

    fn overlaps(&self, subject: &[u8]) -> bool {
        self.literals.iter().chain(&self.wild).any(|pattern| subject::overlaps(pattern, subject))
    }
}

/// The entries of a subscribe list: subjects, and subjects with the pattern of a queue.
#[derive(Debug, Default)]
struct Entries {
    plain: Patterns,
    queued: Vec<Queued>,
}

#[derive(Debug)]
struct Queued {
    subject: Box<[u8]>,
    queue: Box<[u8]>,
}

impl Queued {
    /// The name itself, or a pattern of dotted names: `v1.*`.
    fn is_for(&self, queue: &[u8]) -> bool {
        *self.queue == *queue || subject::has_wildcard(&self.queue) && subject::covers(&self.queue, queue)
    }
}

impl Entries {
    fn new(entries: &[String]) -> Self {
        let mut plain = Vec::new();
        let mut queued = Vec::new();
        for entry in entries {
            let mut words = entry.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some(subject), Some(queue)) => queued.push(Queued { subject: bytes(subject), queue: bytes(queue) }),
                (Some(subject), None) => plain.push(subject),
                (None, _) => {}
            }
        }
        Self { plain: Patterns::new(&plain), queued }
    }

    fn texts(&self) -> Vec<String> {
        let queued = self.queued.iter().map(|entry| format!("{} {}", text(&entry.subject), text(&entry.queue)));
        self.plain.texts().into_iter().chain(queued).collect()
    }

    /// As an allow list.
    fn admits(&self, subject: &[u8], queue: Option<&[u8]>) -> Admission {
        let Some(queue) = queue else { return self.plain.admits(subject) };
        let mut covering = self.queued.iter().filter(|entry| subject::covers(&entry.subject, subject)).peekable();
        if covering.peek().is_none() {
            return self.plain.admits(subject);
        }
        if covering.any(|entry| entry.is_for(queue)) { Admission::Whole } else { Admission::None }
    }

    /// Whether an entry matches `subject` as a whole. Wildcards in it count as literal tokens, so that on a deny list
    /// `in.*` denies `in.>`, too.
    fn names(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.plain.matches(subject) || self.for_queue(queue).any(|entry| subject::matches(&entry.subject, subject))
    }

    /// As a deny list.
    fn denies(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.names(subject, queue)
    }

    /// As a deny list: a part of what `subject` matches.
    fn denies_some_of(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.plain.overlaps(subject) || self.for_queue(queue).any(|entry| subject::overlaps(&entry.subject, subject))
    }

    fn for_queue<'a>(&'a self, queue: Option<&'a [u8]>) -> impl Iterator<Item = &'a Queued> {
        self.queued.iter().filter(move |entry| queue.is_some_and(|queue| entry.is_for(queue)))
    }
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn has_empty_token(subject: &[u8]) -> bool {
    subject::tokens(subject).any(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::SubscribeDecision::{Allowed, AllowedFiltered, Refused};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rules(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Rules { allow: allow.map(owned), deny: owned(deny) }
    }

    fn session(publish: Rules, subscribe: Rules, responses: Option<Responses>) -> Session {
        Session::new(Rc::new(Compiled::new(&Permissions { publish, subscribe, responses })), &FixedState::default())
    }

    fn subscriber(allow: Option<&[&str]>, deny: &[&str]) -> Session {
        session(Rules::default(), rules(allow, deny), None)
    }

    fn asked(session: &Session, subscription: &str) -> SubscribeDecision {
        let mut words = subscription.split(' ').map(str::as_bytes);
        session.may_subscribe(words.next().unwrap_or_default(), words.next())
    }

    fn once(seconds: u64) -> Option<Responses> {
        Some(Responses { max: Some(1), expires: Some(Duration::from_secs(seconds)) })
    }

    /// The user of capture P1.
    fn alice() -> Session {
        let publish = rules(Some(&["ok.>", "req.*"]), &["ok.no"]);
        let subscribe = rules(Some(&["in.>", "_INBOX.>", "q.one g1", "w.*"]), &["in.no", "w.x"]);
        session(publish, subscribe, once(1))
    }

    #[test]
    fn captured_publishes() {
        let mut alice = alice();
        for _ in 0..2 {
            assert!(!alice.may_publish(b"bad.x", 0));
            assert!(!alice.may_publish(b"ok.no", 0));
            assert!(alice.may_publish(b"ok.a", 0));
        }
    }

    #[test]
    fn captured_subscriptions() {
        let alice = alice();
        for (subscription, expected) in [
            ("nope", Refused),
            ("in.no", Refused),
            ("in.>", AllowedFiltered),
            ("q.one", Refused),
            ("q.one g1", Allowed),
            ("q.one g2", Refused),
            ("w.*", AllowedFiltered),
            (">", Refused),
        ] {
            assert_eq!(asked(&alice, subscription), expected, "{subscription}");
        }
        for (subject, delivered) in [("in.no", false), ("in.yes", true), ("w.x", false), ("w.y", true)] {
            assert_eq!(alice.may_deliver(subject.as_bytes(), None), delivered, "{subject}");
        }
    }

    #[test]
    fn captured_response() {
        let mut alice = alice();
        assert!(!alice.may_publish(b"r.bob", 0));
        alice.note_reply(b"r.bob", 0);
        assert!(alice.may_publish(b"r.bob", SECOND));
        assert!(!alice.may_publish(b"r.bob", SECOND));
    }

    /// Against nats-server 2.15.1, which does not filter `in.>` under `in.*` in the allow list.
    #[test]
    fn wide_subscriptions() {
        let allow = subscriber(Some(&["in.*"]), &[]);
        for (subscription, expected) in [
            ("in.>", AllowedFiltered),
            ("in.> q", AllowedFiltered),
            ("in.*", Allowed),
            ("in.x", Allowed),
            ("in", Refused),
            ("in.*.x", Refused),
            ("in.*.>", Refused),
            (">", Refused),
        ] {
            assert_eq!(asked(&allow, subscription), expected, "{subscription}");
        }
        assert!(allow.may_deliver(b"in.y", None) && allow.may_deliver(b"in.y", Some(b"q")));
        assert!(!allow.may_deliver(b"in.a.b", None) && !allow.may_deliver(b"in.a.b", Some(b"q")));
        let queued = subscriber(Some(&["in.*", "in.x q"]), &[]);
        assert!(queued.may_deliver(b"in.x", Some(b"r")), "the whole list counts, not the narrowest entry");
        let deny = subscriber(None, &["in.*"]);
        for (subscription, expected) in [
            ("in.>", Refused),
            ("in.*", Refused),
            ("in.x", Refused),
            (">", AllowedFiltered),
            ("*.x", AllowedFiltered),
            ("out.*", Allowed),
        ] {
            assert_eq!(asked(&deny, subscription), expected, "{subscription}");
        }
        assert!(!deny.may_deliver(b"in.y", None));
        assert!(deny.may_deliver(b"in.a.b", None));
    }

    /// Against nats-server 2.15.1.
    #[test]
    fn queues_in_the_lists() {
        let allow = subscriber(Some(&["foo", "foo q1", "bar q*", "z.* v.*"]), &[]);
        for (subscription, expected) in [
            ("foo", Allowed),
            ("foo q1", Allowed),
            ("foo q2", Refused),
            ("bar q1", Refused),
            ("bar q*", Allowed),
            ("z.1 v.1", Allowed),
            ("z.1 v.*", Allowed),
            ("z.1 v.>", Refused),
            ("z.1 x", Refused),
            ("z.1", Refused),
        ] {
            assert_eq!(asked(&allow, subscription), expected, "{subscription}");
        }
        let deny = subscriber(None, &["foo q1", "w.x g.*"]);
        for (subscription, expected) in [
            ("foo", Allowed),
            ("foo q1", Refused),
            ("foo q2", Allowed),
            ("w.* g.1", AllowedFiltered),
            ("w.* h", Allowed),
            ("w.*", Allowed),
            ("w.x g.2", Refused),
        ] {
            assert_eq!(asked(&deny, subscription), expected, "{subscription}");
        }
        assert!(!deny.may_deliver(b"w.x", Some(b"g.1")));
        assert!(deny.may_deliver(b"w.x", Some(b"h")));
        assert!(deny.may_deliver(b"w.y", Some(b"g.1")));
    }

    /// Against nats-server 2.15.1.
    #[test]
    fn odd_publish_subjects() {
        let mut allow = session(rules(Some(&["foo.>"]), &[]), Rules::default(), None);
        for (subject, expected) in
            [("foo.a", true), ("foo..a", false), ("foo.", false), ("foo.*", true), ("foo.>", true), ("foo", false)]
        {
            assert_eq!(allow.may_publish(subject.as_bytes(), 0), expected, "{subject}");
        }
        let mut deny = session(rules(None, &["foo.x", "bar.*"]), Rules::default(), None);
        for (subject, expected) in
            [("foo.a", true), ("foo..a", true), ("foo.x", false), ("foo.*", true), ("bar.", true), ("bar.b", false)]
        {
            assert_eq!(deny.may_publish(subject.as_bytes(), 0), expected, "{subject}");
        }
    }

    #[test]
    fn empty_allow_lists_allow_nothing() {
        let mut none = session(rules(Some(&[]), &[]), rules(Some(&[]), &[]), None);
        assert!(!none.may_publish(b"a", 0));
        assert_eq!(asked(&none, "a"), Refused);
        let mut all = session(Rules::default(), Rules::default(), None);
        assert!(all.may_publish(b"a", 0));
        assert_eq!(asked(&all, ">"), Allowed);
    }

    #[test]
    fn responses_alone_allow_nothing_else() {
        let mut replier = session(Rules::default(), rules(Some(&["in"]), &[]), once(30));
        assert!(!replier.may_publish(b"out", 0));
        replier.note_reply(b"r", 0);
        assert!(replier.may_publish(b"r", 30 * SECOND));
        replier.note_reply(b"r", 0);
        assert!(!replier.may_publish(b"r", 30 * SECOND + 1), "expired");
        let mut listed = session(rules(Some(&["out"]), &[]), Rules::default(), once(30));
        assert!(listed.may_publish(b"out", 0));
        listed.note_reply(b"out", 0);
        assert!(listed.replies.is_empty(), "what is publishable needs no reply");
    }

    #[test]
    fn unlimited_responses() {
        let responses = Responses { max: None, expires: None };
        let mut replier = session(Rules::default(), Rules::default(), Some(responses));
        replier.note_reply(b"r", 0);
        assert!((0..100).all(|_| replier.may_publish(b"r", u64::MAX)));
        let mut plain = session(rules(Some(&[]), &[]), Rules::default(), None);
        plain.note_reply(b"r", 0);
        assert!(!plain.may_publish(b"r", 0));
    }

    #[test]
    fn a_deny_entry_can_be_answered_when_asked() {
        let mut replier = session(rules(None, &["r.>"]), Rules::default(), once(30));
        replier.note_reply(b"r.1", 0);
        assert!(replier.may_publish(b"r.1", 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut replier = session(Rules::default(), Rules::default(), once(1));
        for i in 0..10_000u64 {
            replier.note_reply(format!("r.{i}").as_bytes(), i);
            assert!(replier.decisions.len() <= REMEMBERED_DECISIONS);
            assert!(replier.replies.len() <= OPEN_REPLIES);
        }
        assert!(replier.may_publish(b"r.9999", 10_000), "the youngest stays");
        let quarter = OPEN_REPLIES - OPEN_REPLIES / 4;
        assert!(replier.replies.len() >= quarter - 1, "and most of the others");
        assert!(!replier.may_publish(b"r.0", 10_000), "the oldest went");
        replier.note_reply(b"late", 5 * SECOND);
        replier.prune(5 * SECOND);
        assert_eq!(replier.replies.len(), 1, "the expired go first");
    }

    #[test]
    fn replies_of_one_age_do_not_all_go_at_once() {
        let mut replier = session(Rules::default(), Rules::default(), once(1));
        for i in 0..=OPEN_REPLIES {
            replier.note_reply(format!("r.{i}").as_bytes(), 7);
        }
        assert_eq!(replier.replies.len(), OPEN_REPLIES * 3 / 4 + 1);
    }

    #[test]
    fn new_rules_forget_decisions() {
        let mut user = alice();
        user.note_reply(b"r", 0);
        assert!(user.may_publish(b"ok.a", 0));
        let stricter = Permissions { publish: rules(Some(&["new"]), &[]), ..Permissions::default() };
        user.replace_rules(Rc::new(Compiled::new(&stricter)));
        assert!(!user.may_publish(b"ok.a", 0));
        assert!(!user.may_publish(b"r", 0));
        assert!(user.may_publish(b"new", 0));
    }

    #[test]
    fn long_lists_answer_as_short_ones() {
        let many: Vec<String> = (0..500).map(|i| format!("s.{i}")).collect();
        let list = Patterns::new(&many);
        assert!(list.matches(b"s.499") && list.matches(b"s.0"));
        assert!(!list.matches(b"s.500") && !list.matches(b"s"));
        let publish = Rules { allow: Some(many), deny: vec![] };
        assert!(session(publish, Rules::default(), None).may_publish(b"s.77", 0));
    }
}
