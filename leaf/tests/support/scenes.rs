//! What must hold between a hub and a leaf, whoever they are.

use super::{Client, Server, eventually};

const CLIENT: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#;

/// A client that wants to know when nobody hears it.
pub(crate) fn client(server: &Server) -> Client {
    Client::login(server, CLIENT)
}

/// The same as this user.
pub(crate) fn client_as(server: &Server, user: &str) -> Client {
    let login = format!("{}, \"user\":\"{user}\",\"pass\":\"{user}\"}}", CLIENT.trim_end_matches('}'));
    Client::login(server, &login)
}

/// Publishes until it is heard: interest takes a moment to travel.
pub(crate) fn until_heard(from: &mut Client, to: &mut Client, subject: &str) {
    eventually(&format!("{subject} is heard"), || {
        from.say(&format!("PUB {subject} 1\r\nx\r\nPING\r\n"));
        from.until("PONG\r\n");
        to.say("PING\r\n");
        to.until("PONG\r\n").contains(&format!("MSG {subject} "))
    });
}

/// Everything that is said by now has gone round.
fn settle(clients: [&mut Client; 2]) -> [String; 2] {
    clients.map(|client| {
        client.say("PING\r\n");
        client.until("PONG\r\n")
    })
}

/// Subjects, queue groups, headers, requests, and their absence, in both directions.
pub(crate) fn everything_crosses(hub: &Server, leaf: &Server) {
    let (mut up, mut down) = (client(hub), client(leaf));
    // Interest that was there before does not come again; both directions, wildcards and literals.
    up.say("SUB up.> 1\r\n");
    down.say("SUB down.> 1\r\nSUB down.literal 2\r\n");
    until_heard(&mut up, &mut down, "down.a");
    until_heard(&mut down, &mut up, "up.a");
    settle([&mut up, &mut down]);
    // Two subscriptions match there, so it arrives twice; it crosses once.
    up.say("PUB down.literal 2\r\nhi\r\n");
    let heard = down.until("hi\r\n") + &down.until_pong_after_ping();
    assert_eq!(heard.matches("MSG down.literal ").count(), 2, "{heard}");
    // Headers and replies.
    down.say("HPUB up.h re.ply 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    let heard = up.until("hi\r\n");
    assert!(heard.contains("HMSG up.h 1 re.ply 12 14\r\n"), "{heard}");
    // One member of a queue group, wherever it is.
    down.say("SUB q.x G 3\r\nSUB q.x G 4\r\n");
    until_heard(&mut up, &mut down, "q.x");
    settle([&mut up, &mut down]);
    up.say("PUB q.x r 2\r\nqq\r\nPING\r\n");
    up.until("PONG\r\n");
    let heard = down.until("qq\r\n") + &down.until_pong_after_ping();
    assert_eq!(heard.matches("MSG q.x ").count(), 1, "{heard}");
    assert!(heard.contains(" r 2\r\n"), "{heard}");
    // A member at the hub is served first by the hub.
    up.say("SUB q.x G 5\r\nPING\r\n");
    up.until("PONG\r\n");
    for _ in 0..10 {
        up.say("PUB q.x 2\r\nqh\r\n");
        up.until("qh\r\n");
    }
    // A request in each direction, answered; one that nobody hears.
    up.say("SUB svc.up 9\r\n");
    down.say("SUB svc.down 9\r\n");
    ask(&mut down, &mut up, "svc.up");
    ask(&mut up, &mut down, "svc.down");
    down.say("SUB _INBOX.b 5\r\nPUB nobody _INBOX.b 1\r\nq\r\n");
    down.until("503");
    // What is no longer wanted does not come.
    down.say("UNSUB 1\r\nUNSUB 2\r\nPING\r\n");
    down.until("PONG\r\n");
    eventually("nobody hears down.a", || {
        up.say("SUB _INBOX.n 6\r\nPUB down.a _INBOX.n 1\r\nq\r\nPING\r\n");
        let heard = up.until("PONG\r\n");
        up.say("UNSUB 6\r\n");
        heard.contains("503")
    });
}

/// Asks until there is an answer.
fn ask(asker: &mut Client, answerer: &mut Client, subject: &str) {
    eventually(&format!("{subject} is asked"), || {
        asker.say(&format!("SUB _INBOX.a 44\r\nPUB {subject} _INBOX.a 1\r\nq\r\nPING\r\n"));
        let refused = asker.until("PONG\r\n").contains("503");
        if refused {
            asker.say("UNSUB 44\r\n");
        }
        !refused
    });
    answerer.until(&format!("MSG {subject} 9 _INBOX.a 1\r\nq\r\n"));
    // Interest in the answer has come before the question.
    answerer.say("PUB _INBOX.a 3\r\nyes\r\n");
    asker.until("yes\r\n");
    asker.say("UNSUB 44\r\n");
}

/// Many and large messages, that compress well and not at all, all of them, in order.
pub(crate) fn bulk_crosses(from: &Server, to: &Server) {
    let (mut from, mut to) = (client(from), client(to));
    to.say("SUB bulk.> 1\r\n");
    until_heard(&mut from, &mut to, "bulk.first");
    to.until_pong_after_ping();
    let mut state = 1u64;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8 | 0x80
    };
    let (mut said, mut wanted) = (Vec::new(), Vec::new());
    for at in 0..3000usize {
        let body: Vec<u8> = match at {
            _ if at % 500 == 499 => (0..300_000).map(|_| noise()).collect(),
            _ if at % 7 == 0 => (0..at % 90).map(|_| noise()).collect(),
            _ => format!("{{\"device\":\"d{}\",\"at\":{at},\"value\":{}}}", at % 7, at * at % 97).into_bytes(),
        };
        said.extend_from_slice(format!("PUB bulk.{at} {}\r\n", body.len()).as_bytes());
        said.extend_from_slice(&body);
        said.extend_from_slice(b"\r\n");
        wanted.extend_from_slice(format!("MSG bulk.{at} 1 {}\r\n", body.len()).as_bytes());
        wanted.extend_from_slice(&body);
        wanted.extend_from_slice(b"\r\n");
    }
    let speaker = std::thread::spawn(move || from.send(&said));
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        got.extend(to.message());
    }
    assert!(got == wanted, "{} bytes instead of {}", got.len(), wanted.len());
    speaker.join().unwrap();
}
