//! Operator mode as a process, with credentials that the real `nsc` made (`operator/make`), beside nats-server:
//! the same attempts are allowed and refused by both, in the same words.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use leaf::auth::jwt::{Account, Operator, User, decode, token};
use leaf::auth::nkey::{Kind, Seed};
use serde_json::{Value, json};
use support::creds::{Creds, claims, fixture};
use support::scene::Scene;
use support::{Client, Server};

const CONFIG: &str = include_str!("operator/server.conf");

/// Signs `claims` with a key of the fixtures.
fn sign(claims: &Value, key: &str) -> String {
    let mut claims = claims.clone();
    claims["iss"] = key.into();
    // Servers take a JWT with a known id for one they have.
    claims["jti"] = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).into();
    token::encode(&claims.to_string(), &signer(key))
}

fn signer(key: &str) -> Seed {
    Seed::parse(fixture(&format!("keys/{key}.nk")).trim()).unwrap()
}

fn unix() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The accounts of the configuration, by name.
fn accounts() -> BTreeMap<String, String> {
    let words = CONFIG.split_whitespace().filter(|word| word.starts_with("eyJ0"));
    let accounts = words.filter_map(|word| Some((decode::<Account>(word).ok()?.name.to_string(), word.to_owned())));
    accounts.collect()
}

fn account_key(name: &str) -> String {
    decode::<Account>(&accounts()[name]).unwrap().subject.into()
}

/// The operator's key that signed the accounts.
fn operator_key() -> String {
    decode::<Account>(&accounts()["A"]).unwrap().issuer.into()
}

/// The servers to compare: ours, and nats-server if there is one.
struct Both {
    ours: Server,
    theirs: Server,
}

impl Both {
    fn start(name: &str, config: impl Fn(&str) -> String) -> Option<Self> {
        let dir = |who: &str| std::env::temp_dir().join(format!("petiole-jwt-{}-{name}-{who}", std::process::id()));
        for who in ["ours", "theirs"] {
            let _ = std::fs::remove_dir_all(dir(who));
        }
        let theirs = Server::start_peer(name, &config(dir("theirs").to_str().unwrap()))?;
        Some(Self { ours: Server::start(name, &config(dir("ours").to_str().unwrap())), theirs })
    }

    fn each(&self) -> [&Server; 2] {
        [&self.ours, &self.theirs]
    }

    /// Plays a scene on both and compares what was heard.
    fn compare(&self, what: &str, scene: impl Fn(&Server) -> Vec<String>) {
        let [ours, theirs] = self.each().map(scene);
        assert_eq!(ours, theirs, "{what}: ours is the first");
    }
}

fn memory(_: &str) -> String {
    CONFIG.to_owned()
}

/// A directory resolver with the accounts of the configuration.
fn full(dir: &str) -> String {
    let resolver = format!("resolver: {{ type: full, dir: '{dir}', allow_delete: true }}");
    CONFIG.replace("resolver: MEMORY", &resolver)
}

/// Without what comes when it likes.
fn without_info(text: &str) -> String {
    let timed = |line: &str| line.starts_with("INFO ") || line.starts_with("PING\r");
    text.split_inclusive('\n').filter(|line| !timed(line)).collect()
}

/// Logs in and says `script`; all answers but INFO.
fn attempt(server: &Server, creds: &Creds, script: &str) -> String {
    let (mut client, connect) = open(server, creds);
    without_info(&client.converse(&format!("{connect}{script}PING\r\n")))
}

fn open(server: &Server, creds: &Creds) -> (Client, String) {
    let mut client = Client::connect(server);
    let info = client.until("\r\n");
    let info: Value = serde_json::from_str(info.trim().strip_prefix("INFO ").unwrap()).unwrap();
    let connect = creds.connect(info["nonce"].as_str().unwrap());
    (client, connect)
}

/// A client that is in.
fn logged_in(server: &Server, creds: &Creds) -> Client {
    let (mut client, connect) = open(server, creds);
    let heard = without_info(&client.converse(&format!("{connect}PING\r\n")));
    assert_eq!(heard, "PONG\r\n", "{} at {}", creds.claims()["name"], server.port);
    // INFO with the account follows the first PONG; the next one is behind it.
    assert_eq!(without_info(&client.converse("PING\r\n")), "PONG\r\n");
    client
}

const USERS: [&str; 23] = [
    "alice", "ben", "bob", "carol", "cleo", "dana", "dave", "day", "dora", "erin", "fred", "gina", "gone", "hans",
    "mallory", "own", "quin", "rita", "sam", "sys", "tom", "ulf", "vera",
];

const OPERATIONS: [&str; 19] = [
    "",
    "SUB a.b 1\r\nPUB a.b 2\r\nhi\r\n",
    "SUB a.> 1\r\nPUB a.hidden 1\r\nx\r\nPUB a.c 1\r\ny\r\n",
    "SUB a.hidden 1\r\n",
    "PUB a.secret 1\r\nx\r\n",
    "PUB other 1\r\nx\r\nSUB other 1\r\n",
    "SUB > 1\r\n",
    "SUB c.x 1\r\nSUB c.y 2\r\nSUB c.z 3\r\n",
    "SUB c.> 1\r\nPUB c.secret 1\r\nx\r\nPUB c.ok 1\r\ny\r\n",
    "SUB c.secret 1\r\n",
    "PUB c.a 20\r\n12345678901234567890\r\n",
    "PUB c.a 21\r\n123456789012345678901\r\n",
    "SUB jobs 1\r\nSUB jobs workers 2\r\nSUB jobs others 3\r\n",
    "SUB req.a 1\r\nPUB req.a back 1\r\nx\r\nPUB back 1\r\ny\r\n",
    "SUB role.x.a 1\r\nSUB role.z.a 2\r\nPUB role.sam.a 1\r\nx\r\nPUB role.sam.no 1\r\nx\r\nPUB role.tom.a 1\r\ny\r\n",
    "SUB acc.A 1\r\nSUB acc.B 2\r\n",
    "PUB x.a 1\r\nx\r\nPUB d.a 1\r\ny\r\n",
    "SUB $SYS.x 1\r\nPUB $SYS.x 1\r\nx\r\n",
    "PUB a.b r 11\r\nhello world\r\nSUB a.1 1\r\nSUB a.2 2\r\nSUB a.3 3\r\nSUB a.4 4\r\n",
];

#[test]
fn what_nsc_made_is_judged_as_by_nats_server() {
    let Some(both) = Both::start("nsc", memory) else { return };
    let (mut count, mut allowed, mut differ) = (0, 0, Vec::new());
    for user in USERS {
        let creds = Creds::of(user);
        // The system account hears of what the server does, which is another matter.
        for operation in OPERATIONS.into_iter().filter(|operation| user != "sys" || !operation.contains("SUB > ")) {
            let [ours, theirs] = both.each().map(|server| attempt(server, &creds, operation));
            count += 1;
            allowed += usize::from(!ours.contains("-ERR"));
            if ours != theirs {
                differ.push(format!("{user} {operation:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{} of {count} differ:\n{}", differ.len(), differ.join("\n"));
    // Both kinds of answers were there.
    assert!(count == 436 && allowed > 100 && allowed < 350, "{allowed} of {count} allowed");
}

/// Credentials that nobody should have: each is a fault of its own.
fn faulty() -> Vec<(&'static str, Creds)> {
    let (alice, sam, carol) = (Creds::of("alice"), Creds::of("sam"), Creds::of("carol"));
    let (a, b, d) = (account_key("A"), account_key("B"), account_key("D"));
    let evil: String = decode::<User>(&Creds::of("mallory").jwt).unwrap().issuer.into();
    let resigned = |creds: &Creds, key: &str, change: &dyn Fn(&mut Value)| {
        let mut claims = creds.claims();
        change(&mut claims);
        Creds { jwt: sign(&claims, key), seed: creds.seed.clone() }
    };
    let plain = |change: &dyn Fn(&mut Value)| resigned(&alice, &a, change);
    let now = unix();
    let hour = |offset: i64| {
        let second = (now + offset * 3600).rem_euclid(86_400);
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    };
    let role: String = decode::<User>(&sam.jwt).unwrap().issuer.into();
    let mut all = vec![
        ("good, signed again", plain(&|_| ())),
        ("no signature", alice.clone().unsigned()),
        ("a bearer's signature is not looked at", Creds { seed: alice.seed.clone(), ..carol.clone() }),
        ("a bearer without signature", carol.unsigned()),
        ("somebody else's signature", Creds { seed: sam.seed.clone(), ..alice.clone() }),
        ("expired", plain(&|claims| claims["exp"] = (now - 10).into())),
        ("not yet", plain(&|claims| claims["nbf"] = (now + 1000).into())),
        ("expires in an hour", plain(&|claims| claims["exp"] = (now + 3600).into())),
        ("from another account's key", resigned(&alice, &b, &|_| ())),
        ("of another account by our key", plain(&|claims| claims["nats"]["issuer_account"] = b.clone().into())),
        ("of an unknown operator's account", resigned(&alice, &evil, &|_| ())),
        (
            "claims the account of another operator",
            resigned(&alice, &evil, &|c| c["nats"]["issuer_account"] = a.clone().into()),
        ),
        ("issuer_account is no key", plain(&|claims| claims["nats"]["issuer_account"] = "A".into())),
        ("issuer_account is a user", plain(&|claims| claims["nats"]["issuer_account"] = claims["sub"].clone())),
        ("version 3", plain(&|claims| claims["nats"]["version"] = 3.into())),
        ("an account instead", plain(&|claims| claims["nats"]["type"] = "account".into())),
        ("a bad network", plain(&|claims| claims["nats"]["src"] = json!(["10.0.0.0"]))),
        ("networks as a text", plain(&|claims| claims["nats"]["src"] = "10.0.0.0/8, 127.0.0.1/32".into())),
        ("an unknown way to connect", plain(&|c| c["nats"]["allowed_connection_types"] = json!(["PIGEON"]))),
        ("an unknown way besides", plain(&|c| c["nats"]["allowed_connection_types"] = json!(["PIGEON", "STANDARD"]))),
        ("a permission that is none", plain(&|claims| claims["nats"]["pub"] = json!({"allow": ["a..b"]}))),
        ("through a proxy only", plain(&|claims| claims["nats"]["proxy_required"] = true.into())),
        ("nothing new", plain(&|claims| claims["nats"]["data"] = (-1).into())),
        (NO_SUBSCRIPTIONS, plain(&|claims| drop(claims["nats"].as_object_mut().unwrap().remove("subs")))),
        ("outside its hours", plain(&|c| c["nats"]["times"] = json!([{"start": hour(1), "end": hour(2)}]))),
        (
            "inside its hours",
            plain(&|c| {
                c["nats"]["times"] = json!([{"start": hour(-1), "end": hour(2)}]);
                c["nats"]["times_location"] = "UTC".into();
            }),
        ),
        ("hours that are none", plain(&|c| c["nats"]["times"] = json!([{"start": "x", "end": "y"}]))),
        ("a zone that is none", plain(&|claims| claims["nats"]["times_location"] = "Europe/Atlantis".into())),
        (
            "bearer where that is forbidden",
            resigned(&Creds::of("dora"), &d, &|c| c["nats"]["bearer_token"] = true.into()),
        ),
        ("scoped with limits of its own", resigned(&sam, &role, &|claims| claims["nats"]["subs"] = 5.into())),
        ("scoped with permissions of its own", resigned(&sam, &role, &|c| c["nats"]["pub"] = json!({"allow": [">"]}))),
        (
            "scoped without issuer_account",
            resigned(&sam, &role, &|c| drop(c["nats"].as_object_mut().unwrap().remove("issuer_account"))),
        ),
        ("scoped, named with blanks", resigned(&sam, &role, &|claims| claims["name"] = "a b".into())),
        (
            "revoked for good, issued later",
            resigned(&Creds::of("gone"), &a, &|claims| claims["iat"] = (now + 10).into()),
        ),
        (
            "null where nothing is",
            plain(&|claims| {
                claims["nats"]["tags"] = Value::Null;
                claims["nats"]["times"] = Value::Null;
            }),
        ),
        ("no JWT", Creds { jwt: String::new(), seed: alice.seed.clone() }),
        ("rubbish", Creds { jwt: "rubbish".to_owned(), seed: alice.seed.clone() }),
        ("two parts", Creds { jwt: alice.jwt.rsplit_once('.').unwrap().0.to_owned(), seed: alice.seed.clone() }),
        ("padded", Creds { jwt: format!("{}=", alice.jwt), seed: alice.seed.clone() }),
        ("the account's own JWT", Creds { jwt: accounts()["A"].clone(), seed: alice.seed.clone() }),
    ];
    for (what, at) in [("cut short", alice.jwt.len() - 3), ("cut in the claims", 100)] {
        all.push((what, Creds { jwt: alice.jwt[..at].to_owned(), seed: alice.seed.clone() }));
    }
    let mut forged = alice.jwt.clone().into_bytes();
    forged[60] = if forged[60] == b'A' { b'B' } else { b'A' };
    all.push(("forged", Creds { jwt: String::from_utf8(forged).unwrap(), seed: alice.seed.clone() }));
    all
}

#[test]
fn forged_and_faulty_credentials_are_judged_as_by_nats_server() {
    let Some(both) = Both::start("faulty", memory) else { return };
    let mut differ = Vec::new();
    let all = faulty();
    for (what, creds) in &all {
        for operation in ["", "SUB a 1\r\nPUB a 1\r\nx\r\n"] {
            let [ours, theirs] = both.each().map(|server| attempt(server, creds, operation));
            // A limit of no subscriptions ends the login, here before and there soon after the first answer.
            let same = ours == theirs || *what == NO_SUBSCRIPTIONS && ended_over_subscriptions(&ours, &theirs);
            if !same {
                differ.push(format!("{what} {operation:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), 2 * all.len(), differ.join("\n"));
}

/// Whoever is refused is in the log once, with the reason and without what he showed, and leaves nothing behind.
#[test]
fn refusals_are_logged_once_and_leave_nothing() {
    const REFUSED: &str = " - authentication error";
    let config = format!("http: \"127.0.0.1:-1\"\ndebug: true\ntrace: true\n{CONFIG}");
    let server = Server::start("refusals", &config);
    let counts = || {
        let page = |path: &str| support::get(server.monitor.unwrap(), path);
        let (varz, accounts) = (page("/varz"), page("/accountz"));
        let accounts = accounts["accounts"].as_array().unwrap().len();
        (varz["connections"].clone(), varz["subscriptions"].clone(), accounts)
    };
    // All accounts that somebody may come in to are there.
    for user in ["alice", "ben", "cleo", "dora"] {
        attempt(&server, &Creds::of(user), "");
    }
    support::eventually("they are gone", || counts().0 == 0);
    let before = counts();
    let all = faulty();
    let (mut refused, mut secrets) = (0, Vec::new());
    for (what, creds) in &all {
        let lines = server.log().matches(REFUSED).count();
        let heard = attempt(&server, creds, "");
        let told = heard == "-ERR 'Authorization Violation'\r\n";
        let new = server.log().matches(REFUSED).count() - lines;
        assert_eq!(new, usize::from(told), "{what}: {heard:?}");
        refused += usize::from(told);
        secrets.extend(creds.seed.clone());
        // What is left of a JWT that was cut says nothing.
        secrets.extend(Some(creds.jwt.clone()).filter(|jwt| jwt.len() > 100));
    }
    assert!(refused > 30 && refused < all.len(), "{refused} of {} were refused", all.len());
    support::eventually("they are gone", || counts().0 == 0);
    assert_eq!(counts(), before);
    let log = server.log();
    for line in log.lines().filter(|line| line.contains(REFUSED)) {
        let reason = line.split_once(REFUSED).unwrap().1.trim_start_matches(": ");
        assert!(reason.len() > 10, "no reason: {line}");
    }
    secrets.sort_unstable();
    secrets.dedup();
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "the log has a secret that begins with {}", &secret[..8]);
        // Nor the last part of a JWT, which is the signature.
        let end = &secret[secret.len() - 30..];
        assert!(!log.contains(end), "the log has the end of a secret: {end}");
    }
}

const NO_SUBSCRIPTIONS: &str = "no subscriptions, by omission";

fn ended_over_subscriptions(ours: &str, theirs: &str) -> bool {
    let error = "-ERR 'maximum subscriptions exceeded'\r\n";
    ours == error && (theirs == "PONG\r\n" || theirs.contains(error))
}

#[test]
fn a_nonce_is_good_for_one_connection() {
    let server = Server::start("nonce", CONFIG);
    let alice = Creds::of("alice");
    let (_first, connect) = open(&server, &alice);
    let mut second = Client::connect(&server);
    let heard = without_info(&second.converse(&format!("{connect}PING\r\n")));
    assert_eq!(heard, "-ERR 'Authorization Violation'\r\n");
}

#[test]
fn connections_end_with_their_user_or_account() {
    let Some(both) = Both::start("expiry", full) else { return };
    both.compare("expiry", |server| {
        let mut claims = Creds::of("alice").claims();
        claims["exp"] = (unix() + 2).into();
        let brief = Creds { jwt: sign(&claims, &account_key("A")), ..Creds::of("alice") };
        let mut account = self::claims(&accounts()["D"]);
        account["exp"] = (unix() + 3).into();
        let mut sys = logged_in(server, &Creds::of("sys"));
        let (mut user, mut member) = (logged_in(server, &brief), logged_in(server, &Creds::of("dora")));
        push(&mut sys, &sign(&account, &operator_key()));
        let ends = [user.end(), member.end()].map(|text| without_info(&text));
        let after = [&brief, &Creds::of("dora")].map(|creds| attempt(server, creds, ""));
        ends.into_iter().chain(after).collect()
    });
}

/// Publishes a request and waits for the answer.
fn request(client: &mut Client, subject: &str, body: &str) -> Value {
    let text = request_text(client, subject, body);
    let mut answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("server");
    }
    answer
}

fn request_text(client: &mut Client, subject: &str, body: &str) -> String {
    client.say(&format!("SUB _INBOX.me 77\r\nPUB {subject} _INBOX.me {}\r\n{body}\r\n", body.len()));
    let mut heard = String::new();
    // The answer has one line of headers and one of text.
    while heard.matches("\r\n").count() < 2 {
        heard.push_str(&client.until("\r\n"));
    }
    client.say("UNSUB 77\r\n");
    heard.split_once("\r\n").unwrap().1.trim_end().to_owned()
}

fn push(sys: &mut Client, jwt: &str) {
    let answer = request(sys, "$SYS.REQ.CLAIMS.UPDATE", jwt);
    assert_eq!(answer["data"]["message"], "jwt updated", "{answer}");
}

/// A change of an account's claims, and what it means for those who are in.
fn change(server: &Server, account: &str, users: &[Creds], alter: &dyn Fn(&mut Value), probe: &str) -> Vec<String> {
    let mut sys = logged_in(server, &Creds::of("sys"));
    let mut clients: Vec<Client> = users.iter().map(|creds| logged_in(server, creds)).collect();
    for client in clients.iter_mut().filter(|_| account == "C") {
        let heard = client.converse("SUB c.a 1\r\nPING\r\n");
        assert_eq!(heard, "PONG\r\n");
    }
    let mut claims = claims(&accounts()[account]);
    alter(&mut claims);
    push(&mut sys, &sign(&claims, &operator_key()));
    let say = |client: &mut Client| {
        client.try_say(format!("{probe}PING\r\n").as_bytes());
        without_info(&client.until_pong_or_end())
    };
    let mut heard: Vec<String> = clients.iter_mut().map(say).collect();
    // nats-server may slip in the limit of a scoped user that has lost its scope: none.
    let limit = |text: &&mut String| account == "A" && *text == "-ERR 'maximum subscriptions exceeded'\r\n";
    heard.iter_mut().filter(limit).for_each(String::clear);
    // nats-server may still pass on what one it has just revoked says.
    if heard[0].contains("Revoked") {
        heard.iter_mut().skip(1).for_each(|text| *text = text.replace("MSG c.a 1 1\r\nx\r\n", ""));
    }
    heard.extend(users.iter().map(|creds| attempt(server, creds, probe)));
    push(&mut sys, &accounts()[account]);
    heard
}

#[test]
fn changes_of_an_account_reach_those_who_are_in() {
    let Some(both) = Both::start("changes", full) else { return };
    let creds = |names: &[&str]| names.iter().map(|name| Creds::of(name)).collect::<Vec<_>>();
    let probe = "PUB c.a 1\r\nx\r\nSUB c.b 2\r\nSUB c.c 3\r\n";
    type Alter = Box<dyn Fn(&mut Value)>;
    let sub = |name: &str| decode::<User>(&Creds::of(name).jwt).unwrap().subject.to_string();
    let issuer = |name: &str| decode::<User>(&Creds::of(name).jwt).unwrap().issuer.to_string();
    let changes: Vec<(&str, &str, Vec<Creds>, Alter)> = vec![
        ("nothing", "C", creds(&["cleo"]), Box::new(|_| ())),
        ("fewer connections", "C", creds(&["cleo", "own"]), Box::new(|c| c["nats"]["limits"]["conn"] = 1.into())),
        ("smaller messages", "C", creds(&["cleo"]), Box::new(|c| c["nats"]["limits"]["payload"] = 0.into())),
        ("more subscriptions", "C", creds(&["cleo"]), Box::new(|c| c["nats"]["limits"]["subs"] = 10.into())),
        ("stricter default permissions", "C", creds(&["cleo", "own"]), {
            Box::new(|c| c["nats"]["default_permissions"] = json!({"sub": {"deny": ["c.a"]}, "pub": {"deny": ["c.a"]}}))
        }),
        ("no default permissions", "C", creds(&["cleo"]), {
            Box::new(|c| drop(c["nats"].as_object_mut().unwrap().remove("default_permissions")))
        }),
        ("a revocation", "C", creds(&["cleo", "own"]), {
            let key = sub("cleo");
            Box::new(move |c| c["nats"]["revocations"] = json!({ (key.clone()): unix() }))
        }),
        ("an old revocation", "C", creds(&["cleo"]), {
            let key = sub("cleo");
            Box::new(move |c| c["nats"]["revocations"] = json!({ (key.clone()): 5 }))
        }),
        ("all revoked", "C", creds(&["cleo", "own"]), {
            Box::new(|c| c["nats"]["revocations"] = json!({ "*": unix() }))
        }),
        ("no bearers", "A", creds(&["alice", "carol"]), {
            Box::new(|c| c["nats"]["limits"]["disallow_bearer"] = true.into())
        }),
        ("no signing keys", "A", creds(&["alice", "sam", "vera"]), {
            Box::new(|c| drop(c["nats"].as_object_mut().unwrap().remove("signing_keys")))
        }),
        ("another scope", "A", creds(&["alice", "sam", "vera"]), {
            let key = issuer("sam");
            Box::new(move |c| {
                let keys = c["nats"]["signing_keys"].as_array_mut().unwrap();
                let scope = keys.iter_mut().find(|scope| scope["key"] == *key).unwrap();
                scope["template"]["pub"]["allow"] = json!(["y.{{name()}}"]);
            })
        }),
        ("not valid any more", "C", creds(&["cleo"]), Box::new(|c| c["nbf"] = 5.into())),
    ];
    for (what, account, users, alter) in &changes {
        both.compare(what, |server| {
            let probe = if *account == "C" { probe } else { "" };
            change(server, account, users, &**alter, probe)
        });
    }
}

/// nats-server leaves such a connection another moment.
#[test]
fn as_many_subscriptions_as_allowed_are_too_many_for_an_account_that_changes() {
    let Some(both) = Both::start("full-up", full) else { return };
    both.compare("subscriptions", |server| {
        let mut sys = logged_in(server, &Creds::of("sys"));
        let mut cleo = logged_in(server, &Creds::of("cleo"));
        assert_eq!(cleo.converse("SUB c.a 1\r\nPING\r\n"), "PONG\r\n");
        let mut claims = claims(&accounts()["C"]);
        claims["nats"]["limits"]["subs"] = 1.into();
        push(&mut sys, &sign(&claims, &operator_key()));
        vec![without_info(&cleo.end())]
    });
}

#[test]
fn requests_about_accounts_are_answered_as_by_nats_server() {
    let Some(both) = Both::start("requests", full) else { return };
    let (a, c) = (account_key("A"), account_key("C"));
    let operator: String =
        CONFIG.split_whitespace().find_map(|w| Some(decode::<Operator>(w).ok()?.subject)).unwrap().into();
    let evil: String = decode::<User>(&Creds::of("mallory").jwt).unwrap().issuer.into();
    let mut broken = claims(&accounts()["C"]);
    broken["nats"]["default_permissions"] = json!({"pub": {"allow": ["a..b"]}});
    let deletion = |signer: &str, subject: &str, accounts: Value| {
        sign(&json!({"sub": subject, "iat": 1, "nats": {"accounts": accounts, "version": 2}}), signer)
    };
    let requests: Vec<(String, String)> = vec![
        ("$SYS.REQ.CLAIMS.LIST".into(), String::new()),
        (format!("$SYS.REQ.ACCOUNT.{a}.CLAIMS.LOOKUP"), String::new()),
        (format!("$SYS.REQ.ACCOUNT.{evil}.CLAIMS.LOOKUP"), String::new()),
        ("$SYS.REQ.CLAIMS.UPDATE".into(), accounts()["C"].clone()),
        (format!("$SYS.REQ.ACCOUNT.{c}.CLAIMS.UPDATE"), accounts()["C"].clone()),
        (format!("$SYS.ACCOUNT.{c}.CLAIMS.UPDATE"), accounts()["C"].clone()),
        (format!("$SYS.REQ.ACCOUNT.{a}.CLAIMS.UPDATE"), accounts()["C"].clone()),
        ("$SYS.REQ.CLAIMS.UPDATE".into(), sign(&broken, &operator_key())),
        ("$SYS.REQ.CLAIMS.DELETE".into(), deletion(&operator, &a, json!([c]))),
        ("$SYS.REQ.CLAIMS.DELETE".into(), deletion(&operator, &operator, json!(["x"]))),
        ("$SYS.REQ.CLAIMS.DELETE".into(), deletion(&operator, &operator, json!([account_key("SYS")]))),
        ("$SYS.REQ.CLAIMS.DELETE".into(), deletion(&operator, &operator, Value::Null)),
        ("$SYS.REQ.CLAIMS.DELETE".into(), deletion(&operator, &operator, json!([c]))),
        ("$SYS.REQ.CLAIMS.DELETE".into(), deletion(&operator, &operator, json!([c]))),
        ("$SYS.REQ.CLAIMS.LIST".into(), String::new()),
        (format!("$SYS.REQ.ACCOUNT.{c}.CLAIMS.LOOKUP"), String::new()),
    ];
    both.compare("requests", |server| {
        let mut sys = logged_in(server, &Creds::of("sys"));
        let mut cleo = logged_in(server, &Creds::of("cleo"));
        let ask = |(subject, body): &(String, String)| format!("{subject} {}", request(&mut sys, subject, body));
        let mut heard: Vec<String> = requests.iter().map(ask).collect();
        heard.push(without_info(&cleo.end()));
        heard.push(attempt(server, &Creds::of("cleo"), ""));
        heard
    });
    // A subject that is no key but a path leads nowhere.
    let mut path = claims(&accounts()["C"]);
    path["sub"] = "../escaped".into();
    let path = sign(&path, &operator_key());
    both.compare("a path", |server| {
        let mut sys = logged_in(server, &Creds::of("sys"));
        let subjects = ["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.x.CLAIMS.UPDATE"];
        subjects.map(|subject| request(&mut sys, subject, &path).to_string()).into()
    });
    assert!(!std::env::temp_dir().join("escaped.jwt").exists());
    // What is no JWT at all is told in other words.
    for server in both.each() {
        let mut sys = logged_in(server, &Creds::of("sys"));
        let answer = request(&mut sys, "$SYS.REQ.CLAIMS.UPDATE", "rubbish");
        assert_eq!((&answer["error"]["code"], &answer["error"]["account"]), (&500.into(), &"n/a".into()), "{answer}");
    }
}

/// Where nothing is stored, a new JWT counts for accounts in use.
#[test]
fn a_memory_resolver_takes_updates_of_live_accounts() {
    let Some(both) = Both::start("update", memory) else { return };
    let mut revoking = claims(&accounts()["C"]);
    revoking["nats"]["revocations"] = json!({ "*": unix() });
    let revoking = sign(&revoking, &operator_key());
    let evil: String = decode::<User>(&Creds::of("mallory").jwt).unwrap().issuer.into();
    let foreign = sign(&claims(&accounts()["C"]), &evil);
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", account_key("C"));
    let other = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", account_key("B"));
    both.compare("update", |server| {
        let mut sys = logged_in(server, &Creds::of("sys"));
        let mut heard = vec![request(&mut sys, &subject, &revoking).to_string()];
        let mut cleo = logged_in(server, &Creds::of("cleo"));
        for (subject, body) in [(&subject, ""), (&other, &revoking), (&subject, &foreign), (&subject, &revoking)] {
            heard.push(request(&mut sys, subject, body).to_string());
        }
        heard.extend([without_info(&cleo.end()), attempt(server, &Creds::of("cleo"), "")]);
        // Nobody answers the rest.
        let script = "SUB _INBOX.l 5\r\nPUB $SYS.REQ.CLAIMS.LIST _INBOX.l 0\r\n\r\nPING\r\n";
        heard.push(without_info(&sys.converse(script)));
        heard
    });
}

#[test]
fn a_reload_takes_new_accounts_from_the_file() {
    let Some(both) = Both::start("reread", memory) else { return };
    let mut claims = claims(&accounts()["C"]);
    claims["nats"]["revocations"] = json!({ "*": unix() });
    let changed = CONFIG.replace(&accounts()["C"], &sign(&claims, &operator_key()));
    both.compare("reload", |server| {
        let (mut cleo, mut alice) = (logged_in(server, &Creds::of("cleo")), logged_in(server, &Creds::of("alice")));
        server.reload(&changed);
        vec![without_info(&cleo.end()), alice.converse("PING\r\n"), attempt(server, &Creds::of("cleo"), "")]
    });
}

/// An account that is gone from the file, or whose new JWT is void, has no users any more.
#[test]
fn a_reload_ends_who_has_lost_the_account() {
    let line = |name: &str| format!("{}: {}", account_key(name), accounts()[name]);
    let mut void = claims(&accounts()["C"]);
    void["exp"] = (unix() - 100).into();
    let void = format!("{}: {}", account_key("C"), sign(&void, &operator_key()));
    for (name, changed) in [("gone", CONFIG.replace(&line("C"), "")), ("void", CONFIG.replace(&line("C"), &void))] {
        assert_ne!(changed, CONFIG);
        let Some(both) = Both::start(name, memory) else { return };
        both.compare(name, |server| {
            let (mut cleo, mut alice) = (logged_in(server, &Creds::of("cleo")), logged_in(server, &Creds::of("alice")));
            server.reload(&changed);
            vec![without_info(&cleo.end()), alice.converse("PING\r\n"), attempt(server, &Creds::of("cleo"), "")]
        });
    }
}

/// A sentinel that is added in the file counts at once.
#[test]
fn a_reload_takes_another_sentinel() {
    let Some(both) = Both::start("resentinel", memory) else { return };
    let changed = format!("{CONFIG}\ndefault_sentinel: {}\n", Creds::of("carol").jwt);
    let nobody = Creds { jwt: String::new(), seed: None };
    both.compare("sentinel", |server| {
        let before = attempt(server, &nobody, "");
        server.reload(&changed);
        let started = std::time::Instant::now();
        let mut after = attempt(server, &nobody, "");
        while after == before && started.elapsed() < support::PATIENCE {
            after = attempt(server, &nobody, "");
        }
        vec![before, after]
    });
}

#[test]
fn ours_keeps_what_was_pushed_over_a_restart() {
    let dir = std::env::temp_dir().join(format!("petiole-jwt-{}-restart", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let preload = CONFIG.find("resolver_preload").unwrap();
    // The system account's users are not signed by its own key, so they need its JWT.
    let system = format!("resolver_preload: {{ {}: {} }}", account_key("SYS"), accounts()["SYS"]);
    let config = full(dir.to_str().unwrap()).replace(&CONFIG[preload..], &system);
    {
        let server = Server::start("restart", &config);
        assert_eq!(attempt(&server, &Creds::of("alice"), ""), "-ERR 'Authorization Violation'\r\n");
        let mut sys = logged_in(&server, &Creds::of("sys"));
        push(&mut sys, &accounts()["A"]);
        assert_eq!(attempt(&server, &Creds::of("alice"), ""), "PONG\r\n");
    }
    let server = Server::start("restart", &config);
    assert_eq!(attempt(&server, &Creds::of("alice"), ""), "PONG\r\n");
    assert_eq!(attempt(&server, &Creds::of("cleo"), ""), "-ERR 'Authorization Violation'\r\n");
    let _ = std::fs::remove_dir_all(&dir);
}

/// An account that signs nobody's users, and a key that is no account's: neither leaves anything behind.
#[test]
fn strangers_are_not_let_in() {
    let server = Server::start("strangers", CONFIG);
    let account = Seed::new(Kind::Account, [9; 32]);
    let user = Seed::new(Kind::User, [8; 32]);
    let claims = json!({
        "iss": account.public().encode(), "sub": user.public().encode(), "iat": unix(), "name": "x", "jti": "x",
        "nats": { "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }
    });
    let creds = Creds { jwt: token::encode(&claims.to_string(), &account), seed: Some(user.encode()) };
    for _ in 0..50 {
        assert_eq!(attempt(&server, &creds, ""), "-ERR 'Authorization Violation'\r\n");
    }
}

/// Options that change who gets in.
#[test]
fn sentinels_pinned_accounts_and_caches() {
    let carol = Creds::of("carol").jwt;
    let nobody = Creds { jwt: String::new(), seed: None };
    let rubbish = Creds { jwt: "rubbish".to_owned(), seed: None };
    let keys =
        decode::<Operator>(CONFIG.split_whitespace().find(|word| decode::<Operator>(word).is_ok()).unwrap()).unwrap();
    let trusted: Vec<String> =
        keys.body.signing_keys.iter().chain([&keys.subject]).map(|key| format!("\"{key}\"")).collect();
    let without_operator: String =
        CONFIG.lines().filter(|line| !line.starts_with("operator")).map(|l| format!("{l}\n")).collect();
    type Build = Box<dyn Fn(&str) -> String>;
    let configs: [(&str, Build); 4] = [
        ("sentinel", Box::new(move |_| format!("{CONFIG}\ndefault_sentinel: {carol}"))),
        ("pinned", Box::new(|_| format!("{CONFIG}\nresolver_pinned_accounts: [{}]", account_key("A")))),
        (
            "cache",
            Box::new(|dir| CONFIG.replace("resolver: MEMORY", &format!("resolver: {{ type: cache, dir: '{dir}' }}"))),
        ),
        ("keys", Box::new(move |_| format!("trusted_keys: [{}]\n{without_operator}", trusted.join(", ")))),
    ];
    for (name, config) in configs {
        let Some(both) = Both::start(name, config) else { return };
        both.compare(name, |server| {
            let users = ["alice", "cleo", "sys", "mallory"].map(Creds::of);
            let all = users.iter().chain([&nobody, &rubbish]);
            all.map(|creds| attempt(server, creds, "SUB c.a 1\r\nPUB c.a 1\r\nx\r\n")).collect()
        });
    }
}

/// A web server with the accounts of the configuration: `/a/` and the key. Ends with the test.
fn serve_accounts() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let by_key: BTreeMap<String, String> =
        accounts().into_values().map(|jwt| (decode::<Account>(&jwt).unwrap().subject.into(), jwt)).collect();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let text = String::from_utf8(request).unwrap();
            let path = text.split(' ').nth(1).unwrap_or_default();
            let body = by_key.get(path.trim_start_matches("/a/")).map_or("", String::as_str);
            let status = if body.is_empty() && path != "/a/" { "404 Not Found" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    port
}

#[test]
fn accounts_come_from_a_web_server() {
    let port = serve_accounts();
    let preload = CONFIG.find("resolver_preload").unwrap();
    let config = CONFIG[..preload].replace("resolver: MEMORY", &format!("resolver: URL(http://127.0.0.1:{port}/a/)"));
    let Some(both) = Both::start("url", |_| config.clone()) else { return };
    both.compare("web server", |server| {
        let heard =
            ["alice", "sys", "mallory", "bob", "gone", "alice"].map(|user| attempt(server, &Creds::of(user), ""));
        // What comes while the account is on its way is not lost.
        let script = "SUB c.x 1\r\nPUB c.x 1\r\ny\r\n";
        heard.into_iter().chain([attempt(server, &Creds::of("cleo"), script)]).collect()
    });
}

/// Without its web server, or with a directory that cannot be, a server does not start.
#[test]
fn a_resolver_that_cannot_work_prevents_the_start() {
    let preload = CONFIG.find("resolver_preload").unwrap();
    let dir = std::env::temp_dir().join(format!("petiole-jwt-{}-start", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("s.conf");
    for (resolver, complaint) in [
        ("URL(http://127.0.0.1:1/a/)", "could not fetch <\"http://127.0.0.1:1/a/\">"),
        ("URL(nonsense)", "could not fetch <\"nonsense/\">"),
        ("{ type: full, dir: '/dev/null/x' }", "/dev/null/x"),
        ("MEM", "error resolving system account: account missing"),
    ] {
        let config = CONFIG[..preload].replace("resolver: MEMORY", &format!("resolver: {resolver}"));
        std::fs::write(&file, format!("listen: \"127.0.0.1:-1\"\n{config}")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(complaint), "{resolver}: {said}");
    }
    let _ = std::fs::remove_dir_all(&dir);
}

/// Private exports: a token that the exporter signed opens them; one that is expired, revoked, somebody else's or of
/// another subject does not.
#[test]
fn activation_tokens_open_private_exports() {
    let (a, b, c) = (account_key("A"), account_key("B"), account_key("C"));
    let now = unix();
    let activation = |issuer: &str, change: &dyn Fn(&mut Value)| {
        let nats = json!({"subject": "priv.>", "kind": "stream", "type": "activation", "version": 2});
        let mut claims = json!({"sub": b, "name": "priv", "iat": now, "nats": nats});
        change(&mut claims);
        sign(&claims, issuer)
    };
    let plain = activation(&a, &|_| ());
    for (what, token, revoked) in [
        ("good", plain.clone(), false),
        ("none", String::new(), false),
        ("revoked", plain, true),
        ("expired", activation(&a, &|claims| claims["exp"] = (now - 5).into()), false),
        ("of another account", activation(&c, &|_| ()), false),
        ("narrower", activation(&a, &|claims| claims["nats"]["subject"] = "priv.x".into()), false),
        ("for another account", activation(&a, &|claims| claims["sub"] = c.clone().into()), false),
        ("for a service", activation(&a, &|claims| claims["nats"]["kind"] = "service".into()), false),
    ] {
        let operator = operator_key();
        let mut exporter = claims(&accounts()["A"]);
        let mut export = json!({"name": "priv", "subject": "priv.>", "type": "stream", "token_req": true});
        if revoked {
            export["revocations"] = json!({ b.clone(): now + 10 });
        }
        exporter["nats"]["exports"].as_array_mut().unwrap().push(export);
        let mut importer = claims(&accounts()["B"]);
        let mut import =
            json!({"name": "priv", "subject": "priv.>", "account": a, "local_subject": "in.>", "type": "stream"});
        if !token.is_empty() {
            import["token"] = token.into();
        }
        importer["nats"]["imports"].as_array_mut().unwrap().push(import);
        let config = CONFIG
            .replace(&accounts()["A"], &sign(&exporter, &operator))
            .replace(&accounts()["B"], &sign(&importer, &operator));
        let Some(both) = Both::start("activation", |_| config.clone()) else { return };
        let heard = both.each().map(|server| {
            let mut scene = Scene::new(server);
            let mut heard = scene.enter_with("alice", &Creds::of("alice"));
            heard += &scene.enter_with("ben", &Creds::of("ben"));
            heard += &scene.turn("ben", "SUB in.> 1\nSUB a.ticks.> 2");
            heard + &scene.turn("alice", "PUB priv.x 1\nx\nPUB ticks.x 1\ny")
        });
        assert_eq!(heard[0], heard[1], "{what}: ours is the first");
        assert_eq!(heard[0].contains("MSG in.x"), what == "good", "{what}: {}", heard[0]);
    }
}

/// Imports follow an account that is pushed, under those who are in.
#[test]
fn imports_follow_a_pushed_account() {
    let Some(both) = Both::start("push-imports", full) else { return };
    both.compare("imports of a pushed account", |server| {
        let mut scene = Scene::new(server);
        for user in ["sys", "alice", "ben"] {
            scene.enter_with(user, &Creds::of(user));
        }
        let mut all = scene.turn("ben", "SUB a.ticks.> 1\nSUB other.> 2");
        for (local, account) in [("other.>", "B"), ("a.ticks.>", "B"), ("", "B")] {
            all += &scene.turn("alice", "PUB ticks.x 1\nx");
            let mut claims = claims(&accounts()[account]);
            let imports = claims["nats"]["imports"].as_array_mut().unwrap();
            imports.retain_mut(|import| {
                import["local_subject"] = local.into();
                import["type"] == "stream" && !local.is_empty()
            });
            let jwt = sign(&claims, &operator_key());
            scene.turn("sys", &format!("PUB $SYS.REQ.CLAIMS.UPDATE {}\n{jwt}", jwt.len()));
            support::eventually("the account has changed", || {
                let heard = scene.turn("alice", "PUB ticks.y 1\ny");
                let arrives =
                    if local.is_empty() { heard.is_empty() } else { heard.contains(&local.replace('>', "y")) };
                if arrives {
                    all += &heard;
                }
                arrives
            });
        }
        vec![all]
    });
}
