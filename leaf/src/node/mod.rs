//! The node: one owner of all connections, accounts and subscriptions, that never blocks.
//!
//! It is a plain state machine. Tell it what happened ([`Node::accept`], [`Node::receive`], [`Node::sent`],
//! [`Node::closed`], [`Node::tick`] …), each time with the time; then, until there is nothing left,
//! ask it what to do: first [`Node::poll_command`], then [`Node::take_dirty`] and write those connections'
//! [`Node::output`], last [`Node::deadline`]. It opens no socket, reads no clock, and with the same
//! seed and the same calls does the same.

pub(crate) mod bug;
mod callout;
mod certificate;
mod client_info;
mod conn;
mod downlink;
mod draw;
mod forward;
mod health;
mod import;
mod lame_duck;
mod latency;
mod life;
mod links;
mod mqtt;
mod operator;
mod outq;
mod pacer;
mod peer;
mod publish;
mod reload;
mod remotes;
mod resolver;
mod responses;
mod sharing;
#[cfg(test)]
mod simulation;
mod subs;
mod system;
mod thrift;
mod trace;
mod who;

use foldhash::fast::FixedState;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use crate::account::{Accounts, Volume};
use crate::auth::callout::ServerKeys;
use crate::auth::directory::{Connection, Directory};
use crate::auth::trust::Zones;
use crate::config::{self, Config, Secret};
use crate::interest::SubId;
use crate::link::{Dial, LinkEvent, Remotes};
use crate::store::Order;
use crate::subject;
use crate::wire::{Bounds, Info, Missing};
use bug::{Bug, planted};
pub(crate) use conn::Conn;
use conn::Timer;
pub use conn::{CloseReason, ConnId, Stats, TlsFacts};
use downlink::Downlinks;
pub(crate) use downlink::is_ours as is_downlink;
pub(crate) use downlink::{DownlinkView, Durables};
use draw::Draw;
use forward::Forwards;
pub(crate) use forward::{Captures, OutboxView};
pub use health::{LinkHealth, LogHealth};
pub use life::ClosedConn;
pub(crate) use mqtt::{Loading, MQTT_LOG, Promises, Reopen};
use operator::Operators;
pub(crate) use operator::Waiting;
pub use outq::{OutQueue, Pool};
pub use peer::{About, Action, Core, Cx, Kind, LinkFacts, Out, Peer, Pulse, Role, Step};
use publish::{Marks, Source};
pub use remotes::Dialled;
pub use resolver::{StoreAnswer, StoreOp};
pub use responses::OPEN_RESPONSES_MAX;
use responses::Responses;
use subs::Subs;
pub use subs::{Sid, Sub};
use system::System;
pub use system::{REQUEST_BYTES_MAX, REQUESTS_MAX};
use thrift::Thrift;
pub use trace::EVENTS_MAX as TRACE_EVENTS_MAX;
pub use who::Who;

/// Nanoseconds since the node was made.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Subscriptions of one connection when `max_subscriptions` leaves them open. nats-server has no such
/// bound; here a hostile client meets one.
pub const SUBSCRIPTIONS_PER_CONNECTION_MAX: usize = 1_000_000;
/// What the subscriptions of one connection may take, by [`subscription_bytes`]. A subject of four kilobytes that has
/// a wildcard takes a node of the trie for each of its two thousand tokens.
pub const SUBSCRIPTION_BYTES_PER_CONNECTION_MAX: usize = 512 << 20;
/// A subscription without its names, bytes.
const SUBSCRIPTION_BYTES: usize = 256;
/// A token of a subject with wildcards, bytes.
const TOKEN_BYTES: usize = 192;
/// A receiver with more than this waiting holds its producers back a little, bytes.
const LAG_BYTES_MAX: usize = 256 * 1024;
/// A scratch buffer larger than this is not kept, bytes.
const SPARE_BUFFER_BYTES: usize = 64 * 1024;
/// What must be written within a write deadline, bytes (or all that waits, if less).
const WRITE_GOAL_BYTES: usize = 64 * 1024;
/// The same for a link, which may be a slow one.
const LINK_WRITE_GOAL_BYTES: usize = 4 * 1024;

/// Who this server is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `N…`, 56 characters, new at every start.
    pub server_id: String,
    /// Wall clock at time 0, nanoseconds since 1970.
    pub epoch: i128,
    /// Where clients connect: what INFO says.
    pub host: String,
    /// Where clients connect: what INFO says.
    pub port: u16,
    /// Where leaf nodes connect, if they do.
    pub leafnodes: Option<(String, u16)>,
    /// Where browsers connect, if they do.
    pub websocket: Option<(String, u16)>,
    /// `petiole-leaf` or `petiole-hub`.
    pub program: &'static str,
}

/// What is the same for all connections, ready to use.
#[derive(Debug)]
pub struct Facts {
    /// INFO as a new connection gets it, but for what is its own.
    pub info: Info,
    /// What the parser refuses.
    pub bounds: Bounds,
    /// The configured limits.
    pub limits: config::Limits,
    /// Subscriptions of one connection at most.
    pub subs_max: usize,
    /// From here on a receiver lags, bytes.
    pub lag_bytes: usize,
    /// There are users, so INFO after a login says so even where one may come in without.
    pub login_configured: bool,
    /// Some user has a key: send a nonce.
    pub nonces: bool,
    /// Log each operation.
    pub trace: bool,
    /// Log only so much of a payload, bytes; 0 is all.
    pub trace_bytes_max: usize,
    /// Time for CONNECT to come.
    pub login_within: Nanos,
    /// For tables whose keys strangers choose; seeded once for the whole node.
    pub hasher: FixedState,
    /// What is said on leaf node links.
    pub links: links::LinkSettings,
    /// What is said to those who come by WebSocket.
    pub websocket: crate::websocket::Settings,
}

impl Facts {
    fn new(config: &Config, identity: &Identity, hasher: FixedState) -> Self {
        let limits = config.limits.clone();
        let payload = limits.max_payload.unwrap_or(i32::MAX as usize);
        let name = if config.server_name.is_empty() { &identity.server_id } else { &config.server_name };
        let info = Info {
            server_id: identity.server_id.clone(),
            server_name: name.clone(),
            version: crate::PROTOCOL_VERSION,
            proto: 1,
            go: concat!("rust-petiole-", env!("CARGO_PKG_VERSION")),
            host: identity.host.clone(),
            port: identity.port,
            headers: !limits.no_headers,
            auth_required: config.login_required() && config.auth.no_auth_user.is_none(),
            tls_required: config.tls.is_some() && !config.allow_non_tls,
            tls_verify: config.tls.as_ref().is_some_and(|tls| tls.verify),
            tls_available: config.tls.is_some() && config.allow_non_tls,
            max_payload: limits.max_payload.map_or(-1, |bytes| bytes as i64),
            api_lvl: 0,
            ..Info::default()
        };
        let subs_max = match limits.max_subscriptions {
            0 => SUBSCRIPTIONS_PER_CONNECTION_MAX,
            n => n as usize,
        };
        let tls_extra = config.tls.as_ref().map(|tls| tls.timeout + std::time::Duration::from_secs(1));
        let login = config.auth.timeout.or(tls_extra).unwrap_or(std::time::Duration::from_secs(2));
        Self {
            info,
            bounds: Bounds { control_line_bytes: limits.max_control_line, payload_bytes: payload },
            subs_max,
            lag_bytes: LAG_BYTES_MAX.min(limits.max_pending / 4),
            login_configured: config.login_required(),
            nonces: !config.auth.nkeys.is_empty() || config.operator.is_some(),
            trace: config.log.trace,
            trace_bytes_max: config.log.max_traced_msg_len,
            login_within: nanos(login),
            links: links::LinkSettings::new(config, identity),
            websocket: crate::websocket::Settings::new(config, identity),
            limits,
            hasher,
        }
    }
}

/// About how much memory a subscription takes, bytes.
pub(crate) fn subscription_bytes(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> usize {
    let tokens = if subject::has_wildcard(subject) { subject::token_count(subject) } else { 0 };
    SUBSCRIPTION_BYTES + subject.len() + queue.map_or(0, <[u8]>::len) + sid.len() + tokens * TOKEN_BYTES
}

/// A configured duration on the node's clock; what does not fit is for ever.
pub(crate) fn nanos(duration: std::time::Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 4)
}

/// The zones of a node that was not told of any.
fn utc_only(name: &str) -> Option<jiff::tz::TimeZone> {
    ["", "UTC"].contains(&name).then_some(jiff::tz::TimeZone::UTC)
}

/// Sums over all connections, past ones included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages from connections.
    pub received: Volume,
    /// Messages to connections.
    pub out: Volume,
    /// Connections ever.
    pub connections: u64,
    /// Connections closed because they could not follow.
    pub slow_consumers: u64,
    /// Connections closed because they did not answer.
    pub stale_connections: u64,
    /// Times that reading was paused for slow receivers.
    pub stalls: u64,
    /// Messages not given to a receiver close to its bound (`no_fast_producer_stall`).
    pub dropped: u64,
    /// Logins refused.
    pub refused_logins: u64,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Command {
    /// Write what is left, without waiting long, and close the socket.
    Close {
        /// Which; the node has forgotten it.
        conn: ConnId,
        /// The last bytes for it.
        farewell: OutQueue,
        /// Why, for protocols that say it when they close.
        reason: CloseReason,
    },
    /// Read no more until told to resume.
    Pause(ConnId),
    /// Go on reading.
    Resume(ConnId),
    /// Compare a password with a bcrypt hash where it holds nobody up, then call
    /// [`Node::password_checked`].
    CheckPassword {
        /// Who waits for it.
        conn: ConnId,
        /// The bcrypt hash.
        hash: Secret,
        /// The password.
        password: Secret,
    },
    /// Get an account's JWT from this address, then call [`Node::account_fetched`].
    FetchAccount {
        /// The account.
        key: Box<str>,
        /// Where it is.
        url: String,
    },
    /// Do something with a file of the directory resolver, in the order of the commands, then call
    /// [`Node::store_answered`].
    Store {
        /// For the answer.
        ticket: u64,
        /// What to do.
        op: StoreOp,
    },
    /// Find out what only the host knows, then call [`Node::measured`].
    Measure,
    /// Read the configuration again, as after SIGHUP, then call [`Node::reloaded`].
    Reload,
    /// Connect to a hub, then call [`Node::dialled`].
    Dial(Box<Dial>),
    /// Start TLS as the one who dialled, then call [`Node::secured`].
    StartTls {
        /// Which connection.
        conn: ConnId,
        /// Whose certificate it must be.
        server_name: String,
        /// The `tls` block of the remote, if there is one.
        settings: Option<config::ClientTls>,
    },
    /// Do something with a log's directory, then call [`Node::disk_answered`].
    Disk(Order),
    /// Accept no more connections.
    StopListening,
    /// Everybody has left: end.
    Shutdown,
}

/// A new connection, as the shell found it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Unpredictable.
    pub nonce: [u8; 11],
}

/// See the [module](self).
pub struct Node {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) facts: Facts,
    pub(crate) directory: Directory,
    /// Who may link up as a leaf node, if that is not whoever may log in.
    leaf_directory: Option<Directory>,
    /// The same of MQTT.
    mqtt_directory: Option<Directory>,
    /// The same of NATS by WebSocket.
    websocket_directory: Option<Directory>,
    pub(crate) accounts: Accounts,
    pub(crate) conns: Slab<Box<Conn>>,
    pub(crate) subs: Subs,
    pub(crate) tally: Tally,
    pub(crate) closed: VecDeque<ClosedConn>,
    pub(crate) config_loaded: Nanos,
    pub(crate) system: System,
    pub(crate) forwards: Forwards,
    pub(crate) downlinks: Downlinks,
    keys: Option<Box<ServerKeys>>,
    /// For users who may come at some times of day only.
    zones: Box<Zones>,
    /// The wall clock at the node's time 0, nanoseconds since 1970, as it is set now.
    wall: i128,
    operators: Option<Box<Operators>>,
    hasher: FixedState,
    pool: Pool,
    thrift: Thrift,
    draw: Draw,
    now: Nanos,
    next_cid: u64,
    timers: BinaryHeap<Reverse<(Nanos, u32, u64)>>,
    commands: VecDeque<Command>,
    dirty: Vec<ConnId>,
    closing: Vec<ConnId>,
    holders: Vec<ConnId>,
    /// Subscriptions that had their last message.
    spent: Vec<SubId>,
    /// Subscriptions that got the message and are to be in the log.
    traced: Vec<SubId>,
    /// The message in hand is traced.
    tracing: Option<Box<trace::Trace>>,
    /// How long whoever is publishing must be held back.
    hold: Nanos,
    /// Matches of the message in hand that are the node's own.
    own_matches: Vec<SubId>,
    /// Answers from other accounts that are waited for.
    responses: Responses,
    /// Scratch buffers, for subjects and bodies that are made on the way; as many as are in use at the same time.
    spare: Vec<Vec<u8>>,
    /// Scratch for the links that get a message.
    marks: Marks,
    /// The hubs to be linked to.
    pub(crate) remotes: Remotes,
    /// Links that came up or went down.
    link_events: VecDeque<LinkEvent>,
    lame_duck: Option<lame_duck::LameDuck>,
    mqtt_scratch: mqtt::Scratch,
}

impl Node {
    /// A node without connections. `seed` decides every draw.
    ///
    /// # Errors
    /// When the configuration holds something only found out by building it; the text names it.
    pub fn new(config: Config, identity: Identity, seed: u64) -> Result<Self, String> {
        Self::with_zones(config, identity, seed, Box::new(utc_only))
    }

    /// A node that knows time zones: users may be limited to times of day.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_zones(config: Config, identity: Identity, seed: u64, zones: Box<Zones>) -> Result<Self, String> {
        let hasher = FixedState::with_seed(seed);
        let directory = Directory::build(&config)?;
        let leaf_directory = Directory::of_leafnodes(&config)?;
        let mqtt_directory = Directory::of_mqtt(&config)?;
        let websocket_directory = Directory::of_websocket(&config)?;
        let accounts = Accounts::new(&config, seed)?;
        let facts = Facts::new(&config, &identity, hasher.clone());
        let responses = Responses::new(hasher.clone());
        let forwards = Forwards::new(&config, &identity.server_id, seed);
        let downlinks = Downlinks::new(&config, forwards.leaf(), seed);
        let mut node = Self {
            wall: identity.epoch,
            operators: Operators::new(&config),
            keys: None,
            zones,
            facts,
            directory,
            leaf_directory,
            mqtt_directory,
            websocket_directory,
            accounts,
            identity,
            config,
            conns: Slab::new(),
            subs: Subs::default(),
            tally: Tally::default(),
            closed: VecDeque::new(),
            config_loaded: 0,
            system: System::new(hasher.clone()),
            forwards,
            downlinks,
            hasher,
            pool: Pool::default(),
            thrift: Thrift::default(),
            draw: Draw::new(seed),
            now: 0,
            next_cid: 1,
            timers: BinaryHeap::new(),
            commands: VecDeque::new(),
            dirty: Vec::new(),
            closing: Vec::new(),
            holders: Vec::new(),
            spent: Vec::new(),
            traced: Vec::new(),
            tracing: None,
            hold: 0,
            own_matches: Vec::new(),
            responses,
            spare: Vec::new(),
            marks: Marks::default(),
            remotes: Remotes::default(),
            link_events: VecDeque::new(),
            lame_duck: None,
            mqtt_scratch: mqtt::Scratch::default(),
        };
        node.link_accounts(&[]);
        node.raise_mqtt();
        node.raise_system_account()?;
        node.raise_system();
        node.set_remotes()?;
        Ok(node)
    }

    /// What to do next, in this order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Moves the connections that have something new to write into `into`, which is emptied first.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
        for id in &*into {
            if let Some(conn) = self.conns.get_mut(id.slot()).filter(|conn| conn.core.id == *id) {
                conn.dirty = false;
                conn.fill(&mut self.pool);
            }
        }
    }

    /// What waits to be written to a connection.
    pub fn output(&self, id: ConnId) -> Option<&OutQueue> {
        self.find(id).map(|conn| &conn.out)
    }

    /// Whether the shell should read from a connection now.
    pub fn is_reading(&self, id: ConnId) -> bool {
        self.find(id).is_some_and(|conn| !conn.paused)
    }

    /// When [`Self::tick`] must be called at the latest.
    pub fn deadline(&self) -> Option<Nanos> {
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let duck = self.lame_duck.as_ref().map(lame_duck::LameDuck::due);
        let others = [
            self.operators_due(),
            self.system_due(),
            self.responses.due(),
            self.forwards_due(),
            self.downlinks_due(),
            self.mqtt_due(),
            self.remotes.due(),
        ];
        timer.into_iter().chain(duck).chain(others.into_iter().flatten()).min()
    }

    /// The node's time, as of the last call.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Who may come in by this kind of connection.
    fn directory_for(&self, connection: Connection) -> &Directory {
        let own = match connection {
            Connection::Leafnode => &self.leaf_directory,
            Connection::Mqtt | Connection::MqttWs => &self.mqtt_directory,
            Connection::Websocket => &self.websocket_directory,
            _ => &None,
        };
        own.as_ref().unwrap_or(&self.directory)
    }

    pub(crate) fn find(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.slot()).filter(|conn| conn.core.id == id).map(|conn| &**conn)
    }

    pub(crate) fn find_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot()).filter(|conn| conn.core.id == id).map(|conn| &mut **conn)
    }

    /// Bytes arrived on a connection.
    pub fn receive(&mut self, now: Nanos, id: ConnId, bytes: &[u8]) {
        self.now = now;
        let Some(conn) = self.find_mut(id) else { return };
        conn.last_activity = now;
        if conn.closing.is_some() {
            return;
        }
        self.hold = 0;
        if let Some(reader) = self.find_mut(id).and_then(|conn| conn.inflater.take()) {
            self.inflate(id, reader, bytes);
        } else if self.find(id).is_some_and(|conn| conn.deciding) {
            // The shell was told to pause; what it had read before waits here.
            if let Some(conn) = self.find_mut(id) {
                conn.carry.extend_from_slice(bytes);
            }
            return;
        } else {
            self.consume(id, bytes);
        }
        self.bound_answers(id);
        self.hold_back(id);
        self.settle();
    }

    /// Who asks and reads no answers has no more room than who subscribes and reads no messages.
    pub(super) fn bound_answers(&mut self, id: ConnId) {
        let max = self.facts.limits.max_pending;
        if self.find(id).is_some_and(|conn| conn.pending() > max) {
            self.close(id, CloseReason::SlowConsumerPending);
        }
    }

    /// Feeds `input` to a connection's peer, operation by operation.
    fn consume(&mut self, id: ConnId, mut input: &[u8]) {
        let slot = id.slot;
        loop {
            let Some(conn) = self.find_mut(id) else { return };
            if conn.closing.is_some() {
                return;
            }
            if conn.deciding {
                conn.carry.extend_from_slice(input);
                return;
            }
            if conn.carry.is_empty() {
                match self.run(slot, input) {
                    Ok((used, None)) => input = &input[used..],
                    Ok((used, Some(_))) => {
                        self.conns[slot as usize].carry.extend_from_slice(&input[used..]);
                        return;
                    }
                    Err(reason) => return self.close(id, reason),
                }
                if input.is_empty() {
                    return;
                }
                continue;
            }
            // Complete the operation that has begun, and no more.
            let mut carry = std::mem::take(&mut conn.carry);
            let result = self.run(slot, &carry);
            match result {
                Ok((used, missing)) => {
                    carry.drain(..used);
                    let take = match missing {
                        None => 0,
                        Some(Missing::Bytes(n)) => n.min(input.len()),
                        Some(Missing::Line) => {
                            input.iter().position(|&b| b == b'\n').map_or(input.len(), |end| end + 1)
                        }
                    };
                    carry.extend_from_slice(&input[..take]);
                    input = &input[take..];
                    let conn = &mut self.conns[slot as usize];
                    if !carry.is_empty() {
                        conn.carry = carry;
                    }
                    if take == 0 && (missing.is_some() || input.is_empty()) {
                        return;
                    }
                }
                Err(reason) => return self.close(id, reason),
            }
        }
    }

    /// Runs whole operations from the front of `input`. Returns how many bytes they took, and what is
    /// missing from the one that was left.
    fn run(&mut self, slot: u32, input: &[u8]) -> Result<(usize, Option<Missing>), CloseReason> {
        let mut at = 0;
        while at < input.len() {
            let conn = &mut *self.conns[slot as usize];
            if conn.closing.is_some() || conn.deciding {
                break;
            }
            let (peer, mut cx) = conn.split(&mut self.pool, &self.facts, &self.accounts, self.now);
            match peer.next(&mut cx, &input[at..]) {
                Step::Incomplete(missing) => {
                    self.touch(slot);
                    return Ok((at, Some(missing)));
                }
                Step::Done(used, action) => {
                    at += used;
                    self.act(slot, action);
                    if at < input.len() && self.conns[slot as usize].inflater.is_some() {
                        // It must wait for our answer before it compresses.
                        return Err(CloseReason::MalformedOperation);
                    }
                }
                Step::Close(reason) => return Err(reason),
            }
        }
        self.touch(slot);
        Ok((at, None))
    }

    /// Carries out what a peer asked for.
    fn act(&mut self, slot: u32, action: Action<'_>) {
        match action {
            Action::None => {}
            Action::Pong => {
                let core = &self.conns[slot as usize].core;
                self.fences_back(core.id, core.pulse.pongs);
            }
            Action::Publish(message) => {
                self.tally.received.count(message.body.len());
                let delivered = self.publish(slot, &message, Source::Client);
                if !delivered && !message.reply.is_empty() && self.conns[slot as usize].peer.wants_no_responders() {
                    self.no_responders(slot, &message);
                }
            }
            Action::Traced(message) => {
                self.tally.received.count(message.body.len());
                let delivered = self.publish_asking(slot, &message, Source::Client);
                if !delivered && !message.reply.is_empty() && self.conns[slot as usize].peer.wants_no_responders() {
                    self.no_responders(slot, &message);
                }
            }
            Action::Subscribe { subject, queue, sid, filtered } => self.subscribe(slot, subject, queue, sid, filtered),
            Action::Unsubscribe { sid, max } => self.unsubscribe(slot, sid, max),
            Action::Login(connect) => self.login(slot, connect),
            Action::Forward(message, queues) => {
                self.tally.received.count(message.body.len());
                self.publish_from_server(slot, &message, queues);
            }
            Action::Interest { subject, queue, weight } => self.remote_interest(slot, subject, queue, weight),
            Action::LinkUp(urls) => {
                self.link_up(slot);
                self.remotes.discovered(self.conns[slot as usize].core.id, urls);
            }
            Action::Secure => self.start_tls(slot),
            Action::Compress(mode) => self.start_compression(slot, mode),
            Action::Discovered(urls) => self.remotes.discovered(self.conns[slot as usize].core.id, urls),
            Action::Mqtt(event) => self.mqtt_event(slot, event),
        }
    }

    /// Puts a connection on the list of those with something new to write, if it has.
    fn touch(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if !conn.dirty && conn.pending() > 0 {
            conn.dirty = true;
            self.dirty.push(conn.core.id);
        }
    }

    /// Calls `f` with a connection's peer and its context.
    fn with_peer<R>(&mut self, slot: u32, f: impl FnOnce(&mut dyn Peer, &mut Cx<'_>) -> R) -> R {
        let conn = &mut *self.conns[slot as usize];
        let (peer, mut cx) = conn.split(&mut self.pool, &self.facts, &self.accounts, self.now);
        let result = f(peer, &mut cx);
        self.touch(slot);
        result
    }

    /// Pauses a producer whose receivers could not follow.
    fn hold_back(&mut self, id: ConnId) {
        let hold = std::mem::take(&mut self.hold);
        if hold == 0 {
            return;
        }
        let until = self.now + hold;
        let Some(conn) = self.find_mut(id) else { return };
        if conn.closing.is_some() {
            return;
        }
        conn.core.stats.stalls += 1;
        self.tally.stalls += 1;
        let Some(conn) = self.find_mut(id) else { return };
        conn.timers.set(Timer::Resume, until);
        if !conn.paused {
            conn.paused = true;
            self.holders.push(id);
            self.commands.push_back(Command::Pause(id));
        }
        self.arm(id.slot);
    }

    /// Lets producers go on after a receiver has caught up; if another one lags, they will be held again.
    fn let_go(&mut self) {
        for id in std::mem::take(&mut self.holders) {
            self.resume(id);
        }
    }

    fn resume(&mut self, id: ConnId) {
        let Some(conn) = self.find_mut(id).filter(|_| !planted(Bug::HeldForever)) else { return };
        conn.timers.stop(Timer::Resume);
        if conn.paused && !conn.deciding {
            conn.paused = false;
            self.commands.push_back(Command::Resume(id));
        }
    }

    /// The shell has written the first `n` waiting bytes of a connection (or handed them to TLS).
    pub fn sent(&mut self, now: Nanos, id: ConnId, n: usize) {
        self.now = now;
        let deadline = nanos(self.facts.limits.write_deadline);
        let lag = self.facts.lag_bytes;
        let Some(conn) = self.conns.get_mut(id.slot()).filter(|conn| conn.core.id == id) else { return };
        conn.out.sent(&mut self.pool, n);
        if conn.pacer.is_some() {
            conn.paced(&mut self.pool, now, n);
        }
        conn.write_goal = conn.write_goal.saturating_sub(n);
        if conn.out.is_empty() {
            conn.timers.stop(Timer::Write);
        } else if conn.write_goal == 0 || !conn.timers.is_set(Timer::Write) {
            let goal = if conn.pacer.is_some() { LINK_WRITE_GOAL_BYTES } else { WRITE_GOAL_BYTES };
            conn.write_goal = conn.out.pending().min(goal);
            conn.timers.set(Timer::Write, now + deadline);
        }
        let caught_up = conn.holding && conn.pending() <= lag / 2;
        if caught_up {
            conn.holding = false;
        }
        let armed = conn.timers.is_set(Timer::Write);
        if armed {
            self.arm(id.slot);
        }
        if caught_up {
            self.let_go();
        }
        if self.room_on(id) > 0 {
            self.link_has_room();
        }
    }

    /// Nothing of what waits could be written now.
    pub fn blocked(&mut self, now: Nanos, id: ConnId) {
        if let Some(pacer) = self.find_mut(id).and_then(|conn| conn.pacer.as_mut()) {
            pacer.blocked(now);
        }
        self.sent(now, id, 0);
    }

    /// For a link whose socket is full: what the kernel is to keep unsent at most, bytes.
    pub fn unsent_max(&self, id: ConnId) -> Option<u32> {
        self.find(id)?.pacer.as_ref().map(|pacer| pacer.unsent_max())
    }

    /// Makes sure that the timer heap wakes up in time for a connection.
    fn arm(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        let Some(next) = conn.timers.next() else { return };
        if next < conn.armed {
            conn.armed = next;
            self.timers.push(Reverse((next, slot, conn.core.id.cid)));
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        self.now = now;
        while let Some(&Reverse((at, slot, cid))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            let id = ConnId { slot, cid };
            // An entry that is not the connection's current one is left over from an earlier time.
            match self.find_mut(id) {
                Some(conn) if conn.armed == at => conn.armed = Nanos::MAX,
                _ => continue,
            }
            self.expire(id);
            if self.find(id).is_some() {
                self.arm(slot);
            }
        }
        self.waddle();
        self.expire_accounts();
        self.expire_activations();
        self.expire_responses();
        self.sweep_store();
        self.beat();
        self.tick_forwards();
        self.tick_downlinks();
        self.mqtt_tick();
        self.settle();
        self.dial();
    }

    fn expire(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.find_mut(id) else { return };
        if conn.timers.expired(Timer::Login, now) {
            return self.login_is_late(id);
        }
        if conn.timers.expired(Timer::Write, now) {
            return self.close(id, CloseReason::SlowConsumerDeadline);
        }
        if conn.timers.expired(Timer::Expiry, now) {
            return self.close(id, CloseReason::UserExpired);
        }
        if conn.timers.expired(Timer::Resume, now) {
            self.resume(id);
        }
        let Some(conn) = self.find_mut(id) else { return };
        if conn.timers.expired(Timer::Ping, now) {
            self.ping(id);
        }
    }

    /// Asks for a sign of life, unless there was one in the last interval; the second unanswered
    /// question too many ends the connection.
    fn ping(&mut self, id: ConnId) {
        if self.find(id).is_some_and(|conn| conn.peer.speaks_mqtt()) {
            return self.mqtt_keep_alive(id);
        }
        let now = self.now;
        let Some(conn) = self.find(id) else { return };
        let (interval, max) = conn.peer.keepalive(&self.facts);
        let interval = nanos(interval);
        let Some(conn) = self.find(id) else { return };
        // Whose bytes move is alive, even if an answer is stuck behind them at the other end.
        let heard = conn.last_activity.max(conn.moved);
        self.adapt_compression(id.slot);
        let Some(conn) = self.find_mut(id) else { return };
        let quiet = now.saturating_sub(heard) >= interval;
        if quiet || conn.core.pulse.rtt == 0 || conn.core.dialled {
            if !quiet && conn.core.dialled {
                conn.core.pulse.unanswered = 0;
            }
            if conn.core.pulse.unanswered >= max {
                return self.close(id, CloseReason::StaleConnection);
            }
            conn.core.pulse.unanswered += 1;
            conn.core.pulse.pinged_at = now;
            self.with_peer(id.slot, |peer, cx| peer.ping(cx));
        }
        if let Some(conn) = self.find_mut(id) {
            conn.timers.set(Timer::Ping, now + interval);
        }
    }
}
