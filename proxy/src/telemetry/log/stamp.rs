//! Times as the log writes them: RFC 3339, UTC, milliseconds; the date is worked out once a second.
//!
//! It reads no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(super) struct Stamps {
    second: Option<u64>,
    text: [u8; 24],
}

impl Stamps {
    pub(super) fn new() -> Self {
        Self { second: None, text: *b"0000-00-00T00:00:00.000Z" }
    }

    pub(super) fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.set_second(since.as_secs());
        }
        put(&mut self.text[20..23], u64::from(since.subsec_millis()));
        out.extend_from_slice(&self.text);
    }

    fn set_second(&mut self, second: u64) {
        let (days, of_day) = (second / 86_400, second % 86_400);
        let (year, month, day) = date(days);
        put(&mut self.text[..4], year);
        put(&mut self.text[5..7], month);
        put(&mut self.text[8..10], day);
        put(&mut self.text[11..13], of_day / 3600);
        put(&mut self.text[14..16], of_day / 60 % 60);
        put(&mut self.text[17..19], of_day % 60);
    }
}

/// Right-aligned digits.
fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The Gregorian date of a day since 1970, counted in years that begin in March: February's length comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_007, "2024-03-01T00:00:00.007Z"),
            (1_709_251_200_070, "2024-03-01T00:00:00.070Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ];
        let mut stamps = Stamps::new();
        for (millis, want) in rows {
            let mut out = Vec::new();
            stamps.write(UNIX_EPOCH + Duration::from_millis(millis), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }
}
