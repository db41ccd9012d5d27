#![allow(clippy::unwrap_used)]

mod arguments;
mod exposition;
mod shapes;

use super::*;
use crate::client::Client;
use crate::config::{self, Config};
use crate::node::{Arrival, CloseReason, ConnId, Identity, SECOND};

/// 2026-11-23T19:00:38.261576599Z.
const EPOCH: i128 = 1_795_460_438_261_576_599;

fn config() -> Config {
    let mapping = config::Mapping {
        source: "old.*".into(),
        destinations: vec![config::Destination { template: "new.$1".into(), weight: 100, cluster: None }],
    };
    Config {
        digest: "sha256:00".into(),
        server_name: "<L>".into(),
        tags: vec!["region:x".into()],
        monitor: Some(config::Monitor { host: None, port: Some(8222), base_path: "/mon".into() }),
        limits: config::Limits { max_closed_clients: 100, ..config::Limits::default() },
        accounts: vec![
            config::Account { name: "$G".into(), ..config::Account::default() },
            config::Account { name: "B\"\\".into(), mappings: vec![mapping], ..config::Account::default() },
        ],
        ..Config::default()
    }
}

pub(crate) fn host() -> HostFacts {
    let mut requests = RequestCounts::default();
    requests.count("/varz");
    HostFacts {
        now: 10 * SECOND,
        wall: EPOCH + 10 * i128::from(SECOND),
        rss_bytes: 5_000_000,
        cpu_percent: 2.0,
        cpu_seconds: 0.25,
        cores: 4,
        monitor: Some(([127, 0, 0, 1], 8222).into()),
        requests,
    }
}

/// A node without connections.
pub(crate) fn empty() -> Node {
    of(config())
}

/// A node with this configuration.
pub(crate) fn of(config: Config) -> Node {
    let identity = Identity {
        server_id: "NSERVER".into(),
        epoch: EPOCH,
        host: "0.0.0.0".into(),
        port: 4222,
        leafnodes: None,
        websocket: None,
        program: "petiole-leaf",
    };
    Node::new(config, identity, 7).unwrap()
}

/// A connection that came at `second` and said `words`.
pub(crate) fn join(node: &mut Node, second: u64, words: &str) -> ConnId {
    let arrival = Arrival { remote: ([127, 0, 0, 1], 40_000 + second as u16).into(), nonce: [0; 11] };
    let id = node.accept(second * SECOND, &arrival, Box::new(Client::new()));
    node.greet(second * SECOND, id);
    node.receive(second * SECOND, id, words.as_bytes());
    id
}

/// Connections 1 to 3, of which the last has gone. 1 subscribes and gets what it publishes, 2 has a group.
fn lively() -> Node {
    enliven(empty())
}

/// The same without a system account, so without subscriptions of the server.
fn plain() -> Node {
    enliven(of(Config { system_account: None, ..config() }))
}

fn enliven(mut node: Node) -> Node {
    let words = "CONNECT {\"verbose\":false,\"name\":\"APP\",\"lang\":\"go\",\"version\":\"1.0\"}\r\n\
                 SUB foo.* 1\r\nUNSUB 1 5\r\nSUB > 2\r\nPUB foo.a 3\r\nabc\r\n";
    join(&mut node, 1, words);
    join(&mut node, 2, "CONNECT {\"verbose\":false,\"name\":\"two\"}\r\nSUB work.> Q 9\r\n");
    let third = join(&mut node, 3, "CONNECT {\"verbose\":false}\r\nSUB x 1\r\nPUB nobody 2\r\nhi\r\n");
    node.closed(4 * SECOND, third, CloseReason::ClientClosed);
    node
}

fn get(node: &Node, target: &str) -> Response {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    respond(node, &host(), path, query)
}

/// The body of an answer that must be a 200.
fn body(node: &Node, target: &str) -> String {
    let response = get(node, target);
    assert_eq!(response.status, 200, "{target}");
    String::from_utf8(response.body).unwrap()
}

fn value(node: &Node, target: &str) -> serde_json::Value {
    serde_json::from_str(&body(node, target)).unwrap()
}

#[test]
fn the_index_leads_everywhere() {
    let node = empty();
    let index = body(&node, "/");
    for endpoint in Endpoint::all().filter(|endpoint| *endpoint != Endpoint::Index) {
        assert!(index.contains(&format!("<a href=\"/mon{}\">", endpoint.path())), "{endpoint:?}");
    }
    assert!(index.contains("&lt;L&gt;") && !index.contains("<L>"));
    assert_eq!(get(&node, "/").content_type, "text/html; charset=utf-8");
}

#[test]
fn a_clock_set_after_the_start_moves_the_past_along() {
    let node = empty();
    let start = |wall: i128| {
        let facts = HostFacts { wall, ..host() };
        let varz = respond(&node, &facts, "/varz", "").body;
        serde_json::from_slice::<serde_json::Value>(&varz).unwrap()["start"].clone()
    };
    assert_eq!(start(EPOCH + 10_000_123_456), "2026-11-23T19:00:38.261576599Z");
    assert_eq!(start(EPOCH + 3_610_000_000_000), "2026-11-23T20:00:38.261576599Z");
}

/// Five thousand connections, of which a page of two is asked for.
#[test]
fn a_crowd_is_sorted_but_not_written() {
    let mut node = empty();
    for n in 0..5_000u64 {
        let subs: String = (0..n % 7).map(|sid| format!("SUB s.{sid} {sid}\r\n")).collect();
        join(&mut node, n % 10, &format!("CONNECT {{\"verbose\":false}}\r\n{subs}"));
    }
    let connz = value(&node, "/connz?sort=subs&limit=2&offset=1");
    assert_eq!((&connz["total"], &connz["num_connections"]), (&5_000.into(), &2.into()));
    let cids: Vec<_> = connz["connections"].as_array().unwrap().iter().map(|c| c["cid"].as_u64().unwrap()).collect();
    assert_eq!(cids, [14, 21]);
    assert!(body(&node, "/connz?sort=subs&limit=2").len() < 2_000);
}
