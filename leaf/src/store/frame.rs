//! How the records of one segment are framed: as they are, or encrypted.
//!
//! ```text
//! plain      0        4        8                      30      32
//!            | length | crc32  | sequence ... headers | check | ...
//!
//! encrypted  0        4        8       16      18                                            length
//!            | length | crc32  | epoch | check | sequence ... headers, what follows 32 | tag |
//!                                              |<----------- encrypted --------------->|
//! ```
//! The nonce is the epoch and the place in the file. The epoch is another one whenever the log is opened, so that what is
//! written a second time at a place that a crash took back does not meet the nonce of what stood there first. The checksum
//! goes over the bytes as they are stored: whether a record is whole can be seen without the key.

use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::bug::{Bug, planted};
use super::keys::{KEY_BYTES, KeyId, Keys};
use super::record::{ALIGN_BYTES, Bad, FIXED_BYTES, HEAD_BYTES, RECORD_BYTES_MAX, Record};
use super::record::{checksum, length_check, u32_at};
use super::{Kind, SECTOR_BYTES, Seq, Time};

const TAG_BYTES: usize = 16;
/// Where what is encrypted starts in a record.
const BODY_AT: usize = 18;
/// Bytes of an encrypted record at least.
const SEALED_BYTES_MIN: usize = BODY_AT + FIXED_BYTES + TAG_BYTES;
/// Bytes by which an encrypted record is longer than a plain one.
pub(super) const SEALED_BYTES_MORE: usize = SEALED_BYTES_MIN - HEAD_BYTES;
/// No record has this nonce: none stands so far behind the start of its file.
const HEAD_NONCE: [u8; NONCE_LEN] = [0xFF; NONCE_LEN];

/// What one segment is encrypted with.
struct Seal {
    key: Zeroizing<[u8; KEY_BYTES]>,
    /// In the nonces of what is written.
    epoch: [u8; 8],
}

impl Seal {
    fn new(keys: &Keys, sealed: Sealed) -> Option<Self> {
        let key = keys.find(sealed.key)?;
        Some(Self { key: key.of_segment(&sealed.random), epoch: keys.epoch() })
    }

    /// Made for each use, for it cannot be wiped.
    fn key(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*self.key).expect("a key of 32 bytes"))
    }

    fn seal(&self, nonce: [u8; NONCE_LEN], also: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key().seal_in_place_separate_tag(nonce, Aad::from(also), body);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(sealed.expect("less than 256 GiB").as_ref());
        tag
    }

    /// Decrypts `body`, which ends in a tag; whether that is right.
    fn open(&self, nonce: [u8; NONCE_LEN], body: &mut [u8]) -> bool {
        if planted(Bug::TagUnchecked) {
            // The same key stream again.
            let end = body.len() - TAG_BYTES;
            let mut stream = vec![0; end];
            self.seal(nonce, &[], &mut stream);
            body[..end].iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
            return true;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key().open_in_place(nonce, Aad::empty(), body).is_ok()
    }
}

fn nonce(epoch: [u8; 8], at: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&epoch);
    nonce[8..].copy_from_slice(&((at / ALIGN_BYTES as u64) as u32).to_le_bytes());
    nonce
}

/// What the head of an encrypted segment says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) key: KeyId,
    /// Makes the segment's key another than that of any other segment.
    pub(super) random: [u8; 16],
}

/// Why the records of a segment cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is encrypted with this key, and there is none.
    NoKey(KeyId),
    /// It is encrypted with this key; there are others, which the text names.
    OtherKey(KeyId, String),
    /// Its head was written by somebody who does not have its key.
    Forged,
    /// It is not encrypted although an older one is.
    NotEncrypted,
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoKey(key) => write!(f, "is encrypted with key {key}, and no key is given"),
            Self::OtherKey(key, given) => write!(f, "is encrypted with key {key}; given is {given}"),
            Self::Forged => f.write_str("has a head that was not written with its key: somebody changed it"),
            Self::NotEncrypted => {
                f.write_str("is not encrypted although those before it are: it was not written by this program")
            }
        }
    }
}

#[derive(Clone)]
enum Cover {
    Plain,
    Sealed(Sealed, Arc<Seal>),
    Locked(Sealed, Lock),
}

/// How the records of one segment are framed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Frame {
    /// Where checksums start from; nobody outside knows it.
    pub(super) salt: u32,
    cover: Cover,
}

impl Frame {
    /// That of a new segment: encrypted if there are keys.
    pub(super) fn new(salt: u32, keys: Option<&Keys>) -> Self {
        match keys {
            None => Self { salt, cover: Cover::Plain },
            Some(keys) => Self::of(salt, Some(Sealed { key: keys.current().id(), random: keys.random() }), Some(keys)),
        }
    }

    /// That of a segment whose head says so.
    pub(super) fn of(salt: u32, sealed: Option<Sealed>, keys: Option<&Keys>) -> Self {
        let Some(sealed) = sealed else { return Self { salt, cover: Cover::Plain } };
        let cover = match keys {
            None => Cover::Locked(sealed, Lock::NoKey(sealed.key)),
            Some(keys) => match Seal::new(keys, sealed) {
                Some(seal) => Cover::Sealed(sealed, Arc::new(seal)),
                None => Cover::Locked(sealed, Lock::OtherKey(sealed.key, keys.names())),
            },
        };
        Self { salt, cover }
    }

    /// The same with an epoch of its own, for what is written a second time at its place.
    pub(super) fn again(&self, keys: Option<&Keys>) -> Self {
        Self::of(self.salt, self.sealed(), keys)
    }

    /// The same without its key, for a head that was not written with it.
    pub(super) fn forged(self) -> Self {
        match self.cover {
            Cover::Sealed(sealed, _) => Self { cover: Cover::Locked(sealed, Lock::Forged), ..self },
            Cover::Plain | Cover::Locked(..) => self,
        }
    }

    /// For the head.
    pub(super) fn sealed(&self) -> Option<Sealed> {
        match self.cover {
            Cover::Plain => None,
            Cover::Sealed(sealed, _) | Cover::Locked(sealed, _) => Some(sealed),
        }
    }

    /// Why its records cannot be read, if they cannot.
    pub(super) fn lock(&self) -> Option<&Lock> {
        if let Cover::Locked(_, lock) = &self.cover { Some(lock) } else { None }
    }

    /// Whether what is written now is to be framed like this.
    pub(super) fn is_current(&self, keys: Option<&Keys>) -> bool {
        self.sealed().map(|sealed| sealed.key) == keys.map(|keys| keys.current().id())
    }

    /// What shows that the head was written with the key.
    pub(super) fn head_tag(&self, head: &[u8]) -> [u8; TAG_BYTES] {
        match &self.cover {
            Cover::Sealed(_, seal) => seal.seal(HEAD_NONCE, head, &mut []),
            Cover::Plain | Cover::Locked(..) => [0; TAG_BYTES],
        }
    }

    /// Bytes by which its records are longer than plain ones.
    pub(super) fn more_bytes(&self) -> usize {
        if matches!(self.cover, Cover::Plain) { 0 } else { SEALED_BYTES_MORE }
    }

    /// Bytes a record takes.
    pub(super) fn stored_bytes(&self, record: &Record<'_>) -> usize {
        record.stored_bytes() + self.more_bytes()
    }

    /// Appends a record to `out`, which will stand at `base` in the file. Both are multiples of 8.
    pub(super) fn encode(&self, record: &Record<'_>, base: u64, out: &mut Vec<u8>) {
        let Cover::Sealed(_, seal) = &self.cover else { return record.encode(self.salt, out) };
        let start = out.len();
        let length = (record.length() + SEALED_BYTES_MORE) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&seal.epoch);
        out.extend_from_slice(&length_check(self.salt, length).to_le_bytes());
        record.encode_fixed(out);
        record.encode_rest(out);
        let tag = seal.seal(nonce(seal.epoch, base + start as u64), &[], &mut out[start + BODY_AT..]);
        out.extend_from_slice(&tag);
        let crc = checksum(self.salt, &out[start..]).to_le_bytes();
        out[start + 4..start + 8].copy_from_slice(&crc);
        out.resize(out.len().next_multiple_of(ALIGN_BYTES), 0);
    }

    /// Bytes of a pad for records that end at `end` bytes of a file.
    pub(super) fn pad_bytes(&self, end: u64) -> u64 {
        (end + (HEAD_BYTES + self.more_bytes()) as u64).next_multiple_of(SECTOR_BYTES as u64) - end
    }

    /// Appends a pad that ends on a sector's end; `out` starts at `base` bytes of the file.
    pub(super) fn pad(&self, last: Seq, time: Time, base: u64, out: &mut Vec<u8>) {
        const ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
        let zeros = self.pad_bytes(base + out.len() as u64) as usize - HEAD_BYTES - self.more_bytes();
        self.encode(&Record::other(Kind::Pad, last, time, &ZEROS[..zeros]), base, out);
    }

    /// How long the record is that `bytes` start with, if it is whole.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<usize, Bad> {
        if matches!(self.cover, Cover::Plain) {
            return Record::check(self.salt, bytes);
        }
        let Some(head) = bytes.first_chunk::<SEALED_BYTES_MIN>() else { return Err(Bad::Short(SEALED_BYTES_MIN)) };
        let length = u32_at(head, 0);
        let checked = length_check(self.salt, length) == u16::from_le_bytes([head[16], head[17]]);
        if !(SEALED_BYTES_MIN..=RECORD_BYTES_MAX).contains(&(length as usize)) || !checked {
            return Err(Bad::Damaged);
        }
        let Some(whole) = bytes.get(..length as usize) else { return Err(Bad::Short(length as usize)) };
        if checksum(self.salt, whole) != u32_at(head, 4) && !planted(Bug::NoChecksum) {
            return Err(Bad::Damaged);
        }
        Ok(length as usize)
    }

    /// Decrypts a record that is whole and stands at `at` in the file; whether it was written with the key. If it was not,
    /// its bytes are of no use any more.
    pub(super) fn open(&self, at: u64, whole: &mut [u8]) -> bool {
        let Cover::Sealed(_, seal) = &self.cover else { return true };
        let Some((head, body)) = whole.split_first_chunk_mut::<BODY_AT>() else { return false };
        let Some(epoch) = head[8..].first_chunk::<8>() else { return false };
        seal.open(nonce(*epoch, at), body)
    }

    /// The parts of a record that is whole and, if need be, decrypted.
    pub(super) fn parse<'a>(&self, whole: &'a [u8]) -> Result<Record<'a>, Bad> {
        match self.cover {
            Cover::Plain => Record::parse(whole),
            Cover::Locked(..) => Err(Bad::Damaged),
            Cover::Sealed(..) => {
                let body = whole.get(BODY_AT..whole.len().saturating_sub(TAG_BYTES)).ok_or(Bad::Damaged)?;
                let (fixed, rest) = body.split_first_chunk().ok_or(Bad::Damaged)?;
                Record::from_parts(fixed, rest)
            }
        }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.salt == other.salt && self.sealed() == other.sealed()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame").field("sealed", &self.sealed()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::super::keys::Key;
    use super::*;

    const FULL: Record<'_> = Record {
        kind: Kind::Message,
        seq: 7,
        time: -5,
        deadline: Some(99),
        msg_id: b"the id",
        subject: b"sub.ject",
        headers: b"NATS/1.0\r\n\r\n",
        payload: b"pay load",
    };

    fn keys() -> Keys {
        Keys::new(Key::new(Zeroizing::new([5; KEY_BYTES]), "test"), None, &Zeroizing::new([9; 32]))
    }

    /// Decrypted and read.
    fn decode<'a>(frame: &Frame, at: u64, bytes: &'a mut [u8]) -> Result<(Record<'a>, usize), Bad> {
        let length = frame.check(bytes)?;
        if !frame.open(at, &mut bytes[..length]) {
            return Err(Bad::Damaged);
        }
        Ok((frame.parse(&bytes[..length])?, length.next_multiple_of(ALIGN_BYTES)))
    }

    #[test]
    fn comes_back_as_it_was() {
        let keys = keys();
        let frame = Frame::new(3, Some(&keys));
        for record in [FULL, Record { deadline: None, msg_id: b"", headers: b"", payload: b"", ..FULL }] {
            let mut bytes = vec![0; 16];
            frame.encode(&record, 1024, &mut bytes);
            let bytes = bytes.split_off(16);
            assert_eq!(bytes.len(), frame.stored_bytes(&record));
            assert_eq!(decode(&frame, 1040, &mut bytes.clone()), Ok((record, bytes.len())));
            assert_eq!(decode(&frame, 1048, &mut bytes.clone()), Err(Bad::Damaged), "of another place");
            let again = Frame::of(3, frame.sealed(), Some(&keys));
            assert_eq!(decode(&again, 1040, &mut bytes.clone()), Ok((record, bytes.len())), "opened again");
            let other = Frame::new(3, Some(&keys));
            assert_eq!(decode(&other, 1040, &mut bytes.clone()), Err(Bad::Damaged), "of another segment");
            for cut in 0..record.length() + SEALED_BYTES_MORE {
                assert!(matches!(frame.check(&bytes[..cut]), Err(Bad::Short(_))), "{cut}");
            }
        }
    }

    #[test]
    fn nothing_shows() {
        let keys = keys();
        let frame = Frame::new(3, Some(&keys));
        let mut bytes = Vec::new();
        frame.encode(&FULL, 1024, &mut bytes);
        for part in [FULL.msg_id, FULL.subject, &FULL.headers[..4], &FULL.payload[..4], &FULL.time.to_le_bytes()] {
            assert!(!bytes.windows(part.len()).any(|window| window == part), "{part:?}");
        }
        let mut again = Vec::new();
        Frame::of(3, frame.sealed(), Some(&keys)).encode(&FULL, 1024, &mut again);
        assert!(again[18..40] != bytes[18..40], "the same at the same place looks different after opening again");
    }

    #[test]
    fn no_flipped_bit_passes() {
        let keys = keys();
        let frame = Frame::new(3, Some(&keys));
        let mut bytes = Vec::new();
        frame.encode(&FULL, 0, &mut bytes);
        let length = FULL.length() + SEALED_BYTES_MORE;
        for bit in 0..length * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frame.check(&bytes), Err(Bad::Damaged), "bit {bit}");
            if bit >= 64 && !(128..144).contains(&bit) {
                // Somebody made it pass the checksum.
                let mut forged = bytes.clone();
                let crc = checksum(3, &forged[..length]);
                forged[4..8].copy_from_slice(&crc.to_le_bytes());
                assert_eq!(frame.check(&forged), Ok(length));
                assert!(!frame.open(0, &mut forged[..length]), "bit {bit}");
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_pad_ends_on_a_sector() {
        let keys = keys();
        for frame in [Frame::new(3, None), Frame::new(3, Some(&keys))] {
            for len in (0..1024).step_by(8) {
                let mut bytes = vec![1; len];
                frame.pad(9, 1, 512, &mut bytes);
                assert_eq!(bytes.len() % SECTOR_BYTES, 0);
                assert!(bytes.len() - len < SECTOR_BYTES + HEAD_BYTES + SEALED_BYTES_MORE);
                let all = bytes.len() - len;
                let (pad, used) = decode(&frame, 512 + len as u64, &mut bytes[len..]).unwrap();
                assert_eq!((pad.kind, pad.seq, used), (Kind::Pad, 9, all));
            }
        }
    }
}
