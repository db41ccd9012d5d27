//! Records: what a segment is a row of.
//!
//! ```text
//!  0        4        8              16             24   25    26      28       30      32
//!  | length | crc32  | sequence     | time         |kind|flags|subject|headers | check | ...
//!  32 [deadline i64] [id length u16, id] subject, headers, payload; zeros up to a multiple of 8
//! ```
//! All numbers are little-endian. `length` counts everything but the zeros at the end; the checksum goes over everything but itself.
//! It starts from a secret number of the segment, so that a payload which looks like a record is none. `check` is made of the length
//! alone, so that a damaged one does not have megabytes read in vain.

use super::bug::{Bug, planted};
use super::{Seq, Time};

/// Bytes before the variable part of a record.
pub(super) const HEAD_BYTES: usize = 32;
/// Bytes of that which say what the record is: from the sequence to the length of the headers.
pub(super) const FIXED_BYTES: usize = 22;
/// Records start at multiples of this, bytes.
pub(super) const ALIGN_BYTES: usize = 8;
/// Bytes of a record at most, so that a damaged length costs little.
pub(super) const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;

const HAS_ID: u8 = 1;
const HAS_DEADLINE: u8 = 2;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something a peer published; it has a sequence number of its own.
    Message = 1,
    /// What happened to messages, and cursors: see [`super::meta`].
    Meta = 2,
    /// Fills the last sector of a batch, and says which number was its last.
    Pad = 3,
    /// The index of a finished segment.
    Footer = 4,
    /// Stands where a message was that is overwritten: its number, zeros.
    Erased = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Message),
            2 => Some(Self::Meta),
            3 => Some(Self::Pad),
            4 => Some(Self::Footer),
            5 => Some(Self::Erased),
            _ => None,
        }
    }
}

/// One record; all slices point into the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number; other than for a message, that of the last message before it.
    pub seq: Seq,
    /// When it was appended.
    pub time: Time,
    /// After this moment it is gone.
    pub deadline: Option<Time>,
    /// The publisher's own name for it, for finding duplicates; empty for none.
    pub msg_id: &'a [u8],
    /// Where it was published.
    pub subject: &'a [u8],
    /// Header block, empty for none.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

/// Why no record could be read from some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// So many bytes are needed, counted from its start.
    Short(usize),
    /// They are not a record.
    Damaged,
}

impl<'a> Record<'a> {
    /// A record that is not a message.
    pub(super) fn other(kind: Kind, seq: Seq, time: Time, payload: &'a [u8]) -> Self {
        Self { kind, seq, time, deadline: None, msg_id: b"", subject: b"", headers: b"", payload }
    }

    /// Bytes it takes in a segment.
    pub(super) fn stored_bytes(&self) -> usize {
        self.length().next_multiple_of(ALIGN_BYTES)
    }

    /// Bytes of it but for the zeros at its end.
    pub(super) fn length(&self) -> usize {
        let id = if self.msg_id.is_empty() { 0 } else { 2 + self.msg_id.len() };
        let deadline = if self.deadline.is_some() { 8 } else { 0 };
        HEAD_BYTES + deadline + id + self.subject.len() + self.headers.len() + self.payload.len()
    }

    /// What it counts for in a limit in bytes and in what users are shown: nats-server's formula for file storage.
    pub fn counted_bytes(&self) -> u64 {
        let headers = if self.headers.is_empty() { 0 } else { 4 + self.headers.len() };
        (30 + self.subject.len() + headers + self.payload.len()) as u64
    }

    /// Appends it to `out`, whose length is a multiple of 8. Its parts are within the bounds that `Log::append` checks.
    pub(super) fn encode(&self, salt: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let length = self.length() as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        self.encode_fixed(out);
        out.extend_from_slice(&length_check(salt, length).to_le_bytes());
        self.encode_rest(out);
        let crc = checksum(salt, &out[start..]).to_le_bytes();
        out[start + 4..start + 8].copy_from_slice(&crc);
        out.resize(out.len().next_multiple_of(ALIGN_BYTES), 0);
    }

    /// Appends what all records have.
    pub(super) fn encode_fixed(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if !self.msg_id.is_empty() {
            flags |= HAS_ID;
        }
        if self.deadline.is_some() {
            flags |= HAS_DEADLINE;
        }
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, flags]);
        out.extend_from_slice(&(self.subject.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.headers.len() as u16).to_le_bytes());
    }

    /// Appends what follows.
    pub(super) fn encode_rest(&self, out: &mut Vec<u8>) {
        if let Some(deadline) = self.deadline {
            out.extend_from_slice(&deadline.to_le_bytes());
        }
        if !self.msg_id.is_empty() {
            out.extend_from_slice(&(self.msg_id.len() as u16).to_le_bytes());
            out.extend_from_slice(self.msg_id);
        }
        out.extend_from_slice(self.subject);
        out.extend_from_slice(self.headers);
        out.extend_from_slice(self.payload);
    }

    /// How long the record is that `bytes` start with, if it is whole.
    pub(super) fn check(salt: u32, bytes: &[u8]) -> Result<usize, Bad> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Err(Bad::Short(HEAD_BYTES)) };
        let length = u32_at(head, 0);
        let checked = length_check(salt, length) == u16::from_le_bytes([head[30], head[31]]);
        if !(HEAD_BYTES..=RECORD_BYTES_MAX).contains(&(length as usize)) || !checked || Kind::of(head[24]).is_none() {
            return Err(Bad::Damaged);
        }
        let Some(whole) = bytes.get(..length as usize) else { return Err(Bad::Short(length as usize)) };
        if checksum(salt, whole) != u32_at(head, 4) && !planted(Bug::NoChecksum) {
            return Err(Bad::Damaged);
        }
        Ok(length as usize)
    }

    /// The parts of a record that is whole.
    pub(super) fn parse(whole: &'a [u8]) -> Result<Self, Bad> {
        let head = whole.first_chunk::<HEAD_BYTES>().ok_or(Bad::Damaged)?;
        let fixed = head[8..].first_chunk().ok_or(Bad::Damaged)?;
        Self::from_parts(fixed, &whole[HEAD_BYTES..])
    }

    /// A record of what all have, and what follows.
    pub(super) fn from_parts(fixed: &[u8; FIXED_BYTES], rest: &'a [u8]) -> Result<Self, Bad> {
        let kind = Kind::of(fixed[16]).ok_or(Bad::Damaged)?;
        let flags = fixed[17];
        let mut rest = Rest(rest);
        let deadline = if flags & HAS_DEADLINE != 0 { Some(Time::from_le_bytes(rest.array()?)) } else { None };
        let msg_id = match flags & HAS_ID {
            0 => &[],
            _ => {
                let len = u16::from_le_bytes(rest.array()?);
                rest.take(len.into())?
            }
        };
        let subject = rest.take(u16::from_le_bytes([fixed[18], fixed[19]]).into())?;
        let headers = rest.take(u16::from_le_bytes([fixed[20], fixed[21]]).into())?;
        let (seq, time) = (u64_at(fixed, 0), u64_at(fixed, 8) as Time);
        Ok(Self { kind, seq, time, deadline, msg_id, subject, headers, payload: rest.0 })
    }

    /// Reads the record that `bytes` start with, and how many bytes it takes.
    #[cfg(test)]
    pub(super) fn decode(salt: u32, bytes: &'a [u8]) -> Result<(Self, usize), Bad> {
        let length = Self::check(salt, bytes)?;
        Ok((Self::parse(&bytes[..length])?, length.next_multiple_of(ALIGN_BYTES)))
    }
}

/// What is left of a record; cannot be read past its end.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Bad::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Bad::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// The upper half of a product: every flipped bit of the length changes it.
pub(super) fn length_check(salt: u32, length: u32) -> u16 {
    ((length ^ salt).wrapping_mul(0x9E37_79B1) >> 16) as u16
}

/// Over a whole record, its own place left out.
pub(super) fn checksum(salt: u32, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.finalize()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const FULL: Record<'_> = Record {
        kind: Kind::Message,
        seq: 7,
        time: -5,
        deadline: Some(99),
        msg_id: b"id",
        subject: b"a.b",
        headers: b"NATS/1.0\r\n\r\n",
        payload: b"hello",
    };

    #[test]
    fn comes_back_as_it_was() {
        for record in [FULL, Record { deadline: None, msg_id: b"", headers: b"", payload: b"", ..FULL }] {
            let mut bytes = Vec::new();
            record.encode(3, &mut bytes);
            assert_eq!(bytes.len(), record.stored_bytes());
            assert_eq!(Record::decode(3, &bytes), Ok((record, bytes.len())));
            assert_eq!(Record::decode(4, &bytes), Err(Bad::Damaged), "of another segment");
            for cut in 0..record.length() {
                assert!(matches!(Record::decode(3, &bytes[..cut]), Err(Bad::Short(_))), "{cut}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let mut bytes = Vec::new();
        FULL.encode(3, &mut bytes);
        for bit in 0..FULL.length() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(3, &bytes), Err(Bad::Damaged), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
