//! The tree that a configuration file is read into.

use std::collections::HashMap;

use super::error::{At, Error};

/// A value and where it is: for the entry of a map that is where its key stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: At,
}

/// A value of the configuration language.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// `2006-01-02T15:04:05Z`, checked; no option takes one.
    Date(String),
    List(Vec<Node>),
    Map(Map),
}

impl Value {
    /// The name of its type, as nats-server's messages have it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Date(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// How many levels of lists and maps there are in it, and roughly how many bytes it takes.
    pub(super) fn extent(&self) -> Extent {
        const NODE: usize = 64;
        let mut all = Extent { depth: 0, bytes: NODE };
        match self {
            Self::Text(text) | Self::Date(text) => all.bytes += text.len(),
            Self::List(list) => list.iter().for_each(|node| all.hold(node.value.extent())),
            Self::Map(map) => map.entries().for_each(|entry| {
                all.bytes += 2 * entry.key.len();
                all.hold(entry.node.value.extent());
            }),
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) => {}
        }
        all
    }
}

/// The size of a [`Value`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) depth: usize,
    pub(super) bytes: usize,
}

impl Extent {
    fn hold(&mut self, inner: Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.bytes = self.bytes.saturating_add(inner.bytes);
    }
}

impl Node {
    fn mismatch(&self, wanted: &str) -> Error {
        Error::at(&self.at, format!("interface conversion: interface {{}} is {}, not {wanted}", self.value.kind()))
    }

    /// The text, or an error about the type.
    pub(super) fn text(&self) -> Result<&str, Error> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.mismatch("string")),
        }
    }

    /// The integer, or an error about the type.
    pub(super) fn integer(&self) -> Result<i64, Error> {
        match self.value {
            Value::Integer(number) => Ok(number),
            _ => Err(self.mismatch("int64")),
        }
    }

    /// The boolean, or an error about the type.
    pub(super) fn boolean(&self) -> Result<bool, Error> {
        match self.value {
            Value::Bool(yes) => Ok(yes),
            _ => Err(self.mismatch("bool")),
        }
    }

    /// The list, or an error about the type.
    pub(super) fn list(&self) -> Result<&[Self], Error> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.mismatch("[]interface {}")),
        }
    }

    /// The map, or an error about the type.
    pub(super) fn map(&self) -> Result<&Map, Error> {
        match &self.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.mismatch("map[string]interface {}")),
        }
    }

    /// One text or a list of texts; `what` is for the message.
    pub(super) fn texts(&self, what: &str) -> Result<Vec<String>, Error> {
        match &self.value {
            Value::Text(text) => Ok(vec![text.clone()]),
            Value::List(list) => list.iter().map(|node| node.text_in_list(what)).collect(),
            other => Err(Error::at(&self.at, format!("error parsing {what}: unsupported type {}", other.kind()))),
        }
    }

    fn text_in_list(&self, what: &str) -> Result<String, Error> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            other => {
                Err(Error::at(&self.at, format!("error parsing {what}: unsupported type in array {}", other.kind())))
            }
        }
    }
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) node: Node,
    /// Somebody referred to it as `$key`, so it may have no other meaning.
    pub(super) used: bool,
}

/// Up to so many entries are looked through one by one: there are many small maps, and few large ones.
const UNINDEXED_MAX: usize = 16;

/// Entries in the order of the file; of two with the same key the later counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    entries: Vec<Entry>,
    /// Where each key is, once there are many.
    #[allow(clippy::box_collection, reason = "most maps have none, and pay a word for it")]
    index: Option<Box<HashMap<String, usize>>>,
}

impl Map {
    /// Adds an entry, or replaces the value of the one with this key.
    pub(super) fn set(&mut self, entry: Entry) {
        if let Some(at) = self.find(&entry.key) {
            self.entries[at] = entry;
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(entry.key.clone(), self.entries.len());
        }
        self.entries.push(entry);
        if self.index.is_none() && self.entries.len() > UNINDEXED_MAX {
            let places = self.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at));
            self.index = Some(Box::new(places.collect()));
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self.entries.iter().position(|entry| entry.key == key),
        }
    }

    /// There will be no more entries.
    pub(super) fn close(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// The value of `key` as a variable; marks it as used.
    pub(super) fn refer(&mut self, key: &str) -> Option<&Value> {
        let at = self.find(key)?;
        let entry = &mut self.entries[at];
        entry.used = true;
        Some(&entry.node.value)
    }

    /// All entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All entries, given away.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
