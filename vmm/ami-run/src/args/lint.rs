//! `image lint`: its options.

use super::Output;
use crate::values::{self, SnapshotFile};
use clap::Parser;
use std::path::PathBuf;

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
/// Looks for partition tables, boot code, EFI loaders, the kernels that they start, their arguments and their drivers.
/// Nothing is mounted or changed. What EC2 itself would refuse or decide is shown by `ami-run IMAGE --dry-run`.
#[derive(Parser, Debug)]
#[command(name = "ami-run image lint", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct Lint {
    /// What to look at: an image.json, - for one on standard input, a disk file, or a volume
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,

    /// The image to take, where IMAGE describes several
    #[arg(long, value_name = "AMI")]
    pub(crate) image_id: Option<String>,

    /// The disk file that holds a snapshot (repeatable); otherwise snap-….raw beside image.json, or .img,
    /// .qcow2, .vmdk, .vhd, .raw.xz, .raw.gz, .raw.zst
    #[arg(long = "snapshot", value_name = "SNAP=FILE", value_parser = values::snapshot)]
    pub(crate) snapshots: Vec<SnapshotFile>,

    /// Let image.json name disk files outside its own folder
    #[arg(long)]
    pub(crate) allow_external_files: bool,

    /// What standard output is for
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}
