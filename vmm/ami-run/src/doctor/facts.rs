//! What `doctor` looks at. Nothing is judged here, and nothing is left behind.
//!
//! Left out: limits of control groups of version 1, which current distributions no longer use.

use crate::exit::Code;
use crate::failure::Failure;
use crate::host::access::{self, Surroundings};
use crate::host::{mib_of, verdict};
use crate::{disks, state};
use ami_run_firmware::find;
use ami_run_image::Architecture;
use ami_run_machine::probe::{self, Offer, Verdict};
use rustix::fs::{Access, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A root volume of a stock image has this size; its top must be able to.
const VOLUME: u64 = 8 << 30;
/// A sparse file of that size takes less than this.
const SPARSE: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) access: io::Result<Kvm>,
    pub(super) surroundings: Surroundings,
    /// None: this computer's guests have no BIOS.
    pub(super) bios: Option<Result<PathBuf, Failure>>,
    /// The code, of two files.
    pub(super) uefi: Result<PathBuf, Failure>,
    pub(super) memory: Memory,
    pub(super) writes: Writes,
    pub(super) state: State,
    pub(super) io_uring: Ring,
}

/// A /dev/kvm that can be opened.
#[derive(Debug)]
pub(super) struct Kvm {
    pub(super) offer: Result<Offer, Failure>,
    pub(super) verdict: Result<Verdict, Failure>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) total_mib: Option<u64>,
    pub(super) available_mib: Option<u64>,
    /// The least that a control group of this process allows.
    pub(super) limit_mib: Option<u64>,
}

/// Where guests' writes go.
#[derive(Debug)]
pub(super) struct Writes {
    pub(super) folder: PathBuf,
    pub(super) space: io::Result<Space>,
    pub(super) trouble: Option<Trouble>,
}

#[derive(Debug)]
pub(super) struct Space {
    pub(super) free: u64,
    pub(super) file_system: Option<String>,
    /// A large file takes only the space that is written.
    pub(super) sparse: bool,
}

/// What failed of what a volume's top does.
#[derive(Debug)]
pub(super) enum Trouble {
    Create(io::Error),
    /// The process may not make a file of a volume's size.
    Limit(u64),
    Size(io::Error),
    Write(io::Error),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) folder: PathBuf,
    pub(super) nearest: Option<Nearest>,
}

/// The state folder itself, or the nearest above it that is there.
#[derive(Debug)]
pub(super) struct Nearest {
    pub(super) path: PathBuf,
    pub(super) is_folder: bool,
    pub(super) own: bool,
    pub(super) writable: bool,
}

#[derive(Debug)]
pub(super) struct Ring {
    pub(super) trial: io::Result<()>,
    /// What the sysctl kernel.io_uring_disabled says: 0, or who may not; unknown to kernels before 6.6.
    pub(super) disabled: Option<String>,
}

impl Facts {
    pub(super) fn gather() -> Facts {
        let has_bios = Architecture::of_this_computer() != Some(Architecture::Arm64);
        Facts {
            access: access::open().map(|()| kvm()),
            surroundings: Surroundings::look(),
            bios: has_bios.then(|| {
                let found = find::seabios(None).map(|firmware| firmware.path);
                found.map_err(|cause| failure("no SeaBIOS", &cause))
            }),
            uefi: find::uefi(None).map(|firmware| firmware.code).map_err(|cause| {
                let [name, lost] = if has_bios {
                    ["OVMF", "images that start by uefi cannot be launched"]
                } else {
                    ["AAVMF", "no image can be launched"]
                };
                failure(&format!("no {name}: {lost}"), &cause)
            }),
            memory: memory(Path::new("/")),
            writes: writes(disks::top_folder()),
            state: state(state::place()),
            io_uring: Ring {
                trial: io_uring::IoUring::new(2).map(drop),
                disabled: line(Path::new("/proc/sys/kernel/io_uring_disabled")),
            },
        }
    }
}

fn kvm() -> Kvm {
    Kvm {
        offer: probe::offer().map_err(|cause| failure("it does not answer", &cause)),
        verdict: verdict::anew(),
    }
}

fn failure(message: &str, cause: &dyn Error) -> Failure {
    Failure::new(Code::Host, message).because(cause)
}

fn line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn memory(root: &Path) -> Memory {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    Memory {
        total_mib: mib_of(&meminfo, "MemTotal:"),
        available_mib: mib_of(&meminfo, "MemAvailable:"),
        limit_mib: group_limit(root).map(|bytes| bytes >> 20),
    }
}

/// Control groups of version 2 stand in one tree; each limits all below it.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let tree = root.join("sys/fs/cgroup");
    let above = Path::new(own).ancestors().map(|group| tree.join(group).join("memory.max"));
    // Where there is no limit it says "max".
    above.filter_map(|file| line(&file)?.parse().ok()).min()
}

/// Does what a volume's top does: a file without a name, of a volume's size, that is written to.
fn writes(folder: PathBuf) -> Writes {
    let found = match statvfs(&folder) {
        Ok(found) => found,
        Err(cause) => return Writes { folder, space: Err(cause.into()), trouble: None },
    };
    let mut space = Space {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        file_system: file_system(&folder),
        sparse: true,
    };
    let trouble = try_writes(&folder, &mut space).err();
    Writes { folder, space: Ok(space), trouble }
}

fn try_writes(folder: &Path, space: &mut Space) -> Result<(), Trouble> {
    // Beyond this limit the kernel does not refuse a size, but ends the process.
    if let Some(limit) = getrlimit(Resource::Fsize).current.filter(|limit| *limit < VOLUME) {
        return Err(Trouble::Limit(limit));
    }
    let file = tempfile::tempfile_in(folder).map_err(Trouble::Create)?;
    file.set_len(VOLUME).map_err(Trouble::Size)?;
    let taken = file.metadata().map_err(Trouble::Size)?.blocks().saturating_mul(512);
    space.sparse = taken < SPARSE;
    file.write_all_at(&[0x5a; 4096], 0).map_err(Trouble::Write)
}

/// The kernel's name for a folder's file system.
fn file_system(folder: &Path) -> Option<String> {
    // O_PATH: it is named, not opened, so whatever it is answers at once and needs no permission.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(folder).ok()?;
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd())).ok()?;
    let mount = told.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    kind_of_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, mount)
}

/// From a line of mountinfo: the mount's number first, and the type behind a dash (proc(5)).
fn kind_of_mount(mountinfo: &str, id: &str) -> Option<String> {
    let line = mountinfo.lines().find(|line| line.split(' ').next() == Some(id))?;
    let (_, behind) = line.split_once(" - ")?;
    behind.split(' ').next().map(str::to_owned)
}

fn state(folder: PathBuf) -> State {
    let above = folder.ancestors().find_map(|path| Some((path.to_owned(), fs::metadata(path).ok()?)));
    let nearest = above.map(|(path, found)| Nearest {
        is_folder: found.is_dir(),
        own: found.uid() == geteuid().as_raw(),
        writable: rustix::fs::access(&path, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        path,
    });
    State { folder, nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_mount_stands_behind_the_dash() {
        let text = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                    227 1 254:0 / /a\\040-\\040b rw shared:1 master:2 - ext4 /dev/vda rw,discard\n";
        assert_eq!(kind_of_mount(text, "22").as_deref(), Some("proc"));
        assert_eq!(kind_of_mount(text, "227").as_deref(), Some("ext4"));
        assert_eq!(kind_of_mount(text, "27"), None);
        assert_eq!(file_system(Path::new("/proc")).as_deref(), Some("proc"));
    }

    #[test]
    fn the_least_limit_above_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(group_limit(root.path()), None);
        write("proc/self/cgroup", "4:memory:/old\n0::/user.slice/a.scope\n");
        write("sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n");
        assert_eq!(group_limit(root.path()), None);
        write("sys/fs/cgroup/user.slice/memory.max", "1073741824\n");
        assert_eq!(group_limit(root.path()), Some(1 << 30));
        // In a container, the group's own limit stands at the root.
        write("sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(group_limit(root.path()), Some(512 << 20));
    }

    #[test]
    fn a_folder_is_tried_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let found = writes(folder.path().to_owned());
        assert!(found.trouble.is_none() && found.space.is_ok(), "{found:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let none = writes(folder.path().join("none")).space.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
        assert!(matches!(writes(PathBuf::from("/proc")).trouble, Some(Trouble::Create(_))));
    }

    #[test]
    fn the_nearest_folder_above_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let found = state(root.path().join("a/b")).nearest.unwrap();
        assert_eq!(found.path, root.path());
        assert!(found.is_folder && found.own && found.writable);
        fs::write(root.path().join("a"), "").unwrap();
        let found = state(root.path().join("a/b")).nearest.unwrap();
        assert!(found.path.ends_with("a") && !found.is_folder);
    }
}
