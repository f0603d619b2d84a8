//! Moments as EC2 writes them, to the second and in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;
/// The last second of 9999.
const LAST: u64 = 253_402_300_799;

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-11-21T21:00:00+00:00`
#[must_use]
pub fn iso(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = fields(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

/// `2026-11-21 21:00:00 GMT`
#[must_use]
pub fn gmt(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = fields(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} GMT")
}

/// What [`iso`] wrote.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let [year, month, day] = [number(0, 4)?, number(5, 7)?, number(8, 10)?];
    let [hour, minute, second] = [number(11, 13)?, number(14, 16)?, number(17, 19)?];
    let ranged = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = ranged.then(|| seconds([year, month, day, hour, minute, second]))?;
    (iso(seconds) == text).then_some(seconds)
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "the time is cut to the years 1970 to 9999, whose days fit"
)]
fn fields(seconds: u64) -> [u64; 6] {
    let seconds = seconds.min(LAST);
    let (days, rest) = (seconds / DAY, seconds % DAY);
    // By eras of 400 years that begin in March, so that a leap day is a year's last (the algorithm civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    [year, month, day, rest / 3600, rest / 60 % 60, rest % 60]
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "the years are 1970 to 9999, every other field is below 100"
)]
fn seconds([year, month, day, hour, minute, second]: [u64; 6]) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) * DAY + hour * 3600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_ec2_writes_them_and_read_again() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_399, "2000-02-28T23:59:59+00:00"),
            (951_782_400, "2000-02-29T00:00:00+00:00"),
            (1_795_294_800, "2026-11-21T21:00:00+00:00"),
            (LAST, "9999-12-31T23:59:59+00:00"),
        ] {
            assert_eq!((iso(seconds).as_str(), parse(text)), (text, Some(seconds)));
        }
        assert_eq!(gmt(1_795_294_800), "2026-11-21 21:00:00 GMT");
        assert_eq!(iso(u64::MAX), iso(LAST));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for bad in [
            "",
            "2026-11-21",
            "2026-02-30T00:00:00+00:00",
            "2026-13-01T00:00:00+00:00",
            "2026-11-21T21:00:00Z",
            "é026-11-21T21:00:00+00:00",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
