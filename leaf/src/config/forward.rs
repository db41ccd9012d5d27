//! `store_and_forward`: what goes into a log on flash, and from there to the hub. An option of ours.

use std::time::Duration;

use super::duration;
use super::error::{Error, Notes, quote};
use super::model::{Discard, Forward};
use super::permissions::is_subject;
use super::read::{Draft, Taken, entries, unknown_field};
use super::value::{Node, Value};
use crate::outbox::Confirm;
use crate::subject;

/// Logs at most: each has its own files and its own window.
const LOGS_MAX: usize = 64;

/// `store_and_forward`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if key != "store_and_forward" {
        return Ok(Taken::No);
    }
    for node in node.list()? {
        let read = forward(node, &mut draft.notes);
        if let Some(read) = draft.notes.take(read) {
            let added = add(&mut draft.config.forwards, read, node);
            draft.notes.take(added);
        }
    }
    Ok(Taken::Yes)
}

fn add(all: &mut Vec<Forward>, one: Forward, node: &Node) -> Result<(), Error> {
    if all.len() == LOGS_MAX {
        return Err(Error::at(&node.at, format!("more than {LOGS_MAX} logs in store_and_forward")));
    }
    if all.iter().any(|other| other.name == one.name) {
        return Err(Error::at(&node.at, format!("Duplicate store_and_forward log: {}", quote(&one.name))));
    }
    for other in all.iter().filter(|other| other.account == one.account) {
        for (a, b) in other.subjects.iter().flat_map(|a| one.subjects.iter().map(move |b| (a, b))) {
            if subject::overlaps(a.as_bytes(), b.as_bytes()) {
                let (a, b) = (quote(a), quote(b));
                let text = format!("{b} of log {} overlaps {a} of log {}", quote(&one.name), quote(&other.name));
                return Err(Error::at(&node.at, text));
            }
        }
    }
    all.push(one);
    Ok(())
}

fn forward(node: &Node, notes: &mut Notes) -> Result<Forward, Error> {
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, format!("Expected a log of store_and_forward, got {}", node.value.kind())));
    };
    let mut read = Forward::default();
    entries(map, notes, unknown_field, |key, node, notes| option(&mut read, key, node, notes));
    if read.name.is_empty() {
        return Err(Error::at(&node.at, "a log of store_and_forward needs a name"));
    }
    if read.subjects.is_empty() {
        return Err(Error::at(&node.at, format!("log {} needs subjects", quote(&read.name))));
    }
    Ok(read)
}

fn option(read: &mut Forward, key: &str, node: &Node, notes: &mut Notes) -> Result<Taken, Error> {
    match key {
        "name" => read.name = name(node)?,
        "account" => read.account = Some(node.text()?.to_owned()),
        "subjects" | "subject" => read.subjects = subjects(node)?,
        "confirm" => read.terms.confirm = confirm(node)?,
        "discard" => read.discard = discard(node)?,
        "refused" => read.drop_refused = refused(node)?,
        "max_bytes" => read.bytes_max = amount(key, node)?,
        "max_msgs" => read.msgs_max = amount(key, node)?,
        "max_age" => read.age_max = days(key, node, notes)?,
        "duplicate_window" => read.dedupe_window = days(key, node, notes)?,
        "commit_interval" => read.commit_interval = days(key, node, notes)?,
        "priority" => read.priority = i32::try_from(node.integer()?).map_err(|_| too_big(key, node))?,
        "rate" => read.terms.rate = amount(key, node)?,
        "ack_wait" => read.terms.ack_wait = at_least_a_second(key, node, notes)?,
        "window_msgs" => read.terms.window_msgs_max = window(key, node, 65_536)?,
        "window_bytes" => read.terms.window_bytes_max = window(key, node, 64 << 20)?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// A name is a folder's name, and a token of subjects and message ids.
pub(super) fn name(node: &Node) -> Result<String, Error> {
    let text = node.text()?;
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(ok) {
        let text = format!("{} cannot name a log: use 1 to 64 letters, digits, '-' and '_'", quote(text));
        return Err(Error::at(&node.at, text));
    }
    Ok(text.to_owned())
}

pub(super) fn subjects(node: &Node) -> Result<Vec<String>, Error> {
    let subjects = node.texts("subjects")?;
    for text in &subjects {
        if !is_subject(text) {
            return Err(Error::at(&node.at, format!("Subject {} is not a valid subject", quote(text))));
        }
        if text == ">" || text.starts_with("*.") || text == "*" || text.starts_with('$') {
            let text = format!("{} would capture replies and the server's own messages", quote(text));
            return Err(Error::at(&node.at, text));
        }
    }
    Ok(subjects)
}

pub(super) fn choice<T: Copy>(node: &Node, what: &str, of: &[(&str, T)]) -> Result<T, Error> {
    let text = node.text()?;
    let found = of.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = of.iter().map(|(name, _)| *name).collect();
        Error::at(&node.at, format!("{what} is {}, not {}", names.join(" or "), quote(text)))
    })
}

fn confirm(node: &Node) -> Result<Confirm, Error> {
    choice(node, "confirm", &[("stored", Confirm::Stored), ("routed", Confirm::Routed)])
}

fn discard(node: &Node) -> Result<Discard, Error> {
    choice(node, "discard", &[("old", Discard::Old), ("new", Discard::New)])
}

fn refused(node: &Node) -> Result<bool, Error> {
    choice(node, "refused", &[("hold", false), ("drop", true)])
}

fn too_big(key: &str, node: &Node) -> Error {
    Error::at(&node.at, format!("{key} value is too big"))
}

/// 0 or a negative number is no limit.
pub(super) fn amount(_: &str, node: &Node) -> Result<u64, Error> {
    Ok(u64::try_from(node.integer()?).unwrap_or(0))
}

pub(super) fn window(key: &str, node: &Node, most: usize) -> Result<usize, Error> {
    let number = usize::try_from(node.integer()?).unwrap_or(0);
    if number == 0 || number > most {
        return Err(Error::at(&node.at, format!("{key} must be from 1 to {most}")));
    }
    Ok(number)
}

pub(super) fn at_least_a_second(key: &str, node: &Node, notes: &mut Notes) -> Result<Duration, Error> {
    let given = days(key, node, notes)?;
    if given < Duration::from_secs(1) {
        return Err(Error::at(&node.at, format!("{key} must be at least 1s")));
    }
    Ok(given)
}

/// A duration as elsewhere, or a whole number of days: `7d`.
pub(super) fn days(key: &str, node: &Node, notes: &mut Notes) -> Result<Duration, Error> {
    let Value::Text(text) = &node.value else { return duration::of_option(key, node, notes) };
    match text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        Some(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        None => duration::of_option(key, node, notes),
    }
}
