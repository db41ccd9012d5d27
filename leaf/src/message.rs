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
}

impl<'a> Message<'a> {
    /// The header block, empty if there is none.
    pub fn headers(&self) -> &'a [u8] {
        &self.body[..self.header_len]
    }

    /// The payload without the header block.
    pub fn payload(&self) -> &'a [u8] {
        &self.body[self.header_len..]
    }
}
