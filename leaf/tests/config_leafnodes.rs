//! The `leafnodes` block: what it comes to, and what is refused in it.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

mod config_common;
use config_common::Memory;
use leaf::config::{Config, Mode, Version, check};

fn good(text: &str) -> Config {
    Memory::new(text).read().unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

fn bad(text: &str) -> String {
    Memory::new(text).read().map(|_| panic!("{text} is taken")).unwrap_err().to_string()
}

/// A remote with these options.
fn remote(text: &str) -> String {
    format!("leafnodes {{ remotes: [ {{ {text} }} ] }}")
}

#[test]
fn a_remote_has_what_it_says() {
    let config = good(&remote(
        "urls: [\"nats-leaf://u%40:p%3aw@hub\", \"tls://[::1]:7\"], account: A, creds: c.creds, hub: true, deny_import: x.>
         deny_exports: [a, b], no_randomize: true, compression: s2_best, first_info_timeout: 3s, dial_timeout: 4s
         reconnect: 5s, reconnect_max: 6s, ping_interval: 7s, ping_max: 8, disabled: true
         ignore_discovered_servers: true, request_isolation: true, isolate: true, tls { insecure: true, first: true }",
    ));
    let remote = &config.leafnodes.remotes[0];
    let [first, second] = &remote.urls[..] else { panic!("{:?}", remote.urls) };
    assert_eq!((first.host.as_str(), first.port, first.tls), ("hub", 7422, false));
    assert_eq!(first.user.as_deref(), Some("u@"));
    assert_eq!(first.password.as_ref().unwrap().expose(), "p:w");
    assert_eq!((second.host.as_str(), second.port, second.tls), ("::1", 7, true));
    assert_eq!(second.to_string(), "tls://[::1]:7");
    assert_eq!(remote.account, "A");
    assert_eq!(remote.credentials.as_ref().unwrap().to_str(), Some("c.creds"));
    assert!(remote.hub && remote.no_randomize && remote.disabled && remote.ignore_discovered);
    assert!(remote.request_isolation && remote.isolate);
    assert_eq!(
        (&remote.deny_imports[..], &remote.deny_exports[..]),
        (&["x.>".into()][..], &["a".into(), "b".into()][..])
    );
    assert_eq!(remote.compression.mode, Mode::Best);
    let seconds = [remote.first_info_timeout.0, remote.dial_timeout, remote.reconnect, remote.reconnect_max];
    assert_eq!(seconds, [3, 4, 5, 6].map(Duration::from_secs));
    assert_eq!((remote.ping_interval, remote.ping_max), (Some(Duration::from_secs(7)), Some(8)));
    let tls = remote.tls.as_ref().unwrap();
    assert!(tls.insecure && tls.first && tls.cert.is_none());
    assert_eq!(check(&config), Err("cannot find local account \"A\" specified in leafnode remote".to_owned()));
}

#[test]
fn the_block_has_what_it_says() {
    let config = good(
        "leafnodes { listen: \"h:1\", advertise: \"a:2\", no_advertise: true, min_version: v2.10.0, isolate: true
           authorization { users: [ {user: u, password: p, account: B} ], timeout: 3 }
           compression { mode: s2_auto, rtt_thresholds: [\"5ms\", \"9ms\"] } }
         accounts { B {} }",
    );
    let leafnodes = &config.leafnodes;
    let listener = leafnodes.listener.as_ref().unwrap();
    assert_eq!((listener.host.as_deref(), listener.port), (Some("h"), Some(1)));
    assert_eq!((listener.advertise.as_deref(), listener.no_advertise), (Some("a:2"), true));
    assert_eq!((listener.min_version, listener.isolate), (Some(Version(2, 10, 0)), true));
    let auth = leafnodes.auth.as_ref().unwrap();
    assert_eq!((auth.users[0].name.as_str(), auth.users[0].account), ("u", 1));
    assert_eq!(auth.timeout, Some(Duration::from_secs(3)));
    assert_eq!(leafnodes.compression.thresholds[..2], [5, 9].map(Duration::from_millis));
    assert!(good("leafnodes { remotes: [] }").leafnodes.listener.is_none());
    assert_eq!(good("leafnodes { compression: off }").leafnodes.compression.mode, Mode::Off);
}

/// Also that a complaint about a url never shows its password.
#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (text, complaint) in [
        ("url: \"ws://u:secret@h\"", "\"ws\" urls of remote leafnodes are not supported yet"),
        ("url: \"wss://h\"", "\"wss\" urls"),
        ("url: \"http://u:secret@h\"", "unknown scheme \"http\""),
        ("url: \"u:secret@h\"", "needs a scheme"),
        ("url: \"tls://u:secret@h:x\"", "cannot make out host and port"),
        ("url: \"tls://u:secret@:1\"", "cannot make out host and port"),
        ("url: \"tls://h\", proxy { url: x }", "\"proxy\" is not supported yet"),
        ("url: \"tls://h\", ws_compression: true", "\"ws_compression\" is not supported yet"),
        ("url: \"tls://h\", creds: a, nkey: b", "cannot have both creds and nkey"),
        ("url: \"tls://h\", compression: zip", "unsupported compression mode \"zip\""),
        ("url: \"tls://h\", deny_import: \"a..b\"", "not a valid subject"),
        ("url: \"tls://h\", dial_timeout: \"0s\"", "\"dial_timeout\" needs to be positive"),
        ("url: \"tls://h\", zz: 1", "unknown field \"zz\""),
        ("account: A", "needs a url"),
    ] {
        let said = bad(&remote(text));
        assert!(said.contains(complaint) && !said.contains("secret"), "{text}: {said}");
        assert!(said.starts_with("t.conf:1:"), "{said}");
    }
    for (text, complaint) in [
        ("leafnodes { min_version: 2.7.9 }", "the minimum version should be at least 2.8.0"),
        ("leafnodes { min_version: x }", "invalid leafnode's minimum version"),
        ("leafnodes { write_deadline: 1s }", "\"write_deadline\" is not supported yet"),
        ("leafnodes { authorization { user: a, users: [] , nkey: x } }", "can not have a single user/pass"),
        ("leafnodes { authorization { user: a, account: Z } }", "cannot find account \"Z\""),
        ("leafnodes { remotes: [ {url: \"tls://h\"}, {url: \"tls://h\"} ] }", "duplicate remote"),
        ("leafnodes { compression { mode: s2_auto, rtt_thresholds: [\"9ms\", \"5ms\"] } }", "rtt_thresholds"),
    ] {
        let said = bad(text);
        assert!(said.contains(complaint), "{text}: {said}");
    }
}
