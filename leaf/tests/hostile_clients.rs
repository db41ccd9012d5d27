//! What the rude, the broken and the absent do to a server: they are ended with the protocol's own error, memory stays
//! bounded, and whoever behaves gets an answer all the while.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use support::{Client, Server, same, without_info};

const PLAIN: &str = r#"{"verbose":false}"#;
const ROOT: &str = r#"{"verbose":false,"user":"root","pass":"p"}"#;

/// Two who behave: one asks, one answers.
struct Good {
    asks: Client,
    answers: Client,
    count: usize,
}

impl Good {
    fn new(server: &Server, connect: &str) -> Self {
        let [mut asks, mut answers] = [0, 1].map(|_| Client::login(server, connect));
        asks.converse("SUB inbox.* 1\r\nPING\r\n");
        answers.converse("SUB service 1\r\nPING\r\n");
        Self { asks, answers, count: 0 }
    }

    fn still_works(&mut self) {
        let n = self.count;
        self.count += 1;
        self.asks.say(&format!("PUB service inbox.{n} 1\r\n?\r\n"));
        assert_eq!(self.answers.until("\r\n?\r\n"), format!("MSG service 1 inbox.{n} 1\r\n?\r\n"));
        self.answers.say(&format!("PUB inbox.{n} 1\r\n!\r\n"));
        assert_eq!(self.asks.until("\r\n!\r\n"), format!("MSG inbox.{n} 1 1\r\n!\r\n"));
    }
}

/// Bytes that look like nothing, the same in each run.
fn junk(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(count)
    .collect()
}

#[test]
fn who_does_not_log_in_is_ended() {
    let config = "authorization { user: root, password: p, timeout: 0.3 }";
    let told = same("silent", config, |server| {
        let mut good = Good::new(server, ROOT);
        let mut silent: Vec<Client> = (0..50).map(|_| Client::connect(server)).collect();
        good.still_works();
        let told: String = silent.iter_mut().map(|client| without_info(&client.end())).collect();
        good.still_works();
        told
    });
    assert_eq!(told, "-ERR 'Authentication Timeout'\r\n".repeat(50));
}

/// Whatever the segments, the conversation is the same.
#[test]
fn one_byte_at_a_time_is_understood() {
    let script = "CONNECT {\"verbose\":true,\"headers\":true,\"name\":\"slow\"}\r\nSUB a 1\r\nSUB a.* q 2\r\nPUB a 5\r\nhello\r\n\
                  PUB a.b reply 0\r\n\r\nHPUB a 18 20\r\nNATS/1.0\r\nA: b\r\n\r\n\r\nhi\r\nUNSUB 1\r\nPUB a 1\r\nx\r\nPING\r\n";
    let script = script.replace("HPUB a 18 20", "HPUB a 20 22");
    let told = same("bytes", "", |server| {
        let mut good = Good::new(server, PLAIN);
        let mut slow = Client::connect(server);
        for byte in script.as_bytes() {
            slow.send(&[*byte]);
        }
        good.still_works();
        let long = format!("PUB a 3000\r\n{}\r\nPING\r\n", "x".repeat(3000));
        let first = without_info(&slow.until("PONG\r\n"));
        for byte in long.as_bytes() {
            slow.send(&[*byte]);
        }
        slow.until("PONG\r\n");
        good.still_works();
        first
    });
    let whole = same("whole", "", |server| without_info(&Client::connect(server).converse(&script)));
    assert_eq!(told, whole);
}

/// Numbers of digits and of bytes that no message has.
#[test]
fn impossible_lengths_are_refused() {
    let lengths = [
        "PUB a 1048577\r\n",
        "PUB a 2000000000\r\n",
        "PUB a 2147483647\r\n",
        "PUB a 2147483648\r\n",
        "PUB a 4294967297\r\n",
        "PUB a 18446744073709551617\r\n",
        "PUB a 99999999999999999999999999\r\n",
        "PUB a -2147483648\r\n",
        "HPUB a 2000000000 2000000000\r\n",
        "HPUB a 12 2000000000\r\n",
        "HPUB a 2000000000 12\r\n",
        "HPUB a 999999999 999999999\r\n",
        "UNSUB 1 2000000000\r\nPING\r\n",
        "UNSUB 1 99999999999999999999999\r\nPING\r\n",
    ];
    same("lengths", "", |server| {
        let mut good = Good::new(server, PLAIN);
        let before = server.resident();
        let mut told = String::new();
        for length in lengths {
            let mut bad = Client::login(server, r#"{"verbose":false,"headers":true}"#);
            bad.say(length);
            let answer = if length.contains("PING") { bad.converse("") } else { bad.end() };
            told += &format!("{length:?}: {answer:?}\n");
            good.still_works();
        }
        let grown = server.resident().saturating_sub(before);
        assert!(!server.ours || grown < 4096, "{grown} KiB for lengths");
        told
    });
}

/// Room is made for what has come, not for what is announced.
#[test]
fn announced_bytes_cost_nothing() {
    let server = Server::start("announced", "max_payload: 60MB\nmax_pending: 64MB");
    let mut good = Good::new(&server, PLAIN);
    let before = server.resident();
    let mut bad: Vec<Client> = (0..100).map(|_| Client::login(&server, PLAIN)).collect();
    for client in &mut bad {
        client.say("PUB a 60000000\r\nonly so much");
    }
    good.still_works();
    let grown = server.resident().saturating_sub(before);
    eprintln!("100 announcements of 60 MB: {grown} KiB more");
    assert!(grown < 16 * 1024, "{grown} KiB");
}

#[test]
fn a_line_without_an_end_is_cut() {
    for line in ["SUB ", "PUB ", "CONNECT {\"name\":\"", "UNSUB ", "INFO {", "-ERR '", "PING", "XYZ", " ", "\r"] {
        let server = Server::start("endless", "");
        let mut good = Good::new(&server, PLAIN);
        let before = server.resident();
        let mut bad = Client::login(&server, PLAIN);
        bad.say(line);
        let more = vec![line.as_bytes()[line.len() - 1].max(b'a'); 64 * 1024];
        let cut = (0..1000).any(|_| !bad.try_say(&more));
        good.still_works();
        let grown = server.resident().saturating_sub(before);
        assert!(cut, "{line:?}: 64 MB were taken");
        assert!(grown < 8 * 1024, "{line:?}: {grown} KiB");
    }
}

#[test]
fn connect_must_be_json() {
    let words = [
        "CONNECT \r\n",
        "CONNECT {\r\n",
        "CONNECT }\r\n",
        "CONNECT null\r\n",
        "CONNECT []\r\n",
        "CONNECT 1\r\n",
        "CONNECT \"x\"\r\n",
        "CONNECT {}\r\n",
        "CONNECT {}{}\r\n",
        "CONNECT {} x\r\n",
        "CONNECT {\"verbose\":1}\r\n",
        "CONNECT {\"verbose\":\"true\"}\r\n",
        "CONNECT {\"verbose\":null,\"pedantic\":null}\r\n",
        "CONNECT {\"verbose\":false,\"verbose\":true}\r\n",
        "CONNECT {\"VERBOSE\":false}\r\n",
        "CONNECT {\"protocol\":-1}\r\n",
        "CONNECT {\"protocol\":2}\r\n",
        "CONNECT {\"protocol\":1.5}\r\n",
        "CONNECT {\"protocol\":99999999999999999999}\r\n",
        "CONNECT {\"name\":1}\r\n",
        "CONNECT {\"unknown\":{\"deep\":[[[[{}]]]]},\"verbose\":false}\r\n",
        "CONNECT {\"no_responders\":true}\r\n",
        "CONNECT {\"user\":\"a\",\"pass\":\"b\",\"auth_token\":\"c\",\"verbose\":false}\r\n",
    ];
    same("json", "", |server| {
        let mut good = Good::new(server, PLAIN);
        let mut told = String::new();
        for words in words {
            let mut client = Client::connect(server);
            let answer = client.converse(&format!("{words}PING\r\n"));
            told += &format!("{words:?}: {:?}\n", without_info(&answer));
        }
        // As deep as the line is long.
        let deep = format!("CONNECT {{\"x\":{}\r\n", "[".repeat(4000));
        told += &without_info(&Client::connect(server).say_and_end(&deep));
        good.still_works();
        told
    });
}

#[test]
fn connect_may_come_again() {
    let config = "authorization { users: [ { user: root, password: p }, { user: a, password: b, permissions: { publish: x } } ] }";
    let limited = r#"{"verbose":false,"user":"a","pass":"b"}"#;
    same("again", config, |server| {
        let mut good = Good::new(server, ROOT);
        let mut told = String::new();
        for script in [
            format!("CONNECT {ROOT}\r\nCONNECT {ROOT}\r\nSUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n"),
            format!("CONNECT {ROOT}\r\nPING\r\nCONNECT {limited}\r\nPUB a 1\r\nx\r\nPING\r\n"),
            format!("CONNECT {limited}\r\nPING\r\nCONNECT {ROOT}\r\nPUB a 1\r\nx\r\nPING\r\n"),
            format!("CONNECT {ROOT}\r\nPING\r\nCONNECT {}\r\nPING\r\n", ROOT.replace("\"p\"", "\"q\"")),
            format!("CONNECT {ROOT}\r\nPING\r\nCONNECT x\r\nPING\r\n"),
        ] {
            let mut client = Client::connect(server);
            told += &format!("{script:?}: {:?}\n", without_info(&client.converse(&script)));
        }
        for _ in 0..3 {
            let mut client = Client::login(server, ROOT);
            assert!(client.try_say(format!("CONNECT {ROOT}\r\n").repeat(20_000).as_bytes()));
            assert!(client.converse("PING\r\n").contains("PONG"));
            good.still_works();
        }
        told
    });
}

#[test]
fn junk_is_answered_and_ended() {
    for server in Server::both("junk", "authorization { user: root, password: p, timeout: 0.5 }") {
        let mut good = Good::new(&server, ROOT);
        for seed in 0..60 {
            let mut stranger = Client::connect(&server);
            stranger.try_say(&junk(seed, 5000));
            drop(stranger);
            let mut known = Client::login(&server, ROOT);
            known.try_say(&junk(seed, 5000));
            let end = known.end();
            assert!(end.is_empty() || end.contains("-ERR"), "{seed}: {end:?}");
            if seed % 10 == 0 {
                good.still_works();
            }
        }
    }
}

/// Ended in every way a socket can: a half close, a reset, in the middle of anything.
#[test]
fn the_vanished_leave_nothing_behind() {
    for server in Server::both("vanished", "http: \"127.0.0.1:-1\"") {
        let mut good = Good::new(&server, PLAIN);
        let open = || std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count();
        let before = open();
        for at in 0..300 {
            let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            let words = "CONNECT {\"verbose\":false}\r\nSUB gone 1\r\nPUB gone 100\r\nhalf of it";
            socket.write_all(&words.as_bytes()[..at % (words.len() + 1)]).unwrap();
            if at % 3 == 0 {
                // INFO was not read: this end is a reset.
                drop(socket);
            } else {
                socket.shutdown(Shutdown::Write).unwrap();
                std::io::copy(&mut socket, &mut std::io::sink()).ok();
            }
        }
        good.still_works();
        support::eventually("all sockets are closed", || open() <= before);
    }
}

/// Operations whose answers nobody reads: the reader is cut off at `max_pending`, like any slow consumer.
#[test]
fn unread_answers_are_bounded() {
    for (what, connect) in [
        ("PING\r\n", PLAIN),
        ("SUB a..b 1\r\n", PLAIN),
        ("PUB shut 0\r\n\r\n", r#"{"verbose":false,"user":"a","pass":"b"}"#),
        ("UNSUB 1\r\n", r#"{"verbose":true}"#),
        ("SUB a 1\r\nPUB a 0\r\n\r\n", PLAIN),
    ] {
        let users = "authorization { users: [ { user: a, password: b, permissions: { publish: none } }, { user: g, password: g } ] }\nno_auth_user: g\n";
        let server = Server::start("unread", &format!("max_pending: 2MB\nwrite_deadline: \"1s\"\n{users}"));
        let mut good = Good::new(&server, PLAIN);
        let before = server.resident();
        let mut deaf = Client::login(&server, connect);
        let flood = what.repeat(64 * 1024 / what.len());
        let mut most = 0;
        let mut ended = false;
        for at in 0..4000 {
            if !deaf.try_say(flood.as_bytes()) {
                ended = true;
                break;
            }
            if at % 50 == 0 {
                most = most.max(server.resident());
                good.still_works();
            }
        }
        good.still_works();
        most = most.max(server.resident());
        eprintln!("{what:?} and reading nothing: {before} KiB grew to {most} KiB");
        assert!(ended, "{what:?}: 256 MB were taken");
        assert!(most < before + 12 * 1024, "{what:?}: {before} KiB grew to {most} KiB");
    }
}

fn subscribe(client: &mut Client, count: usize) -> String {
    let mut told = String::new();
    for batch in 0..count / 1000 {
        let lines: String = (0..1000).map(|at| format!("SUB many.{batch}.{at} {}\r\n", batch * 1000 + at)).collect();
        client.say(&lines);
        told += &client.converse("PING\r\n").replace("PONG\r\n", "");
    }
    told
}

/// A million subscriptions are many, not a way to take a server down; and they are gone with their owner.
#[test]
fn a_million_subscriptions_are_bounded() {
    let server = Server::start("million", "http: \"127.0.0.1:-1\"");
    let mut good = Good::new(&server, PLAIN);
    let before = server.resident();
    let mut greedy = Client::login(&server, PLAIN);
    assert_eq!(subscribe(&mut greedy, 1_000_000), "");
    let told = greedy.converse("SUB one.more x\r\nPING\r\n");
    assert_eq!(told, "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n");
    good.still_works();
    let grown = server.resident() - before;
    eprintln!("a million subscriptions: {grown} KiB, {} bytes each", grown * 1024 / 1_000_000);
    assert!(grown < 400 * 1024, "{grown} KiB");
    // The first three quarters, then the rest from the end: the order in which giving memory back costs most.
    let first = (0..750).map(|batch| batch * 1000..(batch + 1) * 1000);
    for batch in first {
        greedy.say(&batch.map(|sid| format!("UNSUB {sid}\r\n")).collect::<String>());
    }
    for batch in (950..1000).rev() {
        let lines: String = (batch * 1000..(batch + 1) * 1000).rev().map(|sid| format!("UNSUB {sid}\r\n")).collect();
        assert_eq!(greedy.converse(&format!("{lines}PING\r\n")), "PONG\r\n");
    }
    drop(greedy);
    good.still_works();
    let mut next = Client::login(&server, PLAIN);
    assert_eq!(next.converse("PUB many.1.1 1\r\nx\r\nSUB many.1.1 1\r\nPING\r\n"), "PONG\r\n");
    assert_eq!(subscribe(&mut next, 1000), "");
    eprintln!("when they are gone: {} KiB more than before", server.resident().saturating_sub(before));
}

/// Few subscriptions may take much, too: every token of a wildcard subject has a place in the trie.
#[test]
fn long_wildcard_subscriptions_are_bounded() {
    let server = Server::start("wild", "");
    let mut good = Good::new(&server, PLAIN);
    let before = server.resident();
    let mut greedy = Client::login(&server, PLAIN);
    let mut told = String::new();
    for batch in 0..30 {
        let tail = ".t".repeat(1900);
        let lines: String = (0..100).map(|at| format!("SUB *.{batch}.{at}{tail} {batch}.{at}\r\n")).collect();
        told += &greedy.converse(&format!("{lines}PING\r\n")).replace("PONG\r\n", "");
        good.still_works();
    }
    let grown = server.resident() - before;
    eprintln!("3,000 wildcard subscriptions of 1,900 tokens: {grown} KiB");
    assert!(told.contains("-ERR 'maximum subscriptions exceeded'"), "none was refused");
    assert!(grown < 600 * 1024, "{grown} KiB");
}

#[test]
fn max_subscriptions_keeps_memory_small() {
    for server in Server::both("subs", "max_subscriptions: 1000") {
        let mut good = Good::new(&server, PLAIN);
        let before = server.resident();
        let mut greedy = Client::login(&server, PLAIN);
        let told = subscribe(&mut greedy, 100_000);
        assert_eq!(told, "-ERR 'maximum subscriptions exceeded'\r\n".repeat(99_000));
        good.still_works();
        let grown = server.resident().saturating_sub(before);
        assert!(!server.ours || grown < 4 * 1024, "{grown} KiB");
    }
}
