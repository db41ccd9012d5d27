//! Servers as real processes, and a client that says and hears bytes.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod creds;
pub(crate) mod mqtt;
pub(crate) mod scene;
pub(crate) mod scenes;
pub(crate) mod tls;
pub(crate) mod trace;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `done`.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// In place of a configuration: all is said on the command line.
pub(crate) const NO_FILE: &str = "no file";

/// A running server; killed when dropped. In its configuration `<DIR>` stands for a directory of its own, where it
/// also keeps its log, `s.log`, unless it says otherwise.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
    /// Where monitoring listens, if it does.
    pub(crate) monitor: Option<u16>,
    /// Whether this is our own.
    pub(crate) ours: bool,
    program: PathBuf,
    dir: PathBuf,
}

impl Server {
    /// Our own leaf, on any free port.
    pub(crate) fn start(name: &str, config: &str) -> Self {
        Self::run(Path::new(OURS), name, config)
    }

    /// Our own, and a real nats-server if there is one. What holds for both is the protocol, not our opinion of it.
    pub(crate) fn both(name: &str, config: &str) -> Vec<Self> {
        std::iter::once(Self::start(name, config)).chain(Self::start_peer(name, config)).collect()
    }

    /// petiole-leaf, for the tests of other programs. `None`, said aloud, where it was not built with them.
    pub(crate) fn start_leaf(name: &str, config: &str) -> Option<Self> {
        let program = Path::new(OURS).with_file_name("petiole-leaf");
        if program.is_file() {
            return Some(Self::run(&program, name, config));
        }
        assert!(
            std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
            "no petiole-leaf beside {OURS}: build the workspace"
        );
        eprintln!("SKIPPED: no petiole-leaf beside {OURS}");
        None
    }

    /// A real nats-server 2.10. `None` as with [`Self::start_peer`].
    pub(crate) fn start_old_peer(name: &str, config: &str) -> Option<Self> {
        let old = peer().map(|new| new.with_file_name("nats-server-2.10")).filter(|old| old.is_file());
        if let Some(program) = old {
            return Some(Self::run(&program, &format!("{name}-old"), config));
        }
        assert!(
            std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
            "no nats-server-2.10 beside nats-server, and PETIOLE_REQUIRE_PEERS is set: run .ci/install"
        );
        eprintln!("SKIPPED: no nats-server-2.10 beside nats-server");
        None
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
        let mut command = Command::new(program);
        if config == NO_FILE {
            command.args(["-a", "127.0.0.1", "-p", "-1", "-l"]).arg(dir.join("s.log"));
        } else {
            std::fs::write(dir.join("s.conf"), complete(config, &dir)).unwrap();
            command.arg("-c").arg(dir.join("s.conf"));
        }
        let child = command.args(["--ports_file_dir", dir.to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
        let server_name = program.file_name().unwrap().to_str().unwrap();
        let ports = dir.join(format!("{server_name}_{}.ports", child.id()));
        let mut server =
            Self { child, port: 0, monitor: None, ours: program == Path::new(OURS), program: program.to_owned(), dir };
        eventually(&format!("{name} has started"), || {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            // Until it is whole it is no JSON.
            let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
            server.port = port_of(&ports["nats"]).unwrap();
            server.monitor = port_of(&ports["monitoring"]);
            true
        });
        server
    }

    /// Kills it in whatever it is doing, and starts it again with what it has left on its disk.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = std::fs::remove_file(self.path("s.log"));
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.dir.join("s.conf")).stderr(Stdio::null());
        self.child = command.spawn().unwrap();
        self.logs("Server is ready");
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Writes the configuration anew, has it read, and gives the line of the log that says what came of it.
    pub(crate) fn reload(&self, config: &str) -> String {
        let before = self.reloads().len();
        self.write("s.conf", &complete(config, &self.dir));
        self.signal("HUP");
        eventually("the reload is over", || self.reloads().len() > before);
        self.reloads().pop().unwrap()
    }

    /// The lines about reloads, of whatever log there is.
    fn reloads(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let mut logs: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        logs.sort_unstable();
        let text: String = logs.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
        let about = |line: &&str| line.contains("Reloaded server configuration") || line.contains("Failed to reload");
        text.lines().filter(about).map(str::to_owned).collect()
    }

    /// A file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("s.log")).unwrap_or_default()
    }

    /// Waits until it has logged `text`.
    pub(crate) fn logs(&self, text: &str) {
        eventually(&format!("it logs {text:?}"), || self.log().contains(text));
    }

    /// Where it lets leaf nodes in, by what it logged.
    pub(crate) fn leafnode_port(&self) -> u16 {
        const LINE: &str = "Listening for leafnode connections on ";
        self.logs(LINE);
        let log = self.log();
        let line = log.split(LINE).nth(1).and_then(|rest| rest.split_whitespace().next());
        line.and_then(|at| at.rsplit(':').next()?.parse().ok()).unwrap()
    }

    /// Its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs its program once more, to the end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program).args(arguments).output().unwrap()
    }

    /// The names of the files in its directory, in order.
    pub(crate) fn files(&self) -> Vec<String> {
        let names =
            std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
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

/// The program of the package that the test belongs to.
const OURS: &str = match (option_env!("CARGO_BIN_EXE_petiole-leaf"), option_env!("CARGO_BIN_EXE_petiole-hub")) {
    (Some(leaf), _) => leaf,
    (_, Some(hub)) => hub,
    _ => panic!("no program to test"),
};

fn port_of(urls: &serde_json::Value) -> Option<u16> {
    urls[0].as_str()?.rsplit(':').next()?.parse().ok()
}

/// Any free port, whatever the configuration said; a log; the server's directory.
fn complete(config: &str, dir: &Path) -> String {
    let rest: String = config.lines().filter(|line| !line.starts_with("listen:")).map(|l| format!("{l}\n")).collect();
    let log = if config.contains("log_file") { "" } else { "log_file: \"<DIR>/s.log\"\n" };
    format!("listen: \"127.0.0.1:-1\"\n{log}{rest}").replace("<DIR>", dir.to_str().unwrap())
}

fn peer() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file())
}

/// A program that `.ci/install` puts beside nats-server; as there, its absence is said aloud.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var_os("PETIOLE_REQUIRE_PEERS").is_some();
        assert!(!required, "no {name} on the PATH, and PETIOLE_REQUIRE_PEERS is set: run .ci/install");
        eprintln!("SKIPPED: no {name} on the PATH");
    }
    found
}

/// A page of monitoring.
pub(crate) fn get(port: u16, path: &str) -> serde_json::Value {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// What bytes travel on: a socket, or TLS on one.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection that says what it is told and keeps what it hears.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        Self::connect_to(server.port)
    }

    pub(crate) fn connect_to(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket.try_clone().unwrap(), socket)
    }

    /// A client on `stream`, which uses `socket`.
    pub(crate) fn over(stream: impl Stream + 'static, socket: TcpStream) -> Self {
        Self { stream: Box::new(stream), socket, heard: Vec::new() }
    }

    /// The socket, once nothing more is to be said in clear.
    pub(crate) fn into_socket(self) -> TcpStream {
        assert!(self.heard.is_empty(), "more was heard: {}", self.heard.escape_ascii());
        self.socket.try_clone().unwrap()
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send(text.as_bytes());
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Says as much as the server takes; whether that was all.
    pub(crate) fn try_say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Reads exactly so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.heard);
        self.heard = bytes.split_off(bytes.len().min(count));
        let have = bytes.len();
        bytes.resize(count, 0);
        self.stream.read_exact(&mut bytes[have..]).unwrap();
        bytes
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
                // A reset, or TLS that ends without a word of farewell.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    end = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("waiting for {what}: {error}; heard {text:?}"),
            }
        }
    }

    /// Reads up to `what`, and past the PING that a server sends after a while unless that is `what`.
    pub(crate) fn until(&mut self, what: &str) -> String {
        let text = self.hear(what, |text, _| text.contains(what));
        if what.contains("PING") { text } else { without_pings(&text) }
    }

    /// The next message as it came, whatever PING comes before it.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        loop {
            let mut line = self.take(1);
            while !line.ends_with(b"\r\n") {
                line.extend(self.take(1));
            }
            if line == b"PING\r\n" {
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            let size = text.trim_end().rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            let Some(size) = size.filter(|_| text.starts_with("MSG ")) else { panic!("no message: {text:?}") };
            line.extend(self.take(size + 2));
            return line;
        }
    }

    /// The same, past what is left of an INFO.
    pub(crate) fn message_after_info(&mut self) -> Vec<u8> {
        let rest = self.until("MSG ");
        self.heard = rest.as_bytes()[rest.find("MSG ").unwrap()..].to_vec();
        self.message()
    }

    /// Reads to the end, whatever it is.
    pub(crate) fn ends(&mut self) {
        let error = std::io::copy(&mut self.stream, &mut std::io::sink()).err();
        assert!(error.as_ref().is_none_or(|error| error.kind() != ErrorKind::WouldBlock), "it goes on");
    }

    /// So many lines, or fewer if it ends.
    pub(crate) fn lines_or_end(&mut self, count: usize) -> String {
        self.hear("lines", |text, end| end || text.matches('\n').count() >= count)
    }

    pub(crate) fn say_and_end(&mut self, text: &str) -> String {
        self.say(text);
        self.end()
    }

    /// Asks for a PONG and reads up to it.
    pub(crate) fn until_pong_after_ping(&mut self) -> String {
        self.say("PING\r\n");
        self.until("PONG\r\n")
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
        let text = self.hear("the answers", |text, end| end || text.matches("PONG\r\n").count() >= pings);
        without_pings(&text)
    }
}

impl Client {
    /// Logs in and waits until that is through.
    pub(crate) fn login(server: &Server, connect: &str) -> Self {
        let mut client = Self::connect(server);
        client.log_in(connect);
        client
    }

    pub(crate) fn log_in(&mut self, connect: &str) {
        self.say(&format!("CONNECT {connect}\r\nPING\r\n"));
        // INFO follows the first PONG for those who take it.
        let more = connect.contains("\"protocol\":1");
        let answer = self.hear("PONG", |text, end| {
            end || text.split_once("PONG\r\n").is_some_and(|(_, rest)| !more || rest.ends_with("\r\n"))
        });
        assert!(answer.contains("PONG\r\n"), "{connect}: {answer}");
    }
}

/// What `play` sees of our own server; it must see the same of a real nats-server, if there is one.
pub(crate) fn same(name: &str, config: &str, play: impl Fn(&mut Server) -> String) -> String {
    let ours = play(&mut Server::start(name, config));
    if let Some(mut peer) = Server::start_peer(name, config) {
        let theirs = play(&mut peer);
        assert!(ours == theirs, "{name}\nours:\n{ours}\ntheirs:\n{theirs}");
    }
    ours
}

/// With all lists sorted: nats-server's are in any order.
pub(crate) fn in_order(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Array(list) => list.sort_by_key(serde_json::Value::to_string),
        serde_json::Value::Object(map) => map.values_mut().for_each(|value| *value = in_order(value.take())),
        _ => {}
    }
    value
}

/// What was heard without the PINGs of the server, which come when they are due.
fn without_pings(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| *line != "PING\r\n").collect()
}

/// All but INFO, which differs in what it says of the server.
pub(crate) fn without_info(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("INFO ")).collect()
}
