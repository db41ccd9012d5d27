//! Bounds that an operator sets: connections, silence, and what waits for one who does not read.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use support::{Client, Server, same, without_info};

const PLAIN: &str = r#"{"verbose":false}"#;

#[test]
fn one_connection_too_many_is_told_so() {
    let told = same("max-connections", "max_connections: 2", |server| {
        let mut first = Client::login(server, PLAIN);
        let second = Client::login(server, PLAIN);
        let mut told = String::new();
        for _ in 0..3 {
            told += &without_info(&Client::connect(server).end());
        }
        drop(second);
        // The place is free once the server has seen it go.
        support::eventually("there is room again", || {
            without_info(&Client::connect(server).converse(&format!("CONNECT {PLAIN}\r\nPING\r\n"))) == "PONG\r\n"
        });
        assert_eq!(first.converse("PING\r\n"), "PONG\r\n");
        told
    });
    assert_eq!(told, "-ERR 'maximum connections exceeded'\r\n".repeat(3));
}

/// nats-server's own reading of 0.
#[test]
fn no_connections_are_no_connections() {
    same("no-connections", "max_connections: 0", |server| without_info(&Client::connect(server).end()));
}

#[test]
fn an_account_has_a_bound_of_its_own() {
    let config = "accounts { A { users: [ { user: a, password: p } ], limits { max_connections: 1, max_subscriptions: 2 } }, \
                  B { users: [ { user: b, password: p } ] } }";
    same("account-bound", config, |server| {
        let login =
            |user: &str| format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"p\"}}\r\nPING\r\n");
        let mut first = Client::connect(server);
        let mut told = without_info(&first.converse(&login("a")));
        told += &without_info(&Client::connect(server).converse(&login("a")));
        told += &without_info(&Client::connect(server).converse(&login("b")));
        told + &first.converse("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nUNSUB 1\r\nSUB d 4\r\nPUB d 0\r\n\r\nPING\r\n")
    });
}

/// Silence is asked about, then ended; an answer is enough to stay.
#[test]
fn who_does_not_answer_is_ended() {
    let told = same("stale", "ping_interval: \"100ms\"\nping_max: 2", |server| {
        let mut dead = Client::login(server, PLAIN);
        let mut alive = Client::login(server, PLAIN);
        for _ in 0..8 {
            alive.until("PING\r\n");
            alive.say("PONG\r\n");
        }
        let end = dead.end();
        alive.until("PING\r\n");
        alive.say("PONG\r\n");
        assert!(alive.converse("PING\r\n").contains("PONG"));
        assert!(end.matches("PING\r\n").count() >= 2, "{end:?}");
        end.replace("PING\r\n", "")
    });
    assert_eq!(told, "-ERR 'Stale Connection'\r\n");
}

/// What somebody receives is no sign of life of its own.
#[test]
fn a_subscriber_that_never_answers_is_ended_too() {
    for server in Server::both("stale-subscriber", "ping_interval: \"100ms\"\nping_max: 2") {
        let mut dead = Client::login(&server, PLAIN);
        dead.converse("SUB x 1\r\nPING\r\n");
        let mut talker = Client::login(&server, PLAIN);
        std::thread::scope(|scope| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    talker.say("PUB x 1\r\ny\r\nPING\r\n");
                    talker.until("PONG\r\n");
                }
            });
            let end = dead.end();
            drop(stop);
            assert!(end.contains("MSG x 1 1\r\n") && end.ends_with("-ERR 'Stale Connection'\r\n"), "{}", end.len());
        });
    }
}

#[test]
fn a_long_line_is_refused_where_the_bound_is() {
    same("line", "max_control_line: 100", |server| {
        let mut told = String::new();
        for length in 80..110 {
            let mut client = Client::login(server, PLAIN);
            let answer = client.converse(&format!("SUB {} 1\r\nPING\r\n", "a".repeat(length)));
            told += &format!("{length} {answer}");
        }
        told
    });
}

#[test]
fn a_payload_is_refused_where_the_bound_is() {
    same("payload", "max_payload: 100", |server| {
        let mut told = String::new();
        for length in [0, 1, 99, 100, 101] {
            let mut client = Client::login(server, r#"{"verbose":false,"headers":true}"#);
            client.converse("SUB a 1\r\nPING\r\n");
            let body = "x".repeat(length);
            told += &client.converse(&format!("PUB a {length}\r\n{body}\r\nPING\r\n"));
            let mut client = Client::login(server, r#"{"verbose":false,"headers":true}"#);
            let body = body.get(12..).unwrap_or_default();
            let total = 12 + body.len();
            told += &client.converse(&format!("HPUB a 12 {total}\r\nNATS/1.0\r\n\r\n{body}\r\nPING\r\n"));
        }
        told
    });
}
