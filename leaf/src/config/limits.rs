//! Options that bound what clients and the server may do.

use std::time::Duration;

use super::duration;
use super::error::Error;
use super::model::Limits;
use super::read::{Draft, Taken};
use super::value::Node;

/// The shortest lame duck that nats-server takes.
const SHORTEST_LAME_DUCK: Duration = Duration::from_secs(30);

/// `max_payload`, `ping_interval` and the like.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if let Taken::Yes = sizes(&mut draft.config.limits, key, node)? {
        return Ok(Taken::Yes);
    }
    let config = &mut draft.config;
    let limits = &mut config.limits;
    match key {
        "ping_interval" => {
            let given = duration::of_option(key, node, &mut draft.notes)?;
            limits.ping_interval = or_default(given, Limits::default().ping_interval);
        }
        "write_deadline" => {
            let given = duration::of_option(key, node, &mut draft.notes)?;
            limits.write_deadline = or_default(given, Limits::default().write_deadline);
        }
        "lame_duck_duration" => config.lame_duck_duration = lame_duck(key, node)?,
        "lame_duck_grace_period" => {
            let given = duration::of_text(key, node)?;
            config.lame_duck_grace_period = or_default(given, super::Config::default().lame_duck_grace_period);
        }
        "no_fast_producer_stall" => limits.no_fast_producer_stall = node.boolean()?,
        "no_header_support" => limits.no_headers = node.boolean()?,
        "disable_sublist_cache" | "no_sublist_cache" => limits.no_interest_cache = node.boolean()?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

fn sizes(limits: &mut Limits, key: &str, node: &Node) -> Result<Taken, Error> {
    let default = Limits::default();
    match key {
        // 0 refuses everybody, unlike with the others; so does a negative number.
        "max_connections" | "max_conn" => limits.max_connections = small(node.integer()?),
        "max_subscriptions" | "max_subs" => limits.max_subscriptions = small(node.integer()?),
        "max_subscription_tokens" | "max_sub_tokens" => limits.max_subscription_tokens = tokens(key, node)?,
        "max_control_line" => limits.max_control_line = size(key, node, 1 << 31, default.max_control_line)?,
        "max_payload" => limits.max_payload = payload(key, node)?,
        "max_pending" => limits.max_pending = size(key, node, i64::MAX, default.max_pending)?,
        "max_closed_clients" => limits.max_closed_clients = size(key, node, i64::MAX, default.max_closed_clients)?,
        "ping_max" => {
            let given = size(key, node, i64::from(u32::MAX), default.ping_max as usize)?;
            limits.ping_max = small(given as i64);
        }
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// A number as near as possible to the one given.
fn small(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

fn or_default(given: Duration, default: Duration) -> Duration {
    if given.is_zero() { default } else { given }
}

/// A number below `bound`; 0 is the default.
fn size(key: &str, node: &Node, bound: i64, default: usize) -> Result<usize, Error> {
    let number = node.integer()?;
    if number >= bound {
        return Err(Error::at(&node.at, format!("{key} value is too big")));
    }
    match usize::try_from(number) {
        Ok(0) => Ok(default),
        Ok(number) => Ok(number),
        Err(_) => Err(Error::at(&node.at, format!("{key} value can not be negative"))),
    }
}

fn payload(key: &str, node: &Node) -> Result<Option<usize>, Error> {
    if node.integer()? < 0 {
        return Ok(None);
    }
    size(key, node, 1 << 31, 1 << 20).map(Some)
}

fn tokens(key: &str, node: &Node) -> Result<u8, Error> {
    let number = node.integer()?;
    if number <= 0 {
        return Err(Error::at(&node.at, format!("{key} value can not be negative")));
    }
    u8::try_from(number).map_err(|_| Error::at(&node.at, format!("{key} value is too big")))
}

fn lame_duck(key: &str, node: &Node) -> Result<Duration, Error> {
    let given = duration::of_text(key, node)?;
    if given < SHORTEST_LAME_DUCK {
        let shown = duration::show(given);
        return Err(Error::at(&node.at, format!("invalid lame_duck_duration of {shown}, minimum is 30 seconds")));
    }
    Ok(given)
}
