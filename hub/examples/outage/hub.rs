//! Who listens at the hub: a NATS client that takes down what comes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::spawn;

use crate::ledger::Ledger;

/// Subscribes, and counts in a thread of its own until the hub ends.
pub(crate) fn count(port: u16, ledger: Arc<Ledger>) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB telemetry.> 1\r\nPING\r\n").unwrap();
    let mut reader = BufReader::with_capacity(256 * 1024, socket.try_clone().unwrap());
    let mut line = String::new();
    while line.trim_end() != "PONG" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the hub ended the connection");
    }
    spawn(move || {
        let mut body = Vec::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.starts_with("PING") {
                // If that fails the next read tells.
                let _ = socket.write_all(b"PONG\r\n");
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let (head, all) = match words[..] {
                ["MSG", _, _, all] => (0, number(all)),
                ["HMSG", _, _, head, all] => (number(head), number(all)),
                _ => continue,
            };
            body.resize(all + 2, 0);
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            let reading: serde_json::Value = serde_json::from_slice(&body[head..all]).unwrap();
            let field = |name: &str| reading[name].as_u64().unwrap() as usize;
            ledger.at_hub(field("sensor"), field("n"));
        }
    });
}

fn number(text: &str) -> usize {
    text.parse().unwrap()
}
