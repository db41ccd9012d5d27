//! The stream at the hub.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Messages asked for at once.
const BATCH: usize = 1000;

pub(crate) struct Stream {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Stream {
    pub(crate) fn connect(port: u16) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB answer 1\r\nPING\r\n").unwrap();
        let reader = BufReader::new(socket.try_clone().unwrap());
        let mut stream = Self { socket, reader };
        while stream.line() != "PONG" {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.reader.read_line(&mut line).unwrap() > 0, "the hub ended the connection");
        line.trim_end().to_owned()
    }

    /// The next message: its header and its payload.
    fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            let line = self.line();
            if line == "PING" {
                self.socket.write_all(b"PONG\r\n").unwrap();
                continue;
            }
            let sizes: Vec<usize> = line.split(' ').skip(2).filter_map(|word| word.parse().ok()).collect();
            let (head, all) = match (line.split(' ').next(), &sizes[..]) {
                (Some("MSG"), [.., all]) => (0, *all),
                (Some("HMSG"), [.., head, all]) => (*head, *all),
                _ => continue,
            };
            let mut body = vec![0; all + 2];
            self.reader.read_exact(&mut body).unwrap();
            body.truncate(all);
            let payload = body.split_off(head);
            return (String::from_utf8(body).unwrap(), payload);
        }
    }

    fn ask(&mut self, subject: &str, body: &str) {
        self.socket.write_all(format!("PUB {subject} answer {}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
    }

    fn request(&mut self, subject: &str, body: &str) -> serde_json::Value {
        self.ask(subject, body);
        let (_, answer) = self.message();
        serde_json::from_slice(&answer).unwrap()
    }

    pub(crate) fn create(&mut self) {
        let config = r#"{"name":"T","subjects":["telemetry.>"],"storage":"file","allow_direct":true}"#;
        let answer = self.request("$JS.API.STREAM.CREATE.T", config);
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// How many it has.
    pub(crate) fn messages(&mut self) -> u64 {
        self.request("$JS.API.STREAM.INFO.T", "")["state"]["messages"].as_u64().unwrap()
    }

    /// All messages in their order: subject and payload.
    pub(crate) fn read_all(&mut self) -> Vec<(String, String)> {
        let count = self.messages() as usize;
        let mut all = Vec::new();
        while all.len() < count {
            self.ask("$JS.API.DIRECT.GET.T", &format!("{{\"seq\":{},\"batch\":{BATCH}}}", all.len() + 1));
            loop {
                let (header, payload) = self.message();
                if header.starts_with("NATS/1.0 204") {
                    break;
                }
                let subject = header.lines().find_map(|line| line.strip_prefix("Nats-Subject: "));
                let Some(subject) = subject else { panic!("no message of a stream: {header}") };
                all.push((subject.to_owned(), String::from_utf8(payload).unwrap()));
            }
        }
        all
    }
}
