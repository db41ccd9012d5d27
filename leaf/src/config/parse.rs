//! The configuration language: from files to one tree of values, with variables and includes resolved.

use std::io;
use std::mem;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Source;
use super::error::{At, Error};
use super::lex::{Cursor, Fault, Key, Scalar};
use super::value::{Entry, Map, Node, Value};

/// The largest file that is read, in bytes.
const MAX_FILE: usize = 32 << 20;
/// How many files one configuration may be put together from.
const MAX_FILES: usize = 256;
/// How deep lists, maps, includes and environment values may be nested, together.
const MAX_DEPTH: usize = 64;
/// What all files and all values put in place of variables may take, in bytes.
const BUDGET: usize = 32 << 20;

/// Why reading stopped: a message that says where, as nats-server's do.
struct Stop(String);

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self(format!("Parse error on line {}: '{}'", fault.line, fault.text))
    }
}

/// Reads the file at `path` and all that it includes.
pub(super) fn parse(path: &Path, source: &mut dyn Source) -> Result<Map, Error> {
    let mut shared = Shared { source, budget: BUDGET, files: 0, open: Vec::new(), asked: Vec::new() };
    file(path, &mut shared, 0).map_err(|Stop(text)| Error::told(text))
}

/// What the readers of all files share.
struct Shared<'s> {
    source: &'s mut dyn Source,
    budget: usize,
    files: usize,
    /// Files that are being read: the first, and each includes the next.
    open: Vec<PathBuf>,
    /// Environment variables that are being resolved, likewise.
    asked: Vec<String>,
}

impl Shared<'_> {
    fn charge(&mut self, bytes: usize) -> Result<(), Stop> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.ok_or_else(|| Stop("the configuration is too large".to_owned()))?;
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Result<String, Stop> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(Stop(format!("more than {MAX_FILES} files are included")));
        }
        let text = self.source.read(path).map_err(|error| Stop(unreadable(path, &error)))?;
        if text.len() > MAX_FILE {
            return Err(Stop(format!("{} is larger than {MAX_FILE} bytes", path.display())));
        }
        self.charge(text.len())?;
        Ok(text)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    };
    format!("open {}: {why}", path.display())
}

fn file(path: &Path, shared: &mut Shared<'_>, depth: usize) -> Result<Map, Stop> {
    let text = shared.load(path)?;
    shared.open.push(path.to_owned());
    let map = Reader::new(&text, path, shared, depth).document();
    shared.open.pop();
    map
}

/// `name` seen from the directory `dir`. An absolute name is relative too, as nats-server has it.
fn join(dir: &Path, name: &str) -> PathBuf {
    let mut joined = PathBuf::new();
    for part in dir.join(name.trim_start_matches('/')).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(joined.components().next_back(), Some(Component::Normal(_))) => {
                joined.pop();
            }
            part => joined.push(part),
        }
    }
    joined
}

/// The reader of one file.
struct Reader<'a, 's, 'p> {
    shared: &'p mut Shared<'s>,
    cursor: Cursor<'a>,
    text: &'a str,
    file: Arc<Path>,
    depth: usize,
    /// The map that is being read.
    map: Map,
    /// The maps around it, the outermost first.
    outer: Vec<Map>,
}

impl<'a, 's, 'p> Reader<'a, 's, 'p> {
    fn new(text: &'a str, file: &Path, shared: &'p mut Shared<'s>, depth: usize) -> Self {
        let (map, outer) = (Map::default(), Vec::new());
        Self { shared, cursor: Cursor::new(text), text, file: file.into(), depth, map, outer }
    }

    /// Reads a whole file: entries, maybe in one pair of braces as in JSON.
    fn document(mut self) -> Result<Map, Stop> {
        if self.text.contains('\0') {
            return Err(Stop(format!("{} contains a zero byte", self.file.display())));
        }
        let mut braced = false;
        loop {
            self.skip();
            match self.cursor.peek() {
                None if braced => return Err(self.cursor.fault("Unexpected EOF.").into()),
                None => return Ok(self.map),
                Some('{') if !braced => {
                    self.cursor.next();
                    braced = true;
                }
                // One brace too many is forgiven, as nats-server does.
                Some('}') => {
                    self.cursor.next();
                    braced = false;
                }
                Some(_) => {
                    self.entry(Self::value)?;
                    self.end_of_entry(braced)?;
                }
            }
        }
    }

    /// Goes past white space and comments.
    fn skip(&mut self) {
        self.cursor.skip_space();
        while self.cursor.skip_comment() {
            self.cursor.skip_space();
        }
    }

    fn end_of_entry(&mut self, braced: bool) -> Result<(), Stop> {
        self.cursor.skip_blanks();
        if self.cursor.skip_comment() || self.cursor.eat(',') || self.cursor.eat(';') {
            return Ok(());
        }
        match self.cursor.peek() {
            Some('\n' | '\r' | '}') => Ok(()),
            None if !braced => Ok(()),
            _ => {
                let level = if braced { "block" } else { "top" };
                let before = format!("Expected a {level}-level value to end with a new line, comment or EOF, but got ");
                Err(self.cursor.unexpected(&before, " instead.").into())
            }
        }
    }

    /// Reads `key: value` or `include file` into the map.
    fn entry(&mut self, value: impl FnOnce(&mut Self) -> Result<Value, Stop>) -> Result<(), Stop> {
        let key = self.cursor.key()?;
        let blank = self.cursor.peek().is_some_and(char::is_whitespace);
        if key.bare && blank && key.text.eq_ignore_ascii_case("include") {
            return self.include();
        }
        // A lone key may be followed by new lines; behind a separator they are up to `value`.
        self.cursor.skip_space();
        if !self.cursor.eat(':') && !self.cursor.eat('=') && self.cursor.peek().is_none() {
            return Err(Stop(format!("config is invalid ({})", self.at(key))));
        }
        let value = value(self)?;
        let node = Node { value, at: self.at(key) };
        self.map.set(Entry { key: key.text.to_owned(), node, used: false });
        Ok(())
    }

    fn at(&self, key: Key<'_>) -> At {
        At { file: self.file.clone(), line: key.line, col: key.col }
    }

    /// Reads a value, which starts on this line.
    fn value(&mut self) -> Result<Value, Stop> {
        self.cursor.skip_blanks();
        if self.cursor.eat('[') {
            return self.nested(Self::list);
        }
        if self.cursor.eat('{') {
            return self.nested(Self::map);
        }
        Ok(match self.cursor.scalar()? {
            Scalar::Bool(yes) => Value::Bool(yes),
            Scalar::Integer(number) => Value::Integer(number),
            Scalar::Float(number) => Value::Float(number),
            Scalar::Text(text) => Value::Text(text),
            Scalar::Date(date) => Value::Date(date),
            Scalar::Variable(name) => self.variable(&name)?,
        })
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(self.cursor.fault(format!("more than {MAX_DEPTH} levels are nested")).into());
        }
        self.depth += 1;
        let result = inner(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn list(&mut self) -> Result<Value, Stop> {
        let mut list = Vec::new();
        loop {
            self.skip();
            if self.cursor.eat(']') {
                return Ok(Value::List(list));
            }
            if self.cursor.peek() == Some(',') {
                return Err(self.cursor.fault("Unexpected array value terminator ','.").into());
            }
            let at = At { file: self.file.clone(), line: self.cursor.line(), col: self.cursor.col() };
            list.push(Node { value: self.value()?, at });
            self.cursor.skip_blanks();
            if self.cursor.skip_comment() || self.cursor.eat(',') {
                continue;
            }
            if !matches!(self.cursor.peek(), Some('\n' | '\r' | ']')) {
                let before = "Expected an array value terminator \",\" or an array terminator \"]\", but got ";
                return Err(self.cursor.unexpected(before, " instead.").into());
            }
        }
    }

    fn map(&mut self) -> Result<Value, Stop> {
        self.outer.push(mem::take(&mut self.map));
        loop {
            self.skip();
            if self.cursor.eat('}') {
                let around = self.outer.pop().unwrap_or_default();
                self.map.close();
                return Ok(Value::Map(mem::replace(&mut self.map, around)));
            }
            match self.cursor.peek() {
                None => return Err(self.cursor.fault("Unexpected EOF processing map.").into()),
                Some(']') => return Err(self.cursor.fault("Unexpected array end ']' processing map.").into()),
                Some(_) => self.entry(Self::value_in_map)?,
            }
            self.cursor.skip_blanks();
            if self.cursor.skip_comment() || self.cursor.eat(',') || self.cursor.eat(';') {
                continue;
            }
            if !matches!(self.cursor.peek(), Some('\n' | '\r' | '}')) {
                let before = "Expected a map value terminator \",\" or a map terminator \"}\", but got ";
                return Err(self.cursor.unexpected(before, " instead.").into());
            }
        }
    }

    /// A value inside of a map, which may start on a later line.
    fn value_in_map(&mut self) -> Result<Value, Stop> {
        self.cursor.skip_space();
        match self.cursor.peek() {
            Some(',') => Err(self.cursor.fault("Unexpected map value terminator \",\".").into()),
            Some('}') => Err(self.cursor.fault("Expected a map value but found the end of the map.").into()),
            _ => self.value(),
        }
    }

    fn include(&mut self) -> Result<(), Stop> {
        let name = self.cursor.include()?;
        let dir = self.file.parent().unwrap_or(Path::new(""));
        let path = join(dir, name);
        let within = |Stop(text): Stop| Stop(format!("error parsing include file '{name}', {text}"));
        if self.shared.open.contains(&path) {
            return Err(within(Stop(format!("{} includes itself", path.display()))));
        }
        let map = self.nested(|reader| file(&path, reader.shared, reader.depth)).map_err(within)?;
        map.into_entries().for_each(|entry| self.map.set(entry));
        Ok(())
    }

    /// The value of `$name`: from the maps around, the inner first, or from the environment.
    fn variable(&mut self, name: &str) -> Result<Value, Stop> {
        // A bcrypt hash starts like a variable; nats-server takes this form of it without quotes.
        if name.starts_with("2a$") {
            return Ok(Value::Text(format!("${name}")));
        }
        let line = self.cursor.line();
        let around = self.outer.iter_mut().rev();
        if let Some(value) = std::iter::once(&mut self.map).chain(around).find_map(|map| map.refer(name)) {
            let extent = value.extent();
            self.shared.charge(extent.bytes)?;
            if self.depth + extent.depth > MAX_DEPTH {
                return Err(self.cursor.fault(format!("more than {MAX_DEPTH} levels are nested")).into());
            }
            return Ok(value.clone());
        }
        let found = self.environment(name).map_err(|Stop(text)| {
            Stop(format!("variable reference for '{name}' on line {line} could not be parsed: {text}"))
        })?;
        found.ok_or_else(|| Stop(format!("variable reference for '{name}' on line {line} can not be found")))
    }

    /// An environment variable's value, which is written in the configuration language itself.
    fn environment(&mut self, name: &str) -> Result<Option<Value>, Stop> {
        if self.shared.asked.iter().any(|asked| asked == name) {
            return Err(Stop(format!("variable reference cycle for '{name}'")));
        }
        let Some(text) = self.shared.source.env(name) else { return Ok(None) };
        self.shared.charge(text.len())?;
        self.shared.asked.push(name.to_owned());
        let text = format!("value={text}");
        let place = PathBuf::from(format!("${name}"));
        let map = self.nested(|reader| Reader::new(&text, &place, reader.shared, reader.depth).document())?;
        self.shared.asked.pop();
        Ok(map.into_entries().find(|entry| entry.key == "value").map(|entry| entry.node.value))
    }
}
