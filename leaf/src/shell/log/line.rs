//! How a record looks as a line.

use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use super::{FATAL, journal};
use crate::config::Log;

/// How important a record is, as lines show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Info,
    Debug,
    Warning,
    Error,
    Fatal,
    Trace,
}

impl Label {
    fn of(metadata: &Metadata<'_>) -> Self {
        match *metadata.level() {
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::WARN => Self::Warning,
            Level::ERROR if metadata.target() == FATAL => Self::Fatal,
            Level::ERROR => Self::Error,
            Level::TRACE => Self::Trace,
        }
    }

    /// nats-server's abbreviation.
    fn text(self) -> &'static str {
        match self {
            Self::Info => "INF",
            Self::Debug => "DBG",
            Self::Warning => "WRN",
            Self::Error => "ERR",
            Self::Fatal => "FTL",
            Self::Trace => "TRC",
        }
    }

    /// syslog's number for it.
    pub(super) fn priority(self) -> u8 {
        match self {
            Self::Fatal => 2,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug | Self::Trace => 7,
        }
    }
}

/// The form of the lines.
#[derive(Clone, Debug)]
pub(super) struct Format {
    json: bool,
    /// For systemd's journal, which adds pid and time and shows how important a line is.
    journal: bool,
    /// The zone of the time; none, no time.
    zone: Option<TimeZone>,
    pid: u32,
}

impl Format {
    pub(super) fn new(log: &Log) -> Self {
        let zone = || if log.utc { TimeZone::UTC } else { TimeZone::system() };
        let journal = log.file.is_none() && journal::is_stderr();
        Self { json: log.json, journal, zone: log.time.then(zone), pid: std::process::id() }
    }

    /// Adds the line of a record, with its end.
    pub(super) fn write(&self, line: &mut String, now: Timestamp, record: &Record) {
        if self.journal {
            write!(line, "<{}>", record.label.priority()).ok();
        }
        let written = match self {
            Self { json: true, .. } => self.write_json(line, now, record),
            Self { journal: true, .. } => write!(line, "{}{}", record.message, record.fields),
            _ => self.write_text(line, now, record),
        };
        // A `String` takes everything; the error is the trait's.
        written.ok();
        line.push('\n');
    }

    /// `[pid] 2026/11/23 19:04:53.478427 [INF] text key=value`
    fn write_text(&self, line: &mut String, now: Timestamp, record: &Record) -> fmt::Result {
        write!(line, "[{}] ", self.pid)?;
        if let Some(zone) = &self.zone {
            let time = zone.to_datetime(now);
            let micros = time.subsec_nanosecond() / 1000;
            let (year, month, day) = (time.year(), time.month(), time.day());
            let (hour, minute, second) = (time.hour(), time.minute(), time.second());
            write!(line, "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} ")?;
        }
        write!(line, "[{}] {}{}", record.label.text(), record.message, record.fields)
    }

    /// `{"ts":"2026-11-23T19:04:53.478427Z","level":"INF","pid":1,"message":"text","key":"value"}`
    fn write_json(&self, line: &mut String, now: Timestamp, record: &Record) -> fmt::Result {
        line.push('{');
        if let Some(zone) = &self.zone {
            write_rfc3339(line, now, zone)?;
        }
        let message = json_string(&record.message);
        write!(line, "\"level\":\"{}\",\"pid\":{},\"message\":{message}", record.label.text(), self.pid)?;
        write!(line, "{}}}", record.fields)
    }
}

fn write_rfc3339(line: &mut String, now: Timestamp, zone: &TimeZone) -> fmt::Result {
    let offset = zone.to_offset(now);
    let time = offset.to_datetime(now);
    let micros = time.subsec_nanosecond() / 1000;
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    write!(line, "\"ts\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")?;
    let minutes = offset.seconds() / 60;
    if minutes == 0 {
        return line.write_str("Z\",");
    }
    let sign = if minutes < 0 { '-' } else { '+' };
    write!(line, "{sign}{:02}:{:02}\",", minutes.abs() / 60, minutes.abs() % 60)
}

/// A record, ready to be put in a line.
#[derive(Debug)]
pub(super) struct Record {
    label: Label,
    /// For text without control characters, for JSON as it is.
    message: String,
    /// In the form of the line, each with what separates it from the one before.
    fields: String,
    json: bool,
}

impl Record {
    pub(super) fn read(event: &Event<'_>, format: &Format) -> Self {
        let label = Label::of(event.metadata());
        let mut record = Self { label, message: String::new(), fields: String::new(), json: format.json };
        event.record(&mut record);
        record
    }

    /// A record without fields.
    pub(super) fn plain(label: Label, message: String) -> Self {
        Self { label, message, fields: String::new(), json: false }
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Nothing to do about a value that refuses to be printed: the rest of the record still counts.
        if self.json {
            write!(self.fields, ",{}:{value}", json_string(field.name())).ok();
        } else {
            write!(OneLine(&mut self.fields), " {field}={value}").ok();
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            let text = format!("{value:?}");
            return if self.json { self.record_str(field, &text) } else { self.add(field, format_args!("{text}")) };
        }
        if self.json {
            write!(self.message, "{value:?}").ok();
        } else {
            write!(OneLine(&mut self.message), "{value:?}").ok();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        if self.json {
            self.add(field, format_args!("{}", json_string(value)));
        } else if value.is_empty() || value.contains([' ', '"', '=']) {
            self.add(field, format_args!("{value:?}"));
        } else {
            self.add(field, format_args!("{value}"));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if self.json && !value.is_finite() {
            // JSON has no such number.
            return self.add(field, format_args!("null"));
        }
        self.add(field, format_args!("{value}"));
    }
}

fn json_string(text: &str) -> serde_json::Value {
    // Its `Display` is JSON, on one line.
    serde_json::Value::from(text)
}

/// Writes text so that it stays on one line and cannot pose as another: a client chooses its own name, and the log
/// shows it. Control characters and Unicode's line ends come out as `\n`, `\u{1b}` and so on.
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(position) = rest.find(breaks_a_line) {
            let (plain, other) = rest.split_at(position);
            self.0.push_str(plain);
            let mut characters = other.chars();
            self.0.extend(characters.next().into_iter().flat_map(char::escape_default));
            rest = characters.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

fn breaks_a_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::sync::{Arc, Mutex};

    use jiff::tz::Offset;
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    struct Capture(Format, Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let now = Timestamp::new(1_795_461_893, 478_427_999).unwrap();
            self.0.write(&mut self.1.lock().unwrap(), now, &Record::read(event, &self.0));
        }
    }

    /// The lines of what `run` logs.
    fn written(json: bool, zone: Option<TimeZone>, run: impl FnOnce()) -> String {
        let text = Arc::new(Mutex::new(String::new()));
        let layer = Capture(Format { json, journal: false, zone, pid: 7 }, text.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run);
        text.lock().unwrap().clone()
    }

    #[test]
    fn a_line_has_pid_time_label_and_text() {
        let log = || tracing::info!("Server is ready");
        let west = TimeZone::fixed(Offset::from_seconds(-5 * 3600 - 1800).unwrap());
        assert_eq!(written(false, Some(TimeZone::UTC), log), "[7] 2026/11/23 19:24:53.478427 [INF] Server is ready\n");
        assert_eq!(written(false, Some(west), log), "[7] 2026/11/23 13:54:53.478427 [INF] Server is ready\n");
        assert_eq!(written(false, None, log), "[7] [INF] Server is ready\n");
    }

    #[test]
    fn fields_follow_the_text() {
        let log = || {
            let (name, empty) = ("a b", "");
            tracing::warn!(cid = 5_u64, delta = -1_i64, ok = true, name, empty, ratio = 0.5, who = ?"x", plain = "p", "Slow");
        };
        let expected = "[7] [WRN] Slow cid=5 delta=-1 ok=true name=\"a b\" empty=\"\" ratio=0.5 who=\"x\" plain=p\n";
        assert_eq!(written(false, None, log), expected);
    }

    #[test]
    fn nobody_can_forge_a_line() {
        let name = "x\n[7] [FTL] forged\r\t\u{1b}[31m\u{7f}\u{85}\u{2028}é\\";
        let log = || tracing::error!(name, shown = %name, debug = ?name, "client {name}");
        let text = written(false, None, log);
        let escaped = r"x\n[7] [FTL] forged\r\t\u{1b}[31m\u{7f}\u{85}\u{2028}é\";
        assert!(text.starts_with(&format!("[7] [ERR] client {escaped} name=")), "{text}");
        assert!(text.contains(&format!(" shown={escaped} ")), "{text}");
        assert_eq!(text.matches(breaks_a_line).collect::<Vec<_>>(), ["\n"]);
    }

    #[test]
    fn a_text_in_a_field_called_message_is_the_text() {
        assert_eq!(written(false, None, || tracing::info!(message = "a\nb")), "[7] [INF] a\\nb\n");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let name = "a\"b\n\\";
        let log = || {
            tracing::info!(cid = 5_u64, ok = false, name, shown = %name, list = ?[1, 2], nan = f64::NAN, half = 0.5, "x\ny");
        };
        let text = written(true, Some(TimeZone::UTC), log);
        assert_eq!(text.matches('\n').count(), 1);
        let expected = r#"{"ts":"2026-11-23T19:24:53.478427Z","level":"INF","pid":7,"message":"x\ny","#;
        assert!(text.starts_with(expected), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["cid"], &value["ok"], &value["half"]), (&5.into(), &false.into(), &0.5.into()));
        assert_eq!((&value["name"], &value["shown"]), (&name.into(), &name.into()));
        assert_eq!((&value["list"], &value["nan"]), (&"[1, 2]".into(), &serde_json::Value::Null));
    }

    #[test]
    fn json_time_has_its_offset_and_can_be_left_out() {
        let log = || tracing::info!("x");
        let west = TimeZone::fixed(Offset::from_seconds(-5 * 3600 - 1800).unwrap());
        assert!(written(true, Some(west), log).starts_with(r#"{"ts":"2026-11-23T13:54:53.478427-05:30","level""#));
        assert_eq!(written(true, None, log), "{\"level\":\"INF\",\"pid\":7,\"message\":\"x\"}\n");
    }
}
