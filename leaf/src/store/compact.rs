//! A segment of which most is gone is written again while the log goes on, one small step between two batches of appends.
//!
//! It is read twice: first to learn exactly what is still needed, then to write that down. The new file counts from the moment its
//! head is on disk, which waits until every deletion it relies on is; the old one goes after that. Whatever moment a crash
//! chooses, one of the two is whole. What is damaged is left alone: it is for `store repair`.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::bug::{Bug, planted};
use super::frame::Frame;
use super::index::Segment;
use super::log::{Batch, Log};
use super::meta::{Footer, Meta};
use super::record::HEAD_BYTES;
use super::rewrite::Rewrite;
use super::segment::{DATA_OFFSET, Head, footer_at};
use super::subjects::SubjectId;
use super::walk::{Move, Walk};
use super::{FileId, Kind, Op, Record, SECTOR_BYTES, Seq, Time, Want};

/// Bytes written and synced at once: what a batch of appends waits for at most, beside a window that is read.
const PIECE_BYTES: usize = 128 * 1024;
/// The last segments are what a log is opened from, record by record: they stay as they are.
const RECENT: usize = 2;
/// Where it was not worth it, it is tried again after so many other segments were written again or went.
const AGAIN_AFTER: u64 = 8;
/// After a full disk, nanoseconds.
const PAUSE: Time = 10_000_000_000;

/// When segments are looked at.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    /// There may be one to be written again.
    pub(super) wanted: bool,
    /// Not before.
    pause: Option<Time>,
    /// Segments that were written again or went.
    pub(super) changes: u64,
    /// Segments written again since the log was opened.
    pub(super) done: u64,
}

/// One segment, being written again.
#[derive(Debug)]
pub(super) struct Compaction {
    old: FileId,
    head: Option<Head>,
    walk: Walk,
    asked: Option<Want>,
    phase: Phase,
    /// What will be known of the new file.
    fresh: Segment,
    /// Deletions in it that something older needs.
    deleted: Vec<(Seq, SubjectId, u32)>,
    /// The last message of each subject in it, with what it counts.
    lasts: HashMap<SubjectId, (Seq, u32), FixedState>,
    /// All of them, where the log keeps that.
    history: Vec<(SubjectId, Seq, u32)>,
    /// The commit that has every deletion it relies on.
    commit: u64,
    footer: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    /// Its head is read.
    Head,
    /// What is needed is found out.
    Measure,
    /// The file is made.
    Create,
    /// That is written; so many of the deletions are.
    Write(Box<Rewrite>, usize),
    /// All is written but the head.
    Seal(Box<Rewrite>),
    /// The new one counts.
    Remove,
    /// Nothing of it is needed: it goes without a new one.
    Drop,
    /// It stays as it is: the new file goes.
    Abandon,
}

/// What comes next.
enum Step {
    Batch(Batch),
    /// A commit must be done first.
    Wait,
    /// It stays as it is.
    GiveUp,
    /// On to the next phase.
    Next,
}

fn ops(ops: Vec<Op>) -> Step {
    Step::Batch(Batch { ops, want: None })
}

impl Compaction {
    fn new(segment: &Segment, clean_since: Seq, frame: Frame) -> Self {
        let seed = frame.salt.into();
        let file = FileId { generation: segment.file.generation + 1, ..segment.file };
        let mut fresh = Segment::new(file, frame, segment.first_seq, segment.first_time);
        fresh.end = DATA_OFFSET;
        fresh.clean_since = clean_since;
        Self {
            old: segment.file,
            head: None,
            walk: Walk::new(segment.file, &segment.frame, DATA_OFFSET, Some(segment.end)),
            asked: None,
            phase: Phase::Head,
            fresh,
            deleted: Vec::new(),
            lasts: HashMap::with_hasher(FixedState::with_seed(seed)),
            history: Vec::new(),
            commit: 0,
            footer: Vec::new(),
        }
    }

    fn ask(&mut self, want: Want) -> Step {
        self.asked = Some(want);
        Step::Batch(Batch { ops: Vec::new(), want: Some(want) })
    }

    /// Whether the new file may be on disk.
    fn is_created(&self) -> bool {
        matches!(self.phase, Phase::Create | Phase::Write(..) | Phase::Seal(_) | Phase::Abandon)
    }
}

/// A deletion, if the record is one.
fn deletion(record: &Record<'_>) -> Option<(Seq, Vec<u8>, u32)> {
    if record.kind != Kind::Meta {
        return None;
    }
    match postcard::from_bytes(record.payload) {
        Ok(Meta::Deleted { seq, subject, bytes }) => Some((seq, subject, bytes)),
        // The segments behind it begin with everything else that is kept.
        _ => None,
    }
}

impl Log {
    /// When there is something to do.
    pub(super) fn tidy_due(&self) -> Option<Time> {
        match &self.compaction {
            Some(work) => self.may_go_on(work).then_some(Time::MIN),
            None => self.tidy.wanted.then(|| self.tidy.pause.unwrap_or(Time::MIN)),
        }
    }

    /// The next step, if there is one.
    pub(super) fn compact(&mut self, now: Time) -> Option<Batch> {
        loop {
            let mut work = match self.compaction.take() {
                Some(work) => work,
                None => self.begin_compaction(now)?,
            };
            match self.next_step(&mut work, now) {
                Step::Next => self.compaction = Some(work),
                Step::Batch(batch) => {
                    self.compaction = Some(work);
                    return Some(batch);
                }
                Step::Wait => {
                    self.compaction = Some(work);
                    return None;
                }
                Step::GiveUp if work.is_created() => {
                    work.phase = Phase::Abandon;
                    self.compaction = Some(work);
                }
                Step::GiveUp => self.settle(work.old),
            }
        }
    }

    /// A step was done; these bytes were read.
    pub(super) fn compacted(&mut self, bytes: &[u8]) {
        let Some(mut work) = self.compaction.take() else { return };
        if let Some(want) = work.asked.take() {
            match work.phase {
                Phase::Head => match Head::decode(work.old, bytes, self.settings.keys.as_deref()) {
                    Ok(head) => (work.head, work.phase) = (Some(head), Phase::Measure),
                    Err(_) => return self.settle(work.old),
                },
                _ => work.walk.fill(want, bytes),
            }
            self.compaction = Some(work);
            return;
        }
        match work.phase {
            Phase::Create => match &work.head {
                Some(head) => {
                    work.phase = Phase::Write(Box::new(Rewrite::new(head, work.fresh.frame.clone())), 0);
                    work.walk = Walk::new(work.old, &work.walk.frame, DATA_OFFSET, Some(work.walk.end));
                }
                None => work.phase = Phase::Abandon,
            },
            Phase::Seal(_) => {
                self.swap(&mut work);
                work.phase = Phase::Remove;
            }
            Phase::Abandon => return self.settle(work.old),
            Phase::Remove | Phase::Drop => {
                self.tidy.changes += 1;
                self.tidy.done += 1;
                self.tidy.wanted = true;
                return;
            }
            Phase::Head | Phase::Measure | Phase::Write(..) => {}
        }
        self.compaction = Some(work);
    }

    /// There was no room for the new file.
    pub(super) fn compaction_has_no_room(&mut self, now: Time) {
        self.compaction = None;
        self.tidy.wanted = true;
        self.tidy.pause = Some(now + PAUSE);
    }

    /// The first segment goes: the files that go with it, if it was being written again.
    pub(super) fn leave_compaction(&mut self, file: FileId) -> Vec<Op> {
        match self.compaction.take_if(|work| work.old.segment == file.segment) {
            Some(work) if matches!(work.phase, Phase::Remove) => vec![Op::Remove(work.old)],
            Some(work) if work.is_created() => vec![Op::Remove(work.fresh.file)],
            Some(_) | None => Vec::new(),
        }
    }

    fn begin_compaction(&mut self, now: Time) -> Option<Box<Compaction>> {
        if !self.tidy.wanted || self.tidy.pause.is_some_and(|until| now < until) {
            return None;
        }
        self.tidy.pause = None;
        // Those behind it wait for the disk still.
        let on_disk = self.trusted().map_or(0, |(file, _)| self.segments.partition_point(|other| other.file <= file));
        let mut candidates = 0..on_disk.saturating_sub(RECENT);
        let Some(at) = candidates.find(|&at| self.is_worth_a_look(&self.segments[at], now)) else {
            self.tidy.wanted = false;
            return None;
        };
        let frame = Frame::new(self.salt(), self.settings.keys.as_deref());
        // A deletion that was recorded by now says that no later message was there.
        Some(Box::new(Compaction::new(&self.segments[at], self.next_seq - 1, frame)))
    }

    /// Bytes that a segment's file takes.
    fn file_bytes(&self, segment: &Segment) -> u64 {
        match segment.file.generation {
            0 => self.settings.segment_bytes.max(segment.end),
            _ => segment.end,
        }
    }

    fn is_worth_a_look(&self, segment: &Segment, now: Time) -> bool {
        // Message ids outlive their messages.
        let has_ids = self.dedupe.is_on() && segment.last_time >= self.dedupe.since(now);
        let settled = segment.settled.is_some_and(|(bytes, changes)| {
            segment.bytes * 2 >= bytes && self.tidy.changes < changes.saturating_add(AGAIN_AFTER)
        });
        segment.is_finished()
            && segment.is_mostly_gone()
            && segment.bytes * 2 <= self.file_bytes(segment)
            && !has_ids
            && !self.is_erasing(segment.file.segment)
            && !settled
    }

    /// Whether a segment is being written again.
    pub(super) fn is_compacting(&self, segment: u64) -> bool {
        self.compaction.as_ref().is_some_and(|work| work.old.segment == segment)
    }

    fn place_of(&self, file: FileId) -> Option<usize> {
        let at = self.segments.partition_point(|segment| segment.file < file);
        self.segments.get(at).filter(|segment| segment.file == file).map(|_| at)
    }

    fn may_go_on(&self, work: &Compaction) -> bool {
        let relies = matches!(work.phase, Phase::Seal(_) | Phase::Drop);
        !relies || self.is_committed(work.commit) || planted(Bug::CompactedUncommitted)
    }

    fn next_step(&mut self, work: &mut Compaction, now: Time) -> Step {
        if !self.may_go_on(work) {
            return Step::Wait;
        }
        match &mut work.phase {
            Phase::Head => work.ask(Want { file: work.old, offset: 0, len: DATA_OFFSET as usize }),
            Phase::Measure => self.measure(work, now),
            Phase::Create => {
                let bytes = footer_at(work.fresh.end) + work.footer.len() as u64;
                ops(vec![Op::Create(work.fresh.file, bytes)])
            }
            Phase::Write(..) => self.write(work, now),
            Phase::Seal(rewrite) => {
                let mut all =
                    vec![Op::Write(work.fresh.file, footer_at(work.fresh.end), std::mem::take(&mut work.footer))];
                all.extend(rewrite.seal());
                if planted(Bug::CompactedHeadFirst) {
                    all.retain(|op| !matches!(op, Op::Sync(_)));
                }
                ops(all)
            }
            Phase::Remove => ops(vec![Op::Remove(work.old), Op::SyncDir]),
            Phase::Abandon => ops(vec![Op::Remove(work.fresh.file), Op::SyncDir]),
            Phase::Drop => {
                // What is in it is gone; readers go on behind it.
                if let Some(at) = self.place_of(work.old) {
                    self.segments.remove(at);
                    self.advance();
                }
                ops(vec![Op::Remove(work.old), Op::SyncDir])
            }
        }
    }

    /// Reads on, up to the end of the segment, noting what is needed.
    fn measure(&mut self, work: &mut Compaction, now: Time) -> Step {
        let Some(at) = self.place_of(work.old) else { return Step::GiveUp };
        loop {
            match work.walk.advance() {
                Move::Want(want) => return work.ask(want),
                Move::Damage(..) => return Step::GiveUp,
                Move::End if work.walk.at() < work.walk.end => return Step::GiveUp,
                Move::End => break,
                Move::Record(_) => {
                    let Some(record) = work.walk.record() else { return Step::GiveUp };
                    let stored = work.fresh.frame.stored_bytes(&record) as u64;
                    if record.kind == Kind::Message && self.segments[at].holds(record.seq) {
                        let Some(id) = self.subjects.get(record.subject) else { return Step::GiveUp };
                        let bytes = record.counted_bytes();
                        let counted = bytes.min(u32::MAX.into()) as u32;
                        let offset = work.fresh.end;
                        work.fresh.appended(record.seq, record.time, id, bytes, offset, record.deadline.is_some());
                        work.lasts.insert(id, (record.seq, counted));
                        if self.settings.msgs_per_subject_max > 1 {
                            work.history.push((id, record.seq, counted));
                        }
                    } else if let Some((seq, subject, bytes)) = deletion(&record)
                        && let Some(id) = self.subjects.get(&subject)
                        && self.is_needed_by_older(work.old, seq, record.seq)
                    {
                        work.deleted.push((seq, id, bytes));
                    } else {
                        continue;
                    }
                    work.fresh.end += stored;
                }
            }
        }
        self.measured(work, at, now)
    }

    /// Whether the message `seq`, whose deletion was recorded when `noted` was the last message, may be in an older file.
    fn is_needed_by_older(&self, file: FileId, seq: Seq, noted: Seq) -> bool {
        if planted(Bug::NotesForgotten) {
            return false;
        }
        let Some(older) = self.segment_of(seq).map(|at| &self.segments[at]) else { return false };
        older.file != file && seq <= older.last_seq && noted >= older.clean_since
    }

    fn measured(&mut self, work: &mut Compaction, at: usize, now: Time) -> Step {
        let segment = &self.segments[at];
        let is_empty = work.fresh.is_empty() && work.deleted.is_empty();
        // Where the one before ends must be known without this one's head.
        let before_is_known = at.checked_sub(1).is_none_or(|before| self.segments[before].file.generation > 0);
        work.commit = self.tail.number();
        if is_empty && before_is_known {
            work.phase = Phase::Drop;
            return Step::Next;
        }
        let fresh = &mut work.fresh;
        fresh.end += fresh.frame.pad_bytes(fresh.end);
        if fresh.end * 2 > self.file_bytes(segment) {
            return Step::GiveUp;
        }
        if fresh.last_seq < segment.last_seq {
            fresh.missing.insert(fresh.last_seq + 1, segment.last_seq);
            fresh.last_seq = segment.last_seq;
        }
        fresh.last_time = segment.last_time;
        fresh.lost = segment.lost;
        fresh.finish();
        work.footer = self.footer_of(work, now);
        work.phase = Phase::Create;
        Step::Next
    }

    /// Reads on, up to the end of the segment, writing what is needed.
    fn write(&mut self, work: &mut Compaction, now: Time) -> Step {
        let Phase::Write(rewrite, noted) = &mut work.phase else { return Step::Next };
        loop {
            if rewrite.waiting() >= PIECE_BYTES {
                return ops(rewrite.piece());
            }
            match work.walk.advance() {
                Move::Want(want) => return work.ask(want),
                Move::Damage(..) => return Step::GiveUp,
                Move::End => break,
                Move::Record(_) => {
                    let Some(record) = work.walk.record() else { return Step::GiveUp };
                    if record.kind == Kind::Message && work.fresh.holds(record.seq) {
                        rewrite.add(&record);
                    } else if let Some(&(next, ..)) = work.deleted.get(*noted)
                        && deletion(&record).is_some_and(|(seq, ..)| seq == next)
                    {
                        rewrite.add(&record);
                        *noted += 1;
                    }
                }
            }
        }
        // Anything else than what was measured would be an error of ours: the old file stays.
        if rewrite.end(work.fresh.last_seq, now) != work.fresh.end {
            return Step::GiveUp;
        }
        match std::mem::replace(&mut work.phase, Phase::Head) {
            Phase::Write(rewrite, _) => work.phase = Phase::Seal(rewrite),
            other => work.phase = other,
        }
        Step::Next
    }

    fn footer_of(&self, work: &mut Compaction, now: Time) -> Vec<u8> {
        work.history.sort_unstable();
        let name = |id| self.subjects.name(id);
        let (fresh, history) = (&work.fresh, &work.history);
        let names = self.subjects.names(fresh.subjects.iter().map(|&(id, _)| id));
        let footer = Footer {
            first_seq: fresh.first_seq,
            last_seq: fresh.last_seq,
            first_time: fresh.first_time,
            last_time: fresh.last_time,
            missing: fresh.missing.iter().collect(),
            marks: fresh.marks.clone(),
            bytes: fresh.bytes,
            subjects: fresh
                .subjects
                .iter()
                .enumerate()
                .map(|(at, &(id, count))| (names.get(at), count, work.lasts.get(&id).copied().unwrap_or_default()))
                .collect(),
            metas: work
                .deleted
                .iter()
                .map(|&(seq, id, bytes)| Meta::Deleted { seq, subject: name(id), bytes })
                .collect(),
            deadlines: fresh.deadlines,
            history: (self.settings.msgs_per_subject_max > 1).then(|| {
                let of = |id| {
                    let from = history.partition_point(|entry| entry.0 < id);
                    history[from..].iter().take_while(move |entry| entry.0 == id).map(|&(_, seq, bytes)| (seq, bytes))
                };
                fresh.subjects.iter().map(|&(id, _)| of(id).collect()).collect()
            }),
            lost: fresh.lost,
            clean_since: fresh.clean_since,
        };
        let payload = postcard::to_allocvec(&footer).unwrap_or_default();
        let mut bytes = Vec::with_capacity(payload.len() + HEAD_BYTES + SECTOR_BYTES);
        let record = Record::other(Kind::Footer, fresh.last_seq, now, &payload);
        fresh.frame.encode(&record, footer_at(fresh.end), &mut bytes);
        bytes
    }

    /// The new file counts. What was deleted meanwhile stays so.
    fn swap(&mut self, work: &mut Compaction) {
        let Some(at) = self.place_of(work.old) else { return };
        let (segment, fresh) = (&mut self.segments[at], &mut work.fresh);
        (segment.file, segment.frame) = (fresh.file, fresh.frame.clone());
        (segment.end, segment.written, segment.begun) = (fresh.end, fresh.end, DATA_OFFSET);
        segment.marks = std::mem::take(&mut fresh.marks);
        segment.deadlines = fresh.deadlines;
        segment.clean_since = fresh.clean_since;
        segment.settled = None;
    }

    /// The segment stays as it is, for now.
    fn settle(&mut self, file: FileId) {
        let changes = self.tidy.changes;
        if let Some(at) = self.place_of(file) {
            let segment = &mut self.segments[at];
            segment.settled = Some((segment.bytes, changes));
        }
    }
}
