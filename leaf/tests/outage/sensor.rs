//! A sensor: publishes, waits for acknowledgements, and after a loss of its connection publishes what has none again.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Messages without an answer at most.
const WINDOW: usize = 8;
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(2);
/// How long it goes on after it was stopped, until everything is acknowledged.
const LINGER: Duration = Duration::from_secs(20);

/// An acknowledged message.
pub(crate) struct Entry {
    pub(crate) number: u64,
    /// The last one that had been acknowledged when this one was first published.
    pub(crate) after: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) acknowledged: Vec<Entry>,
    /// Messages published again.
    pub(crate) repeated: u64,
}

pub(crate) struct Sensor {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Log>,
}

impl Sensor {
    pub(crate) fn start(at: usize, port: u16) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = stopped.clone();
        let thread = spawn(move || Life { at, port, next: 0, open: VecDeque::new(), log: Log::default() }.live(&told));
        Self { stopped, thread }
    }

    pub(crate) fn stop(self) -> Log {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Life {
    at: usize,
    port: u16,
    next: u64,
    /// Published and not acknowledged, and what had been acknowledged when they were.
    open: VecDeque<Entry>,
    log: Log,
}

impl Life {
    fn live(mut self, stopped: &AtomicBool) -> Log {
        let mut last = None;
        loop {
            if let Some(deadline) = last
                && (self.open.is_empty() || Instant::now() > deadline)
            {
                return self.log;
            }
            let ended = self.visit(stopped, &mut last);
            if ended.is_err() {
                sleep(Duration::from_millis(10));
            }
        }
    }

    /// One connection, to its end.
    fn visit(&mut self, stopped: &AtomicBool, last: &mut Option<Instant>) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let at = self.at;
        socket.write_all(
            format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB acks.{at}.* 1\r\nPING\r\n").as_bytes(),
        )?;
        while read_line(&mut reader)? != "PONG" {}
        for entry in &self.open {
            self.log.repeated += 1;
            socket.write_all(&message(at, entry.number))?;
        }
        loop {
            if last.is_none() && stopped.load(Ordering::Relaxed) {
                *last = Some(Instant::now() + LINGER);
            }
            if last.is_some() && self.open.is_empty() {
                return Ok(());
            }
            while last.is_none() && self.open.len() < WINDOW {
                let after = self.log.acknowledged.iter().map(|entry| entry.number).max();
                let number = self.next;
                self.next += 1;
                self.open.push_back(Entry { number, after });
                socket.write_all(&message(at, number))?;
                sleep(PAUSE);
            }
            self.hear(&mut reader, &mut socket)?;
        }
    }

    /// The next thing that the server says.
    fn hear(&mut self, reader: &mut BufReader<TcpStream>, socket: &mut TcpStream) -> std::io::Result<()> {
        let line = read_line(reader)?;
        if line == "PING" {
            return socket.write_all(b"PONG\r\n");
        }
        let Some(rest) = line.strip_prefix("MSG acks.") else { return Ok(()) };
        let size: usize = rest.rsplit(' ').next().unwrap().parse().unwrap();
        let mut body = vec![0; size + 2];
        reader.read_exact(&mut body)?;
        let number: u64 = rest.split(' ').next().unwrap().split('.').nth(1).unwrap().parse().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&body[..size]).unwrap();
        if answer.get("error").is_some() {
            // Not taken: again, in a while.
            sleep(Duration::from_millis(20));
            return socket.write_all(&message(self.at, number));
        }
        if let Some(place) = self.open.iter().position(|entry| entry.number == number) {
            self.log.acknowledged.extend(self.open.remove(place));
        }
        Ok(())
    }
}

fn read_line(reader: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn message(at: usize, number: u64) -> Vec<u8> {
    let header = format!("NATS/1.0\r\nNats-Msg-Id: {at}-{number}\r\n\r\n");
    let payload = format!("{at}:{number}");
    let (head, all) = (header.len(), header.len() + payload.len());
    format!("HPUB telemetry.{at} acks.{at}.{number} {head} {all}\r\n{header}{payload}\r\n").into_bytes()
}
