//! One durable subscription.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::api::{self, Answer, Delivery};
use super::bug::{Bug, planted};
use super::envelope;
use super::pull::{Ask, EXPIRES, Next as Step, Pull};
use super::seen::Seen;
use crate::config::DurableSubscription;
use crate::node::{Nanos, SECOND};
use crate::outbox::time_to_live;
use crate::store::{Append, Batch, DiskError, Log, Next, ReadError, Reader, Refused, Seq, Settings, State, Time, Want};

/// Messages published here whose receivers' disks have not answered, at most.
const PUBLISHED_MAX: usize = 1024;
/// What was here is acknowledged once more, so many messages at most.
const CONFIRMED_MAX: usize = 4096;
/// After a file could not be read, or a request found no way to the hub, how long until the next try.
const AGAIN_AFTER: Nanos = SECOND;
/// Where a log keeps the name of its leaf, and what has been here.
const LEAF_KEY: &[u8] = b"leaf";
const SEEN_KEY: &[u8] = b"seen";
/// What a hub is told of a message that is here.
const ACK: &[u8] = b"+ACK";

/// Why nothing comes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no link.
    NoLink,
    /// The hub did not say of which domain its JetStream is.
    NoDomain,
    /// The hub does not answer: what was asked.
    NoAnswer(&'static str),
    /// The hub says no.
    Refused(String),
    /// There is no room here.
    Full,
    /// The log does not take messages.
    Log(Refused),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLink => f.write_str("no link"),
            Self::NoDomain => f.write_str(
                "the hub's JetStream has no domain, so that no leaf node can reach it: set `jetstream { domain: … }` there",
            ),
            Self::NoAnswer(what) => {
                write!(f, "no answer to {what}: no JetStream there, or its user of this link may not ask")
            }
            Self::Refused(text) => write!(f, "the hub says: {text}"),
            Self::Full => f.write_str("full: messages wait here for somebody who listens"),
            Self::Log(refused) => write!(f, "messages cannot be kept: {refused}"),
        }
    }
}

/// What goes to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel<'a> {
    /// Where to.
    pub subject: &'a [u8],
    /// Where the answer goes; empty for none.
    pub reply: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
}

/// What is to be done on this side.
#[derive(Debug)]
pub enum Down<'a> {
    /// Publish this here; then call [`Downlink::published`].
    Publish {
        /// Where.
        subject: &'a [u8],
        /// Bytes of `body` that are its header block.
        header_len: usize,
        /// Header block and payload.
        body: &'a [u8],
    },
    /// These bytes of the log are needed: read them and call [`Downlink::read_done`].
    Want(Want),
    /// Nothing now.
    Nothing,
}

/// Figures for monitoring, since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages taken in.
    pub received: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that were not taken when they came; the hub sends them again.
    pub put_off: u64,
    /// Acknowledgements given to the hub.
    pub acknowledged: u64,
    /// Messages published here.
    pub published: u64,
    /// Messages that left the log unpublished: their time was over.
    pub expired: u64,
    /// Requests that the hub did not grant.
    pub failures: u64,
    /// Times that the stream was found to be another one than before.
    pub made_anew: u64,
}

/// A message on its way to the hub's consumer.
#[derive(Debug)]
struct Acknowledgement {
    /// Not before this is on disk.
    commit: u64,
    seq: Seq,
    subject: Box<[u8]>,
    /// The number of the request that asks for an answer; 0 for none.
    confirm: u64,
}

/// Published here, and not yet gone from the log.
#[derive(Debug)]
struct Published {
    subject: Box<[u8]>,
    counted: u64,
    promise: u64,
}

/// What goes to the hub next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Acknowledgement,
    Ask(Ask),
}

/// See the [module](super).
#[derive(Debug)]
pub struct Downlink {
    settings: DurableSubscription,
    leaf: Box<str>,
    consumer: Box<str>,
    domain: Option<Box<str>>,
    /// The commit that keeps the name. Nothing is asked before it is done: the next start would give it another one.
    named: u64,
    log: Log,
    reader: Reader,
    /// The log was read once: it is known what is in it.
    is_read: bool,
    /// Messages of the log, before the reader's place, that nobody listens to.
    waiting: u64,
    seen: Seen,
    /// The same of what is on disk, and what is not yet: commit, number, time.
    safe: Seen,
    unsafe_yet: VecDeque<(u64, Seq, Time)>,
    pull: Pull,
    up: bool,
    acks: VecDeque<Acknowledgement>,
    published: BTreeMap<Seq, Published>,
    /// The message that [`Down::Publish`] gave last.
    in_hand: Option<(Seq, Published)>,
    figures: Figures,
    obstacle: Option<Obstacle>,
    /// No record is looked for, or no request made, before this.
    read_again: Option<Nanos>,
    send_again: Option<Nanos>,
    turn: Option<Turn>,
    subject: Vec<u8>,
    reply: Vec<u8>,
    body: Vec<u8>,
}

/// How a log for these settings is to be kept.
pub fn log_settings(settings: &DurableSubscription) -> Settings {
    // Its other limits are kept by asking for no more.
    Settings { age_max: Time::try_from(settings.age_max.as_nanos()).unwrap_or(0), ..Settings::default() }
}

/// The pattern of all that the hub sends for a subscription.
pub fn replies(leaf: &str, name: &str) -> String {
    format!("_INBOX.{leaf}.down.{name}.*")
}

impl Downlink {
    /// A log that was just opened. `name` is the leaf's, if the log has none yet; `server` what the consumer is named after.
    ///
    /// # Errors
    /// When the log cannot keep the name.
    pub fn new(
        settings: DurableSubscription,
        mut log: Log,
        wall: Time,
        name: &str,
        server: &str,
    ) -> Result<Self, Refused> {
        let kept = log.kept(LEAF_KEY).and_then(|kept| std::str::from_utf8(kept).ok()).map(Into::into);
        let (leaf, named): (Box<str>, _) = match kept {
            Some(leaf) => (leaf, 0),
            None => (name.into(), log.keep(wall, LEAF_KEY, Some(name.as_bytes()))?),
        };
        let seen = log.kept(SEEN_KEY).map_or_else(Seen::default, Seen::decode);
        let owner = if server.is_empty() { &*leaf } else { server };
        let of_owner = || format!("{owner}_{}", settings.name).replace(|c: char| !is_plain(c), "_");
        Ok(Self {
            consumer: settings.consumer.clone().unwrap_or_else(of_owner).into(),
            domain: settings.domain.as_deref().map(Into::into),
            reader: Reader::new(log.first_seq()),
            is_read: planted(Bug::LogNotRead),
            waiting: 0,
            safe: seen.clone(),
            seen,
            unsafe_yet: VecDeque::new(),
            pull: Pull::new(settings.ack_wait),
            settings,
            leaf,
            named,
            log,
            up: false,
            acks: VecDeque::new(),
            published: BTreeMap::new(),
            in_hand: None,
            figures: Figures::default(),
            obstacle: Some(Obstacle::NoLink),
            read_again: None,
            send_again: None,
            turn: None,
            subject: Vec::new(),
            reply: Vec::new(),
            body: Vec::new(),
        })
    }

    /// As configured.
    pub fn settings(&self) -> &DurableSubscription {
        &self.settings
    }

    /// The name by which the hub knows this leaf.
    pub fn leaf(&self) -> &str {
        &self.leaf
    }

    /// The consumer at the hub.
    pub fn consumer(&self) -> &str {
        &self.consumer
    }

    /// The JetStream domain, once it is known.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Figures of the log.
    pub fn state(&self) -> State {
        self.log.state()
    }

    /// Figures.
    pub fn figures(&self) -> Figures {
        Figures { expired: self.log.state().discarded, ..self.figures }
    }

    /// Why nothing comes down, if something is in the way.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        self.obstacle.as_ref()
    }

    /// Messages here that nobody listens to.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The highest number in the stream that has been here.
    pub fn last_seq(&self) -> Seq {
        self.seen.last()
    }

    /// Messages that wait for the disk, or for their acknowledgement to be sent.
    pub fn unacknowledged(&self) -> usize {
        self.acks.len()
    }

    /// The link is up; `domain` is what the hub says of its JetStream, empty for nothing.
    pub fn link_up(&mut self, domain: &str) {
        self.up = true;
        self.acks.retain(|ack| ack.confirm == 0);
        self.pull.restart();
        if self.settings.domain.is_none() {
            self.domain = Some(domain).filter(|domain| !domain.is_empty()).map(Into::into);
        }
        self.obstacle = self.domain.is_none().then_some(Obstacle::NoDomain);
    }

    /// The link is down.
    pub fn link_down(&mut self) {
        self.up = false;
        // Where they went nobody knows; what is in doubt is settled on the next link.
        self.acks.clear();
        self.pull.restart();
        self.obstacle = Some(Obstacle::NoLink);
    }

    /// The hub's interest is another one, so that what found no way may find one.
    pub fn interest_changed(&mut self) {
        self.send_again = None;
    }

    /// Somebody here listens to more than before.
    pub fn audience_changed(&mut self) {
        if self.is_read && self.waiting > 0 {
            self.waiting = 0;
            self.reader.seek(self.log.first_seq());
        }
    }

    /// A message of the hub on one of the subjects that [`replies`] names, or one of the stream itself.
    pub fn hear(
        &mut self,
        now: Nanos,
        wall: Time,
        subject: &[u8],
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> bool {
        if let Some(delivery) = Delivery::read(reply) {
            let ours =
                delivery.stream == self.settings.stream.as_bytes() && delivery.consumer == self.consumer.as_bytes();
            if ours {
                self.take_in(now, wall, &delivery, subject, reply, headers, payload);
            }
            return ours;
        }
        let Some((kind, number)) = self.of_reply(subject) else { return false };
        match kind {
            b'i' | b'c' if self.pull.is_current(number) => self.answered(now, headers, payload),
            b'r' if self.pull.is_current(number) => {
                let done = matches!(Answer::read(&self.settings, headers, payload), Answer::Consumer(_));
                self.pull.reset(now, done);
            }
            b'a' if self.pull.is_current(number) => self.pull.all_confirmed(),
            b'n' if self.pull.is_current(number) => self.status(now, headers),
            _ => {}
        }
        true
    }

    /// Whether a subject is one of those that [`replies`] names.
    pub fn is_reply(&self, subject: &[u8]) -> bool {
        self.of_reply(subject).is_some()
    }

    fn of_reply(&self, subject: &[u8]) -> Option<(u8, u64)> {
        let rest = subject.strip_prefix(b"_INBOX.")?.strip_prefix(self.leaf.as_bytes())?.strip_prefix(b".down.")?;
        let token = rest.strip_prefix(self.settings.name.as_bytes())?.strip_prefix(b".")?;
        let (&kind, number) = token.split_first()?;
        Some((kind, std::str::from_utf8(number).ok()?.parse().ok()?))
    }

    /// How the consumer stands.
    fn answered(&mut self, now: Nanos, headers: &[u8], payload: &[u8]) {
        match Answer::read(&self.settings, headers, payload) {
            Answer::Consumer(standing) => {
                self.seen.raise(standing.floor);
                self.safe.raise(standing.floor);
                self.obstacle = None;
                let some = self.seen.last() > standing.floor;
                if self.pull.found(&standing, some) {
                    self.acknowledge_again(now);
                }
            }
            Answer::NoConsumer => self.pull.missing(),
            Answer::Trouble(text) => self.fail(now, Obstacle::Refused(text)),
        }
    }

    /// What was here, the hub is told of once more; it says when it has heard of the last.
    fn acknowledge_again(&mut self, now: Nanos) {
        let number = self.pull.number();
        let (stream, consumer) = (&self.settings.stream, &self.consumer);
        let log_behind = self.log.commit_number();
        let mut again: Vec<Acknowledgement> = self
            .seen
            .above(CONFIRMED_MAX)
            .map(|seq| Acknowledgement {
                commit: log_behind,
                seq,
                subject: api::acknowledgement(stream, consumer, seq).into(),
                confirm: 0,
            })
            .collect();
        if let Some(last) = again.last_mut() {
            last.confirm = number;
        }
        self.acks.clear();
        self.acks.extend(again);
        self.pull.confirming(now);
    }

    /// The end of a request for messages.
    fn status(&mut self, now: Nanos, headers: &[u8]) {
        match api::status(headers) {
            Some((100, _)) | None => {}
            Some((404 | 408, _)) => self.pull.over(),
            Some((503, _)) => self.fail(now, Obstacle::Refused("no such consumer".to_owned())),
            Some((code, words)) => self.fail(now, Obstacle::Refused(format!("{words} ({code})"))),
        }
    }

    fn fail(&mut self, now: Nanos, why: Obstacle) {
        self.figures.failures += 1;
        self.obstacle = Some(why);
        self.pull.failed(now);
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one message")]
    fn take_in(
        &mut self,
        now: Nanos,
        wall: Time,
        delivery: &Delivery<'_>,
        subject: &[u8],
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) {
        self.pull.message_came();
        if self.seen.is_outdated_by(delivery.seq, delivery.time) {
            (self.seen, self.safe) = Default::default();
            self.unsafe_yet.clear();
            self.figures.made_anew += 1;
        }
        if self.seen.contains(delivery.seq) {
            self.figures.duplicates += 1;
            let known = self.acks.iter().any(|ack| ack.seq == delivery.seq);
            if !known && !planted(Bug::RepeatNotAnswered) {
                // Its record may still be on its way to the disk.
                let commit = self.log.commit_number();
                self.acks.push_back(Acknowledgement { commit, seq: delivery.seq, subject: reply.into(), confirm: 0 });
            }
            return;
        }
        if !self.pull.is_open() || !self.is_read {
            self.figures.put_off += 1;
            return self.pull.passed_over(now);
        }
        if planted(Bug::CursorBeforeRecord) {
            self.seen.insert(delivery.seq, delivery.time);
            let _ = self.log.keep(wall, SEEN_KEY, Some(&self.seen.encode()));
        }
        let id = format!("{}.{}", delivery.seq, delivery.time);
        let deadline = time_to_live(headers).map(|nanos| delivery.time.saturating_add(nanos));
        let append = Append { subject, headers, payload, msg_id: id.as_bytes(), deadline };
        match self.log.append(wall, &append) {
            Ok(appended) => {
                self.figures.received += 1;
                self.seen.insert(delivery.seq, delivery.time);
                let (commit, seq) = (appended.commit, delivery.seq);
                self.unsafe_yet.push_back((commit, seq, delivery.time));
                self.acks.push_back(Acknowledgement { commit, seq, subject: reply.into(), confirm: 0 });
                self.pull.bound(now, self.seen.stretches());
            }
            Err(refused) => {
                self.figures.put_off += 1;
                self.obstacle = Some(Obstacle::Log(refused));
                self.pull.passed_over(now);
            }
        }
    }

    /// What goes to the hub next; then call [`Self::sent`] or [`Self::not_sent`].
    pub fn poll_hub(&mut self, now: Nanos) -> Option<Parcel<'_>> {
        if !self.up || self.send_again.is_some_and(|at| now < at) {
            return None;
        }
        self.send_again = None;
        self.reply.clear();
        self.body.clear();
        let early = planted(Bug::AcknowledgedBeforeSync);
        if let Some(ack) = self.acks.front().filter(|ack| early || self.log.is_committed(ack.commit)) {
            self.subject.clear();
            self.subject.extend_from_slice(&ack.subject);
            if ack.confirm > 0 {
                self.reply = self.inbox('a', ack.confirm);
            }
            self.body.extend_from_slice(ACK);
            self.turn = Some(Turn::Acknowledgement);
            return Some(Parcel { subject: &self.subject, reply: &self.reply, body: &self.body });
        }
        let domain = self.domain.as_deref()?;
        if !self.is_read || !self.log.is_committed(self.named) {
            return None;
        }
        let Step::Ask(ask) = self.pull.next(now, self.room(), self.settings.batch, self.seen.stretches()) else {
            return None;
        };
        let (verb, kind, body) = match ask {
            Ask::Info => ("INFO", 'i', Vec::new()),
            Ask::Create => ("DURABLE.CREATE", 'c', api::create(&self.settings, &self.consumer)),
            Ask::Reset => ("RESET", 'r', Vec::new()),
            Ask::Next(count) => ("MSG.NEXT", 'n', api::next(count, EXPIRES)),
        };
        self.subject = api::subject(domain, verb, &self.settings.stream, &self.consumer);
        self.reply = self.inbox(kind, self.pull.number());
        self.body = body;
        self.turn = Some(Turn::Ask(ask));
        Some(Parcel { subject: &self.subject, reply: &self.reply, body: &self.body })
    }

    fn inbox(&self, kind: char, number: u64) -> Vec<u8> {
        format!("_INBOX.{}.down.{}.{kind}{number}", self.leaf, self.settings.name).into_bytes()
    }

    /// Messages that there is room for.
    fn room(&self) -> usize {
        let state = self.log.state();
        let DurableSubscription { msgs_max, bytes_max, batch, .. } = self.settings;
        if bytes_max > 0 && state.bytes >= bytes_max {
            return 0;
        }
        match msgs_max {
            0 => batch,
            max => usize::try_from(max.saturating_sub(state.messages)).unwrap_or(usize::MAX),
        }
    }

    /// What [`Self::poll_hub`] gave was sent.
    pub fn sent(&mut self, now: Nanos) {
        match self.turn.take() {
            Some(Turn::Acknowledgement) => {
                self.acks.pop_front();
                self.figures.acknowledged += 1;
                if self.acks.is_empty() {
                    self.acks.shrink_to(64);
                }
            }
            Some(Turn::Ask(ask)) => self.pull.asked(now, ask),
            None => {}
        }
    }

    /// The link did not take it: nobody at the hub listens to that.
    pub fn not_sent(&mut self, now: Nanos) {
        match self.turn.take() {
            Some(Turn::Ask(Ask::Reset)) => self.pull.reset(now, false),
            Some(Turn::Ask(_)) => {
                let what = match self.domain() {
                    Some(_) => "$JS.<domain>.API requests",
                    None => "requests",
                };
                self.fail(now, Obstacle::NoAnswer(what));
            }
            Some(Turn::Acknowledgement) | None => {}
        }
        self.send_again = Some(now + AGAIN_AFTER);
    }

    /// What is to be done here next; `heard` says whether somebody listens to a subject.
    pub fn poll_here(&mut self, now: Nanos, heard: &mut dyn FnMut(&[u8]) -> bool) -> Down<'_> {
        if self.read_again.is_some_and(|at| now < at) || self.published.len() >= PUBLISHED_MAX {
            return Down::Nothing;
        }
        self.read_again = None;
        loop {
            match self.reader.poll(&self.log) {
                Ok(Next::Message(record)) => {
                    let Some((seq, time)) = id_of(record.msg_id) else { continue };
                    if !self.is_read {
                        self.seen.insert(seq, time);
                        self.safe.insert(seq, time);
                        continue;
                    }
                    if self.published.contains_key(&record.seq) {
                        continue;
                    }
                    if !heard(record.subject) {
                        self.waiting += 1;
                        continue;
                    }
                    let subject = record.subject.into();
                    self.in_hand =
                        Some((record.seq, Published { subject, counted: record.counted_bytes(), promise: 0 }));
                    self.subject.clear();
                    self.subject.extend_from_slice(record.subject);
                    self.body.clear();
                    envelope::write(&self.settings.stream, seq, record.headers, &mut self.body);
                    let header_len = self.body.len();
                    self.body.extend_from_slice(record.payload);
                    return Down::Publish { subject: &self.subject, header_len, body: &self.body };
                }
                Ok(Next::Want(want)) => return Down::Want(want),
                Ok(Next::Waiting) => return Down::Nothing,
                Ok(Next::End) if !self.is_read => {
                    self.is_read = true;
                    self.reader.seek(self.log.first_seq());
                }
                Ok(Next::End) => {
                    self.reader.rest();
                    return Down::Nothing;
                }
                Err(_) => {
                    self.read_again = Some(now + AGAIN_AFTER);
                    return Down::Nothing;
                }
            }
        }
    }

    /// The message in hand was published; it may go once `promise` is kept.
    pub fn published(&mut self, promise: u64) {
        let Some((seq, published)) = self.in_hand.take() else { return };
        self.figures.published += 1;
        self.published.insert(seq, Published { promise, ..published });
    }

    /// All promises up to this one are kept: what rests on them leaves the log, and that it was here stays known.
    pub fn kept(&mut self, wall: Time, promise: u64) {
        let goes = |published: &Published| published.promise <= promise || planted(Bug::RemovedOnPublish);
        if self.log.failed().is_some() || !self.published.values().any(goes) {
            return;
        }
        if !planted(Bug::SeenNotKept) && self.log.keep(wall, SEEN_KEY, Some(&self.safe.encode())).is_err() {
            return;
        }
        let mut trimmed = self.log.first_seq();
        let log = &mut self.log;
        self.published.retain(|&seq, published| {
            if !goes(published) {
                return true;
            }
            if log.count_from(trimmed) == log.count_from(seq) {
                trimmed = seq + 1;
            } else {
                log.delete_counted(wall, seq, &published.subject, published.counted);
            }
            false
        });
        self.log.trim(wall, trimmed);
        if self.obstacle == Some(Obstacle::Full) {
            self.obstacle = None;
        }
    }

    /// What the disk must do next.
    pub fn poll_batch(&mut self, wall: Time) -> Option<Batch> {
        self.log.poll_batch(wall)
    }

    /// The batch is done, or stopped at an error.
    pub fn batch_done(&mut self, wall: Time, result: Result<Vec<u8>, DiskError>) {
        self.log.batch_done(wall, result);
        while let Some((_, seq, time)) = self.unsafe_yet.pop_front_if(|(commit, ..)| self.log.is_committed(*commit)) {
            self.safe.insert(seq, time);
        }
    }

    /// What was read of the bytes that [`Down::Want`] asked for.
    pub fn read_done(&mut self, want: Want, result: Result<&[u8], ReadError>) {
        self.reader.filled(want, result);
    }

    /// The log failed and was opened again. The link is to be made known again, too.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reopened(&mut self, log: Log, wall: Time, name: &str, server: &str) -> Result<(), Refused> {
        let fresh = Self::new(self.settings.clone(), log, wall, name, server)?;
        let old = std::mem::replace(self, fresh);
        self.figures = old.figures;
        Ok(())
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos, wall: Time) {
        self.log.tick(wall);
        if self.up && self.pull.tick(now) {
            self.figures.failures += 1;
            self.obstacle = Some(Obstacle::NoAnswer("a request about the consumer"));
        }
        if self.up && self.pull.is_well() && self.room() == 0 && self.obstacle.is_none() {
            self.obstacle = Some(Obstacle::Full);
        }
    }

    /// When [`Self::tick`], [`Self::poll_hub`] or [`Self::poll_batch`] must be called again at the latest: by the node's clock,
    /// and by the wall's.
    pub fn deadline(&self, now: Nanos) -> (Option<Nanos>, Option<Time>) {
        let step = self.pull.next(now, self.room(), self.settings.batch, self.seen.stretches());
        let asked = match step {
            Step::Wait(at) if self.up => at,
            // Everything else waits for the link or the disk.
            Step::Wait(_) | Step::Ask(_) => None,
        };
        let due = [asked, self.read_again, self.send_again.filter(|_| self.up)].into_iter().flatten().min();
        (due, self.log.deadline())
    }
}

/// What stands for a message's number and time in the stream in the log.
fn id_of(msg_id: &[u8]) -> Option<(Seq, Time)> {
    let (seq, time) = std::str::from_utf8(msg_id).ok()?.split_once('.')?;
    Some((seq.parse().ok()?, time.parse().ok()?))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
