//! Options about accounts: `accounts`, `mappings`, `system_account`.

use std::collections::{HashMap, HashSet};

use super::authorization::{self, Users, users};
use super::defaults::{GLOBAL_ACCOUNT, SYSTEM_ACCOUNT};
use super::error::{At, Error, Notes, quote};
use super::exports;
use super::listen::some;
use super::model::{Account, AccountLimits, Destination, Mapping, TraceTo};
use super::permissions::{is_subject, permissions};
use super::read::{Draft, Taken, entries, unknown_field};
use super::value::{Entry, Node, Value};
use crate::account::sharing;
use crate::auth::nkey::{Kind, PublicKey};
use crate::subject;

/// What is put together in the end.
#[derive(Default)]
pub(super) struct Accounts {
    /// The lists of users, in their order among all.
    pub(super) groups: Vec<authorization::Group>,
    pub(super) system: Option<String>,
    no_system: bool,
    /// Where `accounts` stands.
    at: Option<At>,
}

/// `accounts`, `mappings`, `system_account` and the like.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    match key {
        "accounts" => {
            draft.accounts.at = Some(node.at.clone());
            accounts(draft, node)?;
        }
        "mappings" | "maps" => {
            let mappings = mappings(node, &mut draft.notes)?;
            if let Some(global) = draft.config.accounts.first_mut() {
                global.mappings = mappings;
            }
        }
        "system_account" | "system" => {
            let name = some(node).map_err(|_| Error::at(&node.at, "system account name must be a string"))?;
            draft.accounts.system = name;
        }
        "no_system_account" | "no_system" | "no_sys_acc" => draft.accounts.no_system = node.boolean()?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// Settles which account is the system account.
pub(super) fn finish(draft: &mut Draft) {
    let default = (!draft.accounts.no_system).then(|| SYSTEM_ACCOUNT.to_owned());
    draft.config.system_account = draft.accounts.system.take().or(default);
    let Some(at) = draft.accounts.at.take() else { return };
    for fault in sharing::faults(&draft.config.accounts) {
        draft.notes.error(Error::at(&at, fault));
    }
}

fn accounts(draft: &mut Draft, node: &Node) -> Result<(), Error> {
    match &node.value {
        Value::List(list) => names(draft, list),
        Value::Map(map) => {
            // A variable may be defined among the accounts.
            for entry in map.entries().filter(|entry| !entry.used) {
                let result = account(draft, entry);
                draft.notes.take(result);
            }
            Ok(())
        }
        other => Err(Error::at(&node.at, format!("Expected map or list of accounts, got {}", other.kind()))),
    }
}

fn names(draft: &mut Draft, list: &[Node]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for node in list {
        let name = node.text()?;
        let result = reserve(&node.at, name);
        if draft.notes.take(result).is_none() {
            continue;
        }
        if seen.insert(name) {
            draft.config.accounts.push(Account { name: name.to_owned(), ..Account::default() });
        } else {
            draft.notes.error(Error::at(&node.at, format!("Duplicate Account Entry: {name}")));
        }
    }
    Ok(())
}

fn reserve(at: &At, name: &str) -> Result<(), Error> {
    if name == GLOBAL_ACCOUNT {
        return Err(Error::at(at, format!("{} is a Reserved Account", quote(name))));
    }
    Ok(())
}

fn account(draft: &mut Draft, entry: &Entry) -> Result<(), Error> {
    let Value::Map(map) = &entry.node.value else {
        return Err(Error::at(&entry.node.at, "Expected map entries for accounts"));
    };
    reserve(&entry.node.at, &entry.key)?;
    let mut account = Account { name: entry.key.clone(), ..Account::default() };
    let mut members = (entry.node.at.clone(), Users::default());
    let mut default = None;
    entries(map, &mut draft.notes, unknown_field, |key, node, notes| {
        match key {
            "users" => members = (node.at.clone(), users(node, notes)?),
            "default_permissions" => default = Some(permissions(node, notes)?.into()),
            "mappings" | "maps" => account.mappings = mappings(node, notes)?,
            "limits" => account.limits = limits(node, notes)?,
            "exports" => account.exports = exports::exports(node, notes)?,
            "imports" => account.imports = exports::imports(node, notes)?,
            "msg_trace" | "trace_dest" => account.trace = trace(key, node, notes)?,
            "nkey" => check_key(node)?,
            "jetstream" => unsupported(key, node)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    members.1.permit(default.as_ref());
    members.1.join(draft.config.accounts.len());
    draft.config.accounts.push(account);
    authorization::add(draft, members.0, members.1);
    Ok(())
}

/// `nkey` of an account names it, and means nothing more, here as there.
fn check_key(node: &Node) -> Result<(), Error> {
    let is_account = |text: &str| PublicKey::parse(text).is_ok_and(|key| key.kind() == Kind::Account);
    match &node.value {
        Value::Text(text) if is_account(text) => Ok(()),
        Value::Text(text) => {
            Err(Error::at(&node.at, format!("Not a valid public nkey for an account: {}", quote(text))))
        }
        other => Err(Error::at(&node.at, format!("Not a valid public nkey for an account: {}", other.kind()))),
    }
}

/// Refuses what accounts cannot have yet, unless it asks for nothing.
fn unsupported(key: &str, node: &Node) -> Result<(), Error> {
    match (key, &node.value) {
        ("jetstream", Value::Bool(false)) => Ok(()),
        ("jetstream", Value::Text(word)) if word.eq_ignore_ascii_case("disabled") => Ok(()),
        _ => Err(Error::unsupported(&node.at, key)),
    }
}

/// Reads `msg_trace`: a destination, or a map of it and `sampling`.
fn trace(key: &str, node: &Node, notes: &mut Notes) -> Result<Option<TraceTo>, Error> {
    let map = match &node.value {
        Value::Text(_) => return Ok(Some(TraceTo { dest: trace_dest(node)?, sampling: 100 })),
        Value::Map(map) => map,
        other => {
            let kind = other.kind();
            let text =
                format!("Expected account message trace {} to be a string or a map/struct, got {kind}", quote(key));
            return Err(Error::at(&node.at, text));
        }
    };
    let (mut dest, mut sampling) = (None, None);
    for entry in map.entries() {
        match entry.key.to_ascii_lowercase().as_str() {
            "dest" => dest = Some(trace_dest(&entry.node)?),
            "sampling" => sampling = Some(trace_sampling(&entry.node)?),
            _ if entry.used => {}
            _ => {
                let (field, key) = (quote(&entry.key), quote(key));
                let text = format!("Unknown field {field} parsing account message trace map/struct {key}");
                return Err(Error::at(&entry.node.at, text));
            }
        }
    }
    if dest.is_none() && sampling.is_some() {
        notes.remark(Error::at(&node.at, "Trace destination sampling ignored since no destination was set"));
    }
    Ok(dest.map(|dest| TraceTo { dest, sampling: sampling.unwrap_or(100) }))
}

fn trace_dest(node: &Node) -> Result<String, Error> {
    let dest = node.text()?;
    if !subject::is_valid_literal(dest.as_bytes()) {
        return Err(Error::at(&node.at, format!("Trace destination {} is not valid", quote(dest))));
    }
    Ok(dest.to_owned())
}

/// 1 to 100, as a number or with a per cent sign.
fn trace_sampling(node: &Node) -> Result<u8, Error> {
    let number =
        match &node.value {
            Value::Integer(number) => *number,
            Value::Text(text) => text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| {
                Error::at(&node.at, format!("Invalid trace destination sampling value {}", quote(text)))
            })?,
            other => {
                let kind = other.kind();
                let text = format!(
                    "Trace destination sampling field \"sampling\" should be an integer or a percentage, got {kind}"
                );
                return Err(Error::at(&node.at, text));
            }
        };
    u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| {
        let text = format!("Trace destination sampling value {number} is invalid, needs to be [1..100]");
        Error::at(&node.at, text)
    })
}

fn unknown_limit(node: &Node, key: &str) -> Error {
    Error::at(&node.at, format!("Unknown field {} parsing account limits", quote(key)))
}

fn limits(node: &Node, notes: &mut Notes) -> Result<AccountLimits, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("Expected account limits to be a map/struct, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    let mut limits = AccountLimits::default();
    entries(map, notes, unknown_limit, |key, node, _| {
        match key {
            "max_connections" | "max_conn" => limits.max_connections = limit(node)?,
            "max_subscriptions" | "max_subs" => limits.max_subscriptions = limit(node)?,
            "max_payload" | "max_pay" => limits.max_payload = limit(node)?.map(|max| max as usize),
            "max_leafnodes" | "max_leafs" => limits.max_leafnodes = limit(node)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    Ok(limits)
}

/// A bound; a negative number is none.
fn limit(node: &Node) -> Result<Option<u32>, Error> {
    let number = node.integer()?;
    Ok((number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX)))
}

/// Reads `mappings`. Their templates are looked at where they are compiled.
fn mappings(node: &Node, notes: &mut Notes) -> Result<Vec<Mapping>, Error> {
    let mut all = Vec::new();
    for entry in node.map()?.entries().filter(|entry| !entry.used) {
        all.extend(notes.take(mapping(entry)));
    }
    Ok(all)
}

fn mapping(entry: &Entry) -> Result<Mapping, Error> {
    let (source, node) = (&entry.key, &entry.node);
    if !is_subject(source) {
        return Err(Error::at(&node.at, format!("Subject {} is not a valid subject", quote(source))));
    }
    let destinations = match &node.value {
        Value::Text(template) => vec![Destination { template: template.clone(), weight: 100, cluster: None }],
        Value::List(list) => list.iter().map(destination).collect::<Result<_, _>>()?,
        _ => vec![destination(node)?],
    };
    check(&destinations)
        .map_err(|why| Error::at(&node.at, format!("Error adding mapping for {} : {why}", quote(source))))?;
    Ok(Mapping { source: source.clone(), destinations })
}

fn check(destinations: &[Destination]) -> Result<(), String> {
    let mut seen = HashSet::new();
    let mut totals: HashMap<Option<&str>, u32> = HashMap::new();
    for destination in destinations {
        if destination.template.is_empty() {
            return Err("invalid mapping destination".to_owned());
        }
        if !seen.insert(&destination.template) {
            return Err(format!("duplicate entry for {}", quote(&destination.template)));
        }
        let total = totals.entry(destination.cluster.as_deref()).or_default();
        *total += u32::from(destination.weight);
        if *total > 100 {
            return Err("total weight needs to be <= 100".to_owned());
        }
    }
    Ok(())
}

fn destination(node: &Node) -> Result<Destination, Error> {
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, "Expected an entry for the mapping destination"));
    };
    let (mut template, mut cluster, mut given) = (String::new(), None, None);
    for entry in map.entries() {
        let node = &entry.node;
        match entry.key.to_ascii_lowercase().as_str() {
            "destination" | "dest" => template = node.text()?.to_owned(),
            "weight" => given = Some(weight(node)?),
            "cluster" => cluster = some(node)?,
            _ if entry.used => {}
            _ => {
                let text = format!("Unknown field {} for mapping destination", quote(&entry.key));
                return Err(Error::at(&node.at, text));
            }
        }
    }
    let missing = || Error::at(&node.at, format!("Missing weight for mapping destination {}", quote(&template)));
    let weight = given.ok_or_else(missing)?;
    Ok(Destination { template, weight, cluster })
}

/// 0 to 100, as a number or with a per cent sign.
fn weight(node: &Node) -> Result<u8, Error> {
    let (number, shown) = match &node.value {
        Value::Text(text) => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            (digits.parse().ok(), quote(digits))
        }
        Value::Integer(number) => (Some(*number), number.to_string()),
        other => {
            return Err(Error::at(&node.at, format!("Unknown entry type for weight of {}", other.kind())));
        }
    };
    let weight = number.and_then(|number| u8::try_from(number).ok()).filter(|&weight| weight <= 100);
    weight.ok_or_else(|| Error::at(&node.at, format!("Invalid weight {shown} for mapping destination")))
}
