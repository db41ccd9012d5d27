//! What holds when nobody says otherwise: nats-server's defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::links::Leafnodes;
use super::model::{Account, Auth, Config, HandshakeFirst, Limits, Log, Tls};

/// `port` of the client listener.
pub(super) const PORT: u16 = 4222;
/// Time for a TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(2);
/// `handshake_first: auto`.
pub(super) const FALLBACK_DELAY: Duration = Duration::from_millis(50);
/// The account of those who belong nowhere else.
pub(crate) const GLOBAL_ACCOUNT: &str = "$G";
/// The account for events of the server itself.
pub(super) const SYSTEM_ACCOUNT: &str = "$SYS";

impl Default for Config {
    /// What a server without a configuration file gets.
    fn default() -> Self {
        Self {
            file: None,
            digest: String::new(),
            server_name: String::new(),
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            host: None,
            port: Some(PORT),
            client_advertise: None,
            monitor: None,
            http_base_path: String::new(),
            limits: Limits::default(),
            log: Log::default(),
            pid_file: None,
            ports_file_dir: None,
            store_dir: PathBuf::from("petiole-data"),
            endurance: 0,
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace_period: Duration::from_secs(10),
            tls: None,
            allow_non_tls: false,
            auth: Auth::default(),
            mqtt: None,
            websocket: None,
            operator: None,
            accounts: vec![Account { name: GLOBAL_ACCOUNT.to_owned(), ..Account::default() }],
            feature_flags: BTreeMap::new(),
            forwards: Vec::new(),
            durables: Vec::new(),
            store_encryption: None,
            system_account: Some(SYSTEM_ACCOUNT.to_owned()),
            leafnodes: Leafnodes::default(),
            warnings: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 65536,
            max_subscriptions: 0,
            max_subscription_tokens: 0,
            max_control_line: 4096,
            max_payload: Some(1 << 20),
            max_pending: 64 << 20,
            max_closed_clients: 10_000,
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            write_deadline: Duration::from_secs(10),
            no_fast_producer_stall: false,
            no_headers: false,
            no_interest_cache: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            debug: false,
            trace: false,
            trace_verbose: false,
            trace_headers: false,
            max_traced_msg_len: 0,
            time: true,
            utc: false,
            file: None,
            size_limit: 0,
            max_num: 0,
            json: false,
        }
    }
}

impl Default for Tls {
    /// No certificates yet: whoever makes one adds them.
    fn default() -> Self {
        Self {
            certs: Vec::new(),
            ca_file: None,
            verify: false,
            map: false,
            pinned: std::collections::BTreeSet::new(),
            timeout: TLS_TIMEOUT,
            only_1_3: false,
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            handshake_first: HandshakeFirst::No,
            connection_rate_limit: 0,
        }
    }
}
