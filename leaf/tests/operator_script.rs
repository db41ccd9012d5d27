//! `operator/script.txt`: users that `nsc` made connect, publish, subscribe and ask, within accounts and across them,
//! at nats-server and at ours. What is allowed, what is refused and in which words is the same.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use support::Server;
use support::creds::Creds;
use support::scene::Scene;

const CONFIG: &str = include_str!("operator/server.conf");
const SCRIPT: &str = include_str!("operator/script.txt");

#[test]
fn one_script_is_judged_alike_by_both() {
    let servers = Server::both("script", CONFIG);
    let mut scenes: Vec<Scene<'_>> = servers.iter().map(Scene::new).collect();
    let (mut attempts, mut refused, mut delivered, mut differ) = (0, 0, 0, Vec::new());
    for line in SCRIPT.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let heard: Vec<String> = match line.strip_prefix("+ ") {
            Some(user) => scenes.iter_mut().map(|scene| scene.enter_with(user, &Creds::of(user))).collect(),
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
        if heard.iter().any(|one| *one != heard[0]) {
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
