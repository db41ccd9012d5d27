//! How a message is published here: with the number it has in its stream, by which who listens tells a repeat.

use std::io::Write;

use crate::store::Seq;

/// As the messages that a stream itself publishes again.
const STREAM: &[u8] = b"Nats-Stream:";
const SEQUENCE: &[u8] = b"Nats-Sequence:";

/// Writes the header block.
pub(super) fn write(stream: &str, seq: Seq, headers: &[u8], into: &mut Vec<u8>) {
    // A vector takes everything.
    let _ = write!(into, "NATS/1.0\r\nNats-Stream: {stream}\r\nNats-Sequence: {seq}\r\n");
    for line in headers.split_inclusive(|&b| b == b'\n').skip(1) {
        if line != b"\r\n" && !line.starts_with(STREAM) && !line.starts_with(SEQUENCE) {
            into.extend_from_slice(line);
        }
    }
    into.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_message_of_which_stream_it_is() {
        let text = |headers: &[u8]| {
            let mut bytes = Vec::new();
            write("C", 17, headers, &mut bytes);
            String::from_utf8(bytes).expect("text")
        };
        assert_eq!(text(b""), "NATS/1.0\r\nNats-Stream: C\r\nNats-Sequence: 17\r\n\r\n");
        let given = b"NATS/1.0\r\nA: 1\r\nNats-Sequence: 3\r\n\r\n";
        assert_eq!(text(given), "NATS/1.0\r\nNats-Stream: C\r\nNats-Sequence: 17\r\nA: 1\r\n\r\n");
    }
}
