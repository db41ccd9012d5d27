//! Servers that are killed and started again on the same ports and directories.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A real nats-server. `None`, said aloud, when there is none; with `PETIOLE_REQUIRE_PEERS` set that fails.
pub(crate) fn peer() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|p| p.is_file()));
    if found.is_none() {
        assert!(
            std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
            "no nats-server on the PATH or in NATS_SERVER, and PETIOLE_REQUIRE_PEERS is set: run .ci/install"
        );
        eprintln!("SKIPPED: no nats-server on the PATH or in NATS_SERVER to forward to");
    }
    found
}

pub(crate) struct Process {
    program: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A server with this configuration, in which `<DIR>` stands for its directory. It is not started yet.
    pub(crate) fn new(program: &Path, name: &str, config: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("petiole-test-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("s.conf"), config.replace("<DIR>", dir.to_str().unwrap())).unwrap();
        Self { program: program.to_owned(), dir, child: None }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&mut self, port: u16) {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.dir.join("s.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < STARTED_WITHIN, "{} does not start", self.program.display());
            assert!(child.try_wait().unwrap().is_none(), "{} has ended: {}", self.program.display(), self.tail());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.child = Some(child);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether a line of its log has this.
    pub(crate) fn logged(&self, text: &str) -> bool {
        std::fs::read_to_string(self.dir.join("leaf.log")).unwrap_or_default().contains(text)
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("leaf.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
