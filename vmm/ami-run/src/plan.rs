//! From the command line to everything that this launch decided. What the user got wrong is told here, before
//! anything is opened that costs time or leaves a trace.

use crate::args::Launch;
use crate::exit::Code;
use crate::failure::Failure;
use crate::source::{self, Source};
use crate::{host, identity, snapshots};
use ami_run_image::{Architecture, Image, Interface as PlannedInterface, LaunchPlan, PlannedVolume, Shape};
use ami_run_machine::{Disk, Interface, MAX_VOLUMES};
use ami_run_storage::{StorageError, Volume};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;

/// A launch, decided.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is launched, for people: the image's id or the file's name.
    pub(crate) name: String,
    pub(crate) launch: LaunchPlan,
    /// In the order of the launch plan's volumes; none for a volume that starts empty.
    pub(crate) disks: Vec<Option<PathBuf>>,
    pub(crate) start: Start,
    /// No image described the disk.
    bare_disk: bool,
}

/// What runs first.
#[derive(Debug)]
pub(crate) enum Start {
    Firmware(Option<PathBuf>),
    Kernel { kernel: PathBuf, initrd: Option<PathBuf>, command_line: String },
}

/// Decides a launch.
pub(crate) fn plan(args: &Launch, bare: bool) -> Result<Plan, Failure> {
    let start = start(args);
    host::check_memory(args.memory)?;
    let source = args.image.as_deref().map(|path| source::open(path, bare)).transpose()?;
    let interface = args.disk_interface.chosen();
    let shape = Shape { cpus: args.cpus, memory_mib: args.memory, interface };
    match source {
        None => no_image(args, shape, start),
        Some(Source::Disk(path)) => disk(args, shape, start, path),
        Some(Source::Description { image, name, folder }) => {
            let launch = launch(&image, &name, shape)?;
            let ids: Vec<_> = launch.volumes.iter().filter_map(|v| v.snapshot_id.as_deref()).collect();
            snapshots::check(&args.snapshots, &ids)?;
            let find = |id: &String| snapshots::find(id, &args.snapshots, &folder);
            let files = launch.volumes.iter().map(|v| v.snapshot_id.as_ref().map(find).transpose());
            let disks = files.collect::<Result<_, _>>()?;
            let name = launch.image_id.clone().unwrap_or(name);
            Ok(Plan { name, launch, disks, start, bare_disk: false })
        }
    }
}

fn launch(image: &Image, name: &str, shape: Shape) -> Result<LaunchPlan, Failure> {
    let launch =
        ami_run_image::plan(image, this_computer()?, shape).map_err(|cause| source::refuse(name, &cause))?;
    let count = launch.volumes.len();
    if count > MAX_VOLUMES {
        let message = format!("{name} maps {count} volumes, and a machine has places for {MAX_VOLUMES}");
        return Err(Failure::new(Code::Refused, message));
    }
    Ok(launch)
}

fn this_computer() -> Result<Architecture, Failure> {
    Architecture::of_this_computer().ok_or_else(|| {
        let arch = std::env::consts::ARCH;
        Failure::new(Code::Host, format!("this computer is {arch}: EC2 has x86_64 and arm64"))
    })
}

fn disk(args: &Launch, shape: Shape, start: Start, path: PathBuf) -> Result<Plan, Failure> {
    snapshots::check(&args.snapshots, &[])?;
    let name = path.display().to_string();
    let launch = launch(&source::assumed_image(), &name, shape)?;
    Ok(Plan { name, launch, disks: vec![Some(path)], start, bare_disk: true })
}

/// A kernel by itself: the machine has no disk.
fn no_image(args: &Launch, shape: Shape, start: Start) -> Result<Plan, Failure> {
    snapshots::check(&args.snapshots, &[])?;
    let name = args.kernel.as_ref().map_or_else(String::new, |kernel| kernel.display().to_string());
    let mut launch = launch(&source::assumed_image(), &name, shape)?;
    launch.volumes.clear();
    Ok(Plan { name, launch, disks: Vec::new(), start, bare_disk: false })
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
        let (arch, mode, root) = (self.launch.architecture, self.launch.boot_mode, source::ASSUMED_ROOT);
        self.bare_disk.then(|| format!("{} is for {arch}, {mode}, root volume {root} only", self.name))
    }

    /// The machine in brief, for the status line.
    pub(crate) fn shape(&self) -> String {
        let launch = &self.launch;
        let start = match &self.start {
            Start::Firmware(_) => launch.boot_mode.to_string(),
            Start::Kernel { .. } => "no firmware".to_owned(),
        };
        let vcpus = if launch.cpus == 1 { "vCPU" } else { "vCPUs" };
        let (arch, cpus, mib) = (launch.architecture, launch.cpus, launch.memory_mib);
        let disks = if launch.volumes.is_empty() { String::new() } else { format!(", {}", launch.interface) };
        format!("{} ({arch}, {start}, {cpus} {vcpus}, {mib} MiB{disks})", self.name)
    }

    /// Every file that this launch reads and must not write.
    pub(crate) fn inputs(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = self.disks.iter().flatten().map(PathBuf::as_path).collect();
        match &self.start {
            Start::Firmware(file) => all.extend(file.as_deref()),
            Start::Kernel { kernel, initrd, .. } => {
                all.push(kernel);
                all.extend(initrd.as_deref());
            }
        }
        all
    }

    /// How the guest sees the volume of this device name.
    fn interface(&self, name: &str) -> Result<Interface, Failure> {
        let mapping = name.trim_start_matches("/dev/").to_owned();
        match self.launch.interface {
            // The one thing by which a guest can tell such disks apart.
            PlannedInterface::Virtio => Ok(Interface::Virtio { serial: mapping }),
            PlannedInterface::Nvme => {
                let volume_id = identity::volume_id().map_err(|cause| {
                    Failure::new(Code::Host, "cannot get random numbers".to_owned()).because(&cause)
                })?;
                Ok(Interface::Nvme { volume_id, mapping })
            }
        }
    }

    /// Opens every volume, root first.
    pub(crate) fn open_disks(&self) -> Result<Vec<Disk>, Failure> {
        let tops = top_folder();
        let open = |(planned, disk): (&PlannedVolume, &Option<PathBuf>)| {
            let size = planned.size_gib.map(|gib| u64::from(gib) * GIB);
            let name = &planned.device_name;
            let volume = match disk {
                Some(file) => Volume::open(file, size, &tops)
                    .map_err(|cause| unusable(&format!("{} as volume {name}", file.display()), &cause)),
                None => blank(size.unwrap_or_default(), name, &tops),
            };
            Ok(Disk { volume: volume?, interface: self.interface(name)? })
        };
        self.launch.volumes.iter().zip(&self.disks).map(open).collect()
    }
}

/// A volume without a snapshot: all zeroes. Its base is a file of one hole, which never has a name.
fn blank(size: u64, name: &str, folder: &Path) -> Result<Volume, Failure> {
    let what = format!("an empty volume {name} in {}", folder.display());
    let cannot = |cause: io::Error| Failure::new(Code::Host, format!("cannot make {what}")).because(&cause);
    let base = tempfile::tempfile_in(folder).map_err(cannot)?;
    base.set_len(size).map_err(cannot)?;
    let path = format!("/proc/self/fd/{}", base.as_raw_fd());
    Volume::open(Path::new(&path), None, folder).map_err(|cause| unusable(&what, &cause))
}

fn unusable(what: &str, cause: &StorageError) -> Failure {
    let code = match cause {
        StorageError::Top { .. } => Code::Host,
        _ => Code::Refused,
    };
    Failure::new(code, format!("cannot use {what}")).because(cause)
}

/// Where private tops live: files without a name, possibly large, so not in a memory file system by choice.
pub(crate) fn top_folder() -> PathBuf {
    match std::env::var_os("TMPDIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from("/var/tmp"),
    }
}
