//! What the command line says about the configuration. It wins over the file, also when that is read again.

use std::path::PathBuf;
use std::sync::Arc;

use super::defaults::GLOBAL_ACCOUNT;
use super::listen::Port;
use super::model::{Config, Secret, Tls, User};

/// The flags that say how to run. Those that are not given change nothing.
#[derive(Clone, Default, PartialEq)]
pub struct Flags {
    /// `-c`: the configuration file to read, before [`apply`](Self::apply).
    pub config: Option<PathBuf>,
    pub(super) host: Option<String>,
    pub(super) port: Option<Port>,
    pub(super) http_port: Option<Port>,
    pub(super) server_name: Option<String>,
    pub(super) client_advertise: Option<String>,
    pub(super) pid_file: Option<String>,
    pub(super) ports_file_dir: Option<String>,
    pub(super) store_dir: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) log_file: Option<String>,
    pub(super) log_size_limit: Option<i64>,
    pub(super) log_json: Option<bool>,
    pub(super) log_time: Option<bool>,
    pub(super) log_utc: Option<bool>,
    pub(super) max_traced_msg_len: Option<i64>,
    pub(super) debug: Option<bool>,
    pub(super) trace: Option<bool>,
    pub(super) trace_verbose: Option<bool>,
    pub(super) tls: Option<bool>,
    pub(super) tls_verify: Option<bool>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) tls_ca_cert: Option<String>,
}

impl std::fmt::Debug for Flags {
    /// Says little: there may be a password or token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flags").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Flags {
    /// Whether the flags fit together.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.token.is_some() && (self.user.is_some() || self.password.is_some()) {
            return Err("Cannot have a user/pass and token".to_owned());
        }
        Ok(())
    }

    /// Puts what the command line says in place of what the file says.
    pub fn apply(&self, config: &mut Config) -> Result<(), String> {
        self.apply_listen(config);
        self.apply_log(config);
        self.apply_auth(config)?;
        self.apply_tls(config)
    }

    fn apply_listen(&self, config: &mut Config) {
        over(&mut config.host, &self.host);
        over(&mut config.client_advertise, &self.client_advertise);
        over(&mut config.pid_file, &self.pid_file);
        over(&mut config.ports_file_dir, &self.ports_file_dir);
        if let Some(name) = &self.server_name {
            config.server_name.clone_from(name);
        }
        if let Some(dir) = self.store_dir.as_ref().filter(|dir| !dir.is_empty()) {
            config.store_dir = dir.into();
        }
        if let Some(port) = self.port {
            config.port = port.of_clients();
        }
        if let Some(port) = self.http_port {
            let host = config.monitor.take().and_then(|monitor| monitor.host);
            config.monitor = port.of_monitor(host, config.http_base_path.clone());
        }
    }

    fn apply_log(&self, config: &mut Config) {
        let log = &mut config.log;
        over(&mut log.file, &self.log_file);
        log.size_limit = self.log_size_limit.map_or(log.size_limit, |limit| limit.max(0).unsigned_abs());
        let traced = self.max_traced_msg_len.map(|len| usize::try_from(len).unwrap_or(0));
        log.max_traced_msg_len = traced.unwrap_or(log.max_traced_msg_len);
        log.json = self.log_json.unwrap_or(log.json);
        log.time = self.log_time.unwrap_or(log.time);
        log.utc = self.log_utc.unwrap_or(log.utc);
        log.debug = self.debug.unwrap_or(log.debug);
        log.trace = self.trace.unwrap_or(log.trace);
        log.trace_verbose = self.trace_verbose.unwrap_or(log.trace_verbose);
    }

    fn apply_auth(&self, config: &mut Config) -> Result<(), String> {
        if self.user.is_none() && self.password.is_none() && self.token.is_none() {
            return Ok(());
        }
        if !lone_user(config) {
            return Err("--user, --pass and --auth cannot be combined with the configuration's users".to_owned());
        }
        let auth = &mut config.auth;
        let old = Arc::make_mut(&mut auth.users).pop();
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            auth.token = Some(Secret::new(token.as_str()));
            return Ok(());
        }
        let (name, password) = old.map_or((None, None), |user| (Some(user.name), Some(user.password)));
        let name = self.user.clone().or(name).filter(|name| !name.is_empty());
        let password = self.password.as_deref().map(Secret::new).or(password);
        match (name, password) {
            (Some(name), password) => {
                let password = password.unwrap_or_else(|| Secret::new(""));
                auth.token = None;
                Arc::make_mut(&mut auth.users).push(User {
                    name,
                    password,
                    account: 0,
                    permissions: None,
                    connection_types: Vec::new(),
                });
                Ok(())
            }
            (None, Some(_)) => Err("--pass needs --user".to_owned()),
            // All that is given is empty: an empty token takes away the file's.
            (None, None) => {
                auth.token = None;
                Ok(())
            }
        }
    }

    fn apply_tls(&self, config: &mut Config) -> Result<(), String> {
        let given = self.tls_cert.is_some() || self.tls_key.is_some() || self.tls_ca_cert.is_some();
        match self.tls {
            Some(false) => {
                config.tls = None;
                return Ok(());
            }
            None if !given && self.tls_verify.is_none() => return Ok(()),
            _ => {}
        }
        let file = |flag: &Option<String>| flag.clone().filter(|name| !name.is_empty()).map(PathBuf::from);
        let cert = file(&self.tls_cert).ok_or("TLS Server certificate must be present and valid")?;
        let key = file(&self.tls_key).ok_or("TLS Server private key must be present and valid")?;
        let kept = config.tls.take().unwrap_or_default();
        config.tls = Some(Tls {
            certs: vec![(cert, key)],
            ca_file: file(&self.tls_ca_cert),
            verify: self.tls_verify.unwrap_or(false),
            timeout: kept.timeout,
            handshake_first: kept.handshake_first,
            connection_rate_limit: kept.connection_rate_limit,
            ..Tls::default()
        });
        Ok(())
    }
}

/// Whether the file names no users, or one alone as `user` and `password` do.
fn lone_user(config: &Config) -> bool {
    debug_assert!(config.accounts.first().is_none_or(|account| account.name == GLOBAL_ACCOUNT));
    let plain = |user: &User| user.account == 0 && user.permissions.is_none() && user.connection_types.is_empty();
    config.auth.nkeys.is_empty() && config.auth.users.len() <= 1 && config.auth.users.iter().all(plain)
}

/// What a flag says wins; an empty text takes the value away.
fn over<T: for<'a> From<&'a String>>(value: &mut Option<T>, flag: &Option<String>) {
    if let Some(text) = flag {
        *value = Some(text).filter(|text| !text.is_empty()).map(T::from);
    }
}
