//! What waits to be written: at the end of the log, in the order in which it must get there.

use std::collections::VecDeque;

use super::bug::{Bug, planted};
use super::frame::{Frame, SEALED_BYTES_MORE};
use super::meta::Meta;
use super::record::HEAD_BYTES;
use super::{FileId, Op, Record, SECTOR_BYTES, Seq, Time};

/// Bytes that closing a unit adds at most: what was trimmed, and a pad.
pub(super) const CLOSE_BYTES_MAX: u64 = (SECTOR_BYTES + 2 * (HEAD_BYTES + SEALED_BYTES_MORE) + 16) as u64;

/// One step on the disk; the next begins when it is done.
#[derive(Debug)]
pub(super) enum Unit {
    /// Records for one segment.
    Data(Data),
    /// A segment follows another: nothing of it counts before this is done.
    Rotate(Vec<Op>),
    /// Segments that nobody needs.
    Remove(Vec<Op>),
}

/// Records of one segment that go down together.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) file: FileId,
    pub(super) frame: Frame,
    /// Where they go: on a sector's start.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// The last message before or in it.
    pub(super) last: Seq,
    /// When its first record came.
    pub(super) since: Time,
    /// The number of its commit.
    pub(super) number: u64,
    /// Nothing can be added.
    pub(super) closed: bool,
}

impl Data {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn add(&mut self, record: &Record<'_>) {
        self.frame.encode(record, self.offset, &mut self.bytes);
    }

    /// Says that messages below a number are gone, and fills the last sector up.
    pub(super) fn close(&mut self, now: Time, trimmed: Option<Seq>) {
        if !self.closed {
            if let Some(first) = trimmed {
                Meta::Trimmed { first }.record(self.last, now, |record| self.add(record));
            }
            if !planted(Bug::SharedSector) {
                self.frame.pad(self.last, now, self.offset, &mut self.bytes);
            }
            self.closed = true;
        }
    }
}

/// The units that wait, first to go first.
#[derive(Debug, Default)]
pub(super) struct Tail {
    units: VecDeque<Unit>,
    numbered: u64,
}

impl Tail {
    pub(super) fn front(&self) -> Option<&Unit> {
        self.units.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Unit> {
        self.units.pop_front()
    }

    pub(super) fn push(&mut self, unit: Unit) {
        self.units.push_back(unit);
    }

    /// The step is to be tried again before anything else.
    pub(super) fn push_front(&mut self, unit: Unit) {
        self.units.push_front(unit);
    }

    /// The unit that takes more records, if there is one.
    pub(super) fn open(&mut self) -> Option<&mut Data> {
        self.units.iter_mut().rev().find_map(|unit| match unit {
            Unit::Data(data) if !data.closed => Some(data),
            _ => None,
        })
    }

    /// A unit that takes records of a segment from `offset` on.
    pub(super) fn start(&mut self, file: FileId, frame: Frame, offset: u64, last: Seq, now: Time) {
        self.numbered += 1;
        let number = self.numbered;
        self.units.push_back(Unit::Data(Data {
            file,
            frame,
            offset,
            bytes: Vec::new(),
            last,
            since: now,
            number,
            closed: false,
        }));
    }

    /// The number of the last commit that was begun.
    pub(super) fn number(&self) -> u64 {
        self.numbered
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.units.iter().map(|unit| if let Unit::Data(data) = unit { data.bytes.len() } else { 0 }).sum()
    }

    /// Appends a record to the open unit; there is one.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        if let Some(data) = self.open() {
            data.add(record);
            data.last = data.last.max(record.seq);
        }
    }

    /// Removals of files before `last` go first, in their order; says whether there were any.
    pub(super) fn hoist_removals(&mut self, last: FileId) -> bool {
        let before = |unit: &Unit| match unit {
            Unit::Remove(ops) => matches!(ops.first(), Some(Op::Remove(file)) if *file < last),
            _ => false,
        };
        let (mut first, others): (VecDeque<Unit>, VecDeque<Unit>) = self.units.drain(..).partition(before);
        let any = !first.is_empty();
        first.extend(others);
        self.units = first;
        any
    }
}
