//! Options of nats-server that we do not have: refused by name, unless their value asks for nothing.

use super::error::Error;
use super::read::{Draft, Taken};
use super::value::{Node, Value};

/// Refuses what we cannot do, and passes over what would change nothing here.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    let asks_nothing = match (key, &node.value) {
        ("feature_flags", _) => flags(draft, node)?,
        ("syslog" | "proxy_protocol" | "jetstream" | "ocsp" | "ocsp_cache", Value::Bool(on)) => !on,
        ("jetstream", Value::Text(word)) => word.eq_ignore_ascii_case("disabled"),
        ("remote_syslog", Value::Text(address)) => address.is_empty(),
        ("https_port" | "prof_port" | "prof_block_rate", Value::Integer(number)) => *number == 0,
        ("connect_error_reports", Value::Integer(number)) => matches!(number, 0 | 3600),
        ("reconnect_error_reports", Value::Integer(number)) => matches!(number, 0 | 1),
        ("write_timeout", Value::Text(policy)) => policy == "default",
        _ => false,
    };
    if asks_nothing {
        return Ok(Taken::Yes);
    }
    if is_known(key) { Err(Error::unsupported(&node.at, key)) } else { Ok(Taken::No) }
}

/// Flags of nats-server's JetStream and Raft; they change nothing here, but must be booleans.
fn flags(draft: &mut Draft, node: &Node) -> Result<bool, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("error parsing feature flags: unsupported type {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    for entry in map.entries() {
        let on = entry.node.boolean()?;
        draft.config.feature_flags.insert(entry.key.clone(), on);
    }
    Ok(true)
}

fn is_known(key: &str) -> bool {
    matches!(
        key,
        "cluster"
            | "gateway"
            | "jetstream"
            | "resolver_tls"
            | "default_js_domain"
            | "proxies"
            | "proxy_protocol"
            | "ocsp"
            | "ocsp_cache"
            | "syslog"
            | "remote_syslog"
            | "https"
            | "https_port"
            | "prof_port"
            | "prof_block_rate"
            | "write_timeout"
            | "connect_error_reports"
            | "reconnect_error_reports"
    )
}
