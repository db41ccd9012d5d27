//! One log of store-and-forward.

use std::fmt;

use super::acks::Acks;
use super::bug::{Bug, planted};
use super::envelope;
use super::pub_ack::{self, Answer};
use super::upstream::{self, Confirm, Upstream};
use crate::config::Forward;
use crate::message::Message;
use crate::node::{Nanos, SECOND};
use crate::store::{
    Append, Appended, Batch, DiskError, Log, Next, ReadError, Reader, Refused, Seq, Settings, State, Time, Want,
};

/// What is confirmed is let go of at the latest after this: each time costs a record on flash.
const TRIM_AFTER: Nanos = SECOND;
/// After a file could not be read, how long until the next try.
const READ_AGAIN_AFTER: Nanos = SECOND;
/// Where a log keeps the name of its leaf.
const LEAF_KEY: &[u8] = b"leaf";

/// Why a message was not taken into a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It depends on the state of a stream that nobody can know before it is there.
    Expectation,
    /// Too many publishers wait for an answer.
    Busy,
    /// The log says no.
    Log(Refused),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expectation => f.write_str("Nats-Expected headers cannot be checked on the way to the stream"),
            Self::Busy => f.write_str("too many publishers wait for the disk"),
            Self::Log(refused) => refused.fmt(f),
        }
    }
}

/// Why nothing goes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no link.
    NoLink,
    /// Nobody at the hub listens to this subject, not even a stream: it would be thrown away there.
    NoInterest(Box<[u8]>),
    /// The hub does not take a record now.
    Refused(String),
    /// A record cannot be read.
    Unreadable(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLink => f.write_str("no link"),
            Self::NoInterest(subject) => write!(f, "no interest in {}", String::from_utf8_lossy(subject)),
            Self::Refused(text) => write!(f, "refused: {text}"),
            Self::Unreadable(text) => write!(f, "cannot be read: {text}"),
        }
    }
}

/// What is to go to the link, or to be done first.
#[derive(Debug)]
pub enum Up<'a> {
    /// This message.
    Send(Envelope<'a>),
    /// A fence, whose return is told to [`Outbox::fence_returned`].
    Fence,
    /// These bytes of the log are needed: read them and call [`Outbox::read_done`].
    Want(Want),
    /// Nothing now.
    Nothing,
}

/// A record as it goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Which record it is.
    pub seq: Seq,
    /// Where it was published.
    pub subject: &'a [u8],
    /// Where its answer goes; empty with `confirm: routed`.
    pub reply: &'a [u8],
    /// Bytes of `body` that are its header block.
    pub header_len: usize,
    /// Header block and payload.
    pub body: &'a [u8],
}

/// Figures for monitoring, since the log was opened but for what is said of its contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages taken in.
    pub captured: u64,
    /// Duplicates by message id, not taken in again.
    pub duplicates: u64,
    /// Messages that were not taken, whatever the reason.
    pub not_taken: u64,
    /// Messages that left the log without an answer: a limit, their age, or a refusal for good.
    pub dropped: u64,
    /// Acknowledgements given.
    pub acknowledged: u64,
    /// Records that could not be read any more.
    pub unreadable: u64,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Outbox {
    settings: Forward,
    leaf: Box<str>,
    /// The commit that keeps this name. Nothing goes up before it is done: the next start would give it another one.
    named: u64,
    log: Log,
    reader: Reader,
    /// From which number on the reader looks; it may have come further without finding anything.
    looking_from: Seq,
    upstream: Upstream,
    acks: Acks,
    figures: Figures,
    obstacle: Option<Obstacle>,
    /// No record is looked for before this.
    read_again: Option<Nanos>,
    /// What is confirmed is to be let go of at this moment.
    trim_due: Option<Nanos>,
    /// Damage the reader had met when last asked.
    damage: u64,
    reply: Vec<u8>,
    body: Vec<u8>,
    subject: Vec<u8>,
}

/// How a log for these settings is to be kept.
pub fn log_settings(forward: &Forward) -> Settings {
    let nanos = |duration: std::time::Duration| Time::try_from(duration.as_nanos()).unwrap_or(0);
    Settings {
        commit_interval: nanos(forward.commit_interval),
        msgs_max: forward.msgs_max,
        bytes_max: forward.bytes_max,
        age_max: nanos(forward.age_max),
        discard: forward.discard,
        dedupe_window: nanos(forward.dedupe_window),
        ..Settings::default()
    }
}

impl Outbox {
    /// A log that was just opened. `name` is the leaf's, if the log has none yet.
    ///
    /// # Errors
    /// When the log cannot keep the name.
    pub fn new(settings: Forward, mut log: Log, wall: Time, name: &str) -> Result<Self, Refused> {
        let kept = log.kept(LEAF_KEY).and_then(|kept| std::str::from_utf8(kept).ok()).map(Into::into);
        let (leaf, named): (Box<str>, _) = match kept {
            Some(leaf) => (leaf, 0),
            None => (name.into(), log.keep(wall, LEAF_KEY, Some(name.as_bytes()))?),
        };
        let confirmed = log.first_seq() - u64::from(!planted(Bug::CursorOneTooFar));
        Ok(Self {
            upstream: Upstream::new(settings.terms.clone(), confirmed),
            reader: Reader::new(confirmed + 1),
            looking_from: confirmed + 1,
            settings,
            leaf,
            named,
            log,
            acks: Acks::default(),
            figures: Figures::default(),
            obstacle: Some(Obstacle::NoLink),
            read_again: None,
            trim_due: None,
            damage: 0,
            reply: Vec::new(),
            body: Vec::new(),
            subject: Vec::new(),
        })
    }

    /// As configured.
    pub fn settings(&self) -> &Forward {
        &self.settings
    }

    /// The name by which the hub knows this log's records.
    pub fn leaf(&self) -> &str {
        &self.leaf
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
        self.figures
    }

    /// What was sent and what was answered.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Why nothing goes up, if something is in the way.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        self.obstacle.as_ref()
    }

    /// Messages without an answer.
    pub fn backlog(&self) -> u64 {
        self.log.count_from(self.upstream.confirmed() + 1)
    }

    /// When the oldest message without an answer was taken in, or a little earlier; `None` when there is none.
    pub fn oldest_pending(&self) -> Option<Time> {
        if self.backlog() == 0 {
            return None;
        }
        self.log.time_before(self.upstream.confirmed() + 1)
    }

    /// Takes a message in. If it has a reply subject, its publisher is answered once it is on disk (see
    /// [`Self::poll_ack`]), and not before.
    ///
    /// # Errors
    /// When it is not taken; its publisher is to be told with [`Self::refusal`].
    pub fn capture(&mut self, wall: Time, message: &Message<'_>) -> Result<u64, NotTaken> {
        let taken = self.take_in(wall, message);
        match &taken {
            Ok(appended) if appended.duplicate => self.figures.duplicates += 1,
            Ok(_) => self.figures.captured += 1,
            Err(_) => self.figures.not_taken += 1,
        }
        self.note_losses();
        let appended = taken?;
        if !message.reply.is_empty() {
            self.acks.push(appended, message.reply);
        }
        Ok(appended.commit)
    }

    fn take_in(&mut self, wall: Time, message: &Message<'_>) -> Result<Appended, NotTaken> {
        let (headers, payload) = message.body.split_at(message.header_len);
        if !message.reply.is_empty() && !self.acks.has_room(message.reply) {
            return Err(NotTaken::Busy);
        }
        if !headers.is_empty() && envelope::has_expectation(headers) {
            return Err(NotTaken::Expectation);
        }
        let append = Append {
            subject: message.subject,
            headers,
            payload,
            msg_id: envelope::msg_id(headers),
            deadline: envelope::time_to_live(headers).map(|nanos| wall.saturating_add(nanos)),
        };
        match self.log.append(wall, &append) {
            // What is confirmed may still stand there.
            Err(Refused::Full) if self.trim(wall) => self.log.append(wall, &append).map_err(NotTaken::Log),
            taken => taken.map_err(NotTaken::Log),
        }
    }

    /// What the publisher of a message is told that was not taken.
    pub fn refusal(&self, why: &NotTaken, into: &mut Vec<u8>) {
        pub_ack::not_taken(&self.settings.name, why, into);
    }

    /// The next publisher whose message is on disk by now: its reply subject, and what to tell it.
    pub fn poll_ack(&mut self, reply: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        let log = &self.log;
        let Some((seq, duplicate)) =
            self.acks.pop(|commit| log.is_committed(commit) || planted(Bug::AcknowledgedBeforeSync), reply)
        else {
            return false;
        };
        body.clear();
        pub_ack::taken(&self.settings.name, seq, duplicate, body);
        self.figures.acknowledged += 1;
        true
    }

    /// What the disk must do next.
    pub fn poll_batch(&mut self, wall: Time) -> Option<Batch> {
        self.log.poll_batch(wall)
    }

    /// The batch is done, or stopped at an error.
    pub fn batch_done(&mut self, wall: Time, result: Result<Vec<u8>, DiskError>) {
        self.log.batch_done(wall, result);
        if self.log.failed().is_some() {
            self.figures.not_taken += self.acks.forget() as u64;
        }
        self.note_losses();
    }

    /// The link is up.
    pub fn link_up(&mut self, now: Nanos) {
        self.upstream.link_up(now);
        self.obstacle = None;
    }

    /// The link is down.
    pub fn link_down(&mut self) {
        self.upstream.link_down();
        self.obstacle = Some(Obstacle::NoLink);
        self.reader.rest();
    }

    /// The hub's interest is another one.
    pub fn interest_changed(&mut self) {
        if matches!(self.obstacle, Some(Obstacle::NoInterest(_))) {
            self.obstacle = None;
        }
    }

    /// What goes up next, if the link has room for it. `wanted` says whether somebody at the hub listens to a subject.
    pub fn poll_up(&mut self, now: Nanos, wanted: &mut dyn FnMut(&[u8]) -> bool) -> Up<'_> {
        if matches!(self.obstacle, Some(Obstacle::NoInterest(_))) || self.read_again.is_some_and(|at| now < at) {
            return Up::Nothing;
        }
        self.read_again = None;
        if !self.log.is_committed(self.named) {
            return Up::Nothing;
        }
        loop {
            let from = match self.upstream.next(now, self.log.committed()) {
                upstream::Next::Send(from) => from,
                upstream::Next::Fence => {
                    self.upstream.fence_sent();
                    return Up::Fence;
                }
                upstream::Next::Wait(_) => {
                    self.reader.rest();
                    return Up::Nothing;
                }
            };
            if self.looking_from != from {
                self.reader.seek(from);
                self.looking_from = from;
            }
            let found = self.reader.poll(&self.log);
            match found {
                Ok(Next::Message(record)) => {
                    let routed = self.settings.terms.confirm == Confirm::Routed;
                    if !wanted(record.subject) {
                        self.obstacle = Some(Obstacle::NoInterest(record.subject.into()));
                        self.reader.seek(from);
                        return Up::Nothing;
                    }
                    self.subject.clear();
                    self.subject.extend_from_slice(record.subject);
                    let name = &self.settings.name;
                    self.body.clear();
                    let again = if planted(Bug::NewIdEachTime) { self.upstream.figures().sent << 32 } else { 0 };
                    envelope::header(&self.leaf, name, record.seq | again, record.headers, &mut self.body);
                    let header_len = self.body.len();
                    self.body.extend_from_slice(record.payload);
                    self.reply.clear();
                    if !routed {
                        envelope::reply(&self.leaf, name, record.seq, &mut self.reply);
                    }
                    let bytes = self.subject.len() + self.reply.len() + self.body.len();
                    self.upstream.sent(now, record.seq, bytes);
                    self.looking_from = record.seq + 1;
                    if planted(Bug::TrimmedOnSend) {
                        self.upstream.stored(now, record.seq);
                    }
                    return Up::Send(Envelope {
                        seq: record.seq,
                        subject: &self.subject,
                        reply: &self.reply,
                        header_len,
                        body: &self.body,
                    });
                }
                Ok(Next::Want(want)) => return Up::Want(want),
                Ok(Next::Waiting) => return Up::Nothing,
                Ok(Next::End) => self.upstream.gone_from(from, self.log.committed()),
                Err(error) => {
                    self.obstacle = Some(Obstacle::Unreadable(error.to_string()));
                    self.read_again = Some(now + READ_AGAIN_AFTER);
                    return Up::Nothing;
                }
            }
        }
    }

    /// What was read of the bytes that [`Up::Want`] asked for.
    pub fn read_done(&mut self, want: Want, result: Result<&[u8], ReadError>) {
        self.reader.filled(want, result);
    }

    /// A message on one of the subjects that [`envelope::replies`] names; says whether it was an answer.
    pub fn hear(&mut self, now: Nanos, wall: Time, subject: &[u8], headers: &[u8], payload: &[u8]) -> bool {
        let Some((_, seq)) = envelope::of_reply(&self.leaf, subject) else { return false };
        self.answered(now, wall, seq, headers, payload);
        true
    }

    /// The link did not take the record `seq`: the other side would not have it, or it is too large there.
    pub fn not_sent(&mut self, now: Nanos, seq: Seq) {
        self.obstacle = Some(Obstacle::Refused("the hub's link does not take it".to_owned()));
        self.upstream.refused(now, seq);
    }

    /// The log failed and was opened again.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reopened(&mut self, log: Log, wall: Time, name: &str) -> Result<(), Refused> {
        let fresh = Self::new(self.settings.clone(), log, wall, name)?;
        let old = std::mem::replace(self, fresh);
        self.figures = old.figures;
        Ok(())
    }

    /// The hub answered for the record `seq`.
    pub fn answered(&mut self, now: Nanos, wall: Time, seq: Seq, headers: &[u8], payload: &[u8]) {
        match Answer::read(headers, payload) {
            Answer::Stored(_) => {
                self.obstacle.take_if(|obstacle| matches!(obstacle, Obstacle::Refused(_)));
                self.upstream.stored(now, seq);
            }
            Answer::Never(_) if self.settings.drop_refused => {
                self.figures.dropped += 1;
                self.upstream.stored(now, seq);
            }
            Answer::Later(_) | Answer::Never(_) if planted(Bug::RefusalConfirms) => self.upstream.stored(now, seq),
            Answer::Later(text) | Answer::Never(text) => {
                self.obstacle = Some(Obstacle::Refused(text));
                self.upstream.refused(now, seq);
            }
        }
        self.schedule_trim(now, wall);
    }

    /// The oldest fence came back.
    pub fn fence_returned(&mut self, now: Nanos, wall: Time) {
        self.upstream.fence_returned(now);
        self.schedule_trim(now, wall);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos, wall: Time) {
        self.log.tick(wall);
        self.note_losses();
        self.upstream.tick(now);
        if self.trim_due.is_some_and(|due| due <= now) {
            self.trim(wall);
        }
    }

    /// When [`Self::tick`], [`Self::poll_up`] or [`Self::poll_batch`] must be called again at the latest: by the node's clock,
    /// and by the wall's.
    pub fn deadline(&self, now: Nanos) -> (Option<Nanos>, Option<Time>) {
        let up = match self.upstream.next(now, self.log.committed()) {
            upstream::Next::Wait(at) => at,
            // Everything else waits for the link or the disk.
            upstream::Next::Send(_) | upstream::Next::Fence => None,
        };
        let due = [up, self.trim_due, self.read_again].into_iter().flatten().min();
        (due, self.log.deadline())
    }

    /// Lets go of what is confirmed; says whether there was anything.
    fn trim(&mut self, wall: Time) -> bool {
        self.trim_due = None;
        let first = self.upstream.confirmed() + 1;
        let before = self.log.first_seq();
        if first <= before {
            return false;
        }
        self.log.trim(wall, first);
        self.log.first_seq() > before
    }

    fn schedule_trim(&mut self, now: Nanos, wall: Time) {
        self.log.tick(wall);
        if self.trim_due.is_none() && self.upstream.confirmed() >= self.log.first_seq() {
            self.trim_due = Some(now + TRIM_AFTER);
        }
    }

    /// What a limit took from the log before it was confirmed.
    fn note_losses(&mut self) {
        let first = self.log.first_seq();
        let confirmed = self.upstream.confirmed();
        if first > confirmed + 1 {
            self.figures.dropped += first - 1 - confirmed;
            self.upstream.gone_below(first);
        }
        let damage = self.reader.damage();
        self.figures.unreadable += damage - self.damage.min(damage);
        self.damage = damage;
    }
}
