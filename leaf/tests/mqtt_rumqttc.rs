//! rumqttc drives our own binary: 3.1.1 and 5.0, every quality of service, over TCP and TLS, with a session that lasts.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::result_large_err, reason = "the client's own errors")]

mod support;

use std::time::Duration;

use rumqttc::{TlsConfiguration, Transport};
use support::Server;
use support::mqtt::{MQTT, port};
use support::tls::{block, certificate};

/// What both versions of the client, whose types differ, must do.
macro_rules! drive {
    ($options:ident, $version:expr, $new:expr, $event:path, $packet:path, $qos:path) => {{
        use $event as Event;
        use $packet as Incoming;
        use $qos as QoS;
        let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        let (client, mut connection) = $new($options("sensor"), 64);
        let mut events = connection.iter();
        let mut next = |what: &str| loop {
            match events.next().unwrap_or_else(|| panic!("{what}: it ended")) {
                Ok(Event::Incoming(packet)) => match packet {
                    Incoming::PubRec(..) => {}
                    packet => break packet,
                },
                Ok(_) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        };
        assert!(matches!(next("connect"), Incoming::ConnAck(ack) if !ack.session_present));
        for (granted, filter) in [(0, "r/0/#"), (1, "r/1/#"), (2, "r/2/#")] {
            client.subscribe(filter, levels[granted]).unwrap();
            assert!(matches!(next("subscribe"), Incoming::SubAck(_)));
            for (sent, level) in levels.into_iter().enumerate() {
                client.publish(format!("r/{granted}/x"), level, false, format!("{granted}{sent}")).unwrap();
                // The message, its end, and the end of the publish come in any order.
                let (mut message, mut left) = (None, usize::from(sent > 0) + usize::from(sent.min(granted) == 2));
                while message.is_none() || left > 0 {
                    match next("publish") {
                        Incoming::Publish(publish) => message = Some(publish),
                        Incoming::PubAck(_) | Incoming::PubComp(_) | Incoming::PubRel(_) => left -= 1,
                        other => panic!("{other:?}"),
                    }
                }
                let message = message.unwrap();
                assert_eq!(&*message.payload, format!("{granted}{sent}").as_bytes());
                assert_eq!(message.qos as usize, sent.min(granted), "granted {granted}, sent {sent}");
            }
        }
        client.disconnect().unwrap();
        // It goes on until the socket is closed.
        while events.next().is_some_and(|event| event.is_ok()) {}

        // While it is away something comes; then it is there again, and its session, too.
        let (other, mut connection) = $new($options("other"), 64);
        other.publish("r/1/late", levels[1], false, "late").unwrap();
        let acknowledged = |event: &_| matches!(event, Ok(Event::Incoming(Incoming::PubAck(_))));
        assert!(connection.iter().any(|event| acknowledged(&event)), "the publish was acknowledged");
        let (_client, mut connection) = $new($options("sensor"), 64);
        let mut present = false;
        let mut heard = None;
        for event in connection.iter() {
            match event.unwrap() {
                Event::Incoming(Incoming::ConnAck(ack)) => present = ack.session_present,
                Event::Incoming(Incoming::Publish(publish)) => heard = Some(publish),
                _ => {}
            }
            if heard.is_some() {
                break;
            }
        }
        assert!(present && &*heard.unwrap().payload == b"late", "{}", $version);
    }};
}

fn all_versions(server: &Server, tls: bool) {
    let port = port(server);
    let transport = || match tls {
        false => Transport::tcp(),
        true => {
            let ca = std::fs::read(certificate("ca.pem")).unwrap();
            Transport::Tls(TlsConfiguration::Simple { ca, alpn: None, client_auth: None })
        }
    };
    let four = |id: &str| {
        let mut options = rumqttc::MqttOptions::new(format!("{id}4"), "localhost", port);
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(600)).set_transport(transport());
        options
    };
    drive!(four, "3.1.1", rumqttc::Client::new, rumqttc::Event, rumqttc::Packet, rumqttc::QoS);
    let five = |id: &str| {
        let mut options = rumqttc::v5::MqttOptions::new(format!("{id}5"), "localhost", port);
        options.set_clean_start(false).set_keep_alive(Duration::from_secs(600)).set_transport(transport());
        options.set_session_expiry_interval(Some(600));
        options
    };
    use rumqttc::v5::mqttbytes::{QoS as QoS5, v5::Packet as Packet5};
    drive!(five, "5.0", rumqttc::v5::Client::new, rumqttc::v5::Event, Packet5, QoS5);
}

#[test]
fn rumqttc_speaks_every_version() {
    all_versions(&Server::start("mqtt-rumqttc", MQTT), false);
}

#[test]
fn rumqttc_speaks_every_version_over_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = format!("mqtt {{ host: 127.0.0.1, port: -1\n {} }}\nstore_dir: \"<DIR>/data\"\n", block(""));
    all_versions(&Server::start("mqtt-rumqttc-tls", &config), true);
}
