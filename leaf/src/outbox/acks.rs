//! Publishers who wait for their message to be on disk.

use std::collections::VecDeque;

use crate::store::{Appended, Seq};

/// Bytes of reply subjects that may wait at most; then publishers who want an answer are refused.
pub(super) const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Who waits, in the order of their commits: one allocation for all of them.
#[derive(Debug, Default)]
pub(super) struct Acks {
    entries: VecDeque<Entry>,
    replies: VecDeque<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    appended: Appended,
    reply_len: u32,
}

impl Acks {
    /// Whether one more fits.
    pub(super) fn has_room(&self, reply: &[u8]) -> bool {
        self.replies.len() + reply.len() <= REPLY_BYTES_MAX
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Somebody waits for a commit to be done.
    pub(super) fn push(&mut self, appended: Appended, reply: &[u8]) {
        self.replies.extend(reply);
        self.entries.push_back(Entry { appended, reply_len: reply.len() as u32 });
    }

    /// The next whose commit `done` says is down: its number, whether it was there before, and its reply subject.
    pub(super) fn pop(&mut self, done: impl Fn(u64) -> bool, reply: &mut Vec<u8>) -> Option<(Seq, bool)> {
        let entry = *self.entries.front().filter(|entry| done(entry.appended.commit))?;
        self.entries.pop_front();
        reply.clear();
        reply.extend(self.replies.drain(..entry.reply_len as usize));
        if self.entries.is_empty() {
            // A burst is over: its memory goes back.
            self.entries.shrink_to(64);
            self.replies.shrink_to(4096);
        }
        Some((entry.appended.seq, entry.appended.duplicate))
    }

    /// Everybody waits in vain; they will ask again.
    pub(super) fn forget(&mut self) -> usize {
        let len = self.len();
        *self = Self::default();
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_order_and_not_before_the_commit() {
        let mut acks = Acks::default();
        let appended = |seq, commit| Appended { seq, commit, duplicate: seq == 2 };
        acks.push(appended(1, 1), b"r.1");
        acks.push(appended(2, 1), b"reply.2");
        acks.push(appended(3, 2), b"r");
        let mut reply = Vec::new();
        assert_eq!(acks.pop(|_| false, &mut reply), None);
        assert_eq!((acks.pop(|commit| commit <= 1, &mut reply), &reply[..]), (Some((1, false)), &b"r.1"[..]));
        assert_eq!((acks.pop(|commit| commit <= 1, &mut reply), &reply[..]), (Some((2, true)), &b"reply.2"[..]));
        assert_eq!(acks.pop(|commit| commit <= 1, &mut reply), None);
        assert_eq!((acks.pop(|commit| commit <= 2, &mut reply), &reply[..]), (Some((3, false)), &b"r"[..]));
        assert_eq!((acks.len(), acks.has_room(&[0; REPLY_BYTES_MAX]), acks.has_room(&[0; REPLY_BYTES_MAX + 1])), {
            (0, true, false)
        });
    }
}
