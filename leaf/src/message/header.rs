//! Header blocks (ADR-4): `NATS/1.0`, lines of `Name: value`, an empty line.
//!
//! Nothing of a block is believed: what is no line with a name is passed over.

const VERSION: &[u8] = b"NATS/1.0\r\n";
const END: &[u8] = b"\r\n";

/// The lines of a block after its first, without their ends.
fn lines(headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = |line: &[u8]| line.len() - usize::from(line.ends_with(b"\r"));
    let lines = headers.split(|&byte| byte == b'\n').skip(1);
    lines.map(move |line| &line[..ends(line)]).take_while(|line| !line.is_empty())
}

fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// Names and values in order.
pub fn fields(headers: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(headers).filter_map(name_and_value)
}

/// The first value of `name`, whose case counts.
pub fn get<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    fields(headers).find(|(have, _)| *have == name).map(|(_, value)| value)
}

/// Appends the block `headers`, which may be empty, to `out` with `value` as the only one of `name`.
pub fn set(headers: &[u8], name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let first = headers.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    out.extend_from_slice(if first.is_empty() { VERSION } else { first });
    let others = lines(headers).filter(|line| name_and_value(line).is_none_or(|(have, _)| have != name));
    for line in others {
        out.extend_from_slice(line);
        out.extend_from_slice(END);
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(END);
    out.extend_from_slice(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &str, value: &str) -> String {
        let mut out = Vec::new();
        set(headers.as_bytes(), b"X", value.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_header_is_set_once() {
        assert_eq!(with("", "1"), "NATS/1.0\r\nX: 1\r\n\r\n");
        assert_eq!(with("NATS/1.0\r\n\r\n", "1"), "NATS/1.0\r\nX: 1\r\n\r\n");
        assert_eq!(with("NATS/1.0 503\r\nA: b\r\n\r\n", "1"), "NATS/1.0 503\r\nA: b\r\nX: 1\r\n\r\n");
        assert_eq!(with("NATS/1.0\r\nX:0\r\nA: b\r\nX: 2\r\n\r\n", "1"), "NATS/1.0\r\nA: b\r\nX: 1\r\n\r\n");
        assert_eq!(with("NATS/1.0\r\nXY: 2\r\nx: 3\r\n\r\n", "1"), "NATS/1.0\r\nXY: 2\r\nx: 3\r\nX: 1\r\n\r\n");
    }

    #[test]
    fn values_are_found() {
        let headers = b"NATS/1.0\r\nA:b\r\nB:  c d \r\nnonsense\r\nA: e\r\n\r\nX: no\r\n";
        assert_eq!(get(headers, b"A"), Some(b"b".as_slice()));
        assert_eq!(get(headers, b"B"), Some(b"c d".as_slice()));
        assert_eq!(get(headers, b"X"), None);
        assert_eq!(get(headers, b"a"), None);
        assert_eq!(fields(headers).count(), 3);
        assert_eq!(get(b"", b"A"), None);
        assert_eq!(get(b"\r\n", b""), None);
    }
}
