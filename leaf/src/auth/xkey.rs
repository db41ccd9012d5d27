//! Curve keys (`X…`): what only one other party is to read is sealed with them.
//!
//! A sealed text is `xkv1`, 24 bytes of nonce, and the text in an authenticated box of NaCl (X25519, XSalsa20,
//! Poly1305), as the `nkeys` libraries make it.

use curve25519_dalek::montgomery::MontgomeryPoint;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use salsa20::{XSalsa20, hsalsa};
use std::fmt;
use std::hint::black_box;
use subtle::ConstantTimeEq;

use super::nkey::{Kind, PublicKey};

/// What a sealed text begins with.
const VERSION: &[u8; 4] = b"xkv1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Bytes that sealing adds.
pub const OVERHEAD_BYTES: usize = VERSION.len() + NONCE_BYTES + TAG_BYTES;

/// A private curve key. Its bytes are overwritten when it goes, and `Debug` does not show them.
pub struct CurveKey([u8; 32]);

impl CurveKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key that goes with it.
    pub fn public(&self) -> PublicKey {
        PublicKey::new(Kind::Curve, MontgomeryPoint::mul_base_clamped(self.0).to_bytes())
    }

    /// Seals `plain` for `other`. No two texts may have the same nonce.
    pub fn seal(&self, plain: &[u8], other: &PublicKey, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
        let (mut cipher, tagger) = self.prepare(other, nonce);
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        sealed.extend_from_slice(VERSION);
        sealed.extend_from_slice(nonce);
        let head = sealed.len();
        sealed.resize(head + TAG_BYTES, 0);
        sealed.extend_from_slice(plain);
        let (tag, text) = sealed[head..].split_at_mut(TAG_BYTES);
        cipher.apply_keystream(text);
        tag.copy_from_slice(&tagger.compute_unpadded(text));
        sealed
    }

    /// Opens what `other` sealed for this key; `None` if it did not, or it was changed.
    pub fn open(&self, sealed: &[u8], other: &PublicKey) -> Option<Vec<u8>> {
        let rest = sealed.strip_prefix(VERSION)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (tag, text) = rest.split_first_chunk::<TAG_BYTES>()?;
        let (mut cipher, tagger) = self.prepare(other, nonce);
        if !bool::from(tagger.compute_unpadded(text).as_slice().ct_eq(tag)) {
            return None;
        }
        let mut plain = text.to_vec();
        cipher.apply_keystream(&mut plain);
        Some(plain)
    }

    /// The stream, past the block that keys the authenticator, and that.
    fn prepare(&self, other: &PublicKey, nonce: &[u8; NONCE_BYTES]) -> (XSalsa20, Poly1305) {
        let shared = MontgomeryPoint(other.bytes()).mul_clamped(self.0).to_bytes();
        let key = hsalsa::<U10>(&shared.into(), &[0; 16].into());
        let mut cipher = XSalsa20::new(&key, nonce.into());
        let mut first = [0; 32];
        cipher.apply_keystream(&mut first);
        (cipher, Poly1305::new(&first.into()))
    }
}

impl Drop for CurveKey {
    fn drop(&mut self) {
        self.0.fill(0);
        black_box(&mut self.0);
    }
}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurveKey")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use data_encoding::HEXLOWER;

    const TEXT: &[u8] = b"a request, sealed";
    const NONCE: &[u8; 24] = b"abcdefghijklmnopqrstuvwx";
    /// By the Go library: from the key of the bytes 0 to 31 to the one of 100 to 131.
    const SEALED: &str = "786b76316162636465666768696a6b6c6d6e6f707172737475767778\
        b7d1b4d8bb04f2ac705ea79c707a705a9aab7bd0e0365548512e076aa185f26dec";

    fn key(first: u8) -> CurveKey {
        CurveKey::new(std::array::from_fn(|at| first + at as u8))
    }

    #[test]
    fn seals_as_the_go_library_does() {
        let (ours, theirs) = (key(0), key(100));
        assert_eq!(ours.public().encode(), "XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7");
        assert_eq!(theirs.public().encode(), "XB6ZYJBRMU4YEXAYS3SX6KAZO5DHSPHGBS7OHLKH3KOQPOC7UVPCVK64");
        let sealed = ours.seal(TEXT, &theirs.public(), NONCE);
        assert_eq!(HEXLOWER.encode(&sealed), SEALED);
        assert_eq!(sealed.len(), TEXT.len() + OVERHEAD_BYTES);
        assert_eq!(theirs.open(&sealed, &ours.public()).as_deref(), Some(TEXT));
    }

    #[test]
    fn opens_nothing_else() {
        let (ours, theirs) = (key(0), key(100));
        let sealed = HEXLOWER.decode(SEALED.as_bytes()).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(theirs.open(&changed, &ours.public()), None, "byte {at}");
            assert_eq!(theirs.open(&sealed[..at], &ours.public()), None, "cut at {at}");
        }
        assert_eq!(theirs.open(&sealed, &key(7).public()), None);
        assert_eq!(key(7).open(&sealed, &ours.public()), None);
        assert_eq!(theirs.open(b"", &ours.public()), None);
    }
}
