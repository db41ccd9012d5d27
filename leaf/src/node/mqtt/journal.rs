//! What MQTT keeps on disk: when it is written, when it is read, and who waits for it.

use mqtt_bridge::{Received, Restored, Session};
use std::collections::{BTreeMap, VecDeque};
use tracing::{error, info, warn};

use super::super::{CloseReason, Command, Node};
use super::reopen::Reopen;
use super::subscribe::Pattern;
use crate::mqtt::journal::{self, About, Clock, Found, Journal, SessionRecord};
use crate::mqtt::{ABSENT, Absent, Holder, Kept, Place, Shared, sid};
use crate::store::{Answer, LogId, Next, Order, Reader};

/// The log's name among those of the node; those of store-and-forward count from 0.
pub(crate) const LOG: LogId = LogId(u32::MAX);

/// What an acknowledgement rests on: nothing is acknowledged before all of it is on disk.
#[derive(Debug)]
struct Promise {
    id: u64,
    /// A commit of MQTT's own log; 0 for none.
    journal: u64,
    /// A log of store-and-forward, and its commit.
    outbox: Option<(usize, u64)>,
}

/// The promises that were made, in order. They are kept in that order too, so that one number says how far.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    made: VecDeque<Promise>,
    last: u64,
    journal_synced: u64,
    /// Connections that wait, each with the last promise it waits for.
    waiters: BTreeMap<u32, u64>,
}

impl Promises {
    /// The number of a promise; 0 for one that rests on nothing.
    pub(super) fn make(&mut self, journal: u64, outbox: Option<(usize, u64)>) -> u64 {
        if journal <= self.journal_synced && outbox.is_none() {
            return 0;
        }
        if let Some(last) = self.made.back()
            && (last.journal, last.outbox) == (journal, outbox)
        {
            return last.id;
        }
        self.last += 1;
        self.made.push_back(Promise { id: self.last, journal, outbox });
        self.last
    }

    /// There is another log, which counts anew.
    pub(super) fn begin_again(&mut self) {
        self.journal_synced = 0;
    }

    fn wait(&mut self, slot: u32, promise: u64) {
        if promise > 0 {
            self.waiters.insert(slot, promise);
        }
    }
}

/// The log is being read.
#[derive(Debug)]
pub(crate) struct Loading {
    reader: Reader,
    sessions: BTreeMap<u64, Box<SessionRecord>>,
    queued: BTreeMap<u64, Vec<(Restored, u64)>>,
    taken: Vec<(u64, u16)>,
}

impl Node {
    pub(super) fn mqtt_clock(&self) -> Clock {
        Clock { now: self.now, wall: self.wall_time() }
    }

    /// The log is to be opened, if there is to be one.
    pub(in super::super) fn open_mqtt_log(&mut self) {
        let Some(mqtt) = &self.config.mqtt else { return };
        if mqtt.memory_only {
            return;
        }
        let directory = self.config.store_dir.join("mqtt");
        let (now, seed) = (self.wall_time(), self.draw.next());
        self.shared().opening = true;
        self.commands.push_back(Command::Disk(Order::Open {
            log: LOG,
            directory,
            settings: self.forwards.sealed(journal::settings()),
            now,
            seed,
            trusted: None,
        }));
    }

    /// Whether what was kept is there.
    pub(in super::super) fn mqtt_ready(&self) -> bool {
        self.pool.mqtt.as_ref().is_none_or(|shared| !shared.opening)
    }

    /// The disk threads have done something with the log.
    pub(in super::super) fn mqtt_disk_answered(&mut self, answer: Answer) {
        let clock = self.mqtt_clock();
        match answer {
            Answer::Opened { result, .. } if self.shared().reopen.is_some() => {
                self.mqtt_reopened(result.map(|opened| *opened));
            }
            Answer::Opened { result: Ok(opened), .. } => {
                let (log, report) = *opened;
                if !report.is_clean() {
                    warn!("The log of MQTT sessions was damaged: {report}");
                }
                self.shared().journal = Some(Box::new(Journal::new(log)));
                self.shared().loading = Some(Box::new(Loading {
                    reader: Reader::new(1),
                    sessions: BTreeMap::new(),
                    queued: BTreeMap::new(),
                    taken: Vec::new(),
                }));
                self.mqtt_load();
            }
            Answer::Opened { result: Err(why), .. } => error!("The log of MQTT sessions cannot be opened: {why}"),
            Answer::Read { want, result, .. } => {
                let shared = self.shared();
                let reader = match (&mut shared.reopen, &mut shared.loading) {
                    (Some(Reopen::Reading(_, reader)), _) => &mut **reader,
                    (_, Some(loading)) => &mut loading.reader,
                    _ => return,
                };
                match &result {
                    Ok(bytes) => reader.filled(want, Ok(bytes)),
                    Err(why) => reader.filled(want, Err(why.clone())),
                }
                match shared.reopen {
                    Some(_) => self.mqtt_read_again(),
                    None => self.mqtt_load(),
                }
            }
            Answer::Batch { result, .. } => {
                let Shared { journal, promises, .. } = self.shared();
                let Some(journal) = journal else { return };
                promises.journal_synced = journal.batch_done(clock, result);
                if journal.log().failed().is_some() {
                    if self.mqtt_notice_failure() {
                        self.mqtt_log_failed();
                    }
                    return;
                }
                self.mqtt_keep_promises();
                self.mqtt_write_again();
                self.mqtt_refresh();
            }
            Answer::Closed { .. } => {}
        }
    }

    /// Reads on, as far as there are bytes.
    fn mqtt_load(&mut self) {
        let clock = self.mqtt_clock();
        let Some(mut loading) = self.shared().loading.take() else { return };
        let Some(mut journal) = self.shared().journal.take() else { return };
        let mut done = false;
        loop {
            match loading.reader.poll(journal.log()) {
                Ok(Next::Message(record)) => match Found::read(clock, &record) {
                    Some(found) => {
                        journal.noted(&record);
                        self.mqtt_found(&mut loading, &mut journal, found);
                    }
                    None => warn!("A record of MQTT sessions cannot be read: {}", record.subject.escape_ascii()),
                },
                Ok(Next::Want(want)) => {
                    self.commands.push_back(Command::Disk(Order::Read { log: LOG, ticket: 0, want }));
                    break;
                }
                Ok(Next::Waiting) => break,
                Ok(Next::End) => {
                    done = true;
                    break;
                }
                Err(why) => {
                    // What cannot be read is lost; what can be read is served.
                    error!("The log of MQTT sessions cannot be read to its end: {why}");
                    done = true;
                    break;
                }
            }
        }
        self.shared().journal = Some(journal);
        match done {
            true => self.mqtt_loaded(*loading),
            false => self.shared().loading = Some(loading),
        }
    }

    fn mqtt_found(&mut self, loading: &mut Loading, journal: &mut Journal, found: Found) {
        match found {
            Found::Session(key, record) => {
                journal.used_key(key);
                loading.sessions.insert(key, record);
            }
            Found::Queued(key, restored, seq) => loading.queued.entry(key).or_default().push((restored, seq)),
            Found::Taken(key, id) => loading.taken.push((key, id)),
            Found::Retained(account, message, tag) => {
                if let Some(account) = self.accounts.adopt(&account) {
                    self.shared().retained.insert(account, Kept { message, tag });
                }
            }
        }
    }

    /// All is read: the sessions are there again, their clients away.
    fn mqtt_loaded(&mut self, loading: Loading) {
        let clock = self.mqtt_clock();
        let Loading { sessions, mut queued, taken, .. } = loading;
        let (count, mut messages) = (sessions.len(), 0);
        for (key, record) in sessions {
            let Some(account) = self.accounts.adopt(&record.account) else { continue };
            let mut session = Box::new(record.session());
            session.set_key(key);
            let mut waiting = queued.remove(&key).unwrap_or_default();
            messages += waiting.len();
            in_order(&mut waiting);
            waiting.into_iter().for_each(|(restored, seq)| session.restore(restored, seq));
            taken.iter().filter(|(of, _)| *of == key).for_each(|(_, id)| session.restore_received(*id));
            // Who was there when the server ended has left now.
            let left = record.left.unwrap_or(clock.wall);
            let will_at = session.will().map_or(u64::MAX, |will| clock.after(left, will.delay));
            let expires = clock.after(left, session.expiry());
            let filters: Vec<(u32, Box<str>)> =
                session.subscriptions().map(|(index, how)| (index, how.filter.clone())).collect();
            let absent = Absent { account, session, subs: Vec::new(), expires, will_at, identity: None };
            let at = self.shared().sessions.park(absent);
            let mut subs = Vec::new();
            for (index, filter) in filters {
                let Some(pattern) = Pattern::parse(&filter) else { continue };
                for (subject, is_parent) in pattern.subjects() {
                    let queue = pattern.queue.as_deref();
                    subs.push(self.add_sub_of(ABSENT | at, account, subject, queue, &sid(index, is_parent)));
                }
            }
            if let Some(absent) = self.shared().sessions.absent_mut(at) {
                absent.subs = subs;
            }
        }
        // What belongs to nobody: a session's end and its messages' are not one write.
        let orphans: Vec<u64> = queued.into_values().flatten().map(|(_, seq)| seq).collect();
        let shared = self.shared();
        shared.gone.extend(orphans);
        shared.opening = false;
        let retained = shared.retained.len();
        info!("MQTT: {count} sessions with {messages} messages, {retained} retained messages");
    }

    /// Keeps a session as it is now, if it outlives its connection; returns the promise.
    pub(super) fn mqtt_save_session(&mut self, holder: Holder) -> u64 {
        self.mqtt_try_save_session(holder).unwrap_or(0)
    }

    /// The same; `None` if the log does not take it.
    pub(super) fn mqtt_try_save_session(&mut self, holder: Holder) -> Option<u64> {
        let clock = self.mqtt_clock();
        let Self { pool, accounts, conns, .. } = self;
        let Some(Shared { journal: Some(journal), promises, sessions, .. }) = pool.mqtt.as_deref_mut() else {
            return Some(0);
        };
        let (session, account, left): (&mut Session, _, _) = match holder {
            Holder::Connection(slot) => {
                let Some(conn) = conns.get_mut(slot as usize) else { return Some(0) };
                let Some(account) = conn.core.account else { return Some(0) };
                let session = conn.peer.mqtt().and_then(|peer| peer.connection.session_mut());
                let Some(session) = session else { return Some(0) };
                (session, account, None)
            }
            Holder::Absent(at) => {
                let Some(absent) = sessions.absent_mut(at) else { return Some(0) };
                (&mut absent.session, absent.account, Some(clock.wall))
            }
        };
        if !session.outlives() && session.key() == 0 {
            return Some(0);
        }
        if session.key() == 0 {
            session.set_key(journal.new_key());
        }
        let record = SessionRecord::new(&accounts.get(account).name, session, left);
        journal.save_session(clock, session.key(), &record).ok().map(|commit| promises.make(commit, None))
    }

    /// Deals with what deliveries have queued: keeps it where the session outlives its connection, and sends what may go
    /// out. Returns what the publisher's acknowledgement rests on, or `None` if something could not be kept.
    pub(in super::super) fn mqtt_queued(&mut self, outbox: Option<(usize, u64)>) -> Option<u64> {
        let clock = self.mqtt_clock();
        let mut last = 0;
        let mut kept = true;
        let mut queued = match &mut self.pool.mqtt {
            Some(shared) if !shared.queued.is_empty() => std::mem::take(&mut shared.queued),
            _ => return Some(outbox.map_or(0, |outbox| self.shared().promises.make(0, Some(outbox)))),
        };
        for &(holder, id) in &queued {
            match self.mqtt_save_queued(clock, holder, id) {
                Some(commit) => last = last.max(commit),
                None => kept = false,
            }
        }
        let promise = self.shared().promises.make(last, outbox);
        let mut sent = None;
        for (holder, id) in queued.drain(..) {
            let shared = self.shared();
            match holder {
                Holder::Absent(at) => {
                    if let Some(absent) = shared.sessions.absent_mut(at) {
                        absent.session.promised(id, promise);
                    }
                }
                Holder::Connection(slot) => {
                    shared.promises.wait(slot, promise);
                    self.with_mqtt(slot, |peer, shared, out| {
                        if let Some(session) = peer.connection.session_mut() {
                            session.promised(id, promise);
                        }
                        if sent != Some(slot) {
                            peer.connection.synced(out.now, shared.synced, out);
                        }
                    });
                    sent = Some(slot);
                }
            }
        }
        self.shared().queued = queued;
        // A session that has no record yet could not have it back.
        (kept && self.shared().reopen.is_none()).then_some(promise)
    }

    /// Keeps one message; the commit, or `None` if that did not work.
    pub(super) fn mqtt_save_queued(&mut self, clock: Clock, holder: Holder, id: u16) -> Option<u64> {
        let Self { pool, conns, .. } = self;
        let Some(Shared { journal: Some(journal), sessions, .. }) = pool.mqtt.as_deref_mut() else { return Some(0) };
        let session: &mut Session = match holder {
            Holder::Connection(slot) => conns.get_mut(slot as usize)?.peer.mqtt()?.connection.session_mut()?,
            Holder::Absent(at) => &mut sessions.absent_mut(at)?.session,
        };
        if session.key() == 0 {
            return Some(0);
        }
        let queued = session.queued(id)?;
        let (seq, commit) = journal.save_queued(clock, session.key(), &queued).ok()?;
        session.saved(id, seq, 0);
        Some(commit)
    }

    /// A QoS 2 message was taken from a session: remembers its identifier; `None` if that did not work.
    pub(super) fn mqtt_save_taken(&mut self, slot: u32, id: u16) -> Option<u64> {
        let clock = self.mqtt_clock();
        let Some(key) = self.mqtt_session_key(slot) else { return Some(0) };
        let Shared { journal: Some(journal), promises, reopen, .. } = self.shared() else { return Some(0) };
        if reopen.is_some() {
            return None;
        }
        let commit = journal.save_taken(clock, key, id).ok()?;
        Some(promises.make(commit, None))
    }

    /// It was released: PUBCOMP rests on its being forgotten, or the client's next message of this identifier would be taken
    /// for a repetition after a crash.
    pub(super) fn mqtt_release(&mut self, slot: u32, id: u16) {
        let clock = self.mqtt_clock();
        let key = self.mqtt_session_key(slot);
        let Shared { journal, promises, .. } = self.shared();
        let promise = match (journal, key) {
            (Some(journal), Some(key)) => promises.make(journal.forget_taken(clock, key, id), None),
            _ => 0,
        };
        promises.wait(slot, promise);
        self.with_mqtt(slot, |peer, shared, out| peer.connection.released(id, promise, shared.synced, out));
    }

    fn mqtt_session_key(&mut self, slot: u32) -> Option<u64> {
        let session = self.mqtt_peer(slot)?.connection.session()?;
        Some(session.key()).filter(|key| *key > 0)
    }

    /// PUBREC came for a message that is kept: from now on only its identifier is.
    pub(super) fn mqtt_arrived(&mut self, slot: u32, received: Received) {
        let clock = self.mqtt_clock();
        let Some(key) = self.mqtt_session_key(slot) else { return };
        let restored = self.mqtt_peer(slot).and_then(|peer| peer.connection.session()?.queued(received.id));
        let Shared { journal: Some(journal), promises, .. } = self.shared() else { return };
        let Some(restored) = restored else { return };
        let (seq, promise) = match journal.save_queued(clock, key, &restored) {
            Ok((seq, commit)) => (seq, promises.make(commit, None)),
            // The message itself stays on disk: after a crash it would come again.
            Err(_) => (received.tag, 0),
        };
        promises.wait(slot, promise);
        self.with_mqtt(slot, |peer, shared, out| {
            if let Some(session) = peer.connection.session_mut() {
                session.saved(received.id, seq, promise);
            }
            peer.connection.synced(out.now, shared.synced, out);
        });
    }

    /// A connection waits for a promise.
    pub(super) fn mqtt_wait(&mut self, slot: u32, promise: u64) {
        self.shared().promises.wait(slot, promise);
    }

    /// A connection waits for whatever its session was promised while it was away.
    pub(super) fn mqtt_wait_for_all(&mut self, slot: u32) {
        let promises = &mut self.shared().promises;
        if !promises.made.is_empty() {
            promises.wait(slot, promises.last);
        }
    }

    /// At the end of a turn: forgets what need not be kept, and gives the disk its next batch.
    pub(in super::super) fn mqtt_write(&mut self) {
        let clock = self.mqtt_clock();
        if self.pool.mqtt.as_ref().is_some_and(|shared| !shared.promises.made.is_empty()) {
            // What an acknowledgement rests on may have been on disk when it was asked for.
            self.mqtt_keep_promises();
        }
        let Some(shared) = self.pool.mqtt.as_deref_mut() else { return };
        let Shared { journal: Some(journal), gone, .. } = shared else { return shared.gone.clear() };
        gone.drain(..).for_each(|seq| journal.forget(clock, seq));
        if let Some(batch) = journal.poll_batch(clock) {
            self.commands.push_back(Command::Disk(Order::Batch { log: LOG, batch }));
        }
    }

    /// Whatever promise is kept by now is told to those who wait for it.
    pub(in super::super) fn mqtt_keep_promises(&mut self) {
        let Self { pool, forwards, .. } = self;
        let Some(shared) = pool.mqtt.as_deref_mut() else { return };
        let synced = shared.promises.journal_synced;
        let mut now_synced = shared.synced;
        while let Some(first) = shared.promises.made.front() {
            if first.journal > synced || first.outbox.is_some_and(|(at, commit)| !forwards.is_committed(at, commit)) {
                break;
            }
            now_synced = first.id;
            shared.promises.made.pop_front();
        }
        if now_synced == shared.synced {
            return;
        }
        shared.synced = now_synced;
        let waiters: Vec<u32> = shared.promises.waiters.keys().copied().collect();
        shared.promises.waiters.retain(|_, promise| *promise > now_synced);
        for slot in waiters {
            self.with_mqtt(slot, |peer, shared, out| peer.connection.synced(out.now, shared.synced, out));
        }
    }

    /// A disk failed: whoever waits for it is let go without an acknowledgement, and sends again when it comes back.
    pub(in super::super) fn mqtt_log_failed(&mut self) {
        let promises = &mut self.shared().promises;
        let waiters = std::mem::take(&mut promises.waiters);
        promises.made.clear();
        let last = promises.last;
        for (slot, _) in waiters {
            let id = self.conns.get(slot as usize).filter(|conn| conn.peer.speaks_mqtt()).map(|conn| conn.core.id);
            if let Some(id) = id {
                self.close(id, CloseReason::WriteError);
            }
        }
        self.shared().synced = last;
    }

    /// Old records that pin many segments are written again.
    pub(super) fn mqtt_refresh(&mut self) {
        let clock = self.mqtt_clock();
        let Shared { journal: Some(journal), .. } = self.shared() else { return };
        for subject in journal.stale() {
            match About::parse(&subject) {
                Some(About::Session(key)) => {
                    if let Some(holder) = self.mqtt_holder(key) {
                        self.mqtt_save_session(holder);
                    }
                }
                Some(About::Queued(key, id)) => {
                    if let Some(holder) = self.mqtt_holder(key) {
                        self.mqtt_save_queued(clock, holder, id);
                    }
                }
                Some(About::Taken(key, id)) => {
                    if let Shared { journal: Some(journal), .. } = self.shared() {
                        let _ = journal.save_taken(clock, key, id);
                    }
                }
                Some(About::Retained(account, topic)) => self.mqtt_save_retained_again(clock, account, topic),
                None => {}
            }
        }
    }

    fn mqtt_save_retained_again(&mut self, clock: Clock, account: &str, topic: &str) {
        let Some(id) = self.accounts.find(account) else { return };
        let Shared { journal: Some(journal), retained, .. } = self.shared() else { return };
        let Some(kept) = retained.get_mut(id, topic) else { return };
        if let Ok((seq, _)) = journal.save_retained(clock, account, &kept.message) {
            kept.tag = seq;
        }
    }

    /// Who holds the session with this key.
    pub(super) fn mqtt_holder(&mut self, key: u64) -> Option<Holder> {
        let places: Vec<Place> = self.shared().sessions.places().collect();
        places.into_iter().find_map(|place| match place {
            Place::Absent(at) => {
                let absent = self.shared().sessions.absent(at)?;
                (absent.session.key() == key).then_some(Holder::Absent(at))
            }
            Place::Connected(id) => {
                (self.mqtt_session_key(id.slot) == Some(key)).then_some(Holder::Connection(id.slot))
            }
        })
    }
}

/// Puts messages in the order of their identifiers, which wrap: the widest gap is where they begin.
fn in_order(messages: &mut [(Restored, u64)]) {
    messages.sort_unstable_by_key(|(restored, _)| restored.id);
    let ids: Vec<u16> = messages.iter().map(|(restored, _)| restored.id).collect();
    let gap = |at: usize| ids[at].wrapping_sub(ids[at.checked_sub(1).unwrap_or(ids.len() - 1)]);
    let Some(first) = (0..ids.len()).max_by_key(|&at| gap(at)) else { return };
    messages.rotate_left(first);
}

#[cfg(test)]
mod tests {
    use mqtt_bridge::QoS;

    use super::*;

    #[test]
    fn messages_come_back_in_their_order() {
        let message =
            |id| (Restored { id, qos: QoS::AtLeastOnce, retain: false, subscription_ids: vec![], stored: None }, 0);
        for ids in [&[][..], &[7], &[1, 2, 9], &[65_000, 65_535, 1, 4], &[40_000, 50_000, 60_000]] {
            let mut messages: Vec<_> = ids.iter().rev().map(|id| message(*id)).collect();
            in_order(&mut messages);
            assert!(messages.iter().map(|(restored, _)| restored.id).eq(ids.iter().copied()), "{ids:?}");
        }
    }
}
