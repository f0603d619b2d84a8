//! `uefi-data`: its options.

use super::Output;
use clap::Parser;

const EPILOGUE: &str = "\
Examples:
  ami-run uefi-data web > web.uefi && ami-run image.json --uefi-data web.uefi
        launch another instance with the same boot entries and keys
  ami-run uefi-data web | uefivars -i aws -o json
        show them, by AWS's tool (pip install uefivars)

Exit codes:
  0  they are shown
  1  refused: there is no instance of this name, it does not start by uefi, it has not run yet,
     or its variables are damaged or too many
  2  command line
  3  this computer can't: the variables cannot be read
";

/// Show an instance's UEFI variables as EC2's GetInstanceUefiData does: in base64, as --uefi-data takes them.
///
/// Only those that last are there: boot entries and their order, Secure Boot's keys. An instance that runs may be
/// asked, too.
#[derive(Parser, Debug)]
#[command(name = "ami-run uefi-data", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct UefiDataArgs {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// What standard output is for; json has GetInstanceUefiData's shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}
