//! Certificates of clients: who they are by them, and whether their keys are among the pinned ones.

use tracing::warn;

use super::{CloseReason, ConnId, Node};
use crate::auth::certificate::Certificate;
use crate::auth::directory::Connection;
use crate::config::Tls;
use crate::wire::Connect;

impl Node {
    /// Whether a connection's certificate says who it is. A key in CONNECT goes before it.
    pub(super) fn is_mapped(&self, slot: u32, connect: &Connect) -> bool {
        let tls = self.tls_of(self.conns[slot as usize].peer.connection());
        let maps = tls.is_some_and(|tls| tls.map) && !self.config.auth.users.is_empty();
        maps && connect.nkey.as_deref().unwrap_or_default().is_empty()
    }

    /// What is configured of TLS for this kind of connection.
    fn tls_of(&self, connection: Connection) -> Option<&Tls> {
        match connection {
            Connection::Standard => self.config.tls.as_ref(),
            Connection::Mqtt => self.config.mqtt.as_ref()?.tls.as_ref(),
            Connection::Websocket | Connection::MqttWs => self.config.websocket.as_ref()?.tls.as_ref(),
            _ => None,
        }
    }

    /// The user that a connection's certificate names.
    pub(super) fn user_of_certificate(&self, slot: u32) -> Option<String> {
        let conn = &self.conns[slot as usize];
        let der = conn.tls.as_ref()?.certificates.first()?;
        self.directory_for(conn.peer.connection()).named_by(&Certificate::parse(der)?, conn.peer.connection())
    }

    /// Ends a client whose public key is not among the pinned ones.
    pub(super) fn check_pinned(&mut self, id: ConnId) {
        let Some(conn) = self.find(id) else { return };
        let tls = self.tls_of(conn.peer.connection()).filter(|tls| !tls.pinned.is_empty());
        let Some(tls) = tls else { return };
        let shown = conn.tls.as_ref().and_then(|tls| Certificate::parse(tls.certificates.first()?));
        let key = shown.map(|certificate| certificate.key_id());
        if key.as_ref().is_some_and(|key| tls.pinned.contains(key)) {
            return;
        }
        let key = key.unwrap_or_else(|| "none".to_owned());
        warn!("{} - the certificate is not pinned: key {key}", conn.who(&self.accounts));
        self.close(id, CloseReason::TlsHandshake);
    }
}
