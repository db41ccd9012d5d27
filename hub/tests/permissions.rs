//! Permissions hold on every way into the node: what a client publishes, with headers and without, what it wants answers
//! to, through imports and mappings, where its traces go, by MQTT, in a will, and across a leaf node link.
//!
//! Whoever may not says `bad`, and `good` where he may. Observers with all rights hear the latter alone; so does the one
//! with few, of what others say. Where nats-server knows the way (of MQTT it knows nothing without JetStream), both say the
//! same.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../../leaf/tests/support/mod.rs"]
mod support;

use support::scenes::{client_as, until_heard};
use support::{Client, Server, eventually, mqtt};

const CONFIG: &str = r#"
server_name: HUB
accounts {
  A {
    users: [
      {user: full, password: full}
      {user: few, password: few, permissions: {
        publish: {allow: ["ok.>", "ask.ok", "marker"], deny: ["ok.no"]}
        subscribe: {allow: ["in.>", "end"], deny: ["in.no"]}
      }}
      {user: replies, password: replies, permissions: { publish: {deny: ">"}, subscribe: "req", allow_responses: true }}
    ]
    mappings: { "m.ok": "ok.m", "m.no": "ok.no", "ok.alias": "secret.x" }
    imports: [
      {service: {account: B, subject: "svc"}, to: "ask.ok"}
      {service: {account: B, subject: "svc"}, to: "ask.no"}
      {stream: {account: B, subject: "news"}, to: "in.news"}
      {stream: {account: B, subject: "hidden"}, to: "in.no"}
    ]
  }
  B { users: [ {user: other, password: other} ], exports: [ {service: "svc"}, {stream: "news"}, {stream: "hidden"} ] }
}
leafnodes { listen: "127.0.0.1:-1" }
"#;

/// What it publishes: may it?
const PUBLISHED: [(&str, bool); 16] = [
    ("PUB ok.a 4\r\ngood\r\n", true),
    ("PUB secret 3\r\nbad\r\n", false),
    ("PUB ok.no 3\r\nbad\r\n", false),
    ("HPUB ok.h 12 16\r\nNATS/1.0\r\n\r\ngood\r\n", true),
    ("HPUB secret 12 15\r\nNATS/1.0\r\n\r\nbad\r\n", false),
    ("PUB ok.a back 4\r\ngood\r\n", true),
    ("PUB ok.a _R_.abc.def 3\r\nbad\r\n", false),
    ("PUB ok.a $JS.ACK.a.b.c 3\r\nbad\r\n", false),
    ("PUB _GR_.x 3\r\nbad\r\n", false),
    ("PUB ask.ok 4\r\ngood\r\n", true),
    ("PUB ask.no 3\r\nbad\r\n", false),
    ("PUB m.ok 4\r\ngood\r\n", true),
    ("PUB m.no 3\r\nbad\r\n", false),
    ("PUB ok.alias 3\r\nbad\r\n", false),
    ("HPUB ok.t 37 40\r\nNATS/1.0\r\nNats-Trace-Dest: secret\r\n\r\nbad\r\n", false),
    ("PUB $SYS.REQ.x 3\r\nbad\r\n", false),
];

/// So many of them come to somebody in account A.
const IN_A: usize = 5;

fn observe(server: &Server) -> [Client; 2] {
    ["full", "other"].map(|user| {
        let mut observer = client_as(server, user);
        observer.converse("SUB > 1\r\nPING\r\n");
        observer
    })
}

/// What an observer has heard up to a message that comes last.
fn heard(observer: &mut Client, server: &Server, user: &str) -> String {
    client_as(server, user).converse("PUB marker 3\r\nend\r\nPING\r\n");
    observer.until("end\r\n")
}

fn only_good(text: &str, count: usize, what: &str) {
    assert!(!text.contains("bad\r\n"), "{what}: {text}");
    assert_eq!(text.matches("good\r\n").count(), count, "{what}: {text}");
}

/// What a client with few rights is told of all it tries, and that nobody hears what it must not say.
fn publishing(server: &Server) -> String {
    let [mut inside, mut outside] = observe(server);
    let mut few = client_as(server, "few");
    let mut told = String::new();
    for (said, may) in PUBLISHED {
        few.say(said);
        let answer = few.until_pong_after_ping();
        let answer = support::without_info(&answer).replace("PING\r\n", "");
        assert_eq!(answer.contains("-ERR"), !may, "{said:?}: {answer}");
        told.push_str(&answer);
    }
    only_good(&heard(&mut inside, server, "full"), IN_A, "in A");
    only_good(&heard(&mut outside, server, "other"), 1, "in B");
    told
}

/// What it is told when it subscribes, and what it gets.
fn subscribing(server: &Server) -> String {
    let mut few = client_as(server, "few");
    let told =
        few.converse("SUB in.> 1\r\nSUB in.no 2\r\nSUB in.no q 3\r\nSUB secret 4\r\nSUB > 5\r\nSUB end 6\r\nPING\r\n");
    client_as(server, "full").converse("PUB in.no 3\r\nbad\r\nPUB secret 3\r\nbad\r\nPUB in.a 4\r\ngood\r\nPING\r\n");
    client_as(server, "other").converse("PUB hidden 3\r\nbad\r\nPUB news 4\r\ngood\r\nPING\r\n");
    client_as(server, "full").converse("PUB end 1\r\n.\r\nPING\r\n");
    let text = few.until("MSG end ");
    only_good(&text, 2, "to a subscriber");
    support::without_info(&told).replace("PING\r\n", "")
}

/// Who may only answer answers once.
fn answering(server: &Server) -> String {
    let [mut inside, _] = observe(server);
    let mut replies = client_as(server, "replies");
    replies.converse("SUB req 1\r\nPING\r\n");
    let mut asker = client_as(server, "full");
    asker.converse("PUB req back 1\r\n?\r\nPING\r\n");
    replies.until("?\r\n");
    let told = replies.converse("PUB back 4\r\ngood\r\nPUB back 3\r\nbad\r\nPUB other 3\r\nbad\r\nPING\r\n");
    only_good(&heard(&mut inside, server, "full"), 1, "answers");
    support::without_info(&told).replace("PING\r\n", "")
}

/// Across a leaf node link that logs in as the one with few rights.
fn linking(server: &Server) {
    let url = format!("nats-leaf://few:few@127.0.0.1:{}", server.leafnode_port());
    let config = format!("server_name: LEAF\nleafnodes {{ remotes: [ {{ url: \"{url}\" }} ] }}\n");
    let Some(leaf) = Server::start_leaf(&format!("permissions-leaf-{}", server.ours), &config) else { return };
    let [mut inside, mut outside] = observe(server);
    let mut below = support::scenes::client(&leaf);
    below.converse("SUB in.> 1\r\nSUB end 3\r\nPING\r\n");
    let mut full = client_as(server, "full");
    until_heard(&mut below, &mut inside, "ok.probe");
    until_heard(&mut full, &mut below, "in.probe");
    for (said, may) in PUBLISHED
        .into_iter()
        .filter(|(said, _)| !said.contains("Nats-Trace") && !said.contains(" m.") && !said.contains("alias"))
    {
        // Mappings are the account's: on a link the subject that was said counts. What a client must not say on the leaf
        // itself it does not say here.
        if may || !said.contains("_R_") && !said.contains("$JS") && !said.contains("_GR_") {
            below.say(said);
        }
    }
    below.say("PUB ok.last 1\r\n.\r\n");
    only_good(&inside.until("MSG ok.last "), 4, "from a leaf node");
    below.converse("SUB secret 2\r\nPING\r\n");
    full.converse("PUB in.no 3\r\nbad\r\nPUB secret 3\r\nbad\r\nPUB in.a 4\r\ngood\r\nPUB end 1\r\n.\r\nPING\r\n");
    only_good(&below.until("MSG end "), 1, "to a leaf node");
    only_good(&heard(&mut outside, server, "other"), 1, "from a leaf node into B");
}

/// By MQTT, its will included; a refused will is not published, nor kept.
fn by_mqtt(server: &Server) {
    let [mut inside, mut outside] = observe(server);
    let mut device = mqtt::connect(server);
    device.send(&mqtt::packet(0x10, "'MQTT' 04 c2 003c 'walker' 'few' 'few'"));
    assert_eq!(device.packet(), [0x20, 2, 0, 0]);
    for (topic, payload) in [
        ("ok/a", "676f6f64"),
        ("secret", "626164"),
        ("ok/no", "626164"),
        ("ask/no", "626164"),
        ("ask/ok", "676f6f64"),
        ("ok/alias", "626164"),
    ] {
        device.send(&mqtt::packet(0x30, &format!("'{topic}' {payload}")));
    }
    // A retained one that is refused is not kept either.
    device.send(&mqtt::packet(0x31, "'secret' 626164"));
    device.packets_so_far();
    for topic in ["in/no", "secret", "#"] {
        let answer = device.ask(&mqtt::packet(0x82, &format!("0001 '{topic}' 00")));
        assert_eq!(answer, [0x90, 3, 0, 1, 0x80], "{topic}");
    }
    assert_eq!(device.ask(&mqtt::packet(0x82, "0001 'in/+' 00")), [0x90, 3, 0, 1, 0]);
    let mut full = client_as(server, "full");
    full.converse("PUB in.no 3\r\nno!\r\nPUB in.a 4\r\ngood\r\nPING\r\n");
    let got = device.packets_so_far();
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].ends_with(b"good"));
    for (topic, payload) in [("secret", "'bad'"), ("ok/no", "'bad'"), ("ok/will", "'good'")] {
        let mut dying = mqtt::connect(server);
        dying.send(&mqtt::packet(0x10, &format!("'MQTT' 04 e6 003c 'w' '{topic}' {payload} 'few' 'few'")));
        assert_eq!(dying.packet(), [0x20, 2, 0, 0]);
        drop(dying);
    }
    // The last of the wills is heard, so the others would have been.
    let text = inside.until("MSG ok.will ") + &heard(&mut inside, server, "full");
    // One from each of ok/a, ask/ok, in.a and ok/will.
    only_good(&text, 4, "by MQTT");
    only_good(&heard(&mut outside, server, "other"), 1, "by MQTT into B");
    let mut late = mqtt::connect(server);
    late.send(&mqtt::packet(0x10, "'MQTT' 04 c2 003c 'late' 'full' 'full'"));
    assert_eq!(late.packet(), [0x20, 2, 0, 0]);
    late.send(&mqtt::packet(0x82, "0001 'secret' 00"));
    assert_eq!(late.packets_so_far(), [vec![0x90, 3, 0, 1, 0]], "nothing was kept");
}

#[test]
fn permissions_hold_on_every_way_in() {
    let ours = Server::start("permissions", &format!("{CONFIG}{}", mqtt::MQTT));
    let theirs = Server::start_peer("permissions", CONFIG);
    for (what, scene) in
        [("publishing", publishing as fn(&Server) -> String), ("subscribing", subscribing), ("answering", answering)]
    {
        let mine = scene(&ours);
        if let Some(theirs) = &theirs {
            assert_eq!(mine, scene(theirs), "{what}: ours is the first");
        }
    }
    for server in [Some(&ours), theirs.as_ref()].into_iter().flatten() {
        linking(server);
    }
    by_mqtt(&ours);
    eventually("all are gone but those that were observed", || ours.log().contains("Publish Violation"));
}
