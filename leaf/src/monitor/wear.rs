//! How long the flash lasts: what was written, against what it is said to take.

use serde::Serialize;

use super::View;
use crate::node::SECOND;

const DAY_SECONDS: f64 = 24.0 * 60.0 * 60.0;

/// The wear of the medium under `store_dir` by all logs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Wear {
    /// Bytes written since there are logs.
    pub(super) worn_bytes: u64,
    /// Bytes written since the start.
    pub(super) written_bytes: u64,
    /// `endurance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endurance_bytes: Option<u64>,
    /// What is left of it, at the rate since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) days_left: Option<f64>,
}

pub(super) fn of(view: &View<'_>) -> Wear {
    let (worn_bytes, written_bytes) = view.node.wear();
    let endurance_bytes = Some(view.node.config.endurance).filter(|&bytes| bytes > 0);
    let uptime = view.host.now as f64 / SECOND as f64;
    let days_left = endurance_bytes.and_then(|endurance| days_left(endurance, worn_bytes, written_bytes, uptime));
    Wear { worn_bytes, written_bytes, endurance_bytes, days_left }
}

/// `None` when nothing was written.
fn days_left(endurance: u64, worn: u64, written: u64, uptime_seconds: f64) -> Option<f64> {
    let left = endurance.saturating_sub(worn) as f64;
    (written > 0).then(|| left / written as f64 * uptime_seconds / DAY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_lasts_at_the_same_rate() {
        // 1 GB a day: 90 of 100 are left.
        assert_eq!(days_left(100_000_000_000, 10_000_000_000, 500_000_000, DAY_SECONDS / 2.0), Some(90.0));
        assert_eq!(days_left(10, 11, 1, 1.0), Some(0.0));
        assert_eq!(days_left(10, 0, 0, 1.0), None);
    }
}
