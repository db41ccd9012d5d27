//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// nats-server's convention: bytes before the place, from 0 in the first line and from 1 in the others.
    pub col: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.col)
    }
}

/// What an [`Error`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A key or value: printed as `file:line:col: text`.
    At(At),
    /// A file as a whole: printed as `file: text`.
    File(Arc<Path>),
    /// The text says it itself, as nats-server's messages about syntax do: printed as it is.
    Told,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where.
    pub place: Place,
    /// What; never a secret's value.
    pub text: String,
}

impl Error {
    /// An error about the key or value at a place.
    pub(super) fn at(at: &At, text: impl Into<String>) -> Self {
        Self { place: Place::At(at.clone()), text: text.into() }
    }

    /// An error whose text says where.
    pub(super) fn told(text: impl Into<String>) -> Self {
        Self { place: Place::Told, text: text.into() }
    }

    /// A key that nobody knows.
    pub(super) fn unknown(at: &At, key: &str) -> Self {
        Self::at(at, format!("unknown field {}", quote(key)))
    }

    /// A key of nats-server that means something we do not have.
    pub(super) fn unsupported(at: &At, what: &str) -> Self {
        Self::at(at, format!("{} is not supported yet", quote(what)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::At(at) => write!(f, "{at}: {}", self.text),
            Place::File(file) => write!(f, "{}: {}", file.display(), self.text),
            Place::Told => f.write_str(&self.text),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file; printed one a line. Not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// What a reader collects besides its result: it goes on after an error, to report them all.
#[derive(Debug, Default)]
pub(super) struct Notes {
    errors: Vec<Error>,
    warnings: Vec<Error>,
}

impl Notes {
    /// Takes down an error.
    pub(super) fn error(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Takes down a remark about the use of `field`.
    pub(super) fn warn(&mut self, at: &At, field: &str, text: &str) {
        self.warnings.push(Error::at(at, format!("invalid use of field {}: {text}", quote(field))));
    }

    /// Takes down a remark.
    pub(super) fn remark(&mut self, remark: Error) {
        self.warnings.push(remark);
    }

    /// The value of a result; its error is taken down.
    pub(super) fn take<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// The warnings if there are no errors; else both, the warnings first.
    pub(super) fn finish(self) -> Result<Vec<String>, Errors> {
        if self.errors.is_empty() {
            return Ok(self.warnings.iter().map(Error::to_string).collect());
        }
        Err(Errors(self.warnings.into_iter().chain(self.errors).collect()))
    }
}

/// `text` in double quotes, with what does not print escaped (the form of Go's `%q`).
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_invisible(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Controls, odd blanks and marks that a terminal would not show.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}
