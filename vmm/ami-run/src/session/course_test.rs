//! Ends and reboots, event by event, with times that are made up.

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_was_waited_for_asks_then_stops_then_leaves() {
    let t = Instant::now();
    let mut course = Course::new(Some(t + s(60)), s(30));
    assert_eq!(course.due(), Some(t + s(60)));
    assert_eq!(course.all_seen(t), Some(Order::PressButton));
    assert_eq!(course.all_seen(t), None);
    assert_eq!((course.due(), course.tick(t + s(29))), (Some(t + s(30)), None));
    assert_eq!(course.tick(t + s(30)), Some(Order::Stop));
    assert_eq!((course.tick(t + s(31)), course.is_over(t + s(31))), (None, false));
    assert!(course.is_over(t + s(32)));
    assert_eq!(course.cause(), Some(Cause::AllSeen));
}

#[test]
fn a_timeout_is_hard_and_comes_only_when_nothing_else_ends_the_run() {
    let t = Instant::now();
    let mut course = Course::new(Some(t + s(10)), s(30));
    assert_eq!(course.tick(t + s(9)), None);
    assert_eq!(course.tick(t + s(10)), Some(Order::Stop));
    assert_eq!(course.cause(), Some(Cause::TimedOut));
    let mut stopping = Course::new(Some(t + s(10)), s(30));
    stopping.all_seen(t + s(9));
    assert_eq!((stopping.tick(t + s(11)), stopping.cause()), (None, Some(Cause::AllSeen)));
}

#[test]
fn the_first_signal_is_polite_for_five_seconds_and_the_second_is_not() {
    let t = Instant::now();
    let mut course = Course::new(None, s(30));
    assert_eq!(course.signal(libc::SIGTERM, t), Some(Order::PressButton));
    assert_eq!(course.due(), Some(t + s(5)));
    assert_eq!(course.signal(libc::SIGINT, t + s(1)), Some(Order::Stop));
    assert_eq!(course.signal(libc::SIGINT, t + s(1)), None);
    assert_eq!(course.cause(), Some(Cause::Signal(libc::SIGTERM)));
    let mut hang_up = Course::new(None, s(30));
    assert_eq!(hang_up.signal(libc::SIGHUP, t), Some(Order::Stop));
    let mut hasty = Course::new(None, s(1));
    hasty.signal(libc::SIGTERM, t);
    assert_eq!(hasty.due(), Some(t + s(1)));
}

#[test]
fn a_signal_hastens_an_end_and_keeps_its_cause() {
    let t = Instant::now();
    let mut course = Course::new(None, s(30));
    course.all_seen(t);
    assert_eq!(course.signal(libc::SIGTERM, t + s(2)), None);
    assert_eq!((course.due(), course.cause()), (Some(t + s(7)), Some(Cause::AllSeen)));
    assert_eq!(course.end_now(Cause::User, t + s(3)), Some(Order::Stop));
    assert_eq!(course.cause(), Some(Cause::AllSeen));
}

#[test]
fn a_panic_without_a_reset_is_a_failure_and_with_one_is_not() {
    let t = Instant::now();
    let mut course = Course::new(None, s(30));
    course.panicked(t);
    course.panicked(t + s(5));
    assert_eq!((course.due(), course.tick(t + s(9))), (Some(t + s(10)), None));
    assert_eq!(course.tick(t + s(10)), Some(Order::Stop));
    assert_eq!(course.cause(), Some(Cause::KernelPanic));
    let mut reset = Course::new(None, s(30));
    reset.panicked(t);
    reset.was_reset();
    assert_eq!((reset.due(), reset.tick(t + s(11))), (None, None));
    reset.panicked(t + s(12));
    assert_eq!(reset.tick(t + s(22)), Some(Order::Stop));
    let mut ending = Course::new(None, s(30));
    ending.all_seen(t);
    ending.panicked(t);
    assert_eq!((ending.tick(t + s(11)), ending.cause()), (None, Some(Cause::AllSeen)));
}

#[test]
fn a_verb_asks_and_another_hastens() {
    let t = Instant::now();
    let mut course = Course::new(None, s(30));
    assert_eq!(course.asked(None, false, t), Some(Order::PressButton));
    assert_eq!((course.due(), course.cause()), (Some(t + s(30)), Some(Cause::Asked)));
    assert_eq!(course.asked(Some(s(60)), false, t), None);
    assert_eq!(course.due(), Some(t + s(30)), "nobody can make it later");
    assert_eq!(course.asked(Some(s(5)), false, t), None);
    assert_eq!((course.due(), course.tick(t + s(4))), (Some(t + s(5)), None));
    assert_eq!(course.asked(None, true, t + s(4)), Some(Order::Stop));
    assert_eq!(course.asked(None, true, t + s(4)), None);
    assert_eq!(course.asked(None, false, t + s(5)), None);
    assert!(!course.is_over(t + s(5)) && course.is_over(t + s(6)));
    let mut hard = Course::new(None, s(30));
    assert_eq!(hard.asked(Some(s(0)), false, t), Some(Order::PressButton));
    assert_eq!(hard.tick(t), Some(Order::Stop));
}

#[test]
fn a_verb_s_end_is_not_undone_by_what_was_waited_for() {
    let t = Instant::now();
    let mut course = Course::new(Some(t + s(10)), s(30));
    course.asked(None, false, t);
    assert_eq!(course.all_seen(t), None);
    assert_eq!((course.tick(t + s(11)), course.cause()), (None, Some(Cause::Asked)));
}

#[test]
fn a_reboot_is_a_button_then_a_reset_and_no_end() {
    let t = Instant::now();
    let mut course = Course::new(None, s(30));
    assert_eq!(course.reboot(t), Some(Order::PressToRestart));
    assert_eq!(course.reboot(t + s(1)), None, "it is on its way");
    assert_eq!((course.due(), course.tick(t + s(239))), (Some(t + s(240)), None));
    assert_eq!(course.tick(t + s(240)), Some(Order::Reset));
    assert_eq!((course.due(), course.cause(), course.is_over(t + s(999))), (None, None, false));
    course.reboot(t);
    course.was_reset();
    assert_eq!((course.due(), course.tick(t + s(241))), (None, None));
    course.reboot(t);
    assert_eq!(course.deaf(t), Some(Order::Reset));
    assert_eq!((course.due(), course.cause()), (None, None));
}

#[test]
fn any_end_wins_over_a_reboot() {
    let t = Instant::now();
    let polite: [fn(&mut Course, Instant) -> Option<Order>; 3] = [
        |course, t| course.asked(None, false, t),
        |course, t| course.signal(libc::SIGTERM, t),
        Course::all_seen,
    ];
    for end in polite {
        let mut course = Course::new(None, s(30));
        course.reboot(t);
        assert_eq!(end(&mut course, t), Some(Order::PressButton));
        assert_eq!(course.reboot(t), None);
        assert_eq!(course.deaf(t), Some(Order::Stop));
    }
    let mut course = Course::new(Some(t + s(10)), s(30));
    course.reboot(t);
    assert_eq!(course.tick(t + s(10)), Some(Order::Stop));
    assert_eq!(course.tick(t + s(241)), None);
}

#[test]
fn a_machine_that_runs_on_when_all_was_seen_has_no_timeout_any_more() {
    let t = Instant::now();
    let mut course = Course::new(Some(t + s(10)), s(30));
    course.runs_on();
    assert_eq!((course.due(), course.tick(t + s(11))), (None, None));
}

#[test]
fn no_time_is_too_long() {
    let t = Instant::now();
    let mut course = Course::new(None, Duration::MAX);
    assert_eq!(course.asked(None, false, t), Some(Order::PressButton));
    assert_eq!(Course::new(None, s(30)).asked(Some(Duration::MAX), false, t), Some(Order::PressButton));
}
