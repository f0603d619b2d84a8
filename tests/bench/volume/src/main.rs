//! What volumes cost: figures of devices/storage alone, without a machine, beside the raw file that the same kernel
//! interface gives. tests/bench/run runs it and makes a table of what it prints, one JSON object of samples.
//!
//!     volume-bench open|io|flush|hundred|hydrate|steady FOLDER [FILE | SIDE OP DEPTH COUNT]
//!
//! Both sides of a figure run in turn, in slices of milliseconds, in one thread: what else the machine does meets both.
//! Left out: other programs. They meet volumes by NBD, where both have the same client (tests/bench/nbd.py).

mod disk;
mod file;
mod flush;
mod hundred;
mod hydrate;
mod io;
mod open;
mod pairs;
mod volume;

use serde_json::Value;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

type Outcome = Result<Value, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["open", folder] => open::measure(Path::new(folder)),
        ["io", folder] => io::measure(Path::new(folder)),
        ["flush", folder] => flush::measure(Path::new(folder)),
        ["hundred", folder] => hundred::measure(Path::new(folder)),
        ["hydrate", folder, file] => hydrate::measure(Path::new(folder), Path::new(file)),
        ["steady", folder, side, op, depth, count] => io::steady(Path::new(folder), [side, op, depth, count]),
        _ => Err(
            "usage: volume-bench open|io|flush|hundred|hydrate|steady FOLDER [FILE | SIDE OP DEPTH COUNT]"
                .into(),
        ),
    };
    match outcome.and_then(|figures| Ok(writeln!(std::io::stdout(), "{figures}")?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            writeln!(std::io::stderr(), "volume-bench: {cause}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}
