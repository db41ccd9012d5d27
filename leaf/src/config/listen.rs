//! Options about the server's name and its listeners.

use std::path::PathBuf;

use super::defaults::PORT;
use super::error::{Error, quote};
use super::model::Monitor;
use super::read::{Draft, Taken};
use super::value::{Node, Value};

/// A port as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Port {
    /// 0, or not a word about it: the default, which is none for monitoring.
    #[default]
    Default,
    /// -1: any free port.
    Any,
    /// This one.
    Fixed(u16),
}

impl Port {
    /// Takes -1 to 65535.
    pub(super) fn new(number: i64) -> Option<Self> {
        match number {
            -1 => Some(Self::Any),
            0 => Some(Self::Default),
            _ => u16::try_from(number).ok().map(Self::Fixed),
        }
    }

    /// The client listener's port: `None` is any free one.
    pub(super) fn of_clients(self) -> Option<u16> {
        match self {
            Self::Any => None,
            Self::Default => Some(PORT),
            Self::Fixed(port) => Some(port),
        }
    }

    /// The address to serve monitoring on, if there is to be one.
    pub(super) fn of_monitor(self, host: Option<String>, base_path: String) -> Option<Monitor> {
        match self {
            Self::Default => None,
            Self::Any => Some(Monitor { host, port: None, base_path }),
            Self::Fixed(port) => Some(Monitor { host, port: Some(port), base_path }),
        }
    }
}

/// The parts of the monitoring address, which are options of their own.
#[derive(Debug, Default)]
pub(super) struct Http {
    host: Option<String>,
    port: Port,
}

/// `listen`, `server_name`, `http` and the like.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    let config = &mut draft.config;
    match key {
        "listen" => {
            let (host, port) = address(node)?;
            config.host = host;
            config.port = port.of_clients();
        }
        "host" | "net" => config.host = some(node)?,
        "port" => config.port = port(node)?.of_clients(),
        "client_advertise" => config.client_advertise = some(node)?,
        "server_name" => config.server_name = name(node)?,
        "server_tags" => config.tags = node.texts("tags")?,
        "server_metadata" => config.metadata = metadata(node)?,
        "http" => {
            let (host, port) = address(node)?;
            draft.http = Http { host, port };
        }
        "http_port" | "monitor_port" => draft.http.port = port(node)?,
        "http_base_path" => config.http_base_path = base_path(node.text()?),
        "pid_file" | "pidfile" => config.pid_file = some(node)?.map(PathBuf::from),
        "ports_file_dir" => config.ports_file_dir = some(node)?.map(PathBuf::from),
        "store_dir" | "storedir" => {
            if let Some(dir) = some(node)? {
                config.store_dir = dir.into();
            }
        }
        "endurance" => config.endurance = u64::try_from(node.integer()?).unwrap_or(0),
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// Puts the monitoring address together.
pub(super) fn finish(draft: &mut Draft) {
    let Http { host, port } = std::mem::take(&mut draft.http);
    draft.config.monitor = port.of_monitor(host, draft.config.http_base_path.clone());
}

/// A text; an empty one is as if it were not there.
pub(super) fn some(node: &Node) -> Result<Option<String>, Error> {
    Ok(Some(node.text()?.to_owned()).filter(|text| !text.is_empty()))
}

fn name(node: &Node) -> Result<String, Error> {
    let name = node.text()?;
    if name.contains(' ') {
        return Err(Error::at(&node.at, "server name cannot contain spaces"));
    }
    Ok(name.to_owned())
}

fn metadata(node: &Node) -> Result<std::collections::BTreeMap<String, String>, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("error parsing metadata: unsupported type {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    map.entries().map(|entry| Ok((entry.key.clone(), entry.node.text()?.to_owned()))).collect()
}

pub(super) fn port(node: &Node) -> Result<Port, Error> {
    let number = node.integer()?;
    Port::new(number).ok_or_else(|| Error::at(&node.at, format!("invalid port {number}")))
}

/// A port or `host:port`.
pub(super) fn address(node: &Node) -> Result<(Option<String>, Port), Error> {
    let wrong = |text: String| Error::at(&node.at, text);
    let text = match &node.value {
        Value::Integer(_) => return Ok((None, port(node)?)),
        Value::Text(text) => text,
        other => return Err(wrong(format!("expected port or host:port, got {}", other.kind()))),
    };
    let (host, digits) = split(text).ok_or_else(|| wrong(format!("could not parse address string {}", quote(text))))?;
    let port = digits.parse().ok().and_then(Port::new);
    let port = port.ok_or_else(|| wrong(format!("could not parse port {}", quote(digits))))?;
    Ok((Some(host.to_owned()).filter(|host| !host.is_empty()), port))
}

/// Splits `host:port`; an IPv6 host is in brackets.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return Some((inner, port));
    }
    (!host.contains([':', '[', ']'])).then_some((host, port))
}

/// With a leading and no trailing slash; empty for none.
pub(super) fn base_path(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}
