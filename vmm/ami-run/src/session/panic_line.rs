//! Finds the line by which Linux says on its console that it has given up (kernel/panic.c).
//!
//! Only at a line's start, behind the kernel's own time stamps: who prints or types the words does not end a guest.
//! Left out: other kernels, whose words programs print too (`panic: `).

use crate::console::Plain;

const WORDS: &str = "Kernel panic - not syncing";
/// What is kept of a line.
const MAX_LINE: usize = 300;

#[derive(Debug, Default)]
pub(super) struct PanicLine {
    plain: Plain,
    /// The line that is not at its end.
    line: Vec<u8>,
    found: Option<String>,
}

impl PanicLine {
    /// Takes what the console said; whether the words were in it.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        let mut text = Vec::new();
        self.plain.strip(bytes, &mut text);
        let mut is_new = false;
        for byte in &text {
            if !matches!(byte, b'\n' | b'\r') {
                if self.line.len() < MAX_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            if let Some(words) = panic_in(&self.line) {
                self.found = Some(words);
                is_new = true;
            }
            self.line.clear();
        }
        is_new
    }

    /// What comes next is said by a machine that starts anew.
    pub(super) fn start_over(&mut self) {
        self.line.clear();
    }

    /// What the kernel said last.
    pub(super) fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }
}

fn panic_in(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let mut rest = text.trim_start();
    // `[    1.234567] `, and with CONFIG_PRINTK_CALLER `[    T1] `.
    while let Some((stamp, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ' ';
        if !stamp.chars().all(plain) {
            return None;
        }
        rest = behind.trim_start();
    }
    rest.starts_with(WORDS).then(|| rest.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Option<String> {
        let mut line = PanicLine::default();
        // In two pieces, wherever they are cut.
        for at in 0..text.len() {
            line = PanicLine::default();
            let early = line.add(&text[..at]);
            assert_eq!(early | line.add(&text[at..]), line.found().is_some());
        }
        line.found().map(str::to_owned)
    }

    #[test]
    fn the_kernel_s_own_line_is_found_with_and_without_stamps() {
        let says = "Kernel panic - not syncing: sysrq triggered crash";
        for before in ["", "[    4.120511] ", "[    4.120511][    T1] ", "more\r\n[ 12.0] "] {
            assert_eq!(found(format!("{before}{says}\r\n").as_bytes()).as_deref(), Some(says), "{before}");
        }
    }

    #[test]
    fn words_of_others_are_not() {
        for text in [
            "$ echo Kernel panic - not syncing: no\r\n",
            "[ 1.0] ---[ end Kernel panic - not syncing: x ]---\r\n",
            "[user@host] Kernel panic - not syncing\r\n",
            "Kernel panic - not syncing: without an end",
            "[ 1.0] Kernel pan\nic - not syncing\n",
        ] {
            assert_eq!(found(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut line = PanicLine::default();
        line.add(&[b'x'; 100_000]);
        assert_eq!(line.line.len(), MAX_LINE);
    }
}
