//! Between seconds since 1970 and the fields of the clock.

pub(super) const DAY: i64 = 86_400;

/// A point in time, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) second: u8,
    pub(super) minute: u8,
    pub(super) hour: u8,
    pub(super) weekday: u8,
    pub(super) day: u8,
    pub(super) month: u8,
    pub(super) year: u8,
    pub(super) century: u8,
}

impl Fields {
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the time is cut to the years 1970 to 9999, whose days and seconds fit"
    )]
    pub(super) fn of(seconds: i64) -> Fields {
        let seconds = seconds.clamp(0, 253_402_300_799);
        let (days, rest) = (seconds / DAY, seconds % DAY);
        // By eras of 400 years that begin in March, so that a leap day is a year's last (the algorithm civil_from_days).
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Fields {
            second: (rest % 60) as u8,
            minute: (rest / 60 % 60) as u8,
            hour: (rest / 3600) as u8,
            weekday: ((days + 4) % 7 + 1) as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            month: month as u8,
            year: (year % 100) as u8,
            century: (year / 100) as u8,
        }
    }

    #[expect(clippy::arithmetic_side_effects, reason = "every field is below 100")]
    pub(super) fn seconds(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.century) * 100 + i64::from(self.year) - i64::from(month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * DAY + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_survives_taking_apart_and_putting_together() {
        for day in (0..60_000).step_by(13) {
            let seconds = day * DAY + 12_345;
            assert_eq!(Fields::of(seconds).seconds(), seconds);
        }
    }
}
