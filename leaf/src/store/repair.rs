//! Makes a damaged log whole: all that is good stays, what is not is handed out.

use super::erase;
use super::meta::Meta;
use super::open::OpenError;
use super::rewrite::Rewrite;
use super::segment::{DATA_OFFSET, Head};
use super::verify::{self, Damage};
use super::walk::{Step, Walk};
use super::{Disk, FileId, Kind, Time, Want};

/// Is shown a file, a stretch of it and the bytes there.
pub type Dropped<'a> = dyn FnMut(FileId, &Damage, &[u8]) -> Result<(), String> + 'a;

/// Writes every damaged segment of a log again without its damaged bytes, which are shown to `dropped` before anything
/// is changed. A file without a head is left alone: nothing in it can be told apart.
///
/// # Errors
/// When the disk does not do what it must, or `dropped` refuses; what was repaired before stays.
pub fn repair(disk: &mut dyn Disk, now: Time, salt: u32, dropped: &mut Dropped<'_>) -> Result<u64, OpenError> {
    finish_erasing(disk)?;
    let found = verify::inspect_all(disk, &mut |_, _| {})?;
    let mut repaired = 0;
    for (at, (file, inspection)) in found.iter().enumerate() {
        if inspection.headless || inspection.damage.is_empty() {
            continue;
        }
        for damage in &inspection.damage {
            let bytes =
                Want { file: *file, offset: damage.from, len: (damage.to - damage.from) as usize }.read(disk)?;
            dropped(*file, damage, &bytes).map_err(OpenError::Disk)?;
        }
        let next = found.get(at + 1).map(|(next, _)| head(disk, *next)).transpose()?.flatten();
        let Some(old) = head(disk, *file)? else { continue };
        let (end, torn) = (inspection.end, next.is_none_or(|next| next.after_torn));
        rewrite(disk, &old, end, torn, now, salt.wrapping_add(at as u32))?;
        repaired += 1;
    }
    Ok(repaired)
}

/// A message that was being overwritten when the power went is: what is around it is whole again then.
fn finish_erasing(disk: &mut dyn Disk) -> Result<(), OpenError> {
    let mut files = disk.list().map_err(|error| OpenError::Disk(format!("the log's directory: {error}")))?;
    files.sort_unstable();
    let mut heads = Vec::with_capacity(files.len());
    if !files.contains(&erase::DRAFT) {
        return Ok(());
    }
    for &file in files.iter().filter(|&&file| file != erase::DRAFT) {
        heads.extend(head(disk, file)?);
    }
    // Its deletion is noted when the log is opened: the draft stays.
    erase::finish(disk, &heads).map(|_| ())
}

fn head(disk: &mut dyn Disk, file: FileId) -> Result<Option<Head>, OpenError> {
    let bytes = Want { file, offset: 0, len: DATA_OFFSET as usize }.read(disk)?;
    Ok(Head::decode(file, &bytes).ok())
}

/// `torn`: what deletes behind damage in the last batch did not count, and must not from now on.
fn rewrite(disk: &mut dyn Disk, old: &Head, end: u64, torn: bool, now: Time, salt: u32) -> Result<(), OpenError> {
    let mut rewrite = Rewrite::new(old, salt);
    let mut walk = Walk::new(old.file, old.salt, DATA_OFFSET, Some(end));
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
