//! What MQTT must not forget, in a durable log that keeps the last record of each subject.
//!
//! | subject | headers | payload |
//! |---|---|---|
//! | `s.<key>` | | a session: [`SessionRecord`] |
//! | `q.<key>.<id>` | [`QueuedRecord`] | topic, properties and payload of a message for it; nothing once PUBREC came |
//! | `i.<key>.<id>` | | nothing: a QoS 2 message from it was taken and is not released |
//! | `r.<account>\0<topic>` | [`QueuedRecord`] | a retained message, as above |
//!
//! A new record takes the place of the one before it in one write. Keys are numbers in hexadecimal, never used twice.

use hashbrown::HashMap;
use mqtt_bridge::{Forwarded, Nanos, Outgoing, QoS, Restored, SECOND, Session, Stored, Subscription, Will, packet};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::rc::Rc;
use tracing::error;

use crate::store::{Append, Batch, DiskError, Kind, Log, Record, Refused, Seq, Settings, Time};

/// Bytes of a segment: small, so that what old sessions pin is little.
const SEGMENT_BYTES: u64 = 4 << 20;
/// With more segments than this, what is still needed of the oldest is written again.
const SEGMENTS_MAX: u64 = 16;

/// Stands for the bytes of a record that goes.
static ZEROS: [u8; 4096] = [0; 4096];

/// How the log is kept.
pub(crate) fn settings() -> Settings {
    Settings { segment_bytes: SEGMENT_BYTES, msgs_per_subject_max: 1, ..Settings::default() }
}

/// A session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) account: String,
    pub(crate) client_id: String,
    pub(crate) expiry: u32,
    /// When its client left; `None` while it is there.
    pub(crate) left: Option<Time>,
    /// Filter, options, identifier.
    pub(crate) subscriptions: Vec<(String, u8, u32)>,
    pub(crate) will: Option<WillRecord>,
}

/// A will.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WillRecord {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    delay: u32,
    expiry: Option<u32>,
    properties: Vec<u8>,
}

/// What a message's payload does not say.
#[derive(Debug, Serialize, Deserialize)]
struct QueuedRecord {
    id: u16,
    qos: u8,
    retain: bool,
    subscription_ids: Vec<u32>,
    published_qos: u8,
    expires: Option<Time>,
    topic_len: u16,
    properties_len: u32,
}

/// Something that was found in the log.
#[derive(Debug)]
pub(crate) enum Found {
    Session(u64, Box<SessionRecord>),
    Queued(u64, Restored, Seq),
    Taken(u64, u16),
    Retained(String, Rc<Stored>, Seq),
}

/// How the two clocks stand to each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) now: Nanos,
    pub(crate) wall: Time,
}

impl Clock {
    pub(crate) fn wall_of(self, at: Nanos) -> Time {
        self.wall.saturating_add(at as Time).saturating_sub(self.now as Time)
    }

    pub(crate) fn nanos_of(self, at: Time) -> Nanos {
        u64::try_from(at.saturating_sub(self.wall)).map_or(self.now, |left| self.now.saturating_add(left))
    }

    /// Nanoseconds on the node's clock that many seconds after a moment; what never comes is the end of time.
    pub(crate) fn after(self, since: Time, seconds: u32) -> Nanos {
        if seconds == u32::MAX {
            return Nanos::MAX;
        }
        self.nanos_of(since.saturating_add((u64::from(seconds) * SECOND) as Time))
    }
}

/// The records that count, of which the log itself keeps no sizes.
#[derive(Debug)]
struct Live {
    subject: Box<[u8]>,
    headers_len: u32,
    payload_len: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Journal {
    log: Log,
    live: HashMap<Seq, Live, foldhash::fast::FixedState>,
    next_key: u64,
    /// Commits that are waited for.
    waiting: VecDeque<u64>,
    synced: u64,
    /// It was said that the log takes nothing.
    complained: bool,
}

/// What a session's record is called.
pub(crate) fn session_subject(key: u64) -> Vec<u8> {
    format!("s.{key:x}").into_bytes()
}

/// What a message's record is called.
pub(crate) fn queued_subject(key: u64, id: u16) -> Vec<u8> {
    format!("q.{key:x}.{id}").into_bytes()
}

/// What the record of a message that was taken is called.
pub(crate) fn taken_subject(key: u64, id: u16) -> Vec<u8> {
    format!("i.{key:x}.{id}").into_bytes()
}

/// What a retained message's record is called.
pub(crate) fn retained_subject(account: &str, topic: &str) -> Vec<u8> {
    [b"r.", account.as_bytes(), b"\0", topic.as_bytes()].concat()
}

impl Journal {
    pub(crate) fn new(log: Log) -> Self {
        let hasher = foldhash::fast::FixedState::default();
        let live = HashMap::with_hasher(hasher);
        Self { log, live, next_key: 1, waiting: VecDeque::new(), synced: 0, complained: false }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// A name for a new session.
    pub(crate) fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }

    fn append(&mut self, clock: Clock, subject: &[u8], headers: &[u8], payload: &[u8]) -> Result<(Seq, u64), Refused> {
        let before = self.log.last_of(subject);
        let append = Append { subject, headers, payload, ..Append::default() };
        let appended = match self.log.append(clock.wall, &append) {
            Ok(appended) => appended,
            Err(why) => {
                if !std::mem::replace(&mut self.complained, true) {
                    error!("The log of MQTT sessions takes nothing: {why}");
                }
                return Err(why);
            }
        };
        self.complained = false;
        before.map(|before| self.live.remove(&before));
        let (headers_len, payload_len) = (headers.len() as u32, payload.len() as u32);
        self.live.insert(appended.seq, Live { subject: subject.into(), headers_len, payload_len });
        self.await_commit(appended.commit);
        Ok((appended.seq, appended.commit))
    }

    fn await_commit(&mut self, commit: u64) {
        if self.waiting.back() != Some(&commit) {
            self.waiting.push_back(commit);
        }
    }

    /// Keeps a session as it is.
    pub(crate) fn save_session(&mut self, clock: Clock, key: u64, record: &SessionRecord) -> Result<u64, Refused> {
        // Only what cannot be encoded fails: nothing in these types.
        let payload = postcard::to_allocvec(record).unwrap_or_default();
        self.append(clock, &session_subject(key), b"", &payload).map(|(_, commit)| commit)
    }

    /// Keeps a message for a session.
    pub(crate) fn save_queued(&mut self, clock: Clock, key: u64, queued: &Restored) -> Result<(Seq, u64), Refused> {
        let Restored { id, qos, retain, subscription_ids, stored } = queued;
        let subject = queued_subject(key, *id);
        let Some(stored) = stored else { return self.append(clock, &subject, b"", &id.to_be_bytes()) };
        let record = record_of(clock, *id, *qos, *retain, subscription_ids.clone(), stored);
        let headers = postcard::to_allocvec(&record).unwrap_or_default();
        self.append(clock, &subject, &headers, stored.bytes())
    }

    /// A QoS 2 message from a session was taken.
    pub(crate) fn save_taken(&mut self, clock: Clock, key: u64, id: u16) -> Result<u64, Refused> {
        self.append(clock, &taken_subject(key, id), b"", b"").map(|(_, commit)| commit)
    }

    /// It was released; returns the commit.
    pub(crate) fn forget_taken(&mut self, clock: Clock, key: u64, id: u16) -> u64 {
        self.forget_subject(clock, &taken_subject(key, id))
    }

    /// Keeps a retained message.
    pub(crate) fn save_retained(
        &mut self,
        clock: Clock,
        account: &str,
        stored: &Stored,
    ) -> Result<(Seq, u64), Refused> {
        let record = record_of(clock, 0, QoS::AtMostOnce, true, Vec::new(), stored);
        let headers = postcard::to_allocvec(&record).unwrap_or_default();
        let subject = retained_subject(account, stored.topic());
        self.append(clock, &subject, &headers, stored.bytes())
    }

    /// A session is over, but for its messages.
    pub(crate) fn forget_session(&mut self, clock: Clock, key: u64, taken: impl Iterator<Item = u16>) {
        self.forget_subject(clock, &session_subject(key));
        for id in taken {
            self.forget_taken(clock, key, id);
        }
    }

    fn forget_subject(&mut self, clock: Clock, subject: &[u8]) -> u64 {
        if let Some(seq) = self.log.last_of(subject) {
            self.forget(clock, seq);
        }
        // Nothing is below the first number: this only asks which commit comes next.
        let commit = self.log.trim(clock.wall, 0);
        self.await_commit(commit);
        commit
    }

    /// The same, and returns the commit with which that lasts.
    pub(crate) fn forget_now(&mut self, clock: Clock, seq: Seq) -> u64 {
        self.forget(clock, seq);
        // Nothing is below the first number: this only asks which commit comes next.
        let commit = self.log.trim(clock.wall, 0);
        self.await_commit(commit);
        commit
    }

    /// A record need not be kept any more.
    pub(crate) fn forget(&mut self, clock: Clock, seq: Seq) {
        let Some(live) = self.live.remove(&seq) else { return };
        // Only its sizes count.
        let most = (live.headers_len.max(live.payload_len)) as usize;
        let long = if most > ZEROS.len() { vec![0; most] } else { Vec::new() };
        let zeros = if long.is_empty() { &ZEROS[..] } else { &long };
        let record = Record {
            kind: Kind::Message,
            seq,
            time: clock.wall,
            deadline: None,
            msg_id: b"",
            subject: &live.subject,
            headers: &zeros[..live.headers_len as usize],
            payload: &zeros[..live.payload_len as usize],
        };
        self.log.delete(clock.wall, &record);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, clock: Clock) {
        self.log.tick(clock.wall);
    }

    /// What the disk must do next.
    pub(crate) fn poll_batch(&mut self, clock: Clock) -> Option<Batch> {
        self.log.poll_batch(clock.wall)
    }

    /// The disk has done it; returns the last commit that is down.
    pub(crate) fn batch_done(&mut self, clock: Clock, result: Result<Vec<u8>, DiskError>) -> u64 {
        self.log.batch_done(clock.wall, result);
        if let Some(text) = self.log.failed() {
            error!("The log of MQTT sessions failed: {text}");
        }
        while let Some(commit) = self.waiting.front().copied().filter(|commit| self.log.is_committed(*commit)) {
            self.waiting.pop_front();
            self.synced = commit;
        }
        self.synced
    }

    /// Old records that keep many segments alive, to be written again: their subjects.
    pub(crate) fn stale(&self) -> Vec<Box<[u8]>> {
        let state = self.log.state();
        if state.segments <= SEGMENTS_MAX {
            return Vec::new();
        }
        let middle = state.first_seq + (state.last_seq - state.first_seq) / 2;
        let old = self.live.iter().filter(|(seq, _)| **seq < middle);
        let mut found: Vec<(Seq, Box<[u8]>)> = old.map(|(seq, live)| (*seq, live.subject.clone())).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, subject)| subject).collect()
    }

    /// A record that was found in the log at the start counts.
    pub(crate) fn noted(&mut self, record: &Record<'_>) {
        let (headers_len, payload_len) = (record.headers.len() as u32, record.payload.len() as u32);
        self.live.insert(record.seq, Live { subject: record.subject.into(), headers_len, payload_len });
    }

    /// All records that count, by name.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Box<[u8]>, Seq)> + '_ {
        self.live.iter().map(|(seq, live)| (live.subject.clone(), *seq))
    }

    /// Gives no key that `old` has given.
    pub(crate) fn continue_keys(&mut self, old: &Self) {
        self.next_key = self.next_key.max(old.next_key);
    }

    /// A key that was found there is not given again.
    pub(crate) fn used_key(&mut self, key: u64) {
        self.next_key = self.next_key.max(key + 1);
    }
}

/// What a subject of the log is about.
#[derive(Debug)]
pub(crate) enum About<'a> {
    Session(u64),
    Queued(u64, u16),
    Taken(u64, u16),
    Retained(&'a str, &'a str),
}

impl<'a> About<'a> {
    pub(crate) fn parse(subject: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(subject).ok()?;
        let (kind, rest) = text.split_once('.')?;
        let key = |text: &str| u64::from_str_radix(text, 16).ok();
        let both = |text: &'a str| {
            let (left, id) = text.split_once('.')?;
            Some((key(left)?, id.parse().ok()?))
        };
        Some(match kind {
            "s" => Self::Session(key(rest)?),
            "q" => both(rest).map(|(key, id)| Self::Queued(key, id))?,
            "i" => both(rest).map(|(key, id)| Self::Taken(key, id))?,
            "r" => rest.split_once('\0').map(|(account, topic)| Self::Retained(account, topic))?,
            _ => return None,
        })
    }
}

impl Found {
    /// What a record says; `None` if it is none of ours.
    pub(crate) fn read(clock: Clock, record: &Record<'_>) -> Option<Self> {
        Some(match About::parse(record.subject)? {
            About::Session(key) => Self::Session(key, Box::new(postcard::from_bytes(record.payload).ok()?)),
            About::Taken(key, id) => Self::Taken(key, id),
            About::Queued(key, id) if record.headers.is_empty() => {
                let qos = QoS::ExactlyOnce;
                let restored = Restored { id, qos, retain: false, subscription_ids: Vec::new(), stored: None };
                Self::Queued(key, restored, record.seq)
            }
            About::Queued(key, id) => {
                let (told, stored) = stored_of(clock, record)?;
                let QueuedRecord { qos, retain, subscription_ids, .. } = told;
                let qos = QoS::new(qos)?;
                Self::Queued(key, Restored { id, qos, retain, subscription_ids, stored: Some(stored) }, record.seq)
            }
            About::Retained(account, _) => Self::Retained(account.to_owned(), stored_of(clock, record)?.1, record.seq),
        })
    }
}

fn record_of(clock: Clock, id: u16, qos: QoS, retain: bool, ids: Vec<u32>, stored: &Stored) -> QueuedRecord {
    QueuedRecord {
        id,
        qos: qos as u8,
        retain,
        subscription_ids: ids,
        published_qos: stored.qos as u8,
        expires: stored.expires.map(|at| clock.wall_of(at)),
        topic_len: stored.topic().len() as u16,
        properties_len: stored.properties().len() as u32,
    }
}

fn stored_of(clock: Clock, record: &Record<'_>) -> Option<(QueuedRecord, Rc<Stored>)> {
    let told: QueuedRecord = postcard::from_bytes(record.headers).ok()?;
    let (topic, rest) = record.payload.split_at_checked(told.topic_len.into())?;
    let (properties, payload) = rest.split_at_checked(told.properties_len as usize)?;
    let outgoing = Outgoing {
        topic: std::str::from_utf8(topic).ok()?,
        qos: QoS::new(told.published_qos)?,
        retain: told.retain,
        expires: told.expires.map(|at| clock.nanos_of(at)),
        forwarded: Forwarded::parse(properties)?,
        payload,
        serial: 0,
        stored: None,
    };
    Some((told, outgoing.stored()))
}

impl SessionRecord {
    pub(crate) fn new(account: &str, session: &Session, left: Option<Time>) -> Self {
        let told = |(_, how): (u32, &Subscription)| (how.filter.to_string(), how.options.byte(), how.id);
        Self {
            account: account.to_owned(),
            client_id: session.client_id().to_owned(),
            expiry: session.expiry(),
            left,
            subscriptions: session.subscriptions().map(told).collect(),
            will: session.will().map(WillRecord::new),
        }
    }

    /// The session as it was kept, without its messages.
    pub(crate) fn session(&self) -> Session {
        let mut session = Session::new(&self.client_id, self.expiry);
        for (filter, options, id) in &self.subscriptions {
            let options = packet::Options::from_byte(*options).unwrap_or_default();
            session.subscribe(Subscription::new(filter, options, *id));
        }
        session.set_will(self.will.as_ref().and_then(WillRecord::will).map(Box::new));
        session
    }
}

impl WillRecord {
    fn new(will: &Will) -> Self {
        Self {
            topic: will.topic.to_string(),
            payload: will.payload.to_vec(),
            qos: will.qos as u8,
            retain: will.retain,
            delay: will.delay,
            expiry: will.expiry,
            properties: will.properties.to_vec(),
        }
    }

    fn will(&self) -> Option<Will> {
        Some(Will {
            topic: self.topic.as_str().into(),
            payload: self.payload.as_slice().into(),
            qos: QoS::new(self.qos)?,
            retain: self.retain,
            delay: self.delay,
            expiry: self.expiry,
            properties: self.properties.as_slice().into(),
        })
    }
}
