//! The log: records of `tracing` as nats-server's lines, or as JSON, on standard error or in a file.

mod file;
pub(super) mod journal;
mod line;

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber, callsite};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use self::file::LogFile;
use self::journal::Journal;
use self::line::{Format, Label, Record};
use crate::config::Log;

/// The target that makes an error fatal (`[FTL]`): `tracing::error!(target: FATAL, …)`. It does not end the process.
pub const FATAL: &str = "fatal";

/// Starts logging for the whole process, once.
///
/// The error names the file that cannot be written.
pub fn init(log: &Log) -> Result<Handle, String> {
    let handle = Handle::new(log)?;
    let subscriber = tracing_subscriber::registry().with(handle.layer());
    set_global_default(subscriber).map_err(|error| error.to_string())?;
    Ok(handle)
}

/// Changes the log while the server runs. Copies are the same log.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    fn new(log: &Log) -> Result<Self, String> {
        let writer = Writer { format: Format::new(log), output: Output::open(log)? };
        let shared = Shared { switches: AtomicU8::new(switches(log)), writer: Mutex::new(writer) };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn layer(&self) -> LogLayer {
        LogLayer { shared: self.shared.clone() }
    }

    /// Opens what a changed configuration asks for, and changes nothing yet. The error names the file that cannot be
    /// written.
    pub fn prepare(&self, log: &Log) -> Result<Change, String> {
        let moved = self.shared.lock().output.path() != log.file.as_deref();
        let output = if moved { Some(Output::open(log)?) } else { None };
        Ok(Change { log: log.clone(), output })
    }

    /// Takes over level, form and place, as a reload does.
    pub fn adopt(&self, change: Change) {
        let Change { log, output } = change;
        {
            let mut writer = self.shared.lock();
            match output {
                Some(output) => writer.output = output,
                None => writer.output.limit(&log),
            }
            writer.format = Format::new(&log);
        }
        self.shared.switches.store(switches(&log), Ordering::Relaxed);
        // Every place that logs remembers whether it is wanted.
        callsite::rebuild_interest_cache();
    }

    /// Opens the file again under its name (SIGUSR1), after something moved it away. The log says what came of it; if
    /// the file cannot be opened the old one stays.
    pub fn reopen(&self) {
        let result = match &mut self.shared.lock().output {
            Output::Stderr | Output::Journal(_) => None,
            Output::File(file) => Some(file.reopen().map_err(|error| cannot_open(file.path(), &error))),
        };
        match result {
            None => tracing::info!("File log re-open ignored, not a file logger"),
            Some(Ok(())) => tracing::info!("File log re-opened"),
            Some(Err(error)) => tracing::error!("{error}"),
        }
    }
}

/// A log that is ready to take over from the present one.
#[derive(Debug)]
pub struct Change {
    log: Log,
    /// Open; `None` when the lines go on to the same place.
    output: Option<Output>,
}

/// What the layer and the handles work on.
#[derive(Debug)]
struct Shared {
    /// Which of debug and trace are on, see [`switches`].
    switches: AtomicU8,
    writer: Mutex<Writer>,
}

impl Shared {
    /// A panic while somebody held the lock spoils nothing: at worst half a line was written.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let switches = self.switches.load(Ordering::Relaxed);
        // Not "is an event": the question `tracing::enabled!` asks is neither.
        !metadata.is_span()
            && match *metadata.level() {
                Level::TRACE => switches & TRACE != 0,
                Level::DEBUG => switches & DEBUG != 0,
                _ => true,
            }
    }
}

const DEBUG: u8 = 1;
const TRACE: u8 = 2;

/// Debug and trace are switched one by one, as in nats-server: trace does not include debug.
fn switches(log: &Log) -> u8 {
    (if log.debug { DEBUG } else { 0 }) | (if log.trace { TRACE } else { 0 })
}

/// The receiver of `tracing`'s records. Spans are not recorded.
struct LogLayer {
    shared: Arc<Shared>,
}

thread_local! {
    /// The last line of this thread, for its space.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// A longer line gives its space back.
const KEPT_LINE: usize = 4096;

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shared.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shared.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        match self.shared.switches.load(Ordering::Relaxed) {
            0 => Some(LevelFilter::INFO),
            DEBUG => Some(LevelFilter::DEBUG),
            _ => Some(LevelFilter::TRACE),
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Not written under the lock: the value of a field may log itself when it is printed.
        let format = self.shared.lock().format.clone();
        let mut line = LINE.take();
        line.clear();
        format.write(&mut line, Timestamp::now(), &Record::read(event, &format));
        self.shared.lock().write(&line);
        if line.capacity() <= KEPT_LINE {
            LINE.set(line);
        }
    }
}

/// Where lines go, and how those look that the log itself adds.
#[derive(Debug)]
struct Writer {
    format: Format,
    output: Output,
}

impl Writer {
    /// Writes a line. A failure is nobody's: there is no place left to report it, and the server goes on.
    fn write(&mut self, line: &str) {
        let file = match &mut self.output {
            Output::File(file) => file,
            Output::Journal(journal) if journal.send(line) => return,
            Output::Journal(_) | Output::Stderr => {
                io::stderr().write_all(line.as_bytes()).ok();
                return;
            }
        };
        for (label, message) in file.write(line) {
            let mut line = String::new();
            self.format.write(&mut line, Timestamp::now(), &Record::plain(label, message));
            file.append(&line);
        }
    }
}

/// What the log says about itself.
type Note = (Label, String);

/// Where lines go.
#[derive(Debug)]
enum Output {
    Stderr,
    /// With standard error for what it does not take.
    Journal(Journal),
    File(LogFile),
}

impl Output {
    fn open(log: &Log) -> Result<Self, String> {
        let Some(path) = &log.file else { return Ok(Journal::open().map_or(Self::Stderr, Self::Journal)) };
        let file = LogFile::open(path, log.size_limit, log.max_num);
        file.map(Self::File).map_err(|error| cannot_open(path, &error))
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Stderr | Self::Journal(_) => None,
            Self::File(file) => Some(file.path()),
        }
    }

    fn limit(&mut self, log: &Log) {
        if let Self::File(file) = self {
            file.limit(log.size_limit, log.max_num);
        }
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    format!("error opening log file {}: {error}", path.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::fs::{self, File};
    use std::path::PathBuf;
    use std::process::Command;
    use std::{env, fmt};

    use tracing::{debug, enabled, error, info, trace, warn};

    use super::*;

    /// A directory of its own, and the settings of a log in it.
    fn scratch(name: &str) -> (PathBuf, Log) {
        let directory = env::temp_dir().join(format!("petiole-log-{}-{name}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(&directory).unwrap();
        let log = Log { time: false, file: Some(directory.join("log")), ..Log::default() };
        (directory, log)
    }

    fn logging<T>(handle: &Handle, run: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(handle.layer()), run)
    }

    /// The lines of a file without the pid, which every one must have.
    fn lines(path: &Path) -> Vec<String> {
        let pid = format!("[{}] ", std::process::id());
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| line.strip_prefix(&pid).unwrap().to_owned()).collect()
    }

    fn log_everything() {
        info!("one");
        debug!("two");
        warn!("three");
        error!("four");
        error!(target: FATAL, "five");
        trace!("six");
    }

    #[test]
    fn levels_have_the_labels_of_the_reference() {
        let (directory, log) = scratch("levels");
        let log = Log { debug: true, trace: true, ..log };
        logging(&Handle::new(&log).unwrap(), log_everything);
        let expected = ["[INF] one", "[DBG] two", "[WRN] three", "[ERR] four", "[FTL] five", "[TRC] six"];
        assert_eq!(lines(&directory.join("log")), expected);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn debug_and_trace_are_switched_one_by_one_and_live() {
        let (directory, log) = scratch("switches");
        let handle = Handle::new(&log).unwrap();
        logging(&handle, || {
            let on = || (enabled!(Level::INFO), enabled!(Level::DEBUG), enabled!(Level::TRACE));
            assert_eq!(on(), (true, false, false));
            handle.adopt(handle.prepare(&Log { trace: true, ..log.clone() }).unwrap());
            assert_eq!(on(), (true, false, true));
            handle.adopt(handle.prepare(&Log { debug: true, ..log.clone() }).unwrap());
            assert_eq!(on(), (true, true, false));
            log_everything();
            handle.adopt(handle.prepare(&log).unwrap());
            assert_eq!(on(), (true, false, false));
            log_everything();
        });
        let expected = ["one", "two", "three", "four", "five", "one", "three", "four", "five"];
        let lines = lines(&directory.join("log"));
        assert_eq!(lines.iter().map(|line| &line[6..]).collect::<Vec<_>>(), expected);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn place_and_form_change_live_and_stay_if_they_cannot() {
        let (directory, log) = scratch("place");
        let handle = Handle::new(&log).unwrap();
        let other = Log { file: Some(directory.join("other")), json: true, ..log };
        let broken = Log { file: Some(directory.join("none/log")), debug: true, ..other };
        logging(&handle, || {
            info!("here");
            handle.adopt(handle.prepare(&other).unwrap());
            info!("there");
            let error = handle.prepare(&broken).unwrap_err();
            assert!(error.starts_with("error opening log file ") && error.contains("none/log"), "{error}");
            info!("still there");
            debug!("not wanted");
        });
        assert_eq!(lines(&directory.join("log")), ["[INF] here"]);
        let json = fs::read_to_string(directory.join("other")).unwrap();
        let messages: Vec<_> =
            json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((&messages[0]["message"], &messages[1]["message"]), (&"there".into(), &"still there".into()));
        assert!(Handle::new(&broken).is_err());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_again() {
        let (directory, log) = scratch("reopen");
        let handle = Handle::new(&log).unwrap();
        let file = directory.join("log");
        logging(&handle, || {
            info!("before");
            fs::rename(&file, directory.join("moved")).unwrap();
            info!("moved");
            handle.reopen();
            info!("after");
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
            handle.reopen();
        });
        assert_eq!(lines(&directory.join("moved")), ["[INF] before", "[INF] moved"]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn after_a_reopen_lines_go_to_the_new_file() {
        let (directory, log) = scratch("reopened");
        let handle = Handle::new(&log).unwrap();
        let file = directory.join("log");
        logging(&handle, || {
            fs::rename(&file, directory.join("moved")).unwrap();
            handle.reopen();
            info!("after");
        });
        assert_eq!(lines(&file), ["[INF] File log re-opened", "[INF] after"]);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_written_hurts_nobody() {
        let (directory, log) = scratch("full");
        let log = Log { file: Some("/dev/full".into()), size_limit: 1, ..log };
        logging(&Handle::new(&log).unwrap(), log_everything);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_are_purged() {
        let (directory, log) = scratch("rotate");
        let log = Log { size_limit: 40, max_num: 2, ..log };
        logging(&Handle::new(&log).unwrap(), || {
            info!("a line that is longer than forty bytes, with its pid");
        });
        let now = lines(&directory.join("log"));
        assert_eq!(now.len(), 1);
        let aside = now[0].strip_prefix("[INF] Rotated log, backup saved as \"").unwrap().strip_suffix('"').unwrap();
        assert_eq!(lines(Path::new(aside)), ["[INF] a line that is longer than forty bytes, with its pid"]);
        logging(&Handle::new(&log).unwrap(), || info!("again"));
        let now = lines(&directory.join("log"));
        assert!(now[0].starts_with("[INF] Rotated log, "), "{now:?}");
        assert!(now[1].starts_with("[INF] Purged log file \"log."), "{now:?}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "the log and one old file");
        assert!(!Path::new(aside).exists());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_value_that_logs_while_it_is_printed_is_no_deadlock() {
        struct Chatty;
        impl fmt::Display for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                info!("inner");
                f.write_str("outer")
            }
        }
        let (directory, log) = scratch("nested");
        logging(&Handle::new(&log).unwrap(), || info!("{Chatty}"));
        assert_eq!(lines(&directory.join("log")), ["[INF] outer"], "tracing drops the inner one");
        fs::remove_dir_all(directory).unwrap();
    }

    /// Runs the test `a_process_logs_for_itself` in a process of its own, where it logs.
    fn process_that_logs() -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "shell::log::tests::a_process_logs_for_itself", "--nocapture"]);
        command.env("PETIOLE_TEST_LOGS", "1");
        command
    }

    #[test]
    fn a_process_logs_for_itself() {
        let (directory, log) = scratch("process");
        let log = Log { file: None, ..log };
        if env::var_os("PETIOLE_TEST_LOGS").is_some() {
            let handle = init(&log).unwrap();
            log_everything();
            handle.reopen();
            assert!(init(&log).is_err(), "once is enough");
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn without_a_file_lines_go_to_standard_error() {
        let output = process_that_logs().output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = text.lines().filter_map(|line| Some(line.split_once("] ")?.1)).collect();
        let last = "[INF] File log re-open ignored, not a file logger";
        assert_eq!(lines, ["[INF] one", "[WRN] three", "[ERR] four", "[FTL] five", last]);
    }

    #[test]
    fn a_standard_error_that_takes_nothing_hurts_nobody() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(process_that_logs().stderr(full).stdout(std::process::Stdio::null()).status().unwrap().success());
    }
}
