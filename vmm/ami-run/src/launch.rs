//! A launch from the command line: decided, made into an instance, and run here or by a process of its own.

use crate::args::{Launch, Output};
use crate::console::{Input, Screen};
use crate::exit::Code;
use crate::failure::Failure;
use crate::firmware::{self, First};
use crate::instance::{self, Started};
use crate::outputs::{self, Outputs};
use crate::plan::{self, Plan};
use crate::report::Report;
use crate::run::{self, After, Face, io_failure};
use crate::session::{Ended, Signals};
use crate::ssh::key::KeyPair;
use crate::state::{self, catalog_failure};
use crate::{answer, fresh, host, metadata, network, ssh, uefi_data, ui};
use ami_run_catalog::{Catalog, Held, InstanceRecord, Network, NewInstance};
use ami_run_image::Warning;
use ami_run_metadata::PublicKey;
use serde::Serialize;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, absolute};

/// Launches an image, and follows it unless it is to run by itself.
pub(crate) fn run(args: &Launch, bare: bool) -> Code {
    let mut plan = match check(args).and_then(|()| plan::plan(args, bare)) {
        Ok(plan) if args.dry_run => return Report::planned(args, &plan.launch).tell(args.output),
        Ok(plan) => plan,
        Err(failure) => return Report::refused(&args.wanted(), None, failure).tell(args.output),
    };
    let image_id = plan.launch.image_id.clone();
    if args.detach {
        return detached(args, &mut plan).unwrap_or_else(|failure| {
            ui::failure(&failure);
            failure.code
        });
    }
    let ended = foreground(args, &mut plan);
    let warnings = plan.launch.warnings;
    match ended {
        Ok((ended, after)) => Report::ended(&args.wanted(), image_id, &ended, after),
        Err(failure) => Report::refused(&args.wanted(), image_id, failure),
    }
    .warned(warnings)
    .tell(args.output)
}

/// What the command line itself says against it.
fn check(args: &Launch) -> Result<(), Failure> {
    check_count(args)?;
    network::check(args)
}

/// Several have neither one terminal nor one file to write to.
fn check_count(args: &Launch) -> Result<(), Failure> {
    if args.count == 1 {
        return Ok(());
    }
    let refused = |what: String| Failure::new(Code::CommandLine, format!("--count {}: {what}", args.count));
    if !args.detach {
        let failure = refused("several instances cannot all have this terminal".to_owned());
        return Err(failure.hint("add -d, and each runs by itself"));
    }
    if !args.forwards.is_empty() {
        let failure = refused("several instances cannot share one port (-p)".to_owned());
        return Err(failure.hint("launch them one by one, each with a port of its own"));
    }
    if let Network::Tap { name } = &args.net {
        let failure = refused(format!("several instances cannot share one interface (--net tap={name})"));
        return Err(failure.hint("launch them one by one, each with an interface of its own"));
    }
    let files = [
        ("--console-log", args.console_log.is_some()),
        ("--firmware-log", args.firmware_log.is_some()),
        ("--trace", args.trace.is_some()),
    ];
    match files.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => {
            let failure = refused(format!("several instances cannot write one file ({option})"));
            Err(failure.hint("launch them one by one; `ami-run logs` tells what each console said"))
        }
    }
}

/// What must be there before anything is made.
struct Ready {
    catalog: Catalog,
    first: First,
    outputs: Outputs,
    /// The instance's own, unless it was given one or nobody is to log in.
    key: Option<KeyPair>,
}

fn get_ready(args: &Launch, plan: &mut Plan) -> Result<Ready, Failure> {
    plan.check_cpus()?;
    plan.check_memory(args)?;
    let first = firmware::find(&plan.start, plan.launch.boot_mode)?;
    uefi_data::check_room(plan.uefi_data.as_deref(), &first)?;
    host::check_kvm(args.force)?;
    let catalog = state::catalog()?;
    let outputs = outputs::open(args, plan)?;
    let key = ssh::key::for_launch(plan.inputs.key.is_some(), args.logs_in())?;
    if let Some(key) = &key {
        let (name, openssh) = (key.name.to_owned(), key.public.clone());
        plan.inputs.key = Some(PublicKey { name, openssh });
    }
    if let Some(assumption) = plan.assumption() {
        ui::status("assuming", &assumption);
    }
    for Warning { code, message } in &plan.launch.warnings {
        ui::status("warning", &format!("{code}: {message}"));
    }
    if let Some(source) = &plan.inputs.iam_credentials {
        metadata::tell_lending(source)?;
    }
    Ok(Ready { catalog, first, outputs, key })
}

fn foreground(args: &Launch, plan: &mut Plan) -> Result<(Ended, After), Failure> {
    let Ready { catalog, first, outputs, key } = get_ready(args, plan)?;
    // From here on the end comes by signal only through the session, which cleans up.
    let signals = Signals::block().map_err(|cause| io_failure("take over signals", &cause))?;
    let reservation =
        catalog.new_reservation(args.account_id.as_deref()).map_err(|cause| catalog_failure(&cause))?;
    let exec = exec(args)?;
    let held = make(&catalog, fresh::instance(args, plan, &reservation, 0), key.as_ref())?;
    ui::status("booting", &plan.shape(&held.record().instance_id));
    let (screen, input) = match terminal(args) {
        Ok(both) => both,
        Err(failure) => return Err(run::give_up(held, failure)),
    };
    if let Some(keys) = input.way_out() {
        ui::status("console", &keys);
    }
    let face = Face {
        signals,
        input,
        screen,
        log: outputs.log,
        firmware_log: outputs.firmware_log,
        trace: outputs.trace,
        wait_for: args.wait_for.clone(),
        exec,
        timeout: args.timeout.map(|limit| ui::start() + limit),
        hang_after: args.hang_after,
        parent: None,
    };
    let ended = run::run(held, first, &mut plan.bases, face);
    catalog.sweep();
    ended
}

fn make(catalog: &Catalog, new: NewInstance, key: Option<&KeyPair>) -> Result<Held, Failure> {
    let held = catalog.create(new).map_err(|cause| catalog_failure(&cause))?;
    match key.map_or(Ok(()), |key| key.store(held.folder())) {
        Ok(()) => Ok(held),
        Err(failure) => Err(run::give_up(held, failure)),
    }
}

/// RunInstances' answer.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Launched {
    reservation_id: String,
    owner_id: String,
    groups: [(); 0],
    instances: Vec<InstanceRecord>,
}

/// Starts as many processes as instances are wanted, and says their ids when all machines run. All or none, as EC2
/// has it where the least count is the greatest.
fn detached(args: &Launch, plan: &mut Plan) -> Result<Code, Failure> {
    let Ready { catalog, key, .. } = get_ready(args, plan)?;
    let reservation =
        catalog.new_reservation(args.account_id.as_deref()).map_err(|cause| catalog_failure(&cause))?;
    let options = process_options(args);
    let mut started: Vec<Started> = Vec::new();
    let mut failed = None;
    for index in 0..args.count {
        let one =
            make(&catalog, fresh::instance(args, plan, &reservation, index), key.as_ref()).and_then(|held| {
                ui::status("booting", &plan.shape(&held.record().instance_id));
                instance::spawn(&catalog, held, &options)
            });
        match one {
            Ok(one) => started.push(one),
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    // Each is heard, also when another has failed: then it can be told to terminate.
    for one in &mut started {
        failed = failed.or(one.running().err());
    }
    catalog.sweep();
    let ids: Vec<String> = started.iter().map(|one| one.id.clone()).collect();
    if let Some(failure) = failed {
        instance::undo(&catalog, &ids);
        return Err(failure);
    }
    if !args.wait_for.is_empty() {
        started.into_iter().try_for_each(Started::all_seen)?;
    }
    let describe = |id| catalog.describe(id).map_err(|cause| catalog_failure(&cause));
    let records = ids.iter().map(|id| describe(id).map(InstanceRecord::without_user_data));
    let launched = Launched {
        reservation_id: reservation.reservation_id.clone(),
        owner_id: reservation.owner_id.clone(),
        groups: [],
        instances: records.collect::<Result<_, _>>()?,
    };
    Ok(answer::tell(args.output, &ids.join("\n"), &launched, Code::Success))
}

/// What a detached process is told besides its instance's record. It has another current folder.
fn process_options(args: &Launch) -> Vec<OsString> {
    let full = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    let mut options: Vec<OsString> = Vec::new();
    if args.force {
        options.push("--force".into());
    }
    for pattern in &args.wait_for {
        options.extend(["--wait-for".into(), OsString::from(&pattern.text)]);
    }
    if let Some(timeout) = args.timeout {
        let left = timeout.saturating_sub(ui::start().elapsed()).as_secs().max(1);
        options.extend(["--timeout".into(), OsString::from(left.to_string())]);
    }
    options.extend(["--hang-after".into(), OsString::from(args.hang_after.as_secs().to_string())]);
    if let Some(log) = &args.firmware_log {
        options.extend(["--firmware-log".into(), full(log)]);
    }
    if let Some(log) = &args.console_log {
        options.extend(["--console-log".into(), full(log)]);
    }
    if let Some(trace) = &args.trace {
        let mut to = OsString::from(format!("{}=", trace.names));
        to.push(full(&trace.file));
        options.extend(["--trace".into(), to]);
    }
    options
}

/// What is to be run in the guest, and where its outputs go; standard output is the result's with --output json.
fn exec(args: &Launch) -> Result<Option<(OsString, ssh::Outputs)>, Failure> {
    let Some(command) = args.exec.clone() else { return Ok(None) };
    let outputs = ssh::Outputs::ours(args.output == Output::Json);
    outputs.map(|outputs| Some((command, outputs))).map_err(|cause| io_failure("use standard output", &cause))
}

/// Where the console is shown, which is not where the JSON result goes, and what is typed.
fn terminal(args: &Launch) -> Result<(Option<Screen>, Input), Failure> {
    // The outputs of a command are not mixed with the console.
    if args.exec.is_some() {
        return Ok((None, Input::none()));
    }
    let screen = match (args.output, &args.console_log) {
        (Output::Text, _) => Screen::new(io::stdout().as_fd()).map(Some),
        (Output::Json, None) => Screen::new(io::stderr().as_fd()).map(Some),
        (Output::Json, Some(_)) => Ok(None),
    };
    let screen = screen.map_err(|cause| io_failure("use the console's output", &cause))?;
    let options = [&args.given.user_data, &args.uefi_data];
    let read_already = args.image.as_deref() == Some(Path::new("-"))
        || options.into_iter().any(|given| given.as_deref() == Some("-"));
    let input = if read_already { Ok(Input::none()) } else { Input::open(args.escape, false) };
    Ok((screen, input.map_err(|cause| io_failure("use the terminal", &cause))?))
}
