//! What is recorded beside messages, encoded with postcard.

use serde::{Deserialize, Serialize};

use super::{Kind, Record, Seq, Time};

/// Something that happened to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Meta {
    /// A message is gone; its subject and what it counted, so that the figures can be kept without reading it.
    Deleted { seq: Seq, subject: Vec<u8>, bytes: u32 },
    /// Everything below is gone.
    Trimmed { first: Seq },
    /// What a peer keeps under a name: a cursor, a session.
    Put { key: Vec<u8>, value: Vec<u8> },
    /// Nothing is kept under the name any more.
    Dropped { key: Vec<u8> },
    /// Nothing is kept but what follows, if all of that batch is whole.
    Cleared,
    /// So many bytes were written for the log before this segment was begun.
    Worn { bytes: u64 },
    /// Of a draft only (see [`super::erase`]): a message that is overwritten, where its sectors start, what of them is before
    /// it and behind it, how long its record is.
    Erased {
        seq: Seq,
        subject: Vec<u8>,
        bytes: u32,
        time: Time,
        file: (u64, u32),
        salt: u32,
        at: u64,
        before: Vec<u8>,
        length: u32,
        after: Vec<u8>,
    },
}

impl Meta {
    /// Makes a record of it.
    pub(super) fn record<T>(&self, last: Seq, now: Time, then: impl FnOnce(&Record<'_>) -> T) -> T {
        // Only what cannot be encoded fails: nothing in these types.
        let bytes = postcard::to_allocvec(self).unwrap_or_default();
        then(&Record::other(Kind::Meta, last, now, &bytes))
    }
}

/// The index of a finished segment: a cache of what a scan finds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footer<'a> {
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) first_time: Time,
    pub(super) last_time: Time,
    /// Numbers in `first_seq..=last_seq` that are not there, as ranges with their ends.
    pub(super) missing: Vec<(Seq, Seq)>,
    pub(super) marks: Vec<Mark>,
    pub(super) bytes: u64,
    /// Each subject with how many messages are there, and the last of them with what it counts.
    #[serde(borrow)]
    pub(super) subjects: Vec<(&'a [u8], u32, (Seq, u32))>,
    /// What was recorded in this segment.
    pub(super) metas: Vec<Meta>,
    /// Messages with a deadline.
    pub(super) deadlines: u32,
    /// For a limit for each subject: the numbers of its messages with what they count, for each of `subjects`.
    pub(super) history: Option<Vec<Vec<(Seq, u32)>>>,
    /// The segment was damaged: as many records as are known to be lost.
    pub(super) lost: u64,
    /// Deletions recorded when the last message was below this one concern nothing in this file.
    pub(super) clean_since: Seq,
}

/// Where to start reading: one for each [`MARK_BYTES`] of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The first message at or after the offset.
    pub(super) seq: Seq,
    /// When it was appended.
    pub(super) time: Time,
    pub(super) offset: u32,
    /// Counted bytes of the messages before it in the segment.
    pub(super) bytes_before: u32,
}

/// Bytes of a segment between two marks.
pub(super) const MARK_BYTES: u64 = 64 * 1024;
