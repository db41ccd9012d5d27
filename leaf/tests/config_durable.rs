//! `durable_subscriptions`: what is read, and what is refused with its cause.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

mod config_common;
use config_common::Memory;
use leaf::config::{Deliver, DurableSubscription, check};

fn read(options: &str) -> Result<DurableSubscription, String> {
    let text = format!("durable_subscriptions: [ {{ {options} }} ]");
    Memory::new(&text).read().map(|config| config.durables[0].clone()).map_err(|errors| errors.to_string())
}

#[test]
fn a_subscription_has_what_it_says() {
    let least = read("stream: COMMANDS, subjects: [\"cmd.vehicle7.>\"]").unwrap();
    let want = DurableSubscription {
        name: "COMMANDS".to_owned(),
        stream: "COMMANDS".to_owned(),
        subjects: vec!["cmd.vehicle7.>".to_owned()],
        ..DurableSubscription::default()
    };
    assert_eq!(least, want);
    let all = read(
        "name: n, account: A, stream: S, subject: a, consumer: c, domain: D, deliver: new, batch: 7, ack_wait: 3s
         max_msgs: 10, max_bytes: 1KB, max_age: 2d",
    );
    let want = DurableSubscription {
        name: "n".to_owned(),
        account: Some("A".to_owned()),
        stream: "S".to_owned(),
        subjects: vec!["a".to_owned()],
        consumer: Some("c".to_owned()),
        domain: Some("D".to_owned()),
        deliver: Deliver::New,
        batch: 7,
        ack_wait: Duration::from_secs(3),
        msgs_max: 10,
        bytes_max: 1024,
        age_max: Duration::from_secs(2 * 24 * 60 * 60),
    };
    assert_eq!(all.unwrap(), want);
}

#[test]
fn mistakes_are_named() {
    for (options, cause) in [
        ("subjects: a", "a durable subscription needs a stream"),
        ("stream: S", "durable subscription of \"S\" needs subjects"),
        ("stream: \"a.b\", subjects: a", "\"a.b\" cannot name a log"),
        ("stream: S, subjects: \">\"", "would capture replies"),
        ("stream: S, subjects: a, batch: 0", "batch must be from 1 to 1024"),
        ("stream: S, subjects: a, deliver: last", "deliver is all or new"),
        ("stream: S, subjects: a, colour: red", "unknown field \"colour\""),
        ("stream: S, subjects: a }, { stream: S, subjects: b", "Duplicate durable subscription: \"S\""),
        ("stream: S, subjects: \"a.*\" }, { stream: T, subjects: a.b", "overlaps"),
    ] {
        let said = read(options).unwrap_err();
        assert!(said.contains(cause), "{options}: {said}");
    }
}

/// What a stream sends down must not go up to it again.
#[test]
fn no_log_captures_what_comes_from_a_stream() {
    let text = "store_and_forward: [ { name: t, subjects: \"a.>\" } ]\ndurable_subscriptions: [ { stream: S, subjects: a.b } ]";
    let said = check(&Memory::new(text).read().unwrap()).unwrap_err();
    assert_eq!(said, "durable subscription \"S\": \"a.b\" overlaps \"a.>\" of store_and_forward log \"t\"");
    let text = "durable_subscriptions: [ { stream: S, subjects: a.b, account: X } ]";
    assert_eq!(check(&Memory::new(text).read().unwrap()).unwrap_err(), "durable subscription \"S\": no account \"X\"");
}
