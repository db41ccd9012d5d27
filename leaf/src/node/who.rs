//! How the log calls a connection, in nats-server's words.

use std::fmt;
use std::rc::Rc;

use super::peer::{About, Core, Kind};
use crate::account::Accounts;
use crate::auth::directory::Identity;
use crate::wire::encode::quoted;

/// The beginning of a line about a connection: `127.0.0.1:4 - cid:5 - "v1.2:go:name" - "$G/user:u"`. What is not known
/// is left out.
pub struct Who<'a> {
    core: &'a Core,
    kind: Kind,
    about: About<'a>,
    login: Option<(&'a str, Rc<Identity>)>,
}

impl<'a> Who<'a> {
    /// The connection of `core`, of which its peer says the rest.
    pub fn new(
        core: &'a Core,
        kind: Kind,
        about: About<'a>,
        identity: Option<Rc<Identity>>,
        accounts: &'a Accounts,
    ) -> Self {
        let account = core.account.map(|id| &*accounts.get(id).name);
        Self { core, kind, about, login: account.zip(identity) }
    }
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = match self.kind {
            Kind::Client => "cid",
            Kind::Leaf => "lid",
            Kind::Route => "rid",
            Kind::Gateway => "gid",
        };
        write!(f, "{} - {id}:{}", self.core.remote, self.core.id.cid())?;
        let About { name, lang, version, .. } = self.about;
        let version = if version.is_empty() { String::new() } else { format!("v{version}") };
        let told: Vec<&str> = [&*version, lang, name].into_iter().filter(|part| !part.is_empty()).collect();
        if !told.is_empty() {
            write!(f, " - {}", quoted(told.join(":").as_bytes()))?;
        }
        match self.login.as_ref().and_then(|(account, identity)| Some((account, identity.label()?))) {
            Some((account, label)) => write!(f, " - {}", quoted(format!("{account}/{label}").as_bytes())),
            None => Ok(()),
        }
    }
}
