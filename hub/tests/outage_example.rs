//! The demonstration runs to its end, and its ledger finds what it is there to find.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::Command;

#[path = "../examples/outage/ledger.rs"]
mod ledger;
use ledger::Ledger;

/// A few seconds of it, with all three faults; what it says of itself adds up.
#[test]
fn it_runs_and_loses_nothing() {
    let program = Path::new(env!("CARGO_BIN_EXE_petiole-hub")).with_file_name("examples").join("outage");
    if !program.is_file() {
        assert!(
            std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(),
            "no {}: build the examples too",
            program.display()
        );
        eprintln!("SKIPPED: no {}", program.display());
        return;
    }
    let plot = std::env::temp_dir().join(format!("petiole-test-{}-outage.svg", std::process::id()));
    let output = Command::new(program).args(["--seconds", "6", "--plot"]).arg(&plot).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let numbers = |line: &str| -> Vec<u64> {
        let words = line.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
        words.map(|word| word.parse().unwrap()).collect()
    };
    let line = text.lines().find(|line| line.contains("were acknowledged")).unwrap();
    let [acknowledged, at_hub, lost, _] = numbers(line)[..] else { panic!("{line}") };
    assert!(acknowledged > 1000 && at_hub >= acknowledged && lost == 0, "{line}");
    // Without that the link had only been said to fail.
    let line = text.lines().find(|line| line.contains("waited.")).unwrap();
    let waited = *numbers(line).last().unwrap();
    assert!(waited > acknowledged / 20, "{waited} of {acknowledged} waited at most: {line}");
    let svg = std::fs::read_to_string(&plot).unwrap();
    let _ = std::fs::remove_file(plot);
    for fault in ["link cut<", "link silent<", "link cut, leaf killed<"] {
        assert!(svg.contains(fault), "{fault} is not in the picture");
    }
}

#[test]
fn the_ledger_finds_a_loss() {
    let ledger = Ledger::new(2);
    for sensor in 0..2 {
        for number in 0..3 {
            assert_eq!(ledger.published(sensor), number);
            ledger.acknowledged(sensor, number);
        }
    }
    ledger.at_hub(0, 0);
    ledger.at_hub(0, 0);
    let counts = ledger.counts();
    assert_eq!((counts.acknowledged, counts.at_hub, counts.backlog, counts.lost, counts.repeated), (6, 1, 5, 0, 1));
    // The third came before the second: it will not come any more.
    ledger.at_hub(0, 2);
    assert_eq!(ledger.counts().lost, 1);
    assert_eq!(ledger.final_counts().lost, 4);
}
