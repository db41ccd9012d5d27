//! The system account as a process, beside nats-server: who asks one gets the same fields of the same types from
//! the other, and both tell the same events in the same order.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use support::{Client, Server, in_order, tool};

const CONFIG: &str = r#"
server_name: A
server_tags: ["region:x", "az:1"]
server_metadata: { site: plant }
http: "127.0.0.1:-1"
system_account: SYS
accounts {
  SYS { users: [ {user: s, password: s} ] }
  ACC { users: [ {user: a, password: a}, {user: p, password: p, permissions: { publish: ["x.>", "$SYS.>"], subscribe: { allow: ["me", "y.>"], deny: "y.no" }, allow_responses: { max: 3, expires: "1m" } } } ] }
}
"#;

const SYS: &str = r#"{"verbose":false,"headers":true,"no_responders":true,"protocol":1,"name":"SYS","lang":"tap","version":"0","user":"s","pass":"s"}"#;
const ACC: &str = r#"{"verbose":false,"headers":true,"no_responders":true,"protocol":1,"name":"APP","lang":"x","version":"9","user":"a","pass":"a"}"#;

/// A value without its details: what its fields are called, and of which type they are.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(text) if text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z') => "time".into(),
        Value::String(_) => "text".into(),
        Value::Array(list) => {
            let mut shapes: Vec<Value> = list.iter().map(shape).collect();
            shapes.sort_by_key(Value::to_string);
            shapes.dedup();
            shapes.into()
        }
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect::<Map<_, _>>().into(),
    }
}

/// Somebody in an account who asks and listens.
struct Asker {
    client: Client,
    id: String,
}

impl Asker {
    fn login(server: &Server, connect: &str) -> Self {
        let mut client = Client::connect(server);
        let info = client.until("\r\n");
        let info: Value = serde_json::from_str(info.trim().strip_prefix("INFO ").unwrap()).unwrap();
        client.log_in(connect);
        client.converse("SUB me 1\r\nPING\r\n");
        Self { client, id: info["server_id"].as_str().unwrap().to_owned() }
    }

    /// The next message: its subject, headers and payload.
    fn next(&mut self) -> (String, String, Vec<u8>) {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.client.take(1));
            }
            let line = String::from_utf8(line).unwrap();
            if line.starts_with("PING") || line.starts_with("INFO") || line.starts_with("PONG") {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let size: usize = words.last().unwrap().parse().unwrap();
            let headers: usize = if words[0] == "HMSG" { words[words.len() - 2].parse().unwrap() } else { 0 };
            assert!(words[0] == "MSG" || words[0] == "HMSG", "{line}");
            let body = self.client.take(size + 2);
            let (header, payload) = body[..size].split_at(headers);
            return (
                words[1].replace(&self.id, "<ID>"),
                String::from_utf8_lossy(header).into_owned(),
                payload.to_vec(),
            );
        }
    }

    fn publish(&mut self, subject: &str, reply: &str, body: &str) {
        let subject = subject.replace("<ID>", &self.id);
        self.client.say(&format!("PUB {subject} {reply} {}\r\n{body}\r\n", body.len()));
    }

    /// The answer to a request; text if it is no JSON.
    fn ask(&mut self, subject: &str, body: &str) -> Value {
        self.publish(subject, "me", body);
        let (_, header, payload) = self.next();
        if header.contains("503") {
            return header.into();
        }
        serde_json::from_slice(&payload).unwrap_or_else(|_| String::from_utf8_lossy(&payload).into())
    }

    /// Whether nothing more comes: the next answer is the one to another question.
    fn is_silent(&mut self, subject: &str, body: &str) -> bool {
        self.publish(subject, "me", body);
        let marker = self.ask("$SYS.REQ.SERVER.PING.IDZ", "");
        marker.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>() == ["host", "id", "name"]
    }
}

/// What the two must not differ in: everything but what nats-server alone can have.
fn comparable(mut value: Value) -> Value {
    let absent = |value: &mut Value, path: &str| {
        if let Some((at, name)) = path.rsplit_once('/')
            && let Some(Value::Object(map)) = value.pointer_mut(at)
        {
            map.remove(name);
        }
    };
    // Built from a commit, runs under a garbage collector's limit, and imports what is a subscription here.
    for path in
        ["/data/git_commit", "/data/gomemlimit", "/data/imports", "/data/exports", "/data/account_detail/imports"]
    {
        absent(&mut value, path);
    }
    value
}

fn ask_all(server: &Server) -> BTreeMap<String, Value> {
    let mut system = Asker::login(server, SYS);
    let _member = Client::login(server, ACC);
    let mut answers = BTreeMap::new();
    for (subject, body) in [
        ("$SYS.REQ.SERVER.PING", ""),
        ("$SYS.REQ.SERVER.PING.IDZ", ""),
        ("$SYS.REQ.SERVER.PING.STATSZ", ""),
        ("$SYS.REQ.SERVER.<ID>.STATSZ", r#"{"server_name":"A","tags":["region:x"]}"#),
        ("$SYS.REQ.SERVER.PING.STATSZ", "{bad"),
        ("$SYS.REQ.SERVER.PING.VARZ", ""),
        ("$SYS.REQ.SERVER.<ID>.VARZ", r#"{"server_name":"A","exact_match":true,"host":"127.0.0.1"}"#),
        ("$SYS.REQ.SERVER.PING.VARZ", "{bad"),
        ("$SYS.REQ.SERVER.PING.SUBSZ", ""),
        ("$SYS.REQ.SERVER.PING.SUBSZ", r#"{"subscriptions":true,"limit":3}"#),
        ("$SYS.REQ.SERVER.PING.SUBSZ", r#"{"subscriptions":true,"test":"not a subject"}"#),
        ("$SYS.REQ.SERVER.PING.CONNZ", ""),
        ("$SYS.REQ.SERVER.<ID>.CONNZ", r#"{"auth":true,"subscriptions":true}"#),
        ("$SYS.REQ.SERVER.<ID>.CONNZ", r#"{"auth":true,"subscriptions_detail":true,"sort":"bytes_to","acc":"SYS"}"#),
        ("$SYS.REQ.SERVER.<ID>.CONNZ", r#"{"state":1,"sort":"stop"}"#),
        ("$SYS.REQ.SERVER.<ID>.CONNZ", r#"{"acc":"NOPE"}"#),
        ("$SYS.REQ.SERVER.PING.CONNZ", r#"{"sort":"bogus"}"#),
        ("$SYS.REQ.SERVER.PING.CONNZ", r#"{"sort":"stop"}"#),
        ("$SYS.REQ.SERVER.PING.CONNZ", r#"{"limit":"x"}"#),
        ("$SYS.REQ.SERVER.PING.ROUTEZ", ""),
        ("$SYS.REQ.SERVER.PING.GATEWAYZ", ""),
        ("$SYS.REQ.SERVER.PING.LEAFZ", ""),
        ("$SYS.REQ.SERVER.PING.ACCOUNTZ", ""),
        ("$SYS.REQ.SERVER.PING.ACCOUNTZ", r#"{"account":"ACC"}"#),
        ("$SYS.REQ.SERVER.PING.ACCOUNTZ", r#"{"account":"NOPE"}"#),
        ("$SYS.REQ.SERVER.PING.JSZ", ""),
        ("$SYS.REQ.SERVER.PING.HEALTHZ", ""),
        ("$SYS.REQ.SERVER.PING.HEALTHZ", r#"{"stream":"x"}"#),
        ("$SYS.REQ.SERVER.PING.RAFTZ", ""),
        ("$SYS.REQ.ACCOUNT.ACC.CONNZ", ""),
        ("$SYS.REQ.ACCOUNT.ACC.CONNZ", r#"{"acc":"SYS","auth":true}"#),
        ("$SYS.REQ.ACCOUNT.ACC.SUBSZ", ""),
        ("$SYS.REQ.ACCOUNT.ACC.LEAFZ", ""),
        ("$SYS.REQ.ACCOUNT.ACC.JSZ", ""),
        ("$SYS.REQ.ACCOUNT.ACC.INFO", ""),
        ("$SYS.REQ.ACCOUNT.ACC.STATZ", ""),
        ("$SYS.REQ.ACCOUNT.ACC.CONNS", ""),
        ("$SYS.REQ.ACCOUNT.NOPE.INFO", ""),
        ("$SYS.REQ.ACCOUNT.PING.STATZ", ""),
        ("$SYS.REQ.ACCOUNT.PING.STATZ", r#"{"accounts":["ACC"]}"#),
        ("$SYS.REQ.ACCOUNT.PING.STATZ", r#"{"include_unused":true}"#),
        ("$SYS.REQ.ACCOUNT.NSUBS", r#"{"acc":"SYS","subject":"me"}"#),
        ("$SYS.DEBUG.SUBSCRIBERS", "me"),
        ("$SYS.DEBUG.SUBSCRIBERS", "nobody"),
        ("$SYS.REQ.USER.INFO", ""),
        ("$SYS.REQ.SERVER.<ID>.KICK", r#"{"cid":99999}"#),
        ("$SYS.REQ.SERVER.<ID>.LDM", r#"{"cid":99999}"#),
        ("$SYS.REQ.SERVER.<ID>.RELOAD", ""),
        ("$SYS.REQ.SERVER.OTHER.VARZ", ""),
        ("$SYS.REQ.NOTHING", ""),
    ] {
        answers.insert(format!("{subject} {body}"), comparable(system.ask(subject, body)));
    }
    for (subject, body) in [
        ("$SYS.REQ.SERVER.PING.HEALTHZ", r#"{"server_name":"ZZ"}"#),
        ("$SYS.REQ.SERVER.PING.HEALTHZ", r#"{"server_name":"AA","exact_match":true}"#),
        ("$SYS.REQ.SERVER.PING.VARZ", r#"{"tags":["region:x","nope"]}"#),
        ("$SYS.REQ.SERVER.PING.VARZ", r#"{"cluster":"east"}"#),
        ("$SYS.REQ.SERVER.PING.VARZ", r#"{"domain":"hub"}"#),
        ("$SYS.REQ.SERVER.PING.STATSZ", r#"{"host":"elsewhere"}"#),
        ("$SYS.REQ.ACCOUNT.NOPE.STATZ", ""),
        ("$SYS.REQ.ACCOUNT.NOPE.CONNS", ""),
        ("$SYS.REQ.ACCOUNT.ACC.CONNS", r#"{"acc":"SYS"}"#),
    ] {
        assert!(system.is_silent(subject, body), "{subject} {body}: {}", server.ours);
    }
    for (who, connect) in [("a", ACC.to_owned()), ("p", ACC.replace("\"a\"", "\"p\""))] {
        let mut member = Asker::login(server, &connect);
        for subject in [
            "$SYS.REQ.USER.INFO",
            "$SYS.REQ.ACCOUNT.PING.CONNZ",
            "$SYS.REQ.SERVER.PING.CONNZ",
            "$SYS.REQ.ACCOUNT.PING.STATZ",
            "$SYS.REQ.SERVER.PING.VARZ",
            "$SYS.REQ.ACCOUNT.SYS.CONNZ",
        ] {
            answers.insert(format!("{who} {subject}"), member.ask(subject, ""));
        }
    }
    answers
}

/// Errors are told in words of one's own where a library finds them.
fn without_words(mut value: Value) -> Value {
    let text = value.pointer("/error/description").and_then(Value::as_str).unwrap_or_default();
    let foreign = ["invalid character", "key must be", "cannot unmarshal", "expected"];
    if foreign.iter().any(|words| text.contains(words)) {
        value["error"]["description"] = "about the JSON".into();
    }
    value
}

#[test]
fn answers_have_the_same_fields() {
    let servers = Server::both("system-fields", CONFIG);
    let all: Vec<_> = servers.iter().map(ask_all).collect();
    for (question, answer) in &all[0] {
        if let Some(theirs) = all.get(1).map(|answers| &answers[question]) {
            let (ours, theirs) = (shape(answer), shape(theirs));
            assert_eq!(ours, theirs, "{question}\nours:   {ours}\ntheirs: {theirs}");
        }
    }
    // Errors, and who one is, are the same to the letter.
    for (question, answer) in &all[0] {
        let Some(theirs) = all.get(1).map(|answers| &answers[question]) else { continue };
        let (ours, theirs) = (without_words(answer.clone()), without_words(theirs.clone()));
        assert_eq!(ours.get("error"), theirs.get("error"), "{question}");
        if question.ends_with("$SYS.REQ.USER.INFO") {
            assert_eq!(in_order(ours["data"].clone()), in_order(theirs["data"].clone()), "{question}");
        }
    }
    let ours = &all[0];
    assert_eq!(ours["a $SYS.REQ.USER.INFO"]["data"], json!({"user":"a","account":"ACC","account_name":"ACC"}));
    assert_eq!(ours["$SYS.DEBUG.SUBSCRIBERS me"], 1);
    assert_eq!(ours["$SYS.REQ.ACCOUNT.NSUBS {\"acc\":\"SYS\",\"subject\":\"me\"}"], 1);
    assert!(ours["$SYS.REQ.NOTHING "].as_str().unwrap().contains("503"));
    let connz = &ours["$SYS.REQ.ACCOUNT.ACC.CONNZ {\"acc\":\"SYS\",\"auth\":true}"];
    assert_eq!(connz["data"]["connections"][0]["account"], "ACC", "the subject says which account, not the body");
}

/// Subjects and shapes of what is told while clients come, fail, are kicked and go.
fn events(server: &Server) -> Vec<(String, Value)> {
    let mut system = Asker::login(server, SYS);
    system.client.converse("SUB $SYS.ACCOUNT.> 2\r\nSUB $SYS.SERVER.> 3\r\nPING\r\n");
    let mut heard = Vec::new();
    let mut hear = |system: &mut Asker, count: usize| {
        while heard.len() < count {
            let (subject, _, body) = system.next();
            // Statistics come when they like, and nats-server may tell of this very login once it listens.
            let of_its_own =
                ["$SYS.ACCOUNT.SYS.", "$SYS.SERVER.ACCOUNT.SYS."].iter().any(|own| subject.starts_with(own));
            if subject != "$SYS.SERVER.<ID>.STATSZ" && subject != "me" && !of_its_own {
                heard.push((subject, serde_json::from_slice(&body).unwrap()));
            }
        }
        heard.len()
    };
    let member = Client::login(server, ACC);
    let mut so_far = hear(&mut system, 3);
    drop(member);
    so_far = hear(&mut system, so_far + 3);
    let mut stranger = Client::connect(server);
    stranger.until("\r\n");
    stranger
        .say_and_end("CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"x\",\"name\":\"bad\",\"lang\":\"l\"}\r\n");
    so_far = hear(&mut system, so_far + 2);
    let mut kicked = Client::connect(server);
    let info = kicked.until("\r\n");
    let info: Value = serde_json::from_str(info.trim().strip_prefix("INFO ").unwrap()).unwrap();
    kicked.log_in(ACC);
    so_far = hear(&mut system, so_far + 3);
    system.publish("$SYS.REQ.SERVER.<ID>.KICK", "me", &json!({ "cid": info["client_id"] }).to_string());
    assert_eq!(kicked.end(), "", "it is not told why");
    so_far = hear(&mut system, so_far + 3);
    server.signal("USR2");
    hear(&mut system, so_far + 1);
    heard
}

#[test]
fn events_are_the_same() {
    let config = format!("{CONFIG}\nlame_duck_duration: 30s\nlame_duck_grace_period: 1s\n");
    let servers = Server::both("system-events", &config);
    let all: Vec<_> = servers.iter().map(events).collect();
    let subjects: Vec<&str> = all[0].iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "$SYS.SERVER.ACCOUNT.ACC.CONNS",
            "$SYS.ACCOUNT.ACC.SERVER.CONNS",
            "$SYS.ACCOUNT.ACC.CONNECT",
            "$SYS.SERVER.ACCOUNT.ACC.CONNS",
            "$SYS.ACCOUNT.ACC.SERVER.CONNS",
            "$SYS.ACCOUNT.ACC.DISCONNECT",
            "$SYS.SERVER.<ID>.CLIENT.AUTH.ERR",
            "$SYS.ACCOUNT.$G.DISCONNECT",
            "$SYS.SERVER.ACCOUNT.ACC.CONNS",
            "$SYS.ACCOUNT.ACC.SERVER.CONNS",
            "$SYS.ACCOUNT.ACC.CONNECT",
            "$SYS.SERVER.ACCOUNT.ACC.CONNS",
            "$SYS.ACCOUNT.ACC.SERVER.CONNS",
            "$SYS.ACCOUNT.ACC.DISCONNECT",
            "$SYS.SERVER.<ID>.LAMEDUCK",
        ]
    );
    for (at, (subject, ours)) in all[0].iter().enumerate() {
        let Some((their_subject, theirs)) = all.get(1).map(|events| &events[at]) else { continue };
        assert_eq!(subject, their_subject);
        let (mine, yours) = (shape(ours), shape(theirs));
        assert_eq!(mine, yours, "{subject}\nours:   {mine}\ntheirs: {yours}");
        for same in ["type", "reason", "acc", "name", "conns", "leafnodes", "total_conns"] {
            assert_eq!(ours.get(same), theirs.get(same), "{same} of {subject}");
        }
        for same in ["acc", "user", "name", "lang", "ver", "name_tag", "kind", "client_type", "host"] {
            let (ours, theirs) = (ours.pointer(&format!("/client/{same}")), theirs.pointer(&format!("/client/{same}")));
            assert_eq!(ours, theirs, "{same} of {subject}");
        }
    }
    assert_eq!(all[0][6].1["reason"], "Authentication Failure");
    assert_eq!(all[0][13].1["reason"], "Kicked");
}

/// Who leaves says so, and who is refused is told of in his account: an account's own service of the name hears it, too.
#[test]
fn the_end_and_refusals_are_told() {
    let all: Vec<_> = Server::both("system-end", CONFIG).iter().map(last_words).collect();
    let Some(theirs) = all.get(1) else { return };
    for (ours, theirs) in all[0].iter().zip(theirs) {
        assert_eq!(ours.0, theirs.0);
        let (mine, yours) = (shape(&ours.1), shape(&theirs.1));
        assert_eq!(mine, yours, "{}\nours:   {mine}\ntheirs: {yours}", ours.0);
        for same in ["/reason", "/client/acc", "/client/user", "/client/name", "/client/kind", "/server/name", "/name"]
        {
            assert_eq!(ours.1.pointer(same), theirs.1.pointer(same), "{same} of {}", ours.0);
        }
    }
    assert_eq!(all[0].len(), theirs.len());
    assert!(all[0].iter().any(|(subject, _)| subject == "$SYS.SERVER.<ID>.SHUTDOWN"));
}

/// What is told when three kinds of strangers come, and when the server is asked to end.
fn last_words(server: &Server) -> Vec<(String, Value)> {
    let mut system = Asker::login(server, SYS);
    system.client.converse("SUB $SYS.SERVER.*.CLIENT.AUTH.ERR 2\r\nSUB $SYS.SERVER.*.SHUTDOWN 3\r\nPING\r\n");
    let mut heard = Vec::new();
    for connect in [
        r#"{"verbose":false,"user":"a","pass":"wrong","name":"late","lang":"l","version":"1"}"#,
        r#"{"verbose":false,"user":"nobody","pass":"a"}"#,
        r#"{"verbose":false,"auth_token":"x"}"#,
        r#"{"verbose":false}"#,
    ] {
        let mut stranger = Client::connect(server);
        stranger.until("\r\n");
        assert_eq!(stranger.say_and_end(&format!("CONNECT {connect}\r\n")), "-ERR 'Authorization Violation'\r\n");
        let (subject, _, body) = system.next();
        heard.push((subject, serde_json::from_slice(&body).unwrap()));
    }
    server.signal("TERM");
    let (subject, _, body) = system.next();
    heard.push((subject, serde_json::from_slice(&body).unwrap()));
    heard
}

/// STATSZ comes of its own accord to whoever listens, and once more when asked for without a reply.
#[test]
fn statistics_come_by_themselves() {
    for server in Server::both("system-statsz", CONFIG) {
        let mut system = Asker::login(&server, SYS);
        system.client.converse("SUB $SYS.SERVER.*.STATSZ 2\r\nPING\r\n");
        let (subject, _, body) = system.next();
        assert_eq!(subject, "$SYS.SERVER.<ID>.STATSZ");
        let stats: Value = serde_json::from_slice(&body).unwrap();
        assert!(stats["statsz"]["mem"].as_u64() > Some(0) && stats["server"]["seq"].as_u64() > Some(0), "{stats}");
        system.publish("$SYS.REQ.SERVER.PING.STATSZ", "", "");
        assert_eq!(system.next().0, "$SYS.SERVER.<ID>.STATSZ");
    }
}

/// One client is asked to leave: it alone hears it.
#[test]
fn one_client_is_asked_to_leave() {
    for server in Server::both("system-ldm", CONFIG) {
        let mut system = Asker::login(&server, SYS);
        let mut member = Client::connect(&server);
        let info = member.until("\r\n");
        let info: Value = serde_json::from_str(info.trim().strip_prefix("INFO ").unwrap()).unwrap();
        member.log_in(ACC);
        let answer = system.ask("$SYS.REQ.SERVER.<ID>.LDM", &json!({ "cid": info["client_id"] }).to_string());
        assert!(answer.get("error").is_none(), "{answer}");
        assert!(member.until("\"ldm\":true").starts_with("INFO "));
    }
}

/// An answer says how it is encoded to who cares.
#[test]
fn encodings_are_told() {
    for server in Server::both("system-encoding", CONFIG) {
        let mut system = Asker::login(&server, SYS);
        let header = "NATS/1.0\r\nAccept-Encoding: br\r\n\r\n";
        let size = header.len();
        system.client.say(&format!("HPUB $SYS.REQ.SERVER.PING.HEALTHZ me {size} {size}\r\n{header}\r\n"));
        let (_, header, body) = system.next();
        assert_eq!(header, "NATS/1.0\r\nContent-Encoding: identity\r\n\r\n");
        assert!(String::from_utf8(body).unwrap().contains("\"status_code\":200"));
    }
}

/// The `nats` command line sees of ours what it sees of nats-server, but for figures and Go.
#[test]
fn the_command_line_works() {
    let Some(nats) = tool("nats") else { return };
    for server in Server::both("system-cli", CONFIG) {
        let _member = Client::login(&server, ACC);
        let run = |arguments: &str| {
            let mut command = Command::new(&nats);
            command.env("HOME", server.path("")).args(["-s", &server.url(), "--user", "s", "--password", "s"]);
            let output = command.args(arguments.split(' ')).output().unwrap();
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "nats {arguments}: {text}");
            text
        };
        let has = |arguments: &str, expected: &[&str]| {
            let text = run(arguments);
            for words in expected {
                assert!(text.contains(words), "nats {arguments} lacks {words:?} with ours {}: {text}", server.ours);
            }
        };
        has("server list 1", &["│ A ", "│ 2.15.1 "]);
        has("server ping 1", &["A ", "1 replies"]);
        has("server info", &["Server information for A (N", "Auth Required: true", "Maximum Payload: 1.0 MiB"]);
        has("server info A", &["Server information for A (N"]);
        has("server report connections", &["Top 2 Connections out of 2", "│ APP ", "│ ACC ", "NATS CLI"]);
        has("server report connections --account ACC", &["Top 1 Connections out of 1", "│ APP "]);
        has("server report accounts", &["2 Accounts Overview", "│ ACC ", "│ SYS "]);
        has("server report health", &["ok (200)"]);
        has("server account info ACC", &["Account information for account ACC", "Complete: true"]);
        has("server request variables", &["\"server_name\":\"A\""]);
        has("server request subscriptions --detail", &["\"subscriptions_list\":"]);
        has("account info", &["Account: SYS", "User: s"]);
        let id = run("server info").split_once("for A (").unwrap().1.split(')').next().unwrap().to_owned();
        has(&format!("server config reload {id} --force"), &["Configuration Load Time"]);
        server.logs("Reloaded");
    }
}
