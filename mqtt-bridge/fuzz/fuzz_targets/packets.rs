//! One packet, read by us and by `mqttbytes`: what we accept, it accepts too and understands in the same way. (It accepts
//! more: it does not check flags, wildcards and U+0000. Its reader of UNSUBSCRIBE for 5.0 prints, so that is left out.)
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mqtt_bridge::packet::{Connect, Framing, Packet, frame};
use mqtt_bridge::{Properties, Property, Value, Version};
use mqttbytes::{v4, v5};

const BYTES_MAX: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    let Some((&version, input)) = input.split_first() else { return };
    let version = if version & 1 == 0 { Version::V311 } else { Version::V5 };
    let Ok(Framing::Whole(frame)) = frame(input, BYTES_MAX) else { return };
    let whole = &input[..frame.used];
    if frame.first >> 4 == 1 {
        return connect(whole, frame);
    }
    let Ok(packet) = Packet::read(frame, version) else { return };
    match version {
        Version::V5 => five(whole, packet),
        _ => four(whole, packet),
    }
});

fn connect(whole: &[u8], frame: mqtt_bridge::packet::Frame<'_>) {
    let Ok(ours) = Connect::read(frame) else { return };
    let mut bytes = BytesMut::from(whole);
    match ours.version {
        Version::V31 => {}
        Version::V311 => {
            let v4::Packet::Connect(theirs) = v4::read(&mut bytes, BYTES_MAX).expect("CONNECT") else { panic!() };
            assert_eq!((ours.client_id, ours.keep_alive, ours.clean), (&*theirs.client_id, theirs.keep_alive, theirs.clean_session));
            let will = ours.will.map(|will| (will.topic.to_owned(), will.payload.to_vec(), will.qos as u8, will.retain));
            let other = theirs.last_will.map(|will| (will.topic, will.message.to_vec(), will.qos as u8, will.retain));
            assert_eq!(will, other);
        }
        Version::V5 => {
            let v5::Packet::Connect(theirs) = v5::read(&mut bytes, BYTES_MAX).expect("CONNECT") else { panic!() };
            assert_eq!((ours.client_id, ours.keep_alive, ours.clean), (&*theirs.client_id, theirs.keep_alive, theirs.clean_session));
            let theirs = theirs.properties.as_ref();
            assert_eq!(ours.session_expiry, theirs.and_then(|all| all.session_expiry_interval).unwrap_or(0));
            assert_eq!(ours.receive_max, theirs.and_then(|all| all.receive_maximum).unwrap_or(u16::MAX));
            assert_eq!(ours.packet_max, theirs.and_then(|all| all.max_packet_size).unwrap_or(u32::MAX));
            assert_eq!(ours.alias_max, theirs.and_then(|all| all.topic_alias_max).unwrap_or(0));
        }
    }
}

fn four(whole: &[u8], ours: Packet<'_>) {
    let mut bytes = BytesMut::from(whole);
    let theirs = v4::read(&mut bytes, BYTES_MAX).unwrap_or_else(|error| panic!("{ours:?}: {error:?}"));
    match (ours, theirs) {
        (Packet::Publish(ours), v4::Packet::Publish(theirs)) => {
            assert_eq!((ours.topic, ours.payload), (&*theirs.topic, &*theirs.payload));
            assert_eq!((ours.qos as u8, ours.retain, ours.dup), (theirs.qos as u8, theirs.retain, theirs.dup));
            assert_eq!(ours.id, theirs.pkid);
        }
        (Packet::PubAck { id, .. }, v4::Packet::PubAck(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PubRec { id, .. }, v4::Packet::PubRec(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PubRel { id, .. }, v4::Packet::PubRel(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PubComp { id, .. }, v4::Packet::PubComp(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::Subscribe(ours), v4::Packet::Subscribe(theirs)) => {
            assert_eq!(ours.id, theirs.pkid);
            let requests = ours.requests(Version::V311).map(|one| (one.filter.to_owned(), one.options.qos as u8));
            assert!(requests.eq(theirs.filters.into_iter().map(|one| (one.path, one.qos as u8))));
        }
        (Packet::Unsubscribe(ours), v4::Packet::Unsubscribe(theirs)) => {
            assert!(ours.filters().map(str::to_owned).eq(theirs.topics));
        }
        (Packet::PingReq, v4::Packet::PingReq) | (Packet::Disconnect(_), v4::Packet::Disconnect) => {}
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

fn five(whole: &[u8], ours: Packet<'_>) {
    if matches!(ours, Packet::Unsubscribe(_) | Packet::Auth(_) | Packet::Disconnect(_)) {
        return;
    }
    let mut bytes = BytesMut::from(whole);
    let Ok(theirs) = v5::read(&mut bytes, BYTES_MAX) else {
        // It knows fewer reason codes and takes no empty property block behind one.
        assert!(matches!(
            ours,
            Packet::PubAck { .. } | Packet::PubRec { .. } | Packet::PubRel { .. } | Packet::PubComp { .. }
        ));
        return;
    };
    match (ours, theirs) {
        (Packet::Publish(ours), v5::Packet::Publish(theirs)) => {
            assert_eq!((ours.topic, ours.payload), (&*theirs.topic, &*theirs.payload));
            assert_eq!((ours.qos as u8, ours.retain, ours.id), (theirs.qos as u8, theirs.retain, theirs.pkid));
            if let Some(properties) = theirs.properties {
                assert_eq!((ours.alias, ours.expiry), (properties.topic_alias, properties.message_expiry_interval));
                assert_eq!(text(ours.properties, Property::ContentType), properties.content_type);
                let user = ours.properties.user().map(|(name, value)| (name.to_owned(), value.to_owned()));
                assert!(user.eq(properties.user_properties));
            }
        }
        (Packet::Subscribe(ours), v5::Packet::Subscribe(theirs)) => {
            assert_eq!(ours.id, theirs.pkid);
            let requests = ours.requests(Version::V5).map(|one| (one.filter.to_owned(), one.options.qos as u8));
            assert!(requests.eq(theirs.filters.into_iter().map(|one| (one.path, one.qos as u8))));
        }
        (Packet::PubAck { id, .. }, v5::Packet::PubAck(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PubRec { id, .. }, v5::Packet::PubRec(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PubRel { id, .. }, v5::Packet::PubRel(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PubComp { id, .. }, v5::Packet::PubComp(theirs)) => assert_eq!(id, theirs.pkid),
        (Packet::PingReq, v5::Packet::PingReq) => {}
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

fn text(properties: Properties<'_>, wanted: Property) -> Option<String> {
    properties.iter().find_map(|(property, value)| match value {
        Value::Text(text) if property == wanted => Some(text.to_owned()),
        _ => None,
    })
}
