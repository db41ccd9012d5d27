//! The log of MQTT failed: it is opened again, and what it lost is written once more.
//!
//! What is in memory counts. Records that survived and belong to it stay, others go; what has no record gets one. Until
//! all of that is on its way to the disk nothing new is taken for keeping, so nothing new is acknowledged: whoever waits
//! is let go and sends again.

use mqtt_bridge::Session;
use std::collections::BTreeMap;
use tracing::{error, info, warn};

use super::super::{Command, Nanos, Node, SECOND};
use super::journal::LOG;
use crate::account::AccountId;
use crate::mqtt::journal::{self, Journal};
use crate::mqtt::{Holder, Place, Shared};
use crate::store::{Log, Next, OpenError, Order, Reader, Report, Seq};

/// A log that failed or could not be opened is tried again after this.
const REOPEN_AFTER: Nanos = SECOND;

/// How far a log is that failed.
#[derive(Debug)]
pub(crate) enum Reopen {
    /// It is opened at this moment.
    At(Nanos),
    /// The disk is at it.
    Opening,
    /// It is open; what survived is being read.
    Reading(Box<Journal>, Box<Reader>),
    /// It is in use, and this has no record yet.
    Writing(Vec<Missing>),
}

/// Something without a record.
#[derive(Debug)]
pub(crate) enum Missing {
    Session(Holder),
    Queued(Holder, u16),
    Taken(u64, u16),
    Retained(AccountId, Box<str>),
}

impl Node {
    /// When the log is to be opened again.
    pub(super) fn mqtt_reopen_due(&self) -> Option<Nanos> {
        match self.pool.mqtt.as_ref()?.reopen {
            Some(Reopen::At(at)) => Some(at),
            // A disk that is full says nothing when it has room again.
            Some(Reopen::Writing(_)) => Some(self.now + REOPEN_AFTER),
            Some(Reopen::Opening | Reopen::Reading(..)) | None => None,
        }
    }

    /// The log has failed; `true` if nobody has noticed before.
    pub(super) fn mqtt_notice_failure(&mut self) -> bool {
        let at = self.now + REOPEN_AFTER;
        let shared = self.shared();
        let failed = shared.journal.as_ref().is_some_and(|journal| journal.log().failed().is_some());
        if !failed || matches!(shared.reopen, Some(Reopen::At(_) | Reopen::Opening | Reopen::Reading(..))) {
            return false;
        }
        shared.reopen = Some(Reopen::At(at));
        true
    }

    /// Opens it if it is time.
    pub(super) fn mqtt_reopen_tick(&mut self) {
        let now = self.now;
        match self.shared().reopen {
            Some(Reopen::At(at)) if at <= now => {}
            Some(Reopen::Writing(_)) => return self.mqtt_write_again(),
            _ => return,
        }
        let directory = self.config.store_dir.join("mqtt");
        let (now, seed) = (self.wall_time(), self.draw.next());
        let shared = self.shared();
        let trusted = shared.journal.as_ref().and_then(|journal| journal.log().trusted());
        shared.reopen = Some(Reopen::Opening);
        let settings = self.forwards.sealed(journal::settings());
        self.commands.push_back(Command::Disk(Order::Open { log: LOG, directory, settings, now, seed, trusted }));
    }

    /// The disk has opened it, or could not.
    pub(super) fn mqtt_reopened(&mut self, result: Result<(Log, Report), OpenError>) {
        let again = self.now + REOPEN_AFTER;
        match result {
            Ok((log, report)) => {
                if !report.is_clean() {
                    warn!("The log of MQTT sessions was damaged: {report}");
                }
                self.shared().reopen = Some(Reopen::Reading(Box::new(Journal::new(log)), Box::new(Reader::new(1))));
                self.mqtt_read_again();
            }
            Err(why) => {
                error!("The log of MQTT sessions cannot be opened again: {why}");
                self.shared().reopen = Some(Reopen::At(again));
            }
        }
    }

    /// Reads on which records there are.
    pub(super) fn mqtt_read_again(&mut self) {
        let again = self.now + REOPEN_AFTER;
        let Some(Reopen::Reading(mut journal, mut reader)) = self.shared().reopen.take() else { return };
        loop {
            match reader.poll(journal.log()) {
                Ok(Next::Message(record)) => journal.noted(&record),
                Ok(Next::Want(want)) => {
                    self.commands.push_back(Command::Disk(Order::Read { log: LOG, ticket: 0, want }));
                    break self.shared().reopen = Some(Reopen::Reading(journal, reader));
                }
                Ok(Next::Waiting) => break self.shared().reopen = Some(Reopen::Reading(journal, reader)),
                Ok(Next::End) => break self.mqtt_use_again(journal),
                Err(why) => {
                    error!("The log of MQTT sessions cannot be read again: {why}");
                    break self.shared().reopen = Some(Reopen::At(again));
                }
            }
        }
    }

    /// The log is there again: compares it with what is in memory.
    fn mqtt_use_again(&mut self, mut journal: Box<Journal>) {
        let clock = self.mqtt_clock();
        // Whoever still waits does so for the old one.
        self.mqtt_log_failed();
        let mut records: BTreeMap<Box<[u8]>, Seq> = journal.records().collect();
        let mut missing = Vec::new();
        let places: Vec<Place> = self.shared().sessions.places().collect();
        for place in places {
            let holder = match place {
                Place::Absent(at) => Holder::Absent(at),
                Place::Connected(id) => Holder::Connection(id.slot),
            };
            let Some(session) = self.mqtt_session_mut(holder).filter(|session| session.key() > 0) else { continue };
            // What it says may have changed, and it is small.
            missing.push(Missing::Session(holder));
            let key = session.key();
            records.remove(&*journal::session_subject(key));
            let kept: Vec<(u16, Seq)> = session.kept().collect();
            for (id, tag) in kept {
                if records.remove(&*journal::queued_subject(key, id)) != Some(tag) {
                    session.saved(id, 0, 0);
                    missing.push(Missing::Queued(holder, id));
                }
            }
            for id in session.received_ids() {
                if records.remove(&*journal::taken_subject(key, id)).is_none() {
                    missing.push(Missing::Taken(key, id));
                }
            }
        }
        let Self { pool, accounts, .. } = self;
        let Some(Shared { retained, gone, promises, journal: old, .. }) = pool.mqtt.as_deref_mut() else { return };
        for (account, topic, kept) in retained.iter_mut() {
            let subject = journal::retained_subject(&accounts.get(account).name, topic);
            if records.remove(&*subject) != Some(kept.tag) {
                kept.tag = 0;
                missing.push(Missing::Retained(account, topic.into()));
            }
        }
        // What is left is nobody's any more; a record that is about to be replaced is not among it, or goes anyway.
        records.into_values().for_each(|seq| journal.forget(clock, seq));
        gone.clear();
        promises.begin_again();
        if let Some(old) = old.take() {
            journal.continue_keys(&old);
        }
        *old = Some(journal);
        info!("The log of MQTT sessions is open again; {} records are written once more", missing.len());
        self.shared().reopen = Some(Reopen::Writing(missing));
        self.mqtt_write_again();
    }

    /// Writes what has no record, as much as the log takes now.
    pub(super) fn mqtt_write_again(&mut self) {
        let Some(Reopen::Writing(mut missing)) = self.shared().reopen.take() else { return };
        while let Some(next) = missing.pop() {
            if self.mqtt_write_missing(&next).is_none() {
                missing.push(next);
                return self.shared().reopen = Some(Reopen::Writing(missing));
            }
        }
        info!("The log of MQTT sessions is complete again");
    }

    /// `None` if the log does not take it now.
    fn mqtt_write_missing(&mut self, missing: &Missing) -> Option<()> {
        let clock = self.mqtt_clock();
        match missing {
            Missing::Session(holder) => match self.mqtt_session_mut(*holder) {
                Some(_) => self.mqtt_try_save_session(*holder).map(|_| ()),
                None => Some(()),
            },
            Missing::Queued(holder, id) => {
                let there = self.mqtt_session_mut(*holder).is_some_and(|session| session.queued(*id).is_some());
                if there { self.mqtt_save_queued(clock, *holder, *id).map(|_| ()) } else { Some(()) }
            }
            Missing::Taken(key, id) => {
                let there = self.mqtt_holder(*key).and_then(|holder| self.mqtt_session_mut(holder));
                if !there.is_some_and(|session| session.received_ids().any(|one| one == *id)) {
                    return Some(());
                }
                let Shared { journal, .. } = self.shared();
                journal.as_mut()?.save_taken(clock, *key, *id).ok().map(|_| ())
            }
            Missing::Retained(account, topic) => {
                let Self { pool, accounts, .. } = self;
                let Shared { journal, retained, .. } = pool.mqtt.as_deref_mut()?;
                let Some(kept) = retained.get_mut(*account, topic).filter(|kept| kept.tag == 0) else {
                    return Some(());
                };
                let name = &accounts.get(*account).name;
                let (seq, _) = journal.as_mut()?.save_retained(clock, name, &kept.message).ok()?;
                kept.tag = seq;
                Some(())
            }
        }
    }

    /// The session that somebody holds.
    fn mqtt_session_mut(&mut self, holder: Holder) -> Option<&mut Session> {
        match holder {
            Holder::Connection(slot) => self.mqtt_peer(slot)?.connection.session_mut(),
            Holder::Absent(at) => self.shared().sessions.absent_mut(at).map(|absent| &mut *absent.session),
        }
    }
}
