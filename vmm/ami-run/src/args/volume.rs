//! `volume create`, `volume serve` and `volume rebase`: their options.

use clap::Parser;
use std::path::PathBuf;

const CREATE: &str = "\
Examples:
  ami-run volume create data.vol --size 8
  ami-run volume create root.vol --from root.qcow2 && ami-run root.vol

Exit codes:
  0  the volume was made
  1  the disk file is refused, or larger than the volume would be
  2  command line
  3  this computer can't: the file exists or cannot be made, or the disk is full
";

/// Make a volume, as EC2's CreateVolume does: empty, or from a snapshot's disk file.
///
/// The file is sparse and holds only what will be written. The disk file stays where it is, and must not change: the
/// volume reads from it what was not written. `ami-run FILE` launches the volume.
#[derive(Parser, Debug)]
#[command(name = "ami-run volume create", no_binary_name = true, max_term_width = 100, after_help = CREATE)]
pub(crate) struct VolumeCreate {
    /// The file to make
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// What it holds at first: a disk file of any format; without it, zeroes
    #[arg(long, value_name = "DISKFILE")]
    pub(crate) from: Option<PathBuf>,

    /// Its size, 1 to 65536; without it, that of the disk file, rounded up
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) size: Option<u32>,
}

const SERVE: &str = "\
Example:
  ami-run volume serve data.vol --socket data.sock &
  qemu-img convert -n -O raw root.vmdk 'nbd+unix:///?socket=data.sock'

Exit codes:
      1  the volume, or the disk file that it stands on, is refused
      2  command line
      3  this computer can't: another process uses the volume, the socket cannot be made, or a
         flush failed
  128+n  ended by signal n, as it is meant to end; all that was written is on stable storage
";

/// Show a volume to other programs as a disk, by NBD on a Unix socket.
///
/// Programs that speak NBD are nbdcopy, qemu-img, fio, guestfish and nbd-client. Only this user can connect. It runs
/// until SIGINT or SIGTERM ends it, and then removes the socket. A volume is written to by one process at a time.
#[derive(Parser, Debug)]
#[command(name = "ami-run volume serve", no_binary_name = true, max_term_width = 100, after_help = SERVE)]
pub(crate) struct VolumeServe {
    /// A volume's file, or the id of a stopped instance's volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: PathBuf,

    /// The socket to make; one that a dead server has left is replaced
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,

    /// Let nothing be written
    #[arg(long)]
    pub(crate) read_only: bool,
}

const REBASE: &str = "\
Example:
  ami-run volume rebase root.vol /srv/images/root.raw

Exit codes:
  0  it stands on that file now
  1  the volume or the disk file is refused, or they differ in size
  2  command line
  3  this computer can't: another process uses the volume, or it cannot be written to
";

/// Tell a volume which disk file it stands on, after the file was moved, copied or touched.
///
/// The file's bytes must be the same as before: this is not checked, and with others the volume would be a mixture.
#[derive(Parser, Debug)]
#[command(name = "ami-run volume rebase", no_binary_name = true, max_term_width = 100, after_help = REBASE)]
pub(crate) struct VolumeRebase {
    /// The volume's file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The disk file
    #[arg(value_name = "DISKFILE")]
    pub(crate) disk: PathBuf,
}
