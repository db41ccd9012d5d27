//! The broker as a process: what it does about strangers, changes and signals.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::process::Command;
use support::{Client, Server, without_info};

const ROOT: &str = r#"CONNECT {"verbose":false,"user":"root","pass":"p"}"#;
const LIMITED: &str = r#"CONNECT {"verbose":false,"user":"a","pass":"b"}"#;

/// Not a word of theirs differs from ours, but for INFO, which the captures compare.
#[test]
fn answers_as_nats_server_does() {
    let config = r#"
        max_payload: 100
        max_control_line: 256
        authorization { users: [
            { user: root, password: p }
            { user: a, password: b, permissions: {
                publish: { allow: ["ok.>", "_INBOX.>"], deny: "ok.no" }
                subscribe: { allow: ["in.>", "_INBOX.>"], deny: "in.secret" } } }
        ] }"#;
    let Some(theirs) = Server::start_peer("same", config) else { return };
    let ours = Server::start("same", config);
    let long = format!("SUB {} 1\r\n", "x".repeat(300));
    let operations = [
        "",
        "PING\r\n",
        "ping\r\n",
        "PING and more\r\n",
        "PONG\r\n",
        "+OK\r\n",
        "-ERR 'x'\r\n",
        "-ERR\r\n",
        "SUB in.a 1\r\nPUB in.a 2\r\nhi\r\n",
        "SUB in.* 1\r\nSUB in.> 2\r\nPUB in.b 0\r\n\r\n",
        "SUB ok.x 1\r\nPUB ok.x 2\r\nhi\r\n",
        "SUB ok.x q 1\r\nPUB ok.x r 2\r\nhi\r\n",
        "PUB ok.no 1\r\nx\r\n",
        "SUB in.secret 1\r\n",
        "SUB in.secret q 1\r\n",
        "SUB a.b 1\r\nUNSUB 1\r\nPUB a.b 1\r\nx\r\n",
        "SUB a.b 1\r\nUNSUB 1 1\r\nPUB a.b 1\r\nx\r\nPUB a.b 1\r\ny\r\n",
        "SUB a..b 1\r\n",
        "SUB .a 1\r\n",
        "SUB a. 1\r\n",
        "SUB > 1\r\nPUB ok.y 1\r\nz\r\n",
        "SUB a.>.b 1\r\n",
        "SUB a* 1\r\nPUB a* 1\r\nx\r\n",
        "SUB a 1\r\nSUB a 1\r\nPUB a 1\r\nx\r\n",
        "SUB\r\n",
        "SUB a\r\n",
        "SUB a b c d\r\n",
        "SUB  a\t1\r\nPUB a 1\r\nx\r\n",
        "sub a 1\r\npub a 1\r\nx\r\n",
        "UNSUB\r\n",
        "UNSUB 9\r\n",
        "UNSUB 1 2 3\r\n",
        "UNSUB 1 x\r\n",
        "PUB\r\n",
        "PUB a\r\n",
        "PUB a x\r\n",
        "PUB a -1\r\n",
        "PUB a 1 2 3\r\n",
        "PUB a 3\r\nhi\r\n",
        "PUB a 1\r\nhi\r\n",
        "PUB a 101\r\n",
        "PUB a 1234567890\r\n",
        "PUB ok.* 1\r\nx\r\n",
        "PUB ok.x 0\r\n\r\n",
        "PUB ok.x 05\r\nhello\r\n",
        "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        "HPUB a 1\r\n",
        "HPUB\r\n",
        "HPUB a 20 10\r\n",
        "FOO\r\n",
        "\r\n",
        "X",
        "PUBX a 1\r\n",
        "MSG a 1 1\r\nx\r\n",
        "INFO {}\r\n",
        "INFO x\r\n",
        "CONNECT x\r\n",
        "RS+ $G a\r\n",
        "LS+ a\r\n",
        &long,
    ];
    let logins = [
        ROOT.to_owned(),
        LIMITED.to_owned(),
        ROOT.replace("false", "true"),
        ROOT.replace("false", "false,\"pedantic\":true"),
        ROOT.replace("false", "false,\"headers\":true,\"no_responders\":true"),
        ROOT.replace("false", "false,\"echo\":false"),
    ];
    let strangers = [
        "PING\r\n",
        "SUB a 1\r\n",
        "CONNECT {}\r\n",
        "CONNECT {\"user\":\"root\"}\r\n",
        "CONNECT {\"user\":\"root\",\"pass\":\"x\"}\r\n",
        "CONNECT {\"auth_token\":\"p\"}\r\n",
        "CONNECT [1]\r\n",
        "CONNECT\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ];
    let known = logins.iter().flat_map(|login| operations.iter().map(move |op| format!("{login}\r\n{op}PING\r\n")));
    let mut differ = Vec::new();
    let mut count = 0;
    for script in known.chain(strangers.map(str::to_owned)) {
        let [a, b] = [&ours, &theirs].map(|server| without_info(&Client::connect(server).converse(&script)));
        count += 1;
        if a != b {
            differ.push(format!("{script:?}\n  ours   {a:?}\n  theirs {b:?}"));
        }
    }
    assert!(differ.is_empty(), "{} of {count} differ:\n{}", differ.len(), differ.join("\n"));
}

/// An account's bound on subscriptions is one for each of its connections.
#[test]
fn accounts_bound_the_subscriptions_of_each_connection() {
    let config = "accounts { A { users: [{ user: root, password: p }], limits: { max_subs: 2 } } }";
    let Some(theirs) = Server::start_peer("subs", config) else { return };
    let ours = Server::start("subs", config);
    for server in [&ours, &theirs] {
        let [mut one, mut two] = [Client::connect(server), Client::connect(server)];
        for client in [&mut one, &mut two] {
            let heard = client.converse(&format!("{ROOT}\r\nSUB x 1\r\nSUB y 2\r\nPING\r\n"));
            assert_eq!(without_info(&heard), "PONG\r\n");
        }
        assert_eq!(one.converse("SUB z 3\r\nPING\r\n"), "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n");
    }
}

#[test]
fn lame_duck_tells_clients_and_takes_no_more() {
    let server = Server::start("duck", "");
    let mut client = Client::connect(&server);
    client.converse("CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n");
    server.signal("USR2");
    client.until("\"ldm\":true");
    // The listener closes on the loop's next turn.
    let told = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        assert!(told.elapsed() < support::PATIENCE, "still listening");
    }
    assert!(client.converse("PING\r\n").contains("PONG"));
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::start("port", "");
    let port = server.port.to_string();
    let output =
        Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).args(["-a", "127.0.0.1", "-p", &port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&port), "{said}");
}

#[test]
fn ends_well_on_term_and_int() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(signal, "");
        server.signal(signal);
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_hashed_password_lets_in_and_keeps_out() {
    let hash = bcrypt::hash("p", 4).unwrap();
    let server = Server::start("bcrypt", &format!("authorization {{ user: root, password: \"{hash}\" }}"));
    assert_eq!(without_info(&Client::connect(&server).converse(&format!("{ROOT}\r\nPING\r\n"))), "PONG\r\n");
    let wrong = ROOT.replace("\"p\"", "\"q\"");
    let refused = without_info(&Client::connect(&server).converse(&format!("{wrong}\r\nPING\r\n")));
    assert_eq!(refused, "-ERR 'Authorization Violation'\r\n");
}

#[test]
fn only_a_known_certificate_gets_in() {
    let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certs");
    let tls = format!(
        "tls {{ cert_file: \"{certs}/server.pem\", key_file: \"{certs}/server-key.pem\", ca_file: \"{certs}/ca.pem\", verify: true }}"
    );
    let server = Server::start("tls", &tls);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = || async_nats::ConnectOptions::new().add_root_certificates(format!("{certs}/ca.pem").into());
        let mine = options()
            .add_client_certificate(format!("{certs}/client.pem").into(), format!("{certs}/client-key.pem").into());
        let client = mine.connect(server.url()).await.unwrap();
        client.flush().await.unwrap();
        let stray = options()
            .add_client_certificate(format!("{certs}/stray.pem").into(), format!("{certs}/stray-key.pem").into());
        assert!(stray.connect(server.url()).await.is_err());
        assert!(options().connect(server.url()).await.is_err());
        client.flush().await.unwrap();
    });
}

/// Each is ended with its own error, and the one who behaves notices nothing.
#[test]
fn the_hostile_are_ended_and_cost_nobody_else_anything() {
    let config = "max_connections: 3\nmax_subscriptions: 2\nauthorization { user: root, password: p, timeout: 0.3 }";
    let server = Server::start("hostile", config);
    let mut good = Client::connect(&server);
    good.converse(&format!("{ROOT}\r\nSUB x 1\r\nPING\r\n"));
    Client::connect(&server).until("-ERR 'Authentication Timeout'");
    for (said, answer) in [
        ("PUB a 2000000000\r\n", ""),
        ("PUB a 999999999\r\n", "-ERR 'Maximum Payload Violation'"),
        (&*format!("PUB {}", "a".repeat(5000)), "-ERR 'maximum control line exceeded'"),
        ("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nFOO\r\n", "-ERR 'maximum subscriptions exceeded'"),
    ] {
        let mut bad = Client::connect(&server);
        bad.say(&format!("{ROOT}\r\n{said}"));
        let end = bad.end();
        assert!(end.contains(answer), "{said:.40}: {end}");
    }
    let mut second = Client::connect(&server);
    second.converse(&format!("{ROOT}\r\nPING\r\n"));
    let mut third = Client::connect(&server);
    third.converse(&format!("{ROOT}\r\nPING\r\n"));
    Client::connect(&server).until("-ERR 'maximum connections exceeded'");
    assert_eq!(good.converse("PUB x 1\r\ny\r\nPING\r\n"), "MSG x 1 1\r\ny\r\nPONG\r\n");
}

/// 400 MB for someone who reads nothing: memory stays near `max_pending`, then the reader is ended.
#[test]
fn a_stuck_subscriber_is_ended_within_its_bound() {
    let server = Server::start("slow", "max_pending: 4MB\nwrite_deadline: \"1s\"");
    let mut stuck = Client::connect(&server);
    stuck.converse("CONNECT {\"verbose\":false}\r\nSUB x 1\r\nPING\r\n");
    let before = server.resident();
    let mut publisher = Client::connect(&server);
    publisher.say("CONNECT {\"verbose\":false}\r\n");
    let message = [b"PUB x 100000\r\n".to_vec(), vec![b'.'; 100_000], b"\r\n".to_vec()].concat();
    let mut most = 0;
    for at in 0..4_000 {
        assert!(publisher.try_say(&message), "the publisher was ended");
        if at % 20 == 0 {
            most = most.max(server.resident());
        }
    }
    assert!(publisher.converse("PING\r\n").contains("PONG"));
    assert!(most < before + 16 * 1024, "{before} KiB grew to {most} KiB");
    stuck.end();
}
