//! The envelope of a JWT: three parts, a header that names the algorithm, claims, a signature.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::auth::nkey::{Kind, PublicKey};

/// Longer tokens are refused unread, bytes.
pub const TOKEN_BYTES_MAX: usize = 1 << 20;

/// The version of claims that is read. Those of version 1, of 2018, are brought up to it first.
const VERSION: i64 = 2;

/// Why a text is no token of the wanted sort. None of them holds a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// More than [`TOKEN_BYTES_MAX`].
    TooLong,
    /// Not three parts with dots between them.
    Parts,
    /// The header is no JSON, or of another type than `JWT`.
    Header,
    /// Signed with an algorithm that is not Ed25519.
    Algorithm,
    /// A part is not base64url.
    Encoding,
    /// The claims are no JSON of the right form.
    Claims,
    /// Claims of another version than 1 and 2.
    Version,
    /// About something else: a user's where an account's is wanted, say.
    Kind,
    /// The issuer is no key, or one that cannot issue this.
    Issuer,
    /// The issuer did not sign this.
    Signature,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the JWT is longer than 1 MiB",
            Self::Parts => "expected 3 chunks",
            Self::Header => "the header is not that of a JWT",
            Self::Algorithm => "the JWT is not signed with ed25519-nkey",
            Self::Encoding => "the JWT is not base64url",
            Self::Claims => "the claims cannot be read",
            Self::Version => "the claims are of no known version",
            Self::Kind => "the JWT is of another kind",
            Self::Issuer => "the issuer is no key that may issue this",
            Self::Signature => "claim failed signature verification",
        })
    }
}

impl std::error::Error for TokenError {}

/// What is in the `nats` part of a sort of token.
pub trait Body: DeserializeOwned {
    /// `nats.type`; empty takes any.
    const TYPE: &'static str;
    /// Whose keys may have signed it.
    const ISSUERS: &'static [Kind];

    /// Brings the `nats` part of version 1 up to version 2, where that takes more than moving fields.
    ///
    /// # Errors
    /// When it holds something that version 2 cannot say.
    fn upgrade(_nats: &mut Map<String, Value>) -> Result<(), TokenError> {
        Ok(())
    }
}

/// A token whose signature is that of the issuer it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Token<B> {
    /// `iss`: the public key that signed it.
    pub issuer: Box<str>,
    /// `sub`: the public key it is about.
    pub subject: Box<str>,
    /// `aud`: whom it is for; empty for anybody.
    pub audience: Box<str>,
    /// `name`.
    pub name: Box<str>,
    /// `jti`.
    pub id: Box<str>,
    /// `iat`, seconds since 1970.
    pub issued_at: i64,
    /// `exp`, seconds since 1970; 0 is never.
    pub expires: i64,
    /// `nbf`, seconds since 1970; 0 is always.
    pub not_before: i64,
    /// `nats`.
    pub body: B,
}

impl<B> Token<B> {
    /// Whether it holds at `now`, seconds since 1970. The second of its expiry is still good, as in
    /// nats-server's library.
    pub fn holds_at(&self, now: i64) -> bool {
        !(self.expires > 0 && now > self.expires || self.not_before > now)
    }
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow, default)]
    typ: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    alg: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Sort {
    /// Version 1 has it here.
    #[serde(rename = "type", default)]
    first: Option<String>,
    #[serde(default)]
    nats: SortOfBody,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SortOfBody {
    #[serde(rename = "type")]
    kind: String,
    version: i64,
}

#[derive(Deserialize)]
#[serde(bound = "B: DeserializeOwned")]
struct Claims<B> {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: Box<str>,
    #[serde(default)]
    aud: Box<str>,
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    jti: Box<str>,
    #[serde(default)]
    iat: i64,
    #[serde(default)]
    exp: i64,
    #[serde(default)]
    nbf: i64,
    nats: B,
}

/// Decodes `text` and checks that the issuer it names signed it.
///
/// # Errors
/// When it is no such token; see [`TokenError`].
pub fn decode<B: Body>(text: &str) -> Result<Token<B>, TokenError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Parts);
    };
    check_header(header)?;
    let json = BASE64URL_NOPAD.decode(claims.as_bytes()).map_err(|_| TokenError::Encoding)?;
    let sort: Sort = serde_json::from_slice(&json).map_err(|_| TokenError::Claims)?;
    let (kind, signed) = match sort.first {
        // Version 1 signs the claims alone.
        Some(kind) => (kind, claims),
        None if sort.nats.version == VERSION => (sort.nats.kind, &text[..text.len() - signature.len() - 1]),
        None => return Err(TokenError::Version),
    };
    if !B::TYPE.is_empty() && kind != B::TYPE {
        return Err(TokenError::Kind);
    }
    let claims = if std::ptr::eq(signed, claims) { upgraded(&json)? } else { read(&json)? };
    let issuer = PublicKey::parse(&claims.iss).map_err(|_| TokenError::Issuer)?;
    if !B::ISSUERS.contains(&issuer.kind()) {
        return Err(TokenError::Issuer);
    }
    if !issuer.verify(signed.as_bytes(), signature) {
        return Err(TokenError::Signature);
    }
    Ok(Token {
        issuer: claims.iss.into(),
        subject: claims.sub,
        audience: claims.aud,
        name: claims.name,
        id: claims.jti,
        issued_at: claims.iat,
        expires: claims.exp,
        not_before: claims.nbf,
        body: claims.nats,
    })
}

fn read<B: Body>(json: &[u8]) -> Result<Claims<B>, TokenError> {
    serde_json::from_slice(json).map_err(|_| TokenError::Claims)
}

/// Claims of version 1: what version 2 has in `nats` stands beside it.
fn upgraded<B: Body>(json: &[u8]) -> Result<Claims<B>, TokenError> {
    let mut claims: Map<String, Value> = serde_json::from_slice(json).map_err(|_| TokenError::Claims)?;
    let mut nats = match claims.remove("nats") {
        Some(Value::Object(nats)) => nats,
        None => Map::new(),
        Some(_) => return Err(TokenError::Claims),
    };
    for moved in ["tags", "issuer_account"] {
        if let Some(value) = claims.remove(moved) {
            nats.insert(moved.to_owned(), value);
        }
    }
    B::upgrade(&mut nats)?;
    claims.insert("nats".to_owned(), Value::Object(nats));
    serde_json::from_value(Value::Object(claims)).map_err(|_| TokenError::Claims)
}

fn check_header(part: &str) -> Result<(), TokenError> {
    let json = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Encoding)?;
    let header: Header<'_> = serde_json::from_slice(&json).map_err(|_| TokenError::Header)?;
    if !header.typ.eq_ignore_ascii_case("jwt") {
        return Err(TokenError::Header);
    }
    if !["ed25519-nkey", "ed25519"].iter().any(|known| header.alg.eq_ignore_ascii_case(known)) {
        return Err(TokenError::Algorithm);
    }
    Ok(())
}

/// Makes the token that [`decode`] reads: for whoever asks a server for something signed, and for tests.
/// `claims` is the JSON of the whole second part.
pub fn encode(claims: &str, signer: &crate::auth::nkey::Seed) -> String {
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let mut text = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = signer.sign(text.as_bytes());
    text.push('.');
    text.push_str(&signature);
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Account, Operator, User};
    use super::*;
    use crate::auth::nkey::Seed;

    const CAPTURE: &str = include_str!("../../../tests/captures/client-jwt.txt");

    /// All JWTs in the capture, made by a real signer: an operator's, two accounts', six users'.
    fn captured() -> Vec<&'static str> {
        CAPTURE.split(['"', ' ', '\n']).filter(|word| word.starts_with("eyJ0")).collect()
    }

    fn seed(kind: Kind, byte: u8) -> Seed {
        Seed::new(kind, [byte; 32])
    }

    #[test]
    fn captured_tokens_are_read() {
        let all = captured();
        assert!(all.len() >= 9, "{}", all.len());
        let operator = decode::<Operator>(all[0]).unwrap();
        assert_eq!((&*operator.name, &*operator.issuer), ("op", &*operator.subject));
        assert_eq!(&*operator.body.system_account, "ADTUBJOTSLRUFEZUGMU3X2MSE5UND36WXLO5II5QMWWNJT5O3BGBEFKK");
        let account = decode::<Account>(all[2]).unwrap();
        assert_eq!((&*account.name, &account.issuer), ("ACC", &operator.subject));
        assert_eq!(account.body.limits.conn, -1);
        for text in &all[3..] {
            let user = decode::<User>(text).unwrap();
            assert_eq!(user.issuer, account.subject);
            assert_eq!(decode::<Account>(text), Err(TokenError::Kind));
        }
        let expiring = all[3..].iter().map(|text| decode::<User>(text).unwrap()).find(|user| user.expires > 0).unwrap();
        assert_eq!(expiring.expires - expiring.issued_at, 2);
        assert!(expiring.holds_at(expiring.expires) && !expiring.holds_at(expiring.expires + 1));
    }

    #[test]
    fn what_was_signed_cannot_be_changed() {
        let text = captured()[3];
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(decode::<User>(&changed).is_err(), "byte {at}");
            assert!(decode::<User>(&text[..at]).is_err(), "cut at {at}");
        }
    }

    /// As signers of 2018 made it: the kind outside, only the claims signed.
    fn encode_first(claims: &str, signer: &Seed) -> String {
        let header = BASE64URL_NOPAD.encode(br#"{"typ":"jwt","alg":"ed25519"}"#);
        let claims = BASE64URL_NOPAD.encode(claims.as_bytes());
        format!("{header}.{claims}.{}", signer.sign(claims.as_bytes()))
    }

    #[test]
    fn version_1_is_brought_up_to_2() {
        let account = seed(Kind::Account, 1);
        let key = account.public().encode();
        let claims = |more: &str| format!(r#"{{"iss":"{key}","sub":"U","type":"user"{more}}}"#);
        let read = |more: &str| decode::<User>(&encode_first(&claims(more), &account));
        let user =
            read(r#","issuer_account":"A","tags":["t"],"nats":{"pub":{"allow":["a"]},"src":"10.0.0.0/8"}"#).unwrap();
        assert_eq!(
            (&*user.body.issuer_account, &*user.body.tags[0], &*user.body.rights.src[0]),
            ("A", "t", "10.0.0.0/8")
        );
        assert_eq!(user.body.rights.permissions.publish.allow, ["a"]);
        // What it does not limit is without limit.
        assert_eq!((user.body.rights.subs, user.body.rights.payload), (Some(-1), Some(-1)));
        assert_eq!(read(r#","nats":{"payload":5,"max":-1}"#).unwrap().body.rights.payload, Some(5));
        assert_eq!(read("").unwrap().body.rights.subs, Some(-1));
        // It had a limit that there is no more; without it the user could do more than was meant.
        assert_eq!(read(r#","nats":{"max":7}"#), Err(TokenError::Claims));
        assert_eq!(read(r#","nats":7"#), Err(TokenError::Claims));
        assert_eq!(decode::<Account>(&encode_first(&claims(""), &account)), Err(TokenError::Kind));
        // Neither signature is good for the other version.
        assert_eq!(decode::<User>(&encode(&claims(""), &account)), Err(TokenError::Signature));
        let second = claims("").replace(r#","type":"user""#, r#","nats":{"type":"user","version":2}"#);
        assert_eq!(decode::<User>(&encode_first(&second, &account)), Err(TokenError::Signature));
    }

    #[test]
    fn faults_have_their_names() {
        let account = seed(Kind::Account, 1);
        let key = account.public().encode();
        let claims = |nats: &str| format!(r#"{{"iss":"{key}","sub":"U","nats":{{{nats}}}}}"#);
        let good = encode(&claims(r#""type":"user","version":2"#), &account);
        assert_eq!(&*decode::<User>(&good).unwrap().subject, "U");
        let text = |nats: &str| decode::<User>(&encode(&claims(nats), &account)).unwrap_err();
        assert_eq!(text(r#""type":"user","version":3"#), TokenError::Version);
        assert_eq!(text(r#""type":"user","version":1"#), TokenError::Version);
        assert_eq!(text(r#""type":"user","version":2,"subs":"x""#), TokenError::Claims);
        assert_eq!(text(r#""type":"account","version":2"#), TokenError::Kind);
        let other = seed(Kind::Account, 2);
        assert_eq!(
            decode::<User>(&encode(&claims(r#""type":"user","version":2"#), &other)),
            Err(TokenError::Signature)
        );
        let user = seed(Kind::User, 3);
        let own = format!(r#"{{"iss":"{}","nats":{{"type":"user","version":2}}}}"#, user.public());
        assert_eq!(decode::<User>(&encode(&own, &user)), Err(TokenError::Issuer));
        assert_eq!(decode::<User>(""), Err(TokenError::Parts));
        assert_eq!(decode::<User>("a.b.c.d"), Err(TokenError::Parts));
        assert_eq!(decode::<User>("!.b.c"), Err(TokenError::Encoding));
        assert_eq!(decode::<User>(&"x".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
        let (_, rest) = good.split_once('.').unwrap();
        let none = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"none"}"#);
        assert_eq!(decode::<User>(&format!("{none}.{rest}")), Err(TokenError::Algorithm));
        let odd = BASE64URL_NOPAD.encode(br#"{"typ":"JWS","alg":"ed25519-nkey"}"#);
        assert_eq!(decode::<User>(&format!("{odd}.{rest}")), Err(TokenError::Header));
    }
}
