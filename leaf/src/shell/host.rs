//! What only the host knows: its clock, and what this process takes of it.

mod process;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::monitor::{HostFacts, RequestCounts};
use crate::node::Nanos;
use process::Process;

/// What is remembered between two looks.
#[derive(Debug)]
pub(super) struct Host {
    process: Process,
    cores: usize,
    /// Where monitoring listens.
    pub(super) monitor: Cell<Option<SocketAddr>>,
    /// Requests over HTTP.
    pub(super) requests: Cell<RequestCounts>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            process: Process::default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            monitor: Cell::default(),
            requests: Cell::default(),
        }
    }
}

impl Host {
    /// What there is to know at `now`.
    pub(super) fn facts(&self, now: Nanos) -> HostFacts {
        let usage = self.process.usage(now);
        HostFacts {
            now,
            // A clock before 1970 is as good as one that says 1970.
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i128,
            rss_bytes: usage.rss_bytes,
            cpu_percent: usage.cpu_percent,
            cpu_seconds: usage.cpu_seconds,
            cores: self.cores,
            monitor: self.monitor.get(),
            requests: self.requests.get(),
        }
    }
}
