//! `image lint`: its options.

use super::Looked;
use clap::Parser;

const EPILOGUE: &str = "\
Examples:
  ami-run image lint image.json
  ami-run image lint disk.raw --output json

Exit codes:
  0  no errors; there may be warnings
  1  an error was found, or image, disk file or volume is refused
  2  command line
  3  this computer can't: another process uses the volume, or the cache cannot be written
";

/// Say what would keep an image from starting on EC2, by what is on its root disk.
///
/// Looks for partition tables, boot code, EFI loaders and what they start in turn (shim's second stage, systemd-boot's
/// entries, unified kernel images), the kernels, their arguments and their drivers. Nothing is mounted or changed. What
/// EC2 itself would refuse or decide is shown by `ami-run IMAGE --dry-run`, what is on the disk by `image inspect`.
#[derive(Parser, Debug)]
#[command(name = "ami-run image lint", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct Lint {
    #[command(flatten)]
    pub(crate) looked: Looked,
}
