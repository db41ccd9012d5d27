//! A walk over the records of one file, which asks for the bytes it needs.

use std::fmt;

use super::frame::Frame;
use super::record::{ALIGN_BYTES, Bad, Record};
use super::{Disk, FileId};

/// Bytes read at once; a longer record is read as a whole.
pub const WINDOW_BYTES: usize = 64 * 1024;

/// Bytes of a file that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of which file.
    pub file: FileId,
    /// From where on.
    pub offset: u64,
    /// How many; fewer only where the file ends.
    pub len: usize,
}

impl Want {
    /// Reads them.
    ///
    /// # Errors
    /// When the file is gone or cannot be read.
    pub fn read(&self, disk: &mut dyn Disk) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; self.len];
        let mut filled = 0;
        while filled < self.len {
            let offset = self.offset + filled as u64;
            match disk.read(self.file, offset, &mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) => return Err(ReadError { file: self.file, offset, text: error.to_string() }),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// A file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Which.
    pub file: FileId,
    /// Where in it.
    pub offset: u64,
    /// What the system said.
    pub text: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.file, self.offset, self.text)
    }
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// A whole record at this offset: see [`Walk::record`].
    Record(u64),
    /// Bytes that are no record, from one offset to another.
    Damage(u64, u64),
    /// These bytes are to be handed to [`Walk::fill`].
    Want(Want),
    /// There is nothing more.
    End,
}

/// The same, with the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Record(u64, Record<'a>),
    Damage(u64, u64),
    End,
}

/// A walk over the records of one file. Damaged bytes cost the records they belong to: it goes on at the next whole one.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) file: FileId,
    pub(super) frame: Frame,
    /// Where the next record is looked for.
    at: u64,
    pub(super) end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// The file has nothing after the window.
    last_window: bool,
    /// Where the record before ended: what is between is damage.
    sound_to: u64,
    /// The record that was found last: where, and how long.
    found: (u64, usize),
    /// The record that was decrypted last, in its place in the window: where, and how long.
    opened: Option<(u64, usize)>,
}

impl Walk {
    /// From `at` up to `end` (or the end of the file).
    pub(super) fn new(file: FileId, frame: &Frame, at: u64, end: Option<u64>) -> Self {
        Self {
            file,
            frame: frame.clone(),
            at,
            end: end.unwrap_or(u64::MAX),
            window: Vec::new(),
            window_at: at,
            last_window: false,
            sound_to: at,
            found: (at, 0),
            opened: None,
        }
    }

    /// Where the next record is looked for.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Goes back to a record that was just found.
    pub(super) fn back_to(&mut self, at: u64) {
        (self.at, self.sound_to) = (at, at);
    }

    /// Bytes that are there from the current place on.
    fn rest(&self) -> &[u8] {
        &self.window[((self.at - self.window_at) as usize).min(self.window.len())..]
    }

    /// On to the next record.
    pub(super) fn advance(&mut self) -> Move {
        loop {
            if self.at >= self.end || (self.last_window && self.rest().is_empty()) {
                return Move::End;
            }
            if let Some((_, length)) = self.opened.filter(|&(at, _)| at == self.at) {
                return self.come_to(length);
            }
            match self.frame.check(self.rest()) {
                Ok(length) if self.open(length) => return self.come_to(length),
                Err(Bad::Short(count)) if !self.last_window && count as u64 <= self.end - self.at => {
                    return Move::Want(self.want(count));
                }
                Ok(_) | Err(_) => self.skip(),
            }
        }
    }

    /// Decrypts the record at the current place; whether it can be.
    fn open(&mut self, length: usize) -> bool {
        let start = (self.at - self.window_at) as usize;
        let opened = self.window.get_mut(start..start + length).is_some_and(|whole| self.frame.open(self.at, whole));
        self.opened = opened.then_some((self.at, length));
        opened
    }

    fn come_to(&mut self, length: usize) -> Move {
        let at = self.at;
        if at > self.sound_to {
            return Move::Damage(std::mem::replace(&mut self.sound_to, at), at);
        }
        self.found = (at, length);
        self.at += length.next_multiple_of(ALIGN_BYTES) as u64;
        self.sound_to = self.at;
        Move::Record(at)
    }

    /// The record that was found last.
    pub(super) fn record(&self) -> Option<Record<'_>> {
        let (at, length) = self.found;
        let start = (at - self.window_at) as usize;
        self.frame.parse(self.window.get(start..start + length)?).ok()
    }

    /// What must follow the window so that `count` bytes from the current place on are there.
    fn want(&self, count: usize) -> Want {
        let have = self.rest().len();
        let whole = (count.max(WINDOW_BYTES) as u64).min(self.end - self.at) as usize;
        Want { file: self.file, offset: self.at + have as u64, len: whole - have }
    }

    /// What was wanted; where it is shorter, the file ends.
    pub(super) fn fill(&mut self, want: Want, bytes: &[u8]) {
        self.window.drain(..self.window.len() - self.rest().len());
        self.window_at = self.at;
        if self.window.capacity() > 2 * WINDOW_BYTES {
            self.window.shrink_to(WINDOW_BYTES);
        }
        self.window.reserve_exact(bytes.len());
        self.window.extend_from_slice(bytes);
        self.last_window = bytes.len() < want.len || self.window_at + self.window.len() as u64 >= self.end;
    }

    /// On to the next place where a record may start: not a zero.
    fn skip(&mut self) {
        self.at += ALIGN_BYTES as u64;
        let zeros = self.rest().iter().position(|&b| b != 0).unwrap_or(self.rest().len());
        self.at += (zeros / ALIGN_BYTES * ALIGN_BYTES) as u64;
    }

    /// The next record, or the damage before it, read at once.
    pub(super) fn next(&mut self, disk: &mut dyn Disk) -> Result<Step<'_>, ReadError> {
        loop {
            match self.advance() {
                Move::Want(want) => {
                    let bytes = want.read(disk)?;
                    self.fill(want, &bytes);
                }
                Move::Damage(from, to) => return Ok(Step::Damage(from, to)),
                Move::End => return Ok(Step::End),
                Move::Record(at) => {
                    return Ok(self.record().map_or(Step::Damage(at, self.at), |record| Step::Record(at, record)));
                }
            }
        }
    }
}
