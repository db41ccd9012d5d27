//! Operator mode: `operator`, `trusted_keys`, `resolver` and what goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Source;
use super::defaults::SYSTEM_ACCOUNT;
use super::duration;
use super::error::{At, Error, quote};
use super::model::{Config, Delete, Operator, Resolver, ResolverDir};
use super::read::{Draft, Taken};
use super::value::{Map, Node, Value};
use crate::auth::jwt::{self, Account, TokenError, User, decode, decorated, issues};
use crate::auth::nkey::Kind;

/// Between two looks at what other servers have.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long an account may take to come.
const FETCH_TIMEOUT: Duration = Duration::from_millis(1900);
/// Accounts that a cache keeps.
const CACHE_ACCOUNTS: usize = 1000;

/// How every JWT begins that is not in a file: the base64url of `{"`.
const INLINE: &str = "eyJ";

/// What the file says about operators so far.
#[derive(Default)]
pub(super) struct Operators {
    /// Files or JWTs, and where they stand.
    named: Vec<(At, String)>,
    operator: Operator,
    resolver: Option<Resolver>,
}

/// `operator`, `trusted_keys`, `resolver`, `resolver_preload`, `resolver_pinned_accounts`, `default_sentinel`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    let operators = &mut draft.operators;
    match key {
        "operator" | "operators" | "roots" | "root" | "root_operators" | "root_operator" => {
            operators.named = names(node)?;
        }
        "trusted" | "trusted_keys" => operators.operator.trusted_keys = trusted(node)?,
        "resolver" | "account_resolver" | "accounts_resolver" => {
            let result = resolver(node, draft);
            draft.operators.resolver = Some(result?);
        }
        "resolver_preload" => {
            let preload = preload(node, draft)?;
            draft.operators.operator.preload = preload;
        }
        "resolver_pinned_accounts" => operators.operator.pinned = pinned(node)?,
        "default_sentinel" => operators.operator.default_sentinel = Some(node.text()?.to_owned()),
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// Reads the operators' JWTs, and what they say of the rest.
pub(super) fn finish(draft: &mut Draft, source: &mut dyn Source) {
    let Operators { named, mut operator, mut resolver } = std::mem::take(&mut draft.operators);
    for (at, name) in named {
        match read(&name, source) {
            Ok(token) => operator.operators.push(token),
            Err(why) => draft.notes.error(Error::at(&at, format!("error parsing operator JWT: {why}"))),
        }
    }
    if let [only] = &operator.operators[..] {
        let url = &only.body.account_server_url;
        if resolver.is_none() && !url.is_empty() {
            resolver = Some(Resolver::Url(format!("{url}/accounts/")));
        }
        if draft.accounts.system.is_none() && !only.body.system_account.is_empty() {
            draft.accounts.system = Some(only.body.system_account.as_ref().into());
        }
    }
    operator.resolver = resolver;
    if !operator.operators.is_empty() || !operator.trusted_keys.is_empty() || operator.default_sentinel.is_some() {
        draft.config.operator = Some(operator);
    }
}

/// One name or a list of names.
fn names(node: &Node) -> Result<Vec<(At, String)>, Error> {
    let wrong = |text: String| Error::at(&node.at, format!("error parsing operators: unsupported type {text}"));
    let list = match &node.value {
        Value::Text(_) => std::slice::from_ref(node),
        Value::List(list) => list,
        other => return Err(wrong(other.kind().to_owned())),
    };
    let one = |element: &Node| match &element.value {
        Value::Text(name) => Ok((node.at.clone(), name.clone())),
        _ => Err(wrong("*conf.token where string is expected".to_owned())),
    };
    list.iter().map(one).collect()
}

/// The operator's JWT in the file of this name, or the name if it is one.
fn read(name: &str, source: &mut dyn Source) -> Result<jwt::Token<jwt::Operator>, String> {
    let text = match source.read(Path::new(name)) {
        Ok(text) => text,
        Err(_) if name.starts_with(INLINE) => name.to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("open {name}: no such file or directory"));
        }
        Err(error) => return Err(format!("open {name}: {error}")),
    };
    decode(decorated::token(&text)).map_err(|error| match error {
        TokenError::Kind => "not operator claim".to_owned(),
        other => other.to_string(),
    })
}

fn trusted(node: &Node) -> Result<Vec<String>, Error> {
    let (list, at) = match &node.value {
        Value::Text(_) => (std::slice::from_ref(node), &node.at),
        Value::List(list) => (&list[..], list.last().map_or(&node.at, |last| &last.at)),
        other => {
            let kind = other.kind();
            return Err(Error::at(&node.at, format!("error parsing trusted: unsupported type {kind}")));
        }
    };
    let mut keys = Vec::new();
    for element in list {
        let Value::Text(key) = &element.value else {
            let kind = element.value.kind();
            let text = format!("error parsing trusted: unsupported type in array {kind}");
            return Err(Error::at(&element.at, text));
        };
        if !issues::is_key(key, Kind::Operator) {
            let text = format!("trust key {} required to be a valid public operator nkey", quote(key));
            return Err(Error::at(at, text));
        }
        keys.push(key.clone());
    }
    Ok(keys)
}

fn pinned(node: &Node) -> Result<BTreeSet<String>, Error> {
    let what = "error parsing resolver_pinned_accounts: unsupported type";
    match &node.value {
        Value::Text(key) => Ok(BTreeSet::from([key.clone()])),
        Value::List(list) => {
            let one = |element: &Node| match &element.value {
                Value::Text(key) => Ok(key.clone()),
                other => Err(Error::at(&element.at, format!("{what} in array {}", other.kind()))),
            };
            list.iter().map(one).collect()
        }
        other => Err(Error::at(&node.at, format!("{what} {}", other.kind()))),
    }
}

fn preload(node: &Node, draft: &mut Draft) -> Result<BTreeMap<String, String>, Error> {
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, "preload should be a map of account_public_key:account_jwt"));
    };
    let mut preload = BTreeMap::new();
    for entry in map.entries() {
        let at = &entry.node.at;
        match &entry.node.value {
            Value::Text(text) if decode::<Account>(text).is_ok() => {
                preload.insert(entry.key.clone(), text.clone());
            }
            Value::Text(_) => draft.notes.error(Error::at(at, "invalid account JWT")),
            _ => draft.notes.error(Error::at(at, "preload map value should be a string JWT")),
        }
    }
    Ok(preload)
}

fn resolver(node: &Node, draft: &mut Draft) -> Result<Resolver, Error> {
    let found = match &node.value {
        Value::Text(word) => from_word(word),
        Value::Map(map) => from_map(node, map, draft)?,
        other => {
            let kind = other.kind();
            return Err(Error::at(&node.at, format!("error parsing operator resolver, wrong type {kind}")));
        }
    };
    found.ok_or_else(|| {
        let forms = "should be MEM or  URL(\"url\") or a map containing dir and type state=[FULL|CACHE])";
        Error::at(&node.at, format!("error parsing account resolver, {forms}"))
    })
}

/// `MEMORY`, `URL(http://…)`.
fn from_word(word: &str) -> Option<Resolver> {
    let lower = word.to_ascii_lowercase();
    if lower.contains("mem") {
        return Some(Resolver::Memory);
    }
    let start = lower.find("url")? + 3;
    let inside = word[start..].strip_prefix('(').and_then(|rest| Some(&rest[..rest.rfind(')')?]));
    let url = inside.unwrap_or_default().trim().trim_matches('"');
    let slash = if url.ends_with('/') { "" } else { "/" };
    Some(Resolver::Url(format!("{url}{slash}")))
}

fn from_map(node: &Node, map: &Map, draft: &mut Draft) -> Result<Option<Resolver>, Error> {
    let mut kind = String::new();
    let mut dir = ResolverDir {
        dir: PathBuf::new(),
        limit: None,
        interval: INTERVAL,
        timeout: FETCH_TIMEOUT,
        delete: Delete::Refused,
        ttl: None,
    };
    let (mut interval, mut allow_delete, mut hard_delete) = (0, false, None);
    let wrong = |text: String| Error::at(&node.at, text);
    for entry in map.entries() {
        let node = &entry.node;
        let nanos = || duration::parse(node.text()?).map_err(wrong);
        match entry.key.as_str() {
            "dir" => dir.dir = node.text()?.into(),
            "type" => kind = node.text()?.to_ascii_uppercase(),
            "allow_delete" => allow_delete = node.boolean()?,
            "hard_delete" => hard_delete = Some(node.boolean()?),
            "limit" => dir.limit = usize::try_from(node.integer()?).ok().filter(|&limit| limit > 0),
            "ttl" => dir.ttl = u64::try_from(nanos()?).ok().filter(|&ttl| ttl > 0).map(Duration::from_nanos),
            "interval" => interval = nanos()?,
            "timeout" => match u64::try_from(nanos()?) {
                Ok(timeout) if timeout > 0 => dir.timeout = Duration::from_nanos(timeout),
                _ => return Err(wrong(format!("Fetch timeout {} is too smal", node.text()?))),
            },
            _ => {}
        }
    }
    if let Ok(given) = u64::try_from(interval)
        && given > 0
    {
        dir.interval = Duration::from_nanos(given);
    }
    if ["MEM", "MEMORY"].contains(&kind.as_str()) {
        return Ok(Some(Resolver::Memory));
    }
    if !["FULL", "CACHE"].contains(&kind.as_str()) {
        return Ok(None);
    }
    if dir.dir.as_os_str().is_empty() {
        return Err(wrong("dir has no value and needs to point to a directory".to_owned()));
    }
    let mut complain = |is_wrong: bool, text: &str| {
        if is_wrong {
            draft.notes.error(Error::at(&node.at, text));
        }
    };
    if kind == "CACHE" {
        complain(interval != 0, "CACHE does not accept sync");
        complain(allow_delete, "CACHE does not accept allow_delete");
        complain(hard_delete.is_some(), "CACHE does not accept hard_delete");
        dir.limit = dir.limit.or(Some(CACHE_ACCOUNTS));
        dir.delete = Delete::Removes;
        return Ok(Some(Resolver::Cache(dir)));
    }
    complain(dir.ttl.is_some(), "FULL does not accept ttl");
    complain(hard_delete.is_some() && !allow_delete, "hard_delete has no effect without delete");
    dir.delete = match (allow_delete, hard_delete) {
        (false, _) => Delete::Refused,
        (true, Some(true)) => Delete::Removes,
        (true, _) => Delete::Renames,
    };
    Ok(Some(Resolver::Full(dir)))
}

/// What must hold before a server starts in operator mode (nats-server: `validateTrustedOperators`).
pub(super) fn check(config: &Config) -> Result<(), String> {
    let Some(operator) = &config.operator else { return Ok(()) };
    if operator.operators.is_empty() {
        let alone = operator.default_sentinel.is_some();
        return if alone { Err("default sentinel requires operators and accounts".to_owned()) } else { Ok(()) };
    }
    if let Some(sentinel) = &operator.default_sentinel {
        check_sentinel(sentinel)?;
    }
    let Some(resolver) = &operator.resolver else {
        return Err("operators require an account resolver to be configured".to_owned());
    };
    if config.accounts.len() > 1 {
        return Err("operators do not allow Accounts to be configured directly".to_owned());
    }
    if !config.auth.users.is_empty() || !config.auth.nkeys.is_empty() {
        return Err("operators do not allow users to be configured directly".to_owned());
    }
    if !operator.trusted_keys.is_empty() {
        return Err("conflicting options for 'TrustedKeys' and 'TrustedOperators'".to_owned());
    }
    check_system(config, operator, resolver)?;
    for token in &operator.operators {
        check_version(&token.subject, &token.body.assert_server_version)?;
        if let Some(key) = token.body.signing_keys.iter().find(|key| !issues::is_key(key, Kind::Operator)) {
            return Err(format!("trusted Keys {} are required to be a valid public operator nkey", quote(key)));
        }
    }
    if let Some(key) = operator.pinned.iter().find(|key| !issues::is_key(key, Kind::Account)) {
        return Err(format!("pinned account key {} is not a valid public account nkey", quote(key)));
    }
    if !operator.preload.is_empty() && matches!(resolver, Resolver::Url(_)) {
        let types = "MEM/DIR/CACHE_DIR";
        return Err(format!("resolver preloads only available for writeable resolver types {types}"));
    }
    if config.auth.no_auth_user.is_some() {
        return Err("no_auth_user not compatible with Trusted Operator".to_owned());
    }
    Ok(())
}

fn check_sentinel(text: &str) -> Result<(), String> {
    let Ok(user) = decode::<User>(text) else { return Err("default sentinel JWT not valid".to_owned()) };
    let rights = &user.body.rights;
    // One of a scoped key gets its rights from the account, which is not known yet.
    let scoped = !user.body.issuer_account.is_empty() && *rights == jwt::claims::UserRights::default();
    if rights.bearer_token || scoped { Ok(()) } else { Err("default sentinel must be a bearer token".to_owned()) }
}

fn check_system(config: &Config, operator: &Operator, resolver: &Resolver) -> Result<(), String> {
    let named = config.system_account.as_deref().filter(|name| *name != SYSTEM_ACCOUNT);
    let of = |token: &jwt::Token<jwt::Operator>| token.body.system_account.clone();
    let Some(named) = named else {
        let first = operator.operators.first().map(of).unwrap_or_default();
        if first.is_empty() && matches!(resolver, Resolver::Full(_) | Resolver::Cache(_)) {
            let need = "the system account needs to be specified in configuration or the operator jwt";
            return Err(format!("using nats based account resolver - {need}"));
        }
        return Ok(());
    };
    let theirs: Vec<_> = operator.operators.iter().map(of).filter(|name| !name.is_empty()).collect();
    if !theirs.is_empty() && !theirs.iter().any(|name| &**name == named) {
        return Err("system_account in config and operator JWT must be identical".to_owned());
    }
    Ok(())
}

/// `assert_server_version`: we are what we say in INFO.
fn check_version(operator: &str, wanted: &str) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    let parse = |text: &str| {
        let parts: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        <[u32; 3]>::try_from(parts).ok()
    };
    let (Some(wanted_parts), Some(ours)) = (parse(wanted), parse(crate::PROTOCOL_VERSION)) else {
        let form = "asserted server version must be of the form <major>.<minor>.<update>";
        return Err(format!("operator {operator} expects version {wanted} got error instead: {form}"));
    };
    for (i, what) in ["major", "minor", "update"].into_iter().enumerate() {
        let (wanted, ours) = (wanted_parts[i], ours[i]);
        if wanted > ours {
            return Err(format!("operator {operator} expected {what} version {wanted} > server {what} version {ours}"));
        }
        if wanted < ours {
            break;
        }
    }
    Ok(())
}
