//! Links over TLS and with keys, with real processes: our own on both sides, and nats-servers on either.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

#[path = "../../leaf/tests/support/mod.rs"]
mod support;
use support::scenes::{bulk_crosses, everything_crosses};
use support::{Server, eventually};

/// A file that `leaf/tests/certs/make.sh` made.
fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../leaf/tests/certs").join(name).display().to_string()
}

/// A `tls` block of a listener.
fn server_tls(rest: &str) -> String {
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", timeout: 5, {rest} }}")
}

/// Hubs of this configuration: ours, and a nats-server.
fn hubs(name: &str, rest: &str) -> Vec<Server> {
    let config = format!("server_name: HUB\nleafnodes {{ listen: \"127.0.0.1:-1\"\n {rest} }}\n");
    let ours = Server::start(name, &config);
    std::iter::once(ours).chain(Server::start_peer(name, &config)).collect()
}

/// Leafs with this remote, one after the other, for they have the same name: ours, and a nats-server. The host is a name
/// that the certificate has.
fn leafs<'a>(name: &'a str, hub: &'a Server, remote: &str) -> impl Iterator<Item = Server> + 'a {
    let port = hub.leafnode_port().to_string();
    let config = format!("server_name: LEAF\nleafnodes {{ remotes: [ {{ {remote} }} ] }}\n").replace("<PORT>", &port);
    // Theirs with theirs is not ours to test.
    let kinds: &[bool] = if hub.ours { &[false, true] } else { &[false] };
    kinds.iter().filter_map(move |&nats| match nats {
        true => Server::start_peer(name, &config),
        false => Some(Server::start(name, &config)),
    })
}

fn crosses(name: &str, hub: &str, remote: &str) {
    for (at, hub) in hubs(&format!("{name}-hub"), hub).into_iter().enumerate() {
        for leaf in leafs(&format!("{name}-leaf-{at}"), &hub, remote) {
            everything_crosses(&hub, &leaf);
            bulk_crosses(&leaf, &hub);
        }
    }
}

#[test]
fn tls_after_info() {
    let ca = file("ca.pem");
    let remote = format!("url: \"tls://localhost:<PORT>\", tls {{ ca_file: \"{ca}\" }}");
    crosses("tls", &server_tls(""), &remote);
}

#[test]
fn tls_before_info() {
    let ca = file("ca.pem");
    let remote = format!("url: \"tls://localhost:<PORT>\", tls {{ ca_file: \"{ca}\", handshake_first: true }}");
    crosses("tls-first", &server_tls("handshake_first: true"), &remote);
}

#[test]
fn both_sides_show_certificates() {
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client-key.pem"));
    let block = format!("tls {{ ca_file: \"{ca}\", cert_file: \"{cert}\", key_file: \"{key}\" }}");
    let remote = format!("url: \"nats-leaf://localhost:<PORT>\", compression: s2_best, {block}");
    crosses("tls-verify", &server_tls("verify: true"), &remote);
}

/// A certificate that no authority here signed is named, and the leaf goes on serving.
#[test]
fn a_strange_certificate_is_named() {
    let hub = hubs("strange-hub", &server_tls("")).remove(0);
    let leaf = leafs("strange-leaf", &hub, "url: \"tls://localhost:<PORT>\"").next().unwrap();
    leaf.logs("TLS handshake error: invalid peer certificate: UnknownIssuer");
    support::scenes::client(&leaf);
    assert_eq!(leaf.log().matches("UnknownIssuer").count(), 1);
}

/// The key of `leaf-auth-nkey`: 32 bytes, 00 to 1f.
#[test]
fn a_key_is_enough() {
    let seed = leaf::auth::nkey::Seed::new(leaf::auth::nkey::Kind::User, std::array::from_fn(|at| at as u8));
    let users =
        format!("accounts {{ A {{ users: [ {{ nkey: {} }}, {{user: u, password: u}} ] }} }}", seed.public().encode());
    let config =
        format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ listen: \"127.0.0.1:-1\" }}\n{users}\n");
    let ours = Server::start("nkey-hub", &config);
    for hub in std::iter::once(ours).chain(Server::start_peer("nkey-hub", &config)) {
        let remote = format!("url: \"nats-leaf://127.0.0.1:<PORT>\", nkey: {}", &*seed.encode());
        for leaf in leafs("nkey-leaf", &hub, &remote) {
            eventually("it is linked", || {
                let page = support::get(hub.monitor.unwrap(), "/leafz");
                page["leafs"].as_array().unwrap().iter().any(|leaf| leaf["account"] == "A")
            });
            drop(leaf);
            eventually("it is gone", || {
                support::get(hub.monitor.unwrap(), "/leafz")["leafs"].as_array().unwrap().is_empty()
            });
        }
    }
}
