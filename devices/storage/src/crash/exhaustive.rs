//! Every outcome of short schedules: all sequences of three requests out of eight kinds, around first touches, merges,
//! discards and flushes, with a crash at each moment that keeps each subset of what was pending.

use super::Random;
use super::play::{Broken, Features, Play};
use crate::engine::{Op, Rule};
use std::ops::Range;

/// Two granules are written, and one more is watched.
const WATCHED: Range<u64> = 0..24;

const KINDS: [(Op, Range<u64>, bool); 8] = [
    (Op::Write, 0..8, false),
    (Op::Write, 1..2, false),
    (Op::Write, 4..6, true),
    (Op::Write, 7..12, false),
    (Op::WriteZeroes { unmap: true }, 0..8, false),
    (Op::WriteZeroes { unmap: false }, 3..9, false),
    (Op::Discard, 0..16, false),
    (Op::Flush, 0..0, false),
];

/// When I/O comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// Each request is answered before the next.
    OneByOne,
    /// All are begun first; what was begun first comes first,
    FirstFirst,
    /// or last.
    LastFirst,
}

/// Plays a sequence; a crash may come before each piece of I/O.
fn play(kinds: &[usize], order: Order, broken: Broken) -> Result<u64, String> {
    let mut play = Play::new(Random::new(1), Features::none(), broken).watch(WATCHED);
    let mut outcomes = 0;
    for (queue, kind) in kinds.iter().enumerate() {
        let (op, sectors, durable) = KINDS[*kind].clone();
        play.ask_for(op, sectors, durable, queue as u32)?;
        if order == Order::OneByOne {
            outcomes += settle(&mut play, order)?;
        }
    }
    Ok(outcomes + settle(&mut play, order)?)
}

fn settle(play: &mut Play, order: Order) -> Result<u64, String> {
    let mut outcomes = play.all_outcomes()?;
    while play.at_disk() > 0 {
        play.come_back(if order == Order::LastFirst { play.at_disk() - 1 } else { 0 })?;
        outcomes += play.all_outcomes()?;
    }
    Ok(outcomes)
}

/// All sequences of three requests, each with a flush behind it.
fn all(broken: Broken, orders: &[Order]) -> Result<u64, String> {
    let (count, flush) = (KINDS.len(), KINDS.len() - 1);
    let mut outcomes = 0;
    for number in 0..count.pow(3) {
        let kinds = [number % count, number / count % count, number / count / count, flush];
        for order in orders {
            outcomes +=
                play(&kinds, *order, broken).map_err(|what| format!("{kinds:?} {order:?}: {what}"))?;
        }
    }
    Ok(outcomes)
}

#[test]
fn every_outcome_of_short_schedules_is_right() {
    let outcomes = all(Broken::Nothing, &[Order::OneByOne, Order::FirstFirst, Order::LastFirst]).unwrap();
    println!("{outcomes} outcomes");
    assert!(outcomes > 20_000, "{outcomes}");
}

#[test]
fn short_schedules_find_a_map_that_is_ahead_of_its_data() {
    for rule in [Rule::DataBeforeMap, Rule::MergesHold] {
        let found = all(Broken::Rule(rule), &[Order::FirstFirst, Order::LastFirst]).unwrap_err();
        println!("{rule:?}: {found}");
    }
}
