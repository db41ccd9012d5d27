//! Makes a damaged log whole: all that is good stays, what is not is handed out.

use std::sync::Arc;

use super::erase;
use super::frame::Frame;
use super::keys::Keys;
use super::meta::Meta;
use super::open::OpenError;
use super::rewrite::Rewrite;
use super::segment::{DATA_OFFSET, Head};
use super::verify::{self, Damage};
use super::walk::{Step, Walk};
use super::{Disk, FileId, Kind, Log, Settings, Time, Want};

/// Is shown a file, a stretch of it and the bytes there.
pub type Dropped<'a> = dyn FnMut(FileId, &Damage, &[u8]) -> Result<(), String> + 'a;

/// Writes every damaged segment of a log again without its damaged bytes, which are shown to `dropped` before anything
/// is changed. With `keys` they are encrypted from now on. A file without a head is left alone: nothing in it can be told apart.
///
/// # Errors
/// When the disk does not do what it must, `dropped` refuses, or a damaged segment is encrypted and its key not there;
/// what was repaired before stays.
pub fn repair(
    disk: &mut dyn Disk,
    keys: Option<&Keys>,
    now: Time,
    salt: u32,
    dropped: &mut Dropped<'_>,
) -> Result<u64, OpenError> {
    finish_erasing(disk, keys)?;
    let found = verify::inspect_all(disk, keys, &mut |_, _| {})?;
    let damaged = |inspection: &verify::Inspection| !inspection.headless && !inspection.damage.is_empty();
    for (file, inspection) in &found {
        if let Some(lock) = inspection.lock.as_ref().filter(|_| damaged(inspection)) {
            return Err(OpenError::Locked(*file, lock.clone()));
        }
    }
    let mut repaired = 0;
    for (at, (file, inspection)) in found.iter().enumerate() {
        if !damaged(inspection) {
            continue;
        }
        for damage in &inspection.damage {
            let bytes =
                Want { file: *file, offset: damage.from, len: (damage.to - damage.from) as usize }.read(disk)?;
            dropped(*file, damage, &bytes).map_err(OpenError::Disk)?;
        }
        let next = found.get(at + 1).map(|(next, _)| head(disk, *next, keys)).transpose()?.flatten();
        let Some(old) = head(disk, *file, keys)? else { continue };
        let (end, torn) = (inspection.end, next.is_none_or(|next| next.after_torn));
        rewrite(disk, &old, end, torn, now, Frame::new(salt.wrapping_add(at as u32), keys))?;
        repaired += 1;
    }
    Ok(repaired)
}

/// A message that was being overwritten when the power went is: what is around it is whole again then.
fn finish_erasing(disk: &mut dyn Disk, keys: Option<&Keys>) -> Result<(), OpenError> {
    let mut files = disk.list().map_err(|error| OpenError::Disk(format!("the log's directory: {error}")))?;
    files.sort_unstable();
    let mut heads = Vec::with_capacity(files.len());
    if !files.contains(&erase::DRAFT) {
        return Ok(());
    }
    for &file in files.iter().filter(|&&file| file != erase::DRAFT) {
        heads.extend(head(disk, file, keys)?);
    }
    if let Some((file, lock)) = heads.iter().find_map(|head| Some((head.file, head.frame.lock()?))) {
        return Err(OpenError::Locked(file, lock.clone()));
    }
    // Its deletion is noted when the log is opened: the draft stays.
    erase::finish(disk, keys, &heads).map(|_| ())
}

/// Writes every segment again that is not encrypted with the current key of `keys`; how many that were.
///
/// # Errors
/// When the disk does not do what it must, or, with nothing changed yet, a segment is damaged or its own key not there.
pub fn encrypt(disk: &mut dyn Disk, keys: &Arc<Keys>, now: Time, salt: u32) -> Result<u64, OpenError> {
    // What a crash left unfinished goes first, that of an earlier run too.
    let settings = Settings { keys: Some(keys.clone()), ..Settings::default() };
    drop(Log::open(disk, settings, now, salt.into(), None)?);
    let found = verify::inspect_all(disk, Some(keys), &mut |_, _| {})?;
    for (file, inspection) in &found {
        if inspection.headless || !inspection.damage.is_empty() {
            return Err(OpenError::Disk(format!("{file} is damaged: repair it first")));
        }
    }
    let mut written = 0;
    for (at, (file, inspection)) in found.iter().enumerate() {
        let Some(old) = head(disk, *file, Some(keys))?.filter(|head| !head.frame.is_current(Some(keys))) else {
            continue;
        };
        rewrite(disk, &old, inspection.end, false, now, Frame::new(salt.wrapping_add(at as u32), Some(keys)))?;
        written += 1;
    }
    Ok(written)
}

fn head(disk: &mut dyn Disk, file: FileId, keys: Option<&Keys>) -> Result<Option<Head>, OpenError> {
    let bytes = Want { file, offset: 0, len: DATA_OFFSET as usize }.read(disk)?;
    Ok(Head::decode(file, &bytes, keys).ok())
}

/// `torn`: what deletes behind damage in the last batch did not count, and must not from now on.
fn rewrite(disk: &mut dyn Disk, old: &Head, end: u64, torn: bool, now: Time, frame: Frame) -> Result<(), OpenError> {
    let mut rewrite = Rewrite::new(old, frame);
    let mut walk = Walk::new(old.file, &old.frame, DATA_OFFSET, Some(end));
    let (mut damaged, mut padded) = (false, false);
    loop {
        match walk.next(disk)? {
            Step::End => break,
            Step::Damage(..) => (damaged, padded) = (true, false),
            Step::Record(_, record) => {
                damaged &= !std::mem::take(&mut padded);
                padded = record.kind == Kind::Pad;
                let meta = (record.kind == Kind::Meta).then(|| postcard::from_bytes(record.payload).ok()).flatten();
                let deletes = matches!(meta, Some(Meta::Deleted { .. } | Meta::Trimmed { .. } | Meta::Cleared));
                if !(damaged && torn && deletes) {
                    rewrite.add(&record);
                }
            }
        }
    }
    for op in rewrite.ops(now) {
        disk.perform(&op)?;
    }
    Ok(())
}
