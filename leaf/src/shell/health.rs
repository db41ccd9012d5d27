//! `health [--deep]`: asks the running server whether it does its work. For container engines, for whoever has updated a device
//! and must decide whether to go back, and for people.
//!
//! The server is asked through a socket file of its own in `store_dir`: it is there with every configuration (the monitoring
//! port need not be), needs no login and no TLS, and nobody but the server's user and root can reach it, so that a stranger
//! cannot have something written to the flash. The question is a line, the answer a line for each check.

mod door;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::config::Flags;
use crate::config::cli::{self, Invocation, Usage};
pub(super) use door::Door;

/// The socket, in `store_dir`.
const SOCKET: &str = "health.sock";
/// The two questions.
const SHALLOW: &str = "health";
const DEEP: &str = "deep";
/// The check that needs no server to fail.
const SERVER: &str = "server";
/// What begins the name of a link's check.
const LINK: &str = "link/";
/// Longer than the server takes for any one check. A container's health check may take 30 s by default.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const DEEP_ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Between two questions with `--within`.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

const HELP: &str = "\
Usage: health [--deep] [--within <seconds>] [--before <file>] [-c <file>] [-sd <dir>]

Asks the server that runs with this configuration, or with this directory for data, whether it does its work.
A line for each check: its verdict, its name, and what was found. Exit code 0 if none has failed, 1 otherwise.

    ok      as it should be
    down    a link that is not up, which counts only with --deep, and then not if it was down before
    failed  everything else

    --deep              also: a client is greeted, monitoring answers, every log can be written and synced
                        (a few hundred bytes), every link is up
    --within <seconds>  ask again until nothing fails, for so long
    --before <file>     what health printed at an earlier time: links that were not up then need not be now";

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Not as it should be, through no fault of this server.
    Down,
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Down => "down",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Ok, Self::Down, Self::Failed].into_iter().find(|verdict| verdict.word() == word)
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    verdict: Verdict,
    /// `listener/mqtt`, `log/telemetry`, `link/hub.example.com:7422`. No blanks.
    name: String,
    /// For people; one line.
    text: String,
}

impl Check {
    fn new(verdict: Verdict, name: impl Into<String>, text: impl fmt::Display) -> Self {
        Self { verdict, name: name.into(), text: text.to_string().replace('\n', " ") }
    }

    /// A line as it was printed; `None` if it is none.
    fn parse(line: &str) -> Option<Self> {
        let (verdict, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self::new(Verdict::parse(verdict)?, name, text.trim_start()))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7} {:<24} {}", self.verdict.word(), self.name, self.text)
    }
}

/// What the command line asks for.
#[derive(Debug, Default)]
struct Asked {
    deep: bool,
    within: Duration,
    before: Option<PathBuf>,
    flags: Box<Flags>,
}

impl Asked {
    fn parse(arguments: Vec<String>) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut rest = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs an argument"));
            match argument.as_str() {
                "-deep" | "--deep" => asked.deep = true,
                "-before" | "--before" => asked.before = Some(value()?.into()),
                "-within" | "--within" => {
                    let seconds = value()?;
                    let parsed = seconds.parse().map_err(|_| format!("not a number of seconds: {seconds}"))?;
                    asked.within = Duration::from_secs(parsed);
                }
                _ => rest.push(argument),
            }
        }
        match cli::parse(rest) {
            Ok(Invocation::Run(flags)) => asked.flags = flags,
            Ok(_) => return Err("health takes no other command".to_owned()),
            Err(Usage::Malformed(text) | Usage::Refused(text)) => return Err(text),
        }
        Ok(asked)
    }
}

/// Runs the command; `store_dir` finds what the flags say about the server's directory.
pub(super) fn run(
    name: &str,
    arguments: Vec<String>,
    store_dir: impl FnOnce(&Flags) -> Result<PathBuf, String>,
) -> ExitCode {
    if arguments.iter().any(|word| ["help", "-h", "-help", "--help"].contains(&word.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let prepared = Asked::parse(arguments).and_then(|asked| {
        let dir = store_dir(&asked.flags)?;
        let excused = asked.before.as_deref().map_or_else(|| Ok(BTreeSet::new()), excused)?;
        Ok((asked, dir, excused))
    });
    let (asked, dir, excused) = match prepared {
        Ok(prepared) => prepared,
        Err(text) => {
            eprintln!("{name}: {text}");
            return ExitCode::FAILURE;
        }
    };
    let checks = until_well(&asked, &dir, &excused);
    for check in &checks {
        println!("{check}");
    }
    if is_well(&checks) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Failed)
}

/// The links that were not up at an earlier time.
fn excused(file: &Path) -> Result<BTreeSet<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let checks = text.lines().filter_map(Check::parse);
    let down = checks.filter(|check| check.verdict != Verdict::Ok && check.name.starts_with(LINK));
    Ok(down.map(|check| check.name).collect())
}

fn until_well(asked: &Asked, dir: &Path, excused: &BTreeSet<String>) -> Vec<Check> {
    let started = Instant::now();
    loop {
        let mut checks = match ask(dir, asked.deep) {
            Ok(checks) => checks,
            Err(error) => {
                let socket = dir.join(SOCKET);
                vec![Check::new(
                    Verdict::Failed,
                    SERVER,
                    format_args!("nobody answers at {}: {error}", socket.display()),
                )]
            }
        };
        if asked.deep {
            checks.iter_mut().for_each(|check| count(check, excused));
        }
        if is_well(&checks) || started.elapsed() >= asked.within {
            return checks;
        }
        std::thread::sleep(AGAIN_AFTER);
    }
}

/// A link that is down has failed, unless it was down before.
fn count(check: &mut Check, excused: &BTreeSet<String>) {
    if check.verdict != Verdict::Down {
        return;
    }
    if excused.contains(&check.name) {
        check.text.push_str(" (as before)");
    } else {
        check.verdict = Verdict::Failed;
    }
}

/// The server's answer. What ends before its last line is an error.
fn ask(dir: &Path, deep: bool) -> io::Result<Vec<Check>> {
    let mut stream = UnixStream::connect(door::reachable(dir)?.1)?;
    stream.set_read_timeout(Some(if deep { DEEP_ANSWER_WITHIN } else { ANSWER_WITHIN }))?;
    writeln!(stream, "{}", if deep { DEEP } else { SHALLOW })?;
    let mut checks = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
            _ => error,
        })?;
        if line == door::END {
            return Ok(checks);
        }
        checks.extend(Check::parse(&line));
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended in the middle of its answer"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_as_it_was_printed() {
        let check = Check::new(Verdict::Down, "link/hub:7422", "connection refused");
        assert_eq!(check.to_string(), "down    link/hub:7422            connection refused");
        assert_eq!(Check::parse(&check.to_string()), Some(check));
        for other in ["", "ok", "fine server x", "okay x y"] {
            assert_eq!(Check::parse(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_link_that_was_up_before_must_be_up() {
        let before = BTreeSet::from(["link/a:1".to_owned()]);
        let verdict = |verdict, name: &str| {
            let mut check = Check::new(verdict, name, "");
            count(&mut check, &before);
            check.verdict
        };
        assert_eq!(verdict(Verdict::Down, "link/a:1"), Verdict::Down);
        assert_eq!(verdict(Verdict::Down, "link/b:1"), Verdict::Failed);
        assert_eq!(verdict(Verdict::Failed, "link/a:1"), Verdict::Failed);
        assert_eq!(verdict(Verdict::Ok, "link/b:1"), Verdict::Ok);
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        let parse = |words: &[&str]| Asked::parse(words.iter().map(|word| (*word).to_owned()).collect());
        let asked = parse(&["--deep", "--within", "9", "-c", "x"]).unwrap();
        assert!(asked.deep && asked.within == Duration::from_secs(9) && asked.flags.config == Some("x".into()));
        for words in [&["--within"][..], &["--within", "soon"], &["--before"], &["-v"], &["--nonsense"], &["nonsense"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
