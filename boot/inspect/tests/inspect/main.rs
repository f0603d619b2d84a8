//! Disks made here, and what is found on them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: what goes wrong fails them"
)]

mod debian;
mod disks;
mod hostile;
mod loaders;
mod other_tools;
mod start;
mod system;

use ami_run_image::Architecture;
use std::io::Write;

/// Where disks are looked at, unless a test says otherwise: whatever computer the tests run on.
const HERE: Architecture = Architecture::X86_64;

/// Past the test harness, which swallows what a test that passes prints.
fn skipped(what: &str, why: &str) {
    let mut uncaptured = std::io::stderr();
    writeln!(uncaptured, "skipped: {what}: {why}").unwrap();
}
