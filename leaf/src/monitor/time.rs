//! Times and durations as nats-server writes them.

use serde::{Serialize, Serializer};
use std::fmt;

use crate::node::{Nanos, SECOND};

/// A wall clock time, nanoseconds since 1970: RFC 3339, UTC, as many decimals as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rfc3339(pub(crate) i128);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Outside of the years that have four digits there is no such time to tell.
        jiff::Timestamp::from_nanosecond(self.0).unwrap_or_default().fmt(f)
    }
}

/// A span in whole seconds: `7s`, `1m2s`, `2d3h4m5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uptime(pub(super) Nanos);

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0 / SECOND;
        let parts = [
            (all / 31_536_000, "y"),
            (all / 86_400 % 365, "d"),
            (all / 3_600 % 24, "h"),
            (all / 60 % 60, "m"),
            (all % 60, "s"),
        ];
        // From the first unit that counts for anything on, all are written.
        let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(parts.len() - 1);
        parts[first..].iter().try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

/// A round-trip time as Go writes durations: `787µs`, `1.234ms`, `2.5s`. Below a millisecond only whole
/// microseconds are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rtt(pub(super) Nanos);

impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => f.write_str("0s"),
            nanos @ 1_000..1_000_000 => write!(f, "{}µs", nanos / 1_000),
            nanos @ 1_000_000..SECOND => decimal(f, nanos, 1_000_000, 6, "ms"),
            nanos => {
                let (minutes, rest) = (nanos / (60 * SECOND), nanos % (60 * SECOND));
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                decimal(f, rest, SECOND, 9, "s")
            }
        }
    }
}

/// Writes `nanos` in `unit`s, which are 10 to the power of `digits`, without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, nanos: Nanos, unit: Nanos, digits: usize, name: &str) -> fmt::Result {
    let fraction = format!("{:0digits$}", nanos % unit);
    match fraction.trim_end_matches('0') {
        "" => write!(f, "{}{name}", nanos / unit),
        fraction => write!(f, "{}.{fraction}{name}", nanos / unit),
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )*};
}
as_text!(Rfc3339, Uptime, Rtt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_460_438_261_576_599, "2026-11-23T19:00:38.261576599Z"),
            (1_795_460_438_261_500_000, "2026-11-23T19:00:38.2615Z"),
            (1_795_460_438_000_000_001, "2026-11-23T19:00:38.000000001Z"),
        ] {
            assert_eq!(Rfc3339(nanos).to_string(), text);
        }
    }

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0, "0s"),
            (7, "7s"),
            (62, "1m2s"),
            (3_600, "1h0m0s"),
            (11_045, "3h4m5s"),
            (183_845, "2d3h4m5s"),
            (31_536_000 + 60, "1y0d0h1m0s"),
        ] {
            assert_eq!(Uptime(seconds * SECOND + 999).to_string(), text);
        }
    }

    #[test]
    fn round_trips() {
        for (nanos, text) in [
            (0, "0s"),
            (999, "0s"),
            (787_999, "787µs"),
            (1_000_000, "1ms"),
            (1_234_000, "1.234ms"),
            (11_391_590, "11.39159ms"),
            (1_113_705_398, "1.113705398s"),
            (62_000_000_000, "1m2s"),
            (3_600_500_000_000, "1h0m0.5s"),
        ] {
            assert_eq!(Rtt(nanos).to_string(), text);
        }
    }
}
