//! Exit codes: what a script learns from a run.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::process::ExitCode;

/// How a run ended, as its exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Code {
    Success,
    Refused,
    CommandLine,
    Host,
    Guest,
    Timeout,
    EndedEarly,
    Bug,
    Signal(u8),
    /// Of a command that was run for the user: its own.
    Command(u8),
}

/// What `--help` says, in the order of the numbers.
const TABLE: [(Code, &str); 8] = [
    (
        Code::Success,
        "the guest powered itself off, or what was waited for was seen; with -d: the machine runs",
    ),
    (Code::Refused, "image or configuration refused"),
    (Code::CommandLine, "command line"),
    (
        Code::Host,
        "this computer can't: no real KVM, permission, firmware, memory, disk full, a volume in use",
    ),
    (Code::Guest, "the guest failed: its kernel panicked and reset nothing, or (x86_64) a triple fault"),
    (Code::Timeout, "--timeout"),
    (Code::EndedEarly, "the guest ended before what was waited for"),
    (Code::Bug, "a bug in ami-run"),
];

impl Code {
    pub(crate) fn number(self) -> u8 {
        match self {
            Code::Success => 0,
            Code::Refused => 1,
            Code::CommandLine => 2,
            Code::Host => 3,
            Code::Guest => 4,
            Code::Timeout => 5,
            Code::EndedEarly => 6,
            Code::Bug => 70,
            Code::Signal(number) => number.saturating_add(128),
            Code::Command(status) => status,
        }
    }
}

impl Code {
    /// As a launch with `--exec` says it, whose other exit codes are the command's.
    pub(crate) fn beside_a_command(self) -> Code {
        match self {
            Code::Success | Code::Signal(_) | Code::Command(_) => self,
            Code::Bug => Code::Command(120),
            other => Code::Command(other.number().saturating_add(120)),
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.number())
    }
}

/// The table as `--help` prints it.
pub(crate) fn table() -> String {
    let mut text = String::from("Exit codes:\n");
    let signals = ("128+n", "ended by signal n (141: standard output was closed)");
    let rows = TABLE.iter().map(|(code, meaning)| (code.number().to_string(), *meaning));
    let exec =
        ("120+n", "with --exec: instead of n above, which is the command's own (120: a bug in ami-run)");
    for (number, meaning) in rows.chain([(exec.0.to_owned(), exec.1), (signals.0.to_owned(), signals.1)]) {
        // Writing to a String cannot fail.
        writeln!(text, "  {number:>5}  {meaning}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_signals_are_added_to_128() {
        let numbers: Vec<_> = TABLE.iter().map(|(code, _)| code.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 70]);
        assert_eq!(Code::Signal(15).number(), 143);
        assert!(table().ends_with("  128+n  ended by signal n (141: standard output was closed)\n"));
    }
}
