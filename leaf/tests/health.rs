//! `petiole-leaf health`: what it says of a real server that is well, and of those that are not.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use support::{NO_FILE, Server, eventually, get};

const OURS: &str = env!("CARGO_BIN_EXE_petiole-leaf");
const LOG: &str = "store_dir: \"<DIR>\"\nstore_and_forward: [ { name: t, subjects: [\"s.>\"] } ]\n";

/// What `health` came to: its exit code, and verdict and name of each line.
#[derive(Debug, PartialEq)]
struct Answer {
    code: i32,
    checks: Vec<(String, String)>,
    text: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let words = text.lines().map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap())
        });
        let checks = words.collect();
        Self { code: output.status.code().unwrap(), checks, text }
    }

    fn verdict(&self, name: &str) -> &str {
        let found = self.checks.iter().find(|(_, of)| of == name);
        &found.unwrap_or_else(|| panic!("no {name} in {}", self.text)).0
    }

    fn names(&self) -> Vec<&str> {
        self.checks.iter().map(|(_, name)| name.as_str()).collect()
    }
}

fn health(dir: &Path, more: &[&str]) -> Answer {
    Answer::of(&Command::new(OURS).arg("health").arg("-sd").arg(dir).args(more).output().unwrap())
}

/// A server that can be asked.
fn start(name: &str, config: &str) -> Server {
    let server = Server::start(name, config);
    server.logs("Server is ready");
    server
}

/// It is well, at once or on a machine that has other things to do.
fn is_well(dir: &Path, more: &[&str]) -> Answer {
    let answer = health(dir, &[more, &["--within", "60"]].concat());
    assert_eq!(answer.code, 0, "{}", answer.text);
    answer
}

fn dir(server: &Server) -> PathBuf {
    server.path("")
}

#[test]
fn a_server_that_is_well_says_so_of_every_part() {
    let config = format!("{LOG}http: \"127.0.0.1:-1\"\nserver_name: gw\nmqtt {{ listen: \"127.0.0.1:-1\" }}\n");
    let server = start("health-well", &config);
    let shallow = is_well(&dir(&server), &[]);
    assert_eq!(
        (shallow.code, shallow.names().join(" ").as_str()),
        (0, "server listener/client listener/mqtt log/t log/mqtt")
    );
    // Whoever asks once a minute for years leaves no trace.
    assert_eq!(get(server.monitor.unwrap(), "/varz")["total_connections"], 0);
    let deep = is_well(&dir(&server), &["--deep"]);
    let names = "server listener/client listener/mqtt listener/monitoring log/t log/mqtt";
    assert_eq!((deep.code, deep.names().join(" ").as_str()), (0, names), "{}", deep.text);
    assert!(deep.checks.iter().all(|(verdict, _)| verdict == "ok"), "{}", deep.text);
    assert!(deep.text.contains("greets") && deep.text.contains("synced in"), "{}", deep.text);
    let left = std::fs::read_dir(server.path("outbox/t")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name == "probe"), "the probe goes again");
    // The configuration says where the server is, too.
    let by_file = Command::new(OURS).args(["health", "-c"]).arg(server.path("s.conf")).output().unwrap();
    assert_eq!(Answer::of(&by_file).names(), shallow.names());
}

#[test]
fn nobody_there_is_not_well() {
    let mut server = start("health-nobody", "store_dir: \"<DIR>\"\n");
    is_well(&dir(&server), &[]);
    let socket = server.path("health.sock");
    assert!(socket.exists());
    // Killed, it leaves the file: that is no answer yet, and no obstacle to the next one.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(socket.exists());
    let answer = health(&dir(&server), &[]);
    assert_eq!((answer.code, answer.verdict("server")), (1, "failed"), "{}", answer.text);
    server.kill_and_restart();
    is_well(&dir(&server), &[]);
    server.signal("TERM");
    server.wait();
    assert!(!socket.exists(), "it takes its file along");
}

/// A server whose port another one has ends, and there is no health in it.
#[test]
fn a_stolen_port_is_not_well() {
    let thief = start("health-thief", NO_FILE);
    let dir = std::env::temp_dir().join(format!("petiole-health-robbed-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let port = thief.port.to_string();
    let robbed = Command::new(OURS).args(["-a", "127.0.0.1", "-p", &port, "-sd"]).arg(&dir).output().unwrap();
    assert!(!robbed.status.success());
    let answer = health(&dir, &["--deep"]);
    assert_eq!((answer.code, answer.verdict("server")), (1, "failed"), "{}", answer.text);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_stuck_server_is_not_well() {
    let server = start("health-stuck", "store_dir: \"<DIR>\"\n");
    server.signal("STOP");
    let answer = health(&dir(&server), &[]);
    server.signal("CONT");
    assert_eq!((answer.code, answer.verdict("server")), (1, "failed"), "{}", answer.text);
    assert!(answer.text.contains("no answer in time"), "{}", answer.text);
    is_well(&dir(&server), &[]);
}

#[test]
fn a_log_without_its_directory_is_not_well() {
    let server = start("health-gone", LOG);
    is_well(&dir(&server), &["--deep"]);
    std::fs::rename(server.path("outbox/t"), server.path("elsewhere")).unwrap();
    let answer = health(&dir(&server), &["--deep"]);
    assert_eq!((answer.code, answer.verdict("log/t"), answer.verdict("listener/client")), (1, "failed", "ok"));
    // What can be seen without writing is as it was.
    is_well(&dir(&server), &[]);
    std::fs::rename(server.path("elsewhere"), server.path("outbox/t")).unwrap();
    is_well(&dir(&server), &["--deep"]);
}

/// A directory that cannot be written, as long as this is there.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// `None`, said aloud, where mounting is not allowed.
    fn new(path: PathBuf) -> Option<Self> {
        let mount =
            |words: &[&str]| Command::new("mount").args(words).arg(&path).output().is_ok_and(|o| o.status.success());
        if !mount(&["--bind", path.to_str().unwrap()]) {
            eprintln!("SKIPPED: nothing can be mounted here");
            return None;
        }
        let made = Self(path.clone());
        assert!(mount(&["-o", "remount,bind,ro"]));
        Some(made)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_log_that_cannot_be_written_is_not_well() {
    let server = start("health-read-only", LOG);
    let Some(read_only) = ReadOnly::new(server.path("outbox/t")) else { return };
    let answer = health(&dir(&server), &["--deep"]);
    drop(read_only);
    assert_eq!((answer.code, answer.verdict("log/t")), (1, "failed"), "{}", answer.text);
    assert!(answer.text.contains("Read-only file system"), "{}", answer.text);
    is_well(&dir(&server), &["--deep"]);
}

/// A link that is down is no reason to go back to the old version if it was down before.
#[test]
fn a_link_counts_only_if_it_was_up_before() {
    let remote = "leafnodes { remotes: [ { url: \"nats-leaf://127.0.0.1:1\" } ] }\n";
    let server = start("health-down", &format!("store_dir: \"<DIR>\"\n{remote}"));
    let link = "link/127.0.0.1:1";
    let before = health(&dir(&server), &[]);
    assert_eq!((before.code, before.verdict(link)), (0, "down"), "{}", before.text);
    let deep = health(&dir(&server), &["--deep"]);
    assert_eq!((deep.code, deep.verdict(link)), (1, "failed"), "{}", deep.text);
    let file = server.path("before");
    for earlier in [&before, &deep] {
        std::fs::write(&file, &earlier.text).unwrap();
        let answer = health(&dir(&server), &["--deep", "--before", file.to_str().unwrap()]);
        assert_eq!((answer.code, answer.verdict(link)), (0, "down"), "{}", answer.text);
    }
    std::fs::remove_file(&file).unwrap();
    let answer = health(&dir(&server), &["--deep", "--before", file.to_str().unwrap()]);
    assert_eq!(answer.code, 1, "what was before is not known");
}

#[test]
fn a_link_that_was_up_must_be_up() {
    let Some(mut hub) = Server::start_peer("health-hub", "leafnodes { listen: \"127.0.0.1:-1\" }\n") else { return };
    let port = hub.leafnode_port();
    let remote = format!("leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}\n");
    let server = start("health-linked", &format!("store_dir: \"<DIR>\"\n{remote}"));
    let link = format!("link/127.0.0.1:{port}");
    let before = is_well(&dir(&server), &["--deep"]);
    assert_eq!((before.code, before.verdict(&link)), (0, "ok"), "{}", before.text);
    let file = server.path("before");
    std::fs::write(&file, &before.text).unwrap();
    hub.child.kill().unwrap();
    hub.child.wait().unwrap();
    let ask = || health(&dir(&server), &["--deep", "--before", file.to_str().unwrap()]);
    eventually("the link is down", || ask().verdict(&link) == "failed");
    assert_eq!(ask().code, 1);
}

/// Not even where the name of the directory is longer than a socket's may be.
#[test]
fn a_long_path_is_no_obstacle() {
    let deep = "d".repeat(120);
    let server = start("health-long", &LOG.replace("<DIR>", &format!("<DIR>/{deep}")));
    is_well(&server.path(&deep), &["--deep"]);
}

#[test]
fn words_without_sense_are_not_health() {
    for words in [&["health", "--nonsense"][..], &["health", "--within"], &["health", "-c", "/no/such/file"]] {
        let output = Command::new(OURS).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
    let help = Command::new(OURS).args(["health", "--help"]).output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--before"));
}

/// One who asks and says nothing holds up nobody for long.
#[test]
fn a_silent_asker_is_sent_away() {
    let server = start("health-silent", "store_dir: \"<DIR>\"\n");
    let silent = std::os::unix::net::UnixStream::connect(server.path("health.sock")).unwrap();
    is_well(&dir(&server), &[]);
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(std::io::Read::read(&mut &silent, &mut [0; 1]).unwrap(), 0);
}
