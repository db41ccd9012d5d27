//! What MQTT promises outlives the process: `kill -9` at any moment, and all that was acknowledged is there.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use support::mqtt::{MQTT, bytes, connect, connect_packet, packet};
use support::{Client, Server};

fn resume(server: &Server, client_id: &str) -> Client {
    let mut client = connect(server);
    assert_eq!(client.ask(&connect_packet(0, client_id)), bytes("20 02 01 00"));
    client
}

#[test]
fn sessions_and_their_messages_survive_a_kill() {
    let mut server = Server::start("mqtt-kill", MQTT);
    let mut device = connect(&server);
    assert_eq!(device.ask(&connect_packet(0, "device")), bytes("20 02 00 00"));
    assert_eq!(device.ask(&packet(0x82, "0001 'cmd/#' 02 'a/*' 01")), bytes("90 04 0001 02 01"));
    let mut other = connect(&server);
    other.ask(&connect_packet(2, "other"));
    // One of QoS 2 that the device has taken, one of QoS 1 that it has not acknowledged, and its own of QoS 2.
    assert_eq!(other.ask(&packet(0x34, "'cmd/x' 0001 31")), bytes("50 02 0001"));
    assert_eq!(device.packet(), packet(0x34, "'cmd/x' 0001 31"));
    assert_eq!(device.ask(&bytes("50 02 0001")), bytes("62 02 0001"));
    assert_eq!(other.ask(&packet(0x32, "'cmd/y' 0002 32")), bytes("40 02 0002"));
    assert_eq!(device.packet(), packet(0x32, "'cmd/y' 0002 32"));
    assert_eq!(device.ask(&packet(0x34, "'up' 0009 33")), bytes("50 02 0009"));
    // Retained ones: one that stays, one that is taken back.
    assert_eq!(other.ask(&packet(0x33, "'kept' 0003 6b")), bytes("40 02 0003"));
    assert_eq!(other.ask(&packet(0x33, "'gone' 0004 6b")), bytes("40 02 0004"));
    assert_eq!(other.ask(&packet(0x33, "'gone' 0005")), bytes("40 02 0005"));
    server.kill_and_restart();

    // While it is away and the server is a new one, more comes.
    let mut other = connect(&server);
    other.ask(&connect_packet(2, "other"));
    assert_eq!(other.ask(&packet(0x32, "'cmd/z' 0001 34")), bytes("40 02 0001"));
    assert_eq!(other.ask(&packet(0x32, "'a/*' 0002 35")), bytes("40 02 0002"));
    server.kill_and_restart();

    let mut device = resume(&server, "device");
    assert_eq!(device.packet(), bytes("62 02 0001"), "it has the message, so it is not sent again");
    assert_eq!(device.packet(), packet(0x3a, "'cmd/y' 0002 32"));
    let next = device.packet();
    assert_eq!(next[1..], packet(0, "'cmd/z' 0003 34")[1..]);
    assert_eq!(device.packet()[1..], packet(0, "'a/*' 0004 35")[1..]);
    // Its own of QoS 2 was published: this one is a repetition, and nobody gets it twice.
    let mut watcher = connect(&server);
    watcher.ask(&connect_packet(2, "watcher"));
    assert_eq!(watcher.ask(&packet(0x82, "0001 'up' 02 'kept' 00 'gone' 00")), bytes("90 05 0001 02 00 00"));
    assert_eq!(watcher.packet(), packet(0x31, "'kept' 6b"));
    assert_eq!(device.ask(&packet(0x3c, "'up' 0009 33")), bytes("50 02 0009"));
    assert_eq!(device.ask(&bytes("62 02 0009")), bytes("70 02 0009"));
    assert_eq!(device.ask(&packet(0x34, "'up' 0009 36")), bytes("50 02 0009"));
    assert_eq!(watcher.packets_so_far(), [packet(0x34, "'up' 0001 36")]);
    for done in ["70 02 0001", "40 02 0002", "40 02 0003", "40 02 0004"] {
        device.send(&bytes(done));
    }
    assert!(device.packets_so_far().is_empty());
    // Nobody is told when an acknowledgement of its own is on disk, but this one comes after them all.
    assert_eq!(watcher.ask(&packet(0x33, "'down' 0002 6b")), bytes("40 02 0002"));
    // What is done stays done.
    device.send(&bytes("e0 00"));
    device.ends();
    server.kill_and_restart();
    assert!(resume(&server, "device").packets_so_far().is_empty());
    // A clean start ends it for good.
    let mut device = connect(&server);
    assert_eq!(device.ask(&connect_packet(2, "device")), bytes("20 02 00 00"));
    // Nobody waits for that end to be on disk, but this comes after it.
    assert_eq!(device.ask(&packet(0x33, "'later' 0001 6c")), bytes("40 02 0001"));
    server.kill_and_restart();
    let mut device = connect(&server);
    assert_eq!(device.ask(&connect_packet(0, "device")), bytes("20 02 00 00"));
}

/// Killed in the middle of a stream of publishes, several times: nothing that was acknowledged is lost, and the order holds.
#[test]
fn nothing_acknowledged_is_lost() {
    let mut server = Server::start("mqtt-stream", MQTT);
    let mut sleeper = connect(&server);
    sleeper.ask(&connect_packet(0, "sleeper"));
    assert_eq!(sleeper.ask(&packet(0x82, "0001 'n' 01")), bytes("90 03 0001 01"));
    drop(sleeper);
    let mut acknowledged = 0u32;
    for _ in 0..3 {
        let mut publisher = connect(&server);
        publisher.ask(&connect_packet(2, "publisher"));
        let first = acknowledged;
        for number in first..first + 400 {
            let id = number % 60_000 + 1;
            publisher.send(&packet(0x32, &format!("'n' {id:04x} {number:08x}")));
        }
        // Some of them, and then the end.
        for number in first..first + 250 {
            let ack = publisher.packet();
            assert_eq!(ack, bytes(&format!("40 02 {:04x}", number % 60_000 + 1)));
            acknowledged = number + 1;
        }
        server.kill_and_restart();
    }
    let mut sleeper = resume(&server, "sleeper");
    let mut last = None;
    let mut seen = std::collections::BTreeSet::new();
    while last != Some(acknowledged - 1) {
        let message = sleeper.packet();
        let number = u32::from_be_bytes(message[message.len() - 4..].try_into().unwrap());
        sleeper.send(&[0x40, 2, message[5], message[6]]);
        seen.insert(number);
        last = Some(number);
    }
    assert!((0..acknowledged).all(|number| seen.contains(&number)));
}
