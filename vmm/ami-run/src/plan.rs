//! From the command line to everything that this launch decided. What the user got wrong is told here, before
//! anything is opened that costs time or leaves a trace.

use crate::args::{Launch, MAX_CPUS};
use crate::bases::Bases;
use crate::disks::unusable;
use crate::exit::Code;
use crate::failure::Failure;
use crate::metadata::Inputs;
use crate::snapshots::{self, Places};
use crate::source::{self, ASSUMED_SNAPSHOT, Source};
use crate::{host, inspect, mappings, metadata, network, uefi_data};
use ami_run_catalog::Start;
use ami_run_image::{Architecture, Image, LaunchPlan, PlannedVolume, Refusal, Request, Warning};
use ami_run_inspect::{Claims, Depth, Finding, Guess, Severity, guess, lint};
use ami_run_machine::MAX_VOLUMES;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A launch, decided.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is launched, for people: the image's id or the file's name.
    pub(crate) name: String,
    pub(crate) launch: LaunchPlan,
    pub(crate) start: Start,
    pub(crate) inputs: Inputs,
    /// In base64.
    pub(crate) uefi_data: Option<String>,
    /// The disk files of its volumes, which it has looked into.
    pub(crate) bases: Bases,
    kind: Kind,
    /// Why a disk that no image describes is taken for what it is.
    guessed: Option<&'static str>,
}

/// What was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    /// A disk file or a volume that no image describes.
    Disk,
    /// A kernel by itself.
    Kernel,
}

/// Decides a launch.
pub(crate) fn plan(args: &Launch, bare: bool) -> Result<Plan, Failure> {
    check_standard_input(args)?;
    let wanted = args.image_id.as_deref();
    let source = args.image.as_deref().map(|path| source::open(path, bare, wanted)).transpose()?;
    let mut named = Named::new(args, source)?;
    let mut launch = named.decide(args)?;
    check_machine(args, &launch)?;
    let inputs = given(args, &mut launch)?;
    let uefi_data =
        args.uefi_data.as_deref().map(|given| uefi_data::read(given, launch.boot_mode)).transpose()?;
    if named.kind == Kind::Image
        && let Some(id) = &launch.image_id
    {
        named.name.clone_from(id);
    }
    // A boot mode that was asked for is not what the disk looks like.
    let guess = named.guess.filter(|guess| guess.boot_mode == launch.boot_mode);
    let guessed = guess.map(|guess| guess.why);
    let Named { name, kind, bases, .. } = named;
    let mut plan = Plan { name, launch, start: start(args), inputs, uefi_data, bases, kind, guessed };
    plan.launch.warnings.extend(network::warning(&args.net));
    Ok(plan)
}

/// It is read once.
fn check_standard_input(args: &Launch) -> Result<(), Failure> {
    let image = args.image.as_deref() == Some(Path::new("-"));
    let options = [("--user-data", &args.given.user_data), ("--uefi-data", &args.uefi_data)];
    let mut read = image.then_some("the image");
    for (option, given) in options {
        if given.as_deref() != Some("-") {
            continue;
        }
        if let Some(other) = read {
            let message = format!("{option} -: {other} is read from standard input already");
            return Err(Failure::new(Code::CommandLine, message).hint("name a file"));
        }
        read = Some(option);
    }
    Ok(())
}

/// What the instance is given besides.
fn given(args: &Launch, launch: &mut LaunchPlan) -> Result<Inputs, Failure> {
    let inputs = metadata::inputs(&args.given, args.name.as_deref(), &launch.metadata_options)?;
    launch.metadata_options.clone_from(&inputs.metadata_options);
    Ok(inputs)
}

/// A disk that was named by itself.
struct Given {
    path: PathBuf,
    /// It is a volume, of so many bytes.
    volume: Option<u64>,
}

/// What the command line names, looked into.
struct Named {
    kind: Kind,
    name: String,
    image: Image,
    /// Where snapshots are looked for.
    folder: PathBuf,
    /// A disk that no image describes, and what it looks like.
    disk: Option<Given>,
    guess: Option<Guess>,
    bases: Bases,
}

impl Named {
    fn new(args: &Launch, source: Option<Source>) -> Result<Named, Failure> {
        let mut bases = Bases::default();
        Ok(match source {
            Some(Source::Description { image, name, folder }) => {
                Named { kind: Kind::Image, name, image: *image, folder, disk: None, guess: None, bases }
            }
            Some(Source::Disk(path)) => {
                let disk = inspect::open(&mut bases, &path)?;
                Named::disk(Given { path, volume: None }, &disk, bases)?
            }
            Some(Source::Volume(path)) => {
                let disk = inspect::open_volume(&mut bases, &path)?;
                Named::disk(Given { path, volume: Some(disk.size()) }, &disk, bases)?
            }
            None => {
                let name =
                    args.kernel.as_ref().map(|kernel| kernel.display().to_string()).unwrap_or_default();
                let (image, folder) = (source::assumed_image(None), PathBuf::from("."));
                Named { kind: Kind::Kernel, name, image, folder, disk: None, guess: None, bases }
            }
        })
    }

    fn disk(given: Given, disk: &inspect::Disk, bases: Bases) -> Result<Named, Failure> {
        let (name, folder) = (given.path.display().to_string(), source::folder_of(&given.path));
        let guess = guess(&inspect::look(disk, None, Depth::Start)?, host::this_computer()?);
        let image = source::assumed_image(Some(&guess));
        Ok(Named { kind: Kind::Disk, name, image, folder, disk: Some(given), guess: Some(guess), bases })
    }

    fn decide(&mut self, args: &Launch) -> Result<LaunchPlan, Failure> {
        let mappings = mappings::read(&args.block_device_mappings)?;
        let request = Request {
            host: host::this_computer()?,
            instance_type: args.instance_type.as_deref(),
            cpus: args.cpus,
            memory_mib: args.memory,
            boot_mode: args.boot_mode,
            mappings: &mappings,
            interface: args.disk_interface.chosen(),
            account_id: args.account_id.as_deref(),
            now: SystemTime::now(),
        };
        let refuse = |refusal: Refusal| self.refuse(&refusal);
        let mut launch = ami_run_image::plan(&self.image, &request).map_err(refuse)?;
        if self.kind == Kind::Kernel {
            launch.volumes.retain(|volume| !volume.root);
        }
        if self.kind != Kind::Image {
            // Nobody has said anything about the drivers on such a disk, or how it starts.
            launch.warnings.retain(|warning| !["EnaSupport", "BootModeOverridden"].contains(&warning.code));
        }
        let count = launch.volumes.len();
        if count > MAX_VOLUMES {
            let message =
                format!("{} maps {count} volumes, and a machine has places for {MAX_VOLUMES}", self.name);
            return Err(Failure::new(Code::Refused, message));
        }
        self.find_snapshots(args, &mut launch.volumes)?;
        if matches!(start(args), Start::Firmware(_)) {
            launch.warnings.extend(self.look_at_root(args, &launch)?);
        }
        Ok(launch)
    }

    /// What no image says of a disk may be taken for the wrong thing, so it is said why it is.
    fn refuse(&self, refusal: &Refusal) -> Failure {
        let failure = source::refuse_launch(&self.name, refusal);
        let Some(Guess { architecture, why, .. }) = &self.guess else { return failure };
        if refusal.place != "Architecture" {
            return failure;
        }
        let taken = format!("the disk is taken for {architecture}: {why}; an image.json can say otherwise");
        let hint: Vec<_> = failure.hint.iter().cloned().chain([taken]).collect();
        failure.hint(hint.join("\n"))
    }

    /// What keeps the root volume from starting, before anybody waits for it.
    fn look_at_root(&mut self, args: &Launch, launch: &LaunchPlan) -> Result<Vec<Warning>, Failure> {
        let Some(PlannedVolume { source: Some(file), size_gib, kept, .. }) = launch.volumes.first() else {
            return Ok(Vec::new());
        };
        let bytes = size_gib.map(|gib| u64::from(gib) << 30);
        let open = if *kept { inspect::open_volume } else { inspect::open };
        let contents = inspect::look(&open(&mut self.bases, file)?, bytes, Depth::Start)?;
        // Of a disk that no image describes, the assumed image claims what was guessed.
        let mut claims = Claims::from(&self.image);
        claims.boot_mode = args.boot_mode.map(|mode| mode.to_string()).or(claims.boot_mode);
        let findings = lint(&contents, Some(&claims), launch.architecture).into_iter();
        let errors = findings.filter(|finding| finding.severity == Severity::Error);
        let warning = |finding: Finding| Warning {
            code: finding.code.name(),
            message: format!("{}: {}", finding.place, finding.reason),
        };
        Ok(errors.map(warning).collect())
    }

    fn find_snapshots(&mut self, args: &Launch, volumes: &mut [PlannedVolume]) -> Result<(), Failure> {
        let assumed = |id: &&str| self.disk.is_some() && *id == ASSUMED_SNAPSHOT;
        let ids = volumes.iter().filter_map(|volume| volume.snapshot_id.as_deref());
        let ids: Vec<_> = ids.filter(|id| !assumed(id)).collect();
        snapshots::check(&args.snapshots, &ids)?;
        let places = Places {
            given: &args.snapshots,
            image: &self.image,
            folder: &self.folder,
            external: args.allow_external_files,
        };
        for volume in volumes {
            let file = match (&volume.snapshot_id, &self.disk) {
                (None, _) => continue,
                (Some(_), Some(Given { path, volume: Some(bytes) })) if volume.root => {
                    let refuse = |refusal| source::refuse_launch(&self.name, &refusal);
                    volume.is_there(path.clone(), *bytes).map_err(refuse)?;
                    continue;
                }
                (Some(_), Some(Given { path, .. })) if volume.root => path.clone(),
                (Some(id), _) => snapshots::find(id, &places)?,
            };
            let base = self.bases.open(&file).map_err(|cause| {
                unusable(&format!("{} as volume {}", file.display(), volume.device_name), &cause)
            })?;
            let size = base.size();
            volume.found(file, size).map_err(|refusal| source::refuse_launch(&self.name, &refusal))?;
            if self.disk.is_some() && volume.root {
                // The file is all that there is: its snapshot has no name.
                volume.snapshot_id = None;
            }
        }
        Ok(())
    }
}

/// Refuses what an arm64 machine has not, and what its firmware could not begin with.
fn check_machine(args: &Launch, launch: &LaunchPlan) -> Result<(), Failure> {
    if launch.architecture != Architecture::Arm64 || args.kernel.is_some() {
        return Ok(());
    }
    if args.firmware_log.is_some() {
        let message = "--firmware-log: an arm64 machine has no debug port, as a PC has";
        return Err(Failure::new(Code::CommandLine, message)
            .hint("leave it out: what its firmware prints goes to the console, and to --console-log"));
    }
    host::check_uefi_memory(launch.memory_mib, "--memory")
}

fn start(args: &Launch) -> Start {
    match args.kernel.clone() {
        None => Start::Firmware(args.firmware.clone()),
        Some(kernel) => Start::Kernel {
            kernel,
            initrd: args.initrd.clone(),
            command_line: args.append.clone().unwrap_or_default(),
        },
    }
}

impl Plan {
    /// What nobody said and was taken for granted, if anything.
    pub(crate) fn assumption(&self) -> Option<String> {
        let LaunchPlan { architecture, boot_mode, root_device_name, .. } = &self.launch;
        match self.kind {
            Kind::Disk => {
                let why = self.guessed.map_or_else(String::new, |why| format!(", {boot_mode}: {why}"));
                let name = &self.name;
                Some(format!("{name} is for {architecture}, root volume {root_device_name} only{why}"))
            }
            Kind::Image if self.launch.type_by_default => Some(format!(
                "instance type {}: --instance-type chooses another",
                self.launch.instance_type.name
            )),
            Kind::Image | Kind::Kernel => None,
        }
    }

    /// Refuses what a machine cannot be.
    pub(crate) fn check_cpus(&self) -> Result<(), Failure> {
        if self.launch.cpus > MAX_CPUS {
            let (name, cpus) = (&self.launch.instance_type.name, self.launch.cpus);
            let message = format!("{name} has {cpus} vCPUs, and a machine has {MAX_CPUS} at most");
            return Err(Failure::new(Code::Host, message).hint("give it fewer by --cpus"));
        }
        Ok(())
    }

    /// Refuses what this computer has no room for.
    pub(crate) fn check_memory(&self, args: &Launch) -> Result<(), Failure> {
        let who = if args.memory.is_some() { "--memory" } else { self.launch.instance_type.name.as_str() };
        host::check_memory(self.launch.memory_mib, who)
    }

    /// The machine in brief, for the status line.
    pub(crate) fn shape(&self, id: &str) -> String {
        let launch = &self.launch;
        let start = match &self.start {
            Start::Firmware(_) => launch.boot_mode.to_string(),
            Start::Kernel { .. } => "no firmware".to_owned(),
        };
        let vcpus = if launch.cpus == 1 { "vCPU" } else { "vCPUs" };
        let (arch, cpus, mib) = (launch.architecture, launch.cpus, launch.memory_mib);
        let disks = launch.volumes.first().map(|root| format!(", {}", root.interface)).unwrap_or_default();
        format!("{} as {id} ({arch}, {start}, {cpus} {vcpus}, {mib} MiB{disks})", self.name)
    }

    /// Every file that this launch reads and must not write.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        let mut all = self.bases.files();
        match &self.start {
            Start::Firmware(file) => all.extend(file.clone()),
            Start::Kernel { kernel, initrd, .. } => {
                all.push(kernel.clone());
                all.extend(initrd.clone());
            }
        }
        all
    }
}
