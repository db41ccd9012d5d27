//! Patterns with wildcards, a node for each token.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::entry::Entry;
use super::{Matched, Place, SubId, Visit};
use crate::subject::tokens;

const ROOT: u32 = 0;

#[derive(Debug, Default)]
struct Node {
    token: Box<[u8]>,
    /// Children by their token; `*` and `>` are children like any other.
    children: HashTable<u32>,
    /// The child `*`, also in `children`; `ROOT` for none.
    star: u32,
    /// The child `>`, also in `children`; `ROOT` for none.
    full: u32,
    entry: Entry,
}

#[derive(Debug)]
pub(super) struct Trie {
    hasher: FixedState,
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Nodes still to visit in a lookup, each with the offset of the token it is to match.
    stack: Vec<(u32, u32)>,
}

impl Trie {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { hasher, nodes: vec![Node::default()], free: Vec::new(), stack: Vec::new() }
    }

    /// The entry of `pattern`, made if it is not there.
    pub(super) fn entry(&mut self, pattern: &[u8]) -> &mut Entry {
        let mut at = ROOT;
        for token in tokens(pattern) {
            at = match self.child(at, token) {
                Some(child) => child,
                None => self.add_child(at, token),
            };
        }
        &mut self.nodes[at as usize].entry
    }

    /// The entry of `pattern`, if it is there.
    pub(super) fn find(&self, pattern: &[u8]) -> Option<&Entry> {
        let at = tokens(pattern).try_fold(ROOT, |at, token| self.child(at, token))?;
        Some(&self.nodes[at as usize].entry)
    }

    /// As [`super::Interest::each`].
    pub(super) fn each(&self, f: Visit<'_>) {
        let mut stack = vec![(ROOT, Vec::new())];
        while let Some((at, path)) = stack.pop() {
            let node = &self.nodes[at as usize];
            node.entry.each(&path, f);
            for &child in &node.children {
                let mut longer = path.clone();
                if at != ROOT {
                    longer.push(b'.');
                }
                longer.extend_from_slice(&self.nodes[child as usize].token);
                stack.push((child, longer));
            }
        }
    }

    /// As [`super::Interest::remove`]; nodes that lead nowhere any more go with it.
    pub(super) fn remove(&mut self, pattern: &[u8], queue: Option<&[u8]>, place: Place) -> Option<SubId> {
        let mut path = vec![ROOT];
        for token in tokens(pattern) {
            let parent = *path.last()?;
            path.push(self.child(parent, token)?);
        }
        let leaf = *path.last()?;
        let moved = self.nodes[leaf as usize].entry.remove(queue, place);
        while let [.., parent, child] = path[..] {
            if !self.prune(parent, child) {
                break;
            }
            path.pop();
        }
        moved
    }

    fn prune(&mut self, parent: u32, child: u32) -> bool {
        let node = &self.nodes[child as usize];
        if !node.entry.is_empty() || !node.children.is_empty() {
            return false;
        }
        let hash = self.hasher.hash_one(&*node.token);
        let above = &mut self.nodes[parent as usize];
        if let Ok(found) = above.children.find_entry(hash, |&at| at == child) {
            found.remove();
        }
        if above.star == child {
            above.star = ROOT;
        }
        if above.full == child {
            above.full = ROOT;
        }
        self.nodes[child as usize] = Node::default();
        self.free.push(child);
        true
    }

    fn child(&self, parent: u32, token: &[u8]) -> Option<u32> {
        let children = &self.nodes[parent as usize].children;
        if children.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(token);
        children.find(hash, |&at| *self.nodes[at as usize].token == *token).copied()
    }

    fn add_child(&mut self, parent: u32, token: &[u8]) -> u32 {
        let node = Node { token: token.into(), ..Node::default() };
        let child = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        let hash = self.hasher.hash_one(token);
        let mut children = std::mem::take(&mut self.nodes[parent as usize].children);
        children.insert_unique(hash, child, |&at| self.hasher.hash_one(&*self.nodes[at as usize].token));
        let above = &mut self.nodes[parent as usize];
        above.children = children;
        match token {
            b"*" => above.star = child,
            b">" => above.full = child,
            _ => {}
        }
        child
    }

    /// Adds to `result` everything that matches `subject`.
    pub(super) fn collect(&mut self, subject: &[u8], result: &mut Matched) {
        if self.nodes[ROOT as usize].children.is_empty() {
            return;
        }
        let mut stack = std::mem::take(&mut self.stack);
        stack.push((ROOT, 0));
        while let Some((at, offset)) = stack.pop() {
            self.step(at, subject, offset as usize, &mut stack, result);
        }
        self.stack = stack;
    }

    /// Matches the token at `offset` against the children of node `at`.
    fn step(&self, at: u32, subject: &[u8], offset: usize, stack: &mut Vec<(u32, u32)>, result: &mut Matched) {
        let node = &self.nodes[at as usize];
        if node.full != ROOT {
            self.nodes[node.full as usize].entry.collect(result);
        }
        let rest = &subject[offset..];
        let end = rest.iter().position(|&b| b == b'.').unwrap_or(rest.len());
        let token = &rest[..end];
        let literal = if token == b"*" || token == b">" { None } else { self.child(at, token) };
        let star = (node.star != ROOT).then_some(node.star);
        for child in [literal, star].into_iter().flatten() {
            if end == rest.len() {
                self.nodes[child as usize].entry.collect(result);
            } else if !self.nodes[child as usize].children.is_empty() {
                stack.push((child, (offset + end + 1) as u32));
            }
        }
    }
}
