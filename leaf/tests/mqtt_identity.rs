//! Who an MQTT client is: by the block's own credentials, a certificate, a bearer's JWT; and who may not come by MQTT.
//! Mostly with mosquitto's clients, as people use them.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use leaf::auth::certificate::Certificate;
use support::creds::Creds;
use support::mqtt::{MQTT, packages, port, tool};
use support::tls::{block, certificate, read_certificate};
use support::{Server, get};

/// Whether mosquitto_pub gets a message acknowledged with these arguments. `None` without the program.
fn publishes(server: &Server, more: &[&str]) -> Option<bool> {
    let mut tool = tool("mosquitto_pub")?;
    tool.args(["-p", &port(server).to_string(), "-q", "1", "-t", "a/b", "-m", "x"]).args(more);
    Some(tool.output().unwrap().status.success())
}

/// The same with TLS, and with this certificate if there is one.
fn publishes_over_tls(server: &Server, shows: Option<&str>, more: &[&str]) -> Option<bool> {
    let file = |name: &str| certificate(name).display().to_string();
    let ca = file("ca.pem");
    let mut arguments = vec!["-h", "localhost", "--cafile", &ca];
    let pair = shows.map(|name| (file(&format!("{name}.pem")), file(&format!("{name}-key.pem"))));
    if let Some((cert, key)) = &pair {
        arguments.extend(["--cert", cert, "--key", key]);
    }
    arguments.extend(more);
    publishes(server, &arguments)
}

fn with_tls(more: &str) -> String {
    format!("mqtt {{ host: 127.0.0.1, port: -1\n {} }}\nstore_dir: \"<DIR>/data\"\n", block(more))
}

fn with_login(login: &str) -> String {
    format!("mqtt {{ host: 127.0.0.1, port: -1, {login} }}\nstore_dir: \"<DIR>/data\"\n")
}

/// `authorization` of the block stands in place of the server's, for MQTT and nobody else.
#[test]
fn the_block_has_credentials_of_its_own() {
    let server = Server::start("mqtt-own-user", &with_login("authorization { user: m, password: p, timeout: 3 }"));
    let Some(anonymous) = publishes(&server, &[]) else { return };
    assert!(!anonymous);
    assert_eq!(publishes(&server, &["-u", "m", "-P", "p"]), Some(true));
    assert_eq!(publishes(&server, &["-u", "m", "-P", "q"]), Some(false));
    support::Client::login(&server, r#"{"verbose":false}"#);

    let server = Server::start("mqtt-own-token", &with_login("authorization { token: secret }"));
    assert_eq!(publishes(&server, &["-u", "any", "-P", "secret"]), Some(true));
    assert_eq!(publishes(&server, &["-u", "any", "-P", "other"]), Some(false));

    // The server's single user is no user here then.
    let config = format!(
        "{}authorization {{ user: n, password: p }}\n",
        with_login(
            "authorization { user: m, password: \"$2a$04$abcdefghijklmnopqrstuusPAkIApvNSrrxdx0BTXtj7R2NfqZq36\" }"
        )
    );
    let server = Server::start("mqtt-own-single", &config);
    assert_eq!(publishes(&server, &["-u", "n", "-P", "p"]), Some(false));
    assert_eq!(publishes(&server, &["-u", "m", "-P", "wrong"]), Some(false));
}

/// Who says nothing is a user of the server, by MQTT only.
#[test]
fn the_block_has_a_no_auth_user() {
    let config = format!(
        "{}authorization {{ users: [ {{ user: a, password: p, permissions: {{ publish: \"a.>\" }} }} ] }}\n\
         http: \"127.0.0.1:-1\"\n",
        with_login("no_auth_user: a")
    );
    let server = Server::start("mqtt-own-nobody", &config);
    let Some(anonymous) = publishes(&server, &[]) else { return };
    assert!(anonymous);
    assert_eq!(publishes(&server, &["-u", "a", "-P", "p"]), Some(true));
    assert_eq!(publishes(&server, &["-u", "a", "-P", "x"]), Some(false));
    let mut nats = support::Client::connect(&server);
    nats.until("\r\n");
    nats.say("CONNECT {}\r\nPING\r\n");
    assert!(nats.until_pong_or_end().contains("Authorization Violation"));
    let varz = get(server.monitor.unwrap(), "/varz");
    assert_eq!(varz["mqtt"]["no_auth_user"], "a");
}

/// What nats-server does not start with, we do not either.
#[test]
fn what_does_not_go_together_is_refused() {
    let users = "authorization { users: [ { user: a, password: p } ] }\n";
    let server = Server::start("mqtt-own-refused", MQTT);
    for (login, users, complaint) in [
        ("authorization { user: m, password: p }", users, "mqtt authentication username not compatible with"),
        ("authorization { token: t }", users, "mqtt authentication token not compatible with"),
        ("no_auth_user: zz", users, "no_auth_user: \"zz\" not present as user or nkey"),
        ("no_auth_user: zz", "", "no_auth_user: \"zz\" present, but users/nkeys are not defined"),
        ("authorization { user: m, token: t }", "", "Cannot have a user/pass and token"),
        ("authorization { users: [] }", "", "unknown field \"users\""),
    ] {
        server.write("wrong.conf", &format!("port: -1\nmqtt {{ port: -1, {login} }}\n{users}"));
        let output = server.command(&["-c", server.path("wrong.conf").to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(complaint), "{login}: {text}");
    }
}

#[test]
fn certificates_name_mqtt_users() {
    let users = "authorization { users: [ { user: \"who@mail.example\" }, { user: \"spiffe://petiole/uri\", \
                 allowed_connection_types: [STANDARD] } ] }\n";
    let server = Server::start("mqtt-map", &format!("{}{users}", with_tls("verify_and_map: true")));
    let Some(named) = publishes_over_tls(&server, Some("mail"), &[]) else { return };
    assert!(named);
    assert_eq!(publishes_over_tls(&server, None, &[]), Some(false), "without a certificate");
    assert_eq!(publishes_over_tls(&server, Some("nobody"), &[]), Some(false), "a certificate of nobody");
    assert_eq!(publishes_over_tls(&server, Some("stray"), &[]), Some(false), "a certificate of another authority");
    assert_eq!(publishes_over_tls(&server, Some("uri"), &[]), Some(false), "one who may not come by MQTT");
    // The port of the clients has no TLS, and nothing of this holds there.
    let mut nats = support::Client::connect(&server);
    nats.until("\r\n");
    nats.say("CONNECT {\"user\":\"spiffe://petiole/uri\"}\r\nPING\r\n");
    assert!(nats.until_pong_or_end().contains("PONG"));
}

#[test]
fn keys_of_mqtt_clients_are_pinned() {
    let key = Certificate::parse(&read_certificate("mail.pem")).unwrap().key_id();
    let config = with_tls(&format!("verify: true, pinned_certs: [\"{key}\"]"));
    let server = Server::start("mqtt-pinned", &config);
    let Some(friend) = publishes_over_tls(&server, Some("mail"), &[]) else { return };
    assert!(friend);
    assert_eq!(publishes_over_tls(&server, Some("uri"), &[]), Some(false));
    server.logs("the certificate is not pinned");
}

#[test]
fn paho_speaks_every_version_over_tls() {
    let Some(python) = packages("python") else { return };
    let server = Server::start("mqtt-paho-tls", &with_tls(""));
    let Some(mut tool) = tool("python3") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/paho_roundtrip.py");
    tool.arg(script).arg(port(&server).to_string()).arg(certificate("ca.pem"));
    let output = tool.env("PYTHONPATH", python).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n", "{errors}");
}

/// A bearer's JWT is a password. Who would have to sign cannot come by MQTT.
#[test]
fn bearers_show_their_jwt() {
    let server = Server::start("mqtt-jwt", &format!("{MQTT}{}", include_str!("operator/server.conf")));
    let jwt = |user: &str| Creds::of(user).jwt;
    let Some(bearer) = publishes(&server, &["-u", "any", "-P", &jwt("carol")]) else { return };
    assert!(bearer);
    assert_eq!(publishes(&server, &["-u", "any", "-P", &jwt("alice")]), Some(false));
    assert_eq!(publishes(&server, &["-u", "any", "-P", "nothing"]), Some(false));
    assert_eq!(publishes(&server, &[]), Some(false));
}
