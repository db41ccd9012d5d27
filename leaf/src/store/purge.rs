//! Deleting many messages: those of some subjects, below a number, all but the newest few.

use std::collections::VecDeque;

use super::bug::{Bug, planted};
use super::log::{Log, Refused};
use super::read::{Next, Reader};
use super::subjects::SubjectId;
use super::{ReadError, Seq, Time, Want};

/// Messages that a purge of some subjects can keep at most: each takes 16 bytes of memory while it goes on.
pub const PURGE_KEEP_MAX: u64 = 65_536;

/// What a purge has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// These bytes are to be read and handed to [`Purge::filled`]; then poll again.
    Want(Want),
    /// The disk has something to do first: poll again when a batch is done or what was wanted is there.
    Waiting,
    /// So many messages are gone, for good when [`Log::is_committed`] says so of the commit.
    Done {
        /// How many.
        removed: u64,
        /// See [`Log::is_committed`].
        commit: u64,
    },
}

/// A purge that goes on while the log is used. It deletes as it comes along: what a crash cuts short is done in part.
///
/// Messages appended after it was begun are not touched. It never touches a disk, as [`Reader`].
#[derive(Debug)]
pub struct Purge {
    reader: Reader,
    /// All messages up to this one are looked at.
    until: Seq,
    keep: usize,
    /// The newest that matched so far; they stay unless others follow.
    held: VecDeque<(Seq, SubjectId, u32)>,
    removed: u64,
}

impl Purge {
    /// Of the messages below `below` whose subject one of `filters` matches (none: any subject), all but the newest `keep`.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] when more are to be kept than [`PURGE_KEEP_MAX`].
    pub fn new(log: &Log, filters: &[&[u8]], below: Seq, keep: u64) -> Result<Self, Refused> {
        if keep > PURGE_KEEP_MAX {
            return Err(Refused::TooLarge);
        }
        let until = (log.next_seq - 1).min(below.saturating_sub(1));
        let reader = Reader::matching(log.first_seq(), filters).until(until);
        let keep = keep as usize - usize::from(planted(Bug::PurgedOneMore) && keep > 0);
        Ok(Self { reader, until, keep, held: VecDeque::new(), removed: 0 })
    }

    /// What was read of the bytes that [`Purge::poll`] asked for.
    pub fn filled(&mut self, want: Want, result: Result<&[u8], ReadError>) {
        self.reader.filled(want, result);
    }

    /// Goes on, through 64 KiB of messages at most.
    ///
    /// # Errors
    /// When a file could not be read. Polling again tries again.
    pub fn poll(&mut self, log: &mut Log, now: Time) -> Result<Purged, ReadError> {
        if self.reader.has_no_filter()
            && let Some(first) = log.seq_of_last(self.keep as u64, self.until)
        {
            // No message need be looked at.
            self.removed += log.count_from(log.first_seq()) - log.count_from(first);
            let commit = log.trim(now, first);
            return Ok(Purged::Done { removed: self.removed, commit });
        }
        loop {
            if log.is_behind() {
                return Ok(Purged::Waiting);
            }
            let record = match self.reader.poll(log)? {
                Next::Want(want) => return Ok(Purged::Want(want)),
                Next::Waiting => return Ok(Purged::Waiting),
                Next::End if log.committed() < self.until => return Ok(Purged::Waiting),
                Next::End => return Ok(Purged::Done { removed: self.removed, commit: log.commit_number() }),
                Next::Message(record) => record,
            };
            let Some(id) = log.subjects.get(record.subject) else { continue };
            let bytes = record.counted_bytes().min(u32::MAX.into()) as u32;
            self.held.push_back((record.seq, id, bytes));
            self.let_go(log, now);
        }
    }

    /// Of what is held, more than may stay goes, the oldest first.
    fn let_go(&mut self, log: &mut Log, now: Time) {
        if self.held.len() <= self.keep {
            return;
        }
        // What somebody else deleted meanwhile does not count as kept.
        self.held.retain(|&(seq, ..)| log.is_there(seq));
        while self.held.len() > self.keep {
            let Some((seq, id, bytes)) = self.held.pop_front() else { return };
            self.removed += u64::from(log.remove(now, seq, id, bytes.into()));
        }
    }
}

impl Log {
    /// Whether half of what may wait for the disk does.
    fn is_behind(&self) -> bool {
        self.tail.bytes() * 2 > self.settings.pending_bytes_max
    }

    /// The number from which on there are just `count` messages up to `until`; `None` unless that is the last.
    fn seq_of_last(&self, count: u64, until: Seq) -> Option<Seq> {
        if count == 0 {
            return Some(until + 1);
        }
        if until + 1 < self.next_seq {
            return None;
        }
        let mut left = count;
        for segment in self.segments.iter().rev() {
            let there = segment.count_from(self.first_seq);
            if there >= left {
                let first = segment.first_seq.max(self.first_seq);
                return (first..=segment.last_seq).rev().filter(|&seq| segment.holds(seq)).nth(left as usize - 1);
            }
            left -= there;
        }
        Some(self.first_seq)
    }
}
