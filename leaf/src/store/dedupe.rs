//! Message ids of the last while, so that what a publisher sends twice is kept once.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use super::{Seq, Time};

/// Ids remembered at most; then the oldest are forgotten early.
pub(super) const IDS_MAX: usize = 1_000_000;

/// An id is remembered as 128 bits that depend on a secret, so that nobody can make two that meet.
type Digest = u128;

#[derive(Debug)]
pub(super) struct Dedupe {
    window: Time,
    low: FixedState,
    high: FixedState,
    found: HashMap<Digest, Seq, FixedState>,
    order: VecDeque<(Time, Digest)>,
}

impl Dedupe {
    /// `window` in nanoseconds; 0 for none.
    pub(super) fn new(window: Time, seed: u64) -> Self {
        Self {
            window,
            low: FixedState::with_seed(seed),
            high: FixedState::with_seed(!seed),
            found: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
        }
    }

    fn digest(&self, id: &[u8]) -> Digest {
        Digest::from(self.low.hash_one(id)) | Digest::from(self.high.hash_one(id)) << 64
    }

    /// The earliest time that still counts.
    pub(super) fn since(&self, now: Time) -> Time {
        now.saturating_sub(self.window)
    }

    pub(super) fn is_on(&self) -> bool {
        self.window > 0
    }

    /// The message that has this id.
    pub(super) fn find(&mut self, now: Time, id: &[u8]) -> Option<Seq> {
        let since = self.since(now);
        while self.order.len() > IDS_MAX || self.order.front().is_some_and(|&(time, _)| time < since) {
            if let Some((_, digest)) = self.order.pop_front() {
                self.found.remove(&digest);
            }
        }
        self.found.get(&self.digest(id)).copied()
    }

    pub(super) fn insert(&mut self, time: Time, id: &[u8], seq: Seq) {
        let digest = self.digest(id);
        if self.found.insert(digest, seq).is_none() {
            self.order.push_back((time, digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_after_the_window() {
        let mut ids = Dedupe::new(10, 1);
        ids.insert(100, b"a", 1);
        ids.insert(105, b"b", 2);
        assert_eq!((ids.find(110, b"a"), ids.find(110, b"b"), ids.find(110, b"c")), (Some(1), Some(2), None));
        assert_eq!((ids.find(111, b"a"), ids.find(111, b"b")), (None, Some(2)));
        assert_eq!(ids.order.len(), 1);
    }
}
