//! What a user may do: `permissions`, `default_permissions`.

use std::time::Duration;

use super::duration;
use super::error::{Error, Notes, quote};
use super::model::{Permissions, Responses, Rules};
use super::read::{Taken, entries};
use super::value::{Map, Node, Value};
use crate::subject;

/// `allow_responses: true`: one answer within two minutes.
const RESPONSES: Responses = Responses { max: Some(1), expires: Some(Duration::from_secs(120)) };

/// Whether the subjects of a list may carry a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queues {
    Allowed,
    Refused,
}

/// Reads a `permissions` block.
pub(super) fn permissions(node: &Node, notes: &mut Notes) -> Result<Permissions, Error> {
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, format!("Expected permissions to be a map/struct, got {}", node.value.kind())));
    };
    let mut all = Permissions::default();
    entries(map, notes, unknown, |key, node, notes| {
        match key {
            "publish" | "pub" | "import" => all.publish = rules(node, Queues::Refused, notes)?,
            "subscribe" | "sub" | "export" => all.subscribe = rules(node, Queues::Allowed, notes)?,
            "allow_responses" | "publish_allow_responses" => all.responses = responses(node, notes)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    // Who may answer may not publish anything else, unless it is said.
    if all.responses.is_some() && all.publish.allow.is_none() {
        all.publish.allow = Some(Vec::new());
    }
    Ok(all)
}

fn unknown(node: &Node, key: &str) -> Error {
    Error::at(&node.at, format!("Unknown field {} parsing permissions", quote(key)))
}

fn unknown_rule(node: &Node, key: &str) -> Error {
    let only = "only 'allow' or 'deny' are permitted";
    Error::at(&node.at, format!("Unknown field name {} parsing subject permissions, {only}", quote(key)))
}

/// A subject, a list of subjects, or `{allow, deny}` of such.
fn rules(node: &Node, queues: Queues, notes: &mut Notes) -> Result<Rules, Error> {
    let Value::Map(map) = &node.value else {
        return Ok(Rules { allow: some(subjects(node, queues)?), deny: Vec::new() });
    };
    let mut rules = Rules::default();
    entries(map, notes, unknown_rule, |key, node, _| {
        match key {
            "allow" => rules.allow = some(subjects(node, queues)?),
            "deny" => rules.deny = subjects(node, queues)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    Ok(rules)
}

/// To nats-server an empty list is as if it were not there, so it allows everything.
fn some(subjects: Vec<String>) -> Option<Vec<String>> {
    Some(subjects).filter(|subjects| !subjects.is_empty())
}

fn subjects(node: &Node, queues: Queues) -> Result<Vec<String>, Error> {
    let list: Vec<String> = match &node.value {
        Value::Text(subject) => vec![subject.clone()],
        Value::List(list) => {
            let cast = |node: &Node| Error::at(&node.at, "Subject in permissions array cannot be cast to string");
            list.iter().map(|node| node.text().map(str::to_owned).map_err(|_| cast(node))).collect::<Result<_, _>>()?
        }
        other => {
            let text =
                format!("Expected subject permissions to be a subject, or array of subjects, got {}", other.kind());
            return Err(Error::at(&node.at, text));
        }
    };
    list.iter().try_for_each(|entry| check(entry, queues)).map_err(|text| Error::at(&node.at, text))?;
    Ok(list)
}

fn check(entry: &str, queues: Queues) -> Result<(), String> {
    let wrong = |subject: &str| format!("subject {} is not a valid subject", quote(subject));
    if is_subject(entry) {
        return Ok(());
    }
    let words: Vec<&str> = entry.split_whitespace().collect();
    match words[..] {
        [subject, queue] if queues == Queues::Allowed => match (is_subject(subject), is_subject(queue)) {
            (true, true) => Ok(()),
            (false, _) => Err(wrong(subject)),
            (true, false) => Err(format!("queue {} is not a valid queue", quote(queue))),
        },
        _ => Err(wrong(entry)),
    }
}

/// Whether this is a subject, maybe with wildcards.
pub(super) fn is_subject(text: &str) -> bool {
    subject::is_valid(text.as_bytes()) && !text.contains([' ', '\t', '\r', '\n', '\u{c}'])
}

fn responses(node: &Node, notes: &mut Notes) -> Result<Option<Responses>, Error> {
    match &node.value {
        Value::Bool(on) => Ok(on.then_some(RESPONSES)),
        Value::Map(map) => Ok(Some(response_limits(map, notes))),
        _ => Err(Error::at(&node.at, "error parsing response permissions, expected a boolean or a map")),
    }
}

fn response_limits(map: &Map, notes: &mut Notes) -> Responses {
    let mut limits = RESPONSES;
    entries(map, notes, unknown, |key, node, _| {
        match key {
            "max" | "max_msgs" | "max_messages" | "max_responses" => match node.integer()? {
                0 => {}
                number => limits.max = (number > 0).then(|| u32::try_from(number).unwrap_or(u32::MAX)),
            },
            "expires" | "expiration" | "ttl" => match expires(node)? {
                0 => {}
                nanos => limits.expires = u64::try_from(nanos).ok().map(Duration::from_nanos),
            },
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    limits
}

fn expires(node: &Node) -> Result<duration::Nanos, Error> {
    let Value::Text(text) = &node.value else {
        return Err(Error::at(&node.at, "error parsing expires, not a duration string"));
    };
    duration::parse(text).map_err(|why| Error::at(&node.at, format!("error parsing expires: {why}")))
}
