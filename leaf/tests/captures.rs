//! Real conversations of nats-server 2.15.1, played against our own binary.
//!
//! A capture holds the bytes of each line and its direction. What a client said is said again, byte for
//! byte; what the server answered must come again, byte for byte, but for the values in INFO. The next
//! thing is said when all answers so far are here, so no test depends on time.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

mod support;
use support::Server;

/// `\r`, `\n`, `\t`, `\\` and `\xHH` as the capture writes them.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let byte = match rest {
            [b'r', ..] => b'\r',
            [b'n', ..] => b'\n',
            [b't', ..] => b'\t',
            [b'\\', ..] => b'\\',
            [b'x', a, b, tail @ ..] => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&[*a, *b]).unwrap(), 16).unwrap());
                rest = tail;
                continue;
            }
            _ => panic!("unknown escape in {text}"),
        };
        bytes.push(byte);
        rest = &rest[1..];
    }
    bytes
}

/// INFO differs from run to run; that it comes, and with which fields, must not.
/// Without `info` it is left out: some captures do.
fn normal(bytes: &[u8], info: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match line.strip_prefix(b"INFO ") {
            Some(_) if !info => {}
            Some(json) if json.ends_with(b"\n") => {
                let json: serde_json::Value = serde_json::from_slice(json).unwrap();
                // Fields of features that are not there yet.
                let fields = json.as_object().unwrap().keys().filter(|k| *k != "xkey");
                let mut fields: Vec<&str> = fields.map(String::as_str).collect();
                fields.sort_unstable();
                out.extend_from_slice(format!("INFO {fields:?}\r\n").as_bytes());
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

/// A connection of the replay: its socket, what the capture says came, what came.
struct Link {
    stream: TcpStream,
    expected: Vec<u8>,
    got: Vec<u8>,
    /// The capture shows INFO.
    info: bool,
}

impl Link {
    fn open(port: u16, info: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream, expected: Vec::new(), got: Vec::new(), info }
    }

    /// Reads until everything the capture has shown so far is here.
    fn settle(&mut self, what: &str) {
        let expected = normal(&self.expected, self.info);
        let mut buffer = [0; 65536];
        while normal(&self.got, self.info).len() < expected.len() {
            match self.stream.read(&mut buffer) {
                Ok(n) if n > 0 => self.got.extend_from_slice(&buffer[..n]),
                end => panic!(
                    "{what}: {end:?}\nexpected {}\n     got {}",
                    expected.escape_ascii(),
                    self.got.escape_ascii()
                ),
            }
        }
        let got = normal(&self.got, self.info);
        assert!(got == expected, "{what}\nexpected {}\n     got {}", expected.escape_ascii(), got.escape_ascii());
    }

    /// The server must close it, and say no more.
    fn must_end(&mut self, what: &str) {
        let mut rest = Vec::new();
        // Bytes it sent us that were never read may turn the close into a reset.
        let _ =
            self.stream.read_to_end(&mut rest).map_err(|e| assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{what}"));
        assert!(rest.is_empty(), "{what}: more came: {}", rest.escape_ascii());
    }

    /// It must still be open, with nothing unexpected on the way.
    fn must_live(&mut self, what: &str) {
        self.stream.write_all(b"PING\r\n").unwrap();
        self.expected.extend_from_slice(b"PONG\r\n");
        self.settle(what);
    }
}

/// Plays one capture but for the scenes whose headings start with one of `skip`; returns how many
/// connections were compared.
fn play(name: &str, text: &str, skip: &[&str]) -> usize {
    let info = text.contains(" INFO {");
    let start = text.find("=====").unwrap();
    let (head, body) = text.split_at(start);
    let configs: Vec<&str> = head.split("--- config of ").skip(1).map(|c| c.split_once("---\n").unwrap().1).collect();
    let mut servers = configs.iter().enumerate().map(|(i, config)| Server::start(&format!("{name}-{i}"), config));
    let mut server = servers.next().unwrap();
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    let (mut what, mut skipping, mut compared) = (name.to_owned(), false, 0);
    for line in body.lines().skip(1) {
        let Some((_, rest)) = line.split_once("] ") else { continue };
        if line.starts_with('#') {
            if !rest.starts_with("=>") {
                what = format!("{name}: {rest}");
                skipping = skip.iter().any(|s| rest.starts_with(s));
            }
            if (rest.starts_with("T1 ") || rest.starts_with("N1 ")) && configs.len() > 1 {
                server = servers.next().unwrap();
            }
            continue;
        }
        if skipping {
            continue;
        }
        let (direction, rest) = rest.split_at(15.min(rest.len()));
        if direction.starts_with("--") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let who = if rest.contains("its own connection") { words[0] } else { words.last().unwrap() };
            let Some(mut link) = links.remove(who) else { continue };
            link.settle(&what);
            if rest.contains("CLOSED") {
                link.must_end(&what);
            } else {
                link.must_live(&what);
            }
            compared += 1;
            continue;
        }
        let Some((from, to)) = direction.trim().split_once("->") else { continue };
        let bytes = unescape(rest.strip_prefix("  payload: ").unwrap_or(rest));
        if from == "S" {
            let link = links.entry(to.to_owned()).or_insert_with(|| Link::open(server.port, info));
            link.expected.extend_from_slice(&bytes);
            continue;
        }
        // What came before must be through before the next word is said.
        links.values_mut().for_each(|link| link.settle(&what));
        let link = links.entry(from.to_owned()).or_insert_with(|| Link::open(server.port, info));
        // The server may have closed it already; that shows when it is compared.
        let _ = link.stream.write_all(&bytes);
    }
    for (who, mut link) in links {
        link.settle(&format!("{what}: {who}"));
        compared += 1;
    }
    compared
}

macro_rules! capture {
    ($test:ident, $file:literal, $connections:literal, $skip:expr) => {
        #[test]
        fn $test() {
            let compared = play($file, include_str!(concat!("captures/", $file, ".txt")), $skip);
            assert_eq!(compared, $connections, "connections compared");
        }
    };
}

capture!(basic, "client-basic", 1, &[]);
// E9b does not show what was sent; the parser's own test has it.
capture!(errors, "client-errors", 36, &["E9b"]);
capture!(verbose_and_pedantic, "client-verbose-pedantic", 4, &[]);
// A6 and A7 sign a nonce that ours cannot be made to repeat; `auth::nkey` has their signatures as vectors.
capture!(users_and_permissions, "client-auth-permissions", 12, &["A6", "A7"]);
// The last scene's queue deliveries come in another order of groups.
capture!(small_probes, "client-small-probes", 5, &["--- queue publish"]);
// E and F show draws.
capture!(requests_and_no_responders, "client-request-queue-noresponders", 3, &["E. ", "F. "]);
// J1, J4 and J5 sign a nonce that ours cannot be made to repeat; `tests/operator.rs` has the like.
capture!(jwts, "client-jwt", 3, &["J1", "J4", "J5"]);
