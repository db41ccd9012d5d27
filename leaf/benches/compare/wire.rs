//! A client of the protocol, reduced to what a load generator needs.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    time::Duration,
};

use crate::Result;

/// Longer than any server should ever keep a client waiting: a run must end.
const PATIENCE: Duration = Duration::from_secs(30);

const CONNECT: &str = concat!(
    r#"CONNECT {"verbose":false,"pedantic":false,"tls_required":false,"lang":"bench","version":"1","protocol":1,"#,
    r#""headers":true,"no_responders":true}"#,
    "\r\n"
);

/// A connection which has been greeted and has introduced itself.
pub(crate) struct Client {
    stream: TcpStream,
    inbox: Inbox,
}

/// What a server sent.
pub(crate) enum Event {
    /// A message, as ranges of the inbox.
    Message(Delivery),
    /// The answer to a PING.
    Pong,
}

/// Where the parts of a message lie in the inbox.
pub(crate) struct Delivery {
    /// The subject it was published to.
    pub(crate) subject: Range<usize>,
    /// Where an answer goes, if wanted.
    pub(crate) reply: Option<Range<usize>>,
    /// What it says.
    pub(crate) payload: Range<usize>,
}

impl Client {
    /// Connects and introduces itself, asking the server to acknowledge nothing.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        Self::with_inbox(address, Inbox::new(64 * 1024))
    }

    /// The same, as a user whose name is its password, too.
    pub(crate) fn connect_as(address: SocketAddr, user: &str) -> Result<Self> {
        let login = format!(r#"{{"user":"{user}","pass":"{user}","#);
        Self::introduce(address, Inbox::new(64 * 1024), &CONNECT.replacen('{', &login, 1))
    }

    /// The same, with room for little: one of many connections.
    pub(crate) fn connect_small(address: SocketAddr) -> Result<Self> {
        Self::with_inbox(address, Inbox::new(4 * 1024))
    }

    fn with_inbox(address: SocketAddr, inbox: Inbox) -> Result<Self> {
        Self::introduce(address, inbox, CONNECT)
    }

    fn introduce(address: SocketAddr, inbox: Inbox, connect: &str) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self { stream, inbox };
        client.send(connect.as_bytes())?;
        // Also reads the greeting.
        client.flush()?;
        Ok(client)
    }

    /// Writes everything.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot send: {error}").into())
    }

    /// Waits until the server has seen all that was sent. No message may be on its way.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.send(b"PING\r\n")?;
        match self.next()? {
            Event::Pong => Ok(()),
            Event::Message(_) => Err("a message where none was to come".into()),
        }
    }

    /// The next message or PONG; the rest is dealt with here.
    pub(crate) fn next(&mut self) -> Result<Event> {
        loop {
            let Some(line) = self.inbox.line() else {
                self.fill()?;
                continue;
            };
            if self.inbox.bytes[line.clone()].starts_with(b"MSG ") {
                return self.message(line).map(Event::Message);
            }
            let control = Control::read(&self.inbox.bytes[line.clone()])?;
            self.inbox.start = line.end + 2;
            match control {
                Control::Pong => return Ok(Event::Pong),
                Control::Ping => self.send(b"PONG\r\n")?,
                Control::Other => {}
            }
        }
    }

    /// The bytes of a part of the message last returned.
    pub(crate) fn part(&self, range: &Range<usize>) -> &[u8] {
        &self.inbox.bytes[range.clone()]
    }

    /// The socket once more, for shutting it down from elsewhere.
    pub(crate) fn socket(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    /// The socket and what has been read from it but not looked at.
    pub(crate) fn into_parts(self) -> (TcpStream, Inbox) {
        (self.stream, self.inbox)
    }

    /// Reads the message whose first line is in the inbox.
    fn message(&mut self, line: Range<usize>) -> Result<Delivery> {
        let words = words(&self.inbox.bytes, line.clone());
        let (subject, reply, size) = match words.as_slice() {
            [_, subject, _, size] => (subject.clone(), None, size.clone()),
            [_, subject, _, reply, size] => (subject.clone(), Some(reply.clone()), size.clone()),
            _ => return Err(self.inbox.complaint("a MSG line has four or five words")),
        };
        let size: usize = str::from_utf8(&self.inbox.bytes[size])?.parse()?;
        let total = line.end + 2 + size + 2 - line.start;
        // Filling moves the message to the front: all positions are taken relative to its start.
        let origin = line.start;
        while self.inbox.unread().len() < total {
            self.fill()?;
        }
        let moved = origin - self.inbox.start;
        let shift = |range: Range<usize>| range.start - moved..range.end - moved;
        let payload = shift(line.end + 2..line.end + 2 + size);
        if !self.inbox.bytes[payload.end..].starts_with(b"\r\n") {
            return Err(self.inbox.complaint("a payload not followed by an end of line"));
        }
        self.inbox.start += total;
        Ok(Delivery { subject: shift(subject), reply: reply.map(shift), payload })
    }

    fn fill(&mut self) -> Result<()> {
        match self.inbox.fill(&mut self.stream)? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// The words of a line, as ranges.
fn words(bytes: &[u8], line: Range<usize>) -> Vec<Range<usize>> {
    let mut start = line.start;
    let mut found = Vec::with_capacity(5);
    for word in bytes[line].split(|&byte| byte == b' ') {
        if !word.is_empty() {
            found.push(start..start + word.len());
        }
        start += word.len() + 1;
    }
    found
}

/// A line which is no message.
pub(crate) enum Control {
    /// Wants a PONG.
    Ping,
    /// Is one.
    Pong,
    /// Needs no answer.
    Other,
}

impl Control {
    /// Tells what a line is; an error if it is one, or nothing known.
    pub(crate) fn read(line: &[u8]) -> Result<Self> {
        match line {
            b"PING" => Ok(Self::Ping),
            b"PONG" => Ok(Self::Pong),
            b"+OK" => Ok(Self::Other),
            _ if line.starts_with(b"INFO ") => Ok(Self::Other),
            _ => Err(format!("the server said: {}", String::from_utf8_lossy(&line[..line.len().min(100)])).into()),
        }
    }
}

/// Bytes read and not yet looked at.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for so many bytes; a longer message makes it grow.
    pub(crate) fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], start: 0, end: 0 }
    }

    /// Makes sure of room for so many bytes.
    pub(crate) fn reserve(&mut self, size: usize) {
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
    }

    /// What is there.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Passes over so many bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Reads more behind what is there; the number of bytes read, zero at the end.
    pub(crate) fn fill(&mut self, stream: &mut TcpStream) -> Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        loop {
            match stream.read(&mut self.bytes[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot receive: {error}").into()),
            }
        }
    }

    /// The first line, without its end, if it is there as a whole.
    pub(crate) fn line(&self) -> Option<Range<usize>> {
        let end = self.unread().windows(2).position(|pair| pair == b"\r\n")?;
        Some(self.start..self.start + end)
    }

    /// The bytes of a range returned by `line`.
    pub(crate) fn at(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// An error which shows what is there.
    pub(crate) fn complaint(&self, what: &str) -> crate::Failure {
        let shown = &self.unread()[..self.unread().len().min(100)];
        format!("{what}; received: {}", shown.escape_ascii()).into()
    }
}
