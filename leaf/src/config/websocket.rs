//! The `websocket` block.

use std::time::Duration;

use super::duration;
use super::error::{Error, Notes, quote};
use super::listen::{Port, address, port, some};
use super::model::{Config, HandshakeFirst, Tls};
use super::own_login::OwnLogin;
use super::read::{Draft, Taken, entries, unknown_field};
use super::tls;
use super::value::{Node, Value};
use crate::websocket::Origin;

/// Headers that the answer to a handshake has anyway.
const OWN_HEADERS: [&str; 4] = ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol"];

/// The `websocket` block, with nats-server's names.
#[derive(Clone, Debug, PartialEq)]
pub struct Websocket {
    /// `host`; `None` follows the client listener's.
    pub host: Option<String>,
    /// `port`; `None` is any free one.
    pub port: Option<u16>,
    /// `advertise`: what INFO says of where this is; `host:port` or `host`.
    pub advertise: Option<String>,
    /// `tls`; it comes first, before the handshake.
    pub tls: Option<Tls>,
    /// `no_tls`: must be said where there is none.
    pub no_tls: bool,
    /// `same_origin`: only pages of this host and port.
    pub same_origin: bool,
    /// `allowed_origins`: only pages of these; empty for no such limit.
    pub allowed_origins: Vec<Origin>,
    /// `handshake_timeout`
    pub handshake_timeout: Duration,
    /// `ping_interval`; `None` follows the clients'.
    pub ping_interval: Option<Duration>,
    /// `user_cookie`
    pub user_cookie: Option<String>,
    /// `pass_cookie`
    pub pass_cookie: Option<String>,
    /// `token_cookie`
    pub token_cookie: Option<String>,
    /// `jwt_cookie`
    pub jwt_cookie: Option<String>,
    /// `headers` of the answer to a handshake.
    pub headers: Vec<(String, String)>,
    /// `authorization` and `no_auth_user`: in place of the server's.
    pub login: OwnLogin,
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            advertise: None,
            tls: None,
            no_tls: false,
            same_origin: false,
            allowed_origins: Vec::new(),
            handshake_timeout: Duration::from_secs(2),
            ping_interval: None,
            user_cookie: None,
            pass_cookie: None,
            token_cookie: None,
            jwt_cookie: None,
            headers: Vec::new(),
            login: OwnLogin::default(),
        }
    }
}

impl Websocket {
    /// Whether what cannot change while the server runs is the same.
    pub fn same_place(old: Option<&Self>, new: Option<&Self>) -> bool {
        let place = |own: &Self| (own.host.clone(), own.port, own.advertise.clone(), own.tls.is_some());
        old.map(place) == new.map(place)
    }
}

/// `websocket`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if !matches!(key, "websocket" | "ws") {
        return Ok(Taken::No);
    }
    let Value::Map(map) = &node.value else {
        return Err(Error::at(&node.at, format!("Expected websocket to be a map, got {}", node.value.kind())));
    };
    let mut websocket = Websocket::default();
    let mut at = Port::Default;
    entries(map, &mut draft.notes, unknown_field, |key, node, notes| {
        match key {
            "listen" => (websocket.host, at) = address(node)?,
            "host" | "net" => websocket.host = some(node)?,
            "port" => at = port(node)?,
            "tls" => {
                let block = tls::block(node, notes)?;
                websocket.tls = Some(Tls { handshake_first: HandshakeFirst::Yes, ..block });
            }
            "authorization" | "authentication" => websocket.login.read(node, notes)?,
            "no_auth_user" => websocket.login.no_auth_user = some(node)?,
            _ => return option(&mut websocket, key, node, notes),
        }
        Ok(Taken::Yes)
    });
    websocket.port = match at {
        // Without a port there is no WebSocket, as in nats-server.
        Port::Default => return Ok(Taken::Yes),
        Port::Any => None,
        Port::Fixed(port) => Some(port),
    };
    draft.config.websocket = Some(websocket);
    Ok(Taken::Yes)
}

fn option(websocket: &mut Websocket, key: &str, node: &Node, notes: &mut Notes) -> Result<Taken, Error> {
    match key {
        "advertise" => websocket.advertise = some(node)?,
        "no_tls" => websocket.no_tls = node.boolean()?,
        "same_origin" => websocket.same_origin = node.boolean()?,
        "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins" | "origin" => {
            websocket.allowed_origins = origins(node)?;
        }
        "handshake_timeout" => {
            let given = duration::of_option(key, node, notes)?;
            websocket.handshake_timeout = if given.is_zero() { Websocket::default().handshake_timeout } else { given };
        }
        "ping_interval" => {
            let given = duration::of_option(key, node, notes)?;
            websocket.ping_interval = Some(given).filter(|given| !given.is_zero());
        }
        "user_cookie" => websocket.user_cookie = some(node)?,
        "pass_cookie" => websocket.pass_cookie = some(node)?,
        "token_cookie" => websocket.token_cookie = some(node)?,
        "jwt_cookie" => websocket.jwt_cookie = some(node)?,
        "headers" => websocket.headers = headers(node)?,
        "compression" if matches!(node.value, Value::Bool(false)) => {}
        "compression" => return Err(Error::unsupported(&node.at, "compression of websocket")),
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// One that cannot be read would let nobody in: nats-server logs it and goes on.
fn origins(node: &Node) -> Result<Vec<Origin>, Error> {
    let texts = node.texts("allowed origins")?;
    let parse = |text: &String| {
        Origin::parse(text)
            .ok_or_else(|| Error::at(&node.at, format!("unable to parse allowed origin: {}", quote(text))))
    };
    texts.iter().map(parse).collect()
}

fn headers(node: &Node) -> Result<Vec<(String, String)>, Error> {
    let Value::Map(map) = &node.value else {
        let text = format!("error parsing headers: unsupported type {}", node.value.kind());
        return Err(Error::at(&node.at, text));
    };
    let is_token =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let read = |entry: &super::value::Entry| {
        let (name, value) = (entry.key.clone(), entry.node.text()?.to_owned());
        let own = OWN_HEADERS.contains(&&*name.to_ascii_lowercase());
        if own || !is_token(&name) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err(Error::at(&entry.node.at, format!("header {} cannot be set", quote(&name))));
        }
        Ok((name, value))
    };
    map.entries().map(read).collect()
}

/// What nats-server does not start with.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let Some(websocket) = &config.websocket else { return Ok(()) };
    if websocket.tls.is_none() && !websocket.no_tls {
        return Err("websocket requires TLS configuration".to_owned());
    }
    if let Some(name) = websocket.jwt_cookie.as_ref().filter(|_| config.operator.is_none()) {
        let needed = "trusted operators or trusted keys configuration is required for JWT authentication via cookie";
        return Err(format!("{needed} {}", quote(name)));
    }
    websocket.login.check("websocket", config)
}
