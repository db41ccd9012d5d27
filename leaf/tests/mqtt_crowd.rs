//! Ten thousand devices with sessions that last: the server is killed, they come back all at once, and none has lost its
//! session or what waited for it.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::Server;
use support::mqtt::{MQTT, bytes, connect_packet, packet, port};

const DEVICES: usize = 10_000;
/// Long enough for a machine that does something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// All devices, each of which has just said this.
fn all_say(port: u16, words: impl Fn(usize) -> Vec<u8>) -> Vec<TcpStream> {
    let device = |number| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&words(number)).unwrap();
        socket
    };
    (0..DEVICES).map(device).collect()
}

/// Each hears exactly this next. Whether the message was on its way before is the server's to say: DUP, in byte `dup`.
fn all_hear(sockets: &mut [TcpStream], dup: Option<usize>, wanted: impl Fn(usize) -> Vec<u8>) {
    for (number, socket) in sockets.iter_mut().enumerate() {
        let wanted = wanted(number);
        let mut heard = vec![0; wanted.len()];
        socket.read_exact(&mut heard).unwrap_or_else(|error| panic!("device {number}: {error}"));
        if let Some(at) = dup {
            heard[at] &= !0x08;
        }
        assert_eq!(heard, wanted, "device {number}");
    }
}

#[test]
fn ten_thousand_come_back_at_once() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if limit.maximum.is_some_and(|max| max < DEVICES as u64 + 100) {
        return eprintln!("SKIPPED: no more than {:?} open files are allowed here", limit.maximum);
    }
    let mut server = Server::start("mqtt-crowd", MQTT);
    let hello = |number: usize| connect_packet(0, &format!("device {number}"));
    let subscribe = |number: usize| packet(0x82, &format!("0001 'd/{number}' 01"));
    let mut devices = all_say(port(&server), |number| [hello(number), subscribe(number)].concat());
    all_hear(&mut devices, None, |_| bytes("20 02 00 00 90 03 0001 01"));
    drop(devices);

    // Something for each of them; acknowledged, so it must outlive the server.
    let mut publisher = support::mqtt::connect(&server);
    publisher.ask(&connect_packet(2, "publisher"));
    for chunk in (0..DEVICES).collect::<Vec<_>>().chunks(500) {
        let messages = chunk.iter().flat_map(|number| packet(0x32, &format!("'d/{number}' {:04x} 21", number + 1)));
        publisher.send(&messages.collect::<Vec<u8>>());
        for number in chunk {
            assert_eq!(publisher.packet(), bytes(&format!("40 02 {:04x}", number + 1)));
        }
    }
    server.kill_and_restart();

    let started = Instant::now();
    let mut devices = all_say(port(&server), hello);
    all_hear(&mut devices, Some(4), |number| {
        let message = packet(0x32, &format!("'d/{number}' 0001 21"));
        [bytes("20 02 01 00"), message].concat()
    });
    eprintln!("{DEVICES} devices were back after {:?}", started.elapsed());
}
