//! Looks at every byte of a log and says which are bad.

use super::erase::DRAFT;
use super::frame::Lock;
use super::keys::Keys;
use super::open::OpenError;
use super::record::Kind;
use super::segment::{DATA_OFFSET, Head, NoHead};
use super::walk::{Move, Step, Walk};
use super::{Disk, FileId, KeyId, ReadError, Record, Seq, Want};

/// Bytes of a file that are no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where they start.
    pub from: u64,
    /// Where they end.
    pub to: u64,
    /// The number of the last message before them in this file.
    pub after: Option<Seq>,
    /// The number of the first message behind them in this file.
    pub before: Option<Seq>,
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Messages that are whole.
    pub messages: u64,
    /// Their payload, bytes.
    pub payload_bytes: u64,
    /// First and last number; `None` without messages.
    pub seqs: Option<(Seq, Seq)>,
    /// Records that are no messages.
    pub others: u64,
    /// Stretches of bytes that are no records.
    pub damage: Vec<Damage>,
    /// Where the last whole record ends.
    pub end: u64,
    /// Neither copy of the head is whole: nothing can be read.
    pub headless: bool,
    /// It is encrypted, and this is why it cannot be read: what is damaged was found, its messages were not counted.
    pub lock: Option<Lock>,
    /// Which key it is encrypted with; `None` if it is not.
    pub key: Option<KeyId>,
}

/// Looks at every file of a log, in order, showing every whole message to `see`. Without the key of an encrypted one its
/// checksums still tell what is damaged.
///
/// # Errors
/// When one cannot be read or is of another format.
pub fn inspect_all(
    disk: &mut dyn Disk,
    keys: Option<&Keys>,
    see: &mut dyn FnMut(FileId, &Record<'_>),
) -> Result<Vec<(FileId, Inspection)>, OpenError> {
    let mut files = disk.list().map_err(|error| OpenError::Disk(format!("the log's directory: {error}")))?;
    files.sort_unstable();
    // No segment; opening the log carries it out.
    files.retain(|file| *file != DRAFT);
    let mut heads = Vec::with_capacity(files.len());
    for &file in &files {
        heads.push(head(disk, file, keys)?);
    }
    let mut found = Vec::with_capacity(files.len());
    for (at, &file) in files.iter().enumerate() {
        let next = heads.get(at + 1).and_then(Option::as_ref).filter(|next| next.file.segment == file.segment + 1);
        let own = heads[at].as_ref().and_then(|head| head.own_end);
        let inspection =
            walk(disk, heads[at].as_ref(), own.or(next.map(|next| next.end)), &mut |record| see(file, record))?;
        found.push((file, inspection));
    }
    Ok(found)
}

/// Walks over one file, showing every whole message to `see`.
///
/// # Errors
/// When it cannot be read or is of another format.
pub fn inspect(
    disk: &mut dyn Disk,
    keys: Option<&Keys>,
    file: FileId,
    see: &mut dyn FnMut(&Record<'_>),
) -> Result<Inspection, OpenError> {
    let head = head(disk, file, keys)?;
    walk(disk, head.as_ref(), None, see)
}

fn head(disk: &mut dyn Disk, file: FileId, keys: Option<&Keys>) -> Result<Option<Head>, OpenError> {
    let bytes = Want { file, offset: 0, len: DATA_OFFSET as usize }.read(disk)?;
    match Head::decode(file, &bytes, keys) {
        Ok(head) => Ok(Some(head)),
        Err(NoHead::Damaged) => Ok(None),
        Err(NoHead::Version(version)) => Err(OpenError::Version(file, version)),
    }
}

/// `end`: where the records end, if that is known.
fn walk(
    disk: &mut dyn Disk,
    head: Option<&Head>,
    end: Option<u64>,
    see: &mut dyn FnMut(&Record<'_>),
) -> Result<Inspection, OpenError> {
    let mut found = Inspection::default();
    let Some(head) = head else { return Ok(Inspection { headless: true, ..found }) };
    found.key = head.frame.sealed().map(|sealed| sealed.key);
    found.lock = head.frame.lock().cloned();
    let mut walk = Walk::new(head.file, &head.frame, DATA_OFFSET, end);
    if found.lock.is_some() {
        return Ok(count(disk, &mut walk, end, found)?);
    }
    let mut sound_to = DATA_OFFSET;
    let last = |found: &Inspection| found.seqs.map(|(_, last)| last);
    loop {
        match walk.next(disk)? {
            Step::End => break,
            Step::Damage(from, to) => {
                let after = last(&found);
                found.damage.push(Damage { from, to, after, before: None });
                sound_to = to;
            }
            Step::Record(at, record) => {
                sound_to = at + head.frame.stored_bytes(&record) as u64;
                if record.kind != Kind::Message {
                    found.others += 1;
                    continue;
                }
                found.messages += 1;
                found.payload_bytes += record.payload.len() as u64;
                let first = found.seqs.map_or(record.seq, |(first, _)| first);
                found.seqs = Some((first, record.seq));
                for damage in found.damage.iter_mut().filter(|damage| damage.before.is_none()) {
                    damage.before = Some(record.seq);
                }
                see(&record);
            }
        }
    }
    found.end = sound_to;
    if let Some(end) = end.filter(|&end| end > sound_to) {
        let after = last(&found);
        found.damage.push(Damage { from: sound_to, to: end, after, before: None });
    }
    Ok(found)
}

/// Counts records that cannot be decrypted.
fn count(
    disk: &mut dyn Disk,
    walk: &mut Walk,
    end: Option<u64>,
    mut found: Inspection,
) -> Result<Inspection, ReadError> {
    found.end = DATA_OFFSET;
    let damage = |from, to| Damage { from, to, after: None, before: None };
    loop {
        match walk.advance() {
            Move::Want(want) => {
                let bytes = want.read(disk)?;
                walk.fill(want, &bytes);
            }
            Move::Damage(from, to) => found.damage.push(damage(from, to)),
            Move::Record(_) => {
                found.others += 1;
                found.end = walk.at();
            }
            Move::End => break,
        }
    }
    if let Some(end) = end.filter(|&end| end > found.end) {
        found.damage.push(damage(found.end, end));
    }
    Ok(found)
}
