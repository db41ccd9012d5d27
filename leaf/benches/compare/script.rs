//! What is published and what must therefore arrive, both as bytes made beforehand.
//!
//! A script is a cycle of messages, each with its number in the cycle at the start of its payload. The publisher sends
//! the cycle over and over, so that it costs next to nothing; a subscriber knows at every moment which frame comes
//! next and compares bytes.

use std::ops::Range;

use crate::{Result, wire::Inbox};

/// Size of one write of the publisher.
const CHUNK: usize = 64 * 1024;

/// Digits of the number at the start of each payload.
const DIGITS: usize = 8;

/// A cycle of messages to publish.
pub(crate) struct Script {
    messages: Vec<Message>,
    bytes: Vec<u8>,
    chunks: Vec<Chunk>,
}

struct Message {
    subject: String,
    payload: Vec<u8>,
}

/// What one write sends.
#[derive(Clone)]
pub(crate) struct Chunk {
    /// How many messages.
    pub(crate) messages: u64,
    /// Their numbers, added up: equal sums and equal counts tell that a queue group got each once.
    pub(crate) sum: u64,
    bytes: Range<usize>,
}

impl Script {
    /// One message for each subject, in this order, over again until `length` messages are reached.
    pub(crate) fn new(subjects: &[String], length: usize, payload: usize) -> Self {
        let message = |number: usize| Message {
            subject: subjects[number % subjects.len()].clone(),
            payload: filling(number, payload),
        };
        let mut script = Self { messages: (0..length).map(message).collect(), bytes: Vec::new(), chunks: Vec::new() };
        script.lay_out();
        script
    }

    /// One message after the other on one subject, as many as fill one write.
    pub(crate) fn one_chunk(subject: &str, payload: usize) -> Self {
        let frame = format!("PUB {subject} {payload}\r\n\r\n").len() + payload;
        Self::new(&[subject.to_owned()], CHUNK / frame, payload)
    }

    /// The writes of which the cycle consists.
    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The bytes of one write.
    pub(crate) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        &self.bytes[chunk.bytes.clone()]
    }

    /// Bytes of a message as it is published, on average.
    pub(crate) fn message_size(&self) -> usize {
        self.bytes.len() / self.messages.len()
    }

    /// The frames a subscriber receives for one cycle, by the number of the subscription each subject goes to.
    /// `prefix` is what comes before the subjects.
    pub(crate) fn frames(&self, prefix: &str, subscription: impl Fn(&str) -> usize) -> Frames {
        let mut frames = Frames { bytes: Vec::new(), ends: Vec::with_capacity(self.messages.len()), number_at: 0 };
        for Message { subject, payload } in &self.messages {
            let line = format!("MSG {prefix}{subject} {} {}\r\n", subscription(subject), payload.len());
            frames.number_at = line.len();
            frames.bytes.extend_from_slice(line.as_bytes());
            frames.bytes.extend_from_slice(payload);
            frames.bytes.extend_from_slice(b"\r\n");
            frames.ends.push(frames.bytes.len());
        }
        frames
    }

    /// Writes the cycle out and cuts it into chunks of whole messages.
    fn lay_out(&mut self) {
        let mut chunk = Chunk { messages: 0, sum: 0, bytes: 0..0 };
        for (number, Message { subject, payload }) in self.messages.iter().enumerate() {
            let line = format!("PUB {subject} {}\r\n", payload.len());
            if chunk.bytes.len() + line.len() + payload.len() + 2 > CHUNK {
                self.chunks.push(chunk);
                chunk = Chunk { messages: 0, sum: 0, bytes: self.bytes.len()..self.bytes.len() };
            }
            self.bytes.extend_from_slice(line.as_bytes());
            self.bytes.extend_from_slice(payload);
            self.bytes.extend_from_slice(b"\r\n");
            chunk.messages += 1;
            chunk.sum += number as u64;
            chunk.bytes.end = self.bytes.len();
        }
        self.chunks.push(chunk);
    }
}

/// A payload: its number, then bytes of every value, ends of lines among them.
fn filling(number: usize, size: usize) -> Vec<u8> {
    let mut payload = format!("{number:0DIGITS$x}").into_bytes();
    let mut state = number as u32 | 1;
    while payload.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        payload.push((state >> 24) as u8);
    }
    payload.truncate(size);
    payload
}

/// The frames a subscriber must receive for one cycle of a script.
pub(crate) struct Frames {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where in a frame the message's number begins; the same in all, where it matters.
    number_at: usize,
}

impl Frames {
    fn get(&self, number: usize) -> Option<&[u8]> {
        let start = if number == 0 { 0 } else { *self.ends.get(number - 1)? };
        self.bytes.get(start..*self.ends.get(number)?)
    }

    /// The frame of whose message the start of these bytes bears the number.
    fn numbered(&self, bytes: &[u8]) -> Option<usize> {
        let digits = str::from_utf8(bytes.get(self.number_at..self.number_at + DIGITS)?).ok()?;
        usize::from_str_radix(digits, 16).ok()
    }
}

/// What to make of the bytes at the front of the inbox.
pub(crate) enum Found {
    /// A message, with its number.
    Message(u64),
    /// Not enough to tell.
    Partial,
    /// Something else, or the wrong message.
    Foreign,
}

/// Compares what arrives with the frames.
pub(crate) struct Verifier<'a> {
    frames: &'a Frames,
    /// The number of the next message, where all come in order; nothing in a queue group.
    next: Option<usize>,
}

impl<'a> Verifier<'a> {
    /// For a subscriber which gets every message, in order.
    pub(crate) fn ordered(frames: &'a Frames) -> Self {
        Self { frames, next: Some(0) }
    }

    /// For a member of a queue group, which gets any of them.
    pub(crate) fn unordered(frames: &'a Frames) -> Self {
        Self { frames, next: None }
    }

    /// Takes one frame off the inbox.
    pub(crate) fn take(&mut self, inbox: &mut Inbox) -> Found {
        let unread = inbox.unread();
        if unread.is_empty() {
            return Found::Partial;
        }
        let Some(number) = self.next.or_else(|| self.frames.numbered(unread)) else {
            return if unread.len() < self.frames.number_at + DIGITS { Found::Partial } else { Found::Foreign };
        };
        let Some(frame) = self.frames.get(number) else { return Found::Foreign };
        if !unread.starts_with(frame) {
            return if frame.starts_with(unread) { Found::Partial } else { Found::Foreign };
        }
        inbox.consume(frame.len());
        self.next = self.next.map(|number| if number + 1 == self.frames.ends.len() { 0 } else { number + 1 });
        Found::Message(number as u64)
    }

    /// What was to come, to go with an error.
    pub(crate) fn expectation(&self) -> Result<String> {
        let Some(number) = self.next else { return Ok("any of the group's messages".to_owned()) };
        let frame = self.frames.get(number).ok_or("no such frame")?;
        Ok(format!("number {number} of the cycle: {}", frame[..frame.len().min(100)].escape_ascii()))
    }
}
