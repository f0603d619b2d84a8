//! `ami-run image lint`: what would keep an image from starting on EC2, by what is on its root disk.

use crate::args::{Lint, Output};
use crate::exit::Code;
use crate::failure::{Ec2Error, Failure};
use crate::inspect::{self, Seen};
use crate::{answer, host, show, ui};
use ami_run_inspect::{Contents, Finding, Guess, Severity, guess, lint, lint_claims};
use serde::Serialize;
use std::fmt::Write as _;

/// What was found, and how the disk is taken.
struct Lints {
    findings: Vec<Finding>,
    /// Of a disk that no image describes.
    assumed: Option<Guess>,
    /// It is for another computer than this one.
    elsewhere: Option<String>,
    contents: Option<Contents>,
}

/// The object of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Json<'a> {
    ok: bool,
    assumed: Option<show::Assumed>,
    findings: &'a [Finding],
    /// What UEFI could start, and what that starts in turn.
    loaders: Vec<show::Loader<'a>>,
    /// Why nothing could be looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Ec2Error>,
}

/// Looks, judges and says it.
pub(crate) fn run(args: &Lint) -> Code {
    let lints = match look(args) {
        Ok(lints) => lints,
        Err(failure) => {
            ui::failure(&failure);
            return refused(args.looked.output, &failure);
        }
    };
    let ok = lints.count(Severity::Error) == 0;
    let code = if ok { Code::Success } else { Code::Refused };
    let assumed = lints.assumed.as_ref().map(show::Assumed::from);
    let loaders = lints.contents.as_ref().map(show::loaders).unwrap_or_default();
    let json = Json { ok, assumed, findings: &lints.findings, loaders, message: None, error: None };
    answer::tell(args.looked.output, &lints.text(), &json, code)
}

/// Programs get their object even if there is nothing to judge; people have been told.
fn refused(output: Output, failure: &Failure) -> Code {
    if output == Output::Text {
        return failure.code;
    }
    let (message, error) = (Some(failure.line()), failure.ec2.as_deref());
    let json = Json { ok: false, assumed: None, findings: &[], loaders: Vec::new(), message, error };
    answer::tell(output, "", &json, failure.code)
}

fn look(args: &Lint) -> Result<Lints, Failure> {
    let Seen { claims, contents } = inspect::seen(&args.looked)?;
    let here = host::this_computer()?;
    let findings = match (&contents, &claims) {
        (Some(contents), claims) => lint(contents, claims.as_ref(), here),
        (None, Some(claims)) => lint_claims(claims),
        (None, None) => Vec::new(),
    };
    let assumed = contents.as_ref().filter(|_| claims.is_none()).map(|contents| guess(contents, here));
    let elsewhere = inspect::elsewhere(claims.as_ref(), assumed.as_ref(), here);
    Ok(Lints { findings, assumed, elsewhere, contents })
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
        if let Some(elsewhere) = &self.elsewhere {
            writeln!(text, "for {elsewhere}").unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;
    use ami_run_image::Architecture;

    #[test]
    fn a_disk_for_another_computer_is_judged_and_said_to_be_one() {
        let text = |here| {
            let elsewhere = host::elsewhere(Architecture::Arm64, here);
            Lints { findings: Vec::new(), assumed: None, elsewhere, contents: None }.text()
        };
        assert_eq!(text(Architecture::Arm64), "0 errors, 0 warnings");
        let judged = text(Architecture::X86_64);
        assert!(
            judged.starts_with("for arm64, and this computer is x86_64: it can be judged here"),
            "{judged}"
        );
        assert!(judged.ends_with("0 errors, 0 warnings"), "{judged}");
    }
}
