//! What is known of a segment without reading it: where its records are, which are gone, of which subjects they are.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::frame::Frame;
use super::meta::{MARK_BYTES, Mark};
use super::subjects::{SubjectId, Subjects};
use super::{FileId, Seq, Time};
use crate::subject;

/// Numbers, as ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<Seq, Seq>, u64);

impl Ranges {
    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.1
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        self.0.range(..=seq).next_back().is_some_and(|(_, &end)| seq <= end)
    }

    /// Adds `first..=last`, of which nothing may be there yet.
    pub(crate) fn insert(&mut self, first: Seq, last: Seq) {
        self.1 += overlap(first, last);
        let (mut first, mut last) = (first, last);
        if let Some((&start, &end)) = self.0.range(..first).next_back()
            && end + 1 == first
        {
            self.0.remove(&start);
            first = start;
        }
        if let Some(&end) = self.0.get(&(last + 1)) {
            self.0.remove(&(last + 1));
            last = end;
        }
        self.0.insert(first, last);
    }

    /// How many there are in `first..=last`.
    pub(super) fn count(&self, first: Seq, last: Seq) -> u64 {
        if first > last {
            return 0;
        }
        let before = self.0.range(..first).next_back().map(|(&start, &end)| (start, end));
        let within = self.0.range(first..=last).map(|(&start, &end)| (start, end));
        before.into_iter().chain(within).map(|(start, end)| overlap(start.max(first), end.min(last))).sum()
    }

    /// The first number from `seq` on that is not in here.
    pub(super) fn skip(&self, seq: Seq) -> Seq {
        match self.0.range(..=seq).next_back() {
            Some((_, &end)) if seq <= end => end + 1,
            _ => seq,
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Seq, Seq)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    /// Takes out everything below `first`.
    pub(crate) fn cut(&mut self, first: Seq) {
        let rest = self.0.split_off(&first);
        let last = self.0.last_key_value().map(|(_, &last)| last).filter(|&last| last >= first);
        self.0 = rest;
        if let Some(last) = last {
            self.0.insert(first, last);
        }
        self.1 = self.0.iter().map(|(&first, &last)| overlap(first, last)).sum();
    }
}

fn overlap(first: Seq, last: Seq) -> u64 {
    (last + 1).saturating_sub(first)
}

/// What is known of one segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: FileId,
    pub(super) frame: Frame,
    /// No message in it has a lower number.
    pub(super) first_seq: Seq,
    /// Its last message; below `first_seq` when there is none.
    pub(super) last_seq: Seq,
    pub(super) first_time: Time,
    pub(super) last_time: Time,
    /// Where its records end.
    pub(super) end: u64,
    /// Where what it was begun with ends.
    pub(super) begun: u64,
    /// Up to where they are on disk.
    pub(super) written: u64,
    pub(super) marks: Vec<Mark>,
    /// Counted bytes of all messages in it but the deleted.
    pub(super) bytes: u64,
    /// Deleted or lost.
    pub(super) missing: Ranges,
    /// How many messages of each subject are there; sorted by id once the segment is finished.
    pub(super) subjects: Vec<(SubjectId, u32)>,
    /// The same, while it grows.
    pub(super) tally: HashMap<SubjectId, u32, FixedState>,
    /// What was deleted while it grew, wherever that was.
    pub(super) deleted: Vec<(Seq, SubjectId, u32)>,
    pub(super) deadlines: u32,
    pub(super) lost: u64,
    /// It has numbers that the history by subject lacks.
    pub(super) unlisted: bool,
    /// Of messages whose deletion was recorded when the last message was below this one, the file has nothing any more.
    pub(super) clean_since: Seq,
    /// Writing it again was not worth it: with so many counted bytes, after so many others had been written again or gone.
    pub(super) settled: Option<(u64, u64)>,
    /// No more messages come.
    finished: bool,
}

impl Segment {
    pub(super) fn new(file: FileId, frame: Frame, first_seq: Seq, now: Time) -> Self {
        Self {
            file,
            first_seq,
            last_seq: first_seq - 1,
            first_time: now,
            last_time: now,
            end: 0,
            begun: 0,
            written: 0,
            marks: Vec::new(),
            bytes: 0,
            missing: Ranges::default(),
            subjects: Vec::new(),
            tally: HashMap::with_hasher(FixedState::with_seed(frame.salt.into())),
            frame,
            deleted: Vec::new(),
            deadlines: 0,
            lost: 0,
            unlisted: false,
            clean_since: 0,
            settled: None,
            finished: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last_seq < self.first_seq
    }

    /// Whether no more messages come.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether a subject that `filter` matches has messages in it.
    pub(super) fn has_match(&self, subjects: &Subjects, filter: &[u8]) -> bool {
        if subject::has_wildcard(filter) {
            let mut name = Vec::new();
            self.subject_counts().any(|(id, count)| count > 0 && subjects.matches(id, filter, &mut name))
        } else {
            subjects.get(filter).is_some_and(|id| self.count_of(id) > 0)
        }
    }

    /// A message was appended at `offset`.
    pub(super) fn appended(&mut self, seq: Seq, time: Time, id: SubjectId, bytes: u64, offset: u64, deadline: bool) {
        if self.is_empty() {
            self.first_time = time;
        }
        if seq > self.last_seq + 1 {
            self.missing.insert(self.last_seq + 1, seq - 1);
        }
        let due = self.marks.last().is_none_or(|mark| offset >= u64::from(mark.offset) + MARK_BYTES);
        if due {
            let (offset, bytes_before) = (offset as u32, self.bytes.min(u32::MAX.into()) as u32);
            self.marks.push(Mark { seq, time, offset, bytes_before });
        }
        self.last_seq = seq;
        self.last_time = time;
        self.bytes += bytes;
        self.deadlines += u32::from(deadline);
        *self.tally.entry(id).or_insert(0) += 1;
    }

    /// A message was overwritten.
    pub(super) fn erased(&mut self, seq: Seq) {
        self.missing.insert(self.last_seq + 1, seq);
        self.last_seq = seq;
    }

    /// No more messages come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.subjects.extend(std::mem::take(&mut self.tally));
        self.subjects.sort_unstable();
        self.subjects.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    /// Whether at least half of its messages are gone.
    pub(super) fn is_mostly_gone(&self) -> bool {
        self.missing.total() * 2 >= overlap(self.first_seq, self.last_seq)
    }

    /// Messages in it with numbers from `first` on.
    pub(super) fn count_from(&self, first: Seq) -> u64 {
        let first = first.max(self.first_seq);
        overlap(first, self.last_seq) - self.missing.count(first, self.last_seq)
    }

    pub(super) fn holds(&self, seq: Seq) -> bool {
        (self.first_seq..=self.last_seq).contains(&seq) && !self.missing.contains(seq)
    }

    /// How many messages of a subject are in it.
    pub(super) fn count_of(&self, id: SubjectId) -> u32 {
        match self.subjects.binary_search_by_key(&id, |&(id, _)| id) {
            Ok(at) => self.subjects[at].1,
            Err(_) => self.tally.get(&id).copied().unwrap_or(0),
        }
    }

    /// One message less of a subject.
    pub(super) fn forget(&mut self, id: SubjectId) {
        match self.subjects.binary_search_by_key(&id, |&(id, _)| id) {
            Ok(at) => self.subjects[at].1 = self.subjects[at].1.saturating_sub(1),
            Err(_) => {
                if let Some(count) = self.tally.get_mut(&id) {
                    *count = count.saturating_sub(1);
                }
            }
        }
    }

    /// The subjects in it.
    pub(super) fn subject_counts(&self) -> impl Iterator<Item = (SubjectId, u32)> + '_ {
        self.subjects.iter().copied().chain(self.tally.iter().map(|(&id, &count)| (id, count)))
    }

    /// The last mark at or before `seq`.
    pub(super) fn mark(&self, seq: Seq) -> Option<&Mark> {
        let at = self.marks.partition_point(|mark| mark.seq <= seq);
        self.marks[..at].last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_count() {
        let mut ranges = Ranges::default();
        for seq in [5, 7, 6, 10, 4, 1] {
            assert!(!ranges.contains(seq));
            ranges.insert(seq, seq);
        }
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 1), (4, 7), (10, 10)]);
        assert_eq!((ranges.count(1, 10), ranges.count(5, 6), ranges.count(8, 9), ranges.count(6, 10)), (6, 2, 0, 3));
        assert_eq!((ranges.skip(4), ranges.skip(8), ranges.skip(10)), (8, 8, 11));
    }
}
