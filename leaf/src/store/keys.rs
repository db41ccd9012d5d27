//! Keys of encrypted logs: how they are written, what they are called, and what is derived from them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use super::bug::{Bug, planted};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// What a key is called in heads and errors: it follows from the key and says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why some text is no key. Says nothing about the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key is {KEY_BYTES} random bytes, in hexadecimal or base64: make one with `petiole-leaf store key`")
    }
}

/// A key for logs: 32 bytes, wiped from memory when it goes.
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
    source: Box<str>,
}

impl Key {
    /// Reads a key as people write it: 64 hexadecimal digits or base64, white space around it. `source` says in errors
    /// where it is from.
    ///
    /// # Errors
    /// [`NoKey`] for anything else: a password is guessed too easily by who has the card.
    pub fn parse(text: &[u8], source: &str) -> Result<Self, NoKey> {
        let text = text.trim_ascii();
        let decoded = if text.len() == 2 * KEY_BYTES { HEXLOWER_PERMISSIVE.decode(text) } else { BASE64.decode(text) };
        let decoded = Zeroizing::new(decoded.map_err(|_| NoKey)?);
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if decoded.len() != KEY_BYTES {
            return Err(NoKey);
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self::new(bytes, source))
    }

    /// A key of these bytes.
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>, source: &str) -> Self {
        let mut id = KeyId([0; 8]);
        expand(&Salt::new(HKDF_SHA256, b"").extract(&*bytes), &[b"petiole log key id"], &mut id.0);
        Self { bytes, id, source: source.into() }
    }

    /// What it is called.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Its text, as [`Key::parse`] reads it.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&*self.bytes))
    }

    /// The key of the segment that has these random bytes in its head.
    pub(super) fn of_segment(&self, random: &[u8; 16]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        expand(&Salt::new(HKDF_SHA256, random).extract(&*self.bytes), &[b"petiole log segment"], &mut *key);
        key
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.id, self.source)
    }
}

/// The keys of a process's logs, and where it has its numbers from that must never come twice.
#[derive(Debug)]
pub struct Keys {
    current: Key,
    previous: Option<Key>,
    numbers: Numbers,
}

impl Keys {
    /// What is written from now on is encrypted with `current`; what `previous` encrypted can still be read.
    ///
    /// `noise` is random and used for these keys alone: with the same noise twice, two records may be encrypted alike, and
    /// who has both knows what they differ in.
    pub fn new(current: Key, previous: Option<Key>, noise: &Zeroizing<[u8; 32]>) -> Self {
        let noise = Prk::new_less_safe(HKDF_SHA256, &**noise);
        Self { current, previous, numbers: Numbers { noise, drawn: AtomicU64::new(0) } }
    }

    /// Encrypts what is written.
    pub(super) fn current(&self) -> &Key {
        &self.current
    }

    /// The key with this name.
    pub(super) fn find(&self, id: KeyId) -> Option<&Key> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }

    /// 16 random bytes that never came before.
    pub(super) fn random(&self) -> [u8; 16] {
        self.numbers.draw()
    }

    /// What sets the records that are written from now on apart from all that were written at the same places before.
    pub(super) fn epoch(&self) -> [u8; 8] {
        if planted(Bug::ReusedNonce) { [0; 8] } else { self.numbers.draw() }
    }

    /// How an error says which keys there are.
    pub(super) fn names(&self) -> String {
        let name = |key: &Key| format!("{} ({})", key.id, key.source);
        match &self.previous {
            Some(previous) => format!("{} and {}", name(&self.current), name(previous)),
            None => name(&self.current),
        }
    }
}

/// A row of random numbers without end.
struct Numbers {
    noise: Prk,
    drawn: AtomicU64,
}

impl Numbers {
    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        let at = self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        expand(&self.noise, &[b"petiole log number", &at], &mut out);
        out
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

/// How many bytes are wanted.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF's second step, for at most 32 bytes.
fn expand(from: &Prk, info: &[&[u8]], out: &mut [u8]) {
    let filled = from.expand(info, Bytes(out.len())).and_then(|okm| okm.fill(out));
    filled.expect("HKDF gives up to 8,160 bytes");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn keys_are_read_as_people_write_them() {
        let key = Key::parse(HEX.as_bytes(), "here").unwrap();
        assert_eq!(Key::parse(key.text().as_bytes(), "there").unwrap().id(), key.id());
        assert_eq!(Key::parse(format!("\n {} \r\n", HEX.to_uppercase()).as_bytes(), "").unwrap().id(), key.id());
        for text in ["", "secret", &HEX[..62], &HEX.replace('0', "x"), "QUJD", "correct horse battery staple"] {
            assert!(matches!(Key::parse(text.as_bytes(), ""), Err(NoKey)), "{text}");
        }
    }

    #[test]
    fn a_key_does_not_show() {
        let key = Key::parse(HEX.as_bytes(), "/etc/key").unwrap();
        let id = key.id().to_string();
        let keys = Keys::new(key, None, &Zeroizing::new([7; 32]));
        let shown = format!("{keys:?} {}", keys.names());
        assert!(shown.contains(&id) && shown.contains("/etc/key"), "{shown}");
        assert!(!shown.contains("0001020304") && !shown.contains("0, 1, 2"), "{shown}");
    }

    #[test]
    fn numbers_never_come_twice() {
        let keys = |noise| Keys::new(Key::parse(HEX.as_bytes(), "").unwrap(), None, &Zeroizing::new([noise; 32]));
        let mut seen = std::collections::HashSet::new();
        for keys in [keys(1), keys(2)] {
            assert!((0..1000).all(|_| seen.insert(keys.random()[..8].to_vec()) && seen.insert(keys.epoch().to_vec())));
        }
    }
}
