//! Dialling hubs: the node's part between [`Remotes`](crate::link::Remotes) and the shell.

use std::net::SocketAddr;

use super::conn::Timer;
use super::{Arrival, CloseReason, Command, Conn, ConnId, Nanos, Node, nanos};
use crate::account::AccountId;
use crate::config::Remote;
use crate::link::{Credentials, Dialler, Link};

/// A connection that the shell has made.
#[derive(Debug)]
pub struct Dialled {
    /// Where to.
    pub remote: SocketAddr,
    /// The text of the credentials file, or why it could not be read.
    pub credentials: Option<Result<crate::config::Secret, String>>,
}

impl Node {
    /// Takes over the configured remotes; connections to those that are gone or changed end.
    ///
    /// # Errors
    /// When one names an account that is not there.
    pub(super) fn set_remotes(&mut self) -> Result<(), String> {
        let mut wanted: Vec<(Remote, AccountId)> = Vec::new();
        for remote in &self.config.leafnodes.remotes {
            let account = self.accounts.find(&remote.account).or_else(|| self.accounts.adopt(&remote.account));
            let account = account.ok_or_else(|| "too many accounts".to_owned())?;
            wanted.push((remote.clone(), account));
        }
        let draw = &mut self.draw;
        let ended = self.remotes.configure(self.now, wanted, &mut |n| draw.below(n.max(1) as usize) as u64);
        for id in ended {
            self.close(id, CloseReason::RemoteRemoved);
        }
        Ok(())
    }

    /// Dials the hubs whose time has come.
    pub(super) fn dial(&mut self) {
        while let Some(dial) = self.remotes.next(self.now) {
            self.commands.push_back(Command::Dial(Box::new(dial)));
        }
    }

    /// The answer to [`Command::Dial`]. Gives the connection's id, unless it is not wanted any more.
    pub fn dialled(
        &mut self,
        now: Nanos,
        ticket: u64,
        nonce: [u8; 11],
        result: Result<Dialled, String>,
    ) -> Option<ConnId> {
        self.now = now;
        let remote = self.remotes.of_ticket(ticket)?;
        let full = !self.accounts.get(remote.account).has_room(super::Kind::Leaf);
        let ready = result.and_then(|dialled| {
            if full {
                return Err("maximum account active connections exceeded".to_owned());
            }
            let file = dialled.credentials.transpose()?;
            let url = remote.url();
            let credentials = Credentials {
                user: url.and_then(|url| url.user.clone()),
                password: url.and_then(|url| url.password.clone()),
                seed: remote.config.nkey.clone(),
                file,
            };
            Ok((dialled.remote, credentials))
        });
        let (address, credentials) = match ready {
            Ok(ready) => ready,
            Err(why) => {
                let draw = &mut self.draw;
                self.remotes.failed(now, ticket, why, &mut |n| draw.below(n.max(1) as usize) as u64);
                return None;
            }
        };
        let (account, within) = (remote.account, remote.config.first_info_timeout.0);
        let first = remote.config.tls.as_ref().is_some_and(|tls| tls.first);
        let peer = Link::new(Dialler::new(remote, credentials));
        let id = self.accept(now, &Arrival { remote: address, nonce }, Box::new(peer));
        self.remotes.connected(ticket, id);
        let conn = &mut self.conns[id.slot()];
        conn.core.dialled = true;
        conn.core.account = Some(account);
        conn.timers.set(Timer::Login, now.saturating_add(nanos(within)));
        self.accounts.get_mut(account).gain(super::Kind::Leaf);
        self.raise_services(account);
        self.arm(id.slot);
        if first {
            self.start_tls(id.slot);
        }
        Some(id)
    }

    /// TLS with the hub begins.
    pub(super) fn start_tls(&mut self, slot: u32) {
        let id = self.conns[slot as usize].core.id;
        let Some(remote) = self.remotes.find(id) else { return };
        let (server_name, settings) = crate::link::tls_of(remote);
        self.commands.push_back(Command::StartTls { conn: id, server_name, settings });
    }

    /// Something is wrong with a connection that this side made: the shell found out, the node tells of it once. Says
    /// whether it is such a connection.
    pub fn complain(&mut self, id: ConnId, text: &str) -> bool {
        self.remotes.complain(id, text)
    }

    /// A connection to a hub is gone: when is the next attempt?
    pub(super) fn remote_lost(&mut self, conn: &Conn, reason: CloseReason) {
        if !conn.core.dialled {
            return;
        }
        let draw = &mut self.draw;
        let said = conn.peer.about().trouble;
        self.remotes.lost(self.now, conn.core.id, reason, said, &mut |n| draw.below(n.max(1) as usize) as u64);
    }
}
