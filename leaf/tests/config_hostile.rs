//! Whatever a file holds, reading it ends soon and without a panic.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used)]

mod config_common;

use std::time::{Duration, Instant};

use config_common::Memory;

const GOOD: &str = r#"
# A bit of everything.
{
  listen: 127.0.0.1:4222, "server_name": 'a-b' // name
  max_payload = 2KiB; ping_interval: "2m"
  BLOCK (
raw
)
  server_metadata { x: $BLOCK, y: "t\t\x41", z: $2a$11$abc }
  authorization { timeout: 1.5, users: [ {user: a, password: b}
     {user: c, password: $ENV, permissions { pub: { allow: [a, "b.>"] }, allow_responses: { max: -1, ttl: "1s" } } } ] }
  mappings { a.*: [ {dest: "b.$1", weight: "50%"}, {dest: c, weight: -3} ] }
  tls { cert_file: a, key_file: b, handshake_first: 50ms, cipher_suites: [ TLS_AES_128_GCM_SHA256 ] }
  include inc.conf
  date: 2024-01-02T03:04:05Z
}
"#;

/// A small generator; what matters is that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn survives(text: &str) {
    let memory = Memory::new(text).file("inc.conf", "max_pending: 1G").variable("ENV", "[1, {a: $ENV2}]");
    if let Err(errors) = memory.variable("ENV2", "3xx").read() {
        assert!(!errors.to_string().is_empty());
    }
}

#[test]
fn truncations_and_mutations_survive() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for end in (0..GOOD.len()).filter(|&end| GOOD.is_char_boundary(end)) {
        survives(&GOOD[..end]);
        survives(&GOOD[end..]);
    }
    let alphabet: Vec<char> = "{}[]()\"'\\:=,;#/$ \n\r\t-.019kKbie\u{0}\u{feff}é€".chars().collect();
    for _ in 0..3000 {
        let mut text: Vec<char> = GOOD.chars().collect();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(text.len());
            text[at] = alphabet[dice.roll(alphabet.len())];
        }
        survives(&text.into_iter().collect::<String>());
    }
    for _ in 0..3000 {
        let len = dice.roll(40);
        survives(&(0..len).map(|_| alphabet[dice.roll(alphabet.len())]).collect::<String>());
    }
}

#[test]
fn deep_and_wide_files_end_soon() {
    let start = Instant::now();
    for text in ["a {".repeat(100_000), "a [".repeat(100_000), "{".repeat(100_000), "[".repeat(1_000_000)] {
        survives(&text);
        survives(&format!("x: {text}"));
    }
    let doubling: String = (1..60).map(|i| format!("v{i}: [$v{}, $v{}]\n", i - 1, i - 1)).collect();
    survives(&format!("v0: x\n{doubling}"));
    let deepening: String = (1..5000).map(|i| format!("v{i}: [[[$v{}]]]\n", i - 1)).collect();
    survives(&format!("v0: x\n{deepening}"));
    let many: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
    survives(&many);
    survives(&"a)".repeat(500_000).replacen("a)", "x: (", 1));
    survives(&"\"".repeat(1_000_000));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn includes_are_bounded() {
    let mut memory = Memory::new("include i0.conf");
    for i in 0..40 {
        let next = i + 1;
        memory = memory.file(&format!("i{i}.conf"), &format!("include i{next}.conf\ninclude i{next}.conf"));
    }
    let text = memory.file("i40.conf", "a: 1").read().unwrap_err().to_string();
    assert!(text.contains("more than 256 files are included"), "{text}");
}

#[test]
fn large_files_are_refused() {
    let text = Memory::new(&" ".repeat((32 << 20) + 1)).read().unwrap_err().to_string();
    assert!(text.contains("larger than"), "{text}");
}
