//! Imports in operator mode: they follow the accounts as these come, change, expire and go.

use std::cell::Cell;
use tracing::{debug, error};

use super::Node;
use super::operator::{Operators, Source};
use crate::account::AccountId;
use crate::account::sharing::{Imports, Party, Web};
use crate::auth::sharing::activation;
use crate::auth::trust;

impl Operators {
    fn party(&self, key: &str) -> Option<Party<'_>> {
        let live = self.live.get(key)?;
        Some(Party { id: live.id, name: &live.standing.key, exports: &live.standing.exports })
    }

    /// The accounts that import from `key`.
    fn importers(&self, key: &str) -> Vec<Box<str>> {
        let takes = |standing: &trust::Standing| standing.imports.iter().any(|import| import.account == key);
        self.live.iter().filter(|(_, live)| takes(&live.standing)).map(|(importer, _)| importer.clone()).collect()
    }
}

impl Node {
    /// An account is there, or has changed: puts its imports into effect, and those of others from it. Accounts that
    /// it imports from and that nobody has used yet are looked for.
    pub(super) fn share(&mut self, key: &str) {
        let Some(operators) = &self.operators else { return };
        let exporters = operators.live.get(key).into_iter().flat_map(|live| &live.standing.imports);
        let missing = exporters.filter(|import| !operators.live.contains_key(&*import.account));
        let missing: Vec<String> = missing.map(|import| import.account.clone()).collect();
        for exporter in missing {
            self.look_for(&exporter);
        }
        self.link_imports(key);
        self.link_importers(key);
    }

    /// An account is no more.
    pub(super) fn unshare(&mut self, key: &str, id: AccountId) {
        if let Some(operators) = &mut self.operators {
            operators.web.remove(id);
        }
        self.link_account(id, Imports::default());
        self.link_importers(key);
    }

    fn link_importers(&mut self, key: &str) {
        let importers = self.operators.as_ref().map(|operators| operators.importers(key)).unwrap_or_default();
        for importer in importers {
            self.link_imports(&importer);
        }
    }

    fn look_for(&mut self, key: &str) {
        match self.find_account(key) {
            Source::Text(text) => {
                if let Err(why) = self.take_account(key, &text) {
                    debug!("Account {key}, which others import from, is not taken: {why}");
                }
            }
            // Its importers are looked at again when it is there.
            Source::Later => {
                if let Some(operators) = &mut self.operators {
                    operators.waiting.entry(key.into()).or_default();
                }
            }
            Source::None(why) => debug!("Account {key}, which others import from: {why}"),
        }
    }

    fn link_imports(&mut self, key: &str) {
        let now = self.wall_now();
        let Some(operators) = &mut self.operators else { return };
        let mut web: Web = std::mem::take(&mut operators.web);
        let (Some(importer), Some(live)) = (operators.party(key), operators.live.get(key)) else {
            operators.web = web;
            return;
        };
        let id = importer.id;
        web.remove(id);
        let expires = Cell::new(i64::MAX);
        let is_active = |export: &_, import: &crate::config::Import| {
            let exporter = operators.live.get(&*import.account);
            let until = exporter.and_then(|one| activation(&one.standing, export, key, import, now));
            if let Some(until) = until.filter(|until| *until > 0) {
                expires.set(expires.get().min(until));
            }
            until.is_some()
        };
        let (imports, faults) = web.add(&importer, &live.standing.imports, |name| operators.party(name), is_active);
        operators.web = web;
        if expires.get() < i64::MAX {
            operators.activations.insert((expires.get(), key.into()));
        }
        for fault in faults {
            error!("Account {key}: {fault}");
        }
        self.link_account(id, imports);
    }

    /// Ends imports whose activation has expired.
    pub(super) fn expire_activations(&mut self) {
        let now = trust::seconds(self.wall_now());
        loop {
            let Some(operators) = &mut self.operators else { return };
            let Some((_, key)) = operators.activations.first().filter(|(second, _)| *second <= now).cloned() else {
                return;
            };
            operators.activations.pop_first();
            self.link_imports(&key);
        }
    }
}
