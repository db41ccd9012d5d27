//! A client on a plain socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Result;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    /// What a thread of its own counts, for [`Client::count`].
    counted: Arc<AtomicU64>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(256 * 1024, socket.try_clone()?);
        let mut client = Self { socket, reader, counted: Arc::default() };
        client.send(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nPING\r\n")?;
        while client.line()? != "PONG" {}
        Ok(client)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the server ended the connection".into());
        }
        Ok(line.trim_end().to_owned())
    }

    pub(crate) fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.send(format!("SUB {subject} 1\r\nPING\r\n").as_bytes())?;
        while self.line()? != "PONG" {}
        Ok(())
    }

    /// The next message's payload; answers PING on the way.
    pub(crate) fn next_message(&mut self) -> Result<Vec<u8>> {
        loop {
            let line = self.line()?;
            if line == "PING" {
                self.send(b"PONG\r\n")?;
                continue;
            }
            let mut words = line.split(' ');
            let is_message = matches!(words.next(), Some("MSG" | "HMSG"));
            let Some(size) = words.next_back().and_then(|size| size.parse::<usize>().ok()).filter(|_| is_message)
            else {
                continue;
            };
            let mut body = vec![0; size + 2];
            self.reader.read_exact(&mut body)?;
            body.truncate(size);
            return Ok(body);
        }
    }

    /// How many acknowledgements are there; waits for one if `wait`.
    pub(crate) fn hear_acks(&mut self, wait: bool) -> Result<u64> {
        let mut heard = 0;
        while (wait && heard == 0) || !self.reader.buffer().is_empty() {
            let body = self.next_message()?;
            if !body.starts_with(b"{\"stream\"") {
                return Err(format!("refused: {}", String::from_utf8_lossy(&body)).into());
            }
            heard += 1;
        }
        Ok(heard)
    }

    /// A subscriber that counts what it hears on a thread of its own.
    pub(crate) fn count(port: u16, subject: &str) -> Result<Self> {
        let mut client = Self::connect(port)?;
        client.subscribe(subject)?;
        let counting = Self {
            socket: client.socket.try_clone()?,
            reader: BufReader::with_capacity(1024 * 1024, client.socket.try_clone()?),
            counted: client.counted.clone(),
        };
        std::thread::spawn(move || {
            let mut client = counting;
            while client.next_message().is_ok() {
                client.counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(client)
    }

    /// Waits until the counter has heard so many; how many it has.
    pub(crate) fn heard(&mut self, count: u64) -> Result<u64> {
        let started = Instant::now();
        while self.counted.load(Ordering::Relaxed) < count && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self.counted.load(Ordering::Relaxed))
    }

    pub(crate) fn request(&mut self, subject: &str, body: &str) -> Result<serde_json::Value> {
        self.subscribe("answer")?;
        let mut bytes = Vec::new();
        publish(&mut bytes, subject, "answer", body.as_bytes());
        self.send(&bytes)?;
        Ok(serde_json::from_slice(&self.next_message()?)?)
    }
}

/// Writes a PUB.
pub(crate) fn publish(into: &mut Vec<u8>, subject: &str, reply: &str, payload: &[u8]) {
    // A vector takes everything.
    let _ = write!(into, "PUB {subject} {reply} {}\r\n", payload.len());
    into.extend_from_slice(payload);
    into.extend_from_slice(b"\r\n");
}

/// A file stream, as its defaults are.
pub(crate) fn create_stream(port: u16, subjects: &str) -> Result<()> {
    let config = format!("{{\"name\":\"T\",\"subjects\":[\"{subjects}\"],\"storage\":\"file\"}}");
    let answer = Client::connect(port)?.request("$JS.API.STREAM.CREATE.T", &config)?;
    if answer.get("error").is_some() {
        return Err(format!("no stream: {answer}").into());
    }
    Ok(())
}

pub(crate) fn stream_messages(port: u16) -> Result<u64> {
    let answer = Client::connect(port)?.request("$JS.API.STREAM.INFO.T", "")?;
    answer["state"]["messages"].as_u64().ok_or_else(|| format!("no state: {answer}").into())
}

/// A page of monitoring.
pub(crate) fn get(port: u16, path: &str) -> Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").ok_or("no page")?.1.to_owned())
}
