//! `snapshot serve`: its options.

use clap::Parser;
use std::path::PathBuf;

const EPILOGUE: &str = "\
Example:
  ami-run snapshot serve root.raw --socket root.sock &
  nbdcopy 'nbd+unix:///?socket=root.sock' copy.raw

Exit codes:
      1  the disk file is refused
      2  command line
      3  this computer can't: the socket cannot be made
  128+n  ended by signal n, as it is meant to end
";

/// Show a snapshot to other programs as a disk, by NBD on a Unix socket. Nothing can be written.
///
/// Programs that speak NBD are nbdcopy, qemu-img, fio, guestfish and nbd-client. Only this user can connect. It runs
/// until SIGINT or SIGTERM ends it, and then removes the socket.
#[derive(Parser, Debug)]
#[command(name = "ami-run snapshot serve", no_binary_name = true, max_term_width = 100, after_help = EPILOGUE)]
pub(crate) struct SnapshotServe {
    /// A disk file of any format, or a snapshot's id, whose disk file is snap-….raw, .qcow2, … here
    #[arg(value_name = "SNAP|DISKFILE")]
    pub(crate) snapshot: PathBuf,

    /// The socket to make; one that a dead server has left is replaced
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
}
