//! A launch plan for a person, and as JSON for a program.

use crate::metadata::MetadataOptions;
use crate::plan::{InstanceStore, LaunchPlan};
use crate::volume::PlannedVolume;
use crate::warning::Warning;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// The object of `--dry-run --output json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Plan<'a> {
    image_id: Option<&'a str>,
    architecture: String,
    instance_type: &'a str,
    boot_mode: String,
    root_device_name: &'a str,
    cpus: u32,
    #[serde(rename = "MemoryMiB")]
    memory_mib: u64,
    volumes: Vec<Volume<'a>>,
    instance_store: &'a [InstanceStore],
    metadata_options: &'a MetadataOptions,
    warnings: &'a [Warning],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Volume<'a> {
    device_name: &'a str,
    snapshot_id: Option<&'a str>,
    #[serde(rename = "SizeGiB")]
    size_gib: Option<u32>,
    volume_type: &'static str,
    iops: Option<u32>,
    throughput: Option<u32>,
    delete_on_termination: bool,
    encrypted: bool,
    source: Option<&'a Path>,
    /// Only of a volume that lasts: the others' plans are as they always were.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
    interface: String,
}

impl LaunchPlan {
    /// One JSON object.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Plan {
            image_id: self.image_id.as_deref(),
            architecture: self.architecture.to_string(),
            instance_type: &self.instance_type.name,
            boot_mode: self.boot_mode.to_string(),
            root_device_name: &self.root_device_name,
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            volumes: self.volumes.iter().map(Volume::of).collect(),
            instance_store: &self.instance_store,
            metadata_options: &self.metadata_options,
            warnings: &self.warnings,
        })
    }

    /// Lines of a heading and what was decided, and why where that is not plain.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |heading: &str, what: &str| {
            // A name in the image may hold a line feed, and must not look like a line of ours. Writing to a String
            // cannot fail.
            writeln!(text, "{heading:<14}  {}", what.replace('\n', "\\n")).unwrap_or_default();
        };
        line("image", &format!("{} ({})", self.image_id.as_deref().unwrap_or("-"), self.architecture));
        line("instance type", &self.type_text());
        line("boot mode", &self.boot_mode_text());
        for volume in &self.volumes {
            line(if volume.root { "root volume" } else { "volume" }, &volume_text(volume));
        }
        for disk in &self.instance_store {
            let name = disk.device_name.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
            line("instance store", &format!("{}{name}: {} GiB", disk.virtual_name, disk.size_gib));
        }
        let options = &self.metadata_options;
        let (tokens, hops) = (&options.http_tokens, options.http_put_response_hop_limit);
        line("metadata", &format!("HttpTokens {tokens}, HttpPutResponseHopLimit {hops}"));
        for warning in &self.warnings {
            line("warning", &format!("{}: {}", warning.code, warning.message));
        }
        text
    }

    fn type_text(&self) -> String {
        let kind = &self.instance_type;
        let by_default = if self.type_by_default { " (by default)" } else { "" };
        let cpus = differing(self.cpus.into(), kind.vcpus.into(), "--cpus");
        let memory = differing(self.memory_mib, kind.memory_mib, "--memory");
        let vcpus = if self.cpus == 1 { "vCPU" } else { "vCPUs" };
        format!("{}{by_default}: {} {vcpus}{cpus}, {} MiB{memory}", kind.name, self.cpus, self.memory_mib)
    }

    fn boot_mode_text(&self) -> String {
        let kind = &self.instance_type;
        let can = match (kind.legacy_bios, kind.uefi) {
            (true, true) => "legacy-bios and uefi",
            (false, true) => "uefi only",
            _ => "legacy-bios only",
        };
        let wanted = match self.wanted_boot_mode {
            Some(wanted) => format!("{wanted} is wanted"),
            None => "the image does not say".to_owned(),
        };
        format!("{} ({wanted}, {} has {can})", self.boot_mode, kind.name)
    }
}

/// What an option changed.
fn differing(chosen: u64, of_type: u64, option: &str) -> String {
    if chosen == of_type { String::new() } else { format!(" ({option}; the type has {of_type})") }
}

fn volume_text(volume: &PlannedVolume) -> String {
    let mut parts = Vec::new();
    let size = volume.shown_gib().map(|gib| format!("{gib} GiB "));
    parts.push(format!("{}: {}{}", volume.device_name, size.unwrap_or_default(), volume.volume_type));
    parts.extend(volume.iops.map(|iops| format!("{iops} IOPS")));
    parts.extend(volume.throughput.map(|throughput| format!("{throughput} MiB/s")));
    parts.push(volume.interface.to_string());
    parts.push(match (&volume.snapshot_id, &volume.source) {
        (Some(id), Some(file)) => format!("{id} in {}", file.display()),
        (Some(id), None) => id.clone(),
        (None, Some(file)) if volume.kept => {
            format!("{}, a volume that keeps what is written", file.display())
        }
        (None, Some(file)) => file.display().to_string(),
        (None, None) => "empty".to_owned(),
    });
    match (volume.kept, volume.delete_on_termination) {
        (true, _) => {}
        (false, true) => parts.push("deleted on termination".to_owned()),
        (false, false) => parts.push("kept on termination".to_owned()),
    }
    if volume.encrypted {
        parts.push("encrypted on EC2".to_owned());
    }
    parts.join(", ")
}

impl Volume<'_> {
    fn of(volume: &PlannedVolume) -> Volume<'_> {
        Volume {
            device_name: &volume.device_name,
            snapshot_id: volume.snapshot_id.as_deref(),
            size_gib: volume.shown_gib(),
            volume_type: volume.volume_type,
            iops: volume.iops,
            throughput: volume.throughput,
            delete_on_termination: volume.delete_on_termination,
            encrypted: volume.encrypted,
            source: volume.source.as_deref(),
            kept: volume.kept,
            interface: volume.interface.to_string(),
        }
    }
}
