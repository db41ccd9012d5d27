//! Looks at every byte of a log and says which are bad.

use super::open::OpenError;
use super::record::Kind;
use super::segment::{DATA_OFFSET, Head};
use super::walk::{Step, Walk};
use super::{Disk, FileId, Record, Seq};

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
    /// Stretches of bytes that are no records, from and to.
    pub damage: Vec<(u64, u64)>,
    /// Neither copy of the head is whole: nothing can be read.
    pub headless: bool,
}

/// Walks over one file, showing every whole message to `see`.
///
/// # Errors
/// When it cannot be read or is of another format.
pub fn inspect(disk: &mut dyn Disk, file: FileId, see: &mut dyn FnMut(&Record<'_>)) -> Result<Inspection, OpenError> {
    let mut found = Inspection::default();
    let mut head = vec![0; DATA_OFFSET as usize];
    let n = disk.read(file, 0, &mut head).map_err(|error| OpenError::Disk(format!("{file}: {error}")))?;
    let head = match Head::decode(file, &head[..n]) {
        Ok(head) => head,
        Err(0) => {
            found.headless = true;
            return Ok(found);
        }
        Err(version) => return Err(OpenError::Version(file, version)),
    };
    let mut walk = Walk::new(file, head.salt, DATA_OFFSET, None);
    loop {
        match walk.next(disk)? {
            Step::End => return Ok(found),
            Step::Damage(from, to) => found.damage.push((from, to)),
            Step::Record(_, record) if record.kind == Kind::Message => {
                found.messages += 1;
                found.payload_bytes += record.payload.len() as u64;
                let first = found.seqs.map_or(record.seq, |(first, _)| first);
                found.seqs = Some((first, record.seq));
                see(&record);
            }
            Step::Record(..) => found.others += 1,
        }
    }
}
