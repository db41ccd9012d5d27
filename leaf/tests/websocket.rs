//! WebSocket against our own binary: the handshake and frames as bytes, and the clients people use, with ws and wss.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::path::Path;
use std::process::Command;

use support::creds::Creds;
use support::mqtt::{MQTT, connect_packet, packages, tool};
use support::tls::{TLS_1_3, block, certificate};
use support::{Client, Server, eventually, get};

const PLAIN: &str = "websocket { host: 127.0.0.1, port: -1, no_tls: true }\n";

fn with(options: &str) -> String {
    format!("{MQTT}websocket {{ host: 127.0.0.1, port: -1, no_tls: true, {options} }}\n")
}

/// Where the server listens for WebSocket: its log says so.
fn port(server: &Server) -> u16 {
    const LINE: &str = "Listening for websocket client connections on ";
    server.logs(LINE);
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains(LINE)).unwrap();
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend((long as u16).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

impl Client {
    /// The answer to a request, and not a byte of what follows.
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.take(1));
        }
        String::from_utf8(head).unwrap()
    }

    /// The next frame of the server: its first byte and what is in it.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        let len = match head[1] {
            126 => self.take(2).iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
            127 => self.take(8).iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
            short => short.into(),
        };
        (head[0], self.take(len))
    }

    /// What data frames say until it ends so.
    fn said(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let (first, payload) = self.frame();
            assert_eq!(first, 0x82, "{text}");
            text += &String::from_utf8(payload).unwrap();
        }
        text
    }
}

/// A connection on which the handshake is done.
fn upgraded(server: &Server, path: &str, more: &str) -> Client {
    let mut client = Client::connect_to(port(server));
    client.say(&request(path, more));
    let answer = client.head();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client
}

/// INFO, a message, a ping, a close: all in frames, in whatever pieces.
#[test]
fn nats_in_frames() {
    let server = Server::start("ws-nats", &format!("{PLAIN}http: \"127.0.0.1:-1\"\n"));
    let mut client = upgraded(&server, "/", "");
    let info = client.said("\r\n");
    assert!(info.starts_with("INFO {") && info.contains(&format!("\"port\":{}", port(&server))), "{info}");
    // A message in three fragments, one of them text, with a ping between them.
    let script = [
        frame(0x01, b"CONNECT {\"verbose\":false,\"name\":\"browser\"}\r\nSUB a 1\r\nPUB a 2\r"),
        frame(0x89, b"are you there?"),
        frame(0x00, b"\nhi\r\nPI"),
        frame(0x80, b"NG\r\n"),
    ]
    .concat();
    for piece in script.chunks(5) {
        client.send(piece);
    }
    assert_eq!(client.frame(), (0x8a, b"are you there?".to_vec()));
    let said = client.said("PONG\r\n");
    assert!(said.contains("MSG a 1 2\r\nhi\r\n"), "{said}");
    let connz = get(server.monitor.unwrap(), "/connz");
    assert_eq!(connz["connections"][0]["type"], "websocket", "{connz}");
    client.send(&frame(0x88, &[0x0f, 0xa1, b'x']));
    let (first, payload) = loop {
        let frame = client.frame();
        if frame.0 != 0x82 {
            break frame;
        }
    };
    assert_eq!((first, &payload[..2]), (0x88, &[0x0f, 0xa1][..]));
    client.ends();
    eventually("it is gone", || get(server.monitor.unwrap(), "/connz")["num_connections"] == 0);
}

/// MQTT where the path says so; the end has a status and a reason.
#[test]
fn mqtt_in_frames() {
    let server = Server::start("ws-mqtt", &with(""));
    let mut client = upgraded(&server, "/some/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n");
    // The first packet right behind the request, and in pieces.
    let connect = connect_packet(2, "x");
    client.send(&frame(0x02, &connect[..3]));
    client.send(&frame(0x80, &connect[3..]));
    assert_eq!(client.frame(), (0x82, vec![0x20, 2, 0, 0]));
    client.send(&frame(0x82, &[0xe0, 0]));
    let (first, payload) = client.frame();
    assert_eq!((first, &payload[..2]), (0x88, &[0x03, 0xe8][..]));
    assert_eq!(payload[2..], *b"Client Closed");
    client.ends();
    // Text is none of MQTT's.
    let mut client = upgraded(&server, "/mqtt", "");
    client.send(&frame(0x81, &connect));
    let (first, payload) = client.frame();
    assert_eq!((first, &payload[..2]), (0x88, &[0x03, 0xeb][..]));
    client.ends();
    let mut eager = Client::connect_to(port(&server));
    eager.send(&[request("/mqtt", "").into_bytes(), frame(0x82, &connect)].concat());
    assert!(eager.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(eager.frame(), (0x82, vec![0x20, 2, 0, 0]));
}

/// Who asks wrongly hears of it, who says nothing is let go, and nobody else notices.
#[test]
fn hostile_handshakes() {
    let server = Server::start("ws-hostile", &format!("{PLAIN}http: \"127.0.0.1:-1\"\n"));
    let mut other = upgraded(&server, "/", "");
    other.said("\r\n");
    let good = request("/", "");
    for (request, status) in [
        (good.replace("GET", "PUT"), "405"),
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), "400"),
        (good.replace(": 13", ": 8"), "400"),
        (request("/mqtt", ""), "404"),
        (request("/leafnode", ""), "404"),
        (request("/", &format!("X: {}\r\n", "x".repeat(9000))), "431"),
        ("CONNECT {}\r\nPING\r\n".to_owned(), "400"),
    ] {
        let mut client = Client::connect_to(port(&server));
        client.say(&request);
        let answer = client.end();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    // A request that never ends, and one that has just begun.
    let config = format!("{}http: \"127.0.0.1:-1\"\n", with("handshake_timeout: \"100ms\""));
    let impatient = Server::start("ws-impatient", &config);
    for beginning in [&good[..20], ""] {
        let mut client = Client::connect_to(port(&impatient));
        client.say(beginning);
        assert_eq!(client.end(), "");
    }
    other.send(&frame(0x81, b"CONNECT {\"verbose\":false}\r\nPING\r\n"));
    other.said("PONG\r\n");
}

/// Whoever breaks the rules of frames is told so, and costs nobody else anything.
#[test]
fn hostile_frames() {
    let server = Server::start("ws-frames", PLAIN);
    let mut other = upgraded(&server, "/", "");
    other.said("\r\n");
    for (bytes, status) in [
        (b"\x81\x04PING".to_vec(), 1002),
        (frame(0xc1, b"PING\r\n"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x09, b"x"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1002),
        (frame(0x88, &[0x03, 0xe8, 0xff]), 1007),
        (frame(0x82, b"NONSENSE\r\n"), 1002),
    ] {
        let mut client = upgraded(&server, "/", "");
        client.said("\r\n");
        client.send(&bytes);
        let (first, payload) = loop {
            let frame = client.frame();
            if frame.0 != 0x82 {
                break frame;
            }
        };
        let told = u16::from_be_bytes([payload[0], payload[1]]);
        assert_eq!((first, told), (0x88, status), "{bytes:x?}");
        client.ends();
    }
    other.send(&frame(0x81, b"CONNECT {\"verbose\":false}\r\nPING\r\n"));
    other.said("PONG\r\n");
}

/// More than a socket takes at once comes whole and in order when its reader is slow.
#[test]
fn a_slow_reader_gets_whole_frames() {
    let server = Server::start("ws-slow", PLAIN);
    let mut reader = upgraded(&server, "/", "");
    reader.said("\r\n");
    reader.send(&frame(0x81, b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPING\r\n"));
    reader.said("PONG\r\n");
    let mut publisher = Client::login(&server, r#"{"verbose":false}"#);
    const MESSAGES: usize = 100;
    const BYTES: usize = 100_000;
    let body = |number: usize| format!("{number:05}{}", "x".repeat(BYTES - 5));
    for number in 0..MESSAGES {
        let body = body(number);
        publisher.say(&format!("PUB a {BYTES}\r\n{body}\r\n"));
    }
    reader.send(&frame(0x89, b"late"));
    let (mut got, mut ponged) = (Vec::new(), false);
    let wanted: Vec<u8> =
        (0..MESSAGES).flat_map(|number| format!("MSG a 1 {BYTES}\r\n{}\r\n", body(number)).into_bytes()).collect();
    while got.len() < wanted.len() {
        match reader.frame() {
            (0x82, payload) => got.extend(payload),
            (first, payload) => {
                assert_eq!((first, &*payload), (0x8a, &b"late"[..]));
                ponged = true;
            }
        }
    }
    assert!(got == wanted && ponged);
}

#[test]
fn pages_and_cookies() {
    let config = format!(
        "websocket {{ host: 127.0.0.1, port: -1, no_tls: true, jwt_cookie: own, allowed_origins: [\"https://a.example\"]\n\
         headers {{ X-Served-By: petiole }} }}\n{}",
        include_str!("operator/server.conf")
    );
    let server = Server::start("ws-cookies", &config);
    let mut stranger = Client::connect_to(port(&server));
    stranger.say(&request("/", "Origin: https://b.example\r\n"));
    assert!(stranger.end().starts_with("HTTP/1.1 403 "));
    let says = |cookie: &str| {
        let mut client = Client::connect_to(port(&server));
        client.say(&request("/", &format!("Origin: https://a.example\r\nCookie: own={cookie}\r\n")));
        assert!(client.head().contains("X-Served-By: petiole\r\n"));
        client.said("\r\n");
        client.send(&frame(0x81, b"CONNECT {\"verbose\":false}\r\nPING\r\n"));
        client.said("\r\n")
    };
    assert_eq!(says(&Creds::of("carol").jwt), "PONG\r\n");
    assert!(says(&Creds::of("alice").jwt).contains("Authorization Violation"));
    assert!(says("").contains("Authorization Violation"));
}

/// `allowed_connection_types` tells the ways apart, and the block may have credentials of its own.
#[test]
fn users_may_come_by_some_ways() {
    let users = "authorization { users: [ { user: w, password: p, allowed_connection_types: [WEBSOCKET] }, \
                 { user: m, password: p, allowed_connection_types: [MQTT_WS] }, \
                 { user: s, password: p, allowed_connection_types: [STANDARD, MQTT] } ] }\n";
    let server = Server::start("ws-types", &format!("{}{users}", with("")));
    let nats = |user: &str| {
        let mut client = upgraded(&server, "/", "");
        client.said("\r\n");
        let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"p\"}}\r\nPING\r\n");
        client.send(&frame(0x81, connect.as_bytes()));
        client.said("\r\n") == "PONG\r\n"
    };
    assert_eq!(["w", "m", "s"].map(nats), [true, false, false]);
    let mqtt = |user: &str| {
        let mut client = upgraded(&server, "/mqtt", "");
        let script = format!("'MQTT' 04 c2 003c 'c' '{user}' 'p'");
        client.send(&frame(0x82, &support::mqtt::packet(0x10, &script)));
        client.frame().1 == [0x20, 2, 0, 0]
    };
    assert_eq!(["w", "m", "s"].map(mqtt), [false, true, false]);

    let server = Server::start("ws-own", &with("authorization { token: secret }"));
    let mut client = upgraded(&server, "/", "");
    assert!(client.said("\r\n").contains("\"auth_required\":true"));
    client.send(&frame(0x81, b"CONNECT {\"verbose\":false,\"auth_token\":\"secret\"}\r\nPING\r\n"));
    assert_eq!(client.said("\r\n"), "PONG\r\n");
    Client::login(&server, r#"{"verbose":false}"#);
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let server = Server::start("ws-refused", PLAIN);
    for (options, complaint) in [
        ("", "websocket requires TLS configuration"),
        ("no_tls: true, compression: true", "compression of websocket"),
        ("no_tls: true, jwt_cookie: j", "is required for JWT authentication via cookie"),
        ("no_tls: true, no_auth_user: x", "no_auth_user"),
        ("no_tls: true, allowed_origins: [\"nowhere\"]", "unable to parse allowed origin"),
        ("no_tls: true, headers { Upgrade: x }", "header \"Upgrade\" cannot be set"),
        ("no_tls: true, strange: 1", "unknown field \"strange\""),
    ] {
        server.write("wrong.conf", &format!("port: -1\nwebsocket {{ port: -1, {options} }}\n"));
        let output = server.command(&["-c", server.path("wrong.conf").to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(complaint), "{options}: {text}");
    }
}

fn secure() -> String {
    format!("mqtt {{ host: 127.0.0.1, port: -1\n {} }}\nstore_dir: \"<DIR>/data\"\n", block(""))
        + &format!("websocket {{ host: 127.0.0.1, port: -1\n {} }}\n", block(""))
}

fn script(name: &str) -> String {
    format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// mqtt.js and nats.js for Node, which `.ci/install` provides.
fn node(script_name: &str, url: &str, ca: Option<&Path>) {
    let (Some(modules), Some(mut tool)) = (packages("node"), tool("node")) else { return };
    tool.arg(script(script_name)).arg(modules.join("node_modules")).arg(url).args(ca);
    if let Some(ca) = ca {
        tool.env("NODE_EXTRA_CA_CERTS", ca);
    }
    is_well(tool);
}

fn is_well(mut tool: Command) {
    let output = tool.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n", "{errors}");
}

#[test]
fn mqtt_js_speaks_every_version() {
    let server = Server::start("ws-mqttjs", &with(""));
    node("mqttjs_roundtrip.cjs", &format!("mqtt://127.0.0.1:{}", support::mqtt::port(&server)), None);
    node("mqttjs_roundtrip.cjs", &format!("ws://127.0.0.1:{}/mqtt", port(&server)), None);
    let ca = certificate("ca.pem");
    let server = Server::start("ws-mqttjs-tls", &secure());
    node("mqttjs_roundtrip.cjs", &format!("mqtts://localhost:{}", support::mqtt::port(&server)), Some(&ca));
    node("mqttjs_roundtrip.cjs", &format!("wss://localhost:{}/mqtt", port(&server)), Some(&ca));
}

#[test]
fn nats_js_speaks_as_in_a_browser() {
    let server = Server::start("ws-natsjs", PLAIN);
    node("nats_websocket.cjs", &format!("ws://127.0.0.1:{}", port(&server)), None);
    let server = Server::start("ws-natsjs-tls", &secure());
    node("nats_websocket.cjs", &format!("wss://localhost:{}", port(&server)), Some(&certificate("ca.pem")));
}

#[test]
fn paho_speaks_every_version_over_websockets() {
    let server = Server::start("ws-paho", &with(""));
    let secure = Server::start("ws-paho-tls", &secure());
    for (server, ca) in [(&server, None), (&secure, Some(certificate("ca.pem")))] {
        let (Some(python), Some(mut tool)) = (packages("python"), tool("python3")) else { return };
        tool.arg(script("paho_roundtrip.py")).arg(port(server).to_string()).args(ca).arg("websockets");
        tool.env("PYTHONPATH", python);
        is_well(tool);
    }
}

/// The request and frames inside TLS, with all in one piece, and what a client shows is known.
#[test]
fn certificates_name_users_of_websockets() {
    let config = format!(
        "websocket {{ host: 127.0.0.1, port: -1\n {} }}\nauthorization {{ users: [ {{ user: \"who@mail.example\" }} ] }}\n",
        block("verify_and_map: true")
    );
    let server = Server::start("ws-map", &config);
    for (shows, wanted) in [("mail", "PONG\r\n"), ("uri", "-ERR 'Authorization Violation'\r\n")] {
        let tls = support::tls::Tls { shows: Some(shows), ..TLS_1_3 };
        let socket = Client::connect_to(port(&server)).into_socket();
        let mut client = Client::over(tls.on(socket.try_clone().unwrap()), socket);
        let connect = frame(0x81, b"CONNECT {\"verbose\":false}\r\nPING\r\n");
        client.send(&[request("/", "").into_bytes(), connect].concat());
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client.said("\r\n");
        assert_eq!(client.said("\r\n"), wanted);
    }
}
