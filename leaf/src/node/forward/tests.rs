//! The node with logs on a simulated disk: who publishes what is captured hears of it when it is synced, and not before.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::client::Client;
use crate::config::Mqtt as MqttConfig;
use crate::mqtt::Mqtt;
use crate::node::{Arrival, Identity, Peer};
use crate::store::DiskError;
use crate::store::sim::SimDisk;

struct World {
    node: Node,
    disks: BTreeMap<LogId, SimDisk>,
    /// Orders that nobody has carried out.
    orders: VecDeque<Order>,
    now: Nanos,
}

impl World {
    fn new() -> Self {
        Self::over(BTreeMap::new())
    }

    /// A node on these disks.
    fn over(disks: BTreeMap<LogId, SimDisk>) -> Self {
        let config = Config {
            forwards: vec![Forward { name: "t".to_owned(), subjects: vec!["s.>".to_owned()], ..Forward::default() }],
            mqtt: Some(MqttConfig::default()),
            ..Config::default()
        };
        let identity = Identity {
            server_id: "N".repeat(56),
            epoch: 1_795_478_400_000_000_000,
            host: "127.0.0.1".to_owned(),
            port: 4222,
            program: "petiole-leaf",
            leafnodes: None,
            websocket: None,
        };
        let node = Node::new(config, identity, 1).unwrap();
        let mut world = Self { node, disks, orders: VecDeque::new(), now: 0 };
        world.node.open_forwards(0, None);
        while !world.node.forwards_ready() {
            world.gather();
            assert!(!world.orders.is_empty(), "nothing is asked of the disk");
            world.disk();
        }
        world.disk();
        world
    }

    fn gather(&mut self) {
        while let Some(command) = self.node.poll_command() {
            if let Command::Disk(order) = command {
                self.orders.push_back(order);
            }
        }
    }

    /// The disk does everything that was asked of it.
    fn disk(&mut self) {
        self.gather();
        while let Some(order) = self.orders.pop_front() {
            let log = order.log();
            let disk = self.disks.entry(log).or_insert_with(|| SimDisk::new(u64::from(log.0)));
            self.now += 1_000_000;
            let answer = order.carry_out(disk);
            self.node.disk_answered(self.now, answer);
            self.gather();
        }
    }

    fn connect(&mut self, peer: Box<dyn Peer>, hello: &[u8]) -> ConnId {
        let arrival = Arrival { remote: ([127, 0, 0, 1], 1).into(), nonce: [0; 11] };
        let id = self.node.accept(self.now, &arrival, peer);
        self.node.greet(self.now, id);
        self.node.receive(self.now, id, hello);
        self.heard(id);
        id
    }

    fn say(&mut self, id: ConnId, bytes: &[u8]) -> Vec<u8> {
        self.node.receive(self.now, id, bytes);
        self.gather();
        self.heard(id)
    }

    fn heard(&mut self, id: ConnId) -> Vec<u8> {
        let bytes: Vec<u8> = self.node.output(id).unwrap().pieces().flatten().copied().collect();
        self.node.sent(self.now, id, bytes.len());
        bytes
    }
}

#[test]
fn a_publisher_is_answered_after_the_sync() {
    let mut world = World::new();
    let hello = b"CONNECT {\"verbose\":false}\r\nSUB r 1\r\nSUB s.* 2\r\n";
    let id = world.connect(Box::new(Client::new()), hello);
    assert_eq!(world.say(id, b"PUB s.a r 1\r\nx\r\n"), b"MSG s.a 2 r 1\r\nx\r\n", "subscribers get it at once");
    assert_eq!(world.say(id, b"PING\r\n"), b"PONG\r\n", "the disk has it still");
    world.disk();
    assert_eq!(world.heard(id), b"MSG r 1 22\r\n{\"stream\":\"t\",\"seq\":1}\r\n");
}

#[test]
fn an_mqtt_publisher_is_answered_after_the_sync() {
    let mut world = World::new();
    let id = world.connect(Box::new(Mqtt::new()), b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a");
    world.disk();
    world.heard(id);
    // QoS 1 to a topic that nothing captures, then QoS 1 and 2 to one that the log captures.
    assert_eq!(world.say(id, b"\x32\x06\x00\x01o\x00\x07x"), b"\x40\x02\x00\x07");
    assert_eq!(world.say(id, b"\x32\x08\x00\x03s/a\x00\x08x"), b"", "acknowledged before it is on disk");
    assert_eq!(world.say(id, b"\x34\x08\x00\x03s/a\x00\x09x"), b"", "received before it is on disk");
    world.disk();
    assert_eq!(world.heard(id), b"\x40\x02\x00\x08\x50\x02\x00\x09");
}

/// The disk under the log of MQTT sessions fails, and works again later: nothing is acknowledged meanwhile, and afterwards
/// the log has what is in memory. What it was is what a new server finds there.
#[test]
fn a_failed_log_of_sessions_is_opened_again() {
    let mut world = World::new();
    let device = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01d\x82\x06\x00\x01\x00\x01o\x01";
    let id = world.connect(Box::new(Mqtt::new()), device);
    world.disk();
    assert_eq!(world.heard(id), b"\x90\x03\x00\x01\x01");
    let publisher = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p";
    let first = world.connect(Box::new(Mqtt::new()), publisher);
    world.disk();
    assert_eq!(world.say(first, b"\x32\x06\x00\x01o\x00\x01a\x33\x06\x00\x01r\x00\x02k"), b"");
    world.disk();
    assert_eq!(world.heard(first), b"\x40\x02\x00\x01\x40\x02\x00\x02");
    world.heard(id);

    // The batch with this one fails; whoever waits for it is let go.
    assert_eq!(world.say(first, b"\x32\x06\x00\x01o\x00\x03b"), b"");
    let failed = Answer::Batch { log: super::super::MQTT_LOG, result: Err(DiskError::Failed("broken".to_owned())) };
    assert!(matches!(world.orders.pop_front(), Some(Order::Batch { .. })));
    world.node.disk_answered(world.now, failed);
    assert!(world.node.output(first).is_none(), "it waits for what will never be");
    // Nothing is acknowledged while it is broken.
    let second = world.connect(Box::new(Mqtt::new()), publisher);
    world.node.receive(world.now, second, b"\x32\x06\x00\x01o\x00\x04c");
    world.gather();
    assert!(world.node.output(second).is_none());
    assert!(world.orders.is_empty(), "a broken log is not written to");

    // A second later the disk works. Everything is kept again, and that is acknowledged.
    world.now += 2 * SECOND;
    world.node.tick(world.now);
    assert!(world.node.deadline().is_some());
    world.disk();
    let third = world.connect(Box::new(Mqtt::new()), publisher);
    assert_eq!(world.say(third, b"\x32\x06\x00\x01o\x00\x05d"), b"");
    world.disk();
    assert_eq!(world.heard(third), b"\x40\x02\x00\x05");

    // A new server finds the session, its messages in their order, and the retained one.
    let mut world = World::over(std::mem::take(&mut world.disks));
    let again = world.connect(Box::new(Mqtt::new()), b"");
    let heard = world.say(again, &device[..15]);
    world.disk();
    let heard = [heard, world.heard(again)].concat();
    let bodies: Vec<u8> = heard.windows(6).filter(|at| at[..3] == *b"\x00\x01o").map(|at| at[5]).collect();
    assert_eq!(bodies, b"abcd", "{}", heard.escape_ascii());
    let kept = world.say(again, b"\x82\x06\x00\x02\x00\x01r\x00");
    world.disk();
    let kept = [kept, world.heard(again)].concat();
    assert!(kept.windows(4).any(|at| at == b"\x00\x01rk"), "{}", kept.escape_ascii());
}
