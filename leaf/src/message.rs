//! A message on its way from a publisher to its subscribers.

pub mod header;
pub mod trace;

/// One published message; all slices point into the buffer it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where it was published.
    pub subject: &'a [u8],
    /// Where an answer goes; empty when none is expected.
    pub reply: &'a [u8],
    /// How many bytes of `body` are the header block, its blank line included. 0 for none.
    pub header_len: usize,
    /// Header block and payload.
    pub body: &'a [u8],
    /// Size, CRLF, `body`, CRLF as they were read in one piece, ready to be sent on; empty when there is no such piece.
    pub framed: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message without headers that asks for no answer.
    pub fn plain(subject: &'a [u8], payload: &'a [u8]) -> Self {
        Self { subject, reply: b"", header_len: 0, body: payload, framed: b"" }
    }

    /// The header block, empty if there is none.
    pub fn headers(&self) -> &'a [u8] {
        &self.body[..self.header_len]
    }

    /// The value of a header; its name counts to the letter.
    pub fn header(&self, name: &[u8]) -> Option<&'a [u8]> {
        header(self.headers(), name)
    }

    /// The same for a receiver that takes no headers.
    pub fn without_headers(&self) -> Self {
        match self.header_len {
            0 => *self,
            _ => Self { header_len: 0, body: self.payload(), framed: b"", ..*self },
        }
    }

    /// The payload without the header block.
    pub fn payload(&self) -> &'a [u8] {
        &self.body[self.header_len..]
    }
}

/// The value of the header `name` in a header block, without blanks around it; the first one counts.
pub fn header<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let lines = block.split(|&byte| byte == b'\n').skip(1);
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(b":"));
    values.next().map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_by_name() {
        let block = b"NATS/1.0\r\nAb: 1\r\nA:  x y \r\nA: 2\r\nB:\r\n\r\n";
        assert_eq!(header(block, b"A"), Some(&b"x y"[..]));
        assert_eq!(header(block, b"Ab"), Some(&b"1"[..]));
        assert_eq!((header(block, b"B"), header(block, b"a"), header(b"", b"A")), (Some(&b""[..]), None, None));
    }
}
