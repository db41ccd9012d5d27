//! Deletion that overwrites: nothing of a message's subject, headers and payload stays in its file.
//!
//! Its sectors hold parts of other messages, which a power failure while they are written would take along. So what the sectors
//! will look like goes into a file of its own first, the *draft*; then the message is overwritten, its deletion noted, and the
//! draft, which has parts of others, overwritten and removed. A draft that is whole when a log is opened is carried out again.

use std::collections::VecDeque;

use super::bug::{Bug, planted};
use super::frame::Frame;
use super::keys::Keys;
use super::log::{Batch, Log, Refused};
use super::meta::Meta;
use super::open::OpenError;
use super::record::HEAD_BYTES;
use super::segment::{DATA_OFFSET, Head};
use super::walk::{Move, Step, Walk};
use super::{Disk, FileId, Kind, Op, Record, SECTOR_BYTES, Seq, Time, Want};

/// Messages that may wait to be overwritten; more are refused.
pub const ERASURES_MAX: usize = 1024;
/// The draft: segments are numbered from 1 on.
pub(super) const DRAFT: FileId = FileId { segment: 0, generation: 0 };
/// After a full disk, nanoseconds.
const PAUSE: Time = 10_000_000_000;

/// What is to be overwritten.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    waiting: VecDeque<Seq>,
    work: Option<Box<Work>>,
    pause: Option<Time>,
    asked: u64,
    done: u64,
}

/// One message on its way.
#[derive(Debug)]
struct Work {
    /// What is to be read of its file, if it has to be found.
    find: Option<Find>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// It is looked for, and its sectors are read.
    Find,
    /// The draft is written.
    Draft(Box<Draft>),
    /// The message is overwritten.
    Overwrite(Box<Draft>),
    /// The draft goes when this commit is done.
    Clear { commit: u64, file: FileId, bytes: usize },
}

#[derive(Debug)]
struct Find {
    seq: Seq,
    walk: Walk,
    asked: Option<Want>,
    /// Where it is, and its length; then its sectors are read.
    place: Option<(u64, usize)>,
    sectors: Option<Vec<u8>>,
}

/// How a message's sectors look without it, and what the log must know of it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) seq: Seq,
    pub(super) subject: Vec<u8>,
    pub(super) counted: u32,
    file: FileId,
    salt: u32,
    at: u64,
    bytes: Vec<u8>,
    /// The draft's own bytes.
    record: Vec<u8>,
}

impl Draft {
    /// `frame` is that of the message's segment, with an epoch of its own: the nonce of what stands there must not come again.
    fn new(meta: &Meta, frame: &Frame) -> Option<Self> {
        let Meta::Erased { seq, subject, bytes, time, file, salt, at, before, length, after } = meta else {
            return None;
        };
        let zeros = vec![0; (*length as usize).saturating_sub(HEAD_BYTES + frame.more_bytes())];
        let mut sectors = before.clone();
        frame.encode(&Record::other(Kind::Erased, *seq, *time, &zeros), *at, &mut sectors);
        sectors.extend_from_slice(after);
        let mut record = Vec::new();
        meta.record(*seq, *time, |note| frame.encode(note, 0, &mut record));
        Some(Self {
            seq: *seq,
            subject: subject.clone(),
            counted: *bytes,
            file: FileId { segment: file.0, generation: file.1 },
            salt: *salt,
            at: *at,
            bytes: sectors,
            record,
        })
    }

    /// The draft that a disk has, if it is whole. It is framed as its segment is.
    fn read(disk: &mut dyn Disk, keys: Option<&Keys>, heads: &[Head]) -> Result<Option<Self>, OpenError> {
        for head in heads {
            let mut walk = Walk::new(DRAFT, &head.frame, 0, None);
            let Step::Record(0, record) = walk.next(disk)? else { continue };
            let Ok(meta) = postcard::from_bytes(record.payload) else { continue };
            let draft = Self::new(&meta, &head.frame.again(keys));
            if let Some(draft) = draft.filter(|draft| draft.file == head.file && draft.salt == head.frame.salt) {
                return Ok(Some(draft));
            }
        }
        Ok(None)
    }

    /// It goes when this commit is done.
    fn cleared_after(&self, commit: u64) -> Phase {
        Phase::Clear { commit, file: self.file, bytes: self.record.len() }
    }

    fn write_ops(&self) -> Vec<Op> {
        vec![
            Op::Create(DRAFT, self.record.len() as u64),
            Op::Write(DRAFT, 0, self.record.clone()),
            Op::Sync(DRAFT),
            Op::SyncDir,
        ]
    }

    fn overwrite_ops(&self) -> Vec<Op> {
        let sync = (!planted(Bug::ErasedUnsynced)).then_some(Op::Sync(self.file));
        [Op::Write(self.file, self.at, self.bytes.clone())].into_iter().chain(sync).collect()
    }
}

/// Overwrites what a crash kept from being overwritten; says what it was. Its draft stays until its deletion is noted.
///
/// # Errors
/// When the disk does not do what it must.
pub(super) fn finish(disk: &mut dyn Disk, keys: Option<&Keys>, heads: &[Head]) -> Result<Option<Draft>, OpenError> {
    let draft = Draft::read(disk, keys, heads)?.filter(|_| !planted(Bug::EraseNotFinished));
    let Some(draft) = draft else {
        disk.perform(&Op::Remove(DRAFT))?;
        disk.perform(&Op::SyncDir)?;
        return Ok(None);
    };
    // What is read of the draft may be in the system's memory only.
    let again = [Op::Write(DRAFT, 0, draft.record.clone()), Op::Sync(DRAFT), Op::SyncDir];
    again.iter().try_for_each(|op| disk.perform(op))?;
    draft.overwrite_ops().iter().try_for_each(|op| disk.perform(op))?;
    Ok(Some(draft))
}

impl Log {
    /// Deletes a message and overwrites it on disk: done when [`Log::is_erased`] says so of the number returned. Until then
    /// it may still be there; after a crash or a failure it is to be asked for again. `None` when there is no such message.
    ///
    /// What a segment that was written again held before is in space that the file system gave back, and is not overwritten;
    /// nor is a message whose whole segment goes before its turn comes.
    ///
    /// # Errors
    /// [`Refused::Busy`] when [`ERASURES_MAX`] wait, [`Refused::Failed`].
    pub fn erase(&mut self, seq: Seq) -> Result<Option<u64>, Refused> {
        self.usable()?;
        if !self.is_there(seq) {
            return Ok(None);
        }
        if self.erasures.waiting.len() >= ERASURES_MAX {
            return Err(Refused::Busy);
        }
        self.erasures.waiting.push_back(seq);
        self.erasures.asked += 1;
        Ok(Some(self.erasures.asked))
    }

    /// Whether what [`Log::erase`] gave this number is done.
    pub fn is_erased(&self, number: u64) -> bool {
        number <= self.erasures.done
    }

    /// When there is something to do.
    pub(super) fn erase_due(&self) -> Option<Time> {
        let is_due = match self.erasures.work.as_deref() {
            Some(Work { phase: Phase::Clear { commit, .. }, .. }) => self.is_committed(*commit),
            Some(_) => true,
            None => self.erasures.waiting.front().is_some_and(|&seq| self.may_be_erased(seq)),
        };
        is_due.then(|| self.erasures.pause.unwrap_or(Time::MIN))
    }

    fn may_be_erased(&self, seq: Seq) -> bool {
        let segment = self.segment_of(seq).map(|at| self.segments[at].file.segment);
        seq <= self.committed() && segment.is_none_or(|segment| !self.is_compacting(segment))
    }

    /// Whether a message of the segment is being overwritten.
    pub(super) fn is_erasing(&self, segment: u64) -> bool {
        self.erasures.work.as_ref().is_some_and(|work| work.segment() == segment)
    }

    /// The next step of overwriting a message, if there is one.
    pub(super) fn erase_step(&mut self, now: Time) -> Option<Batch> {
        while self.erase_due().is_some_and(|due| due <= now) {
            self.erasures.pause = None;
            let Some(mut work) = self.erasures.work.take().or_else(|| self.begin_erasure()) else {
                self.erasures.done += 1;
                continue;
            };
            if let Some(want) = work.find.as_mut().and_then(Find::next_want) {
                self.erasures.work = Some(work);
                return Some(Batch { ops: Vec::new(), want: Some(want) });
            }
            if let Some(find) = work.find.take() {
                match self.draft(&find) {
                    Some(draft) => work.phase = Phase::Draft(Box::new(draft)),
                    // It is not in its file: lost to damage, or gone with all of its segment.
                    None => {
                        self.erasures.done += 1;
                        continue;
                    }
                }
            }
            let ops = match &work.phase {
                Phase::Find => Vec::new(),
                Phase::Draft(draft) => draft.write_ops(),
                Phase::Overwrite(draft) if self.has_file(draft.file) => draft.overwrite_ops(),
                Phase::Overwrite(draft) => {
                    work.phase = draft.cleared_after(0);
                    self.erasures.work = Some(work);
                    continue;
                }
                Phase::Clear { bytes, .. } => {
                    vec![Op::Write(DRAFT, 0, vec![0; *bytes]), Op::Sync(DRAFT), Op::Remove(DRAFT), Op::SyncDir]
                }
            };
            self.erasures.work = Some(work);
            return Some(Batch { ops, want: None });
        }
        None
    }

    /// A step is done; these bytes were read.
    pub(super) fn erase_stepped(&mut self, now: Time, bytes: &[u8]) {
        let Some(mut work) = self.erasures.work.take() else { return };
        if let Some(find) = &mut work.find {
            find.filled(bytes);
            self.erasures.work = Some(work);
            return;
        }
        work.phase = match work.phase {
            Phase::Draft(draft) => Phase::Overwrite(draft),
            Phase::Overwrite(draft) => draft.cleared_after(self.note_erased(now, &draft)),
            Phase::Find | Phase::Clear { .. } => {
                self.erasures.done += 1;
                return;
            }
        };
        self.erasures.work = Some(work);
    }

    /// There was no room for a draft.
    pub(super) fn erase_has_no_room(&mut self, now: Time) {
        self.erasures.pause = Some(now + PAUSE);
    }

    /// What was overwritten when the log was opened is deleted, and then its draft.
    pub(super) fn erased_at_start(&mut self, now: Time, draft: &Draft) {
        let commit = self.note_erased(now, draft);
        self.erasures.work = Some(Box::new(Work { find: None, phase: draft.cleared_after(commit) }));
        self.erasures.asked += 1;
    }

    /// The deletion of a message is noted whether or not it is known here: the footer of its segment may have it. Returns the
    /// commit.
    fn note_erased(&mut self, now: Time, draft: &Draft) -> u64 {
        let Some(id) = self.subjects.intern(&draft.subject) else { return self.tail.number() };
        if !self.remove(now, draft.seq, id, draft.counted.into()) {
            let commit =
                self.note(now, &Meta::Deleted { seq: draft.seq, subject: draft.subject.clone(), bytes: draft.counted });
            if let Some(segment) = self.segments.back_mut() {
                segment.deleted.push((draft.seq, id, draft.counted));
            }
            return commit;
        }
        self.tail.number()
    }

    fn begin_erasure(&mut self) -> Option<Box<Work>> {
        let seq = self.erasures.waiting.pop_front()?;
        // Also if it was deleted since: it is in the file still.
        let segment = self.segment_of(seq).map(|at| &self.segments[at]).filter(|segment| seq <= segment.last_seq)?;
        let from = segment.mark(seq).map_or(DATA_OFFSET, |mark| mark.offset.into());
        let walk = Walk::new(segment.file, &segment.frame, from, Some(segment.written));
        let find = Find { seq, walk, asked: None, place: None, sectors: None };
        Some(Box::new(Work { find: Some(find), phase: Phase::Find }))
    }

    fn draft(&self, find: &Find) -> Option<Draft> {
        let (offset, _) = find.place?;
        let file = find.walk.file;
        self.has_file(file).then_some(())?;
        let at = offset / SECTOR_BYTES as u64 * SECTOR_BYTES as u64;
        let (before, rest) = find.sectors.as_ref()?.split_at_checked((offset - at) as usize)?;
        let frame = &find.walk.frame;
        let mut whole = rest[..frame.check(rest).ok()?].to_vec();
        frame.open(offset, &mut whole).then_some(())?;
        let record = frame.parse(&whole).ok().filter(|record| record.seq == find.seq)?;
        let meta = Meta::Erased {
            seq: find.seq,
            subject: record.subject.to_vec(),
            bytes: record.counted_bytes().min(u32::MAX.into()) as u32,
            time: record.time,
            file: (file.segment, file.generation),
            salt: frame.salt,
            at,
            before: before.to_vec(),
            length: whole.len() as u32,
            after: rest[frame.stored_bytes(&record)..].to_vec(),
        };
        Draft::new(&meta, &frame.again(self.settings.keys.as_deref()))
    }
}

impl Work {
    fn segment(&self) -> u64 {
        match (&self.find, &self.phase) {
            (Some(find), _) => find.walk.file.segment,
            (None, Phase::Draft(draft) | Phase::Overwrite(draft)) => draft.file.segment,
            (None, Phase::Clear { file, .. }) => file.segment,
            (None, Phase::Find) => 0,
        }
    }
}

impl Find {
    /// What is to be read next; `None` when all is there, or the message is not.
    fn next_want(&mut self) -> Option<Want> {
        while self.place.is_none() {
            match self.walk.advance() {
                Move::Want(want) => {
                    self.asked = Some(want);
                    return self.asked;
                }
                Move::Damage(..) => {}
                Move::End => return None,
                Move::Record(at) => match self.walk.record().filter(|record| record.kind == Kind::Message) {
                    Some(record) if record.seq > self.seq => return None,
                    Some(record) if record.seq == self.seq => {
                        self.place = Some((at, self.walk.frame.stored_bytes(&record)));
                    }
                    _ => {}
                },
            }
        }
        let (at, stored) = self.place.filter(|_| self.sectors.is_none())?;
        let sector = SECTOR_BYTES as u64;
        let (from, to) = (at / sector * sector, (at + stored as u64).next_multiple_of(sector));
        Some(Want { file: self.walk.file, offset: from, len: (to - from) as usize })
    }

    fn filled(&mut self, bytes: &[u8]) {
        match self.asked.take() {
            Some(want) => self.walk.fill(want, bytes),
            None => self.sectors = Some(bytes.to_vec()),
        }
    }
}
