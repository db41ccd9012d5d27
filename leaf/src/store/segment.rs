//! The head of a segment's file, there twice: in its first sector and in its second.
//!
//! ```text
//!  0          8         10        12       16         24           28          32
//!  | PETIOLOG | version | flags   | salt   | segment  | generation | sectors   |
//!  32           40           48           56             60
//!  | first seq  | end before | created    | crc32 of all of it |
//! ```
//! `end before` is where the segment before ends: nothing beyond counts, whatever stands there. `sectors` is where the segment
//! itself ends, if it was written again as a whole (generation 1 and up); 0 otherwise.

use super::record::{u32_at, u64_at};
use super::{FileId, SECTOR_BYTES, Seq, Time};

const MAGIC: &[u8; 8] = b"PETIOLOG";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 60;
const AFTER_TORN: u16 = 1;

/// Where the records start.
pub(super) const DATA_OFFSET: u64 = 2 * SECTOR_BYTES as u64;

/// Where the footer of a segment stands whose records end at `end`: in no sector that has records.
pub(super) fn footer_at(end: u64) -> u64 {
    end.next_multiple_of(SECTOR_BYTES as u64)
}

/// What a segment's file starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) file: FileId,
    /// Where checksums start from; nobody outside knows it.
    pub(super) salt: u32,
    /// No record in it has a lower number.
    pub(super) first_seq: Seq,
    /// Where the segment before ends.
    pub(super) end: u64,
    /// Where this one ends, if it was written as a whole.
    pub(super) own_end: Option<u64>,
    pub(super) created: Time,
    /// The segment before ends in a batch that a crash tore: what deletes behind the damage does not count.
    pub(super) after_torn: bool,
}

impl Head {
    /// Both copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut sector = Vec::with_capacity(2 * SECTOR_BYTES);
        sector.extend_from_slice(MAGIC);
        sector.extend_from_slice(&VERSION.to_le_bytes());
        sector.extend_from_slice(&(if self.after_torn { AFTER_TORN } else { 0 }).to_le_bytes());
        sector.extend_from_slice(&self.salt.to_le_bytes());
        sector.extend_from_slice(&self.file.segment.to_le_bytes());
        sector.extend_from_slice(&self.file.generation.to_le_bytes());
        let sectors = self.own_end.map_or(0, |end| end / SECTOR_BYTES as u64) as u32;
        sector.extend_from_slice(&sectors.to_le_bytes());
        sector.extend_from_slice(&self.first_seq.to_le_bytes());
        sector.extend_from_slice(&self.end.to_le_bytes());
        sector.extend_from_slice(&self.created.to_le_bytes());
        let crc = crc32fast::hash(&sector);
        sector.extend_from_slice(&crc.to_le_bytes());
        sector.resize(SECTOR_BYTES, 0);
        sector.extend_from_within(..);
        sector
    }

    /// Reads whichever copy is whole.
    ///
    /// # Errors
    /// The version, if it is one we do not know; 0 if neither copy is whole.
    pub(super) fn decode(file: FileId, bytes: &[u8]) -> Result<Self, u16> {
        let copies = bytes.chunks(SECTOR_BYTES).take(2).filter_map(|sector| sector.first_chunk::<HEAD_BYTES>());
        let mut wrong = 0;
        for copy in copies {
            if !copy.starts_with(MAGIC) || crc32fast::hash(&copy[..HEAD_BYTES - 4]) != u32_at(copy, HEAD_BYTES - 4) {
                continue;
            }
            let version = u16::from_le_bytes([copy[8], copy[9]]);
            let head = Self {
                file: FileId { segment: u64_at(copy, 16), generation: u32_at(copy, 24) },
                salt: u32_at(copy, 12),
                first_seq: u64_at(copy, 32),
                end: u64_at(copy, 40),
                own_end: Some(u64::from(u32_at(copy, 28)) * SECTOR_BYTES as u64).filter(|&end| end > 0),
                created: u64_at(copy, 48) as Time,
                after_torn: u16::from_le_bytes([copy[10], copy[11]]) & AFTER_TORN != 0,
            };
            match version {
                VERSION if head.file == file => return Ok(head),
                VERSION => {}
                other => wrong = other,
            }
        }
        Err(wrong)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn survives_any_flipped_bit() {
        let file = FileId { segment: 3, generation: 1 };
        let head =
            Head { file, salt: 9, first_seq: 100, end: 4096, own_end: Some(1 << 20), created: 5, after_torn: true };
        let mut bytes = head.encode();
        assert_eq!(bytes.len() as u64, DATA_OFFSET);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(file, &bytes), Ok(head), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Head::decode(FileId { segment: 4, generation: 1 }, &bytes), Err(0));
        assert_eq!(Head::decode(file, &bytes[..40]), Err(0));
    }
}
