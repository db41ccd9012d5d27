//! The manual page, the completions and the default configurations say what the program says.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const OURS: &str = env!("CARGO_BIN_EXE_petiole-leaf");

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/debian").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(packaging(name)).unwrap()
}

/// Words that are options: `-p`, `--port`.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split([' ', ',', '\n', '\'', '|', '(', ')']).filter(|word| word.starts_with('-'));
    let is_name = |word: &&str| word.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphabetic());
    words.filter(is_name).map(str::to_owned).collect()
}

/// Those that `--help` names.
fn known() -> BTreeSet<String> {
    let help = String::from_utf8(Command::new(OURS).arg("--help").output().unwrap().stdout).unwrap();
    // The name and the explanation are two spaces apart; an explanation may name other options.
    let named = help.lines().filter_map(|line| line.trim_start().split("  ").next());
    named.filter(|text| text.starts_with('-')).flat_map(options).collect()
}

#[test]
fn the_manual_has_every_option_and_no_other() {
    let lines = read("petiole-leaf.8").replace("\\-", "-");
    let items = lines.lines().filter_map(|line| line.strip_prefix(".It "));
    let flags = items.flat_map(|line| line.split("Fl ").skip(1)).map(|rest| rest.split_whitespace().next().unwrap());
    let told: BTreeSet<String> = flags.map(|name| format!("-{name}")).collect();
    assert_eq!(told, known());
}

/// Of each shell, as packages get them.
#[test]
fn completions_have_every_option_and_no_other() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/completions");
        let output = Command::new("python3").arg(script).args([shell, "petiole-leaf"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let offered: BTreeSet<String> = match shell {
            "bash" => {
                let list = text.rsplit_once("compgen -W '").unwrap().1.split_once('\'').unwrap().0;
                options(list)
            }
            "zsh" => {
                let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("'(-")?.split_once(')'));
                lines.map(|(_, rest)| rest.split('[').next().unwrap().to_owned()).collect()
            }
            _ => text.lines().filter(|line| !line.contains(" -n ")).flat_map(fish_options).collect(),
        };
        assert_eq!(offered, known(), "{shell}");
    }
}

/// What a line for fish offers: `-s p -l port`.
fn fish_options(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(" -d ").next().unwrap().split(' ').collect();
    let named = words.windows(2).filter_map(|two| match two {
        ["-l", name] => Some(format!("--{name}")),
        ["-s" | "-o", name] => Some(format!("-{name}")),
        _ => None,
    });
    named.collect()
}

/// Both as they are and with every setting that is commented out.
#[test]
fn default_configurations_are_valid() {
    let dir = std::env::temp_dir().join(format!("petiole-manual-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for name in ["leaf.conf", "hub.conf"] {
        let text = read(name);
        let commented = text.lines().filter(|line| line.starts_with('#') && !line.starts_with("# ")).count();
        assert!(commented >= 5, "{name} shows what else there is");
        let all: String = text.lines().map(|line| uncomment(line).to_owned() + "\n").collect();
        assert_ne!(all, text);
        for (kind, text) in [("as it is", text), ("all of it", all)] {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            let output = Command::new(OURS).arg("-t").arg("-c").arg(&path).output().unwrap();
            assert!(output.status.success(), "{name}, {kind}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    std::fs::remove_dir_all(dir).unwrap();
}

/// `#key: value` and `#  nested` are settings, `# words` are words.
fn uncomment(line: &str) -> &str {
    match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest,
        _ => line,
    }
}
