//! Durations and sizes as people write them: `2ms`, `1h30m`, `16Mi`.
//!
//! It does not know which bounds a field sets.

use std::time::Duration;

/// Go's and Istio's form: numbers with units, added up. `None` where it is none, or longer than 290 years.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, unit)?)?;
        rest = tail;
    }
    u64::try_from(nanos).ok().filter(|n| *n <= i64::MAX as u64).map(Duration::from_nanos)
}

/// Kubernetes' form: a number with `k M G T`, `Ki Mi Gi Ti` or nothing; whole bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u128 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    u64::try_from(scaled(number, unit)?).ok()
}

/// The decimal number times `unit`, cut to a whole number.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let shift = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(parse(whole)? * unit + parse(fraction)? * unit / shift)
}

/// The shortest text that [`duration`] reads as this.
pub(crate) fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units =
        [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    if nanos == 0 {
        return "0s".into();
    }
    match units.iter().find(|(_, unit)| nanos.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("2ms", Some(2_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("0s", Some(0)),
            ("0", Some(0)),
            (".5s", Some(500_000_000)),
            ("0.0000000005s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("99999999999h", None),
            ("999999999999999999999s", None),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text), want.map(Duration::from_nanos), "duration {text:?}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["2ms", "1500ms", "90m", "3h", "7us", "9ns", "0s"] {
            assert_eq!(duration(text).map(duration_text).as_deref(), Some(text));
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("16Mi", Some(16 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("10k", Some(10_000)),
            ("4096", Some(4096)),
            ("1Pi", None),
            ("Mi", None),
            ("-1", None),
            ("16MB", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(bytes(text), want, "size {text:?}");
        }
    }
}
