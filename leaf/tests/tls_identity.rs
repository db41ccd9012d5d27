//! Who a client is by its certificate (`verify_and_map`), and pinned keys, beside nats-server.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use leaf::auth::certificate::Certificate;
use serde_json::{Value, json};
use support::tls::{TLS_1_3, Tls, block, read_certificate};
use support::{Server, in_order};

/// What becomes of a client that shows this certificate and says `connect`.
fn attempt(server: &Server, shows: &'static str, connect: &Value) -> String {
    let tls = Tls { shows: Some(shows), ..TLS_1_3 };
    let mut client = tls.after_info(server);
    let mut connect = connect.clone();
    connect["verbose"] = false.into();
    client.say(&format!("CONNECT {connect}\r\nSUB me 1\r\nPING\r\n"));
    let said = support::without_info(&client.until_pong_or_end());
    if !said.contains("PONG") {
        return said;
    }
    client.say("PUB $SYS.REQ.USER.INFO me 0\r\n\r\n");
    let message = String::from_utf8(client.message_after_info()).unwrap();
    let body: Value = serde_json::from_str(message.split_once("\r\n").unwrap().1.trim()).unwrap();
    in_order(body["data"].clone()).to_string()
}

fn users(names: &[&str]) -> String {
    let users: Vec<String> = names.iter().map(|name| format!("{{ user: {} }}", json!(name))).collect();
    format!("authorization {{ users: [ {} ] }}\n", users.join(", "))
}

#[test]
fn certificates_name_users() {
    let maps = block("verify_and_map: true");
    let subject = "CN=subject,OU=a\\, b,O=Petiole tests,DC=petiole,DC=example";
    for (name, users, shows, connect) in [
        ("email", users(&["who@mail.example", "spiffe://petiole/mail"]), "mail", json!({})),
        ("uri-after-email", users(&["spiffe://petiole/mail", "CN=mail,O=Petiole tests"]), "mail", json!({})),
        ("uri", users(&["spiffe://petiole/uri"]), "uri", json!({})),
        ("dns", users(&["client.example"]), "client", json!({})),
        ("subject", users(&["CN=client,O=Petiole tests"]), "client", json!({})),
        ("blanks", users(&["CN = client, O = Petiole tests"]), "client", json!({})),
        ("reordered", users(&["O=Petiole tests,CN=client"]), "client", json!({})),
        ("domains", users(&[subject]), "subject", json!({})),
        (
            "domains-reordered",
            users(&["DC=example,DC=petiole,O=Petiole tests,CN=subject,OU=a\\, b"]),
            "subject",
            json!({}),
        ),
        ("domains-as-go", users(&["CN=subject,OU=a\\, b,O=Petiole tests,DC=example,DC=petiole"]), "subject", json!({})),
        ("less-than-all", users(&["CN=subject,O=Petiole tests"]), "subject", json!({})),
        ("without-domains", users(&["CN=subject,OU=a\\, b,O=Petiole tests"]), "subject", json!({})),
        ("nobody", users(&["who@mail.example"]), "nobody", json!({})),
        ("claims-another", users(&["who@mail.example", "other"]), "mail", json!({ "user": "other" })),
        ("claims-without", users(&["other"]), "nobody", json!({ "user": "other" })),
        ("password", users(&["who@mail.example"]), "mail", json!({ "user": "x", "pass": "x" })),
        (
            "only-mqtt",
            "authorization { users: [ { user: \"who@mail.example\", allowed_connection_types: [MQTT] } ] }\n"
                .to_owned(),
            "mail",
            json!({}),
        ),
        (
            "no-auth-user",
            format!("no_auth_user: other\n{}", users(&["who@mail.example", "other"])),
            "nobody",
            json!({}),
        ),
    ] {
        let outcome = support::same(&format!("tls-map-{name}"), &format!("{maps}{users}"), |server| {
            attempt(server, shows, &connect)
        });
        let refused = ["less-than-all", "nobody", "claims-without", "password", "only-mqtt", "no-auth-user"];
        assert_eq!(outcome.contains("Authorization Violation"), refused.contains(&name), "{name}: {outcome}");
    }
}

#[test]
fn keys_are_pinned() {
    let key = |name: &str| Certificate::parse(&read_certificate(&format!("{name}.pem"))).unwrap().key_id();
    let pinned = |name: &str| block(&format!("verify: true, pinned_certs: [\"{}\"]", key(name)));
    for mut server in Server::both("tls-pinned", &pinned("mail")) {
        assert!(attempt(&server, "mail", &json!({})).contains("\"account\":\"$G\""));
        let tls = Tls { shows: Some("uri"), ..TLS_1_3 };
        let mut stranger = tls.after_info(&server);
        assert_eq!(stranger.end(), "", "ours {}", server.ours);
        let mut friend = Tls { shows: Some("mail"), ..TLS_1_3 }.after_info(&server);
        friend.converse("CONNECT {\"verbose\":false}\r\nPING\r\n");
        // After a reload that pins another key, whoever is in must go.
        let line = server.reload(&pinned("uri"));
        assert!(line.contains("Reloaded"), "{line}");
        friend.ends();
        assert!(attempt(&server, "uri", &json!({})).contains("\"account\":\"$G\""));
        server.child.kill().unwrap();
        server.wait();
    }
}

/// /connz tells what a client showed, as nats-server tells it.
#[test]
fn certificates_are_shown() {
    let config = format!("{}http: \"127.0.0.1:-1\"\n", block("verify: true"));
    let shown = support::same("tls-shown", &config, |server| {
        let mut client = Tls { shows: Some("subject"), ..TLS_1_3 }.after_info(server);
        client.converse("CONNECT {\"verbose\":false}\r\nPING\r\n");
        let address = ("127.0.0.1", server.monitor.unwrap());
        let mut http = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut http, b"GET /connz?auth=1 HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut http, &mut text).unwrap();
        let connz: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        connz["connections"][0]["tls_peer_certs"].to_string()
    });
    assert!(shown.contains("\"spki_sha256\"") && shown.contains("CN=subject"), "{shown}");
}
