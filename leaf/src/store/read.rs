//! Readers, which walk from one message to the next and ask for the bytes they need.

use super::index::Segment;
use super::log::Log;
use super::record::{Kind, Record};
use super::segment::DATA_OFFSET;
use super::walk::{Move, Walk};
use super::{Disk, FileId, ReadError, Seq, Time, Want};
use crate::subject;

/// What a reader has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// The next message.
    Message(Record<'a>),
    /// These bytes are to be read and handed to [`Reader::filled`]; then poll again.
    Want(Want),
    /// Bytes that were asked for are not there yet.
    Waiting,
    /// There is nothing more yet; one may go on later.
    End,
}

/// What was found, without the bytes.
enum Found {
    Message,
    Want(Want),
    Waiting,
    End,
}

/// A place in a log. It holds 64 KiB (or one longer record) while it reads, nothing at rest (see [`Reader::rest`]).
///
/// It never touches a disk: [`Reader::poll`] says which bytes it needs, [`Reader::filled`] takes them. Segments may go
/// or be rewritten meanwhile: it goes on with the first message that is still there.
#[derive(Debug)]
pub struct Reader {
    next: Seq,
    until: Seq,
    /// Messages before this moment are passed over, until the first that is not.
    since: Time,
    /// Which subjects; empty: all.
    filters: Box<[Box<[u8]>]>,
    walk: Option<Walk>,
    asked: Option<Want>,
    failed: Option<ReadError>,
    /// Whether the segment that is walked has anything for the filters.
    wanted: Option<(FileId, bool)>,
    damage: u64,
}

impl Reader {
    /// A reader whose first message is the first at or after `seq`.
    pub fn new(seq: Seq) -> Self {
        Self {
            next: seq,
            until: Seq::MAX,
            since: Time::MIN,
            filters: Box::default(),
            walk: None,
            asked: None,
            failed: None,
            wanted: None,
            damage: 0,
        }
    }

    /// Only messages whose subject one of `filters` matches.
    pub fn matching(seq: Seq, filters: &[&[u8]]) -> Self {
        Self { filters: filters.iter().map(|&filter| filter.into()).collect(), ..Self::new(seq) }
    }

    /// The message with this number, if it is there, and no other.
    pub fn one(seq: Seq) -> Self {
        Self { until: seq, ..Self::new(seq) }
    }

    /// From the first message at or after a moment on. Messages are taken to be in the order of their times.
    pub fn since(log: &Log, time: Time) -> Self {
        Self { since: time, ..Self::new(log.seq_before(time)) }
    }

    /// Nothing behind this number.
    #[must_use]
    pub fn until(self, seq: Seq) -> Self {
        Self { until: seq, ..self }
    }

    /// Whether all subjects are wanted.
    pub(super) fn has_no_filter(&self) -> bool {
        self.filters.is_empty()
    }

    /// The number from which the next message is looked for.
    pub fn position(&self) -> Seq {
        self.next
    }

    /// Goes to another place. What was asked for is not needed any more.
    pub fn seek(&mut self, seq: Seq) {
        self.next = seq;
        self.since = Time::MIN;
        self.rest();
    }

    /// Gives the buffer back until the next poll.
    pub fn rest(&mut self) {
        (self.walk, self.asked, self.failed) = (None, None, None);
    }

    /// Stretches of damaged bytes met so far.
    pub fn damage(&self) -> u64 {
        self.damage
    }

    /// The next committed message, or what is needed to find it.
    ///
    /// # Errors
    /// When a file that is still part of the log could not be read. Polling again tries again.
    pub fn poll(&mut self, log: &Log) -> Result<Next<'_>, ReadError> {
        Ok(match self.find(log)? {
            Found::Message => self.current().map_or(Next::End, Next::Message),
            Found::Want(want) => Next::Want(want),
            Found::Waiting => Next::Waiting,
            Found::End => Next::End,
        })
    }

    /// What was read of the bytes that [`Reader::poll`] asked for. An answer to an older question is ignored.
    pub fn filled(&mut self, want: Want, result: Result<&[u8], ReadError>) {
        if self.asked.is_none_or(|asked| asked != want) {
            return;
        }
        self.asked = None;
        match (result, &mut self.walk) {
            (Ok(bytes), Some(walk)) => walk.fill(want, bytes),
            (Ok(_), None) => {}
            (Err(error), _) => self.failed = Some(error),
        }
    }

    /// The next committed message, read at once: for tests and tools.
    ///
    /// # Errors
    /// As for [`Reader::poll`].
    pub fn next<'a>(&'a mut self, log: &Log, disk: &mut dyn Disk) -> Result<Option<Record<'a>>, ReadError> {
        loop {
            match self.find(log)? {
                Found::Message => return Ok(self.current()),
                Found::Want(want) => match want.read(disk) {
                    Ok(bytes) => self.filled(want, Ok(&bytes)),
                    Err(error) => self.filled(want, Err(error)),
                },
                Found::Waiting => self.asked = None,
                Found::End => return Ok(None),
            }
        }
    }

    fn find(&mut self, log: &Log) -> Result<Found, ReadError> {
        self.leave_what_is_gone(log);
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.asked.is_some() {
            return Ok(Found::Waiting);
        }
        self.next = self.next.max(log.first_seq);
        loop {
            if self.next > log.committed.min(self.until) {
                return Ok(Found::End);
            }
            let Some(at) = log.segment_of(self.next) else { return Ok(Found::End) };
            let segment = &log.segments[at];
            let seq = segment.missing.skip(self.next);
            if seq > segment.last_seq || !self.has_wanted(log, segment) {
                let Some(after) = log.segments.get(at + 1) else { return Ok(Found::End) };
                self.next = after.first_seq.max(segment.last_seq + 1);
                self.walk = None;
                continue;
            }
            self.next = seq;
            self.stand_in(segment);
            match self.step(log.committed.min(self.until), segment) {
                Some(found) => return Ok(found),
                None => continue,
            }
        }
    }

    /// Forgets about a file that is not part of the log any more.
    fn leave_what_is_gone(&mut self, log: &Log) {
        if self.walk.as_ref().is_some_and(|walk| !log.has_file(walk.file)) {
            self.rest();
        }
    }

    /// Has a walk in this segment that comes to the next message.
    fn stand_in(&mut self, segment: &Segment) {
        let from = match &self.walk {
            Some(walk) if walk.file == segment.file && walk.end == segment.written => return,
            Some(walk) if walk.file == segment.file => walk.at(),
            _ => segment.mark(self.next).map_or(DATA_OFFSET, |mark| mark.offset.into()),
        };
        self.walk = Some(Walk::new(segment.file, &segment.frame, from, Some(segment.written)));
    }

    fn matches(&self, subject: &[u8]) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| subject::matches(filter, subject))
    }

    fn has_wanted(&mut self, log: &Log, segment: &Segment) -> bool {
        if self.filters.is_empty() || !segment.is_finished() {
            return true;
        }
        match self.wanted {
            Some((file, wanted)) if file == segment.file => wanted,
            _ => {
                let wanted = self.filters.iter().any(|filter| segment.has_match(&log.subjects, filter));
                self.wanted = Some((segment.file, wanted));
                wanted
            }
        }
    }

    /// Walks on to a message that is wanted; `None` at the end of the segment.
    fn step(&mut self, up_to: Seq, segment: &Segment) -> Option<Found> {
        loop {
            let walk = self.walk.as_mut()?;
            match walk.advance() {
                Move::Want(want) => {
                    self.asked = Some(want);
                    return Some(Found::Want(want));
                }
                Move::Damage(..) => self.damage += 1,
                Move::End => {
                    // What is not committed may not be there yet.
                    self.next = segment.last_seq.min(up_to) + 1;
                    self.walk = None;
                    return None;
                }
                Move::Record(at) => {
                    let record = walk.record().filter(|record| record.kind == Kind::Message);
                    let Some((seq, time)) = record.map(|record| (record.seq, record.time)) else { continue };
                    if seq > up_to {
                        walk.back_to(at);
                        self.next = up_to + 1;
                        return None;
                    }
                    if seq < self.next || time < self.since || segment.missing.contains(seq) || !self.is_wanted() {
                        continue;
                    }
                    self.next = seq + 1;
                    self.since = Time::MIN;
                    return Some(Found::Message);
                }
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.current().is_some_and(|record| self.matches(record.subject))
    }

    fn current(&self) -> Option<Record<'_>> {
        self.walk.as_ref()?.record()
    }
}

impl Log {
    /// Whether a file is part of the log.
    pub(super) fn has_file(&self, file: FileId) -> bool {
        let at = self.segments.partition_point(|segment| segment.file < file);
        self.segments.get(at).is_some_and(|segment| segment.file == file)
    }

    /// When a message at most 64 KiB of messages before the one with this number was appended.
    pub fn time_before(&self, seq: Seq) -> Option<Time> {
        let segment = &self.segments[self.segment_of(seq)?];
        Some(segment.mark(seq).map_or(segment.first_time, |mark| mark.time))
    }

    /// A number at or before the first message since a moment, at most 64 KiB of messages before it.
    pub(super) fn seq_before(&self, time: Time) -> Seq {
        let at = self.segments.partition_point(|segment| !segment.is_empty() && segment.last_time < time);
        let Some(segment) = self.segments.get(at) else { return self.next_seq };
        let mark = segment.marks.partition_point(|mark| mark.time < time);
        let seq = mark.checked_sub(1).map_or(segment.first_seq, |at| segment.marks[at].seq);
        seq.max(self.first_seq)
    }

    /// How many messages there are of the subjects that `filter` matches. Those below the first that share its segment are counted too.
    pub fn count(&self, filter: &[u8]) -> u64 {
        self.subjects.matching(filter).map(|id| u64::from(self.subjects.count(id))).sum()
    }

    /// The number of the last message of a subject, if that one is there.
    pub fn last_of(&self, subject: &[u8]) -> Option<Seq> {
        let id = self.subjects.get(subject)?;
        Some(self.subjects.last(id).0).filter(|&seq| self.is_there(seq))
    }
}
