//! What goes: by limits, by age, by deadline, by request.

use std::collections::VecDeque;

use super::bug::{Bug, planted};
use super::index::Segment;
use super::log::{Discard, Log, Refused, Settings};
use super::meta::Meta;
use super::record::Kind;
use super::subjects::SubjectId;
use super::tail::Unit;
use super::{FileId, Op, Record, Seq, Time};

/// The segment that would hold a number.
fn segment_of(segments: &VecDeque<Segment>, seq: Seq) -> Option<usize> {
    segments.partition_point(|segment| segment.first_seq <= seq).checked_sub(1)
}

/// Whether a segment has this message.
pub(super) fn holds(segments: &VecDeque<Segment>, seq: Seq) -> bool {
    segment_of(segments, seq).is_some_and(|at| segments[at].holds(seq))
}

impl Log {
    /// What the messages count, to within 64 KiB of the first.
    pub(super) fn bytes(&self) -> u64 {
        if self.messages == 0 {
            return 0;
        }
        let all: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let head = self.segments.front();
        let trimmed = head.and_then(|head| head.mark(self.first_seq)).map_or(0, |mark| mark.bytes_before.into());
        all.saturating_sub(trimmed)
    }

    /// Whether a message may come in, under [`Discard::New`].
    pub(super) fn make_room(&self, _now: Time, record: &Record<'_>) -> Result<(), Refused> {
        let settings = &self.settings;
        if settings.discard == Discard::Old {
            return Ok(());
        }
        let replaced = self.replaces(record.subject);
        let messages = self.messages + u64::from(!replaced);
        if settings.msgs_max > 0 && messages > settings.msgs_max {
            return Err(Refused::Full);
        }
        if settings.bytes_max > 0 && self.bytes() + record.counted_bytes() > settings.bytes_max {
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// The first number there is; one above the last when there is none.
    pub fn first_seq(&self) -> Seq {
        self.first_seq
    }

    /// Messages with numbers from `seq` on.
    pub fn count_from(&self, seq: Seq) -> u64 {
        let seq = seq.max(self.first_seq);
        let at = self.segments.partition_point(|segment| segment.last_seq < seq);
        self.segments.iter().skip(at).map(|segment| segment.count_from(seq)).sum()
    }

    /// Whether there is a message with this number.
    pub fn is_there(&self, seq: Seq) -> bool {
        if seq < self.first_seq || seq >= self.next_seq {
            return false;
        }
        holds(&self.segments, seq)
    }

    /// The segment that would hold a number.
    pub(super) fn segment_of(&self, seq: Seq) -> Option<usize> {
        segment_of(&self.segments, seq)
    }

    /// Of a subject that has more messages than it may the oldest go.
    pub(super) fn drop_oldest_of(&mut self, now: Time, id: SubjectId) {
        let keep = self.settings.msgs_per_subject_max;
        if self.history.len(id) <= keep {
            return;
        }
        let Self { history, segments, first_seq, .. } = self;
        history.clean(id, |seq| seq >= *first_seq && holds(segments, seq));
        while self.history.len(id) > keep {
            let Some((seq, bytes)) = self.history.oldest(id) else { return };
            self.remove(now, seq, id, bytes.into());
            // Only now: a footer that was written on the way must still have it.
            self.history.pop(id);
        }
    }

    /// Whether the next message of a subject makes an older one go.
    fn replaces(&self, subject: &[u8]) -> bool {
        let Some(id) = self.subjects.get(subject) else { return false };
        match self.settings.msgs_per_subject_max {
            0 => false,
            1 => self.is_there(self.subjects.last(id).0),
            keep => {
                let there = self.history.within(id, 0, Seq::MAX).filter(|&(seq, _)| self.is_there(seq));
                there.count() as u64 >= keep
            }
        }
    }

    /// Deletes one message; says whether it was there. It stays on disk until its segment goes.
    pub fn delete(&mut self, now: Time, record: &Record<'_>) -> bool {
        let Some(id) = self.subjects.get(record.subject).filter(|_| record.kind == Kind::Message) else { return false };
        self.remove(now, record.seq, id, record.counted_bytes())
    }

    /// As [`Self::delete`], for who has the record no more: its number, its subject and what it counted.
    pub(crate) fn delete_counted(&mut self, now: Time, seq: Seq, subject: &[u8], bytes: u64) -> bool {
        let Some(id) = self.subjects.get(subject) else { return false };
        self.remove(now, seq, id, bytes)
    }

    pub(super) fn remove(&mut self, now: Time, seq: Seq, id: SubjectId, bytes: u64) -> bool {
        if self.failed().is_some() || !self.is_there(seq) {
            return false;
        }
        let counted = bytes.min(u32::MAX.into()) as u32;
        let meta = Meta::Deleted { seq, subject: self.subjects.name(id), bytes: counted };
        meta.record(self.next_seq - 1, now, |record| {
            // First the room: the footer of a segment that ends here must not know yet of what the next one says.
            self.room_for(now, record.stored_bytes());
            self.forget(seq, id, bytes);
            if !planted(Bug::LostDeletion) {
                self.tail.add(record);
            }
        });
        if let Some(segment) = self.segments.back_mut() {
            segment.deleted.push((seq, id, counted));
        }
        self.advance();
        true
    }

    /// A message is gone; nothing is recorded.
    pub(super) fn forget(&mut self, seq: Seq, id: SubjectId, bytes: u64) -> bool {
        if !self.is_there(seq) {
            return false;
        }
        let Some(at) = self.segment_of(seq) else { return false };
        let segment = &mut self.segments[at];
        segment.missing.insert(seq, seq);
        segment.bytes = segment.bytes.saturating_sub(bytes);
        segment.forget(id);
        self.tidy.wanted |= segment.is_mostly_gone();
        self.subjects.remove(id, 1);
        self.messages -= 1;
        true
    }

    /// Everything below `first` is gone; returns the number of the commit that makes it last.
    pub fn trim(&mut self, now: Time, first: Seq) -> u64 {
        let first = first.min(self.next_seq);
        if self.failed().is_some() || first <= self.first_seq {
            return self.tail.number();
        }
        let commit = self.note(now, &Meta::Trimmed { first });
        self.cut(first);
        self.advance();
        commit
    }

    /// Lets everything below `first` go; nothing is recorded.
    pub(super) fn cut(&mut self, first: Seq) {
        while first > self.first_seq && !self.segments.is_empty() {
            let head = &self.segments[0];
            let there = head.count_from(self.first_seq);
            if head.last_seq >= first || self.segments.len() == 1 {
                self.messages -= there - head.count_from(first);
                self.first_seq = first;
                return;
            }
            self.messages -= there;
            self.first_seq = self.segments[1].first_seq.max(self.first_seq);
            self.drop_head();
        }
    }

    /// Moves on to the first message there is; segments before it go.
    pub(super) fn advance(&mut self) {
        while let Some(head) = self.segments.front() {
            let next = head.missing.skip(self.first_seq.max(head.first_seq));
            if next <= head.last_seq || self.segments.len() == 1 {
                self.first_seq = next.min(self.next_seq).max(self.first_seq);
                return;
            }
            self.first_seq = self.segments[1].first_seq.max(self.first_seq);
            self.drop_head();
        }
    }

    /// The first segment, of which no message counts any more, goes.
    fn drop_head(&mut self) {
        let Some(head) = self.segments.pop_front() else { return };
        for (id, count) in head.subject_counts() {
            self.subjects.remove(id, count);
        }
        if head.deadlines > 0 {
            let last = head.last_seq;
            self.deadlines.retain(|&(_, seq), _| seq > last);
        }
        self.tidy.changes += 1;
        let mut ops = vec![Op::Remove(head.file)];
        ops.extend(self.leave_compaction(head.file));
        ops.push(Op::SyncDir);
        self.tail.push(Unit::Remove(ops));
    }

    /// The disk is full where the segment after `last` was to be made: what is to be removed anyway goes ahead of
    /// everything else, and then the oldest segment if it may. `last` stays: it knows the last number.
    pub(super) fn give_way(&mut self, last: FileId) -> bool {
        let may_discard = self.settings.discard == Discard::Old;
        // What only a message that waits has replaced must not go before that message is down.
        let may_hoist = may_discard || self.settings.msgs_per_subject_max == 0;
        if may_hoist && self.tail.hoist_removals(last) {
            return true;
        }
        if !may_discard || self.segments.front().is_none_or(|head| head.file >= last) {
            return false;
        }
        let first = self.segments[1].first_seq;
        self.discarded += self.segments[0].count_from(self.first_seq);
        self.cut(first);
        self.tail.hoist_removals(last)
    }

    /// Keeps the limits.
    pub(super) fn enforce(&mut self, now: Time) {
        let before = self.messages;
        self.expire(now);
        let Settings { msgs_max, bytes_max, .. } = self.settings;
        if self.settings.discard == Discard::Old {
            while msgs_max > 0 && self.messages > msgs_max {
                self.drop_first(self.messages - msgs_max);
            }
            while bytes_max > 0 && self.messages > 1 && self.bytes() > bytes_max {
                self.cut(self.next_mark());
                self.advance();
            }
        }
        self.discarded += before - self.messages;
    }

    /// Where the first 64 KiB of messages end.
    fn next_mark(&self) -> Seq {
        let Some(head) = self.segments.front() else { return self.first_seq };
        let at = head.marks.partition_point(|mark| mark.seq <= self.first_seq);
        match (head.marks.get(at), self.segments.get(1)) {
            (Some(mark), _) => mark.seq,
            (None, Some(next)) => next.first_seq,
            (None, None) => self.next_seq - 1,
        }
    }

    /// The first messages go, up to `excess` of them.
    fn drop_first(&mut self, excess: u64) {
        let Some(head) = self.segments.front() else { return };
        let there = head.count_from(self.first_seq);
        let first = match self.segments.get(1) {
            Some(next) if there <= excess => next.first_seq,
            _ => head.missing.skip(self.first_seq.max(head.first_seq)) + 1,
        };
        self.cut(first);
        self.advance();
    }

    fn drop_older(&mut self, than: Time) {
        let mut first = self.first_seq;
        for (at, segment) in self.segments.iter().enumerate() {
            if segment.is_empty() || segment.last_time < than {
                first = self.segments.get(at + 1).map_or(self.next_seq, |next| next.first_seq);
                continue;
            }
            let old = segment.marks.partition_point(|mark| mark.time < than);
            if let Some(mark) = segment.marks[..old].last() {
                first = first.max(mark.seq);
            }
            break;
        }
        self.cut(first);
        self.advance();
    }

    /// When the oldest messages are due to go.
    pub(super) fn age_due(&self) -> Option<Time> {
        if self.settings.age_max == 0 || self.messages == 0 {
            return None;
        }
        let head = self.segments.front()?;
        let at = head.marks.partition_point(|mark| mark.seq <= self.first_seq);
        let time = head.marks.get(at).map_or(head.last_time, |mark| mark.time);
        Some(time.saturating_add(self.settings.age_max).saturating_add(1))
    }

    pub(super) fn expire(&mut self, now: Time) {
        if self.settings.age_max > 0 {
            self.drop_older(now.saturating_sub(self.settings.age_max));
        }
        while let Some((&(time, seq), &(id, bytes))) = self.deadlines.first_key_value() {
            if time > now {
                return;
            }
            self.deadlines.pop_first();
            if self.forget(seq, id, bytes.into()) {
                self.advance();
            }
        }
    }
}
