//! One run of an instance's machine, from its record to its end: the one form of it that a launch in the foreground,
//! a detached process and a start share.

use crate::bases::Bases;
use crate::console::{ConsoleLog, Input, Screen, Transcript};
use crate::disks::{self, Disks};
use crate::exit::Code;
use crate::failure::Failure;
use crate::firmware::First;
use crate::metadata::Live;
use crate::parent::Parent;
use crate::report::machine_failure;
use crate::session::{self, Asked, Cause, Ended, Last, Setup, Signals, Suspect, Watch};
use crate::ssh::Outputs;
use crate::state::catalog_failure;
use crate::values::Awaited;
use crate::{network, state, ui};
use ami_run_catalog::{
    Behavior, CatalogError, Held, InstanceRecord, State, StateReason, control, fault, ids,
};
use ami_run_firmware::board::Identity;
use ami_run_machine::{Exit, Machine, Spec};
use ami_run_models::trace::Trace;
use ami_run_network::Dialer;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `--firmware-log` for nothing.
const NO_FIRMWARE_TEXT: &str = "it printed nothing for --firmware-log: a distribution's OVMF is a release build, which \
    does not; name a debug build by --firmware";

/// Who sees and steers the run, and what it waits for. What runs stands in the instance's record.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) signals: Signals,
    pub(crate) input: Input,
    /// None: the console goes to the logs only.
    pub(crate) screen: Option<Screen>,
    pub(crate) log: Option<File>,
    /// For what the firmware prints on its debug port.
    pub(crate) firmware_log: Option<File>,
    pub(crate) trace: Option<Trace>,
    pub(crate) wait_for: Vec<Awaited>,
    /// What is to be run in the guest, and where its outputs go.
    pub(crate) exec: Option<(OsString, Outputs)>,
    pub(crate) timeout: Option<Instant>,
    /// After so long a silent guest is explained; no time is never.
    pub(crate) hang_after: Duration,
    /// The command that started a detached instance.
    pub(crate) parent: Option<Parent>,
}

/// What became of the instance.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) boot_mode: String,
    /// What a stopped one holds on disk.
    holds: u64,
    /// Volumes that stay without it.
    kept: Vec<(String, PathBuf)>,
}

impl After {
    /// Says what is there now, and what can be done with it.
    pub(crate) fn tell(&self) {
        let id = &self.id;
        if self.state == State::Stopped {
            let holds = ui::size(self.holds);
            ui::status(
                "kept",
                &format!(
                    "{id} is stopped and holds {holds}: `ami-run start {id}` or `ami-run terminate {id}`"
                ),
            );
        }
        for (volume, file) in &self.kept {
            ui::status("kept", &format!("volume {volume} in {}", file.display()));
        }
    }
}

/// Runs the machine of a pending instance to its end. An instance that has never run and cannot is gone then; one that
/// has is stopped.
pub(crate) fn run(
    held: Held,
    first: First,
    bases: &mut Bases,
    mut face: Face,
) -> Result<(Ended, After), Failure> {
    let Prepared { machine, disks, dialer, control, console_log, metadata } =
        match prepare(&held, first, bases, &mut face) {
            Ok(prepared) => prepared,
            Err(failure) => return Err(give_up(held, failure)),
        };
    let suspect =
        Suspect::new(held.record(), disks.all.first().map(|disk| &disk.volume), face.firmware_log.is_some());
    let setup = Setup {
        signals: face.signals,
        input: face.input,
        screen: face.screen,
        log: face.log,
        transcript: Transcript::new(face.wait_for),
        timeout: face.timeout,
        stop_timeout: Duration::from_secs(held.record().own.stop_timeout),
        instance: held,
        control,
        dialer,
        console_log,
        holds: disks.nameless.clone(),
        exec: face.exec,
        parent: face.parent,
        metadata,
        watch: Watch::new(suspect, face.hang_after),
    };
    let firmware = face.firmware_log.map(|file| {
        let handle = machine.handle();
        handle.keep_firmware_text(file);
        handle
    });
    let (ended, held) =
        session::run(machine, setup).map_err(|cause| io_failure("follow the machine", &cause))?;
    if firmware.is_some_and(|handle| !handle.firmware_spoke()) {
        ui::status("firmware", NO_FIRMWARE_TEXT);
    }
    fault::point("run-ended");
    let kept = disks.keep();
    // Closed before the instance can be started again.
    drop(disks);
    let after = dispose(held, &ended).map_err(|cause| catalog_failure(&cause));
    kept.and(after).map(|after| (ended, after))
}

struct Prepared {
    machine: Machine,
    disks: Disks,
    dialer: Option<Dialer>,
    control: UnixListener,
    console_log: ConsoleLog,
    /// None: the guest has no network card to ask by.
    metadata: Option<Live>,
}

/// Everything up to the machine's first instruction.
fn prepare(held: &Held, first: First, bases: &mut Bases, face: &mut Face) -> Result<Prepared, Failure> {
    let disks = disks::open(held, bases)?;
    fault::point("run-disks");
    let record = held.record();
    let metadata = Live::open(record, &state::folder()?)?;
    let nic = network::open(record, metadata.service())?;
    let spec = Spec {
        identity: identity(record)?,
        cpus: record.cpu_options.core_count.saturating_mul(record.cpu_options.threads_per_core),
        memory: record.own.memory_mib << 20,
        disks: disks.all.clone(),
        network: nic.as_ref().map(|nic| nic.card.clone()),
        trace: face.trace.take().map(Arc::new),
        // Who waits for something is better served by the first fault than by a guest that starts over.
        fail_on_triple_fault: !face.wait_for.is_empty() || face.exec.is_some(),
    };
    let boot = first.boot(held)?;
    let machine = Machine::new(spec, boot).map_err(|cause| machine_failure(&cause))?;
    let control = control::listen(held.folder())
        .map_err(|cause| io_failure("make the instance's control socket", &cause))?;
    fault::point("run-socket");
    let console_log = ConsoleLog::create(held.folder())
        .map_err(|cause| io_failure("write the instance's console log", &cause))?;
    let metadata = nic.is_some().then_some(metadata);
    Ok(Prepared { machine, disks, dialer: nic.map(|nic| nic.dialer), control, console_log, metadata })
}

fn identity(record: &InstanceRecord) -> Result<Identity, Failure> {
    let uuid = u128::from_str_radix(&record.own.uuid, 16).map_err(|cause| {
        Failure::new(Code::Refused, format!("the record of {} is damaged: its UUID", record.instance_id))
            .because(&cause)
    })?;
    let generation = ids::random().map_err(|cause| catalog_failure(&cause))?;
    Ok(Identity {
        instance_id: record.instance_id.clone(),
        instance_type: record.instance_type.clone(),
        uuid: uuid.to_be_bytes(),
        generation,
    })
}

/// The instance does not run. What was never there goes, what was there is stopped.
pub(crate) fn give_up(mut held: Held, failure: Failure) -> Failure {
    let put_right = if held.record().own.has_run {
        held.enter(State::Stopped, Some(StateReason::failure(&failure.line())))
    } else {
        held.remove().map(drop)
    };
    if let Err(cause) = put_right {
        log::warn!("{}", catalog_failure(&cause).line());
    }
    failure
}

/// What becomes of an instance whose machine has ended, as on EC2.
fn dispose(mut held: Held, ended: &Ended) -> Result<After, CatalogError> {
    let own = &held.record().own;
    let by_guest = ended.cause.is_none() && matches!(ended.last, Last::Exit(Exit::PoweredOff));
    let goes = ended.asked == Some(Asked::Terminate)
        || own.remove
        || (by_guest && own.shutdown_behavior == Behavior::Terminate);
    let leaves_nothing = own.remove && own.foreground;
    let (id, boot_mode) =
        (held.record().instance_id.clone(), held.record().current_instance_boot_mode.clone());
    let reason = reason(ended, by_guest, held.record().state_reason.as_ref());
    if !goes {
        held.enter(State::Stopped, Some(reason))?;
        return Ok(After { id, state: State::Stopped, boot_mode, holds: held.holds(), kept: Vec::new() });
    }
    let terminated = if leaves_nothing { held.remove()? } else { held.terminate(reason)? };
    Ok(After { id, state: State::Terminated, boot_mode, holds: 0, kept: terminated.kept })
}

/// `asked`: what the record says of why it is ended, if somebody wanted it to be.
fn reason(ended: &Ended, by_guest: bool, asked: Option<&StateReason>) -> StateReason {
    match (ended.cause, &ended.last) {
        _ if by_guest => StateReason::by_instance(),
        (Some(Cause::KernelPanic), _) => StateReason::failure(ended.panic.as_deref().unwrap_or_default()),
        (Some(Cause::Unrecorded), _) => StateReason::failure("its record could not be written"),
        (Some(Cause::TimedOut), _) => StateReason::failure("its time was over (--timeout)"),
        (Some(_), _) => asked.cloned().unwrap_or_else(StateReason::by_user),
        (None, Last::Exit(Exit::TripleFault)) => {
            StateReason::failure("a triple fault shut the guest's CPU down")
        }
        (None, Last::Exit(Exit::Emulation(what))) => {
            StateReason::failure(&format!("KVM cannot run an instruction of the guest: {what}"))
        }
        (None, Last::Failed(cause)) => StateReason::failure(&machine_failure(cause).line()),
        (None, _) => StateReason::failure("the machine ended by a bug in ami-run"),
    }
}

pub(crate) fn io_failure(what: &str, cause: &io::Error) -> Failure {
    Failure::new(Code::Host, format!("cannot {what}")).because(cause)
}
