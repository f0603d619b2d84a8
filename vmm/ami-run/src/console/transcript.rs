//! What the guest's console said, as plain text: its last 64 KiB, and what was waited for in it.

use super::plain::Plain;
use crate::values::{Awaited, Sign};
use std::time::{Duration, Instant};

/// What a pattern can look back on.
const KEPT: usize = 64 << 10;
/// Patterns look at the whole text, so not at every byte that arrives.
const PAUSE: Duration = Duration::from_millis(20);
/// A line is repeated to this length.
const MAX_LINE: usize = 200;

/// One thing that was waited for.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) awaited: Awaited,
    pub(crate) at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Transcript {
    plain: Plain,
    /// Between once and twice what is kept.
    text: Vec<u8>,
    waited: Vec<Seen>,
    /// When patterns are to look at text that is new.
    due: Option<Instant>,
    last_look: Option<Instant>,
}

impl Transcript {
    pub(crate) fn new(awaited: Vec<Awaited>) -> Transcript {
        let waited = awaited.into_iter().map(|awaited| Seen { awaited, at: None }).collect();
        Transcript { plain: Plain::default(), text: Vec::new(), waited, due: None, last_look: None }
    }

    /// Takes what the guest wrote; returns what was seen in it, if it was looked at.
    pub(crate) fn add(&mut self, bytes: &[u8], now: Instant) -> Vec<String> {
        let mut seen = Vec::new();
        for piece in bytes.chunks(KEPT) {
            self.plain.strip(piece, &mut self.text);
            if self.text.len() >= 2 * KEPT {
                seen.extend(self.look(now));
                self.forget();
            }
        }
        let next = self.last_look.map_or(now, |last| last + PAUSE);
        self.due.get_or_insert(next);
        seen
    }

    /// When to call [`Transcript::look`] next, if there is anything to look for in new text.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.waited.iter().any(|one| one.at.is_none()))
    }

    /// Looks for what has not been seen yet; returns what is there now.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<String> {
        self.due = None;
        self.last_look = Some(now);
        let text = &self.text;
        see(&mut self.waited, now, |sign| matches!(sign, Sign::Console(regex) if regex.is_match(text)))
    }

    /// Whether an SSH server is waited for.
    pub(crate) fn awaits_ssh(&self) -> bool {
        self.waited.iter().any(|one| one.at.is_none() && matches!(one.awaited.sign, Sign::Ssh))
    }

    /// An SSH server answers; returns what was waited for by that.
    pub(crate) fn ssh_answers(&mut self, now: Instant) -> Vec<String> {
        see(&mut self.waited, now, |sign| matches!(sign, Sign::Ssh))
    }

    /// Whether anything is waited for.
    pub(crate) fn waits(&self) -> bool {
        !self.waited.is_empty()
    }

    /// Whether something is waited for and all of it was seen.
    pub(crate) fn all_seen(&self) -> bool {
        self.waits() && self.waited.iter().all(|one| one.at.is_some())
    }

    pub(crate) fn waited(&self) -> &[Seen] {
        &self.waited
    }

    /// The last lines that are not empty.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.text);
        let lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
        let mut last: Vec<String> =
            lines.rev().take(count).map(|line| line.chars().take(MAX_LINE).collect()).collect();
        last.reverse();
        last
    }

    /// Drops what is older than what is kept, up to a whole line, so that `^` matches at no line's middle.
    fn forget(&mut self) {
        let oldest = self.text.len() - KEPT;
        let line = self.text.iter().skip(oldest).position(|byte| *byte == b'\n');
        self.text.drain(..line.map_or(oldest, |line| oldest + line + 1));
    }
}

/// Marks what has not been seen yet and is now; returns what that is.
fn see(waited: &mut [Seen], now: Instant, is_seen: impl Fn(&Sign) -> bool) -> Vec<String> {
    let missing = waited.iter_mut().filter(|one| one.at.is_none());
    let found = missing.filter(|one| is_seen(&one.awaited.sign));
    found
        .map(|one| {
            one.at = Some(now);
            one.awaited.text.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::awaited;

    fn transcript(wanted: &[&str]) -> Transcript {
        Transcript::new(wanted.iter().map(|text| awaited(text).unwrap()).collect())
    }

    #[test]
    fn all_must_be_seen_in_any_order_and_across_pieces() {
        let mut it = transcript(&["console:login:", "console:^Welcome"]);
        let now = Instant::now();
        it.add(b"host lo\x1b[1mg", now);
        it.add(b"in: \r\n", now);
        assert_eq!(it.look(now), ["console:login:"]);
        assert!(!it.all_seen());
        it.add(b"Welcome", now);
        assert_eq!(it.look(now), ["console:^Welcome"]);
        assert!(it.all_seen() && it.due().is_none());
    }

    #[test]
    fn looks_are_rare_and_never_left_out() {
        let mut it = transcript(&["console:x"]);
        let now = Instant::now();
        assert_eq!(it.due(), None);
        it.add(b"a", now);
        assert_eq!(it.due(), Some(now));
        it.look(now);
        it.add(b"b", now);
        assert_eq!(it.due(), Some(now + PAUSE));
        let mut nothing = transcript(&[]);
        nothing.add(b"b", now);
        assert!(nothing.due().is_none() && !nothing.all_seen());
    }

    #[test]
    fn nothing_is_missed_in_a_flood_and_the_text_is_bounded() {
        let mut it = transcript(&["console:needle", "console:^middle$"]);
        let now = Instant::now();
        let mut flood = b"a needle\n".to_vec();
        flood.extend(std::iter::repeat_n(b"no middle\n", 100_000).flatten());
        assert_eq!(it.add(&flood, now), ["console:needle"]);
        it.look(now);
        assert!(!it.all_seen());
        assert!(it.text.len() < 2 * KEPT && it.text.starts_with(b"no"));
    }

    #[test]
    fn last_lines_are_short_and_not_empty() {
        let mut it = transcript(&[]);
        it.add(b"one\r\n\r\ntwo  \r\n", Instant::now());
        it.add(&[b'x'; 500], Instant::now());
        assert_eq!(it.last_lines(2), ["two".to_owned(), "x".repeat(200)]);
    }
}
