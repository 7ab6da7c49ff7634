//! Reads and writes durations and sizes as people type them: `1h30m`, `50 GiB`.

use std::time::Duration;

/// A text that is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

const DURATION_EXPECTED: &str =
    "a duration: write numbers with ms, s, m, h or d, such as 90s or 1h30m";
const SIZE_EXPECTED: &str =
    "a size: write a whole number with B, KiB, MiB, GiB or TiB, such as 50 GiB";

/// Reads a duration: one or more `<number><unit>` with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// When the text has another form, is zero-length, or does not fit in 64 bits of nanoseconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError {
        text: short(text),
        expected: DURATION_EXPECTED,
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanoseconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit: u64 = match &rest[..letters] {
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        rest = rest[letters..].trim_start();
        let part = number.checked_mul(unit).ok_or_else(wrong)?;
        nanoseconds = nanoseconds.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Reads a size in bytes: a whole number and a unit of 1,024; a number alone is bytes.
///
/// # Errors
/// When the text has another form or does not fit in 64 bits.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError {
        text: short(text),
        expected: SIZE_EXPECTED,
    };
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let shift = match trimmed[digits..].trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A size for people: `1.5 GiB`.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut divisor: u64 = 1;
    while unit + 1 < UNITS.len() && bytes / divisor >= 1_024 {
        divisor *= 1_024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    format!("{:.1} {}", bytes as f64 / divisor as f64, UNITS[unit])
}

/// A duration for people: `840 µs`, `1.25 s`, `2 h 5 min`.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let seconds = duration.as_secs();
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.0} µs", nanoseconds as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanoseconds as f64 / 1e6),
        _ if seconds < 60 => format!("{:.2} s", duration.as_secs_f64()),
        _ if seconds < 3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// At most 80 characters of a text, so that a pasted file does not become an error message.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(
            parse_duration(" 2 d ").unwrap(),
            Duration::from_secs(172_800)
        );
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        for wrong in [
            "",
            "5",
            "h",
            "1x",
            "-1s",
            "1.5h",
            "99999999999999999999s",
            "400000d0",
            "ä",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("0").unwrap(), 0);
        assert_eq!(parse_size("50 GiB").unwrap(), 50 << 30);
        assert_eq!(parse_size("3KiB").unwrap(), 3_072);
        for wrong in [
            "",
            "GiB",
            "5 GB",
            "-1",
            "1.5 GiB",
            "99999999999999 TiB",
            "ü",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn for_people() {
        assert_eq!(format_size(1_023), "1023 B");
        assert_eq!(format_size(1_536), "1.5 KiB");
        assert_eq!(format_duration(Duration::from_micros(840)), "840 µs");
        assert_eq!(format_duration(Duration::from_secs(7_500)), "2 h 5 min");
    }
}
