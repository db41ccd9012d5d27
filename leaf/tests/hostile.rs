//! Clients that are slow, silent or greedy: each is bounded, and the one who behaves notices nothing.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fmt::Write;
use support::{Client, Server};

const HELLO: &str = "CONNECT {\"verbose\":false}\r\n";

#[test]
fn understands_one_byte_at_a_time() {
    for server in Server::both("bytes", "") {
        let mut client = Client::connect(&server);
        client.until("\r\n");
        client.spell("CONNECT {\"verbose\":false,\"headers\":true}\r\n");
        client.spell("SUB a.* q 17\r\nPUB a.b r.s 5\r\nhello\r\nHPUB a.c 12 14\r\n");
        client.spell("NATS/1.0\r\n\r\nhi\r\nUNSUB 17\r\nPUB a.b 1\r\nx\r\nPING\r\n");
        assert_eq!(
            client.until("PONG\r\n"),
            "MSG a.b 17 r.s 5\r\nhello\r\nHMSG a.c 17 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPONG\r\n"
        );
    }
}

/// A client that does not answer is let go after so many pings.
#[test]
fn ends_the_silent() {
    for server in Server::both("silent", "ping_interval: \"100ms\"\nping_max: 1") {
        let mut client = Client::connect(&server);
        client.say(HELLO);
        let heard = client.end();
        assert!(heard.contains("PING\r\n") && heard.contains("-ERR 'Stale Connection'"), "{heard}");
    }
}

/// A million subscriptions by one client: what they cost is printed, is bounded for each, and comes back.
#[test]
fn a_million_subscriptions_cost_what_they_cost() {
    const COUNT: u64 = 1_000_000;
    const BYTES_EACH_MAX: u64 = 400;
    let server = Server::start("million", "");
    let mut good = Client::connect(&server);
    good.converse(&format!("{HELLO}SUB good 1\r\nPING\r\n"));
    let before = server.resident();
    let mut greedy = Client::connect(&server);
    greedy.say(HELLO);
    for from in (0..COUNT).step_by(10_000) {
        let mut text = String::new();
        for at in from..from + 10_000 {
            write!(text, "SUB greedy.{}.{at} {at}\r\n", at % 1_000).unwrap();
        }
        greedy.converse(&format!("{text}PING\r\n"));
        assert!(good.converse("PUB good 1\r\ny\r\nPING\r\n").contains("MSG good 1 1"));
    }
    let each = (server.resident() - before) * 1024 / COUNT;
    eprintln!("a subscription costs {each} bytes");
    assert!(each < BYTES_EACH_MAX, "{each} bytes for each subscription");
    assert_eq!(greedy.converse("PUB greedy.7.1007 1\r\ny\r\nPING\r\n"), "MSG greedy.7.1007 1007 1\r\ny\r\nPONG\r\n");
    drop(greedy);
    assert!(good.converse("PUB good 1\r\ny\r\nPING\r\n").contains("MSG good 1 1"));
}

/// Many that stop reading for a while, within their bound: each gets every byte, in order.
#[test]
fn who_reads_late_gets_everything() {
    let server = Server::start("late", "max_pending: 16MB\nwrite_deadline: \"10s\"");
    let mut late: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.converse(&format!("{HELLO}SUB x 1\r\nPING\r\n"));
            client
        })
        .collect();
    let mut publisher = Client::connect(&server);
    publisher.converse(&format!("{HELLO}PING\r\n"));
    let message = |at: usize| format!("{at:0>30000}");
    for at in 0..200 {
        publisher.say(&format!("PUB x 30000\r\n{}\r\n", message(at)));
    }
    for client in &mut late {
        for at in 0..200 {
            let wanted = format!("MSG x 1 30000\r\n{}\r\n", message(at));
            assert!(client.take(wanted.len()) == wanted.as_bytes(), "message {at}");
        }
    }
    assert_eq!(publisher.converse("PING\r\n"), "PONG\r\n");
}
