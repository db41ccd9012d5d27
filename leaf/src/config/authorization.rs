//! Who may log in: `authorization`, and the users that accounts have.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::defaults::GLOBAL_ACCOUNT;
use super::duration;
use super::error::{At, Error, Notes, quote};
use super::listen::some;
use super::model::{Callout, NkeyUser, Permissions, Secret, User};
use super::permissions::permissions;
use super::read::{Draft, Taken, entries, unknown_field};
use super::value::{Map, Node, Value};
use crate::auth::nkey;

/// From here on a timeout is thought to be a slip.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// The kinds of connections nats-server knows.
const CONNECTION_TYPES: [&str; 7] =
    ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];

/// A list of users.
#[derive(Debug, Default)]
pub(super) struct Users {
    named: Vec<User>,
    nkeys: Vec<NkeyUser>,
}

impl Users {
    /// Puts all into the account with this index.
    pub(super) fn join(&mut self, account: usize) {
        self.named.iter_mut().for_each(|user| user.account = account);
        self.nkeys.iter_mut().for_each(|user| user.account = account);
    }

    /// Gives those who have no permissions of their own these.
    pub(super) fn permit(&mut self, default: Option<&Arc<Permissions>>) {
        let named = self.named.iter_mut().map(|user| &mut user.permissions);
        let nkeys = self.nkeys.iter_mut().map(|user| &mut user.permissions);
        named.chain(nkeys).filter(|own| own.is_none()).for_each(|own| *own = default.cloned());
    }
}

/// The `authorization` block as it stands.
pub(super) struct Authorization {
    at: At,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    users: Option<Users>,
    permissions: Option<Arc<Permissions>>,
    timeout: Option<Duration>,
    callout: Option<Callout>,
}

/// `authorization`, `no_auth_user`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    match key {
        "authorization" => draft.authorization = Some(block(node, &mut draft.notes)?),
        "no_auth_user" => draft.config.auth.no_auth_user = some(node)?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

fn block(node: &Node, notes: &mut Notes) -> Result<Authorization, Error> {
    let map = node.map()?;
    let mut auth = Authorization {
        at: node.at.clone(),
        user: None,
        password: None,
        token: None,
        users: None,
        permissions: None,
        timeout: None,
        callout: None,
    };
    entries(map, notes, unknown_field, |key, node, notes| {
        match key {
            "user" | "username" => auth.user = some(node)?,
            "pass" | "password" => auth.password = some(node)?,
            "token" => auth.token = some(node)?,
            "timeout" => auth.timeout = timeout(node, notes)?,
            "users" => auth.users = Some(users(node, notes)?),
            "default_permissions" | "default_permission" | "permissions" => {
                auth.permissions = Some(permissions(node, notes)?.into());
            }
            "auth_callout" | "auth_hook" => auth.callout = Some(callout(node, notes)?),
            "proxy_required" => refuse_true(key, node)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    Ok(auth)
}

fn unknown_callout(node: &Node, key: &str) -> Error {
    Error::at(&node.at, format!("Unknown field {} parsing authorization callout", quote(key)))
}

fn callout(node: &Node, notes: &mut Notes) -> Result<Callout, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("Expected authorization callout to be a map/struct, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    let mut callout = Callout { account: GLOBAL_ACCOUNT.to_owned(), ..Callout::default() };
    entries(map, notes, unknown_callout, |key, node, _| {
        match key {
            "issuer" => {
                callout.issuer =
                    key_of(node, nkey::Kind::Account, "Expected callout user to be a valid public account nkey")?;
            }
            "account" | "acc" => callout.account = node.text()?.to_owned(),
            "auth_users" | "users" => callout.users = texts(node, "auth_users")?,
            "xkey" | "key" => {
                callout.xkey =
                    Some(key_of(node, nkey::Kind::Curve, "Expected callout xkey to be a valid public xkey")?);
            }
            "allowed_accounts" => callout.allowed_accounts = texts(node, "allowed accounts")?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    if callout.issuer.is_empty() {
        return Err(Error::at(&node.at, "Authorization callouts require an issuer to be specified"));
    }
    if callout.users.is_empty() {
        return Err(Error::at(&node.at, "Authorization callouts require authorized users to be specified"));
    }
    Ok(callout)
}

fn key_of(node: &Node, kind: nkey::Kind, expected: &str) -> Result<String, Error> {
    let text = node.text()?;
    if nkey::PublicKey::parse(text).is_ok_and(|key| key.kind() == kind) {
        return Ok(text.to_owned());
    }
    Err(Error::at(&node.at, format!("{expected}, got {}", quote(text))))
}

fn texts(node: &Node, what: &str) -> Result<Vec<String>, Error> {
    let Value::List(list) = &node.value else {
        let text = format!("Expected {what} field to be an array, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    list.iter().map(|node| node.text().map(str::to_owned)).collect()
}

fn timeout(node: &Node, notes: &mut Notes) -> Result<Option<Duration>, Error> {
    let timeout = duration::of_timeout("authorization", node)?;
    if timeout > LONG_TIMEOUT {
        let given = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            _ => timeout.as_secs_f64().to_string(),
        };
        let advice = "is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; \
                      use '1m' instead of 1m, for example";
        notes.warn(&node.at, "timeout", &format!("timeout of {given} ({:.6} seconds) {advice}", timeout.as_secs_f64()));
    }
    Ok(Some(timeout).filter(|timeout| !timeout.is_zero()))
}

fn refuse_true(key: &str, node: &Node) -> Result<(), Error> {
    if node.boolean()? { Err(Error::unsupported(&node.at, key)) } else { Ok(()) }
}

/// Reads a `users` list. Those that are wrong are reported and left out.
pub(super) fn users(node: &Node, notes: &mut Notes) -> Result<Users, Error> {
    let Value::List(list) = &node.value else {
        return Err(Error::at(&node.at, format!("Expected users field to be an array, got {}", node.value.kind())));
    };
    let mut users = Users::default();
    for node in list {
        match user(node, notes) {
            Ok(Either::Named(user)) => users.named.push(user),
            Ok(Either::Nkey(user)) => users.nkeys.push(user),
            Err(error) => notes.error(error),
        }
    }
    Ok(users)
}

/// One who logs in with a password, or with a key.
enum Either {
    Named(User),
    Nkey(NkeyUser),
}

fn user(node: &Node, notes: &mut Notes) -> Result<Either, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("Expected user entry to be a map/struct, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    let (mut name, mut password, mut nkey) = (None, None, None);
    let (mut permitted, mut connection_types) = (None, Vec::new());
    entries(map, notes, unknown_field, |key, node, notes| {
        match key {
            "user" | "username" => name = some(node)?,
            "pass" | "password" => password = some(node)?,
            "nkey" => nkey = some(node)?,
            "permissions" | "permission" | "authorization" => permitted = Some(permissions(node, notes)?.into()),
            "allowed_connection_types" | "connection_types" | "clients" => connection_types = types(node)?,
            "proxy_required" => refuse_true(key, node)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    let wrong = |text: &str| Err(Error::at(last(node, map), text));
    match (name, nkey) {
        (None, None) => wrong("User entry requires a user"),
        (_, Some(nkey)) if !is_user_key(&nkey) => wrong("Not a valid public nkey for a user"),
        (None, Some(nkey)) if password.is_none() => {
            Ok(Either::Nkey(NkeyUser { nkey, account: 0, permissions: permitted, connection_types }))
        }
        (_, Some(_)) => wrong("Nkey users do not take usernames or passwords"),
        (Some(name), None) => {
            let password = Secret::new(password.unwrap_or_default());
            Ok(Either::Named(User { name, password, account: 0, permissions: permitted, connection_types }))
        }
    }
}

/// Where nats-server sees a fault of an entry as a whole: at its last key.
fn last<'a>(node: &'a Node, map: &'a Map) -> &'a At {
    map.entries().last().map_or(&node.at, |entry| &entry.node.at)
}

/// The form of a user's public key; its checksum is looked at elsewhere.
fn is_user_key(text: &str) -> bool {
    text.len() == 56 && text.starts_with('U') && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
}

fn types(node: &Node) -> Result<Vec<String>, Error> {
    let mut types = node.texts("allowed connection types")?;
    types.iter_mut().for_each(|name| name.make_ascii_uppercase());
    let unknown = types.iter().filter(|name| !CONNECTION_TYPES.contains(&name.as_str()));
    let unknown: Vec<String> = unknown.map(|name| quote(name)).collect();
    if !unknown.is_empty() {
        return Err(Error::at(&node.at, format!("invalid connection types [{}]", unknown.join(" "))));
    }
    Ok(types)
}

/// Users of one list, as they went into the configuration.
pub(super) struct Group {
    at: At,
    named: usize,
    nkeys: usize,
}

/// Adds the users of an account. That nobody is there twice is seen in the end.
pub(super) fn add(draft: &mut Draft, at: At, mut users: Users) {
    draft.accounts.groups.push(Group { at, named: users.named.len(), nkeys: users.nkeys.len() });
    Arc::make_mut(&mut draft.config.auth.users).append(&mut users.named);
    draft.config.auth.nkeys.append(&mut users.nkeys);
}

/// Brings `authorization` and the accounts' users together.
pub(super) fn finish(draft: &mut Draft) {
    let mut groups = std::mem::take(&mut draft.accounts.groups);
    let in_accounts = groups.iter().any(|group| group.named + group.nkeys > 0);
    let in_block = draft.authorization.as_ref().is_some_and(|block| block.users.is_some());
    draft.config.auth.is_listed = in_accounts || in_block;
    if let Some(block) = draft.authorization.take() {
        match login(draft, block, in_accounts) {
            Ok((at, users)) => {
                groups.insert(0, Group { at, named: users.named.len(), nkeys: users.nkeys.len() });
                Arc::make_mut(&mut draft.config.auth.users).splice(..0, users.named);
                draft.config.auth.nkeys.splice(..0, users.nkeys);
            }
            Err(error) => draft.notes.error(error),
        }
    }
    Arc::make_mut(&mut draft.config.auth.users).shrink_to_fit();
    find_duplicates(draft, &groups);
}

/// Complains of users that are there twice. With a hundred thousand of them, copies of their names would be too much.
fn find_duplicates(draft: &mut Draft, groups: &[Group]) {
    let auth = &draft.config.auth;
    let mut seen: HashSet<&str> = HashSet::with_capacity(auth.users.len() + auth.nkeys.len());
    let (mut named, mut nkeys) = (auth.users.iter(), auth.nkeys.iter());
    for group in groups {
        for user in named.by_ref().take(group.named).filter(|user| !seen.insert(&user.name)) {
            draft.notes.error(Error::at(&group.at, format!("Duplicate user {} detected", quote(&user.name))));
        }
        for user in nkeys.by_ref().take(group.nkeys).filter(|user| !seen.insert(&user.nkey)) {
            draft.notes.error(Error::at(&group.at, format!("Duplicate nkey {} detected", quote(&user.nkey))));
        }
    }
}

/// Checks that there is one way to log in, and takes it over. Gives back the users of the block.
fn login(draft: &mut Draft, mut block: Authorization, in_accounts: bool) -> Result<(At, Users), Error> {
    let at = block.at;
    let wrong = |text: &str| Err(Error::at(&at, text));
    let many = block.users.is_some() || in_accounts;
    match (&block.user, &block.password, &block.token) {
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => return wrong("Cannot have a user/pass and token"),
        (Some(_), _, _) if many => return wrong("Can not have a single user/pass and a users array"),
        (_, _, Some(_)) if many => return wrong("Can not have a token and a users array"),
        // nats-server would let everybody in.
        (None, Some(_), _) => return wrong("A password needs a user"),
        _ => {}
    }
    if block.permissions.is_some() && block.users.is_none() {
        // nats-server would leave the only user, or whoever has the token, without any limits.
        return wrong("Permissions in the authorization block need a users array");
    }
    draft.config.auth.timeout = block.timeout;
    draft.config.auth.callout = block.callout;
    draft.config.auth.token = block.token.map(Secret::new);
    let mut users = block.users.take().unwrap_or_default();
    users.permit(block.permissions.as_ref());
    if let Some(name) = block.user {
        let password = Secret::new(block.password.unwrap_or_default());
        users.named.push(User { name, password, account: 0, permissions: None, connection_types: Vec::new() });
    }
    Ok((at, users))
}
