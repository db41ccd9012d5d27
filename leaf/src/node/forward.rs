//! Store-and-forward inside the node: the outboxes, who is captured by which, and the links they go up on.
//!
//! Whatever may have given an outbox something to do sets [`Forwards::woken`]; at the end of the turn the node looks after
//! all of them: batches for the disk, acknowledgements for publishers, records for links that have room, those of the most
//! important log first.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::{error, info, warn};

use super::{Command, ConnId, Nanos, Node, Out, Role, SECOND};
use crate::account::AccountId;
use crate::config::{Config, Forward, GLOBAL_ACCOUNT};
use crate::link::LinkEvent;
use crate::message::Message;
use crate::outbox::{self, NotTaken, Outbox, Up};
use crate::store::{Answer, FileId, Keys, LogId, OpenError, Order, Refused, Seq, Settings, State, Time};
use crate::subject;

/// Refusals that publishers have not been told yet; more are only counted.
const REFUSALS_MAX: usize = 1024;
/// Characters of the name by which the hub knows a leaf's records: enough that no two are alike, 5 bits each.
const LEAF_CHARS: usize = 16;
/// A log that could not be opened is tried again after this.
pub(super) const REOPEN_AFTER: Nanos = SECOND;
/// Records given to a link at once: when they are written it asks for more, and others come in between.
const FEED_MSGS_MAX: usize = 128;
/// Between two lines in the log about messages that were not taken.
const COMPLAIN_AFTER: Nanos = 10 * SECOND;

/// What is captured of an account: pattern and place among the outboxes.
pub(crate) type Captures = Vec<(Box<[u8]>, usize)>;

#[derive(Debug)]
pub(super) enum Health {
    /// Its log is being opened.
    Opening,
    Open,
    /// It is tried again at this moment.
    Broken(Nanos),
}

/// One log of the configuration.
#[derive(Debug)]
struct Slot {
    forward: Forward,
    account: AccountId,
    /// There once its log was opened for the first time; stays, with what it counted, when the log fails.
    outbox: Option<Box<Outbox>>,
    /// Where its records go, if there is a link to a hub.
    link: Option<ConnId>,
    health: Health,
    trusted: Option<(FileId, u64)>,
    /// How many PINGs were sent on the link up to each fence.
    fences: VecDeque<u64>,
    /// Messages that were not taken since the log last told.
    untold: u64,
    told_at: Option<Nanos>,
    /// Messages not taken while there was no outbox.
    missed: u64,
}

/// What became of the message that was published last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Captured {
    /// No log captures it.
    #[default]
    No,
    /// It is in this one, and down with that commit.
    Yes(usize, u64),
    /// Its log did not take it.
    Refused,
}

/// What the node knows of store-and-forward.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    slots: Vec<Slot>,
    /// Their places, the most important first.
    order: Vec<usize>,
    /// Something may be to be done.
    woken: bool,
    /// Publishers to be told that their message was not taken.
    refusals: VecDeque<(AccountId, Box<[u8]>, Vec<u8>)>,
    reply: Vec<u8>,
    body: Vec<u8>,
    /// For publishers that have no reply subject.
    pub(super) captured: Captured,
    directory: PathBuf,
    /// The name of a leaf whose logs have none yet.
    leaf: String,
    seed: u64,
    /// With which the node's logs are encrypted, MQTT's too.
    pub(super) keys: Option<Arc<Keys>>,
}

impl Forwards {
    /// `server_id` is another one at each start, and nobody else's.
    pub(super) fn new(config: &Config, server_id: &str, seed: u64) -> Self {
        Self {
            directory: config.store_dir.join("outbox"),
            leaf: server_id.chars().rev().take(LEAF_CHARS).collect(),
            seed,
            ..Self::default()
        }
    }

    /// The name of a leaf whose logs have none yet.
    pub(super) fn leaf(&self) -> &str {
        &self.leaf
    }

    /// The settings of a log with the keys that all logs have.
    pub(super) fn sealed(&self, settings: Settings) -> Settings {
        Settings { keys: self.keys.clone(), ..settings }
    }

    /// Whether a commit of the outbox at this place is on disk.
    pub(super) fn is_committed(&self, at: usize, commit: u64) -> bool {
        let outbox = self.slots.get(at).and_then(|slot| slot.outbox.as_ref());
        outbox.is_some_and(|outbox| outbox.log().is_committed(commit))
    }

    /// The logs, in order: as configured, how they are, and why one failed.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&Forward, &Health, Option<&str>)> {
        self.slots.iter().map(|slot| {
            let failed = slot.outbox.as_ref().and_then(|outbox| outbox.log().failed());
            (&slot.forward, &slot.health, failed)
        })
    }

    /// The name of the log at this place.
    pub(super) fn name(&self, at: usize) -> &str {
        self.slots.get(at).map_or("", |slot| &slot.forward.name)
    }

    /// Nobody waits for the disk.
    fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.health, Health::Open))
    }

    /// The hub answered for a record of the outbox `log`.
    pub(super) fn hear(&mut self, log: u32, now: Nanos, wall: Time, answer: &Message<'_>) -> bool {
        let Some(outbox) = self.slots.get_mut(log as usize).and_then(|slot| slot.outbox.as_mut()) else { return false };
        self.woken = true;
        outbox.hear(now, wall, answer.subject, answer.headers(), answer.payload())
    }

    fn due(&self, now: Nanos, wall: Time) -> Option<Nanos> {
        let of_slot = |slot: &Slot| {
            let reopen = match slot.health {
                Health::Broken(at) => Some(at),
                Health::Opening | Health::Open => None,
            };
            let (due, wall_due) = slot.outbox.as_ref().map_or((None, None), |outbox| outbox.deadline(now));
            let wall_due = wall_due.map(|at| now.saturating_add(u64::try_from(at.saturating_sub(wall)).unwrap_or(0)));
            [reopen, due, wall_due].into_iter().flatten().min()
        };
        self.slots.iter().filter_map(of_slot).min()
    }
}

impl Node {
    /// The logs of the configuration are to be opened; the shell waits for [`Self::forwards_ready`] before it lets anybody in.
    /// They are encrypted with `keys`, those of [`Config::store_encryption`].
    pub fn open_forwards(&mut self, now: Nanos, keys: Option<Arc<Keys>>) {
        self.now = now;
        self.forwards.keys = keys;
        for (at, forward) in self.config.forwards.clone().into_iter().enumerate() {
            let name = forward.account.as_deref().unwrap_or(GLOBAL_ACCOUNT);
            let Some(account) = self.accounts.adopt(name) else { continue };
            let captures = &mut self.accounts.get_mut(account).captures;
            captures.extend(forward.subjects.iter().map(|subject| (subject.as_bytes().into(), at)));
            self.forwards.slots.push(Slot {
                forward,
                account,
                outbox: None,
                link: None,
                health: Health::Opening,
                trusted: None,
                fences: VecDeque::new(),
                untold: 0,
                told_at: None,
                missed: 0,
            });
            self.open_log(at);
        }
        let slots = &self.forwards.slots;
        let mut order: Vec<usize> = (0..slots.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(slots[at].forward.priority));
        self.forwards.order = order;
        self.open_downlinks();
        self.open_mqtt_log();
    }

    /// Whether all logs are open.
    pub fn forwards_ready(&self) -> bool {
        self.forwards.all_ready() && self.downlinks.all_ready() && self.mqtt_ready()
    }

    /// Where a log is.
    pub fn log_directory(&self, log: LogId) -> PathBuf {
        match self.forwards.slots.get(log.0 as usize) {
            Some(slot) => self.forwards.directory.join(&slot.forward.name),
            None => match self.downlinks.directory_of(log) {
                Some(directory) => directory,
                None => self.config.store_dir.join("mqtt"),
            },
        }
    }

    fn open_log(&mut self, at: usize) {
        let wall = self.wall_time();
        let forwards = &mut self.forwards;
        let slot = &mut forwards.slots[at];
        slot.health = Health::Opening;
        let slot = &forwards.slots[at];
        self.commands.push_back(Command::Disk(Order::Open {
            log: LogId(at as u32),
            directory: forwards.directory.join(&slot.forward.name),
            settings: forwards.sealed(outbox::log_settings(&slot.forward)),
            now: wall,
            seed: forwards.seed.wrapping_add(at as u64),
            trusted: slot.trusted,
        }));
    }

    /// The wall clock, nanoseconds since 1970.
    pub(crate) fn wall_time(&self) -> Time {
        (self.wall + i128::from(self.now)) as Time
    }

    /// Something was done with a log: the answer to [`Command::Disk`].
    pub fn disk_answered(&mut self, now: Nanos, answer: Answer) {
        self.now = now;
        let wall = self.wall_time();
        if log_of(&answer) == super::MQTT_LOG {
            self.mqtt_disk_answered(answer);
            self.wake_downlinks();
            return self.settle();
        }
        if super::is_downlink(log_of(&answer)) {
            self.downlink_disk_answered(answer);
            return self.settle();
        }
        match answer {
            Answer::Opened { log, result } => self.log_opened(log.0 as usize, result.map(|opened| *opened)),
            Answer::Batch { log, result } => {
                if let Some(outbox) = self.outbox_mut(log) {
                    outbox.batch_done(wall, result);
                }
                self.notice_failure(log.0 as usize);
            }
            Answer::Read { log, want, result, .. } => {
                if let Some(outbox) = self.outbox_mut(log) {
                    match &result {
                        Ok(bytes) => outbox.read_done(want, Ok(bytes)),
                        Err(error) => outbox.read_done(want, Err(error.clone())),
                    }
                }
            }
            Answer::Closed { .. } => {}
        }
        self.forwards.woken = true;
        self.mqtt_keep_promises();
        self.settle();
    }

    fn outbox_mut(&mut self, log: LogId) -> Option<&mut Outbox> {
        self.forwards.slots.get_mut(log.0 as usize)?.outbox.as_deref_mut()
    }

    fn log_opened(&mut self, at: usize, result: Result<(crate::store::Log, crate::store::Report), OpenError>) {
        let (now, wall) = (self.now, self.wall_time());
        let (log, report) = match result {
            Ok(opened) => opened,
            Err(error) => {
                error!("Log {} cannot be opened: {error}", self.forwards.slots[at].forward.name);
                self.forwards.slots[at].health = Health::Broken(now + REOPEN_AFTER);
                return;
            }
        };
        let leaf = self.forwards.leaf.clone();
        let slot = &mut self.forwards.slots[at];
        let name = slot.forward.name.clone();
        if !report.is_clean() {
            warn!("Log {name} was damaged: {report}");
        }
        let opened = match slot.outbox.take() {
            Some(mut outbox) => outbox.reopened(log, wall, &leaf).map(|()| outbox),
            None => Outbox::new(slot.forward.clone(), log, wall, &leaf).map(Box::new),
        };
        match opened {
            Ok(outbox) => {
                info!("Log {name} has {} messages for the hub", outbox.backlog());
                let pattern = outbox::replies(outbox.leaf(), &name);
                let account = slot.account;
                slot.outbox = Some(outbox);
                slot.health = Health::Open;
                self.offer_outbox(account, at as u32, &pattern);
                self.bind_outbox(at);
            }
            Err(why) => {
                error!("Log {name} cannot be used: {why}");
                slot.health = Health::Broken(now + REOPEN_AFTER);
            }
        }
    }

    /// A log whose disk failed is opened again, soon.
    fn notice_failure(&mut self, at: usize) {
        let now = self.now;
        let Some(slot) = self.forwards.slots.get_mut(at) else { return };
        let Some(outbox) = &mut slot.outbox else { return };
        let Some(text) = outbox.log().failed() else { return };
        if !matches!(slot.health, Health::Open) {
            return;
        }
        error!("Log {} failed and is opened again: {text}", slot.forward.name);
        slot.trusted = outbox.log().trusted();
        slot.health = Health::Broken(now + REOPEN_AFTER);
        self.mqtt_log_failed();
    }

    /// Takes a message into the log that captures its subject, if one does; says whether one does. What comes from the hub is not
    /// sent back to it.
    #[inline]
    pub(super) fn capture(&mut self, from: u32, account: AccountId, message: &Message<'_>) -> bool {
        let captures = &self.accounts.get(account).captures;
        if captures.is_empty() {
            return false;
        }
        let Some(&(_, at)) = captures.iter().find(|(pattern, _)| subject::matches(pattern, message.subject)) else {
            return false;
        };
        !self.is_uplink(from) && self.take_in(at, account, message)
    }

    fn take_in(&mut self, at: usize, account: AccountId, message: &Message<'_>) -> bool {
        let (now, wall) = (self.now, self.wall_time());
        self.forwards.woken = true;
        let slot = &mut self.forwards.slots[at];
        let taken = match &mut slot.outbox {
            Some(outbox) => outbox.capture(wall, message),
            None => {
                slot.missed += 1;
                Err(NotTaken::Log(Refused::Failed("not open yet".to_owned())))
            }
        };
        let why = match taken {
            Ok(commit) => {
                self.forwards.captured = Captured::Yes(at, commit);
                return true;
            }
            Err(why) => why,
        };
        self.forwards.captured = Captured::Refused;
        let slot = &mut self.forwards.slots[at];
        slot.complain(now, &why);
        if !message.reply.is_empty() && self.forwards.refusals.len() < REFUSALS_MAX {
            let mut body = Vec::new();
            outbox::pub_ack::not_taken(&self.forwards.slots[at].forward.name, &why, &mut body);
            self.forwards.refusals.push_back((account, message.reply.into(), body));
        }
        true
    }

    /// What an outbox may have to do is done.
    pub(super) fn drive_forwards(&mut self) {
        if !std::mem::take(&mut self.forwards.woken) {
            return;
        }
        let wall = self.wall_time();
        for at in 0..self.forwards.slots.len() {
            let slot = &mut self.forwards.slots[at];
            if let (Some(outbox), Health::Open) = (&mut slot.outbox, &slot.health)
                && let Some(batch) = outbox.poll_batch(wall)
            {
                self.commands.push_back(Command::Disk(Order::Batch { log: LogId(at as u32), batch }));
            }
            self.acknowledge(at);
        }
        while let Some((account, reply, body)) = self.forwards.refusals.pop_front() {
            self.publish_as_server(account, &Message::plain(&reply, &body));
        }
        self.feed_links();
    }

    /// Tells publishers whose messages are on disk.
    fn acknowledge(&mut self, at: usize) {
        let mut reply = std::mem::take(&mut self.forwards.reply);
        let mut body = std::mem::take(&mut self.forwards.body);
        loop {
            let slot = &mut self.forwards.slots[at];
            let account = slot.account;
            if !slot.outbox.as_mut().is_some_and(|outbox| outbox.poll_ack(&mut reply, &mut body)) {
                break;
            }
            self.publish_as_server(account, &Message::plain(&reply, &body));
        }
        (self.forwards.reply, self.forwards.body) = (reply, body);
    }

    /// Gives links that have room what is to go up, of the most important log first.
    pub(super) fn feed_links(&mut self) {
        for turn in 0..self.forwards.order.len() {
            let at = self.forwards.order[turn];
            let slot = &mut self.forwards.slots[at];
            let (Some(link), Health::Open) = (slot.link, &slot.health) else { continue };
            let Some(mut outbox) = slot.outbox.take() else { continue };
            self.feed(at, link, &mut outbox);
            self.forwards.slots[at].outbox = Some(outbox);
        }
    }

    fn feed(&mut self, at: usize, link: ConnId, outbox: &mut Outbox) {
        let now = self.now;
        for _ in 0..FEED_MSGS_MAX {
            if self.room_on(link) == 0 {
                return;
            }
            match outbox.poll_up(now, &mut |subject| self.is_wanted_on(link, subject)) {
                Up::Nothing => return,
                Up::Fence => {
                    let pings = self.fence_on(link);
                    self.forwards.slots[at].fences.push_back(pings);
                }
                Up::Want(want) => {
                    self.commands.push_back(Command::Disk(Order::Read { log: LogId(at as u32), ticket: 0, want }));
                    return;
                }
                Up::Send(envelope) => {
                    let message = Message {
                        subject: envelope.subject,
                        reply: envelope.reply,
                        header_len: envelope.header_len,
                        body: envelope.body,
                        framed: b"",
                    };
                    let (seq, sent) = (envelope.seq, self.send_on(link, &message));
                    if !sent {
                        outbox.not_sent(now, seq);
                    }
                }
            }
        }
    }

    /// A PONG came on a link, the `pongs`th: the fences before it are back.
    pub(super) fn fences_back(&mut self, link: ConnId, pongs: u64) {
        let (now, wall) = (self.now, self.wall_time());
        for slot in self.forwards.slots.iter_mut().filter(|slot| slot.link == Some(link)) {
            let Some(outbox) = &mut slot.outbox else { continue };
            while slot.fences.pop_front_if(|pings| *pings <= pongs).is_some() {
                outbox.fence_returned(now, wall);
                self.forwards.woken = true;
            }
        }
    }

    /// Links came up or went down.
    pub(super) fn follow_links(&mut self) {
        while let Some(LinkEvent { account, upstream, .. }) = self.poll_link_event() {
            if !upstream {
                continue;
            }
            self.bind_downlinks(account);
            for at in 0..self.forwards.slots.len() {
                if self.forwards.slots[at].account == account {
                    self.bind_outbox(at);
                }
            }
        }
    }

    /// An outbox goes up on the link there is, if there is one.
    fn bind_outbox(&mut self, at: usize) {
        let now = self.now;
        let link = self.uplink(self.forwards.slots[at].account);
        let slot = &mut self.forwards.slots[at];
        let Some(outbox) = &mut slot.outbox else { return };
        if slot.link == link && outbox.upstream().is_up() == link.is_some() {
            return;
        }
        slot.link = link;
        slot.fences.clear();
        outbox.link_down();
        if link.is_some() {
            outbox.link_up(now);
        }
        self.forwards.woken = true;
    }

    /// The hub told of another interest in an account.
    pub(super) fn hub_interest_changed(&mut self, account: AccountId) {
        for slot in self.forwards.slots.iter_mut().filter(|slot| slot.account == account) {
            if let Some(outbox) = &mut slot.outbox {
                outbox.interest_changed();
                self.forwards.woken = true;
            }
        }
    }

    /// Whether a connection is a link to a hub.
    pub(super) fn is_uplink(&self, slot: u32) -> bool {
        let conn = self.conns.get(slot as usize);
        conn.is_some_and(|conn| conn.core.link.as_ref().is_some_and(|link| link.role == Role::Spoke))
    }

    /// Sends a PING behind what was sent on a link; returns how many there were by now.
    fn fence_on(&mut self, link: ConnId) -> u64 {
        let Some(conn) = self.conns.get_mut(link.slot()) else { return 0 };
        let queue = match &mut conn.pacer {
            Some(pacer) => pacer.data(&mut conn.out),
            None => &mut conn.out,
        };
        let mut out = Out { queue, urgent: None, pool: &mut self.pool, now: self.now };
        conn.peer.fence(&mut out);
        if let Some(pacer) = &mut conn.pacer {
            pacer.message_written();
        }
        conn.core.pulse.pings += 1;
        let pings = conn.core.pulse.pings;
        self.touch(link.slot);
        pings
    }

    /// A link has room again.
    #[inline]
    pub(super) fn link_has_room(&mut self) {
        if !self.forwards.slots.is_empty() {
            self.feed_links();
        }
        self.wake_downlinks();
        self.drive_downlinks();
    }

    /// When [`Self::tick_forwards`] is due.
    pub(super) fn forwards_due(&self) -> Option<Nanos> {
        if self.forwards.slots.is_empty() { None } else { self.forwards.due(self.now, self.wall_time()) }
    }

    /// Time has passed.
    pub(super) fn tick_forwards(&mut self) {
        let (now, wall) = (self.now, self.wall_time());
        for at in 0..self.forwards.slots.len() {
            let slot = &mut self.forwards.slots[at];
            if let Some(outbox) = &mut slot.outbox {
                outbox.tick(now, wall);
            }
            if matches!(slot.health, Health::Broken(due) if due <= now) {
                self.open_log(at);
            }
            self.forwards.woken = true;
        }
    }
}

fn log_of(answer: &Answer) -> LogId {
    match answer {
        Answer::Opened { log, .. } | Answer::Batch { log, .. } | Answer::Read { log, .. } | Answer::Closed { log } => {
            *log
        }
    }
}

/// A log of store-and-forward as monitoring shows it.
#[derive(Debug)]
pub(crate) struct OutboxView<'a> {
    pub(crate) forward: &'a Forward,
    pub(crate) account: &'a str,
    pub(crate) open: bool,
    /// The connection's id.
    pub(crate) link: Option<u64>,
    pub(crate) obstacle: Option<String>,
    pub(crate) pending: u64,
    pub(crate) oldest_pending: Option<Time>,
    pub(crate) in_flight: usize,
    pub(crate) confirmed: Seq,
    pub(crate) committed: Seq,
    pub(crate) log: State,
    pub(crate) figures: outbox::Figures,
    pub(crate) upstream: outbox::upstream::Figures,
}

impl Node {
    /// Bytes written to all logs: since there are logs, and since they were opened.
    pub(crate) fn wear(&self) -> (u64, u64) {
        let forwards = self.forwards.slots.iter().filter_map(|slot| slot.outbox.as_deref()).map(Outbox::state);
        let mqtt = self.pool.mqtt.as_ref().and_then(|mqtt| mqtt.journal.as_ref()).map(|journal| journal.log().state());
        let downlinks = self.downlinks().map(|downlink| downlink.log);
        forwards
            .chain(mqtt)
            .chain(downlinks)
            .fold((0, 0), |(worn, written), log| (worn + log.worn_bytes, written + log.written_bytes))
    }

    /// The logs of store-and-forward.
    pub(crate) fn outboxes(&self) -> impl Iterator<Item = OutboxView<'_>> {
        self.forwards.slots.iter().map(|slot| {
            let outbox = slot.outbox.as_deref();
            let mut figures = outbox.map_or_else(Default::default, Outbox::figures);
            figures.not_taken += slot.missed;
            OutboxView {
                forward: &slot.forward,
                account: &self.accounts.get(slot.account).name,
                open: matches!(slot.health, Health::Open),
                link: slot.link.map(ConnId::cid),
                obstacle: outbox.and_then(|outbox| outbox.obstacle()).map(ToString::to_string),
                pending: outbox.map_or(0, Outbox::backlog),
                oldest_pending: outbox.and_then(Outbox::oldest_pending),
                in_flight: outbox.map_or(0, |outbox| outbox.upstream().in_flight()),
                confirmed: outbox.map_or(0, |outbox| outbox.upstream().confirmed()),
                committed: outbox.map_or(0, |outbox| outbox.log().committed()),
                log: outbox.map_or_else(State::default, Outbox::state),
                figures,
                upstream: outbox.map_or_else(Default::default, |outbox| outbox.upstream().figures()),
            }
        })
    }
}

impl Slot {
    /// Says that messages were not taken, and why, once in a while.
    fn complain(&mut self, now: Nanos, why: &NotTaken) {
        self.untold += 1;
        if self.told_at.is_some_and(|at| now < at + COMPLAIN_AFTER) {
            return;
        }
        self.told_at = Some(now);
        warn!("Log {} did not take {} messages: {why}", self.forward.name, std::mem::take(&mut self.untold));
    }
}

#[cfg(test)]
mod tests;
