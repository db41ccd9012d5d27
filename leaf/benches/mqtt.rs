//! MQTT beside mosquitto and nats-server, in one run on one machine; compare figures only within a run.
//!
//! `cargo bench -p petiole-leaf --bench mqtt -- [--quick] [--out FILE]`. Peers are looked for on the PATH and in
//! `target/peers`; one that is missing is left out, and the report says so.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a benchmark may fail")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 128;
/// Messages of QoS 0 under way, so that no server has to drop any.
const AHEAD: u64 = 2000;
/// Messages of QoS 1 and 2 under way: what mosquitto takes by default.
const WINDOW: u64 = 20;

/// A server under test.
struct Server {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_petiole-leaf"));
    dirs.extend(ours.ancestors().map(|dir| dir.join("peers")));
    dirs.into_iter().map(|dir| dir.join(name)).find(|file| file.is_file())
}

impl Server {
    fn start(name: &'static str, extra: &str) -> Option<Self> {
        let program = match name {
            "petiole-leaf" => PathBuf::from(env!("CARGO_BIN_EXE_petiole-leaf")),
            name => find(name)?,
        };
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("petiole-bench-{}-{name}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("s.conf");
        let at = dir.to_str().unwrap();
        let text = match name {
            "mosquitto" => format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n\
                 persistence true\npersistence_location {at}/\n"
            ),
            "nats-server" => format!(
                "listen: \"127.0.0.1:-1\"\nserver_name: bench\njetstream {{ store_dir: \"{at}/js\" }}\nmqtt {{ host: 127.0.0.1, port: {port} }}\n"
            ),
            _ => format!(
                "listen: \"127.0.0.1:-1\"\nstore_dir: \"{at}\"\nmqtt {{ host: 127.0.0.1, port: {port} }}\n{extra}"
            ),
        };
        std::fs::write(&file, text).unwrap();
        let child =
            Command::new(program).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, port, dir };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// Processor time of all its threads so far.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |path: PathBuf| -> u64 {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.map(|task| nanos(task.unwrap().path())).sum())
    }

    /// Resident memory, bytes.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    }

    /// Files in its directory, but for its configuration.
    fn files(&self) -> usize {
        fn count(dir: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(dir).map_or_else(|_| Vec::new(), |all| all.flatten().collect());
            entries.iter().map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
        }
        count(&self.dir) - 1
    }
}

/// A client that says and hears packets.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    fn connect(port: u16, id: &str, clean: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self { stream, buffer: Vec::new(), start: 0 };
        let mut rest = vec![0, 4, b'M', b'Q', b'T', b'T', 4, if clean { 2 } else { 0 }, 0, 0];
        text(id, &mut rest);
        client.send(&packet(0x10, &rest));
        assert_eq!(client.next().0, 0x20);
        client
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut rest = vec![0, 1];
        text(filter, &mut rest);
        rest.push(qos);
        self.send(&packet(0x82, &rest));
        assert_eq!(self.next().0, 0x90);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next packet: its first byte and its packet identifier, where it is an answer.
    fn next(&mut self) -> (u8, [u8; 2]) {
        loop {
            let have = &self.buffer[self.start..];
            if let Some((used, first, id)) = whole(have) {
                self.start += used;
                return (first, id);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let before = self.buffer.len();
            self.buffer.resize(before + 64 * 1024, 0);
            let n = self.stream.read(&mut self.buffer[before..]).unwrap();
            assert!(n > 0, "the server has closed the connection");
            self.buffer.truncate(before + n);
        }
    }

    /// Whether another packet is here already.
    fn has_more(&self) -> bool {
        whole(&self.buffer[self.start..]).is_some()
    }
}

fn whole(bytes: &[u8]) -> Option<(usize, u8, [u8; 2])> {
    let mut len = 0usize;
    let mut at = 1;
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.get(at..at + len)?;
    let id = match bytes[0] >> 4 {
        3 if bytes[0] & 6 != 0 => {
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            [body[2 + topic], body[3 + topic]]
        }
        4..=7 => [body[0], body[1]],
        _ => [0, 0],
    };
    Some((at + len, bytes[0], id))
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut len = rest.len();
    while len > 0x7f {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(rest);
    out
}

fn publish(topic: &str, qos: u8, id: u16) -> Vec<u8> {
    let mut rest = Vec::new();
    text(topic, &mut rest);
    if qos > 0 {
        rest.extend_from_slice(&id.to_be_bytes());
    }
    rest.resize(rest.len() + PAYLOAD_BYTES, b'x');
    packet(0x30 | qos << 1, &rest)
}

/// One publisher to one subscriber: processor time of the server for a message, and messages a second.
fn flow(server: &Server, qos: u8, count: u64) -> (f64, f64) {
    let received = Arc::new(AtomicU64::new(0));
    let mut subscriber = Client::connect(server.port, "subscriber", true);
    subscriber.subscribe("bench/topic", qos);
    let mut publisher = Client::connect(server.port, "publisher", true);
    let (cpu, started) = (server.cpu(), Instant::now());
    let seen = received.clone();
    let listening = std::thread::spawn(move || {
        let mut answers = Vec::new();
        while seen.load(Ordering::Relaxed) < count {
            let (first, id) = subscriber.next();
            match first {
                0x30..=0x3f => {
                    if qos > 0 {
                        answers.extend_from_slice(&[if qos == 1 { 0x40 } else { 0x50 }, 2, id[0], id[1]]);
                    }
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                0x62 => answers.extend_from_slice(&[0x70, 2, id[0], id[1]]),
                _ => {}
            }
            if !subscriber.has_more() && !answers.is_empty() {
                subscriber.send(&answers);
                answers.clear();
            }
        }
    });
    if qos == 0 {
        let one = publish("bench/topic", 0, 0);
        let many = one.repeat(50);
        let mut sent = 0;
        while sent < count {
            if sent - received.load(Ordering::Relaxed) > AHEAD {
                std::thread::yield_now();
                continue;
            }
            publisher.send(&many);
            sent += 50;
        }
    } else {
        publish_acknowledged(&mut publisher, qos, count);
    }
    listening.join().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let cpu = server.cpu() - cpu;
    (cpu.as_secs_f64() * 1e6 / count as f64, count as f64 / seconds)
}

fn publish_acknowledged(publisher: &mut Client, qos: u8, count: u64) {
    let (mut sent, mut done) = (0u64, 0u64);
    let mut out = Vec::new();
    while done < count {
        while sent < count && sent - done < WINDOW {
            out.extend(publish("bench/topic", qos, (sent % 60_000) as u16 + 1));
            sent += 1;
        }
        if !out.is_empty() {
            publisher.send(&out);
            out.clear();
        }
        loop {
            let (first, id) = publisher.next();
            match first {
                0x40 | 0x70 => done += 1,
                0x50 => out.extend_from_slice(&[0x62, 2, id[0], id[1]]),
                _ => {}
            }
            if !publisher.has_more() {
                break;
            }
        }
    }
}

/// A hundred publishers of QoS 1, each with one message under way: messages a second.
fn crowd(server: &Server, rounds: u64) -> f64 {
    let started = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let port = server.port;
            std::thread::spawn(move || {
                let mut clients: Vec<Client> =
                    (0..25).map(|n| Client::connect(port, &format!("p{thread}-{n}"), true)).collect();
                for round in 0..rounds {
                    let one = publish("captured/topic", 1, (round % 60_000) as u16 + 1);
                    clients.iter_mut().for_each(|client| client.send(&one));
                    clients.iter_mut().for_each(|client| assert_eq!(client.next().0, 0x40));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (rounds * 100) as f64 / started.elapsed().as_secs_f64()
}

/// Bytes for each idle connection with one subscription.
fn idle(server: &Server, count: usize) -> f64 {
    let before = server.resident();
    let clients: Vec<Client> = (0..count)
        .map(|n| {
            let mut client = Client::connect(server.port, &format!("idle-{n}"), true);
            client.subscribe(&format!("idle/{n}"), 0);
            client
        })
        .collect();
    let after = server.resident();
    drop(clients);
    (after - before) / count as f64
}

/// Bytes and files for each persistent session with one subscription of QoS 1, its client away.
fn away(server: &Server, count: usize) -> (f64, f64) {
    let (before, files) = (server.resident(), server.files());
    for n in 0..count {
        let mut client = Client::connect(server.port, &format!("away-{n}"), false);
        client.subscribe(&format!("away/{n}"), 1);
        client.send(&[0xe0, 0]);
    }
    std::thread::sleep(Duration::from_millis(500));
    ((server.resident() - before) / count as f64, (server.files() - files) as f64 / count as f64)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let out = args.iter().position(|arg| arg == "--out").and_then(|at| args.get(at + 1));
    let (q0, q1, idles, aways, rounds) =
        if quick { (100_000, 10_000, 1000, 500, 50) } else { (1_000_000, 100_000, 10_000, 2000, 500) };
    let mut report = String::from("| | petiole-leaf | mosquitto | nats-server |\n|---|---|---|---|\n");
    let names = ["petiole-leaf", "mosquitto", "nats-server"];
    let mut row = |label: &str, figure: &dyn Fn(&Server) -> String| {
        write!(report, "| {label} |").unwrap();
        for name in names {
            let figure = Server::start(name, "").map_or("not there".to_owned(), |server| figure(&server));
            eprintln!("{name}: {label}: {figure}");
            write!(report, " {figure} |").unwrap();
        }
        report.push('\n');
    };
    for (qos, count) in [(0, q0), (1, q1), (2, q1)] {
        row(&format!("QoS {qos}, 1 to 1, {PAYLOAD_BYTES} B: server CPU a message; messages/s"), &|server| {
            let (micros, rate) = flow(server, qos, count);
            format!("{micros:.2} us; {rate:.0}/s")
        });
    }
    row(&format!("memory of an idle connection with a subscription, {idles} of them"), &|server| {
        format!("{:.2} KiB", idle(server, idles) / 1024.0)
    });
    row(&format!("memory of a session whose client is away, {aways} of them; files"), &|server| {
        let (bytes, files) = away(server, aways);
        format!("{:.2} KiB; {files:.2}", bytes / 1024.0)
    });
    let label = "QoS 1, 100 publishers, one under way each: messages/s (petiole-leaf: captured and synced)";
    write!(report, "| {label} |").unwrap();
    for name in names {
        let extra = "store_and_forward: [ { name: bench, subjects: [\"captured.>\"] } ]\n";
        let figure =
            Server::start(name, extra).map_or("not there".to_owned(), |s| format!("{:.0}/s", crowd(&s, rounds)));
        eprintln!("{name}: {label}: {figure}");
        write!(report, " {figure} |").unwrap();
    }
    report.push('\n');
    println!("{report}");
    if let Some(path) = out {
        std::fs::write(path, report).unwrap();
    }
}
