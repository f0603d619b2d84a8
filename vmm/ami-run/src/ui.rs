//! All that ami-run says: status lines and errors on standard error, results on standard output.
//!
//! No other module prints. Text from outside (names in image.json, what the guest wrote) cannot carry control
//! characters to the terminal; there is no colour.

use crate::console::{Screen, terminal};
use crate::failure::Failure;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Back to the line's start, and nothing on it (ECMA-48: EL).
const REPLACE: &str = "\r\u{1b}[K";
/// How long somebody who reads standard error slowly is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

static START: OnceLock<Instant> = OnceLock::new();

/// Standard error, which never stops us either: a terminal may be stopped, a pipe full.
static STANDARD_ERROR: Mutex<Option<Screen>> = Mutex::new(None);

/// How many warnings are said that nobody asked for. A guest may cause them for as long as it runs, and of a detached
/// instance they go to a file.
const MAX_WARNINGS: u64 = 1000;

/// Whether the guest has left off in the middle of a line, where status lines go too.
static MID_LINE: AtomicBool = AtomicBool::new(false);

/// Whether the last line on the terminal may be written over.
static PASSING: AtomicBool = AtomicBool::new(false);

/// When the command started; the first call says when that was.
pub(crate) fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

/// Sends warnings to standard error, and more where AMI_RUN_LOG or RUST_LOG asks for it.
pub(crate) fn log_warnings() {
    let wanted = std::env::var("AMI_RUN_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let (asked_for, count) = (wanted.is_ok(), AtomicU64::new(0));
    env_logger::Builder::new()
        // virtio-queue logs an error for each thing that a guest does wrong: the devices say it once.
        .parse_filters(wanted.as_deref().unwrap_or("warn,virtio_queue=off"))
        .format(move |_, record| {
            let level = if record.level() == log::Level::Warn {
                "warning".to_owned()
            } else {
                record.level().to_string().to_lowercase()
            };
            let line = || format!("{level}: {}", clean(&record.args().to_string()));
            if asked_for {
                say(&line());
            } else if let Some(line) = bounded(&count, line) {
                say(&line);
            }
            Ok(())
        })
        .init();
}

/// The next warning, or the last word on them. None: there were too many.
fn bounded(count: &AtomicU64, line: impl FnOnce() -> String) -> Option<String> {
    match count.fetch_add(1, Ordering::Relaxed) {
        0..MAX_WARNINGS => Some(line()),
        MAX_WARNINGS => Some(format!("warning: {MAX_WARNINGS} warnings are enough: no more are said")),
        _ => None,
    }
}

/// One line for one phase, with the time since the command started.
pub(crate) fn status(phase: &str, text: &str) {
    let seconds = start().elapsed().as_secs_f64();
    say(&format!("{phase:<9}  {}  {seconds:.1}s", clean(text)));
}

/// True if [`passing`] lines replace each other.
pub(crate) fn can_replace() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// A status line that stands until the next line of any kind; without a terminal it stands like others.
pub(crate) fn passing(phase: &str, text: &str) {
    if !can_replace() {
        return status(phase, text);
    }
    let line = format!("{phase:<9}  {}  {:.1}s", clean(text), start().elapsed().as_secs_f64());
    let before = if PASSING.swap(true, Ordering::Relaxed) { REPLACE } else { "" };
    with_standard_error(|screen| {
        screen.show(format!("{before}{line}").as_bytes());
        screen.finish(PATIENCE);
    });
}

/// Bytes for people: three digits, and the unit.
pub(crate) fn size(bytes: u64) -> String {
    let (mut whole, mut rest, mut unit) = (bytes, 0, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            break;
        }
        (rest, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, larger);
    }
    if unit == "bytes" || whole >= 100 { format!("{whole} {unit}") } else { format!("{whole}.{rest} {unit}") }
}

/// A line that stands by itself.
pub(crate) fn note(text: &str) {
    say(&clean(text));
}

/// Why a guest is silent: the verdict, and what belongs to it below.
pub(crate) fn silent(lines: &[String]) {
    let Some((what, rest)) = lines.split_first() else { return };
    status("silent", what);
    rest.iter().for_each(|line| say(&format!("{:11}{}", "", clean(line))));
}

pub(crate) fn failure(failure: &Failure) {
    say(&format!("error: {}", clean(&failure.message)));
    for cause in &failure.causes {
        say(&format!("  caused by: {}", indent(&clean(cause))));
    }
    if let Some(hint) = &failure.hint {
        say("");
        say(&format!("hint: {}", clean(hint)));
    }
}

/// What the console showed last.
pub(crate) fn last_lines(lines: &[String]) {
    if lines.is_empty() {
        say("the guest wrote nothing to its console");
        return;
    }
    say("the console's last lines:");
    for line in lines {
        say(&format!("  | {}", clean(line)));
    }
}

/// The result on standard output, and nothing else there.
pub(crate) fn result(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// What a guest said on standard output, as it said it.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Several lines for people on standard output.
pub(crate) fn page(text: &str) -> io::Result<()> {
    result(&clean(text))
}

/// Tells where the guest's output has left off, if it goes where status lines go.
pub(crate) fn console_showed(last: u8) {
    MID_LINE.store(!matches!(last, b'\n' | b'\r'), Ordering::Relaxed);
}

/// Several lines stand below each other, also on a terminal in raw mode.
fn say(text: &str) {
    let end = if terminal::is_raw() { "\r\n" } else { "\n" };
    let mid_line = MID_LINE.swap(false, Ordering::Relaxed);
    let before = match PASSING.swap(false, Ordering::Relaxed) {
        true => REPLACE,
        false if mid_line => end,
        false => "",
    };
    let line = format!("{before}{}{end}", text.replace('\n', end));
    with_standard_error(|screen| {
        // Who has not read what was said before is not waited for again.
        let patience = if screen.wants_event() { Duration::ZERO } else { PATIENCE };
        screen.show(line.as_bytes());
        screen.finish(patience);
    });
}

/// Gives who reads standard error a last moment.
pub(crate) fn finish() {
    with_standard_error(|screen| screen.finish(PATIENCE));
}

/// Nothing is said where standard error is closed: nobody could be told.
fn with_standard_error(f: impl FnOnce(&mut Screen)) {
    // A panic that happened under this very lock must not wait for it.
    let lock = if thread::panicking() { STANDARD_ERROR.try_lock().ok() } else { STANDARD_ERROR.lock().ok() };
    let Some(mut screen) = lock else { return };
    if screen.is_none() {
        *screen = Screen::new(io::stderr().as_fd()).ok();
    }
    if let Some(screen) = screen.as_mut() {
        f(screen);
    }
}

fn indent(text: &str) -> String {
    text.replace('\n', "\n    ")
}

/// The text with control characters spelt out.
pub(crate) fn clean(text: &str) -> String {
    let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if text.chars().all(plain) {
        return text.to_owned();
    }
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_have_an_end() {
        let count = AtomicU64::new(0);
        let said: Vec<_> = (0..MAX_WARNINGS + 3).map(|_| bounded(&count, || "one".to_owned())).collect();
        assert_eq!(said.iter().flatten().filter(|line| *line == "one").count() as u64, MAX_WARNINGS);
        assert!(said[1000].as_deref().is_some_and(|last| last.contains("no more")), "{:?}", said[1000]);
        assert_eq!(said[1001..], [None, None]);
    }

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (200 << 20, "200 MiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16777215 TiB");
    }

    #[test]
    fn control_characters_are_spelt_out() {
        assert_eq!(clean("a\u{1b}[31mb\n\tc\u{9b}…"), "a\\u{1b}[31mb\n\tc\\u{9b}…");
    }
}
