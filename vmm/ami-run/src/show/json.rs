//! What is on a disk, as JSON.

use ami_run_inspect::{
    BootCodeKind, BootEntry, Contents, Guess, Holds, Kernel, Machine, Menu, Partition, Place,
    ROOT_DEVICE_NAME, Role, Table, starts,
};
use serde::Serialize;

/// The object of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Json<'a> {
    volume_bytes: u64,
    partition_table: &'static str,
    boot_code: &'static str,
    assumed: Option<Assumed>,
    partitions: Vec<PartitionJson<'a>>,
    loaders: Vec<Loader<'a>>,
    systems: Vec<SystemJson<'a>>,
    entries: Vec<EntryJson<'a>>,
    menus: Vec<MenuJson<'a>>,
    command_lines: Vec<CommandLineJson<'a>>,
    kernels: Vec<KernelJson<'a>>,
    not_looked_into: Vec<UnreadJson<'a>>,
}

/// What a disk that no image describes is taken for.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Assumed {
    architecture: String,
    boot_mode: String,
    root_device_name: &'static str,
    why: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PartitionJson<'a> {
    number: u32,
    role: &'static str,
    holds: &'static str,
    first_byte: u64,
    bytes: u64,
    active: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

/// An EFI program.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Loader<'a> {
    partition: u32,
    path: &'a str,
    machine: String,
    kind: &'static str,
    /// Its version, its system's name, its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<&'a str>,
    signed: bool,
    /// The program that it starts in turn, where its own rules say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SystemJson<'a> {
    partition: u32,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EntryJson<'a> {
    place: &'a Place,
    title: Option<&'a str>,
    missing: &'a [String],
}

/// systemd-boot's settings.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MenuJson<'a> {
    place: &'a Place,
    default: Option<&'a str>,
    waits: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CommandLineJson<'a> {
    place: &'a Place,
    text: &'a str,
    rescue: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KernelJson<'a> {
    version: &'a str,
    machine: Option<String>,
    place: Option<&'a Place>,
    initrds: &'a [Place],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UnreadJson<'a> {
    place: &'a Place,
    why: &'a str,
}

impl From<&Guess> for Assumed {
    fn from(guess: &Guess) -> Assumed {
        Assumed {
            architecture: guess.architecture.to_string(),
            boot_mode: guess.boot_mode.to_string(),
            root_device_name: ROOT_DEVICE_NAME,
            why: guess.why,
        }
    }
}

/// Every loader of a disk, for programs.
pub(crate) fn loaders(contents: &Contents) -> Vec<Loader<'_>> {
    let all = contents.loaders.iter().map(|loader| {
        let ami_run_inspect::Loader { partition, path, machine, kind, signed } = loader;
        Loader {
            partition: *partition,
            path,
            machine: word(*machine),
            kind: kind.name(),
            says: kind.says(),
            signed: *signed,
            starts: starts(contents, loader).map(|next| next.path.as_str()),
        }
    });
    all.collect()
}

/// One word for programs.
fn word(machine: Machine) -> String {
    match machine {
        Machine::X86_64 | Machine::Arm64 => machine.to_string(),
        Machine::I386 => "i386".to_owned(),
        Machine::Other(machine) => format!("{machine:#06x}"),
        Machine::None => "none".to_owned(),
    }
}

pub(super) fn json<'a>(contents: &'a Contents, assumed: Option<&Guess>) -> Json<'a> {
    let system = &contents.system;
    let kernel = |(version, kernel): (&'a String, &'a Kernel)| KernelJson {
        version,
        machine: kernel.machine.map(word),
        place: kernel.place.as_ref(),
        initrds: &kernel.initrds,
    };
    let entry = |entry: &'a BootEntry| EntryJson {
        place: &entry.place,
        title: entry.title.as_deref(),
        missing: &entry.missing,
    };
    let menu =
        |menu: &'a Menu| MenuJson { place: &menu.place, default: menu.default.as_deref(), waits: menu.waits };
    let partition = |partition: &'a Partition| PartitionJson {
        number: partition.number,
        role: role(partition.role).0,
        holds: holds(partition.holds),
        first_byte: partition.first_byte,
        bytes: partition.bytes,
        active: partition.active,
        name: &partition.name,
    };
    Json {
        volume_bytes: contents.volume_bytes,
        partition_table: match contents.table {
            Table::None => "none",
            Table::Mbr { .. } => "mbr",
            Table::Gpt(_) => "gpt",
        },
        boot_code: match contents.boot_code.kind {
            BootCodeKind::None => "none",
            BootCodeKind::Grub { .. } => "grub",
            BootCodeKind::Chain { .. } => "chain",
            BootCodeKind::Lilo => "lilo",
            BootCodeKind::Unknown => "unknown",
        },
        assumed: assumed.map(Assumed::from),
        partitions: contents.partitions.iter().map(partition).collect(),
        loaders: loaders(contents),
        systems: system
            .names
            .iter()
            .map(|(partition, name)| SystemJson { partition: *partition, name })
            .collect(),
        entries: system.entries.iter().map(entry).collect(),
        menus: system.menus.iter().map(menu).collect(),
        command_lines: system
            .command_lines
            .iter()
            .map(|line| CommandLineJson { place: &line.place, text: &line.text, rescue: line.rescue })
            .collect(),
        kernels: system.kernels.iter().map(kernel).collect(),
        not_looked_into: contents
            .unread
            .iter()
            .map(|unread| UnreadJson { place: &unread.place, why: &unread.why })
            .collect(),
    }
}

/// For programs and for people.
pub(super) fn role(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Esp => ("esp", "EFI system partition, "),
        Role::XBootLoader => ("xbootldr", "XBOOTLDR, "),
        Role::BiosBoot => ("bios-boot", "BIOS boot partition, "),
        Role::Extended => ("extended", "extended partition, "),
        Role::Other => ("other", ""),
    }
}

pub(super) fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Ext => "ext",
        Holds::Fat => "FAT",
        Holds::Other(what) => what,
        Holds::Unknown => "unknown",
        Holds::Nothing => "unreadable",
    }
}
