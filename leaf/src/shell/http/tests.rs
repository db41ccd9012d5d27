#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::super::logs::Answers;
use super::*;
use crate::monitor::tests::empty;

/// Serves monitoring under `/mon` while `client` runs on a thread of its own.
fn with_server<R: Send + 'static>(client: impl FnOnce(SocketAddr) -> R + Send + 'static) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (orders, _) = tokio::sync::mpsc::unbounded_channel();
        let (disks, _) = Answers::start().unwrap();
        let server = Server::new(empty(), std::time::Instant::now(), orders, disks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn_local(serve(server, listener, "/mon".to_owned()));
        tokio::task::spawn_blocking(move || client(address)).await.unwrap()
    })
}

/// Sends `request` and reads until the server closes.
fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, target: &str) -> String {
    talk(address, &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

#[test]
fn answers_under_the_base_path() {
    with_server(|address| {
        let varz = get(address, "/mon/varz");
        let (head, body) = varz.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for header in ["content-type: application/json", "access-control-allow-origin: *", "content-length: "] {
            assert!(head.contains(header), "{head}");
        }
        let varz: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&varz["http_port"], &varz["http_host"]), (&address.port().into(), &"127.0.0.1".into()));
        assert_eq!(varz["http_req_stats"], serde_json::json!({"/varz": 1}));
        assert!(varz["mem"].as_u64().unwrap() > 0 && varz["cores"].as_u64().unwrap() > 0);
        assert!(get(address, "/mon").starts_with("HTTP/1.1 200"));
        assert!(get(address, "/mon/connz?sort=x").starts_with("HTTP/1.1 400"));
        for outside in ["/", "/varz", "/monvarz", "/mon/nope"] {
            assert!(get(address, outside).starts_with("HTTP/1.1 404"), "{outside}");
        }
    });
}

#[test]
fn keeps_a_connection_for_the_next_request() {
    let two = "GET /mon/healthz HTTP/1.1\r\nHost: x\r\n\r\n\
               HEAD /mon/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = with_server(move |address| talk(address, two));
    assert_eq!(answer.matches("content-length: 15").count(), 2);
    assert_eq!(answer.matches("{\"status\":\"ok\"}").count(), 1);
}

#[test]
fn refuses_what_it_does_not_serve() {
    with_server(|address| {
        let post = "POST /mon/varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let answer = talk(address, post);
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{answer}");
        let long = format!("GET /mon/varz HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let answer = talk(address, &long);
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    });
}

/// With every place taken by somebody who says nothing, others wait until those have been sent away.
#[test]
fn the_silent_do_not_stay() {
    with_server(|address| {
        let silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let began = std::time::Instant::now();
        assert!(get(address, "/mon/healthz").starts_with("HTTP/1.1 200"));
        let waited = began.elapsed();
        assert!(waited > HEAD_WITHIN / 2 && waited < 3 * HEAD_WITHIN, "{waited:?}");
        drop(silent);
    });
}
