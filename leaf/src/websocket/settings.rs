//! What those who come by WebSocket are told, where that differs from what other clients are.

use std::time::Duration;

use crate::config::Config;
use crate::node::{Identity, Nanos, nanos};
use crate::wire::Info;

/// See the [module](super).
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// One must say who one is.
    pub auth_required: bool,
    /// There are users; with `no_auth_user` one may come in without.
    pub login_configured: bool,
    /// Time for CONNECT to come, if it has one of its own.
    pub login_within: Option<Nanos>,
    /// `ping_interval`, if it has one of its own.
    pub ping_interval: Option<Duration>,
    tls: bool,
    host: String,
    port: u16,
}

impl Settings {
    /// As configured; `identity` knows where the listener is.
    pub fn new(config: &Config, identity: &Identity) -> Self {
        let Some(websocket) = &config.websocket else { return Self::default() };
        let own = websocket.login.auth(&config.auth);
        let login_configured = own.as_ref().map_or(config.login_required(), |own| own.required());
        let nobody = own.as_ref().unwrap_or(&config.auth).no_auth_user.is_some();
        let (host, port) = identity.websocket.clone().unwrap_or_default();
        Self {
            auth_required: login_configured && !nobody,
            login_configured,
            login_within: websocket.login.timeout.map(nanos),
            ping_interval: websocket.ping_interval,
            tls: websocket.tls.is_some(),
            host,
            port,
        }
    }

    /// Changes INFO accordingly.
    pub fn tell(&self, info: &mut Info) {
        info.auth_required = self.auth_required;
        (info.tls_required, info.tls_available, info.tls_verify) = (self.tls, self.tls, false);
        (info.host, info.port) = (self.host.clone(), self.port);
    }
}
