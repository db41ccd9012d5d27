//! Links to a real nats-server, with real processes.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use support::{Client, Server, eventually};

const CLIENT: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#;

/// A client that takes its time until what it says has gone round.
fn client(server: &Server) -> Client {
    Client::login(server, CLIENT)
}

/// Publishes until somebody answers: interest takes a moment to travel.
fn until_heard(from: &mut Client, to: &mut Client, subject: &str) {
    eventually(&format!("{subject} is heard"), || {
        from.say(&format!("PUB {subject} 1\r\nx\r\nPING\r\n"));
        from.until("PONG\r\n");
        to.say("PING\r\n");
        to.until("PONG\r\n").contains(&format!("MSG {subject} "))
    });
}

fn hub(name: &str, rest: &str) -> Option<Server> {
    Server::start_peer(name, &format!("server_name: HUB\nleafnodes {{ listen: \"127.0.0.1:-1\", {rest} }}\n"))
}

fn leaf(name: &str, url: &str, rest: &str) -> Server {
    Server::start(
        name,
        &format!(
            "server_name: LEAF\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ remotes: [ {{ url: \"{url}\", {rest} }} ] }}\n"
        ),
    )
}

#[test]
fn messages_go_both_ways() {
    let Some(hub) = hub("both-ways-hub", "") else { return };
    let leaf = leaf("both-ways", &format!("nats-leaf://127.0.0.1:{}", hub.leafnode_port()), "");
    leaf.logs("connected");
    let (mut up, mut down) = (client(&hub), client(&leaf));
    up.say("SUB up.> 1\r\nPING\r\n");
    down.say("SUB down.> 1\r\nPING\r\n");
    until_heard(&mut up, &mut down, "down.a");
    until_heard(&mut down, &mut up, "up.a");
    // Headers, replies and queue groups.
    down.say("HPUB up.h re.ply 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    assert!(up.until("hi\r\n").contains("HMSG up.h 1 re.ply 12 14\r\n"));
    down.say("SUB q.x G 2\r\nSUB q.x G 3\r\nPING\r\n");
    until_heard(&mut up, &mut down, "q.x");
    // A request from the leaf, answered at the hub; one that nobody hears.
    up.say("SUB svc 9\r\nPING\r\n");
    eventually("the service is known", || {
        down.say("SUB _INBOX.a 4\r\nPUB svc _INBOX.a 1\r\nq\r\nPING\r\n");
        let heard = down.until("PONG\r\n");
        down.say("UNSUB 4\r\n");
        !heard.contains("503")
    });
    up.until("MSG svc 9 _INBOX.a 1\r\nq\r\n");
    down.say("SUB _INBOX.b 5\r\nPUB nobody _INBOX.b 1\r\nq\r\n");
    down.until("503");
}
