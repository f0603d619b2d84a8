//! The verbs on instances: their options.

use super::Output;
use crate::values::{self, DeleteOnTermination};
use ami_run_catalog::{Behavior, State};
use clap::Parser;
use std::time::Duration;

const LS: &str = "\
Examples:
  ami-run ls
  ami-run terminate $(ami-run ls -q)
  ami-run ls --output json | jq '.Reservations[].Instances[].PrivateIpAddress'

Exit codes:
  0  they are listed, or there are none
  2  command line
  3  this computer can't: the state folder cannot be read
";

/// List the instances, as EC2's DescribeInstances does: terminated ones for an hour, too.
///
/// HOLDS is what an instance takes of the disk, without what it only reads: images' disk files. `?` stands for a part
/// that a machine that does not answer did not tell.
#[derive(Parser, Debug)]
#[command(name = "ami-run ls", no_binary_name = true, max_term_width = 100, after_help = LS)]
pub(crate) struct Ls {
    /// Show ids only, one on a line
    #[arg(short, long, conflicts_with = "output")]
    pub(crate) quiet: bool,

    /// What standard output is for; json has DescribeInstances' shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const STOP: &str = "\
Examples:
  ami-run stop i-0123456789abcdef0
  ami-run stop web db --timeout 2m

Exit codes:
  0  all have stopped
  1  one is refused: there is none of this name, or its state is the wrong one
  2  command line
  3  this computer can't: the process that runs the machine does not answer
";

/// Stop instances, as EC2's StopInstances does: by the power button, then the hard way.
///
/// Volumes and the private address are kept, and `ami-run start` goes on with them; instance store is lost. An instance
/// that was launched with --rm is terminated. An instance that has stopped already is no error.
#[derive(Parser, Debug)]
#[command(name = "ami-run stop", no_binary_name = true, max_term_width = 100, after_help = STOP)]
pub(crate) struct Stop {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE", required = true)]
    pub(crate) instances: Vec<String>,

    /// End the machine at once: the guest is not asked
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) force: bool,

    /// How long the guest may take to power off (the --stop-timeout of its launch)
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,

    /// What standard output is for; json has StopInstances' shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const START: &str = "\
Example:
  ami-run start web && ami-run console web

Exit codes:
  0  their machines run
  1  one is refused: its state, a disk file that a volume stands on and that was changed, or
     credentials that it was to be lent and that are not here
  2  command line
  3  this computer can't: no KVM, memory, a volume in use, or another command is at work on it
";

/// Start stopped instances, as EC2's StartInstances does.
///
/// Volumes and the private address are what they were; instance store is empty. An instance that runs already is no
/// error. The machine runs on when this command has ended.
#[derive(Parser, Debug)]
#[command(name = "ami-run start", no_binary_name = true, max_term_width = 100, after_help = START)]
pub(crate) struct Start {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE", required = true)]
    pub(crate) instances: Vec<String>,

    /// Start them though this computer's KVM only emulates kernels (slow, and they stop half-way)
    #[arg(long)]
    pub(crate) force: bool,

    /// What standard output is for; json has StartInstances' shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const REBOOT: &str = "\
Exit codes:
  0  they were asked to
  1  one is refused: there is none of this name, or it does not run
  2  command line
  3  this computer can't: the process that runs the machine does not answer
";

/// Reboot running instances, as EC2's RebootInstances does, and do not wait for it.
///
/// The power button is pressed, and when the guest powers off its machine starts over. It is reset after four minutes,
/// or at once where the guest does not listen to the button.
#[derive(Parser, Debug)]
#[command(name = "ami-run reboot", no_binary_name = true, max_term_width = 100, after_help = REBOOT)]
pub(crate) struct Reboot {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE", required = true)]
    pub(crate) instances: Vec<String>,
}

const TERMINATE: &str = "\
Examples:
  ami-run terminate web
  ami-run terminate --force $(ami-run ls -q)

Exit codes:
  0  all are terminated
  1  one is refused: there is none of this name
  2  command line
  3  this computer can't: the process that runs the machine does not answer, or a file cannot
     be removed
";

/// Terminate instances, as EC2's TerminateInstances does.
///
/// Volumes whose DeleteOnTermination is true are deleted; others stay, and it is said where. A volume's file that
/// `ami-run volume create` made is never deleted. An instance that was terminated already is no error.
#[derive(Parser, Debug)]
#[command(name = "ami-run terminate", no_binary_name = true, max_term_width = 100, after_help = TERMINATE)]
pub(crate) struct Terminate {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE", required = true)]
    pub(crate) instances: Vec<String>,

    /// End the machine at once: the guest is not asked
    #[arg(long)]
    pub(crate) force: bool,

    /// What standard output is for; json has TerminateInstances' shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const WAIT: &str = "\
Examples:
  ami-run wait web stopped --timeout 10m
  ami-run wait i-0123456789abcdef0 web terminated

Exit codes:
  0  all are in this state
  1  one will not come to it, or there is none of this name
  2  command line
  3  this computer can't: the state folder cannot be read
  5  --timeout
";

/// Wait until instances are in a state: running, stopped or terminated.
///
/// It ends early when the state cannot come any more: a terminated instance never runs again.
#[derive(Parser, Debug)]
#[command(name = "ami-run wait", no_binary_name = true, max_term_width = 100, after_help = WAIT)]
pub(crate) struct Wait {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE", required = true)]
    pub(crate) instances: Vec<String>,

    /// running, stopped or terminated; the last word
    #[arg(value_name = "STATE", required = true, value_parser = values::lasting_state)]
    pub(crate) state: State,

    /// How long to wait at most (without end)
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}

const MODIFY: &str = "\
Examples:
  ami-run modify web --instance-type m5.large
  ami-run modify web --delete-on-termination /dev/sdf=true

Exit codes:
  0  it was changed
  1  it is refused: the instance is not stopped, or a value is not what EC2 takes
  2  command line
  3  this computer can't: another command is at work on it, or its record cannot be written
";

/// Change a stopped instance, as EC2's ModifyInstanceAttribute does. The next start has it so.
#[derive(Parser, Debug)]
#[command(
    name = "ami-run modify",
    override_usage = "ami-run modify INSTANCE OPTIONS",
    no_binary_name = true,
    max_term_width = 100,
    after_help = MODIFY,
    group = clap::ArgGroup::new("change").required(true).multiple(true)
)]
pub(crate) struct Modify {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// The instance type; vCPUs and memory become what it has
    #[arg(long, value_name = "TYPE", group = "change")]
    pub(crate) instance_type: Option<String>,

    /// Number of vCPUs, instead of the instance type's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(super::MAX_CPUS)))]
    #[arg(group = "change")]
    pub(crate) cpus: Option<u32>,

    /// Memory, instead of the instance type's: 2G, 512M, or a number of MiB
    #[arg(long, value_name = "SIZE", value_parser = values::memory, group = "change")]
    pub(crate) memory: Option<u64>,

    /// What becomes of the instance when the guest powers itself off: stop or terminate
    #[arg(long, value_name = "BEHAVIOR", value_parser = values::behavior, group = "change")]
    pub(crate) instance_initiated_shutdown_behavior: Option<Behavior>,

    /// Whether the volume at this device is deleted when the instance is terminated (repeatable)
    #[arg(long, value_name = "DEVICE=true|false", value_parser = values::delete_on_termination)]
    #[arg(group = "change")]
    pub(crate) delete_on_termination: Vec<DeleteOnTermination>,
}

const PRUNE: &str = "\
Example:
  ami-run prune --dry-run

Exit codes:
  0  they are gone
  2  command line
  3  this computer can't: one could not be removed
";

/// Terminate all stopped instances, and forget the terminated ones.
///
/// What goes is said, and how much it holds. Volumes that stay, since their DeleteOnTermination is false or since no
/// instance has them, are named.
#[derive(Parser, Debug)]
#[command(name = "ami-run prune", no_binary_name = true, max_term_width = 100, after_help = PRUNE)]
pub(crate) struct Prune {
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
}
