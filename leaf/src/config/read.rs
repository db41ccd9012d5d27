//! From the tree of values to a [`Config`]: the top-level options.

use std::path::{Path, PathBuf};

use super::accounts::{self, Accounts};
use super::authorization::{self, Authorization};
use super::error::{At, Error, Errors, Notes, Place};
use super::model::Config;
use super::operator::{self, Operators};
use super::value::{Map, Node};
use super::{
    Source, digest, durable, encryption, forward, leafnodes, limits, listen, log, mqtt, refused, tls, websocket,
};

/// Whether an option belongs to the group that was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Yes, and it is dealt with.
    Yes,
    /// Another group may know it.
    No,
}

/// A configuration in the making.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) http: listen::Http,
    /// `authorization`, checked against the accounts' users in the end: either may come first.
    pub(super) authorization: Option<Authorization>,
    pub(super) accounts: Accounts,
    pub(super) operators: Operators,
    /// `store_encryption`; its files are read later.
    pub(super) encryption: encryption::Encryption,
    /// `leafnodes.authorization` and where it stands; its accounts may come later.
    pub(super) leaf_login: Option<(At, leafnodes::Login)>,
    pub(super) notes: Notes,
}

/// Options of one idea: deals with the option `key` (in lower case) if it is one of them.
type Group = fn(&mut Draft, key: &str, node: &Node) -> Result<Taken, Error>;

const GROUPS: [Group; 14] = [
    listen::set,
    limits::set,
    log::set,
    tls::set,
    authorization::set,
    accounts::set,
    operator::set,
    forward::set,
    durable::set,
    encryption::set,
    leafnodes::set,
    mqtt::set,
    websocket::set,
    refused::set,
];

/// A file and all that it includes, read but not understood yet.
pub struct Tree {
    path: PathBuf,
    values: Map,
}

/// Reads the configuration file at `path` and all that it includes. What it holds is for [`understand`].
///
/// # Errors
/// The first fault of syntax, and files that cannot be read.
pub fn parse(path: &Path, source: &mut dyn Source) -> Result<Tree, Errors> {
    Ok(Tree { path: path.to_owned(), values: super::parse::parse(path, source)? })
}

/// [`parse`] and [`understand`].
///
/// # Errors
/// As those.
pub fn read(path: &Path, source: &mut dyn Source) -> Result<Config, Errors> {
    understand(&parse(path, source)?, source)
}

/// Makes a configuration of what was read.
///
/// All unknown and wrong options are reported, but only the first fault of syntax. What depends on
/// the command line too is left to [`check`](super::check), as nats-server does.
///
/// # Errors
/// All that is wrong.
pub fn understand(tree: &Tree, source: &mut dyn Source) -> Result<Config, Errors> {
    let (path, tree) = (&tree.path, &tree.values);
    let mut draft = Draft::default();
    draft.config.file = Some(path.clone());
    draft.config.digest = digest::digest(tree);
    if tree.is_empty() {
        let text = "config has no values or is empty".to_owned();
        draft.notes.remark(Error { place: Place::File(path.as_path().into()), text });
    }
    options(&mut draft, tree);
    operator::finish(&mut draft, source);
    encryption::finish(&mut draft, source);
    finish(draft)
}

fn options(draft: &mut Draft, tree: &Map) {
    for entry in tree.entries() {
        match option(draft, &entry.key, &entry.node) {
            Ok(Taken::No) if !entry.used => draft.notes.error(Error::unknown(&entry.node.at, &entry.key)),
            Ok(_) => {}
            Err(error) => draft.notes.error(error),
        }
    }
}

fn option(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    let key = key.to_ascii_lowercase();
    for set in GROUPS {
        if set(draft, &key, node)? == Taken::Yes {
            return Ok(Taken::Yes);
        }
    }
    Ok(Taken::No)
}

/// What needs the whole file.
fn finish(mut draft: Draft) -> Result<Config, Errors> {
    listen::finish(&mut draft);
    accounts::finish(&mut draft);
    authorization::finish(&mut draft);
    leafnodes::finish(&mut draft);
    let mut config = draft.config;
    config.warnings = draft.notes.finish()?;
    Ok(config)
}

/// Reads the entries of a map of options: `set` deals with one, whose key is in lower case, and says
/// whether it knows it. `unknown` words the complaint about those that it does not.
pub(super) fn entries(
    map: &Map,
    notes: &mut Notes,
    unknown: fn(&Node, &str) -> Error,
    mut set: impl FnMut(&str, &Node, &mut Notes) -> Result<Taken, Error>,
) {
    for entry in map.entries() {
        match set(&entry.key.to_ascii_lowercase(), &entry.node, notes) {
            Ok(Taken::No) if !entry.used => notes.error(unknown(&entry.node, &entry.key)),
            Ok(_) => {}
            Err(error) => notes.error(error),
        }
    }
}

/// The usual complaint about a key.
pub(super) fn unknown_field(node: &Node, key: &str) -> Error {
    Error::unknown(&node.at, key)
}
