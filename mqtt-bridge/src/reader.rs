//! Reads the parts of a packet; cannot run past its end.

use crate::Violation;

/// What is left of a packet or of one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Violation::malformed("packet ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Violation::malformed("packet ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer in its shortest form `[MQTT-1.5.5-1]`.
    pub(crate) fn varint(&mut self) -> Result<u32, Violation> {
        let mut value = 0u32;
        for position in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                if byte == 0 && position > 0 {
                    return Err(Violation::malformed("variable byte integer is longer than it need be"));
                }
                return Ok(value);
            }
        }
        Err(Violation::malformed("variable byte integer of more than four bytes"))
    }

    /// Two bytes of length and as many bytes.
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// A string: well-formed UTF-8 without U+0000 `[MQTT-1.5.4-1]`, `[MQTT-1.5.4-2]`. A leading U+FEFF stays.
    pub(crate) fn text(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(bytes).map_err(|_| Violation::malformed("string is not UTF-8"))?;
        if bytes.contains(&0) {
            return Err(Violation::malformed("string holds U+0000"));
        }
        Ok(text)
    }

    /// A packet identifier, which is never 0 `[MQTT-2.2.1-3]`.
    pub(crate) fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(Violation::protocol("packet identifier 0")),
            id => Ok(id),
        }
    }

    pub(crate) fn finished(&self) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { Err(Violation::malformed("bytes after the end of the packet")) }
    }
}
