//! What is checked when a server starts, not by `-t`: the command line counts too.

use super::defaults::SYSTEM_ACCOUNT;
use super::durable::overlap;
use super::duration::show;
use super::model::{Auth, Config};
use super::{leafnodes, operator, websocket};

/// From here on nats-server advises against large messages, in bytes.
const LARGE_PAYLOAD: usize = 8 << 20;

/// Whether a server can run with this configuration; else nats-server's words for why not.
pub fn check(config: &Config) -> Result<(), String> {
    lame_duck(config)?;
    payload(config)?;
    if config.server_name.contains(' ') {
        return Err("server name cannot contain spaces".to_owned());
    }
    operator::check(config)?;
    no_auth_user(config)?;
    if let Some(mqtt) = &config.mqtt {
        mqtt.login.check("mqtt", config)?;
    }
    websocket::check(config)?;
    forwards(config)?;
    durables(config)?;
    callout(config)?;
    system_account(config)?;
    leafnodes::check(config)
}

/// What nats-server logs as a warning at start about a configuration that it does run with.
pub fn remarks(config: &Config) -> Vec<String> {
    let mut remarks = Vec::new();
    if config.limits.max_payload.is_some_and(|max| max > LARGE_PAYLOAD) {
        let text = "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance";
        remarks.push(text.to_owned());
    }
    remarks
}

fn lame_duck(config: &Config) -> Result<(), String> {
    let (grace, all) = (config.lame_duck_grace_period, config.lame_duck_duration);
    if grace < all {
        return Ok(());
    }
    let (grace, all) = (show(grace), show(all));
    Err(format!("lame duck grace period ({grace}) should be strictly lower than lame duck duration ({all})"))
}

fn payload(config: &Config) -> Result<(), String> {
    let pending = config.limits.max_pending;
    match config.limits.max_payload {
        Some(payload) if payload > pending => {
            Err(format!("max_payload ({payload}) cannot be higher than max_pending ({pending})"))
        }
        _ => Ok(()),
    }
}

fn no_auth_user(config: &Config) -> Result<(), String> {
    config.auth.no_auth_user.as_ref().map_or(Ok(()), |user| is_user(user, &config.auth))
}

/// Whether one who says nothing can be this user.
pub(super) fn is_user(user: &str, auth: &Auth) -> Result<(), String> {
    if auth.users.is_empty() && auth.nkeys.is_empty() {
        return Err(format!("no_auth_user: \"{user}\" present, but users/nkeys are not defined"));
    }
    if auth.users.iter().any(|u| u.name == user) || auth.nkeys.iter().any(|u| u.nkey == user) {
        return Ok(());
    }
    let place = "in authorization block or account configuration";
    Err(format!("no_auth_user: \"{user}\" not present as user or nkey {place}"))
}

fn forwards(config: &Config) -> Result<(), String> {
    for forward in &config.forwards {
        let Some(name) = &forward.account else { continue };
        if config.operator.is_none() && !config.accounts.iter().any(|account| account.name == *name) {
            return Err(format!("store_and_forward log \"{}\": no account \"{name}\"", forward.name));
        }
    }
    Ok(())
}

/// What comes from a stream at the hub must not go into a log that leads there.
fn durables(config: &Config) -> Result<(), String> {
    for durable in &config.durables {
        let name = &durable.name;
        for forward in config.forwards.iter().filter(|forward| forward.account == durable.account) {
            if let Some((ours, theirs)) = overlap(&durable.subjects, &forward.subjects) {
                let log = &forward.name;
                return Err(format!(
                    "durable subscription \"{name}\": \"{ours}\" overlaps \"{theirs}\" of store_and_forward log \"{log}\""
                ));
            }
        }
        let Some(account) = &durable.account else { continue };
        if config.operator.is_none() && !config.accounts.iter().any(|known| known.name == *account) {
            return Err(format!("durable subscription \"{name}\": no account \"{account}\""));
        }
    }
    Ok(())
}

/// nats-server runs with a service that cannot be there, and lets nobody in.
fn callout(config: &Config) -> Result<(), String> {
    let auth = &config.auth;
    let Some(callout) = &auth.callout else { return Ok(()) };
    if config.operator.is_some() {
        return Err("auth_callout in operator mode is the accounts', not the configuration's".to_owned());
    }
    let known = |name: &str| config.accounts.iter().any(|account| account.name == name);
    if !known(&callout.account) && config.system_account.as_ref() != Some(&callout.account) {
        return Err(format!("Authorization callout account \"{}\" not valid", callout.account));
    }
    if let Some(name) = callout.allowed_accounts.iter().find(|name| !known(name)) {
        return Err(format!("auth_callout allowed account \"{name}\" not found in configured accounts"));
    }
    let user = |name: &String| auth.users.iter().any(|u| u.name == *name) || auth.nkeys.iter().any(|u| u.nkey == *name);
    match callout.users.iter().find(|name| !user(name)) {
        Some(name) => Err(format!("Authorization callout user \"{name}\" not valid")),
        None => Ok(()),
    }
}

fn system_account(config: &Config) -> Result<(), String> {
    if config.operator.is_some() {
        // It comes from the resolver.
        return Ok(());
    }
    match &config.system_account {
        Some(name) if name != SYSTEM_ACCOUNT && !config.accounts.iter().any(|account| account.name == *name) => {
            Err("error resolving system account: account missing".to_owned())
        }
        _ => Ok(()),
    }
}
