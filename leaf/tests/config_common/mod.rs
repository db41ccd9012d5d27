//! A source of configurations that holds its files and its environment.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::collections::HashMap;
use std::io;
use std::path::Path;

use leaf::config::{Config, Errors, Source, read};

/// Files and environment variables by name.
#[derive(Default)]
pub(crate) struct Memory {
    files: HashMap<String, String>,
    variables: HashMap<String, String>,
}

impl Memory {
    /// With a file `t.conf`.
    pub(crate) fn new(text: &str) -> Self {
        Self::default().file("t.conf", text)
    }

    /// With one more file.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }

    /// With one more variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Reads `t.conf`.
    pub(crate) fn read(mut self) -> Result<Config, Errors> {
        read(Path::new("t.conf"), &mut self)
    }
}

impl Source for Memory {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        let text = self.files.get(&path.display().to_string());
        text.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn env(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}
