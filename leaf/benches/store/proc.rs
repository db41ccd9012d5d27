//! What the kernel tells of a process.

use std::fs;
use std::time::Duration;

use crate::Result;

/// User plus system time of all threads so far.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    let ticks: u32 = fields.split_ascii_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    Ok(Duration::from_millis(10) * ticks)
}

/// Bytes that it caused to be sent to a device.
pub(crate) fn written(pid: u32) -> Result<u64> {
    field(&format!("/proc/{pid}/io"), "write_bytes:")
}

/// Resident memory, KiB.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn field(path: &str, key: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).ok_or("a field is missing")?;
    Ok(line.split_whitespace().next().ok_or("an empty field")?.parse()?)
}
