//! Times of day at which a user may connect, and how long it may stay.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::claims::Hours;

/// Nanoseconds.
pub type Nanos = u64;

/// Whether one may be there, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// At any time.
    Unlimited,
    /// For this long.
    For(Nanos),
    /// Not now, or the times make no sense.
    No,
}

/// What `hours` in `zone` mean at `now`, nanoseconds since 1970. Of several that hold now the longest counts.
pub fn stay(hours: &[Hours], zone: Option<&TimeZone>, now: i128) -> Stay {
    if hours.is_empty() {
        return Stay::Unlimited;
    }
    let (Some(zone), Ok(now)) = (zone, Timestamp::from_nanosecond(now)) else { return Stay::No };
    let mut longest = Stay::No;
    for hours in hours {
        let (Some(start), Some(end)) = (time(&hours.start), time(&hours.end)) else { return Stay::No };
        match (left(start, end, now, zone), longest) {
            (Some(left), Stay::For(other)) if left <= other => {}
            (Some(left), _) => longest = Stay::For(left),
            (None, _) => {}
        }
    }
    longest
}

/// `15:04:05`, two digits each, as Go's clock reads it (an hour may have one).
pub fn time(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str, min: usize| (min..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || !digits(hour, 1) || !digits(minute, 2) || !digits(second, 2) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?, 0).ok()
}

/// How long from `now` until `end`, if `now` is between the two.
fn left(start: Time, end: Time, now: Timestamp, zone: &TimeZone) -> Option<Nanos> {
    let today = zone.to_datetime(now).date();
    let at = |time: Time| zone.to_timestamp(today.to_datetime(time)).ok();
    let until = |end: Timestamp| Nanos::try_from(end.as_nanosecond() - now.as_nanosecond()).ok();
    let (from, to) = (at(start)?, at(end)?);
    if from < now && to > now {
        return until(to);
    }
    if from <= to {
        return None;
    }
    // It crosses midnight: the rest of yesterday's, or the beginning of today's.
    if to > now {
        return until(to);
    }
    let to = zone.to_timestamp(today.tomorrow().ok()?.to_datetime(end)).ok()?;
    if from < now && to > now { until(to) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    const SECOND: Nanos = 1_000_000_000;

    fn hours(start: &str, end: &str) -> Hours {
        Hours { start: start.into(), end: end.into() }
    }

    fn at(hour: i8, minute: i8, zone: &TimeZone) -> i128 {
        let time = zone.to_timestamp(date(2026, 11, 24).at(hour, minute, 0, 0));
        time.expect("a time").as_nanosecond()
    }

    #[test]
    fn within_without_and_over_midnight() {
        let utc = TimeZone::UTC;
        let ask = |list: &[Hours], hour, minute| stay(list, Some(&utc), at(hour, minute, &utc));
        assert_eq!(ask(&[], 3, 0), Stay::Unlimited);
        let day = [hours("11:00:00", "22:00:00")];
        assert_eq!(ask(&day, 13, 0), Stay::For(9 * 3600 * SECOND));
        assert_eq!(ask(&day, 11, 0), Stay::No, "the first moment is not in it");
        assert_eq!(ask(&day, 22, 0), Stay::No);
        let night = [hours("22:00:00", "06:00:00")];
        assert_eq!(ask(&night, 5, 0), Stay::For(3600 * SECOND));
        assert_eq!(ask(&night, 23, 30), Stay::For(6 * 3600 * SECOND + 1800 * SECOND));
        assert_eq!(ask(&night, 12, 0), Stay::No);
        let both = [hours("12:00:00", "13:00:00"), hours("11:00:00", "14:00:00"), hours("01:00:00", "02:00:00")];
        assert_eq!(ask(&both, 12, 30), Stay::For(5400 * SECOND));
    }

    #[test]
    fn zones_count() {
        let east = TimeZone::fixed(jiff::tz::offset(5));
        let list = [hours("09:00:00", "17:00:00")];
        assert_eq!(stay(&list, Some(&east), at(8, 0, &TimeZone::UTC)), Stay::For(4 * 3600 * SECOND));
        assert_eq!(stay(&list, Some(&TimeZone::UTC), at(8, 0, &TimeZone::UTC)), Stay::No);
        assert_eq!(stay(&list, None, at(8, 0, &TimeZone::UTC)), Stay::No, "a zone nobody knows");
    }

    #[test]
    fn rubbish_lets_nobody_in() {
        for text in ["", "25:00:00", "10:60:00", "10:00", "10:00:00:00", "+1:00:00", "10:0:00", "aa:bb:cc"] {
            assert_eq!(time(text), None, "{text}");
            let list = [hours("00:00:01", "23:59:59"), hours(text, "23:00:00")];
            assert_eq!(stay(&list, Some(&TimeZone::UTC), at(12, 0, &TimeZone::UTC)), Stay::No, "{text}");
        }
    }
}
