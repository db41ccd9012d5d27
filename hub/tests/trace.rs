//! Traces across a leaf node link, with nats-server and ours on either side: each server tells of the message, and says
//! by which way it came.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../../leaf/tests/support/mod.rs"]
mod support;

use serde_json::Value;
use support::scenes::until_heard;
use support::trace::{Party, settled};
use support::{Server, eventually};

const HUB: &str = r#"
server_name: HUB
accounts {
  EXP {
    users: [ {user: e, password: e} ]
    exports: [ {service: "svc.open", allow_trace: true}, {service: "svc.shut"} ]
  }
  IMP {
    users: [ {user: i, password: i} ]
    imports: [ {service: {account: EXP, subject: "svc.open"}}, {service: {account: EXP, subject: "svc.shut"}} ]
  }
}
leafnodes { listen: "127.0.0.1:-1" }
"#;

const TRACE: &str = "Nats-Trace-Dest: tr\r\n";
const ONLY: &str = "Nats-Trace-Dest: tr\r\nNats-Trace-Only: true\r\n";

fn leaf_config(hub: &Server) -> String {
    let url = format!("nats-leaf://e:e@127.0.0.1:{}", hub.leafnode_port());
    let account = "accounts { L { users: [ {user: l, password: l} ] } }";
    format!("server_name: LEAF\n{account}\nleafnodes {{ remotes: [ {{ url: \"{url}\", account: L }} ] }}\n")
}

/// Everything that both servers tell of some messages.
fn scene(hub: &Server, leaf: &Server) -> Vec<Value> {
    let mut above = Party::enter(hub, "ABOVE", "e", "");
    let mut below = Party::enter(leaf, "BELOW", "l", "");
    above.listen("SUB up.> 1\nSUB both 2");
    below.listen("SUB down.> 1\nSUB both 2\nSUB svc.* 3\nSUB svc.* group 4");
    let mut sink = Party::enter(leaf, "SINK", "l", "");
    sink.listen("SUB tr 1");
    let mut asker_sink = Party::enter(hub, "ISINK", "i", "");
    asker_sink.listen("SUB tr 1");
    let mut asker = Party::enter(hub, "ASK", "i", "");
    asker.listen("SUB answers 1");
    until_heard(&mut above.client, &mut below.client, "down.probe");
    until_heard(&mut below.client, &mut above.client, "up.probe");
    until_heard(&mut above.client, &mut sink.client, "tr");
    until_heard(&mut above.client, &mut below.client, "svc.open");
    until_heard(&mut above.client, &mut below.client, "svc.shut");
    // The first request to the service makes the subject by which events come back: the leaf node hears of that meanwhile.
    asker_sink.listen("SUB warm 2");
    eventually("events come back through the import", || {
        asker.publish("svc.open answers", "Nats-Trace-Dest: warm\r\n");
        asker_sink.client.until_pong_after_ping().contains("Nats-Trace-Hop")
    });
    asker_sink.listen("UNSUB 2");
    below.client.until_pong_after_ping();
    let mut seen = Vec::new();
    let mut see = |sink: &mut Party, count: usize| {
        // One more of the probes may come late.
        let mut next = || std::iter::repeat_with(|| sink.next().2).find(|text| text != "x").unwrap();
        let mut told: Vec<Value> = (0..count).map(|_| settled(&next())).collect();
        told.sort_by_key(Value::to_string);
        seen.extend(told);
    };
    for headers in [TRACE, ONLY] {
        below.publish("both", headers);
        see(&mut sink, 2);
        above.publish("both", headers);
        see(&mut sink, 2);
        above.publish("down.x", headers);
        see(&mut sink, 2);
        asker.publish("svc.open answers", headers);
        see(&mut asker_sink, 2);
    }
    asker.publish("svc.shut", TRACE);
    see(&mut asker_sink, 1);
    asker.publish("svc.shut", ONLY);
    see(&mut asker_sink, 1);
    let mut heard = String::new();
    eventually("the request has come", || {
        heard.push_str(&below.client.until_pong_after_ping());
        heard.matches("HMSG svc.shut ").count() >= 2
    });
    assert_eq!(heard.matches("HMSG svc.shut ").count(), 2, "once for each subscription: {heard}");
    assert_eq!(heard.matches("HMSG both ").count(), 2, "{heard}");
    seen
}

#[test]
#[ignore = "races now and then, between two nats-servers, too; run it by hand"]
fn servers_on_both_sides_trace() {
    let mut all: Vec<(String, Vec<Value>)> = Vec::new();
    let Some(peer) = Server::start_peer("trace-hub", HUB) else { return };
    let ours = Server::start("trace-hub", HUB);
    for hub in [&peer, &ours] {
        let config = leaf_config(hub);
        let name = format!("trace-leaf-{}", hub.ours);
        let leafs = [Server::start_peer(&name, &config), Server::start_leaf(&name, &config)];
        for (which, leaf) in leafs.into_iter().enumerate() {
            let Some(leaf) = leaf else { continue };
            let who = format!("our hub: {}, our leaf: {}", hub.ours, which == 1);
            println!("{who}");
            all.push((who, scene(hub, &leaf)));
        }
    }
    let (_, first) = &all[0];
    assert!(first.iter().any(|trace| trace["request"]["header"]["Nats-Trace-Hop"][0] == "1"), "{first:?}");
    for (who, other) in &all[1..] {
        assert_eq!(first.len(), other.len(), "{who}");
        for (theirs, ours) in first.iter().zip(other) {
            let pretty = |value| serde_json::to_string_pretty(value).unwrap();
            assert!(theirs == ours, "{who}\n{}\nnats-server: {}", pretty(ours), pretty(theirs));
        }
    }
}

/// A leaf node that cannot trace gets the message, and nothing that is only to be traced.
#[test]
fn old_servers_do_not_trace() {
    let hub = Server::start("trace-old-hub", HUB);
    let Some(leaf) = Server::start_old_peer("trace-old-leaf", &leaf_config(&hub)) else { return };
    let mut above = Party::enter(&hub, "ABOVE", "e", "");
    above.listen("SUB tr 1");
    let mut below = Party::enter(&leaf, "BELOW", "l", "");
    below.listen("SUB down.> 1");
    let mut from = Party::enter(&hub, "FROM", "e", "");
    until_heard(&mut from.client, &mut below.client, "down.probe");
    let error = |trace: &Value| trace["events"][1]["error"].as_str().unwrap_or_default().to_owned();
    from.publish("down.x", ONLY);
    assert_eq!(error(&settled(&above.next().2)), "Not delivered because remote does not support message tracing");
    from.publish("down.x", TRACE);
    let told = settled(&above.next().2);
    assert!(error(&told).starts_with("Message delivered but remote does not support message tracing"), "{told}");
    assert_eq!(below.next().0, "down.x");
    assert!(below.client.until_pong_after_ping().starts_with("PONG"), "it came once");
}
