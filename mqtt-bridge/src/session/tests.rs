//! The machine as traces: what a client sends in hex, what comes back in hex, and what the owner is asked to do.

use super::*;
use crate::packet::Options;
use crate::{Forwarded, Reason, SECOND};

/// One client and a simple owner: it lets everybody in, grants every filter, and says what it is asked for.
struct Client {
    connection: Connection,
    limits: Limits,
    now: Nanos,
    /// The last commit on disk, and the one that the next thing to be kept belongs to.
    synced: u64,
    commit: u64,
    parked: Option<Box<Session>>,
    /// What the owner was asked for, and the end.
    log: Vec<String>,
    gone: Vec<u64>,
    serial: u64,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 3.1.1, keep alive 60, client id `a`.
const CLEAN: &str = "10 0d 0004 4d515454 04 02 003c 0001 61";
const KEEP: &str = "10 0d 0004 4d515454 04 00 003c 0001 61";
/// 5.0 without properties, and with a session expiry of 100 s.
const CLEAN_5: &str = "10 0e 0004 4d515454 05 02 003c 00 0001 61";
const KEEP_5: &str = "10 13 0004 4d515454 05 00 003c 05 11 00000064 0001 61";
const WELCOME_5: &str = "200e 00 00 0b 210400 27 001101d0 220020";

impl Client {
    fn new() -> Self {
        Self {
            connection: Connection::default(),
            limits: Limits::default(),
            now: 5 * SECOND,
            synced: 0,
            commit: 0,
            parked: None,
            log: Vec::new(),
            gone: Vec::new(),
            serial: 0,
        }
    }

    /// One that is in.
    fn connected(connect: &str) -> Self {
        let mut client = Self::new();
        client.send(connect);
        assert!(client.connection.is_open(), "{:?}", client.log);
        client.log.clear();
        client
    }

    /// What comes back for these bytes.
    fn send(&mut self, input: &str) -> String {
        let input = bytes(input);
        let mut rest = &input[..];
        let mut out = Vec::new();
        while !rest.is_empty() {
            match self.connection.next(self.now, &self.limits, self.synced, rest, &mut out) {
                Step::Short(missing) => {
                    assert!(missing > 0);
                    self.log.push(format!("short {missing}"));
                    break;
                }
                Step::Done(used, event) => {
                    rest = &rest[used..];
                    self.obey(event, &mut out);
                }
                Step::End(ending) => {
                    self.log.push(format!("{ending:?}"));
                    self.parked = self.connection.take_session();
                    break;
                }
            }
            self.gone.extend(self.connection.take_gone());
        }
        hex(&out)
    }

    fn obey(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::None => {}
            Event::Connect(_) => {
                let clean = self.connection.opening().unwrap().clean;
                if self.connection.opening().unwrap().client_id.is_empty() {
                    self.connection.assign("made-up");
                }
                let session = self.parked.take().filter(|_| !clean);
                self.connection.accept(self.now, &self.limits, self.synced, session, out);
            }
            Event::Publish(publish) => {
                let topic = self.connection.topic(&publish).to_owned();
                self.log.push(format!("publish {topic} {}", publish.qos as u8));
                let reason = if topic == "denied" { Reason::NotAuthorized } else { Reason::Success };
                self.connection.published(&publish, reason, self.commit, self.synced, out);
            }
            Event::Release(id) => {
                self.log.push(format!("release {id}"));
                self.connection.released(id, self.commit, self.synced, out);
            }
            Event::Subscribe(subscribe) => {
                let version = self.connection.version().unwrap();
                let session = self.connection.session_mut().unwrap();
                let answers: Vec<Reason> = subscribe
                    .requests(version)
                    .map(|request| match crate::topic::Asked::parse(request.filter) {
                        None => Reason::TopicFilterInvalid,
                        Some(_) => {
                            session.subscribe(Subscription::new(
                                request.filter,
                                request.options,
                                subscribe.subscription_id,
                            ));
                            [Reason::Success, Reason::GrantedQoS1, Reason::GrantedQoS2][request.options.qos as usize]
                        }
                    })
                    .collect();
                self.connection.suback(subscribe.id, &answers, self.commit, self.synced, out);
            }
            Event::Unsubscribe(unsubscribe) => {
                let session = self.connection.session_mut().unwrap();
                let answer = |filter| match session.unsubscribe(filter) {
                    Some(_) => Reason::Success,
                    None => Reason::NoSubscriptionExisted,
                };
                let answers: Vec<Reason> = unsubscribe.filters().map(answer).collect();
                self.connection.unsuback(unsubscribe.id, &answers, self.commit, self.synced, out);
            }
            Event::Arrived(received) => {
                self.log.push(format!("arrived {} kept as {}", received.id, received.tag));
                self.connection.session_mut().unwrap().saved(received.id, received.tag, self.commit);
                self.connection.synced(self.now, self.synced, out);
            }
        }
    }

    /// What a message on `topic` with this QoS sends; durable sessions keep it under the name `tag`.
    fn deliver(&mut self, topic: &str, qos: u8, payload: &str, tag: u64) -> String {
        let mut out = Vec::new();
        self.serial += 1;
        let message = Outgoing { serial: self.serial, ..outgoing(topic, qos, payload.as_bytes()) };
        let matching: Vec<u32> = self
            .connection
            .session()
            .unwrap()
            .subscriptions()
            .filter(|(_, how)| crate::topic::matches(how.inner(), topic))
            .map(|(index, _)| index)
            .collect();
        for index in matching {
            match self.connection.deliver(self.now, &self.limits, &message, index, &mut out) {
                Delivered::Queued(id) => {
                    self.connection.session_mut().unwrap().saved(id, tag, self.commit);
                }
                Delivered::Sent | Delivered::Merged => {}
                other => self.log.push(format!("{other:?}")),
            }
        }
        self.connection.synced(self.now, self.synced, &mut out);
        hex(&out)
    }

    /// The disk is done up to here.
    fn sync(&mut self, to: u64) -> String {
        self.synced = to;
        let mut out = Vec::new();
        self.connection.synced(self.now, to, &mut out);
        self.gone.extend(self.connection.take_gone());
        hex(&out)
    }

    /// The connection breaks, and another one begins.
    fn reconnect(&mut self, connect: &str) -> String {
        if let Some(session) = self.connection.take_session() {
            self.parked = Some(session);
        }
        self.connection = Connection::default();
        self.send(connect)
    }
}

fn outgoing<'a>(topic: &'a str, qos: u8, payload: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        topic,
        qos: QoS::new(qos).unwrap(),
        retain: false,
        expires: None,
        forwarded: Forwarded::default(),
        payload,
        serial: 0,
        stored: None,
    }
}

fn plain(text: &str) -> String {
    text.replace(' ', "")
}

#[test]
fn lets_each_version_in() {
    assert_eq!(Client::new().send(CLEAN), "20020000");
    assert_eq!(Client::new().send("10 0f 0006 4d5149736470 03 02 003c 0001 61"), "20020000");
    assert_eq!(Client::new().send(CLEAN_5), plain(WELCOME_5));
    // Without an id: made up, and told where that can be told.
    assert_eq!(Client::new().send("10 0c 0004 4d515454 04 02 003c 0000"), "20020000");
    let told = Client::new().send("10 0d 0004 4d515454 05 02 003c 00 0000");
    assert!(told.ends_with(&plain("12 0007 6d6164652d7570 220020")), "{told}");
}

#[test]
fn connect_is_refused_as_each_version_says() {
    for (connect, answer) in [
        // Levels we do not speak.
        ("10 0d 0004 4d515454 07 02 003c 0001 61", "20020001"),
        ("10 0d 0004 4d515454 03 02 003c 0001 61", "20020001"),
        // No id, and to be kept.
        ("10 0c 0004 4d515454 04 00 003c 0000", "20020002"),
        ("10 0e 0006 4d5149736470 03 02 003c 0000", "20020002"),
        // Enhanced authentication.
        ("10 14 0004 4d515454 05 02 003c 06 15 0003 464f4f 0001 61", "2003008c00"),
        // Malformed: only 5.0 hears why.
        ("10 0d 0004 4d515454 04 03 003c 0001 61", ""),
        ("10 0e 0004 4d515454 05 03 003c 00 0001 61", "2003008100"),
        ("10 0d 0004 4d515454 04 0a 003c 0001 61", ""),
        ("10 0d 0004 4d515454 04 22 003c 0001 61", ""),
        ("10 0d 0004 4d515454 04 1e 003c 0001 61", ""),
        ("10 0d 0004 4d515454 04 42 003c 0001 61", ""),
        ("10 0d 0004 4d515454 04 82 003c 0001 61", ""),
        ("10 0d 0004 4d515458 04 02 003c 0001 61", ""),
        ("10 0d 0004 4d515454 04 02 003c 0001 ff", ""),
        ("10 0d 0004 4d515454 04 02 003c 0001 00", ""),
        ("10 0e 0004 4d515454 04 02 003c 0001 61 00", ""),
        ("10 0a 0004 4d515454 04 02 003c", ""),
        // Not CONNECT at all.
        ("c0 00", ""),
        ("47 45 54 20 2f", ""),
        ("30 ff ff ff ff 01", ""),
    ] {
        let mut client = Client::new();
        assert_eq!(client.send(connect), answer, "{connect}");
        assert!(!client.connection.is_open(), "{connect}");
        assert_eq!(client.log.len(), 1, "{connect}");
    }
}

/// 3.1 had flags for user and password before it had the fields.
#[test]
fn old_clients_may_leave_out_what_their_flags_promise() {
    assert_eq!(Client::new().send("10 0f 0006 4d5149736470 03 c2 003c 0001 61"), "20020000");
    // 5.0 lets a password stand alone.
    assert_eq!(Client::new().send("10 11 0004 4d515454 05 42 003c 00 0001 61 0001 70"), plain(WELCOME_5));
}

#[test]
fn any_broken_packet_ends_it() {
    for packet in [
        "c1 00",
        "c0 01 00",
        "41 02 0001",
        "40 02 0000",
        "60 02 0001",
        "40 01 00",
        "80 06 0001 0001 61 00",
        "82 02 0001",
        "82 06 0000 0001 61 00",
        "82 06 0001 0001 61 03",
        "82 06 0001 0001 61 80",
        "82 05 0001 0000 00",
        "a0 05 0001 0001 61",
        "a2 02 0001",
        "e1 00",
        "36 05 0001 61 0001",
        "30 03 0001 2b",
        "30 03 0001 23",
        "30 02 0000",
        "30 04 0002 61ff",
        "30 05 0003 eda080",
        "30 04 0002 c080",
        "30 05 0003 610062",
        "32 05 0001 61 0000",
        "00 00",
        "f0 00",
        "20 02 0000",
        "90 03 0001 00",
        "d0 00",
        "b0 02 0001",
        "30 ff ff ff ff 01",
    ] {
        for connect in [CLEAN, CLEAN_5] {
            if connect == CLEAN_5 && packet == "f0 00" {
                continue;
            }
            let mut client = Client::connected(connect);
            let said = client.send(packet);
            assert_eq!(client.log.len(), 1, "{packet}");
            assert!(client.log[0].starts_with("Violation"), "{packet}: {:?}", client.log);
            assert_eq!(said.starts_with("e001"), connect == CLEAN_5, "{packet}: {said}");
            assert!(client.connection.take_session().is_none());
        }
    }
}

#[test]
fn five_says_why() {
    for (packet, code) in [
        ("c1 00", "81"),
        (CLEAN_5, "82"),
        ("30 04 0001 61 00", ""),
        ("30 04 0001 2b 00", "90"),
        ("30 03 0000 00", "82"),
        // Topic alias: 0, above our maximum, of nothing.
        ("30 07 0001 61 03 23 0000", "94"),
        ("30 07 0001 61 03 23 0021", "94"),
        ("30 06 0000 03 23 0001", "82"),
        // Properties: twice, of another packet, unknown, of the wrong value.
        ("30 08 0001 61 04 0100 0100", "82"),
        ("30 07 0001 61 03 21 0001", "81"),
        ("30 06 0001 61 02 7f00", "81"),
        ("30 06 0001 61 02 0102", "82"),
        ("30 06 0001 61 02 0b01", "81"),
        ("30 09 0001 61 05 08 0002 6123", "82"),
        // Subscriptions: identifier 0, No Local on a share, Retain Handling 3, reserved bits.
        ("82 09 0001 02 0b00 0001 61 00", "82"),
        ("82 10 0001 00 000a 2473686172652f672f61 04", "82"),
        ("82 07 0001 00 0001 61 30", "82"),
        ("82 07 0001 00 0001 61 c0", "81"),
        // AUTH without a method; session expiry raised from 0; server's reason codes.
        ("f0 02 18 00", "82"),
        ("e0 07 00 05 11 00000001", "82"),
        ("e0 01 8e", "82"),
        ("c0 80 00", "81"),
    ] {
        let mut client = Client::connected(CLEAN_5);
        let want = if code.is_empty() { String::new() } else { format!("e001{code}") };
        assert_eq!(client.send(packet), want, "{packet}");
    }
    let mut client = Client::connected(CLEAN_5);
    client.limits.packet_bytes_max = 100;
    assert_eq!(client.send("30 e4 00"), "e00195", "too large, before the rest has come");
}

#[test]
fn a_packet_may_come_in_any_pieces() {
    let mut whole = bytes(CLEAN);
    whole.extend(bytes("32 06 0001 61 0007 78 c0 00 e0 00"));
    let mut client = Client::new();
    let (mut held, mut out) = (Vec::new(), String::new());
    for byte in whole {
        held.push(byte);
        let before = client.log.len();
        out += &client.send(&hex(&held));
        if !client.log[before..].iter().any(|line| line.starts_with("short")) {
            held.clear();
        }
    }
    assert_eq!(out, "20020000400200 07d000".replace(' ', ""));
    client.log.retain(|line| !line.starts_with("short"));
    assert_eq!(client.log, ["publish a 1", "Disconnect"]);
}

#[test]
fn publishes_are_answered_by_their_qos() {
    let mut client = Client::connected(CLEAN);
    assert_eq!(client.send("30 04 0001 61 78"), "");
    assert_eq!(client.send("32 06 0001 61 1234 78"), "40021234");
    // Three times the same, one release: one publication.
    assert_eq!(client.send("34 06 0001 61 0001 78"), "50020001");
    assert_eq!(client.send("3c 06 0001 61 0001 78 3c 06 0001 61 0001 78"), "5002000150020001");
    assert_eq!(client.send("62 02 0001"), "70020001");
    assert_eq!(client.send("62 02 0001"), "70020001", "3.1.1 is not told that there was nothing");
    assert_eq!(client.send("34 06 0001 61 0001 78"), "50020001");
    assert_eq!(client.log, ["publish a 0", "publish a 1", "publish a 2", "release 1", "publish a 2"]);
}

#[test]
fn five_hears_what_became_of_a_publish() {
    let mut client = Client::connected(CLEAN_5);
    assert_eq!(client.send("32 0b 0006 64656e696564 0001 00"), "4003000187");
    // Refused, so the packet identifier is free again [MQTT-4.3.3-9].
    assert_eq!(client.send("34 0b 0006 64656e696564 0001 00"), "5003000187");
    assert_eq!(client.send("34 0b 0006 64656e696564 0001 00"), "5003000187");
    assert_eq!(client.send("62 02 0007"), "7003000792");
    assert_eq!(client.log, ["publish denied 1", "publish denied 2", "publish denied 2"]);
}

/// An alias is set, used, set anew; after a reconnect it is none.
#[test]
fn aliases_of_the_client() {
    let mut client = Client::connected(KEEP_5);
    client.send("30 07 0001 61 03 23 0001");
    client.send("30 06 0000 03 23 0001");
    client.send("30 07 0001 62 03 23 0001");
    client.send("30 06 0000 03 23 0001");
    assert_eq!(client.log, ["publish a 0", "publish a 0", "publish b 0", "publish b 0"]);
    client.reconnect(KEEP_5);
    assert_eq!(client.send("30 06 0000 03 23 0001"), "e00182");
}

/// The client takes two aliases: the first two topics get them.
#[test]
fn aliases_of_the_server() {
    let mut client = Client::connected("10 11 0004 4d515454 05 02 003c 03 220002 0001 61");
    client.send("82 07 0001 00 0001 23 00");
    assert_eq!(client.deliver("long", 0, "", 0), plain("30 0a 0004 6c6f6e67 03 230001"));
    assert_eq!(client.deliver("long", 0, "", 0), plain("30 06 0000 03 230001"));
    assert_eq!(client.deliver("more", 0, "", 0), plain("30 0a 0004 6d6f7265 03 230002"));
    assert_eq!(client.deliver("most", 0, "", 0), plain("30 07 0004 6d6f7374 00"));
    assert_eq!(client.deliver("more", 0, "", 0), plain("30 06 0000 03 230002"));
}

#[test]
fn subscriptions_are_answered_one_by_one() {
    let mut client = Client::connected(CLEAN);
    assert_eq!(client.send("82 13 00ff 0001 61 00 0002 6123 01 0001 62 02 0001 63 01"), "900600ff00800201");
    assert_eq!(client.send("a2 08 0007 0001 61 0001 7a"), "b0020007");
    let mut client = Client::connected(CLEAN_5);
    assert_eq!(client.send("82 0c 0001 00 0001 61 01 0002 6123 01"), "90050001 00018f".replace(' ', ""));
    assert_eq!(client.send("a2 09 0007 00 0001 61 0001 7a"), "b0050007000011");
}

#[test]
fn delivers_at_the_lower_qos() {
    for published in 0..=2u8 {
        for granted in 0..=2u8 {
            let mut client = Client::connected(CLEAN);
            client.send(&format!("82 06 0001 0001 61 0{granted}"));
            let sent = client.deliver("a", published, "x", 0);
            let (id, len) = if published.min(granted) == 0 { ("", 4) } else { ("0001", 6) };
            let first = 0x30 | published.min(granted) << 1;
            assert_eq!(sent, format!("{first:02x}0{len}000161{id}78"));
        }
    }
}

/// Two are under way; the third waits until one is acknowledged; everything else goes on meanwhile.
#[test]
fn keeps_to_the_receive_maximum_of_the_client() {
    let mut client = Client::connected("10 11 0004 4d515454 05 02 003c 03 210002 0001 61");
    client.send("82 07 0001 00 0001 61 02");
    assert_eq!(client.deliver("a", 1, "1", 0), plain("32 07 0001 61 0001 00 31"));
    assert_eq!(client.deliver("a", 2, "2", 0), plain("34 07 0001 61 0002 00 32"));
    assert_eq!(client.deliver("a", 1, "3", 0), "");
    assert_eq!(client.deliver("a", 0, "4", 0), plain("30 05 0001 61 00 34"));
    assert_eq!(client.send("c000"), "d000");
    // PUBREC frees nothing, PUBREC with an error does.
    assert_eq!(client.send("50 02 0002"), "62020002");
    assert_eq!(client.send("40 02 0001"), plain("32 07 0001 61 0003 00 33"));
    assert_eq!(client.deliver("a", 2, "5", 0), "");
    assert_eq!(client.send("70 02 0002"), plain("34 07 0001 61 0004 00 35"));
    assert_eq!(client.deliver("a", 1, "6", 0), "");
    assert_eq!(client.send("50 03 0004 80"), plain("32 07 0001 61 0005 00 36"));
}

#[test]
fn our_receive_maximum_is_kept() {
    let mut client = Client::connected(CLEAN_5);
    for id in 1..=RECEIVE_MAX as u16 {
        assert_eq!(client.send(&format!("34 06 0001 61 {id:04x} 00")), format!("5002{id:04x}"));
    }
    assert_eq!(client.send("34 06 0001 61 0001 00"), "50020001", "the same again is no more");
    assert_eq!(client.send("34 06 0001 61 ffff 00"), "e00193");
    // 3.1.1 cannot know it.
    let mut client = Client::connected(CLEAN);
    for id in 1..=2 * RECEIVE_MAX as u16 {
        assert_eq!(client.send(&format!("34 05 0001 61 {id:04x}")), format!("5002{id:04x}"));
    }
}

/// What was not acknowledged comes again at once, with its identifier and DUP, and at no other time `[MQTT-4.4.0-1]`.
#[test]
fn a_session_goes_on_where_it_was() {
    let mut client = Client::connected(KEEP);
    client.send("82 06 0001 0001 61 02");
    assert_eq!(client.deliver("a", 1, "1", 11), plain("32 06 0001 61 0001 31"));
    assert_eq!(client.deliver("a", 2, "2", 12), plain("34 06 0001 61 0002 32"));
    assert_eq!(client.deliver("a", 2, "3", 13), plain("34 06 0001 61 0003 33"));
    assert_eq!(client.send("50 02 0002"), "62020002");
    assert_eq!(client.send("34 05 0001 61 0009"), "50020009");
    let again = client.reconnect(KEEP);
    assert_eq!(again, plain("20020100 3a 06 0001 61 0001 31 62 02 0002 3c 06 0001 61 0003 33"));
    assert_eq!(client.send("40 02 0001 70 02 0002"), "");
    assert_eq!(client.gone, [11, 12]);
    // Exactly once, also over the break: this one was taken already.
    assert_eq!(client.send("3c 05 0001 61 0009"), "50020009");
    assert_eq!(client.log, ["arrived 2 kept as 12", "publish a 2"]);
    // A clean start ends it.
    assert_eq!(client.reconnect(CLEAN), "20020000");
    assert_eq!(client.reconnect(KEEP), plain("20020100"));
}

/// While away it takes what comes, in order; what expires before it was ever sent is not sent.
#[test]
fn an_absent_session_collects() {
    let mut client = Client::connected(KEEP_5);
    client.send("82 07 0001 00 0001 61 01");
    let mut session = client.connection.take_session().unwrap();
    let how = session.subscription(0).unwrap().clone();
    for (n, payload) in [b"1", b"2", b"3"].into_iter().enumerate() {
        let expires = (n == 1).then_some(client.now + SECOND);
        let expires = if n == 2 { Some(client.now + 10 * SECOND) } else { expires };
        let message = Outgoing { expires, ..outgoing("a", 2, payload) };
        let Delivered::Queued(id) = session.enqueue(&client.limits, &message, &how) else { panic!("not queued") };
        session.saved(id, n as u64 + 1, 0);
    }
    assert_eq!(session.enqueue(&client.limits, &outgoing("a", 0, b"x"), &how), Delivered::Nothing);
    client.parked = Some(session);
    client.now += 3 * SECOND;
    let back = client.reconnect(KEEP_5);
    let welcome = plain(WELCOME_5).replacen("200e00", "200e01", 1);
    assert_eq!(back, welcome + &plain("32 07 0001 61 0001 00 31  32 0c 0001 61 0003 05 02 00000007 33"));
    assert_eq!(client.gone, [2]);
}

/// The bound is kept, and says so; the queue goes on afterwards.
#[test]
fn a_full_queue_takes_no_more() {
    let mut client = Client::connected(CLEAN);
    client.limits = Limits { window_max: 1024, queued_max: 3, ..Limits::default() };
    client.send("82 06 0001 0001 61 01");
    client.connection.session_mut().unwrap().set_expiry(9);
    for _ in 0..4 {
        client.deliver("a", 1, "x", 0);
    }
    assert_eq!(client.log, ["Full"]);
    client.send("40 02 0001");
    assert_eq!(client.deliver("a", 1, "y", 0), plain("32 06 0001 61 0004 79"));
    client.limits = Limits { queued_bytes_max: 10, ..Limits::default() };
    assert_eq!(client.deliver("a", 1, "123456789", 0), "");
}

/// Acknowledgements wait for the disk, in their order; one that need not waits for those before it `[MQTT-4.6.0-2]`.
#[test]
fn acknowledges_after_the_sync() {
    let mut client = Client::connected(CLEAN);
    client.commit = 1;
    assert_eq!(client.send("32 05 0001 61 0001 34 05 0001 61 0002"), "");
    client.commit = 0;
    assert_eq!(client.send("32 05 0001 61 0003 c0 00"), "d000");
    client.commit = 2;
    assert_eq!(client.send("62 02 0002"), "");
    assert_eq!(client.send("3c 05 0001 61 0002"), "", "released, so it is new");
    assert_eq!(client.sync(1), plain("4002 0001 5002 0002 4002 0003"));
    assert_eq!(client.sync(2), plain("7002 0002 5002 0002"));
    client.commit = 3;
    assert_eq!(client.send("82 06 0007 0001 61 01 c0 00 a2 05 0008 0001 61"), "d000");
    assert_eq!(client.sync(3), plain("9003 0007 01 b002 0008"));
}

/// A message of QoS 2 leaves, and PUBREL too, only once what they rest on is on disk.
#[test]
fn exactly_once_waits_for_the_disk() {
    let mut client = Client::connected(KEEP);
    client.send("82 06 0001 0001 61 02");
    client.commit = 1;
    assert_eq!(client.deliver("a", 2, "x", 7), "");
    assert_eq!(client.sync(1), plain("34 06 0001 61 0001 78"));
    client.commit = 2;
    assert_eq!(client.send("50 02 0001"), "");
    assert_eq!(client.send("50 02 0001"), "", "said again meanwhile");
    assert_eq!(client.sync(2), "62020001");
    assert_eq!(client.send("50 02 0001"), "62020001", "said again afterwards");
    assert_eq!(client.send("70 02 0001"), "");
    assert_eq!(client.gone, [7]);
    // A break between PUBREC and the sync: PUBREL still waits.
    client.commit = 3;
    client.deliver("a", 2, "y", 8);
    client.sync(3);
    client.commit = 4;
    client.send("50 02 0002");
    assert_eq!(client.reconnect(KEEP), "20020100");
    assert_eq!(client.sync(4), "62020002");
}

/// Larger than the client takes: dropped, and the window is not held up by it `[MQTT-3.1.2-25]`.
#[test]
fn keeps_to_the_maximum_packet_size_of_the_client() {
    for connect in [
        "10 13 0004 4d515454 05 02 003c 05 27 00000014 0001 61",
        "10 18 0004 4d515454 05 00 003c 0a 27 00000014 11 00000064 0001 61",
    ] {
        let mut client = Client::connected(connect);
        client.send("82 07 0001 00 0001 61 01");
        assert_eq!(client.deliver("a", 0, "a long payload it is", 0), "");
        assert_eq!(client.deliver("a", 1, "a long payload it is", 0), "");
        assert!(client.deliver("a", 1, "ok", 0).ends_with("6f6b"));
    }
}

#[test]
fn silence_ends_it() {
    let mut client = Client::connected("10 0d 0004 4d515454 04 02 0002 0001 61");
    assert_eq!(client.connection.deadline(), Some(8 * SECOND));
    client.now = 7 * SECOND;
    // Half a packet is no sign of life.
    client.send("30 05 00");
    assert_eq!(client.connection.deadline(), Some(8 * SECOND));
    client.send("c000");
    assert_eq!(client.connection.deadline(), Some(10 * SECOND));
    assert!(!client.connection.is_overdue(10 * SECOND - 1) && client.connection.is_overdue(10 * SECOND));
    assert_eq!(Client::connected("10 0d 0004 4d515454 04 02 0000 0001 61").connection.deadline(), None);
}

#[test]
fn wills_stay_or_go() {
    let with_will = "10 13 0004 4d515454 04 06 003c 0001 61 0001 77 0001 78";
    let will = |client: &Client| client.parked.as_ref().and_then(|session| session.will().cloned());
    let mut client = Client::connected(with_will);
    client.send("e000");
    assert_eq!(will(&client), None);
    let mut client = Client::connected(with_will);
    client.send("e100");
    assert!(will(&client).is_some(), "a broken DISCONNECT is none");
    let mut client = Client::connected(with_will);
    let session = client.connection.take_session().unwrap();
    assert_eq!(session.will().map(|will| (&*will.topic, &*will.payload)), Some(("w", &b"x"[..])));
    // 5.0 may ask for it.
    let with_will = "10 1a 0004 4d515454 05 06 003c 00 0001 61 05 18 00000009 0001 77 0001 78";
    let mut client = Client::connected(with_will);
    client.send("e001 04");
    assert_eq!(will(&client).map(|will| will.delay), Some(9));
    assert_eq!(client.reconnect("10 0e 0004 4d515454 05 00 003c 00 0001 61").len(), plain(WELCOME_5).len());
    assert_eq!(client.connection.session().unwrap().will(), None, "the new CONNECT has none");
}

#[test]
fn last_words_are_the_versions_own() {
    let five = Client::connected(CLEAN_5).connection;
    assert_eq!(hex(&five.last_words(Reason::SessionTakenOver, None)), "e0018e");
    assert_eq!(hex(&five.last_words(Reason::UseAnotherServer, Some("b"))), plain("e006 9c 04 1c 0001 62"));
    assert_eq!(hex(&Client::connected(CLEAN).connection.last_words(Reason::SessionTakenOver, None)), "");
}

/// A thousand random steps: identifiers of what is under way are distinct and not 0, the window holds, bytes add up.
#[test]
fn the_queue_keeps_its_promises() {
    let mut draw = 1u64;
    let mut random = move |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    let limits = Limits { window_max: 5, queued_max: 12, ..Limits::default() };
    let mut queue = Queue::default();
    // One from before, so that identifiers soon wrap.
    let before = Restored {
        id: u16::MAX - 20,
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Vec::new(),
        stored: None,
    };
    queue.restore(before, 0);
    queue.disconnected();
    assert_eq!(queue.len(), 1);
    queue = pumped(queue);
    assert_eq!(queue.completed(u16::MAX - 20), queue::Acked::Done(0));
    let how = Subscription::new("a", Options::default(), 0);
    let mut model: Vec<u16> = Vec::new();
    for _ in 0..200_000 {
        match random(5) {
            0 | 1 => {
                if let Delivered::Queued(id) = queue.push(&limits, &outgoing("a", 1, b"x"), &how, QoS::AtLeastOnce) {
                    assert!(id != 0 && !model.contains(&id));
                    model.push(id);
                } else {
                    assert_eq!(model.len(), 12);
                }
            }
            2 | 3 if !model.is_empty() => {
                let at = random(model.len() as u64) as usize;
                let acked = queue.finished(model[at], QoS::AtLeastOnce);
                if acked != queue::Acked::Unknown {
                    model.remove(at);
                }
            }
            _ => {
                queue = pumped(queue);
                if random(50) == 0 {
                    queue.disconnected();
                }
            }
        }
        assert_eq!((queue.len(), queue.bytes()), (model.len(), model.len() * 2));
    }
}

/// The queue after all was sent that may be, with a window of five.
fn pumped(mut queue: Queue) -> Queue {
    let mut aliases = aliases::Outgoing::new(0);
    let version = crate::Version::V311;
    let mut wire = queue::Wire { version, window: 5, packet_max: usize::MAX, aliases: &mut aliases, now: 0, synced: 0 };
    queue.pump(&mut wire, &mut Vec::new(), &mut Vec::new());
    queue
}

/// Several subscriptions match: one copy, at the best quality, with all their identifiers `[MQTT-3.3.4-2]`, `-4`.
#[test]
fn overlapping_subscriptions_share_a_copy() {
    let overlap = |connect: &str| {
        let mut client = Client::connected(connect);
        client.send("82 09 0001 02 0b05 0001 61 00");
        client.send("82 09 0002 02 0b06 0001 23 01");
        client.send("82 09 0003 02 0b07 0001 2b 02");
        client
    };
    let mut client = overlap(CLEAN_5);
    assert_eq!(client.deliver("a", 2, "x", 0), plain("34 0d 0001 61 0001 06 0b05 0b06 0b07 78"));
    assert_eq!(client.deliver("a", 0, "x", 0), plain("30 0b 0001 61 06 0b05 0b06 0b07 78"));
    assert_eq!(client.deliver("b", 1, "x", 0), plain("32 0b 0001 62 0002 04 0b06 0b07 78"));
    assert_eq!(client.deliver("b", 1, "x", 0), plain("32 0b 0001 62 0003 04 0b06 0b07 78"), "twice is twice");
    // Where it has to be queued, it is one message too.
    let mut client = overlap(KEEP_5);
    assert_eq!(client.deliver("a", 2, "x", 9), plain("34 0d 0001 61 0001 06 0b05 0b06 0b07 78"));
    assert_eq!(client.connection.session().unwrap().queued_count(), 1);
    // A shared subscription has a copy of its own.
    let mut client = overlap(CLEAN_5);
    client.send("82 10 0004 00 000a 2473686172652f672f61 00");
    assert_eq!(
        client.deliver("a", 0, "x", 0).len(),
        plain("30 0b 0001 61 06 0b05 0b06 0b07 78 3005 0001 61 00 78").len()
    );
}

#[test]
fn a_server_may_be_less_patient() {
    let mut client = Client::new();
    client.limits.keep_alive_max = 10;
    assert!(client.send(CLEAN_5).contains("13000a"));
    assert_eq!(client.connection.deadline(), Some(20 * SECOND));
}

/// A string that is not UTF-8 ends it wherever it stands.
#[test]
fn every_string_is_utf8() {
    for connect in [
        // Client id, topic of the will, user name; of 3.1.1 and of 5.0.
        "10 0d 0004 4d515454 04 02 003c 0001 ff",
        "10 13 0004 4d515454 04 06 003c 0001 61 0001 ff 0001 78",
        "10 10 0004 4d515454 04 82 003c 0001 61 0001 ff",
        "10 0e 0004 4d515454 05 02 003c 00 0001 ff",
        "10 15 0004 4d515454 05 06 003c 00 0001 61 00 0001 ff 0001 78",
        "10 11 0004 4d515454 05 82 003c 00 0001 61 0001 ff",
    ] {
        let mut client = Client::new();
        client.send(connect);
        assert!(!client.connection.is_open(), "{connect}");
        assert_eq!(client.log.len(), 1, "{connect}: {:?}", client.log);
        // The same is fine with a letter in its place.
        let mut client = Client::new();
        client.send(&connect.replace("ff", "62"));
        assert!(client.connection.is_open(), "{connect}: {:?}", client.log);
    }
    // Response topic, content type.
    for publish in ["30 08 0001 61 04 08 0001 ff", "30 08 0001 61 04 03 0001 ff"] {
        let mut client = Client::connected(CLEAN_5);
        assert!(client.send(publish).starts_with("e001"), "{publish}");
        let mut client = Client::connected(CLEAN_5);
        assert_eq!(client.send(&publish.replace("ff", "62")), "");
        assert_eq!(client.log, ["publish a 0"]);
    }
}

/// A will's QoS and retain flag are there with a will only, and its QoS is one that there is.
#[test]
fn wills_and_their_flags_agree() {
    for (flags, will) in [("1e", true), ("0a", false), ("22", false), ("03", false)] {
        for connect in match will {
            true => [
                format!("10 13 0004 4d515454 04 {flags} 003c 0001 61 0001 62 0001 78"),
                format!("10 15 0004 4d515454 05 {flags} 003c 00 0001 61 00 0001 62 0001 78"),
            ],
            false => [
                format!("10 0d 0004 4d515454 04 {flags} 003c 0001 61"),
                format!("10 0e 0004 4d515454 05 {flags} 003c 00 0001 61"),
            ],
        } {
            let mut client = Client::new();
            client.send(&connect);
            assert!(!client.connection.is_open(), "{connect}");
            assert_eq!(client.log.len(), 1, "{connect}: {:?}", client.log);
        }
    }
}

#[test]
fn pings_are_answered() {
    for connect in [CLEAN, CLEAN_5] {
        let mut client = Client::connected(connect);
        assert_eq!(client.send("c000 c000"), plain("d000 d000"));
        assert!(client.log.is_empty());
    }
}
