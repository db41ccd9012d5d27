//! MQTT in the tests: our own bytes, and the programs people use.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use super::{Client, PATIENCE, Server};

/// A configuration with MQTT on any free port.
pub(crate) const MQTT: &str = "mqtt { host: 127.0.0.1, port: -1 }\n";

/// Where the server listens for MQTT: its log says so.
pub(crate) fn port(server: &Server) -> u16 {
    server.logs("Listening for MQTT client connections on ");
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains("Listening for MQTT client connections on ")).unwrap();
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

/// A connection to that port.
pub(crate) fn connect(server: &Server) -> Client {
    let socket = TcpStream::connect(("127.0.0.1", port(server))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    Client::over(socket.try_clone().unwrap(), socket)
}

/// Bytes from hex, in which `'text'` stands for itself with its length before it.
pub(crate) fn bytes(script: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, part) in script.split('\'').enumerate() {
        if at % 2 == 1 {
            out.extend_from_slice(&(part.len() as u16).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
        out.extend(digits.chunks(2).map(byte));
    }
    out
}

/// A packet: its first byte in hex, and the rest as in [`bytes`].
pub(crate) fn packet(first: u8, rest: &str) -> Vec<u8> {
    let rest = bytes(rest);
    assert!(rest.len() < 128, "a test with a longer packet needs a longer length");
    let mut out = vec![first, rest.len() as u8];
    out.extend(rest);
    out
}

/// CONNECT of 3.1.1 with these flags (02 is clean).
pub(crate) fn connect_packet(flags: u8, client_id: &str) -> Vec<u8> {
    packet(0x10, &format!("'MQTT' 04 {flags:02x} 003c '{client_id}'"))
}

impl Client {
    /// The next packet, whole.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut out = self.take(2);
        assert!(out[1] < 128, "a test that hears a longer packet needs a longer length");
        let rest = self.take(out[1].into());
        out.extend(rest);
        out
    }

    /// Sends, then takes the answer.
    pub(crate) fn ask(&mut self, packet: &[u8]) -> Vec<u8> {
        self.send(packet);
        self.packet()
    }

    /// Everything before the answer to a PING.
    pub(crate) fn packets_so_far(&mut self) -> Vec<Vec<u8>> {
        self.send(&[0xc0, 0]);
        let mut packets = Vec::new();
        loop {
            let next = self.packet();
            if next == [0xd0, 0] {
                return packets;
            }
            packets.push(next);
        }
    }
}

/// A program that `.ci/install` provides; `None`, said aloud, when it is not there, which with `PETIOLE_REQUIRE_PEERS`
/// fails.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    missing_unless(name, found).map(Command::new)
}

/// A directory of packages that `.ci/install` provides, with the same rule.
pub(crate) fn packages(name: &str) -> Option<PathBuf> {
    let target = PathBuf::from(super::OURS);
    let found = target.ancestors().map(|dir| dir.join("peers").join(name)).find(|dir| dir.is_dir());
    missing_unless(name, found)
}

fn missing_unless(name: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        assert!(
            std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
            "{name} is missing, and PETIOLE_REQUIRE_PEERS is set: run .ci/install"
        );
        eprintln!("SKIPPED: no {name}; .ci/install provides it");
    }
    found
}

/// A page of monitoring.
pub(crate) fn page(server: &Server, path: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", server.monitor.unwrap())).unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}
