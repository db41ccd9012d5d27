//! What must be in a log.

use std::collections::BTreeMap;

use super::super::super::*;

/// Why a message is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It is there.
    No,
    /// It was deleted; that counts for good from this commit on.
    Asked(u64),
    /// It made room for this one.
    For(Seq),
    /// Its time was over, or the disk was full.
    Free,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
    pub(super) time: Time,
    pub(super) deadline: Option<Time>,
    pub(super) commit: u64,
    pub(super) acked: bool,
    pub(super) gone: Gone,
}

impl Message {
    pub(super) fn counted(&self) -> u64 {
        30 + (self.subject.len() + self.payload.len()) as u64
    }

    /// It may go by itself, if it has not been deleted for good.
    pub(super) fn is_over(&mut self) {
        if !matches!(self.gone, Gone::Asked(_)) {
            self.gone = Gone::Free;
        }
    }

    fn is(&self, record: &Seen) -> bool {
        (&self.subject, &self.payload, self.time) == (&record.subject, &record.payload, record.time)
    }
}

/// A message that was read.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) seq: Seq,
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
    pub(super) time: Time,
}

impl From<Record<'_>> for Seen {
    fn from(record: Record<'_>) -> Self {
        Self {
            seq: record.seq,
            subject: String::from_utf8(record.subject.to_vec()).unwrap(),
            payload: record.payload.to_vec(),
            time: record.time,
        }
    }
}

/// What is kept under one name: acknowledged, and what came after.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) acked: Option<Vec<u8>>,
    pub(super) later: Vec<(u64, Option<Vec<u8>>)>,
}

impl Kept {
    pub(super) fn now(&self) -> Option<&Vec<u8>> {
        self.later.last().map_or(self.acked.as_ref(), |(_, value)| value.as_ref())
    }
}

/// Newer ones alone fill a limit.
fn is_over(message: &Message, seq: Seq, present: &BTreeMap<Seq, &Seen>, settings: &Settings) -> bool {
    let newer = present.range(seq..).count() as u64;
    let same = present.range(seq..).filter(|(_, seen)| seen.subject == message.subject).count() as u64;
    let reached = |max: u64, count: u64| max > 0 && count >= max;
    reached(settings.msgs_max, newer) || reached(settings.msgs_per_subject_max, same)
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) messages: BTreeMap<Seq, Message>,
    pub(super) kept: BTreeMap<Vec<u8>, Kept>,
    /// The highest number that was acknowledged.
    pub(super) acked: Seq,
}

impl Model {
    pub(super) fn live(&self) -> impl DoubleEndedIterator<Item = (Seq, &Message)> {
        self.messages.iter().filter(|(_, message)| message.gone == Gone::No).map(|(&seq, message)| (seq, message))
    }

    /// The first message that is there, acknowledged, of these numbers, whose subject matches.
    pub(super) fn first(&self, from: Seq, to: Seq, filter: &str) -> Option<Seq> {
        let wanted = |message: &Message| {
            filter.is_empty() || crate::subject::matches(filter.as_bytes(), message.subject.as_bytes())
        };
        let mut all = self.messages.range(from..to.max(from)).map(|(&seq, message)| (seq, message));
        all.find(|(_, message)| message.acked && message.gone == Gone::No && wanted(message)).map(|(seq, _)| seq)
    }

    /// Takes note of what the log calls committed.
    pub(super) fn acknowledge(&mut self, log: &Log) {
        for (&seq, message) in &mut self.messages {
            if !message.acked && log.is_committed(message.commit) {
                message.acked = true;
                self.acked = self.acked.max(seq);
            }
        }
        for kept in self.kept.values_mut() {
            while kept.later.first().is_some_and(|&(commit, _)| log.is_committed(commit)) {
                kept.acked = kept.later.remove(0).1;
            }
        }
    }

    /// A message that was read is what was appended.
    pub(super) fn recognise(&self, record: &Seen) -> Result<&Message, String> {
        match self.messages.get(&record.seq) {
            None => Err(format!("message {} was never appended", record.seq)),
            Some(message) if !message.is(record) => Err(format!("message {} is not what was appended", record.seq)),
            Some(message) => Ok(message),
        }
    }

    /// Compares with what is there after a recovery, and takes it over. `done`: the commit up to which all is on disk.
    pub(super) fn recover(
        &mut self,
        log: &Log,
        before: &Log,
        found: &[Seen],
        settings: &Settings,
    ) -> Result<(), String> {
        let present: BTreeMap<Seq, &Seen> = found.iter().map(|seen| (seen.seq, seen)).collect();
        for seen in found {
            let message = self.recognise(seen)?;
            if let Gone::Asked(commit) = message.gone
                && before.is_committed(commit)
            {
                return Err(format!("message {} is back, its deletion was acknowledged", seen.seq));
            }
        }
        for (&seq, message) in &self.messages {
            if !message.acked || present.contains_key(&seq) {
                continue;
            }
            match message.gone {
                Gone::No if !is_over(message, seq, &present, settings) => {
                    return Err(format!("message {seq} was acknowledged and is lost"));
                }
                Gone::For(other)
                    if !self.is_accounted_for(other, &present) && !is_over(message, seq, &present, settings) =>
                {
                    return Err(format!("message {seq} made room for {other}, which is lost"));
                }
                _ => {}
            }
        }
        let last = log.state().last_seq;
        if last < self.acked || present.last_key_value().is_some_and(|(&seq, _)| seq > last) {
            return Err(format!("last number is {last}, {} was acknowledged", self.acked));
        }
        for (seq, message) in &mut self.messages {
            message.acked = true;
            message.gone = match message.gone {
                _ if present.contains_key(seq) => Gone::No,
                Gone::Asked(commit) if before.is_committed(commit) => Gone::Asked(0),
                // What a limit took may come back until a commit says that it is gone, which no full disk takes.
                _ => Gone::Free,
            };
        }
        self.recover_kept(log)
    }

    /// It is there, or went for a reason that is.
    fn is_accounted_for(&self, seq: Seq, present: &BTreeMap<Seq, &Seen>) -> bool {
        let message = &self.messages[&seq];
        let excused = match message.gone {
            Gone::No => false,
            Gone::Asked(_) | Gone::Free => true,
            Gone::For(other) => self.is_accounted_for(other, present),
        };
        message.acked || excused || present.contains_key(&seq)
    }

    fn recover_kept(&mut self, log: &Log) -> Result<(), String> {
        for (key, kept) in &mut self.kept {
            let value = log.kept(key).map(<[u8]>::to_vec);
            if value != kept.acked && kept.later.iter().all(|(_, later)| *later != value) {
                return Err(format!("{key:?} is {value:?}, not {kept:?}"));
            }
            *kept = Kept { acked: value, later: Vec::new() };
        }
        Ok(())
    }
}
