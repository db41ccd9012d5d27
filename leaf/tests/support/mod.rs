//! Servers as real processes, and a client that says and hears bytes.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
    dir: PathBuf,
}

impl Server {
    /// Our own leaf, on any free port.
    pub(crate) fn start(name: &str, config: &str) -> Self {
        Self::run(Path::new(env!("CARGO_BIN_EXE_petiole-leaf")), name, config)
    }

    /// A real nats-server. `None`, said aloud, when there is none; with `PETIOLE_REQUIRE_PEERS` set that fails.
    pub(crate) fn start_peer(name: &str, config: &str) -> Option<Self> {
        if let Some(program) = peer() {
            return Some(Self::run(&program, &format!("{name}-peer"), config));
        }
        assert!(
            std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
            "no nats-server on the PATH or in NATS_SERVER, and PETIOLE_REQUIRE_PEERS is set: run .ci/install"
        );
        eprintln!("SKIPPED: no nats-server on the PATH or in NATS_SERVER to compare with");
        None
    }

    fn run(program: &Path, name: &str, config: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("petiole-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("s.conf");
        std::fs::write(&file, listening(config)).unwrap();
        let child = Command::new(program)
            .args(["-c", file.to_str().unwrap(), "--ports_file_dir", dir.to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server_name = program.file_name().unwrap().to_str().unwrap();
        let ports = dir.join(format!("{server_name}_{}.ports", child.id()));
        let mut server = Self { child, port: 0, dir };
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            if let Some(port) = text.split(['"', ':']).find_map(|part| part.parse().ok()) {
                server.port = port;
                return server;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name}: the server did not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Writes the configuration anew and has it read.
    pub(crate) fn reload(&self, config: &str) {
        std::fs::write(self.dir.join("s.conf"), listening(config)).unwrap();
        self.signal("HUP");
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Resident memory, KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Any free port, whatever the configuration said.
fn listening(config: &str) -> String {
    let rest: String = config.lines().filter(|line| !line.starts_with("listen:")).map(|l| format!("{l}\n")).collect();
    format!("listen: \"127.0.0.1:-1\"\n{rest}")
}

fn peer() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file())
}

/// A connection that says what it is told and keeps what it hears.
pub(crate) struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, heard: Vec::new() }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Says as much as the server takes; whether that was all.
    pub(crate) fn try_say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads until `done`, or the end; gives all that was heard since the last time.
    fn hear(&mut self, what: &str, done: impl Fn(&str, bool) -> bool) -> String {
        let mut end = false;
        loop {
            let text = String::from_utf8_lossy(&self.heard).into_owned();
            if done(&text, end) {
                self.heard.clear();
                return text;
            }
            assert!(!end, "the connection ended before {what}; heard {text:?}");
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => end = true,
                Ok(n) => self.heard.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => end = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("waiting for {what}: {error}; heard {text:?}"),
            }
        }
    }

    pub(crate) fn until(&mut self, what: &str) -> String {
        self.hear(what, |text, _| text.contains(what))
    }

    /// Reads up to a PONG, or the end.
    pub(crate) fn until_pong_or_end(&mut self) -> String {
        self.hear("a PONG or the end", |text, end| end || text.contains("PONG\r\n"))
    }

    pub(crate) fn end(&mut self) -> String {
        self.hear("the end", |_, end| end)
    }

    /// The answers to `script`, up to the end or as many PONGs as there are PINGs in it.
    pub(crate) fn converse(&mut self, script: &str) -> String {
        self.say(script);
        let pings = script.matches("PING\r\n").count();
        self.hear("the answers", |text, end| end || text.matches("PONG\r\n").count() >= pings)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
