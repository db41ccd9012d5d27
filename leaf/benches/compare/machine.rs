//! The machine the figures belong to, and what it allows.

use std::{
    fs, process, thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Result, procfs};

/// One line: processor, cores, memory, kernel.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or(0, |count| count.get());
    let memory_kib: u64 =
        field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
    format!(
        "{}, {cores} cores, {:.0} GiB, Linux {}",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        memory_kib as f64 / (1024.0 * 1024.0),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    )
}

/// The first `key: value` of a file in /proc.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Lets this process, and the servers it starts, open this many files, as far as the system permits.
pub(crate) fn raise_descriptor_limit(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    // Raising the hard limit takes privilege; up to it takes none.
    let reachable = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    for (current, maximum) in [(wanted, limit.maximum.map(|maximum| maximum.max(wanted))), (reachable, limit.maximum)] {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).is_ok() {
            return;
        }
    }
}

/// How many files a process may have open.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Watches what else runs on the machine, for it spoils figures.
pub(crate) struct Bystanders {
    start: Instant,
    all: Duration,
    own: Duration,
}

impl Bystanders {
    /// Starts to watch.
    pub(crate) fn watch() -> Result<Self> {
        let own = procfs::cpu_time_with_children(process::id())?;
        Ok(Self { start: Instant::now(), all: procfs::cpu_time_of_all()?, own })
    }

    /// How many cores all but this process and its servers, which must have ended, kept busy on average.
    pub(crate) fn cores(&self) -> Result<f64> {
        let all = procfs::cpu_time_of_all()?.saturating_sub(self.all);
        let own = procfs::cpu_time_with_children(process::id())?.saturating_sub(self.own);
        Ok(all.saturating_sub(own).as_secs_f64() / self.start.elapsed().as_secs_f64())
    }
}
