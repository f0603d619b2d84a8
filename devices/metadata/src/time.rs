//! Times as the service writes them: always UTC, in whole seconds.
#![expect(clippy::arithmetic_side_effects, reason = "years 1970 to 9999 fit i64 many times over")]

use std::time::{SystemTime, UNIX_EPOCH};

const LAST: u64 = 253_402_300_799;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

struct Moment {
    year: u64,
    month: u64,
    day: u64,
    /// `21:00:09`.
    clock: String,
    weekday: &'static str,
}

/// What is before 1970 or after 9999 becomes the nearest that is not.
fn moment(time: SystemTime) -> Moment {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST));
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Years begin in March here, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Moment {
        year: year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day: of_year - (153 * from_march + 2) / 5 + 1,
        clock: format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
        weekday: named(&DAYS, days % 7),
    }
}

fn named(names: &'static [&'static str], at: u64) -> &'static str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
}

/// `2022-02-13T13:17:17Z`, as in JSON.
pub(crate) fn iso8601(time: SystemTime) -> String {
    let Moment { year, month, day, clock, .. } = moment(time);
    format!("{year:04}-{month:02}-{day:02}T{clock}Z")
}

/// `13 Feb 2022 13:17:17 GMT`, as in maintenance events.
pub(crate) fn gmt(time: SystemTime) -> String {
    let Moment { year, month, day, clock, .. } = moment(time);
    format!("{day:02} {} {year:04} {clock} GMT", named(&MONTHS, month - 1))
}

/// `Sun, 13 Feb 2022 13:17:17 GMT`, as in headers.
pub(crate) fn rfc1123(time: SystemTime) -> String {
    format!("{}, {}", moment(time).weekday, gmt(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_moments_are_written_in_all_forms() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(rfc1123(at(1_644_758_237)), "Sun, 13 Feb 2022 13:17:17 GMT");
        assert_eq!(gmt(at(951_782_400)), "29 Feb 2000 00:00:00 GMT");
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX / 4, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso8601(at(seconds)), text);
        }
        assert_eq!(rfc1123(UNIX_EPOCH - Duration::from_secs(9)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
