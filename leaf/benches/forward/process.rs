//! Servers as processes.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// A port that nobody has now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

pub(crate) fn nats_server() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file());
    found.ok_or_else(|| "no nats-server in NATS_SERVER or on the PATH".into())
}

/// A running server; killed when dropped, and its directory removed.
pub(crate) struct Server {
    child: Child,
    dir: PathBuf,
}

impl Server {
    pub(crate) fn start(program: &Path, name: &str, config: &str, port: u16) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("petiole-bench-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("s.conf"), config.replace("<DIR>", &dir.to_string_lossy()))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(dir.join("s.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.spawn()?, dir };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > STARTED_WITHIN {
                return Err(format!("{} does not start", program.display()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Resident memory, KiB.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most there ever was, KiB.
    pub(crate) fn peak_resident(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("no such line in status")?;
        Ok(line.split_whitespace().next().ok_or("no figure")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
