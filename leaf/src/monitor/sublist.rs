//! How the table of subscriptions is doing, for one account or several.

use serde::Serialize;

use crate::account::Account;

#[derive(Debug, Default, Serialize)]
pub(super) struct SublistStats {
    num_subscriptions: usize,
    num_cache: usize,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: f64,
    max_fanout: usize,
    avg_fanout: f64,
}

impl SublistStats {
    /// The sums over `accounts`.
    pub(super) fn of<'a>(accounts: impl Iterator<Item = &'a Account>) -> Self {
        let mut stats = Self::default();
        let (mut hits, mut fanouts) = (0, 0);
        for interest in accounts.map(|account| &account.interest) {
            let counters = interest.counters();
            let (max, sum) = interest.cached_fanout();
            stats.num_subscriptions += interest.len();
            stats.num_cache += interest.cached();
            stats.num_inserts += counters.inserts;
            stats.num_removes += counters.removes;
            stats.num_matches += counters.matches;
            stats.max_fanout = stats.max_fanout.max(max);
            hits += counters.cache_hits;
            fanouts += sum;
        }
        stats.cache_hit_rate = share(hits as f64, stats.num_matches as f64);
        stats.avg_fanout = share(fanouts as f64, stats.num_cache as f64);
        stats
    }
}

/// A part of a whole; 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}
