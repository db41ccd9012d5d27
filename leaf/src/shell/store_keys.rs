//! Keys for the tools: from files that are named or from the environment.

use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::store::{KEY_BYTES, Key, Keys};

/// The variable that has the key, where no file is named.
pub const KEY_VARIABLE: &str = "PETIOLE_STORE_KEY";
/// The variable that has the key before it.
const PREVIOUS_VARIABLE: &str = "PETIOLE_STORE_PREV_KEY";

/// Takes `--key-file` and `--prev-key-file` out of the words of a command line; the rest, and the keys.
///
/// # Errors
/// What is wrong with a key, naming where it is from.
pub(super) fn take(words: &[String]) -> Result<(Vec<&str>, Option<Arc<Keys>>), String> {
    let (mut rest, mut current, mut previous) = (Vec::new(), None, None);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let slot = match name {
            "--key-file" => &mut current,
            "--prev-key-file" => &mut previous,
            _ => {
                rest.push(word);
                continue;
            }
        };
        let value = value.or_else(|| words.next());
        *slot = Some(value.ok_or_else(|| format!("{name} needs the name of a file"))?);
    }
    let current = find(current, KEY_VARIABLE)?;
    let previous = find(previous, PREVIOUS_VARIABLE)?;
    let keys = match (current, previous) {
        (Some(current), previous) => Some(Arc::new(Keys::new(current, previous, &random()?))),
        (None, None) => None,
        (None, Some(_)) => return Err("a previous key is of use only beside a key: --key-file".to_owned()),
    };
    Ok((rest, keys))
}

/// A key that nobody has.
///
/// # Errors
/// When the system has no randomness.
pub(super) fn make() -> Result<Key, String> {
    Ok(Key::new(random()?, "new"))
}

fn find(file: Option<&str>, variable: &str) -> Result<Option<Key>, String> {
    if let Some(name) = file {
        let failed = |why: &dyn std::fmt::Display| format!("key file {name}: {why}");
        let text = std::fs::read(name).map_err(|error: io::Error| failed(&error))?;
        return Key::parse(&Zeroizing::new(text), name).map(Some).map_err(|error| failed(&error));
    }
    let Some(text) = std::env::var_os(variable).map(|text| Zeroizing::new(text.into_encoded_bytes())) else {
        return Ok(None);
    };
    Key::parse(&text, variable).map(Some).map_err(|error| format!("{variable}: {error}"))
}

fn random() -> Result<Zeroizing<[u8; KEY_BYTES]>, String> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes)
}
