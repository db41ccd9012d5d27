//! `petiole-leaf update`: bundles that `images/bundle` makes, written to a slot, and those that are refused.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const OURS: &str = env!("CARGO_BIN_EXE_petiole-leaf");
const SLOT_BYTES: usize = 1 << 20;

struct Scene(PathBuf);

impl Scene {
    /// A key, and a slot with something old in it.
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("petiole-update-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let scene = Self(dir);
        scene.bundler(&["key", scene.path("key").to_str().unwrap()]);
        scene.empty_slot();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn empty_slot(&self) {
        std::fs::write(self.path("slot"), vec![0xee; SLOT_BYTES]).unwrap();
    }

    fn slot(&self) -> Vec<u8> {
        std::fs::read(self.path("slot")).unwrap()
    }

    fn is_untouched(&self) -> bool {
        self.slot() == vec![0xee; SLOT_BYTES]
    }

    fn bundler(&self, words: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/bundle");
        let output = Command::new("python3").arg(script).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn bundle(&self, contents: &[u8], board: &str, version: &str) -> Vec<u8> {
        std::fs::write(self.path("contents"), contents).unwrap();
        let [contents, key, bundle] = ["contents", "key", "bundle"].map(|name| self.path(name).display().to_string());
        self.bundler(&[&contents, board, version, &key, &bundle]);
        std::fs::read(bundle).unwrap()
    }

    /// Installs these bytes; the answer is what was said, and whether it was done.
    fn install(&self, bundle: &[u8], more: &[&str]) -> (bool, String) {
        std::fs::write(self.path("bundle"), bundle).unwrap();
        let mut command = Command::new(OURS);
        command.arg("update").arg(self.path("bundle")).arg("--key").arg(self.path("key.pub")).args(["--board", "virt"]);
        let Output { status, stdout, stderr } = command.arg("--to").arg(self.path("slot")).args(more).output().unwrap();
        (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn contents() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.to_le_bytes()).take(SLOT_BYTES / 2 + 17).collect()
}

#[test]
fn one_that_is_right_is_in_the_slot() {
    let scene = Scene::new("right");
    let bundle = scene.bundle(&contents(), "virt", "2.0");
    let (done, said) = scene.install(&bundle, &["--installed", "1.9.9+5"]);
    assert!(done && said.contains("version 2.0 is in"), "{said}");
    assert!(scene.slot().starts_with(&contents()));
    // The same without a slot: only looked at.
    scene.empty_slot();
    let mut command = Command::new(OURS);
    command.arg("update").arg(scene.path("bundle")).arg("--key").arg(scene.path("key.pub"));
    assert!(command.args(["--board", "virt"]).status().unwrap().success());
    assert!(scene.is_untouched());
}

/// Every reason, and a slot that was not touched for any of them.
#[test]
fn others_are_refused_with_the_reason() {
    let scene = Scene::new("refused");
    let bundle = scene.bundle(&contents(), "virt", "2.0");
    let mut tampered = bundle.clone();
    let version = tampered.windows(4).position(|four| four == b" 2.0").unwrap();
    tampered[version + 1] = b'9';
    let truncated = &bundle[..bundle.len() - 1];
    let other_board = scene.bundle(&contents(), "rpi", "2.0");
    let too_large = scene.bundle(&[1; SLOT_BYTES + 1], "virt", "2.0");
    let stranger = Scene::new("stranger").bundle(&contents(), "virt", "2.0");
    for (bundle, more, reason) in [
        (&tampered[..], &[][..], "bad signature"),
        (&stranger, &[], "bad signature"),
        (truncated, &[], "truncated"),
        (&bundle[..50], &[], "no update"),
        (b"", &[], "no update"),
        (&other_board, &[], "wrong board: it is for rpi, this is virt"),
        (&bundle, &["--installed", "2.0"], "not newer"),
        (&bundle, &["--installed", "2.0.1"], "not newer: it is version 2.0, 2.0.1 is installed"),
        (&too_large, &[], "no room"),
    ] {
        let (done, said) = scene.install(bundle, more);
        assert!(!done && said.contains(reason), "{reason}: {said}");
        assert!(scene.is_untouched(), "{reason}");
    }
}

/// Its head is right, so this is found out only at the end; it is an error all the same.
#[test]
fn a_damaged_payload_is_refused() {
    let scene = Scene::new("payload");
    let mut bundle = scene.bundle(&contents(), "virt", "2.0");
    *bundle.last_mut().unwrap() ^= 1;
    let (done, said) = scene.install(&bundle, &[]);
    assert!(!done && said.contains("not those that were signed"), "{said}");
}
