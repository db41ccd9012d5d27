//! `store_encryption`: with which key all that is stored is encrypted. An option of ours; its names are those that nats-server
//! has in `jetstream`.

use std::path::Path;

use zeroize::Zeroizing;

use super::Source;
use super::error::{At, Error, quote};
use super::model::StoreEncryption;
use super::read::{Draft, Taken, entries, unknown_field};
use super::value::Node;
use crate::store::Key;

/// The block as it stands, until the files may be read.
#[derive(Debug, Default)]
pub(super) struct Encryption {
    at: Option<At>,
    key: Option<Given>,
    previous: Option<Given>,
}

#[derive(Debug)]
enum Given {
    Key(Key),
    File(At, String),
    /// The variable's text as it is: a key would not always survive being read as a value.
    Variable(At, String),
}

impl Given {
    /// A key as text; what it is stays out of errors.
    fn key(option: &str, node: &Node) -> Result<Self, Error> {
        let source = format!("{option} of store_encryption");
        let key = Key::parse(node.text()?.as_bytes(), &source);
        key.map(Self::Key).map_err(|error| Error::at(&node.at, format!("{source}: {error}")))
    }

    fn file(node: &Node) -> Result<Self, Error> {
        Ok(Self::File(node.at.clone(), node.text()?.to_owned()))
    }

    fn variable(node: &Node) -> Result<Self, Error> {
        Ok(Self::Variable(node.at.clone(), node.text()?.to_owned()))
    }

    fn load(self, source: &mut dyn Source) -> Result<Key, Error> {
        let (at, origin, text) = match self {
            Self::Key(key) => return Ok(key),
            Self::File(at, name) => {
                let text = source.read(Path::new(&name)).map_err(|error| error.to_string());
                (at, format!("key file {}", quote(&name)), text)
            }
            Self::Variable(at, name) => {
                let text = source.env(&name).ok_or_else(|| "not set".to_owned());
                (at, format!("environment variable {}", quote(&name)), text)
            }
        };
        let key = text.map(Zeroizing::new).and_then(|text| {
            let key = Key::parse(text.as_bytes(), &origin);
            key.map_err(|error| error.to_string())
        });
        key.map_err(|why| Error::at(&at, format!("{origin}: {why}")))
    }
}

/// `store_encryption`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    if key != "store_encryption" {
        return Ok(Taken::No);
    }
    let block = &mut draft.encryption;
    block.at = Some(node.at.clone());
    entries(node.map()?, &mut draft.notes, unknown_field, |key, node, _| {
        match key {
            "key" | "ek" | "encryption_key" => once(&mut block.key, Given::key(key, node)?, node)?,
            "key_env" => once(&mut block.key, Given::variable(node)?, node)?,
            "key_file" => once(&mut block.key, Given::file(node)?, node)?,
            "prev_key" | "prev_ek" | "prev_encryption_key" => {
                once(&mut block.previous, Given::key(key, node)?, node)?;
            }
            "prev_key_env" => once(&mut block.previous, Given::variable(node)?, node)?,
            "prev_key_file" => once(&mut block.previous, Given::file(node)?, node)?,
            "cipher" => cipher(node)?,
            _ => return Ok(Taken::No),
        }
        Ok(Taken::Yes)
    });
    Ok(Taken::Yes)
}

fn once(slot: &mut Option<Given>, given: Given, node: &Node) -> Result<(), Error> {
    match slot.replace(given) {
        None => Ok(()),
        Some(_) => Err(Error::at(&node.at, "a key is given twice")),
    }
}

fn cipher(node: &Node) -> Result<(), Error> {
    match node.text()?.to_ascii_lowercase().as_str() {
        "chacha" | "chachapoly" => Ok(()),
        "aes" => Err(Error::at(&node.at, "cipher \"aes\" is not supported yet: use chacha")),
        other => Err(Error::at(&node.at, format!("unknown cipher {}: use chacha", quote(other)))),
    }
}

/// Reads the files that were named.
pub(super) fn finish(draft: &mut Draft, source: &mut dyn Source) {
    let Encryption { at, key, previous } = std::mem::take(&mut draft.encryption);
    let Some(at) = at else { return };
    let Some(key) = key else {
        return draft.notes.error(Error::at(&at, "store_encryption needs key_file, key_env or key"));
    };
    let read = key.load(source);
    let key = draft.notes.take(read);
    let read = previous.map(|previous| previous.load(source)).transpose();
    let previous = draft.notes.take(read);
    if let (Some(key), Some(previous)) = (key, previous) {
        draft.config.store_encryption = Some(StoreEncryption { key, previous });
    }
}
