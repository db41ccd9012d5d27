//! The configuration's reader: it never panics, whatever the file holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;
use std::path::Path;

struct One<'a>(&'a str);

impl leaf::config::Source for One<'_> {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        if path == Path::new("t.conf") { Ok(self.0.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn env(&self, name: &str) -> Option<String> {
        (name.len() < 4).then(|| name.to_lowercase())
    }
}

fuzz_target!(|input: &str| {
    if let Ok(config) = leaf::config::read(Path::new("t.conf"), &mut One(input)) {
        let _ = leaf::config::check(&config);
    }
});
