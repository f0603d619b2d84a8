//! The command line as it was typed. Values are parsed; nothing has been looked at yet.

use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::values::{self, EscapeKey, Pattern, SnapshotFile, TraceTo};
use crate::{source, ui};
use ami_run_image::Interface;
use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ami-run image.json
        launch an image that `aws ec2 describe-images` described, with its snapshots
        in snap-….raw beside it
  ami-run disk.raw
        launch a disk that no image describes
  ami-run image.json --wait-for console:login: --timeout 5m --console-log console.log
        exit 0 when the guest asks for a login, 5 when it has not after five minutes
  aws ec2 describe-images --image-ids ami-0123456789abcdef0 | ami-run - \\
        --snapshot snap-0123456789abcdef0=root.raw
  ami-run --kernel vmlinuz --initrd initrd.img --append console=ttyS0
        start a kernel with no firmware and no disk
";

/// The verbs, for "did you mean".
pub(crate) const VERBS: [&str; 2] = ["launch", "help"];

/// A command line that launches nothing: a mistake, or help or version, which were asked for.
#[derive(Debug)]
pub(crate) enum Refused {
    Clap(clap::Error),
    NoSuchVerb(Failure),
}

/// What to launch, and whether the verb was left out, so that the image may be a mistyped verb.
pub(crate) type Words = (Launch, bool);

/// Reads the command line.
pub(crate) fn read() -> Result<Words, Refused> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let first = words.get(1).map(PathBuf::from);
    parse(words).map_err(|cause| {
        // A mistyped verb is taken for an image, and what follows it then fits nothing.
        let odd = cause.kind() == ErrorKind::UnknownArgument;
        match first.filter(|_| odd).and_then(|first| source::mistyped_verb(&first)) {
            Some(failure) => Refused::NoSuchVerb(failure),
            None => Refused::Clap(cause),
        }
    })
}

/// The first word may be a verb; without one it is an image that is launched.
fn parse(mut words: Vec<OsString>) -> Result<Words, clap::Error> {
    let verb = words.get(1).and_then(|word| VERBS.into_iter().find(|verb| word == verb));
    match verb {
        Some("help") => words.splice(1.., [OsString::from("--help")]).for_each(drop),
        Some(_) => drop(words.remove(1)),
        None => {}
    }
    Ok((Launch::try_parse_from(words)?, verb.is_none()))
}

impl Refused {
    /// Says it; help and version are no failures.
    pub(crate) fn tell(&self) -> Code {
        match self {
            Refused::NoSuchVerb(failure) => {
                ui::failure(failure);
                failure.code
            }
            Refused::Clap(told) => {
                // Help that nobody reads, to a closed pipe, is no failure either.
                told.print().unwrap_or_default();
                if told.use_stderr() { Code::CommandLine } else { Code::Success }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// The guest's console on standard output
    Text,
    /// One JSON object with the result on standard output
    Json,
}

const ENVIRONMENT: &str = "\
Environment:
  TMPDIR       where guests' writes are kept while they run (/var/tmp)
  AMI_RUN_LOG  what is logged on standard error: error, warn, info or debug (warn);
               RUST_LOG is read without it
";

/// Everything that `--help` says after the options.
fn epilogue() -> String {
    format!("{EXAMPLES}\n{ENVIRONMENT}\n{}", exit::table())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskInterface {
    /// NVMe if the image says EnaSupport, as images for Nitro types do; else virtio
    Auto,
    /// NVMe controllers, as EBS shows its volumes
    Nvme,
    /// virtio-blk
    Virtio,
}

impl DiskInterface {
    /// None: the image decides.
    pub(crate) fn chosen(self) -> Option<Interface> {
        match self {
            DiskInterface::Auto => None,
            DiskInterface::Nvme => Some(Interface::Nvme),
            DiskInterface::Virtio => Some(Interface::Virtio),
        }
    }
}

/// Launch an EC2 machine image (AMI) on this computer, as EC2 would.
///
/// The guest's console is standard input and output. What the guest writes to its disks goes to a private file
/// without a name in $TMPDIR (or /var/tmp) and is gone when the guest has ended: the disk files are never changed.
#[derive(Parser, Debug)]
#[command(
    name = "ami-run",
    version,
    override_usage = "ami-run [launch] [OPTIONS] IMAGE",
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Try --help for examples and exit codes.",
    after_long_help = epilogue(),
)]
pub(crate) struct Launch {
    /// What to launch: an image.json, - for one on standard input, or a raw disk file
    ///
    /// image.json is what `aws ec2 describe-images --output json` prints. A disk file is launched as a legacy-bios
    /// image with this root volume only.
    #[arg(value_name = "IMAGE", required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,

    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64))]
    #[arg(help_heading = "Machine")]
    pub(crate) cpus: u32,

    /// Memory: 2G, 512M, or a number of MiB
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = values::memory)]
    #[arg(help_heading = "Machine")]
    pub(crate) memory: u64,

    /// The disk file that holds a snapshot (repeatable); otherwise snap-….raw or snap-….img beside image.json
    #[arg(long = "snapshot", value_name = "SNAP=FILE", value_parser = values::snapshot)]
    #[arg(help_heading = "Machine")]
    pub(crate) snapshots: Vec<SnapshotFile>,

    /// The BIOS to start, instead of the distribution's SeaBIOS
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", help_heading = "Machine")]
    pub(crate) firmware: Option<PathBuf>,

    /// What the guest sees its volumes as
    #[arg(long, value_name = "KIND", value_enum, default_value = "auto", help_heading = "Machine")]
    pub(crate) disk_interface: DiskInterface,

    /// Start this kernel (bzImage or PVH ELF) at once, without firmware and boot loader
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(crate) kernel: Option<PathBuf>,

    /// The initial RAM disk that --kernel is given
    #[arg(long, value_name = "FILE", requires = "kernel", help_heading = "Machine")]
    pub(crate) initrd: Option<PathBuf>,

    /// The command line that --kernel is given
    #[arg(long, value_name = "STRING", requires = "kernel", allow_hyphen_values = true)]
    #[arg(help_heading = "Machine")]
    pub(crate) append: Option<String>,

    /// Start the guest though this computer's KVM only emulates kernels (slow, and they stop half-way)
    #[arg(long, help_heading = "Machine")]
    pub(crate) force: bool,

    /// Write what the guest's console shows to this file, in the place of what it held
    #[arg(long, value_name = "FILE", help_heading = "Console")]
    pub(crate) console_log: Option<PathBuf>,

    /// The key that, before x, p or h, speaks to ami-run instead of the guest
    #[arg(long, value_name = "KEY", default_value = "ctrl-a", value_parser = values::escape_key)]
    #[arg(help_heading = "Console")]
    pub(crate) escape: EscapeKey,

    /// Run until the console shows this, then power off and exit 0 (repeatable: all must be seen)
    ///
    /// A regular expression over the last 64 KiB of the console, without escape sequences; ^ and $ match at lines.
    #[arg(long = "wait-for", value_name = "console:REGEX", value_parser = values::pattern)]
    #[arg(help_heading = "Ending")]
    pub(crate) wait_for: Vec<Pattern>,

    /// End the guest after this time (90, 90s, 5m) and exit 5
    #[arg(long, value_name = "DURATION", value_parser = values::timeout, help_heading = "Ending")]
    pub(crate) timeout: Option<Duration>,

    /// How long the guest may take to power off when it is asked to
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = "Ending")]
    pub(crate) stop_timeout: Duration,

    /// What standard output is for; with json the console goes to --console-log, or else to standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", help_heading = "Output")]
    pub(crate) output: Output,

    /// Write what the guest does to the hardware to a file: exits, pci, fwcfg, irq
    #[arg(long, value_name = "KIND[,KIND]=FILE", value_parser = values::trace, help_heading = "Output")]
    pub(crate) trace: Option<TraceTo>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Result<Words, clap::Error> {
        parse(std::iter::once("ami-run").chain(line.split(' ')).map(OsString::from).collect())
    }

    #[test]
    fn the_definition_is_sound_and_every_option_has_help() {
        Launch::command().debug_assert();
        for argument in Launch::command().get_arguments() {
            assert!(argument.get_help().is_some(), "{}", argument.get_id());
        }
    }

    #[test]
    fn the_verb_may_be_left_out() {
        for (line, without) in [("--cpus 3 x.json", true), ("launch --cpus=3 x.json", false)] {
            let (launch, bare) = words(line).unwrap();
            assert_eq!((launch.cpus, launch.image, bare), (3, Some(PathBuf::from("x.json")), without));
        }
        let help = |line| words(line).unwrap_err().kind() == ErrorKind::DisplayHelp;
        assert!(help("help") && help("help launch") && help("launch --help"));
        assert_eq!(words("laucnh x").unwrap_err().kind(), ErrorKind::UnknownArgument);
    }

    #[test]
    fn a_kernel_needs_no_image() {
        let launch = words("--kernel k --append -x").unwrap().0;
        assert_eq!((launch.image, launch.append.as_deref()), (None, Some("-x")));
        for bad in
            ["--cpus 1", "d --initrd i", "d --append x", "d --kernel k --firmware f", "d --cpus 1 --cpus 2"]
        {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
