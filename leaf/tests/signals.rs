//! Signals, sent as an operator does: by `--signal` with a pid or a pid file, and by `kill`.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::process::Output;

use support::{Client, NO_FILE, Server, eventually, same};

const PLAIN: &str = r#"{"verbose":false}"#;
const PID_FILE: &str = "pid_file: \"<DIR>/s.pid\"";

/// What a command came to; the name of the program is not the same.
fn outcome(server: &Server, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let name = if server.ours { "petiole-leaf" } else { "nats-server" };
    format!("{:?} {}", output.status.code(), said.replace(name, "SERVER").replace(": \n", ": ").trim())
}

fn send(server: &Server, command: &str) -> String {
    let pid_file = server.path("s.pid");
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), server.child.id().to_string());
    outcome(server, &server.command(&["--signal", &format!("{command}={}", pid_file.display())]))
}

#[test]
fn reload_reopen_and_ldm_reach_the_server() {
    same("signal", PID_FILE, |server| {
        let id = server.child.id();
        let mut told = outcome(server, &server.command(&["--signal", &format!("reload={id}")]));
        server.logs("[INF] Reloaded server configuration");
        told += &send(server, "reopen");
        server.logs("[INF] File log re-opened");
        told += &send(server, "ldm");
        server.logs("[INF] Entering lame duck mode, stop accepting new clients");
        format!("{told} {:?}", server.wait())
    });
}

#[test]
fn stop_quit_and_term_end_it() {
    for (command, signal) in [("quit", "interrupt"), ("term", "terminated"), ("stop", "")] {
        let told = same(command, PID_FILE, |server| {
            let told = send(server, command);
            let code = server.wait();
            if !signal.is_empty() {
                for line in [&format!("Trapped \"{signal}\" signal"), "Initiating Shutdown...", "Server Exiting.."] {
                    server.logs(line);
                }
                let left = server.files().into_iter().filter(|name| name.ends_with(".ports")).count();
                assert_eq!(left, 0, "the ports file is gone");
            }
            assert!(server.path("s.pid").exists(), "the pid file stays");
            format!("{told} {code:?}")
        });
        assert!(told.starts_with("Some(0)"), "{told}");
    }
}

#[test]
fn what_cannot_be_signalled_is_told() {
    same("nobody", PID_FILE, |server| {
        let id = server.child.id();
        ["reload=999999999", "reload=abc", "reload=/no/such/file", &format!("nonsense={id}"), &format!("reload={id}=x")]
            .map(|argument| outcome(server, &server.command(&["--signal", argument])) + "\n")
            .concat()
    });
}

/// Comes and goes, each time leaving a line in the log.
fn visit(server: &Server) {
    Client::login(server, PLAIN);
}

/// The numbers of all connections that these lines tell of, in order.
fn visits(text: &str) -> Vec<u64> {
    let created = text.lines().filter(|line| line.contains("Client connection created"));
    created.map(|line| line.split("cid:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()).collect()
}

fn is_without_gaps(visits: &[u64], count: usize) -> bool {
    visits.len() == count && visits.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

/// What logrotate does: rename, signal. Whoever comes meanwhile is in one file or the other.
#[test]
fn a_renamed_log_is_followed_by_a_new_one() {
    for server in Server::both("reopen", "debug: true") {
        (0..20).for_each(|_| visit(&server));
        std::fs::rename(server.path("s.log"), server.path("s.log.1")).unwrap();
        (0..20).for_each(|_| visit(&server));
        server.signal("USR1");
        (0..20).for_each(|_| visit(&server));
        server.logs("[INF] File log re-opened");
        (0..20).for_each(|_| visit(&server));
        let old = || std::fs::read_to_string(server.path("s.log.1")).unwrap();
        eventually("all are told of", || is_without_gaps(&visits(&(old() + &server.log())), 80));
        assert!(visits(&old()).len() >= 40 && visits(&server.log()).len() >= 20);
    }
}

/// The directory is gone, so nothing can be opened: the open file goes on.
#[test]
fn a_log_that_cannot_be_reopened_goes_on() {
    let server = Server::start("reopen-fails", "debug: true\nlog_file: \"<DIR>/s.log\"");
    std::fs::rename(server.path("s.log"), server.path("kept")).unwrap();
    std::fs::create_dir(server.path("s.log")).unwrap();
    server.signal("USR1");
    let kept = || std::fs::read_to_string(server.path("kept")).unwrap();
    eventually("it says why", || kept().contains("[ERR] error opening log file"));
    visit(&server);
    eventually("it goes on", || visits(&kept()).len() == 1);
}

#[test]
fn a_full_log_is_put_aside() {
    let config = "debug: true\nlogfile_size_limit: 4096\nlogfile_max_num: 3";
    for server in Server::both("rotate", config) {
        let aside =
            || -> Vec<String> { server.files().into_iter().filter(|name| name.starts_with("s.log.")).collect() };
        let mut count = 0;
        while aside().len() < 2 {
            visit(&server);
            count += 1;
            assert!(count < 2000, "it is never put aside: {:?}", server.files());
        }
        let all = || -> String {
            let read = |name: &String| std::fs::read_to_string(server.path(name)).unwrap_or_default();
            aside().iter().map(read).chain([server.log()]).collect()
        };
        eventually("nobody is missing", || is_without_gaps(&visits(&all()), count));
        assert!(all().contains("Rotated log, backup saved as"), "{}", all());
        for _ in 0..3 * count {
            visit(&server);
        }
        eventually("the oldest go", || aside().len() == 2 && all().contains("Purged log file"));
        for name in aside() {
            let length = std::fs::metadata(server.path(&name)).unwrap().len();
            assert!((4096..4096 + 512).contains(&length), "{name}: {length}");
        }
    }
}

/// INFO to those who take it, then the listener, then one after the other without a word, then the end.
#[test]
fn lame_ducks_leave_in_order() {
    let config = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"10ms\"";
    same("duck", config, |server| {
        let mut curious = Client::login(server, r#"{"verbose":false,"protocol":1}"#);
        let mut plain = Client::login(server, PLAIN);
        let mut fresh = Client::connect(server);
        fresh.until("\r\n");
        plain.converse("SUB x 1\r\nPING\r\n");
        server.signal("USR2");
        let info = curious.until("\r\n");
        assert!(info.starts_with("INFO ") && info.contains("\"ldm\":true"), "{info}");
        eventually("nobody else is let in", || TcpStream::connect(("127.0.0.1", server.port)).is_err());
        server.signal("TERM");
        server.signal("USR2");
        // They may be asked for a sign of life meanwhile.
        let told = [curious, plain, fresh].map(|mut client| client.end().replace("PING\r\n", "")).concat();
        let code = server.wait();
        let log = server.log();
        let lines = [
            "Entering lame duck mode, stop accepting new clients",
            "Trapped \"terminated\" signal",
            "Initiating Shutdown",
            "Server Exiting",
        ];
        let places = lines.map(|line| log.find(line).unwrap_or_else(|| panic!("{line}: {log}")));
        assert!(places.is_sorted(), "{log}");
        format!("{told:?} {code:?}")
    });
}

#[test]
fn an_interrupt_ends_a_lame_duck_at_once() {
    same("duck-int", "", |server| {
        let mut client = Client::login(server, PLAIN);
        server.signal("USR2");
        server.logs("Entering lame duck mode");
        assert_eq!(client.converse("PING\r\n"), "PONG\r\n");
        server.signal("INT");
        let code = server.wait();
        format!("{:?} {code:?}", client.end())
    });
}

/// What the server has taken it delivers, also when it is told to end.
#[test]
fn the_last_messages_still_arrive() {
    for server in &mut Server::both("last", "") {
        let mut subscriber = Client::login(server, PLAIN);
        subscriber.converse("SUB x 1\r\nPING\r\n");
        let mut publisher = Client::login(server, PLAIN);
        publisher.converse(&format!("{}PING\r\n", "PUB x 5\r\nhello\r\n".repeat(10_000)));
        server.signal("TERM");
        assert_eq!(subscriber.end(), "MSG x 1 5\r\nhello\r\n".repeat(10_000));
        assert_eq!(server.wait(), Some(0));
    }
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let told = same("no-file", NO_FILE, |server| {
        server.signal("HUP");
        server.logs("Failed to reload");
        Client::login(server, PLAIN);
        let log = server.log();
        log.lines().find_map(|line| line.split_once("Failed to reload")).unwrap().1.to_owned()
    });
    assert!(told.contains("when a file is provided"), "{told}");
}

/// Whoever was told goes elsewhere; nobody who comes after that is greeted here. It is a race that the server must
/// win, so it is run a few times, with a crowd at the door.
#[test]
fn nobody_is_let_in_after_the_duck_was_announced() {
    let config = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"5s\"";
    for _ in 0..5 {
        let server = Server::start("duck-door", config);
        let mut curious = Client::login(&server, r#"{"verbose":false,"protocol":1}"#);
        server.signal("USR2");
        curious.until("\"ldm\":true");
        for _ in 0..20 {
            let Ok(mut late) = TcpStream::connect(("127.0.0.1", server.port)) else { break };
            let mut heard = Vec::new();
            // The end, or a reset: it was in the kernel's queue when the listener closed.
            let _ = late.read_to_end(&mut heard);
            assert!(heard.is_empty(), "{}", heard.escape_ascii());
        }
    }
}

/// The first lines come before anything can go wrong; without a ports file everybody is still served.
#[test]
fn what_cannot_be_written_is_said_after_the_first_lines() {
    let mut server = Server::start("no-pid", "");
    let pid = ["-a", "127.0.0.1", "-p", "-1", "-P", "/nonexistent/pid"];
    let output = server.command(&pid);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("[INF] Starting ") && log.contains("[FTL] Could not write pidfile"), "{log}");
    assert!(!log.contains("Listening for"), "{log}");
    server.write("s.conf", "listen: \"127.0.0.1:-1\"\nports_file_dir: \"/nonexistent\"\n");
    let (file, log) = (server.path("s.conf"), server.path("other.log"));
    let program = server.program().to_owned();
    let mut other = std::process::Command::new(program).arg("-c").arg(file).arg("-l").arg(&log).spawn().unwrap();
    eventually("it is ready all the same", || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.contains("[ERR] Error writing ports file") && log.contains("Server is ready")
    });
    other.kill().unwrap();
    other.wait().unwrap();
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}
