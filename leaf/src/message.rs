//! A message on its way from a publisher to its subscribers.

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
    /// The header block, empty if there is none.
    pub fn headers(&self) -> &'a [u8] {
        &self.body[..self.header_len]
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
