//! The subscriptions to one pattern.

use std::rc::Rc;

use super::{Group, Matched, Place, SubId, Visit};

#[derive(Debug, Default)]
pub(super) struct Entry {
    plain: Vec<SubId>,
    queues: Vec<(Rc<[u8]>, Vec<SubId>)>,
}

impl Entry {
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    pub(super) fn insert(&mut self, queue: Option<&[u8]>, id: SubId) -> Place {
        let list = match queue {
            None => &mut self.plain,
            Some(name) => self.queue(name),
        };
        if list.capacity() == 0 {
            // Most patterns have one subscriber; do not reserve for four.
            list.reserve_exact(1);
        }
        list.push(id);
        Place((list.len() - 1) as u32)
    }

    fn queue(&mut self, name: &[u8]) -> &mut Vec<SubId> {
        let at = self.queues.iter().position(|(have, _)| &**have == name).unwrap_or_else(|| {
            self.queues.push((name.into(), Vec::new()));
            self.queues.len() - 1
        });
        &mut self.queues[at].1
    }

    pub(super) fn members(&self, queue: Option<&[u8]>) -> &[SubId] {
        let Some(name) = queue else { return &self.plain };
        self.queues.iter().find(|(have, _)| &**have == name).map_or(&[], |(_, members)| members)
    }

    pub(super) fn each(&self, pattern: &[u8], f: Visit<'_>) {
        if !self.plain.is_empty() {
            f(pattern, None, &self.plain);
        }
        for (name, members) in &self.queues {
            f(pattern, Some(name), members);
        }
    }

    /// Swaps the last one into `place` and returns it.
    pub(super) fn remove(&mut self, queue: Option<&[u8]>, place: Place) -> Option<SubId> {
        let at = place.0 as usize;
        let Some(name) = queue else {
            self.plain.swap_remove(at);
            return self.plain.get(at).copied();
        };
        let group = self.queues.iter().position(|(have, _)| &**have == name)?;
        let members = &mut self.queues[group].1;
        members.swap_remove(at);
        let moved = members.get(at).copied();
        if members.is_empty() {
            self.queues.swap_remove(group);
        }
        moved
    }

    pub(super) fn collect(&self, result: &mut Matched) {
        result.plain.extend_from_slice(&self.plain);
        for (name, members) in &self.queues {
            match result.groups.iter_mut().find(|group| group.name == *name) {
                Some(group) => group.members.extend_from_slice(members),
                None => result.groups.push(Group { name: name.clone(), members: members.clone() }),
            }
        }
    }
}
