//! When to give the memory of a table back.

/// An attempt walks over the whole table, and may free nothing when the last place is taken. So there is one only when
/// the table is three quarters empty, and another when half of the rest has gone, or after it was half full again.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    /// How many there were at the last attempt.
    attempted: Option<usize>,
}

impl Thrift {
    /// Asked after each removal; `least` is a capacity that is never worth it.
    pub(super) fn is_due(&mut self, len: usize, capacity: usize, least: usize) -> bool {
        if len >= capacity / 2 {
            self.attempted = None;
        }
        if capacity <= least || len >= capacity / 4 || self.attempted.is_some_and(|before| len > before / 2) {
            return false;
        }
        self.attempted = Some(len);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million leave, and nothing is freed: the last place stays taken.
    #[test]
    fn attempts_are_few() {
        let mut thrift = Thrift::default();
        let attempts = (0..1_000_000).rev().filter(|&len| thrift.is_due(len, 1_000_000, 4096)).count();
        assert!((10..25).contains(&attempts), "{attempts}");
    }

    /// Back and forth over the quarter.
    #[test]
    fn a_few_more_and_a_few_less_are_no_reason() {
        let mut thrift = Thrift::default();
        let lens = [249_999, 250_001, 249_999, 250_001, 249_999];
        assert_eq!(lens.map(|len| thrift.is_due(len, 1_000_000, 4096)), [true, false, false, false, false]);
        assert!(!thrift.is_due(500_000, 1_000_000, 4096));
        assert!(thrift.is_due(249_999, 1_000_000, 4096));
    }

    #[test]
    fn small_tables_stay() {
        assert!(!Thrift::default().is_due(0, 4096, 4096));
    }
}
