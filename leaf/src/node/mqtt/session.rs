//! Sessions come, go and come back.

use mqtt_bridge::{SECOND, Session};
use std::hash::BuildHasher;
use tracing::{debug, warn};

use super::super::{CloseReason, ConnId, Nanos, Node};
use crate::account::AccountId;
use crate::interest::SubId;
use crate::mqtt::{ABSENT, Absent, Holder, Place, Shared};

/// Seconds on the node's clock; what never comes is the end of time.
fn after(now: Nanos, seconds: u32) -> Nanos {
    if seconds == u32::MAX { Nanos::MAX } else { now + Nanos::from(seconds) * SECOND }
}

/// What a session brings along.
struct Found {
    session: Box<Session>,
    subs: Vec<SubId>,
}

impl Node {
    /// A client has logged in: it gets its old session or a new one.
    pub(in super::super) fn mqtt_attach(&mut self, slot: u32) {
        let id = self.conns[slot as usize].core.id;
        let Some(account) = self.conns[slot as usize].core.account else { return };
        let made_up = crate::auth::nkey::nonce_text(self.conns[slot as usize].core.nonce);
        let Some(peer) = self.mqtt_peer(slot) else { return };
        let Some(opening) = peer.connection.opening() else { return };
        let (clean, version) = (opening.clean, opening.version);
        if opening.client_id.is_empty() {
            peer.connection.assign(&format!("{made_up}-{}", id.cid()));
        }
        let Some(opening) = peer.connection.opening() else { return };
        let client_id = opening.client_id.clone();
        let outlives = opening.session_expiry > 0;
        peer.set_client_id(&client_id);
        let sessions_max = self.config.mqtt.as_ref().map_or(0, |mqtt| mqtt.max_sessions);
        let found = self.mqtt_find(account, &client_id, clean);
        if outlives && found.is_none() && self.shared().sessions.absent_count() >= sessions_max {
            warn!("MQTT session of {client_id:?} refused: there are {sessions_max} of absent clients");
            return self.close(id, CloseReason::MaxSubscriptions);
        }
        let (session, subs) = found.map_or((None, Vec::new()), |found| (Some(found.session), found.subs));
        self.with_mqtt(slot, |peer, shared, out| {
            peer.connection.accept(out.now, &shared.limits, shared.synced, session, out);
            shared.sessions.set(account, &client_id, Place::Connected(id));
            shared.tally.connected[version as usize - 3] += 1;
            shared.tally.connections[version as usize - 3] += 1;
        });
        self.mqtt_move_subs(subs, slot);
        self.check_subs(slot);
        self.mqtt_save_session(Holder::Connection(slot));
        self.mqtt_wait_for_all(slot);
        self.mqtt_keep_alive(id);
        self.arm(slot);
    }

    /// The session of this client, taken from whoever has it; with `clean` it ends here.
    fn mqtt_find(&mut self, account: AccountId, client_id: &str, clean: bool) -> Option<Found> {
        let found = match self.shared().sessions.find(account, client_id)? {
            Place::Connected(old) => self.mqtt_take_over(account, old, clean)?,
            Place::Absent(at) => {
                let absent = *self.shared().sessions.unpark(at)?;
                if clean && absent.will_at != Nanos::MAX {
                    self.mqtt_publish_will(account, &absent.session);
                }
                Found { session: absent.session, subs: absent.subs }
            }
        };
        if clean || !found.session.outlives() {
            self.mqtt_end(account, found);
            return None;
        }
        Some(found)
    }

    fn mqtt_publish_will(&mut self, account: AccountId, session: &Session) {
        if let Some(will) = session.will().cloned() {
            self.mqtt_will(account, None, &will);
        }
    }

    /// A new connection takes the place of an old one `[MQTT-3.1.4-2]`.
    fn mqtt_take_over(&mut self, account: AccountId, old: ConnId, clean: bool) -> Option<Found> {
        self.find(old)?;
        // What it has to say comes before its session is gone; the rest is written already.
        let words = self.conns[old.slot()].peer.farewell(CloseReason::DuplicateClientId);
        let mut session = self.mqtt_peer(old.slot)?.take_session()?;
        self.mqtt_left(old.slot);
        if let Some(words) = words {
            let conn = &mut *self.conns[old.slot()];
            conn.out.extend(&mut self.pool, &words);
            self.touch(old.slot);
        }
        let ends = clean || !session.outlives();
        // A session that goes on before the delay is over keeps its will to itself `[MQTT-3.1.3-9]` of 5.0.
        if let Some(will) = session.take_will().filter(|will| ends || will.delay == 0) {
            self.mqtt_will(account, Some(old.slot), &will);
        }
        let subs = self.mqtt_lose_subs(old.slot);
        debug!("mid:{} - taken over by a new connection of the same client id", old.cid());
        self.close(old, CloseReason::DuplicateClientId);
        Some(Found { session, subs })
    }

    /// Counts a client that was in.
    fn mqtt_left(&mut self, slot: u32) {
        let version = self.mqtt_peer(slot).and_then(|peer| peer.spoken);
        if let Some(version) = version {
            let connected = &mut self.shared().tally.connected[version as usize - 3];
            *connected = connected.saturating_sub(1);
        }
    }

    /// The subscriptions of a connection, which has none any more.
    fn mqtt_lose_subs(&mut self, slot: u32) -> Vec<SubId> {
        let conn = &mut *self.conns[slot as usize];
        let subs = std::mem::take(&mut conn.subs).into_iter().collect();
        (conn.core.subs, conn.core.subs_bytes) = (0, 0);
        subs
    }

    /// Gives subscriptions to a connection.
    fn mqtt_move_subs(&mut self, subs: Vec<SubId>, slot: u32) {
        for id in subs {
            let Some(sub) = self.subs.get_mut(id) else { continue };
            sub.conn = slot;
            let bytes = super::super::subscription_bytes(&sub.subject, sub.queue.as_deref(), sub.sid.as_bytes());
            let (subs, hasher) = (&self.subs, &self.hasher);
            let hash = |id: &SubId| subs.get(*id).map_or(0, |sub| hasher.hash_one(sub.sid.as_bytes()));
            let conn = &mut self.conns[slot as usize];
            conn.subs.insert_unique(hash(&id), id, hash);
            conn.core.subs = conn.subs.len();
            conn.core.subs_bytes += bytes;
        }
    }

    /// A connection ends: its session stays, or ends with it.
    pub(in super::super) fn mqtt_detach(&mut self, id: ConnId, reason: CloseReason) {
        if !self.find(id).is_some_and(|conn| conn.peer.speaks_mqtt()) {
            return;
        }
        let Some(account) = self.conns[id.slot()].core.account else { return };
        let identity = self.conns[id.slot()].peer.identity();
        let server = self.config.mqtt.as_ref().and_then(|mqtt| mqtt.server_reference.clone());
        let server = server.filter(|_| self.is_lame_duck());
        let Some(peer) = self.mqtt_peer(id.slot) else { return };
        // Its last words depend on it being in.
        let farewell = peer.sent_elsewhere(reason, server.as_deref());
        let Some(mut session) = peer.take_session() else { return };
        if let Some(words) = farewell {
            let conn = &mut *self.conns[id.slot()];
            if reason.drops_output() {
                conn.out.clear(&mut self.pool);
            }
            conn.out.extend(&mut self.pool, &words);
        }
        self.mqtt_left(id.slot);
        let outlives = session.outlives();
        let delay = session.will().map_or(0, |will| will.delay);
        if delay == 0 || !outlives {
            // A server that shuts down does not say that its clients have died.
            if let Some(will) = session.take_will().filter(|_| reason != CloseReason::ServerShutdown) {
                self.mqtt_will(account, Some(id.slot), &will);
            }
        }
        let subs = self.mqtt_lose_subs(id.slot);
        if !outlives {
            return self.mqtt_end(account, Found { session, subs });
        }
        let now = self.now;
        let will_at = if session.will().is_some() { after(now, delay) } else { Nanos::MAX };
        let expires = after(now, session.expiry());
        let absent = Absent { account, session, subs, expires, will_at, identity };
        let at = self.shared().sessions.park(absent);
        let Self { pool, subs, .. } = self;
        let Some(absent) = pool.mqtt.as_ref().and_then(|shared| shared.sessions.absent(at)) else { return };
        for id in &absent.subs {
            if let Some(sub) = subs.get_mut(*id) {
                sub.conn = ABSENT | at;
            }
        }
        self.mqtt_save_session(Holder::Absent(at));
    }

    /// A session is over.
    fn mqtt_end(&mut self, account: AccountId, found: Found) {
        for id in found.subs {
            self.remove_sub(id);
        }
        let clock = self.mqtt_clock();
        let Shared { sessions, gone, journal, .. } = self.shared();
        sessions.forget(account, found.session.client_id());
        gone.extend(found.session.tags());
        if let Some(journal) = journal.as_mut().filter(|_| found.session.key() > 0) {
            journal.forget_session(clock, found.session.key(), found.session.received_ids());
        }
    }

    /// Wills and ends of absent sessions that are due.
    pub(in super::super) fn mqtt_tick(&mut self) {
        let (now, clock) = (self.now, self.mqtt_clock());
        if let Shared { journal: Some(journal), .. } = self.shared() {
            journal.tick(clock);
        }
        self.mqtt_reopen_tick();
        self.publish_broker_topics();
        while let Some(at) = self.shared().sessions.due(now) {
            let Some(absent) = self.shared().sessions.absent_mut(at) else { return };
            let account = absent.account;
            let is_over = absent.expires <= now;
            // The end of the session brings the will if that is still to come `[MQTT-3.1.2-8]`.
            let will = absent.session.take_will();
            if is_over {
                let Some(absent) = self.shared().sessions.unpark(at) else { return };
                let Absent { session, subs, .. } = *absent;
                debug!("MQTT session of {:?} has expired", session.client_id());
                self.mqtt_end(account, Found { session, subs });
            } else {
                self.shared().sessions.will_done(at);
                self.mqtt_save_session(Holder::Absent(at));
            }
            if let Some(will) = will {
                self.mqtt_will(account, None, &will);
            }
        }
    }
}
