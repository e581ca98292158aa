//! Times and durations as text: RFC 3339 in UTC with milliseconds, and `2s` or `500ms`.
//!
//! Pure arithmetic, so that a time in an answer depends on nothing but its milliseconds.

use std::time::Duration;

use linckia_model::Hlc;

/// The length of `2025-01-01T00:00:00.000Z`.
const TEXT_BYTES: usize = 24;

/// The last millisecond whose year has four digits; later ones are written as this.
const MILLISECONDS_MAX: u64 = 253_402_300_799_999;

const DAY_MILLISECONDS: u64 = 86_400_000;

/// A time as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; TEXT_BYTES]);

impl Timestamp {
    pub(crate) fn of(hlc: Hlc) -> Self {
        Self::from_milliseconds(hlc.milliseconds())
    }

    pub fn from_milliseconds(milliseconds: u64) -> Self {
        let milliseconds = milliseconds.min(MILLISECONDS_MAX);
        let (days, rest) = (milliseconds / DAY_MILLISECONDS, milliseconds % DAY_MILLISECONDS);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], rest / 3_600_000);
        digits(&mut text[14..16], rest / 60_000 % 60);
        digits(&mut text[17..19], rest / 1_000 % 60);
        digits(&mut text[20..23], rest % 1_000);
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a timestamp is ASCII")
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day since 1970-01-01. Source: Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms": years begin in March, so that the leap day is their last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Reads an RFC 3339 time in UTC, as milliseconds since 1970; none if it is anything else.
pub fn parse_timestamp(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shape = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 19 || !whole.bytes().enumerate().all(shape) || !digits {
        return None;
    }
    let number = |from: usize, to: usize| whole[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some(days * DAY_MILLISECONDS + ((hour * 60 + minute) * 60 + second) * 1_000 + thousandths)
}

/// The inverse of `civil_from_days`, from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day.max(1) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads `500ms`, `2s` or `1m`; none if it is anything else.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u32 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(60 * u64::from(number))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_text() {
        let check = |milliseconds, expected: &str| {
            assert_eq!(Timestamp::from_milliseconds(milliseconds).as_str(), expected);
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_735_689_599_999, "2024-12-31T23:59:59.999Z");
        check(1_735_689_600_000, "2025-01-01T00:00:00.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(MILLISECONDS_MAX, "9999-12-31T23:59:59.999Z");
        check(u64::MAX, "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn days_follow_each_other() {
        let mut last = (1970, 1, 1);
        for day in 1..200_000 {
            let (year, month, date) = civil_from_days(day);
            let next = if date == 1 {
                if month == 1 { year == last.0 + 1 } else { month == last.1 + 1 }
            } else {
                (year, month) == (last.0, last.1) && date == last.2 + 1
            };
            assert!(next, "{day}: {last:?} then {year}-{month}-{date}");
            last = (year, month, date);
        }
    }

    #[test]
    fn times_are_read() {
        for milliseconds in [0, 951_782_400_000, 1_735_689_599_999, MILLISECONDS_MAX] {
            let text = Timestamp::from_milliseconds(milliseconds);
            assert_eq!(parse_timestamp(text.as_str()), Some(milliseconds));
        }
        assert_eq!(parse_timestamp("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(parse_timestamp("1970-01-01T00:00:01.25Z"), Some(1_250));
        for bad in [
            "",
            "now",
            "2025-02-30T00:00:00Z",
            "2025-01-01",
            "2025-01-01T00:00:00",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "1969-01-01T00:00:00Z",
            "2025-01-01T00:00:00.Z",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        let check = |text, milliseconds: Option<u64>| {
            assert_eq!(parse_duration(text), milliseconds.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("2s", Some(2_000));
        check("1m", Some(60_000));
        check("0s", Some(0));
        for bad in ["", "2", "s", "-1s", "1.5s", "2 s", "2h", "99999999999s", "2sx"] {
            check(bad, None);
        }
    }
}
