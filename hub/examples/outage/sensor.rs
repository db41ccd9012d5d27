//! A sensor: MQTT 3.1.1, QoS 1. It takes a reading every ten milliseconds, whatever the network does, and publishes those that have no
//! PUBACK again when it comes back.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::ledger::Ledger;
use crate::schedule::Dice;

/// Between two readings.
const PERIOD: Duration = Duration::from_millis(10);
/// Readings without a PUBACK at most.
const WINDOW: usize = 1000;
/// How long it waits for the last PUBACKs once it is to stop.
const LINGER: Duration = Duration::from_secs(30);

const PUBACK: u8 = 0x40;

/// Runs until `stopped`, and then until everything is acknowledged.
pub(crate) fn start(at: usize, port: u16, seed: u64, ledger: Arc<Ledger>, stopped: Arc<AtomicBool>) -> JoinHandle<()> {
    spawn(move || {
        let dice = Dice(seed ^ (at as u64) << 32);
        let mut life = Life { at, ledger, stopped, dice, next: Instant::now(), open: VecDeque::new(), until: None };
        while !life.is_over() {
            if life.visit(port).is_err() {
                sleep(PERIOD);
            }
        }
    })
}

struct Life {
    at: usize,
    ledger: Arc<Ledger>,
    stopped: Arc<AtomicBool>,
    dice: Dice,
    /// When the next reading is due.
    next: Instant,
    /// Readings without a PUBACK: number and packet.
    open: VecDeque<(usize, Vec<u8>)>,
    /// When it gives up, once it is to stop.
    until: Option<Instant>,
}

impl Life {
    fn is_over(&mut self) -> bool {
        if self.until.is_none() && self.stopped.load(Ordering::Relaxed) {
            self.until = Some(Instant::now() + LINGER);
        }
        self.until.is_some_and(|until| self.open.is_empty() || Instant::now() > until)
    }

    /// One connection, to its end.
    fn visit(&mut self, port: u16) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.write_all(&connect(&format!("sensor{}", self.at)))?;
        socket.set_read_timeout(Some(LINGER))?;
        socket.read_exact(&mut [0; 4])?;
        for (_, packet) in &mut self.open {
            // The flag that says it may have come before.
            packet[0] |= 0x08;
            socket.write_all(packet)?;
        }
        let mut heard = Vec::new();
        while !self.is_over() {
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() && self.until.is_none() && self.open.len() < WINDOW {
                self.next += PERIOD;
                let number = self.ledger.published(self.at);
                let packet = publish(self.at, number, self.dice.between(20.0, 25.0));
                let written = socket.write_all(&packet);
                self.open.push_back((number, packet));
                written?;
                continue;
            }
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut bytes = [0; 1024];
            match socket.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => heard.extend_from_slice(&bytes[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            self.hear(&mut heard);
        }
        Ok(())
    }

    /// Takes the packets that are whole: only PUBACKs come.
    fn hear(&mut self, heard: &mut Vec<u8>) {
        let whole = heard.len() / 4 * 4;
        for packet in heard.drain(..whole).as_slice().chunks(4) {
            assert_eq!(packet[..2], [PUBACK, 2], "not a PUBACK");
            let id = u16::from_be_bytes([packet[2], packet[3]]);
            if let Some(place) = self.open.iter().position(|(number, _)| packet_id(*number) == id) {
                let (number, _) = self.open.remove(place).unwrap();
                self.ledger.acknowledged(self.at, number);
            }
        }
    }
}

/// Never 0, and no two in a window are alike.
fn packet_id(number: usize) -> u16 {
    (number % 65_535) as u16 + 1
}

fn connect(client_id: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + client_id.len() as u8, 0, 4];
    packet.extend(b"MQTT\x04\x02\x00\x3c\x00");
    packet.push(client_id.len() as u8);
    packet.extend(client_id.as_bytes());
    packet
}

fn publish(sensor: usize, number: usize, celsius: f64) -> Vec<u8> {
    let topic = format!("telemetry/sensor{sensor}");
    let reading = format!(
        "{{\"sensor\":{sensor},\"n\":{number},\"temperature\":{celsius:.2},\"unit\":\"C\",\"humidity\":41.5,\"state\":\"ok\"}}"
    );
    let len = 2 + topic.len() + 2 + reading.len();
    // The length in two bytes, which MQTT allows for a short one too.
    let mut packet = vec![0x32, (len % 128) as u8 | 0x80, (len / 128) as u8, 0, topic.len() as u8];
    packet.extend(topic.as_bytes());
    packet.extend(packet_id(number).to_be_bytes());
    packet.extend(reading.as_bytes());
    packet
}
