//! One run: a log, its disk, those who use it, and the model it is held against.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::super::super::log::Log;
use super::super::super::sim::{Dice, SimDisk};
use super::super::super::*;
use super::model::{Gone, Message, Model, Seen};
use super::secrets::Secrets;

const STEPS: u64 = 150;
const SUBJECTS: [&str; 5] = ["a", "b.1", "b.2", "c.x.y", "d"];
const FILTERS: [&str; 6] = ["", "a", "b.*", "c.>", "none", ">"];

/// Somebody who reads.
struct Follower {
    reader: Reader,
    filter: &'static str,
    /// Nothing before this is owed.
    position: Seq,
    want: Option<Want>,
}

pub(super) struct World {
    dice: Dice,
    disk: SimDisk,
    settings: Settings,
    secrets: Secrets,
    log: Log,
    model: Model,
    followers: Vec<Follower>,
    now: Time,
    /// When the last message came.
    newest: Time,
    /// The disk was full since the last recovery.
    full: bool,
    /// Messages ids: their number and time, whether to be remembered for certain.
    ids: Vec<Option<(Seq, Time, bool)>>,
    trace: u64,
    /// All that happens is printed.
    loud: bool,
    /// Segments that were written again.
    compacted: u64,
    /// Messages are deleted by the dozen.
    sweeping: bool,
    /// Messages that are to be overwritten, with the number that says when they are.
    erasing: Vec<(Seq, u64)>,
    /// All that were ever asked for.
    asked: BTreeSet<Seq>,
    /// What was overwritten.
    erased: Vec<Vec<u8>>,
}

fn settings(dice: &mut Dice) -> Settings {
    let maybe = |dice: &mut Dice, odds, value| if dice.one_in(odds) { value } else { 0 };
    Settings {
        segment_bytes: 4096 << dice.below(3),
        commit_interval: maybe(dice, 3, 20),
        commit_bytes: 2048,
        pending_bytes_max: 16 * 1024,
        msgs_max: if dice.one_in(3) { 3 + dice.below(40) } else { 0 },
        bytes_max: maybe(dice, 4, 40_000) as u64,
        age_max: maybe(dice, 4, 1500),
        msgs_per_subject_max: if dice.one_in(3) { [1, 1, 2, 5][dice.below(4) as usize] } else { 0 },
        discard: if dice.one_in(4) { Discard::New } else { Discard::Old },
        dedupe_window: maybe(dice, 2, 400),
        keys: None,
    }
}

/// Opens the log; when the disk fails just then, the power has to go before the next try (see [`OpenError::Disk`]).
fn open(
    disk: &mut SimDisk,
    settings: &Settings,
    now: Time,
    trusted: Option<(FileId, u64)>,
) -> Result<(Log, Report), String> {
    let opened = Log::open(disk, settings.clone(), now, 99, trusted);
    let opened = match opened {
        Err(OpenError::Disk(text)) if text.contains("simulated") => {
            disk.crash();
            Log::open(disk, settings.clone(), now, 99, None)
        }
        opened => opened,
    };
    opened.map_err(|error| format!("cannot be opened: {error}"))
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let loud = std::env::var_os("PETIOLE_SIM_LOUD").is_some();
        let mut disk = SimDisk::new(dice.draw());
        let mut secrets = Secrets::new(seed);
        let mut settings = Settings { keys: secrets.next(), ..settings(&mut dice) };
        let sweeping = dice.one_in(3);
        if sweeping && dice.one_in(2) {
            // Much is decided before it is on disk.
            settings.commit_interval = 300;
        }
        let (log, _) = open(&mut disk, &settings, 0, None).unwrap();
        let followers = FILTERS.map(|filter| Follower::new(filter, 1)).into_iter().collect();
        let (model, ids) = (Model::default(), vec![None; 6]);
        let (now, newest, full, trace, compacted) = (0, 0, false, 0, 0);
        let (erasing, erased) = (Vec::new(), Vec::new());
        Self {
            dice,
            disk,
            settings,
            secrets,
            log,
            model,
            followers,
            now,
            newest,
            full,
            ids,
            trace,
            loud,
            compacted,
            sweeping,
            erasing,
            asked: BTreeSet::new(),
            erased,
        }
    }

    /// All steps, then everything is read once more. Returns a digest of all that happened, and how many segments were
    /// written again.
    pub(super) fn run(mut self) -> Result<(u64, u64), String> {
        for step in 0..STEPS {
            let result = self.step().and_then(|()| self.check());
            result.map_err(|text| format!("step {step}: {text} ({:?})", self.settings))?;
        }
        if self.dice.one_in(3) {
            self.rot().map_err(|text| format!("{text} ({:?})", self.settings))?;
        } else {
            self.crash().map_err(|text| format!("{text} ({:?})", self.settings))?;
        }
        if self.erased.iter().any(|payload| self.disk.contains(payload)) {
            return Err("what was erased is back on the disk".to_owned());
        }
        Ok((self.trace, self.compacted))
    }

    fn note(&mut self, what: &impl Debug) {
        if self.loud {
            println!("{:>6} {what:?}", self.now);
        }
        for byte in format!("{what:?}").bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += self.dice.below(20) as Time;
        let die = self.dice.below(100);
        self.note(&die);
        match die {
            0..35 => self.append(),
            35..40 => self.keep(),
            40..47 if self.sweeping => (0..self.dice.below(15)).try_for_each(|_| self.delete()),
            40..43 => self.delete(),
            43..45 => self.erase(),
            45..47 => self.purge(),
            47..48 => self.trim(),
            48..52 => self.tick(),
            52..72 => self.commit(None),
            72..92 => self.follow(),
            92..94 => self.crash(),
            94..95 => self.kill(),
            95..96 => self.reopen(),
            96..97 => {
                self.disk.fail_next = true;
                Ok(())
            }
            97..98 => {
                self.disk.capacity_bytes = if self.dice.one_in(2) { self.disk.used_bytes() } else { u64::MAX };
                Ok(())
            }
            _ => {
                self.now += self.dice.below(2000) as Time;
                Ok(())
            }
        }
    }

    fn append(&mut self) -> Result<(), String> {
        let subject = SUBJECTS[self.dice.below(SUBJECTS.len() as u64) as usize];
        let long = self.dice.one_in(20);
        let size = self.dice.below(if long { 6000 } else { 300 }) as usize;
        let payload: Vec<u8> = (0..size).map(|_| self.dice.draw() as u8).collect();
        let id = self.dice.one_in(4).then(|| self.dice.below(self.ids.len() as u64) as usize);
        let deadline = self.dice.one_in(8).then(|| self.now + self.dice.below(600) as Time);
        let name = id.map(|id| vec![b'i', id as u8]).unwrap_or_default();
        let message = Append { subject: subject.as_bytes(), headers: b"", payload: &payload, msg_id: &name, deadline };
        let since = self.now - self.settings.dedupe_window;
        let known =
            id.and_then(|id| self.ids[id]).filter(|&(_, time, _)| self.settings.dedupe_window > 0 && time >= since);
        let live = self.log.state();
        let result = self.log.append(self.now, &message);
        self.note(&(subject, &result));
        match (result, known) {
            (Ok(Appended { seq, duplicate: true, .. }), Some((first, _, _))) if seq == first => Ok(()),
            (Ok(Appended { duplicate: true, .. }), _) => Err("taken for a duplicate".to_owned()),
            (Ok(appended), Some((first, _, true))) => Err(format!("{} is a duplicate of {first}", appended.seq)),
            (Ok(appended), _) => {
                if let Some(id) = id.filter(|_| self.settings.dedupe_window > 0) {
                    self.ids[id] = Some((appended.seq, self.now, true));
                }
                let (subject, time, commit) = (subject.to_owned(), self.now, appended.commit);
                let message = Message { subject, payload, time, deadline, commit, acked: false, gone: Gone::No };
                self.appended(appended.seq, live.last_seq, message)
            }
            (Err(Refused::Full), _) => {
                let (messages, bytes) = (live.messages + 1, live.bytes + message.payload.len() as u64 + 100);
                let Settings { msgs_max, bytes_max, discard, .. } = self.settings;
                let full = (msgs_max > 0 && messages > msgs_max) || (bytes_max > 0 && bytes > bytes_max);
                if discard == Discard::New && full { Ok(()) } else { Err("refused without reason".to_owned()) }
            }
            (Err(Refused::DiskFull), _) if self.full => Ok(()),
            (Err(Refused::Busy), _) => self.commit(None),
            (Err(Refused::Failed(_)), _) if self.log.failed().is_some() => self.recover(),
            (Err(error), _) => Err(format!("refused: {error}")),
        }
    }

    /// What an append must have done.
    fn appended(&mut self, seq: Seq, before: Seq, message: Message) -> Result<(), String> {
        if seq != before + 1 || seq <= self.model.acked {
            return Err(format!("number {seq} after {before}"));
        }
        let subject = message.subject.clone();
        self.newest = message.time;
        self.model.messages.insert(seq, message);
        let keep = self.settings.msgs_per_subject_max as usize;
        if keep > 0 {
            let same: Vec<Seq> =
                self.model.live().filter(|(_, other)| other.subject == subject).map(|(seq, _)| seq).collect();
            for old in same.iter().rev().skip(keep) {
                self.model.messages.get_mut(old).unwrap().gone = Gone::For(seq);
            }
        }
        self.expire();
        Ok(())
    }

    fn expire(&mut self) {
        for message in self.model.messages.values_mut() {
            if message.deadline.is_some_and(|deadline| deadline <= self.now) {
                message.is_over();
            }
        }
    }

    fn keep(&mut self) -> Result<(), String> {
        let key = vec![b'k', self.dice.below(3) as u8];
        let value = (!self.dice.one_in(5)).then(|| self.dice.draw().to_le_bytes().to_vec());
        match self.log.keep(self.now, &key, value.as_deref()) {
            Ok(commit) => {
                self.model.kept.entry(key).or_default().later.push((commit, value));
                Ok(())
            }
            Err(Refused::Failed(_)) if self.log.failed().is_some() => self.recover(),
            Err(error) => Err(format!("not kept: {error}")),
        }
    }

    fn delete(&mut self) -> Result<(), String> {
        let live: Vec<Seq> = self.model.live().filter(|(_, message)| message.acked).map(|(seq, _)| seq).collect();
        if live.is_empty() || self.log.failed().is_some() {
            return Ok(());
        }
        let seq = live[self.dice.below(live.len() as u64) as usize];
        let mut reader = Reader::one(seq);
        let record = reader.next(&self.log, &mut self.disk).map_err(|error| error.to_string())?;
        let Some(record) = record else { return Err(format!("message {seq} cannot be read")) };
        self.model.recognise(&record.into())?;
        if !self.log.delete(self.now, &record) {
            return Err(format!("message {seq} is not there"));
        }
        self.model.messages.get_mut(&seq).unwrap().gone = Gone::Asked(self.log.commit_number());
        Ok(())
    }

    fn erase(&mut self) -> Result<(), String> {
        let live: Vec<Seq> = self.model.live().map(|(seq, _)| seq).collect();
        if live.is_empty() || self.log.failed().is_some() {
            return Ok(());
        }
        let seq = live[self.dice.below(live.len() as u64) as usize];
        match self.log.erase(seq) {
            Ok(Some(number)) => {
                self.erasing.push((seq, number));
                self.asked.insert(seq);
            }
            other => return Err(format!("message {seq} is not erased: {other:?}")),
        }
        Ok(())
    }

    /// Takes note of what was overwritten: nothing of it is on the disk.
    fn note_erased(&mut self) -> Result<(), String> {
        let commit = self.log.commit_number();
        let Settings { msgs_max, bytes_max, age_max, .. } = self.settings;
        let limits = msgs_max + bytes_max > 0 || age_max > 0 || self.full;
        for &(seq, number) in &self.erasing {
            let message = self.model.messages.get_mut(&seq).unwrap();
            let limited = limits && seq < self.log.first_seq();
            let noted = !self.log.is_there(seq) && !limited;
            if noted && message.gone == Gone::No {
                message.gone = Gone::Asked(commit);
            }
            let has_file = self.log.segment_of(seq).is_some_and(|at| self.log.segments[at].last_seq >= seq);
            if self.log.is_erased(number) && noted && has_file && message.payload.len() > 16 {
                if self.disk.contains(&message.payload) {
                    return Err(format!("message {seq} was erased and is on the disk"));
                }
                self.erased.push(message.payload.clone());
            }
        }
        let log = &self.log;
        self.erasing.retain(|&(_, number)| !log.is_erased(number));
        Ok(())
    }

    /// Those of some subjects, below a number, all but a few; sometimes only begun.
    fn purge(&mut self) -> Result<(), String> {
        // What is overwritten meanwhile would be another one that need not go.
        if self.log.failed().is_some() || self.full || !self.erasing.is_empty() {
            return Ok(());
        }
        let filter = FILTERS[self.dice.below(FILTERS.len() as u64) as usize];
        let last = self.log.state().last_seq;
        let below = if self.dice.one_in(2) { last + 1 } else { 1 + self.dice.below(last + 1) };
        let keep = if self.dice.one_in(2) { 0 } else { self.dice.below(5) };
        let steps = if self.dice.one_in(3) { self.dice.below(6) } else { 1000 };
        self.note(&(filter, below, keep, steps));
        let filters: &[&[u8]] = if filter.is_empty() { &[] } else { &[filter.as_bytes()] };
        let matching = |message: &Message| {
            filter.is_empty() || crate::subject::matches(filter.as_bytes(), message.subject.as_bytes())
        };
        let mut due: Vec<Seq> =
            self.model.live().filter(|(seq, message)| *seq < below && matching(message)).map(|(seq, _)| seq).collect();
        due.truncate(due.len().saturating_sub(keep as usize));
        let mut purge = Purge::new(&self.log, filters, below, keep).map_err(|error| error.to_string())?;
        let mut done = false;
        for _ in 0..steps {
            let purged = purge.poll(&mut self.log, self.now).map_err(|error| error.to_string())?;
            let commit = self.log.commit_number();
            for &seq in due.iter().filter(|&&seq| !self.log.is_there(seq)) {
                let message = self.model.messages.get_mut(&seq).unwrap();
                if message.gone == Gone::No {
                    message.gone = Gone::Asked(commit);
                }
            }
            match purged {
                Purged::Want(want) => {
                    let bytes = want.read(&mut self.disk).map_err(|error| error.to_string())?;
                    purge.filled(want, Ok(&bytes));
                }
                Purged::Waiting => {
                    self.now += self.settings.commit_interval;
                    self.commit(None)?;
                    if self.log.failed().is_some() || self.full {
                        break;
                    }
                }
                Purged::Done { .. } => {
                    done = true;
                    break;
                }
            }
        }
        match due.iter().find(|&&seq| done && self.log.is_there(seq)) {
            Some(seq) => Err(format!("message {seq} was not purged")),
            None => Ok(()),
        }
    }

    fn trim(&mut self) -> Result<(), String> {
        let state = self.log.state();
        let first = state.first_seq + self.dice.below(state.last_seq + 2 - state.first_seq);
        if self.log.failed().is_some() {
            return Ok(());
        }
        let commit = self.log.trim(self.now, first);
        for (_, message) in self.model.messages.range_mut(..first) {
            if message.gone == Gone::No {
                message.gone = Gone::Asked(commit);
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        self.log.tick(self.now);
        self.expire();
        let age = self.settings.age_max;
        if age > 0 && self.newest + age < self.now && self.log.state().messages > 0 {
            return Err("nothing expired".to_owned());
        }
        Ok(())
    }

    /// Batches until nothing is to be done, or up to so many operations.
    fn commit(&mut self, ops_max: Option<u64>) -> Result<(), String> {
        let mut ops = 0;
        for _ in 0..500 {
            let Some(batch) = self.log.poll_batch(self.now) else { return Ok(()) };
            self.model.acknowledge(&self.log);
            self.note_erased()?;
            let mut result = Ok(());
            for op in &batch.ops {
                if ops_max == Some(ops) {
                    return Ok(());
                }
                ops += 1;
                self.secrets.watch(op)?;
                result = self.disk.perform(op);
                if result.is_err() {
                    break;
                }
            }
            let makes_room = result == Err(DiskError::Full) && batch.ops.len() == 1;
            let full = result == Err(DiskError::Full) && !makes_room;
            self.note(&result);
            let disk = &mut self.disk;
            let result = result.map(|()| batch.want.map(|want| want.read(disk).unwrap()).unwrap_or_default());
            self.log.batch_done(self.now, result);
            if full {
                self.full = true;
                let first = self.log.state().first_seq;
                self.model.messages.range_mut(..first).for_each(|(_, message)| message.is_over());
            }
            self.model.acknowledge(&self.log);
            self.note_erased()?;
            self.adopt()?;
        }
        Ok(())
    }

    /// One reader goes on, sometimes not to the end of what it asked for.
    fn follow(&mut self) -> Result<(), String> {
        let at = self.dice.below(self.followers.len() as u64) as usize;
        let Self { followers, disk, log, model, dice, .. } = self;
        let follower = &mut followers[at];
        if dice.one_in(10) {
            *follower = Follower::new(follower.filter, 1 + dice.below(log.state().last_seq + 1));
        }
        if let Some(want) = follower.want.take() {
            match want.read(disk) {
                Ok(bytes) => follower.reader.filled(want, Ok(&bytes)),
                Err(error) => follower.reader.filled(want, Err(error)),
            }
        }
        for _ in 0..dice.below(10) {
            match follower.reader.poll(log).map_err(|error| error.to_string())? {
                Next::Waiting => return Err("waits for nothing".to_owned()),
                Next::Want(want) if dice.one_in(3) => {
                    follower.want = Some(want);
                    return Ok(());
                }
                Next::Want(want) => {
                    let bytes = want.read(disk).map_err(|error| error.to_string())?;
                    follower.reader.filled(want, Ok(&bytes));
                }
                Next::Message(record) => {
                    let seen = Seen::from(record);
                    let message = model.recognise(&seen)?;
                    if (!message.acked && seen.seq > log.committed()) || message.gone != Gone::No {
                        return Err(format!("message {} is read, {:?}", seen.seq, message.gone));
                    }
                    follower.owes(model, seen.seq)?;
                    follower.position = seen.seq + 1;
                }
                Next::End => {
                    follower.owes(model, Seq::MAX)?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The power goes in the middle of whatever the disk was told to do.
    fn crash(&mut self) -> Result<(), String> {
        let ops = self.dice.below(5);
        self.commit(Some(ops))?;
        self.disk.crash();
        self.restart(None)
    }

    /// The process dies in the middle of whatever the disk was told to do; the power stays.
    fn kill(&mut self) -> Result<(), String> {
        let ops = self.dice.below(8);
        self.commit(Some(ops))?;
        match self.log.failed() {
            // What the system's memory shows then is not what the disk has.
            Some(_) => self.recover(),
            None => self.restart(None),
        }
    }

    /// After a failure, in the same process or after a crash.
    fn recover(&mut self) -> Result<(), String> {
        if self.dice.one_in(2) {
            return self.crash();
        }
        let trusted = self.log.trusted();
        self.restart(trusted)
    }

    /// Everything is written, and the log opened again.
    fn reopen(&mut self) -> Result<(), String> {
        self.now += self.settings.commit_interval;
        self.commit(None)?;
        if self.log.failed().is_some() || self.full {
            return self.recover();
        }
        self.restart(None)?;
        Ok(())
    }

    fn restart(&mut self, trusted: Option<(FileId, u64)>) -> Result<(), String> {
        self.secrets.try_others(&mut self.disk, &self.settings)?;
        self.settings.keys = self.secrets.next();
        let (log, report) = open(&mut self.disk, &self.settings, self.now, trusted)?;
        self.note(&report);
        let before = std::mem::replace(&mut self.log, log);
        self.compacted += before.state().compacted;
        // It may be overwritten already, its deletion not recorded yet.
        for (seq, _) in std::mem::take(&mut self.erasing) {
            let message = self.model.messages.get_mut(&seq).unwrap();
            if matches!(message.gone, Gone::No | Gone::For(_)) {
                message.gone = Gone::Free;
            }
        }
        self.expire();
        let age_max = self.settings.age_max;
        for message in self.model.messages.values_mut() {
            if age_max > 0 && message.time + age_max < self.now {
                message.is_over();
            }
        }
        let found = self.read_all()?;
        self.drop_oldest_by_limit(&found)?;
        self.note(&found.iter().map(|seen| seen.seq).collect::<Vec<_>>());
        self.model.recover(&self.log, &before, &found, &self.settings)?;
        for (seq, _, certain) in self.ids.iter_mut().flatten() {
            *certain &= self.model.messages.get(seq).is_some_and(|message| message.gone == Gone::No);
        }
        for follower in &mut self.followers {
            *follower = Follower::new(follower.filter, follower.position);
        }
        self.full = false;
        self.note(&self.log.state());
        self.check()
    }

    /// Bytes are counted more strictly where segments begin elsewhere: what a recovery drops for that is right.
    fn drop_oldest_by_limit(&mut self, found: &[Seen]) -> Result<(), String> {
        let bytes: u64 = found.iter().map(|seen| 30 + (seen.subject.len() + seen.payload.len()) as u64).sum();
        let bytes_max = self.settings.bytes_max;
        if bytes_max == 0 || bytes + 2 * self.settings.segment_bytes + 6000 < bytes_max {
            return Ok(());
        }
        let first = self.log.state().first_seq;
        for (_, message) in self.model.messages.range_mut(..first) {
            if message.gone == Gone::No {
                message.gone = Gone::Free;
            }
        }
        Ok(())
    }

    fn read_all(&mut self) -> Result<Vec<Seen>, String> {
        let mut reader = Reader::new(0);
        let mut found: Vec<Seen> = Vec::new();
        while let Some(record) = reader.next(&self.log, &mut self.disk).map_err(|error| error.to_string())? {
            if found.last().is_some_and(|last| last.seq >= record.seq) {
                return Err(format!("message {} out of order", record.seq));
            }
            found.push(record.into());
        }
        Ok(found)
    }

    /// What the limits took since the last look had to go, and is gone.
    fn adopt(&mut self) -> Result<(), String> {
        let state = self.log.state();
        let Settings { msgs_max, bytes_max, age_max, .. } = self.settings;
        let gone: Vec<Seq> = self.model.live().map(|(seq, _)| seq).take_while(|&seq| seq < state.first_seq).collect();
        for seq in gone {
            let message = self.model.messages.get_mut(&seq).unwrap();
            let old = age_max > 0 && message.time + age_max < self.now;
            let asked = self.asked.contains(&seq);
            if !old && !asked && msgs_max == 0 && bytes_max == 0 && !self.full {
                return Err(format!("message {seq} is gone without reason"));
            }
            message.gone = if old || asked || self.full { Gone::Free } else { Gone::For(state.last_seq) };
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        self.model.acknowledge(&self.log);
        self.note_erased()?;
        let before: u64 = self.model.live().map(|(_, message)| message.counted()).sum();
        let count = self.model.live().count() as u64;
        self.adopt()?;
        let state = self.log.state();
        self.note(&state);
        let live: Vec<Seq> = self.model.live().map(|(seq, _)| seq).collect();
        if live.len() as u64 != state.messages {
            return Err(format!("{} messages, not {}: {state:?}", state.messages, live.len()));
        }
        if let Some(seq) = live.iter().find(|&&seq| !self.log.is_there(seq)) {
            return Err(format!("message {seq} is gone"));
        }
        self.check_limits(before, count, &state)?;
        for (key, kept) in &self.model.kept {
            if self.log.kept(key) != kept.now().map(Vec::as_slice) {
                return Err(format!("{key:?} is not {kept:?}"));
            }
        }
        Ok(())
    }

    /// Neither too much is kept nor too little.
    fn check_limits(&self, before: u64, count: u64, state: &State) -> Result<(), String> {
        let Settings { msgs_max, bytes_max, age_max, segment_bytes, msgs_per_subject_max, .. } = self.settings;
        let bytes: u64 = self.model.live().map(|(_, message)| message.counted()).sum();
        let more = msgs_max > 0 && state.messages > msgs_max;
        let fewer = bytes_max == 0 && age_max == 0 && !self.full && state.messages < count && state.messages < msgs_max;
        if more || fewer {
            return Err(format!("{} messages, limit {msgs_max}", state.messages));
        }
        let over = bytes_max > 0 && state.messages > 1 && bytes > bytes_max;
        let short =
            bytes < before && msgs_max == 0 && age_max == 0 && !self.full && bytes + segment_bytes + 7000 < bytes_max;
        if over || short {
            return Err(format!("{bytes} bytes, limit {bytes_max}"));
        }
        for subject in SUBJECTS {
            let there = self.model.live().filter(|(_, message)| message.subject == subject).count() as u64;
            if msgs_per_subject_max > 0 && there > msgs_per_subject_max {
                return Err(format!("{there} messages of {subject}"));
            }
        }
        Ok(())
    }

    /// One bit rots, or somebody changes one: one message may be lost, and that is reported.
    fn rot(&mut self) -> Result<(), String> {
        self.disk.capacity_bytes = u64::MAX;
        self.reopen()?;
        let forged = self.dice.one_in(2) && self.secrets.forge(&mut self.disk);
        if !forged && self.disk.rot().is_none() {
            return Ok(());
        }
        let (log, report) = open(&mut self.disk, &self.settings, self.now, None)?;
        self.log = log;
        let mut reader = Reader::new(0);
        let (mut found, mut back) = (0, 0);
        let age_max = self.settings.age_max;
        let is_young = |message: &Message| age_max == 0 || message.time + age_max >= self.now;
        let live: Vec<Seq> = self.model.live().filter(|(_, message)| is_young(message)).map(|(seq, _)| seq).collect();
        while let Some(record) = reader.next(&self.log, &mut self.disk).map_err(|error| error.to_string())? {
            let seen = Seen::from(record);
            // A deletion may be what rots, or stand behind what does in the last batch, as if that were torn.
            if live.contains(&seen.seq) {
                self.model.recognise(&seen)?;
                found += 1;
            } else {
                back += 1;
            }
        }
        let lost = live.len() - found;
        let silent = report.is_clean() && reader.damage() == 0;
        // What is back takes its place in a limit again.
        if lost > 1 + back || (lost > 0 && silent) {
            return Err(format!("{lost} messages are lost by one bit: {report:?}"));
        }
        Ok(())
    }
}

impl Follower {
    fn new(filter: &'static str, position: Seq) -> Self {
        let reader =
            if filter.is_empty() { Reader::new(position) } else { Reader::matching(position, &[filter.as_bytes()]) };
        Self { reader, filter, position, want: None }
    }

    /// Nothing was passed over before `seq`.
    fn owes(&self, model: &Model, seq: Seq) -> Result<(), String> {
        match model.first(self.position, seq, self.filter) {
            Some(missed) => Err(format!("message {missed} was not read by {:?}", self.filter)),
            None => Ok(()),
        }
    }
}
