//! A changed configuration takes effect; nobody is disconnected who need not be.

use std::collections::BTreeSet;
use tracing::debug;

use super::{CloseReason, ConnId, Facts, Nanos, Node};
use crate::account::sharing::Imports;
use crate::auth::directory::Directory;
use crate::auth::jwt::{Operator, Token};
use crate::config::{self, Config, Resolver};
use crate::interest::SubId;

impl Node {
    /// Takes a new configuration over as a whole, or not at all.
    ///
    /// # Errors
    /// When something changed that cannot change while the server runs, or does not fit together; the
    /// text names it, and everything stays as it was.
    pub fn reload(&mut self, now: Nanos, config: Config) -> Result<(), String> {
        self.now = now;
        if let Some(field) = fixed_field(&self.config, &config) {
            return Err(format!("config reload not supported for {field}"));
        }
        let directory = Directory::build(&config)?;
        let leaf_directory = Directory::of_leafnodes(&config)?;
        let mqtt_directory = Directory::of_mqtt(&config)?;
        let websocket_directory = Directory::of_websocket(&config)?;
        let imports: Vec<Imports> = self.accounts.iter().map(|account| account.imports.clone()).collect();
        self.accounts.configure(&config)?;
        self.link_accounts(&imports);
        let mut facts = Facts::new(&config, &self.identity, self.hasher.clone());
        facts.info.lame_duck = self.facts.info.lame_duck;
        facts.info.xkey = self.facts.info.xkey.clone();
        let changed = facts.info.line() != self.facts.info.line();
        self.facts = facts;
        self.directory = directory;
        self.leaf_directory = leaf_directory;
        self.mqtt_directory = mqtt_directory;
        self.websocket_directory = websocket_directory;
        self.config = config;
        self.reread_accounts();
        self.raise_system();
        self.reread_mqtt();
        self.config_loaded = now;
        self.check_certificates();
        self.check_logins();
        self.check_count();
        self.set_remotes()?;
        if changed {
            self.announce();
        }
        self.settle();
        Ok(())
    }

    /// Everybody must still be somebody, in the same account.
    fn check_logins(&mut self) {
        let ids: Vec<ConnId> = self.conns.iter().map(|(_, conn)| conn.core.id).collect();
        for id in ids {
            let Some(conn) = self.find(id) else { continue };
            let Some(account) = conn.core.account else { continue };
            let Some(identity) = conn.peer.identity() else { continue };
            if identity.credential.is_some() {
                // Its account says who it is, not the configuration.
                continue;
            }
            match self.directory_for(conn.peer.connection()).still_valid(&identity, conn.peer.connection()) {
                Some(new) if self.accounts.configured(new.account) == account => {
                    self.with_peer(id.slot, |peer, cx| peer.rules_changed(cx, new));
                    self.check_subs(id.slot);
                }
                // Nothing to complain of: it finds its new account when it comes again.
                Some(_) => self.close(id, CloseReason::ClientClosed),
                None => {
                    debug!("{} - cid:{} - no longer allowed after a reload", conn.core.remote, id.cid);
                    self.close(id, CloseReason::AuthenticationViolation);
                }
            }
        }
    }

    /// The pinned certificates may have changed.
    fn check_certificates(&mut self) {
        let ids: Vec<ConnId> = self.conns.iter().map(|(_, conn)| conn.core.id).collect();
        for id in ids {
            self.check_pinned(id);
        }
    }

    pub(super) fn check_subs(&mut self, slot: u32) {
        let conn = self.conns[slot as usize].core.id;
        let ids: Vec<SubId> = self.conns[slot as usize].subs.iter().copied().collect();
        for id in ids {
            match self.ask_sub(slot, id) {
                Some(filtered) => {
                    if let Some(sub) = self.subs.get_mut(id) {
                        sub.filtered = filtered;
                    }
                }
                None => self.remove_sub(id),
            }
            // A million violations are a lot to be told by one who does not read.
            self.bound_answers(conn);
            if self.conns[slot as usize].closing.is_some() {
                return;
            }
        }
    }

    fn ask_sub(&mut self, slot: u32, id: SubId) -> Option<bool> {
        let sub = self.subs.get(id)?;
        let conn = &mut *self.conns[slot as usize];
        let (peer, mut cx) = conn.split(&mut self.pool, &self.facts, &self.accounts, self.now);
        let kept = peer.may_keep(&mut cx, sub);
        self.touch(slot);
        kept
    }

    /// `max_connections` may have shrunk: the youngest leave.
    fn check_count(&mut self) {
        let max = self.facts.limits.max_connections as usize;
        let mut ids: Vec<ConnId> = self.conns.iter().map(|(_, conn)| conn.core.id).collect();
        ids.sort_unstable_by_key(|id| id.cid);
        for id in ids.into_iter().skip(max) {
            self.close(id, CloseReason::MaxConnections);
        }
    }
}

/// Whom accounts must be signed by.
fn trusted(config: &Config) -> Option<Trusted<'_>> {
    let operator = config.operator.as_ref()?;
    Some((&operator.operators, &operator.trusted_keys, &operator.pinned))
}

type Trusted<'a> = (&'a [Token<Operator>], &'a [String], &'a BTreeSet<String>);

fn resolver(config: &Config) -> Option<&Resolver> {
    config.operator.as_ref()?.resolver.as_ref()
}

/// The first field that differs and cannot while the server runs.
fn fixed_field(old: &Config, new: &Config) -> Option<&'static str> {
    let fixed = [
        ("Host", old.host != new.host),
        ("Port", new.port.is_some_and(|port| Some(port) != old.port)),
        ("ServerName", old.server_name != new.server_name),
        ("HTTPBasePath", old.http_base_path != new.http_base_path),
        ("HTTPPort", old.monitor != new.monitor),
        ("MQTT", config::Mqtt::fixed(&old.mqtt) != config::Mqtt::fixed(&new.mqtt)),
        ("Websocket", !config::Websocket::same_place(old.websocket.as_ref(), new.websocket.as_ref())),
        ("StoreDir", old.store_dir != new.store_dir),
        ("StoreEncryption", old.store_encryption != new.store_encryption),
        ("StoreAndForward", old.forwards != new.forwards),
        ("DurableSubscriptions", old.durables != new.durables),
        ("TrustedOperators", trusted(old) != trusted(new)),
        ("AccountResolver", resolver(old) != resolver(new)),
        ("SystemAccount", old.system_account != new.system_account),
        ("AllowNonTLS", old.allow_non_tls != new.allow_non_tls),
        ("NoHeaderSupport", old.limits.no_headers != new.limits.no_headers),
        ("NoSublistCache", old.limits.no_interest_cache != new.limits.no_interest_cache),
        ("MaxClosedClients", old.limits.max_closed_clients != new.limits.max_closed_clients),
        ("LameDuckDuration", old.lame_duck_duration != new.lame_duck_duration),
        ("LameDuckGracePeriod", old.lame_duck_grace_period != new.lame_duck_grace_period),
    ];
    fixed.into_iter().find_map(|(name, differs)| differs.then_some(name))
}
