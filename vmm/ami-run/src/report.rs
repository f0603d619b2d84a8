//! How a run ended: its exit code, and what is said of it in words or as JSON.

use crate::args::{Launch, Output};
use crate::exit::Code;
use crate::failure::{Ec2Error, Failure};
use crate::progress::Stage;
use crate::run::After;
use crate::session::{Cause, Ended, Last, Stages, signal_name};
use crate::values::Awaited;
use crate::{answer, explain, host, ui};
use ami_run_image::{LaunchPlan, Warning};
use ami_run_machine::{ErrorKind, Exit, MachineError};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many of the console's last lines are repeated.
const LAST_LINES: usize = 20;

/// What was wanted of a run, and where its console went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) console_log: Option<&'a Path>,
    /// A command was to be run in the guest.
    pub(crate) exec: bool,
    pub(crate) awaited: &'a [Awaited],
}

#[derive(Debug)]
pub(crate) struct Report {
    reason: &'static str,
    pub(crate) outcome: Result<String, Failure>,
    /// What became of the instance, if there was one.
    after: Option<After>,
    image_id: Option<String>,
    console_log: Option<PathBuf>,
    seconds: f64,
    stages: Stages,
    boot_mode: Option<String>,
    stage: Option<Stage>,
    waited: Vec<Waited>,
    /// None where they explain nothing.
    pub(crate) last_lines: Option<Vec<String>>,
    warnings: Vec<Warning>,
    /// With `--dry-run`, what is said instead of a result.
    plan: Option<String>,
    /// A command was to be run in the guest: exit codes of ours stand beside its own.
    exec: bool,
}

/// One `--wait-for`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    pattern: String,
    seen: bool,
    seconds: Option<f64>,
}

/// In seconds since the command began, when each stage was reached.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Timings {
    running: Option<f64>,
    first_output: Option<f64>,
    ssh_answered: Option<f64>,
    ended: f64,
}

impl Timings {
    fn of(stages: &Stages) -> Timings {
        let since = |at: Instant| rounded(at.saturating_duration_since(ui::start()).as_secs_f64());
        Timings {
            running: stages.running.map(since),
            first_output: stages.output.map(since),
            ssh_answered: stages.ssh.map(since),
            ended: since(Instant::now()),
        }
    }
}

/// The object of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Json<'a> {
    result: &'static str,
    exit_reason: &'static str,
    exit_code: u8,
    message: String,
    image_id: Option<&'a str>,
    instance_id: Option<&'a str>,
    /// What it is in now.
    instance_state: Option<&'static str>,
    boot_mode: Option<&'a str>,
    stage: Option<&'a Stage>,
    /// Since the command began.
    timings: Timings,
    instance_seconds: f64,
    waited_for: &'a [Waited],
    console_log: Option<&'a Path>,
    warnings: &'a [Warning],
    error: Option<&'a Ec2Error>,
}

impl Report {
    /// A run that ended before the guest ran.
    pub(crate) fn refused(wanted: &Wanted<'_>, image_id: Option<String>, failure: Failure) -> Report {
        let unseen = |text: &String| Waited { pattern: text.clone(), seen: false, seconds: None };
        Report {
            reason: reason_of(failure.code),
            outcome: Err(failure),
            after: None,
            image_id,
            console_log: wanted.console_log.map(Path::to_owned),
            seconds: 0.0,
            stages: Stages::default(),
            boot_mode: None,
            stage: None,
            waited: wanted.awaited.iter().map(|one| unseen(&one.text)).collect(),
            last_lines: None,
            warnings: Vec::new(),
            plan: None,
            exec: wanted.exec,
        }
    }

    /// What a launch would do.
    pub(crate) fn planned(args: &Launch, plan: &LaunchPlan) -> Report {
        let shown = match args.output {
            Output::Text => Ok(ui::clean(plan.text().trim_end())),
            Output::Json => plan.json(),
        };
        match shown {
            Ok(shown) => Report {
                reason: "DryRun",
                outcome: Ok(String::new()),
                after: None,
                image_id: plan.image_id.clone(),
                console_log: None,
                seconds: 0.0,
                stages: Stages::default(),
                boot_mode: Some(plan.boot_mode.to_string()),
                stage: None,
                waited: Vec::new(),
                last_lines: None,
                warnings: Vec::new(),
                plan: Some(shown),
                exec: false,
            },
            // A path that is not UTF-8 has no place in JSON.
            Err(cause) => {
                let failure = Failure::new(Code::Refused, "the plan cannot be written as JSON");
                Report::refused(&args.wanted(), plan.image_id.clone(), failure.because(&cause))
            }
        }
    }

    /// Adds what the launch was warned of.
    pub(crate) fn warned(self, warnings: Vec<Warning>) -> Report {
        Report { warnings, ..self }
    }

    pub(crate) fn ended(
        wanted: &Wanted<'_>,
        image_id: Option<String>,
        ended: &Ended,
        after: After,
    ) -> Report {
        let waiting = ended.transcript.waits() || wanted.exec;
        let (reason, outcome) = judge(wanted, ended, waiting);
        let seconds = |one: &crate::console::Seen| {
            one.at.map(|at| rounded(at.saturating_duration_since(ended.started).as_secs_f64()))
        };
        let waited = ended.transcript.waited().iter();
        let telling = outcome
            .as_ref()
            .is_err_and(|failure| !matches!(failure.code, Code::Signal(_) | Code::Command(_)));
        Report {
            reason,
            outcome,
            stages: ended.stages,
            boot_mode: Some(after.boot_mode.clone()),
            stage: Some(Stage::of(&ended.progress, ended.cause == Some(Cause::TimedOut))),
            after: Some(after),
            image_id,
            console_log: wanted.console_log.map(Path::to_owned),
            seconds: rounded(ended.seconds),
            waited: waited
                .map(|one| Waited {
                    pattern: one.awaited.text.clone(),
                    seen: one.at.is_some(),
                    seconds: seconds(one),
                })
                .collect(),
            last_lines: telling.then(|| ended.transcript.last_lines(LAST_LINES)),
            warnings: Vec::new(),
            plan: None,
            exec: wanted.exec,
        }
    }

    /// Why the guest was silent up to the end of its time; nothing, if it was not.
    pub(crate) fn silence(&self) -> &[String] {
        self.stage.as_ref().map(Stage::silence).unwrap_or_default()
    }

    /// Says it, and gives the exit code.
    pub(crate) fn tell(&self, output: Output) -> Code {
        let mut code = Code::Success;
        if let Some(plan) = &self.plan {
            return answer::written(ui::result(plan), code);
        }
        match &self.outcome {
            Ok(message) => ui::status("stopped", message),
            Err(failure) => {
                if let Some(lines) = &self.last_lines {
                    ui::last_lines(lines);
                }
                ui::silent(self.silence());
                ui::failure(failure);
                code = if self.exec { failure.code.beside_a_command() } else { failure.code };
            }
        }
        if let Some(after) = &self.after {
            after.tell();
        }
        if output == Output::Json {
            return said(self.json(code).and_then(|json| ui::result(&json)), code);
        }
        code
    }

    fn json(&self, code: Code) -> io::Result<String> {
        let json = serde_json::to_string(&Json {
            result: if self.outcome.is_ok() { "Succeeded" } else { "Failed" },
            exit_reason: self.reason,
            exit_code: code.number(),
            message: self.outcome.as_ref().map_or_else(Failure::line, Clone::clone),
            image_id: self.image_id.as_deref(),
            instance_id: self.after.as_ref().map(|after| after.id.as_str()),
            instance_state: self.after.as_ref().map(|after| after.state.name()),
            boot_mode: self.boot_mode.as_deref(),
            stage: self.stage.as_ref(),
            timings: Timings::of(&self.stages),
            instance_seconds: self.seconds,
            waited_for: &self.waited,
            console_log: self.console_log.as_deref(),
            warnings: &self.warnings,
            error: self.outcome.as_ref().err().and_then(|failure| failure.ec2.as_deref()),
        });
        Ok(json?)
    }
}

/// The exit code, after the result was written or not.
fn said(written: io::Result<()>, code: Code) -> Code {
    let Err(cause) = written else { return code };
    let failure = Failure::new(Code::Host, "cannot write the result to standard output");
    ui::failure(&failure.because(&cause));
    // What went wrong before is the graver news.
    if code == Code::Success { Code::Host } else { code }
}

/// The reason of a run in which no guest ran.
fn reason_of(code: Code) -> &'static str {
    match code {
        Code::Refused => "ImageRefused",
        Code::CommandLine => "CommandLineRefused",
        Code::Host => "HostRefused",
        _ => "Bug",
    }
}

type Verdict = (&'static str, Result<String, Failure>);

/// What a run's end means.
fn judge(wanted: &Wanted<'_>, ended: &Ended, waiting: bool) -> Verdict {
    let fail = |reason, code, message: &str| (reason, Err(Failure::new(code, message)));
    match (ended.cause, &ended.last) {
        (Some(Cause::AllSeen), _) => ("WaitSatisfied", Ok("what was waited for was seen".to_owned())),
        (Some(Cause::Executed), _) => executed(ended),
        (_, Last::Panicked) => fail("Bug", Code::Bug, "the machine's thread ended by a bug"),
        (_, Last::Failed(cause)) => failed(cause),
        (_, Last::Exit(Exit::Emulation(what))) => {
            let message = format!("this computer's KVM cannot run an instruction of the guest: {what}");
            let failure = Failure::new(Code::Host, message).hint(host::TESTBED);
            ("EmulationFailure", Err(failure))
        }
        (Some(Cause::TimedOut), _) => {
            let limit = wanted.timeout.unwrap_or_default().as_secs();
            let unseen: Vec<_> = ended
                .transcript
                .waited()
                .iter()
                .filter(|one| one.at.is_none())
                .map(|one| one.awaited.text.as_str())
                .collect();
            let what = if let Some(how) = &ended.unfinished {
                format!("the command had not ended ({how})")
            } else if waiting {
                format!("{} was not seen", unseen.join(", "))
            } else {
                "the guest still ran".to_owned()
            };
            let mut failure = Failure::new(Code::Timeout, format!("{what} after {limit} s (--timeout)"));
            let progress = &ended.progress;
            failure.causes.push(match &progress.explained {
                Some(silent) => silent.what.clone(),
                None => format!("how far it came: {}", explain::stages(&progress.reached, ui::start())),
            });
            ("TimedOut", Err(failure))
        }
        (Some(Cause::KernelPanic), _) => {
            let words = ended.panic.as_deref().unwrap_or_default();
            fail("KernelPanic", Code::Guest, &format!("the guest failed: {words}"))
        }
        (Some(Cause::Unrecorded), _) => {
            let message = "the instance's record cannot be written, so its machine was ended";
            let failure = Failure::new(Code::Host, message).hint("free some space in the state folder");
            ("HostFailed", Err(failure))
        }
        (Some(Cause::Signal(signal)), _) => {
            let code = Code::Signal(u8::try_from(signal).unwrap_or_default());
            fail("Signal", code, &format!("ended by {}", signal_name(signal)))
        }
        (Some(Cause::Asked), _) if waiting => {
            fail("EndedEarly", Code::EndedEarly, "the instance was ended before what was waited for was seen")
        }
        (Some(Cause::Asked), _) => ("Asked", Ok("another command ended the instance".to_owned())),
        (Some(Cause::OutputClosed), _) => {
            let code = Code::Signal(u8::try_from(libc::SIGPIPE).unwrap_or_default());
            fail("OutputClosed", code, "nobody reads standard output any more")
        }
        (_, Last::Exit(Exit::TripleFault)) => {
            fail("TripleFault", Code::Guest, "the guest failed: a triple fault shut its CPU down")
        }
        (Some(Cause::User), _) if waiting => {
            fail("EndedByUser", Code::EndedEarly, "the guest was ended before what was waited for was seen")
        }
        (Some(Cause::User), _) => ("EndedByUser", Ok("the guest was ended at the terminal".to_owned())),
        (None, Last::Exit(Exit::PoweredOff)) if waiting => fail(
            "EndedEarly",
            Code::EndedEarly,
            "the guest powered itself off before what was waited for was seen",
        ),
        (None, Last::Exit(Exit::PoweredOff)) => ("PoweredOff", Ok("the guest powered itself off".to_owned())),
        (None, Last::Exit(Exit::Stopped) | Last::Stuck) => {
            fail("Bug", Code::Bug, "the machine stopped, and nothing had told it to")
        }
    }
}

/// What a command in the guest came to.
fn executed(ended: &Ended) -> Verdict {
    match ended.executed.clone() {
        Some(Ok(0)) => ("CommandSucceeded", Ok("the command succeeded".to_owned())),
        Some(Ok(status)) => {
            let message = format!("the command failed: its status is {status}");
            ("CommandFailed", Err(Failure::new(Code::Command(status), message)))
        }
        Some(Err(failure)) => ("CommandNotRun", Err(failure)),
        None => ("Bug", Err(Failure::new(Code::Bug, "nothing is known of the command"))),
    }
}

/// A machine that could not be made, or could not go on.
pub(crate) fn machine_failure(cause: &MachineError) -> Failure {
    let (code, message) = match cause.kind() {
        ErrorKind::Host => (Code::Host, "this computer cannot run the machine"),
        ErrorKind::Image => (Code::Refused, "the machine cannot start what it was given"),
        ErrorKind::Bug => (Code::Bug, "the machine failed by a bug"),
    };
    Failure::new(code, message).because(cause)
}

fn failed(cause: &MachineError) -> Verdict {
    let failure = machine_failure(cause);
    ("MachineFailed", Err(failure))
}

/// To the millisecond: more digits would be noise.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
