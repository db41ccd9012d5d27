//! A block: its length, then literals and copies of what came before.

/// A block that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// How many plain bytes `block` has, and where its first element is.
pub(super) fn plain_len(block: &[u8]) -> Result<(usize, usize), Corrupt> {
    let mut len = 0u64;
    for (at, &byte) in block.iter().enumerate().take(5) {
        len |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            let len = u32::try_from(len).map_err(|_| Corrupt)?;
            return Ok((len as usize, at + 1));
        }
    }
    Err(Corrupt)
}

/// Appends the plain bytes of `block`, at most `max`, to `out`.
///
/// # Errors
/// When it is no block, or has more; `out` may then hold a part of it.
pub fn decode(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let (len, start) = plain_len(block)?;
    if len > max {
        return Err(Corrupt);
    }
    let (base, mut rest, mut offset) = (out.len(), &block[start..], 0);
    // A small block may claim to be a large one: room is made as it is filled.
    out.reserve(len.min(block.len().saturating_mul(64)));
    while let Some((&tag, tail)) = rest.split_first() {
        let room = len - (out.len() - base);
        let count;
        match tag & 3 {
            0 => {
                (count, rest) = literal_len(tag, tail)?;
                let (bytes, after) = rest.split_at_checked(count).ok_or(Corrupt)?;
                if count > room {
                    return Err(Corrupt);
                }
                out.extend_from_slice(bytes);
                rest = after;
                continue;
            }
            1 => {
                let (&low, tail) = tail.split_first().ok_or(Corrupt)?;
                let near = usize::from(tag & 0xe0) << 3 | usize::from(low);
                let short = usize::from(tag >> 2 & 7);
                if near == 0 {
                    (count, rest) = repeat_len(short, tail)?;
                } else {
                    (count, rest, offset) = (short + 4, tail, near);
                }
            }
            2 => {
                let (bytes, tail) = tail.split_first_chunk().ok_or(Corrupt)?;
                (count, rest, offset) = (usize::from(tag >> 2) + 1, tail, usize::from(u16::from_le_bytes(*bytes)));
            }
            _ => {
                let (bytes, tail) = tail.split_first_chunk().ok_or(Corrupt)?;
                (count, rest, offset) = (usize::from(tag >> 2) + 1, tail, u32::from_le_bytes(*bytes) as usize);
            }
        }
        if offset == 0 || offset > out.len() - base || count > room {
            return Err(Corrupt);
        }
        copy(out, offset, count);
    }
    if out.len() - base == len { Ok(()) } else { Err(Corrupt) }
}

fn literal_len(tag: u8, rest: &[u8]) -> Result<(usize, &[u8]), Corrupt> {
    let short = usize::from(tag >> 2);
    if short < 60 {
        return Ok((short + 1, rest));
    }
    let (bytes, rest) = rest.split_at_checked(short - 59).ok_or(Corrupt)?;
    let len = bytes.iter().rev().fold(0u64, |len, &byte| len << 8 | u64::from(byte));
    Ok((usize::try_from(len).map_err(|_| Corrupt)?.checked_add(1).ok_or(Corrupt)?, rest))
}

/// S2: a copy from where the last one came from.
fn repeat_len(short: usize, rest: &[u8]) -> Result<(usize, &[u8]), Corrupt> {
    let (bytes, more) = match short {
        5 => (1, 4),
        6 => (2, 1 << 8),
        7 => (3, 1 << 16),
        _ => return Ok((short + 4, rest)),
    };
    let (bytes, rest) = rest.split_at_checked(bytes).ok_or(Corrupt)?;
    let len = bytes.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte));
    Ok((len + more + 4, rest))
}

/// Appends `count` bytes from `offset` before the end; they may overlap, and then repeat.
fn copy(out: &mut Vec<u8>, offset: usize, count: usize) {
    let mut left = count;
    let from = out.len() - offset;
    while left > 0 {
        let n = left.min(out.len() - from);
        out.extend_from_within(from..from + n);
        left -= n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(block: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let mut out = b"before".to_vec();
        decode(block, 1 << 20, &mut out)?;
        Ok(out.split_off(6))
    }

    #[test]
    fn reads_every_element() {
        assert_eq!(plain(b"\x05\x10hello").expect("literal"), b"hello");
        // Copies of one, two and four bytes of offset; the second overlaps itself.
        assert_eq!(plain(b"\x08\x0cabcd\x01\x04").expect("near"), b"abcdabcd");
        assert_eq!(plain(b"\x09\x00a\x1e\x01\x00").expect("far"), b"aaaaaaaaa");
        assert_eq!(plain(b"\x06\x08abc\x0b\x03\x00\x00\x00").expect("farther"), b"abcabc");
        // Repeats of S2: four bytes, and nine with a byte of length.
        assert_eq!(plain(b"\x0c\x0cabcd\x01\x04\x01\x00").expect("repeat"), b"abcdabcdabcd");
        assert_eq!(plain(b"\x11\x0cabcd\x01\x04\x15\x00\x01").expect("repeat"), b"abcdabcdabcdabcda");
        let long = [&b"\xac\x02\xf4\x2b\x01"[..], &[b'x'; 300]].concat();
        assert_eq!(plain(&long).expect("long literal"), [b'x'; 300]);
    }

    #[test]
    fn refuses_what_is_none() {
        for bad in [
            &b""[..],
            b"\xff\xff\xff\xff\xff\x01",
            b"\x05\x10hell",
            b"\x04\x10hello",
            b"\x06\x10hello",
            b"\x08\x0cabcd\x01\x05",
            b"\x08\x01\x00",
            b"\x08\x0cabcd\x0e\x00\x00",
            b"\x08\x0cabcd\x02",
            b"\xff\xff\xff\x0f\x10hello",
        ] {
            assert_eq!(plain(bad), Err(Corrupt), "{}", bad.escape_ascii());
        }
    }
}
