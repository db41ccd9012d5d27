//! Opening: from what a disk holds to a log that goes on.
//!
//! Finished segments are known by their footers; the last two are read, record by record. Every whole record counts, also
//! one behind damage: it may have been acknowledged, and one that was not does no harm. What deletes is different: in
//! the last batch it counts only if nothing before it in that batch is damaged, for what it made room for may be lost.

use std::fmt;

use super::bug::{Bug, planted};
use super::erase::{self, DRAFT, Draft};
use super::frame::Lock;
use super::index::Segment;
use super::keys::Keys;
use super::log::{Log, Settings};
use super::meta::{Footer, Meta};
use super::record::Kind;
use super::segment::{DATA_OFFSET, Head, NoHead, footer_at};
use super::subjects::SubjectId;
use super::walk::{Step, Walk};
use super::{Disk, DiskError, FileId, Op, ReadError, SECTOR_BYTES, Seq, Time, WINDOW_BYTES, Want};

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Stretches of bytes that are no records: file, from, to.
    pub damage: Vec<(FileId, u64, u64)>,
    /// Messages that were in them, as far as the numbers around them tell.
    pub lost: u64,
    /// Files whose heads are gone; they were left alone.
    pub unreadable: Vec<FileId>,
    /// Files that a crash left unfinished; nothing in them counted, and they were removed.
    pub unfinished: Vec<FileId>,
    /// Segments that were read record by record.
    pub scanned: u64,
}

impl Report {
    /// Whether everything was in order.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.unreadable.is_empty() && self.unfinished.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.damage.iter().map(|(_, from, to)| to - from).sum();
        write!(f, "{bytes} bytes in {} places are no records, {} messages are lost", self.damage.len(), self.lost)?;
        match self.unreadable.len() {
            0 => Ok(()),
            files => write!(f, ", {files} files cannot be read"),
        }
    }
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The directory or a file cannot be read, synced or removed.
    Disk(String),
    /// A segment was written by a newer version.
    Version(FileId, u16),
    /// A segment is encrypted, and the key that is needed is not there. Nothing was changed.
    Locked(FileId, Lock),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(text) => f.write_str(text),
            Self::Version(file, version) => {
                write!(f, "{file} has a format (version {version}) that this program does not know: use a newer one")
            }
            Self::Locked(file, lock) => write!(f, "{file} {lock}"),
        }
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        Self::Disk(error.to_string())
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error.to_string())
    }
}

impl Log {
    /// Opens the log that `disk` holds, or begins one. `seed` must not be known to those who publish.
    ///
    /// `trusted`: what [`Log::trusted`] of a failed log said; nothing written after that counts, whatever the system's
    /// cache shows after the failure.
    ///
    /// # Errors
    /// When the disk does not let itself be read, or a segment is of another format.
    pub fn open(
        disk: &mut dyn Disk,
        settings: Settings,
        now: Time,
        seed: u64,
        trusted: Option<(FileId, u64)>,
    ) -> Result<(Self, Report), OpenError> {
        let mut report = Report::default();
        let (heads, last_number, erased) = heads(disk, settings.keys.as_deref(), trusted, &mut report)?;
        let mut opening = Opening { log: Self::empty(settings, seed), report, next_seq: 1 };
        opening.log.next_segment = last_number + 1;
        let mut sound = false;
        for (at, head) in heads.iter().enumerate() {
            let next = heads.get(at + 1).filter(|next| next.file.segment == head.file.segment + 1);
            let limit = trusted.filter(|&(file, _)| file == head.file).map(|(_, end)| end);
            let end = head.own_end.or(next.map(|next| next.end)).or(limit);
            let recent = at + 2 >= heads.len();
            let by_footer = !recent && opening.footer(disk, head, end)?;
            if !by_footer {
                let is_last = at + 1 == heads.len();
                // What was written again as a whole has no torn end, whatever rotted since.
                let torn = head.own_end.is_none() && next.is_none_or(|next| next.after_torn);
                sound = opening.scan(disk, head, end, is_last, torn)? && limit.is_none();
            }
        }
        let Opening { mut log, report, next_seq } = opening;
        log.next_seq = next_seq.max(log.next_seq);
        log.committed = log.next_seq - 1;
        let keys = log.settings.keys.as_deref();
        match log.segments.back().map(|last| (last.file, last.end, last.frame.is_current(keys))) {
            Some((file, end, is_current)) => {
                // What a killed process wrote may be in the system's memory only, names of files among it.
                disk.perform(&Op::Sync(file))?;
                disk.perform(&Op::SyncDir)?;
                log.trust(file, end);
                log.worn_before += end;
                if !sound || file.generation > 0 || !is_current {
                    log.rotate(now);
                }
            }
            None => log.rotate(now),
        }
        log.advance();
        log.revisit(disk, now)?;
        if let Some(draft) = erased {
            log.erased_at_start(now, &draft);
        }
        log.enforce(now);
        log.tidy.wanted = true;
        Ok((log, report))
    }

    /// Reads those segments again whose message ids, deadlines or numbers by subject are needed.
    fn revisit(&mut self, disk: &mut dyn Disk, now: Time) -> Result<(), OpenError> {
        let since = self.dedupe.since(now);
        let ids = self.dedupe.is_on();
        let crowded = self.crowded();
        let wanted: Vec<_> = self
            .segments
            .iter()
            .filter(|segment| !segment.is_empty())
            .filter(|segment| {
                segment.deadlines > 0
                    || (ids && segment.last_time >= since)
                    || segment.unlisted
                    || crowded.iter().any(|&id| segment.count_of(id) > 0)
            })
            .map(|segment| (segment.file, segment.frame.clone(), segment.end, segment.unlisted))
            .collect();
        for (file, frame, end, unlisted) in wanted {
            let mut walk = Walk::new(file, &frame, DATA_OFFSET, Some(end));
            loop {
                let record = match walk.next(disk)? {
                    Step::Record(_, record) if record.kind == Kind::Message => record,
                    Step::Record(..) | Step::Damage(..) => continue,
                    Step::End => break,
                };
                if ids && !record.msg_id.is_empty() && record.time >= since {
                    self.dedupe.insert(record.time, record.msg_id, record.seq);
                }
                let Some(id) = self.subjects.get(record.subject).filter(|_| self.is_there(record.seq)) else {
                    continue;
                };
                let counted = record.counted_bytes().min(u32::MAX.into()) as u32;
                if let Some(deadline) = record.deadline {
                    self.deadlines.insert((deadline, record.seq), (id, counted));
                }
                if unlisted || crowded.binary_search(&id).is_ok() {
                    self.history.push(id, record.seq, counted);
                }
            }
        }
        // What time has taken makes room for the rest.
        self.expire(now);
        self.thin_out(now);
        Ok(())
    }

    /// With a limit of one message for each subject: those that seem to have more, or another than the last, after a
    /// crash between a message and the deletion of the one before it, or because the limit is new.
    fn crowded(&self) -> Vec<SubjectId> {
        match self.settings.msgs_per_subject_max {
            1 => {
                let is_crowded = |&id: &SubjectId| match self.subjects.count(id) {
                    0 => false,
                    1 => !self.is_there(self.subjects.last(id).0),
                    _ => true,
                };
                (0..self.subjects.len()).filter(is_crowded).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Keeps the limit for each subject.
    fn thin_out(&mut self, now: Time) {
        for id in self.history.subjects() {
            self.history.sort(id);
            self.drop_oldest_of(now, id);
            if let Some((seq, bytes)) = self.history.newest(id, |seq| self.is_there(seq)) {
                self.subjects.set_last(id, seq, bytes);
            }
        }
        if self.settings.msgs_per_subject_max <= 1 {
            self.history.clear();
        }
    }
}

/// The heads of all segments, in order; what is unfinished goes. And the highest number of a file, and the message that
/// was being overwritten.
fn heads(
    disk: &mut dyn Disk,
    keys: Option<&Keys>,
    trusted: Option<(FileId, u64)>,
    report: &mut Report,
) -> Result<(Vec<Head>, u64, Option<Draft>), OpenError> {
    let mut files = disk.list().map_err(|error| OpenError::Disk(format!("the log's directory: {error}")))?;
    files.sort_unstable();
    let has_draft = files.first() == Some(&DRAFT);
    files.retain(|file| *file != DRAFT);
    let last_number = files.last().map_or(0, |file| file.segment);
    let mut heads: Vec<Head> = Vec::with_capacity(files.len());
    // Of a segment that was written again the newest whole one counts; its head is written last. After a failure, when what is
    // read need not be what is on disk, it is the oldest: that goes only when the newer one is certain.
    let mut superseded = Vec::new();
    for &file in files.iter().rev() {
        if let Some(newer) = heads.last().map(|newer| newer.file).filter(|newer| newer.segment == file.segment) {
            let bytes = Want { file, offset: 0, len: DATA_OFFSET as usize }.read(disk)?;
            match Head::decode(file, &bytes, keys) {
                Ok(head) if trusted.is_some() => {
                    if let Some(lock) = head.frame.lock() {
                        return Err(OpenError::Locked(file, lock.clone()));
                    }
                    heads.pop();
                    heads.push(head);
                    report.unfinished.push(newer);
                }
                _ => superseded.push((file, newer)),
            }
            continue;
        }
        let bytes = Want { file, offset: 0, len: DATA_OFFSET as usize }.read(disk)?;
        let beyond = trusted.is_some_and(|(last, _)| file.segment > last.segment);
        let is_again = file.generation > 0 && files.iter().any(|other| other.segment == file.segment && *other < file);
        match Head::decode(file, &bytes, keys) {
            Ok(head) if !beyond => {
                if let Some(lock) = head.frame.lock() {
                    return Err(OpenError::Locked(file, lock.clone()));
                }
                heads.push(head);
            }
            Err(NoHead::Version(version)) => return Err(OpenError::Version(file, version)),
            Err(_) if file.segment != last_number && !is_again => report.unreadable.push(file),
            _ => report.unfinished.push(file),
        }
    }
    heads.reverse();
    // One that was written again is newer than its place says.
    let mut rest = heads.iter().skip_while(|head| head.frame.sealed().is_none() || head.file.generation > 0);
    if let Some(plain) = rest.find(|head| head.frame.sealed().is_none()) {
        return Err(OpenError::Locked(plain.file, Lock::NotEncrypted));
    }
    if let Some(last) = heads.last()
        && !is_begun(disk, last)?
    {
        report.unfinished.push(last.file);
        heads.pop();
    }
    for &(_, newer) in &superseded {
        // What a killed process wrote may be in the system's memory only.
        disk.perform(&Op::Sync(newer))?;
    }
    if !superseded.is_empty() {
        disk.perform(&Op::SyncDir)?;
    }
    for file in report.unfinished.iter().copied().chain(superseded.iter().map(|&(old, _)| old)) {
        disk.perform(&Op::Remove(file))?;
    }
    if !report.unfinished.is_empty() || !superseded.is_empty() {
        disk.perform(&Op::SyncDir)?;
    }
    let erased = if has_draft { erase::finish(disk, keys, &heads)? } else { None };
    // A number is used again when its file never counted, so that each segment's successor is found by its number.
    let highest =
        heads.iter().map(|head| head.file).chain(report.unreadable.iter().copied()).map(|file| file.segment).max();
    Ok((heads, highest.unwrap_or(0), erased))
}

/// Whether a segment has at least all that it is begun with; if not, nothing was written into it afterwards either, unless it
/// rotted since.
fn is_begun(disk: &mut dyn Disk, head: &Head) -> Result<bool, OpenError> {
    let mut walk = Walk::new(head.file, &head.frame, DATA_OFFSET, None);
    let (mut damaged, mut pads) = (false, 0);
    loop {
        match walk.next(disk)? {
            Step::End => return Ok(false),
            Step::Damage(..) => damaged = true,
            Step::Record(_, record) if record.kind == Kind::Message => return Ok(true),
            Step::Record(_, record) if record.kind == Kind::Pad => {
                pads += 1;
                if !damaged || pads > 1 {
                    return Ok(true);
                }
            }
            Step::Record(..) => {}
        }
    }
}

/// A log that is being opened.
struct Opening {
    log: Log,
    report: Report,
    next_seq: Seq,
}

impl Opening {
    /// Knows a segment by its footer; `false` if that cannot be read.
    fn footer(&mut self, disk: &mut dyn Disk, head: &Head, end: Option<u64>) -> Result<bool, OpenError> {
        let Some(end) = end else { return Ok(false) };
        let footer_at = footer_at(end);
        let mut walk = Walk::new(head.file, &head.frame, footer_at, None);
        let footer: Footer<'_> = match walk.next(disk)? {
            Step::Record(at, record) if at == footer_at && record.kind == Kind::Footer => {
                match postcard::from_bytes(record.payload) {
                    Ok(footer) => footer,
                    Err(_) => return Ok(false),
                }
            }
            _ => return Ok(false),
        };
        let mut segment = Segment::new(head.file, head.frame.clone(), head.first_seq, footer.first_time);
        segment.last_seq = footer.last_seq;
        segment.last_time = footer.last_time;
        (segment.end, segment.written) = (end, end);
        segment.marks = footer.marks;
        segment.bytes = footer.bytes;
        segment.deadlines = footer.deadlines;
        segment.lost = footer.lost;
        segment.clean_since = footer.clean_since;
        for (first, last) in footer.missing {
            segment.missing.insert(first, last);
        }
        let mut history = footer.history.unwrap_or_default().into_iter();
        let keep = self.log.settings.msgs_per_subject_max;
        segment.subjects.reserve_exact(footer.subjects.len());
        for (name, count, (last, bytes)) in footer.subjects {
            let numbers = history.next();
            segment.unlisted |= keep > 1 && numbers.is_none() && count > 0;
            let Some(id) = self.log.subjects.intern(name) else { continue };
            self.log.subjects.add(id, count, last, bytes);
            segment.subjects.push((id, count));
            for (seq, bytes) in numbers.into_iter().flatten().filter(|_| keep > 1) {
                self.log.history.push(id, seq, bytes);
            }
        }
        segment.finish();
        self.report.lost += segment.lost;
        self.begin(segment);
        for meta in footer.metas {
            self.apply(meta);
        }
        Ok(true)
    }

    /// Takes a segment in whose messages are known.
    fn begin(&mut self, segment: Segment) {
        let log = &mut self.log;
        if log.segments.is_empty() {
            log.first_seq = segment.first_seq;
        }
        log.messages += segment.count_from(segment.first_seq);
        // Of an empty segment that is its first.
        if !planted(Bug::ReusedNumber) || !segment.is_empty() {
            self.next_seq = self.next_seq.max(segment.last_seq + 1);
        }
        log.next_seq = self.next_seq;
        log.segments.push_back(segment);
    }

    /// Reads a segment record by record; whether one may go on writing where it ends. `torn`: its last batch may be.
    fn scan(
        &mut self,
        disk: &mut dyn Disk,
        head: &Head,
        end: Option<u64>,
        is_last: bool,
        torn: bool,
    ) -> Result<bool, OpenError> {
        self.report.scanned += 1;
        let mut segment = Segment::new(head.file, head.frame.clone(), head.first_seq, head.created);
        let mut found = Found::default();
        let mut walk = Walk::new(head.file, &head.frame, DATA_OFFSET, end);
        segment.end = DATA_OFFSET;
        loop {
            match walk.next(disk)? {
                Step::End => break,
                Step::Damage(from, to) => {
                    if planted(Bug::CutAtFirstDamage) {
                        break;
                    }
                    found.begin_batch();
                    found.damaged = true;
                    self.report.damage.push((head.file, from, to));
                }
                Step::Record(at, record) => {
                    let stored = head.frame.stored_bytes(&record) as u64;
                    if record.kind == Kind::Footer {
                        break;
                    }
                    found.begin_batch();
                    segment.end = at + stored;
                    if !planted(Bug::ReusedNumber) || record.kind == Kind::Message {
                        self.next_seq = self.next_seq.max(record.seq + 1);
                    }
                    match record.kind {
                        Kind::Message if record.seq > segment.last_seq => {
                            if found.damaged {
                                segment.lost += record.seq - segment.last_seq - 1;
                            }
                            let Some(id) = self.log.subjects.intern(record.subject) else { continue };
                            let bytes = record.counted_bytes();
                            let counted = bytes.min(u32::MAX.into()) as u32;
                            let deadline = record.deadline.is_some();
                            segment.appended(record.seq, record.time, id, bytes, at, deadline);
                            self.log.subjects.add(id, 1, record.seq, counted);
                            if self.log.settings.msgs_per_subject_max > 1 {
                                self.log.history.push(id, record.seq, counted);
                            }
                        }
                        Kind::Meta => found.meta(record.payload),
                        Kind::Pad => found.pad(),
                        Kind::Erased if record.seq > segment.last_seq => segment.erased(record.seq),
                        Kind::Message | Kind::Erased | Kind::Footer => {}
                    }
                }
            }
        }
        let clean_end = !is_last || wipe(disk, head.file, segment.end)?;
        let short = end.is_some_and(|end| segment.end < end);
        if !clean_end || short {
            self.report.damage.push((head.file, segment.end, walk.at()));
        }
        if !is_last {
            segment.end = end.unwrap_or(segment.end);
            segment.finish();
        }
        segment.written = segment.end;
        self.report.lost += segment.lost;
        let sound = found.sound() && clean_end;
        self.begin(segment);
        self.log.torn = is_last && found.damaged;
        for meta in found.done(torn) {
            self.apply(meta);
        }
        Ok(sound)
    }

    fn apply(&mut self, meta: Meta) {
        let log = &mut self.log;
        match meta {
            Meta::Deleted { seq, subject, bytes } => {
                let Some(id) = log.subjects.intern(&subject) else { return };
                log.forget(seq, id, bytes.into());
                // Also of what is not there: it may be overwritten, and the footer of its segment have it still.
                if log.segments.front().is_some_and(|first| first.first_seq <= seq)
                    && let Some(segment) = log.segments.back_mut()
                {
                    segment.deleted.push((seq, id, bytes));
                }
            }
            // What the segment itself was written with is added at the end.
            Meta::Worn { bytes } => log.worn_before = log.worn_before.max(bytes),
            // In drafts only.
            Meta::Erased { .. } => {}
            Meta::Cleared => {
                log.kept.clear();
                log.kept_bytes = 0;
            }
            Meta::Trimmed { first } => log.cut(first.min(log.next_seq)),
            Meta::Put { key, value } => {
                log.kept_bytes += key.len() + value.len();
                if let Some(old) = log.kept.insert(key.as_slice().into(), value.into()) {
                    log.kept_bytes -= key.len() + old.len();
                }
            }
            Meta::Dropped { key } => {
                if let Some(old) = log.kept.remove(key.as_slice()) {
                    log.kept_bytes -= key.len() + old.len();
                }
            }
        }
    }
}

/// What a scan found beside messages.
#[derive(Default)]
struct Found {
    metas: Vec<Meta>,
    /// Deletions of the last batch, behind damage.
    torn: Vec<Meta>,
    /// There was damage in this batch.
    damaged: bool,
    /// The record before was a pad: the batch is over.
    padded: bool,
    /// Whether the first batch is whole: what is kept.
    complete: Option<bool>,
}

impl Found {
    /// Something follows: if the batch before is over, the disk had finished it.
    fn begin_batch(&mut self) {
        if std::mem::take(&mut self.padded) {
            self.metas.append(&mut self.torn);
            self.damaged = false;
        }
    }

    fn meta(&mut self, payload: &[u8]) {
        let Ok(meta) = postcard::from_bytes(payload) else { return };
        let deletes = matches!(meta, Meta::Deleted { .. } | Meta::Trimmed { .. });
        if self.damaged && deletes && !planted(Bug::DeletionBeforeRecord) {
            self.torn.push(meta);
        } else {
            self.metas.push(meta);
        }
    }

    fn pad(&mut self) {
        self.complete.get_or_insert(!self.damaged);
        self.padded = true;
    }

    fn sound(&self) -> bool {
        self.padded && !self.damaged && self.complete == Some(true)
    }

    fn done(mut self, is_torn: bool) -> Vec<Meta> {
        if self.complete != Some(true) {
            self.metas.retain(|meta| *meta != Meta::Cleared);
        }
        if !is_torn {
            self.metas.append(&mut self.torn);
        }
        self.metas
    }
}

/// Overwrites what follows the last record that counts with zeros, so that nothing of it counts another time. Says whether
/// there was nothing.
fn wipe(disk: &mut dyn Disk, file: FileId, from: u64) -> Result<bool, OpenError> {
    let sector = from.next_multiple_of(SECTOR_BYTES as u64);
    let begun = Want { file, offset: from, len: (sector - from) as usize }.read(disk)?;
    let mut clean = begun.iter().all(|&b| b == 0);
    let (mut at, mut wiped) = (sector, false);
    loop {
        let bytes = Want { file, offset: at, len: WINDOW_BYTES }.read(disk)?;
        if bytes.iter().any(|&b| b != 0) {
            disk.perform(&Op::Write(file, at, vec![0; bytes.len()]))?;
            wiped = true;
        }
        if bytes.len() < WINDOW_BYTES {
            break;
        }
        at += bytes.len() as u64;
    }
    if wiped {
        disk.perform(&Op::Sync(file))?;
        clean = false;
    }
    Ok(clean)
}
