//! Crashes on a simulated disk: random schedules, and every outcome of short ones. After each crash a fresh engine opens
//! what the disk holds, and every sector must be what it may be.

mod disk;
mod exhaustive;
mod oracle;
mod play;

use crate::engine::Rule;
use play::{Broken, Features, Play};

/// xorshift64: small, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        // Neighbouring seeds are to give unlike numbers.
        let mut random = Random((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..4 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

const SCHEDULES: u64 = 10_000;

/// What a run of schedules did, so that a test can see that it did enough.
#[derive(Debug, Default)]
struct Sum {
    operations: u64,
    crashes: u64,
    features: [u64; 5],
}

fn schedule(seed: u64, broken: Broken, sum: &mut Sum) -> Result<(), String> {
    let mut random = Random::new(seed);
    let features = Features::choose(&mut random);
    let mut play = Play::new(random, features, broken);
    let result = play.run();
    sum.operations += play.operations;
    sum.crashes += play.crashes;
    for (count, on) in sum.features.iter_mut().zip(features.all()) {
        *count += u64::from(on);
    }
    if result.is_ok() {
        assert!(
            play.operations >= 50 && play.crashes >= 2,
            "seed {seed}: {} {}",
            play.operations,
            play.crashes
        );
    }
    result.map_err(|what| format!("seed {seed}, {features:?}: {what}"))
}

/// AMI_RUN_CRASH_SEED plays one schedule, AMI_RUN_CRASH_SCHEDULES another number of them.
#[test]
fn nothing_that_was_flushed_is_lost_or_mixed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("AMI_RUN_CRASH_SEED");
    let count = if first.is_some() { 1 } else { number("AMI_RUN_CRASH_SCHEDULES").unwrap_or(SCHEDULES) };
    let first = first.unwrap_or(0x00c0_ffee);
    println!("crash schedules: seeds from {first}, {count} of them");
    let mut sum = Sum::default();
    for seed in first..first + count {
        schedule(seed, Broken::Nothing, &mut sum).unwrap_or_else(|what| panic!("{what}"));
    }
    println!("{sum:?}");
    if count >= 1000 {
        // Small writes, discard, growth, two queues and faults: each in a quarter at least.
        assert!(sum.features.iter().all(|of| *of * 4 >= count), "{sum:?}");
    }
}

/// Every rule that is broken is noticed: this tests the test.
#[test]
fn each_broken_rule_is_found() {
    let rules = [
        Rule::DataBeforeMap,
        Rule::CopiedWords,
        Rule::MergesHold,
        Rule::PunchAfterMap,
        Rule::FailureStays,
        Rule::FlushOfAllQueues,
    ];
    let all = rules.map(Broken::Rule).into_iter().chain([Broken::FolderSync]);
    for broken in all {
        let found = (1..=5000).find_map(|seed| schedule(seed, broken, &mut Sum::default()).err());
        let found = found.unwrap_or_else(|| panic!("{broken:?} was not found"));
        println!("{broken:?}: {found}");
    }
}
