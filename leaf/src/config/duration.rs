//! Durations as Go writes them: `300ms`, `1h30m`, `1.5s`.

use std::time::Duration;

use super::error::{Error, Notes, quote};
use super::value::{Node, Value};

/// A duration in nanoseconds; negative ones have a meaning for some options.
pub(super) type Nanos = i64;

const SECOND: f64 = 1e9;

/// Nanoseconds of a unit.
fn unit(name: &str) -> Option<i64> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Reads a duration. The error's text is what Go says.
pub(super) fn parse(text: &str) -> Result<Nanos, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())];
        rest = &rest[number.len()..];
        let name = &rest[..rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len())];
        rest = &rest[name.len()..];
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && part.is_empty()) || part.contains('.') {
            return Err(invalid());
        }
        if name.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let unit =
            unit(name).ok_or_else(|| format!("time: unknown unit {} in duration {}", quote(name), quote(text)))?;
        let scaled = scale(whole, part, unit).ok_or_else(invalid)?;
        total = total.checked_add(scaled).ok_or_else(invalid)?;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn scale(whole: &str, part: &str, unit: i64) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
    // Digits beyond these are less than a nanosecond of any unit.
    let part = &part[..part.len().min(15)];
    let fraction: i128 = if part.is_empty() { 0 } else { part.parse::<i64>().ok()?.into() };
    let unit = i128::from(unit);
    Some(whole * unit + fraction * unit / 10_i128.pow(part.len() as u32))
}

/// Writes a duration as Go does: `2m0s`, `1.5s`, `10ms`.
pub(super) fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, name) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, part) = (nanos / unit, nanos % unit);
    let digits = unit.ilog10() as usize;
    let fraction = format!("{part:0digits$}");
    let fraction = if part == 0 { "" } else { fraction.trim_end_matches('0') };
    let dot = if fraction.is_empty() { "" } else { "." };
    let (hours, minutes, small) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (name, hours, minutes) {
        ("s", 0, 0) => format!("{small}{dot}{fraction}s"),
        ("s", 0, _) => format!("{minutes}m{small}{dot}{fraction}s"),
        ("s", _, _) => format!("{hours}h{minutes}m{small}{dot}{fraction}s"),
        _ => format!("{whole}{dot}{fraction}{name}"),
    }
}

/// An option that is a duration text, or an integer of seconds, of which a warning is made.
pub(super) fn of_option(key: &str, node: &Node, notes: &mut Notes) -> Result<Duration, Error> {
    let nanos = match &node.value {
        Value::Text(text) => parse(text).map_err(|why| Error::at(&node.at, format!("error parsing {key}: {why}")))?,
        _ => {
            let seconds = node.integer()?;
            notes.warn(&node.at, key, &format!("{key} should be converted to a duration"));
            let huge = || Error::at(&node.at, format!("{key} value is too big"));
            seconds.checked_mul(1_000_000_000).ok_or_else(huge)?
        }
    };
    not_negative(key, nanos, node)
}

/// An option that must be a duration text.
pub(super) fn of_text(key: &str, node: &Node) -> Result<Duration, Error> {
    let nanos = parse(node.text()?).map_err(|why| Error::at(&node.at, format!("error parsing {key}: {why}")))?;
    not_negative(key, nanos, node)
}

fn not_negative(key: &str, nanos: Nanos, node: &Node) -> Result<Duration, Error> {
    let nanos =
        u64::try_from(nanos).map_err(|_| Error::at(&node.at, format!("invalid {key}, needs to be positive")))?;
    Ok(Duration::from_nanos(nanos))
}

/// A `timeout`: seconds as integer or float, or a duration text. `block` is for the message.
pub(super) fn of_timeout(block: &str, node: &Node) -> Result<Duration, Error> {
    let wrong = |why: &str| Error::at(&node.at, format!("error parsing {block} config, 'timeout' {why}"));
    let nanos = match &node.value {
        Value::Integer(seconds) => seconds.checked_mul(1_000_000_000).ok_or_else(|| wrong("is too big"))?,
        // A cast from float to integer saturates.
        Value::Float(seconds) => (seconds * SECOND) as i64,
        Value::Text(text) => parse(text).map_err(|why| wrong(&why))?,
        _ => return Err(wrong("wrong type")),
    };
    let nanos = u64::try_from(nanos).map_err(|_| wrong("can not be negative"))?;
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        for (text, nanos) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("-1ms", -1_000_000),
            ("3µs4ns", 3_004),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("30", "time: missing unit in duration \"30\""),
            ("30x", "time: unknown unit \"x\" in duration \"30x\""),
            ("s", "time: invalid duration \"s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("99999999999999h", "time: invalid duration \"99999999999999h\""),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn durations_show_as_in_go() {
        for (millis, text) in [
            (0, "0s"),
            (10, "10ms"),
            (40_000, "40s"),
            (120_000, "2m0s"),
            (1_500, "1.5s"),
            (3_600_000, "1h0m0s"),
            (61_050, "1m1.05s"),
        ] {
            assert_eq!(show(Duration::from_millis(millis)), text);
        }
        assert_eq!(show(Duration::from_micros(1500)), "1.5ms");
    }
}
