//! `ami-run image lint`: what would keep an image from starting on EC2, by what is on its root disk.

use crate::args::{Lint, Output};
use crate::bases::Bases;
use crate::exit::Code;
use crate::failure::{Ec2Error, Failure};
use crate::snapshots::{self, Places};
use crate::source::{self, Source};
use crate::{answer, inspect, ui};
use ami_run_image::{BlockDeviceMapping, Image};
use ami_run_inspect::{Claims, Depth, Finding, Guess, ROOT_DEVICE_NAME, Severity, guess, lint, lint_claims};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What was found, and how the disk is taken.
struct Lints {
    findings: Vec<Finding>,
    /// Of a disk that no image describes.
    assumed: Option<Guess>,
}

/// The object of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Json<'a> {
    ok: bool,
    assumed: Option<Assumed>,
    findings: &'a [Finding],
    /// Why nothing could be looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Ec2Error>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    architecture: String,
    boot_mode: String,
    root_device_name: &'static str,
    why: &'static str,
}

/// Looks, judges and says it.
pub(crate) fn run(args: &Lint) -> Code {
    let lints = match look(args) {
        Ok(lints) => lints,
        Err(failure) => {
            ui::failure(&failure);
            return refused(args.output, &failure);
        }
    };
    let ok = lints.count(Severity::Error) == 0;
    let code = if ok { Code::Success } else { Code::Refused };
    let assumed = lints.assumed.as_ref().map(|guess| Assumed {
        architecture: guess.architecture.to_string(),
        boot_mode: guess.boot_mode.to_string(),
        root_device_name: ROOT_DEVICE_NAME,
        why: guess.why,
    });
    let json = Json { ok, assumed, findings: &lints.findings, message: None, error: None };
    answer::tell(args.output, &lints.text(), &json, code)
}

/// Programs get their object even if there is nothing to judge; people have been told.
fn refused(output: Output, failure: &Failure) -> Code {
    if output == Output::Text {
        return failure.code;
    }
    let (message, error) = (Some(failure.line()), failure.ec2.as_deref());
    let json = Json { ok: false, assumed: None, findings: &[], message, error };
    answer::tell(output, "", &json, failure.code)
}

fn look(args: &Lint) -> Result<Lints, Failure> {
    match source::open(&args.image, false, args.image_id.as_deref())? {
        Source::Disk(path) => {
            snapshots::check(&args.snapshots, &[])?;
            judge_disk(&inspect::open(&mut Bases::default(), &path)?)
        }
        Source::Volume(path) => {
            snapshots::check(&args.snapshots, &[])?;
            judge_disk(&inspect::open_volume(&mut Bases::default(), &path)?)
        }
        Source::Description { image, folder, .. } => {
            let claims = Claims::from(&*image);
            let findings = match root(args, &image, &folder)? {
                Some((file, bytes)) => {
                    let base = inspect::open(&mut Bases::default(), &file)?;
                    lint(&inspect::look(&base, bytes, Depth::System)?, Some(&claims))
                }
                None => lint_claims(&claims),
            };
            Ok(Lints { findings, assumed: None })
        }
    }
}

/// What no image describes.
fn judge_disk(disk: &inspect::Disk) -> Result<Lints, Failure> {
    let contents = inspect::look(disk, None, Depth::System)?;
    Ok(Lints { findings: lint(&contents, None), assumed: Some(guess(&contents)) })
}

/// The disk file of the root volume, and the volume's size where it is said. None: no snapshot is the root.
fn root(args: &Lint, image: &Image, folder: &Path) -> Result<Option<(PathBuf, Option<u64>)>, Failure> {
    let mappings = image.block_device_mappings.as_deref().unwrap_or_default();
    let snapshot =
        |mapping: &BlockDeviceMapping| mapping.ebs.as_ref().and_then(|ebs| ebs.snapshot_id.clone());
    let known: Vec<_> = mappings.iter().filter_map(snapshot).collect();
    snapshots::check(&args.snapshots, &known.iter().map(String::as_str).collect::<Vec<_>>())?;
    let is_root = |mapping: &&BlockDeviceMapping| {
        mapping.device_name.is_some() && mapping.device_name == image.root_device_name
    };
    let Some(ebs) = mappings.iter().find(is_root).and_then(|mapping| mapping.ebs.as_ref()) else {
        return Ok(None);
    };
    let Some(id) = &ebs.snapshot_id else { return Ok(None) };
    let external = args.allow_external_files;
    let file = snapshots::find(id, &Places { given: &args.snapshots, image, folder, external })?;
    let bytes = ebs.volume_size.map(|gib| u64::from(gib) << 30);
    Ok(Some((file, bytes)))
}

impl Lints {
    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// A line for each finding with its remedy below it, and the sum of it all.
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(Guess { architecture, boot_mode, why }) = &self.assumed {
            // Writing to a String cannot fail.
            writeln!(text, "taken for {architecture}, {boot_mode}: {why}").unwrap_or_default();
        }
        for Finding { code, severity, place, reason, remedy } in &self.findings {
            // A path on the disk may hold a line feed, and must not look like a finding of ours.
            let what = format!("{place}: {reason} ({code})").replace('\n', "\\n");
            writeln!(text, "{:<11}  {what}\n{:13}hint: {remedy}", severity.to_string(), "")
                .unwrap_or_default();
        }
        let count = |severity, one: &str, many: &str| match self.count(severity) {
            1 => format!("1 {one}"),
            n => format!("{n} {many}"),
        };
        let (errors, warnings) =
            (count(Severity::Error, "error", "errors"), count(Severity::Warning, "warning", "warnings"));
        write!(text, "{errors}, {warnings}").unwrap_or_default();
        text
    }
}
