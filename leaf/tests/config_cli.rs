//! The command line: what is read from it, and how it wins over the file.

#![allow(clippy::unwrap_used)]

mod config_common;

use config_common::Memory;
use leaf::config::cli::{Invocation, Usage, help, parse, version};
use leaf::config::{Config, Flags};

fn line(text: &str) -> Result<Invocation, Usage> {
    parse(text.split_whitespace().map(str::to_owned))
}

fn flags(text: &str) -> Flags {
    match line(text) {
        Ok(Invocation::Run(flags)) => *flags,
        other => panic!("{text}: {other:?}"),
    }
}

fn applied(text: &str, file: &str) -> Result<Config, String> {
    let mut config = if file.is_empty() { Config::default() } else { Memory::new(file).read().unwrap() };
    flags(text).apply(&mut config)?;
    Ok(config)
}

#[test]
fn invocations() {
    for text in ["-v", "--version", "version", "-p 1 VERSION", "-v -h --routes x"] {
        assert_eq!(line(text), Ok(Invocation::Version), "{text}");
    }
    for text in ["-h", "--help", "help", "-help=true"] {
        assert_eq!(line(text), Ok(Invocation::Help), "{text}");
    }
    assert_eq!(line("--help_tls"), Ok(Invocation::HelpTls));
    assert_eq!(line("-t -c x.conf"), Ok(Invocation::Test("x.conf".into())));
    assert_eq!(flags("--config=x.conf").config, Some("x.conf".into()));
    for (text, argument) in [("-sl reload", "reload"), ("--signal ldm=12", "ldm=12"), ("--signal=stop=*", "stop=*")] {
        assert_eq!(line(text), Ok(Invocation::Signal(argument.to_owned())), "{text}");
    }
}

#[test]
fn malformed_lines_are_no_failure_and_refused_ones_are() {
    for (text, complaint) in [
        ("--nope", "flag provided but not defined: -nope"),
        ("-p abc", "invalid value \"abc\" for flag -p: parse error"),
        ("-p", "flag needs an argument: -p"),
        ("-D=maybe", "invalid boolean value \"maybe\" for -D: parse error"),
        ("--=x", "bad flag syntax: --=x"),
        ("---x", "bad flag syntax: ---x"),
    ] {
        let usage = line(text).unwrap_err();
        assert_eq!((usage.exit_code(), &usage), (0, &Usage::Malformed(complaint.to_owned())), "{text}");
    }
    for (text, complaint) in [
        ("-p 1 extra", "unrecognized command: \"extra\""),
        ("-t", "must specify [-c, --config] option to check configuration file syntax"),
        ("--routes nats://x", "--routes is not supported yet"),
        ("-js", "-js is not supported yet"),
        ("-ms 1", "-ms is not supported yet"),
        ("-s", "-s is not supported yet"),
        ("--cluster=nats://x:1 --profile 2", "--cluster is not supported yet"),
        ("-p 70000", "invalid port 70000"),
        ("--user a --auth b", "Cannot have a user/pass and token"),
    ] {
        let usage = line(text).unwrap_err();
        assert_eq!((usage.exit_code(), &usage), (1, &Usage::Refused(complaint.to_owned())), "{text}");
    }
}

#[test]
fn the_line_wins_over_the_file() {
    let file = "listen: 0.0.0.0:1\nhttp: 1.1.1.1:2\nhttp_base_path: x\ndebug: true\nserver_name: f\nstore_dir: s";
    let config =
        applied("-a ::1 -p -1 -m 0x10 -n n -D=false -DVV -T=false -l x -sd d --log_format json -P y", file).unwrap();
    assert_eq!((config.host.as_deref(), config.port, config.server_name.as_str()), (Some("::1"), None, "n"));
    let monitor = config.monitor.unwrap();
    assert_eq!((monitor.host.as_deref(), monitor.port, monitor.base_path.as_str()), (Some("1.1.1.1"), Some(16), "/x"));
    let log = config.log;
    assert!(log.debug && log.trace && log.trace_verbose && !log.time && log.json);
    assert_eq!((log.file, config.store_dir, config.pid_file), (Some("x".into()), "d".into(), Some("y".into())));
    assert!(!applied("-D=false", file).unwrap().log.debug);
    let kept = applied("-V", file).unwrap();
    assert_eq!((kept.port, kept.server_name.as_str(), kept.log.trace), (Some(1), "f", true));
    assert_eq!(applied("-m 8222", "http_base_path: /x/").unwrap().monitor.unwrap().base_path, "/x");
}

#[test]
fn logging_in_by_the_line() {
    let config = applied("--user a --pass b", "").unwrap();
    assert_eq!((config.auth.users[0].name.as_str(), config.auth.users[0].password.expose()), ("a", "b"));
    let config = applied("--user x", "authorization { user: a, password: b }").unwrap();
    assert_eq!((config.auth.users.len(), config.auth.users[0].name.as_str()), (1, "x"));
    let config = applied("--auth t", "authorization { user: a, password: b }").unwrap();
    assert!(config.auth.users.is_empty() && config.auth.token.unwrap().expose() == "t");
    let config = applied("--user x --pass y", "authorization { token: t }").unwrap();
    assert!(config.auth.token.is_none() && config.auth.users.len() == 1);
    let users = "authorization { users: [{user: a, password: b}, {user: c, password: d}] }";
    assert!(applied("--user x --pass y", users).unwrap_err().contains("cannot be combined"));
    assert_eq!(applied("--pass x", ""), Err("--pass needs --user".to_owned()));
    assert!(!format!("{:?}", line("--pass hidden --user a")).contains("hidden"));
}

#[test]
fn tls_by_the_line() {
    let missing = "TLS Server certificate must be present and valid";
    assert_eq!(applied("--tls", ""), Err(missing.to_owned()));
    let file = "tls { cert_file: a, key_file: b, timeout: 7 }";
    let tls = applied("--tlscert c --tlskey d --tlsverify --tlscacert e", file).unwrap().tls.unwrap();
    assert_eq!((tls.certs, tls.verify, tls.ca_file), (vec![("c".into(), "d".into())], true, Some("e".into())));
    assert_eq!(tls.timeout.as_secs(), 7);
    assert!(applied("--tls=false", file).unwrap().tls.is_none());
}

#[test]
fn texts() {
    assert!(version("petiole-hub").starts_with("petiole-hub: v"));
    assert!(help("petiole-leaf").starts_with("Usage: petiole-leaf [options]"));
    assert!(help("x").lines().all(|line| line.chars().count() <= 110));
}
