//! The event loop of a session.

use super::course::{Cause, Course, Order};
use super::panic_line::PanicLine;
use super::{Setup, signals};
use crate::console::{Command, Screen, terminal};
use crate::ui;
use ami_run_machine::{Handle, Taken};
use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps as _};
use std::io::Write as _;
use std::os::fd::RawFd;
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

const STDIN: RawFd = 0;

#[derive(Debug)]
pub(super) struct Session {
    handle: Handle,
    ended: Arc<EventFd>,
    is_ended: bool,
    pub(super) setup: Setup,
    course: Course,
    panic_line: PanicLine,
}

/// What is waited for besides what always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    input: bool,
    screen: Option<RawFd>,
}

impl Session {
    pub(super) fn new(handle: Handle, ended: Arc<EventFd>, setup: Setup) -> Session {
        let course = Course::new(setup.timeout, setup.stop_timeout);
        Session { handle, ended, is_ended: false, setup, course, panic_line: PanicLine::default() }
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
            if register(registered, wanted, &mut manager.event_ops(id)?) {
                registered = wanted;
                manager.run_with_timeout(wait)?;
            } else {
                manager.subscriber_mut(id)?.setup.input.set_always_ready();
                registered = Wanted { input: false, ..wanted };
            }
        }
    }

    /// Takes what the guest still said, and looks a last time for what is waited for.
    pub(super) fn last_words(&mut self) {
        self.console_event();
        self.look(Instant::now(), true);
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
        let screen = self.setup.screen.as_ref().filter(|screen| screen.wants_event());
        Wanted { input: self.setup.input.wants_event(), screen: screen.map(Screen::fd) }
    }

    /// For how many milliseconds nothing is to be done unless an event comes; rounded up, so as not to spin.
    fn wait(&self, now: Instant) -> i32 {
        let due = [self.course.due(), self.setup.transcript.due(), self.setup.input.due(now)];
        match due.into_iter().flatten().min() {
            None => -1,
            Some(at) => {
                let micros = at.saturating_duration_since(now).as_micros();
                i32::try_from(micros.div_ceil(1000)).unwrap_or(i32::MAX)
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let commands = self.setup.input.tick(self.handle.console());
        self.obey(&commands, now);
        self.look(now, false);
        let order = self.course.tick(now);
        self.carry_out(order);
    }

    /// Looks for what is waited for, if it is time to (or the last time).
    fn look(&mut self, now: Instant, last: bool) {
        if last || self.setup.transcript.due().is_some_and(|due| due <= now) {
            let seen = self.setup.transcript.look(now);
            self.tell_seen(&seen, now);
        }
    }

    fn tell_seen(&mut self, seen: &[String], now: Instant) {
        for pattern in seen {
            ui::status("seen", pattern);
        }
        if !seen.is_empty() && self.setup.transcript.all_seen() {
            let order = self.course.all_seen(now);
            self.carry_out(order);
        }
    }

    fn carry_out(&mut self, order: Option<Order>) {
        match order {
            None => {}
            // The end of a machine that has ended is nothing to talk about.
            Some(_) if self.is_ended => {}
            Some(Order::PressButton) => self.ask_to_power_off(),
            Some(Order::Stop) => self.handle.stop(),
        }
    }

    fn ask_to_power_off(&mut self) {
        if !self.press_button() {
            // No guest is there to take its time: firmware, a boot loader, a kernel that is not up yet.
            let order = self.course.deaf(Instant::now());
            self.carry_out(order);
        }
    }

    /// Whether the guest listens.
    fn press_button(&self) -> bool {
        let listens = self.handle.press_power_button();
        let said = if listens {
            "the power button is pressed"
        } else {
            "the guest does not listen to its power button"
        };
        ui::status("stopping", said);
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
                    self.press_button();
                }
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
        if lost > 0 {
            log::warn!("the guest wrote faster than its console is read: {lost} bytes are lost");
        }
        if bytes.is_empty() {
            return;
        }
        if let Some(log) = &mut self.setup.log
            && let Err(cause) = log.write_all(&bytes)
        {
            ui::note(&format!("warning: the console log ends here: {cause}"));
            self.setup.log = None;
        }
        let seen = self.setup.transcript.add(&bytes, now);
        self.tell_seen(&seen, now);
        if let Some(screen) = &mut self.setup.screen {
            screen.lost(lost);
            screen.show(&bytes);
        }
        self.show(now);
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
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let always = [
            Events::with_data_raw(self.setup.signals.fd(), SIGNALS, EventSet::IN),
            Events::with_data(self.handle.console().event(), CONSOLE, EventSet::IN),
            Events::with_data(&*self.ended, ENDED, EventSet::IN),
        ];
        for events in always {
            if let Err(cause) = ops.add(events) {
                log::error!("an event source is lost: {cause}");
            }
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        let now = Instant::now();
        match events.data() {
            SIGNALS => self.signal_event(now),
            CONSOLE => self.console_event(),
            ENDED => self.is_ended = true,
            INPUT => {
                let commands = self.setup.input.read(self.handle.console());
                self.obey(&commands, now);
            }
            SCREEN => self.show(now),
            other => log::error!("an event of kind {other} is nobody's"),
        }
    }
}

/// Brings the loop's sources from what `was` to what `wanted` says. False: standard input cannot be waited for.
fn register(was: Wanted, wanted: Wanted, ops: &mut EventOps<'_>) -> bool {
    if was.screen != wanted.screen {
        let screen = |fd| Events::with_data_raw(fd, SCREEN, EventSet::OUT);
        let removed = was.screen.map_or(Ok(()), |fd| ops.remove(screen(fd)));
        let added = wanted.screen.map_or(Ok(()), |fd| ops.add(screen(fd)));
        if let Err(cause) = removed.and(added) {
            log::error!("the console's reader cannot be waited for: {cause}");
        }
    }
    let input = Events::with_data_raw(STDIN, INPUT, EventSet::IN);
    match (was.input, wanted.input) {
        (false, true) => ops.add(input).is_ok(),
        (true, false) => ops.remove(input).is_ok(),
        _ => true,
    }
}
