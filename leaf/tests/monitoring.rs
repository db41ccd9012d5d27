//! The monitoring port, asked as a browser or a collector asks it.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use support::tls::{TLS_1_3, block};
use support::{Client, Server, same};

const MONITOR: &str = "http: \"127.0.0.1:-1\"\n";
const PLAIN: &str = r#"{"verbose":false}"#;

fn exchange(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.monitor.unwrap())).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Status and body.
fn get(server: &Server, path: &str) -> (u16, String) {
    let answer = exchange(server, &format!("GET {path} HTTP/1.0\r\nHost: here\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn json(server: &Server, path: &str) -> Value {
    let (status, body) = get(server, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

/// Collectors were written for nats-server: every name that we use is one of its.
#[test]
fn every_name_is_one_of_nats_server() {
    let Some(theirs) = Server::start_peer("names", MONITOR) else { return };
    let ours = Server::start("names", MONITOR);
    let clients = [&ours, &theirs].map(|server| {
        let mut client = Client::login(server, r#"{"verbose":false,"name":"n","lang":"l","version":"v"}"#);
        client.converse("SUB a 1\r\nSUB a.* q 2\r\nPUB a 1\r\nx\r\nPING\r\n");
        client
    });
    for (path, inner) in [
        ("/varz", vec![]),
        ("/connz?subs=detail", vec!["connections", "0"]),
        ("/connz?subs=detail", vec!["connections", "0", "subscriptions_list_detail", "0"]),
        ("/subsz?subs=1", vec![]),
        ("/subsz?subs=1", vec!["subscriptions_list", "0"]),
        ("/accountz", vec![]),
        ("/accountz?acc=$G", vec!["account_detail"]),
        ("/accstatz", vec!["account_statz", "0"]),
        ("/healthz", vec![]),
        ("/routez", vec![]),
        ("/leafz", vec![]),
        ("/gatewayz", vec![]),
        ("/jsz", vec![]),
    ] {
        let [a, b] = [&ours, &theirs].map(|server| {
            let page = json(server, path);
            let found = inner.iter().fold(&page, |value, step| match step.parse::<usize>() {
                Ok(index) => &value[index],
                Err(_) => &value[*step],
            });
            names(found)
        });
        let invented: Vec<&String> = a.difference(&b).collect();
        assert!(invented.is_empty(), "{path} {inner:?}: {invented:?} are not nats-server's");
        let missing: Vec<&String> = b.difference(&a).collect();
        eprintln!("{path} {inner:?}: {} names, without {missing:?}", a.len());
        assert!(!a.is_empty(), "{path} {inner:?} is empty");
    }
    drop(clients);
}

#[test]
fn a_base_path_is_in_front_of_everything() {
    for server in Server::both("base", &format!("{MONITOR}http_base_path: \"/nats\"")) {
        for path in ["/nats", "/nats/varz", "/nats/connz?limit=1", "/nats/healthz", "/nats/subsz", "/nats/accountz"] {
            assert_eq!(get(&server, path).0, 200, "{path}");
        }
        if server.ours {
            assert_eq!(get(&server, "/nats/").0, 200, "nats-server knows only the one without a slash");
        }
        for path in ["/varz", "/nats/nothing", "/natsvarz"] {
            assert_eq!(get(&server, path).0, 404, "{path}");
        }
        assert!(get(&server, "/nats").1.contains("varz"));
    }
}

#[test]
fn the_same_page_twice_on_one_connection() {
    for server in Server::both("twice", MONITOR) {
        let request = "GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";
        let last = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let answer = exchange(&server, &format!("{request}{request}{last}"));
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
        let head = exchange(&server, "HEAD /healthz HTTP/1.0\r\n\r\n");
        assert!(head.contains(" 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
    }
}

/// Nobody has to log in there, so anybody may talk nonsense there.
#[test]
fn nonsense_costs_the_broker_nothing() {
    let server = Server::start("nonsense", MONITOR);
    let mut client = Client::login(&server, PLAIN);
    for request in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "NONSENSE / HTTP/9.9\r\n\r\n",
        "GET /varz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        &format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(100_000)),
        &format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(10_000)),
        "\x16\x03\x01\x02\x00\x01\x00",
        "DELETE /varz HTTP/1.0\r\n\r\n",
        "GET /connz?limit=-5&offset=99999999999999999999&sort=nonsense HTTP/1.0\r\n\r\n",
        "GET /connz?cid=%zz&state=%00 HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.monitor.unwrap())).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        // It may close before it has read all of it.
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let _ = stream.read_to_end(&mut Vec::new());
        assert_eq!(client.converse("PING\r\n"), "PONG\r\n");
    }
    assert_eq!(get(&server, "/healthz").0, 200);
    // More than have a place at once, all silent.
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", server.monitor.unwrap())).unwrap()).collect();
    assert_eq!(client.converse("PING\r\n"), "PONG\r\n");
    drop(silent);
    assert_eq!(get(&server, "/healthz").0, 200);
}

#[test]
fn connz_knows_who_is_here_and_why_others_left() {
    let config =
        format!("{MONITOR}authorization {{ users: [ {{ user: root, password: secret-word }} ] }}\n{}", block(""));
    let told = same("connz", &config, |server| {
        let mut client = TLS_1_3.after_info(server);
        client.log_in(r#"{"verbose":false,"user":"root","pass":"secret-word","name":"n","lang":"l","version":"v"}"#);
        client.converse("SUB a 1\r\nPUB a 5\r\nhello\r\nPING\r\n");
        let mut rude = TLS_1_3.after_info(server);
        rude.log_in(r#"{"verbose":false,"user":"root","pass":"secret-word"}"#);
        rude.say_and_end("NONSENSE\r\n");
        let mut stranger = TLS_1_3.after_info(server);
        stranger.say_and_end("CONNECT {\"user\":\"root\",\"pass\":\"wrong-word\"}\r\n");
        support::eventually("two have left", || json(server, "/connz?state=closed")["num_connections"] == 2);
        let open = json(server, "/connz?auth=1&subs=1");
        let closed = json(server, "/connz?state=closed&auth=1&sort=cid");
        let text = format!("{open} {closed} {}", get(server, "/varz").1);
        assert!(!text.contains("secret-word") && !text.contains("wrong-word"), "{text}");
        let mut told = String::new();
        for connection in
            open["connections"].as_array().unwrap().iter().chain(closed["connections"].as_array().unwrap())
        {
            // nats-server shows who somebody said to be even if it was not true.
            let refused = connection["reason"] == "Authentication Failure";
            told += &format!("user={} ", if refused { &Value::Null } else { &connection["authorized_user"] });
            for name in [
                "name",
                "lang",
                "version",
                "tls_version",
                "subscriptions",
                "in_msgs",
                "out_msgs",
                "in_bytes",
                "out_bytes",
                "subscriptions_list",
                "reason",
                "kind",
                "type",
                "account",
            ] {
                told += &format!("{name}={} ", connection[name]);
            }
            told.push('\n');
        }
        told
    });
    assert!(told.contains("tls_version=\"1.3\""), "{told}");
}

#[test]
fn https_is_refused_by_name() {
    let program = env!("CARGO_BIN_EXE_petiole-leaf");
    let output = Command::new(program).args(["-p", "-1", "-ms", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("-ms"), "{said}");
}

#[test]
fn metrics_are_in_prometheus_form() {
    let server = Server::start("metrics", MONITOR);
    let mut client = Client::login(&server, PLAIN);
    client.converse("SUB a 1\r\nPUB a 5\r\nhello\r\nPING\r\n");
    let (status, text) = get(&server, "/metrics");
    assert_eq!(status, 200);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() && name.starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
    }
    assert!(text.contains("# TYPE "), "{text}");
}
