//! `logs`: its options.

use super::Output;
use clap::Parser;

const EPILOGUE: &str = "\
Examples:
  ami-run logs web | tail
  ami-run logs -f i-0123456789abcdef0
  ami-run logs web --output json | jq -r .Output

Exit codes:
    0  it was shown; with -f, until the instance did not run any more
    1  there is no such instance
    2  command line
    3  this computer can't: the log cannot be read
  141  standard output was closed
";

/// Show what an instance's console said, as EC2's GetConsoleOutput does.
///
/// The last one to two mebibytes are kept. A start begins anew, and what was said before goes when there is more to be
/// kept. It is there while the instance runs, when it is stopped, and for an hour after it was terminated.
#[derive(Parser, Debug)]
#[command(name = "ami-run logs", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct Logs {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// Go on with what it says, until it does not run any more
    #[arg(short, long, conflicts_with = "output")]
    pub(crate) follow: bool,

    /// What standard output is for; json has GetConsoleOutput's shape, with the last 64 KiB as text
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}
