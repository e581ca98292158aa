//! Numbers with their unit, as people write them: `30s`, `64MiB`, `10mbit`, `2%`.
//!
//! Where it stands: under `config` (settings) and `fleet` (the emulator's rules). What always
//! holds: a number without a unit is refused, except zero; what `*_text` writes, `parse_*` reads
//! back as the same value.

use std::time::Duration;

/// What a number with a unit may be at most, far above any setting: it keeps sums from overflowing.
const NANOSECONDS_MAX: f64 = 366.0 * 86_400.0 * 1e9;

/// The greatest number of bytes or bits a second that is understood: 2^53, exact in a double.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

const DURATION_UNITS: [(&str, f64); 7] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("min", 60.0 * 1e9),
    ("h", 3_600.0 * 1e9),
    ("d", 86_400.0 * 1e9),
];

const BYTES_UNITS: [(&str, f64); 9] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1_024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

const BANDWIDTH_UNITS: [(&str, f64); 4] =
    [("bit", 1.0), ("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];

/// A duration: `250ms`, `1.5s`, `2min`, `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = parse_number(text, &DURATION_UNITS, NANOSECONDS_MAX)
        .ok_or_else(|| wrong(text, "a duration", "\"30s\", \"500ms\" or \"2min\""))?;
    Ok(Duration::from_nanos(nanoseconds.round() as u64))
}

/// A duration with or without a sign, in milliseconds: `-3s`, `+200ms`.
pub fn parse_offset(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let (sign, size) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(size), _) => (-1, size),
        (None, Some(size)) => (1, size),
        (None, None) => (1, text),
    };
    let size = parse_duration(size)
        .map_err(|_| wrong(text, "an offset", "\"-3s\", \"+200ms\" or \"0s\""))?;
    Ok(sign * size.as_millis() as i64)
}

/// The exact text of an offset in milliseconds.
#[must_use]
pub fn offset_text(milliseconds: i64) -> String {
    let size = duration_text(Duration::from_millis(milliseconds.unsigned_abs()));
    if milliseconds < 0 { format!("-{size}") } else { size }
}

/// A number of bytes: `64MiB`, `1GB`, `512B`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_number(text, &BYTES_UNITS, COUNT_MAX)
        .map(|bytes| bytes.round() as u64)
        .ok_or_else(|| wrong(text, "a number of bytes", "\"64MiB\", \"16GiB\" or \"512KiB\""))
}

/// Bits a second: `10mbit`, `1gbit`.
pub fn parse_bandwidth(text: &str) -> Result<u64, String> {
    parse_number(text, &BANDWIDTH_UNITS, COUNT_MAX)
        .map(|bits| bits.round() as u64)
        .filter(|bits| *bits > 0)
        .ok_or_else(|| wrong(text, "a bandwidth", "\"10mbit\", \"1gbit\" or \"500kbit\""))
}

/// A share in parts per million: `2%`, `0.1%`.
pub fn parse_share(text: &str) -> Result<u32, String> {
    parse_number(text, &[("%", 1e4)], 1e6)
        .map(|parts| parts.round() as u32)
        .ok_or_else(|| wrong(text, "a share", "\"2%\" or \"0.1%\", at most \"100%\""))
}

/// Reads a rate such as "200/s"; errors say what is one.
pub fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.trim().strip_suffix("/s").and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| wrong(text, "a rate", "\"200/s\", or \"0/s\" for none"))
}

/// The text of a rate.
#[must_use]
pub fn rate_text(per_second: u32) -> String {
    format!("{per_second}/s")
}

/// The exact text of a duration: whole seconds, else milliseconds.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 && !duration.is_zero() {
        return format!("{}s", duration.as_secs());
    }
    let (whole, rest) = (duration.as_millis(), duration.as_nanos() % 1_000_000);
    if rest == 0 {
        return format!("{whole}ms");
    }
    let digits = format!("{rest:06}");
    format!("{whole}.{}ms", digits.trim_end_matches('0'))
}

/// The shortest exact text of a number of bytes.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    for (unit, size) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
    {
        if bytes != 0 && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// The shortest exact text of a bandwidth.
#[must_use]
pub fn bandwidth_text(bits: u64) -> String {
    for (unit, size) in [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)] {
        if bits != 0 && bits.is_multiple_of(size) {
            return format!("{}{unit}", bits / size);
        }
    }
    format!("{bits}bit")
}

/// The exact text of a share given in parts per million.
#[must_use]
pub fn share_text(parts_per_million: u32) -> String {
    let whole = parts_per_million / 10_000;
    let rest = parts_per_million % 10_000;
    if rest == 0 {
        return format!("{whole}%");
    }
    let digits = format!("{rest:04}");
    format!("{whole}.{}%", digits.trim_end_matches('0'))
}

/// `text` as number × unit, if it is one and lies in 0..=`max`.
fn parse_number(text: &str, units: &[(&str, f64)], max: f64) -> Option<f64> {
    let text = text.trim();
    if text == "0" {
        return Some(0.0);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    if number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    let value = number.parse::<f64>().ok()? * size;
    (value <= max).then_some(value)
}

fn wrong(text: &str, what: &str, examples: &str) -> String {
    format!("\"{text}\" is not {what}: write a number with its unit, such as {examples}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            let read = parse_duration(text).ok();
            assert_eq!(read, expected.map(Duration::from_nanos), "{text}");
            if let Some(duration) = read {
                assert_eq!(parse_duration(&duration_text(duration)), Ok(duration), "{text}");
            }
        };
        check("30s", Some(30_000_000_000));
        check("500ms", Some(500_000_000));
        check("0.8ms", Some(800_000));
        check("1.5 s", Some(1_500_000_000));
        check("2.2ms", Some(2_200_000));
        check("2min", Some(120_000_000_000));
        check("0", Some(0));
        check("0s", Some(0));
        check("7ns", Some(7));
        for bad in ["", "30", "s", "-1s", "1 fortnight", ".5s", "5.s", "1.2.3s", "9999999d", "1S"] {
            check(bad, None);
        }
    }

    #[test]
    fn bytes() {
        let check = |text: &str, expected: Option<u64>| {
            let read = parse_bytes(text).ok();
            assert_eq!(read, expected, "{text}");
            if let Some(bytes) = read {
                assert_eq!(parse_bytes(&bytes_text(bytes)), Ok(bytes), "{text}");
            }
        };
        check("64MiB", Some(64 << 20));
        check("16GiB", Some(16 << 30));
        check("1MB", Some(1_000_000));
        check("512B", Some(512));
        check("0", Some(0));
        for bad in ["64", "64M", "MiB", "-1B", "1e9B", "99999999TiB"] {
            check(bad, None);
        }
    }

    #[test]
    fn bandwidths_and_shares() {
        assert_eq!(parse_bandwidth("10mbit"), Ok(10_000_000));
        assert_eq!(bandwidth_text(10_000_000), "10mbit");
        assert!(parse_bandwidth("0").is_err());
        assert!(parse_bandwidth("10MB").is_err());
        assert_eq!(parse_share("2%"), Ok(20_000));
        assert_eq!(parse_share("0.25%"), Ok(2_500));
        assert_eq!(share_text(2_500), "0.25%");
        assert_eq!(share_text(1_000_000), "100%");
        assert!(parse_share("101%").is_err());
        assert!(parse_share("2").is_err());
        assert_eq!(parse_rate("200/s"), Ok(200));
        assert_eq!(rate_text(200), "200/s");
        for bad in ["200", "-1/s", "x/s", "1.5/s"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
