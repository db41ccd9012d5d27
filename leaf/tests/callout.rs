//! Auth callout with a service made of NATS's own Go libraries (`callout/main.go`), beside nats-server: the same
//! attempts have the same outcome, and the account of the service hears of the same failures.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use leaf::auth::jwt::token;
use leaf::auth::nkey::{Kind, Seed};
use leaf::auth::xkey::CurveKey;
use serde_json::{Value, json};
use support::{Client, Server, in_order, tool};

fn issuer() -> Seed {
    Seed::new(Kind::Account, [7; 32])
}

/// The seed of the service's curve key, and its public half.
fn curve() -> (String, String) {
    let bytes = [9; 32];
    (Seed::new(Kind::Curve, bytes).encode(), CurveKey::new(bytes).public().encode())
}

fn config(callout: &str) -> String {
    format!(
        r#"
server_name: C
http: "127.0.0.1:-1"
accounts {{
  AUTH {{ users: [ {{user: auth, password: auth}}, {{user: watch, password: watch}} ] }}
  APP {{ users: [ {{user: fixed, password: fixed}} ] }}
  FREE {{ users: [ {{user: free, password: free}} ] }}
}}
authorization {{ timeout: 1, auth_callout {{ issuer: {}, account: AUTH, auth_users: [auth, watch] {callout} }} }}
"#,
        issuer().public()
    )
}

/// The running service; ends when dropped.
struct Service(Child);

impl Service {
    fn start(server: &Server, curve: Option<&str>) -> Option<Self> {
        Self::log_in(server, "auth", curve)
    }

    /// As this user, or with these credentials.
    fn log_in(server: &Server, user: &str, curve: Option<&str>) -> Option<Self> {
        let program = tool("callout-responder")?;
        let mut command = Command::new(program);
        command.args([&server.url(), user, "auth", &issuer().encode()]).args(curve);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Some(Self(child))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What becomes of a CONNECT, and who one is then.
fn attempt(server: &Server, connect: &Value) -> String {
    let mut client = Client::connect(server);
    client.until("\r\n");
    let mut connect = connect.clone();
    connect["verbose"] = false.into();
    connect["protocol"] = 1.into();
    connect["headers"] = true.into();
    client.say(&format!("CONNECT {connect}\r\nSUB me 1\r\nSUB no.x 2\r\nPING\r\n"));
    let mut said = support::without_info(&client.until_pong_or_end());
    if !said.contains("PONG") {
        return said;
    }
    client.say("PUB $SYS.REQ.USER.INFO me 0\r\n\r\n");
    let message = String::from_utf8(client.message_after_info()).unwrap();
    let body: Value = serde_json::from_str(message.split_once("\r\n").unwrap().1.trim()).unwrap();
    let mut who = body["data"].clone();
    if who.get("expires").is_some() {
        who["expires"] = "some time".into();
    }
    said.push_str(&in_order(who).to_string());
    said.push_str(&without_info(&client.converse("PUB other.x 0\r\n\r\nPUB $SYS.REQ.USER.AUTH 0\r\n\r\nPING\r\n")));
    said
}

fn without_info(text: &str) -> String {
    support::without_info(text).replace("PING\r\n", "")
}

/// Who may try, and whether it gets in.
fn attempts() -> Vec<(Value, bool)> {
    let named = |name: &str| json!({ "user": name, "pass": "secret" });
    let mut all = vec![
        (json!({ "user": "in", "pass": "secret", "name": "n", "lang": "rust", "version": "1" }), true),
        (json!({ "user": "in", "pass": "wrong" }), false),
        (json!({ "auth_token": "tok" }), true),
        (json!({}), false),
        (json!({ "user": "auth", "pass": "auth" }), true),
        (json!({ "user": "auth", "pass": "wrong" }), false),
        (json!({ "user": "fixed", "pass": "fixed" }), false),
    ];
    for (name, admitted) in [
        ("named", true),
        ("limited", true),
        ("global", true),
        ("auth-account", false),
        ("brief", true),
        ("refused", false),
        ("unknown", false),
        ("silent", false),
        ("empty", false),
        ("garbage", false),
        ("nowhere", false),
        ("no-audience", false),
        ("wrong-issuer", false),
        ("wrong-user", false),
        ("wrong-answer", false),
        ("wrong-server", false),
        ("expired", false),
        ("issuer-account", false),
    ] {
        all.push((named(name), admitted));
    }
    all
}

fn play(name: &str, callout: &str, curve: Option<&str>) {
    if tool("callout-responder").is_none() {
        return;
    }
    let config = config(callout);
    let mut transcripts: Vec<Vec<String>> = Vec::new();
    for server in Server::both(name, &config) {
        let _service = Service::start(&server, curve).unwrap();
        let tries = attempts();
        let transcript: Vec<String> = tries.iter().map(|(connect, _)| attempt(&server, connect)).collect();
        for ((connect, admitted), heard) in tries.iter().zip(&transcript) {
            assert_eq!(heard.contains("PONG"), *admitted, "{connect} with ours {}: {heard}", server.ours);
        }
        transcripts.push(transcript);
        if server.ours {
            // nats-server does not look at how one may connect.
            let heard = attempt(&server, &json!({ "user": "mqtt-only", "pass": "secret" }));
            assert_eq!(heard, "-ERR 'Authorization Violation'\r\n");
            let log = server.log();
            for secret in ["secret", "wrong\"", "eyJ0", "tok\""] {
                assert!(!log.contains(secret), "{secret:?} is in the log: {log}");
            }
            let refused = 1 + tries.iter().filter(|(_, admitted)| !admitted).count();
            assert_eq!(log.matches("authentication error").count(), refused, "{log}");
            assert!(log.contains("auth callout service returned an error: nobody by that name"));
        }
    }
    for (at, (connect, _)) in attempts().iter().enumerate() {
        if let Some(theirs) = transcripts.get(1) {
            assert_eq!(transcripts[0][at], theirs[at], "{connect}");
        }
    }
}

#[test]
fn the_service_decides_as_for_nats_server() {
    play("callout", "", None);
}

#[test]
fn questions_and_answers_are_sealed() {
    let (seed, public) = curve();
    play("callout-sealed", &format!(", xkey: {public}"), Some(&seed));
}

/// With `allowed_accounts` those whom the configuration puts into other accounts log in as ever.
#[test]
fn some_accounts_are_left_alone() {
    if tool("callout-responder").is_none() {
        return;
    }
    let both = Server::both("callout-allowed", &config(", allowed_accounts: [APP]"));
    let outcomes = both.iter().map(|server| {
        let _service = Service::start(server, None).unwrap();
        let tries = [("free", "free"), ("free", "no"), ("fixed", "fixed"), ("in", "secret")];
        tries.map(|(user, pass)| attempt(server, &json!({ "user": user, "pass": pass })))
    });
    let outcomes: Vec<_> = outcomes.collect();
    assert!(outcomes[0][0].contains("\"account\":\"FREE\""), "{}", outcomes[0][0]);
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{outcomes:#?}");
}

/// Without a service nobody comes in, and what was begun leaves nothing behind.
#[test]
fn nobody_answers() {
    let both = Server::both("callout-nobody", &config(""));
    for server in &both {
        let heard = attempt(server, &json!({ "user": "in", "pass": "secret" }));
        assert_eq!(heard, "-ERR 'Authorization Violation'\r\n", "ours {}", server.ours);
        assert!(attempt(server, &json!({ "user": "auth", "pass": "auth" })).contains("\"account\":\"AUTH\""));
    }
}

/// The account of the service hears why somebody was not let in.
#[test]
fn the_service_hears_of_failures() {
    if tool("callout-responder").is_none() {
        return;
    }
    let both = Server::both("callout-errors", &config(""));
    let told = both.iter().map(|server| {
        let _service = Service::start(server, None).unwrap();
        let mut watch = Client::login(server, r#"{"verbose":false,"user":"watch","pass":"watch"}"#);
        watch.converse("SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 1\r\nPING\r\n");
        attempt(server, &json!({ "user": "refused", "pass": "x", "name": "n" }));
        let message = String::from_utf8(watch.message()).unwrap();
        let event: Value = serde_json::from_str(message.split_once("\r\n").unwrap().1.trim()).unwrap();
        let client = &event["client"];
        (event["reason"].clone(), event["type"].clone(), client["user"].clone(), client["name"].clone())
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told[0].0, "Auth callout service returned an error: nobody by that name");
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");
}

/// A JWT of version 2, signed by `signer`.
fn token(kind: &str, subject: &str, name: &str, signer: &Seed, mut nats: Value) -> String {
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let claims = json!({ "iss": signer.public().encode(), "sub": subject, "name": name, "iat": 1_700_000_000,
        "jti": format!("{name}-{subject}"), "nats": nats });
    token::encode(&claims.to_string(), signer)
}

/// Operator mode: the account's JWT names the service, and a signing key puts users into another account.
#[test]
fn accounts_name_their_service() {
    if tool("callout-responder").is_none() {
        return;
    }
    let seed = |kind, byte| Seed::new(kind, [byte; 32]);
    let key = |seed: &Seed| seed.public().encode();
    let (operator, system) = (seed(Kind::Operator, 1), seed(Kind::Account, 2));
    let (auth, app, other) = (seed(Kind::Account, 3), seed(Kind::Account, 4), seed(Kind::Account, 5));
    let (service, sentinel) = (seed(Kind::User, 6), seed(Kind::User, 8));
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1 });
    let (curve_seed, curve_key) = curve();
    for curved in [false, true] {
        let mut outside = json!({ "auth_users": [key(&service)], "allowed_accounts": [key(&app)] });
        if curved {
            outside["xkey"] = curve_key.clone().into();
        }
        let signing = json!([key(&issuer())]);
        let account = |own: &Seed, name: &str, more: Value| {
            let mut nats = json!({ "limits": limits.clone() });
            for (field, value) in more.as_object().unwrap() {
                nats[field] = value.clone();
            }
            format!("{}: {}", key(own), token("account", &key(own), name, &operator, nats))
        };
        let preload = [
            account(&system, "SYS", json!({})),
            account(&auth, "AUTH", json!({ "authorization": outside, "signing_keys": signing.clone() })),
            account(&app, "APP", json!({ "signing_keys": signing.clone() })),
            account(&other, "OTHER", json!({ "signing_keys": signing })),
        ];
        let config = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}\n}}\nauthorization {{ timeout: 1 }}\n",
            token("operator", &key(&operator), "op", &operator, json!({ "system_account": key(&system) })),
            key(&system),
            preload.join("\n")
        );
        let user = |own: &Seed, name: &str, bearer: bool| {
            let nats = json!({ "subs": -1, "data": -1, "payload": -1, "bearer_token": bearer });
            token("user", &key(own), name, &auth, nats)
        };
        let tries = |who: &str| json!({ "jwt": user(&sentinel, "sentinel", true), "user": who, "pass": "secret" });
        let everybody = [
            (tries(&format!("as:{}", key(&app))), true),
            (tries(&format!("as:{}", key(&auth))), true),
            (tries(&format!("as:{}", key(&other))), false),
            (tries("named"), false),
            (tries("refused"), false),
            (tries("garbage"), false),
            (tries("wrong-user"), false),
            (json!({ "user": format!("as:{}", key(&app)), "pass": "secret" }), false),
            (json!({ "jwt": user(&sentinel, "sentinel", false), "user": format!("as:{}", key(&app)) }), false),
        ];
        let both = Server::both(&format!("callout-operator-{curved}"), &config);
        let mut transcripts = Vec::new();
        for server in &both {
            let text = format!(
                "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
                user(&service, "service", false),
                service.encode()
            );
            server.write("service.creds", &text);
            let creds = server.path("service.creds");
            let running = Service::log_in(server, creds.to_str().unwrap(), curved.then_some(curve_seed.as_str()));
            assert!(running.is_some());
            let heard: Vec<String> = everybody.iter().map(|(connect, _)| attempt(server, connect)).collect();
            for ((connect, admitted), heard) in everybody.iter().zip(&heard) {
                assert_eq!(heard.contains("PONG"), *admitted, "{connect} with ours {}: {heard}", server.ours);
            }
            transcripts.push(heard);
        }
        for (at, (connect, _)) in everybody.iter().enumerate().filter(|_| transcripts.len() > 1) {
            assert_eq!(transcripts[0][at], transcripts[1][at], "{connect}");
        }
    }
}
