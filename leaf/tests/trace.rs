//! Traced messages (`Nats-Trace-Dest`, `traceparent`) beside nats-server: what is told of each, field by field, and who
//! gets the message all the same.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use serde_json::{Value, json};
use std::process::Command;
use support::trace::{Party, settled};
use support::{Server, tool};

const CONFIG: &str = r#"
server_name: T
accounts {
  A {
    users: [
      {user: a, password: a}
      {user: p, password: p, permissions: { publish: ["ok", "tr"], subscribe: {allow: ">", deny: "x.no"} } }
    ]
    mappings: { "old.*": "new.$1" }
    exports: [
      {stream: "news.>"}, {stream: "more.>"}
      {service: "svc.open", allow_trace: true}, {service: "svc.shut"}, {service: "svc.mapped", allow_trace: true}
    ]
    msg_trace: {dest: "sampled", sampling: 100}
  }
  B {
    users: [ {user: b, password: b} ]
    mappings: { "svc.mapped": "elsewhere" }
    imports: [
      {stream: {account: A, subject: "news.>"}, prefix: "from.a", allow_trace: true}
      {stream: {account: A, subject: "more.>"}, to: "b.more.>"}
      {service: {account: A, subject: "svc.open"}, to: "ask.open"}
      {service: {account: A, subject: "svc.shut"}, to: "ask.shut"}
    ]
  }
}
"#;

const TRACE: &str = "Nats-Trace-Dest: tr\r\nX-y: 1\r\nX-y: 2 <&>\r\n";
const ONLY: &str = "Nats-Trace-Dest: tr\r\nNats-Trace-Only: true\r\n";
const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
const UNSAMPLED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";

/// What is told of messages within an account and across accounts.
fn traces(server: &Server) -> Vec<(String, Value)> {
    let mut sink = Party::enter(server, "SINK", "a", "");
    sink.listen("SUB tr 1\nSUB sampled 2");
    let mut b_sink = Party::enter(server, "BSINK", "b", "");
    b_sink.listen("SUB tr 1");
    let mut receiver = Party::enter(server, "RECV", "a", "");
    receiver.listen(
        "SUB x.> 1\nSUB x.yes 2\nSUB q.one workers 3\nSUB new.* 4\nSUB svc.open 5\nSUB svc.shut 6\nSUB svc.mapped 7\nSUB ok 8",
    );
    let mut choosy = Party::enter(server, "CHOOSY", "p", "");
    choosy.listen("SUB x.> 1");
    let mut importer = Party::enter(server, "IMP", "b", "");
    importer.listen("SUB from.a.> 1\nSUB b.more.> 2\nSUB b.more.q group 3");
    let mut a = Party::enter(server, "PUB", "a", "");
    a.listen("SUB answers 1");
    let mut silent = Party::enter(server, "MUTE", "a", r#","echo":false"#);
    silent.listen("SUB x.mine 1");
    let mut limited = Party::enter(server, "LIMIT", "p", "");
    let mut b = Party::enter(server, "ASK", "b", "");
    b.listen("SUB answers 1");
    let mut seen = Vec::new();
    let mut see = |what: &str, sink: &mut Party| {
        let (subject, _, text) = sink.next();
        assert!(subject == "tr" || subject == "sampled", "{what}: {subject}");
        seen.push((format!("{what}: {subject}"), settled(&text)));
    };
    for (subject, headers) in [
        ("nobody", TRACE),
        ("x.yes", TRACE),
        ("x.yes", ONLY),
        ("x.no", TRACE),
        ("q.one", TRACE),
        ("old.x", TRACE),
        ("old.x", ONLY),
        ("news.x", TRACE),
        ("news.x", ONLY),
        ("more.x", TRACE),
        ("more.x", ONLY),
        ("more.q", TRACE),
        ("x.yes", PARENT),
        ("x.yes", &format!("{PARENT}{TRACE}")),
        ("x.yes answers", TRACE),
    ] {
        a.publish(subject, headers);
        see(&format!("{subject} {}", headers.len()), &mut sink);
    }
    silent.publish("x.mine", TRACE);
    see("no echo", &mut sink);
    limited.publish("ok", TRACE);
    see("permitted", &mut sink);
    limited.publish("denied", TRACE);
    see("denied", &mut sink);
    assert!(limited.next().0.contains("Permissions Violation for Publish to \"denied\""));
    for (subject, headers) in [
        ("ask.open answers", TRACE),
        ("ask.open answers", ONLY),
        ("ask.shut answers", TRACE),
        ("ask.open", TRACE),
        ("svc.mapped", TRACE),
    ] {
        b.publish(subject, headers);
        see(&format!("{subject} {}", headers.len()), &mut b_sink);
    }
    // What is not traced, and what is not delivered either; then one that is.
    for headers in [
        UNSAMPLED,
        "Nats-Trace-Dest: trace disabled\r\n",
        "Nats-Trace-Only: true\r\n",
        "Nats-Trace-Dest: no.*\r\n",
        "Nats-Trace-Dest: no.*\r\nNats-Trace-Only: 1\r\n",
        "Nats-Trace-Dest: tr\r\nNats-Trace-Origin-Account: A\r\n",
        "Nats-Trace-Dest: tr\r\nNats-Trace-Origin-Account: A\r\nNats-Trace-Only: on\r\n",
    ] {
        a.publish("ok", headers);
    }
    a.publish("ok", "Nats-Trace-Dest: tr\r\nLast: 1\r\n");
    see("the last", &mut sink);
    // A destination that one may not publish to: the message goes nowhere.
    limited.publish("ok", "Nats-Trace-Dest: secret\r\n");
    assert!(limited.next().0.contains("Permissions Violation for Publish to \"secret\""));
    seen.push(("messages".to_owned(), heard(&mut receiver, "RECV")));
    seen.push(("imported".to_owned(), heard(&mut importer, "IMP")));
    seen
}

/// What a client has got so far, headers and all.
fn heard(party: &mut Party, name: &str) -> Value {
    let text = party.client.until_pong_after_ping();
    let lines = text.lines().filter(|line| !line.is_empty() && *line != "PONG" && *line != "PING");
    let mut all: Vec<String> = Vec::new();
    for line in lines {
        let mut line = line.to_owned();
        while let Some(at) = line.find("_R_.") {
            let end = line[at..].find(char::is_whitespace).map_or(line.len(), |n| at + n);
            line.replace_range(at..end, "<R>");
        }
        if line.starts_with("Nats-Request-Info") {
            continue;
        }
        if line.starts_with("HMSG") {
            // Its sizes follow from what differs.
            let words: Vec<&str> = line.split(' ').collect();
            line = words[..words.len() - 2].join(" ");
        }
        all.push(line);
    }
    assert!(!all.is_empty(), "{name} heard nothing");
    // Headers stand in no order that counts, nor do subscriptions of one client.
    all.sort_unstable();
    all.into()
}

#[test]
fn traces_are_the_same() {
    let servers = Server::both("trace", CONFIG);
    let all: Vec<_> = servers.iter().map(traces).collect();
    for (at, (what, ours)) in all[0].iter().enumerate() {
        let Some((_, theirs)) = all.get(1).map(|seen| &seen[at]) else { continue };
        let pretty = |value| serde_json::to_string_pretty(value).unwrap();
        assert!(ours == theirs, "{what}\nours:   {}\ntheirs: {}", pretty(ours), pretty(theirs));
    }
    let types = |at: usize| -> Vec<&str> {
        all[0][at].1["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
    };
    assert_eq!(types(1), ["in", "eg", "eg", "eg"], "{}", all[0][1].1);
    assert_eq!(all[0][2].1["request"]["header"]["Nats-Trace-Only"], json!(["true"]));
    assert_eq!(types(5), ["in", "eg", "sm"]);
    assert_eq!(types(7), ["in", "eg", "se"]);
    assert_eq!(types(9), ["in", "se"]);
}

/// The `nats` command line shows the way of a message.
#[test]
fn the_command_line_traces() {
    let Some(nats) = tool("nats") else { return };
    let mut shown = Vec::new();
    for server in Server::both("trace-cli", CONFIG) {
        let mut receiver = Party::enter(&server, "RECV", "a", "");
        receiver.listen("SUB new.x 1\nSUB new.x work 2");
        let mut command = Command::new(&nats);
        command.env("HOME", server.path("")).args(["-s", &server.url(), "--user", "a", "--password", "a"]);
        let output = command.args(["trace", "old.x", "hi", "--deliver"]).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{text}");
        // Without what differs: ports, times, ids.
        let words = |line: &str| -> Vec<String> {
            let known = line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
            known.map(str::to_owned).collect()
        };
        let mut lines: Vec<Vec<String>> = text.lines().map(words).filter(|line| !line.is_empty()).collect();
        lines.sort();
        for expected in ["old.x", "new.x", "RECV"] {
            assert!(text.contains(expected), "ours {}: {text}", server.ours);
        }
        shown.push(lines);
    }
    assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "{shown:#?}");
}

/// MQTT takes part: its clients' messages are traced (by user properties), and what they get is told of.
#[test]
fn mqtt_is_traced() {
    let server = Server::start("trace-mqtt", &format!("{CONFIG}\n{}", support::mqtt::MQTT));
    let mut sink = Party::enter(&server, "SINK", "a", "");
    sink.listen("SUB tr 1");
    let mut device = support::mqtt::connect(&server);
    // CONNECT of 5.0 as user a; SUBSCRIBE to x/y.
    device.send(&support::mqtt::packet(0x10, "'MQTT' 05 c2 003c 00 'DEVICE' 'a' 'a'"));
    assert_eq!(device.packet()[0], 0x20);
    device.send(&support::mqtt::packet(0x82, "0001 00 'x/y' 00"));
    assert_eq!(device.packet()[0], 0x90);
    let mut a = Party::enter(&server, "PUB", "a", "");
    a.publish("x.y", ONLY);
    let told = settled(&sink.next().2);
    let egress = json!({"type": "eg", "kind": 0, "name": "DEVICE", "sub": "x.y"});
    assert_eq!(told["events"][1], egress, "{told}");
    assert!(device.packets_so_far().is_empty(), "it was not to be delivered");
    a.publish("x.y", TRACE);
    assert_eq!(settled(&sink.next().2)["events"][1], egress);
    assert_eq!(device.packets_so_far().len(), 1);
    // PUBLISH with the user property Nats-Trace-Dest.
    device.send(&support::mqtt::packet(0x30, "'x/y' 16 26 'Nats-Trace-Dest' 'tr' 6869"));
    let told = settled(&sink.next().2);
    assert_eq!(told["events"][0], json!({"type": "in", "kind": 0, "name": "DEVICE", "acc": "A", "subj": "x.y"}));
    assert_eq!(told["events"][1], egress);
}
