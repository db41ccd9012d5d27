//! What this process takes of its machine, as Linux tells in `/proc`. What it does not tell is 0.

use std::cell::Cell;
use std::fs::read_to_string;

use crate::node::{Nanos, SECOND};

/// Linux counts processor time in this many ticks a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
/// Over less than this, ticks are too coarse to tell a percentage.
const SAMPLE_NANOS_MIN: Nanos = SECOND;

/// What is in use now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Resident memory.
    pub(super) rss_bytes: u64,
    /// Of one core, since the sample before.
    pub(super) cpu_percent: f64,
    /// Since the start.
    pub(super) cpu_seconds: f64,
}

/// Remembers the last sample, to tell how much there was since.
#[derive(Debug, Default)]
pub(super) struct Process {
    sample: Cell<Sample>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Nanos,
    cpu_seconds: f64,
    percent: f64,
}

impl Process {
    /// What is in use at the time `now`.
    pub(super) fn usage(&self, now: Nanos) -> Usage {
        let cpu_seconds = read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)).unwrap_or(0.0);
        let rss_bytes = read_to_string("/proc/self/status").ok().and_then(|status| rss_bytes(&status)).unwrap_or(0);
        let sample = self.sample.get().next(now, cpu_seconds);
        self.sample.set(sample);
        Usage { rss_bytes, cpu_percent: sample.percent, cpu_seconds }
    }
}

impl Sample {
    /// The sample at `now`; the old one if it is too early for another.
    fn next(self, now: Nanos, cpu_seconds: f64) -> Self {
        let span = now.saturating_sub(self.at);
        if span < SAMPLE_NANOS_MIN {
            return self;
        }
        let share = (cpu_seconds - self.cpu_seconds) / (span as f64 / SECOND as f64);
        // One decimal, as precise as the ticks allow.
        Self { at: now, cpu_seconds, percent: (share * 1000.0).round() / 10.0 }
    }
}

/// User and system time in the text of `/proc/self/stat`: fields 14 and 15. The second field, a name in
/// parentheses, may hold blanks and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Resident memory in the text of `/proc/self/status`. (`statm` counts in pages, whose size varies.)
fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 1 0 8 1 1";
        assert_eq!((cpu_seconds(stat), cpu_seconds("7 (a")), (Some(1.75), None));
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    5120 kB\nThreads:\t1\n"), Some(5120 * 1024));
        assert_eq!(rss_bytes("Name:\tx\n"), None);
        let usage = Process::default().usage(SECOND);
        assert!(usage.rss_bytes > 0 && usage.cpu_percent >= 0.0);
    }

    #[test]
    fn percentages_are_of_the_time_since() {
        let first = Sample::default().next(4 * SECOND, 1.0);
        assert_eq!(first.percent, 25.0);
        assert_eq!(first.next(4 * SECOND + 1, 1.5).percent, 25.0);
        assert_eq!(first.next(6 * SECOND, 4.0).percent, 150.0);
    }
}
