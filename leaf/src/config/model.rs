//! The validated configuration: what the rest of the program is built from.
//!
//! Nothing here can hold what a server could not run with; the checks are in `read`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::links::Leafnodes;
use crate::auth::jwt::{self, Token};
use crate::outbox::Terms;
pub use crate::store::Discard;
use crate::store::Key;

/// Everything a server needs to know before it opens a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from, if any; what a reload reads again.
    pub file: Option<PathBuf>,
    /// `sha256:<hex>` over the processed configuration; empty without a file.
    pub digest: String,
    /// `server_name`; the server's id stands in when it is empty.
    pub server_name: String,
    /// `server_tags`, as given.
    pub tags: Vec<String>,
    /// `server_metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `host`; `None` when nobody said, which means loopback unless somebody must log in.
    pub host: Option<String>,
    /// `port`; `None` is "any free port" (-1 in the file).
    pub port: Option<u16>,
    /// `client_advertise`, `host:port` or `host`.
    pub client_advertise: Option<String>,
    /// The monitoring port (`http`, `http_port`, `-m`).
    pub monitor: Option<Monitor>,
    /// `http_base_path`, as in [`Monitor`]; apart, as the port may come from the command line.
    pub http_base_path: String,
    /// Limits of clients and of the server.
    pub limits: Limits,
    /// Log verbosity and place.
    pub log: Log,
    /// `pid_file`.
    pub pid_file: Option<PathBuf>,
    /// `ports_file_dir`.
    pub ports_file_dir: Option<PathBuf>,
    /// Where data goes: `store_dir`, `-sd`.
    pub store_dir: PathBuf,
    /// `endurance`: bytes that can be written to the medium under it; 0 when nobody said. An option of ours.
    pub endurance: u64,
    /// `lame_duck_duration`, at least 30 seconds.
    pub lame_duck_duration: Duration,
    /// `lame_duck_grace_period`, shorter than the duration.
    pub lame_duck_grace_period: Duration,
    /// `tls`.
    pub tls: Option<Tls>,
    /// `allow_non_tls`: a client may stay in clear although TLS is configured.
    pub allow_non_tls: bool,
    /// Who may log in, and to which account.
    pub auth: Auth,
    /// `mqtt`, if the server listens for it.
    pub mqtt: Option<super::Mqtt>,
    /// `websocket`, if the server listens for it.
    pub websocket: Option<super::Websocket>,
    /// Operator mode, if the server is in it: accounts and users then come as JWTs.
    pub operator: Option<Operator>,
    /// The accounts, `$G` first, then as in the file; users refer to them by index.
    pub accounts: Vec<Account>,
    /// `feature_flags`: what nats-server's JetStream and Raft would do otherwise; only told, as they do nothing here.
    pub feature_flags: BTreeMap<String, bool>,
    /// `store_and_forward` (ours): logs whose messages go to the hub.
    pub forwards: Vec<Forward>,
    /// `durable_subscriptions` (ours): what streams at the hub hold for this leaf.
    pub durables: Vec<DurableSubscription>,
    /// `store_encryption` (ours): with what all logs are encrypted.
    pub store_encryption: Option<StoreEncryption>,
    /// `system_account`; `$SYS` unless named. `None` with `no_system_account`.
    pub system_account: Option<String>,
    /// `leafnodes`.
    pub leafnodes: Leafnodes,
    /// Remarks that do not prevent a start: deprecated spellings, discouraged values. `file:line:col: text`.
    pub warnings: Vec<String>,
}

impl Config {
    /// Whether a client must say who it is.
    pub fn login_required(&self) -> bool {
        self.auth.required() || self.operator.is_some()
    }
}

/// An address to serve monitoring on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// `None` follows the client listener's host.
    pub host: Option<String>,
    /// `None` is any free port.
    pub port: Option<u16>,
    /// `http_base_path`, with a leading and no trailing slash; empty for none.
    pub base_path: String,
}

/// Limits with nats-server's names; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `max_connections`; 0 refuses everybody, `u32::MAX` nobody.
    pub max_connections: u32,
    /// `max_subscriptions` of one connection; 0 leaves the built-in bound.
    pub max_subscriptions: u32,
    /// `max_subscription_tokens`; 0 for no limit.
    pub max_subscription_tokens: u8,
    /// `max_control_line`.
    pub max_control_line: usize,
    /// `max_payload`, headers included; `None` (negative in the file) for no limit below the protocol's.
    pub max_payload: Option<usize>,
    /// `max_pending` of one connection.
    pub max_pending: usize,
    /// `max_closed_clients` remembered for /connz.
    pub max_closed_clients: usize,
    /// `ping_interval`.
    pub ping_interval: Duration,
    /// `ping_max`.
    pub ping_max: u32,
    /// `write_deadline`.
    pub write_deadline: Duration,
    /// `no_fast_producer_stall`: drop for the slow consumer instead of slowing the producer.
    pub no_fast_producer_stall: bool,
    /// `no_header_support`.
    pub no_headers: bool,
    /// `disable_sublist_cache`.
    pub no_interest_cache: bool,
}

/// What is logged, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `debug`, `-D`.
    pub debug: bool,
    /// `trace`, `-V`.
    pub trace: bool,
    /// `trace_verbose`, `-VV`: also the system account's traffic.
    pub trace_verbose: bool,
    /// `trace_headers`: only the header of a traced message.
    pub trace_headers: bool,
    /// `max_traced_msg_len`, bytes; 0 for no limit.
    pub max_traced_msg_len: usize,
    /// `logtime`, `-T`.
    pub time: bool,
    /// `logtime_utc`.
    pub utc: bool,
    /// `log_file`, `-l`; standard error when `None`.
    pub file: Option<PathBuf>,
    /// `logfile_size_limit`, bytes; 0 is off.
    pub size_limit: u64,
    /// `logfile_max_num` old files kept; 0 is all.
    pub max_num: usize,
    /// `log_format: json` (ours): one JSON object a line.
    pub json: bool,
}

/// A `tls` block, with nats-server's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain and private key files (PEM); the first is the default.
    pub certs: Vec<(PathBuf, PathBuf)>,
    /// `ca_file`.
    pub ca_file: Option<PathBuf>,
    /// `verify`: a client must show a certificate that the CA signed.
    pub verify: bool,
    /// `verify_and_map`: who it is, is in that certificate.
    pub map: bool,
    /// `pinned_certs`: digests of the only public keys that are let in, in hexadecimal; empty for no such limit.
    pub pinned: BTreeSet<String>,
    /// Time for the handshake.
    pub timeout: Duration,
    /// `min_version: "1.3"`.
    pub only_1_3: bool,
    /// `cipher_suites`, standard names; empty for the default.
    pub cipher_suites: Vec<String>,
    /// `curve_preferences`; empty for the default.
    pub curve_preferences: Vec<String>,
    /// Who speaks first.
    pub handshake_first: HandshakeFirst,
    /// `connection_rate_limit`, handshakes a second; 0 for no limit.
    pub connection_rate_limit: u32,
}

/// `handshake_first` of a `tls` block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// INFO in clear, then TLS.
    No,
    /// TLS at once, INFO inside.
    Yes,
    /// TLS if the client starts it within this time, else INFO in clear.
    Auto(Duration),
}

/// Who may log in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// The token, plain or bcrypt, if that is how one logs in.
    pub token: Option<Secret>,
    /// Users with a password, of every account. Whoever lets them in shares the list: there may be a hundred thousand.
    pub users: Arc<Vec<User>>,
    /// Users with a key, of every account.
    pub nkeys: Vec<NkeyUser>,
    /// Who one is without credentials: a user's name or public key.
    pub no_auth_user: Option<String>,
    /// `auth_callout`: who decides about everybody else.
    pub callout: Option<Callout>,
    /// They come from lists, which hold for every kind of client; not the single one of `authorization`.
    pub is_listed: bool,
    /// `authorization.timeout`; `None` takes the default (2 s, or TLS timeout + 1 s).
    pub timeout: Option<Duration>,
}

impl Auth {
    /// Whether a client must say who it is.
    pub fn required(&self) -> bool {
        self.token.is_some() || !self.users.is_empty() || !self.nkeys.is_empty()
    }
}

/// `auth_callout`: a service that says who somebody is and what he may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callout {
    /// Public key of the account that signs its answers.
    pub issuer: String,
    /// The account it listens in, by name.
    pub account: String,
    /// Those who log in as ever: the service itself.
    pub users: Vec<String>,
    /// Its public curve key: both ways are sealed.
    pub xkey: Option<String>,
    /// Accounts whose configured users it decides about, too; empty for all.
    pub allowed_accounts: Vec<String>,
}

/// Operator mode: `operator` or `trusted_keys`, and where accounts come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operator {
    /// The trusted operators.
    pub operators: Vec<Token<jwt::Operator>>,
    /// `trusted_keys`: keys of operators without their JWTs.
    pub trusted_keys: Vec<String>,
    /// Where the JWTs of accounts are; `check` refuses operators without one.
    pub resolver: Option<Resolver>,
    /// `resolver_preload`: JWTs of accounts, by public key; each is signed by the issuer it names.
    pub preload: BTreeMap<String, String>,
    /// `resolver_pinned_accounts`: the only accounts, but for the system account; empty for no such limit.
    pub pinned: BTreeSet<String>,
    /// `default_sentinel`: the user JWT of those who bring none.
    pub default_sentinel: Option<String>,
}

/// Where the JWTs of accounts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// `MEMORY`: in `resolver_preload`, nowhere else.
    Memory,
    /// `URL(…)`: with a slash at the end, to which the account's key is added.
    Url(String),
    /// `type: full`: all of them in a directory.
    Full(ResolverDir),
    /// `type: cache`: those in use in a directory.
    Cache(ResolverDir),
}

/// A directory of account JWTs, `<public key>.jwt` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverDir {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// Accounts at most.
    pub limit: Option<usize>,
    /// Between two looks at what other servers have.
    pub interval: Duration,
    /// How long an account may take to come from another server.
    pub timeout: Duration,
    /// `allow_delete`, `hard_delete`.
    pub delete: Delete,
    /// How long an account that nobody asks for is kept.
    pub ttl: Option<Duration>,
}

/// What a request to delete accounts does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// Nothing.
    Refused,
    /// The file gets another name.
    Renames,
    /// The file goes.
    Removes,
}

/// A password or token as configured; `Debug` never prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a plain text or bcrypt hash.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for comparison only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// A user with name and password.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password, plain or bcrypt.
    pub password: Secret,
    /// Index into `Config::accounts`.
    pub account: usize,
    /// What it may do; `None` is everything. Users of the same default share it.
    pub permissions: Option<Arc<Permissions>>,
    /// `allowed_connection_types`; empty allows all.
    pub connection_types: Vec<String>,
}

/// A user with a public key.
#[derive(Clone, Debug, PartialEq)]
pub struct NkeyUser {
    /// The public key, `U…`, 56 characters, checked.
    pub nkey: String,
    /// Index into `Config::accounts`.
    pub account: usize,
    /// What it may do; `None` is everything. Users of the same default share it.
    pub permissions: Option<Arc<Permissions>>,
    /// `allowed_connection_types`; empty allows all.
    pub connection_types: Vec<String>,
}

/// `permissions` of a user, `default_permissions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Publishing.
    pub publish: Rules,
    /// Subscribing; entries may carry a queue pattern after a blank: `"foo q*"`.
    pub subscribe: Rules,
    /// `allow_responses`.
    pub responses: Option<Responses>,
}

/// An allow and a deny list. No allow list allows all that is not denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `None` is "everything"; an empty list is "nothing".
    pub allow: Option<Vec<String>>,
    /// Wins over `allow`.
    pub deny: Vec<String>,
}

/// `allow_responses`: how often and how long a reply subject may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses {
    /// Answers for each request; `None` (negative in the file) for no limit.
    pub max: Option<u32>,
    /// How long after the request; `None` (negative) for ever.
    pub expires: Option<Duration>,
}

/// An account: a subject space of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Its name; `$G` is the one of those who belong nowhere else.
    pub name: String,
    /// `mappings`, in the order of the file.
    pub mappings: Vec<Mapping>,
    /// `limits` of the account.
    pub limits: AccountLimits,
    /// `exports`, in the order of the file.
    pub exports: Vec<Export>,
    /// `imports`, in the order of the file.
    pub imports: Vec<Import>,
    /// `msg_trace`: where traces go of messages that only `traceparent` wants traced.
    pub trace: Option<TraceTo>,
}

/// Where traces go, and of how many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceTo {
    /// `dest`, a subject without wildcards.
    pub dest: String,
    /// `sampling`, 1 to 100 per cent.
    pub sampling: u8,
}

/// Which way messages go between accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the exporter to the importer.
    Stream,
    /// Requests from the importer to the exporter, answers back.
    Service,
}

/// What an account gives to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Stream or service.
    pub flow: Flow,
    /// What is given, maybe with wildcards.
    pub subject: String,
    /// To whom.
    pub to: Approval,
    /// How a service answers.
    pub response: Response,
    /// Samples of how long a service takes.
    pub latency: Option<Latency>,
    /// `allow_trace` of a service: traces of messages go on in this account.
    pub allow_trace: bool,
}

/// Who may import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Everybody.
    Public,
    /// The accounts of these names.
    Accounts(Vec<String>),
    /// Whose account's name is the subject's token at this place, from 1.
    Position(usize),
    /// Who has an activation token.
    Token,
}

/// `response_type` and `response_threshold` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// How many answers.
    pub kind: ResponseKind,
    /// How long an answer (or the next one) may take.
    pub threshold: Duration,
}

impl Default for Response {
    fn default() -> Self {
        Self { kind: ResponseKind::Singleton, threshold: Duration::from_secs(120) }
    }
}

/// `response_type` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// One answer.
    Singleton,
    /// Any number.
    Stream,
    /// Up to an empty one.
    Chunked,
}

/// `latency` of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Which requests are measured.
    pub sampling: Sampling,
    /// Where the samples go.
    pub subject: String,
}

/// Which requests to a service are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// So many of a hundred, drawn; 1 to 100.
    Percent(u8),
    /// Those whose headers ask for it.
    Headers,
}

/// What an account takes from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Stream or service.
    pub flow: Flow,
    /// The exporter's name.
    pub account: String,
    /// What the exporter calls it.
    pub subject: String,
    /// What the importer calls it; `*`, `$1` … stand for the wildcards of `subject`.
    pub local: String,
    /// `share` of a service: tell who asks.
    pub share: bool,
    /// `allow_trace` of a stream: traces of messages go on in this account.
    pub allow_trace: bool,
    /// The activation token, as it is; only in JWTs.
    pub activation: Option<String>,
}

/// `limits` of an account; `None` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// `max_connections`.
    pub max_connections: Option<u32>,
    /// `max_subscriptions`.
    pub max_subscriptions: Option<u32>,
    /// `max_payload`, bytes.
    pub max_payload: Option<usize>,
    /// `max_leafnodes`.
    pub max_leafnodes: Option<u32>,
}

/// A subject mapping: what is published to `source` goes to one of the destinations instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// A subject, maybe with wildcards.
    pub source: String,
    /// Where it goes; weights add up to at most 100.
    pub destinations: Vec<Destination>,
}

/// One destination of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// A subject template: `$1`, `{{wildcard(1)}}`, `{{partition(3,1)}}` …
    pub template: String,
    /// Per cent.
    pub weight: u8,
    /// Only in the cluster of this name.
    pub cluster: Option<String>,
}

/// With what the logs of store-and-forward and MQTT are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEncryption {
    /// Encrypts what is written.
    pub key: Key,
    /// What was written with this one can still be read.
    pub previous: Option<Key>,
}

/// A log of `store_and_forward`. 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Names its folder, its metrics and its messages' ids.
    pub name: String,
    /// The account whose messages it captures, by name; `None` is the global account.
    pub account: Option<String>,
    /// What it captures; no subject of another log of the account overlaps one of these.
    pub subjects: Vec<String>,
    /// How it goes up.
    pub terms: Terms,
    /// Logs with more go first.
    pub priority: i32,
    /// What gives way when it is full.
    pub discard: Discard,
    /// A record that the hub will never take is dropped and counted, instead of holding the log.
    pub drop_refused: bool,
    /// Bytes kept.
    pub bytes_max: u64,
    /// Messages kept.
    pub msgs_max: u64,
    /// How long they are kept.
    pub age_max: Duration,
    /// How long a publisher's `Nats-Msg-Id` is remembered.
    pub dedupe_window: Duration,
    /// How long appends are gathered before they are written together.
    pub commit_interval: Duration,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            name: String::new(),
            account: None,
            subjects: Vec::new(),
            terms: Terms::default(),
            priority: 0,
            discard: Discard::Old,
            drop_refused: false,
            bytes_max: 0,
            msgs_max: 0,
            age_max: Duration::ZERO,
            dedupe_window: Duration::from_secs(120),
            commit_interval: Duration::ZERO,
        }
    }
}

/// What of a stream a durable subscription gets when its consumer is first made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deliver {
    /// All that the stream has.
    #[default]
    All,
    /// What comes from then on.
    New,
}

/// One of `durable_subscriptions`: what a stream at the hub holds for this leaf. 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableSubscription {
    /// Names its folder and its metrics; the stream's name unless given.
    pub name: String,
    /// The account here that it publishes in, by name; `None` is the global account.
    pub account: Option<String>,
    /// The stream at the hub.
    pub stream: String,
    /// What of it; none overlaps one of another log of the account.
    pub subjects: Vec<String>,
    /// The consumer at the hub; `None` takes one named after this server.
    pub consumer: Option<String>,
    /// The JetStream domain of the hub; `None` is the one that the hub tells of.
    pub domain: Option<String>,
    /// Where a new consumer begins.
    pub deliver: Deliver,
    /// Messages asked for at once.
    pub batch: usize,
    /// After so long without an acknowledgement the hub sends a message again.
    pub ack_wait: Duration,
    /// Messages kept here at most; when there is no room, they stay at the hub.
    pub msgs_max: u64,
    /// Bytes of them at most.
    pub bytes_max: u64,
    /// How long a message waits here for somebody who listens.
    pub age_max: Duration,
}

impl Default for DurableSubscription {
    fn default() -> Self {
        Self {
            name: String::new(),
            account: None,
            stream: String::new(),
            subjects: Vec::new(),
            consumer: None,
            domain: None,
            deliver: Deliver::All,
            batch: 64,
            ack_wait: Duration::from_secs(10),
            msgs_max: 100_000,
            bytes_max: 64 << 20,
            age_max: Duration::ZERO,
        }
    }
}
