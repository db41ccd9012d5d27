//! Certificates of clients: who they are by them, and whether their keys are among the pinned ones.

use tracing::warn;

use super::{CloseReason, ConnId, Node};
use crate::auth::certificate::Certificate;
use crate::auth::directory::Connection;
use crate::wire::Connect;

impl Node {
    /// Whether a connection's certificate says who it is. A key in CONNECT goes before it.
    pub(super) fn is_mapped(&self, slot: u32, connect: &Connect) -> bool {
        let maps = self.config.tls.as_ref().is_some_and(|tls| tls.map) && !self.config.auth.users.is_empty();
        let keyless = connect.nkey.as_deref().unwrap_or_default().is_empty();
        maps && keyless && self.conns[slot as usize].peer.connection() == Connection::Standard
    }

    /// The user that a connection's certificate names.
    pub(super) fn user_of_certificate(&self, slot: u32) -> Option<String> {
        let conn = &self.conns[slot as usize];
        let der = conn.tls.as_ref()?.certificates.first()?;
        self.directory.named_by(&Certificate::parse(der)?, conn.peer.connection())
    }

    /// Ends a client whose public key is not among the pinned ones.
    pub(super) fn check_pinned(&mut self, id: ConnId) {
        let Some(tls) = self.config.tls.as_ref().filter(|tls| !tls.pinned.is_empty()) else { return };
        let Some(conn) = self.find(id).filter(|conn| conn.peer.connection() == Connection::Standard) else { return };
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
