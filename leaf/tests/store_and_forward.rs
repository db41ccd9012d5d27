//! Store-and-forward on the real binary, without a hub: what is taken in, what is refused, and what monitoring says of it. What
//! becomes of it at a hub, and after `kill -9`: see `outage`.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Client, Server, eventually};

const CLIENT: &str = r#"{"verbose":false,"headers":true}"#;

fn leaf(name: &str, log: &str) -> Server {
    let config = format!("http: \"127.0.0.1:-1\"\nstore_dir: \"<DIR>\"\nstore_and_forward: [ {{ {log} }} ]\n");
    Server::start(name, &config)
}

/// What a page of monitoring says.
fn page(server: &Server, path: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", server.monitor.unwrap())).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn outbox(server: &Server) -> serde_json::Value {
    let page: serde_json::Value = serde_json::from_str(&page(server, "/outboxz")).unwrap();
    page["outboxes"][0].clone()
}

/// Publishes with a reply subject; what comes back.
fn ask(client: &mut Client, publish: &str) -> serde_json::Value {
    client.say(publish);
    let message = client.message();
    let text = String::from_utf8(message).unwrap();
    serde_json::from_str(text.split_once("\r\n").unwrap().1.trim_end()).unwrap()
}

#[test]
fn takes_in_what_it_captures_and_says_so_after_the_sync() {
    let leaf = leaf("takes-in", r#"name: t, subjects: ["s.>"]"#);
    let (mut sensor, mut local) = (Client::login(&leaf, CLIENT), Client::login(&leaf, CLIENT));
    local.say("SUB s.* 1\r\nPING\r\n");
    local.until("PONG\r\n");
    sensor.say("SUB r 1\r\n");
    assert_eq!(ask(&mut sensor, "PUB s.a r 2\r\nhi\r\n"), serde_json::json!({"stream": "t", "seq": 1}));
    assert_eq!(local.until("hi\r\n"), "MSG s.a 1 r 2\r\nhi\r\n");
    // Without a reply it is taken in all the same; what is not captured is not.
    sensor.say("PUB s.b 1\r\nx\r\nPUB other 1\r\nx\r\nPING\r\n");
    sensor.until("PONG\r\n");
    let again = "HPUB s.c r 28 29\r\nNATS/1.0\r\nNats-Msg-Id: 1\r\n\r\nx\r\n";
    assert_eq!(ask(&mut sensor, again), serde_json::json!({"stream": "t", "seq": 3}));
    assert_eq!(ask(&mut sensor, again), serde_json::json!({"stream": "t", "seq": 3, "duplicate": true}));
    let expecting = "HPUB s.c r 44 45\r\nNATS/1.0\r\nNats-Expected-Last-Sequence: 9\r\n\r\nx\r\n";
    let refused = ask(&mut sensor, expecting);
    assert_eq!(refused["error"]["code"], 400, "{refused}");
    let outbox = outbox(&leaf);
    for (field, wanted) in [("pending_messages", 3), ("captured", 3), ("duplicates", 1), ("not_taken", 1)] {
        assert_eq!(outbox[field], wanted, "{field} of {outbox}");
    }
    assert_eq!((&outbox["acknowledged"], &outbox["dropped"]), (&3.into(), &0.into()), "{outbox}");
    assert_eq!(outbox["obstacle"], "no link");
    assert!(page(&leaf, "/metrics").contains("\npetiole_outbox_pending_messages{log=\"t\"} 3\n"));
    // Three messages took a sector or more each; nobody said what the disk can take.
    let wear: serde_json::Value = serde_json::from_str(&page(&leaf, "/outboxz")).unwrap();
    let wear = &wear["wear"];
    assert!(wear["worn_bytes"].as_u64().is_some_and(|bytes| bytes >= 3 * 512), "{wear}");
    assert!(wear["endurance_bytes"].is_null() && wear["days_left"].is_null(), "{wear}");
}

/// The days left follow from what the medium is said to take.
#[test]
fn tells_how_long_the_flash_lasts() {
    let config = "http: \"127.0.0.1:-1\"\nstore_dir: \"<DIR>\"\nendurance: 1TB\nstore_and_forward: [ { name: t, subjects: [\"s.>\"] } ]\n";
    let leaf = Server::start("endurance", config);
    let mut sensor = Client::login(&leaf, CLIENT);
    sensor.say("SUB r 1\r\n");
    assert_eq!(ask(&mut sensor, "PUB s.a r 2\r\nhi\r\n"), serde_json::json!({"stream": "t", "seq": 1}));
    let wear: serde_json::Value = serde_json::from_str(&page(&leaf, "/outboxz")).unwrap();
    let wear = &wear["wear"];
    assert_eq!(wear["endurance_bytes"], 1u64 << 40);
    assert!(wear["days_left"].as_f64().is_some_and(|days| days > 0.0), "{wear}");
    let metrics = page(&leaf, "/metrics");
    for name in ["petiole_store_worn_bytes_total", "petiole_store_endurance_bytes", "petiole_store_endurance_days_left"]
    {
        assert!(metrics.contains(&format!("\n{name} ")), "{name}");
    }
}

#[test]
fn a_full_log_says_no_or_drops_the_oldest_as_told() {
    let strict = leaf("full-new", r#"name: t, subjects: ["s"], max_msgs: 2, discard: new"#);
    let mut sensor = Client::login(&strict, CLIENT);
    sensor.say("SUB r 1\r\n");
    let mut publish = || ask(&mut sensor, "PUB s r 1\r\nx\r\n");
    assert_eq!((&publish()["seq"], &publish()["seq"]), (&1.into(), &2.into()));
    let refused = publish();
    assert_eq!(refused["error"]["err_code"], 10077, "{refused}");
    strict.logs("did not take 1 messages: log is full");
    assert_eq!(outbox(&strict)["not_taken"], 1);

    let lax = leaf("full-old", r#"name: t, subjects: ["s"], max_msgs: 2, discard: old"#);
    let mut sensor = Client::login(&lax, CLIENT);
    sensor.say("SUB r 1\r\n");
    for seq in 1..=5 {
        assert_eq!(ask(&mut sensor, "PUB s r 1\r\nx\r\n")["seq"], seq);
    }
    let outbox = outbox(&lax);
    assert_eq!((&outbox["pending_messages"], &outbox["dropped"]), (&2.into(), &3.into()), "{outbox}");
}

#[test]
fn mistakes_are_named_before_a_port_is_bound() {
    let leaf = Server::start("mistakes", "");
    for (log, complaint) in [
        (r#"{ subjects: ["a"] }"#, "a log of store_and_forward needs a name"),
        (r#"{ name: "a/b", subjects: ["a"] }"#, r#""a/b" cannot name a log"#),
        (r#"{ name: a }"#, r#"log "a" needs subjects"#),
        (r#"{ name: a, subjects: [">"] }"#, "would capture replies"),
        (r#"{ name: a, subjects: ["$JS.>"] }"#, "would capture replies"),
        (r#"{ name: a, subjects: ["a"], confirm: maybe }"#, "confirm is stored or routed, not \"maybe\""),
        (r#"{ name: a, subjects: ["a"], max_age: soon }"#, "error parsing max_age"),
        (r#"{ name: a, subjects: ["a"], colour: red }"#, r#"unknown field "colour""#),
        (r#"{ name: a, subjects: ["a.>"] }, { name: b, subjects: ["*.b"] }"#, "would capture replies"),
        (r#"{ name: a, subjects: ["a.>"] }, { name: b, subjects: ["a.b"] }"#, "overlaps"),
        (r#"{ name: a, subjects: ["a"], account: X }"#, r#"no account "X""#),
    ] {
        leaf.write("wrong.conf", &format!("listen: \"127.0.0.1:-1\"\nstore_and_forward: [ {log} ]\n"));
        let path = leaf.path("wrong.conf");
        let output = leaf.command(&["-c", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(complaint) && output.status.code() == Some(1), "{log}: {said}");
        assert!(said.contains("wrong.conf:2:") || said.contains("no account"), "no place: {said}");
    }
}

#[test]
fn two_servers_do_not_share_a_log() {
    let first = leaf("share", r#"name: t, subjects: ["s"]"#);
    // Its ports are told before it has its log.
    eventually("it has its log", || first.log().contains("Server is ready"));
    let path = first.path("s.conf");
    let output = first.command(&["-c", path.to_str().unwrap(), "-l", "/dev/stderr"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is in use by another process") && output.status.code() == Some(1), "{said}");
}
