//! The head of a segment's file, there twice: in its first sector and in its second.
//!
//! ```text
//!  0          8         10        12       16         24           28          32
//!  | PETIOLOG | version | flags   | salt   | segment  | generation | sectors   |
//!  32           40           48           56             60
//!  | first seq  | end before | created    | crc32 of all of it |
//! ```
//! Of an encrypted segment (flag 2) more follows:
//! ```text
//!  60       64       72                    88                    104            108
//!  | cipher | key id | random              | tag over 0 to 88    | crc32 of 60 to 104 |
//! ```
//! `end before` is where the segment before ends: nothing beyond counts, whatever stands there. `sectors` is where the segment
//! itself ends, if it was written again as a whole (generation 1 and up); 0 otherwise.

use super::frame::{Frame, Sealed};
use super::keys::{KeyId, Keys};
use super::record::{u32_at, u64_at};
use super::{FileId, SECTOR_BYTES, Seq, Time};

const MAGIC: &[u8; 8] = b"PETIOLOG";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 60;
/// Of the part that only encrypted segments have.
const SEAL_BYTES: usize = 48;
const TAG_AT: usize = 88;
const AFTER_TORN: u16 = 1;
const SEALED: u16 = 2;
/// ChaCha20-Poly1305, by record.
const CIPHER: u32 = 1;

/// Where the records start.
pub(super) const DATA_OFFSET: u64 = 2 * SECTOR_BYTES as u64;

/// Where the footer of a segment stands whose records end at `end`: in no sector that has records.
pub(super) fn footer_at(end: u64) -> u64 {
    end.next_multiple_of(SECTOR_BYTES as u64)
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHead {
    /// Neither copy is whole.
    Damaged,
    /// It is of a version that is not known, or says something about itself that is not known in this one.
    Version(u16),
}

/// What a segment's file starts with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) file: FileId,
    /// How its records are framed.
    pub(super) frame: Frame,
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
    /// Both copies. Only once for each segment: see [`Frame::head_tag`].
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut sector = Vec::with_capacity(2 * SECTOR_BYTES);
        self.encode_fields(&mut sector);
        if self.frame.sealed().is_some() {
            let tag = self.frame.head_tag(&sector);
            sector.extend_from_slice(&tag);
            let crc = crc32fast::hash(&sector[HEAD_BYTES..]);
            sector.extend_from_slice(&crc.to_le_bytes());
        }
        sector.resize(SECTOR_BYTES, 0);
        sector.extend_from_within(..);
        sector
    }

    fn encode_fields(&self, sector: &mut Vec<u8>) {
        let sealed = self.frame.sealed();
        let torn = if self.after_torn { AFTER_TORN } else { 0 };
        let flags = torn | if sealed.is_some() { SEALED } else { 0 };
        sector.extend_from_slice(MAGIC);
        sector.extend_from_slice(&VERSION.to_le_bytes());
        sector.extend_from_slice(&flags.to_le_bytes());
        sector.extend_from_slice(&self.frame.salt.to_le_bytes());
        sector.extend_from_slice(&self.file.segment.to_le_bytes());
        sector.extend_from_slice(&self.file.generation.to_le_bytes());
        let sectors = self.own_end.map_or(0, |end| end / SECTOR_BYTES as u64) as u32;
        sector.extend_from_slice(&sectors.to_le_bytes());
        sector.extend_from_slice(&self.first_seq.to_le_bytes());
        sector.extend_from_slice(&self.end.to_le_bytes());
        sector.extend_from_slice(&self.created.to_le_bytes());
        let crc = crc32fast::hash(sector);
        sector.extend_from_slice(&crc.to_le_bytes());
        if let Some(Sealed { key, random }) = sealed {
            sector.extend_from_slice(&CIPHER.to_le_bytes());
            sector.extend_from_slice(&key.0);
            sector.extend_from_slice(&random);
        }
    }

    /// Reads whichever copy is whole. Whether its records can be read with these keys: see [`Frame::lock`].
    ///
    /// # Errors
    /// See [`NoHead`].
    pub(super) fn decode(file: FileId, bytes: &[u8], keys: Option<&Keys>) -> Result<Self, NoHead> {
        let mut wrong = NoHead::Damaged;
        for copy in bytes.chunks(SECTOR_BYTES).take(2) {
            match Self::decode_copy(copy, keys) {
                Ok(head) if head.file == file => return Ok(head),
                Ok(_) | Err(NoHead::Damaged) => {}
                Err(other) => wrong = other,
            }
        }
        Err(wrong)
    }

    fn decode_copy(sector: &[u8], keys: Option<&Keys>) -> Result<Self, NoHead> {
        let copy = sector.first_chunk::<HEAD_BYTES>().ok_or(NoHead::Damaged)?;
        if !copy.starts_with(MAGIC) || crc32fast::hash(&copy[..HEAD_BYTES - 4]) != u32_at(copy, HEAD_BYTES - 4) {
            return Err(NoHead::Damaged);
        }
        let version = u16::from_le_bytes([copy[8], copy[9]]);
        if version != VERSION {
            return Err(NoHead::Version(version));
        }
        let flags = u16::from_le_bytes([copy[10], copy[11]]);
        if flags & !(AFTER_TORN | SEALED) != 0 {
            return Err(NoHead::Version(version));
        }
        let seal = if flags & SEALED != 0 { Some(decode_seal(sector)?) } else { None };
        let head = Self {
            file: FileId { segment: u64_at(copy, 16), generation: u32_at(copy, 24) },
            frame: Frame::of(u32_at(copy, 12), seal.map(|(sealed, _)| sealed), keys),
            first_seq: u64_at(copy, 32),
            end: u64_at(copy, 40),
            own_end: Some(u64::from(u32_at(copy, 28)) * SECTOR_BYTES as u64).filter(|&end| end > 0),
            created: u64_at(copy, 48) as Time,
            after_torn: flags & AFTER_TORN != 0,
        };
        match seal {
            Some((_, tag)) if head.frame.lock().is_none() && head.frame.head_tag(&sector[..TAG_AT]) != tag => {
                Ok(Self { frame: head.frame.forged(), ..head })
            }
            _ => Ok(head),
        }
    }
}

/// The part that only encrypted segments have: what they are encrypted with, and the tag.
fn decode_seal(sector: &[u8]) -> Result<(Sealed, [u8; 16]), NoHead> {
    let part = sector.get(HEAD_BYTES..).and_then(|rest| rest.first_chunk::<SEAL_BYTES>()).ok_or(NoHead::Damaged)?;
    let (fields, crc) = part.split_last_chunk::<4>().ok_or(NoHead::Damaged)?;
    if crc32fast::hash(fields) != u32::from_le_bytes(*crc) {
        return Err(NoHead::Damaged);
    }
    if u32_at(fields, 0) != CIPHER {
        return Err(NoHead::Version(VERSION));
    }
    let (mut key, mut random, mut tag) = ([0; 8], [0; 16], [0; 16]);
    key.copy_from_slice(&fields[4..12]);
    random.copy_from_slice(&fields[12..28]);
    tag.copy_from_slice(&fields[28..]);
    Ok((Sealed { key: KeyId(key), random }, tag))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::super::frame::Lock;
    use super::super::keys::Key;
    use super::*;
    use zeroize::Zeroizing;

    fn head(frame: Frame) -> Head {
        let file = FileId { segment: 3, generation: 1 };
        Head { file, frame, first_seq: 100, end: 4096, own_end: Some(1 << 20), created: 5, after_torn: true }
    }

    fn keys(byte: u8) -> Keys {
        Keys::new(Key::new(Zeroizing::new([byte; 32]), "test"), None, &Zeroizing::new([9; 32]))
    }

    #[test]
    fn survives_any_flipped_bit() {
        let keys = keys(1);
        for frame in [Frame::new(9, None), Frame::new(9, Some(&keys))] {
            let head = head(frame);
            let file = head.file;
            let mut bytes = head.encode();
            assert_eq!(bytes.len() as u64, DATA_OFFSET);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let found = Head::decode(file, &bytes, Some(&keys)).unwrap();
                assert!(found == head && found.frame.lock().is_none(), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let other = FileId { segment: 4, generation: 1 };
            assert_eq!(Head::decode(other, &bytes, Some(&keys)), Err(NoHead::Damaged));
            assert_eq!(Head::decode(file, &bytes[..40], Some(&keys)), Err(NoHead::Damaged));
        }
    }

    #[test]
    fn says_which_key_is_missing() {
        let (right, wrong) = (keys(1), keys(2));
        let head = head(Frame::new(9, Some(&right)));
        let id = right.current().id();
        let mut bytes = head.encode();
        let lock = |bytes: &[u8], keys| Head::decode(head.file, bytes, keys).unwrap().frame.lock().cloned();
        assert_eq!(lock(&bytes, Some(&right)), None);
        assert_eq!(lock(&bytes, None), Some(Lock::NoKey(id)));
        assert!(
            matches!(lock(&bytes, Some(&wrong)), Some(Lock::OtherKey(is, text)) if is == id && text.contains("test"))
        );
        // Somebody moves where the segment before ends, and has the checksums right.
        for sector in bytes.chunks_mut(SECTOR_BYTES) {
            sector[41] ^= 2;
            let crc = crc32fast::hash(&sector[..HEAD_BYTES - 4]);
            sector[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        assert_eq!(lock(&bytes, Some(&right)), Some(Lock::Forged));
    }
}
