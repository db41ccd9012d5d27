//! The configurations that the guides show are valid.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::Command;

/// Blocks that begin with `# NAME.conf`, but for nats-server's own.
fn configurations(text: &str) -> Vec<String> {
    let blocks = text.split("\n```\n").map(str::trim_start);
    let ours = blocks.filter(|block| {
        let first = block.lines().next().unwrap_or_default();
        first.starts_with("# ") && first.ends_with(".conf") && first != "# cloud.conf"
    });
    ours.map(str::to_owned).collect()
}

#[test]
fn configurations_of_the_guides_are_valid() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let dir = std::env::temp_dir().join(format!("petiole-guides-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for guide in ["raspberry-pi", "plant-to-cloud", "vehicles", "existing-nats", "from-mosquitto"] {
        let text = std::fs::read_to_string(docs.join(format!("{guide}.md"))).unwrap();
        let found = configurations(&text);
        assert!(!found.is_empty(), "{guide} shows a configuration");
        for (n, config) in found.iter().enumerate() {
            let path = dir.join(format!("{guide}-{n}.conf"));
            std::fs::write(&path, config).unwrap();
            let output =
                Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).arg("-t").arg("-c").arg(&path).output().unwrap();
            assert!(output.status.success(), "{guide}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    std::fs::remove_dir_all(dir).unwrap();
}
