//! Topic aliases of a connection, in both directions; they end with it `[MQTT-3.3.2-7]`.

use super::TOPIC_ALIASES_MAX;
use crate::{Reason, Violation};

/// What the client's aliases stand for.
#[derive(Debug, Default)]
pub(super) struct Incoming(Vec<Box<str>>);

impl Incoming {
    /// Sets the alias if there is a topic, else looks it up.
    pub(super) fn take(&mut self, alias: u16, topic: &str) -> Result<(), Violation> {
        let at = usize::from(alias);
        if at == 0 || at > TOPIC_ALIASES_MAX {
            return Err(Violation::with(Reason::TopicAliasInvalid, "topic alias above the maximum"));
        }
        if topic.is_empty() {
            return match self.get(alias).is_empty() {
                true => Err(Violation::protocol("topic alias that stands for nothing")),
                false => Ok(()),
            };
        }
        if self.0.len() < at {
            self.0.resize_with(at, Box::default);
        }
        if *self.0[at - 1] != *topic {
            self.0[at - 1] = topic.into();
        }
        Ok(())
    }

    /// The topic of an alias; empty for none.
    pub(super) fn get(&self, alias: u16) -> &str {
        usize::from(alias).checked_sub(1).and_then(|at| self.0.get(at)).map_or("", |topic| topic)
    }
}

/// The aliases we gave: to the first topics that were sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    max: usize,
    topics: Vec<Box<str>>,
}

impl Outgoing {
    /// With as many as the client takes `[MQTT-3.1.2-26]`, `[MQTT-3.1.2-27]`.
    pub(super) fn new(max: u16) -> Self {
        Self { max: usize::from(max).min(TOPIC_ALIASES_MAX), topics: Vec::new() }
    }

    /// The alias of a topic, 0 for none, and whether the client knows it already. [`Self::told`] makes it known.
    pub(super) fn find(&self, topic: &str) -> (u16, bool) {
        // One or two bytes are cheaper than the property.
        if self.max == 0 || topic.len() < 4 {
            return (0, false);
        }
        match self.topics.iter().position(|have| **have == *topic) {
            Some(at) => (at as u16 + 1, true),
            None if self.topics.len() < self.max => (self.topics.len() as u16 + 1, false),
            None => (0, false),
        }
    }

    /// The client was told the next alias.
    pub(super) fn told(&mut self, topic: &str) {
        self.topics.push(topic.into());
    }
}
