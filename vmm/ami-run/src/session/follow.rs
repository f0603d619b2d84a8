//! The event loop of a session.

use super::announced::Interruption;
use super::course::{Cause, Course, Order};
use super::logins::Logins;
use super::panic_line::PanicLine;
use super::server::Server;
use super::{Asked, Setup, Stages, signals};
use crate::console::{Command, Screen, terminal};
use crate::failure::Failure;
use crate::parent::Message;
use crate::state::catalog_failure;
use crate::ui;
use ami_run_catalog::{State, fault};
use ami_run_machine::{Handle, Taken};
use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps as _};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::sync::Arc;
use std::time::Instant;
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

/// What the loop's events are about.
const SIGNALS: u32 = 0;
const CONSOLE: u32 = 1;
const ENDED: u32 = 2;
const INPUT: u32 = 3;
const SCREEN: u32 = 4;
const LISTENER: u32 = 5;
const CLIENT: u32 = 6;
const RUNS: u32 = 7;
const SSH: u32 = 8;
const EXEC: u32 = 9;
const LOOK: u32 = 10;

const STDIN: RawFd = 0;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) handle: Handle,
    /// The machine's vCPUs have begun.
    runs: Arc<EventFd>,
    ended: Arc<EventFd>,
    is_running: bool,
    is_ended: bool,
    pub(super) setup: Setup,
    pub(super) server: Server,
    pub(super) course: Course,
    /// What a verb asked for, which is what becomes of the instance.
    pub(super) asked: Option<Asked>,
    pub(super) interruption: Option<Interruption>,
    panic_line: PanicLine,
    pub(super) stages: Stages,
    pub(super) logins: Logins,
    /// What became of the command that was to be run.
    pub(super) outcome: Option<Result<u8, Failure>>,
}

/// What is waited for: descriptors, what they are about, and what is to happen to them.
type Wanted = BTreeMap<RawFd, (u32, EventSet)>;

impl Session {
    pub(super) fn new(
        handle: Handle,
        [runs, ended]: [Arc<EventFd>; 2],
        mut setup: Setup,
        server: Server,
    ) -> Session {
        let logins = Logins { wanted: setup.exec.take(), ..Logins::default() };
        let course = Course::new(setup.timeout, setup.stop_timeout);
        let panic_line = PanicLine::default();
        Session {
            handle,
            runs,
            ended,
            is_running: false,
            is_ended: false,
            setup,
            server,
            course,
            asked: None,
            interruption: None,
            panic_line,
            stages: Stages::default(),
            logins,
            outcome: None,
        }
    }

    /// Serves all events until the machine has ended, or had its time to.
    pub(super) fn follow(self) -> Result<Session, event_manager::Error> {
        let mut manager = EventManager::new()?;
        let id = manager.add_subscriber(self);
        let mut registered = Wanted::default();
        loop {
            let now = Instant::now();
            let session: &mut Session = manager.subscriber_mut(id)?;
            session.tick(now);
            if session.is_ended || session.course.is_over(now) {
                return manager.remove_subscriber(id);
            }
            let (wanted, wait) = (session.wanted(), session.wait(Instant::now()));
            let failed = register(&mut registered, &wanted, &mut manager.event_ops(id)?);
            let session: &mut Session = manager.subscriber_mut(id)?;
            session.server.reap();
            session.logins.reap();
            if failed.is_empty() {
                manager.run_with_timeout(wait)?;
            } else {
                failed.into_iter().for_each(|fd| session.cannot_wait_for(fd));
            }
        }
    }

    /// Takes what the guest still said, and looks a last time for what is waited for.
    pub(super) fn last_words(&mut self) {
        // It may have run for so short a time that nobody has looked.
        self.runs_event();
        self.console_event();
        self.look(Instant::now(), true);
        self.exec_last(Instant::now());
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.course.cause()
    }

    pub(super) fn panic(&self) -> Option<String> {
        self.panic_line.found().map(str::to_owned)
    }

    /// Whether the machine has; else it was given up.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::from([
            (self.setup.signals.fd(), (SIGNALS, EventSet::IN)),
            (self.handle.console().event().as_raw_fd(), (CONSOLE, EventSet::IN)),
            (self.runs.as_raw_fd(), (RUNS, EventSet::IN)),
            (self.ended.as_raw_fd(), (ENDED, EventSet::IN)),
        ]);
        if self.setup.input.wants_event() {
            wanted.insert(STDIN, (INPUT, EventSet::IN));
        }
        if let Some(screen) = self.setup.screen.as_ref().filter(|screen| screen.wants_event()) {
            wanted.insert(screen.fd(), (SCREEN, EventSet::OUT));
        }
        if let Some(probe) = &self.logins.probe {
            wanted.insert(probe.as_fd().as_raw_fd(), (SSH, EventSet::IN));
        }
        if let Some(exec) = &self.logins.exec {
            wanted.insert(exec.as_fd().as_raw_fd(), (EXEC, EventSet::IN));
        }
        if let Some(look) = self.setup.watch.fd() {
            wanted.insert(look, (LOOK, EventSet::IN));
        }
        if self.server.accepts() {
            wanted.insert(self.server.listener(), (LISTENER, EventSet::IN));
        }
        wanted.extend(self.server.interests().map(|(fd, events)| (fd, (CLIENT, events))));
        wanted
    }

    fn cannot_wait_for(&mut self, fd: RawFd) {
        if fd == STDIN {
            self.setup.input.set_always_ready();
        } else {
            log::error!("an event source is lost: descriptor {fd}");
            self.server.lost(fd);
        }
    }

    /// For how many milliseconds nothing is to be done unless an event comes; rounded up, so as not to spin.
    fn wait(&self, now: Instant) -> i32 {
        let interruption = self.interruption.map(|it| it.at);
        let due = [
            self.course.due(),
            interruption,
            self.setup.transcript.due(),
            self.setup.input.due(now),
            self.server.due(now),
            self.setup.watch.due(),
        ];
        match due.into_iter().flatten().min() {
            None => -1,
            Some(at) => {
                let micros = at.saturating_duration_since(now).as_micros();
                i32::try_from(micros.div_ceil(1000)).unwrap_or(i32::MAX)
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let commands = self.setup.input.tick(&|bytes| self.handle.console().send(bytes));
        self.obey(&commands, now);
        self.server.tick(now);
        self.offer();
        self.look(now, false);
        let order = self.course.tick(now);
        self.carry_out(order);
        self.interrupt(now);
        self.watch_silence(now);
    }

    /// Gives the guest what clients have typed.
    fn offer(&mut self) {
        self.server.offer(|typed| self.handle.console().send(typed));
    }

    fn runs_event(&mut self) {
        if self.runs.read().is_ok() {
            self.it_runs();
        }
    }

    /// The machine runs: that is written down, and told to who waits for it, before anything else is told of it.
    fn it_runs(&mut self) {
        if std::mem::replace(&mut self.is_running, true) {
            return;
        }
        let now = Instant::now();
        self.stages.running = Some(now);
        self.setup.watch.begin(now);
        let instance = &mut self.setup.instance;
        // It may have been told to terminate meanwhile.
        if instance.record().state == State::Pending
            && let Err(cause) = instance.enter(State::Running, None)
        {
            // Whoever came after a kill would take the instance for one that never ran, and its volumes for empty.
            log::warn!("the record does not say that the instance runs: {}", catalog_failure(&cause).line());
            let order = self.course.end_now(Cause::Unrecorded, Instant::now());
            self.carry_out(order);
        }
        fault::point("run-running");
        if let Some(parent) = &self.setup.parent {
            parent.tell(&Message::Running);
        }
        self.begin_logins();
    }

    /// Looks for what is waited for, if it is time to (or the last time).
    fn look(&mut self, now: Instant, last: bool) {
        if last || self.setup.transcript.due().is_some_and(|due| due <= now) {
            let seen = self.setup.transcript.look(now);
            self.tell_seen(&seen, now);
        }
    }

    pub(super) fn tell_seen(&mut self, seen: &[String], now: Instant) {
        for pattern in seen {
            ui::status("seen", pattern);
            if let Some(parent) = &self.setup.parent {
                parent.seen(pattern);
            }
        }
        if seen.is_empty() || !self.setup.transcript.all_seen() {
            return;
        }
        if let Some(parent) = &self.setup.parent {
            parent.all_seen();
            self.course.runs_on();
        } else {
            let order = self.course.all_seen(now);
            self.carry_out(order);
        }
    }

    /// Whether the guest listens to its power button, if that is pressed.
    pub(super) fn carry_out(&mut self, order: Option<Order>) -> bool {
        let Some(order) = order else { return false };
        // The end of a machine that has ended is nothing to talk about.
        if self.is_ended {
            return false;
        }
        self.handle.restart_on_power_off(order == Order::PressToRestart);
        match order {
            Order::PressButton => self.ask_guest("stopping"),
            Order::PressToRestart => self.ask_guest("rebooting"),
            Order::Reset => {
                self.handle.reset();
                false
            }
            Order::Stop => {
                self.handle.stop();
                false
            }
        }
    }

    fn ask_guest(&mut self, phase: &str) -> bool {
        let listens = self.press_button(phase);
        if !listens {
            // No guest is there to take its time: firmware, a boot loader, a kernel that is not up yet.
            let order = self.course.deaf(Instant::now());
            self.carry_out(order);
        }
        listens
    }

    /// Whether the guest listens.
    pub(super) fn press_button(&self, phase: &str) -> bool {
        let listens = self.handle.press_power_button();
        let said = if listens {
            "the power button is pressed"
        } else {
            "the guest does not listen to its power button"
        };
        ui::status(phase, said);
        listens
    }

    fn obey(&mut self, commands: &[Command], now: Instant) {
        for command in commands {
            match command {
                Command::End => {
                    let order = self.course.end_now(Cause::User, now);
                    self.carry_out(order);
                }
                Command::PowerButton => {
                    self.press_button("stopping");
                }
                // There is no key for it: the guest ends with this program.
                Command::Detach => {}
                Command::Help => ui::note(&self.setup.input.help().unwrap_or_default()),
            }
        }
    }

    /// Takes what the guest wrote, for the log, the patterns and the screen.
    fn console_event(&mut self) {
        // Read before the output is taken, so that what comes after is told anew. It may be empty: the end of the
        // machine calls this, too.
        self.handle.console().event().read().unwrap_or_default();
        let mut bytes = Vec::new();
        let Taken { dropped: lost, reset } = self.handle.console().take(&mut bytes);
        let now = Instant::now();
        if reset.is_some() {
            self.course.was_reset();
            self.panic_line.start_over();
        }
        // What was said before a reset needs no patience any more.
        if self.panic_line.add(bytes.get(reset.unwrap_or(0)..).unwrap_or_default()) {
            self.course.panicked(now);
        }
        self.setup.watch.heard(&bytes, reset, now);
        if lost > 0 {
            log::warn!("the guest wrote faster than its console is read: {lost} bytes are lost");
        }
        if bytes.is_empty() {
            return;
        }
        self.stages.output.get_or_insert(now);
        // The guest may be faster than the word that it runs.
        self.it_runs();
        // Who sees it on the screen finds it in the logs.
        self.setup.console_log.add(&bytes);
        if let Some(log) = &mut self.setup.log
            && let Err(cause) = log.write_all(&bytes)
        {
            ui::note(&format!("warning: the console log ends here: {cause}"));
            self.setup.log = None;
        }
        if let Some(screen) = &mut self.setup.screen {
            screen.lost(lost);
            screen.show(&bytes);
        }
        self.show(now);
        let seen = self.setup.transcript.add(&bytes, now);
        self.tell_seen(&seen, now);
        self.server.show(&bytes, lost);
    }

    fn show(&mut self, now: Instant) {
        let Some(Err(_)) = self.setup.screen.as_mut().map(Screen::write) else {
            return;
        };
        if !self.setup.transcript.waits() {
            let order = self.course.end_now(Cause::OutputClosed, now);
            self.carry_out(order);
        }
    }

    fn signal_event(&mut self, now: Instant) {
        while let Some(signal) = self.setup.signals.next() {
            match signal {
                libc::SIGTSTP => self.suspend(),
                libc::SIGCONT => self.setup.input.resume(),
                _ => {
                    ui::status("signal", &signals::name(signal));
                    let order = self.course.signal(signal, now);
                    self.carry_out(order);
                }
            }
        }
    }

    /// Stops this whole process, guest and all, with the terminal as it was; SIGCONT takes it again. The guest is
    /// paused first, so that it is told: the watchdogs of a kernel whose CPUs merely stood still complain.
    fn suspend(&self) {
        terminal::restore();
        if !self.handle.pause() {
            log::warn!("the machine does not stand still; it is stopped all the same");
        }
        if let Err(cause) =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
        {
            log::warn!("cannot stop: {cause}");
        }
        self.handle.resume();
        self.setup.input.resume();
    }
}

impl MutEventSubscriber for Session {
    fn init(&mut self, _ops: &mut EventOps<'_>) {}

    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        let now = Instant::now();
        match events.data() {
            SIGNALS => self.signal_event(now),
            CONSOLE => self.console_event(),
            RUNS => {
                // What the guest has said already is not kept waiting for the record.
                self.console_event();
                self.runs_event();
            }
            ENDED => self.is_ended = true,
            INPUT => {
                let commands = self.setup.input.read(&|bytes| self.handle.console().send(bytes));
                self.obey(&commands, now);
            }
            SCREEN => self.show(now),
            SSH => self.ssh_event(now),
            EXEC => self.exec_event(now),
            LOOK => self.tell_silence(),
            LISTENER => self.server.accept(now),
            CLIENT => {
                if let Some(action) = self.server.event(events.fd(), events.event_set()) {
                    let outcome = self.serve(&action, now);
                    self.server.answer(events.fd(), outcome);
                }
                self.offer();
            }
            other => log::error!("an event of kind {other} is nobody's"),
        }
    }
}

/// Brings the loop's sources from what is `registered` to what is `wanted`; which of them it cannot wait for.
fn register(registered: &mut Wanted, wanted: &Wanted, ops: &mut EventOps<'_>) -> Vec<RawFd> {
    let events = |fd, (data, events)| Events::with_data_raw(fd, data, events);
    registered.retain(|fd, was| {
        let stays = wanted.get(fd) == Some(was);
        if !stays && let Err(cause) = ops.remove(events(*fd, *was)) {
            log::error!("descriptor {fd} is waited for still: {cause}");
        }
        stays
    });
    let mut failed = Vec::new();
    for (fd, wanted) in wanted {
        if registered.contains_key(fd) {
            continue;
        }
        if ops.add(events(*fd, *wanted)).is_ok() {
            registered.insert(*fd, *wanted);
        } else {
            failed.push(*fd);
        }
    }
    failed
}
