//! Messages between accounts, beside nats-server: what each client hears is the same, turn by turn.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use support::Server;
use support::scene::Scene;

/// Plays the turns on both servers. Every line is `name: what it says`, with `;` between lines; a line that starts
/// with `+` is somebody who comes in.
fn play(name: &str, config: &str, script: &str) {
    let servers = Server::both(name, config);
    let mut scenes: Vec<Scene<'_>> = servers.iter().map(Scene::new).collect();
    let mut all = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(who) = line.strip_prefix('+') {
            let (name, connect) = who.trim().split_once(' ').unwrap_or((who.trim(), ""));
            let user = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let login = format!(
                "\"user\":\"{user}\",\"pass\":\"{user}\"{}{connect}",
                if connect.is_empty() { "" } else { "," }
            );
            scenes.iter_mut().for_each(|scene| scene.enter(name, &login));
            continue;
        }
        let (who, said) = line.split_once(": ").unwrap();
        let said = said.replace(" ; ", "\n");
        let heard: Vec<String> = scenes.iter_mut().map(|scene| scene.turn(who, &said)).collect();
        all.push_str(&format!("{line}\n{}", heard[0]));
        if let Some(theirs) = heard.get(1) {
            assert!(
                heard[0] == *theirs,
                "{name}: after {line:?}\nours:\n{}theirs:\n{theirs}\nbefore:\n{all}",
                heard[0]
            );
        }
    }
    assert!(all.contains("MSG "), "nobody heard anything:\n{all}");
    if std::env::var_os("SHOW_SCENES").is_some() {
        println!("=== {name}\n{all}");
    }
}

fn accounts(prov: &str, cons: &str) -> String {
    format!(
        "accounts {{
           P {{ users: [ {{user: p, password: p}} ], exports: [ {prov} ] }}
           C {{ users: [ {{user: c, password: c}} ], imports: [ {cons} ] }}
           D {{ users: [ {{user: d, password: d}} ] }}
         }}"
    )
}

#[test]
fn streams_flow_to_whoever_imports_them() {
    let exports = r#"{stream: "news.>"}, {stream: "t.*.*"}, {stream: "lit"}"#;
    let imports = r#"{stream: {account: P, subject: "news.>"}, prefix: imp},
        {stream: {account: P, subject: "t.*.*"}, to: "y.$2.x.$1"}, {stream: {account: P, subject: lit}}"#;
    play(
        "streams",
        &accounts(exports, imports),
        "
        + p
        + c
        + c2
        + d
        d: SUB > 1
        c: SUB imp.news.> 1
        p: PUB news.x r.p 1 ; n
        p: PUB news 1 ; n
        p: PUB imp.news.x 1 ; n
        c: PUB news.x 1 ; n
        c: UNSUB 1 ; SUB > 2
        p: PUB news.a.b 2 ; hi
        p: PUB t.1.2 2 ; hi
        p: PUB lit 2 ; hi
        p: PUB other 2 ; hi
        c: UNSUB 2 ; SUB y.*.x.7 3
        p: PUB t.7.8 2 ; hi
        p: PUB t.8.7 2 ; no
        p: PUB t.7.7 2 ; hi
        c: SUB y.5.*.* 4 ; SUB imp.*.eu 5
        p: PUB t.9.5 2 ; hi
        p: PUB news.eu 2 ; hi
        p: PUB news.us 2 ; no
        c: UNSUB 4 ; UNSUB 5
        p: PUB t.9.5 2 ; no
        p: HPUB news.h 17 19 ; NATS/1.0 ; A:b ;  ; hi
        c: SUB imp.news.h 6
        p: HPUB news.h 17 19 ; NATS/1.0 ; A:b ;  ; hi
        ",
    );
}

#[test]
fn queue_groups_span_the_accounts() {
    play(
        "queues",
        &accounts(r#"{stream: "q.>"}"#, r#"{stream: {account: P, subject: "q.>"}, to: "in.q.>"}"#),
        "
        + p
        + c
        c: SUB in.q.> workers 1
        p: PUB q.1 1 ; a
        p: PUB q.1 1 ; a
        c: SUB in.q.1 7
        p: PUB q.1 1 ; a
        c: UNSUB 1 ; UNSUB 7
        p: PUB q.1 _INBOX.x 1 ; a
        ",
    );
}

#[test]
fn services_are_asked_and_answer() {
    let exports = r#"{service: "svc.req"}, {service: "many.*", response_type: Stream}, {service: "parts", response: chunked},
        {service: "w.*.*"}"#;
    let imports = r#"{service: {account: P, subject: "svc.req"}, to: "local.svc"}, {service: {account: P, subject: "many.*"}},
        {service: {account: P, subject: parts}, share: true}, {service: {account: P, subject: "w.*.*"}, to: "v.$2.$1"}"#;
    play(
        "services",
        &accounts(exports, imports),
        "
        + p
        + c
        + c2
        c: SUB _INBOX.q 1
        c: PUB local.svc _INBOX.q 3 ; req
        p: SUB svc.req 1 ; SUB many.* 2 ; SUB parts 3 ; SUB w.> 4
        c: PUB local.svc _INBOX.q 3 ; req
        p: PUB <R> 3 ; ans
        p: PUB <R> 4 ; ans2
        c: PUB local.svc 3 ; req
        c: PUB svc.req _INBOX.q 3 ; req
        c: HPUB local.svc _INBOX.q 19 22 ; NATS/1.0 ; A: bc ;  ; req
        p: HPUB <R> 19 22 ; NATS/1.0 ; A: bc ;  ; ans
        c: PUB many.x _INBOX.q 3 ; req
        p: PUB <R> 1 ; 1
        p: PUB <R> 1 ; 2
        p: PUB <R> 0 ;
        p: PUB <R> 1 ; 3
        c: PUB parts _INBOX.q 3 ; req
        p: PUB <R> 1 ; 1
        p: PUB <R> 0 ;
        p: PUB <R> 1 ; 2
        c: PUB v.1.2 _INBOX.q 3 ; req
        p: PUB <R> 2 ; ok
        c: PUB local.svc _INBOX.none 3 ; req
        p: PUB <R> 3 ; ans
        c2: SUB local.> 9 ; SUB _INBOX.> 10
        c: PUB local.svc _INBOX.q 3 ; req
        p: PUB <R> 3 ; ans
        p: SUB svc.* group 5 ; UNSUB 1
        c: PUB local.svc _INBOX.q 3 ; req
        p: SUB > 6
        p: PUB <R> 3 ; ans
        p: UNSUB 6 ; UNSUB 5
        c2: UNSUB 9 ; UNSUB 10
        c: PUB local.svc _INBOX.q 3 ; req
        c: PUB many.none _INBOX.q 3 ; req
        p: UNSUB 2
        c: PUB many.none _INBOX.q 3 ; req
        p: PUB _R_.AAAAAA.BBBBBB 1 ; x
        ",
    );
}

/// Several imports in a row, mappings on the way, and who hears a message of a service.
#[test]
fn requests_go_through_several_accounts() {
    let config = r#"accounts {
      P { users: [ {user: p, password: p} ], exports: [ {service: svc} ], mappings: { svc: real.svc } }
      M { users: [ {user: m, password: m} ]
          imports: [ {service: {account: P, subject: svc}, to: via} ]
          exports: [ {service: via}, {stream: ">"} ] }
      C { users: [ {user: c, password: c} ]
          imports: [ {service: {account: M, subject: via}, to: ask} ], mappings: { please: ask } }
      S { users: [ {user: s, password: s} ], imports: [ {stream: {account: M, subject: ">"}} ] }
    }"#;
    play(
        "chain",
        config,
        "
        + p
        + m
        + c
        + s
        s: SUB > 1
        m: SUB via 1
        p: SUB real.svc 1 ; SUB svc 2
        c: SUB _INBOX.q 1
        c: PUB ask _INBOX.q 2 ; hi
        p: PUB <R> 2 ; ok
        c: PUB please _INBOX.q 2 ; hi
        p: PUB <R> 2 ; ok
        m: PUB via 2 ; me
        m: PUB other 2 ; me
        ",
    );
}

#[test]
fn permissions_hold_on_both_sides() {
    let config = r#"accounts {
      P { users: [ {user: p, password: p, permissions: { publish: { allow: ["news.>", "_R_.>"], deny: "news.secret" } }},
                   {user: r, password: r, permissions: { subscribe: "svc", allow_responses: true }} ]
          exports: [ {stream: "news.>"}, {service: svc} ] }
      C { users: [ {user: c, password: c, permissions: { subscribe: { allow: ["in.>", "_INBOX.>"], deny: "in.news.hidden" }, publish: "ask" }} ]
          imports: [ {stream: {account: P, subject: "news.>"}, prefix: in}, {service: {account: P, subject: svc}, to: ask},
                     {service: {account: P, subject: svc}, to: forbidden} ] }
    }"#;
    play(
        "permitted",
        config,
        "
        + p
        + r
        + c
        c: SUB in.> 1 ; SUB news.> 2 ; SUB _INBOX.q 3
        p: PUB news.a 1 ; x
        p: PUB news.hidden 1 ; x
        p: PUB news.secret 1 ; x
        p: PUB other 1 ; x
        r: SUB svc 1
        c: PUB ask _INBOX.q 2 ; hi
        r: PUB <R> 2 ; ok
        r: PUB <R> 2 ; no
        c: PUB forbidden _INBOX.q 2 ; hi
        c: PUB svc _INBOX.q 2 ; hi
        c: PUB ask _R_.x.y 2 ; hi
        ",
    );
}

/// A sample as JSON, without what differs from run to run but for its presence.
fn sample(client: &mut support::Client) -> serde_json::Value {
    let heard = client.until("}\r\n");
    let text = heard.lines().find(|line| line.starts_with("{\"type\"")).unwrap();
    let mut sample: serde_json::Value = serde_json::from_str(text).unwrap();
    blank(&mut sample);
    sample
}

fn blank(value: &mut serde_json::Value) {
    let Some(map) = value.as_object_mut() else { return };
    for (key, value) in map {
        match key.as_str() {
            "id" | "timestamp" | "start" | "rtt" => *value = "#".into(),
            "service" | "system" | "total" if value.as_i64().unwrap() >= 0 => *value = "#".into(),
            _ => blank(value),
        }
    }
}

#[test]
fn services_are_measured() {
    let config = r#"server_name: S1
        accounts {
          P { users: [ {user: p, password: p} ]
              exports: [ {service: svc, latency: {sampling: "100%", subject: lat}, response_threshold: "300ms"},
                         {service: asked, latency: {sampling: headers, subject: lat}},
                         {service: shared, latency: lat} ] }
          C { users: [ {user: c, password: c} ]
              imports: [ {service: {account: P, subject: svc}}, {service: {account: P, subject: asked}},
                         {service: {account: P, subject: shared}, share: true} ] }
        }"#;
    let login = |user: &str| {
        format!(
            r#"{{"verbose":false,"headers":true,"no_responders":true,"protocol":1,"user":"{user}","pass":"{user}","name":"n{user}","lang":"l","version":"v"}}"#
        )
    };
    let all = Server::both("latency", config).into_iter().map(|server| {
        let server = &server;
        let mut watch = support::Client::login(server, &login("p"));
        watch.say("SUB lat 1\r\n");
        watch.converse("PING\r\n");
        let mut p = support::Client::login(server, &login("p"));
        let mut c = support::Client::login(server, &login("c"));
        let mut samples = Vec::new();
        c.converse("SUB r 1\r\nPUB svc r 1\r\nx\r\nPING\r\n");
        samples.push(sample(&mut watch));
        p.converse("SUB svc 1\r\nSUB asked 2\r\nSUB shared 3\r\nPING\r\n");
        c.say("PUB svc 1\r\nx\r\n");
        samples.push(sample(&mut watch));
        p.until("\r\nx\r\n");
        let ask = |c: &mut support::Client, p: &mut support::Client, said: &str| {
            c.say(said);
            let heard = p.until("\r\nx\r\n");
            let subject = heard.split_whitespace().find(|word| word.starts_with("_R_.")).unwrap().to_owned();
            p.say(&format!("PUB {subject} 2\r\nok\r\n"));
            c.until("\r\nok\r\n");
            heard
        };
        ask(&mut c, &mut p, "PUB svc r 1\r\nx\r\n");
        samples.push(sample(&mut watch));
        let heard = ask(&mut c, &mut p, "PUB shared r 1\r\nx\r\n");
        let info = heard.split_once("Nats-Request-Info: ").unwrap().1.lines().next().unwrap();
        let mut info: serde_json::Value = serde_json::from_str(info).unwrap();
        blank(&mut info);
        samples.push(info);
        samples.push(sample(&mut watch));
        ask(&mut c, &mut p, "PUB asked r 1\r\nx\r\n");
        let traced = "NATS/1.0\r\nTraceparent: 00-4bf9-00f0-01\r\nTracestate: a=b\r\nX: y\r\n\r\nx";
        ask(&mut c, &mut p, &format!("HPUB asked r {} {}\r\n{traced}\r\n", traced.len() - 1, traced.len()));
        samples.push(sample(&mut watch));
        // Nobody answers in time.
        c.say("PUB svc r 1\r\nx\r\n");
        samples.push(sample(&mut watch));
        samples
    });
    let all: Vec<Vec<serde_json::Value>> = all.collect();
    assert_eq!(all[0].len(), 7);
    let statuses: Vec<_> = all[0].iter().map(|sample| sample["status"].as_i64()).collect();
    assert_eq!(statuses, [Some(503), Some(400), Some(200), None, Some(200), Some(200), Some(504)]);
    for theirs in &all[1..] {
        for (ours, theirs) in all[0].iter().zip(theirs) {
            assert_eq!(ours, theirs, "ours is the first");
        }
    }
}

/// Every way into an account asks for permission: what is published, its reply subject, what a mapping or an import
/// makes of it, what is subscribed to, and what would be delivered.
#[test]
fn every_way_in_is_guarded() {
    let config = r#"accounts {
      P { users: [ {user: p, password: p} ]
          exports: [ {stream: "s.>"}, {service: "svc.>"} ]
          mappings: { "m.in": "m.out" } }
      C { users: [
            {user: c, password: c, permissions: {
              publish: { allow: ["ask.>", "m.in", "ok"], deny: ["ask.never"] }
              subscribe: { allow: ["imp.>", "_INBOX.>", "m.*", "ok", "only q"], deny: ["imp.s.deny", "m.hidden"] } }},
            {user: d, password: d} ]
          imports: [ {stream: {account: P, subject: "s.>"}, prefix: imp}, {service: {account: P, subject: "svc.>"}, to: "ask.>"} ]
          mappings: { "m.in": "m.out", "m.in2": "m.hidden" } }
    }"#;
    play(
        "guarded",
        config,
        "
        + p
        + c
        + d
        d: SUB > 1
        c: PUB no 1 ; x
        c: PUB ok 1 ; x
        c: PUB m.in 1 ; x
        c: PUB m.out 1 ; x
        c: PUB m.in2 1 ; x
        c: PUB ok _R_.a.b 1 ; x
        c: PUB ok _GR_.a.b 1 ; x
        c: PUB ok $JS.ACK.a 1 ; x
        c: HPUB no 19 20 ; NATS/1.0 ; A: bc ;  ; x
        c: HPUB ok 19 20 ; NATS/1.0 ; A: bc ;  ; x
        d: UNSUB 1
        c: SUB no 1
        c: SUB m.* 2
        c: SUB m.hidden 3
        c: SUB only 4
        c: SUB only q 5
        c: SUB only r 6
        d: PUB m.out 1 ; x
        d: PUB m.in 1 ; x
        d: PUB m.hidden 1 ; x
        d: PUB m.in2 1 ; x
        c: SUB imp.> 7
        c: SUB imp.s.deny 8
        c: SUB s.> 9
        p: PUB s.ok 1 ; x
        p: PUB s.deny 1 ; x
        p: SUB svc.> 1
        c: SUB _INBOX.c 10
        c: PUB ask.me _INBOX.c 1 ; x
        p: PUB <R> 1 ; y
        c: PUB ask.never _INBOX.c 1 ; x
        c: PUB svc.me _INBOX.c 1 ; x
        d: PUB ask.never hidden 1 ; x
        p: PUB <R> 1 ; y
        d: PUB ask.me m.hidden 1 ; x
        p: PUB <R> 1 ; y
        d: PUB ask.me m.shown 1 ; x
        p: PUB <R> 1 ; y
        ",
    );
}

/// Imports come, change and go with the file; nobody is disconnected, and subscriptions made before count.
#[test]
fn a_reload_changes_imports_under_live_connections() {
    let none = accounts("", "");
    let one = accounts(
        r#"{stream: "s.>"}, {service: svc}"#,
        r#"{stream: {account: P, subject: "s.>"}}, {service: {account: P, subject: svc}}"#,
    );
    let other = accounts(
        r#"{stream: "s.>"}, {service: svc}"#,
        r#"{stream: {account: P, subject: "s.>"}, to: "t.>"}, {service: {account: P, subject: svc}, to: ask}"#,
    );
    let ring = accounts(r#"{service: svc, accounts: [Z]}"#, "");
    let heard = Server::both("reload-imports", &none).into_iter().map(|server| {
        let mut scene = Scene::new(&server);
        for user in ["p", "c"] {
            scene.enter(user, &format!("\"user\":\"{user}\",\"pass\":\"{user}\""));
        }
        let mut all = scene.turn("c", "SUB s.> 1\nSUB t.> 2\nSUB r 3");
        all += &scene.turn("p", "SUB svc 1");
        for config in [&none, &one, &other, &one, &ring, &none] {
            let word = if server.reload(config).contains("Reloaded") { "reloaded" } else { "refused" };
            all += &format!("--- {word}\n");
            all += &scene.turn("p", "PUB s.x 1\nx");
            all += &scene.turn("c", "PUB svc r 1\n1");
            all += &scene.turn("p", "PUB <R> 2\nok");
            all += &scene.turn("c", "PUB ask r 1\n2");
            all += &scene.turn("p", "PUB <R> 2\nok");
        }
        all
    });
    let heard: Vec<String> = heard.collect();
    assert_eq!(heard[0].matches("--- refused").count(), 1, "{}", heard[0]);
    assert_eq!(heard[0].matches("c: ok").count(), 4, "{}", heard[0]);
    for theirs in &heard[1..] {
        assert!(heard[0] == *theirs, "ours:\n{}theirs:\n{theirs}", heard[0]);
    }
}
