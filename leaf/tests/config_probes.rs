//! What the real nats-server said about many small configurations, held against ours.

#![allow(clippy::unwrap_used)]

mod config_common;

use config_common::Memory;
use leaf::config::{Config, check};

const VECTORS: &str = include_str!("vectors/config-grammar-probes.txt");

/// Probes of features that we refuse by name, with the names that the refusal must hold.
const NOT_YET: [(&str, &str); 23] = [
    ("array inline", "cluster"),
    ("array new lines, no commas", "cluster"),
    ("array trailing comma", "cluster"),
    ("map with =", "cluster"),
    ("map with :", "cluster"),
    ("map unknown key", "cluster"),
    ("scalar where map expected", "cluster"),
    ("leaf+gateway without system account", "gateway"),
    ("gateway without name", "gateway"),
    ("cluster name with space", "cluster"),
    ("gateway name differs from cluster name", "cluster"),
    ("jetstream cluster without server_name", "jetstream"),
    ("nested comment in array", "cluster"),
    ("variable holding an array", "cluster"),
    ("START gateway without name", "gateway"),
    ("START leaf+gateway without system account", "gateway"),
    ("START leaf+gateway, default system account", "gateway"),
    ("START cluster and gateway names differ", "cluster"),
    ("START jetstream cluster without server_name", "jetstream"),
    ("START jetstream cluster without cluster name", "jetstream"),
    ("START pinned account, pool_size -1", "cluster"),
    ("START bad compression mode", "cluster"),
    ("START routes without cluster port", "cluster"),
];

/// Probes where both refuse, each in its own words.
const OWN_WORDS: [&str; 3] = ["map unclosed", "key without value inside map", "leaf remote both creds and nkey"];

/// Probes about a real listener, or about a need that we do not have: MQTT works here without JetStream.
const NOT_OURS: [&str; 3] =
    ["START port in use is fatal", "START mqtt without server_name", "START mqtt without jetstream"];

struct Probe {
    name: String,
    variable: Option<(String, String)>,
    text: String,
    /// `exit 1  …`, joined with the lines that follow.
    outcome: String,
}

fn probes() -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    for line in VECTORS.lines() {
        if let Some(title) = line.strip_prefix("--- ") {
            let (name, env) = title.split_once(" env {").map_or((title, None), |(name, env)| (name, Some(env)));
            let variable = env.map(|env| {
                let mut parts = env.split('\'');
                (parts.nth(1).unwrap().to_owned(), parts.nth(1).unwrap().to_owned())
            });
            let name = name.trim().to_owned();
            probes.push(Probe { name, variable, text: String::new(), outcome: String::new() });
        } else if let Some(text) = line.strip_prefix("   | ") {
            let probe = probes.last_mut().unwrap();
            if !probe.text.is_empty() {
                probe.text.push('\n');
            }
            probe.text.push_str(text);
        } else if let Some(outcome) = line.strip_prefix("   exit ") {
            probes.last_mut().unwrap().outcome = outcome.to_owned();
        } else if line.starts_with("t.conf:") {
            let probe = probes.last_mut().unwrap();
            probe.outcome.push('\n');
            probe.outcome.push_str(line);
        }
    }
    probes
}

fn run(probe: &Probe) -> Result<Config, String> {
    let text = match probe.name.as_str() {
        "CRLF line ends" => probe.text.replace('\n', "\r\n"),
        "block string, newline after )" | "block string, one line, content after ( is kept" => {
            format!("{}\n", probe.text)
        }
        _ => probe.text.clone(),
    };
    let mut memory = Memory::new(&text)
        .file("inc.conf", "max_payload: 2222")
        .file("sub/inc2.conf", "include \"inc3.conf\"")
        .file("sub/inc3.conf", "max_payload: 3333")
        .file("authmap.conf", "user: a\npassword: b")
        .file("users.conf", "[ {user: a, password: b} ]");
    if let Some((name, value)) = &probe.variable {
        memory = memory.variable(name, value);
    }
    let config = memory.read().map_err(|errors| errors.to_string())?;
    if probe.name.starts_with("START ") {
        check(&config)?;
    } else if !config.warnings.is_empty() {
        return Err(config.warnings.join("\n"));
    }
    Ok(config)
}

/// The value that INFO showed, in the vectors' notation.
fn shown(config: &Config, name: &str) -> String {
    match name {
        "max_payload" => config.limits.max_payload.map_or("-1".to_owned(), |max| max.to_string()),
        "server_name" => {
            let text = config.server_name.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
            format!("'{text}'")
        }
        other => panic!("{other}"),
    }
}

/// The first line of what nats-server complained: after a type error it may add nonsense.
fn complaint(outcome: &str) -> String {
    let (_, text) = outcome.split_once("  ").unwrap();
    let text = text.strip_prefix("nats-server: ").unwrap_or(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("nil pointer dereference")).collect();
    lines.join("\n")
}

#[test]
fn every_probe_has_the_outcome_it_had() {
    let probes = probes();
    assert!(probes.len() > 125, "{} probes", probes.len());
    let named = |name: &str| probes.iter().any(|probe| probe.name == name);
    for name in NOT_YET.iter().map(|(name, _)| *name).chain(OWN_WORDS).chain(NOT_OURS) {
        assert!(named(name), "no probe is called {name:?}");
    }
    let mut faults = Vec::new();
    for probe in &probes {
        if NOT_OURS.contains(&probe.name.as_str()) {
            continue;
        }
        if let Err(fault) = compare(probe) {
            faults.push(format!("--- {}\n{}\n{fault}\n  {}", probe.name, probe.text, probe.outcome));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn compare(probe: &Probe) -> Result<(), String> {
    let result = run(probe);
    if let Some((_, feature)) = NOT_YET.iter().find(|(name, _)| *name == probe.name) {
        let want = format!("\"{feature}\" is not supported yet");
        let refused = result.as_ref().is_err_and(|text| text.contains(&want));
        return if refused { Ok(()) } else { Err(format!("not refused: {:?}", result.err())) };
    }
    let fine = probe.outcome.starts_with("0 ") || probe.outcome.starts_with("(kept running)");
    match result {
        Ok(config) if fine => match probe.outcome.split_once(" => ").and_then(|(_, shown)| shown.split_once('=')) {
            // Without a name the server's id stands in.
            Some(("server_name", id)) if id.len() > 50 => {
                if config.server_name.is_empty() {
                    Ok(())
                } else {
                    Err(config.server_name)
                }
            }
            Some((name, want)) => {
                let have = shown(&config, name);
                if have == want { Ok(()) } else { Err(format!("{name} is {have}")) }
            }
            None => Ok(()),
        },
        Ok(_) => Err("accepted".to_owned()),
        Err(text) if fine => Err(format!("refused: {text}")),
        Err(_) if OWN_WORDS.contains(&probe.name.as_str()) => Ok(()),
        Err(text) => {
            let want = complaint(&probe.outcome);
            if text == want { Ok(()) } else { Err(format!("says: {text}")) }
        }
    }
}
