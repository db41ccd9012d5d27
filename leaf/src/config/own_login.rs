//! `authorization` and `no_auth_user` inside the block of one kind of listener: they stand in place of the server's.

use std::sync::Arc;
use std::time::Duration;

use super::duration;
use super::error::{Error, Notes};
use super::listen::some;
use super::model::{Auth, Config, Secret, User};
use super::read::{Taken, entries, unknown_field};
use super::value::Node;

/// How one logs in at one kind of listener, where that is said apart from the rest of the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnLogin {
    /// `authorization.user`
    pub user: Option<String>,
    /// `authorization.password`; of the user, if there is one.
    pub password: Option<Secret>,
    /// `authorization.token`
    pub token: Option<Secret>,
    /// `no_auth_user`: a user of the server.
    pub no_auth_user: Option<String>,
    /// `authorization.timeout`
    pub timeout: Option<Duration>,
}

impl OwnLogin {
    /// Reads `authorization` of such a block.
    pub(super) fn read(&mut self, node: &Node, notes: &mut Notes) -> Result<(), Error> {
        entries(node.map()?, notes, unknown_field, |key, node, _| {
            match key {
                "user" | "username" => self.user = some(node)?,
                "pass" | "password" => self.password = some(node)?.map(Secret::new),
                "token" => self.token = some(node)?.map(Secret::new),
                "timeout" => {
                    let given = duration::of_timeout("authorization", node)?;
                    self.timeout = Some(given).filter(|given| !given.is_zero());
                }
                _ => return Ok(Taken::No),
            }
            Ok(Taken::Yes)
        });
        let wrong = |text: &str| Err(Error::at(&node.at, text));
        match (&self.user, &self.password, &self.token) {
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => wrong("Cannot have a user/pass and token"),
            // nats-server would let everybody in.
            (None, Some(_), _) => wrong("A password needs a user"),
            _ => Ok(()),
        }
    }

    /// Who may log in here; `None` if that is whoever may elsewhere. As in nats-server, a list of users holds here
    /// too, and a single user or token of the server does not.
    pub fn auth(&self, of_server: &Auth) -> Option<Auth> {
        if self.user.is_none() && self.token.is_none() && self.no_auth_user.is_none() {
            return None;
        }
        let users = match (&self.user, of_server.is_listed) {
            (Some(name), _) => Arc::new(vec![User {
                name: name.clone(),
                password: self.password.clone().unwrap_or_else(|| Secret::new("")),
                account: 0,
                permissions: None,
                connection_types: Vec::new(),
            }]),
            (None, true) => of_server.users.clone(),
            (None, false) => Arc::default(),
        };
        Some(Auth {
            token: self.token.clone(),
            users,
            nkeys: of_server.nkeys.clone(),
            no_auth_user: self.no_auth_user.clone(),
            ..Auth::default()
        })
    }

    /// Whether it goes together with the users of the server; `block` is what it stands in. The words are nats-server's.
    pub(super) fn check(&self, block: &str, config: &Config) -> Result<(), String> {
        let auth = &config.auth;
        let others = if config.operator.is_some() { "an operator" } else { "presence of users/nkeys" };
        let taken = config.operator.is_some() || auth.is_listed;
        if self.user.is_some() && taken {
            return Err(format!("{block} authentication username not compatible with {others}"));
        }
        if self.token.is_some() && taken {
            return Err(format!("{block} authentication token not compatible with {others}"));
        }
        match &self.no_auth_user {
            Some(_) if config.operator.is_some() => {
                Err(format!("{block}: no_auth_user not compatible with Trusted Operator"))
            }
            Some(name) => super::check::is_user(name, auth).map_err(|why| format!("{block}: {why}")),
            None => Ok(()),
        }
    }
}
