//! systemd's journal at the other end of standard error: it wants `<priority>text` and knows time and pid itself
//! (sd-daemon(3), `JOURNAL_STREAM` in systemd.exec(5)).
//!
//! Where its own socket can be reached too, records go there with fields (systemd.io/JOURNAL_NATIVE_PROTOCOL), so that
//! `journalctl PETIOLE_CID=17` has all there is about a connection.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;

use rustix::fs::fstat;
use rustix::net::SocketAddrUnix;

/// Where it takes records with fields.
const SOCKET: &str = "/run/systemd/journal/socket";
/// What standard error is connected to if it is the journal's.
const STREAM: &[u8] = b"/run/systemd/journal/stdout";

/// Whether what is written to standard error becomes the journal's.
pub(in crate::shell) fn is_stderr() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    // Somebody may have sent our standard error elsewhere since.
    fstat(std::io::stderr()).is_ok_and(|stat| told == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The socket for records with fields.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// What the records are found by: the program's name.
    identifier: String,
}

impl Journal {
    /// `None` where standard error is not the journal's, or its socket cannot be reached.
    pub(super) fn open() -> Option<Self> {
        let peer = rustix::net::getpeername(std::io::stderr()).ok()??;
        let path = SocketAddrUnix::try_from(peer).ok()?;
        if !is_stderr() || path.path_bytes() != Some(STREAM) {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        // A journal that is behind must not hold up the server; what does not go this way goes by standard error.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, identifier: super::super::files::program_name() })
    }

    /// Sends a line; says whether it was taken.
    pub(super) fn send(&self, line: &str) -> bool {
        entry(line, &self.identifier).is_some_and(|entry| self.socket.send(entry.as_bytes()).is_ok())
    }
}

/// A line as the journal's fields: its importance, who says it, the connection it is about, and the text. `None` if it is no
/// line of ours.
fn entry(line: &str, identifier: &str) -> Option<String> {
    let (priority, text) = line.strip_prefix('<')?.split_once('>')?;
    let text = text.trim_end_matches('\n');
    // The text form makes one line of everything; JSON is one.
    if text.contains('\n') {
        return None;
    }
    let mut entry = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER={identifier}\n");
    if let Some((remote, cid)) = connection(text) {
        // A String takes everything.
        let _ = writeln!(entry, "PETIOLE_REMOTE={remote}\nPETIOLE_CID={cid}");
    }
    let _ = writeln!(entry, "MESSAGE={text}");
    Some(entry)
}

/// `127.0.0.1:5000 - cid:17 - …`: whom it is about.
fn connection(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.splitn(3, " - ");
    let (remote, id, _) = (parts.next()?, parts.next()?, parts.next()?);
    let (kind, cid) = id.split_once(':')?;
    let is_id = kind.ends_with("id") && !cid.is_empty() && cid.bytes().all(|b| b.is_ascii_digit());
    (is_id && !remote.contains(' ')).then_some((remote, cid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_fields() {
        let about = entry("<3>127.0.0.1:5000 - cid:17 - Slow\n", "petiole-leaf");
        let wanted = "PRIORITY=3\nSYSLOG_IDENTIFIER=petiole-leaf\nPETIOLE_REMOTE=127.0.0.1:5000\nPETIOLE_CID=17\n\
            MESSAGE=127.0.0.1:5000 - cid:17 - Slow\n";
        assert_eq!(about.as_deref(), Some(wanted));
        let plain = entry("<6>a - b:1 - c\n", "x");
        assert_eq!(plain.as_deref(), Some("PRIORITY=6\nSYSLOG_IDENTIFIER=x\nMESSAGE=a - b:1 - c\n"));
        for other in ["no priority\n", "<6>two\nlines\n", ""] {
            assert_eq!(entry(other, "x"), None, "{other}");
        }
    }
}
