//! Reading: a walk over the bytes of a segment, and readers that walk from one message to the next.

use std::fmt;

use super::index::Segment;
use super::log::Log;
use super::record::{ALIGN_BYTES, Bad, Kind, RECORD_BYTES_MAX, Record};
use super::segment::DATA_OFFSET;
use super::{Disk, FileId, Seq, Time};
use crate::subject;

/// Bytes read at once.
const WINDOW_BYTES: usize = 64 * 1024;

/// What a walk came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A whole record at this offset.
    Record(u64, Record<'a>),
    /// Bytes that are no record, from one offset to another.
    Damage(u64, u64),
    /// There is nothing more.
    End,
}

/// A walk over the records of one file. Damaged bytes cost the records they belong to: it goes on at the next whole one.
#[derive(Debug)]
pub(super) struct Walk {
    file: FileId,
    salt: u32,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// The file has nothing after the window.
    last_window: bool,
    /// Where the record stands that was found last.
    found: u64,
}

impl Walk {
    /// From `at` up to `end` (or the end of the file).
    pub(super) fn new(file: FileId, salt: u32, at: u64, end: Option<u64>) -> Self {
        let end = end.unwrap_or(u64::MAX);
        Self { file, salt, at, end, window: Vec::new(), window_at: at, last_window: false, found: at }
    }

    /// Where the next record is looked for.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that are there from the current place on.
    fn rest(&self) -> &[u8] {
        &self.window[((self.at - self.window_at) as usize).min(self.window.len())..]
    }

    /// Has at least `count` bytes from the current place on in the window, if the file has them.
    fn load(&mut self, disk: &mut dyn Disk, count: usize) -> Result<bool, ReadError> {
        if self.rest().len() >= count {
            return Ok(true);
        }
        if self.last_window {
            return Ok(false);
        }
        let kept = self.rest().len();
        let start = self.window.len() - kept;
        self.window.copy_within(start.., 0);
        let left = self.end - self.at;
        let size = (count.max(WINDOW_BYTES) as u64).min(left) as usize;
        self.window.resize(size.max(kept), 0);
        self.window_at = self.at;
        let mut filled = kept;
        while filled < self.window.len() {
            let n = disk.read(self.file, self.at + filled as u64, &mut self.window[filled..]).map_err(|error| {
                ReadError { file: self.file, offset: self.at + filled as u64, text: error.to_string() }
            })?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        self.last_window = filled < size || size as u64 == left;
        self.window.truncate(filled);
        Ok(self.rest().len() >= count)
    }

    /// Finds the next record at or after the current place: where it stands, and what it takes.
    fn find(&mut self, disk: &mut dyn Disk) -> Result<Option<(u64, usize)>, ReadError> {
        loop {
            if self.at >= self.end {
                return Ok(None);
            }
            if !self.load(disk, ALIGN_BYTES)? {
                self.at += self.rest().len() as u64;
                return Ok(None);
            }
            let needed = match Record::decode(self.salt, self.rest()) {
                Ok((_, used)) => return Ok(Some((self.at, used))),
                Err(Bad::Short(count)) => count,
                Err(Bad::Damaged) => usize::MAX,
            };
            if needed <= RECORD_BYTES_MAX && self.load(disk, needed)? {
                continue;
            }
            self.skip();
        }
    }

    /// On to the next place where a record may start: not a zero.
    fn skip(&mut self) {
        self.at += ALIGN_BYTES as u64;
        let zeros = self.rest().iter().position(|&b| b != 0).unwrap_or(self.rest().len());
        self.at += (zeros / ALIGN_BYTES * ALIGN_BYTES) as u64;
    }

    /// The next record, or the damage before it.
    pub(super) fn next(&mut self, disk: &mut dyn Disk) -> Result<Step<'_>, ReadError> {
        let from = self.at;
        let Some((at, used)) = self.find(disk)? else { return Ok(Step::End) };
        if at > from {
            return Ok(Step::Damage(from, at));
        }
        self.at += used as u64;
        let record = Record::decode(self.salt, &self.window[(at - self.window_at) as usize..]);
        match record {
            Ok((record, _)) => Ok(Step::Record(at, record)),
            Err(_) => Ok(Step::End),
        }
    }
}

/// A file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Which.
    pub file: FileId,
    /// Where in it.
    pub offset: u64,
    /// What the system said.
    pub text: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.file, self.offset, self.text)
    }
}

/// A place in a log, and the bytes around it. Costs 64 KiB while it reads, nothing at rest (see [`Reader::rest`]).
#[derive(Debug)]
pub struct Reader {
    next: Seq,
    walk: Option<Walk>,
    /// Whether the segment that is walked has anything for a filter.
    wanted: Option<(FileId, bool)>,
    /// Stretches of bytes that were no records.
    damage: u64,
}

impl Reader {
    /// A reader whose first message is the first at or after `seq`.
    pub fn new(seq: Seq) -> Self {
        Self { next: seq, walk: None, wanted: None, damage: 0 }
    }

    /// The number from which the next message is looked for.
    pub fn position(&self) -> Seq {
        self.next
    }

    /// Goes to another place.
    pub fn seek(&mut self, seq: Seq) {
        *self = Self { damage: self.damage, ..Self::new(seq) };
    }

    /// Gives the buffer back until the next read.
    pub fn rest(&mut self) {
        self.walk = None;
    }

    /// Stretches of damaged bytes met so far.
    pub fn damage(&self) -> u64 {
        self.damage
    }

    /// The next committed message whose subject `filter` matches (empty: any); `None` at the end, where one may go on later.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next<'a>(
        &'a mut self,
        log: &Log,
        disk: &mut dyn Disk,
        filter: &[u8],
    ) -> Result<Option<Record<'a>>, ReadError> {
        match self.find(log, disk, filter)? {
            true => Ok(self.current()),
            false => Ok(None),
        }
    }

    fn find(&mut self, log: &Log, disk: &mut dyn Disk, filter: &[u8]) -> Result<bool, ReadError> {
        self.next = self.next.max(log.first_seq);
        loop {
            if self.next > log.committed {
                return Ok(false);
            }
            let Some(at) = log.segment_of(self.next) else { return Ok(false) };
            let segment = &log.segments[at];
            let seq = segment.missing.skip(self.next);
            if seq > segment.last_seq || !self.has_wanted(log, segment, filter) {
                let Some(after) = log.segments.get(at + 1) else { return Ok(false) };
                self.next = after.first_seq.max(segment.last_seq + 1);
                self.walk = None;
                continue;
            }
            self.next = seq;
            if !self.stands_before(segment) {
                let from = match &self.walk {
                    Some(walk) if walk.file == segment.file => walk.at,
                    _ => segment.mark(seq).map_or(DATA_OFFSET, |mark| mark.offset.into()),
                };
                self.walk = Some(Walk::new(segment.file, segment.salt, from, Some(segment.end)));
            }
            if self.step(log.committed, segment, disk, filter)? {
                return Ok(true);
            }
        }
    }

    /// Whether the walk goes on in this segment at or before the next message.
    fn stands_before(&self, segment: &Segment) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.file == segment.file && walk.end == segment.end)
    }

    fn has_wanted(&mut self, log: &Log, segment: &Segment, filter: &[u8]) -> bool {
        if filter.is_empty() {
            return true;
        }
        match self.wanted {
            Some((file, wanted)) if file == segment.file && !segment.subjects.is_empty() => wanted,
            _ => {
                let wanted = if subject::has_wildcard(filter) {
                    segment.subject_counts().any(|(id, n)| n > 0 && subject::matches(filter, log.subjects.name(id)))
                } else {
                    log.subjects.get(filter).is_some_and(|id| segment.count_of(id) > 0)
                };
                self.wanted = Some((segment.file, wanted));
                wanted
            }
        }
    }

    /// Walks on to a message that is wanted (`true`), or to the end of the segment.
    fn step(&mut self, up_to: Seq, segment: &Segment, disk: &mut dyn Disk, filter: &[u8]) -> Result<bool, ReadError> {
        let Some(walk) = &mut self.walk else { return Ok(false) };
        loop {
            let (at, seq) = match walk.next(disk)? {
                Step::Record(at, record) if record.kind == Kind::Message && record.seq >= self.next => {
                    if record.seq > up_to {
                        walk.at = at;
                        self.next = up_to + 1;
                        return Ok(false);
                    }
                    if !filter.is_empty() && !subject::matches(filter, record.subject) {
                        continue;
                    }
                    (at, record.seq)
                }
                Step::Record(..) => continue,
                Step::Damage(..) => {
                    self.damage += 1;
                    continue;
                }
                Step::End => {
                    // What is not committed may not be there yet.
                    self.next = segment.last_seq.min(up_to) + 1;
                    self.walk = None;
                    return Ok(false);
                }
            };
            if segment.missing.contains(seq) {
                continue;
            }
            self.next = seq + 1;
            walk.found = at;
            return Ok(true);
        }
    }

    fn current(&self) -> Option<Record<'_>> {
        let walk = self.walk.as_ref()?;
        Record::decode(walk.salt, &walk.window[(walk.found - walk.window_at) as usize..]).ok().map(|(record, _)| record)
    }
}

impl Log {
    /// The first number at or after a time, to within 64 KiB of messages before it: read on from there.
    pub fn seq_at(&self, time: Time) -> Seq {
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
