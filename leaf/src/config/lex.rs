//! The words of the configuration language: blanks, comments, keys and simple values.
//!
//! The rules are nats-server's (see `tests/vectors/config-grammar-probes.txt`), also the odd ones.

use super::error::quote;

/// A fault of syntax: the line on which it was noticed, and the text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) text: String,
}

/// A value that is neither a list nor a map.
#[derive(Debug)]
pub(super) enum Scalar {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Date(String),
    /// `$name`, without the `$`.
    Variable(String),
}

/// A reader of one text that knows where it is.
pub(super) struct Cursor<'a> {
    text: &'a str,
    pos: usize,
    line: usize,
    /// What a column is counted from: the start of the text, or the new line before this line.
    origin: usize,
}

/// What is the end of a bare value, besides the end of the text.
fn is_end(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | ',' | ';' | ']' | '}')
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, pos: 0, line: 1, origin: 0 }
    }

    /// The line one is in, from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The column one is at.
    pub(super) fn col(&self) -> usize {
        self.pos - self.origin
    }

    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    /// The next character, which stays.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        if c == '\n' {
            self.line += 1;
            self.origin = self.pos;
        }
        self.pos += c.len_utf8();
        Some(c)
    }

    /// Goes past `c` if it is next.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let here = self.peek() == Some(c);
        if here {
            self.next();
        }
        here
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.pos;
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
        &self.text[start..self.pos]
    }

    /// Goes past blanks and tabs.
    pub(super) fn skip_blanks(&mut self) {
        self.take_while(|c| c == ' ' || c == '\t');
    }

    /// Goes past white space of all kinds, new lines too.
    pub(super) fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Goes past one comment, up to its new line; whether there was one.
    pub(super) fn skip_comment(&mut self) -> bool {
        if !self.rest().starts_with('#') && !self.rest().starts_with("//") {
            return false;
        }
        self.take_while(|c| c != '\n' && c != '\r');
        true
    }

    /// A fault at this place.
    pub(super) fn fault(&self, text: impl Into<String>) -> Fault {
        Fault { line: self.line, text: text.into() }
    }

    /// A fault about the next character, which is named in place of `{}`.
    pub(super) fn unexpected(&mut self, before: &str, after: &str) -> Fault {
        let got = match self.next() {
            Some('\n') => "\\n".to_owned(),
            Some(c) => c.to_string(),
            None => "end of file".to_owned(),
        };
        self.fault(format!("{before}'{got}'{after}"))
    }

    /// A key, bare or in quotes, in which nothing is escaped. With its place.
    pub(super) fn key(&mut self) -> Result<Key<'a>, Fault> {
        match self.peek() {
            Some(mark @ ('"' | '\'')) => self.quoted_key(mark),
            Some(c) if c == ':' || c == '=' => Err(self.unexpected("Unexpected key separator ", ".")),
            Some(c) if is_end(c) || c == '/' => Err(self.unexpected("Unexpected ", " where a key should be.")),
            _ => {
                let (line, col) = (self.line(), self.col());
                let text = self.take_while(|c| !c.is_whitespace() && c != ':' && c != '=');
                Ok(Key { text, line, col, bare: true })
            }
        }
    }

    fn quoted_key(&mut self, mark: char) -> Result<Key<'a>, Fault> {
        self.next();
        let (line, col) = (self.line(), self.col());
        let text = self.take_while(|c| c != mark);
        if !self.eat(mark) {
            return Err(self.fault("Unexpected EOF processing quoted key."));
        }
        Ok(Key { text, line, col, bare: false })
    }

    /// The file name of an `include`, behind the word.
    pub(super) fn include(&mut self) -> Result<&'a str, Fault> {
        self.skip_blanks();
        match self.peek() {
            Some(mark @ ('"' | '\'')) => {
                self.next();
                let name = self.take_while(|c| c != mark);
                if !self.eat(mark) {
                    return Err(self.fault("Unexpected EOF in quoted include"));
                }
                Ok(name)
            }
            None | Some('[' | '{' | '(' | '-' | '\\' | '\n' | '\r' | '0'..='9') => {
                Err(self.unexpected("Expected include value but found ", ""))
            }
            Some(_) => Ok(self.take_while(|c| !matches!(c, '\n' | '\r' | ';' | '}' | ' ' | '\t'))),
        }
    }

    /// A value that is neither a list nor a map.
    pub(super) fn scalar(&mut self) -> Result<Scalar, Fault> {
        match self.peek() {
            Some('"') => {
                self.next();
                self.escaped('"')
            }
            Some('\'') => {
                self.next();
                let text = self.take_while(|c| c != '\'');
                if !self.eat('\'') {
                    return Err(self.fault("Unexpected EOF."));
                }
                Ok(Scalar::Text(text.to_owned()))
            }
            Some('(') => {
                self.next();
                self.block()
            }
            Some('-') => self.negative(),
            Some('0'..='9') => self.number(),
            Some('.') => Err(self.fault("Floats must start with a digit")),
            Some('\n' | '\r') => {
                self.next();
                Err(self.fault("Expected value but found new line"))
            }
            _ => self.bare(self.pos),
        }
    }

    /// The inside of a block string: it ends with a `)` alone on its line.
    fn block(&mut self) -> Result<Scalar, Fault> {
        let start = self.pos;
        loop {
            self.take_while(|c| c != ')');
            if self.peek().is_none() {
                return Err(self.fault("Unexpected EOF processing block."));
            }
            let end = self.pos;
            self.next();
            if !self.text[start..end].ends_with('\n') {
                continue;
            }
            match self.peek() {
                Some('\n') => return Ok(Scalar::Text(self.text[start..end].to_owned())),
                // At the end of the file nats-server keeps the parenthesis: a quirk, but what people have.
                None => return Ok(Scalar::Text(self.text[start..self.pos].to_owned())),
                Some(_) => {}
            }
        }
    }

    fn negative(&mut self) -> Result<Scalar, Fault> {
        let start = self.pos;
        self.next();
        if !matches!(self.peek(), Some('0'..='9')) {
            return Err(self.unexpected("Expected a digit but got ", "."));
        }
        self.take_while(|c| c.is_ascii_digit());
        match self.peek() {
            Some('.') => self.float(start),
            Some(c) if is_suffix(c) => self.sized(start),
            _ => self.integer(start),
        }
    }

    /// What starts with a digit: a number, with a suffix perhaps, a date, an address or just a string.
    fn number(&mut self) -> Result<Scalar, Fault> {
        let start = self.pos;
        self.take_while(|c| c.is_ascii_digit());
        match self.peek() {
            None => self.integer(start),
            Some('-') => self.date(start),
            Some('.') => self.float(start),
            Some(c) if is_suffix(c) => self.sized(start),
            Some(c) if is_end(c) => self.integer(start),
            Some(_) => self.bare(start),
        }
    }

    fn integer(&self, start: usize) -> Result<Scalar, Fault> {
        let text = &self.text[start..self.pos];
        let number = text.parse().map_err(|_| self.fault(format!("integer '{text}' is out of the range")))?;
        Ok(Scalar::Integer(number))
    }

    /// Behind the digits of a number with a suffix, like `2KB`; anything else there makes it a string.
    fn sized(&mut self, start: usize) -> Result<Scalar, Fault> {
        let digits = &self.text[start..self.pos];
        self.next();
        self.take_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
        if self.peek().is_some_and(|c| !is_end(c) && !c.is_ascii_digit()) {
            return self.bare(start);
        }
        let suffix = &self.text[start + digits.len()..self.pos];
        let unit = unit(suffix).ok_or_else(|| self.fault(format!("unknown size suffix '{suffix}'")))?;
        let number = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
        number.map(Scalar::Integer).ok_or_else(|| self.fault(format!("integer '{digits}{suffix}' is out of the range")))
    }

    /// A float, which may turn out to be an address like `127.0.0.1:4222`.
    fn float(&mut self, start: usize) -> Result<Scalar, Fault> {
        self.next();
        if !matches!(self.peek(), Some('0'..='9')) {
            return Err(self.unexpected("Floats must have a digit after the '.', but got ", " instead."));
        }
        self.take_while(|c| c.is_ascii_digit());
        if self.peek() == Some('.') {
            self.take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
            return Ok(Scalar::Text(self.text[start..self.pos].to_owned()));
        }
        let text = &self.text[start..self.pos];
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Scalar::Float(number)),
            _ => Err(self.fault(format!("float '{text}' is out of the range"))),
        }
    }

    /// A date, whose first digits are read.
    fn date(&mut self, start: usize) -> Result<Scalar, Fault> {
        if self.pos - start != 4 {
            return Err(self.fault("All ISO8601 dates must be in full Zulu form."));
        }
        for want in "-00-00T00:00:00Z".chars() {
            let fits = match self.peek() {
                Some(c) if want == '0' => c.is_ascii_digit(),
                Some(c) => c == want,
                None => false,
            };
            if !fits {
                let before = format!("Expected '{want}' in ISO8601 datetime, but found ");
                return Err(self.unexpected(&before, " instead."));
            }
            self.next();
        }
        let text = &self.text[start..self.pos];
        if text.parse::<jiff::Timestamp>().is_err() {
            return Err(self.fault(format!("expected Zulu formatted DateTime, but got '{text}'")));
        }
        Ok(Scalar::Date(text.to_owned()))
    }

    /// A string without quotes, a boolean or a variable, the first characters of which may have been read.
    fn bare(&mut self, start: usize) -> Result<Scalar, Fault> {
        self.take_while(|c| !is_end(c) && c != '\\' && c != '\'');
        if self.peek() == Some('\\') {
            return self.escaped_bare(start);
        }
        let text = &self.text[start..self.pos];
        if self.eat('\'') {
            return Ok(Scalar::Text(text.to_owned()));
        }
        Ok(match boolean(text) {
            Some(yes) => Scalar::Bool(yes),
            None => match text.strip_prefix('$') {
                Some(name) => Scalar::Variable(name.to_owned()),
                None => Scalar::Text(text.to_owned()),
            },
        })
    }

    fn escaped_bare(&mut self, start: usize) -> Result<Scalar, Fault> {
        let mut bytes = self.text.as_bytes()[start..self.pos].to_vec();
        while let Some(c) = self.peek().filter(|&c| !is_end(c)) {
            self.next();
            match c {
                '\'' => break,
                '\\' => bytes.push(self.escape()?),
                c => push(&mut bytes, c),
            }
        }
        self.string(bytes)
    }

    /// The inside of a string in double quotes, and its end.
    fn escaped(&mut self, mark: char) -> Result<Scalar, Fault> {
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                None => return Err(self.fault("Unexpected EOF.")),
                Some('\\') => bytes.push(self.escape()?),
                Some(c) if c == mark => return self.string(bytes),
                Some(c) => push(&mut bytes, c),
            }
        }
    }

    fn string(&self, bytes: Vec<u8>) -> Result<Scalar, Fault> {
        String::from_utf8(bytes)
            .map(Scalar::Text)
            .map_err(|_| self.fault("The escapes of a string make no valid UTF-8"))
    }

    /// The byte that an escape stands for, behind its backslash.
    fn escape(&mut self) -> Result<u8, Fault> {
        match self.peek() {
            Some('x') => {
                self.next();
                self.hexadecimal()
            }
            Some(c @ ('t' | 'n' | 'r' | '"' | '\\')) => {
                self.next();
                Ok(match c {
                    't' => b'\t',
                    'n' => b'\n',
                    'r' => b'\r',
                    '"' => b'"',
                    _ => b'\\',
                })
            }
            _ => Err(self.unexpected(
                "Invalid escape character ",
                ". Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
            )),
        }
    }

    fn hexadecimal(&mut self) -> Result<u8, Fault> {
        let digits: String = self.rest().chars().take(2).collect();
        let byte = Some(&digits)
            .filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| {
                self.fault(format!("Expected two hexadecimal digits after '\\x', but got {}", quote(&digits)))
            })?;
        self.next();
        self.next();
        Ok(byte)
    }
}

/// A key and where it stands, behind its quote if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
    pub(super) col: usize,
    /// Without quotes: then `include` is not a key but a word of the language.
    pub(super) bare: bool,
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text.len() {
        2..=5 if is(["true", "on", "yes"]) => Some(true),
        2..=5 if is(["false", "off", "no"]) => Some(false),
        _ => None,
    }
}

fn is_suffix(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

/// What a size's suffix multiplies with: a lone letter is decimal, with `b`, `i` or `ib` it is binary.
fn unit(suffix: &str) -> Option<i64> {
    let suffix = suffix.to_ascii_lowercase();
    let power = "kmgtpe".find(suffix.chars().next()?)? as u32 + 1;
    match &suffix[1..] {
        "" => Some(1000_i64.pow(power)),
        "b" | "i" | "ib" => Some(1024_i64.pow(power)),
        _ => None,
    }
}
