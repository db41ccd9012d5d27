//! The claims of each sort of token, as they stand in its JSON. Unknown ones are passed over, absent
//! and null ones are the zero of their type.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::token::{Body, TokenError};
use crate::auth::nkey::Kind;

/// What is `null` counts as absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// A list of short texts.
pub type Texts = Vec<Box<str>>;

/// `nats` of an operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Operator {
    /// Further keys that sign for it.
    #[serde(deserialize_with = "or_default")]
    pub signing_keys: Texts,
    /// Where accounts are fetched when no resolver is configured.
    pub account_server_url: Box<str>,
    /// Where clients find its servers.
    #[serde(deserialize_with = "or_default")]
    pub operator_service_urls: Texts,
    /// Public key of the system account.
    pub system_account: Box<str>,
    /// Oldest server that may serve it, `major.minor.update`.
    pub assert_server_version: Box<str>,
    /// Its own key signs no accounts.
    pub strict_signing_key_usage: bool,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub tags: Texts,
}

impl Body for Operator {
    const TYPE: &'static str = "operator";
    const ISSUERS: &'static [Kind] = &[Kind::Operator];
}

/// `nats` of an account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What it takes from others.
    #[serde(deserialize_with = "or_default")]
    pub imports: Vec<Import>,
    /// What it gives to others.
    #[serde(deserialize_with = "or_default")]
    pub exports: Vec<Export>,
    /// What the operator grants it.
    pub limits: OperatorLimits,
    /// Further keys that sign its users.
    #[serde(deserialize_with = "or_default")]
    pub signing_keys: Vec<SigningKey>,
    /// Users (`*` for all) and the second up to which what was issued to them is void.
    #[serde(deserialize_with = "or_default")]
    pub revocations: Revocations,
    /// Permissions of users that have none.
    pub default_permissions: Permissions,
    /// Where published subjects go instead.
    #[serde(deserialize_with = "or_default")]
    pub mappings: BTreeMap<Box<str>, Vec<WeightedMapping>>,
    /// Who authenticates its users in its place.
    pub authorization: ExternalAuthorization,
    /// Where traces of its messages go.
    pub trace: Option<MsgTrace>,
    /// `system` (or nothing) or `owner`: whose connections carry its replication.
    pub cluster_traffic: Box<str>,
    /// For people.
    pub description: Box<str>,
    /// For people.
    pub info_url: Box<str>,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub tags: Texts,
}

impl Body for Account {
    const TYPE: &'static str = "account";
    const ISSUERS: &'static [Kind] = &[Kind::Account, Kind::Operator];
}

/// Public keys, and the second up to which what was issued to them is void.
pub type Revocations = BTreeMap<Box<str>, i64>;

/// Whether what was issued to `key` at `issued_at` is void.
pub fn is_revoked(revocations: &Revocations, key: &str, issued_at: i64) -> bool {
    [key, "*"].iter().any(|key| revocations.get(*key).is_some_and(|&until| until >= issued_at))
}

/// `limits` of an account; negative is without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OperatorLimits {
    /// Subscriptions of a connection.
    pub subs: i64,
    /// Bytes; nothing enforces it, there or here.
    pub data: i64,
    /// Bytes of a message.
    pub payload: i64,
    /// Imports.
    pub imports: i64,
    /// Exports.
    pub exports: i64,
    /// Exports may have wildcards.
    pub wildcards: bool,
    /// Its users must sign the nonce.
    pub disallow_bearer: bool,
    /// Connections.
    pub conn: i64,
    /// Leaf nodes.
    pub leaf: i64,
    /// Bytes of streams in memory.
    pub mem_storage: i64,
    /// Bytes of streams on disk.
    pub disk_storage: i64,
    /// Streams.
    pub streams: i64,
    /// Consumers.
    pub consumer: i64,
    /// Messages that wait for an acknowledgement.
    pub max_ack_pending: i64,
    /// Bytes of one stream in memory.
    pub mem_max_stream_bytes: i64,
    /// Bytes of one stream on disk.
    pub disk_max_stream_bytes: i64,
    /// A stream must say how large it may become.
    pub max_bytes_required: bool,
    /// The last eight, for each number of replicas.
    #[serde(deserialize_with = "or_default")]
    pub tiered_limits: BTreeMap<Box<str>, JetStreamLimits>,
}

/// Limits of streams; negative is without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in OperatorLimits")]
pub struct JetStreamLimits {
    pub mem_storage: i64,
    pub disk_storage: i64,
    pub streams: i64,
    pub consumer: i64,
    pub max_ack_pending: i64,
    pub mem_max_stream_bytes: i64,
    pub disk_max_stream_bytes: i64,
    pub max_bytes_required: bool,
}

/// A further key of an account.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum SigningKey {
    /// It signs what the account itself may sign.
    Plain(Box<str>),
    /// Its users get the permissions and limits of a template.
    Scoped(Box<Scope>),
}

impl SigningKey {
    /// The public key.
    pub fn key(&self) -> &str {
        match self {
            Self::Plain(key) => key,
            Self::Scoped(scope) => &scope.key,
        }
    }
}

/// What users of a scoped signing key are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Scope {
    /// There is one kind.
    pub kind: ScopeKind,
    /// The public key.
    pub key: Box<str>,
    /// What the users are called together.
    #[serde(default, deserialize_with = "or_default")]
    pub role: Box<str>,
    /// What they may do.
    #[serde(default)]
    pub template: UserRights,
    /// For people.
    #[serde(default, deserialize_with = "or_default")]
    pub description: Box<str>,
}

/// The kind of a [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ScopeKind {
    /// `user_scope`
    #[serde(rename = "user_scope")]
    User,
}

/// `pub`, `sub` and `resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// Publishing.
    #[serde(rename = "pub", deserialize_with = "or_default")]
    pub publish: Permission,
    /// Subscribing; an entry may have a queue after a blank.
    #[serde(rename = "sub", deserialize_with = "or_default")]
    pub subscribe: Permission,
    /// Answering requests.
    pub resp: Option<Responses>,
}

/// Subjects; an empty `allow` allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// Only these.
    #[serde(deserialize_with = "or_default")]
    pub allow: Vec<String>,
    /// Not these.
    #[serde(deserialize_with = "or_default")]
    pub deny: Vec<String>,
}

/// Answers to requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Responses {
    /// How many; 0 is one, negative any number.
    pub max: i64,
    /// How long, nanoseconds; 0 is two minutes, negative for ever.
    pub ttl: i64,
}

/// `nats` of a user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct User {
    /// What it may do; all absent in a user of a scoped key.
    #[serde(flatten)]
    pub rights: UserRights,
    /// The account, where one of its signing keys is the issuer.
    pub issuer_account: Box<str>,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub tags: Texts,
}

impl Body for User {
    const TYPE: &'static str = "user";
    const ISSUERS: &'static [Kind] = &[Kind::Account];

    fn upgrade(nats: &mut Map<String, Value>) -> Result<(), TokenError> {
        if nats.get("max").is_some_and(|max| max.as_i64() != Some(-1)) {
            return Err(TokenError::Claims);
        }
        for limit in ["subs", "data", "payload"] {
            nats.entry(limit).or_insert_with(|| (-1).into());
        }
        Ok(())
    }
}

/// What a user may do, in its own token or in the template of a scoped key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UserRights {
    /// Subjects.
    #[serde(flatten)]
    pub permissions: Permissions,
    /// Networks it must come from (CIDR), a list or a text with commas.
    #[serde(deserialize_with = "sources")]
    pub src: Texts,
    /// Times of day it may connect at.
    #[serde(deserialize_with = "or_default")]
    pub times: Vec<Hours>,
    /// The time zone of those; the server's own when empty.
    pub times_location: Box<str>,
    /// Subscriptions. Absent is none in a user's own token, and no limit in a template.
    pub subs: Option<i64>,
    /// Bytes; nothing enforces it. As `subs`.
    pub data: Option<i64>,
    /// Bytes of a message. As `subs`.
    pub payload: Option<i64>,
    /// It need not sign the nonce.
    pub bearer_token: bool,
    /// It must come through a proxy that signed.
    pub proxy_required: bool,
    /// How it may connect; empty for any way.
    #[serde(deserialize_with = "or_default")]
    pub allowed_connection_types: Texts,
}

/// A time of day, `15:04:05`, and a later one or one of the next day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hours {
    /// From.
    pub start: Box<str>,
    /// Until.
    pub end: Box<str>,
}

fn sources<'de, D: Deserializer<'de>>(from: D) -> Result<Texts, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Texts),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(from)? {
        None => Vec::new(),
        Some(Either::List(list)) => list,
        Some(Either::Text(text)) => {
            let parts = text.split(',').map(|part| part.trim().to_ascii_lowercase());
            parts.filter(|part| !part.is_empty()).map(Into::into).collect()
        }
    })
}

/// What an account takes from another one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Import {
    /// For people.
    #[serde(default)]
    pub name: Box<str>,
    /// As the publisher says it: the exporter of a stream, the importer of a service.
    #[serde(default)]
    pub subject: Box<str>,
    /// The exporter.
    #[serde(default)]
    pub account: Box<str>,
    /// An activation token, where the export asks for one.
    #[serde(default)]
    pub token: Box<str>,
    /// Deprecated form of `local_subject`.
    #[serde(default)]
    pub to: Box<str>,
    /// What it is called here; `$1` is the first wildcard of `subject`.
    #[serde(default)]
    pub local_subject: Box<str>,
    /// Stream or service.
    #[serde(rename = "type")]
    pub kind: ExportKind,
    /// Tell the service who asks.
    #[serde(default)]
    pub share: bool,
    /// Message traces go on beyond it.
    #[serde(default)]
    pub allow_trace: bool,
}

/// What an account gives to others.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Export {
    /// For people.
    #[serde(default)]
    pub name: Box<str>,
    /// What is given.
    #[serde(default)]
    pub subject: Box<str>,
    /// Stream or service.
    #[serde(rename = "type")]
    pub kind: ExportKind,
    /// Only with an activation token.
    #[serde(default)]
    pub token_req: bool,
    /// Accounts whose activation is void.
    #[serde(default, deserialize_with = "or_default")]
    pub revocations: Revocations,
    /// `Singleton` (or nothing), `Stream`, `Chunked`.
    #[serde(default)]
    pub response_type: Box<str>,
    /// Time for the answer, nanoseconds; 0 for the default.
    #[serde(default)]
    pub response_threshold: i64,
    /// Samples of how long answers take.
    #[serde(default)]
    pub service_latency: Option<Latency>,
    /// The token of the subject that is the importer's key, from 1; 0 for none.
    #[serde(default)]
    pub account_token_position: u32,
    /// Shown to all.
    #[serde(default)]
    pub advertise: bool,
    /// Message traces go on beyond it.
    #[serde(default)]
    pub allow_trace: bool,
}

/// The kind of an import or export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// Messages flow to the importer.
    Stream,
    /// The importer asks.
    Service,
}

/// Samples of how long a service takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Latency {
    /// Per cent, or `headers`.
    #[serde(default)]
    pub sampling: Sampling,
    /// Where they go.
    #[serde(default)]
    pub results: Box<str>,
}

/// How many answers are measured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Sampling {
    /// Per cent.
    Percent(i64),
    /// `headers`: those whose request asks for it.
    Word(Box<str>),
}

impl Default for Sampling {
    fn default() -> Self {
        Self::Percent(0)
    }
}

/// Where a subject goes instead, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WeightedMapping {
    /// The destination.
    pub subject: Box<str>,
    /// Per cent; 0 is 100.
    pub weight: u8,
    /// Only in this cluster.
    pub cluster: Box<str>,
}

/// Who authenticates an account's users in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExternalAuthorization {
    /// Users that log in as ever: the service itself.
    #[serde(deserialize_with = "or_default")]
    pub auth_users: Texts,
    /// Accounts it may put users into; `*` for any.
    #[serde(deserialize_with = "or_default")]
    pub allowed_accounts: Texts,
    /// Its public curve key: requests are encrypted to it.
    pub xkey: Box<str>,
}

/// Where traces of messages go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MsgTrace {
    /// The subject.
    pub dest: Box<str>,
    /// Per cent; 0 is 100.
    pub sampling: i64,
}

/// `nats` of an activation: an account's permission for another one to import.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Activation {
    /// What may be imported.
    #[serde(default)]
    pub subject: Box<str>,
    /// Stream or service.
    pub kind: ExportKind,
    /// The exporter, where one of its signing keys is the issuer.
    #[serde(default)]
    pub issuer_account: Box<str>,
    /// Labels.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Texts,
}

impl Body for Activation {
    const TYPE: &'static str = "activation";
    const ISSUERS: &'static [Kind] = &[Kind::Account, Kind::Operator];
}

/// A token of any sort, of which only the envelope counts: a request to delete accounts is one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Generic {
    /// Accounts that a request is about.
    pub accounts: Option<Texts>,
}

impl Body for Generic {
    const TYPE: &'static str = "";
    const ISSUERS: &'static [Kind] = &[Kind::Operator];
}
