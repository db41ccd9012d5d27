//! The server under a service manager: what it tells, what it is handed, how it logs. Our part of systemd is played
//! here with real sockets; that systemd itself agrees is tested where there is one (`systemd/test`).

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{PATIENCE, eventually};

const OURS: &str = env!("CARGO_BIN_EXE_petiole-leaf");

/// A manager that listens, and a directory for what its server needs.
struct Manager {
    socket: UnixDatagram,
    name: String,
    dir: PathBuf,
}

impl Manager {
    fn new(test: &str, is_abstract: bool) -> Self {
        let dir = std::env::temp_dir().join(format!("petiole-service-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("notify");
        let name = if is_abstract { format!("@{}", path.display()) } else { path.display().to_string() };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
            None => SocketAddr::from_pathname(&path).unwrap(),
        };
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, dir }
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.dir.join("s.conf");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Our server, about to start with this configuration.
    fn command(&self, config: &str) -> Command {
        let mut command = Command::new(OURS);
        command.arg("-c").arg(self.config(config)).env("NOTIFY_SOCKET", &self.name);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The next thing that is said. The error is that nothing is.
    fn receive(&self) -> std::io::Result<String> {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => return Ok(String::from_utf8(bytes[..length].to_vec()).unwrap()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn hears(&self) -> String {
        self.receive().expect("the server says nothing")
    }

    /// What is said next but for the watchdog's food.
    fn hears_word(&self) -> String {
        loop {
            let said = self.hears();
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }

    /// Whether nothing is said for so long.
    fn silent(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let silent = self.receive().is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Ends with the test.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn ends_well(&mut self) {
        eventually("it ends", || self.0.try_wait().unwrap().is_some());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The value of a variable in what was said.
fn value<'a>(said: &'a str, key: &str) -> &'a str {
    let line = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key} in {said:?}"))
}

/// The address that a status names, once clients can connect to it.
fn clients(said: &str) -> String {
    assert_eq!(value(said, "READY"), "1");
    value(said, "STATUS").split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned()
}

/// A connection that is greeted.
fn greeted(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut start = [0; 5];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"INFO ");
    stream
}

/// The life of a service, on both kinds of socket: ready when clients can connect, a reload with its time on the
/// monotonic clock, one that fails and is told, the end.
#[test]
fn the_manager_is_told_of_start_reload_and_end() {
    for is_abstract in [false, true] {
        let manager = Manager::new(&format!("life-{is_abstract}"), is_abstract);
        let mut server = Running(manager.command("listen: 127.0.0.1:-1").spawn().unwrap());
        let ready = manager.hears();
        let address = clients(&ready);
        greeted(&address);

        let before = monotonic_usec();
        server.signal("HUP");
        let said = manager.hears();
        assert_eq!(value(&said, "RELOADING"), "1");
        let told: u64 = value(&said, "MONOTONIC_USEC").parse().unwrap();
        assert!((before..=monotonic_usec()).contains(&told), "{told}");
        let again = manager.hears();
        assert_eq!(again, ready);

        manager.config("listen: 127.0.0.1:-1\nnonsense: 1");
        server.signal("HUP");
        assert_eq!(value(&manager.hears(), "RELOADING"), "1");
        let said = manager.hears();
        assert_eq!(clients(&said), address);
        assert!(value(&said, "STATUS").contains("reload failed"), "{said}");
        greeted(&address);

        server.signal("TERM");
        assert_eq!(value(&manager.hears(), "STOPPING"), "1");
        server.ends_well();
    }
}

/// A server that does not get far never claims to be ready.
#[test]
fn without_its_port_it_is_not_ready() {
    let manager = Manager::new("taken", false);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!("listen: {}", taken.local_addr().unwrap());
    assert!(!manager.command(&config).status().unwrap().success());
    assert!(manager.silent(Duration::from_millis(1)), "all it could say was said before it ended");
}

#[test]
fn a_lame_duck_asks_for_the_time_it_needs() {
    let manager = Manager::new("duck", false);
    let config = "listen: 127.0.0.1:-1\nlame_duck_duration: 40s\nlame_duck_grace_period: 10ms";
    let mut server = Running(manager.command(config).spawn().unwrap());
    let _client = greeted(&clients(&manager.hears()));
    server.signal("USR2");
    let said = manager.hears();
    assert_eq!(value(&said, "STOPPING"), "1");
    assert_eq!(value(&said, "EXTEND_TIMEOUT_USEC"), "50000000", "{said}");
    assert_eq!(value(&manager.hears(), "STOPPING"), "1");
    server.ends_well();
}

/// The watchdog is fed by the loop that serves clients, not by a thread beside it. The loop is stuck here as it would be
/// on a device whose log goes nowhere: standard error is a pipe that nobody empties, so that a write to it never ends.
/// Once somebody reads, the same process must go on.
#[test]
fn a_stuck_loop_feeds_no_watchdog() {
    let manager = Manager::new("stuck", false);
    let mut command = manager.command("listen: 127.0.0.1:-1\ndebug: true\ntrace: true");
    command.env("WATCHDOG_USEC", "200000").stderr(Stdio::piped());
    let mut server = Running(command.spawn().unwrap());
    let log = server.0.stderr.take().unwrap();
    let address = clients(&manager.hears());
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    // Each PUB is a line of trace; a pipe holds 64 KiB.
    let mut client = greeted(&address);
    let flood = "PUB a.subject.of.some.length 1\r\nx\r\n".repeat(4000);
    client.write_all(format!("CONNECT {{}}\r\n{flood}").as_bytes()).unwrap();
    eventually("the loop is stuck", || manager.silent(Duration::from_millis(1000)));

    let reader = std::thread::spawn(move || BufReader::new(log).lines().count());
    assert_eq!(manager.hears(), "WATCHDOG=1");
    server.signal("TERM");
    assert_eq!(value(&manager.hears_word(), "STOPPING"), "1");
    server.ends_well();
    assert!(reader.join().unwrap() > 4000, "what it had to say was not lost");
}

/// Meant for another process, as when a wrapper has inherited the variables.
#[test]
fn the_watchdog_of_another_process_is_not_ours() {
    let manager = Manager::new("other", false);
    let mut command = manager.command("listen: 127.0.0.1:-1");
    command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let server = Running(command.spawn().unwrap());
    clients(&manager.hears());
    assert!(manager.silent(Duration::from_millis(200)));
    drop(server);
}

/// Starts the server with `socket` as descriptor 3, as systemd does: the variables name the very process.
fn activated(manager: &Manager, config: &str, socket: TcpListener, name: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$@\"", "sh", OURS, "-c"]);
    command.arg(manager.config(config)).env("NOTIFY_SOCKET", &manager.name);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).stdin(OwnedFd::from(socket)).stderr(Stdio::piped());
    command
}

/// Who connects before there is a server is served once there is one, by the socket the manager opened.
#[test]
fn a_socket_that_was_handed_over_is_used() {
    let manager = Manager::new("activated", false);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let early = TcpStream::connect(&address).unwrap();
    // The port of the configuration is not opened: one that cannot be had does no harm.
    let mut server = activated(&manager, "listen: 192.0.2.1:1", socket, "client").spawn().unwrap();
    let said = manager.hears();
    assert_eq!(clients(&said), address);
    let mut start = [0; 5];
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    (&early).read_exact(&mut start).unwrap();
    assert_eq!(&start, b"INFO ");
    greeted(&address);
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn the_status_pages_can_be_handed_over_too() {
    let manager = Manager::new("pages", false);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config = "listen: 127.0.0.1:-1\nhttp: 192.0.2.1:1";
    let server = Running(activated(&manager, config, socket, "monitoring").spawn().unwrap());
    clients(&manager.hears());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(server);
}

/// A name that means nothing would otherwise be a port that is open and served by nobody.
#[test]
fn a_socket_of_an_unknown_name_is_refused() {
    let manager = Manager::new("unknown", false);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = activated(&manager, "listen: 127.0.0.1:-1", socket, "petiole.socket").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("\"petiole.socket\"") && said.contains("FileDescriptorName="), "{said}");
}

/// Lines as the journal wants them if it is the journal that reads them, and only then.
#[test]
fn the_journal_gets_priorities() {
    let manager = Manager::new("journal", false);
    let log = |stream: &dyn Fn(&Path) -> String| {
        let path = manager.dir.join("stderr");
        let file = std::fs::File::create(&path).unwrap();
        let mut command = manager.command("listen: 127.0.0.1:-1\ndebug: true");
        command.env("JOURNAL_STREAM", stream(&path)).stderr(file);
        let mut server = Running(command.spawn().unwrap());
        clients(&manager.hears());
        manager.config("nonsense: 1");
        server.signal("HUP");
        (0..2).for_each(|_| drop(manager.hears()));
        server.signal("TERM");
        manager.hears();
        server.ends_well();
        std::fs::read_to_string(path).unwrap()
    };
    let identity = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let facts = path.metadata().unwrap();
        format!("{}:{}", facts.dev(), facts.ino())
    };
    let journal = log(&identity);
    assert!(journal.lines().all(|line| line.starts_with('<')), "{journal}");
    assert!(journal.contains("<6>Server is ready\n"), "{journal}");
    assert!(journal.contains("<3>Failed to reload server configuration: "), "{journal}");
    let plain = log(&|_| "1:2".to_owned());
    assert!(plain.contains("[INF] Server is ready\n") && plain.starts_with('['), "{plain}");
}

/// A configuration that cannot be used is an error in the journal, each line of it.
#[test]
fn mistakes_are_errors_in_the_journal() {
    use std::os::unix::fs::MetadataExt;
    let manager = Manager::new("mistake", false);
    let path = manager.dir.join("stderr");
    let file = std::fs::File::create(&path).unwrap();
    let facts = path.metadata().unwrap();
    let mut command = manager.command("nonsense: 1\nmore_nonsense: 2");
    command.env("JOURNAL_STREAM", format!("{}:{}", facts.dev(), facts.ino())).stderr(file);
    assert!(!command.status().unwrap().success());
    let said = std::fs::read_to_string(path).unwrap();
    assert!(said.contains("nonsense") && said.lines().all(|line| line.starts_with("<3>")), "{said}");
}

/// Microseconds of the clock that systemd goes by.
fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}
