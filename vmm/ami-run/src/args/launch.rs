//! `launch`: its options, and what `ami-run --help` says.

use super::{Given, Output, commands};
use crate::exit;
use crate::report::Wanted;
use crate::values::{self, Awaited, EscapeKey, Sign, SnapshotFile, TraceTo};
use ami_run_catalog::{Behavior, Network};
use ami_run_image::{ImageBootMode, Interface};
use ami_run_network::Forward;
use clap::{Parser, ValueEnum};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

/// What a launch takes that says nothing else: what the default instance types have.
pub(crate) const DEFAULT_CPUS: u32 = 2;
pub(crate) const DEFAULT_MEMORY_MIB: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  ami-run image.json
        launch an image that `aws ec2 describe-images` described, with its snapshots
        in snap-….raw beside it
  ami-run debian-12-genericcloud-amd64.qcow2
        launch a disk that no image describes
  ami-run root.vol
        launch a volume that `ami-run volume create root.vol --from DISKFILE` made: what
        the guest writes stays in it
  ami-run image.json --wait-for console:login: --timeout 5m --console-log console.log
        exit 0 when the guest asks for a login, 5 when it has not after five minutes;
        nothing is kept of the instance
  ami-run image.json -d --name web && ami-run console web
        launch an instance that runs by itself, and use its console: Ctrl-A d leaves it
  ami-run stop web; ami-run start web; ami-run terminate web
        what EC2 does with it
  aws ec2 describe-images --image-ids ami-0123456789abcdef0 | ami-run - \\
        --snapshot snap-0123456789abcdef0=root.raw
  ami-run image.json --instance-type m5.large --dry-run
        show what EC2 would make of it: volumes, boot mode, warnings
  ami-run --kernel vmlinuz --initrd initrd.img --append console=ttyS0
        start a kernel with no firmware and no disk
";

/// How many vCPUs a machine can have.
pub(crate) const MAX_CPUS: u32 = 64;

const ENVIRONMENT: &str = "\
Before all other words:
  --state-dir FOLDER  the state folder, instead of AMI_RUN_STATE_DIR

Environment:
  TMPDIR             where instance store is, and what the guest writes with --rm; it goes when
                     the machine ends (/var/tmp)
  AMI_RUN_STATE_DIR  the state folder: instances, their volumes, and the cache of what was taken
                     out of disk files that are not raw ($XDG_DATA_HOME/ami-run, or
                     ~/.local/share/ami-run)
  AMI_RUN_LOG        what is logged on standard error: error, warn, info or debug (warn);
                     RUST_LOG is read without it
";

/// What `-h` says after the options.
fn short_epilogue() -> String {
    format!("{}\nTry --help for examples and exit codes.", commands())
}

/// What `--help` says after the options.
fn epilogue() -> String {
    format!("{}\n{EXAMPLES}\n{ENVIRONMENT}\n{}", commands(), exit::table())
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
/// The guest's console is standard input and output. What the guest writes goes to volumes of the instance's own: the
/// disk files are never changed. When it powers off the instance is stopped, and `ami-run start` goes on with it;
/// with --rm nothing of it is kept.
#[derive(Parser, Debug)]
#[command(
    name = "ami-run",
    no_binary_name = true,
    version,
    override_usage = "ami-run [launch] [OPTIONS] IMAGE\n       ami-run COMMAND [OPTIONS]",
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = short_epilogue(),
    after_long_help = epilogue(),
)]
pub(crate) struct Launch {
    /// What to launch: an image.json, - for one on standard input, a disk file, or a volume
    ///
    /// image.json is what `aws ec2 describe-images --output json` prints. A disk file is taken for
    /// what is on it, and launched with this root volume only. It may be raw, qcow2, VMDK or VHD, or
    /// raw and compressed by xz, gzip or zstd; it is never changed. A volume, which `ami-run volume create`
    /// makes, is written to itself: each launch goes on where the last one ended.
    #[arg(value_name = "IMAGE", required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,

    /// Number of vCPUs, instead of the instance type's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CPUS)))]
    #[arg(help_heading = "Machine")]
    pub(crate) cpus: Option<u32>,

    /// Memory, instead of the instance type's: 2G, 512M, or a number of MiB; on arm64 firmware needs 128M
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Machine")]
    pub(crate) memory: Option<u64>,

    /// The disk file that holds a snapshot (repeatable); otherwise snap-….raw beside image.json, or .img,
    /// .qcow2, .vmdk, .vhd, .raw.xz, .raw.gz, .raw.zst
    #[arg(long = "snapshot", value_name = "SNAP=FILE", value_parser = values::snapshot)]
    #[arg(help_heading = "Machine")]
    pub(crate) snapshots: Vec<SnapshotFile>,

    /// The firmware to start, instead of the distribution's: a BIOS, or OVMF's code for an image that starts by uefi
    ///
    /// An arm64 computer has AAVMF's code in the place of both.
    /// UEFI's variables are those that one of QEMU's firmware descriptions names with the code, or a file beside it
    /// with VARS for CODE in its name. On x86_64 a file of both, such as OVMF.fd, is taken, too.
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", help_heading = "Machine")]
    pub(crate) firmware: Option<PathBuf>,

    /// What the guest sees its volumes as
    #[arg(long, value_name = "KIND", value_enum, default_value = "auto", help_heading = "Machine")]
    pub(crate) disk_interface: DiskInterface,

    /// Start this kernel (bzImage or PVH ELF; on arm64 an Image) at once, without firmware and boot loader
    ///
    /// On arm64 it is told of the machine by a device tree, and has no power button: what asks it to power off or to reboot
    /// ends or resets its machine at once.
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

    /// What its network card is connected to: user, tap=NAME or none
    ///
    /// user is a subnet of the guest's own, as a VPC looks: it reaches what this computer reaches, by its name servers, and
    /// needs no right and no set-up. tap=NAME is an interface that is there (`ip tuntap add NAME mode tap user $USER`);
    /// the metadata service answers there, too, all else is up to it.
    #[arg(long, value_name = "NETWORK", value_parser = values::network, default_value = "user")]
    #[arg(help_heading = "Network")]
    pub(crate) net: Network,

    /// Let a port of this computer lead to one of the guest (repeatable): 2222:22, 0.0.0.0:80:8080, 5353:53/udp
    ///
    /// It listens on the loopback address unless another is given.
    #[arg(short = 'p', long = "publish", value_name = "[ADDR:]HOST:GUEST[/udp]", value_parser = values::forward)]
    #[arg(help_heading = "Network")]
    pub(crate) forwards: Vec<Forward>,

    /// Let the guest reach this computer's own loopback services, at its router's address
    #[arg(long, help_heading = "Network")]
    pub(crate) host_loopback: bool,

    /// Let the instance run by itself, and print its id when its machine runs
    #[arg(short = 'd', long, help_heading = "Instance")]
    pub(crate) detach: bool,

    /// Its tag Name, by which commands find it as by its id
    #[arg(long, value_name = "NAME", value_parser = values::name, help_heading = "Instance")]
    pub(crate) name: Option<String>,

    /// How many instances to launch, with -d: all or none
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    #[arg(help_heading = "Instance")]
    pub(crate) count: u32,

    /// Terminate the instance when it ends, and keep nothing of it; --exec and --wait-for without -d imply it
    ///
    /// Its volumes go, too, whatever DeleteOnTermination says; a volume's own file (IMAGE) stays. Without -d not
    /// even a record is left; with it, the record and the console's log stay for an hour, as of any terminated
    /// instance.
    #[arg(long, help_heading = "Instance")]
    pub(crate) rm: bool,

    /// Keep the instance, stopped, also after --wait-for and --exec
    #[arg(long, conflicts_with = "rm", help_heading = "Instance")]
    pub(crate) keep: bool,

    /// What becomes of it when its guest powers off: stop or terminate
    #[arg(long, value_name = "BEHAVIOR", value_parser = values::behavior, default_value = "stop")]
    #[arg(help_heading = "Instance")]
    pub(crate) instance_initiated_shutdown_behavior: Behavior,

    /// Write what the guest's console shows to this file, in the place of what it held
    #[arg(long, value_name = "FILE", help_heading = "Console")]
    pub(crate) console_log: Option<PathBuf>,

    /// Write what the firmware prints on a PC's debug port (0x402) to this file, in the place of what it held
    ///
    /// SeaBIOS prints what it does. A distribution's OVMF prints nothing: name a debug build by --firmware. On arm64 there
    /// is no such port, and firmware prints to the console.
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", help_heading = "Console")]
    pub(crate) firmware_log: Option<PathBuf>,

    /// The key that, before x, p or h, speaks to ami-run instead of the guest
    #[arg(long, value_name = "KEY", default_value = "ctrl-a", value_parser = values::escape_key)]
    #[arg(help_heading = "Console")]
    pub(crate) escape: EscapeKey,

    /// Run until this is seen, then power off and exit 0 (repeatable: all must be): console:REGEX, login, ssh, cloud-init
    ///
    /// console:REGEX is a regular expression over the last 64 KiB of the console, without escape sequences; ^ and $ match
    /// at lines. login is the console's prompt for a login, cloud-init what cloud-init says there when it has finished. ssh
    /// is an SSH server's answer at the guest's port 22. With -d the machine runs on.
    #[arg(long = "wait-for", value_name = "WHAT", value_parser = values::awaited)]
    #[arg(help_heading = "Ending")]
    pub(crate) wait_for: Vec<Awaited>,

    /// Run this command in the guest by SSH, then power off; its outputs and its exit status are ours
    ///
    /// It is run by the guest's login shell as soon as somebody can log in, with a key that is made for the launch unless
    /// --ssh-key gives one. The console goes to --console-log only. Exit codes of ami-run's own are 120 and more.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["detach", "wait_for"], help_heading = "Ending")]
    pub(crate) exec: Option<OsString>,

    /// Who logs in by SSH, instead of whom cloud-init on the image's disk names
    #[arg(long, value_name = "NAME", value_parser = values::user, help_heading = "Network")]
    pub(crate) user: Option<String>,

    /// End the guest after this time (90, 90s, 5m) and exit 5
    ///
    /// With -d and --wait-for it is the time for what is waited for; the instance runs on then.
    #[arg(long, value_name = "DURATION", value_parser = values::timeout, help_heading = "Ending")]
    pub(crate) timeout: Option<Duration>,

    /// Explain a guest that says nothing on its console for this time (90, 90s, 5m; 0: never)
    ///
    /// The firmware's own words do not count. It is told on standard error how far the start has come (by what the guest has
    /// touched: firmware's tables, blocks of the boot disk, devices that a kernel takes over), what that means, what
    /// `ami-run image lint` says of the root volume, and what to try; the guest runs on. With -d it is told in the file log
    /// in the instance's folder, and by a launch that waits for something. A run that ends by --timeout is explained, too;
    /// with --output json the result's Stage has it.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = "Ending")]
    pub(crate) hang_after: Duration,

    /// How long the guest may take to power off when it is asked to, before its machine is ended the hard way
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration)]
    #[arg(help_heading = "Ending")]
    pub(crate) stop_timeout: Duration,

    /// What standard output is for; with json the console goes to --console-log, or else to standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", help_heading = "Output")]
    pub(crate) output: Output,

    /// Write what the guest does to the hardware to a file: exits, pci, fwcfg, irq
    #[arg(long, value_name = "KIND[,KIND]=FILE", value_parser = values::trace, help_heading = "Output")]
    pub(crate) trace: Option<TraceTo>,

    /// The image to take from a description of several
    #[arg(long, value_name = "AMI", help_heading = "As on EC2")]
    pub(crate) image_id: Option<String>,

    /// The instance type: vCPUs, memory, boot modes [default: t3.micro, or t4g.micro for arm64]
    #[arg(long, value_name = "TYPE", help_heading = "As on EC2")]
    pub(crate) instance_type: Option<String>,

    /// legacy-bios, uefi or uefi-preferred, whatever the image says
    #[arg(long, value_name = "MODE", value_parser = values::boot_mode, help_heading = "As on EC2")]
    pub(crate) boot_mode: Option<ImageBootMode>,

    /// What its UEFI variables are at the first start: a file of UefiData, or - for standard input
    ///
    /// UefiData is base64, as `aws ec2 get-instance-uefi-data` gives it (its JSON is taken, too), `ami-run uefi-data`
    /// and uefivars. It holds boot entries and Secure Boot's keys, by which nothing is checked on x86_64; on arm64 that
    /// is up to the firmware. Otherwise the firmware begins with its own.
    #[arg(long, value_name = "FILE", conflicts_with = "kernel", help_heading = "As on EC2")]
    pub(crate) uefi_data: Option<String>,

    /// Changes to the image's block devices (repeatable), in the AWS CLI's syntax
    ///
    /// JSON, shorthand such as DeviceName=/dev/sda1,Ebs={VolumeSize=20,VolumeType=gp3}, or file://PATH of either.
    /// NoDevice= takes a device away.
    #[arg(long, value_name = "MAPPINGS", help_heading = "As on EC2")]
    pub(crate) block_device_mappings: Vec<String>,

    /// The account that launches: refused if the image gives it no launch permission
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account, help_heading = "As on EC2")]
    pub(crate) account_id: Option<String>,

    #[command(flatten)]
    pub(crate) given: Given,

    /// Let File members of image.json's Snapshots name files outside of its folder
    #[arg(long, help_heading = "As on EC2")]
    pub(crate) allow_external_files: bool,

    /// Show what a launch would do, and make nothing; needs no KVM
    #[arg(long, help_heading = "As on EC2")]
    pub(crate) dry_run: bool,
}

impl Launch {
    /// Nothing is to be left of the instance.
    pub(crate) fn removes(&self) -> bool {
        let waits = !self.wait_for.is_empty() || self.exec.is_some();
        self.rm || (waits && !self.keep && !self.detach)
    }

    /// What is to be done is done by SSH.
    pub(crate) fn needs_ssh(&self) -> bool {
        self.exec.is_some() || self.wait_for.iter().any(|one| matches!(one.sign, Sign::Ssh))
    }

    /// Somebody is to log in by SSH: this program, or whoever sits at the terminal.
    pub(crate) fn logs_in(&self) -> bool {
        let sits = !self.detach && io::stdin().is_terminal() && io::stdout().is_terminal();
        self.net != Network::None && (sits || self.needs_ssh())
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            timeout: self.timeout,
            console_log: self.console_log.as_deref(),
            exec: self.exec.is_some(),
            awaited: &self.wait_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_image::{Architecture, InstanceType};

    fn parsed(line: &str) -> Result<Launch, clap::Error> {
        Launch::try_parse_from(line.split(' '))
    }

    #[test]
    fn a_kernel_needs_no_image() {
        let launch = parsed("--kernel k --append -x").unwrap();
        assert_eq!((launch.image, launch.append.as_deref()), (None, Some("-x")));
        for bad in
            ["--cpus 1", "d --initrd i", "d --append x", "d --kernel k --firmware f", "d --cpus 1 --cpus 2"]
        {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let launch = parsed("d").unwrap();
        assert_eq!((launch.cpus, launch.memory, launch.instance_type), (None, None, None));
        for architecture in [Architecture::X86_64, Architecture::Arm64] {
            let name = InstanceType::default_for(architecture);
            let InstanceType { vcpus, memory_mib, .. } = InstanceType::find(name).unwrap();
            assert_eq!((vcpus, memory_mib), (DEFAULT_CPUS, DEFAULT_MEMORY_MIB), "{name}");
        }
    }
}
