//! One launch from the command line to its end: plan, disks, firmware, KVM, machine, session.

use crate::args::{Launch, Output};
use crate::console::{Input, Screen, Transcript};
use crate::exit::Code;
use crate::failure::Failure;
use crate::outputs::Outputs;
use crate::plan::{self, Plan, Start};
use crate::report::{Report, machine_failure};
use crate::session::{self, Ended, Setup, Signals};
use crate::{disks, host, identity, outputs, ui};
use ami_run_firmware::{direct, find};
use ami_run_machine::{Boot, Machine, Spec};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Launches and follows one guest.
pub(crate) fn run(args: &Launch, bare: bool) -> Report {
    let started = ui::start();
    let mut plan = match plan::plan(args, bare) {
        Ok(plan) if args.dry_run => return Report::planned(args, &plan.launch),
        Ok(plan) => plan,
        Err(failure) => return Report::refused(args, None, failure),
    };
    let image_id = plan.launch.image_id.clone();
    let ended = plan.adapt().and_then(|()| run_plan(args, &mut plan, started));
    let warnings = plan.launch.warnings;
    match ended {
        Ok(ended) => Report::ended(args, image_id, &ended),
        Err(failure) => Report::refused(args, image_id, failure),
    }
    .warned(warnings)
}

fn run_plan(args: &Launch, plan: &mut Plan, started: Instant) -> Result<Ended, Failure> {
    plan.check_memory(args)?;
    let disks = disks::open(&plan.launch, &mut plan.bases)?;
    let kept = disks::kept(&plan.launch, &disks);
    let boot = boot(&plan.start)?;
    host::check_kvm(args.force)?;
    let Outputs { log, trace } = outputs::open(args, plan)?;
    if let Some(assumption) = plan.assumption() {
        ui::status("assuming", &assumption);
    }
    for warning in &plan.launch.warnings {
        ui::status("warning", &format!("{}: {}", warning.code, warning.message));
    }
    ui::status("booting", &plan.shape());
    // From here on the end comes by signal only through the session, which cleans up.
    let signals = Signals::block().map_err(|cause| io_failure("take over signals", &cause))?;
    let memory = plan.launch.memory_mib << 20;
    let spec = Spec {
        identity: identity::new(&plan.launch.instance_type.name)
            .map_err(|cause| io_failure("get random numbers", &cause))?,
        cpus: plan.launch.cpus,
        memory,
        disks,
        boot,
        trace: trace.map(Arc::new),
        // Who waits for something is better served by the first fault than by a guest that starts over.
        fail_on_triple_fault: !args.wait_for.is_empty(),
    };
    let machine = Machine::new(spec).map_err(|cause| machine_failure(&cause))?;
    let screen = screen(args).map_err(|cause| io_failure("use the console's output", &cause))?;
    let input = input(args).map_err(|cause| io_failure("use the terminal", &cause))?;
    if let Some(keys) = input.way_out() {
        ui::status("console", &keys);
    }
    let transcript = Transcript::new(args.wait_for.clone());
    let timeout = args.timeout.map(|limit| started + limit);
    let setup = Setup { signals, input, screen, log, transcript, timeout, stop_timeout: args.stop_timeout };
    let ended = session::run(machine, setup).map_err(|cause| io_failure("follow the machine", &cause))?;
    disks::keep(&kept)?;
    Ok(ended)
}

fn boot(start: &Start) -> Result<Boot, Failure> {
    match start {
        Start::Firmware(explicit) => match find::seabios(explicit.as_deref()) {
            Ok(firmware) => {
                log::info!("firmware: {}", firmware.path.display());
                Ok(Boot::Firmware(firmware.bytes))
            }
            Err(cause) => {
                Err(Failure::new(Code::Host, "there is no firmware to start the image with").because(&cause))
            }
        },
        Start::Kernel { kernel, initrd, command_line } => {
            match direct::open(kernel, initrd.as_deref(), command_line) {
                Ok(kernel) => Ok(Boot::Kernel(Box::new(kernel))),
                Err(cause) => {
                    let message = format!("cannot start the kernel {}", kernel.display());
                    Err(Failure::new(Code::Refused, message).because(&cause))
                }
            }
        }
    }
}

/// Where the console is shown: not where the JSON result goes.
fn screen(args: &Launch) -> io::Result<Option<Screen>> {
    match (args.output, &args.console_log) {
        (Output::Text, _) => Screen::new(io::stdout().as_fd()).map(Some),
        (Output::Json, None) => Screen::new(io::stderr().as_fd()).map(Some),
        (Output::Json, Some(_)) => Ok(None),
    }
}

fn input(args: &Launch) -> io::Result<Input> {
    if args.image.as_deref() == Some(Path::new("-")) { Ok(Input::none()) } else { Input::open(args.escape) }
}

fn io_failure(what: &str, cause: &io::Error) -> Failure {
    Failure::new(Code::Host, format!("cannot {what}")).because(cause)
}
