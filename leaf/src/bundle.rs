//! The head of an update: what it is, for which board, and who says so.
//!
//! ```text
//! petiole-bundle 1
//! signature <ed25519 over the first line and all after this one, up to and with the empty line; 128 hexadecimal digits>
//! board <the kind of device it is for>
//! version <numbers with dots, and behind a plus the time it was built: 0.1.0+1795580000>
//! bytes <length of the payload>
//! sha256 <of the payload; 64 hexadecimal digits>
//!
//! <payload: the contents of a slot, from its first byte on>
//! ```
//!
//! Nothing behind the signature is looked at before that was found right.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, VerifyingKey};

/// Bytes that a head may have.
pub const HEAD_BYTES_MAX: usize = 4096;
const MAGIC: &str = "petiole-bundle 1\n";

/// A public key of whoever may make updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(VerifyingKey);

impl Key {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?;
        VerifyingKey::from_bytes(bytes.as_slice().try_into().ok()?).ok().map(Self)
    }
}

/// A version: numbers, the first ones count more. Missing ones are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
}

impl Version {
    /// Reads `1.2.3+4`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers: Vec<u64> = text.split(['.', '+']).map(|n| n.parse().ok()).collect::<Option<_>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self { text: text.to_owned(), numbers })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why an update is not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Something else, or damaged beyond recognition.
    NotABundle,
    /// Changed since it was signed, or signed by somebody else.
    Signature,
    /// Signed, yet it makes no sense to this version.
    Illegible(&'static str),
    /// For another kind of device.
    Board {
        /// What it is for.
        bundle: String,
        /// What this is.
        device: String,
    },
    /// What is there is as new or newer.
    NotNewer {
        /// What was brought.
        bundle: String,
        /// What is there.
        installed: String,
    },
    /// Its end is missing, or there is something behind it.
    Length {
        /// Bytes there should be.
        wanted: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The payload is not the one that was signed.
    Payload,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABundle => f.write_str("this is no update, or it is damaged"),
            Self::Signature => {
                f.write_str("bad signature: changed, or signed with another key than this device trusts")
            }
            Self::Illegible(what) => write!(f, "signed, but its {what} makes no sense here"),
            Self::Board { bundle, device } => write!(f, "wrong board: it is for {bundle}, this is {device}"),
            Self::NotNewer { bundle, installed } => {
                write!(f, "not newer: it is version {bundle}, {installed} is installed")
            }
            Self::Length { wanted, found } if found < wanted => {
                write!(f, "truncated: {found} of {wanted} bytes are there")
            }
            Self::Length { wanted, found } => write!(f, "too long: {found} bytes in place of {wanted}"),
            Self::Payload => f.write_str("damaged: its contents are not those that were signed"),
        }
    }
}

/// What a bundle says of itself; signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The kind of device it is for.
    pub board: String,
    /// Which version it brings.
    pub version: Version,
    /// Length of the payload.
    pub bytes: u64,
    /// Of the payload.
    pub sha256: [u8; 32],
    /// Where the payload begins in the bundle.
    pub payload_at: usize,
}

impl Manifest {
    /// Reads the first bytes of a bundle, [`HEAD_BYTES_MAX`] or all there are.
    ///
    /// # Errors
    /// When it is none, or not of the owner of `key`.
    pub fn open(head: &[u8], key: &Key) -> Result<Self, Refused> {
        let rest = head.strip_prefix(MAGIC.as_bytes()).ok_or(Refused::NotABundle)?;
        let rest = rest.strip_prefix(b"signature ").ok_or(Refused::NotABundle)?;
        let (hex, rest) = rest.split_at_checked(128).ok_or(Refused::NotABundle)?;
        let rest = rest.strip_prefix(b"\n").ok_or(Refused::NotABundle)?;
        let end = rest.windows(2).position(|two| two == b"\n\n").ok_or(Refused::NotABundle)? + 2;
        let signature = HEXLOWER.decode(hex).map_err(|_| Refused::NotABundle)?;
        let signature = Signature::from_slice(&signature).map_err(|_| Refused::Signature)?;
        let signed = [MAGIC.as_bytes(), &rest[..end]].concat();
        key.0.verify_strict(&signed, &signature).map_err(|_| Refused::Signature)?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| Refused::Illegible("text"))?;
        Self::read(text, head.len() - rest.len() + end)
    }

    fn read(text: &str, payload_at: usize) -> Result<Self, Refused> {
        let field = |name: &'static str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or(Refused::Illegible(name))
        };
        let sha256 = HEXLOWER.decode(field("sha256")?.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            board: field("board")?.to_owned(),
            version: Version::parse(field("version")?).ok_or(Refused::Illegible("version"))?,
            bytes: field("bytes")?.parse().map_err(|_| Refused::Illegible("bytes"))?,
            sha256: sha256.ok_or(Refused::Illegible("sha256"))?,
            payload_at,
        })
    }

    /// Whether it is for this device, all of it is there, and newer than what is installed (`None`: whatever its version).
    ///
    /// # Errors
    /// What is against it.
    pub fn check(&self, board: &str, installed: Option<&Version>, bundle_bytes: u64) -> Result<(), Refused> {
        if self.board != board {
            return Err(Refused::Board { bundle: self.board.clone(), device: board.to_owned() });
        }
        if let Some(installed) = installed.filter(|installed| self.version.numbers <= installed.numbers) {
            return Err(Refused::NotNewer { bundle: self.version.to_string(), installed: installed.to_string() });
        }
        let wanted = self.bytes.saturating_add(self.payload_at as u64);
        if bundle_bytes != wanted {
            return Err(Refused::Length { wanted, found: bundle_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    const TEXT: &str = "board virt\nversion 1.10.0+7\nbytes 5\nsha256 \
        2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n\n";

    fn key(seed: u8) -> (SigningKey, Key) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let public = Key::parse(&HEXLOWER.encode(secret.verifying_key().as_bytes())).unwrap();
        (secret, public)
    }

    fn bundle(text: &str) -> Vec<u8> {
        let signature = key(1).0.sign(format!("{MAGIC}{text}").as_bytes());
        format!("{MAGIC}signature {}\n{text}hello", HEXLOWER.encode(&signature.to_bytes())).into_bytes()
    }

    #[test]
    fn one_that_is_right_is_read() {
        let bytes = bundle(TEXT);
        let manifest = Manifest::open(&bytes, &key(1).1).unwrap();
        assert_eq!((manifest.board.as_str(), manifest.bytes), ("virt", 5));
        assert_eq!(&bytes[manifest.payload_at..], b"hello");
        let check = |board, installed: &str, bytes| manifest.check(board, Version::parse(installed).as_ref(), bytes);
        let whole = bytes.len() as u64;
        assert_eq!(check("virt", "1.9.0+8", whole), Ok(()));
        assert_eq!(manifest.check("virt", None, whole), Ok(()));
        for installed in ["1.10.0+7", "1.10.0+8", "2", "1.10.1"] {
            assert!(matches!(check("virt", installed, whole), Err(Refused::NotNewer { .. })), "{installed}");
        }
        assert!(matches!(check("rpi", "1", whole), Err(Refused::Board { .. })));
        for bytes in [whole - 1, whole + 1] {
            assert!(matches!(check("virt", "1", bytes), Err(Refused::Length { .. })), "{bytes}");
        }
    }

    /// Whatever single bit of the head is changed.
    #[test]
    fn nothing_of_the_head_can_be_changed() {
        let good = bundle(TEXT);
        let head = good.len() - 5;
        for at in 0..head {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                let found = Manifest::open(&bytes, &key(1).1);
                assert!(
                    matches!(found, Err(Refused::Signature | Refused::NotABundle)),
                    "byte {at} bit {bit}: {found:?}"
                );
            }
        }
        for end in 0..head {
            assert!(Manifest::open(&good[..end], &key(1).1).is_err(), "{end}");
        }
        assert_eq!(Manifest::open(&good, &key(2).1), Err(Refused::Signature));
    }

    #[test]
    fn signed_nonsense_is_nonsense() {
        for (from, to, what) in [
            ("version 1.10.0+7", "version new", "version"),
            ("bytes 5", "bytes many", "bytes"),
            ("sha256 2c", "sha256 ", "sha256"),
            ("board virt\n", "", "board"),
        ] {
            let found = Manifest::open(&bundle(&TEXT.replace(from, to)), &key(1).1);
            assert_eq!(found, Err(Refused::Illegible(what)));
        }
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(Version::parse("1.2").unwrap().numbers, Version::parse("1.2.0+0").unwrap().numbers);
        for nonsense in ["", "v1", "1..2", "1.-2", "1 "] {
            assert_eq!(Version::parse(nonsense), None, "{nonsense}");
        }
    }
}
