//! `store_encryption` on the real binary: what is stored cannot be read without the key, and comes back with it.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use std::fs;
use std::path::Path;

use leaf::shell::disk::Directory;
use leaf::store::verify::inspect_all;
use support::mqtt::{bytes, connect, connect_packet, packet};
use support::{Client, Server};

const CLIENT: &str = r#"{"verbose":false,"headers":true}"#;
const KEY: &str = "30e4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e";

fn config(encryption: &str) -> String {
    format!(
        "listen: \"127.0.0.1:-1\"\nstore_dir: \"<DIR>\"\nmqtt {{ listen: \"127.0.0.1:-1\" }}\n\
         durable_subscriptions: [ {{ stream: DOWN, subjects: [\"down.>\"] }} ]\n\
         store_and_forward: [ {{ name: t, subjects: [\"telemetry.>\"] }} ]\n{encryption}\n"
    )
}

/// All bytes of the files below a directory.
fn stored(dir: &Path, all: &mut Vec<u8>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { stored(&path, all) } else { all.extend(fs::read(path).unwrap()) }
    }
}

/// Kills it and starts it again; its ports are others then.
fn restart(server: &mut Server) {
    server.kill_and_restart();
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains("Listening for client connections on ")).unwrap();
    server.port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
}

fn publish(server: &Server) -> String {
    let mut sensor = Client::login(server, CLIENT);
    sensor.say("SUB r 1\r\nPUB telemetry.secret r 6\r\nSecret\r\n");
    String::from_utf8(sensor.message()).unwrap()
}

#[test]
fn what_is_stored_needs_the_key() {
    let mut server = Server::start("encryption", &config(&format!("store_encryption {{ key: \"{KEY}\" }}")));
    assert!(publish(&server).contains(r#""seq":1"#));
    let mut device = connect(&server);
    device.ask(&connect_packet(2, "device"));
    assert_eq!(device.ask(&packet(0x33, "'secret/topic' 0003 536563726574")), bytes("40 02 0003"));
    restart(&mut server);
    assert!(publish(&server).contains(r#""seq":2"#), "the first is still there");
    let mut device = connect(&server);
    device.ask(&connect_packet(2, "device"));
    assert_eq!(device.ask(&packet(0x82, "0001 '#' 00")), bytes("90 03 0001 00"));
    assert_eq!(device.packet(), packet(0x31, "'secret/topic' 536563726574"));
    assert!(!server.log().contains(&KEY[..16]), "the key is in the log");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let mut all = Vec::new();
    for part in ["outbox", "mqtt"] {
        stored(&server.path(part), &mut all);
    }
    for text in ["secret", "Secret", "telemetry", "device"] {
        assert!(!all.windows(text.len()).any(|window| window == text.as_bytes()), "{text} is on the disk");
    }
    let mut down = Directory::open(&server.path("downlink/DOWN")).unwrap();
    let segments = inspect_all(&mut down, None, &mut |_, _| {}).unwrap();
    assert!(!segments.is_empty() && segments.iter().all(|(_, segment)| segment.lock.is_some()), "{segments:?}");
    // Without the key or with another it says so, and leaves everything as it is.
    fs::write(server.path("other.key"), format!("{}\n", KEY.replace('3', "4"))).unwrap();
    for (encryption, words) in [
        ("", "and no key is given"),
        ("store_encryption { key_file: \"<DIR>/other.key\" }", "other.key"),
        ("store_encryption { key_file: \"<DIR>/no.key\" }", "no.key"),
    ] {
        let dir = server.path("");
        let text = config(encryption).replace("<DIR>", dir.to_str().unwrap());
        server.write("wrong.conf", &text);
        let output = server.command(&["-c", server.path("wrong.conf").to_str().unwrap(), "-l", "/dev/stderr"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(words), "{encryption}: {said}");
        assert!(
            said.contains("is encrypted with key") && said.contains("/outbox/t") || said.contains("no.key"),
            "{said}"
        );
    }
    let mut after = Vec::new();
    for part in ["outbox", "mqtt"] {
        stored(&server.path(part), &mut after);
    }
    assert!(all == after, "something was changed");
}
