//! `petiole-hub health`: the hub's own listeners are checked like all others.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../../leaf/tests/support/mod.rs"]
mod support;
use support::Server;

#[test]
fn leaf_nodes_are_greeted_too() {
    let config = "store_dir: \"<DIR>\"\nleafnodes { listen: \"127.0.0.1:-1\" }\n";
    let hub = Server::start("health-hub", config);
    hub.logs("Server is ready");
    let output = hub.command(&["health", "--deep", "-sd", hub.path("").to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("ok      server") && text.contains("petiole-hub"), "{text}");
    let leafnode = text.lines().find(|line| line.starts_with("ok      listener/leafnode "));
    assert!(leafnode.is_some_and(|line| line.ends_with("greets")), "{text}");
}
