//! A bound on bytes a second, for links that cost money.

use crate::node::{Nanos, SECOND};

/// Lets bytes through at a rate, on average; a second's worth at once after a rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes a second; 0 for no bound.
    rate: u64,
    /// Everything sent so far is paid for at this moment.
    paid_at: Nanos,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, paid_at: 0 }
    }

    /// When the next bytes may go, if not now.
    pub(super) fn due(&self, now: Nanos) -> Option<Nanos> {
        (self.rate > 0 && self.paid_at > now + SECOND).then(|| self.paid_at - SECOND)
    }

    /// Bytes went.
    pub(super) fn spend(&mut self, now: Nanos, bytes: usize) {
        let Some(cost) = (bytes as u64).saturating_mul(SECOND).checked_div(self.rate) else { return };
        self.paid_at = self.paid_at.max(now).saturating_add(cost);
    }
}
