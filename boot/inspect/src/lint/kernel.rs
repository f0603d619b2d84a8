//! Kernels, their command lines and their drivers.

use super::finding::{Code, Finding, Severity};
use crate::contents::{CommandLine, Contents, Driver, Found, Kernel, MayHold, Place};
use crate::start;
use ami_run_image::Architecture;

pub(super) fn machines(contents: &Contents, architecture: Architecture, found: &mut Vec<Finding>) {
    let kernels = &contents.system.kernels;
    let other =
        |kernel: &&Kernel| kernel.machine.is_some_and(|machine| machine != start::machine(architecture));
    for kernel in kernels.values().filter(other) {
        let (Some(place), Some(machine)) = (&kernel.place, kernel.machine) else { continue };
        found.push(Finding {
            code: Code::KernelMachine,
            severity: Severity::Error,
            place: place.clone(),
            reason: format!("the kernel is for {machine}, and the image is for {architecture}"),
            remedy: format!("put a kernel for {architecture} there, or register the image for the kernel's"),
        });
    }
    let seen = kernels.values().any(|kernel| kernel.place.is_some());
    let blind = contents.unread.iter().any(|unread| unread.may_hold == MayHold::System);
    if !seen && !blind && !contents.system.names.is_empty() {
        found.push(Finding {
            code: Code::NoKernel,
            severity: Severity::Warning,
            place: Place::disk(),
            reason: "there is an operating system, and no kernel under the names that distributions give them".to_owned(),
            remedy: "if the loader finds its kernel elsewhere, nothing is wrong; if this was a container's file system, \
                     install a kernel"
                .to_owned(),
        });
    }
}

/// EC2 shows what goes to the first serial port. On arm64 the firmware tells Linux of it, unless a command line
/// names another console.
pub(super) fn console(contents: &Contents, architecture: Architecture, found: &mut Vec<Finding>) {
    let lines: Vec<&CommandLine> = contents.system.command_lines.iter().filter(|line| !line.rescue).collect();
    let silent: Vec<&&CommandLine> =
        lines.iter().filter(|line| !has_console(&line.text, architecture)).collect();
    let Some(first) = silent.first() else { return };
    let severity = if silent.len() == lines.len() { Severity::Warning } else { Severity::Information };
    found.push(Finding {
        code: Code::NoSerialConsole,
        severity,
        place: first.place.clone(),
        reason: format!(
            "{} of {} command lines for Linux name no serial console: what such a kernel prints is not seen, here or \
             in EC2's console output",
            silent.len(),
            lines.len()
        ),
        remedy: format!("add `console=tty0 console=ttyS0,115200` to it ({})", where_set(first)),
    });
}

/// Where a command line is made.
fn where_set(line: &CommandLine) -> &'static str {
    let path = line.place.path.as_deref().unwrap_or_default().to_ascii_lowercase();
    if path.ends_with(".efi") {
        "where the unified kernel image is made: `ukify --cmdline`, /etc/kernel/cmdline"
    } else if path.contains("/loader/entries/") {
        "the entry's `options`, and /etc/kernel/cmdline for those to come"
    } else {
        "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub or grub2-mkconfig"
    }
}

fn has_console(text: &str, architecture: Architecture) -> bool {
    let mut consoles =
        text.split_whitespace().filter_map(|option| option.strip_prefix("console=")).peekable();
    if consoles.peek().is_none() {
        return architecture == Architecture::Arm64;
    }
    let serial =
        |console: &str| console.starts_with("ttyS0") || console.starts_with("ttyAMA0") || console == "ttyS";
    consoles.any(serial)
}

/// Drivers that are nowhere, or where the kernel cannot load them from before it has the root.
pub(super) fn drivers(contents: &Contents, ena_support: Option<bool>, found: &mut Vec<Finding>) {
    let kernels = &contents.system.kernels;
    // Folders of modules outlive their kernels.
    let bootable = kernels.values().any(|kernel| kernel.place.is_some());
    for (version, kernel) in kernels.iter().filter(|(_, kernel)| !bootable || kernel.place.is_some()) {
        for (driver, where_) in &kernel.drivers {
            let missing = match where_ {
                Found::Nowhere => true,
                Found::Root => driver.leads_to_the_root(),
                Found::Unknown | Found::Initrd | Found::Kernel => false,
            };
            if missing {
                found.push(missing_driver(version, kernel, *driver, *where_, ena_support));
            }
        }
    }
}

fn missing_driver(
    version: &str,
    kernel: &Kernel,
    driver: Driver,
    where_: Found,
    ena_support: Option<bool>,
) -> Finding {
    // EnaSupport is an image's word that it is made for Nitro types; such an image is given NVMe here, too.
    let nitro = ena_support == Some(true);
    let (code, severity, loss) = match driver {
        Driver::Nvme => {
            let severity = if nitro { Severity::Error } else { Severity::Warning };
            (Code::NvmeDriverMissing, severity, "on Nitro types it would not find its root volume")
        }
        Driver::Ena => {
            let severity = if nitro { Severity::Error } else { Severity::Warning };
            (Code::EnaDriverMissing, severity, "on Nitro types it would have no network")
        }
        Driver::VirtioPci | Driver::VirtioBlk => {
            let severity = if nitro { Severity::Information } else { Severity::Warning };
            let code = match driver {
                Driver::VirtioPci => Code::VirtioPciDriverMissing,
                _ => Code::VirtioBlkDriverMissing,
            };
            (code, severity, "ami-run's virtio disks would not be found; EC2 has none")
        }
        Driver::VirtioNet => (
            Code::VirtioNetDriverMissing,
            Severity::Warning,
            "it would have no network under ami-run; EC2 is not concerned",
        ),
    };
    let (reason, remedy) = if where_ == Found::Root {
        let initrd =
            if kernel.initrds.is_empty() { "there is no initrd for it" } else { "its initrd lacks it" };
        (
            format!(
                "kernel {version} has the {driver} driver only on its root file system ({initrd}): {loss}"
            ),
            format!(
                "put the module {} into the initrd (/etc/initramfs-tools/modules and update-initramfs, or dracut \
                 --add-drivers)",
                driver.module()
            ),
        )
    } else {
        (
            format!("kernel {version} has no {driver} driver: {loss}"),
            format!("take a kernel that has {}", driver.option()),
        )
    };
    let place = kernel.place.clone().unwrap_or_else(Place::disk);
    Finding { code, severity, place, reason, remedy }
}
