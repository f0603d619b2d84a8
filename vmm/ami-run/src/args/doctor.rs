//! `doctor`: its options.

use super::Output;
use clap::Parser;

const EPILOGUE: &str = "\
Environment:
  TMPDIR             where instance store is, and what guests write with --rm (/var/tmp)
  AMI_RUN_STATE_DIR  where instances and their volumes are kept ($XDG_DATA_HOME/ami-run, or
                     ~/.local/share/ami-run)

Exit codes:
  0  a launch can work
  2  command line
  3  a launch cannot work: a check failed
";

/// Check whether a launch can work on this computer.
///
/// Says for each thing that a launch needs whether it is there, and what to do if it is not: ok, a warning, failed,
/// or information that decides nothing. Nothing is installed or set up.
#[derive(Parser, Debug)]
#[command(name = "ami-run doctor", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct Doctor {
    /// What standard output is for
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}
