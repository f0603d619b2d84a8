//! The verbs on volumes: their options.

use super::Output;
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

const ATTACH: &str = "\
Examples:
  ami-run attach-volume web vol-0123456789abcdef0 --device /dev/sdf
  ami-run attach-volume web data.vol --device /dev/sdg

Exit codes:
  0  it is attached
  1  it is refused: the instance is not stopped, or the volume or the device is in use
  2  command line
  3  this computer can't: another command is at work on the instance
";

/// Attach a volume to a stopped instance, as EC2's AttachVolume does. The next start has it.
#[derive(Parser, Debug)]
#[command(name = "ami-run attach-volume", no_binary_name = true, max_term_width = 100, after_help = ATTACH)]
pub(crate) struct AttachVolume {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// The id of a volume that no instance has, or the file of one that `ami-run volume create` made
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,

    /// The device name: /dev/sdf to /dev/sdp are for this
    #[arg(long, value_name = "NAME")]
    pub(crate) device: String,

    /// What standard output is for; json has AttachVolume's shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const DETACH: &str = "\
Example:
  ami-run detach-volume vol-0123456789abcdef0

Exit codes:
  0  no instance has it now
  1  it is refused: no instance has it, or its instance is not stopped
  2  command line
  3  this computer can't: another command is at work on the instance
";

/// Detach a volume from its stopped instance, as EC2's DetachVolume does. The volume stays.
#[derive(Parser, Debug)]
#[command(name = "ami-run detach-volume", no_binary_name = true, max_term_width = 100, after_help = DETACH)]
pub(crate) struct DetachVolume {
    /// The volume's id, or the file of one that `ami-run volume create` made
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,

    /// What standard output is for; json has DetachVolume's shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const RESIZE: &str = "\
Examples:
  ami-run volume resize vol-0123456789abcdef0 --size 20
  ami-run volume resize data.vol --size 100

Exit codes:
  0  it has this size
  1  it is refused: it would be smaller, or its instance is not stopped
  2  command line
  3  this computer can't: another process uses the volume, or its file cannot be written
";

/// Make a volume larger, as EC2's ModifyVolume does. What is on it must be told of it by the guest.
#[derive(Parser, Debug)]
#[command(name = "ami-run volume resize", no_binary_name = true, max_term_width = 100, after_help = RESIZE)]
pub(crate) struct VolumeResize {
    /// The id of a volume that no running instance has, or a volume's file
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,

    /// Its new size, up to 65536
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) size: u32,

    /// What standard output is for; json has ModifyVolume's shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const VOLUME_LS: &str = "\
Exit codes:
  0  they are listed, or there are none
  2  command line
  3  this computer can't: the state folder cannot be read
";

/// List the volumes of instances and those that no instance has, as EC2's DescribeVolumes does.
#[derive(Parser, Debug)]
#[command(name = "ami-run volume ls", no_binary_name = true, max_term_width = 100, after_help = VOLUME_LS)]
pub(crate) struct VolumeLs {
    /// What standard output is for; json has DescribeVolumes' shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const VOLUME_RM: &str = "\
Exit codes:
  0  they are deleted
  1  one is refused: there is none of this id, or an instance has it
  2  command line
  3  this computer can't: the file cannot be removed
";

/// Delete volumes that no instance has, as EC2's DeleteVolume does, with all that is on them.
///
/// These are volumes that stayed when their instance was terminated, or that were detached. A file that `ami-run volume
/// create` made is no such volume: remove it as any file.
#[derive(Parser, Debug)]
#[command(name = "ami-run volume rm", no_binary_name = true, max_term_width = 100, after_help = VOLUME_RM)]
pub(crate) struct VolumeRm {
    /// The volume's id
    #[arg(value_name = "VOL", required = true)]
    pub(crate) volumes: Vec<String>,
}
