//! When the chip's three events happen. Times are in microseconds since 1970, alarms in seconds of the guest's.

use super::calendar::DAY;

pub(super) const SECOND: i64 = 1_000_000;
/// The crystal's.
const HERTZ: i64 = 32_768;

/// Cycles of the crystal between two periodic events, as register A's rate says (MC146818A, table 5): 2 to 8,192
/// a second. Rates 1 and 2 are those of 8 and 9.
pub(super) fn period(rate: u8) -> Option<i64> {
    match rate & 0xf {
        0 => None,
        rate @ 1..=2 => Some(1 << rate.saturating_add(6)),
        rate => Some(1 << rate.saturating_sub(1)),
    }
}

/// Periods that have ended until `now`.
pub(super) fn ticks(now: i64, period: i64) -> i64 {
    let part = now.rem_euclid(SECOND).saturating_mul(HERTZ) / SECOND;
    let cycles = now.div_euclid(SECOND).saturating_mul(HERTZ).saturating_add(part);
    cycles.div_euclid(period.max(1))
}

/// The first microsecond at which one period more has ended than until `now`.
pub(super) fn next_tick(now: i64, period: i64) -> i64 {
    let cycle = ticks(now, period).saturating_add(1).saturating_mul(period);
    let part = cycle.rem_euclid(HERTZ).saturating_mul(SECOND).saturating_add(HERTZ.saturating_sub(1)) / HERTZ;
    cycle.div_euclid(HERTZ).saturating_mul(SECOND).saturating_add(part)
}

pub(super) fn next_second(now: i64) -> i64 {
    now.div_euclid(SECOND).saturating_add(1).saturating_mul(SECOND)
}

/// The hours, minutes and seconds of an alarm; any will do where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Alarm {
    pub(super) hour: Option<u8>,
    pub(super) minute: Option<u8>,
    pub(super) second: Option<u8>,
}

impl Alarm {
    /// The first second after `after` that it is for.
    pub(super) fn next(self, after: i64) -> Option<i64> {
        let from = after.saturating_add(1);
        let (day, time) = (from.div_euclid(DAY).saturating_mul(DAY), from.rem_euclid(DAY));
        match self.first(time) {
            Some(at) => Some(day.saturating_add(at)),
            None => self.first(0).map(|at| day.saturating_add(DAY).saturating_add(at)),
        }
    }

    /// The first second of a day that it is for, from this one on.
    fn first(self, from: i64) -> Option<i64> {
        let (from_hour, from_minute, from_second) = (from / 3600, from / 60 % 60, from % 60);
        let any = |wanted: Option<u8>, value: i64| wanted.is_none_or(|wanted| i64::from(wanted) == value);
        let hours = (from_hour..24).filter(|hour| any(self.hour, *hour));
        let minutes = hours.flat_map(|hour| {
            let first = if hour == from_hour { from_minute } else { 0 };
            (first..60).map(move |minute| (hour, minute))
        });
        let mut seconds =
            minutes.filter(|(_, minute)| any(self.minute, *minute)).flat_map(|(hour, minute)| {
                let first = if (hour, minute) == (from_hour, from_minute) { from_second } else { 0 };
                (first..60).map(move |second| (hour, minute, second))
            });
        let (hour, minute, second) = seconds.find(|(_, _, second)| any(self.second, *second))?;
        Some(hour.saturating_mul(3600).saturating_add(minute.saturating_mul(60)).saturating_add(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_data_sheet() {
        let hertz: Vec<i64> = (1..16).map(|rate| HERTZ / period(rate).unwrap()).collect();
        assert_eq!(hertz, [256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2]);
        assert_eq!((period(0), period(0x26)), (None, Some(32)));
    }

    #[test]
    fn the_next_tick_is_the_first_microsecond_with_one_tick_more() {
        for period in (1..16).map(|rate| period(rate).unwrap()) {
            for now in (0..3 * SECOND).step_by(7919).chain([SECOND - 1, SECOND, 1_709_251_198_999_999]) {
                let next = next_tick(now, period);
                assert!(next > now && next - now <= SECOND / 2 + 1);
                assert_eq!(ticks(next, period), ticks(now, period) + 1, "{now} {period}");
                assert_eq!(ticks(next - 1, period), ticks(now, period));
            }
        }
        assert_eq!(ticks(5 * SECOND, 32) - ticks(4 * SECOND, 32), 1024);
    }

    #[test]
    fn the_next_alarm_is_the_first_second_that_fits() {
        let some = [None, Some(0), Some(7), Some(23)];
        let alarms = some.into_iter().flat_map(|hour| {
            let minutes = [None, Some(0), Some(30), Some(59)].into_iter();
            let all = minutes.flat_map(|minute| [None, Some(0), Some(59)].map(|second| (minute, second)));
            all.map(move |(minute, second)| Alarm { hour, minute, second }).collect::<Vec<_>>()
        });
        let day = 19_782 * DAY;
        for alarm in alarms {
            for after in [0, 1, 59, 60, 3599, 7 * 3600 + 30 * 60 + 58, 23 * 3600, DAY - 2, DAY - 1] {
                let fits = |at: &i64| {
                    let fields = [at / 3600 % 24, at / 60 % 60, at % 60];
                    let wanted = [alarm.hour, alarm.minute, alarm.second];
                    wanted.into_iter().zip(fields).all(|(w, f)| w.is_none_or(|w| i64::from(w) == f))
                };
                let expected = (after + 1..=after + DAY).find(fits).map(|at| day + at);
                assert!(expected.is_some());
                assert_eq!(alarm.next(day + after), expected, "{alarm:?} after {after}");
            }
        }
        let never = Alarm { hour: Some(99), minute: None, second: None };
        assert_eq!(never.next(day), None);
    }
}
