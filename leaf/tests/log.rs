//! What the log says about clients: the lines that tools look for, next to nats-server's own.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use support::{Client, Server, same};

const CONFIG: &str = r#"
    debug: true
    trace: true
    max_traced_msg_len: 4
    accounts { A { users: [ { user: u, password: p, permissions: { publish: "ok.>", subscribe: ["ok.>", "in"] } } ] } }
"#;

/// The lines about connections, without when, where from, and which process.
fn about_clients(server: &Server) -> String {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains(" - cid:"));
    let mut text = String::new();
    for line in lines {
        let (_, rest) = line.split_once(" [").unwrap();
        let (level, rest) = rest.split_once("] ").unwrap();
        let (_, rest) = rest.split_once(" - cid:").unwrap();
        let (_, rest) = rest.split_once(" - ").unwrap();
        text.push_str(&format!("[{level}] {rest}\n"));
    }
    text
}

/// Logs in, does this and that, and goes; the whole log is there then.
fn play(server: &mut Server, script: &str) -> String {
    let mut client = Client::connect(server);
    client.converse(
        "CONNECT {\"user\":\"u\",\"pass\":\"p\",\"name\":\"n\",\"lang\":\"l\",\"version\":\"1.2\"}\r\nPING\r\n",
    );
    client.converse(script);
    drop(client);
    server.logs("Client connection closed");
    about_clients(server)
}

#[test]
fn the_protocol_is_traced_as_by_nats_server() {
    let script = "SUB ok.* q 1\r\nSUB in 2\r\nPUB ok.a r 6\r\na\x01\"\r\nb\r\nSUB no 3\r\nSUB no q 4\r\nPUB no 0\r\n\r\n\
                  PUB ok.b _R_.x 0\r\n\r\nUNSUB 1 9\r\nUNSUB 2\r\nUNSUB 1\r\nPONG\r\nPING\r\n";
    let text = same("trace", CONFIG, |server| {
        let text = play(server, script);
        // The order of JSON's fields is not kept; INFO after PONG is not logged.
        text.lines().filter(|line| !line.contains("[CONNECT ")).map(|line| format!("{line}\n")).collect()
    });
    for line in [
        r#"[TRC] "v1.2:l:n" - "A/user:u" - <<- MSG_PAYLOAD: ["a\x01\"\r..."]"#,
        r#"[TRC] "v1.2:l:n" - "A/user:u" - ->> [MSG ok.a 1 r 6]"#,
        r#"[ERR] "v1.2:l:n" - "A/user:u" - Subscription Violation - Subject "no", Queue: "q", SID 4"#,
        r#"[ERR] "v1.2:l:n" - "A/user:u" - Publish Violation - Subject "no""#,
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\nin\n{text}");
    }
}

/// fail2ban and its like look for these.
#[test]
fn a_refused_login_says_who_it_was() {
    let users = [
        ("authorization { user: u, password: p }", r#"{"user":"u","pass":"geheim"}"#, r#" - User "u""#),
        ("authorization { token: p }", r#"{"auth_token":"geheim"}"#, r#" - Token "[REDACTED]""#),
    ];
    for (at, (config, connect, who)) in users.into_iter().enumerate() {
        let line = format!("authentication error{who}");
        same(&format!("refused-{at}"), &format!("{config}\ntrace: true"), |server| {
            Client::connect(server).say_and_end(&format!("CONNECT {connect}\r\nPING\r\n"));
            server.logs(&line);
            assert!(!server.log().contains("geheim"), "{}", server.log());
            String::new()
        });
    }
}

/// How much waited was always told as nothing: it was thrown away first.
#[test]
fn a_slow_consumer_is_logged_with_what_it_left() {
    let server = Server::start("slow-log", "max_pending: 1MB\nmax_payload: 512KB\nwrite_deadline: \"500ms\"");
    let mut slow = Client::login(&server, "{\"verbose\":false}");
    slow.converse("SUB big 1\r\nPING\r\n");
    let mut fast = Client::login(&server, "{\"verbose\":false}");
    let body = "x".repeat(400_000);
    // More than the kernel takes for the slow one; the publisher is held back, then the deadline comes.
    while !server.log().contains("Slow Consumer Detected: ") {
        fast.say(&format!("PUB big {}\r\n{body}\r\n", body.len()));
    }
    let log = server.log();
    let line = log.lines().find(|line| line.contains("Slow Consumer Detected: ")).unwrap();
    let told = ["MaxPending of 1048576 Exceeded", "WriteDeadline of 500ms exceeded with "];
    assert!(told.iter().any(|told| line.contains(told)) && !line.contains(" 0 total bytes"), "{line}");
}
