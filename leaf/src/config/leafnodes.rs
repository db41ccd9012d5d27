//! `leafnodes`: links to hubs (`remotes`), and the port where leaf nodes are let in.

use std::sync::Arc;
use std::time::Duration;

use super::defaults::GLOBAL_ACCOUNT;
use super::duration;
use super::error::{At, Error, Notes, quote};
use super::links::{Compression, LeafListener, Leafnodes, Remote, RemoteUrl, Timeout, Version};
use super::listen::{Port, address, port, some};
use super::model::{Account, Auth, NkeyUser, Secret, User};
use super::permissions::is_subject;
use super::read::{Draft, Taken, entries, unknown_field};
use super::tls;
use super::value::{Node, Value};

/// The port of leaf nodes when a url does not say.
const PORT: u16 = 7422;
/// Remotes at most.
const REMOTES_MAX: usize = 256;
/// Urls of a remote at most.
const URLS_MAX: usize = 64;
/// The oldest version that may be asked for.
const VERSION_MIN: Version = Version(2, 8, 0);

/// `leafnodes`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if !matches!(key, "leafnodes" | "leaf") {
        return Ok(Taken::No);
    }
    let map = node.map()?;
    let mut leafnodes = Leafnodes::default();
    let mut listener = LeafListener::default();
    let (mut at, mut remotes) = (Port::Default, None);
    entries(map, &mut draft.notes, unknown_field, |key, node, notes| {
        match key {
            "listen" => (listener.host, at) = address(node)?,
            "host" | "net" => listener.host = some(node)?,
            "port" => at = port(node)?,
            "advertise" | "leafnode_advertise" => listener.advertise = some(node)?,
            "no_advertise" => listener.no_advertise = node.boolean()?,
            "min_version" | "minimum_version" => listener.min_version = Some(version(node)?),
            "isolate_leafnode_interest" | "isolate" => listener.isolate = node.boolean()?,
            "tls" => listener.tls = Some(tls::block_without_names(node, notes)?),
            "authorization" => draft.leaf_login = Some((node.at.clone(), Login::read(node, notes)?)),
            "compression" => leafnodes.compression = compression(node)?,
            "reconnect" | "reconnect_delay" | "reconnect_interval" => leafnodes.reconnect = positive(node, key, notes)?,
            "reconnect_max" => leafnodes.reconnect_max = positive(node, key, notes)?,
            "dial_timeout" => leafnodes.dial_timeout = positive(node, key, notes)?,
            "ping_interval" => leafnodes.ping_interval = Some(positive(node, key, notes)?),
            "ping_max" => leafnodes.ping_max = Some(count(node)?),
            "remotes" => remotes = Some(node.clone()),
            "write_deadline" | "write_timeout" => return Err(Error::unsupported(&node.at, key)),
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    leafnodes.listener = at.of_monitor(None, String::new()).map(|at| LeafListener { port: at.port, ..listener });
    if let Some(node) = remotes {
        leafnodes.remotes = list(&node, &leafnodes, &mut draft.notes)?;
    }
    draft.config.leafnodes = leafnodes;
    Ok(Taken::Yes)
}

/// Who may link up, if that is said apart from who may log in.
pub(super) fn finish(draft: &mut Draft) {
    let Some((at, login)) = draft.leaf_login.take() else { return };
    match login.settle(&at, &draft.config.accounts) {
        Ok(auth) => draft.config.leafnodes.auth = Some(auth),
        Err(error) => draft.notes.error(error),
    }
}

fn list(node: &Node, leafnodes: &Leafnodes, notes: &mut Notes) -> Result<Vec<Remote>, Error> {
    let Value::List(list) = &node.value else {
        let text = format!("Expected remotes field to be an array, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    if list.len() > REMOTES_MAX {
        return Err(Error::at(&node.at, format!("more than {REMOTES_MAX} remotes")));
    }
    let mut remotes: Vec<Remote> = Vec::new();
    for node in list {
        let result = remote(node, leafnodes, notes);
        let Some(remote) = notes.take(result) else { continue };
        if remotes.iter().any(|other| other.same_link(&remote)) {
            notes.error(Error::at(&node.at, "duplicate remote"));
            continue;
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn remote(node: &Node, leafnodes: &Leafnodes, notes: &mut Notes) -> Result<Remote, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("Expected remote leafnode entry to be a map/struct, got {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    let mut remote = Remote {
        account: GLOBAL_ACCOUNT.to_owned(),
        compression: leafnodes.compression,
        reconnect: leafnodes.reconnect,
        reconnect_max: leafnodes.reconnect_max,
        dial_timeout: leafnodes.dial_timeout,
        ping_interval: leafnodes.ping_interval,
        ping_max: leafnodes.ping_max,
        ..Remote::default()
    };
    entries(map, notes, unknown_field, |key, node, notes| option(&mut remote, key, node, notes));
    let wrong = |text: &str| Err(Error::at(&node.at, text));
    if remote.credentials.is_some() && remote.nkey.is_some() {
        return wrong("remote leafnode cannot have both creds and nkey");
    }
    if remote.urls.is_empty() {
        return wrong("remote leafnode needs a url");
    }
    Ok(remote)
}

fn option(remote: &mut Remote, key: &str, node: &Node, notes: &mut Notes) -> Result<Taken, Error> {
    match key {
        "url" | "urls" => remote.urls = urls(node)?,
        "account" | "local" => remote.account = node.text()?.to_owned(),
        "credentials" | "creds" => remote.credentials = some(node)?.map(Into::into),
        "nkey" | "seed" => remote.nkey = some(node)?.map(Secret::new),
        "tls" => remote.tls = Some(tls::client_block(node, notes)?),
        "hub" => remote.hub = node.boolean()?,
        "deny_imports" | "deny_import" => remote.deny_imports = subjects(node)?,
        "deny_exports" | "deny_export" => remote.deny_exports = subjects(node)?,
        "no_randomize" | "dont_randomize" => remote.no_randomize = node.boolean()?,
        "compression" => remote.compression = compression(node)?,
        "first_info_timeout" => remote.first_info_timeout = Timeout(positive(node, key, notes)?),
        "dial_timeout" => remote.dial_timeout = positive(node, key, notes)?,
        "reconnect" | "reconnect_interval" => remote.reconnect = positive(node, key, notes)?,
        "reconnect_max" => remote.reconnect_max = positive(node, key, notes)?,
        "ping_interval" => remote.ping_interval = Some(positive(node, key, notes)?),
        "ping_max" => remote.ping_max = Some(count(node)?),
        "disabled" => remote.disabled = node.boolean()?,
        "ignore_discovered_servers" => remote.ignore_discovered = node.boolean()?,
        "isolate_leafnode_interest" | "isolate" => remote.isolate = node.boolean()?,
        "request_isolation" => remote.request_isolation = node.boolean()?,
        "jetstream_cluster_migrate" if matches!(node.value, Value::Bool(false)) => {}
        "ws_compression" | "ws_compress" | "websocket_compression" | "ws_no_masking" | "websocket_no_masking"
            if matches!(node.value, Value::Bool(false)) => {}
        "proxy"
        | "jetstream_cluster_migrate"
        | "ws_compression"
        | "ws_compress"
        | "websocket_compression"
        | "ws_no_masking"
        | "websocket_no_masking" => return Err(Error::unsupported(&node.at, key)),
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

fn urls(node: &Node) -> Result<Vec<RemoteUrl>, Error> {
    let texts = node.texts("urls")?;
    if texts.len() > URLS_MAX {
        return Err(Error::at(&node.at, format!("more than {URLS_MAX} urls")));
    }
    texts.iter().map(|text| url(text.trim()).map_err(|why| Error::at(&node.at, why))).collect()
}

/// Reads `scheme://user:password@host:port`. The complaint does not repeat the url: it may hold a password.
pub(crate) fn url(text: &str) -> Result<RemoteUrl, String> {
    let (scheme, rest) = text.split_once("://").ok_or("a url of a remote leafnode needs a scheme")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "nats-leaf" | "nats" => false,
        "tls" => true,
        "ws" | "wss" => return Err(format!("{} urls of remote leafnodes are not supported yet", quote(scheme))),
        other => return Err(format!("unknown scheme {} of a url of a remote leafnode", quote(other))),
    };
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (host, port) = place_of(place).ok_or("cannot make out host and port in a url of a remote leafnode")?;
    let (user, password) = match user.map(|user| user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)))) {
        None => (None, None),
        Some((user, password)) => {
            let read = |text| unescape(text).ok_or("a bad escape in the user or password of a remote leafnode's url");
            (Some(read(user)?), password.map(read).transpose()?.map(Secret::new))
        }
    };
    Ok(RemoteUrl { host, port, tls, user, password })
}

/// `host:port`; the port may be missing, an IPv6 host is in brackets.
fn place_of(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(PORT), |digits| digits.parse().ok().filter(|&port| port != 0))?;
    (!host.is_empty() && !host.contains([' ', '\t'])).then(|| (host.to_owned(), port))
}

/// `%41` is `A`.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

fn subjects(node: &Node) -> Result<Vec<String>, Error> {
    let subjects = node.texts("deny subjects")?;
    match subjects.iter().find(|subject| !is_subject(subject)) {
        Some(subject) => Err(Error::at(&node.at, format!("subject {} is not a valid subject", quote(subject)))),
        None => Ok(subjects),
    }
}

/// A mode, a boolean, or `{ mode, rtt_thresholds }`.
fn compression(node: &Node) -> Result<Compression, Error> {
    let mut wanted = Compression::default();
    let mode = match &node.value {
        Value::Map(map) => {
            let mut mode = None;
            for entry in map.entries() {
                match entry.key.to_ascii_lowercase().as_str() {
                    "mode" => mode = Some(entry.node.clone()),
                    "rtt_thresholds" | "thresholds" | "rtts" | "rtt" => wanted.thresholds = thresholds(&entry.node)?,
                    other => return Err(Error::unknown(&entry.node.at, other)),
                }
            }
            mode
        }
        _ => Some(node.clone()),
    };
    if let Some(node) = mode {
        wanted.mode = match &node.value {
            Value::Bool(on) => Compression::of_switch(*on),
            Value::Text(name) => Compression::mode_of(name)
                .ok_or_else(|| Error::at(&node.at, format!("unsupported compression mode {}", quote(name))))?,
            other => {
                let text = format!("field \"compression\" should be a boolean or a structure, got {}", other.kind());
                return Err(Error::at(&node.at, text));
            }
        };
    }
    Ok(wanted)
}

/// From which round-trip times on `s2_auto` compresses fast, better and best.
fn thresholds(node: &Node) -> Result<[Duration; 3], Error> {
    let wrong = || Error::at(&node.at, "rtt_thresholds needs one to three durations, each longer than the one before");
    let texts = node.texts("rtt_thresholds").map_err(|_| wrong())?;
    let parsed: Result<Vec<i64>, String> = texts.iter().map(|text| duration::parse(text)).collect();
    let parsed = parsed.map_err(|why| Error::at(&node.at, why))?;
    if !(1..=3).contains(&parsed.len()) || parsed.windows(2).any(|pair| pair[0] >= pair[1]) || parsed[0] < 0 {
        return Err(wrong());
    }
    let mut thresholds = [Duration::MAX; 3];
    for (to, nanos) in thresholds.iter_mut().zip(parsed) {
        *to = Duration::from_nanos(nanos.unsigned_abs());
    }
    Ok(thresholds)
}

fn positive(node: &Node, key: &str, notes: &mut Notes) -> Result<Duration, Error> {
    let duration = duration::of_option(key, node, notes)?;
    if duration.is_zero() {
        return Err(Error::at(&node.at, format!("{} needs to be positive", quote(key))));
    }
    Ok(duration)
}

fn count(node: &Node) -> Result<u32, Error> {
    let number = node.integer()?;
    u32::try_from(number).map_err(|_| Error::at(&node.at, format!("invalid number {number}")))
}

fn version(node: &Node) -> Result<Version, Error> {
    let text = node.text()?;
    let version = Version::parse(text)
        .ok_or_else(|| Error::at(&node.at, format!("invalid leafnode's minimum version: {}", quote(text))))?;
    if version < VERSION_MIN {
        let text = format!("the minimum version should be at least {VERSION_MIN}");
        return Err(Error::at(&node.at, text));
    }
    Ok(version)
}

/// The account of a remote must be there.
pub(super) fn check(config: &super::Config) -> Result<(), String> {
    if config.operator.is_some() {
        return Ok(());
    }
    let known = |name: &str| {
        config.accounts.iter().any(|account| account.name == name) || config.system_account.as_deref() == Some(name)
    };
    match config.leafnodes.remotes.iter().find(|remote| !known(&remote.account)) {
        Some(remote) => {
            Err(format!("cannot find local account {} specified in leafnode remote", quote(&remote.account)))
        }
        None => Ok(()),
    }
}

/// `leafnodes.authorization`: who may link up.
#[derive(Default)]
pub(super) struct Login {
    user: Option<String>,
    password: Option<String>,
    nkey: Option<String>,
    account: Option<String>,
    users: Vec<Member>,
    timeout: Option<Duration>,
}

/// A user of it.
#[derive(Default)]
struct Member {
    user: Option<String>,
    password: Option<String>,
    account: Option<String>,
}

impl Login {
    fn read(node: &Node, notes: &mut Notes) -> Result<Self, Error> {
        let mut login = Self::default();
        entries(node.map()?, notes, unknown_field, |key, node, notes| {
            match key {
                "user" | "username" => login.user = some(node)?,
                "pass" | "password" => login.password = some(node)?,
                "nkey" => login.nkey = some(node)?,
                "account" => login.account = some(node)?,
                "users" => login.users = Member::list(node, notes)?,
                "timeout" => login.timeout = Some(duration::of_timeout("authorization", node)?),
                "proxy_required" if matches!(node.value, Value::Bool(false)) => {}
                "proxy_required" => return Err(Error::unsupported(&node.at, key)),
                _ => return Ok(Taken::No),
            }
            Ok(Taken::Yes)
        });
        let ways = [login.user.is_some(), login.nkey.is_some(), !login.users.is_empty()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(Error::at(&node.at, "can not have a single user/pass, a nkey and a users array together"));
        }
        if login.password.is_some() && login.user.is_none() {
            return Err(Error::at(&node.at, "A password needs a user"));
        }
        Ok(login)
    }

    /// Finds the accounts that it names.
    fn settle(self, at: &At, accounts: &[Account]) -> Result<Auth, Error> {
        let find = |name: Option<&str>| {
            let name = name.unwrap_or(GLOBAL_ACCOUNT);
            let found = accounts.iter().position(|account| account.name == name);
            found.ok_or_else(|| Error::at(at, format!("cannot find account {} of leafnode users", quote(name))))
        };
        let mut auth = Auth { timeout: self.timeout.filter(|timeout| !timeout.is_zero()), ..Auth::default() };
        let shared = self.account.as_deref();
        let single = self.user.map(|user| Member { user: Some(user), password: self.password, account: None });
        for member in self.users.into_iter().chain(single) {
            Arc::make_mut(&mut auth.users).push(User {
                name: member.user.ok_or_else(|| Error::at(at, "User entry requires a user"))?,
                password: Secret::new(member.password.unwrap_or_default()),
                account: find(member.account.as_deref().or(shared))?,
                permissions: None,
                connection_types: Vec::new(),
            });
        }
        if let Some(nkey) = self.nkey {
            let account = find(shared)?;
            auth.nkeys.push(NkeyUser { nkey, account, permissions: None, connection_types: Vec::new() });
        }
        Ok(auth)
    }
}

impl Member {
    fn list(node: &Node, notes: &mut Notes) -> Result<Vec<Self>, Error> {
        let mut members = Vec::new();
        for node in node.list()? {
            let mut member = Self::default();
            entries(node.map()?, notes, unknown_field, |key, node, _| {
                match key {
                    "user" | "username" => member.user = some(node)?,
                    "pass" | "password" => member.password = some(node)?,
                    "account" => member.account = some(node)?,
                    "proxy_required" if matches!(node.value, Value::Bool(false)) => {}
                    "proxy_required" => return Err(Error::unsupported(&node.at, key)),
                    _ => return Ok(Taken::No),
                }
                Ok(Taken::Yes)
            });
            members.push(member);
        }
        Ok(members)
    }
}
