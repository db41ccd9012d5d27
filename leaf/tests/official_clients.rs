//! The official Python, JavaScript and Go clients against our binary: what their users do every day, in their own
//! language (`clients/`). The Rust one is in `official_client.rs`.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leaf::auth::nkey::{Kind, Seed};
use serde_json::json;
use support::{Server, tls};

/// Where `.ci/install` puts what it installs.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

fn clients(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(file)
}

/// Whether `tool` can be had; if not that is said aloud, or fails.
fn is_there(what: &str, tool: &mut Command) -> bool {
    if tool.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(
        std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
        "no {what}, and PETIOLE_REQUIRE_PEERS is set: run .ci/install"
    );
    eprintln!("SKIPPED: no {what}");
    false
}

/// Gives `client` servers of every sort, restarts one when it asks for that, and waits for its verdict.
fn serve(name: &str, client: &mut Command) {
    let seed = Seed::new(Kind::User, [7; 32]);
    let key = seed.public().encode();
    let mut plain = Server::start(&format!("{name}-plain"), "");
    let secure = Server::start(&format!("{name}-tls"), &tls::block(""));
    let keyed = Server::start(&format!("{name}-nkey"), &format!("authorization {{ users: [ {{ nkey: {key} }} ] }}"));
    let operator = Server::start(&format!("{name}-jwt"), include_str!("operator/server.conf"));
    keyed.write("seed", &seed.encode());
    let at = json!({
        "url": plain.url(),
        "tls": format!("tls://localhost:{}", secure.port),
        "ca": tls::certificate("ca.pem"),
        "nkey": keyed.url(),
        "seed": keyed.path("seed"),
        "jwt": operator.url(),
        "creds": clients("../operator/creds/alice.creds"),
        "modules": peers().join("node").canonicalize().unwrap_or_default(),
    });
    let mut child = client.arg(at.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.trim() == "restart" {
        let port = plain.port;
        drop(plain);
        plain = Server::start(&format!("{name}-again"), &format!("port: {port}"));
        assert_eq!(plain.port, port);
        child.stdin.take().unwrap().write_all(b"done\n").unwrap();
    }
    // Why is on standard error.
    assert!(child.wait().unwrap().success(), "the {name} client is not content; it said {line:?}");
    assert_eq!(line.trim(), "restart", "it ended before its last check");
}

#[test]
fn python() {
    let python = || {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", peers().join("python"));
        python
    };
    if is_there("python3, or no nats-py in target/peers/python", python().args(["-c", "import nats, nkeys"])) {
        serve("python", python().arg(clients("check.py")));
    }
}

#[test]
fn javascript() {
    let module = peers().join("node/node_modules/@nats-io/transport-node");
    let mut load = Command::new("node");
    if is_there(
        "node, or no JavaScript client in target/peers/node",
        load.arg("-e").arg("require(process.argv[1])").arg(module),
    ) {
        serve("javascript", Command::new("node").arg(clients("check.mjs")));
    }
}

#[test]
fn go() {
    let program = peers().join("go-client");
    // Built anew, for the source may have changed; offline, from what was fetched by `.ci/install`.
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(clients("go"));
    if is_there("go, or no nats.go in its module cache", &mut build) {
        serve("go", &mut Command::new(program));
    }
}
