//! A connection that is or was.

use std::net::SocketAddr;

use crate::account::AccountId;
use crate::node::{About, ClosedConn, Conn, Kind, Nanos, Stats, TlsFacts};

pub(super) enum Row<'a> {
    Open(&'a Conn),
    Closed(&'a ClosedConn),
}

impl<'a> Row<'a> {
    pub(super) fn cid(&self) -> u64 {
        match self {
            Self::Open(conn) => conn.core.id.cid(),
            Self::Closed(conn) => conn.id.cid(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Open(conn) => conn.peer.kind(),
            Self::Closed(conn) => conn.kind,
        }
    }

    /// Whether /connz is about this kind; routes and gateways have their own pages.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self.kind(), Kind::Client | Kind::Leaf)
    }

    pub(super) fn remote(&self) -> SocketAddr {
        match self {
            Self::Open(conn) => conn.core.remote,
            Self::Closed(conn) => conn.remote,
        }
    }

    pub(super) fn start(&self) -> Nanos {
        match self {
            Self::Open(conn) => conn.core.start,
            Self::Closed(conn) => conn.start,
        }
    }

    pub(super) fn stop(&self) -> Option<Nanos> {
        match self {
            Self::Open(_) => None,
            Self::Closed(conn) => Some(conn.stop),
        }
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Open(_) => None,
            Self::Closed(conn) => Some(conn.reason.text()),
        }
    }

    pub(super) fn last_activity(&self) -> Nanos {
        match self {
            Self::Open(conn) => conn.last_activity,
            Self::Closed(conn) => conn.last_activity,
        }
    }

    /// How long it has been or was there.
    pub(super) fn uptime(&self, now: Nanos) -> Nanos {
        self.stop().unwrap_or(now).saturating_sub(self.start())
    }

    /// How long nothing had come from it.
    pub(super) fn idle(&self, now: Nanos) -> Nanos {
        self.stop().unwrap_or(now).saturating_sub(self.last_activity())
    }

    pub(super) fn rtt(&self) -> Nanos {
        match self {
            Self::Open(conn) => conn.core.pulse.rtt,
            Self::Closed(conn) => conn.rtt,
        }
    }

    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Open(conn) => conn.out.pending(),
            Self::Closed(_) => 0,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        match self {
            Self::Open(conn) => conn.core.stats,
            Self::Closed(conn) => conn.stats,
        }
    }

    pub(super) fn subs(&self) -> usize {
        match self {
            Self::Open(conn) => conn.core.subs,
            Self::Closed(conn) => conn.subs,
        }
    }

    /// The account; who has not logged in has none.
    pub(super) fn account(&self) -> Option<AccountId> {
        match self {
            Self::Open(conn) => conn.core.account,
            Self::Closed(conn) => conn.account,
        }
    }

    /// Whether it belongs to an account; who has not logged in is counted with `$G`, as in nats-server.
    pub(super) fn is_in(&self, account: AccountId) -> bool {
        self.account().unwrap_or(AccountId::GLOBAL) == account
    }

    pub(super) fn about(&self) -> About<'a> {
        match *self {
            Self::Open(conn) => conn.peer.about(),
            Self::Closed(conn) => About {
                name: &conn.name,
                lang: &conn.lang,
                version: &conn.version,
                user: &conn.user,
                trouble: "",
                websocket: conn.websocket,
                mqtt_client: conn.mqtt_client.as_deref(),
            },
        }
    }

    pub(super) fn tls(&self) -> Option<&'a TlsFacts> {
        match *self {
            Self::Open(conn) => conn.tls.as_deref(),
            Self::Closed(conn) => conn.tls.as_deref(),
        }
    }
}
