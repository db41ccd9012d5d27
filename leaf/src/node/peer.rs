//! The seam between the node and the kinds of connections it can have.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::conn::{CloseReason, ConnId, Stats};
use super::outq::{OutQueue, Pool};
use super::subs::Sub;
use super::{Facts, Nanos, Who};
use crate::account::{AccountId, Accounts};
use crate::auth::directory::{Connection, Identity};
use crate::config::Mode;
use crate::message::Message;
use crate::mqtt::Mqtt;
use crate::wire::{Connect, Missing};

/// What kind of connection it is; decides who is served first in a queue group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A client of this server.
    Client,
    /// A leaf node, on either side of the link.
    Leaf,
    /// Another server of the cluster.
    Route,
    /// Another cluster.
    Gateway,
}

impl Kind {
    /// nats-server's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Leaf => "Leafnode",
            Self::Route => "Router",
            Self::Gateway => "Gateway",
        }
    }
}

/// One connection's side of a protocol. A peer turns bytes into [`Action`]s, one at a time, and
/// messages into bytes; it owns the state of its session and nothing else. The node owns the rest,
/// carries out the actions and keeps the bounds.
///
/// Implementations never block, read no clock and draw no random numbers but those in [`Cx`].
pub trait Peer {
    /// The kind of connection.
    fn kind(&self) -> Kind;

    /// How it connects, where users are limited in that.
    fn connection(&self) -> Connection;

    /// The first thing to send, if this side speaks first.
    fn greet(&mut self, cx: &mut Cx<'_>);

    /// Takes one operation from the front of `input`, which is never empty, and answers what needs no
    /// more than this connection.
    fn next<'a>(&mut self, cx: &mut Cx<'_>, input: &'a [u8]) -> Step<'a>;

    /// The login asked for by [`Action::Login`] succeeded.
    fn logged_in(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>);

    /// Whether `subject` may reach a subscription (in this queue group) with [`Sub::filtered`].
    fn may_deliver(&mut self, subject: &[u8], queue: Option<&[u8]>) -> bool;

    /// Logs what [`Self::deliver`] wrote (`-V`), of a payload at most so many bytes; `who` is this connection.
    fn trace_delivery(&self, _who: &Who<'_>, _message: &Message<'_>, _sub: &Sub, _bytes_max: usize) {}

    /// Writes `message` for the subscription `sub`.
    fn deliver(&mut self, out: &mut Out<'_>, message: &Message<'_>, shared: Option<&Rc<[u8]>>, sub: &Sub);

    /// Its account maps a subject that it published to `subject`. Permission is asked for that one, and not for the
    /// one it said: `false` if there is none (the peer has said so to the other side).
    fn may_publish_mapped(&mut self, _cx: &mut Cx<'_>, _subject: &[u8]) -> bool {
        true
    }

    /// What speaks against a message that came with [`Action::Traced`], as the peer has told the other side.
    fn refuse(&mut self, _cx: &mut Cx<'_>, _message: &Message<'_>) -> Option<String> {
        None
    }

    /// Whether traces of its messages may go to `dest`; if not, the peer has said so to the other side.
    fn may_trace_to(&mut self, cx: &mut Cx<'_>, dest: &[u8]) -> bool;

    /// Whether the connection's own messages are delivered to it.
    fn echo(&self) -> bool;

    /// Whether the sender of a request with headers wants to know that nobody heard it.
    fn wants_no_responders(&self) -> bool;

    /// What the server says about itself has changed.
    fn server_changed(&mut self, cx: &mut Cx<'_>);

    /// Somebody wants this one to go elsewhere, and nobody else (nats-server: `LDM` of one client).
    fn told_to_leave(&mut self, _cx: &mut Cx<'_>) {}

    /// Who logged in.
    fn identity(&self) -> Option<Rc<Identity>>;

    /// Permissions and limits of its user were read again. Each subscription is then asked
    /// [`Self::may_keep`].
    fn rules_changed(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>);

    /// The limits of its account changed.
    fn limits_changed(&mut self, cx: &mut Cx<'_>);

    /// Whether a subscription is still allowed: `None` if not (the peer says so to the other side),
    /// else whether deliveries are filtered.
    fn may_keep(&mut self, cx: &mut Cx<'_>, sub: &Sub) -> Option<bool>;

    /// How often it is asked for a sign of life, and how many questions may stay without an answer.
    fn keepalive(&self, facts: &Facts) -> (Duration, u32) {
        (facts.limits.ping_interval, facts.limits.ping_max)
    }

    /// Writes `message` for the other side, which is a server: for its plain subscriptions and for these queue groups.
    /// Says whether it was written.
    fn forward(
        &mut self,
        _out: &mut Out<'_>,
        _message: &Message<'_>,
        _shared: Option<&Rc<[u8]>>,
        _queues: &[Rc<[u8]>],
    ) -> bool {
        false
    }

    /// Tells the other side, which is a server, of the interest there is here now; `weight` 0 is none any more.
    fn announce(&mut self, _cx: &mut Cx<'_>, _subject: &[u8], _queue: Option<&[u8]>, _weight: u32) {}

    /// The server at the other end is reached by a way around, in this account; the connection ends.
    fn found_loop(&mut self, _account: &str) {}

    /// TLS is in place, on a connection that asked for it with [`Action::Secure`]. As [`Action::Compress`] if there is
    /// a mode.
    fn secured(&mut self, _cx: &mut Cx<'_>) -> Option<Mode> {
        None
    }

    /// What comes and goes from now on is compressed, as it was asked for with [`Action::Compress`].
    fn compressed(&mut self, _cx: &mut Cx<'_>) {}

    /// Asks for a sign of life.
    fn ping(&mut self, cx: &mut Cx<'_>);

    /// Asks for an answer to everything that was written before.
    fn fence(&mut self, _out: &mut Out<'_>) {}

    /// The last words, derived from the reason and nothing else.
    fn farewell(&self, reason: CloseReason) -> Option<Vec<u8>>;

    /// What monitoring shows of it.
    fn about(&self) -> About<'_>;

    /// Itself, if it speaks MQTT.
    fn mqtt(&mut self) -> Option<&mut Mqtt> {
        None
    }

    /// Whether it speaks MQTT: there the client speaks first, and keeps the connection alive.
    fn speaks_mqtt(&self) -> bool {
        false
    }
}

/// What a peer may know and touch while it is called.
pub struct Cx<'a> {
    /// What is sent to this connection; knows the time.
    pub out: Out<'a>,
    /// What is the same for all connections.
    pub facts: &'a Facts,
    /// All accounts.
    pub accounts: &'a Accounts,
    /// This connection: its id, origin and counters.
    pub this: &'a mut Core,
}

impl Cx<'_> {
    /// Whether the account makes another subject of it, which then is the one that takes permission (see
    /// [`Peer::may_publish_mapped`]).
    #[inline]
    pub fn is_mapped(&self, subject: &[u8]) -> bool {
        let mappings = self.this.account.map(|id| &self.accounts.get(id).mappings);
        mappings.is_some_and(|mappings| !mappings.is_empty() && mappings.concern(subject))
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.out.now
    }
}

/// Where a peer writes to.
pub struct Out<'a> {
    /// The connection's queue.
    pub queue: &'a mut OutQueue,
    /// What must not wait behind `queue`, if that makes a difference here.
    pub urgent: Option<&'a mut OutQueue>,
    /// Spare buffers of the node.
    pub pool: &'a mut Pool,
    /// The time.
    pub now: Nanos,
}

impl Out<'_> {
    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.queue.extend(self.pool, bytes);
    }

    /// Appends `bytes`, ahead of everything that is not urgent.
    pub fn extend_urgent(&mut self, bytes: &[u8]) {
        self.urgent.as_deref_mut().unwrap_or(self.queue).extend(self.pool, bytes);
    }
}

/// A connection's own facts: the peer reads them and counts what comes in.
#[derive(Debug)]
pub struct Core {
    /// The connection.
    pub id: ConnId,
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Unpredictable, drawn for this connection alone.
    pub nonce: [u8; 11],
    /// When it came.
    pub start: Nanos,
    /// The account, once logged in.
    pub account: Option<AccountId>,
    /// Subscriptions it has.
    pub subs: usize,
    /// What they take, about, in bytes; see [`super::subscription_bytes`].
    pub subs_bytes: usize,
    /// The counters.
    pub stats: Stats,
    /// Liveness.
    pub pulse: Pulse,
    /// This side dialled.
    pub dialled: bool,
    /// What is behind it, if it is a link to another server.
    pub link: Option<Box<LinkFacts>>,
}

/// What the node knows of a leaf node link.
#[derive(Clone, Debug)]
pub struct LinkFacts {
    /// What this server is on the link.
    pub role: Role,
    /// This side dialled.
    pub solicited: bool,
    /// The name of the server at the other end.
    pub name: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// The cluster at the other end; a server without one stands for itself. Empty if it did not say.
    pub cluster: Box<str>,
    /// The account at the other end.
    pub account: Box<str>,
    /// The domain of its JetStream; empty for none.
    pub domain: Box<str>,
    /// It does not hear of other leaf nodes' interest.
    pub isolated: bool,
    /// How the link is compressed.
    pub compression: Mode,
    /// The other side knows what a traced message is.
    pub traces: bool,
}

/// What this server is on a leaf node link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The hub: it tells of all interest there is.
    Hub,
    /// The leaf node: it tells of its own.
    Spoke,
}

/// Pings and their answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    /// Pings without an answer.
    pub unanswered: u32,
    /// When the last ping was sent.
    pub pinged_at: Nanos,
    /// Round-trip time; 0 is not known yet.
    pub rtt: Nanos,
    /// Pings sent on a link, fences included, and their answers. They come in the same order.
    pub pings: u64,
    /// See [`Self::pings`].
    pub pongs: u64,
}

/// What became of the front of the input.
pub enum Step<'a> {
    /// Not a whole operation yet.
    Incomplete(Missing),
    /// An operation of this many bytes, and what the node is to do about it.
    Done(usize, Action<'a>),
    /// The connection ends here.
    Close(CloseReason),
}

/// What a peer wants from the node.
pub enum Action<'a> {
    /// Nothing more.
    None,
    /// Route a message.
    Publish(Message<'a>),
    /// Route a message that asks for a trace. Nothing was checked yet: see [`Peer::refuse`].
    Traced(Message<'a>),
    /// Add a subscription; all checks are done and passed.
    Subscribe {
        /// Valid.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The peer's name for it, new on this connection.
        sid: &'a [u8],
        /// Ask [`Peer::may_deliver`] for each message.
        filtered: bool,
    },
    /// Remove a subscription, at once or after `max` deliveries since it was made.
    Unsubscribe {
        /// Which.
        sid: &'a [u8],
        /// 0 is at once.
        max: u64,
    },
    /// A sign of life came back, as the other side's answer to everything before the question.
    Pong,
    /// Find out who this is.
    Login(Box<Connect>),
    /// Route a message that comes from a server: only these queue groups are served, separated by blanks.
    Forward(Message<'a>, &'a [u8]),
    /// The server at the other end has this much interest; 0 is none any more.
    Interest {
        /// Valid.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// Its members; 1 without a queue group.
        weight: u32,
    },
    /// The handshake of a link is through, and [`Core::link`] is set. The hub told of these addresses, `host:port`.
    LinkUp(Vec<String>),
    /// Compress from now on, in both directions, then call [`Peer::compressed`]. What was written so far goes first.
    Compress(Mode),
    /// Start TLS as the dialler, then call [`Peer::secured`].
    Secure,
    /// Other addresses of the hub at the other end, `host:port`.
    Discovered(Vec<String>),
    /// What only MQTT asks for.
    Mqtt(mqtt_bridge::Event<'a>),
}

/// What monitoring and the log show of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The name it gave itself.
    pub name: &'a str,
    /// The language of its library.
    pub lang: &'a str,
    /// The version of its library.
    pub version: &'a str,
    /// Who logged in.
    pub user: &'a str,
    /// What it last complained of.
    pub trouble: &'a str,
    /// It speaks NATS by WebSocket.
    pub websocket: bool,
    /// The client id, of those who speak MQTT.
    pub mqtt_client: Option<&'a str>,
}
