//! What the kernel tells of a running process.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use crate::Result;

/// A tick of the times in /proc/PID/stat: USER_HZ, which is 100 on every Linux worth measuring on. The sum of user and
/// system time is exact to the tick, for the kernel scales both to the time it scheduled.
const TICK: Duration = Duration::from_millis(10);

/// User plus system time of all threads so far, ended ones included.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    cpu_fields(pid, 2)
}

/// The sum of so many of the times in /proc/PID/stat: user, system, the same of children waited for.
fn cpu_fields(pid: u32, count: usize) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may itself contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    let mut ticks = 0;
    for field in fields.split_ascii_whitespace().skip(11).take(count) {
        ticks += field.parse::<u32>()?;
    }
    Ok(TICK * ticks)
}

/// User plus system time of a process and of the children it has waited for.
pub(crate) fn cpu_time_with_children(pid: u32) -> Result<Duration> {
    cpu_fields(pid, 4)
}

/// User plus system time of everything on this machine, and what its host took away.
pub(crate) fn cpu_time_of_all() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let mut ticks = 0;
    for (position, field) in fields.enumerate() {
        // In order: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        if matches!(position, 0..=2 | 7) {
            ticks += field.parse::<u32>()?;
        }
    }
    Ok(TICK * ticks)
}

/// Resident memory now, in KiB.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    status_kib(pid, "VmRSS:")
}

/// The most resident memory there ever was, in KiB.
pub(crate) fn peak_resident(pid: u32) -> Result<u64> {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, key: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let figure = line.and_then(|rest| rest.split_ascii_whitespace().next());
    Ok(figure.ok_or_else(|| format!("/proc/{pid}/status has no {key}"))?.parse()?)
}

/// The sockets a process holds, as the links in /proc/PID/fd and what they point to.
pub(crate) fn sockets(pid: u32) -> Result<BTreeSet<(PathBuf, PathBuf)>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let link = entry?.path();
        // One closed between the listing and now is no error.
        let Ok(target) = fs::read_link(&link) else { continue };
        if target.to_string_lossy().starts_with("socket:") {
            found.insert((link, target));
        }
    }
    Ok(found)
}
