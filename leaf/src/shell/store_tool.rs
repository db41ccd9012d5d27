//! `store ls|info|cat|verify|repair`: for a person with a card reader.

use jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::Directory;
use super::{hammer, store_keys};
use crate::store::{
    Disk, DiskError, FileId, Keys, Lock, Log, Op, OpenError, Reader, Record, Report, Settings, Time, repair, verify,
};
use crate::subject;

const HELP: &str = "\
Usage: store <command> [<dir>] [--key-file <file>] [--prev-key-file <file>]

    ls <dir>                     the logs in a directory and below, one a line
    info <dir>                   what a log holds
    cat <dir> [<first> [<subject>]]
                                 the messages of a log: number, time, subject, payload; from a number on,
                                 of the subjects that match
    verify <dir>                 look at every byte; say what is damaged and where; exit code 1 if anything is
    repair <dir>                 write damaged segments again without what is damaged, which goes to a file
                                 dropped-<time>.bin beside them
    encrypt <dir>                write segments again that are not encrypted with the key
    key                          make a key

An encrypted log needs its key: --key-file, or in PETIOLE_STORE_KEY; while segments are left that an older key encrypted, that one too:
--prev-key-file or PETIOLE_STORE_PREV_KEY. Without, verify finds damage all the same, and says what it cannot tell.

Nothing but repair and encrypt changes anything. A server that has the log open must be stopped first.";

/// Runs one command; `name` is the program's.
pub(super) fn run(name: &str, arguments: &[String]) -> ExitCode {
    let result = store_keys::take(arguments).and_then(|(words, keys)| obey(&words, keys));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("{name}: {text}");
            ExitCode::FAILURE
        }
    }
}

fn obey(words: &[&str], keys: Option<Arc<Keys>>) -> Result<bool, String> {
    match *words {
        ["ls", dir] => ls(Path::new(dir)),
        ["info", dir] => info(Path::new(dir), keys),
        ["cat", dir] => cat(Path::new(dir), keys, "1", ">"),
        ["cat", dir, first] => cat(Path::new(dir), keys, first, ">"),
        ["cat", dir, first, filter] => cat(Path::new(dir), keys, first, filter),
        ["verify", dir] => verify(Path::new(dir), keys.as_deref()),
        ["repair", dir] => repair(Path::new(dir), keys.as_deref()),
        ["encrypt", dir] => encrypt(Path::new(dir), keys),
        ["key"] => print(format_args!("{}", *store_keys::make()?.text())).map(|()| true),
        // Not for people: the crash tests kill it.
        ["hammer", dir] => hammer::run(Path::new(dir), now(), keys),
        ["help"] => print(format_args!("{HELP}")).map(|()| true),
        _ => Err(HELP.to_owned()),
    }
}

/// One line; an output that is closed (`| head`) ends the program without noise.
fn print(line: std::fmt::Arguments<'_>) -> Result<(), String> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(|error| error.to_string()),
    }
}

fn ls(dir: &Path) -> Result<bool, String> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", dir.display());
    let (mut segments, mut bytes, mut below) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        if meta.is_dir() {
            below.push(entry.path());
        } else if entry.file_name().to_str().and_then(FileId::parse).is_some() {
            (segments, bytes) = (segments + 1, bytes + meta.len());
        }
    }
    if segments > 0 {
        print(format_args!("{}  {segments} segments, {bytes} bytes", dir.display()))?;
    }
    below.sort();
    below.iter().try_for_each(|dir| ls(dir).map(|_| ()))?;
    Ok(true)
}

/// A disk that is read from; what is written to it is forgotten.
struct Untouched(Directory);

impl Disk for Untouched {
    fn perform(&mut self, _: &Op) -> Result<(), DiskError> {
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<FileId>> {
        self.0.list()
    }

    fn read(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(file, offset, bytes)
    }
}

fn directory(dir: &Path) -> Result<Directory, String> {
    let mut directory = Directory::open_existing(dir)?;
    match directory.list() {
        Ok(files) if files.is_empty() => Err(format!("there is no log in {}", dir.display())),
        Ok(_) => Ok(directory),
        Err(error) => Err(format!("cannot read {}: {error}", dir.display())),
    }
}

/// The log as a server would find it, but for its limits.
fn open(dir: &Path, keys: Option<Arc<Keys>>) -> Result<(Untouched, Log, Report), String> {
    let mut disk = Untouched(directory(dir)?);
    let settings = Settings { keys, ..Settings::default() };
    let (log, report) = Log::open(&mut disk, settings, now(), 0, None).map_err(in_dir(dir))?;
    Ok((disk, log, report))
}

fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as Time)
}

fn time(at: Time) -> String {
    Timestamp::from_nanosecond(at.into()).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// Says in which directory.
fn in_dir(dir: &Path) -> impl Fn(OpenError) -> String {
    move |error| format!("{}: {error}", dir.display())
}

fn info(dir: &Path, keys: Option<Arc<Keys>>) -> Result<bool, String> {
    let (_, log, report) = open(dir, keys)?;
    let state = log.state();
    let figures = [
        ("messages", state.messages),
        ("bytes", state.bytes),
        ("first", state.first_seq),
        ("last", state.last_seq),
        ("subjects", state.subjects),
        ("segments", state.segments),
        ("damage", report.damage.len() as u64),
        ("lost", report.lost),
        ("unreadable", report.unreadable.len() as u64),
    ];
    figures.iter().try_for_each(|(name, figure)| print(format_args!("{name:<10} {figure}")))?;
    Ok(true)
}

fn cat(dir: &Path, keys: Option<Arc<Keys>>, first: &str, filter: &str) -> Result<bool, String> {
    let first = first.parse().map_err(|_| format!("not a number: {first}"))?;
    if !subject::is_valid(filter.as_bytes()) {
        return Err(format!("not a subject: {filter}"));
    }
    let (mut disk, log, _) = open(dir, keys)?;
    let mut reader = Reader::matching(first, &[filter.as_bytes()]);
    while let Some(record) = reader.next(&log, &mut disk).map_err(|error| error.to_string())? {
        let Record { seq, subject, payload, .. } = record;
        print(format_args!("{seq} {} {} {}", time(record.time), subject.escape_ascii(), payload.escape_ascii()))?;
    }
    Ok(true)
}

fn verify(dir: &Path, keys: Option<&Keys>) -> Result<bool, String> {
    let mut disk = directory(dir)?;
    let found = verify::inspect_all(&mut disk, keys, &mut |_, _| {}).map_err(in_dir(dir))?;
    let mut sound = true;
    for (file, inspection) in &found {
        match (&inspection.lock, inspection.seqs) {
            (None, seqs) => {
                let (first, last) = seqs.unwrap_or((0, 0));
                print(format_args!("{file}: {} messages, {first} to {last}", inspection.messages))?;
            }
            (Some(lock), _) => {
                let records = inspection.others;
                print(format_args!(
                    "{file}: {records} records by their checksums; what is in them cannot be told: it {lock}"
                ))?;
            }
        }
        sound &= !matches!(inspection.lock, Some(Lock::Forged | Lock::NotEncrypted));
        sound &= !inspection.headless && inspection.damage.is_empty();
        if inspection.headless {
            print(format_args!("{file}: the head is damaged in both copies, nothing can be read"))?;
        }
        for damage in &inspection.damage {
            print(format_args!("{file}: bytes {} to {} are damaged{}", damage.from, damage.to, between(damage)))?;
        }
    }
    Ok(sound)
}

fn between(damage: &verify::Damage) -> String {
    match (damage.after, damage.before) {
        (Some(after), Some(before)) if after + 1 == before => {
            format!(", between messages {after} and {before}: no message is missing")
        }
        (Some(after), Some(before)) => format!(": messages {} to {} are missing", after + 1, before - 1),
        (Some(after), None) => format!(", behind message {after}"),
        (None, Some(before)) => format!(", before message {before}"),
        (None, None) => String::new(),
    }
}

fn repair(dir: &Path, keys: Option<&Keys>) -> Result<bool, String> {
    let mut disk = directory(dir)?;
    let now = now();
    let side = dir.join(format!("dropped-{now}.bin"));
    let mut out: Option<File> = None;
    let mut bytes = 0;
    let repaired = repair::repair(&mut disk, keys, now, salt()?, &mut |file, damage, dropped| {
        bytes += dropped.len();
        drop_to(&mut out, &side, file, damage, dropped)
            .map_err(|error| format!("cannot write {}: {error}", side.display()))
    });
    let repaired = repaired.map_err(in_dir(dir))?;
    match repaired {
        0 => print(format_args!("nothing to repair"))?,
        _ => print(format_args!("{repaired} segments written again; {bytes} bytes dropped to {}", side.display()))?,
    }
    Ok(true)
}

fn encrypt(dir: &Path, keys: Option<Arc<Keys>>) -> Result<bool, String> {
    let keys = keys.ok_or_else(|| format!("encrypt needs a key: --key-file or {}", store_keys::KEY_VARIABLE))?;
    let mut disk = directory(dir)?;
    let written = repair::encrypt(&mut disk, &keys, now(), salt()?).map_err(in_dir(dir))?;
    print(format_args!("{written} segments written again"))?;
    Ok(true)
}

fn salt() -> Result<u32, String> {
    let mut salt = [0; 4];
    getrandom::fill(&mut salt).map_err(|error| format!("no randomness: {error}"))?;
    Ok(u32::from_le_bytes(salt))
}

/// Appends to the side file a line that says whence the bytes are, and the bytes, and has them synced.
fn drop_to(
    out: &mut Option<File>,
    side: &PathBuf,
    file: FileId,
    damage: &verify::Damage,
    dropped: &[u8],
) -> io::Result<()> {
    let mut to = match out.take() {
        Some(open) => open,
        None => OpenOptions::new().write(true).create_new(true).mode(0o600).open(side)?,
    };
    writeln!(to, "{file} {} {}", damage.from, damage.to)?;
    to.write_all(dropped)?;
    writeln!(to)?;
    to.sync_all()?;
    *out = Some(to);
    Ok(())
}
