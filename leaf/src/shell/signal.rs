//! `--signal <command>[=<pid|pid file|*>]`: sends a signal to a server that runs already.
//!
//! Commands, their signals and the texts of the errors are nats-server's.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// Does what `--signal <argument>` asks, for the processes of the executable `program` (a file name).
///
/// Without a pid the one running process is meant; a pid that ends in `*` means all processes whose pid starts so.
/// The error is what to print; with several processes or failures it has several lines.
pub fn run(program: &str, argument: &str) -> Result<(), String> {
    let running = || running(Path::new("/proc"), program, std::process::id());
    dispatch(program, argument, running, &mut kill_process)
}

/// Where a signal goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The only process there is.
    Only,
    /// This process, whatever it is called.
    Process(Pid),
    /// All processes whose decimal pid starts with these digits.
    StartingWith(String),
}

fn dispatch(
    program: &str,
    argument: &str,
    running: impl FnOnce() -> Vec<Pid>,
    kill: &mut dyn FnMut(Pid, Signal) -> Result<(), Errno>,
) -> Result<(), String> {
    let mut parts = argument.split('=');
    let command = parts.next().unwrap_or_default();
    let target = parts.next();
    let surplus: Vec<_> = parts.collect();
    if !surplus.is_empty() {
        return Err(format!("invalid signal parameters: [{}]", surplus.join(" ")));
    }
    let pids = resolve(program, Target::parse(target.unwrap_or_default())?, running)?;
    let signal = signal_of(command)?;
    send(command, signal, &pids, kill)
}

impl Target {
    /// Reads the part after `=`: a pid, a file that holds one, digits and `*`, or nothing.
    fn parse(text: &str) -> Result<Self, String> {
        let content = if text.is_empty() { None } else { fs::read_to_string(text).ok() };
        let text = content.as_deref().unwrap_or(text).trim();
        let (digits, pattern) = text.strip_suffix('*').map_or((text, false), |digits| (digits, true));
        if digits.is_empty() {
            return Ok(if pattern { Self::StartingWith(String::new()) } else { Self::Only });
        }
        // Unlike nats-server, no pid below 1: `kill` would take that for a group or for everybody.
        let pid = digits.parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| format!("invalid pid: {digits}"))?;
        Ok(if pattern { Self::StartingWith(digits.to_owned()) } else { Self::Process(pid) })
    }
}

fn resolve(program: &str, target: Target, running: impl FnOnce() -> Vec<Pid>) -> Result<Vec<Pid>, String> {
    let prefix = match target {
        Target::Process(pid) => return Ok(vec![pid]),
        Target::StartingWith(prefix) => Some(prefix),
        Target::Only => None,
    };
    let mut pids = running();
    if prefix.is_none() && pids.len() > 1 {
        let list: String = pids.iter().map(|pid| format!("\n{pid}")).collect();
        return Err(format!("multiple {program} processes running:{list}"));
    }
    if pids.is_empty() {
        return Err(format!("no {program} processes running"));
    }
    pids.retain(|pid| prefix.as_ref().is_none_or(|prefix| pid.to_string().starts_with(prefix)));
    Ok(pids)
}

fn signal_of(command: &str) -> Result<Signal, String> {
    match command {
        "stop" => Ok(Signal::KILL),
        "quit" => Ok(Signal::INT),
        "term" => Ok(Signal::TERM),
        "reopen" => Ok(Signal::USR1),
        "ldm" => Ok(Signal::USR2),
        "reload" => Ok(Signal::HUP),
        _ => Err(format!("unknown signal {command:?}")),
    }
}

fn send(
    command: &str,
    signal: Signal,
    pids: &[Pid],
    kill: &mut dyn FnMut(Pid, Signal) -> Result<(), Errno>,
) -> Result<(), String> {
    let failed = |&pid: &Pid| {
        let error = kill(pid, signal).err()?;
        Some(format!("signal {command:?} {pid}: {}", describe(error)))
    };
    let failures: Vec<_> = pids.iter().filter_map(failed).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn describe(error: Errno) -> String {
    match error {
        Errno::SRCH => "no such process".to_owned(),
        Errno::PERM => "operation not permitted".to_owned(),
        other => other.to_string(),
    }
}

/// The processes that run `program`, in ascending order, without `own_pid`. A process that ends meanwhile is none.
fn running(proc: &Path, program: &str, own_pid: u32) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let mut pids: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (u32::try_from(pid) != Ok(own_pid) && runs(&entry.path(), program)).then_some(pid)
        })
        .collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

/// Whether the process runs `program`: by its executable or, since another user's is not readable and a link may have
/// the name (`nats-server` in place of the real one), by the name it was started with.
fn runs(process: &Path, program: &str) -> bool {
    executable(process).as_deref() == Some(program) || started_as(process).as_deref() == Some(program)
}

fn executable(process: &Path) -> Option<String> {
    let path = fs::read_link(process.join("exe")).ok()?;
    let name = path.file_name()?.to_str()?;
    // The kernel says so once the file was replaced, as an upgrade does.
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

fn started_as(process: &Path) -> Option<String> {
    let arguments = fs::read(process.join("cmdline")).ok()?;
    let first = arguments.split(|byte| *byte == 0).next()?;
    let path = Path::new(std::str::from_utf8(first).ok()?);
    Some(path.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("petiole-signal-{}-{name}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn pids(raw: &[i32]) -> Vec<Pid> {
        raw.iter().map(|pid| Pid::from_raw(*pid).unwrap()).collect()
    }

    /// Runs a command against processes that are not real; gives back what was sent.
    fn sent(argument: &str, running: &[i32]) -> Result<Vec<(i32, Signal)>, String> {
        let mut sent = Vec::new();
        let mut kill = |pid: Pid, signal| {
            sent.push((pid.as_raw_nonzero().get(), signal));
            if pid.as_raw_nonzero().get() == 666 { Err(Errno::SRCH) } else { Ok(()) }
        };
        dispatch("nats-server", argument, || pids(running), &mut kill)?;
        Ok(sent)
    }

    #[test]
    fn commands_have_the_signals_of_the_reference() {
        let expected = [
            ("stop", Signal::KILL),
            ("quit", Signal::INT),
            ("term", Signal::TERM),
            ("reopen", Signal::USR1),
            ("ldm", Signal::USR2),
            ("reload", Signal::HUP),
        ];
        for (command, signal) in expected {
            assert_eq!(sent(command, &[7]), Ok(vec![(7, signal)]));
        }
        assert_eq!(sent("bogus", &[7]), Err("unknown signal \"bogus\"".into()));
    }

    #[test]
    fn without_a_pid_only_one_process_may_run() {
        assert_eq!(sent("reload", &[]), Err("no nats-server processes running".into()));
        assert_eq!(sent("reload", &[7, 8]), Err("multiple nats-server processes running:\n7\n8".into()));
    }

    #[test]
    fn a_star_selects_by_the_start_of_the_pid() {
        assert_eq!(sent("ldm=*", &[7, 81]), Ok(vec![(7, Signal::USR2), (81, Signal::USR2)]));
        assert_eq!(sent("ldm=8*", &[7, 81, 82]), Ok(vec![(81, Signal::USR2), (82, Signal::USR2)]));
        assert_eq!(sent("ldm=8*", &[]), Err("no nats-server processes running".into()));
    }

    #[test]
    fn a_pid_is_taken_as_it_is_unless_it_means_a_group() {
        assert_eq!(sent("reload=9", &[]), Ok(vec![(9, Signal::HUP)]));
        assert_eq!(sent("reload=666", &[]), Err("signal \"reload\" 666: no such process".into()));
        for text in ["abc", "-1", "0", "99999999999", "abc*"] {
            let shown = text.trim_end_matches('*');
            assert_eq!(sent(&format!("reload={text}"), &[7]), Err(format!("invalid pid: {shown}")));
        }
        assert_eq!(sent("reload=a=b", &[7]), Err("invalid signal parameters: [b]".into()));
    }

    #[test]
    fn a_pid_file_may_stand_for_its_content() {
        let directory = scratch("pidfile");
        let file = directory.join("pid");
        fs::write(&file, "41\n").unwrap();
        assert_eq!(sent(&format!("term={}", file.display()), &[]), Ok(vec![(41, Signal::TERM)]));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn processes_are_known_by_executable_or_by_the_name_they_were_started_with() {
        let proc = scratch("proc");
        let process = |pid: &str, exe: &str, cmdline: &str| {
            fs::create_dir(proc.join(pid)).unwrap();
            symlink(exe, proc.join(pid).join("exe")).unwrap();
            fs::write(proc.join(pid).join("cmdline"), cmdline).unwrap();
        };
        process("30", "/opt/bin/petiole-leaf", "nats-server\0-c\0x\0");
        process("4", "/usr/bin/nats-server (deleted)", "/usr/bin/nats-server\0");
        process("5", "/usr/bin/nats-server", "nats-server\0");
        process("6", "/usr/bin/vi", "vi\0nats-server\0");
        process("self", "/usr/bin/nats-server", "nats-server\0");
        fs::create_dir(proc.join("8")).unwrap();
        fs::write(proc.join("8").join("cmdline"), "/x/nats-server\0").unwrap();
        assert_eq!(running(&proc, "nats-server", 5), pids(&[4, 8, 30]));
        assert_eq!(running(&proc.join("none"), "nats-server", 5), []);
        fs::remove_dir_all(proc).unwrap();
    }

    #[test]
    fn a_real_process_is_found_by_name_and_ended() {
        let directory = scratch("real");
        let name = format!("sig-{}", std::process::id());
        fs::copy("/bin/sleep", directory.join(&name)).unwrap();
        let mut child = Command::new(directory.join(&name)).arg("600").spawn().unwrap();
        assert_eq!(run(&name, "term"), Ok(()));
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert_eq!(run(&name, "term"), Err(format!("no {name} processes running")));
        fs::remove_dir_all(directory).unwrap();
    }
}
