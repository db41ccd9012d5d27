//! What a running server takes over from its file, and what signals make it do.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fs;
use std::process::Command;
use support::{Client, Server};

const HELLO: &str = "CONNECT {\"verbose\":false,\"protocol\":1,\"user\":\"a\",\"pass\":\"b\"}\r\n";

fn with_permissions(permissions: &str) -> String {
    format!(
        "log_file: \"$DIR/log\"\nauthorization {{ users: [ {{ user: a, password: b, permissions: {{ {permissions} }} }} ] }}"
    )
}

/// A live connection loses the subscription it may no longer have, is told, and keeps the rest.
#[test]
fn permissions_change_on_live_connections() {
    let told = |server: Server| {
        let mut client = Client::connect(&server);
        client.converse(&format!("{HELLO}SUB x 1\r\nSUB y 2\r\nSUB y q 3\r\nPING\r\n"));
        server.reload(&with_permissions("subscribe: { allow: \">\", deny: \"y\" }, publish: { deny: \"z\" }"));
        server.wait_for("log", "Reloaded server configuration");
        let heard = client.converse("PUB x 1\r\n1\r\nPUB y 1\r\n2\r\nPUB z 1\r\n3\r\nPING\r\n");
        let mut lines: Vec<String> = heard.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let start = with_permissions("subscribe: { allow: \">\" }");
    let ours = told(Server::start("live", &start));
    assert!(ours.iter().any(|line| line.contains("Violation for Subscription to \"y\"")), "{ours:?}");
    assert!(ours.contains(&"MSG x 1 1".to_owned()) && !ours.iter().any(|line| line.starts_with("MSG y")), "{ours:?}");
    let Some(peer) = Server::start_peer("live", &start) else { return };
    assert_eq!(ours, told(peer));
}

#[test]
fn a_broken_file_changes_nothing() {
    let server = Server::start("broken", &with_permissions("publish: \">\""));
    let mut client = Client::connect(&server);
    client.converse(&format!("{HELLO}PING\r\n"));
    for broken in ["max_payload: [", "no_such_option: 1", "authorization { users: 7 }"] {
        server.reload(&format!("log_file: \"$DIR/log\"\n{broken}"));
        server.wait_for("log", "Failed to reload server configuration");
        fs::write(server.dir.join("log"), "").unwrap();
        assert_eq!(client.converse("PING\r\n"), "PONG\r\n");
        assert!(Client::connect(&server).converse(&format!("{HELLO}PING\r\n")).contains("PONG\r\n"));
    }
}

/// Unlike nats-server, which looks at everybody's login again and ends this client: it named a user nobody asked for.
#[test]
fn limits_change_and_clients_are_told() {
    let server = Server::start("limits", "log_file: \"$DIR/log\"\nmax_payload: 1000");
    let mut client = Client::connect(&server);
    client.converse(&format!("{HELLO}SUB x 1\r\nPING\r\n"));
    server.reload("log_file: \"$DIR/log\"\nmax_payload: 10");
    client.until("\"max_payload\":10,");
    client.say("PUB x 11\r\n12345678901\r\nPING\r\n");
    assert!(client.end().contains("-ERR 'Maximum Payload Violation'"));
}

/// Rotation by a stranger: the file is moved away, the signal starts a new one, no line is lost.
#[test]
fn a_log_is_opened_anew() {
    let mut server = Server::start("reopen", "log_file: \"$DIR/log\"\npid_file: \"$DIR/pid\"");
    server.wait_for("log", "Server is ready");
    fs::rename(server.dir.join("log"), server.dir.join("log.1")).unwrap();
    command(&server, "reopen");
    server.wait_for("log", "File log re-opened");
    assert!(server.wait_for("log.1", "Server is ready").contains("Listening for client connections"));
    command(&server, "reload");
    server.wait_for("log", "Reloaded server configuration");
    command(&server, "quit");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    server.wait_for("log", "Server Exiting..");
}

/// `--signal <command>=<pid file>`, as an operator types it.
fn command(server: &Server, name: &str) {
    let argument = format!("{name}={}", server.dir.join("pid").display());
    let status = Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).args(["--signal", &argument]).status().unwrap();
    assert!(status.success(), "{argument}");
}

#[test]
fn pages_move_with_the_base_path() {
    for server in Server::both("base", "http: \"127.0.0.1:-1\"\nhttp_base_path: \"/nats\"") {
        let varz = server.get("/nats/varz");
        assert!(varz.starts_with("HTTP/1.1 200") && varz.contains("\"http_base_path\": \"/nats\""), "{varz}");
        assert!(server.get("/nats/healthz").contains("\"status\":\"ok\""));
        assert!(server.get("/varz").starts_with("HTTP/1.1 404"));
    }
}
