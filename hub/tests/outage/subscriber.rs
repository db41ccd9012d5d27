//! A subscriber at the hub.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// What it heard, in order.
#[derive(Clone)]
pub(crate) struct Heard {
    pub(crate) payload: String,
    /// By which the leaf's repeats are known.
    pub(crate) id: String,
    /// What the publisher called it.
    pub(crate) publishers_id: String,
}

#[derive(Default)]
struct Notes {
    heard: Vec<Heard>,
    payloads: HashSet<String>,
}

pub(crate) struct Subscriber(Arc<Mutex<Notes>>);

impl Subscriber {
    /// Subscribes, and listens in a thread of its own until the hub ends.
    pub(crate) fn start(port: u16, subject: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let subscribe = format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {subject} 1\r\nPING\r\n");
        socket.write_all(subscribe.as_bytes()).unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while line(&mut reader).unwrap() != "PONG" {}
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let theirs = notes.clone();
        spawn(move || {
            while let Some(line) = line(&mut reader) {
                if line == "PING" {
                    // If that fails the next read tells.
                    let _ = socket.write_all(b"PONG\r\n");
                } else if line.starts_with("HMSG ") {
                    let Some(heard) = message(&mut reader, &line) else { return };
                    let mut notes = theirs.lock().unwrap();
                    notes.payloads.insert(heard.payload.clone());
                    notes.heard.push(heard);
                }
            }
        });
        Self(notes)
    }

    /// Whether all of these were heard.
    pub(crate) fn has(&self, payloads: &HashSet<String>) -> bool {
        self.0.lock().unwrap().payloads.is_superset(payloads)
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap().heard.clone()
    }
}

/// The next line; `None` at the end.
fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}

/// What follows a line of HMSG.
fn message(reader: &mut BufReader<TcpStream>, line: &str) -> Option<Heard> {
    let mut sizes = line.rsplit(' ').map(|word| word.parse().unwrap());
    let (all, head): (usize, usize) = (sizes.next()?, sizes.next()?);
    let mut body = vec![0; all + 2];
    reader.read_exact(&mut body).ok()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = text(&body[..head]);
    let field = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    Some(Heard {
        payload: text(&body[head..all]),
        id: field("Nats-Msg-Id: "),
        publishers_id: field("Petiole-Msg-Id: "),
    })
}
