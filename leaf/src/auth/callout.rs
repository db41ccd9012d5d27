//! Auth callout: a service in an account says who somebody is and what he may do (nats-server: `auth_callout.go`).
//!
//! The server asks with a JWT that it signs and that names a user key made up for this one question; the service
//! answers with a JWT for that key, which holds the user's own. With a curve key both ways are sealed.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::jwt::claims::Texts;
use super::jwt::issues::is_key;
use super::jwt::token::{Body, Token, TokenError, decode, encode};
use super::jwt::{User, issues};
use super::nkey::{Kind, PublicKey, Seed};
use super::trust::{Zones, seconds};
use super::xkey::CurveKey;

/// Where the questions go.
pub const SUBJECT: &[u8] = b"$SYS.REQ.USER.AUTH";
/// The header that names the key to seal the answer for.
pub const KEY_HEADER: &str = "Nats-Server-Xkey";
/// The audience of a question.
const AUDIENCE: &str = "nats-authorization-request";
/// How a JWT begins; an answer that does not is sealed.
const JWT_PREFIX: &[u8] = b"eyJ";

/// The private keys of a server, and what it derives from them.
pub struct ServerKeys {
    secret: [u8; 32],
    seed: Seed,
    curve: CurveKey,
    /// Derivations so far.
    count: u64,
}

impl ServerKeys {
    /// From 32 random bytes: those of the server's id, see [`super::nkey::server_id`].
    pub fn new(secret: [u8; 32]) -> Self {
        let mut keys = Self { secret, seed: Seed::new(Kind::Server, secret), curve: CurveKey::new([0; 32]), count: 0 };
        keys.curve = CurveKey::new(keys.derive(b"curve"));
        keys
    }

    /// The public curve key, `X…`.
    pub fn curve(&self) -> String {
        self.curve.public().encode()
    }

    /// The public key of a user that is asked about; never the same again.
    pub fn user(&mut self) -> String {
        let seed = Seed::new(Kind::User, self.derive(b"user"));
        seed.public().encode()
    }

    /// Letters and digits that nobody can guess, for a subject.
    pub fn token(&mut self) -> String {
        data_encoding::BASE32_NOPAD.encode(&self.derive(b"inbox")[..15])
    }

    /// Bytes that only this server can know, each time others.
    fn derive(&mut self, what: &[u8]) -> [u8; 32] {
        self.count += 1;
        let digest = Sha256::new().chain_update(self.secret).chain_update(self.count.to_le_bytes()).chain_update(what);
        digest.finalize().into()
    }

    /// The question as it goes out: signed, and sealed for `service` if it has a key.
    pub fn ask(&mut self, question: &Question<'_>, service: Option<&PublicKey>) -> Vec<u8> {
        let issuer = self.seed.public().encode();
        // Strings, numbers and lists cannot fail to serialize.
        let nats = serde_json::to_value(question).unwrap_or_default();
        let id = data_encoding::BASE32_NOPAD.encode(&Sha256::digest(nats.to_string()));
        let claims = serde_json::json!({
            "aud": AUDIENCE,
            "exp": question.expires,
            "iat": question.now,
            "iss": issuer,
            "jti": id,
            "sub": question.subject,
            "nats": nats,
        });
        let text = encode(&claims.to_string(), &self.seed);
        let Some(service) = service else { return text.into_bytes() };
        let digest = self.derive(b"nonce");
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&digest[..24]);
        self.curve.seal(text.as_bytes(), service, &nonce)
    }

    /// Reads an answer to the question about the user `key` of the server `server`.
    ///
    /// # Errors
    /// Why it is none, or is a refusal.
    pub fn read(&self, payload: &[u8], expected: &Expected<'_>, zones: &Zones) -> Result<Answer, CalloutError> {
        if payload.is_empty() {
            return Err(CalloutError::NoReason);
        }
        let opened;
        let (mut sealed, mut text) = (false, payload);
        if let Some(service) = expected.service.filter(|_| !payload.starts_with(JWT_PREFIX)) {
            opened = self.curve.open(payload, service).ok_or(CalloutError::Sealed)?;
            (sealed, text) = (true, &opened);
        }
        let text = std::str::from_utf8(text).map_err(|_| CalloutError::Response(TokenError::Encoding))?;
        judge(text, sealed, expected, zones)
    }
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKeys")
    }
}

/// What the server asks: `nats` of its JWT.
#[derive(Serialize)]
pub struct Question<'a> {
    /// Who asks.
    pub server_id: Server<'a>,
    /// The key that the answer must be for.
    pub user_nkey: &'a str,
    /// What is known of the connection.
    pub client_info: ClientInfo<'a>,
    /// What it said.
    pub connect_opts: ConnectOptions<'a>,
    /// Its TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_tls: Option<ClientTls<'a>>,
    /// `authorization_request`
    pub r#type: &'static str,
    /// 2
    pub version: u8,
    /// Whom it is for.
    #[serde(skip)]
    pub subject: &'a str,
    /// Seconds since 1970.
    #[serde(skip)]
    pub now: i64,
    /// Until when an answer counts, seconds since 1970.
    #[serde(skip)]
    pub expires: i64,
}

/// The server in a question.
#[derive(Serialize)]
#[allow(missing_docs, reason = "as everywhere")]
pub struct Server<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub id: &'a str,
    pub version: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xkey: Option<&'a str>,
}

/// The connection in a question.
#[derive(Serialize)]
#[allow(missing_docs, reason = "as everywhere")]
pub struct ClientInfo<'a> {
    pub host: String,
    pub id: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    pub tags: &'a [Box<str>],
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name_tag: &'a str,
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// CONNECT in a question. It has no `Debug`: most of it is secret.
#[derive(Serialize)]
#[allow(missing_docs, reason = "as in CONNECT")]
pub struct ConnectOptions<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub nkey: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sig: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub auth_token: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub pass: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub version: &'a str,
    pub protocol: i64,
}

/// TLS in a question; certificates in PEM.
#[derive(Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ClientTls<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verified_chains: Vec<Vec<String>>,
}

/// What an answer must be about.
pub struct Expected<'a> {
    /// The user key of the question.
    pub user: &'a str,
    /// This server.
    pub server: &'a str,
    /// The curve key of the service, if it has one.
    pub service: Option<&'a PublicKey>,
    /// Whether a key may sign for the account of the service; `None` where any may, as the user's JWT says enough.
    pub signs: Option<&'a dyn Fn(&str) -> bool>,
    /// Nanoseconds since 1970.
    pub now: i128,
}

/// The service lets somebody in.
#[derive(Debug)]
pub struct Answer {
    /// As whom.
    pub user: Token<User>,
}

/// `nats` of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    jwt: Box<str>,
    error: Box<str>,
    issuer_account: Box<str>,
    #[allow(dead_code, reason = "nobody asks yet")]
    tags: Option<Texts>,
}

impl Body for Response {
    const TYPE: &'static str = "authorization_response";
    const ISSUERS: &'static [Kind] = &[Kind::Account];
}

/// Why a service's answer lets nobody in. For the log: it holds what the service said, and no part of a JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalloutError {
    /// It has no key to sign with.
    NoKeys,
    /// The account of the service is not there.
    NoService,
    /// No answer in time.
    Late,
    /// An empty answer.
    NoReason,
    /// It cannot be opened.
    Sealed,
    /// It is no JWT of an answer.
    Response(TokenError),
    /// It contradicts itself.
    Claims,
    /// It does not hold now.
    Time,
    /// It is about another user.
    OtherUser,
    /// It is for another server.
    OtherServer,
    /// The service says so.
    Refused(Box<str>),
    /// Somebody else signed it.
    Signer,
    /// The user's JWT is none.
    User(TokenError),
    /// The user's JWT does not hold now.
    UserTime,
    /// The user's claims make no sense.
    UserClaims,
    /// It must come through a proxy.
    Proxy,
    /// The user's JWT is about another key.
    OtherSubject,
    /// Another account signed the user, or it may not put anybody there.
    Issuer,
    /// The account it puts the user into is not there.
    NoAccount,
    /// Not by this way of connecting.
    Connection,
    /// Not at this time of day.
    Hours,
}

impl fmt::Display for CalloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Response(error) => return write!(f, "auth callout response: {error}"),
            Self::User(error) => return write!(f, "auth callout response: user JWT: {error}"),
            Self::Refused(why) => return write!(f, "auth callout service returned an error: {}", why.escape_debug()),
            Self::NoKeys => "auth callout: the server has no key to sign with",
            Self::NoService => "auth callout: the account of the service is not there",
            Self::Late => "auth callout response not received in time",
            Self::NoReason => "auth callout violation: no reason supplied",
            Self::Sealed => "error decrypting auth callout response",
            Self::Claims => "authorization response had validation errors",
            Self::Time => "authorization response is expired or not yet valid",
            Self::OtherUser => "auth callout violation: auth callout response is not for expected user",
            Self::OtherServer => "auth callout violation: auth callout response is not for server",
            Self::Signer => "auth callout signing key is unknown",
            Self::UserTime => "user JWT of the auth callout is expired or not yet valid",
            Self::UserClaims => "user JWT of the auth callout has claims that are not valid",
            Self::Proxy => "user must connect through a trusted proxy",
            Self::OtherSubject => "user JWT of the auth callout is not for the expected user",
            Self::Issuer => "wrong issuer for auth callout response",
            Self::NoAccount => "no valid account for auth callout response",
            Self::Connection => "connection type not allowed",
            Self::Hours => "user may not connect at this time of day",
        };
        f.write_str(text)
    }
}

fn judge(text: &str, sealed: bool, expected: &Expected<'_>, zones: &Zones) -> Result<Answer, CalloutError> {
    let now = seconds(expected.now);
    let answer = decode::<Response>(text).map_err(CalloutError::Response)?;
    let Response { jwt, error, issuer_account, .. } = &answer.body;
    let issuer_is_key = issuer_account.is_empty() || is_key(issuer_account, Kind::Account);
    if jwt.is_empty() == error.is_empty() || !issuer_is_key {
        return Err(CalloutError::Claims);
    }
    if !answer.holds_at(now) {
        return Err(CalloutError::Time);
    }
    if *answer.subject != *expected.user {
        return Err(CalloutError::OtherUser);
    }
    if *answer.audience != *expected.server {
        return Err(CalloutError::OtherServer);
    }
    if !error.is_empty() {
        return Err(CalloutError::Refused(error.clone()));
    }
    let signer = if issuer_account.is_empty() { &answer.issuer } else { issuer_account };
    if !sealed && expected.signs.is_some_and(|signs| !signs(signer)) {
        return Err(CalloutError::Signer);
    }
    let user = decode::<User>(jwt).map_err(CalloutError::User)?;
    if user.body.rights.proxy_required {
        return Err(CalloutError::Proxy);
    }
    if !user.holds_at(now) {
        return Err(CalloutError::UserTime);
    }
    if !issues::of_user(&user, |zone| zones(zone).is_some()).is_empty() {
        return Err(CalloutError::UserClaims);
    }
    if *user.subject != *expected.user {
        return Err(CalloutError::OtherSubject);
    }
    Ok(Answer { user })
}

#[cfg(test)]
mod tests;
