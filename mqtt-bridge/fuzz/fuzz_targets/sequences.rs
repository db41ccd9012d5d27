//! Any bytes, in any pieces, against a connection that is let in and whose every wish is granted: it never panics, never
//! takes more than there is, says what `mqttbytes` can read, and what comes in pieces means what it means in one.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mqtt_bridge::{Connection, Delivered, Event, Limits, Outgoing, Reason, Step, Subscription, Version};

struct Run {
    out: Vec<u8>,
    version: Option<Version>,
    ended: bool,
}

fuzz_target!(|input: &[u8]| {
    let Some((&piece, input)) = input.split_first() else { return };
    let whole = run(input, usize::MAX);
    let pieces = run(input, usize::from(piece).max(1));
    assert_eq!((&whole.out, whole.ended), (&pieces.out, pieces.ended));
    readable(&whole);
});

fn run(input: &[u8], piece: usize) -> Run {
    let limits = Limits { packet_bytes_max: 4096, queued_max: 8, window_max: 4, ..Limits::default() };
    let mut connection = Connection::default();
    let mut run = Run { out: Vec::new(), version: None, ended: false };
    let mut held = Vec::new();
    let mut serial = 0;
    for part in input.chunks(piece.min(input.len().max(1))) {
        held.extend_from_slice(part);
        while !held.is_empty() && !run.ended {
            let used = match connection.next(1, &limits, 0, &held, &mut run.out) {
                Step::Short(missing) => {
                    assert!(missing > 0);
                    break;
                }
                Step::End(_) => {
                    run.ended = true;
                    break;
                }
                Step::Done(used, Event::Publish(publish)) => {
                    assert!(used <= held.len());
                    let topic = connection.topic(&publish).to_owned();
                    assert!(mqtt_bridge::topic::is_name(&topic));
                    connection.published(&publish, Reason::Success, 0, 0, &mut run.out);
                    serial += 1;
                    let message = Outgoing {
                        topic: &topic,
                        qos: publish.qos,
                        retain: false,
                        expires: None,
                        forwarded: publish.forwarded(),
                        payload: publish.payload,
                        serial,
                        stored: None,
                    };
                    deliver(&mut connection, &limits, &message, &mut run.out);
                    used
                }
                Step::Done(used, event) => {
                    assert!(used > 0 && used <= held.len());
                    grant(&mut connection, &limits, event, &mut run.out);
                    used
                }
            };
            run.version = connection.version().or(run.version);
            held.drain(..used);
        }
    }
    if let Some(mut session) = connection.take_session() {
        assert!(session.queued_count() <= 8);
        session.drop_expired(2, &mut Vec::new());
    }
    run
}

fn grant(connection: &mut Connection, limits: &Limits, event: Event<'_>, out: &mut Vec<u8>) {
    match event {
        Event::None | Event::Publish(_) => {}
        Event::Connect(_) => {
            connection.assign("fuzz");
            connection.accept(1, limits, 0, None, out);
        }
        Event::Release(id) => connection.released(id, 0, 0, out),
        Event::Subscribe(subscribe) => {
            let version = connection.version().expect("it is in");
            let session = connection.session_mut().expect("it is in");
            let mut answers = Vec::new();
            for request in subscribe.requests(version) {
                if mqtt_bridge::topic::Asked::parse(request.filter).is_none() {
                    answers.push(Reason::TopicFilterInvalid);
                    continue;
                }
                session.subscribe(Subscription::new(request.filter, request.options, subscribe.subscription_id));
                answers.push(Reason::Success);
            }
            connection.suback(subscribe.id, &answers, 0, 0, out);
        }
        Event::Unsubscribe(unsubscribe) => {
            let session = connection.session_mut().expect("it is in");
            let answers: Vec<Reason> = unsubscribe
                .filters()
                .map(|filter| session.unsubscribe(filter).map_or(Reason::NoSubscriptionExisted, |_| Reason::Success))
                .collect();
            connection.unsuback(unsubscribe.id, &answers, 0, 0, out);
        }
        Event::Arrived(_) => panic!("nothing was named"),
    }
}

fn deliver(connection: &mut Connection, limits: &Limits, message: &Outgoing<'_>, out: &mut Vec<u8>) {
    let session = connection.session().expect("it is in");
    let takes = |how: &Subscription| mqtt_bridge::topic::matches(how.inner(), message.topic);
    let matching: Vec<u32> = session.subscriptions().filter(|(_, how)| takes(how)).map(|(index, _)| index).collect();
    for index in matching {
        if let Delivered::Queued(_) = connection.deliver(1, limits, message, index, out) {
            connection.synced(1, 0, out);
        }
    }
}

/// A client of another make reads everything we said. (`mqttbytes` knows no property block in a CONNACK's refusal of one
/// byte, so that is left out; nor server codes of DISCONNECT.)
fn readable(run: &Run) {
    let mut bytes = BytesMut::from(&run.out[..]);
    while !bytes.is_empty() {
        let first = bytes[0];
        match run.version {
            Some(Version::V5) if first == 0xe0 => return,
            Some(Version::V5) => drop(mqttbytes::v5::read(&mut bytes, 1 << 20).expect("what we said")),
            Some(_) => drop(mqttbytes::v4::read(&mut bytes, 1 << 20).expect("what we said")),
            None => return,
        }
    }
}
