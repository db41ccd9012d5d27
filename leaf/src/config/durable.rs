//! `durable_subscriptions`: what streams at the hub hold for this leaf. An option of ours.

use super::error::{Error, Notes, quote};
use super::forward::{amount, at_least_a_second, choice, days, name, subjects, window};
use super::model::{Deliver, DurableSubscription};
use super::read::{Draft, Taken, entries, unknown_field};
use super::value::{Node, Value};
use crate::subject;

/// Subscriptions at most: each has its own files and its own requests.
const SUBSCRIPTIONS_MAX: usize = 64;
/// Messages asked for at once, at most.
const BATCH_MAX: usize = 1024;

/// `durable_subscriptions`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if key != "durable_subscriptions" {
        return Ok(Taken::No);
    }
    for node in node.list()? {
        let read = subscription(node, &mut draft.notes);
        if let Some(read) = draft.notes.take(read) {
            let added = add(&mut draft.config.durables, read, node);
            draft.notes.take(added);
        }
    }
    Ok(Taken::Yes)
}

fn add(all: &mut Vec<DurableSubscription>, one: DurableSubscription, node: &Node) -> Result<(), Error> {
    if all.len() == SUBSCRIPTIONS_MAX {
        return Err(Error::at(&node.at, format!("more than {SUBSCRIPTIONS_MAX} durable_subscriptions")));
    }
    if all.iter().any(|other| other.name == one.name) {
        let text = format!("Duplicate durable subscription: {}; give one another name", quote(&one.name));
        return Err(Error::at(&node.at, text));
    }
    if let Some((ours, theirs)) = all
        .iter()
        .filter(|other| other.account == one.account)
        .find_map(|other| overlap(&one.subjects, &other.subjects))
    {
        let text = format!("{} of durable subscription {} overlaps {}", quote(ours), quote(&one.name), quote(theirs));
        return Err(Error::at(&node.at, text));
    }
    all.push(one);
    Ok(())
}

/// The first two subjects that a message may be on both of.
pub(super) fn overlap<'a>(ours: &'a [String], theirs: &'a [String]) -> Option<(&'a str, &'a str)> {
    let mut pairs = ours.iter().flat_map(|a| theirs.iter().map(move |b| (a.as_str(), b.as_str())));
    pairs.find(|(a, b)| subject::overlaps(a.as_bytes(), b.as_bytes()))
}

fn subscription(node: &Node, notes: &mut Notes) -> Result<DurableSubscription, Error> {
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, format!("Expected a durable subscription, got {}", node.value.kind())));
    };
    let mut read = DurableSubscription::default();
    entries(map, notes, unknown_field, |key, node, notes| option(&mut read, key, node, notes));
    if read.stream.is_empty() {
        return Err(Error::at(&node.at, "a durable subscription needs a stream"));
    }
    if read.subjects.is_empty() {
        return Err(Error::at(&node.at, format!("durable subscription of {} needs subjects", quote(&read.stream))));
    }
    if read.name.is_empty() {
        read.name = read.stream.clone();
    }
    Ok(read)
}

fn option(read: &mut DurableSubscription, key: &str, node: &Node, notes: &mut Notes) -> Result<Taken, Error> {
    match key {
        "name" => read.name = name(node)?,
        "account" => read.account = Some(node.text()?.to_owned()),
        // They are tokens of subjects, and one of them may name a folder.
        "stream" => read.stream = name(node)?,
        "consumer" => read.consumer = Some(name(node)?),
        "domain" => read.domain = Some(name(node)?),
        "subjects" | "subject" => read.subjects = subjects(node)?,
        "deliver" => read.deliver = choice(node, "deliver", &[("all", Deliver::All), ("new", Deliver::New)])?,
        "batch" => read.batch = window(key, node, BATCH_MAX)?,
        "ack_wait" => read.ack_wait = at_least_a_second(key, node, notes)?,
        "max_msgs" => read.msgs_max = amount(key, node)?,
        "max_bytes" => read.bytes_max = amount(key, node)?,
        "max_age" => read.age_max = days(key, node, notes)?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}
