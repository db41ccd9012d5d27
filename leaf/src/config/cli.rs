//! The command line: nats-server's flags, in the style of Go.
//!
//! One dash or two, `-flag value` or `-flag=value`; a boolean flag takes a value only behind `=`.

use std::path::PathBuf;

use super::error::quote;
use super::flags::Flags;
use super::listen::Port;
use super::log::is_json;

pub use super::usage::{help, tls_help, version};

/// What the user wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// Be a server.
    Run(Box<Flags>),
    /// `-t`: check this configuration file and exit. A warning counts as an error.
    Test(PathBuf),
    /// `-v`: print the version.
    Version,
    /// `-h`: print the usage.
    Help,
    /// `--help_tls`: print what a `tls` block may hold.
    HelpTls,
    /// `store …`: look after a log on disk; what follows the word.
    Store(Vec<String>),
    /// `health …`: ask the running server how it is; what follows the word.
    Health(Vec<String>),
    /// `update …`: check and write a signed update; what follows the word.
    Update(Vec<String>),
    /// `-sl`: send a signal to a running server: `<command>[=<pid|pid file|*>]`, as given.
    Signal(String),
}

/// Why a command line is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A flag that is unknown or malformed. As with nats-server the text goes to standard error, the
    /// usage to standard output, and the exit code is 0.
    Malformed(String),
    /// What is understood but cannot be done: `program: text` to standard error, and exit code 1.
    Refused(String),
}

impl Usage {
    /// The code to exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Malformed(_) => 0,
            Self::Refused(_) => 1,
        }
    }
}

/// What a flag sets.
#[derive(Clone, Copy)]
enum Flag {
    Switch(fn(&mut Seen) -> &mut bool),
    /// A boolean that says something also when it is false.
    Choice(fn(&mut Flags) -> &mut Option<bool>),
    /// Several of them.
    Choices(fn(&mut Flags, bool)),
    Text(fn(&mut Flags) -> &mut Option<String>),
    Number(fn(&mut Flags) -> &mut Option<i64>),
    Port(fn(&mut Flags) -> &mut Option<Port>),
    Config,
    Signal,
    LogFormat,
    /// A feature that is not there yet, with a value or boolean.
    NotYet,
    NotYetSwitch,
}

/// What was on the command line.
#[derive(Default)]
struct Seen {
    flags: Flags,
    version: bool,
    help: bool,
    help_tls: bool,
    test: bool,
    config: Option<PathBuf>,
    signal: Option<String>,
    refused: Option<String>,
}

fn flag(name: &str) -> Option<Flag> {
    Some(match name {
        "h" | "help" => Flag::Switch(|seen| &mut seen.help),
        "v" | "version" => Flag::Switch(|seen| &mut seen.version),
        "help_tls" => Flag::Switch(|seen| &mut seen.help_tls),
        "t" => Flag::Switch(|seen| &mut seen.test),
        "c" | "config" => Flag::Config,
        "sl" | "signal" => Flag::Signal,
        "a" | "addr" | "net" => Flag::Text(|flags| &mut flags.host),
        "p" | "port" => Flag::Port(|flags| &mut flags.port),
        "m" | "http_port" => Flag::Port(|flags| &mut flags.http_port),
        "n" | "name" | "server_name" => Flag::Text(|flags| &mut flags.server_name),
        "P" | "pid" => Flag::Text(|flags| &mut flags.pid_file),
        "ports_file_dir" => Flag::Text(|flags| &mut flags.ports_file_dir),
        "client_advertise" => Flag::Text(|flags| &mut flags.client_advertise),
        "sd" | "store_dir" => Flag::Text(|flags| &mut flags.store_dir),
        "user" => Flag::Text(|flags| &mut flags.user),
        "pass" => Flag::Text(|flags| &mut flags.password),
        "auth" => Flag::Text(|flags| &mut flags.token),
        _ => return log_flag(name).or_else(|| tls_flag(name)).or_else(|| missing_flag(name)),
    })
}

fn log_flag(name: &str) -> Option<Flag> {
    Some(match name {
        "l" | "log" => Flag::Text(|flags| &mut flags.log_file),
        "log_size_limit" => Flag::Number(|flags| &mut flags.log_size_limit),
        "log_format" => Flag::LogFormat,
        "T" | "logtime" => Flag::Choice(|flags| &mut flags.log_time),
        "logtime_utc" => Flag::Choice(|flags| &mut flags.log_utc),
        "max_traced_msg_len" => Flag::Number(|flags| &mut flags.max_traced_msg_len),
        "D" | "debug" => Flag::Choice(|flags| &mut flags.debug),
        "V" | "trace" => Flag::Choice(|flags| &mut flags.trace),
        "VV" => Flag::Choices(|flags, on| (flags.trace, flags.trace_verbose) = (Some(on), Some(on))),
        "DV" => Flag::Choices(|flags, on| (flags.debug, flags.trace) = (Some(on), Some(on))),
        "DVV" => Flag::Choices(|flags, on| {
            (flags.debug, flags.trace, flags.trace_verbose) = (Some(on), Some(on), Some(on));
        }),
        _ => return None,
    })
}

fn tls_flag(name: &str) -> Option<Flag> {
    Some(match name {
        "tls" => Flag::Choice(|flags| &mut flags.tls),
        "tlsverify" => Flag::Choice(|flags| &mut flags.tls_verify),
        "tlscert" => Flag::Text(|flags| &mut flags.tls_cert),
        "tlskey" => Flag::Text(|flags| &mut flags.tls_key),
        "tlscacert" => Flag::Text(|flags| &mut flags.tls_ca_cert),
        _ => return None,
    })
}

/// Flags of nats-server for what we do not have.
fn missing_flag(name: &str) -> Option<Flag> {
    Some(match name {
        "js" | "jetstream" | "s" | "syslog" | "no_advertise" => Flag::NotYetSwitch,
        "ms" | "https_port" | "r" | "remote_syslog" | "profile" | "routes" | "cluster" | "cluster_listen"
        | "cluster_name" | "cluster_advertise" | "connect_retries" => Flag::NotYet,
        _ => return None,
    })
}

/// Reads the arguments, without the program's name.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Invocation, Usage> {
    let mut seen = Seen::default();
    let mut args = args.into_iter();
    let word = loop {
        let Some(arg) = args.next() else { break None };
        if arg == "--" {
            break args.next();
        }
        if arg == "store" {
            return Ok(Invocation::Store(args.collect()));
        }
        if arg == "update" {
            return Ok(Invocation::Update(args.collect()));
        }
        if arg == "health" {
            return Ok(Invocation::Health(args.collect()));
        }
        let Some(dashed) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) else { break Some(arg) };
        let name = dashed.strip_prefix('-').unwrap_or(dashed);
        if name.starts_with(['-', '=']) {
            return Err(Usage::Malformed(format!("bad flag syntax: {arg}")));
        }
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
        one(&mut seen, name, value, &mut args)?;
    };
    decide(seen, word)
}

/// Takes one flag, and its value from the next argument if need be.
fn one(
    seen: &mut Seen,
    name: &str,
    value: Option<String>,
    rest: &mut impl Iterator<Item = String>,
) -> Result<(), Usage> {
    let flag = flag(name).ok_or_else(|| Usage::Malformed(format!("flag provided but not defined: -{name}")))?;
    match flag {
        Flag::Switch(field) => *field(seen) = boolean(name, value.as_deref())?,
        Flag::Choice(field) => *field(&mut seen.flags) = Some(boolean(name, value.as_deref())?),
        Flag::Choices(set) => set(&mut seen.flags, boolean(name, value.as_deref())?),
        Flag::NotYetSwitch => {
            if boolean(name, value.as_deref())? {
                refuse(seen, name);
            }
        }
        _ => {
            let missing = || Usage::Malformed(format!("flag needs an argument: -{name}"));
            let value = value.or_else(|| rest.next()).ok_or_else(missing)?;
            with_value(seen, flag, name, value)?;
        }
    }
    Ok(())
}

fn with_value(seen: &mut Seen, flag: Flag, name: &str, value: String) -> Result<(), Usage> {
    match flag {
        Flag::Text(field) => *field(&mut seen.flags) = Some(value),
        Flag::Number(field) => *field(&mut seen.flags) = Some(number(name, &value)?),
        Flag::Port(field) => {
            let number = number(name, &value)?;
            let port = Port::new(number).ok_or_else(|| Usage::Refused(format!("invalid port {number}")))?;
            *field(&mut seen.flags) = Some(port);
        }
        Flag::Config => seen.config = Some(value).filter(|value| !value.is_empty()).map(PathBuf::from),
        Flag::Signal => seen.signal = Some(value).filter(|value| !value.is_empty()),
        Flag::LogFormat => seen.flags.log_json = Some(is_json(&value).map_err(|_| invalid(name, &value))?),
        Flag::NotYet => refuse(seen, name),
        Flag::Switch(_) | Flag::Choice(_) | Flag::Choices(_) | Flag::NotYetSwitch => {}
    }
    Ok(())
}

fn refuse(seen: &mut Seen, name: &str) {
    let dashes = if name.len() > 2 { "--" } else { "-" };
    seen.refused.get_or_insert_with(|| format!("{dashes}{name} is not supported yet"));
}

fn invalid(name: &str, value: &str) -> Usage {
    Usage::Malformed(format!("invalid value {} for flag -{name}: parse error", quote(value)))
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool, Usage> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => {
            Err(Usage::Malformed(format!("invalid boolean value {} for -{name}: parse error", quote(other))))
        }
    }
}

/// An integer as Go reads one: decimal, or `0x`, `0o`, `0b`.
fn number(name: &str, value: &str) -> Result<i64, Usage> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own.
    let digits = Some(digits).filter(|digits| !digits.starts_with(['+', '-']));
    let number = digits.and_then(|digits| i64::from_str_radix(digits, base).ok());
    number.map(|number| if negative { -number } else { number }).ok_or_else(|| invalid(name, value))
}

/// What the flags amount to; `word` is the first argument that is none.
fn decide(mut seen: Seen, word: Option<String>) -> Result<Invocation, Usage> {
    match (seen.version, seen.help, seen.help_tls) {
        (true, _, _) => return Ok(Invocation::Version),
        (_, true, _) => return Ok(Invocation::Help),
        (_, _, true) => return Ok(Invocation::HelpTls),
        _ => {}
    }
    if let Some(word) = word {
        return match word.to_ascii_lowercase().as_str() {
            "version" => Ok(Invocation::Version),
            "help" => Ok(Invocation::Help),
            _ => Err(Usage::Refused(format!("unrecognized command: {}", quote(&word)))),
        };
    }
    if let Some(text) = seen.refused {
        return Err(Usage::Refused(text));
    }
    if let Some(signal) = seen.signal {
        return Ok(Invocation::Signal(signal));
    }
    match seen.config.take() {
        Some(file) if seen.test => Ok(Invocation::Test(file)),
        None if seen.test => {
            let text = "must specify [-c, --config] option to check configuration file syntax";
            Err(Usage::Refused(text.to_owned()))
        }
        config => {
            seen.flags.config = config;
            seen.flags.check().map_err(Usage::Refused)?;
            Ok(Invocation::Run(Box::new(seen.flags)))
        }
    }
}
