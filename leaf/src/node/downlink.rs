//! Durable subscriptions inside the node: their logs, the links they are asked on, and what they publish here.
//!
//! What may have given one something to do sets [`Downlinks::woken`]; at the end of the turn the node looks after all of them.
//!
//! What a durable subscription takes comes on no other way: a message of the hub on one of its subjects is passed over, and the
//! hub does not hear of interest in them. Nor does what is published on them go up: the stream would send it down again.

use std::path::PathBuf;
use tracing::{error, info, warn};

use super::forward::REOPEN_AFTER;
use super::publish::Trail;
use super::system::{SERVER, Service};
use super::{Command, ConnId, Nanos, Node, Role};
use crate::account::AccountId;
use crate::config::{Config, DurableSubscription, GLOBAL_ACCOUNT};
use crate::downlink::{self, Down, Downlink, Obstacle, Parcel};
use crate::message::Message;
use crate::store::{Answer, FileId, Log, LogId, OpenError, Order, Report, State, Time};
use crate::subject;

/// The first number of their logs: those of store-and-forward come before.
const FIRST_LOG: u32 = 1 << 16;

/// What comes of an account from the hub's streams: pattern and place among the subscriptions.
pub(crate) type Durables = Vec<(Box<[u8]>, usize)>;

#[derive(Debug)]
enum Health {
    /// Its log is being opened.
    Opening,
    Open,
    /// It is tried again at this moment.
    Broken(Nanos),
}

/// One subscription of the configuration.
#[derive(Debug)]
struct Slot {
    settings: DurableSubscription,
    account: AccountId,
    /// There once its log was opened for the first time; stays, with what it counted, when the log fails.
    downlink: Option<Box<Downlink>>,
    link: Option<ConnId>,
    health: Health,
    trusted: Option<(FileId, u64)>,
    /// What stood in the way when the log last told.
    told: Option<Obstacle>,
}

/// What the node knows of durable subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Downlinks {
    slots: Vec<Slot>,
    /// Something may be to be done.
    woken: bool,
    /// Accounts in which somebody listens to more than before.
    audiences: Vec<AccountId>,
    /// Messages of the hub that were passed over, for they come from a stream.
    pub(crate) passed_over: u64,
    directory: PathBuf,
    /// The name of a leaf whose logs have none yet.
    leaf: String,
    /// What consumers are named after; empty for the leaf's name.
    server: String,
    seed: u64,
}

/// Whether a log is one of durable subscriptions.
pub(crate) fn is_ours(log: LogId) -> bool {
    log.0 >= FIRST_LOG && log != super::MQTT_LOG
}

fn place(log: LogId) -> usize {
    (log.0 - FIRST_LOG) as usize
}

impl Downlinks {
    pub(super) fn new(config: &Config, leaf: &str, seed: u64) -> Self {
        Self {
            directory: config.store_dir.join("downlink"),
            leaf: leaf.to_owned(),
            server: config.server_name.clone(),
            seed: seed ^ u64::from(FIRST_LOG),
            ..Self::default()
        }
    }

    /// Where the log of a durable subscription is, if it is one.
    pub(super) fn directory_of(&self, log: LogId) -> Option<PathBuf> {
        let slot = is_ours(log).then(|| self.slots.get(place(log)))??;
        Some(self.directory.join(&slot.settings.name))
    }

    pub(super) fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.health, Health::Open))
    }

    fn due(&self, now: Nanos, wall: Time) -> Option<Nanos> {
        let of_slot = |slot: &Slot| {
            let reopen = match slot.health {
                Health::Broken(at) => Some(at),
                Health::Opening | Health::Open => None,
            };
            let (due, wall_due) = slot.downlink.as_ref().map_or((None, None), |downlink| downlink.deadline(now));
            let wall_due = wall_due.map(|at| now.saturating_add(u64::try_from(at.saturating_sub(wall)).unwrap_or(0)));
            [reopen, due, wall_due].into_iter().flatten().min()
        };
        self.slots.iter().filter_map(of_slot).min()
    }
}

impl Node {
    /// The logs of the configuration are to be opened.
    pub(super) fn open_downlinks(&mut self) {
        for (at, settings) in self.config.durables.clone().into_iter().enumerate() {
            let name = settings.account.as_deref().unwrap_or(GLOBAL_ACCOUNT);
            let Some(account) = self.accounts.adopt(name) else { continue };
            let durables = &mut self.accounts.get_mut(account).durables;
            durables.extend(settings.subjects.iter().map(|subject| (subject.as_bytes().into(), at)));
            self.downlinks.slots.push(Slot {
                settings,
                account,
                downlink: None,
                link: None,
                health: Health::Opening,
                trusted: None,
                told: None,
            });
            self.open_downlink(at);
        }
    }

    fn open_downlink(&mut self, at: usize) {
        let wall = self.wall_time();
        let downlinks = &mut self.downlinks;
        let slot = &mut downlinks.slots[at];
        slot.health = Health::Opening;
        self.commands.push_back(Command::Disk(Order::Open {
            log: LogId(FIRST_LOG + at as u32),
            directory: downlinks.directory.join(&slot.settings.name),
            settings: self.forwards.sealed(downlink::log_settings(&slot.settings)),
            now: wall,
            seed: downlinks.seed.wrapping_add(at as u64),
            trusted: slot.trusted,
        }));
    }

    /// Something was done with one of the logs.
    pub(super) fn downlink_disk_answered(&mut self, answer: Answer) {
        let wall = self.wall_time();
        match answer {
            Answer::Opened { log, result } => self.downlink_opened(place(log), result.map(|opened| *opened)),
            Answer::Batch { log, result } => {
                if let Some(downlink) = self.downlink_mut(place(log)) {
                    downlink.batch_done(wall, result);
                }
                self.notice_downlink_failure(place(log));
            }
            Answer::Read { log, want, result, .. } => {
                if let Some(downlink) = self.downlink_mut(place(log)) {
                    match &result {
                        Ok(bytes) => downlink.read_done(want, Ok(bytes)),
                        Err(error) => downlink.read_done(want, Err(error.clone())),
                    }
                }
            }
            Answer::Closed { .. } => {}
        }
        self.downlinks.woken = true;
    }

    fn downlink_mut(&mut self, at: usize) -> Option<&mut Downlink> {
        self.downlinks.slots.get_mut(at)?.downlink.as_deref_mut()
    }

    fn downlink_opened(&mut self, at: usize, result: Result<(Log, Report), OpenError>) {
        let (now, wall) = (self.now, self.wall_time());
        let (leaf, server) = (self.downlinks.leaf.clone(), self.downlinks.server.clone());
        let slot = &mut self.downlinks.slots[at];
        let name = slot.settings.name.clone();
        let (log, report) = match result {
            Ok(opened) => opened,
            Err(error) => {
                error!("The log of durable subscription {name} cannot be opened: {error}");
                slot.health = Health::Broken(now + REOPEN_AFTER);
                return;
            }
        };
        if !report.is_clean() {
            warn!("The log of durable subscription {name} was damaged: {report}");
        }
        let opened = match slot.downlink.take() {
            Some(mut downlink) => downlink.reopened(log, wall, &leaf, &server).map(|()| downlink),
            None => Downlink::new(slot.settings.clone(), log, wall, &leaf, &server).map(Box::new),
        };
        match opened {
            Ok(downlink) => {
                let (count, stream) = (downlink.state().messages, &slot.settings.stream);
                info!("Durable subscription {name} has {count} messages of stream {stream}");
                let pattern = downlink::replies(downlink.leaf(), &name);
                let account = slot.account;
                slot.downlink = Some(downlink);
                slot.health = Health::Open;
                slot.link = None;
                self.offer_once(account, at, &pattern, Service::Downlink(at as u32));
                self.bind_downlink(at);
            }
            Err(why) => {
                error!("The log of durable subscription {name} cannot be used: {why}");
                slot.health = Health::Broken(now + REOPEN_AFTER);
            }
        }
    }

    /// A log whose disk failed is opened again, soon.
    fn notice_downlink_failure(&mut self, at: usize) {
        let now = self.now;
        let Some(slot) = self.downlinks.slots.get_mut(at) else { return };
        let Some(downlink) = &mut slot.downlink else { return };
        let Some(text) = downlink.log().failed() else { return };
        if !matches!(slot.health, Health::Open) {
            return;
        }
        error!("The log of durable subscription {} failed and is opened again: {text}", slot.settings.name);
        slot.trusted = downlink.log().trusted();
        downlink.link_down();
        slot.health = Health::Broken(now + REOPEN_AFTER);
    }

    /// A link to a hub came up or went in this account.
    pub(super) fn bind_downlinks(&mut self, account: AccountId) {
        for at in 0..self.downlinks.slots.len() {
            if self.downlinks.slots[at].account == account {
                self.bind_downlink(at);
            }
        }
    }

    fn bind_downlink(&mut self, at: usize) {
        let link = self.uplink(self.downlinks.slots[at].account);
        let facts = link.and_then(|link| self.find(link)).and_then(|conn| conn.core.link.as_deref());
        let domain = facts.map(|facts| facts.domain.clone()).unwrap_or_default();
        let slot = &mut self.downlinks.slots[at];
        let (Some(downlink), Health::Open) = (&mut slot.downlink, &slot.health) else { return };
        if slot.link == link {
            return;
        }
        slot.link = link;
        downlink.link_down();
        if link.is_some() {
            downlink.link_up(&domain);
        }
        self.downlinks.woken = true;
    }

    /// The hub told of another interest in an account.
    pub(super) fn downlinks_may_send(&mut self, account: AccountId) {
        for slot in self.downlinks.slots.iter_mut().filter(|slot| slot.account == account) {
            if let Some(downlink) = &mut slot.downlink {
                downlink.interest_changed();
                self.downlinks.woken = true;
            }
        }
    }

    /// Somebody subscribed in an account.
    #[inline]
    pub(super) fn audience_came(&mut self, account: AccountId, pattern: &[u8]) {
        let durables = &self.accounts.get(account).durables;
        if durables.is_empty() || !durables.iter().any(|(ours, _)| subject::overlaps(ours, pattern)) {
            return;
        }
        if !self.downlinks.audiences.contains(&account) {
            self.downlinks.audiences.push(account);
        }
        self.downlinks.woken = true;
    }

    /// Whether a subject of an account is one that comes from a stream at the hub.
    #[inline]
    pub(super) fn comes_from_stream(&self, account: AccountId, subject: &[u8]) -> bool {
        let durables = &self.accounts.get(account).durables;
        !durables.is_empty() && durables.iter().any(|(pattern, _)| subject::matches(pattern, subject))
    }

    /// Whether what came from a connection is for durable subscriptions alone: their answers, and what comes from streams.
    #[inline]
    pub(super) fn is_for_downlinks(&self, from: u32, account: AccountId, of_stream: bool, subject: &[u8]) -> bool {
        !self.accounts.get(account).durables.is_empty()
            && (of_stream || subject.starts_with(b"_INBOX."))
            && self.is_uplink(from)
            && (of_stream || self.downlinks.slots.iter().any(|slot| slot.asked_for(account, subject)))
    }

    /// Takes what [`Self::is_for_downlinks`]: a message as clients see it, which came on the subject `inbox`. Who subscribes to
    /// everything must not see it, as it comes again when it is on disk.
    pub(super) fn downlinks_hear(
        &mut self,
        account: AccountId,
        of_stream: bool,
        message: &Message<'_>,
        inbox: &[u8],
    ) -> bool {
        let (now, wall) = (self.now, self.wall_time());
        if of_stream {
            self.downlinks.passed_over += 1;
            return true;
        }
        self.downlinks.woken = true;
        for slot in self.downlinks.slots.iter_mut().filter(|slot| slot.asked_for(account, inbox)) {
            if let (Some(downlink), Health::Open) = (&mut slot.downlink, &slot.health) {
                downlink.hear(now, wall, message.subject, message.reply, message.headers(), message.payload());
            }
        }
        true
    }

    /// Whether all of a pattern comes from streams at the hub, so that there is no need to tell it of interest there.
    pub(super) fn is_all_from_streams(&self, account: AccountId, pattern: &[u8]) -> bool {
        self.accounts.get(account).durables.iter().any(|(ours, _)| subject::covers(ours, pattern))
    }

    /// What durable subscriptions may have to do is done.
    pub(super) fn drive_downlinks(&mut self) {
        // Sessions that are still being read would miss what is published now.
        if !self.mqtt_ready() || !std::mem::take(&mut self.downlinks.woken) {
            return;
        }
        let audiences = std::mem::take(&mut self.downlinks.audiences);
        for at in 0..self.downlinks.slots.len() {
            let slot = &mut self.downlinks.slots[at];
            let (account, link) = (slot.account, slot.link);
            if !matches!(slot.health, Health::Open) {
                continue;
            }
            let Some(mut downlink) = slot.downlink.take() else { continue };
            if audiences.contains(&account) {
                downlink.audience_changed();
            }
            self.publish_down(at, account, &mut downlink);
            self.ask_hub(link, &mut downlink);
            let wall = self.wall_time();
            if let Some(batch) = downlink.poll_batch(wall) {
                let log = LogId(FIRST_LOG + at as u32);
                self.commands.push_back(Command::Disk(Order::Batch { log, batch }));
            }
            let slot = &mut self.downlinks.slots[at];
            slot.tell(downlink.obstacle());
            slot.downlink = Some(downlink);
        }
    }

    /// What is on disk is published to those who listen; what they have on disk, too, leaves the log.
    fn publish_down(&mut self, at: usize, account: AccountId, downlink: &mut Downlink) {
        let (now, wall) = (self.now, self.wall_time());
        loop {
            match downlink.poll_here(now, &mut |subject| self.is_heard_here(account, subject)) {
                Down::Nothing => break,
                Down::Want(want) => {
                    let log = LogId(FIRST_LOG + at as u32);
                    self.commands.push_back(Command::Disk(Order::Read { log, ticket: 0, want }));
                    break;
                }
                Down::Publish { subject, header_len, body } => {
                    let message = Message { subject, reply: b"", header_len, body, framed: b"" };
                    self.publish_in(&Trail::of_stream(), account, &message);
                    // A session that keeps it has it on disk once this promise is kept.
                    let promise = match self.pool.mqtt {
                        Some(_) => self.mqtt_queued(None).unwrap_or_default(),
                        None => 0,
                    };
                    downlink.published(promise);
                }
            }
        }
        self.hold = 0;
        let kept = self.pool.mqtt.as_ref().map_or(u64::MAX, |shared| shared.synced);
        downlink.kept(wall, kept);
    }

    /// Whether somebody of this server or of its leaf nodes would get a message, also one who is away and has a session.
    fn is_heard_here(&mut self, account: AccountId, subject: &[u8]) -> bool {
        let Self { accounts, subs, conns, .. } = self;
        let matched = accounts.get_mut(account).interest.lookup(subject);
        let mut ids = matched.plain.iter().chain(matched.groups.iter().flat_map(|group| &group.members));
        ids.any(|id| {
            subs.get(*id).is_some_and(|sub| {
                let link = conns.get(sub.conn as usize).and_then(|conn| conn.core.link.as_ref());
                sub.conn != SERVER && link.is_none_or(|link| link.role == Role::Hub)
            })
        })
    }

    fn ask_hub(&mut self, link: Option<ConnId>, downlink: &mut Downlink) {
        let (now, Some(link)) = (self.now, link) else { return };
        while self.room_on(link) > 0 {
            let Some(Parcel { subject, reply, body }) = downlink.poll_hub(now) else { return };
            let message = Message { subject, reply, header_len: 0, body, framed: b"" };
            match self.send_on(link, &message) {
                true => downlink.sent(now),
                false => downlink.not_sent(now),
            }
        }
        // The link tells when it has room again.
        self.downlinks.woken |= downlink.poll_hub(now).is_some();
    }

    /// A link has room again, or sessions have more on disk.
    #[inline]
    pub(super) fn wake_downlinks(&mut self) {
        self.downlinks.woken |= !self.downlinks.slots.is_empty();
    }

    /// When [`Self::tick_downlinks`] is due.
    pub(super) fn downlinks_due(&self) -> Option<Nanos> {
        if self.downlinks.slots.is_empty() { None } else { self.downlinks.due(self.now, self.wall_time()) }
    }

    /// Time has passed.
    pub(super) fn tick_downlinks(&mut self) {
        let (now, wall) = (self.now, self.wall_time());
        for at in 0..self.downlinks.slots.len() {
            let slot = &mut self.downlinks.slots[at];
            if let Some(downlink) = &mut slot.downlink {
                downlink.tick(now, wall);
            }
            if matches!(slot.health, Health::Broken(due) if due <= now) {
                self.open_downlink(at);
            }
            self.downlinks.woken = true;
        }
    }
}

impl Slot {
    /// Whether a message on this subject was asked for.
    fn asked_for(&self, account: AccountId, subject: &[u8]) -> bool {
        self.account == account && self.downlink.as_ref().is_some_and(|downlink| downlink.is_reply(subject))
    }

    /// Says once what stands in the way.
    fn tell(&mut self, obstacle: Option<&Obstacle>) {
        if obstacle == self.told.as_ref() {
            return;
        }
        let name = &self.settings.name;
        match obstacle {
            Some(Obstacle::NoLink) => {}
            Some(why) => warn!("Durable subscription {name} of stream {}: {why}", self.settings.stream),
            // It may stand in the way again at the next try: told when messages come.
            None => return,
        }
        self.told = obstacle.cloned();
    }
}

/// A durable subscription as monitoring shows it.
#[derive(Debug)]
pub(crate) struct DownlinkView<'a> {
    pub(crate) settings: &'a DurableSubscription,
    pub(crate) account: &'a str,
    pub(crate) consumer: &'a str,
    pub(crate) domain: Option<&'a str>,
    pub(crate) open: bool,
    /// The connection's id.
    pub(crate) link: Option<u64>,
    pub(crate) obstacle: Option<String>,
    pub(crate) waiting: u64,
    pub(crate) unacknowledged: usize,
    pub(crate) last_seq: u64,
    pub(crate) log: State,
    pub(crate) figures: downlink::Figures,
}

impl Node {
    /// The durable subscriptions.
    pub(crate) fn downlinks(&self) -> impl Iterator<Item = DownlinkView<'_>> {
        self.downlinks.slots.iter().map(|slot| {
            let downlink = slot.downlink.as_deref();
            DownlinkView {
                settings: &slot.settings,
                account: &self.accounts.get(slot.account).name,
                consumer: downlink.map_or("", Downlink::consumer),
                domain: downlink.and_then(Downlink::domain),
                open: matches!(slot.health, Health::Open),
                link: slot.link.map(ConnId::cid),
                obstacle: downlink.and_then(Downlink::obstacle).map(ToString::to_string),
                waiting: downlink.map_or(0, Downlink::waiting),
                unacknowledged: downlink.map_or(0, Downlink::unacknowledged),
                last_seq: downlink.map_or(0, Downlink::last_seq),
                log: downlink.map_or_else(State::default, Downlink::state),
                figures: downlink.map_or_else(Default::default, Downlink::figures),
            }
        })
    }
}
