//! The arguments of a request, read as Go reads them.

use super::{LIMIT_DEFAULT, Refusal};

/// A query string, taken apart. The first of several values counts, and an empty one is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

/// Which lists of subscriptions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubLists {
    None,
    Subjects,
    Detail,
}

impl Query {
    /// Reads `raw`. As in Go, a pair with a bad escape or a semicolon is left out.
    pub(super) fn parse(raw: &str) -> Self {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let decoded = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        });
        Self(decoded.collect())
    }

    /// The same of pairs that are read already.
    pub(super) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The same with one more argument, which wins.
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.0.insert(0, (key.to_owned(), value.to_owned()));
        self
    }

    /// All values of an argument that are not empty.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(have, value)| have == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// An argument; empty if absent.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(have, _)| have == key).map_or("", |(_, value)| value)
    }

    /// A switch, off unless it is given (Go: `strconv.ParseBool`).
    pub(super) fn switch(&self, key: &str) -> Result<bool, Refusal> {
        match self.text(key) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(Refusal(format!(
                "Error decoding boolean for '{key}': strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }

    /// A number (Go: `strconv.Atoi`); 0 if absent.
    fn int(&self, key: &str) -> Result<i64, Refusal> {
        let text = self.text(key);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let why = match text.parse() {
            _ if text.is_empty() => return Ok(0),
            Ok(number) => return Ok(number),
            Err(_) => number_fault(digits),
        };
        Err(Refusal(format!("Error decoding int for '{key}': strconv.Atoi: parsing {text:?}: {why}")))
    }

    /// A connection's id; 0 if absent.
    pub(super) fn cid(&self) -> Result<u64, Refusal> {
        let text = self.text("cid");
        let why = match text.parse() {
            _ if text.is_empty() => return Ok(0),
            Ok(number) if !text.starts_with('+') => return Ok(number),
            _ => number_fault(text),
        };
        Err(Refusal(format!("Error decoding uint64 for 'cid': strconv.ParseUint: parsing {text:?}: {why}")))
    }

    /// How many rows to leave out.
    pub(super) fn offset(&self) -> Result<usize, Refusal> {
        Ok(usize::try_from(self.int("offset")?).unwrap_or(0))
    }

    /// How many rows to tell at most.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        let limit = usize::try_from(self.int("limit")?).unwrap_or(0);
        Ok(if limit == 0 { LIMIT_DEFAULT } else { limit })
    }

    /// `subs`, where it may be `detail`.
    pub(super) fn sub_lists(&self) -> Result<SubLists, Refusal> {
        if self.text("subs").eq_ignore_ascii_case("detail") {
            return Ok(SubLists::Detail);
        }
        Ok(if self.switch("subs")? { SubLists::Subjects } else { SubLists::None })
    }
}

/// Why Go would not take `digits` for a number.
fn number_fault(digits: &str) -> &'static str {
    let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if number { "value out of range" } else { "invalid syntax" }
}

/// Undoes `+` and `%xx`; nothing if an escape is broken.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_like_go() {
        let query = Query::parse("a=1&a=2&b=x%2By+z&c=%zz&d=1;e=2&f&%67=h&=k");
        let read = ["a", "b", "c", "d", "f", "g", ""].map(|key| query.text(key).to_owned());
        assert_eq!(read, ["1", "x+y z", "", "", "", "h", "k"]);
    }

    #[test]
    fn numbers_in_and_out_of_range() {
        let int = |text: &str| Query::parse(&format!("offset={text}")).int("offset");
        let refused = |text: &str, why: &str| {
            Err(Refusal(format!("Error decoding int for 'offset': strconv.Atoi: parsing \"{text}\": {why}")))
        };
        assert_eq!(int(""), Ok(0));
        assert_eq!(int("-7"), Ok(-7));
        assert_eq!(int("%2B3"), Ok(3));
        assert_eq!(int("+3"), refused(" 3", "invalid syntax"));
        assert_eq!(int("1_0"), refused("1_0", "invalid syntax"));
        assert_eq!(int("-"), refused("-", "invalid syntax"));
        assert_eq!(int("9999999999999999999"), refused("9999999999999999999", "value out of range"));
    }

    #[test]
    fn ids_have_no_sign() {
        let cid = |text: &str| Query::parse(&format!("cid={text}")).cid();
        assert_eq!((cid(""), cid("18446744073709551615")), (Ok(0), Ok(u64::MAX)));
        for (text, shown, why) in [
            ("x", "x", "invalid syntax"),
            ("-1", "-1", "invalid syntax"),
            ("%2B1", "+1", "invalid syntax"),
            ("18446744073709551616", "18446744073709551616", "value out of range"),
        ] {
            let refusal = format!("Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"{shown}\": {why}");
            assert_eq!(cid(text), Err(Refusal(refusal)));
        }
    }
}
