//! What ten thousand accounts cost that hardly anybody uses yet, in a configuration and as JWTs:
//!
//! ```text
//! cargo test --release -p petiole-leaf --test many_accounts -- --ignored --nocapture --test-threads 1
//! ```
//!
//! `cargo bench -p petiole-leaf --bench compare -- --only accounts-10000` compares the former with nats-server.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fmt::Write;

use leaf::auth::jwt::{Account, decode, token};
use leaf::auth::nkey::{Kind, Seed};
use serde_json::json;
use support::creds::{Creds, claims, fixture};
use support::{Client, Server};

const ACCOUNTS: u32 = 10_000;
const USERS: u32 = 10;
/// What is wanted is 40 MiB resident, of which the program's file takes 5 MiB (11 MiB as tests build it): the rest, KiB.
const CONFIGURED_KIB_MAX: u64 = 34 << 10;
/// Of JWTs that is missed; this is so that it does not get worse, KiB.
const PRELOADED_KIB_MAX: u64 = 44 << 10;

/// Memory of the server's own, KiB.
fn anonymous(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn is_small(what: &str, server: &Server, most: u64) {
    let kib = anonymous(server);
    println!("{what}: {:.1} MiB, {:.1} MiB resident", kib as f64 / 1024.0, server.resident() as f64 / 1024.0);
    assert!(kib < most, "{what}: {kib} KiB");
}

#[test]
#[ignore = "a measurement"]
fn accounts_of_a_configuration_are_small() {
    let mut config = "accounts {\n".to_owned();
    for account in 0..ACCOUNTS {
        let user = |user| format!("{{user: u{account}x{user}, password: p{account}x{user}}}");
        let users: Vec<String> = (0..USERS).map(user).collect();
        writeln!(config, "A{account} {{ users: [{}] }}", users.join(", ")).unwrap();
    }
    let server = Server::start("many-configured", &(config + "}\n"));
    Client::login(&server, r#"{"verbose":false,"user":"u9999x9","pass":"p9999x9"}"#);
    is_small("10,000 accounts of 10 users", &server, CONFIGURED_KIB_MAX);
}

#[test]
#[ignore = "a measurement"]
fn accounts_of_a_resolver_are_small() {
    let config = include_str!("operator/server.conf");
    let mut words = config.split_whitespace().filter(|word| word.starts_with("eyJ0"));
    let own = words.find(|word| decode::<Account>(word).is_ok_and(|account| &*account.name == "A")).unwrap();
    let (mut claims, issuer) = (claims(own), decode::<Account>(own).unwrap().issuer);
    let signer = Seed::parse(fixture(&format!("keys/{issuer}.nk")).trim()).unwrap();
    let mut preload = String::new();
    for number in 0..ACCOUNTS {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let key = Seed::new(Kind::Account, bytes).public().encode();
        claims["sub"] = key.as_str().into();
        claims["name"] = format!("A{number}").into();
        claims["nats"]["exports"] = json!([]);
        writeln!(preload, "  {key}: {}", token::encode(&claims.to_string(), &signer)).unwrap();
    }
    let config = config.replacen("resolver_preload: {\n", &format!("resolver_preload: {{\n{preload}"), 1);
    assert!(config.len() > preload.len() + 1000, "they are in it");
    let server = Server::start("many-preloaded", &config);
    let mut client = Client::connect(&server);
    let info = client.until("\r\n");
    let info: serde_json::Value = serde_json::from_str(info.trim().strip_prefix("INFO ").unwrap()).unwrap();
    let connect = Creds::of("alice").connect(info["nonce"].as_str().unwrap());
    assert!(client.converse(&format!("{connect}PING\r\n")).contains("PONG"));
    is_small("10,000 accounts as JWTs", &server, PRELOADED_KIB_MAX);
}
