//! The order of fetches, step by step, on a clock of the test's own.

use super::*;

/// Work on a disk of ten blocks.
struct Bench {
    work: Work,
    present: Present,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        Bench { work: Work::default(), present: Present::new(10, &[]), now: Instant::now() }
    }

    fn ask(&mut self, block: u64, waker: &Arc<Waker>) -> io::Result<()> {
        self.work.ask(block, waker, self.now)
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now.checked_add(by).unwrap();
    }

    /// The next block to fetch.
    fn next(&mut self) -> (u64, Class) {
        match self.step() {
            Step::Fetch { block, class, .. } => (block, class),
            other => panic!("{other:?}"),
        }
    }

    fn step(&mut self) -> Step {
        self.work.next(self.now, &self.present)
    }

    fn fetched(&mut self, block: u64) -> usize {
        self.present.set(block);
        self.ended(block, Outcome::Present)
    }

    /// How many were woken.
    fn ended(&mut self, block: u64, outcome: Outcome) -> usize {
        self.work.finish(block, None, outcome, self.now, &self.present).len()
    }
}

fn waker() -> Arc<Waker> {
    Arc::new(Waker::new().unwrap())
}

#[test]
fn one_fetch_wakes_all_who_wait_and_those_behind_it_follow() {
    let (mut bench, one, other) = (Bench::new(), waker(), waker());
    for waker in [&one, &other, &one] {
        bench.ask(4, waker).unwrap();
    }
    assert_eq!((bench.next(), bench.step()), ((4, Class::Demand), Step::Done));
    bench.ask(4, &one).unwrap();
    assert_eq!(bench.step(), Step::Done, "it is in flight");
    assert_eq!(bench.fetched(4), 2);
    assert_eq!((bench.next(), bench.step()), ((5, Class::Ahead), Step::Done));
    assert_eq!(bench.fetched(5), 0);
    assert_eq!(bench.next(), (6, Class::Ahead));
    assert_eq!(bench.fetched(6), 0);
    assert_eq!(bench.step(), Step::Done, "what nobody asked for leads no further");
}

#[test]
fn demand_goes_first_and_one_thread_is_always_free_for_it() {
    let (mut bench, waker) = (Bench::new(), waker());
    bench.work.fetch_rest();
    assert_eq!(bench.next(), (0, Class::Rest));
    assert_eq!(bench.step(), Step::Done, "not two that nobody waits for");
    bench.ask(7, &waker).unwrap();
    bench.ask(0, &waker).unwrap();
    assert_eq!((bench.next(), bench.step()), ((7, Class::Demand), Step::Done));
    assert_eq!(bench.fetched(0), 1, "who came while it was in flight");
    bench.ask(3, &waker).unwrap();
    assert_eq!(bench.next(), (3, Class::Demand));
    assert_eq!((bench.fetched(3), bench.fetched(7)), (1, 1));
    // Behind the last first.
    for block in [8, 9, 4, 5] {
        assert_eq!(bench.next(), (block, Class::Ahead));
        bench.fetched(block);
    }
    assert_eq!(bench.step(), Step::Wait(QUIET));
    bench.later(QUIET / 2);
    assert_eq!(bench.step(), Step::Wait(QUIET / 2));
    bench.later(QUIET / 2);
    for block in [1, 2, 6] {
        assert_eq!(bench.next(), (block, Class::Rest));
        bench.fetched(block);
    }
    assert_eq!(bench.step(), Step::Done);
    assert!(bench.present.is_complete());
}

#[test]
fn an_error_is_told_once_to_each_who_waited_and_then_it_is_tried_again() {
    let (mut bench, wakers) = (Bench::new(), [waker(), waker(), waker()]);
    bench.ask(1, &wakers[0]).unwrap();
    bench.ask(1, &wakers[1]).unwrap();
    bench.next();
    assert_eq!(bench.ended(1, Outcome::Failed(io::Error::other("a bad sector"))), 2);
    assert_eq!(bench.ask(1, &wakers[0]).unwrap_err().to_string(), "a bad sector");
    assert_eq!(bench.step(), Step::Done);
    bench.ask(1, &wakers[2]).unwrap();
    assert_eq!(bench.next(), (1, Class::Demand));
    assert_eq!(bench.ended(1, Outcome::Failed(io::Error::other("a worse sector"))), 1);
    for waker in &wakers[1..] {
        assert_eq!(bench.ask(1, waker).unwrap_err().to_string(), "a worse sector");
    }
    assert!(bench.work.failed.is_empty());
    bench.ask(1, &wakers[1]).unwrap();
    bench.next();
    assert_eq!(bench.fetched(1), 1);
}

#[test]
fn errors_of_readers_that_are_gone_are_forgotten() {
    let (mut bench, gone) = (Bench::new(), waker());
    for block in 0..10 {
        bench.ask(block, &gone).unwrap();
        bench.next();
        bench.ended(block, Outcome::Failed(io::Error::other("a bad sector")));
    }
    assert_eq!(bench.work.failed.len(), 10);
    drop(gone);
    let waker = waker();
    bench.ask(0, &waker).unwrap();
    bench.next();
    bench.ended(0, Outcome::Failed(io::Error::other("a bad sector")));
    assert_eq!(bench.work.failed.len(), 1);
}

#[test]
fn what_another_process_fetches_is_looked_for_again_while_others_go_on() {
    let (mut bench, waker) = (Bench::new(), waker());
    bench.ask(2, &waker).unwrap();
    bench.next();
    let since = bench.now;
    assert_eq!(bench.ended(2, Outcome::Elsewhere), 0);
    assert_eq!(bench.step(), Step::Wait(GLANCE));
    bench.ask(8, &waker).unwrap();
    assert_eq!(bench.next(), (8, Class::Demand));
    bench.later(GLANCE);
    assert_eq!(bench.step(), Step::Fetch { block: 2, class: Class::Demand, since: Some(since) });
    assert_eq!(bench.work.finish(2, Some(since), Outcome::Elsewhere, bench.now, &bench.present).len(), 0);
    bench.later(GLANCE);
    assert_eq!(bench.step(), Step::Fetch { block: 2, class: Class::Demand, since: Some(since) });
    assert_eq!(bench.fetched(2), 1);
    // Nobody waits for these: the other process sees to them.
    assert_eq!(bench.next(), (3, Class::Ahead));
    assert_eq!(bench.ended(3, Outcome::Elsewhere), 0);
    assert_eq!(bench.next(), (4, Class::Ahead));
}

#[test]
fn nothing_is_begun_once_it_stops_nor_what_nobody_waits_for_without_room() {
    let (mut bench, waker) = (Bench::new(), waker());
    bench.work.fetch_rest();
    bench.ask(2, &waker).unwrap();
    bench.next();
    bench.fetched(2);
    bench.work.leave_rest();
    bench.work.fetch_rest();
    bench.later(QUIET);
    assert_eq!(bench.step(), Step::Done);
    bench.ask(1, &waker).unwrap();
    bench.work.stop();
    assert_eq!(bench.step(), Step::Done);
}
