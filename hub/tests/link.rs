//! Leaf nodes linked to this hub, with real processes: our own leaf, this program as one, and nats-servers.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../../leaf/tests/support/mod.rs"]
mod support;
use support::scenes::{bulk_crosses, client_as, everything_crosses, until_heard};
use support::{Client, Server, eventually};

fn hub(name: &str, rest: &str) -> Server {
    let block = format!("leafnodes {{ listen: \"127.0.0.1:-1\"\n {rest} }}");
    Server::start(name, &format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\n{block}\n"))
}

/// What a leaf is told to link to a hub.
fn leaf_config(hub: &Server, user: &str, rest: &str) -> String {
    let url = format!("nats-leaf://{user}127.0.0.1:{}", hub.leafnode_port());
    format!("server_name: LEAF\nleafnodes {{ remotes: [ {{ url: \"{url}\"\n {rest} }} ] }}\n")
}

/// The leaf node links of a server, by /leafz.
fn leafs(server: &Server) -> Vec<serde_json::Value> {
    let page = support::get(server.monitor.unwrap(), "/leafz?subs=1");
    page["leafs"].as_array().unwrap().clone()
}

fn linked(hub: &Server) {
    eventually("a leaf node is linked", || leafs(hub).len() == 1);
}

#[test]
fn our_leaf_and_our_hub() {
    let hub = hub("ours-hub", "");
    let Some(leaf) = Server::start_leaf("ours-leaf", &leaf_config(&hub, "", "")) else { return };
    linked(&hub);
    everything_crosses(&hub, &leaf);
}

#[test]
fn a_hub_below_a_hub() {
    let hub = hub("hubs-hub", "");
    let leaf = Server::start("hubs-leaf", &leaf_config(&hub, "", ""));
    linked(&hub);
    everything_crosses(&hub, &leaf);
}

#[test]
fn a_nats_server_leaf() {
    let hub = hub("nats-hub", "");
    let Some(leaf) = Server::start_peer("nats-leaf", &leaf_config(&hub, "", "")) else { return };
    linked(&hub);
    everything_crosses(&hub, &leaf);
    let leaf = leafs(&hub).remove(0);
    assert_eq!(leaf["name"], "LEAF");
    assert_eq!(leaf["is_spoke"], false);
    assert_eq!(leaf["account"], "$G");
}

#[test]
fn a_nats_server_2_10_leaf() {
    let hub = hub("old-hub", "");
    let Some(leaf) = Server::start_old_peer("old-leaf", &leaf_config(&hub, "", "")) else { return };
    linked(&hub);
    everything_crosses(&hub, &leaf);
}

/// Each leaf node in its account, by its user; a wrong password is named on both sides.
#[test]
fn users_lead_to_accounts() {
    let users = "leafnodes { listen: \"127.0.0.1:-1\" }
         accounts { A { users: [ {user: a, password: a} ] }, B { users: [ {user: b, password: b} ] } }";
    let hub = Server::start("accounts-hub", &format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\n{users}\n"));
    let port = hub.leafnode_port();
    let remotes = format!(
        "{{ url: \"nats-leaf://a:a@127.0.0.1:{port}\", account: LA }},
         {{ url: \"nats-leaf://b:b@127.0.0.1:{port}\", account: LB }},
         {{ url: \"nats-leaf://b:wrong@127.0.0.1:{port}\", account: LA }}"
    );
    let accounts =
        "accounts { LA { users: [ {user: la, password: la} ] }, LB { users: [ {user: lb, password: lb} ] } }";
    let leaf = Server::start(
        "accounts-leaf",
        &format!("server_name: LEAF\nhttp: \"127.0.0.1:-1\"\n{accounts}\nleafnodes {{ remotes: [ {remotes} ] }}\n"),
    );
    eventually("both are linked", || leafs(&hub).len() == 2);
    let (mut a, mut b) = (client_as(&hub, "a"), client_as(&hub, "b"));
    let (mut la, mut lb) = (client_as(&leaf, "la"), client_as(&leaf, "lb"));
    a.say("SUB x 1\r\nPING\r\n");
    b.say("SUB y 1\r\nPING\r\n");
    until_heard(&mut la, &mut a, "x");
    until_heard(&mut lb, &mut b, "y");
    lb.say("PUB x 5\r\nwrong\r\nPING\r\n");
    lb.until("PONG\r\n");
    assert!(!a.until_pong_after_ping().contains("wrong"));
    leaf.logs("the hub says: Authorization Violation");
    hub.logs("authentication error");
    let page = support::get(leaf.monitor.unwrap(), "/varz");
    let remotes = page["leaf"]["remotes"].as_array().unwrap();
    assert_eq!(remotes.len(), 3);
    assert!(remotes.iter().any(|r| r["error"] == "the hub says: Authorization Violation"), "{remotes:?}");
    assert_eq!(remotes.iter().filter(|r| r["state"] == "connected").count(), 2, "{remotes:?}");
    assert_eq!(leaf.log().matches("Authorization Violation").count(), 1, "it is said once");
}

/// An account has as many leaf nodes as it may have: one more is refused by name, on either side.
#[test]
fn an_account_has_so_many_leaf_nodes() {
    const FULL: &str = "maximum account active connections exceeded";
    let accounts = "accounts { A { users: [ {user: a, password: a} ], limits { max_leafnodes: 1 } } }";
    let config =
        format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\n{accounts}\nleafnodes {{ listen: \"127.0.0.1:-1\" }}\n");
    let hubs = [Some(Server::start("full-hub", &config)), Server::start_peer("full-hub", &config)];
    for hub in hubs.into_iter().flatten() {
        let config = leaf_config(&hub, "a:a@", "");
        let first = Server::start(&format!("full-first-{}", hub.ours), &config);
        linked(&hub);
        let second = config.replace("server_name: LEAF", "server_name: LATE\nhttp: \"127.0.0.1:-1\"");
        let second = Server::start(&format!("full-second-{}", hub.ours), &second);
        second.logs(FULL);
        hub.logs(FULL);
        assert_eq!(leafs(&hub)[0]["name"], "LEAF");
        drop(first);
        // There is room again.
        eventually("the other one is linked", || leafs(&hub).first().is_some_and(|leaf| leaf["name"] == "LATE"));
    }
    // The side that dials keeps to it, too.
    let hub = hub("full-dialled-hub", "");
    let limits = "accounts { L { users: [ {user: l, password: l} ], limits { max_leafnodes: 0 } } }";
    let config = leaf_config(&hub, "", "account: L");
    let leaf = Server::start("full-dialled", &format!("{limits}\n{config}"));
    leaf.logs(FULL);
    assert!(leafs(&hub).is_empty());
}

/// What a user may publish and subscribe to holds for the leaf node: it is told, and it is enforced.
#[test]
fn permissions_hold() {
    for nats in [false, true] {
        let users = "accounts { A { users: [ { user: leaf, password: leaf, permissions: {
               publish: { allow: [\"up.>\", \"_INBOX.>\"], deny: [\"up.no\"] }, subscribe: { allow: [\"down.>\"], deny: [\"down.no\"] } } },
             {user: app, password: app} ] } }";
        let config =
            format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ listen: \"127.0.0.1:-1\" }}\n{users}\n");
        let hub = Server::start(&format!("permissions-hub-{nats}"), &config);
        let leaf = leaf_config(&hub, "leaf:leaf@", "");
        let leaf = match nats {
            true => Server::start_peer("permissions-leaf", &leaf),
            false => Some(Server::start("permissions-leaf", &leaf)),
        };
        let Some(leaf) = leaf else { return };
        linked(&hub);
        let (mut up, mut down) = (client_as(&hub, "app"), support::scenes::client(&leaf));
        up.say("SUB > 1\r\nSUB up.no 2\r\nPING\r\n");
        down.say("SUB > 1\r\nSUB down.no 2\r\nSUB other 3\r\nPING\r\n");
        until_heard(&mut down, &mut up, "up.a");
        until_heard(&mut up, &mut down, "down.a");
        down.say("PUB up.no 1\r\nx\r\nPUB other.y 1\r\nx\r\nPUB up.end 1\r\nx\r\n");
        let heard = up.until("up.end");
        assert!(!heard.contains("up.no") && !heard.contains("other.y"), "{heard}");
        up.say("PUB down.no 2\r\n!!\r\nPUB other 2\r\n!!\r\nPUB down.end 1\r\nx\r\n");
        let heard = down.until("down.end");
        assert!(!heard.contains("!!"), "{heard}");
    }
}

/// The hub goes away and comes back; the leaf goes away and comes back.
#[test]
fn either_side_may_be_killed() {
    let hub_config = |port: &str| {
        format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ listen: \"127.0.0.1:{port}\" }}\n")
    };
    let hub = Server::start("killed-hub-1", &hub_config("-1"));
    let port = hub.leafnode_port();
    let config = leaf_config(&hub, "", "reconnect: \"50ms\"");
    let leaf = Server::start("killed-leaf-1", &config);
    linked(&hub);
    drop(hub);
    leaf.logs("the hub closed the connection");
    let hub = Server::start("killed-hub-2", &hub_config(&port.to_string()));
    linked(&hub);
    let (mut up, mut down) = (support::scenes::client(&hub), support::scenes::client(&leaf));
    down.say("SUB down.> 1\r\nPING\r\n");
    until_heard(&mut up, &mut down, "down.a");
    drop(leaf);
    eventually("the hub has noticed", || leafs(&hub).is_empty());
    let leaf = Server::start("killed-leaf-2", &config);
    linked(&hub);
    let mut down = support::scenes::client(&leaf);
    down.say("SUB down.> 1\r\nPING\r\n");
    until_heard(&mut up, &mut down, "down.a");
}

/// One who comes by the wrong door is told so (capture `leaf-wrong-port-and-rejections`).
#[test]
fn rejections_are_those_of_nats_server() {
    let hub = hub("reject-hub", "min_version: 2.14.0");
    let port = hub.leafnode_port();
    for (said, answer) in [
        (
            r#"CONNECT {"verbose":false,"lang":"tap","version":"1","protocol":1}"#,
            "-ERR 'attempted to connect to leaf node port'\r\n",
        ),
        (r#"CONNECT {"version":"2.15.1","name":"L","cluster":"C X"}"#, "-ERR 'cluster name cannot contain spaces'\r\n"),
        (
            r#"CONNECT {"name":"X","gateway":"GW1"}"#,
            "-ERR 'Rejecting connection from gateway \"GW1\" on the leafnode port'\r\n",
        ),
        (
            r#"CONNECT {"version":"2.10.1","name":"L"}"#,
            "-ERR 'connection rejected since minimum version required is \"2.14.0\"'\r\n",
        ),
        ("PING", "-ERR 'Authorization Violation'\r\n"),
        ("LS+ foo", "-ERR 'Authorization Violation'\r\n"),
    ] {
        let mut client = Client::connect_to(port);
        client.until("\r\n");
        assert_eq!(client.say_and_end(&format!("{said}\r\n")), answer, "{said}");
    }
    // Time for CONNECT is up after two seconds.
    let mut client = Client::connect_to(port);
    assert!(client.end().ends_with("-ERR 'Authentication Timeout'\r\n"));
}

const RAW: &str = r#"CONNECT {"version":"2.15.1","name":"X","server_id":"X","cluster":"X","headers":true,"remote_account":"$G","protocol":3}"#;

/// Hand-made leaf nodes as in `leaf-handmade-spoke`: the old one of two goes; a loop; what is malformed.
#[test]
fn hand_made_leaf_nodes() {
    let hub = hub("raw-hub", "");
    let port = hub.leafnode_port();
    let link = |connect: &str| {
        let mut client = Client::connect_to(port);
        client.until("\r\n");
        client.say(&format!("{connect}\r\nPING\r\n"));
        let heard = client.until("PONG\r\n");
        assert!(heard.contains("\"connect_info\":true") && heard.contains("LS+ $LDS."), "{heard}");
        (client, heard)
    };
    let (mut first, _) = link(RAW);
    let (mut second, heard) = link(RAW);
    assert!(first.end().ends_with("-ERR 'Duplicate Remote LeafNode Connection'\r\n"));
    assert_eq!(second.say_and_end("LS+ foo bar\r\n"), "");
    let own = heard.split("LS+ $LDS.").nth(1).unwrap().split_once("\r\n").unwrap().0;
    let (mut third, _) = link("CONNECT {}");
    let answer = third.say_and_end(&format!("LS+ $LDS.{own}\r\n"));
    assert_eq!(answer, "-ERR 'Loop detected for leafnode account=\"$G\". Delaying attempt to reconnect for 30s'\r\n");
    let (mut fourth, _) = link("CONNECT {}");
    assert_eq!(fourth.say_and_end("LMSG foo 1048577\r\n"), "-ERR 'Maximum Payload Violation'\r\n");
    let (mut fifth, _) = link("CONNECT {}");
    assert_eq!(fifth.say_and_end("MSG foo 1\r\nx\r\n"), "-ERR 'Unknown Protocol Operation'\r\n");
    // One without headers gets none, and may send them.
    let (mut sixth, _) = link("CONNECT {}");
    sixth.say("LS+ hd\r\nPING\r\n");
    sixth.until("PONG\r\n");
    let mut app = support::scenes::client(&hub);
    app.say("HPUB hd 12 16\r\nNATS/1.0\r\n\r\ndata\r\n");
    assert!(sixth.until("data\r\n").contains("LMSG hd 4\r\n"));
    app.say("SUB x.y 1\r\nPING\r\n");
    sixth.say("HMSG x.y 12 13\r\nNATS/1.0\r\n\r\nz\r\n");
    app.until("HMSG x.y 1 12 13\r\n");
}

/// Two leaf nodes of one hub hear each other, unless the hub keeps them apart.
#[test]
fn leaf_nodes_hear_each_other_or_not() {
    for isolate in [false, true] {
        let hub = hub(&format!("isolate-hub-{isolate}"), &format!("isolate: {isolate}"));
        let config = |name: &str| leaf_config(&hub, "", "").replace("LEAF", name);
        let first = Server::start(&format!("isolate-a-{isolate}"), &config("L1"));
        let second = Server::start(&format!("isolate-b-{isolate}"), &config("L2"));
        eventually("both are linked", || leafs(&hub).len() == 2);
        let (mut a, mut b, mut up) =
            (support::scenes::client(&first), support::scenes::client(&second), support::scenes::client(&hub));
        b.say("SUB from.a 1\r\nSUB from.hub 2\r\nPING\r\n");
        until_heard(&mut up, &mut b, "from.hub");
        if isolate {
            up.say("PUB from.a 1\r\nx\r\nPING\r\n");
            b.until("MSG from.a ");
            a.say("SUB _INBOX.z 3\r\nPUB from.a _INBOX.z 1\r\nx\r\n");
            a.until("503");
        } else {
            until_heard(&mut a, &mut b, "from.a");
        }
    }
}

/// Each way to compress, with a nats-server at the other end and with our own; /leafz says which it came to.
#[test]
fn links_are_compressed() {
    for mode in ["s2_fast", "s2_better", "s2_best", "off"] {
        for nats in [false, true] {
            let hub = hub(&format!("s2-hub-{mode}-{nats}"), "compression: accept");
            let config = leaf_config(&hub, "", &format!("compression: {mode}"));
            let leaf = match nats {
                true => Server::start_peer(&format!("s2-leaf-{mode}"), &config),
                false => Some(Server::start(&format!("s2-leaf-{mode}"), &config)),
            };
            let Some(leaf) = leaf else { return };
            linked(&hub);
            everything_crosses(&hub, &leaf);
            bulk_crosses(&hub, &leaf);
            bulk_crosses(&leaf, &hub);
            assert_eq!(leafs(&hub)[0]["compression"], mode, "nats: {nats}");
        }
    }
}
