//! `image inspect`: its options, and those of every verb that looks into an image's root disk.

use super::Output;
use crate::values::{self, SnapshotFile};
use clap::{Args, Parser};
use std::path::PathBuf;

const EPILOGUE: &str = "\
Examples:
  ami-run image inspect image.json
  ami-run image inspect disk.raw --output json

Exit codes:
  0  it is shown, whatever is on it
  1  image, disk file or volume is refused
  2  command line
  3  this computer can't: another process uses the volume, or the cache cannot be written
";

/// Show what is on an image's root disk, and what would start.
///
/// Shows the partitions, the first sector's boot code, EFI loaders with what each is, for which machine, and what it
/// starts in turn, operating systems, loaders' entries, kernels and their arguments. Nothing is mounted or changed. What
/// is wrong with it is said by `image lint`.
#[derive(Parser, Debug)]
#[command(name = "ami-run image inspect", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) looked: Looked,
}

// No doc comment: clap would take it for the command's.
#[derive(Args, Debug)]
pub(crate) struct Looked {
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
