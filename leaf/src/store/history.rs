//! The numbers of a subject's messages, where a limit for each subject must find the oldest.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Seq;
use super::subjects::SubjectId;

/// Numbers and counted bytes of messages, by subject: 16 bytes for each. Some may be gone.
#[derive(Debug)]
pub(super) struct History(HashMap<SubjectId, VecDeque<(Seq, u32)>, FixedState>);

impl History {
    pub(super) fn new(seed: u64) -> Self {
        Self(HashMap::with_hasher(FixedState::with_seed(seed)))
    }

    /// A message of a subject, in the order of their numbers.
    pub(super) fn push(&mut self, id: SubjectId, seq: Seq, bytes: u32) {
        self.0.entry(id).or_default().push_back((seq, bytes));
    }

    /// How many a subject has, at most.
    pub(super) fn len(&self, id: SubjectId) -> u64 {
        self.0.get(&id).map_or(0, |of| of.len() as u64)
    }

    /// Forgets those of a subject that are gone.
    pub(super) fn clean(&mut self, id: SubjectId, is_there: impl Fn(Seq) -> bool) {
        if let Some(of) = self.0.get_mut(&id) {
            of.retain(|&(seq, _)| is_there(seq));
        }
    }

    /// Which subjects there are.
    pub(super) fn subjects(&self) -> Vec<SubjectId> {
        let mut ids: Vec<SubjectId> = self.0.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The oldest.
    pub(super) fn oldest(&self, id: SubjectId) -> Option<(Seq, u32)> {
        self.0.get(&id)?.front().copied()
    }

    /// Forgets the oldest.
    pub(super) fn pop(&mut self, id: SubjectId) {
        if let Some(of) = self.0.get_mut(&id) {
            of.pop_front();
        }
    }

    /// The newest of a subject that is there.
    pub(super) fn newest(&self, id: SubjectId, is_there: impl Fn(Seq) -> bool) -> Option<(Seq, u32)> {
        self.0.get(&id)?.iter().rev().copied().find(|&(seq, _)| is_there(seq))
    }

    /// Those of a subject in a range of numbers.
    pub(super) fn within(&self, id: SubjectId, first: Seq, last: Seq) -> impl Iterator<Item = (Seq, u32)> + '_ {
        let of = self.0.get(&id).into_iter().flatten();
        of.copied().filter(move |&(seq, _)| (first..=last).contains(&seq))
    }

    /// Puts those of a subject in order, each once.
    pub(super) fn sort(&mut self, id: SubjectId) {
        if let Some(of) = self.0.get_mut(&id) {
            let of_row = of.make_contiguous();
            of_row.sort_unstable();
            let row: Vec<_> = of_row.to_vec();
            of.clear();
            for entry in row {
                if of.back() != Some(&entry) {
                    of.push_back(entry);
                }
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0 = HashMap::with_hasher(self.0.hasher().clone());
    }
}
