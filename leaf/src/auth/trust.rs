//! Operator mode: whom the operators trust, and what becomes of a login with a JWT.
//!
//! An operator's key (or one of its signing keys) signs accounts, an account's key (or one of its
//! signing keys, perhaps scoped) signs users. A user shows its JWT and signs the nonce; the account's
//! JWT comes from a resolver, which is the node's business. The order of the checks is nats-server's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::directory::Connection;
use super::jwt::claims::{self, SigningKey, Texts, UserRights, is_revoked};
use super::jwt::hours::{self, Stay};
use super::jwt::template::{self, Person, TemplateError};
use super::jwt::{Account, Token, TokenError, User, decode, issues, networks};
use super::nkey::PublicKey;
use super::permissions::Compiled;
use super::sharing;
use crate::config::{self, AccountLimits, Export, Import, Permissions, Responses, Rules, TraceTo};
use crate::subject;

/// A time zone by its name; the server's own for an empty one. Files hold them, so the shell finds them.
pub type Zones = dyn Fn(&str) -> Option<TimeZone>;

/// Why somebody is not let in, or an account not taken. The peer hears `Authorization Violation`; this is
/// for the log, and never holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CONNECT names an account, as it could before accounts had keys.
    NamesAccount,
    /// There is no JWT.
    NoToken,
    /// The user's JWT is none.
    User(TokenError),
    /// The user's JWT is expired or not yet valid.
    UserTime,
    /// The user's claims make no sense.
    UserClaims,
    /// It must come through a proxy.
    Proxy,
    /// The account is not among `resolver_pinned_accounts`.
    NotPinned,
    /// The resolver has no JWT of the account.
    NoAccount,
    /// The resolver did not answer.
    Resolver,
    /// The account's JWT is none.
    Account(TokenError),
    /// The resolver gave the JWT of another account.
    OtherAccount,
    /// No trusted operator signed the account.
    Untrusted,
    /// The account is expired or not yet valid.
    AccountTime,
    /// The account's claims make no sense.
    AccountClaims,
    /// The account did not sign the user.
    Issuer,
    /// The user of a scoped key has permissions of its own.
    Scoped,
    /// The template of the scoped key makes no permissions for this user.
    Template(TemplateError),
    /// The account wants a signature.
    Bearer,
    /// Not by this way of connecting.
    Connection,
    /// The nonce is not signed.
    NoSignature,
    /// The nonce is signed by somebody else, or another nonce is.
    Signature,
    /// The account has revoked the user.
    Revoked,
    /// Not from this network.
    Source,
    /// Not at this time of day.
    Hours,
    /// There are too many accounts.
    Accounts,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::User(error) => return write!(f, "user JWT: {error}"),
            Self::Account(error) => return write!(f, "account JWT: {error}"),
            Self::Template(error) => return write!(f, "scoped signing key: {error}"),
            Self::NamesAccount => "CONNECT names an account",
            Self::NoToken => "a user JWT is required",
            Self::UserTime => "user JWT is expired or not yet valid",
            Self::UserClaims => "user JWT has claims that are not valid",
            Self::Proxy => "user must connect through a trusted proxy",
            Self::NotPinned => "account is not among the pinned ones",
            Self::NoAccount => "the resolver does not know the account",
            Self::Resolver => "the resolver does not answer",
            Self::OtherAccount => "the resolver gave the JWT of another account",
            Self::Untrusted => "account JWT is not signed by a trusted operator",
            Self::AccountTime => "account JWT is expired or not yet valid",
            Self::AccountClaims => "account JWT has claims that are not valid",
            Self::Issuer => "user JWT is not signed by its account",
            Self::Scoped => "user of a scoped signing key has permissions or limits of its own",
            Self::Bearer => "account does not allow bearer tokens",
            Self::Connection => "connection type not allowed",
            Self::NoSignature => "signature missing",
            Self::Signature => "signature not verified",
            Self::Revoked => "user JWT is revoked",
            Self::Source => "user may not connect from this network",
            Self::Hours => "user may not connect at this time of day",
            Self::Accounts => "there are too many accounts",
        };
        f.write_str(text)
    }
}

/// Whom the operators trust.
#[derive(Debug)]
pub struct Trust {
    keys: BTreeSet<Box<str>>,
    /// Signing keys of operators that use nothing else; accounts they sign use only signing keys, too.
    strict: BTreeSet<Box<str>>,
    pinned: Option<BTreeSet<Box<str>>>,
    sentinel: Option<Box<str>>,
}

/// How and whence somebody connects, and what it shows.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// `sig`
    pub signature: &'a str,
    /// The text of the nonce in INFO.
    pub nonce: &'a str,
    /// How.
    pub connection: Connection,
    /// Whence.
    pub source: IpAddr,
    /// Nanoseconds since 1970.
    pub now: i128,
    /// A service has decided: it need not sign, and its own limits do not count.
    pub vouched: bool,
}

/// What a user may do once it is in.
#[derive(Debug)]
pub struct Granted {
    /// `None` is everything.
    pub permissions: Option<Rc<Compiled>>,
    /// It need not sign.
    pub is_bearer: bool,
    /// Those are the account's, and change with it.
    pub by_default: bool,
    /// How it may connect; empty for any way.
    pub connections: Vec<Connection>,
    /// Bytes of a message.
    pub max_payload: Option<usize>,
    /// Subscriptions of the connection.
    pub max_subscriptions: Option<u32>,
    /// How long it may stay, nanoseconds.
    pub stay: Option<u64>,
}

const SECOND: i128 = 1_000_000_000;

/// Nanoseconds since 1970 as seconds.
pub fn seconds(now: i128) -> i64 {
    i64::try_from(now.div_euclid(SECOND)).unwrap_or(i64::MAX)
}

/// Where an account wants traces; nowhere if that is no subject.
fn trace(claim: &claims::MsgTrace) -> Option<TraceTo> {
    let sampling = u8::try_from(claim.sampling).ok().filter(|percent| (1..=100).contains(percent)).unwrap_or(100);
    subject::is_valid_literal(claim.dest.as_bytes()).then(|| TraceTo { dest: claim.dest.to_string(), sampling })
}

impl Trust {
    /// Whom `operator` trusts; `system` may always be asked for, however few accounts are pinned.
    pub fn new(operator: &config::Operator, system: Option<&str>) -> Self {
        let mut trust = Self {
            keys: operator.trusted_keys.iter().map(|key| key.as_str().into()).collect(),
            strict: BTreeSet::new(),
            pinned: None,
            sentinel: operator.default_sentinel.as_deref().map(Into::into),
        };
        for token in &operator.operators {
            let claims = &token.body;
            if claims.strict_signing_key_usage {
                trust.strict.extend(claims.signing_keys.iter().cloned());
            } else {
                trust.keys.insert(token.subject.clone());
            }
            trust.keys.extend(claims.signing_keys.iter().cloned());
        }
        if !operator.pinned.is_empty() {
            trust.pinned = Some(operator.pinned.iter().map(String::as_str).chain(system).map(Into::into).collect());
        }
        trust
    }

    /// Whether accounts signed with this key are accounts.
    pub fn is_trusted(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Reads the JWT of CONNECT, or the default sentinel in place of one that is none.
    ///
    /// # Errors
    /// When it is no user's, does not hold now, or its claims make no sense.
    pub fn read_user(&self, offered: &str, now: i128, zones: &Zones) -> Result<Token<User>, Refusal> {
        let token = match (decode::<User>(offered), &self.sentinel) {
            (Ok(token), _) => token,
            (Err(_), Some(sentinel)) => decode(sentinel).map_err(Refusal::User)?,
            (Err(_), None) if offered.is_empty() => return Err(Refusal::NoToken),
            (Err(error), None) => return Err(Refusal::User(error)),
        };
        if token.body.rights.proxy_required {
            return Err(Refusal::Proxy);
        }
        if !token.holds_at(seconds(now)) {
            return Err(Refusal::UserTime);
        }
        if !issues::of_user(&token, |zone| zones(zone).is_some()).is_empty() {
            return Err(Refusal::UserClaims);
        }
        if self.pinned.as_ref().is_some_and(|pinned| !pinned.contains(account_of(&token))) {
            return Err(Refusal::NotPinned);
        }
        Ok(token)
    }

    /// Reads an account's JWT as a resolver gave it. `key` is whose was asked for.
    ///
    /// # Errors
    /// When it is no account's, not this one's, not trusted, does not hold now, or its claims make no sense.
    pub fn read_account(&self, key: &str, text: &str, now: i128) -> Result<Token<Account>, Refusal> {
        let token = decode::<Account>(text).map_err(Refusal::Account)?;
        if !self.is_trusted(&token.issuer) {
            return Err(Refusal::Untrusted);
        }
        if !token.holds_at(seconds(now)) {
            return Err(Refusal::AccountTime);
        }
        if !issues::of_account(&token).is_empty() {
            return Err(Refusal::AccountClaims);
        }
        if &*token.subject != key {
            return Err(Refusal::OtherAccount);
        }
        Ok(token)
    }

    /// What stands in an account's JWT for its users.
    pub fn standing(&self, token: &Token<Account>, text: &str) -> Standing {
        let account = &token.body;
        let mut signers: BTreeMap<Box<str>, Option<Rc<UserRights>>> = BTreeMap::new();
        for key in &account.signing_keys {
            let scope = match key {
                SigningKey::Plain(_) => None,
                SigningKey::Scoped(scope) => Some(Rc::new(scope.template.clone())),
            };
            signers.insert(key.key().into(), scope);
        }
        if !self.strict.contains(&token.issuer) {
            signers.insert(token.subject.clone(), None);
        }
        let limits = &account.limits;
        let default_permissions = permissions(&account.default_permissions);
        Standing {
            key: token.subject.clone(),
            name: token.name.clone(),
            issuer: token.issuer.clone(),
            tags: account.tags.clone(),
            expires: token.expires,
            signers,
            revocations: account.revocations.clone(),
            default: default_permissions.as_ref().map(|permissions| Rc::new(Compiled::new(permissions))),
            default_permissions,
            disallow_bearer: limits.disallow_bearer,
            limits: AccountLimits {
                max_connections: limit(limits.conn),
                max_subscriptions: limit(limits.subs),
                max_payload: limit(limits.payload).map(|bytes| bytes as usize),
                max_leafnodes: limit(limits.leaf),
            },
            trace: account.trace.as_ref().and_then(trace),
            mappings: mappings(account),
            exports: sharing::exports(account),
            imports: sharing::imports(account),
            activations_revoked: account.exports.iter().map(|export| export.revocations.clone()).collect(),
            authorization: account.authorization.clone(),
            digest: Sha256::digest(text).into(),
        }
    }

    /// Decides about `user`, whose account is `standing`.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit(
        &self,
        user: &Token<User>,
        standing: &Standing,
        attempt: &Attempt<'_>,
        zones: &Zones,
    ) -> Result<Granted, Refusal> {
        if !self.is_trusted(&standing.issuer) {
            return Err(Refusal::Untrusted);
        }
        let scope = standing.signers.get(&user.issuer).ok_or(Refusal::Issuer)?;
        let filled;
        let (rights, unset) = match scope {
            None => (&user.body.rights, 0),
            Some(template) => {
                filled = scoped(user, template, standing)?;
                (&filled, -1)
            }
        };
        if standing.is_expired(attempt.now) {
            return Err(Refusal::AccountTime);
        }
        if rights.bearer_token && standing.disallow_bearer {
            return Err(Refusal::Bearer);
        }
        let connections = connections(&rights.allowed_connection_types)?;
        if !connections.is_empty() && !connections.contains(&attempt.connection) {
            return Err(Refusal::Connection);
        }
        if !rights.bearer_token && !attempt.vouched {
            check_signature(&user.subject, attempt)?;
        }
        if standing.revokes(&user.subject, user.issued_at) {
            return Err(Refusal::Revoked);
        }
        if !networks::admit(&rights.src, attempt.source) {
            return Err(Refusal::Source);
        }
        let zone = if rights.times.is_empty() { None } else { zones(&rights.times_location) };
        let stay = match hours::stay(&rights.times, zone.as_ref(), attempt.now) {
            Stay::No => return Err(Refusal::Hours),
            Stay::Unlimited => None,
            Stay::For(nanos) => Some(nanos),
        };
        let own_limit = |number: Option<i64>| limit(number.unwrap_or(unset)).filter(|_| !attempt.vouched);
        let own = permissions(&rights.permissions);
        Ok(Granted {
            is_bearer: rights.bearer_token,
            by_default: own.is_none(),
            permissions: own.map_or_else(|| standing.default.clone(), |own| Some(Rc::new(Compiled::new(&own)))),
            connections,
            max_payload: own_limit(rights.payload).map(|bytes| bytes as usize),
            max_subscriptions: own_limit(rights.subs),
            stay: stay.into_iter().chain(until(user.expires, attempt.now)).min(),
        })
    }
}

/// The account that a user belongs to: its issuer, or the one that the issuing key stands for.
pub fn account_of(user: &Token<User>) -> &str {
    if user.body.issuer_account.is_empty() { &user.issuer } else { &user.body.issuer_account }
}

/// How long until the second `expires`; `None` if it is 0.
pub fn until(expires: i64, now: i128) -> Option<u64> {
    (expires > 0).then(|| u64::try_from(i128::from(expires) * SECOND - now).unwrap_or(0))
}

fn scoped(user: &Token<User>, template: &UserRights, standing: &Standing) -> Result<UserRights, Refusal> {
    if user.body.rights != UserRights::default() {
        return Err(Refusal::Scoped);
    }
    let person = Person {
        name: &user.name,
        subject: &user.subject,
        tags: &user.body.tags,
        account_name: &standing.name,
        account_subject: &user.body.issuer_account,
        account_tags: &standing.tags,
    };
    let permissions = template::fill(&template.permissions, &person).map_err(Refusal::Template)?;
    Ok(UserRights { permissions, ..template.clone() })
}

/// Types that nobody knows are passed over, unless that leaves none.
fn connections(types: &Texts) -> Result<Vec<Connection>, Refusal> {
    let known: Vec<Connection> = types.iter().filter_map(|name| Connection::parse(name)).collect();
    if known.is_empty() && !types.is_empty() { Err(Refusal::Connection) } else { Ok(known) }
}

fn check_signature(subject: &str, attempt: &Attempt<'_>) -> Result<(), Refusal> {
    if attempt.signature.is_empty() {
        return Err(Refusal::NoSignature);
    }
    let signed = PublicKey::parse(subject).is_ok_and(|key| key.verify(attempt.nonce.as_bytes(), attempt.signature));
    if signed { Ok(()) } else { Err(Refusal::Signature) }
}

/// A bound; a negative number is none.
fn limit(number: i64) -> Option<u32> {
    (number >= 0).then(|| u32::try_from(number).unwrap_or(i32::MAX as u32))
}

/// Permissions as a configuration has them; `None` where nothing is said.
pub fn permissions(claims: &claims::Permissions) -> Option<Permissions> {
    let claims::Permissions { publish, subscribe, resp } = claims;
    let rules = |rules: &claims::Permission| Rules {
        allow: (!rules.allow.is_empty()).then(|| rules.allow.clone()),
        deny: rules.deny.clone(),
    };
    let all = Permissions {
        publish: rules(publish),
        subscribe: rules(subscribe),
        responses: resp.map(|resp| Responses {
            max: match resp.max {
                0 => Some(1),
                max => u32::try_from(max).ok(),
            },
            expires: match resp.ttl {
                0 => Some(Duration::from_secs(120)),
                nanos => u64::try_from(nanos).ok().map(Duration::from_nanos),
            },
        }),
    };
    (all != Permissions::default()).then_some(all)
}

fn mappings(account: &Account) -> Vec<config::Mapping> {
    let destination = |to: &claims::WeightedMapping| config::Destination {
        template: to.subject.as_ref().into(),
        weight: if to.weight == 0 { 100 } else { to.weight },
        cluster: (!to.cluster.is_empty()).then(|| to.cluster.as_ref().into()),
    };
    let all = account.mappings.iter();
    all.map(|(from, to)| config::Mapping {
        source: from.as_ref().into(),
        destinations: to.iter().map(destination).collect(),
    })
    .collect()
}

/// An account as its JWT makes it: what a login and a live connection are judged by.
#[derive(Debug)]
pub struct Standing {
    /// Its public key.
    pub key: Box<str>,
    /// `name` of the claims.
    pub name: Box<str>,
    /// The operator key that signed it.
    pub issuer: Box<str>,
    /// Labels.
    pub tags: Texts,
    /// Seconds since 1970; 0 is never.
    pub expires: i64,
    /// What it may use.
    pub limits: AccountLimits,
    /// Where traces go of messages that only `traceparent` wants traced.
    pub trace: Option<TraceTo>,
    /// Where subjects go instead.
    pub mappings: Vec<config::Mapping>,
    /// What it gives to others.
    pub exports: Vec<Export>,
    /// What it takes from others.
    pub imports: Vec<Import>,
    /// Whose activations are void, for each export.
    activations_revoked: Vec<claims::Revocations>,
    /// Who decides about its users in its place.
    pub authorization: claims::ExternalAuthorization,
    signers: BTreeMap<Box<str>, Option<Rc<UserRights>>>,
    revocations: claims::Revocations,
    default_permissions: Option<Permissions>,
    default: Option<Rc<Compiled>>,
    disallow_bearer: bool,
    /// Of the JWT.
    digest: [u8; 32],
}

impl Standing {
    /// An account whose JWT is not there yet, so that somebody can log in to bring it: the system account of an
    /// operator `issuer`.
    pub fn bootstrap(key: &str, issuer: &str) -> Self {
        Self {
            key: key.into(),
            name: Box::default(),
            issuer: issuer.into(),
            tags: Texts::new(),
            expires: 0,
            limits: AccountLimits::default(),
            trace: None,
            mappings: Vec::new(),
            exports: Vec::new(),
            imports: Vec::new(),
            activations_revoked: Vec::new(),
            authorization: claims::ExternalAuthorization::default(),
            signers: BTreeMap::from([(key.into(), None)]),
            revocations: BTreeMap::new(),
            default_permissions: None,
            default: None,
            disallow_bearer: false,
            digest: [0; 32],
        }
    }

    /// Whether it is no more at `now`, nanoseconds since 1970.
    pub fn is_expired(&self, now: i128) -> bool {
        self.expires > 0 && self.expires <= seconds(now)
    }

    /// Whether this is the JWT it came from.
    pub fn is_from(&self, text: &str) -> bool {
        self.digest == <[u8; 32]>::from(Sha256::digest(text))
    }

    /// Whether no JWT made it.
    pub fn is_bootstrap(&self) -> bool {
        self.digest == [0; 32]
    }

    /// Whether what was issued to `user` at `issued_at` is void.
    pub fn revokes(&self, user: &str, issued_at: i64) -> bool {
        issued_at == 0 && !self.revocations.is_empty() || is_revoked(&self.revocations, user, issued_at)
    }

    /// Whether the key signs for it.
    pub fn is_signer(&self, key: &str) -> bool {
        self.signers.contains_key(key)
    }

    /// Whose activations of one of its exports are void.
    pub(super) fn activations_revoked(&self, export: &Export) -> Option<&claims::Revocations> {
        let at = self.exports.iter().position(|one| one == export)?;
        self.activations_revoked.get(at)
    }

    /// Whether users need not sign.
    pub fn allows_bearer(&self) -> bool {
        !self.disallow_bearer
    }

    /// Permissions of users that have none.
    pub fn default_permissions(&self) -> Option<Rc<Compiled>> {
        self.default.clone()
    }

    /// Whether users without permissions may do the same as under `other`.
    pub fn same_default(&self, other: &Self) -> bool {
        self.default_permissions == other.default_permissions
    }

    /// Whether a user that `signer` (a signing key) made may do the same as under `other`.
    pub fn same_signer(&self, other: &Self, signer: &str) -> bool {
        match (self.signers.get(signer), other.signers.get(signer)) {
            (Some(new), Some(old)) => new == old,
            _ => false,
        }
    }
}
