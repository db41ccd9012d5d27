//! How connections and their subscriptions come and go.

use std::hash::BuildHasher;
use std::rc::Rc;
use tracing::{debug, error, info, trace};

use super::bug::{Bug, planted};
use super::conn::{Conn, Timer, Timers};
use super::{Arrival, CloseReason, Command, ConnId, Core, Nanos, Node, OutQueue, Peer, Pulse, SECOND, Sid, Stats, Sub};
use super::{Kind, TlsFacts, nanos, subscription_bytes};
use crate::account::AccountId;
use crate::auth::directory::{Connection, Decision, Identity, Offered};
use crate::interest::SubId;
use crate::wire::Connect;
use crate::wire::encode::quoted;

/// A connection that is no more, for /connz.
#[derive(Clone, Debug)]
pub struct ClosedConn {
    /// Its id.
    pub id: ConnId,
    /// What it was.
    pub kind: Kind,
    /// Where it came from.
    pub remote: std::net::SocketAddr,
    /// When it came.
    pub start: Nanos,
    /// When it went.
    pub stop: Nanos,
    /// When bytes last came.
    pub last_activity: Nanos,
    /// Why it went.
    pub reason: CloseReason,
    /// Round-trip time; 0 if never known.
    pub rtt: Nanos,
    /// Counters.
    pub stats: Stats,
    /// The account, if it had logged in.
    pub account: Option<AccountId>,
    /// Subscriptions at the end.
    pub subs: usize,
    /// As given.
    pub name: Box<str>,
    /// As given.
    pub lang: Box<str>,
    /// As given.
    pub version: Box<str>,
    /// Who it was.
    pub user: Box<str>,
    /// Its client id, if it spoke MQTT.
    pub mqtt_client: Option<Box<str>>,
    /// It spoke NATS by WebSocket.
    pub websocket: bool,
    /// Its TLS.
    pub tls: Option<Box<TlsFacts>>,
}

impl Node {
    /// A new connection. If this side is to speak only later (TLS comes first), call [`Self::greet`] then.
    /// Returns its id; it may already be on its way out, see [`Command::Close`].
    pub fn accept(&mut self, now: Nanos, arrival: &Arrival, peer: Box<dyn Peer>) -> ConnId {
        self.now = now;
        let entry = self.conns.vacant_entry();
        let id = ConnId { slot: entry.key() as u32, cid: self.next_cid };
        self.next_cid += 1;
        let core = Core {
            id,
            remote: arrival.remote,
            nonce: arrival.nonce,
            start: now,
            account: None,
            subs: 0,
            subs_bytes: 0,
            stats: Stats::default(),
            pulse: Pulse::default(),
            dialled: false,
            link: None,
        };
        entry.insert(Box::new(Conn {
            core,
            peer,
            tls: None,
            out: OutQueue::default(),
            pacer: None,
            inflater: None,
            moved: 0,
            marked: (0, 0),
            carry: Vec::new(),
            subs: hashbrown::HashTable::new(),
            timers: Timers::new(),
            armed: Nanos::MAX,
            last_activity: now,
            write_goal: 0,
            dirty: false,
            paused: false,
            deciding: false,
            pending_login: None,
            offered: Box::default(),
            ahead: None,
            asked: None,
            waiting: None,
            holding: false,
            closing: None,
        }));
        self.tally.connections += 1;
        debug!("{} - cid:{} - Client connection created", arrival.remote, id.cid);
        id
    }

    /// This side speaks first: INFO. `tls` is set when a handshake came before it.
    pub fn greet(&mut self, now: Nanos, id: ConnId) {
        self.now = now;
        if self.find(id).is_none() {
            return;
        }
        self.with_peer(id.slot, |peer, cx| peer.greet(cx));
        let is_client = self.conns[id.slot()].peer.kind() == Kind::Client;
        if is_client && self.conns.len() > self.facts.limits.max_connections as usize {
            self.close(id, CloseReason::MaxConnections);
            return self.settle();
        }
        let speaks_first = self.conns[id.slot()].peer.speaks_mqtt();
        let login = match is_client {
            true if speaks_first => Some(self.mqtt_login_within()),
            true => self.login_within(self.conns[id.slot()].peer.connection()),
            false => Some(self.facts.links.login_within),
        };
        let login = login.map(|within| now.saturating_add(within));
        let jitter = self.draw.below(SECOND as usize / 4) as Nanos;
        let first = nanos(self.facts.limits.ping_interval).min(2 * SECOND) + jitter;
        if let Some(conn) = self.find_mut(id) {
            if let Some(at) = login {
                conn.timers.set(Timer::Login, at);
            }
            conn.timers.set(Timer::Ping, now.saturating_add(first));
        }
        self.arm(id.slot);
    }

    /// How long CONNECT may take, where one must log in.
    fn login_within(&self, connection: Connection) -> Option<Nanos> {
        let (facts, websocket) = (&self.facts, &self.facts.websocket);
        match connection {
            Connection::Websocket => {
                websocket.auth_required.then(|| websocket.login_within.unwrap_or(facts.login_within))
            }
            _ => facts.info.auth_required.then_some(facts.login_within),
        }
    }

    /// A connection turns out to speak something else. Nothing was said to it yet.
    pub fn turn_into(&mut self, id: ConnId, peer: Box<dyn Peer>) {
        if let Some(conn) = self.find_mut(id) {
            conn.peer = peer;
        }
    }

    /// A connection asks for what it cannot have: it is told so, in these words, and ends.
    pub fn turn_away(&mut self, now: Nanos, id: ConnId, words: &[u8]) {
        self.now = now;
        let Some(conn) = self.conns.get_mut(id.slot()).filter(|conn| conn.core.id == id) else { return };
        conn.out.extend(&mut self.pool, words);
        self.close(id, CloseReason::WrongPort);
        self.settle();
    }

    /// The TLS handshake is done.
    pub fn secured(&mut self, now: Nanos, id: ConnId, tls: TlsFacts) {
        self.now = now;
        let Some(conn) = self.find_mut(id) else { return };
        conn.tls = Some(Box::new(tls));
        if conn.core.dialled {
            if let Some(mode) = self.with_peer(id.slot, |peer, cx| peer.secured(cx)) {
                self.start_compression(id.slot, mode);
            }
        } else {
            self.check_pinned(id);
            self.settle();
        }
    }

    /// The socket is gone, or the shell gives the connection up.
    pub fn closed(&mut self, now: Nanos, id: ConnId, reason: CloseReason) {
        self.now = now;
        self.close(id, reason);
        self.settle();
    }

    /// Ends a connection; it is gone after the next [`Self::settle`].
    pub(super) fn close(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.find_mut(id) else { return };
        if conn.closing.is_none() {
            conn.closing = Some(reason);
            self.closing.push(id);
        }
    }

    /// Lets go of what ended during the last call.
    pub(super) fn settle(&mut self) {
        self.mqtt_queued(None);
        self.wake_system();
        self.follow_links();
        self.drive_forwards();
        self.drive_downlinks();
        while let Some(id) = self.closing.pop() {
            self.bury(id);
        }
        self.mqtt_queued(None);
        self.mqtt_write();
    }

    fn bury(&mut self, id: ConnId) {
        if self.find(id).is_none() {
            return;
        }
        self.link_down(id);
        let reason = self.conns[id.slot()].closing.unwrap_or(CloseReason::ClientClosed);
        let count = self.conns[id.slot()].subs.len();
        self.mqtt_detach(id, reason);
        let subs: Vec<SubId> = self.conns[id.slot()].subs.iter().copied().collect();
        let leaving = if planted(Bug::LeftSubscription) { subs.len().saturating_sub(1) } else { subs.len() };
        for sub in subs.into_iter().take(leaving) {
            self.remove_sub(sub);
        }
        if let Some(asked) = self.conns[id.slot()].asked.take() {
            self.forget_question(&asked);
        }
        let mut conn = self.conns.remove(id.slot());
        let words = conn.peer.farewell(reason);
        self.log_end(&conn, reason, words.as_deref());
        self.count_end(&conn, reason);
        if reason.drops_output() {
            conn.out.clear(&mut self.pool);
        }
        if let Some(pacer) = &mut conn.pacer {
            pacer.clear(&mut self.pool);
        }
        if let Some(words) = words {
            match &mut conn.pacer {
                Some(pacer) => pacer.say(&words, &mut conn.out, &mut self.pool),
                None => conn.out.extend(&mut self.pool, &words),
            }
        }
        if let Some(account) = conn.core.account {
            self.accounts.get_mut(account).lose(conn.peer.kind());
        }
        self.remote_lost(&conn, reason);
        self.tell_end(&conn, reason);
        self.remember(&conn, reason, count);
        if conn.holding {
            self.let_go();
        }
        self.commands.push_back(Command::Close { conn: id, farewell: std::mem::take(&mut conn.out), reason });
        if self.thrift.is_due(self.conns.len(), self.conns.capacity(), 1024) {
            self.conns.shrink_to_fit();
        }
    }

    fn log_end(&self, conn: &Conn, reason: CloseReason, words: Option<&[u8]>) {
        let who = conn.who(&self.accounts);
        if let Some(words) = words.filter(|_| self.facts.trace) {
            trace!("{who} - ->> [{}]", String::from_utf8_lossy(words).trim_end().replace('\'', ""));
        }
        let limits = &self.facts.limits;
        match reason {
            CloseReason::SlowConsumerPending => {
                info!("{who} - Slow Consumer Detected: MaxPending of {} Exceeded", limits.max_pending);
            }
            CloseReason::SlowConsumerDeadline => {
                let (within, waiting) = (limits.write_deadline, conn.out.pending());
                info!(
                    "{who} - Slow Consumer Detected: WriteDeadline of {within:?} exceeded with {waiting} total bytes."
                );
            }
            CloseReason::StaleConnection => debug!("{who} - Stale Client Connection - Closing"),
            CloseReason::MaxConnections => error!("{who} - maximum connections exceeded"),
            CloseReason::MaxAccountConnections => error!("{who} - maximum account active connections exceeded"),
            CloseReason::AuthenticationTimeout => error!("{who} - Authentication Timeout"),
            CloseReason::MaxPayload => error!("{who} - maximum payload exceeded"),
            CloseReason::MaxControlLine => error!("{who} - maximum control line exceeded"),
            CloseReason::MalformedOperation => error!("{who} - malformed operation"),
            _ => {}
        }
        debug!("{who} - Client connection closed: {}", reason.text());
    }

    fn count_end(&mut self, conn: &Conn, reason: CloseReason) {
        match reason {
            CloseReason::SlowConsumerPending | CloseReason::SlowConsumerDeadline => {
                self.tally.slow_consumers += 1;
                if let Some(account) = conn.core.account {
                    self.accounts.get_mut(account).slow_consumers += 1;
                }
            }
            CloseReason::StaleConnection => self.tally.stale_connections += 1,
            CloseReason::AuthenticationViolation => self.tally.refused_logins += 1,
            _ => {}
        }
    }

    fn remember(&mut self, conn: &Conn, reason: CloseReason, subs: usize) {
        let max = self.facts.limits.max_closed_clients;
        while self.closed.len() >= max.max(1) {
            self.closed.pop_front();
        }
        if max == 0 {
            return;
        }
        let about = conn.peer.about();
        self.closed.push_back(ClosedConn {
            id: conn.core.id,
            kind: conn.peer.kind(),
            remote: conn.core.remote,
            start: conn.core.start,
            stop: self.now,
            last_activity: conn.last_activity,
            reason,
            rtt: conn.core.pulse.rtt,
            stats: conn.core.stats,
            account: conn.core.account,
            subs,
            name: about.name.into(),
            lang: about.lang.into(),
            version: about.version.into(),
            user: about.user.into(),
            mqtt_client: about.mqtt_client.map(Into::into),
            websocket: about.websocket,
            // Of those who have gone the certificates are not kept: they may be large, and there may be many.
            tls: conn.tls.as_deref().map(|tls| Box::new(TlsFacts { certificates: Vec::new(), ..tls.clone() })),
        });
    }

    pub(super) fn subscribe(&mut self, slot: u32, subject: &[u8], queue: Option<&[u8]>, sid: &[u8], filtered: bool) {
        // A name in use keeps its first subscription, as in nats-server.
        if self.sub_of(slot, sid).is_none() {
            self.add_sub(slot, subject, queue, sid, filtered, 0);
        }
    }

    /// Adds a subscription for those behind a link.
    pub(super) fn subscribe_for(&mut self, slot: u32, subject: &[u8], queue: Option<&[u8]>, sid: &[u8], weight: u32) {
        self.add_sub(slot, subject, queue, sid, false, weight);
    }

    fn add_sub(&mut self, slot: u32, subject: &[u8], queue: Option<&[u8]>, sid: &[u8], filtered: bool, weight: u32) {
        let Some(account) = self.conns[slot as usize].core.account else { return };
        let id = self.subs.next_id();
        let place = self.accounts.get_mut(account).interest.insert(subject, queue, id);
        self.subs.insert(Sub {
            conn: slot,
            account,
            place,
            subject: subject.into(),
            queue: queue.map(Into::into),
            sid: Sid::new(sid),
            delivered: 0,
            max: 0,
            filtered,
            link: None,
            weight,
        });
        let (subs, hasher) = (&self.subs, &self.hasher);
        let conn = &mut self.conns[slot as usize];
        let hash = |id: &SubId| subs.get(*id).map_or(0, |sub| hasher.hash_one(sub.sid.as_bytes()));
        conn.subs.insert_unique(hash(&id), id, hash);
        conn.core.subs = conn.subs.len();
        conn.core.subs_bytes += subscription_bytes(subject, queue, sid);
        self.cast_shadows(id);
        self.interest_came(account, subject, queue, id);
    }

    /// Adds a subscription that no connection has: its session's client is away.
    pub(super) fn add_sub_of(
        &mut self,
        conn: u32,
        account: AccountId,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> SubId {
        let id = self.subs.next_id();
        let place = self.accounts.get_mut(account).interest.insert(subject, queue, id);
        self.subs.insert(Sub {
            conn,
            account,
            place,
            subject: subject.into(),
            queue: queue.map(Into::into),
            sid: Sid::new(sid),
            delivered: 0,
            max: 0,
            filtered: false,
            link: None,
            weight: 0,
        });
        self.cast_shadows(id);
        self.interest_came(account, subject, queue, id);
        id
    }

    /// The subscription a connection calls `sid`.
    pub(super) fn sub_of(&self, slot: u32, sid: &[u8]) -> Option<SubId> {
        let hash = self.hasher.hash_one(sid);
        let named = |id: &SubId| self.subs.get(*id).is_some_and(|sub| sub.sid.as_bytes() == sid);
        self.conns[slot as usize].subs.find(hash, named).copied()
    }

    pub(super) fn unsubscribe(&mut self, slot: u32, sid: &[u8], max: u64) {
        let Some(id) = self.sub_of(slot, sid) else { return };
        let Some(sub) = self.subs.get_mut(id) else { return };
        sub.max = max;
        if max == 0 || sub.delivered >= max {
            self.remove_sub(id);
        }
    }

    pub(super) fn remove_sub(&mut self, id: SubId) {
        let Some(mut sub) = self.subs.remove(id) else { return };
        if self.facts.trace
            && let Some(conn) = self.conns.get(sub.conn as usize)
        {
            trace!("{} - <-> [DELSUB {}]", conn.who(&self.accounts), sub.sid.as_bytes().escape_ascii());
        }
        self.forget_interest(&sub);
        self.lift_shadows(sub.link.take());
        let hash = self.hasher.hash_one(sub.sid.as_bytes());
        let Some(conn) = self.conns.get_mut(sub.conn as usize) else { return };
        if let Ok(entry) = conn.subs.find_entry(hash, |have| *have == id) {
            entry.remove();
            let bytes = subscription_bytes(&sub.subject, sub.queue.as_deref(), sub.sid.as_bytes());
            conn.core.subs_bytes = conn.core.subs_bytes.saturating_sub(bytes);
        }
        conn.core.subs = conn.subs.len();
    }

    /// A subscription is gone: its account need not know of it any longer.
    pub(super) fn forget_interest(&mut self, sub: &Sub) {
        let interest = &mut self.accounts.get_mut(sub.account).interest;
        if let Some(moved) = interest.remove(&sub.subject, sub.queue.as_deref(), sub.place)
            && let Some(moved) = self.subs.get_mut(moved)
        {
            moved.place = sub.place;
        }
        self.interest_went(sub);
    }

    /// Drops all subscriptions of a connection and forgets who it is.
    fn log_out(&mut self, slot: u32) {
        let subs: Vec<SubId> = self.conns[slot as usize].subs.iter().copied().collect();
        for sub in subs {
            self.remove_sub(sub);
        }
        self.conns[slot as usize].timers.stop(Timer::Expiry);
        let kind = self.conns[slot as usize].peer.kind();
        if let Some(account) = self.conns[slot as usize].core.account.take() {
            self.accounts.get_mut(account).lose(kind);
        }
    }

    pub(super) fn login(&mut self, slot: u32, mut connect: Box<Connect>) {
        self.log_out(slot);
        self.conns[slot as usize].offered = connect.shown_name().into();
        if self.is_in_operator_mode() {
            return self.login_by_token(slot, connect);
        }
        if self.is_mapped(slot, &connect) {
            let id = self.conns[slot as usize].core.id;
            match self.user_of_certificate(slot) {
                Some(name) => connect.user = Some(name),
                None => return self.refuse(id, "the certificate is no user's"),
            }
            self.conns[slot as usize].offered = connect.shown_name().into();
        }
        let asks = self.config.auth.callout.is_some() && {
            self.complete(&mut connect);
            self.asks_about(&connect)
        };
        if asks && self.config.auth.callout.as_ref().is_some_and(|callout| callout.allowed_accounts.is_empty()) {
            return self.ask_configured(slot, &connect);
        }
        let id = self.conns[slot as usize].core.id;
        let nonce = crate::auth::nkey::nonce_text(self.conns[slot as usize].core.nonce);
        let connection = self.conns[slot as usize].peer.connection();
        let offered = Offered {
            user: connect.user.as_deref().unwrap_or_default(),
            pass: connect.pass.as_deref().unwrap_or_default(),
            token: connect.auth_token.as_deref().unwrap_or_default(),
            nkey: connect.nkey.as_deref().unwrap_or_default(),
            sig: connect.sig.as_deref().unwrap_or_default(),
            names_account: connect.account.is_some() || connect.new_account,
        };
        match self.directory_for(connection).decide(&offered, connection, &nonce) {
            Decision::Granted(identity) if asks && self.is_delegated(&identity) => self.ask_configured(slot, &connect),
            Decision::Denied(_) if asks => self.ask_configured(slot, &connect),
            Decision::Granted(identity) => self.admit(slot, identity),
            Decision::Denied(why) => self.refuse_login(id, &named(&connect), why),
            Decision::CheckPassword { hash, password, identity } => {
                let conn = &mut self.conns[slot as usize];
                conn.deciding = true;
                conn.paused = true;
                conn.pending_login = identity;
                conn.ahead = asks.then_some(connect);
                self.commands.push_back(Command::Pause(id));
                self.commands.push_back(Command::CheckPassword { conn: id, hash, password });
            }
        }
    }

    /// Nobody is let in; the reason is for the log.
    pub(super) fn refuse(&mut self, id: ConnId, why: impl std::fmt::Display) {
        self.refuse_login(id, "", why);
    }

    /// The same of somebody who has said who he is. The line starts as nats-server's does, which tools look for.
    fn refuse_login(&mut self, id: ConnId, named: &str, why: impl std::fmt::Display) {
        self.log_refusal(id, named, why);
        self.tell_refusal(id, AccountId::GLOBAL, CloseReason::AuthenticationViolation.text());
        self.close(id, CloseReason::AuthenticationViolation);
    }

    /// The same on the word of a service in the account `service`, which hears why.
    pub(super) fn refuse_for(&mut self, id: ConnId, service: AccountId, why: impl std::fmt::Display) {
        let why = why.to_string();
        self.log_refusal(id, "", &why);
        self.tell_refusal(id, service, &capitalized(&why));
        self.close(id, CloseReason::AuthenticationViolation);
    }

    fn log_refusal(&self, id: ConnId, named: &str, why: impl std::fmt::Display) {
        if let Some(conn) = self.find(id) {
            error!("{} - authentication error{named}: {why}", conn.who(&self.accounts));
        }
    }

    /// Ends a connection after this time, if there is one.
    pub(super) fn expire_after(&mut self, id: ConnId, stay: Option<Nanos>) {
        let until = stay.map(|stay| self.now.saturating_add(stay));
        if let (Some(until), Some(conn)) = (until, self.find_mut(id)) {
            conn.timers.set(Timer::Expiry, until);
            self.arm(id.slot);
        }
    }

    pub(super) fn admit(&mut self, slot: u32, identity: Rc<Identity>) {
        let account = match &identity.credential {
            Some(credential) => credential.account,
            None => self.accounts.configured(identity.account),
        };
        let by_token = identity.credential.is_some();
        let id = self.conns[slot as usize].core.id;
        let kind = self.conns[slot as usize].peer.kind();
        if !self.accounts.get(account).has_room(kind) {
            return self.close(id, CloseReason::MaxAccountConnections);
        }
        self.accounts.get_mut(account).gain(kind);
        self.raise_services(account);
        let conn = &mut self.conns[slot as usize];
        conn.core.account = Some(account);
        conn.timers.stop(Timer::Login);
        self.with_peer(slot, |peer, cx| peer.logged_in(cx, identity));
        if self.conns[slot as usize].peer.speaks_mqtt() {
            self.mqtt_attach(slot);
        }
        self.conns[slot as usize].offered = Box::default();
        self.tell_login(slot);
        if self.conns[slot as usize].core.link.is_some() {
            self.link_up(slot);
        }
        if by_token && self.is_over_subscribed(id) {
            self.close(id, CloseReason::MaxSubscriptions);
        }
    }

    /// The answer to [`Command::CheckPassword`].
    pub fn password_checked(&mut self, now: Nanos, id: ConnId, right: bool) {
        self.now = now;
        let Some(conn) = self.find_mut(id) else { return };
        if !std::mem::take(&mut conn.deciding) {
            return;
        }
        let ahead = conn.ahead.take();
        match (conn.pending_login.take(), ahead) {
            (Some(identity), Some(connect)) if !right || self.is_delegated(&identity) => {
                self.ask_configured(id.slot, &connect);
            }
            (None, Some(connect)) => self.ask_configured(id.slot, &connect),
            (Some(identity), _) if right => self.admit(id.slot, identity),
            (Some(identity), None) => {
                self.refuse_login(id, &format!(" - User {}", quoted(identity.name.as_bytes())), "wrong password");
            }
            _ => self.refuse(id, "wrong password"),
        }
        if self.find(id).is_none_or(|conn| conn.deciding) {
            return self.settle();
        }
        self.resume(id);
        self.consume(id, &[]);
        self.hold_back(id);
        self.settle();
    }
}

/// Who somebody says to be.
fn named(connect: &Connect) -> String {
    match connect {
        Connect { nkey: Some(key), .. } => format!(" - Nkey {}", quoted(key.as_bytes())),
        Connect { user: Some(user), .. } => format!(" - User {}", quoted(user.as_bytes())),
        Connect { auth_token: Some(_), .. } => " - Token \"[REDACTED]\"".to_owned(),
        _ => String::new(),
    }
}

/// With a capital letter, as nats-server tells reasons.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;
