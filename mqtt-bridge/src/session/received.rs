//! The packet identifiers of QoS 2 messages that were taken and not yet released.

use heapless::Vec as Inline;

/// Kept in place: most clients have a few.
const FEW: usize = 16;
/// A bit for each packet identifier.
const WORDS: usize = 65_536 / 64;

#[derive(Debug)]
pub(super) enum ReceivedIds {
    Few(Inline<u16, FEW>),
    Many { bits: Box<[u64; WORDS]>, count: usize },
}

impl Default for ReceivedIds {
    fn default() -> Self {
        Self::Few(Inline::new())
    }
}

impl ReceivedIds {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(ids) => ids.len(),
            Self::Many { count, .. } => *count,
        }
    }

    pub(super) fn contains(&self, id: u16) -> bool {
        match self {
            Self::Few(ids) => ids.contains(&id),
            Self::Many { bits, .. } => bits[usize::from(id) / 64] & 1 << (id % 64) != 0,
        }
    }

    /// Adds one; says whether it was not there.
    pub(super) fn insert(&mut self, id: u16) -> bool {
        if self.contains(id) {
            return false;
        }
        match self {
            Self::Few(ids) => {
                if ids.push(id).is_err() {
                    let mut bits = Box::new([0; WORDS]);
                    for &id in ids.iter().chain([&id]) {
                        bits[usize::from(id) / 64] |= 1 << (id % 64);
                    }
                    *self = Self::Many { bits, count: FEW + 1 };
                }
            }
            Self::Many { bits, count } => {
                bits[usize::from(id) / 64] |= 1 << (id % 64);
                *count += 1;
            }
        }
        true
    }

    /// Removes one; says whether it was there.
    pub(super) fn remove(&mut self, id: u16) -> bool {
        if !self.contains(id) {
            return false;
        }
        match self {
            Self::Few(ids) => ids.retain(|have| *have != id),
            Self::Many { bits, count } => {
                bits[usize::from(id) / 64] &= !(1 << (id % 64));
                *count -= 1;
                if *count == 0 {
                    *self = Self::default();
                }
            }
        }
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|&id| self.len() > 0 && self.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain set, past the number kept in place and back to none.
    #[test]
    fn is_a_set() {
        let mut ids = ReceivedIds::default();
        let mut model = std::collections::BTreeSet::new();
        let mut draw = 7u32;
        for round in 0..20_000u32 {
            draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (draw >> 16) as u16 % 50;
            if (round / 1000).is_multiple_of(2) {
                assert_eq!(ids.insert(id), model.insert(id));
            } else {
                assert_eq!(ids.remove(id), model.remove(&id));
            }
            assert_eq!(ids.len(), model.len());
        }
        assert!(ids.iter().eq(model.iter().copied()));
    }
}
