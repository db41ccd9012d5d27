//! A log file: appended to, put aside when it is full, opened again on request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Note;
use super::line::Label;

/// An open log file. After it is open no failure is an error: the log must not take the server down.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Its length, in bytes.
    size: u64,
    /// `logfile_size_limit`; 0 is off.
    limit: u64,
    /// The length beyond which it is put aside next: the limit, or more after that failed.
    threshold: u64,
    /// `logfile_max_num`: files to keep, this one included; 0 keeps all.
    keep: usize,
}

impl LogFile {
    pub(super) fn open(path: &Path, limit: u64, keep: usize) -> io::Result<Self> {
        let (file, size) = append_to(path)?;
        Ok(Self { path: path.to_owned(), file, size, limit, threshold: limit, keep })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn limit(&mut self, limit: u64, keep: usize) {
        (self.limit, self.threshold, self.keep) = (limit, limit, keep);
    }

    /// Opens the file under its name again; on an error the open one stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size) = append_to(&self.path)?;
        self.threshold = self.limit;
        Ok(())
    }

    /// Appends a line, and puts the file aside if that made it too long. Returns what there is to say about that, to be
    /// appended too.
    pub(super) fn write(&mut self, line: &str) -> Vec<Note> {
        self.append(line);
        if self.limit == 0 || self.size <= self.threshold {
            return Vec::new();
        }
        self.rotate(TimeZone::system().to_datetime(Timestamp::now()))
    }

    /// Appends a line, whatever the length.
    pub(super) fn append(&mut self, line: &str) {
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.size += line.len() as u64;
        }
    }

    fn rotate(&mut self, now: DateTime) -> Vec<Note> {
        let aside = with_suffix(&self.path, &stamp(now));
        let replaced = fs::rename(&self.path, &aside).and_then(|()| self.reopen());
        if let Err(error) = replaced {
            // Later again, not with every line.
            self.threshold = self.size.saturating_mul(2);
            let text = format!("Unable to rotate the log file ({error}), next attempt at {} bytes", self.threshold);
            return vec![(Label::Error, text)];
        }
        let mut notes = vec![(Label::Info, format!("Rotated log, backup saved as {aside:?}"))];
        if self.keep > 0 {
            notes.extend(self.purge());
        }
        notes
    }

    /// Removes the oldest of the files that were put aside.
    fn purge(&self) -> Vec<Note> {
        let (Some(directory), Some(name)) = (self.path.parent(), self.path.file_name().and_then(|name| name.to_str()))
        else {
            return Vec::new();
        };
        // The parent of a name without a directory is empty.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let mut old = match put_aside(directory, name) {
            Ok(old) => old,
            Err(error) => {
                return vec![(Label::Error, format!("Unable to read {directory:?} to purge old log files ({error})"))];
            }
        };
        old.sort_unstable();
        old.truncate((old.len() + 1).saturating_sub(self.keep));
        old.into_iter().map(|name| remove(directory, &name)).collect()
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn remove(directory: &Path, name: &str) -> Note {
    match fs::remove_file(directory.join(name)) {
        Ok(()) => (Label::Info, format!("Purged log file {name:?}")),
        Err(error) => (Label::Error, format!("Unable to remove old log file {name:?} ({error})")),
    }
}

/// The names in `directory` of files that were put aside when they were called `name`.
fn put_aside(directory: &Path, name: &str) -> io::Result<Vec<String>> {
    let is_old = |file: &str| {
        let stamp = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        stamp.is_some_and(is_stamp)
    };
    let mut old = Vec::new();
    for entry in fs::read_dir(directory)? {
        if let Ok(file) = entry?.file_name().into_string()
            && is_old(&file)
        {
            old.push(file);
        }
    }
    Ok(old)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// nats-server's suffix, local time down to nanoseconds; names sort by age.
fn stamp(time: DateTime) -> String {
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second, nanos) = (time.hour(), time.minute(), time.second(), time.subsec_nanosecond());
    format!("{year:04}.{month:02}.{day:02}.{hour:02}.{minute:02}.{second:02}.{nanos:09}")
}

fn is_stamp(text: &str) -> bool {
    let lengths: Vec<_> = text.split('.').map(str::len).collect();
    lengths == [4, 2, 2, 2, 2, 2, 9] && text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::civil::date;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("petiole-logfile-{}-{name}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn names_are_those_of_the_reference() {
        let time = date(2026, 1, 2).at(3, 4, 5, 6789);
        assert_eq!(stamp(time), "2026.01.02.03.04.05.000006789");
        assert!(is_stamp(&stamp(time)));
        for other in ["", "1", "2026.01.02", "2026.01.02.03.04.05.00000678x", "20260.1.02.03.04.05.000006789"] {
            assert!(!is_stamp(other), "{other}");
        }
    }

    #[test]
    fn a_file_is_appended_to_and_private_to_its_group() {
        let directory = scratch("append");
        let path = directory.join("log");
        LogFile::open(&path, 0, 0).unwrap().append("a\n");
        LogFile::open(&path, 0, 0).unwrap().append("b\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_limit_counts_what_was_there() {
        let directory = scratch("limit");
        let path = directory.join("log");
        fs::write(&path, "12345").unwrap();
        let mut file = LogFile::open(&path, 8, 0).unwrap();
        assert_eq!(file.write("678"), [], "at the limit");
        let notes = file.write("9");
        assert!(matches!(&notes[..], [(Label::Info, text)] if text.starts_with("Rotated log, ")), "{notes:?}");
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(file.size, 0);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_rotation_that_fails_is_put_off() {
        let directory = scratch("fails");
        let mut file = LogFile::open(&directory.join("log"), 4, 0).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        let notes = file.write("12345");
        assert!(matches!(&notes[..], [(Label::Error, text)] if text.contains("next attempt at 10 bytes")), "{notes:?}");
        assert_eq!(file.write("6789"), []);
        assert_eq!(file.write("012").len(), 1);
    }

    #[test]
    fn only_the_oldest_and_only_its_own_files_are_purged() {
        let directory = scratch("purge");
        let old = |second| format!("log.2020.01.01.00.00.{second:02}.000000000");
        for name in [old(1), old(2), old(3), "log.txt".into(), "log2.2020.01.01.00.00.01.000000000".into()] {
            fs::write(directory.join(name), "").unwrap();
        }
        let mut file = LogFile::open(&directory.join("log"), 1, 3).unwrap();
        let notes = file.rotate(date(2026, 1, 1).at(0, 0, 0, 0));
        let purged = |second| (Label::Info, format!("Purged log file {:?}", old(second)));
        assert_eq!(notes[1..], [purged(1), purged(2)]);
        assert!(directory.join(old(3)).exists());
        assert!(directory.join("log.2026.01.01.00.00.00.000000000").exists());
        assert!(directory.join("log.txt").exists() && directory.join("log").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
