//! systemd's journal at the other end of standard error: it wants `<priority>text` and knows time and pid itself
//! (sd-daemon(3), `JOURNAL_STREAM` in systemd.exec(5)).

use rustix::fs::fstat;

/// Whether what is written to standard error becomes the journal's.
pub(in crate::shell) fn is_stderr() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    // Somebody may have sent our standard error elsewhere since.
    fstat(std::io::stderr()).is_ok_and(|stat| told == format!("{}:{}", stat.st_dev, stat.st_ino))
}
