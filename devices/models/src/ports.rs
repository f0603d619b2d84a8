//! The single ports of a PC: fast A20 and reset (0x92), reset control (0xcf9), the keyboard controller's reset
//! pulse (0x64), and the firmware's debug port (0x402).
//!
//! All are eight bits wide: of a wider access each takes its own byte.
//!
//! There is no keyboard: port 0x60 has no device and 0x64's status reads 0xff, which tells firmware and kernels
//! that no controller is there, but the pulse on its reset line works, because EDK II and Linux use it.

use crate::bus::{Access, Device, Effect};
use crate::trace::{Kinds, Trace};
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Port 0x92: bit 1 is the A20 gate, which is always open but reads back; bit 0 rising resets.
#[derive(Debug)]
pub struct FastA20(AtomicU8);

impl Default for FastA20 {
    fn default() -> FastA20 {
        FastA20(AtomicU8::new(2))
    }
}

impl Device for FastA20 {
    fn read(&self, _: Access) -> u64 {
        u64::from(self.0.load(Ordering::Relaxed))
    }

    fn write(&self, _: Access, value: u64) -> Effect {
        let [byte, ..] = value.to_le_bytes();
        let before = self.0.swap(byte & 2, Ordering::Relaxed);
        if byte & 1 != 0 && before & 1 == 0 { Effect::Reset } else { Effect::None }
    }

    fn eight_bits(&self) -> bool {
        true
    }
}

/// Port 0xcf9 (PIIX3 data sheet, RC): bit 2 starts a reset, of whatever kind bit 1 says.
#[derive(Debug, Default)]
pub struct ResetControl(AtomicU8);

impl ResetControl {
    pub fn read(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn write(&self, value: u8) -> Effect {
        self.0.store(value & 2, Ordering::Relaxed);
        if value & 4 != 0 { Effect::Reset } else { Effect::None }
    }
}

/// Port 0x64: nothing but the reset pulse (command 0xf0 to 0xff with bit 0 clear).
#[derive(Debug, Default)]
pub struct KeyboardReset;

impl Device for KeyboardReset {
    fn read(&self, at: Access) -> u64 {
        at.width.ones()
    }

    fn write(&self, _: Access, value: u64) -> Effect {
        if value & 0xf1 == 0xf0 { Effect::Reset } else { Effect::None }
    }

    fn eight_bits(&self) -> bool {
        true
    }
}

/// Port 0x402: what firmware says to those who debug it. SeaBIOS writes only when 0xe9 reads back.
#[derive(Debug, Default)]
pub struct DebugPort {
    text: Arc<Mutex<DebugText>>,
    trace: Option<Arc<Trace>>,
}

/// The last text of the firmware, kept over resets.
#[derive(Debug, Default)]
pub struct DebugText {
    bytes: Vec<u8>,
    line: Vec<u8>,
    /// All of it goes there, too, as its lines come.
    log: Option<Log>,
}

/// A file that is written to while it is not too long. Any guest may write to the port.
#[derive(Debug)]
struct Log {
    file: File,
    room: usize,
}

/// Text that is kept; when there is more, the older half goes.
const MAX_TEXT: usize = 1 << 16;
const MAX_LINE: usize = 512;
/// A debug build of EDK II says some megabytes.
const MAX_LOG: usize = 64 << 20;
const LOG_ENDS: &[u8] = b"(64 MiB: no more is kept)\n";

impl DebugText {
    /// Adds a byte; returns a line when it is complete.
    fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if self.bytes.len() >= MAX_TEXT {
            self.bytes.drain(..MAX_TEXT / 2);
        }
        self.bytes.push(byte);
        if byte != b'\n' {
            self.line.push(byte);
        }
        if byte != b'\n' && self.line.len() < MAX_LINE {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        self.write(&line);
        if byte == b'\n' {
            self.write(b"\n");
        }
        Some(line)
    }

    /// From now on all that is said goes to this file.
    pub fn keep_in(&mut self, file: File) {
        self.log = Some(Log { file, room: MAX_LOG });
    }

    /// Writes what is not at its line's end: no more comes.
    pub fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.write(&line);
    }

    /// What cannot be written ends the log, and nothing else.
    fn write(&mut self, bytes: &[u8]) {
        let Some(log) = &mut self.log else { return };
        let room = log.room.checked_sub(bytes.len());
        if let Err(cause) = log.file.write_all(if room.is_some() { bytes } else { LOG_ENDS }) {
            log::warn!("the firmware's log ends here: {cause}");
            self.log = None;
            return;
        }
        match room {
            Some(room) => log.room = room,
            None => self.log = None,
        }
    }

    /// Whether it said anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl DebugPort {
    #[must_use]
    pub fn new(text: Arc<Mutex<DebugText>>, trace: Option<Arc<Trace>>) -> DebugPort {
        DebugPort { text, trace }
    }
}

impl Device for DebugPort {
    fn read(&self, _: Access) -> u64 {
        0xe9
    }

    fn write(&self, _: Access, value: u64) -> Effect {
        let [byte, ..] = value.to_le_bytes();
        let line = self.text.lock().push(byte);
        if let (Some(line), Some(trace)) = (line, &self.trace) {
            trace.line(Kinds::FW_CFG, format_args!("says {}", String::from_utf8_lossy(&line).trim_end()));
        }
        Effect::None
    }

    fn eight_bits(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Width;

    const BYTE: Access = Access { offset: 0, width: Width::Byte };

    #[test]
    fn each_port_resets_in_its_own_way_only() {
        let a20 = FastA20::default();
        assert_eq!(
            (a20.write(BYTE, 2), a20.read(BYTE), a20.write(BYTE, 3)),
            (Effect::None, 2, Effect::Reset)
        );
        let control = ResetControl::default();
        assert_eq!((control.write(2), control.read(), control.write(6)), (Effect::None, 2, Effect::Reset));
        assert_eq!(KeyboardReset.write(BYTE, 0xfe), Effect::Reset);
        assert_eq!(KeyboardReset.write(BYTE, 0xff), Effect::None);
        assert_eq!(KeyboardReset.write(BYTE, 0xd1), Effect::None);
    }

    #[test]
    fn debug_text_goes_to_a_log_by_lines_and_the_log_has_an_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = DebugText::default();
        assert!(text.is_empty());
        text.keep_in(file.reopen().unwrap());
        let mut say = |words: &str| words.bytes().for_each(|byte| drop(text.push(byte)));
        let said = || std::fs::read_to_string(file.path()).unwrap();
        say("one\n\ntw");
        assert_eq!(said(), "one\n\n");
        say(&"x".repeat(MAX_LINE));
        assert_eq!(said().len(), 5 + MAX_LINE);
        text.flush();
        assert_eq!(said(), format!("one\n\ntw{}", "x".repeat(MAX_LINE)));
        text.log.as_mut().unwrap().room = 3;
        "end\nmore\n".bytes().for_each(|byte| drop(text.push(byte)));
        assert!(said().ends_with("xend(64 MiB: no more is kept)\n") && !text.is_empty(), "{}", said());
        text.keep_in(File::open("/dev/null").unwrap());
        text.push(b'\n');
        assert!(text.log.is_none(), "what cannot be written to is left");
    }

    #[test]
    fn debug_text_is_bounded() {
        let text = Arc::new(Mutex::new(DebugText::default()));
        let port = DebugPort::new(Arc::clone(&text), None);
        for _ in 0..MAX_TEXT + 10 {
            port.write(BYTE, u64::from(b'a'));
        }
        port.write(BYTE, u64::from(b'\n'));
        let kept = text.lock().text();
        assert!(kept.len() <= MAX_TEXT && kept.ends_with("a\n"));
    }
}
