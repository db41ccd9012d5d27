//! Sockets that take nothing for a while, or a little at a time: every byte comes in the end, in order.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::thread;

use support::{Client, Server, eventually, same, without_info};

const PLAIN: &str = r#"{"verbose":false}"#;
/// Nobody is too slow in these tests unless it is meant.
const PATIENT: &str = "write_deadline: \"900s\"\n";

/// Sizes of messages from nothing to more than a socket takes at once, the same in each run.
fn sizes(seed: u64, count: usize) -> Vec<usize> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let scales = [1, 10, 300, 5000, 200_000];
    (0..count).map(|_| next() as usize % scales[next() as usize % scales.len()]).collect()
}

fn body(at: usize, size: usize) -> Vec<u8> {
    (0..size).map(|byte| (at * 31 + byte) as u8).collect()
}

fn publish(publisher: &mut Client, subject: &str, sizes: &[usize]) {
    for (at, &size) in sizes.iter().enumerate() {
        publisher.say(&format!("PUB {subject} {size}\r\n"));
        publisher.send(&body(at, size));
        publisher.say("\r\n");
    }
    publisher.say("PING\r\n");
    publisher.until("PONG\r\n");
}

fn expected(subject: &str, sizes: &[usize]) -> Vec<u8> {
    let message = |(at, &size): (usize, &usize)| {
        [format!("MSG {subject} 1 {size}\r\n").into_bytes(), body(at, size), b"\r\n".to_vec()].concat()
    };
    sizes.iter().enumerate().flat_map(message).collect()
}

fn messages(client: &mut Client, count: usize) -> Vec<u8> {
    (0..count).flat_map(|_| client.message()).collect()
}

/// All stop at once while megabytes are published to all of them; then they read, one after the other.
#[test]
fn many_that_pause_get_everything() {
    let sizes = sizes(7, 400);
    let expected = expected("x", &sizes);
    for server in Server::both("pause", PATIENT) {
        let mut paused: Vec<Client> = (0..100).map(|_| Client::login(&server, PLAIN)).collect();
        for client in &mut paused {
            client.converse("SUB x 1\r\nPING\r\n");
        }
        let mut bystander = Client::login(&server, PLAIN);
        let mut publisher = Client::login(&server, PLAIN);
        publish(&mut publisher, "x", &sizes);
        assert_eq!(bystander.converse("SUB y 1\r\nPUB y 1\r\n!\r\nPING\r\n"), "MSG y 1 1\r\n!\r\nPONG\r\n");
        eprintln!("100 paused, {} bytes for each: {} KiB resident", expected.len(), server.resident());
        for (at, client) in paused.iter_mut().enumerate() {
            assert!(messages(client, sizes.len()) == expected, "the stream of {at} is not what was sent");
            assert!(client.converse("PING\r\n").ends_with("PONG\r\n"));
        }
    }
}

/// Readers that take odd little pieces while messages come, so that nearly every write is a part of a message.
#[test]
fn odd_pieces_make_a_whole() {
    let sizes = sizes(11, 1500);
    let expected = expected("x", &sizes);
    let server = Server::start("pieces", PATIENT);
    let mut readers: Vec<Client> = (0..8).map(|_| Client::login(&server, PLAIN)).collect();
    for client in &mut readers {
        client.converse("SUB x 1\r\nPING\r\n");
    }
    let mut publisher = Client::login(&server, PLAIN);
    thread::scope(|scope| {
        let (sizes, expected) = (&sizes, &expected);
        scope.spawn(move || publish(&mut publisher, "x", sizes));
        for (at, mut client) in readers.into_iter().enumerate() {
            scope.spawn(move || {
                let (mut done, mut piece) = (0, at * 977 + 1);
                while done < expected.len() {
                    piece = (piece * 7 + 13) % 50_021 + 1;
                    let count = piece.min(expected.len() - done);
                    assert!(client.take(count) == expected[done..done + count], "reader {at} after {done} bytes");
                    done += count;
                }
            });
        }
    });
}

/// They are gone while the server waits for room in their sockets.
#[test]
fn paused_and_gone_is_gone() {
    let server = Server::start("gone", PATIENT);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count();
    let mut publisher = Client::login(&server, PLAIN);
    let before = open();
    let mut paused: Vec<Client> = (0..50).map(|_| Client::login(&server, PLAIN)).collect();
    for client in &mut paused {
        client.converse("SUB x 1\r\nPING\r\n");
    }
    publish(&mut publisher, "x", &[500_000; 20]);
    drop(paused);
    eventually("all sockets are closed", || open() <= before);
    publish(&mut publisher, "x", &[500_000; 2]);
}

/// One is too slow and is ended; the publisher and the quick one notice at most a pause.
#[test]
fn too_slow_is_ended_alone() {
    for server in Server::both("too-slow", "write_deadline: \"300ms\"") {
        let mut slow = Client::login(&server, PLAIN);
        slow.converse("SUB x 1\r\nPING\r\n");
        let mut quick = Client::login(&server, PLAIN);
        quick.converse("SUB x 1\r\nPING\r\n");
        let sizes = [300_000; 60];
        let expected = expected("x", &sizes);
        let mut publisher = Client::login(&server, PLAIN);
        thread::scope(|scope| {
            scope.spawn(|| publish(&mut publisher, "x", &sizes));
            assert!(messages(&mut quick, sizes.len()) == expected, "not what was sent");
        });
        server.logs("Slow Consumer");
        assert!(quick.converse("PING\r\n").ends_with("PONG\r\n"));
    }
}

/// What was on the way to one who then breaks the rules still comes, and the reason last.
#[test]
fn last_words_come_after_what_was_waiting() {
    let told = same("words", PATIENT, |server| {
        let mut rude = Client::login(server, PLAIN);
        rude.converse("SUB x 1\r\nPING\r\n");
        let mut publisher = Client::login(server, PLAIN);
        let sizes = [10_000; 30];
        publish(&mut publisher, "x", &sizes);
        rude.say("NONSENSE\r\n");
        assert!(messages(&mut rude, sizes.len()) == expected("x", &sizes), "not what was sent");
        without_info(&rude.end())
    });
    assert_eq!(told, "-ERR 'Unknown Protocol Operation'\r\n");
}
