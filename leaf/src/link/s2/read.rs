//! Reading a stream, in whatever pieces it comes.

use super::block::{decode, plain_len};
use super::checksum::masked;
use super::{BLOCK_BYTES_MAX, CHECKSUM_BYTES, COMPRESSED, HEADER_BYTES, MAGIC, MAGIC_SNAPPY, PLAIN};

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not begin like one.
    NoStream,
    /// A chunk of a kind that nobody knows and nobody may skip.
    UnknownChunk,
    /// A chunk that is too long, or a block that cannot be read.
    Corrupt,
    /// The checksum is another one.
    Checksum,
    /// Whoever takes the plain bytes wants no more.
    Stopped,
}

/// The reading end of a stream. Between chunks it holds no buffers.
#[derive(Debug, Default)]
pub struct Reader {
    /// The beginning of a chunk that is not all there: at most what a block may take.
    partial: Vec<u8>,
    /// Bytes still to be skipped.
    skip: usize,
    begun: bool,
}

impl Reader {
    /// Takes bytes from the wire, all of them, and hands the plain bytes of each whole chunk to `plain`, which says
    /// whether it wants more.
    ///
    /// # Errors
    /// When it is no stream; it is of no more use then.
    pub fn feed(&mut self, wire: &[u8], plain: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Trouble> {
        let mut scratch = Vec::new();
        let mut rest = wire;
        while !rest.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(rest.len());
                self.skip -= n;
                rest = &rest[n..];
                continue;
            }
            if self.partial.is_empty() {
                let used = self.chunk(rest, &mut scratch, plain)?;
                rest = &rest[used..];
                if used == 0 {
                    self.partial.extend_from_slice(rest);
                    return Ok(());
                }
                continue;
            }
            // Complete the chunk that has begun, and no more.
            let missing = self.missing()?;
            let n = missing.min(rest.len());
            self.partial.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            let partial = std::mem::take(&mut self.partial);
            if self.chunk(&partial, &mut scratch, plain)? == 0 {
                self.partial = partial;
            }
        }
        Ok(())
    }

    /// How many bytes the chunk that has begun still needs: first its header, then the rest.
    fn missing(&self) -> Result<usize, Trouble> {
        match header(&self.partial) {
            None => Ok(HEADER_BYTES - self.partial.len()),
            Some((_, len)) => Ok(HEADER_BYTES + len - self.partial.len()),
        }
    }

    /// Takes the chunk at the front of `input`; 0 if it is not all there.
    fn chunk(
        &mut self,
        input: &[u8],
        scratch: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<usize, Trouble> {
        let Some((kind, len)) = header(input) else { return Ok(0) };
        if !self.begun && kind != 0xff {
            return Err(Trouble::NoStream);
        }
        match kind {
            // What may be skipped need not be all there.
            0x80..=0xfe => {
                let n = len.min(input.len() - HEADER_BYTES);
                self.skip = len - n;
                return Ok(HEADER_BYTES + n);
            }
            0x02..=0x7f => return Err(Trouble::UnknownChunk),
            0xff if len != MAGIC.len() - HEADER_BYTES => return Err(Trouble::NoStream),
            PLAIN if len > BLOCK_BYTES_MAX + CHECKSUM_BYTES => return Err(Trouble::Corrupt),
            COMPRESSED if len > BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 6 => return Err(Trouble::Corrupt),
            _ => {}
        }
        let Some(body) = input.get(HEADER_BYTES..HEADER_BYTES + len) else { return Ok(0) };
        let used = HEADER_BYTES + len;
        if kind == 0xff {
            if input[..used] != *MAGIC && input[..used] != *MAGIC_SNAPPY {
                return Err(Trouble::NoStream);
            }
            self.begun = true;
            return Ok(used);
        }
        let (checksum, body) = body.split_first_chunk::<CHECKSUM_BYTES>().ok_or(Trouble::Corrupt)?;
        let bytes = if kind == PLAIN {
            body
        } else {
            plain_len(body).map_err(|_| Trouble::Corrupt)?;
            scratch.clear();
            decode(body, BLOCK_BYTES_MAX, scratch).map_err(|_| Trouble::Corrupt)?;
            scratch
        };
        if masked(bytes).to_le_bytes() != *checksum {
            return Err(Trouble::Checksum);
        }
        if !bytes.is_empty() && !plain(bytes) {
            return Err(Trouble::Stopped);
        }
        Ok(used)
    }
}

/// A chunk's type and the length of what follows.
fn header(input: &[u8]) -> Option<(u8, usize)> {
    let &[kind, a, b, c] = input.first_chunk()?;
    Some((kind, u32::from_le_bytes([a, b, c, 0]) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<u8>, Trouble> {
        let mut reader = Reader::default();
        let mut got = Vec::new();
        for piece in pieces {
            reader.feed(piece, &mut |bytes| {
                got.extend_from_slice(bytes);
                true
            })?;
        }
        assert!(reader.partial.is_empty() || got.is_empty());
        Ok(got)
    }

    /// What nats-server sent (`leaf-compression-handshake.txt`), in every two pieces; the beginning comes twice.
    #[test]
    fn reads_what_nats_server_writes() {
        let wire = b"\xff\x06\x00\x00S2sTwO\x01\x0a\x00\x00\xab\x90\xcc$PING\r\n\xff\x06\x00\x00S2sTwO\x01\x0d\x00\x00\xbdS\x81RLS+ a.b\r\n";
        for cut in 0..wire.len() {
            let mut reader = Reader::default();
            let mut got = Vec::new();
            for piece in [&wire[..cut], &wire[cut..]] {
                let mut take = |bytes: &[u8]| {
                    got.extend_from_slice(bytes);
                    true
                };
                reader.feed(piece, &mut take).expect("a stream");
            }
            assert_eq!(got, b"PING\r\nLS+ a.b\r\n", "cut at {cut}");
            assert_eq!(reader.partial.capacity(), 0);
        }
    }

    #[test]
    fn skips_what_may_be_skipped() {
        let wire = b"\xff\x06\x00\x00sNaPpY\xfe\x03\x00\x00xyz\x99\x00\x00\x00\x01\x0a\x00\x00\xab\x90\xcc$PING\r\n";
        for cut in 0..wire.len() {
            assert_eq!(read(&[&wire[..cut], &wire[cut..]]).expect("a stream"), b"PING\r\n");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (wire, trouble) in [
            (&b"PING\r\n"[..], Trouble::NoStream),
            (b"\xff\x06\x00\x00S2sTwX", Trouble::NoStream),
            (b"\xff\x07\x00\x00S2sTwO", Trouble::NoStream),
            (b"\xff\x06\x00\x00S2sTwO\x02\x00\x00\x00", Trouble::UnknownChunk),
            (b"\xff\x06\x00\x00S2sTwO\x01\x0a\x00\x00\xab\x90\xcc$PONG\r\n", Trouble::Checksum),
            (b"\xff\x06\x00\x00S2sTwO\x01\xff\xff\xff", Trouble::Corrupt),
            (b"\xff\x06\x00\x00S2sTwO\x00\x06\x00\x00\x00\x00\x00\x00\x05\x01", Trouble::Corrupt),
            (b"\xff\x06\x00\x00S2sTwO\x01\x02\x00\x00xx", Trouble::Corrupt),
        ] {
            assert_eq!(read(&[wire]), Err(trouble), "{}", wire.escape_ascii());
        }
    }
}
