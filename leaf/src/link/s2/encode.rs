//! Writing a stream: blocks of Snappy, which are blocks of S2, too.

use super::checksum::masked;
use super::{COMPRESSED, MAGIC, PLAIN};

/// Plain bytes of a block; so an offset fits into two bytes.
const BLOCK_BYTES: usize = 64 * 1024;
/// Shorter blocks are not worth looking at.
const TRY_BYTES_MIN: usize = 32;
/// The shortest copy worth its element.
const MATCH_BYTES_MIN: usize = 4;
const HASH_BITS: u32 = 14;
/// No earlier place.
const NOWHERE: u16 = u16::MAX;

/// How hard to look for repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not at all: only framed.
    None,
    /// At the last place where four bytes were the same.
    Fast,
    /// At some such places, and whether waiting a byte is better.
    Better,
    /// At more of them.
    Best,
}

impl Level {
    /// Places looked at.
    fn depth(self) -> usize {
        match self {
            Self::None => 0,
            Self::Fast => 1,
            Self::Better => 8,
            Self::Best => 64,
        }
    }
}

/// Compresses for all links in turn: what it holds is scratch, nothing is remembered from one block to the next.
#[derive(Debug)]
pub struct Encoder {
    /// The last place of each hash.
    heads: Box<[u16]>,
    /// The place before each place with the same hash.
    before: Box<[u16]>,
    block: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        let heads = vec![NOWHERE; 1 << HASH_BITS].into();
        Self { heads, before: vec![NOWHERE; BLOCK_BYTES].into(), block: Vec::new() }
    }
}

impl Encoder {
    /// Appends the beginning of a stream.
    pub fn begin(out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
    }

    /// Appends `plain` as chunks.
    pub fn chunks(&mut self, plain: &[u8], level: Level, out: &mut Vec<u8>) {
        for piece in plain.chunks(BLOCK_BYTES) {
            let mut block = std::mem::take(&mut self.block);
            block.clear();
            if level != Level::None && piece.len() >= TRY_BYTES_MIN {
                self.block(piece, level, &mut block);
            }
            // An eighth less is worth the other side's time.
            let smaller = !block.is_empty() && block.len() < piece.len() - piece.len() / 8;
            let (kind, body) = if smaller { (COMPRESSED, &block[..]) } else { (PLAIN, piece) };
            let len = (body.len() + 4) as u32;
            let [a, b, c, _] = len.to_le_bytes();
            out.extend_from_slice(&[kind, a, b, c]);
            out.extend_from_slice(&masked(piece).to_le_bytes());
            out.extend_from_slice(body);
            self.block = block;
        }
    }

    fn block(&mut self, plain: &[u8], level: Level, out: &mut Vec<u8>) {
        self.heads.fill(NOWHERE);
        let mut len = plain.len() as u32;
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        let last = plain.len() - MATCH_BYTES_MIN;
        let (mut at, mut done, mut misses) = (0, 0, 0usize);
        while at <= last {
            let found = self.find(plain, at, level);
            let Some((mut from, mut len)) = found else {
                // Where nothing repeats, look less often.
                at += 1 + (misses >> 5);
                misses += 1;
                continue;
            };
            misses = 0;
            if level != Level::Fast && at < last {
                // The copy that begins at the next byte may be longer.
                while let Some((next_from, next_len)) = (at < last).then(|| self.find(plain, at + 1, level)).flatten() {
                    if next_len <= len + 1 {
                        break;
                    }
                    (at, from, len) = (at + 1, next_from, next_len);
                }
            }
            literal(&plain[done..at], out);
            copy(at - from, len, out);
            let end = at + len;
            let step = if level == Level::Fast { len.max(2) / 2 } else { 1 };
            let mut inside = at + 1;
            while inside < end.min(last + 1) {
                self.note(plain, inside);
                inside += step;
            }
            (at, done) = (end, end);
        }
        literal(&plain[done..], out);
    }

    /// Remembers the place `at`; gives the one before it with the same hash.
    fn note(&mut self, plain: &[u8], at: usize) -> u16 {
        let hash = hash(word(plain, at));
        let before = self.heads[hash];
        if before != at as u16 {
            self.before[at] = before;
            self.heads[hash] = at as u16;
        }
        self.before[at]
    }

    /// The longest copy that can begin at `at`, among some.
    fn find(&mut self, plain: &[u8], at: usize, level: Level) -> Option<(usize, usize)> {
        let mut candidate = self.note(plain, at);
        let here = word(plain, at);
        let mut best = None;
        let mut best_len = MATCH_BYTES_MIN - 1;
        for _ in 0..level.depth() {
            let from = usize::from(candidate);
            if candidate == NOWHERE || from >= at {
                break;
            }
            if word(plain, from) == here {
                let len = common(plain, from, at);
                if len > best_len {
                    (best, best_len) = (Some((from, len)), len);
                }
            }
            candidate = self.before[from];
        }
        best
    }
}

fn word(plain: &[u8], at: usize) -> u32 {
    plain.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn hash(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// How many bytes are the same from both places on.
fn common(plain: &[u8], from: usize, at: usize) -> usize {
    let (a, b) = (&plain[from..], &plain[at..]);
    let mut len = 0;
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        if x != y {
            break;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(x, y)| x == y).count()
}

fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    let Some(last) = bytes.len().checked_sub(1) else { return };
    match last {
        0..60 => out.push((last as u8) << 2),
        60..0x100 => out.extend_from_slice(&[60 << 2, last as u8]),
        _ => {
            out.push(61 << 2);
            out.extend_from_slice(&(last as u16).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn copy(offset: usize, mut len: usize, out: &mut Vec<u8>) {
    const FAR_MAX: usize = 64;
    while len > FAR_MAX {
        // Never leave less than the shortest copy.
        let n = if len < FAR_MAX + MATCH_BYTES_MIN { FAR_MAX - MATCH_BYTES_MIN } else { FAR_MAX };
        far(offset, n, out);
        len -= n;
    }
    if len <= 11 && offset < 1 << 11 {
        out.push(((offset >> 8) as u8) << 5 | ((len - 4) as u8) << 2 | 1);
        out.push(offset as u8);
    } else {
        far(offset, len, out);
    }
}

fn far(offset: usize, len: usize, out: &mut Vec<u8>) {
    out.push(((len - 1) as u8) << 2 | 2);
    out.extend_from_slice(&(offset as u16).to_le_bytes());
}

const _: () = assert!(BLOCK_BYTES <= u16::MAX as usize + 1, "a place fits into two bytes");

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn there_and_back(plain: &[u8], level: Level) -> usize {
        let mut encoder = Encoder::default();
        let mut wire = Vec::new();
        Encoder::begin(&mut wire);
        encoder.chunks(plain, level, &mut wire);
        let mut reader = Reader::default();
        let mut got = Vec::new();
        let mut take = |bytes: &[u8]| {
            got.extend_from_slice(bytes);
            true
        };
        reader.feed(&wire, &mut take).expect("a stream");
        assert!(got == plain, "{level:?}, {} bytes", plain.len());
        wire.len()
    }

    /// All levels, all shapes: text, noise, one byte, and lengths around the borders of a block.
    #[test]
    fn what_is_written_is_read() {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let noise: Vec<u8> = (0..200_000).map(|_| next()).collect();
        let text: Vec<u8> = (0..4000)
            .flat_map(|i| {
                format!("{{\"device\":\"d{}\",\"t\":{},\"v\":{}}}\r\n", i % 7, 1_700_000_000 + i, i * i % 97)
                    .into_bytes()
            })
            .collect();
        let few: Vec<u8> = (0..100_000).map(|_| next() % 3).collect();
        let zeros = vec![0; 200_000];
        for level in [Level::None, Level::Fast, Level::Better, Level::Best] {
            for source in [&noise, &text, &few, &zeros] {
                for len in [0, 1, 3, 4, 31, 32, 33, 60, 61, 255, 256, 257, 4096, 65_535, 65_536, 65_537, source.len()] {
                    there_and_back(&source[..len.min(source.len())], level);
                }
            }
        }
        let sizes = [Level::None, Level::Fast, Level::Better, Level::Best].map(|level| there_and_back(&text, level));
        assert!(sizes[0] > text.len() && sizes[1] < text.len() / 2, "{sizes:?}");
        assert!(sizes[2] <= sizes[1] && sizes[3] <= sizes[2], "{sizes:?}");
        assert!(there_and_back(&noise, Level::Fast) <= noise.len() + 64);
    }
}
