//! Frames: what comes is unmasked and handed on at once, what goes gets a header before it.

use std::fmt;

use crate::node::CloseReason;

/// The longest header of a frame: two bytes, a length of eight, a mask.
const HEADER_BYTES_MAX: usize = 14;
/// The same without a mask, as a server sends it.
const SENT_HEADER_BYTES_MAX: usize = 10;
/// What a control frame may carry, bytes `[RFC 6455, 5.5]`.
const CONTROL_BYTES_MAX: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes for those above.
    Data(&'a [u8]),
    /// It wants these bytes back.
    Ping(&'a [u8]),
    /// It closes, and maybe says why.
    Close(Option<u16>),
}

/// What a client did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A client must mask all it sends.
    NotMasked,
    /// A bit of an extension that nobody agreed on.
    Reserved,
    /// Text, where only bytes are allowed.
    NotBinary,
    /// There is no such kind of frame.
    UnknownOpcode(u8),
    /// A control frame in pieces, or with too much in it.
    Control,
    /// A piece of no message, or a message inside another one.
    Sequence,
    /// A length with its first bit set.
    Length,
    /// A reason to close that is none.
    Close,
    /// The same, with a text that is not UTF-8.
    Text,
}

impl Fault {
    /// The status that the client is told.
    pub fn status(self) -> u16 {
        match self {
            Self::Text => status::INVALID_PAYLOAD,
            Self::NotBinary => status::UNSUPPORTED,
            _ => status::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMasked => f.write_str("mask bit missing"),
            Self::Reserved => f.write_str("reserved bit set"),
            Self::NotBinary => f.write_str("text frame"),
            Self::UnknownOpcode(opcode) => write!(f, "unknown opcode {opcode}"),
            Self::Control => f.write_str("control frame in pieces or longer than 125 bytes"),
            Self::Sequence => f.write_str("continuation out of order"),
            Self::Length => f.write_str("impossible length"),
            Self::Close => f.write_str("malformed close frame"),
            Self::Text => f.write_str("close frame with a reason that is not UTF-8"),
        }
    }
}

/// Statuses of a close frame, and which of them says what `[RFC 6455, 7.4.1]`.
pub mod status {
    use super::CloseReason;

    /// All is well.
    pub const NORMAL: u16 = 1000;
    /// The server ends, or the client was silent.
    pub const GOING_AWAY: u16 = 1001;
    /// The client broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A kind of data that is not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// A text that is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// The client is not wanted.
    pub const POLICY: u16 = 1008;
    /// Too much at once.
    pub const TOO_BIG: u16 = 1009;
    /// Our fault.
    pub const INTERNAL: u16 = 1011;

    /// As nats-server has it.
    pub fn of(reason: CloseReason) -> u16 {
        match reason {
            CloseReason::ClientClosed | CloseReason::DuplicateClientId => NORMAL,
            CloseReason::AuthenticationTimeout
            | CloseReason::AuthenticationViolation
            | CloseReason::SlowConsumerPending
            | CloseReason::SlowConsumerDeadline
            | CloseReason::MaxAccountConnections
            | CloseReason::MaxConnections
            | CloseReason::MaxControlLine
            | CloseReason::MaxSubscriptions
            | CloseReason::UserExpired
            | CloseReason::AccountExpired
            | CloseReason::Revoked
            | CloseReason::SignerChanged
            | CloseReason::TlsHandshake => POLICY,
            CloseReason::UnknownOperation
            | CloseReason::MalformedOperation
            | CloseReason::ErrorFromPeer
            | CloseReason::BadClientProtocol => PROTOCOL_ERROR,
            CloseReason::MaxPayload => TOO_BIG,
            CloseReason::ServerShutdown
            | CloseReason::StaleConnection
            | CloseReason::ReadError
            | CloseReason::WriteError => GOING_AWAY,
            _ => INTERNAL,
        }
    }

    /// Whether a peer may say this one.
    pub(super) fn is_sendable(status: u16) -> bool {
        matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Takes frames apart, whatever the pieces they come in.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_BYTES_MAX],
    /// Bytes of the header that are there; 0 again once its payload has begun.
    have: u8,
    /// Where in the mask the next byte is.
    phase: u8,
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the payload still to come.
    left: u64,
    /// A message is under way: its next piece is a continuation.
    fragmented: bool,
    /// Text is a fault.
    binary_only: bool,
    /// The payload of a control frame, while it comes.
    control: Vec<u8>,
}

impl Decoder {
    /// One for MQTT, which must be in binary frames `[MQTT-6.0.0-1]`.
    pub fn binary_only() -> Self {
        Self { binary_only: true, ..Self::default() }
    }

    /// Takes bytes from the network, all of them, and hands on what they say. `scratch` is only used here.
    ///
    /// # Errors
    /// The client breaks the protocol; no more of its bytes make sense.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        scratch: &mut Vec<u8>,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.take_header(bytes)?;
                if self.have > 0 {
                    return Ok(());
                }
            }
            let count = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at(count);
            bytes = rest;
            self.left -= count as u64;
            scratch.clear();
            self.unmask(payload, scratch);
            if self.opcode < CLOSE {
                if count > 0 {
                    on(Event::Data(scratch));
                }
                continue;
            }
            self.control.extend_from_slice(scratch);
            if self.left == 0 {
                let payload = std::mem::take(&mut self.control);
                self.control_done(&payload, on)?;
            }
        }
        Ok(())
    }

    /// Takes what belongs to a header; when it is whole `have` is 0 again.
    fn take_header<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        while let [byte, rest @ ..] = bytes {
            self.header[usize::from(self.have)] = *byte;
            self.have += 1;
            bytes = rest;
            if self.have >= 2 && usize::from(self.have) == header_len(self.header[1]) {
                self.have = 0;
                self.begin()?;
                break;
            }
            if self.have == 2 {
                check(self.header[0], self.header[1])?;
            }
        }
        Ok(bytes)
    }

    /// The header is whole.
    fn begin(&mut self) -> Result<(), Fault> {
        let [first, second, ..] = self.header;
        check(first, second)?;
        let (length, mask) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 4),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                (u64::from_be_bytes(length), 10)
            }
            short => (u64::from(short), 2),
        };
        if length >> 63 != 0 {
            return Err(Fault::Length);
        }
        self.mask.copy_from_slice(&self.header[mask..mask + 4]);
        (self.left, self.phase, self.opcode) = (length, 0, first & 0x0f);
        match self.opcode {
            TEXT if self.binary_only => return Err(Fault::NotBinary),
            CONTINUATION if !self.fragmented => return Err(Fault::Sequence),
            TEXT | BINARY if self.fragmented => return Err(Fault::Sequence),
            CONTINUATION | TEXT | BINARY => self.fragmented = first & FINAL == 0,
            _ => {}
        }
        Ok(())
    }

    fn unmask(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let mut mask = self.mask;
        mask.rotate_left(usize::from(self.phase));
        let [a, b, c, d] = mask;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        out.reserve(payload.len());
        let words = payload.chunks_exact(8);
        let tail = words.remainder();
        for word in words {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            out.extend_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
        out.extend(tail.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.phase = ((usize::from(self.phase) + payload.len()) % 4) as u8;
    }

    fn control_done(&self, payload: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault> {
        match (self.opcode, payload) {
            (PING, _) => on(Event::Ping(payload)),
            (CLOSE, []) => on(Event::Close(None)),
            (CLOSE, [high, low, text @ ..]) => {
                let status = u16::from_be_bytes([*high, *low]);
                if !status::is_sendable(status) {
                    return Err(Fault::Close);
                }
                std::str::from_utf8(text).map_err(|_| Fault::Text)?;
                on(Event::Close(Some(status)));
            }
            (CLOSE, _) => return Err(Fault::Close),
            // Nobody asked: it is a sign of life.
            _ => {}
        }
        Ok(())
    }
}

/// Bytes of a header with a mask, by its second byte.
fn header_len(second: u8) -> usize {
    match second & !MASKED {
        126 => 8,
        127 => 14,
        _ => 6,
    }
}

/// What the first two bytes already show.
fn check(first: u8, second: u8) -> Result<(), Fault> {
    if first & RESERVED != 0 {
        return Err(Fault::Reserved);
    }
    let opcode = first & 0x0f;
    match opcode {
        CONTINUATION | TEXT | BINARY => {}
        CLOSE | PING | PONG => {
            if first & FINAL == 0 || usize::from(second & !MASKED) > CONTROL_BYTES_MAX {
                return Err(Fault::Control);
            }
        }
        _ => return Err(Fault::UnknownOpcode(opcode)),
    }
    if second & MASKED == 0 { Err(Fault::NotMasked) } else { Ok(()) }
}

/// Puts what waits for a client into frames, without moving it: whoever writes puts [`Self::before`] in front, and of
/// what waits no more than [`Self::room`].
#[derive(Debug, Default)]
pub struct Encoder {
    /// What comes before the next frame: the answer to the handshake, to a ping.
    first: Vec<u8>,
    header: heapless::Vec<u8, SENT_HEADER_BYTES_MAX>,
    /// Bytes of the frame's payload still to be written.
    left: usize,
    /// The answer to the last ping; those before it need none `[RFC 6455, 5.5.3]`.
    pong: Option<Box<[u8]>>,
    /// What the client said when it closed.
    closed_with: Option<u16>,
}

impl Encoder {
    /// Begins with the answer to the handshake.
    pub fn new(response: Vec<u8>) -> Self {
        Self { first: response, ..Self::default() }
    }

    /// A ping came.
    pub fn answer(&mut self, payload: &[u8]) {
        self.pong = Some(payload.into());
    }

    /// The client closed, with this status.
    pub fn close_with(&mut self, status: Option<u16>) {
        self.closed_with = Some(status.unwrap_or(status::NORMAL));
    }

    /// `waiting` bytes are there to be written: begins a frame for them, unless one is under way.
    pub fn begin(&mut self, waiting: usize) {
        if self.left > 0 || !self.header.is_empty() {
            return;
        }
        if let Some(pong) = self.pong.take() {
            let mut header = heapless::Vec::new();
            write_header(&mut header, PONG, pong.len());
            self.first.extend_from_slice(&header);
            self.first.extend_from_slice(&pong);
        }
        if waiting > 0 {
            write_header(&mut self.header, BINARY, waiting);
            self.left = waiting;
        }
    }

    /// What must be written before anything that waits.
    pub fn before(&self) -> [&[u8]; 2] {
        [&self.first, &self.header]
    }

    /// So much of what waits belongs to the frame.
    pub fn room(&self) -> usize {
        self.left
    }

    /// `n` bytes are written: of [`Self::before`], then of what waits. Returns how many of the latter.
    pub fn wrote(&mut self, n: usize) -> usize {
        let first = n.min(self.first.len());
        if first == self.first.len() {
            self.first = Vec::new();
        } else {
            self.first.drain(..first);
        }
        let header = (n - first).min(self.header.len());
        let kept: heapless::Vec<u8, SENT_HEADER_BYTES_MAX> = self.header[header..].iter().copied().collect();
        self.header = kept;
        let payload = n - first - header;
        self.left -= payload;
        payload
    }

    /// The end: what is still to be written, `rest` included, and why it ends.
    pub fn finish<'a>(
        &mut self,
        rest: impl Iterator<Item = &'a [u8]>,
        reason: CloseReason,
        fault: Option<Fault>,
    ) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.first);
        out.extend_from_slice(&self.header);
        self.header.clear();
        let rest: Vec<u8> = rest.flatten().copied().collect();
        if rest.len() < self.left {
            // The frame cannot be completed, and whatever came now would be taken for a part of it.
            out.extend_from_slice(&rest);
            return out;
        }
        let (begun, rest) = rest.split_at(self.left);
        self.left = 0;
        out.extend_from_slice(begun);
        self.begin(rest.len());
        out.append(&mut self.first);
        out.extend_from_slice(&self.header);
        out.extend_from_slice(rest);
        let status = match (fault, self.closed_with) {
            (Some(fault), _) => fault.status(),
            (None, Some(status)) => status,
            (None, None) => status::of(reason),
        };
        let text = reason.text().as_bytes();
        let mut header = heapless::Vec::new();
        write_header(&mut header, CLOSE, 2 + text.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(&status.to_be_bytes());
        out.extend_from_slice(text);
        out
    }
}

/// The header of a whole message of this length, not masked.
fn write_header(out: &mut heapless::Vec<u8, SENT_HEADER_BYTES_MAX>, opcode: u8, length: usize) {
    out.clear();
    let long = (length as u64).to_be_bytes();
    let bytes: &[u8] = match length {
        0..=125 => &[length as u8],
        126..=0xffff => &[126, long[6], long[7]],
        _ => &[127, long[0], long[1], long[2], long[3], long[4], long[5], long[6], long[7]],
    };
    // At most ten bytes, which is its room.
    let _ = out.push(FINAL | opcode);
    let _ = out.extend_from_slice(bytes);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = heapless::Vec::new();
        write_header(&mut header, 0, payload.len());
        let mut out = vec![first, header[1] | MASKED];
        out.extend_from_slice(&header[2..]);
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What these bytes say, in pieces of this size: the data, and all else.
    fn heard(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<String>, Result<(), Fault>) {
        let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
        let (mut data, mut others) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            let result = decoder.receive(piece, &mut scratch, &mut |event| match event {
                Event::Data(bytes) => data.extend_from_slice(bytes),
                other => others.push(format!("{other:?}")),
            });
            if result.is_err() {
                return (data, others, result);
            }
        }
        (data, others, Ok(()))
    }

    /// The standard's own examples (5.7), and one frame of each length.
    #[test]
    fn frames_in_any_pieces() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(heard(&hello, 99).0, b"Hello");
        let long: Vec<u8> = (0..70_000u32).map(|i| i as u8).collect();
        let script = [
            frame(0x01, b"Hel"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x80, b"lo"),
            frame(0x82, &long[..300]),
            frame(0x8a, b"pong"),
            frame(0x82, b""),
            frame(0x82, &long),
            frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
        ]
        .concat();
        let wanted = [&b"Hello"[..], &long[..300], &long].concat();
        for piece in [1, 2, 3, 7, 64, 1000, script.len()] {
            let (data, others, result) = heard(&script, piece);
            assert!(data == wanted && result.is_ok(), "in pieces of {piece}: {result:?}");
            assert_eq!(others, ["Ping([112, 105, 110, 103])", "Close(Some(1000))"]);
        }
    }

    #[test]
    fn faults_are_seen_at_once() {
        for (bytes, fault) in [
            (vec![0x82, 0x01], Fault::NotMasked),
            (vec![0xc2, 0x81], Fault::Reserved),
            (vec![0x83, 0x81], Fault::UnknownOpcode(3)),
            (vec![0x8b, 0x80], Fault::UnknownOpcode(11)),
            (vec![0x09, 0x80], Fault::Control),
            (vec![0x89, 0xfe], Fault::Control),
            (frame(0x80, b"x"), Fault::Sequence),
            ([frame(0x01, b"x"), frame(0x82, b"x")].concat(), Fault::Sequence),
            (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], Fault::Length),
            (frame(0x88, b"x"), Fault::Close),
            (frame(0x88, &[0x03, 0xed]), Fault::Close),
            (frame(0x88, &[0x03, 0xe8, 0xff]), Fault::Text),
        ] {
            assert_eq!(heard(&bytes, 3).2, Err(fault), "{bytes:x?}");
            assert_eq!(heard(&bytes, bytes.len()).2, Err(fault), "{bytes:x?}");
        }
    }

    /// Whatever the sizes of writes, frames come out whole, a pong between them, and the end says why.
    #[test]
    fn what_waits_is_framed() {
        for step in [1, 2, 5, 64] {
            let mut encoder = Encoder::new(b"HTTP".to_vec());
            let mut waiting = vec![b'a'; 3];
            let mut wire = Vec::new();
            for round in 0..60 {
                encoder.begin(waiting.len());
                let next = [&encoder.before().concat(), &waiting[..encoder.room()]].concat();
                let n = step.min(next.len());
                wire.extend_from_slice(&next[..n]);
                waiting.drain(..encoder.wrote(n));
                if round == 1 {
                    encoder.answer(b"one");
                    encoder.answer(b"two");
                }
                if round == 10 {
                    waiting.extend_from_slice(b"bcd");
                }
            }
            wire.extend(encoder.finish([&waiting[..], b"e"].into_iter(), CloseReason::MaxPayload, None));
            let text = wire.escape_ascii().to_string();
            assert!(text.starts_with("HTTP\\x82\\x03aaa\\x8a\\x03two\\x82\\x03bcd\\x82\\x01e\\x88"), "{step}: {text}");
            assert!(text.ends_with("\\x03\\xf1Maximum Message Payload Exceeded"), "{text}");
            assert_eq!(encoder.first.capacity(), 0);
        }
        // A frame that was promised more than there is now is not closed inside.
        let mut encoder = Encoder::default();
        encoder.begin(4);
        encoder.wrote(3);
        assert!(encoder.finish([].into_iter(), CloseReason::ClientClosed, None).is_empty());
    }
}
