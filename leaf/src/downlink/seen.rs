//! Which messages of a stream have been here.

use serde::{Deserialize, Serialize};

use super::bug::{Bug, planted};
use crate::store::{Ranges, Seq, Time};

/// Stretches of numbers at most; beyond them the hub is asked for nothing until it has sent again what it waits for.
pub(super) const STRETCHES_MAX: usize = 8192;

/// All numbers up to a floor, below which the hub sends nothing any more, and some above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    floor: Seq,
    above: Ranges,
    /// When the newest of them was stored at the hub.
    newest: Time,
}

/// As it is kept in the log.
#[derive(Serialize, Deserialize)]
struct Kept {
    floor: Seq,
    above: Vec<(Seq, Seq)>,
    newest: Time,
}

impl Seen {
    /// From its bytes; nothing if they are none of ours.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Ok(kept) = postcard::from_bytes::<Kept>(bytes) else { return Self::default() };
        let mut above = Ranges::default();
        kept.above.into_iter().for_each(|(first, last)| above.insert(first, last));
        Self { floor: kept.floor, above, newest: kept.newest }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let kept = Kept { floor: self.floor, above: self.above.iter().collect(), newest: self.newest };
        // Only what cannot be encoded fails: nothing in these types.
        postcard::to_allocvec(&kept).unwrap_or_default()
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        if planted(Bug::HighWaterMark) {
            return seq <= self.above.iter().next_back().map_or(self.floor, |(_, last)| last);
        }
        seq <= self.floor || self.above.contains(seq)
    }

    /// Whether a message with this number, stored at this moment, cannot be the one that was here: in a stream, what comes
    /// later has a higher number. The stream was made anew.
    pub(super) fn is_outdated_by(&self, seq: Seq, time: Time) -> bool {
        self.contains(seq) && time > self.newest
    }

    pub(super) fn insert(&mut self, seq: Seq, time: Time) {
        self.newest = self.newest.max(time);
        if !(seq <= self.floor || self.above.contains(seq)) {
            self.above.insert(seq, seq);
        }
    }

    /// The hub sends nothing up to `floor` any more.
    pub(super) fn raise(&mut self, floor: Seq) {
        if floor > self.floor {
            self.floor = floor;
            self.above.cut(floor + 1);
        }
    }

    pub(super) fn stretches(&self) -> usize {
        self.above.iter().count()
    }

    /// The highest number.
    pub(super) fn last(&self) -> Seq {
        self.above.iter().next_back().map_or(self.floor, |(_, last)| last)
    }

    /// The numbers above the floor, `most` of them at most.
    pub(super) fn above(&self, most: usize) -> impl Iterator<Item = Seq> + '_ {
        self.above.iter().flat_map(|(first, last)| first..=last).take(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_was_here_and_survives_its_own_bytes() {
        let mut seen = Seen::default();
        for seq in [3, 4, 7, 5, 4] {
            seen.insert(seq, 100 + seq as Time);
        }
        assert!(seen.contains(5) && !seen.contains(6) && !seen.contains(2));
        assert_eq!((seen.stretches(), seen.last(), seen.above(9).collect::<Vec<_>>()), (2, 7, vec![3, 4, 5, 7]));
        assert_eq!(Seen::decode(&seen.encode()), seen);
        seen.raise(4);
        assert_eq!((seen.contains(1), seen.above(9).collect::<Vec<_>>()), (true, vec![5, 7]));
        seen.raise(2);
        assert!(seen.contains(4), "a floor does not sink");
        seen.raise(9);
        assert_eq!((seen.stretches(), seen.last()), (0, 9));
        assert_eq!(Seen::decode(b"no"), Seen::default());
    }

    #[test]
    fn a_stream_made_anew_is_noticed() {
        let mut seen = Seen::default();
        seen.insert(3, 100);
        assert!(!seen.is_outdated_by(3, 100), "the same again");
        assert!(!seen.is_outdated_by(4, 200), "a new one");
        assert!(seen.is_outdated_by(3, 200));
    }
}
