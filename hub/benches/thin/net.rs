//! Two network namespaces with a thin link between them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Result;

/// How long a namespace or a device may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where side B is, seen from side A.
pub(crate) const B: &str = "10.99.0.2";

/// What the link is like.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) kbit: u32,
    pub(crate) rtt_ms: u32,
    pub(crate) loss_percent: u32,
    pub(crate) queue_bytes: u32,
}

impl Line {
    /// What share of the line so many bytes in this time are.
    pub(crate) fn share(&self, bytes: u64, time: Duration) -> f64 {
        bytes as f64 * 8.0 / (f64::from(self.kbit) * 1000.0) / time.as_secs_f64()
    }
}

/// What went over the link so far, in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// Of IP packets, the lost ones too.
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    /// On the way.
    pub(crate) lost: u64,
    /// Because the queue was full.
    pub(crate) dropped: u64,
}

impl Carried {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            packets: self.packets - before.packets,
            lost: self.lost - before.lost,
            dropped: self.dropped - before.dropped,
        }
    }
}

/// A namespace, held by a process that sleeps in it.
pub(crate) struct Side {
    holder: Child,
    file: File,
}

impl Side {
    fn new() -> Result<Self> {
        let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn()?;
        let path = format!("/proc/{}/ns/net", holder.id());
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        let started = Instant::now();
        while std::fs::read_link(&path).map_or(true, |theirs| theirs == ours) {
            if started.elapsed() > PATIENCE {
                return Err("no network namespace: this needs root".into());
            }
            sleep(Duration::from_millis(5));
        }
        let file = File::open(path)?;
        Ok(Self { holder, file })
    }

    /// Does something in the namespace: sockets and processes that are made there stay there.
    pub(crate) fn run<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| error.to_string())?;
            what().map_err(|error| error.to_string())
        };
        let done = scope(|threads| threads.spawn(inside).join()).map_err(|_| "a thread panicked")?;
        Ok(done?)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// See the [module](self).
pub(crate) struct Net {
    pub(crate) a: Side,
    pub(crate) b: Side,
    emulator: Child,
    answers: BufReader<ChildStdout>,
}

impl Net {
    pub(crate) fn new(line: Line) -> Result<Self> {
        let (a, b) = (Side::new()?, Side::new()?);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/thin/emulator.py");
        let mut command = Command::new("unshare");
        command.args(["--net", "python3"]).arg(script);
        let Line { kbit, rtt_ms, loss_percent, queue_bytes } = line;
        let numbers = [kbit, rtt_ms, loss_percent, queue_bytes, 1, a.holder.id(), b.holder.id()];
        command.args(numbers.map(|number| number.to_string())).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut emulator = command.spawn()?;
        let answers = BufReader::new(emulator.stdout.take().ok_or("no output")?);
        let mut net = Self { a, b, emulator, answers };
        if net.answer()? != "ready" {
            return Err("the emulator does not start".into());
        }
        Ok(net)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// From A to B, and from B to A.
    pub(crate) fn carried(&mut self) -> Result<(Carried, Carried)> {
        self.emulator.stdin.as_mut().ok_or("no input")?.write_all(b"\n")?;
        let counters: serde_json::Value = serde_json::from_str(&self.answer()?)?;
        let of = |way: &str| {
            let field = |name: &str| counters[way][name].as_u64().unwrap_or(0);
            Carried { bytes: field("bytes"), packets: field("packets"), lost: field("lost"), dropped: field("dropped") }
        };
        Ok((of("up"), of("down")))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}
