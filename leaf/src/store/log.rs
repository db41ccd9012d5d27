//! The log itself: appends, commits, and what it knows about itself.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::bug::{Bug, planted};
use super::compact::{Compaction, Tidy};
use super::dedupe::Dedupe;
use super::erase::Erasures;
use super::frame::{Frame, SEALED_BYTES_MORE};
use super::history::History;
use super::index::Segment;
use super::keys::Keys;
use super::meta::{Footer, Meta};
use super::record::{HEAD_BYTES, Kind};
use super::segment::{Head, footer_at};
use super::subjects::{SubjectId, Subjects};
use super::tail::{CLOSE_BYTES_MAX, Data, Tail, Unit};
use super::{Disk, DiskError, FileId, Op, Record, Seq, Time, Want};

/// Bytes of a subject at most.
pub const SUBJECT_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes of a header block at most.
pub const HEADERS_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes of a message id at most.
pub const MSG_ID_BYTES_MAX: usize = 1024;
/// Bytes of a payload at most.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages with a deadline at most; more are refused. Each costs about 40 bytes of memory.
pub const DEADLINES_MAX: usize = 1_000_000;
/// Bytes of all that is kept under names at most: it is written again into every segment.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// After a full disk, how long until the next try, nanoseconds.
pub(super) const RETRY_AFTER: Time = 1_000_000_000;

/// What happens to a message that no limit leaves room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The oldest go.
    Old,
    /// It is refused.
    New,
}

/// How a log is kept. 0 means no limit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a segment's file.
    pub segment_bytes: u64,
    /// How long appends are gathered before they are written, nanoseconds; 0: as soon as the disk is free.
    pub commit_interval: Time,
    /// They are written earlier when there are so many bytes.
    pub commit_bytes: usize,
    /// Bytes that may wait for the disk; then appends are refused.
    pub pending_bytes_max: usize,
    /// Messages kept.
    pub msgs_max: u64,
    /// Counted bytes kept (see [`Record::counted_bytes`]). Kept to within 64 KiB, below rather than above.
    pub bytes_max: u64,
    /// How long a message is kept, nanoseconds. Kept to within 64 KiB of messages.
    pub age_max: Time,
    /// Messages kept of one subject. Above 1 this costs 16 bytes of memory for each message.
    pub msgs_per_subject_max: u64,
    /// What gives way.
    pub discard: Discard,
    /// How long a message id is remembered, nanoseconds.
    pub dedupe_window: Time,
    /// With which new segments are encrypted; without, they are not.
    pub keys: Option<Arc<Keys>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            commit_interval: 0,
            commit_bytes: 256 * 1024,
            pending_bytes_max: 8 * 1024 * 1024,
            msgs_max: 0,
            bytes_max: 0,
            age_max: 0,
            msgs_per_subject_max: 0,
            discard: Discard::Old,
            dedupe_window: 0,
            keys: None,
        }
    }
}

/// A message to be appended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Append<'a> {
    /// Where it was published.
    pub subject: &'a [u8],
    /// Header block, empty for none.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// The publisher's own name for it; empty for none.
    pub msg_id: &'a [u8],
    /// After this moment it is gone.
    pub deadline: Option<Time>,
}

/// A message that is in the log, or will be once `commit` is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: Seq,
    /// Acknowledge it when [`Log::is_committed`] says so of this, not before.
    pub commit: u64,
    /// Its id was there already; nothing was appended.
    pub duplicate: bool,
}

/// Why something was not taken into the log. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A part of the message is too long for any log.
    TooLarge,
    /// A limit is reached, and old messages do not give way.
    Full,
    /// The disk has no room for another segment.
    DiskFull,
    /// Too much waits for the disk already.
    Busy,
    /// A write or a sync failed; the log must be opened again.
    Failed(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("message too large for a log"),
            Self::Full => f.write_str("log is full"),
            Self::DiskFull => f.write_str("no space left on the device"),
            Self::Busy => f.write_str("the disk does not keep up"),
            Self::Failed(text) => write!(f, "log failed and must be opened again: {text}"),
        }
    }
}

/// Disk operations to be done one after the other, up to the first that fails.
#[derive(Debug)]
pub struct Batch {
    /// What to do.
    pub ops: Vec<Op>,
    /// What the log wants to read for itself after that: at most [`super::WINDOW_BYTES`], or one longer record.
    pub want: Option<Want>,
}

impl Batch {
    /// Does it; returns what was read for the log, for [`Log::batch_done`]. What cannot be read is missing there.
    ///
    /// # Errors
    /// The first of an operation.
    pub fn carry_out(&self, disk: &mut dyn Disk) -> Result<Vec<u8>, DiskError> {
        self.ops.iter().try_for_each(|op| disk.perform(op))?;
        Ok(self.want.and_then(|want| want.read(disk).ok()).unwrap_or_default())
    }
}

/// What is in flight.
#[derive(Debug)]
enum Flight {
    Data { number: u64, last: Seq, end: (FileId, u64) },
    Rotate(Vec<Op>),
    Remove,
    Compact,
    Erase,
}

/// Figures about a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Messages there are.
    pub messages: u64,
    /// What they count (see [`Settings::bytes_max`]).
    pub bytes: u64,
    /// The first there is; one above the last when there is none.
    pub first_seq: Seq,
    /// The last ever appended.
    pub last_seq: Seq,
    /// Subjects with messages.
    pub subjects: u64,
    /// Segments.
    pub segments: u64,
    /// Messages that gave way to a limit since the log was opened.
    pub discarded: u64,
    /// Bytes written to the disk since the log was opened.
    pub written_bytes: u64,
    /// Syncs since the log was opened.
    pub syncs: u64,
    /// Bytes written to the disk since there is a log, to within a segment for each time it was opened.
    pub worn_bytes: u64,
    /// Segments written again, or removed from between others, since the log was opened.
    pub compacted: u64,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Log {
    pub(super) settings: Settings,
    pub(super) segments: VecDeque<Segment>,
    pub(super) subjects: Subjects,
    /// Kept only where more than one message of a subject may stay.
    pub(super) history: History,
    pub(super) kept: BTreeMap<Box<[u8]>, Box<[u8]>>,
    pub(super) kept_bytes: usize,
    pub(super) first_seq: Seq,
    /// Up to where the disk knows, or will, that messages are gone.
    pub(super) noted_first: Seq,
    pub(super) next_seq: Seq,
    pub(super) committed: Seq,
    pub(super) messages: u64,
    pub(super) dedupe: Dedupe,
    /// Messages with a deadline, by it.
    pub(super) deadlines: BTreeMap<(Time, Seq), (SubjectId, u32)>,
    pub(super) tail: Tail,
    flight: Option<Flight>,
    done_number: u64,
    trusted: Option<(FileId, u64)>,
    failed: Option<String>,
    retry_at: Option<Time>,
    salts: u64,
    /// The last segment ends in a batch that a crash tore.
    pub(super) torn: bool,
    /// The number of the next segment.
    pub(super) next_segment: u64,
    pub(super) discarded: u64,
    written_bytes: u64,
    /// Bytes written before the log was opened.
    pub(super) worn_before: u64,
    syncs: u64,
    pub(super) erasures: Erasures,
    pub(super) compaction: Option<Box<Compaction>>,
    pub(super) tidy: Tidy,
    /// The last batch was a step of a compaction: what waits goes first.
    was_tidying: bool,
}

impl Log {
    /// A log without segments.
    pub(super) fn empty(settings: Settings, seed: u64) -> Self {
        Self {
            dedupe: Dedupe::new(settings.dedupe_window, seed),
            subjects: Subjects::new(seed),
            history: History::new(seed),
            settings,
            segments: VecDeque::new(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            first_seq: 1,
            noted_first: 1,
            next_seq: 1,
            committed: 0,
            messages: 0,
            deadlines: BTreeMap::new(),
            tail: Tail::default(),
            flight: None,
            done_number: 0,
            trusted: None,
            failed: None,
            retry_at: None,
            salts: seed,
            torn: false,
            next_segment: 1,
            discarded: 0,
            written_bytes: 0,
            worn_before: 0,
            syncs: 0,
            erasures: Erasures::default(),
            compaction: None,
            tidy: Tidy::default(),
            was_tidying: false,
        }
    }

    /// Takes a message in; it counts once its commit is done.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn append(&mut self, now: Time, message: &Append<'_>) -> Result<Appended, Refused> {
        self.usable()?;
        let seq = self.next_seq;
        let Append { subject, headers, payload, msg_id, deadline } = *message;
        let record = Record { kind: Kind::Message, seq, time: now, deadline, msg_id, subject, headers, payload };
        if subject.len() > SUBJECT_BYTES_MAX
            || headers.len() > HEADERS_BYTES_MAX
            || msg_id.len() > MSG_ID_BYTES_MAX
            || payload.len() > PAYLOAD_BYTES_MAX
        {
            return Err(Refused::TooLarge);
        }
        if self.dedupe.is_on()
            && !msg_id.is_empty()
            && let Some(seq) = self.dedupe.find(now, msg_id)
        {
            let commit = if seq <= self.committed { self.done_number } else { self.tail.number() };
            return Ok(Appended { seq, commit, duplicate: true });
        }
        if deadline.is_some() && self.deadlines.len() >= DEADLINES_MAX {
            return Err(Refused::Full);
        }
        if self.retry_at.is_some() {
            return Err(Refused::DiskFull);
        }
        if self.tail.bytes() + record.stored_bytes() > self.settings.pending_bytes_max && !self.tail.is_empty() {
            return Err(Refused::Busy);
        }
        self.make_room(now, &record)?;
        let id = self.subjects.intern(subject).ok_or(Refused::TooLarge)?;
        let offset = self.room_for(now, record.stored_bytes());
        self.tail.add(&record);
        self.next_seq += 1;
        self.messages += 1;
        let (bytes, counted) = (record.counted_bytes(), record.counted_bytes().min(u32::MAX.into()) as u32);
        if let Some(segment) = self.segments.back_mut() {
            segment.appended(seq, now, id, bytes, offset, deadline.is_some());
        }
        let before = self.subjects.last(id);
        self.subjects.add(id, 1, seq, counted);
        let keep = self.settings.msgs_per_subject_max;
        if keep > 1 {
            self.history.push(id, seq, counted);
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, seq), (id, counted));
        }
        if self.dedupe.is_on() && !msg_id.is_empty() {
            self.dedupe.insert(now, msg_id, seq);
        }
        // After the message that takes its place, so that no crash leaves neither.
        match keep {
            0 => {}
            1 => drop(self.remove(now, before.0, id, before.1.into())),
            _ => self.drop_oldest_of(now, id),
        }
        self.enforce(now);
        Ok(Appended { seq, commit: self.tail.number(), duplicate: false })
    }

    /// Keeps `value` under `key`, or nothing any more; counts once the commit is done whose number is returned.
    ///
    /// # Errors
    /// [`Refused::Full`] when all values together were longer than [`KEPT_BYTES_MAX`]; else as for [`Log::append`].
    pub fn keep(&mut self, now: Time, key: &[u8], value: Option<&[u8]>) -> Result<u64, Refused> {
        self.usable()?;
        let old = self.kept.get(key).map_or(0, |old| key.len() + old.len());
        let new = value.map_or(0, |value| key.len() + value.len());
        if self.kept_bytes - old + new > KEPT_BYTES_MAX {
            return Err(Refused::Full);
        }
        self.kept_bytes = self.kept_bytes - old + new;
        let meta = match value {
            Some(value) => {
                self.kept.insert(key.into(), value.into());
                Meta::Put { key: key.to_vec(), value: value.to_vec() }
            }
            None => {
                self.kept.remove(key);
                Meta::Dropped { key: key.to_vec() }
            }
        };
        Ok(self.note(now, &meta))
    }

    /// What is kept under a name.
    pub fn kept(&self, key: &[u8]) -> Option<&[u8]> {
        self.kept.get(key).map(|value| &**value)
    }

    /// Records something beside the messages; returns the number of its commit.
    pub(super) fn note(&mut self, now: Time, meta: &Meta) -> u64 {
        meta.record(self.next_seq - 1, now, |record| {
            self.room_for(now, record.stored_bytes());
            self.tail.add(record);
        });
        self.tail.number()
    }

    /// Everything up to this number is on disk.
    pub fn committed(&self) -> Seq {
        self.committed
    }

    /// Whether the commit with this number is on disk.
    pub fn is_committed(&self, commit: u64) -> bool {
        commit <= self.done_number
    }

    /// The number of the commit that makes everything last which was done so far.
    pub fn commit_number(&self) -> u64 {
        self.tail.number()
    }

    /// Figures.
    pub fn state(&self) -> State {
        State {
            messages: self.messages,
            bytes: self.bytes(),
            first_seq: self.first_seq,
            last_seq: self.next_seq - 1,
            subjects: self.subjects.live() as u64,
            segments: self.segments.len() as u64,
            discarded: self.discarded,
            written_bytes: self.written_bytes,
            syncs: self.syncs,
            worn_bytes: self.worn_before + self.written_bytes,
            compacted: self.tidy.done,
        }
    }

    /// Why the log refuses everything, if it does.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Up to where what is on disk was acknowledged: for opening a failed log again.
    pub fn trusted(&self) -> Option<(FileId, u64)> {
        self.trusted
    }

    pub(super) fn trust(&mut self, file: FileId, end: u64) {
        self.trusted = Some((file, end));
    }

    /// When [`Log::tick`] or [`Log::poll_batch`] has something to do again without anything else happening.
    pub fn deadline(&self) -> Option<Time> {
        let commit = match (&self.flight, self.tail.front()) {
            (None, Some(Unit::Data(data))) if !data.closed => Some(data.since + self.settings.commit_interval),
            (None, Some(_)) => Some(self.retry_at.unwrap_or(Time::MIN)),
            _ => None,
        };
        let expiry = self.deadlines.first_key_value().map(|(&(time, _), _)| time);
        let tidy = match (&self.flight, &self.failed) {
            (None, None) => [self.erase_due(), self.tidy_due()].into_iter().flatten().min(),
            _ => None,
        };
        [commit, expiry, self.age_due(), tidy].into_iter().flatten().min()
    }

    /// What the disk must do next; nothing while a batch is in flight or appends are still being gathered.
    pub fn poll_batch(&mut self, now: Time) -> Option<Batch> {
        if self.flight.is_some() || self.failed.is_some() {
            return None;
        }
        let was_tidying = std::mem::take(&mut self.was_tidying);
        if !(was_tidying && self.is_due(now)) {
            let erasing = self.erase_step(now).map(|batch| (batch, Flight::Erase));
            let tidying = erasing.or_else(|| self.compact(now).map(|batch| (batch, Flight::Compact)));
            if let Some((batch, flight)) = tidying {
                self.was_tidying = true;
                self.flight = Some(flight);
                self.count_wear(&batch.ops);
                return Some(batch);
            }
        }
        if !self.is_due(now) {
            return None;
        }
        let (ops, flight) = match self.tail.pop()? {
            Unit::Data(mut data) => {
                self.close(&mut data, now);
                let end = data.end();
                if let Some(segment) = self.segments.iter_mut().rev().find(|segment| segment.file == data.file) {
                    segment.end = segment.end.max(end);
                }
                let flight = Flight::Data { number: data.number, last: data.last, end: (data.file, end) };
                let write = Op::Write(data.file, data.offset, data.bytes);
                if planted(Bug::AcknowledgedBeforeSync) {
                    self.done_number = data.number;
                    self.committed = self.committed.max(data.last);
                }
                let sync = (!planted(Bug::NoSync)).then_some(Op::Sync(data.file));
                ([write].into_iter().chain(sync).collect(), flight)
            }
            Unit::Rotate(ops) => (ops.clone(), Flight::Rotate(ops)),
            Unit::Remove(ops) => (ops, Flight::Remove),
        };
        self.flight = Some(flight);
        self.count_wear(&ops);
        Some(Batch { ops, want: None })
    }

    /// Whether what waits may go.
    fn is_due(&self, now: Time) -> bool {
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        match self.tail.front() {
            None => false,
            Some(Unit::Data(data)) if !data.closed => {
                let gathered = data.bytes.len() >= self.settings.commit_bytes;
                gathered || now >= data.since + self.settings.commit_interval
            }
            Some(_) => true,
        }
    }

    fn count_wear(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Write(_, _, bytes) => self.written_bytes += bytes.len() as u64,
                Op::Sync(_) | Op::SyncDir => self.syncs += 1,
                Op::Create(..) | Op::Remove(_) => {}
            }
        }
    }

    /// The batch is done (see [`Batch::carry_out`]), or stopped at an error.
    pub fn batch_done(&mut self, now: Time, result: Result<Vec<u8>, DiskError>) {
        let Some(flight) = self.flight.take() else { return };
        match (flight, result) {
            (Flight::Compact, Ok(bytes)) => self.compacted(&bytes),
            (Flight::Erase, Ok(bytes)) => self.erase_stepped(now, &bytes),
            (Flight::Erase, Err(DiskError::Full)) => self.erase_has_no_room(now),
            (Flight::Compact, Err(DiskError::Full)) => self.compaction_has_no_room(now),
            (Flight::Data { number, last, end }, Ok(_)) => {
                self.done_number = self.done_number.max(number);
                self.committed = self.committed.max(last);
                self.trusted = Some(end);
                if let Some(segment) = self.segments.iter_mut().rev().find(|segment| segment.file == end.0) {
                    segment.written = segment.written.max(end.1);
                }
            }
            (Flight::Rotate(ops), Ok(_)) => {
                self.retry_at = None;
                self.tidy.wanted = true;
                self.trusted = ops.iter().find_map(|op| match op {
                    Op::Write(file, 0, bytes) => Some((*file, bytes.len() as u64)),
                    _ => None,
                });
            }
            (Flight::Remove, Ok(_)) => {}
            (Flight::Rotate(ops), Err(DiskError::Full)) => {
                // Nothing was changed: it is tried again, after the oldest gave way if they may.
                let last =
                    ops.iter().rev().find_map(|op| if let Op::Write(file, ..) = op { Some(*file) } else { None });
                self.tail.push_front(Unit::Rotate(ops));
                let gave_way = last.is_some_and(|last| self.give_way(last));
                self.retry_at = if gave_way { None } else { Some(now + RETRY_AFTER) };
            }
            (_, Err(_)) if planted(Bug::CarriedOnAfterFailure) => {}
            (_, Err(error)) => self.failed = Some(error.to_string()),
        }
    }

    /// Does what time brings: expiry.
    pub fn tick(&mut self, now: Time) {
        self.enforce(now);
    }

    pub(super) fn usable(&self) -> Result<(), Refused> {
        match &self.failed {
            Some(text) => Err(Refused::Failed(text.clone())),
            None => Ok(()),
        }
    }

    /// An open unit with room for a record of so many bytes; returns where in its segment it goes.
    pub(super) fn room_for(&mut self, now: Time, stored: usize) -> u64 {
        let stored = stored + if self.settings.keys.is_some() { SEALED_BYTES_MORE } else { 0 };
        let end = match self.tail.open() {
            Some(data) => data.end(),
            None => self.segments.back().map_or(0, |segment| segment.end),
        };
        let fits = end + stored as u64 + CLOSE_BYTES_MAX <= self.settings.segment_bytes;
        // A record longer than a segment has one of its own, with room reserved for it.
        let fresh = self.segments.back().is_some_and(|segment| end <= segment.begun);
        let long = stored as u64 > self.settings.segment_bytes;
        if !fits && (!fresh || long) {
            self.rotate_for(now, stored as u64);
        }
        if let Some(data) = self.tail.open() {
            return data.end();
        }
        let Some(segment) = self.segments.back() else { return 0 };
        let (file, frame, end) = (segment.file, segment.frame.clone(), segment.end);
        self.tail.start(file, frame, end, self.next_seq - 1, now);
        end
    }

    pub(super) fn salt(&mut self) -> u32 {
        // splitmix64: any seed gives a good row.
        self.salts = self.salts.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.salts;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as u32
    }

    /// No more records come into a unit. What the limits took is recorded after the messages that made them do so.
    fn close(&mut self, data: &mut Data, now: Time) {
        if !data.closed {
            let trimmed = (self.first_seq > self.noted_first).then_some(self.first_seq);
            data.close(now, trimmed);
            self.noted_first = self.first_seq;
        }
    }

    /// No more records come into the unit that waits, if one does.
    pub(super) fn close_open(&mut self, now: Time) {
        let (first, noted) = (self.first_seq, self.noted_first);
        if let Some(data) = self.tail.open() {
            data.close(now, (first > noted).then_some(first));
            let (file, end) = (data.file, data.end());
            self.noted_first = first;
            if let Some(segment) = self.segments.back_mut().filter(|segment| segment.file == file) {
                segment.end = end;
            }
        }
    }

    /// Finishes the last segment and begins the next.
    pub(super) fn rotate(&mut self, now: Time) {
        self.rotate_for(now, 0);
    }

    /// The same, for a record of so many bytes.
    fn rotate_for(&mut self, now: Time, stored: u64) {
        let mut footer = None;
        self.close_open(now);
        self.noted_first = self.first_seq;
        let mut before = 0;
        if let Some(mut segment) = self.segments.pop_back() {
            segment.finish();
            before = segment.end;
            footer = Some(Op::Write(segment.file, footer_at(segment.end), self.footer(&segment, now)));
            segment.deleted = Vec::new();
            self.segments.push_back(segment);
        }
        let file = FileId { segment: self.next_segment, generation: 0 };
        self.next_segment += 1;
        let frame = Frame::new(self.salt(), self.settings.keys.as_deref());
        let head = Head {
            file,
            frame: frame.clone(),
            first_seq: self.next_seq,
            end: before,
            own_end: None,
            created: now,
            after_torn: std::mem::take(&mut self.torn),
        };
        let mut bytes = head.encode();
        self.snapshot(&frame, now, &mut bytes);
        let mut segment = Segment::new(file, frame, self.next_seq, now);
        segment.end = bytes.len() as u64;
        segment.begun = segment.end;
        let segment_end = segment.end;
        self.segments.push_back(segment);
        let size = self.settings.segment_bytes.max(segment_end + stored + CLOSE_BYTES_MAX);
        let begin = [Op::Create(file, size), Op::Write(file, 0, bytes), Op::Sync(file)];
        let dir = (!planted(Bug::NoDirSync)).then_some(Op::SyncDir);
        self.tail.push(Unit::Rotate(begin.into_iter().chain(dir).chain(footer).collect()));
    }

    /// What is kept, written again so that older segments may go. `out` has what stands before it in the file.
    pub(super) fn snapshot(&self, frame: &Frame, now: Time, out: &mut Vec<u8>) {
        let last = self.next_seq - 1;
        let kept = if planted(Bug::NoSnapshot) { None } else { Some(&self.kept) };
        let puts =
            kept.into_iter().flatten().map(|(key, value)| Meta::Put { key: key.to_vec(), value: value.to_vec() });
        let worn = Meta::Worn { bytes: self.worn_before + self.written_bytes };
        for meta in [Meta::Cleared, Meta::Trimmed { first: self.first_seq }, worn].into_iter().chain(puts) {
            meta.record(last, now, |record| frame.encode(record, 0, out));
        }
        frame.pad(last, now, 0, out);
    }

    fn footer(&self, segment: &Segment, now: Time) -> Vec<u8> {
        let name = |id| self.subjects.name(id);
        let names = self.subjects.names(segment.subjects.iter().map(|&(id, _)| id));
        let subjects = segment.subjects.iter().enumerate();
        let footer = Footer {
            first_seq: segment.first_seq,
            last_seq: segment.last_seq,
            first_time: segment.first_time,
            last_time: segment.last_time,
            missing: segment.missing.iter().collect(),
            marks: segment.marks.clone(),
            bytes: segment.bytes,
            subjects: subjects.map(|(at, &(id, count))| (names.get(at), count, self.subjects.last(id))).collect(),
            metas: segment
                .deleted
                .iter()
                .map(|&(seq, id, bytes)| Meta::Deleted { seq, subject: name(id), bytes })
                .collect(),
            deadlines: segment.deadlines,
            history: (self.settings.msgs_per_subject_max > 1).then(|| {
                let within = |id| self.history.within(id, segment.first_seq, segment.last_seq).collect();
                segment.subjects.iter().map(|&(id, _)| within(id)).collect()
            }),
            lost: segment.lost,
            clean_since: 0,
        };
        let payload = postcard::to_allocvec(&footer).unwrap_or_default();
        let mut bytes = Vec::with_capacity(payload.len() + HEAD_BYTES + super::SECTOR_BYTES);
        let record = Record::other(Kind::Footer, segment.last_seq, now, &payload);
        segment.frame.encode(&record, footer_at(segment.end), &mut bytes);
        bytes
    }
}
