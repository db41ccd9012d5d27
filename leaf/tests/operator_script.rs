//! `operator/script.txt`: users that `nsc` made connect, publish, subscribe and ask, within accounts and across them,
//! at nats-server and at ours. What is allowed, what is refused and in which words is the same.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::path::Path;
use std::process::Command;
use support::creds::Creds;
use support::scene::Scene;
use support::{Server, tool};

const CONFIG: &str = include_str!("operator/server.conf");
const SCRIPT: &str = include_str!("operator/script.txt");

#[test]
fn one_script_is_judged_alike_by_both() {
    play("script", CONFIG, Creds::of);
}

/// The same with what the installed `nsc` makes now: other keys, and its own idea of claims.
#[test]
fn what_nsc_makes_today_is_judged_alike() {
    if tool("nsc").is_none() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("petiole-nsc-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/make");
    let output = Command::new("bash").arg(make).arg(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    play("nsc-today", &read("server.conf"), |user| Creds::read(&read(&format!("creds/{user}.creds"))));
    std::fs::remove_dir_all(&dir).unwrap();
}

fn play(name: &str, config: &str, creds: impl Fn(&str) -> Creds) {
    let servers = Server::both(name, config);
    let mut scenes: Vec<Scene<'_>> = servers.iter().map(Scene::new).collect();
    let (mut attempts, mut refused, mut delivered, mut differ) = (0, 0, 0, Vec::new());
    for line in SCRIPT.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let heard: Vec<String> = match line.strip_prefix("+ ") {
            Some(user) => scenes.iter_mut().map(|scene| scene.enter_with(user, &creds(user))).collect(),
            None => {
                let (who, said) = line.split_once(": ").unwrap();
                scenes.iter_mut().map(|scene| scene.turn(who, &said.replace(" ; ", "\n"))).collect()
            }
        };
        if std::env::var_os("SHOW_SCENES").is_some() {
            println!("{line}\n{}", heard[0]);
        }
        attempts += 1;
        refused += usize::from(heard[0].contains("-ERR"));
        delivered += usize::from(heard[0].contains("MSG "));
        // nats-server serves several subscriptions of one client in any order.
        let sorted = |text: &String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        if heard.iter().any(|one| sorted(one) != sorted(&heard[0])) {
            differ.push(format!("{line}\n  ours   {:?}\n  theirs {:?}", heard[0], heard[1]));
        }
    }
    assert!(differ.is_empty(), "{} of {attempts} differ:\n{}", differ.len(), differ.join("\n"));
    // All kinds of outcomes were there.
    assert!(
        attempts >= 150 && refused >= 30 && delivered >= 30,
        "{attempts}, {refused} refused, {delivered} delivered"
    );
}
