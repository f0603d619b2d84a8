//! `ami-run doctor`: whether a launch can work on this computer, one line for each thing that it needs.
//!
//! [`facts`] looks; [`kvm`] and [`resources`] judge what was found, without looking themselves. What no launch uses
//! yet is told as information only.

mod facts;
mod kvm;
mod resources;

use crate::answer;
use crate::args::Doctor;
use crate::exit::Code;
use crate::failure::Failure;
use facts::Facts;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// A launch works, but not in every way.
    Warning,
    /// No launch works.
    Failed,
    /// It decides nothing.
    Information,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
            Status::Information => "information",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    /// What to do about it.
    remedy: Option<String>,
}

impl Check {
    fn new(name: &'static str, status: Status, found: impl Into<String>) -> Check {
        Check { name, status, found: found.into(), remedy: None }
    }

    /// Fails as a launch would.
    fn failed(name: &'static str, failure: Failure) -> Check {
        Check { name, status: Status::Failed, found: failure.line(), remedy: failure.hint }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Check {
        self.remedy = Some(remedy.into());
        self
    }
}

/// The object of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Json<'a> {
    ok: bool,
    checks: &'a [Check],
}

/// Looks, judges and says it.
pub(crate) fn run(args: &Doctor) -> Code {
    let checks = judge(&Facts::gather());
    let ok = failed(&checks).next().is_none();
    let code = if ok { Code::Success } else { Code::Host };
    answer::tell(args.output, &text(&checks), &Json { ok, checks: &checks }, code)
}

/// In the order in which a launch comes to need them; what no launch needs comes last.
fn judge(facts: &Facts) -> Vec<Check> {
    let access = facts.access.as_ref();
    let mut checks = vec![
        kvm::access(access, &facts.surroundings),
        kvm::virtualization(access.ok().map(|kvm| &kvm.verdict)),
        kvm::nested(&facts.surroundings),
        kvm::vcpus(access.ok().and_then(|kvm| kvm.offer.as_ref().ok())),
    ];
    checks.extend(facts.bios.as_ref().map(resources::bios));
    checks.extend([
        resources::uefi(&facts.uefi, facts.bios.is_some()),
        resources::memory(&facts.memory),
        resources::disk_space(&facts.writes),
        resources::state_folder(&facts.state),
        resources::io_uring(&facts.io_uring),
    ]);
    checks
}

fn failed(checks: &[Check]) -> impl Iterator<Item = &Check> {
    checks.iter().filter(|check| check.status == Status::Failed)
}

/// A line for each check, its remedy below it, and the sum of it all.
fn text(checks: &[Check]) -> String {
    let name_width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let status_width = checks.iter().map(|check| check.status.word().len()).max().unwrap_or_default();
    let below = format!("\n{:1$}", "", name_width + status_width + 4);
    let mut text = String::new();
    for check in checks {
        let (name, status) = (check.name, check.status.word());
        let remedy = check.remedy.iter().map(|remedy| format!("\nhint: {remedy}"));
        let told: String = std::iter::once(check.found.clone()).chain(remedy).collect();
        // Writing to a String cannot fail.
        writeln!(text, "{name:name_width$}  {status:status_width$}  {}", told.replace('\n', &below))
            .unwrap_or_default();
    }
    let stops: Vec<_> = failed(checks).map(|check| check.name).collect();
    text.push_str(&match stops.as_slice() {
        [] => "a launch will work here".to_owned(),
        _ => format!("a launch will not work here: see {}", stops.join(", ")),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_remedies_stand_below_what_was_found() {
        let checks = [
            Check::new("a", Status::Ok, "fine"),
            Check::new("longer", Status::Failed, "one\ntwo").remedy("do this\nthen that"),
        ];
        let wanted = "a       ok      fine\n\
                      longer  failed  one\n                two\n                hint: do this\n                then that\n\
                      a launch will not work here: see longer";
        assert_eq!(text(&checks), wanted);
        assert_eq!(text(&checks[..1]), "a  ok  fine\na launch will work here");
    }

    #[test]
    fn only_what_failed_stops_a_launch() {
        let of = |status| Check::new("x", status, "");
        let all = [Status::Ok, Status::Warning, Status::Information].map(of);
        assert_eq!(failed(&all).count(), 0);
        assert_eq!(failed(&[of(Status::Failed)]).count(), 1);
    }

    #[test]
    fn json_has_every_member_of_every_check() {
        let checks =
            [Check::new("io_uring", Status::Information, "x"), Check::new("y", Status::Ok, "").remedy("z")];
        let json = serde_json::to_string(&Json { ok: true, checks: &checks }).unwrap();
        let wanted = r#"{"Ok":true,"Checks":[{"Name":"io_uring","Status":"information","Found":"x","Remedy":null},{"Name":"y","Status":"ok","Found":"","Remedy":"z"}]}"#;
        assert_eq!(json, wanted);
    }
}
