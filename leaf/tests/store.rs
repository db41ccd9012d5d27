//! The durable log as a person meets it: `petiole-leaf store`, and a process that is killed while it writes.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leaf::shell::disk::Directory;
use leaf::shell::hammer;
use leaf::shell::store_keys::KEY_VARIABLE;
use leaf::store::sim::Dice;
use leaf::store::{Append, Key, Keys, Log, Reader, Settings};

/// A moment in November 2023.
const NOW: i64 = 1_700_000_000_000_000_000;

const KEY: &str = "30e4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e";

fn keys(text: &str) -> Arc<Keys> {
    let noise = std::array::from_fn(|at| (std::process::id() as usize + at) as u8);
    Arc::new(Keys::new(Key::parse(text.as_bytes(), "a test").unwrap(), None, &noise.into()))
}

/// A process that is just being made has all that this one has open, the locks of logs too: while it is made, no test may
/// have one. (The process closes them before it does anything else.)
static QUIET: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(command: &mut Command) -> Child {
    let _quiet = quiet();
    command.spawn().unwrap()
}

fn output(command: &mut Command) -> Output {
    spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait_with_output().unwrap()
}

/// A directory of its own for each test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("petiole-store-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn store(command: &str, dir: &Path) -> Output {
    output(Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).args(["store", command]).arg(dir))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A log of so many messages, each a commit of its own.
fn fill(dir: &Path, count: u64) {
    fill_with(dir, count, None);
}

fn fill_with(dir: &Path, count: u64, key: Option<&str>) {
    let _quiet = quiet();
    let mut disk = Directory::open(dir).unwrap();
    let settings = Settings { segment_bytes: 64 * 1024, keys: key.map(keys), ..Settings::default() };
    let (mut log, _) = Log::open(&mut disk, settings, NOW, 1, None).unwrap();
    for at in 1..=count {
        let (subject, payload) = (format!("a.{}", at % 3), format!("payload {at}"));
        let message = Append { subject: subject.as_bytes(), payload: payload.as_bytes(), ..Append::default() };
        log.append(NOW, &message).unwrap();
        while let Some(batch) = log.poll_batch(NOW) {
            let result = batch.carry_out(&mut disk);
            log.batch_done(NOW, result);
        }
    }
    assert_eq!(log.committed(), count);
}

#[test]
fn shows_what_a_log_holds() {
    let scratch = Scratch::new("shows");
    fill(&scratch.0.join("x/log"), 200);
    let listed = said(&store("ls", &scratch.0));
    assert!(listed.contains("x/log  ") && listed.lines().count() == 1, "{listed}");
    let dir = scratch.0.join("x/log");
    let info = said(&store("info", &dir));
    for line in ["messages   200", "first      1", "last       200", "subjects   3", "damage     0"] {
        assert!(info.contains(line), "{info}");
    }
    let all = said(&store("cat", &dir));
    assert_eq!(all.lines().count(), 200);
    assert_eq!(all.lines().nth(6), Some("7 2023-11-14T22:13:20Z a.1 payload 7"));
    let some = store_with(&["cat", dir.to_str().unwrap(), "190", "a.2"]);
    let numbers: Vec<&str> = std::str::from_utf8(&some.stdout).unwrap().lines().map(|l| &l[..3]).collect();
    assert_eq!(numbers, ["191", "194", "197", "200"]);
    let verified = store("verify", &dir);
    assert!(verified.status.success(), "{}", said(&verified));
    assert_eq!(said(&store("repair", &dir)).trim(), "nothing to repair");
    let _held = Directory::open(&dir).unwrap();
    let refused = store("cat", &dir);
    assert!(!refused.status.success() && said(&refused).contains("in use by another process"));
}

#[test]
fn complains_in_words() {
    let scratch = Scratch::new("words");
    fs::create_dir_all(&scratch.0).unwrap();
    for (command, text) in [("cat", "there is no log in"), ("verify", "there is no log in"), ("drop", "Usage: store")] {
        let output = store(command, &scratch.0);
        assert!(!output.status.success() && said(&output).contains(text), "{}", said(&output));
    }
    assert!(said(&store("info", Path::new("/no/such"))).contains("/no/such"));
    assert!(fs::read_dir(&scratch.0).unwrap().next().is_none(), "nothing was made");
}

/// Damage in the middle of two segments: verify names the messages, repair drops them into a file and nothing else.
#[test]
fn finds_and_repairs_damage() {
    let scratch = Scratch::new("repair");
    let dir = &scratch.0;
    fill(dir, 300);
    let mut segments: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    assert!(segments.len() >= 2);
    for (path, needle) in [(&segments[0], "payload 20"), (segments.last().unwrap(), "payload 280")] {
        let bytes = fs::read(path).unwrap();
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        fs::File::options().write(true).open(path).unwrap().write_all_at(b"rotten", at as u64).unwrap();
    }
    let verified = store("verify", dir);
    assert!(!verified.status.success());
    let text = said(&verified);
    assert_eq!(text.matches("are damaged").count(), 2, "{text}");
    assert!(text.contains(": messages 20 to 20 are missing") && text.contains(": messages 280 to 280 are missing"));
    let repaired = store("repair", dir);
    assert!(repaired.status.success(), "{}", said(&repaired));
    assert!(said(&repaired).starts_with("2 segments written again"), "{}", said(&repaired));
    let dropped = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let dropped = fs::read(
        dropped.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "bin")).unwrap(),
    )
    .unwrap();
    assert_eq!(dropped.windows(6).filter(|window| *window == b"rotten").count(), 2);
    let verified = store("verify", dir);
    assert!(verified.status.success(), "{}", said(&verified));
    let _quiet = quiet();
    let mut disk = Directory::open(dir).unwrap();
    let (log, report) = Log::open(&mut disk, Settings::default(), 0, 1, None).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let mut reader = Reader::new(1);
    let mut seqs = Vec::new();
    while let Some(record) = reader.next(&log, &mut disk).unwrap() {
        assert_eq!(record.payload, format!("payload {}", record.seq).as_bytes());
        seqs.push(record.seq);
    }
    assert!(seqs.iter().copied().eq((1..=300).filter(|seq| ![20, 280].contains(seq))));
}

/// Runs a command with arguments of its own.
fn store_with(arguments: &[&str]) -> Output {
    output(Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).arg("store").args(arguments))
}

/// All that the tools do, on an encrypted log: with its key, without it, and with another.
#[test]
fn encrypted_logs_need_their_key() {
    let scratch = Scratch::new("encrypted");
    let dir = scratch.0.join("log");
    fill_with(&dir, 300, Some(KEY));
    let made = said(&store_with(&["key"]));
    assert!(made.trim() != said(&store_with(&["key"])).trim() && Key::parse(made.as_bytes(), "").is_ok(), "{made}");
    let file = |name: &str, text: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong, none) = (file("right", &format!("{KEY}\n")), file("wrong", &made), file("none", "secret\n"));
    let path = dir.to_str().unwrap();
    let listed = said(&store_with(&["cat", path, "--key-file", &right, "299"]));
    assert_eq!(listed.lines().map(|line| &line[..3]).collect::<Vec<_>>(), ["299", "300"], "{listed}");
    let by_variable =
        output(Command::new(env!("CARGO_BIN_EXE_petiole-leaf")).args(["store", "info", path]).env(KEY_VARIABLE, KEY));
    assert!(said(&by_variable).contains("messages   300"));
    let id = Key::parse(KEY.as_bytes(), "").unwrap().id();
    for (option, text) in [
        (None, format!(".000.seg is encrypted with key {id}, and no key is given")),
        (Some(&wrong), format!("is encrypted with key {id}; given is")),
        (Some(&none), format!("key file {none}: a key is 32 random bytes")),
    ] {
        for command in ["info", "cat"] {
            let option = option.map(|file| format!("--key-file={file}"));
            let refused = store_with(&[&[command, path][..], option.as_deref().as_slice()].concat());
            assert!(!refused.status.success() && said(&refused).contains(&text), "{text}: {}", said(&refused));
            assert!(said(&refused).contains(path) || text.starts_with("key file"), "{}", said(&refused));
        }
    }
    // Without the key verify finds what is damaged, and says what it cannot know.
    let verified = store_with(&["verify", path]);
    let text = said(&verified);
    assert!(verified.status.success() && text.contains("what is in them cannot be told"), "{text}");
    let segment = dir.join("0000000001.000.seg");
    fs::File::options().write(true).open(&segment).unwrap().write_all_at(b"rotten", 20_000).unwrap();
    for options in [&["verify", path][..], &["verify", path, "--key-file", &right]] {
        let verified = store_with(options);
        assert!(
            !verified.status.success() && said(&verified).matches("are damaged").count() == 1,
            "{}",
            said(&verified)
        );
    }
    let refused = store_with(&["repair", path]);
    assert!(!refused.status.success() && said(&refused).contains("no key is given"), "{}", said(&refused));
    let repaired = said(&store_with(&["repair", path, "--key-file", &right]));
    assert!(repaired.starts_with("1 segments written again"), "{repaired}");
    // Another key for all of it; the old one is of no use afterwards.
    let changed = said(&store_with(&["encrypt", path, "--key-file", &wrong, "--prev-key-file", &right]));
    let segments = fs::read_dir(&dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "seg"));
    assert_eq!(changed.trim(), format!("{} segments written again", segments.count()));
    let verified = store_with(&["verify", path, "--key-file", &wrong]);
    assert!(verified.status.success() && !said(&verified).contains("cannot be told"), "{}", said(&verified));
    assert!(!store_with(&["info", path, "--key-file", &right]).status.success());
    let info = said(&store_with(&["info", path, "--key-file", &wrong]));
    assert!(info.contains("messages   299") || info.contains("messages   300"), "{info}");
}

/// A process that appends with all its might is killed again and again: what it said it had is there, every time.
/// `PETIOLE_KILLS` says how often (500).
#[test]
fn survives_kill_9() {
    let kills = std::env::var("PETIOLE_KILLS").map_or(500, |text| text.parse().unwrap());
    let scratch = Scratch::new("kill");
    let mut dice = Dice::new(std::process::id().into());
    let (mut said, mut rounds) = (0, 0);
    for kill in 0..kills {
        // From half way on the log is encrypted.
        let key = (kill >= kills / 2).then_some(KEY);
        let mut child = spawn(
            Command::new(env!("CARGO_BIN_EXE_petiole-leaf"))
                .envs(key.map(|key| (KEY_VARIABLE, key)))
                .args(["store", "hammer"])
                .arg(&scratch.0)
                .stdout(Stdio::piped()),
        );
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let open = lines.next().unwrap().unwrap();
        let last: u64 = open.strip_prefix("open ").unwrap().parse().unwrap();
        assert!(last >= said, "kill {kill}: opened at {last}, {said} were acknowledged");
        let until = Instant::now() + Duration::from_millis(5 + dice.below(60));
        while Instant::now() < until {
            said = lines.next().unwrap().unwrap().parse().unwrap();
            rounds += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            said = line.unwrap().parse().unwrap();
        }
        check(&scratch.0, said, key);
    }
    println!("{kills} kills, {rounds} commits seen, {said} messages acknowledged");
}

/// Everything up to `said` is there, as far back as the log goes.
fn check(dir: &Path, said: u64, key: Option<&str>) {
    let _quiet = quiet();
    let mut disk = Directory::open(dir).unwrap();
    let (log, report) =
        Log::open(&mut disk, Settings { keys: key.map(keys), ..hammer::settings() }, 0, 1, None).unwrap();
    assert!(report.unreadable.is_empty() && report.lost == 0, "{report:?}");
    let state = log.state();
    assert!(state.last_seq >= said, "{said} were acknowledged: {state:?}");
    assert_eq!(state.messages, state.last_seq.min(5000), "{state:?}");
    let mut reader = Reader::new(1);
    let mut expected = state.first_seq;
    while let Some(record) = reader.next(&log, &mut disk).unwrap() {
        assert_eq!(record.seq, expected);
        assert_eq!(record.payload, hammer::payload(record.seq).as_bytes());
        expected += 1;
    }
    assert_eq!((expected, reader.damage()), (state.last_seq + 1, 0));
    if let Some(cursor) = log.kept(b"cursor") {
        assert!(u64::from_le_bytes(cursor.try_into().unwrap()) <= state.last_seq);
    }
}
