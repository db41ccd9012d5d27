//! `exports` and `imports` of an account. Whether they fit together is looked at in [`crate::account::sharing`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration;
use super::error::{Error, Notes, quote};
use super::model::{Approval, Export, Flow, Import, Latency, Response, ResponseKind, Sampling};
use super::permissions::is_subject;
use super::read::{Taken, entries, unknown_field};
use super::value::{Map, Node, Value};

/// Reads `exports`. Those that are wrong are reported and left out.
pub(super) fn exports(node: &Node, notes: &mut Notes) -> Result<Vec<Export>, Error> {
    let Value::List(list) = &node.value else {
        return Err(Error::at(&node.at, format!("Exports should be an array, got {}", node.value.kind())));
    };
    let mut all = Vec::with_capacity(list.len());
    for node in list {
        let read = export(node, notes);
        all.extend(notes.take(read).flatten());
    }
    Ok(all)
}

/// What an item says, one after the other.
#[derive(Default)]
struct Draft {
    what: Option<(Flow, String)>,
    accounts: Option<Vec<String>>,
    position: Option<usize>,
    kind: Option<ResponseKind>,
    threshold: Option<Duration>,
    latency: Option<Latency>,
    allow_trace: bool,
}

/// `None` where a fault within it is reported already.
fn export(node: &Node, notes: &mut Notes) -> Result<Option<Export>, Error> {
    let map = item(node, "Export")?;
    let mut draft = Draft::default();
    let mut wrong = false;
    entries(map, notes, unknown_field, |key, node, _| {
        let set = set_export(&mut draft, key, node);
        wrong |= set.is_err();
        set
    });
    if wrong {
        return Ok(None);
    }
    let Some((flow, subject)) = draft.what.take() else {
        return Err(Error::at(&node.at, "Expected a stream or a service to export"));
    };
    only_services(&draft, flow, node)?;
    let to = match (draft.position, draft.accounts) {
        (Some(position), _) => Approval::Position(position),
        (None, Some(accounts)) => Approval::Accounts(accounts),
        (None, None) => Approval::Public,
    };
    let default = Response::default();
    let response =
        Response { kind: draft.kind.unwrap_or(default.kind), threshold: draft.threshold.unwrap_or(default.threshold) };
    Ok(Some(Export { flow, subject, to, response, latency: draft.latency, allow_trace: draft.allow_trace }))
}

fn set_export(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    match key {
        "stream" => draft.what = Some((Flow::Stream, once(&draft.what, "stream", node)?)),
        "service" => draft.what = Some((Flow::Service, once(&draft.what, "service", node)?)),
        "accounts" => {
            let names = node.texts("export accounts")?;
            draft.accounts = Some(names).filter(|names| !names.is_empty());
        }
        "response" | "response_type" => draft.kind = Some(response_kind(node)?),
        "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
            draft.threshold = Some(threshold(node)?).filter(|threshold| !threshold.is_zero());
        }
        "latency" => draft.latency = Some(latency(node)?),
        "account_token_position" => {
            let number = node.integer()?;
            let position = usize::try_from(number)
                .map_err(|_| Error::at(&node.at, "account_token_position value can not be negative"))?;
            draft.position = Some(position).filter(|position| *position > 0);
        }
        "allow_trace" => draft.allow_trace = node.boolean()?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// The subject, if nothing was said before.
fn once(before: &Option<(Flow, String)>, now: &str, node: &Node) -> Result<String, Error> {
    let subject = node.text()?;
    if let Some((flow, _)) = before {
        let before = name(*flow);
        return Err(Error::at(&node.at, format!("Detected {now} {} but already saw a {before}", quote(subject))));
    }
    if !is_subject(subject) {
        // nats-server takes it, and nothing can ever be published to it.
        return Err(Error::at(&node.at, format!("{} is not a valid subject", quote(subject))));
    }
    Ok(subject.to_owned())
}

fn name(flow: Flow) -> &'static str {
    match flow {
        Flow::Stream => "stream",
        Flow::Service => "service",
    }
}

fn only_services(draft: &Draft, flow: Flow, node: &Node) -> Result<(), Error> {
    if flow == Flow::Service {
        return Ok(());
    }
    let wrong = |what: &str| Err(Error::at(&node.at, format!("Detected {what} directive on non-service")));
    if draft.kind.is_some() || draft.threshold.is_some() {
        return wrong("response");
    }
    if draft.latency.is_some() {
        return wrong("latency");
    }
    if draft.allow_trace {
        return wrong("allow_trace");
    }
    Ok(())
}

fn item<'a>(node: &'a Node, what: &str) -> Result<&'a Map, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("{what} Items should be a map with type entry, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    Ok(map)
}

fn response_kind(node: &Node) -> Result<ResponseKind, Error> {
    let text = node.text()?;
    match text.to_ascii_lowercase().as_str() {
        "single" | "singleton" => Ok(ResponseKind::Singleton),
        "stream" => Ok(ResponseKind::Stream),
        "chunk" | "chunked" => Ok(ResponseKind::Chunked),
        _ => Err(Error::at(&node.at, format!("Unknown response type: {}", quote(text)))),
    }
}

fn threshold(node: &Node) -> Result<Duration, Error> {
    let wrong = |got: &str| {
        Error::at(&node.at, format!("Expected response threshold to be a parseable time duration, got {got}"))
    };
    let Value::Text(text) = &node.value else { return Err(wrong(node.value.kind())) };
    let nanos = duration::parse(text).map_err(|_| wrong(&quote(text)))?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| wrong(&quote(text)))
}

fn latency(node: &Node) -> Result<Latency, Error> {
    let map = match &node.value {
        Value::Text(subject) => return Ok(Latency { sampling: Sampling::Percent(100), subject: subject.clone() }),
        Value::Map(map) => map,
        other => {
            let text = format!("Expected latency entry to be a map/struct or string, got {}", other.kind());
            return Err(Error::at(&node.at, text));
        }
    };
    let (mut sampling, mut subject) = (Sampling::Percent(100), None);
    for entry in map.entries() {
        match entry.key.to_ascii_lowercase().as_str() {
            "sampling" => sampling = samples(&entry.node)?,
            "subject" => subject = Some(entry.node.text()?.to_owned()),
            _ if entry.used => {}
            _ => return Err(Error::unknown(&entry.node.at, &entry.key)),
        }
    }
    let subject = subject.ok_or_else(|| Error::at(&node.at, "Latency subject required, but missing"))?;
    Ok(Latency { sampling, subject })
}

fn samples(node: &Node) -> Result<Sampling, Error> {
    let number = match &node.value {
        Value::Integer(number) => *number,
        Value::Text(text) if text.trim().eq_ignore_ascii_case("headers") => return Ok(Sampling::Headers),
        Value::Text(text) => {
            let digits = text.trim().strip_suffix('%').unwrap_or(text);
            digits.parse().map_err(|_| {
                let text =
                    format!("Failed to parse latency sample: strconv.Atoi: parsing {}: invalid syntax", quote(digits));
                Error::at(&node.at, text)
            })?
        }
        other => {
            let text = format!("Expected latency sample to be a string or map/struct, got {}", other.kind());
            return Err(Error::at(&node.at, text));
        }
    };
    let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
    percent.map(Sampling::Percent).ok_or_else(|| Error::at(&node.at, "bad sampling percentage, should be 1-100"))
}

/// Reads `imports`. Those that are wrong are reported and left out.
pub(super) fn imports(node: &Node, notes: &mut Notes) -> Result<Vec<Import>, Error> {
    let Value::List(list) = &node.value else {
        return Err(Error::at(&node.at, format!("Imports should be an array, got {}", node.value.kind())));
    };
    let mut all: Vec<Import> = Vec::with_capacity(list.len());
    let mut services: BTreeMap<(String, String), String> = BTreeMap::new();
    for node in list {
        let read = import(node, notes);
        let Some(import) = notes.take(read).flatten() else { continue };
        if import.flow == Flow::Service {
            let (account, subject) = (&import.account, &import.subject);
            if let Some(before) = services.insert((account.clone(), import.local.clone()), subject.clone()) {
                let local = quote(&import.local);
                let used =
                    format!("previously used in import for account {}, subject {}", quote(account), quote(&before));
                notes.error(Error::at(&node.at, format!("Duplicate service import subject {local}, {used}")));
                continue;
            }
        }
        all.push(import);
    }
    Ok(all)
}

fn import(node: &Node, notes: &mut Notes) -> Result<Option<Import>, Error> {
    let map = item(node, "Import")?;
    let (mut what, mut prefix, mut to) = (None, None, None);
    let (mut share, mut allow_trace, mut wrong) = (false, false, false);
    entries(map, notes, unknown_field, |key, node, _| {
        let mut set = || {
            match key {
                "stream" => what = Some(source(&what, Flow::Stream, node)?),
                "service" => what = Some(source(&what, Flow::Service, node)?),
                "prefix" => prefix = Some(node.text()?.to_owned()),
                "to" => to = Some(node.text()?.to_owned()),
                "share" => share = node.boolean()?,
                "allow_trace" => allow_trace = node.boolean()?,
                _ => return Ok(Taken::No),
            }
            Ok(Taken::Yes)
        };
        let set = set();
        wrong |= set.is_err();
        set
    });
    if wrong {
        return Ok(None);
    }
    let Some((flow, account, subject)) = what else {
        return Err(Error::at(&node.at, "Expected a stream or a service to import"));
    };
    let fault = |text: &str| Err(Error::at(&node.at, text));
    let local = match (prefix, to) {
        (Some(_), Some(_)) if flow == Flow::Stream => {
            return fault("Stream import can not have a 'prefix' and a 'to' property");
        }
        (Some(_), _) if flow == Flow::Service => return fault("A service import takes 'to', not 'prefix'"),
        (Some(prefix), _) if !prefix.is_empty() => format!("{}.{subject}", prefix.strip_suffix('.').unwrap_or(&prefix)),
        (_, Some(to)) if !to.is_empty() => to,
        _ => subject.clone(),
    };
    if allow_trace && flow == Flow::Service {
        return fault("Detected allow_trace directive on a non-stream");
    }
    if !is_subject(&local) {
        return Err(Error::at(&node.at, format!("{} is not a valid subject", quote(&local))));
    }
    Ok(Some(Import { flow, account, subject, local, share, allow_trace, activation: None }))
}

type What = (Flow, String, String);

fn source(before: &Option<What>, flow: Flow, node: &Node) -> Result<What, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("Import entries should be {{account, subject}}, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    let (mut account, mut subject) = (String::new(), String::new());
    for entry in map.entries() {
        match entry.key.to_ascii_lowercase().as_str() {
            "account" => account = entry.node.text()?.to_owned(),
            "subject" => subject = entry.node.text()?.to_owned(),
            _ if entry.used => {}
            _ => return Err(Error::unknown(&entry.node.at, &entry.key)),
        }
    }
    if account.is_empty() || subject.is_empty() {
        return Err(Error::at(&node.at, "Expect an account name and a subject"));
    }
    if let Some((earlier, ..)) = before {
        let (now, before) = (name(flow), name(*earlier));
        return Err(Error::at(&node.at, format!("Detected {now} but already saw a {before}")));
    }
    if !is_subject(&subject) {
        return Err(Error::at(&node.at, format!("{} is not a valid subject", quote(&subject))));
    }
    Ok((flow, account, subject))
}
