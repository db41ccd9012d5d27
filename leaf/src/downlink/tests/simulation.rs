//! A stream, a link, a leaf with its disk, and listeners with a disk of theirs, in virtual time, all of which fail; what the stream
//! has must have been published here in the end.
//!
//! A step is one draw: the stream gets a message, a few things move, something breaks or is mended. The hub is nats-server's
//! durable pull consumer as far as it matters: it sends what was not acknowledged again when its time is over, before anything
//! newer, and after a crash may not know of the last acknowledgements.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::bug::{Bug, plant};
use super::super::*;
use crate::config::DurableSubscription;
use crate::node::{Nanos, SECOND};
use crate::store::sim::{Dice, SimDisk};
use crate::store::{Batch, Disk, DiskError, Log, Reader, Time};

const STEPS: usize = 400;
const ACK_WAIT: Nanos = 5 * SECOND;
const SUBJECTS: u64 = 3;

/// What goes to the hub.
#[derive(Clone, Debug)]
struct Up {
    subject: String,
    reply: String,
    body: String,
}

/// What comes from it: a message of the stream, or an answer.
#[derive(Clone, Debug)]
enum Frame {
    Message { seq: u64, delivery: u64 },
    Answer { to: String, headers: Vec<u8>, payload: Vec<u8> },
}

#[derive(Clone, Default)]
struct Consumer {
    /// Everything below was sent at least once.
    next: u64,
    /// Sent and not acknowledged, and when it is due again.
    pending: BTreeMap<u64, Nanos>,
    /// Due again, in their order.
    again: BTreeSet<u64>,
    /// Sendings so far.
    sent: u64,
}

struct Hub {
    /// The messages of the stream, from 1; their subjects.
    stream: Vec<String>,
    consumer: Option<Consumer>,
    /// As its disk has it.
    saved: Option<Consumer>,
    /// Requests for messages: how many, and whether their link is gone.
    requests: VecDeque<(u64, u64)>,
    can_reset: bool,
    max_pending: usize,
    /// Somebody else takes messages of the same consumer at times and does not acknowledge them: order is then not promised.
    is_shared: bool,
}

impl Hub {
    fn standing(&self) -> Vec<u8> {
        let Some(consumer) = &self.consumer else {
            return br#"{"error":{"code":404,"err_code":10014,"description":"consumer not found"}}"#.to_vec();
        };
        let floor = consumer.pending.keys().next().map_or(consumer.next, |first| *first) - 1;
        format!(
            r#"{{"config":{{"ack_policy":"explicit","ack_wait":{ACK_WAIT},"filter_subject":"c.>"}},
            "ack_floor":{{"stream_seq":{floor}}},"num_ack_pending":{}}}"#,
            consumer.pending.len()
        )
        .into_bytes()
    }

    fn take(&mut self, up: &Up) -> Option<Frame> {
        let answer = |payload: Vec<u8>| Some(Frame::Answer { to: up.reply.clone(), headers: Vec::new(), payload });
        if let Some(rest) = up.subject.strip_prefix("$JS.ACK.") {
            let seq: u64 = rest.split('.').nth(3).unwrap().parse().unwrap();
            if let Some(consumer) = &mut self.consumer {
                consumer.pending.remove(&seq);
                consumer.again.remove(&seq);
            }
            return if up.reply.is_empty() { None } else { answer(Vec::new()) };
        }
        let verb = up.subject.strip_prefix("$JS.D.API.CONSUMER.").unwrap().split(".C.").next().unwrap();
        match verb {
            "INFO" => answer(self.standing()),
            "DURABLE.CREATE" => {
                self.consumer.get_or_insert_with(|| Consumer { next: 1, ..Consumer::default() });
                answer(self.standing())
            }
            "RESET" if self.can_reset => {
                let floor = self.consumer.as_mut()?;
                floor.next = floor.pending.keys().next().map_or(floor.next, |first| *first);
                floor.pending.clear();
                floor.again.clear();
                answer(self.standing())
            }
            "RESET" => None,
            "MSG.NEXT" => {
                let number = up.reply.rsplit(".n").next().unwrap().parse().unwrap();
                let count = up.body.strip_prefix("{\"batch\":").unwrap().split(',').next().unwrap().parse().unwrap();
                self.requests.push_back((number, count));
                None
            }
            other => panic!("{other}"),
        }
    }

    /// Somebody else takes one.
    fn lose_one(&mut self, now: Nanos) {
        self.requests.push_front((0, 1));
        if self.send(now).is_none() {
            self.requests.pop_front();
        }
    }

    /// The next message for whoever asked.
    fn send(&mut self, now: Nanos) -> Option<Frame> {
        let consumer = self.consumer.as_mut()?;
        for (&seq, &due) in &consumer.pending {
            if due <= now {
                consumer.again.insert(seq);
            }
        }
        let (_, left) = self.requests.front_mut()?;
        let seq = match consumer.again.pop_first() {
            Some(seq) => seq,
            None if consumer.next <= self.stream.len() as u64 && consumer.pending.len() < self.max_pending => {
                consumer.next += 1;
                consumer.next - 1
            }
            None => return None,
        };
        *left -= 1;
        if *left == 0 {
            self.requests.pop_front();
        }
        consumer.pending.insert(seq, now + ACK_WAIT);
        consumer.sent += 1;
        Some(Frame::Message { seq, delivery: consumer.sent })
    }
}

struct World {
    dice: Dice,
    now: Nanos,
    disk: SimDisk,
    downlink: Option<Downlink>,
    flight: Option<(usize, Batch)>,
    hub: Hub,
    up: VecDeque<Up>,
    down: VecDeque<Frame>,
    linked: bool,
    half_open: bool,
    /// Who listens, by the last token of the subject.
    listens: BTreeSet<u64>,
    /// Published here: number in the stream, and the promise that its receiver has it on disk.
    published: Vec<(u64, u64)>,
    /// Published since the leaf started: nothing may be so twice.
    this_life: BTreeSet<u64>,
    /// Received for good and gone from the log when the leaf started: it must never come again.
    over: BTreeSet<u64>,
    /// Of these, the receiver has so many for good.
    received_for_good: usize,
    promise: u64,
    kept: u64,
    crashes: u64,
    repeats: usize,
    trace: u64,
}

fn settings() -> DurableSubscription {
    DurableSubscription {
        name: "n".to_owned(),
        stream: "C".to_owned(),
        subjects: vec!["c.>".to_owned()],
        consumer: Some("D".to_owned()),
        batch: 5,
        msgs_max: 40,
        ack_wait: Duration::from_nanos(ACK_WAIT),
        ..DurableSubscription::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let hub = Hub {
            stream: Vec::new(),
            consumer: None,
            saved: None,
            requests: VecDeque::new(),
            can_reset: dice.one_in(2),
            max_pending: 10,
            is_shared: dice.one_in(4),
        };
        let mut world = Self {
            now: 0,
            disk: SimDisk::new(dice.draw()),
            downlink: None,
            flight: None,
            hub,
            up: VecDeque::new(),
            down: VecDeque::new(),
            linked: false,
            half_open: false,
            listens: (0..SUBJECTS).collect(),
            published: Vec::new(),
            this_life: BTreeSet::new(),
            over: BTreeSet::new(),
            received_for_good: 0,
            promise: 0,
            kept: 0,
            crashes: 0,
            repeats: 0,
            trace: seed,
            dice,
        };
        world.start();
        world
    }

    fn wall(&self) -> Time {
        self.now as Time + 1_000_000_000_000
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace.rotate_left(5) ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn start(&mut self) {
        let mut store = log_settings(&settings());
        store.segment_bytes = 16 * 1024;
        let wall = self.wall();
        let (log, _) = Log::open(&mut self.disk, store, wall, 7, None).unwrap();
        self.over = self.published.iter().map(|(seq, _)| *seq).collect();
        let mut reader = Reader::new(log.first_seq());
        while let Some(record) = reader.next(&log, &mut self.disk).unwrap() {
            let id = std::str::from_utf8(record.msg_id).unwrap();
            self.over.remove(&id.split('.').next().unwrap().parse().unwrap());
        }
        self.downlink = Some(Downlink::new(settings(), log, wall, &format!("leaf{}", self.crashes), "").unwrap());
    }

    /// The leaf and its listeners' sessions end; what they had on disk stays.
    fn crash(&mut self) {
        self.cut();
        self.downlink = None;
        if let Some((done, Batch { ops, .. })) = self.flight.take() {
            let more = self.dice.below((ops.len() - done) as u64 + 1) as usize;
            for op in &ops[done..done + more] {
                if self.disk.perform(op).is_err() {
                    break;
                }
            }
        }
        self.disk.crash();
        // What no promise was kept for is not there any more.
        self.published.truncate(self.received_for_good);
        self.crashes += 1;
        self.this_life.clear();
        (self.promise, self.kept) = (0, 0);
        self.start();
    }

    fn cut(&mut self) {
        if !std::mem::take(&mut self.linked) {
            return;
        }
        let left = self.dice.below(self.up.len() as u64 + 1) as usize;
        self.up.truncate(if self.half_open { 0 } else { left });
        while let Some(up) = self.up.pop_front() {
            let _ = self.hub.take(&up);
        }
        self.down.clear();
        self.half_open = false;
        if self.dice.one_in(2) {
            // It knows that nobody waits for its answers any more; else it finds out when there is something.
            self.hub.requests.clear();
        }
        if let Some(downlink) = &mut self.downlink {
            downlink.link_down();
        }
    }

    fn link(&mut self) {
        if !self.linked {
            self.linked = true;
            if let Some(downlink) = &mut self.downlink {
                downlink.link_up("D");
            }
        }
    }

    fn work_disk(&mut self, may_fail: bool) {
        let wall = self.wall();
        let Some(downlink) = &mut self.downlink else { return };
        if self.flight.is_none() {
            self.flight = downlink.poll_batch(wall).map(|batch| (0, batch));
        }
        let Some((done, batch)) = &mut self.flight else { return };
        self.disk.fail_next = may_fail && self.dice.one_in(60);
        let result = batch.ops.get(*done).map_or(Ok(()), |op| self.disk.perform(op));
        self.disk.fail_next = false;
        *done += 1;
        if result.is_ok() && *done < batch.ops.len() {
            return;
        }
        let want = batch.want;
        self.flight = None;
        let result = result.map(|()| want.and_then(|want| want.read(&mut self.disk).ok()).unwrap_or_default());
        let failed = matches!(result, Err(DiskError::Failed(_)));
        downlink.batch_done(wall, result);
        if failed {
            self.crash();
        }
    }

    /// What is on disk is published.
    fn publish(&mut self) {
        let (now, wall) = (self.now, self.wall());
        let Some(downlink) = &mut self.downlink else { return };
        loop {
            let listens = &self.listens;
            let heard = |subject: &[u8]| listens.contains(&u64::from(subject[subject.len() - 1] - b'0'));
            match downlink.poll_here(now, &mut { heard }) {
                Down::Nothing => break,
                Down::Want(want) => match want.read(&mut self.disk) {
                    Ok(bytes) => downlink.read_done(want, Ok(&bytes)),
                    Err(error) => downlink.read_done(want, Err(error)),
                },
                Down::Publish { subject, header_len, body } => {
                    let text = String::from_utf8(body[..header_len].to_vec()).unwrap();
                    let seq: u64 =
                        text.split("Nats-Sequence: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
                    assert_eq!(subject, self.hub.stream[seq as usize - 1].as_bytes(), "another message's subject");
                    assert_eq!(&body[header_len..], seq.to_string().as_bytes());
                    assert!(!self.over.contains(&seq), "{seq} came again though it was over");
                    assert!(self.this_life.insert(seq), "{seq} came twice without a crash");
                    self.promise += 1;
                    self.published.push((seq, self.promise));
                    downlink.published(self.promise);
                    if self.dice.one_in(3) {
                        break;
                    }
                }
            }
        }
        downlink.kept(wall, self.kept);
    }

    /// The listeners' disk has what they got.
    fn keep(&mut self) {
        self.kept = self.promise;
        self.received_for_good = self.published.len();
        let (wall, kept) = (self.wall(), self.kept);
        if let Some(downlink) = &mut self.downlink {
            downlink.kept(wall, kept);
        }
    }

    fn ask(&mut self, most: u64) {
        let now = self.now;
        for _ in 0..most {
            let (Some(downlink), true) = (&mut self.downlink, self.linked) else { return };
            let Some(parcel) = downlink.poll_hub(now) else { return };
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let up = Up { subject: text(parcel.subject), reply: text(parcel.reply), body: text(parcel.body) };
            downlink.sent(now);
            if !self.half_open {
                self.up.push_back(up);
            }
        }
    }

    fn carry(&mut self) {
        let (now, wall) = (self.now, self.wall());
        if let Some(frame) = self.hub.send(now)
            && self.linked
            && !self.half_open
        {
            self.down.push_back(frame);
        }
        if !self.linked || self.half_open {
            return;
        }
        if self.dice.one_in(2)
            && let Some(up) = self.up.pop_front()
        {
            let answer = self.hub.take(&up);
            self.down.extend(answer);
        } else if let Some(frame) = self.down.pop_front() {
            let Some(downlink) = &mut self.downlink else { return };
            match frame {
                Frame::Answer { to, headers, payload } => {
                    downlink.hear(now, wall, to.as_bytes(), b"", &headers, &payload);
                }
                Frame::Message { seq, delivery } => {
                    let reply = format!("$JS.ACK.C.D.1.{seq}.{delivery}.{}.0", 1000 + seq);
                    let subject = self.hub.stream[seq as usize - 1].clone();
                    downlink.hear(now, wall, subject.as_bytes(), reply.as_bytes(), b"", seq.to_string().as_bytes());
                }
            }
        }
    }

    /// The hub ends and begins again, with what its disk had.
    fn kill_hub(&mut self) {
        self.cut();
        self.hub.requests.clear();
        if self.hub.saved.is_some() {
            self.hub.consumer = self.hub.saved.clone();
        }
    }

    fn step(&mut self) {
        self.now += self.dice.below(SECOND / 4);
        let wall = self.wall();
        let draw = self.dice.below(100);
        self.note(draw);
        match draw {
            0..12 => {
                let subject = format!("c.{}", self.dice.below(SUBJECTS));
                self.hub.stream.push(subject);
            }
            12..32 => self.work_disk(true),
            32..44 => self.publish(),
            44..50 => self.keep(),
            50..62 => {
                let most = 1 + self.dice.below(4);
                self.ask(most);
            }
            62..84 => self.carry(),
            84..86 => self.cut(),
            86..91 => self.link(),
            91 => self.half_open = self.linked,
            92 => self.hub.saved = self.hub.consumer.clone(),
            93 if self.dice.one_in(2) => self.kill_hub(),
            94 if self.dice.one_in(2) => self.crash(),
            95 => {
                let who = self.dice.below(SUBJECTS);
                self.listens.remove(&who);
            }
            96 => {
                let who = self.dice.below(SUBJECTS);
                self.listens.insert(who);
                if let Some(downlink) = &mut self.downlink {
                    downlink.audience_changed();
                }
            }
            97 if self.hub.is_shared => self.hub.lose_one(self.now),
            _ => {
                let now = self.now;
                if let Some(downlink) = &mut self.downlink {
                    downlink.tick(now, wall);
                }
            }
        }
        self.check();
    }

    /// What holds at every moment: nothing that the hub takes for acknowledged, and will not send again, is nowhere.
    fn check(&mut self) {
        let Some(downlink) = &self.downlink else { return };
        let state = downlink.state().last_seq ^ (self.published.len() as u64) << 32;
        self.note(state);
        let room = settings().msgs_max + 2 * self.hub.max_pending as u64;
        let there = self.downlink.as_ref().map_or(0, |downlink| downlink.state().messages);
        assert!(there <= room, "{there} messages are here");
    }

    fn heal(&mut self) {
        self.cut();
        self.link();
        self.listens = (0..SUBJECTS).collect();
        if let Some(downlink) = &mut self.downlink {
            downlink.audience_changed();
        }
        for _ in 0..20_000 {
            self.now += SECOND / 10;
            let (now, wall) = (self.now, self.wall());
            if let Some(downlink) = &mut self.downlink {
                downlink.tick(now, wall);
            }
            self.work_disk(false);
            self.publish();
            self.keep();
            self.ask(4);
            (0..8).for_each(|_| self.carry());
            let done =
                self.hub.consumer.as_ref().is_some_and(|consumer| {
                    consumer.pending.is_empty() && consumer.next > self.hub.stream.len() as u64
                });
            if done && self.downlink.as_ref().is_some_and(|downlink| downlink.state().messages == 0) {
                return;
            }
        }
        panic!("it does not drain: {:?}", self.downlink);
    }

    /// All arrived, each once but for crashes of the leaf, in the order of the stream but for what waited for listeners.
    fn judge(&mut self) {
        let mut count: BTreeMap<u64, usize> = BTreeMap::new();
        for (seq, _) in &self.published {
            *count.entry(*seq).or_default() += 1;
        }
        for seq in 1..=self.hub.stream.len() as u64 {
            assert!(count.contains_key(&seq), "{seq} never came");
        }
        self.repeats = self.published.len() - self.hub.stream.len();
        for subject in (0..SUBJECTS).filter(|_| !self.hub.is_shared) {
            let name = format!("c.{subject}");
            let mut first = BTreeSet::new();
            let order: Vec<u64> = self
                .published
                .iter()
                .map(|(seq, _)| *seq)
                .filter(|seq| self.hub.stream[*seq as usize - 1] == name && first.insert(*seq))
                .collect();
            assert!(order.is_sorted(), "the order on {name} is {order:?}");
        }
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}", self.0);
        }
    }
}

/// Runs one seed to its end; returns its trace, what came and what came twice.
fn run(seed: u64) -> (u64, usize, usize) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.heal();
    world.judge();
    (world.trace, world.published.len(), world.repeats)
}

#[allow(clippy::disallowed_methods, reason = "how long to run is not for the simulation to decide")]
fn seeds() -> u64 {
    let given = std::env::var("PETIOLE_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(1_000)
}

#[test]
fn nothing_in_the_stream_is_lost() {
    let (mut came, mut twice) = (0, 0);
    for seed in 0..seeds() {
        // Said when it fails: the seed is all that is needed to see it again.
        let _told = Told(seed);
        let (trace, there, again) = run(seed);
        if seed % 100 == 0 {
            assert_eq!(run(seed).0, trace, "seed {seed} has two traces");
        }
        came += there;
        twice += again;
    }
    println!("{} seeds: {came} messages came, {twice} of them again after a crash", seeds());
    assert!(came > 0, "the workload is too polite");
}

/// Each bug is found, or the simulation is worth nothing.
#[test]
fn finds_planted_bugs() {
    for bug in [
        Bug::AcknowledgedBeforeSync,
        Bug::CursorBeforeRecord,
        Bug::HighWaterMark,
        Bug::LogNotRead,
        Bug::SeenNotKept,
        Bug::RemovedOnPublish,
        Bug::RepeatNotAnswered,
        Bug::NoPatience,
    ] {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        plant(Some(bug));
        let finds = (0..2_000).filter(|&seed| std::panic::catch_unwind(|| run(seed)).is_err());
        let found: Vec<u64> = finds.take(5).collect();
        plant(None);
        std::panic::set_hook(hook);
        let last = found.last().copied();
        println!("{bug:?}: found {} times up to seed {last:?}", found.len());
        assert!(!found.is_empty(), "{bug:?} is not found");
    }
}
