//! One connection as the node keeps it.

use hashbrown::HashTable;
use std::rc::Rc;

use super::callout::Asked;
use super::outq::OutQueue;
use super::pacer::Pacer;
use super::peer::{Core, Cx, Out, Peer};
use super::{Facts, Nanos, Pool, Waiting, Who};
use crate::account::Accounts;
use crate::auth::directory::Identity;
use crate::interest::SubId;
use crate::wire::Connect;

/// Names a connection; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) cid: u64,
}

impl ConnId {
    /// The id shown to clients, in the log and in monitoring.
    pub fn cid(self) -> u64 {
        self.cid
    }

    /// A small number for tables; free again once the connection is closed.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Messages and bytes, as monitoring shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// From the connection.
    pub in_msgs: u64,
    /// Headers and payloads from the connection.
    pub in_bytes: u64,
    /// To the connection.
    pub out_msgs: u64,
    /// Headers and payloads to the connection.
    pub out_bytes: u64,
    /// Messages not sent because it could not follow.
    pub dropped: u64,
    /// How often reading was paused because its receivers could not follow.
    pub stalls: u64,
}

/// Reasons to wake up for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timer {
    /// The login is due.
    Login,
    /// The next ping is due.
    Ping,
    /// What was waiting should have been written.
    Write,
    /// Reading goes on.
    Resume,
    /// Its user is no more.
    Expiry,
}

/// When to wake up for one connection, the earliest counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers([Nanos; 5]);

const NEVER: Nanos = Nanos::MAX;

impl Timers {
    pub(crate) fn new() -> Self {
        Self([NEVER; 5])
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Nanos) {
        self.0[timer as usize] = at;
    }

    /// Sets it to this time if that is earlier.
    pub(crate) fn advance(&mut self, timer: Timer, at: Nanos) {
        let set = &mut self.0[timer as usize];
        *set = at.min(*set);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize] != NEVER
    }

    pub(crate) fn next(&self) -> Option<Nanos> {
        self.0.iter().copied().min().filter(|&at| at != NEVER)
    }

    /// Whether `timer` has run out; it is stopped then.
    pub(crate) fn expired(&mut self, timer: Timer, now: Nanos) -> bool {
        let expired = self.0[timer as usize] <= now;
        if expired {
            self.stop(timer);
        }
        expired
    }
}

/// TLS of a connection, as monitoring shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The standard name.
    pub cipher_suite: &'static str,
    /// TLS came before INFO.
    pub first: bool,
}

pub(crate) struct Conn {
    pub(crate) core: Core,
    pub(crate) peer: Box<dyn Peer>,
    pub(crate) tls: Option<Box<TlsFacts>>,
    pub(crate) out: OutQueue,
    /// Links have lanes before `out`.
    pub(crate) pacer: Option<Box<Pacer>>,
    /// When the socket last took something after it had been full.
    pub(crate) moved: Nanos,
    /// The last message that was marked for it, and where in the list of marks that is.
    pub(crate) marked: (u64, u32),
    /// What comes is a stream of S2.
    pub(crate) inflater: Option<Box<crate::link::s2::Reader>>,
    /// The beginning of an operation that has not arrived whole.
    pub(crate) carry: Vec<u8>,
    pub(crate) subs: HashTable<SubId>,
    pub(crate) timers: Timers,
    /// When the node's timer heap wakes up for it.
    pub(crate) armed: Nanos,
    pub(crate) last_activity: Nanos,
    /// Bytes still to be written before the write deadline starts anew.
    pub(crate) write_goal: usize,
    /// In the list of connections with something new to write.
    pub(crate) dirty: bool,
    /// The shell is not to read from it.
    pub(crate) paused: bool,
    /// A password is being checked elsewhere.
    pub(crate) deciding: bool,
    /// Who it is if that password is right.
    pub(crate) pending_login: Option<Rc<Identity>>,
    /// The service may be asked about this CONNECT, but first its password is checked.
    pub(crate) ahead: Option<Box<Connect>>,
    /// The login that a service was asked about.
    pub(crate) asked: Option<Box<Asked>>,
    /// The name it wants to log in by, until it has: for whoever hears of failures.
    pub(crate) offered: Box<str>,
    /// The login that waits for its account's JWT.
    pub(crate) waiting: Option<Box<Waiting>>,
    /// Producers wait for this one to catch up.
    pub(crate) holding: bool,
    /// It ends as soon as the node has finished what it is doing.
    pub(crate) closing: Option<CloseReason>,
}

impl Conn {
    /// How the log calls it.
    pub(crate) fn who<'a>(&'a self, accounts: &'a Accounts) -> Who<'a> {
        Who::new(&self.core, self.peer.kind(), self.peer.about(), self.peer.identity(), accounts)
    }

    /// Bytes that wait to be written.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.out.pending() + self.pacer.as_ref().map_or(0, |pacer| pacer.pending())
    }

    /// Its peer, and what the peer may touch.
    pub(crate) fn split<'a>(
        &'a mut self,
        pool: &'a mut Pool,
        facts: &'a Facts,
        accounts: &'a Accounts,
        now: Nanos,
    ) -> (&'a mut dyn Peer, Cx<'a>) {
        let (queue, urgent) = match &mut self.pacer {
            None => (&mut self.out, None),
            Some(pacer) => {
                let (control, urgent) = pacer.lanes();
                (control, Some(urgent))
            }
        };
        let out = Out { queue, urgent, pool, now };
        (&mut *self.peer, Cx { out, facts, accounts, this: &mut self.core })
    }

    /// Of a link: the socket took `n` bytes, so more may follow.
    pub(crate) fn paced(&mut self, pool: &mut Pool, now: Nanos, n: usize) {
        let Some(pacer) = &mut self.pacer else { return };
        if n > 0 && self.timers.is_set(Timer::Write) {
            self.moved = now;
        }
        pacer.moved(now, n, self.out.is_empty() && pacer.is_empty());
        if pacer.wants_more(&self.out) {
            pacer.fill(&mut self.out, pool);
        }
    }

    /// Moves what has room into the queue that the shell writes from.
    pub(crate) fn fill(&mut self, pool: &mut Pool) {
        if let Some(pacer) = &mut self.pacer {
            pacer.fill(&mut self.out, pool);
        }
    }
}

/// Why a connection ended (nats-server: `ClosedState`). The texts are those of monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the text says it")]
pub enum CloseReason {
    ClientClosed,
    AuthenticationTimeout,
    AuthenticationViolation,
    TlsHandshake,
    TlsRateLimit,
    SlowConsumerPending,
    SlowConsumerDeadline,
    WriteError,
    ReadError,
    UnknownOperation,
    MalformedOperation,
    ErrorFromPeer,
    StaleConnection,
    BadClientProtocol,
    MaxAccountConnections,
    MaxConnections,
    MaxPayload,
    MaxControlLine,
    ServerShutdown,
    HeadersViolation,
    NoRespondersRequiresHeaders,
    Kicked,
    UserExpired,
    AccountExpired,
    Revoked,
    SignerChanged,
    MaxSubscriptions,
    WrongPort,
    WrongGateway,
    ClusterNamesIdentical,
    ClusterNameHasBlank,
    DuplicateRemote,
    MinimumVersion,
    LoopDetected,
    PermissionsViolation,
    HandshakeTimeout,
    RemoteRemoved,
    RulesChanged,
    DuplicateClientId,
}

impl CloseReason {
    /// As in /connz and in the log.
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationViolation | Self::SignerChanged => "Authentication Failure",
            Self::UserExpired | Self::AccountExpired => "Authentication Expired",
            Self::Revoked => "Credentials Revoked",
            Self::MaxSubscriptions => "Maximum Subscriptions Exceeded",
            Self::TlsHandshake => "TLS Handshake Failure",
            Self::SlowConsumerPending => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ErrorFromPeer => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::UnknownOperation | Self::MalformedOperation => "Protocol Violation",
            Self::BadClientProtocol => "Bad Client Protocol Version",
            Self::MaxAccountConnections => "Maximum Account Connections Exceeded",
            // nats-server has no word of its own for the second.
            Self::MaxConnections | Self::TlsRateLimit => "Maximum Connections Exceeded",
            Self::MaxPayload => "Maximum Message Payload Exceeded",
            Self::MaxControlLine => "Maximum Control Line Exceeded",
            Self::ServerShutdown => "Server Shutdown",
            Self::HeadersViolation => "Message Header Violation",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::Kicked => "Kicked",
            Self::WrongPort => "Incorrect Port",
            Self::WrongGateway => "Wrong Gateway",
            Self::ClusterNamesIdentical => "Cluster Names Identical",
            Self::DuplicateRemote => "Duplicate Remote LeafNode Connection",
            Self::MinimumVersion => "Minimum Version Required",
            Self::LoopDetected | Self::PermissionsViolation | Self::ClusterNameHasBlank => "Protocol Violation",
            Self::HandshakeTimeout => "Stale Connection",
            // nats-server has no words of its own for these.
            Self::RemoteRemoved | Self::RulesChanged => "Client Closed",
            Self::DuplicateClientId => "Duplicate Client ID",
        }
    }

    /// Whether what still waits is worthless to the other side or cannot reach it.
    pub(crate) fn drops_output(self) -> bool {
        matches!(
            self,
            Self::ClientClosed
                | Self::SlowConsumerPending
                | Self::SlowConsumerDeadline
                | Self::WriteError
                | Self::ReadError
                | Self::TlsHandshake
        )
    }
}
