//! What is done about a silent guest: a look at its disk, aside from all that must not wait for it, and a word to whoever
//! watches.

use super::Cause;
use super::follow::Session;
use super::silence::Silence;
use super::words::Words;
use crate::explain::{Case, Explanation, Progress, Way, explain};
use crate::parent::Message;
use crate::ui;
use ami_run_catalog::{InstanceRecord, Start};
use ami_run_image::Architecture;
use ami_run_inspect::{Claims, Depth, Finding, Severity, lint, look};
use ami_run_machine::Reached;
use ami_run_storage::Volume;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// How long a run that has ended waits to hear of its disk.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What is known of a guest that may be silent.
#[derive(Debug)]
pub(crate) struct Suspect {
    way: Way,
    architecture: Architecture,
    image: String,
    /// None: nothing is started from a disk.
    root: Option<Volume>,
    claims: Claims,
    /// What the firmware prints is kept already.
    has_firmware_log: bool,
}

impl Suspect {
    /// `root`: the volume that is started from.
    pub(crate) fn new(record: &InstanceRecord, root: Option<&Volume>, has_firmware_log: bool) -> Suspect {
        let way = match (&record.own.start, record.current_instance_boot_mode.as_str()) {
            (Start::Kernel { .. }, _) => Way::Kernel,
            (_, "uefi") => Way::Uefi,
            _ => Way::Bios,
        };
        // It runs here, so it is for this computer.
        let architecture = Architecture::from_ec2(&record.architecture)
            .or(Architecture::of_this_computer())
            .unwrap_or(Architecture::X86_64);
        let claims = Claims {
            architecture: Some(architecture),
            // How it is started here, unless the image says nothing: that it does not may be what is wrong.
            boot_mode: record.boot_mode.as_ref().map(|_| record.current_instance_boot_mode.clone()),
            root_device_name: None,
            device_names: Vec::new(),
            ena_support: Some(record.ena_support),
        };
        let root = root.filter(|_| way != Way::Kernel).cloned();
        Suspect { way, architecture, image: record.own.name.clone(), root, claims, has_firmware_log }
    }
}

/// The watch over a guest's silence.
#[derive(Debug)]
pub(crate) struct Watch {
    suspect: Suspect,
    silence: Silence,
    words: Words,
    look: Option<Look>,
    /// What came of the look.
    findings: Option<Vec<Finding>>,
    explained: Option<Explanation>,
}

impl Watch {
    /// No `patience` at all is never.
    pub(crate) fn new(suspect: Suspect, patience: Duration) -> Watch {
        let (silence, words) = (Silence::new(patience), Words::default());
        Watch { suspect, silence, words, look: None, findings: None, explained: None }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.silence.begin(now);
    }

    /// Takes what the console said; `reset`: behind so much of it the machine was.
    pub(super) fn heard(&mut self, bytes: &[u8], reset: Option<usize>, now: Instant) {
        if reset.is_some() {
            self.words.start_over();
            self.silence.was_reset(now);
        }
        let said = bytes.get(reset.unwrap_or(0)..).unwrap_or_default();
        if !said.is_empty() {
            self.words.add(said, now);
            self.silence.heard(&self.words.said(), now);
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.silence.due()
    }

    /// What tells that the disk was looked at, while it is.
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.look.as_ref().filter(|_| self.findings.is_none()).map(|look| look.done.as_raw_fd())
    }

    fn judge(&self, reached: &Reached, running: Option<Instant>, now: Instant) -> Explanation {
        let (start, said) = (ui::start(), self.words.said());
        let Suspect { way, architecture, image, has_firmware_log, .. } = &self.suspect;
        let (way, architecture, has_firmware_log) = (*way, *architecture, *has_firmware_log);
        let findings = self.findings.as_deref().unwrap_or_default();
        let said = &said;
        explain(&Case {
            way,
            architecture,
            image,
            start,
            running,
            now,
            reached,
            said,
            findings,
            has_firmware_log,
        })
    }

    /// Waits no longer than this for what is found on the disk.
    fn find(&mut self, patience: Duration) {
        if self.findings.is_none() {
            let found = self.look.as_ref().and_then(|look| look.found.recv_timeout(patience).ok());
            self.findings = Some(found.unwrap_or_default());
        }
    }
}

impl Session {
    /// Looks whether the guest is silent for too long, and if so at its disk.
    pub(super) fn watch_silence(&mut self, now: Instant) {
        if self.setup.watch.due().is_none_or(|due| now < due) {
            return;
        }
        if self.course.cause().is_some() {
            return self.setup.watch.silence.give_up();
        }
        let (said, reached) = (self.setup.watch.words.said(), self.handle.reached());
        if self.answers_ssh(&reached) {
            return self.setup.watch.silence.is_alive();
        }
        if !self.setup.watch.silence.is_hang(&said, &reached, now) {
            return;
        }
        self.setup.watch.look = Look::begin(&self.setup.watch.suspect);
        if self.setup.watch.look.is_none() {
            self.tell_silence();
        }
    }

    /// Such a guest is no riddle, whatever it prints.
    fn answers_ssh(&self, reached: &Reached) -> bool {
        self.stages.ssh.is_some_and(|answered| answered >= reached.since)
    }

    /// The disk was looked at, or there is none. What told so stays open until nobody waits for it.
    pub(super) fn tell_silence(&mut self) {
        let (now, reached) = (Instant::now(), self.handle.reached());
        let watch = &mut self.setup.watch;
        watch.find(Duration::ZERO);
        let explanation = watch.judge(&reached, self.stages.running, now);
        let lines = explanation.lines();
        ui::silent(&lines);
        if let Some(parent) = &self.setup.parent {
            parent.tell(&Message::Silent(lines));
        }
        self.setup.watch.explained = Some(explanation);
    }

    /// How far the guest came; and why it said nothing, by SSH neither, if it did not for too long or up to the end of
    /// its time.
    pub(super) fn progress(&mut self) -> Progress {
        let (now, reached) = (Instant::now(), self.handle.reached());
        let (timed_out, answers) = (self.cause() == Some(Cause::TimedOut), self.answers_ssh(&reached));
        let watch = &mut self.setup.watch;
        let said = watch.words.said();
        if timed_out && !said.is_guest(&reached) && !answers {
            watch.look = watch.look.take().or_else(|| Look::begin(&watch.suspect));
            watch.find(LAST_LOOK);
            watch.explained = Some(watch.judge(&reached, self.stages.running, now));
        }
        Progress { way: watch.suspect.way, reached, said, explained: watch.explained.take() }
    }
}

/// A look at the disk, by a thread of its own, which ends with it.
#[derive(Debug)]
struct Look {
    done: Arc<EventFd>,
    found: Receiver<Vec<Finding>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Look {
    /// None: there is no disk, or no way to look at it.
    fn begin(suspect: &Suspect) -> Option<Look> {
        let (volume, claims, here) = (suspect.root.clone()?, suspect.claims.clone(), suspect.architecture);
        let done = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).ok()?);
        let (sender, found) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, tell) = (Arc::clone(&is_over), super::Tell(Arc::clone(&done)));
        let work = move || {
            let findings = look_at(&volume, &claims, here, &over).unwrap_or_else(|cause| {
                log::info!("the disk of the silent guest cannot be looked at: {cause}");
                Vec::new()
            });
            // Nobody may wait for it any more.
            sender.send(findings).unwrap_or_default();
            drop(tell);
        };
        let thread = thread::Builder::new().name("lint".to_owned()).spawn(work).ok()?;
        Some(Look { done, found, is_over, thread: Some(thread) })
    }
}

/// The volume is let go of before the instance can be started again.
impl Drop for Look {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the look at the disk ended by a bug");
        }
    }
}

fn look_at(
    volume: &Volume,
    claims: &Claims,
    here: Architecture,
    is_over: &AtomicBool,
) -> io::Result<Vec<Finding>> {
    let mut disk = Endable { reader: volume.reader()?, is_over };
    let contents = look(&mut disk, volume.size(), Depth::System)?;
    let mut findings = lint(&contents, Some(claims), here);
    findings.retain(|finding| finding.severity < Severity::Information);
    Ok(findings)
}

/// A disk that cannot be read any more as soon as nobody wants to know.
struct Endable<'a, R> {
    reader: R,
    is_over: &'a AtomicBool,
}

impl<R: Read> Read for Endable<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody wants to know any more"));
        }
        self.reader.read(bytes)
    }
}

impl<R: Seek> Seek for Endable<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}
