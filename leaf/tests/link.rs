//! Links to a real nats-server, with real processes.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use support::scenes::{bulk_crosses, everything_crosses};
use support::{Server, eventually};

fn hub(name: &str, rest: &str) -> Option<Server> {
    Server::start_peer(name, &format!("server_name: HUB\nleafnodes {{ listen: \"127.0.0.1:-1\", {rest} }}\n"))
}

fn leaf(name: &str, url: &str, rest: &str) -> Server {
    Server::start(
        name,
        &format!(
            "server_name: LEAF\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ remotes: [ {{ url: \"{url}\", {rest} }} ] }}\n"
        ),
    )
}

fn url(hub: &Server) -> String {
    format!("nats-leaf://127.0.0.1:{}", hub.leafnode_port())
}

#[test]
fn everything_crosses_to_a_nats_server() {
    let Some(hub) = hub("crosses-hub", "") else { return };
    let leaf = leaf("crosses", &url(&hub), "");
    leaf.logs("connected");
    everything_crosses(&hub, &leaf);
    let page = support::get(leaf.monitor.unwrap(), "/leafz");
    assert_eq!(page["leafs"][0]["is_spoke"], true, "{page}");
    assert_eq!(page["leafs"][0]["name"], "HUB", "{page}");
}

#[test]
fn everything_crosses_to_a_nats_server_2_10() {
    let Some(hub) =
        Server::start_old_peer("crosses-2-10-hub", "server_name: HUB\nleafnodes { listen: \"127.0.0.1:-1\" }\n")
    else {
        return;
    };
    let leaf = leaf("crosses-2-10", &url(&hub), "");
    leaf.logs("connected");
    everything_crosses(&hub, &leaf);
}

/// Each way to compress, and a nats-server that sends what it compressed.
#[test]
fn links_to_a_nats_server_are_compressed() {
    for mode in ["s2_auto", "s2_fast", "s2_better", "s2_best", "off"] {
        let Some(hub) = hub(&format!("s2-hub-{mode}"), &format!("compression: {mode}")) else { return };
        let leaf = leaf(&format!("s2-{mode}"), &url(&hub), &format!("compression: {mode}"));
        leaf.logs("connected");
        everything_crosses(&hub, &leaf);
        bulk_crosses(&hub, &leaf);
        bulk_crosses(&leaf, &hub);
        let page = support::get(leaf.monitor.unwrap(), "/leafz");
        let wanted = if mode == "s2_auto" { "s2_uncompressed" } else { mode };
        assert_eq!(page["leafs"][0]["compression"], wanted, "{page}");
    }
}

/// Wrong doors are named, once, and do not keep other remotes from linking.
#[test]
fn what_is_wrong_with_a_remote_is_said_once() {
    let Some(hub) = hub("wrong-hub", "") else { return };
    // A port that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let remotes = format!(
        "{{ url: \"nats-leaf://127.0.0.1:{}\", reconnect: \"20ms\" }}
         {{ url: \"nats-leaf://127.0.0.1:{}\", first_info_timeout: \"200ms\", reconnect: \"20ms\" }}
         {{ url: \"nats-leaf://127.0.0.1:{closed}\", reconnect: \"20ms\" }}
         {{ url: \"nats-leaf://127.0.0.1:{}\", credentials: \"<DIR>/none.creds\" }}
         {{ url: \"{}\" }}",
        hub.port,
        silent.local_addr().unwrap().port(),
        hub.leafnode_port(),
        url(&hub),
    );
    let config = format!("server_name: LEAF\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ remotes: [ {remotes} ] }}\n");
    let leaf = Server::start("wrong", &config);
    let errors = [
        "this is not a leafnode port",
        "the hub does not answer",
        "Connection refused",
        "cannot read the credentials file",
    ];
    for error in errors {
        leaf.logs(error);
    }
    leaf.logs(": connected");
    let remotes = || support::get(leaf.monitor.unwrap(), "/varz")["leaf"]["remotes"].as_array().unwrap().clone();
    eventually("all is named", || {
        errors
            .iter()
            .all(|error| remotes().iter().any(|r| r["error"].as_str().is_some_and(|text| text.contains(error))))
    });
    assert_eq!(remotes().iter().filter(|remote| remote["state"] == "connected").count(), 1);
    // They are tried again and again, and the log is not told again.
    for _ in 0..3 {
        silent.accept().unwrap();
    }
    for error in errors {
        assert_eq!(leaf.log().matches(error).count(), 1, "{error}");
    }
}

/// Remotes come, change and go with a reload.
#[test]
fn remotes_are_reloaded() {
    let (Some(one), Some(two)) = (hub("reload-hub-1", ""), hub("reload-hub-2", "")) else { return };
    let config =
        |remotes: &str| format!("server_name: LEAF\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ remotes: [ {remotes} ] }}\n");
    let remote = |hub: &Server, rest: &str| format!("{{ url: \"{}\" {rest} }}\n", url(hub));
    let leaf = Server::start("reload", &config(&remote(&one, "")));
    let ids = || {
        let page = support::get(leaf.monitor.unwrap(), "/leafz");
        page["leafs"].as_array().unwrap().iter().map(|leaf| leaf["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    eventually("it is linked", || ids().len() == 1);
    let first = ids();
    leaf.reload(&config(&(remote(&one, "") + &remote(&two, ", deny_exports: secret.>"))));
    eventually("both are linked", || ids().len() == 2);
    assert_eq!(ids()[..1], first, "the one that is the same stays");
    leaf.reload(&config(&(remote(&one, ", disabled: true") + &remote(&two, ""))));
    eventually("one is left, and it is new", || ids().len() == 1 && ids()[0] > first[0] + 1);
    leaf.reload(&config(""));
    eventually("none is left", || ids().is_empty());
}
