//! TLS on the client port: who speaks first, who may stay in clear, which certificate is shown.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fs;
use support::{Client, Server};

const CERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certs");
const HELLO: &str = "CONNECT {\"verbose\":false}\r\nPING\r\n";

fn tls(options: &str) -> String {
    format!("tls {{ cert_file: \"{CERTS}/server.pem\", key_file: \"{CERTS}/server-key.pem\", {options} }}")
}

fn answers(mut client: Client) {
    assert!(client.converse(HELLO).ends_with("PONG\r\n"));
}

#[test]
fn waits_for_the_handshake_when_told_to() {
    for server in Server::both("first", &tls("handshake_first: true, timeout: 0.5")) {
        let mut client = Client::secure(&server, "localhost", true).unwrap();
        assert!(client.until("\r\n").starts_with("INFO {"));
        answers(client);
        let mut plain = Client::connect(&server);
        plain.say(HELLO);
        assert!(!plain.end().contains("INFO"), "told a stranger who it is");
    }
}

/// `auto`: who says nothing for 50 ms gets INFO in clear, who starts a handshake at once has one.
#[test]
fn serves_both_kinds_when_handshake_first_is_auto() {
    for server in Server::both("auto", &tls("handshake_first: auto")) {
        answers(Client::secure(&server, "localhost", true).unwrap());
        answers(Client::secure(&server, "localhost", false).unwrap());
    }
}

#[test]
fn lets_clients_stay_in_clear_when_told_to() {
    for server in Server::both("mixed", &format!("allow_non_tls: true\n{}", tls(""))) {
        answers(Client::secure(&server, "localhost", false).unwrap());
        answers(Client::connect(&server));
    }
}

#[test]
fn ends_those_who_stay_in_clear_otherwise() {
    for server in Server::both("strict", &tls("timeout: 0.5")) {
        let mut plain = Client::connect(&server);
        plain.say(HELLO);
        let heard = plain.end();
        assert!(heard.contains("\"tls_required\":true") && !heard.contains("PONG"), "{heard}");
    }
}

#[test]
fn speaks_both_versions() {
    let server = Server::start("versions", &tls(""));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        answers(Client::secure_with(&server, "localhost", false, &[version]).unwrap());
    }
}

/// A renewed certificate is shown to newcomers after a reload, nobody is thrown out; one that cannot be read changes
/// nothing.
#[test]
fn a_reload_changes_the_certificate() {
    let config = "log_file: \"$DIR/log\"\ntls { cert_file: \"$DIR/cert.pem\", key_file: \"$DIR/key.pem\" }";
    let early = std::env::temp_dir().join(format!("petiole-test-{}-renew", std::process::id()));
    fs::create_dir_all(&early).unwrap();
    let put = |name: &str| {
        fs::copy(format!("{CERTS}/{name}.pem"), early.join("cert.pem")).unwrap();
        fs::copy(format!("{CERTS}/{name}-key.pem"), early.join("key.pem")).unwrap();
    };
    put("server");
    let server = Server::start("renew", config);
    assert_eq!(server.dir, early);
    let mut old = Client::secure(&server, "localhost", false).unwrap();
    old.converse(HELLO);
    put("other");
    server.reload(config);
    server.wait_for("log", "Reloaded server configuration");
    answers(Client::secure(&server, "other.example", false).unwrap());
    assert!(Client::secure(&server, "localhost", false).is_err());
    assert_eq!(old.converse("PING\r\n"), "PONG\r\n");
    fs::write(early.join("cert.pem"), "not a certificate").unwrap();
    server.reload(config);
    server.wait_for("log", "cert.pem");
    answers(Client::secure(&server, "other.example", false).unwrap());
    assert_eq!(old.converse("PING\r\n"), "PONG\r\n");
}

/// Larger than any buffer on the way, to a subscriber that reads only when all of it was sent.
#[test]
fn carries_large_payloads() {
    let server = Server::start("large", &format!("max_payload: 8MB\n{}", tls("")));
    let mut subscriber = Client::secure(&server, "localhost", false).unwrap();
    subscriber.converse("CONNECT {\"verbose\":false}\r\nSUB big 1\r\nPING\r\n");
    let mut publisher = Client::secure(&server, "localhost", false).unwrap();
    let payload: Vec<u8> = (0..8_000_000u32).map(|i| (i % 251) as u8).collect();
    let framed = |verb: &str| [format!("{verb} {}\r\n", payload.len()).as_bytes(), &payload, b"\r\n"].concat();
    publisher.converse(HELLO);
    assert!(publisher.try_say(&framed("PUB big")));
    publisher.converse("PING\r\n");
    let wanted = framed("MSG big 1");
    assert!(subscriber.take(wanted.len()) == wanted);
}
