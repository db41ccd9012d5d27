//! A segment written again, without what nobody needs: whatever moment a crash chooses, one of the two counts as a whole.

use super::frame::Frame;
use super::record::Record;
use super::segment::{DATA_OFFSET, Head};
use super::{FileId, Kind, Op, Seq, Time};

/// The next generation of a segment, while it is put together.
#[derive(Debug)]
pub(super) struct Rewrite {
    old: FileId,
    head: Head,
    /// Where `body` will stand.
    at: u64,
    /// Records that are not written yet.
    body: Vec<u8>,
    last: Seq,
}

impl Rewrite {
    pub(super) fn new(old: &Head, frame: Frame) -> Self {
        let file = FileId { generation: old.file.generation + 1, ..old.file };
        let head = Head { file, frame, ..old.clone() };
        let last = old.first_seq.saturating_sub(1);
        Self { old: old.file, head, at: DATA_OFFSET, body: Vec::new(), last }
    }

    /// Takes a record over.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        if !matches!(record.kind, Kind::Pad | Kind::Footer | Kind::Erased) {
            self.head.frame.encode(record, self.at, &mut self.body);
        }
        self.last = self.last.max(record.seq);
    }

    /// Bytes that are not written yet.
    pub(super) fn waiting(&self) -> usize {
        self.body.len()
    }

    /// Writes what was put together so far; nothing of it counts yet.
    pub(super) fn piece(&mut self) -> Vec<Op> {
        let (new, at) = (self.head.file, self.at);
        self.at += self.body.len() as u64;
        vec![Op::Write(new, at, std::mem::take(&mut self.body)), Op::Sync(new)]
    }

    /// Ends the records; `last` is the last message before or in the segment. Returns where they end.
    pub(super) fn end(&mut self, last: Seq, now: Time) -> u64 {
        self.last = self.last.max(last);
        self.head.frame.pad(self.last, now, self.at, &mut self.body);
        let end = self.at + self.body.len() as u64;
        self.head.own_end = Some(end);
        end
    }

    /// The last writes. The head comes at the very end, so that a file with a head is whole.
    pub(super) fn seal(&mut self) -> Vec<Op> {
        let mut ops = self.piece();
        let new = self.head.file;
        ops.extend([Op::Write(new, 0, self.head.encode()), Op::Sync(new), Op::SyncDir]);
        ops
    }

    /// Everything at once, for few records; then the old file goes.
    pub(super) fn ops(mut self, now: Time) -> Vec<Op> {
        let end = self.end(self.last, now);
        let mut ops = vec![Op::Create(self.head.file, end)];
        ops.extend(self.seal());
        ops.extend([Op::Remove(self.old), Op::SyncDir]);
        ops
    }
}
