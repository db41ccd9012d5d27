//! Nkeys: Ed25519 keys as text.
//!
//! A public key is base32 without padding of a prefix byte, the 32 bytes of the key and a CRC16
//! (XMODEM, little endian): 56 characters. A seed has two bytes in front, which hold the prefix of
//! seeds and the one of its public key: 58 characters.

use std::fmt;
use std::hint::black_box;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// The prefix of seeds, `S`.
const SEED_PREFIX: u8 = 18 << 3;

/// What a key stands for; the first letter of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `U`
    User,
    /// `A`
    Account,
    /// `O`
    Operator,
    /// `N`
    Server,
    /// `C`
    Cluster,
    /// `X`: an x25519 key. It encrypts and never signs.
    Curve,
}

impl Kind {
    const ALL: [Self; 6] = [Self::User, Self::Account, Self::Operator, Self::Server, Self::Cluster, Self::Curve];

    fn prefix(self) -> u8 {
        let letter = match self {
            Self::Account => 0,
            Self::Cluster => 2,
            Self::Server => 13,
            Self::Operator => 14,
            Self::User => 20,
            Self::Curve => 23,
        };
        letter << 3
    }

    fn from_prefix(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == byte)
    }
}

/// Why a text is not a key. It never holds the text: that may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not base32, or of the wrong length.
    Encoding,
    /// The checksum does not fit: a typing error.
    Checksum,
    /// The prefix is none of a key of this sort.
    Prefix,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoding => "not the base32 text of a key",
            Self::Checksum => "wrong checksum",
            Self::Prefix => "not a key of this kind",
        })
    }
}

impl std::error::Error for KeyError {}

/// A public key and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    kind: Kind,
    bytes: [u8; 32],
}

impl PublicKey {
    /// A key of 32 known bytes.
    pub fn new(kind: Kind, bytes: [u8; 32]) -> Self {
        Self { kind, bytes }
    }

    /// Reads the 56 characters of a public key.
    ///
    /// # Errors
    /// When it is no base32, has another length, a wrong checksum or an unknown prefix.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let raw: [u8; 35] = decode(text)?;
        let [prefix, key @ .., _, _] = raw;
        let kind = Kind::from_prefix(prefix).ok_or(KeyError::Prefix)?;
        Ok(Self { kind, bytes: key })
    }

    /// The 56 characters.
    pub fn encode(&self) -> String {
        let mut raw = [0; 35];
        raw[0] = self.kind.prefix();
        raw[1..33].copy_from_slice(&self.bytes);
        let crc = crc16(&raw[..33]);
        raw[33..].copy_from_slice(&crc.to_le_bytes());
        BASE32_NOPAD.encode(&raw)
    }

    /// The 32 bytes of the key itself.
    pub fn bytes(&self) -> [u8; 32] {
        self.bytes
    }

    /// What the key stands for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether `sig_text` is this key's signature of the nonce, as it stands in INFO (its ASCII text,
    /// not decoded).
    ///
    /// The signature is base64url without padding; standard base64 is taken as well, as nats-server
    /// does for old clients. A text that is neither is a wrong signature, as is anything by a curve key.
    pub fn verify(&self, nonce_text: &[u8], sig_text: &str) -> bool {
        let Some(signature) = decode_signature(sig_text) else { return false };
        if self.kind == Kind::Curve {
            return false;
        }
        // Strict: a key of small order would "verify" signatures that nobody made.
        VerifyingKey::from_bytes(&self.bytes).is_ok_and(|key| key.verify_strict(nonce_text, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

/// A private key. Its bytes are overwritten when it goes, and `Debug` does not show them.
pub struct Seed {
    kind: Kind,
    bytes: [u8; 32],
}

impl Seed {
    /// A private key of 32 random bytes.
    pub fn new(kind: Kind, bytes: [u8; 32]) -> Self {
        Self { kind, bytes }
    }

    /// Reads the 58 characters of a seed, `SU…`.
    ///
    /// # Errors
    /// As [`PublicKey::parse`]. A curve seed is refused: it cannot sign.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut raw: [u8; 36] = decode(text)?;
        let [first, second, key @ .., _, _] = raw;
        wipe(&mut raw);
        // Five bits of the second prefix byte moved into the low bits of the first one.
        let prefix = (first & 7) << 5 | second >> 3;
        let kind = Kind::from_prefix(prefix).filter(|&kind| kind != Kind::Curve);
        match kind {
            Some(kind) if first & !7 == SEED_PREFIX && second & 7 == 0 => Ok(Self { kind, bytes: key }),
            _ => Err(KeyError::Prefix),
        }
    }

    /// The 58 characters. Whoever has them is the owner: for files that nobody else may read.
    pub fn encode(&self) -> String {
        let prefix = self.kind.prefix();
        let mut raw = [0; 36];
        raw[0] = SEED_PREFIX | prefix >> 5;
        raw[1] = prefix << 3;
        raw[2..34].copy_from_slice(&self.bytes);
        let crc = crc16(&raw[..34]);
        raw[34..].copy_from_slice(&crc.to_le_bytes());
        let text = BASE32_NOPAD.encode(&raw);
        wipe(&mut raw);
        text
    }

    /// What its public key stands for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The public key that goes with it.
    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.kind, self.signing_key().verifying_key().to_bytes())
    }

    /// Signs the text of a nonce: base64url without padding, 86 characters, for `sig` in CONNECT.
    pub fn sign(&self, nonce_text: &[u8]) -> String {
        BASE64URL_NOPAD.encode(&self.signing_key().sign(nonce_text).to_bytes())
    }

    fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.bytes)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({:?})", self.kind)
    }
}

/// A server's id: the public key, `N…` and 56 characters, of 32 random bytes.
pub fn server_id(seed: &[u8; 32]) -> String {
    Seed::new(Kind::Server, *seed).public().encode()
}

/// The nonce of INFO: 11 random bytes as 15 characters of base64url.
pub fn nonce_text(random: [u8; 11]) -> String {
    BASE64URL_NOPAD.encode(&random)
}

fn decode_signature(text: &str) -> Option<Signature> {
    let raw = [BASE64URL_NOPAD, BASE64, BASE64_NOPAD].iter().find_map(|code| code.decode(text.as_bytes()).ok())?;
    Signature::from_slice(&raw).ok()
}

/// Decodes base32 of exactly `N` bytes, the last two a checksum of the others.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    let mut decoded = BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError::Encoding)?;
    let raw = <[u8; N]>::try_from(decoded.as_slice());
    wipe(&mut decoded);
    let raw = raw.map_err(|_| KeyError::Encoding)?;
    let (body, sum) = raw.split_at(N - 2);
    if crc16(body).to_le_bytes() != *sum {
        return Err(KeyError::Checksum);
    }
    Ok(raw)
}

/// CRC16 XMODEM: polynomial 0x1021, start 0, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    for &byte in bytes {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc
}

/// Overwrites what was secret. The black box keeps the compiler from leaving out a write nobody reads.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const USER: &str = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";

    fn seed() -> Seed {
        Seed::new(Kind::User, std::array::from_fn(|i| u8::try_from(i).unwrap()))
    }

    #[test]
    fn the_crc_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn the_fact_sheets_vector() {
        assert_eq!(seed().public().encode(), USER);
        assert_eq!(
            seed().sign(b"9hn_0zV9YtIKlqc"),
            "T7XsGK7C2zJuXI5CMBaKwbyvKo0GvAGPd4clSA1qCeCPtPrzP5F7eOIb0ukQA-T73vlElov8X0NnyTMtqOAwBA"
        );
    }

    #[test]
    fn captured_signatures() {
        let key = PublicKey::parse(USER).unwrap();
        // A6, base64url.
        assert!(key.verify(
            b"WmG1voBxSK6Lo68",
            "doX1xwNKoDKinOi5IIDwxVrM3s70h8VNPKSjtUD1xpK8Z36dj_lsw4SkfF27CD1h5VncWoeCL9wHShQkSCmUDA"
        ));
        // A7, standard base64, with its padding and without.
        let padded = "ndXXeW4UJGZVM/cH+65O+pNukEtWyRTCzltVBymOtOQALcIoGv+bpQnzmUswYg/yRvBswaD3357uhm3DGOYTCw==";
        assert!(key.verify(b"IVb8_JfmX1wrRM0", padded));
        assert!(key.verify(b"IVb8_JfmX1wrRM0", padded.trim_end_matches('=')));
        // A8, made for another nonce.
        assert!(!key.verify(
            b"6ts3AkMksUPLnsc",
            "0XGcxBh5e9Dh3ZWkhYlh4ls0UMoqt27cRR60l6l4Mijh_vGgxOW76UhvvTzecQmTMQ2dEggmYZypNScCD7YACg"
        ));
        for rubbish in ["", "x", "!!!!", "AAAA", USER] {
            assert!(!key.verify(b"6ts3AkMksUPLnsc", rubbish), "{rubbish}");
        }
    }

    #[test]
    fn public_keys_go_there_and_back() {
        for (kind, letter) in Kind::ALL.into_iter().zip(["U", "A", "O", "N", "C", "X"]) {
            let key = PublicKey::new(kind, [7; 32]);
            let text = key.encode();
            assert!(text.starts_with(letter) && text.len() == 56, "{text}");
            assert_eq!(PublicKey::parse(&text), Ok(key));
        }
        let typo = USER.replace("CB5", "CB6");
        assert_eq!(PublicKey::parse(&typo), Err(KeyError::Checksum));
        assert_eq!(PublicKey::parse(&USER.to_lowercase()), Err(KeyError::Encoding));
        for short in ["", "U", &USER[1..]] {
            assert_eq!(PublicKey::parse(short), Err(KeyError::Encoding), "{short}");
        }
    }

    #[test]
    fn seeds_are_read_and_never_shown() {
        let mut raw = vec![SEED_PREFIX | Kind::User.prefix() >> 5, Kind::User.prefix() << 3];
        raw.extend(0..32u8);
        raw.extend(crc16(&raw).to_le_bytes());
        let text = BASE32_NOPAD.encode(&raw);
        assert!(text.starts_with("SU") && text.len() == 58, "{text}");
        let read = Seed::parse(&text).unwrap();
        assert_eq!(read.public().encode(), USER);
        assert_eq!(format!("{read:?}"), "Seed(User)");
        assert_eq!(Seed::parse(USER).unwrap_err(), KeyError::Encoding);
    }

    /// Made with the command `nk`, whose signature of `a nonce` is the last of each. These keys are for this test only.
    #[test]
    fn keys_of_the_real_tool() {
        for (kind, seed, public, signature) in [
            (
                Kind::User,
                "SUAF4KQBP2ACLVBT4BYS63SJRUTC2PTK4MCKCRAY7UG26PTKKHH5BEWZ3I",
                "UC2B343AVIRK4B7AHPYGNTTE5IMUSPENPFSIAKFO6UG5BGUYW7FT3PKV",
                "kZtN6vKNkjDBs3X02n7M7FCqMShibfCSMqGW535_qHHGPfX3dHcXUG-LfCS508kvnv3W5_xiaT1ybQOydF6cBw",
            ),
            (
                Kind::Account,
                "SAACSUTAJZBXMF6D2JDLSQ74P4MJAZO5STD7CKRMFXRZ5XRKIFZM7EGZIY",
                "ABGVCXNF7T5KPISZVC2KVZSF5X2MUH2ZH76EXXB6A5LY53OXZHZCN4IA",
                "BJGvl3fqHqzTiE2zt024oM63g8BMLGLo2tV5U-_sC0BakvC5J-QBccEiuFeuyyBtks8Iu5gOoI4irlfTOEYnDw",
            ),
            (
                Kind::Operator,
                "SOAIW3XDBIHRVYNPAICLPDI7GEM3C5HFNQIURCC5OS5UYDXV52TZNG52YY",
                "OD4J3JVNL4OT7VJ4PVV5Z3RYVTDBOJBOEEPMXOZL6ZN6TM65WKZT7N37",
                "w5ipiGHRYMYLVn4Mt41wgsMxopX6jd7XSv3aPFEUnzgIPWEuO3naKur1mBefirMn0MMtCa6UfnfvsoUwBR7FBA",
            ),
            (
                Kind::Server,
                "SNAE34653T3C2PLOFIWNA6LK3YNZIUIHZO3CWLUVT7T5QRFFSKYQE27RQM",
                "NDQ2B7YWCYBK3LRNWBAN54TXPJGZDMYENHFO3U537AOG73JUELXPOWTS",
                "GdGEslbVryXdQIB8tK7rDBzjq3v865TLvv2ILX8CtBOTO9Qjh2KE-IyioxbCpmne5wg9ni4OO6N57IZkSzEECA",
            ),
            (
                Kind::Cluster,
                "SCAORBCKKEBTQDH3RMFEKT5IJ4QVQSIUHBAIPSWAAZSMHTG5COMK3S7RHM",
                "CAOSXKHD3COM3ZHEG7ENG4RDPF4HZOV442OPOY2KDCOT6HRCQIJ3B3VD",
                "JqoL11yKioKwBWJevf9s8NIWiMCQWdudLTvGwMKKfeAhtJv7FtYkzFujdfLFliL_leqJQ4AThbF6umiGG63lDg",
            ),
        ] {
            let read = Seed::parse(seed).unwrap();
            assert_eq!((read.kind(), read.encode().as_str()), (kind, seed));
            assert_eq!(read.public().encode(), public);
            assert_eq!(read.sign(b"a nonce"), signature);
            assert!(PublicKey::parse(public).unwrap().verify(b"a nonce", signature));
            assert!(!PublicKey::parse(public).unwrap().verify(b"another", signature));
            for cut in 0..seed.len() {
                assert!(Seed::parse(&seed[..cut]).is_err());
            }
        }
        let curve = "XCQYZ7JFZDV3UPILUQCI5BSMXKC24PGWUD2KFPB2VVLDPU63UMBBNO7L";
        let read = PublicKey::parse(curve).unwrap();
        assert_eq!((read.kind(), read.encode().as_str()), (Kind::Curve, curve));
        let private = "SXAA7HGAJHKLSN45C5JYIH77CUU3F6JOC5SLSH53BTWDWGZRL6OFYV7KY4";
        assert_eq!(Seed::parse(private).unwrap_err(), KeyError::Prefix, "it cannot sign");
    }

    #[test]
    fn ids_and_nonces_have_their_shape() {
        let id = server_id(&[9; 32]);
        assert!(id.starts_with('N') && id.len() == 56);
        assert_eq!(PublicKey::parse(&id).unwrap().kind(), Kind::Server);
        assert_eq!(nonce_text([0xff; 11]).len(), 15);
    }
}
