//! A segment written again, without what nobody needs: whatever moment a crash chooses, one of the two counts as a whole.

use super::record::{self, Record};
use super::segment::{DATA_OFFSET, Head};
use super::{FileId, Kind, Op, Seq, Time};

/// The next generation of a segment, while it is put together.
#[derive(Debug)]
pub(super) struct Rewrite {
    old: FileId,
    head: Head,
    /// Its records.
    body: Vec<u8>,
    last: Seq,
}

impl Rewrite {
    pub(super) fn new(old: &Head, salt: u32) -> Self {
        let file = FileId { generation: old.file.generation + 1, ..old.file };
        let head = Head { file, salt, ..*old };
        Self { old: old.file, head, body: Vec::new(), last: old.first_seq.saturating_sub(1) }
    }

    /// Takes a record over; says where it will stand.
    pub(super) fn add(&mut self, record: &Record<'_>) -> u64 {
        let at = DATA_OFFSET + self.body.len() as u64;
        if !matches!(record.kind, Kind::Pad | Kind::Footer) {
            record.encode(self.head.salt, &mut self.body);
        }
        self.last = self.last.max(record.seq);
        at
    }

    /// What the disk must do. The head comes last, so that a file with a head is whole; then the old one goes.
    pub(super) fn ops(mut self, now: Time) -> (Head, Vec<Op>) {
        record::pad(self.head.salt, self.last, now, &mut self.body);
        let (new, end) = (self.head.file, DATA_OFFSET + self.body.len() as u64);
        self.head.own_end = Some(end);
        let ops = vec![
            Op::Create(new, end),
            Op::Write(new, DATA_OFFSET, self.body),
            Op::Sync(new),
            Op::Write(new, 0, self.head.encode()),
            Op::Sync(new),
            Op::SyncDir,
            Op::Remove(self.old),
            Op::SyncDir,
        ];
        (self.head, ops)
    }
}
