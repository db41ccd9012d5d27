//! Opening: from what a disk holds to a log that goes on.
//!
//! Finished segments are known by their footers; the last two are read, record by record. Every whole record counts, also
//! one behind damage: it may have been acknowledged, and one that was not does no harm. What deletes is different: in
//! the last batch it counts only if nothing before it in that batch is damaged, for what it made room for may be lost.

use std::collections::BTreeMap;
use std::fmt;

use super::bug::{Bug, planted};
use super::index::Segment;
use super::log::{Log, Settings};
use super::meta::{Footer, Meta};
use super::record::Kind;
use super::segment::{DATA_OFFSET, Head};
use super::walk::{Step, Walk};
use super::{Disk, DiskError, FileId, Op, ReadError, SECTOR_BYTES, Seq, Time};

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
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(text) => f.write_str(text),
            Self::Version(file, version) => {
                write!(f, "{file} has format {version}, which this program does not know: use a newer one")
            }
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
        let (heads, last_number) = heads(disk, trusted, &mut report)?;
        let mut opening = Opening { log: Self::empty(settings, seed), report, next_seq: 1 };
        opening.log.next_segment = last_number + 1;
        let mut sound = false;
        for (at, head) in heads.iter().enumerate() {
            let next = heads.get(at + 1).filter(|next| next.file.segment == head.file.segment + 1);
            let limit = trusted.filter(|&(file, _)| file == head.file).map(|(_, end)| end);
            let end = next.map(|next| next.end).or(limit);
            let recent = at + 2 >= heads.len();
            let by_footer = !recent && opening.footer(disk, head, end)?;
            if !by_footer {
                sound = opening.scan(disk, head, end, at + 1 == heads.len())? && limit.is_none();
            }
        }
        let Opening { mut log, report, next_seq } = opening;
        log.next_seq = next_seq.max(log.next_seq);
        log.committed = log.next_seq - 1;
        log.revisit(disk, now)?;
        match log.segments.back() {
            Some(last) if sound => {
                let (file, end) = (last.file, last.end);
                // What a killed process wrote may be in the system's memory only.
                disk.perform(&Op::Sync(file))?;
                log.trust(file, end);
            }
            Some(last) => {
                let (file, end) = (last.file, last.end);
                disk.perform(&Op::Sync(file))?;
                log.trust(file, end);
                if let Some(last) = log.segments.back_mut() {
                    // Where the end was torn off, records stand in the sector that the footer would begin in.
                    last.end = last.end.next_multiple_of(SECTOR_BYTES as u64);
                }
                log.rotate(now);
            }
            None => log.rotate(now),
        }
        log.advance();
        log.enforce(now);
        Ok((log, report))
    }

    /// Reads those segments again whose message ids or deadlines are needed.
    fn revisit(&mut self, disk: &mut dyn Disk, now: Time) -> Result<(), OpenError> {
        let since = self.dedupe.since(now);
        let ids = self.dedupe.is_on();
        let wanted: Vec<_> = self
            .segments
            .iter()
            .filter(|segment| segment.deadlines > 0 || (ids && segment.last_time >= since))
            .map(|segment| (segment.file, segment.salt, segment.end))
            .collect();
        for (file, salt, end) in wanted {
            let mut walk = Walk::new(file, salt, DATA_OFFSET, Some(end));
            loop {
                let record = match walk.next(disk)? {
                    Step::Record(_, record) if record.kind == Kind::Message => record,
                    Step::Record(..) | Step::Damage(..) => continue,
                    Step::End => break,
                };
                if ids && !record.msg_id.is_empty() && record.time >= since {
                    self.dedupe.insert(record.time, record.msg_id, record.seq);
                }
                if let (Some(deadline), Some(id)) = (record.deadline, self.subjects.get(record.subject))
                    && self.is_there(record.seq)
                {
                    let counted = record.counted_bytes().min(u32::MAX.into()) as u32;
                    self.deadlines.insert((deadline, record.seq), (id, counted));
                }
            }
        }
        Ok(())
    }
}

/// The heads of all segments, in order; what is unfinished goes. And the highest number of a file.
fn heads(
    disk: &mut dyn Disk,
    trusted: Option<(FileId, u64)>,
    report: &mut Report,
) -> Result<(Vec<Head>, u64), OpenError> {
    let mut files = disk.list().map_err(|error| OpenError::Disk(format!("the log's directory: {error}")))?;
    files.sort_unstable();
    // Of a segment that was rewritten only the last counts.
    let newest: BTreeMap<u64, FileId> = files.iter().map(|&file| (file.segment, file)).collect();
    let last_number = newest.keys().next_back().copied().unwrap_or(0);
    let mut heads = Vec::with_capacity(newest.len());
    for &file in newest.values() {
        let mut bytes = vec![0; DATA_OFFSET as usize];
        let n = disk.read(file, 0, &mut bytes).map_err(|error| OpenError::Disk(format!("{file}: {error}")))?;
        let beyond = trusted.is_some_and(|(last, _)| file.segment > last.segment);
        match Head::decode(file, &bytes[..n]) {
            Ok(head) if !beyond => heads.push(head),
            Err(version) if version != 0 => return Err(OpenError::Version(file, version)),
            Err(_) if file.segment != last_number => report.unreadable.push(file),
            _ => report.unfinished.push(file),
        }
    }
    for &file in &report.unfinished {
        disk.perform(&Op::Remove(file))?;
    }
    if !report.unfinished.is_empty() {
        disk.perform(&Op::SyncDir)?;
    }
    Ok((heads, last_number))
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
        let mut walk = Walk::new(head.file, head.salt, end, None);
        let footer: Footer = match walk.next(disk)? {
            Step::Record(at, record) if at == end && record.kind == Kind::Footer => {
                match postcard::from_bytes(record.payload) {
                    Ok(footer) => footer,
                    Err(_) => return Ok(false),
                }
            }
            _ => return Ok(false),
        };
        let mut segment = Segment::new(head.file, head.salt, head.first_seq, footer.first_time);
        segment.last_seq = footer.last_seq;
        segment.last_time = footer.last_time;
        (segment.end, segment.written) = (end, end);
        segment.marks = footer.marks;
        segment.bytes = footer.bytes;
        segment.deadlines = footer.deadlines;
        segment.lost = footer.lost;
        for (first, last) in footer.missing {
            segment.missing.insert(first, last);
        }
        for (name, count, (last, bytes)) in footer.subjects {
            if let Some(id) = self.log.subjects.intern(&name) {
                self.log.subjects.add(id, count, last, bytes);
                segment.subjects.push((id, count));
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
        self.next_seq = self.next_seq.max(segment.first_seq).max(segment.last_seq + 1);
        log.next_seq = self.next_seq;
        log.segments.push_back(segment);
    }

    /// Reads a segment record by record; whether one may go on writing where it ends.
    fn scan(&mut self, disk: &mut dyn Disk, head: &Head, end: Option<u64>, is_last: bool) -> Result<bool, OpenError> {
        self.report.scanned += 1;
        let mut segment = Segment::new(head.file, head.salt, head.first_seq, head.created);
        let mut found = Found { metas: Vec::new(), torn: Vec::new(), damaged: false, padded: false, complete: false };
        let mut walk = Walk::new(head.file, head.salt, DATA_OFFSET, end);
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
                    let stored = record.stored_bytes() as u64;
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
                        }
                        Kind::Meta => found.meta(record.payload),
                        Kind::Pad => found.pad(),
                        Kind::Message | Kind::Footer => {}
                    }
                }
            }
        }
        let clean_end = clean_from(disk, head.file, segment.end, end)?;
        if !clean_end && is_last {
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
        for meta in found.done(is_last) {
            self.apply(meta);
        }
        Ok(sound)
    }

    fn apply(&mut self, meta: Meta) {
        let log = &mut self.log;
        match meta {
            Meta::Deleted { seq, subject, bytes } => {
                let Some(id) = log.subjects.get(&subject) else { return };
                if log.forget(seq, id, bytes.into())
                    && let Some(segment) = log.segments.back_mut()
                {
                    segment.deleted.push((seq, id, bytes));
                }
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
struct Found {
    metas: Vec<Meta>,
    /// Deletions of the last batch, behind damage.
    torn: Vec<Meta>,
    /// There was damage in this batch.
    damaged: bool,
    /// The record before was a pad: the batch is over.
    padded: bool,
    /// What is kept was written into this segment as a whole.
    complete: bool,
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
        self.complete |= !self.damaged;
        self.padded = true;
    }

    fn sound(&self) -> bool {
        self.padded && !self.damaged && self.complete
    }

    fn done(mut self, is_last: bool) -> Vec<Meta> {
        if !is_last {
            self.metas.append(&mut self.torn);
        }
        self.metas
    }
}

/// Whether a file has nothing but zeros from an offset on.
fn clean_from(disk: &mut dyn Disk, file: FileId, from: u64, end: Option<u64>) -> Result<bool, OpenError> {
    let mut bytes = vec![0; 64 * 1024];
    let mut at = from;
    loop {
        let left = end.map_or(bytes.len() as u64, |end| end.saturating_sub(at).min(bytes.len() as u64));
        let n = disk
            .read(file, at, &mut bytes[..left as usize])
            .map_err(|error| OpenError::Disk(format!("{file}: {error}")))?;
        if n == 0 {
            return Ok(true);
        }
        if bytes[..n].iter().any(|&b| b != 0) {
            return Ok(false);
        }
        at += n as u64;
    }
}
