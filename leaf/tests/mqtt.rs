//! MQTT against our own binary: what the wire shows, what NATS sees, and the clients people use.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;
use support::mqtt::{MQTT, bytes, connect, connect_packet, packages, packet, port, tool};
use support::{Client, Server};

/// Logged in, subscribed to these filters with QoS 2.
fn subscriber(server: &Server, flags: u8, client_id: &str, filters: &[&str]) -> Client {
    let mut client = connect(server);
    assert_eq!(client.ask(&connect_packet(flags, client_id))[..3], [0x20, 2, 0]);
    for filter in filters {
        assert_eq!(client.ask(&packet(0x82, &format!("0001 '{filter}' 02"))), bytes("90 03 0001 02"));
    }
    client
}

fn nats(server: &Server) -> Client {
    Client::login(server, r#"{"verbose":false,"headers":true}"#)
}

#[test]
fn nats_and_mqtt_hear_each_other() {
    let server = Server::start("mqtt-both", MQTT);
    let mut nats = nats(&server);
    nats.say("SUB a.> 1\r\nPING\r\n");
    nats.until("PONG\r\n");
    let mut mqtt = subscriber(&server, 2, "x y", &["b/#"]);
    // To NATS: nats-server's header, the mapped subject.
    mqtt.send(&packet(0x30, "'a/b' 6869"));
    let heard = nats.until("hi\r\n");
    assert_eq!(heard, "HMSG a.b 1 25 27\r\nNATS/1.0\r\nNmqtt-Pub:0\r\n\r\nhi\r\n");
    assert_eq!(mqtt.ask(&packet(0x32, "'a/ /c' 0007 6869")), bytes("40 02 0007"));
    assert!(nats.until("hi\r\n").starts_with("HMSG a./_.c 1 "));
    // From NATS: with the quality of the subscription, headers aside; a wildcard's character is one.
    nats.say("PUB b.c 2\r\nhi\r\nPUB b 2\r\nho\r\nPUB b.*.x 1\r\n!\r\nPUB b./_ 1\r\n.\r\nPUB $b.c 1\r\n-\r\nPUB b+ 1\r\n-\r\nPING\r\n");
    nats.until("PONG\r\n");
    let first = mqtt.packet();
    assert_eq!(first, packet(0x34, "'b/c' 0001 6869"));
    assert_eq!(mqtt.packet(), packet(0x34, "'b' 0002 686f"));
    assert_eq!(mqtt.packet(), packet(0x34, "'b/*/x' 0003 21"));
    assert_eq!(mqtt.packet(), packet(0x34, "'b/ ' 0004 2e"));
    assert!(mqtt.packets_so_far().is_empty());
}

/// A filter's `*` is a character, and `#` does not show what starts with `$`.
#[test]
fn filters_are_those_of_mqtt() {
    let server = Server::start("mqtt-filters", MQTT);
    let mut mqtt = subscriber(&server, 2, "a", &["a/*", ">", "b/>/c"]);
    let mut all = subscriber(&server, 2, "b", &["#"]);
    for topic in ["a/b", "a/*", ">", "x", "b/>/c", "b/x/c", "$x"] {
        mqtt.send(&packet(0x30, &format!("'{topic}'")));
    }
    let heard = mqtt.packets_so_far();
    assert_eq!(heard, ["a/*", ">", "b/>/c"].map(|topic| packet(0x30, &format!("'{topic}'"))));
    let heard = all.packets_so_far();
    assert_eq!(heard.len(), 6);
}

/// What NATS publishes reaches a client that sleeps, in order, and the bad ones are refused.
#[test]
fn commands_reach_a_sleeping_device() {
    let server = Server::start("mqtt-sleeper", MQTT);
    let mut device = subscriber(&server, 0, "device", &["cmd/+"]);
    device.send(&[0xe0, 0]);
    device.ends();
    let mut nats = nats(&server);
    nats.say("PUB cmd.a 1\r\n1\r\nPUB cmd.b 1\r\n2\r\nPING\r\n");
    nats.until("PONG\r\n");
    let mut device = connect(&server);
    assert_eq!(device.ask(&connect_packet(0, "device")), bytes("20 02 01 00"));
    assert_eq!(device.packet(), packet(0x34, "'cmd/a' 0001 31"));
    assert_eq!(device.packet(), packet(0x34, "'cmd/b' 0002 32"));
    // Not acknowledged: it comes again on the next connection, with DUP.
    drop(device);
    let mut device = connect(&server);
    assert_eq!(device.ask(&connect_packet(0, "device")), bytes("20 02 01 00"));
    assert_eq!(device.packet(), packet(0x3c, "'cmd/a' 0001 31"));
    assert_eq!(device.ask(&packet(0x50, "0001"))[0], 0x3c);
    assert_eq!(device.packet(), bytes("62 02 0001"));
}

#[test]
fn a_client_id_is_taken_over() {
    let server = Server::start("mqtt-takeover", MQTT);
    let mut watcher = subscriber(&server, 2, "w", &["will"]);
    let mut old = connect(&server);
    assert_eq!(old.ask(&packet(0x10, "'MQTT' 04 06 003c 'x' 'will' 'gone'")), bytes("20 02 00 00"));
    let mut new = connect(&server);
    assert_eq!(new.ask(&connect_packet(2, "x")), bytes("20 02 00 00"));
    old.ends();
    assert_eq!(watcher.packet(), packet(0x30, "'will' 676f6e65"));
    assert!(new.packets_so_far().is_empty());
    // 5.0 is told.
    let mut five = connect(&server);
    assert_eq!(five.ask(&packet(0x10, "'MQTT' 05 02 003c 00 'y'"))[3], 0);
    let mut again = connect(&server);
    again.ask(&connect_packet(2, "y"));
    assert_eq!(five.packet(), bytes("e0 01 8e"));
    five.ends();
}

#[test]
fn users_and_permissions_hold() {
    let config = format!(
        "{MQTT}accounts {{ A {{ users: [ {{ user: a, password: p, permissions: {{ publish: {{ deny: [\"no.>\"] }}, \
         subscribe: {{ deny: [\"secret\"] }} }} }}, {{ user: s, password: p, allowed_connection_types: [STANDARD] }} ] }}, \
         B {{ users: [ {{ user: b, password: p }} ] }} }}"
    );
    let server = Server::start("mqtt-users", &config);
    let login = |version: u8, user: &str, password: &str| {
        let mut client = connect(&server);
        let properties = if version == 5 { "00" } else { "" };
        let script = format!("'MQTT' {version:02x} c2 003c {properties} '{user}{version}' '{user}' '{password}'");
        let answer = client.ask(&packet(0x10, &script));
        (client, answer)
    };
    assert_eq!(login(4, "a", "wrong").1, bytes("20 02 00 05"));
    assert_eq!(login(5, "a", "wrong").1, bytes("20 03 00 86 00"));
    assert_eq!(login(4, "s", "p").1, bytes("20 02 00 05"));
    let mut nobody = connect(&server);
    assert_eq!(nobody.ask(&connect_packet(2, "n")), bytes("20 02 00 05"));
    nobody.ends();
    let (mut a, answer) = login(4, "a", "p");
    assert_eq!(answer, bytes("20 02 00 00"));
    assert_eq!(a.ask(&packet(0x82, "0001 'secret' 01 '#' 01")), bytes("90 04 0001 80 01"));
    let (mut b, _) = login(4, "b", "p");
    assert_eq!(b.ask(&packet(0x82, "0001 '#' 01")), bytes("90 03 0001 01"));
    // Denied: acknowledged and dropped; 5.0 hears of it.
    assert_eq!(a.ask(&packet(0x32, "'no/x' 0001")), bytes("40 02 0001"));
    let (mut five, _) = login(5, "a", "p");
    assert_eq!(five.ask(&packet(0x32, "'no/x' 0001 00")), bytes("40 03 0001 87"));
    // What `#` covers but is denied does not come; other accounts hear nothing.
    assert_eq!(five.ask(&packet(0x32, "'secret' 0002 00"))[..2], [0x40, 3]);
    assert_eq!(five.ask(&packet(0x32, "'fine' 0003 00")), bytes("40 02 0003"));
    let heard = a.packets_so_far();
    assert_eq!(heard, [packet(0x32, "'fine' 0001")]);
    assert!(b.packets_so_far().is_empty());
}

/// What 5.0 may ask for with a subscription: retained messages at some times only, no own messages, flags as they were.
#[test]
fn subscriptions_have_options() {
    let server = Server::start("mqtt-options", MQTT);
    let [mut five, mut other] = ["five", "other"].map(|id| {
        let mut client = connect(&server);
        assert_eq!(client.ask(&packet(0x10, &format!("'MQTT' 05 02 003c 00 '{id}'")))[3], 0);
        client
    });
    let mut say = |first: u8, rest: &str| {
        other.send(&packet(first, rest));
        other.packets_so_far();
    };
    let subscribe = |five: &mut Client, filter: &str, options: u8| {
        let answer = five.ask(&packet(0x82, &format!("0001 00 '{filter}' {options:02x}")));
        assert_eq!(answer, [0x90, 4, 0, 1, 0, options & 3]);
    };
    say(0x31, "'r/a' 00 6b");
    // Retained at every subscribe, at the first, never. A second one takes the place of the first.
    for (filter, options, counts) in [("r/+", 0x00, [1, 1]), ("r/#", 0x10, [1, 0]), ("+/a", 0x20, [0, 0])] {
        for count in counts {
            subscribe(&mut five, filter, options);
            assert_eq!(five.packets_so_far(), vec![packet(0x31, "'r/a' 00 6b"); count], "{filter}");
        }
        // One that is not retained comes once, and takes no retained one's place.
        say(0x30, "'r/a' 00 21");
        assert_eq!(five.packets_so_far(), [packet(0x30, "'r/a' 00 21")], "{filter}");
        assert_eq!(five.ask(&packet(0xa2, &format!("0002 00 '{filter}'"))), bytes("b0 04 0002 00 00"));
        say(0x30, "'r/a' 00 21");
        assert!(five.packets_so_far().is_empty(), "{filter}");
    }
    // No own messages.
    subscribe(&mut five, "n", 0x04);
    five.send(&packet(0x30, "'n' 00 6d"));
    say(0x30, "'n' 00 6f");
    assert_eq!(five.packets_so_far(), [packet(0x30, "'n' 00 6f")]);
    // The retain flag as it was, or not.
    subscribe(&mut five, "p", 0x08);
    subscribe(&mut five, "q", 0x00);
    say(0x31, "'p' 00 31");
    say(0x31, "'q' 00 32");
    assert_eq!(five.packets_so_far(), [packet(0x31, "'p' 00 31"), packet(0x30, "'q' 00 32")]);
    // A repetition is none for those who hear it for the first time.
    subscribe(&mut five, "u", 0x01);
    say(0x3a, "'u' 0001 00 33");
    assert_eq!(five.packets_so_far(), [packet(0x32, "'u' 0001 00 33")]);
}

/// In lame duck mode 5.0 is told where to go, if anybody knows, and else that the server goes.
#[test]
fn lame_ducks_send_clients_elsewhere() {
    const DUCK: &str = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1ms\"\n";
    let knows = "server_reference: [\"b.example:1883\", \"c.example\"]";
    for (name, reference, told) in [
        ("mqtt-duck", "", bytes("e0 01 8b")),
        ("mqtt-duck-knows", knows, packet(0xe0, "9c 1b 1c 'b.example:1883 c.example'")),
    ] {
        let config = format!("mqtt {{ host: 127.0.0.1, port: -1, {reference} }}\nstore_dir: \"<DIR>/data\"\n{DUCK}");
        let mut server = Server::start(name, &config);
        let mut five = connect(&server);
        assert_eq!(five.ask(&packet(0x10, "'MQTT' 05 02 003c 00 'x'"))[3], 0);
        let mut four = subscriber(&server, 2, "y", &[]);
        server.signal("USR2");
        assert_eq!(five.packet(), told);
        five.ends();
        // There is no packet for it.
        four.ends();
        assert_eq!(server.wait(), Some(0));
    }
}

/// Whoever breaks the rules is closed, and the others notice nothing.
#[test]
fn hostile_packets_cost_nobody_else() {
    let server = Server::start("mqtt-hostile", MQTT);
    let mut watcher = subscriber(&server, 2, "w", &["#"]);
    for script in ["c1 00", "30 02 0000", "36 05 0001 61 0001", "82 02 0001", "00 00", "30 ffffffff 01", "10 00"] {
        let mut client = connect(&server);
        client.ask(&connect_packet(2, "h"));
        client.send(&bytes(script));
        client.ends();
    }
    for script in ["c0 00", "474554202f20485454502f312e310d0a", "10 0d 0004 4d515458 04 02 003c 0001 61"] {
        let mut client = connect(&server);
        client.send(&bytes(script));
        client.ends();
    }
    let mut level = connect(&server);
    assert_eq!(level.ask(&packet(0x10, "'MQTT' 07 02 003c 'a'")), bytes("20 02 00 01"));
    level.ends();
    assert!(watcher.packets_so_far().is_empty());
}

#[test]
fn monitoring_shows_mqtt() {
    let server = Server::start("mqtt-monitoring", &format!("{MQTT}http: \"127.0.0.1:-1\"\n"));
    let _one = subscriber(&server, 2, "sensor 7", &["a/#"]);
    let page = support::mqtt::page(&server, "/connz");
    assert!(page.contains("\"mqtt_client\": \"sensor 7\"") && page.contains("\"type\": \"mqtt\""), "{page}");
    assert!(support::mqtt::page(&server, "/varz").contains("\"max_ack_pending\": 1024"));
    let page = support::mqtt::page(&server, "/metrics");
    assert!(page.contains("petiole_mqtt_clients{version=\"3.1.1\"} 1\n"), "{page}");
}

/// The tools that read mosquitto's figures find ours; `#` does not show them.
#[test]
fn figures_are_where_mosquitto_has_them() {
    let server = Server::start("mqtt-sys", MQTT);
    let mut all = subscriber(&server, 2, "all", &["#"]);
    let mut tool = subscriber(&server, 2, "tool", &["$SYS/broker/clients/+"]);
    let heard = tool.packets_so_far();
    assert_eq!(heard.len(), 5);
    assert!(heard.contains(&packet(0x31, "'$SYS/broker/clients/connected' 32")), "{heard:?}");
    assert!(all.packets_so_far().is_empty());
}

#[test]
fn mosquitto_clients_come_and_go() {
    let server = Server::start("mqtt-mosquitto", MQTT);
    let port = port(&server).to_string();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("m/{version}/{qos}");
            let publish = |message: &str| {
                let Some(mut tool) = tool("mosquitto_pub") else { return false };
                tool.args(["-p", &port, "-V", version, "-q", qos, "-t", &topic, "-m", message, "-r"]);
                assert!(tool.status().unwrap().success());
                true
            };
            if !publish("kept") {
                return;
            }
            let Some(mut tool) = tool("mosquitto_sub") else { return };
            tool.args(["-p", &port, "-V", version, "-q", qos, "-t", "m/#", "-C", "1", "-W", "10", "-v"]);
            let output = tool.output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{topic} kept\n"));
            publish("");
        }
    }
}

#[test]
fn paho_speaks_every_version() {
    let Some(python) = packages("python") else { return };
    let server = Server::start("mqtt-paho", MQTT);
    let Some(mut tool) = tool("python3") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/paho_roundtrip.py");
    let output = tool.arg(script).arg(port(&server).to_string()).env("PYTHONPATH", python).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n", "{errors}");
}
