//! `console`: its options.

use crate::values::{self, EscapeKey};
use clap::Parser;

const EPILOGUE: &str = "\
Examples:
  ami-run console web
  echo poweroff | ami-run console i-0123456789abcdef0

Exit codes:
      0  the machine has ended, or the console was left by Ctrl-A d
      1  there is no such instance, or it does not run
      2  command line
      3  this computer can't: the process that runs the machine does not answer
  128+n  ended by signal n (141: standard output was closed); the machine runs on
";

/// Use the console of an instance that runs: what it said last, what it says, and what is typed.
///
/// At a terminal Ctrl-A d leaves it and the machine runs on, Ctrl-A x ends the machine, Ctrl-A p presses its power
/// button and Ctrl-A h helps. Otherwise standard input is typed until its end, and the console is shown until the
/// machine's end. Several can use it at once.
#[derive(Parser, Debug)]
#[command(name = "ami-run console", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct Console {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// The key that, before d, x, p or h, speaks to ami-run instead of the guest
    #[arg(long, value_name = "KEY", default_value = "ctrl-a", value_parser = values::escape_key)]
    pub(crate) escape: EscapeKey,
}
