//! What a terminal would show, as plain text: escape sequences (ECMA-48) and other control characters removed.
//!
//! Left out: what moves the cursor moves nothing here, so text that was drawn over stays.

/// Where in a sequence the last byte was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// After `ESC [`: parameters, until a final byte.
    Control,
    /// After `ESC ]`, `P`, `X`, `^` or `_`: a string, until BEL, ESC or the end of the line.
    String,
}

#[derive(Debug, Default)]
pub(crate) struct Plain {
    state: State,
}

impl Plain {
    /// Appends the plain text of `bytes` to `text`. Sequences may be cut anywhere between two calls.
    pub(crate) fn strip(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        for byte in bytes {
            let shown = self.step(*byte);
            if shown {
                text.push(*byte);
            }
        }
    }

    /// Whether the byte is text.
    fn step(&mut self, byte: u8) -> bool {
        let (next, shown) = match (self.state, byte) {
            (_, 0x1b) => (State::Escape, false),
            (State::Escape, b'[') => (State::Control, false),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (State::String, false),
            // An intermediate byte, as in `ESC ( B`.
            (State::Escape, 0x20..=0x2f) => (State::Escape, false),
            (State::Control, 0x20..=0x3f) => (State::Control, false),
            (State::Escape | State::Control, 0x30..=0x7e) | (State::String, 0x07) => (State::Text, false),
            (State::String, b'\n') => (State::Text, true),
            (State::String, _) => (State::String, false),
            // Anything else is no part of a sequence, and ends it.
            (_, b'\n' | b'\r' | b'\t') => (State::Text, true),
            (_, byte) => (State::Text, byte >= 0x20 && byte != 0x7f),
        };
        self.state = next;
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_and_text_stays_however_it_is_cut() {
        let raw = b"\x1b[2J\x1b[1;1H\x1b(BGRUB\x1b[0;37m lo\x1b]0;title\x07ading\x1bc\r\n\x00caf\xc3\xa9\x08\x1b[31\x1b[0m!";
        let mut whole = Vec::new();
        Plain::default().strip(raw, &mut whole);
        assert_eq!(String::from_utf8(whole.clone()).unwrap(), "GRUB loading\r\ncafé!");
        let (mut plain, mut bytewise) = (Plain::default(), Vec::new());
        raw.iter().for_each(|byte| plain.strip(&[*byte], &mut bytewise));
        assert_eq!(bytewise, whole);
    }

    #[test]
    fn an_endless_string_ends_with_its_line() {
        let mut text = Vec::new();
        Plain::default().strip(b"a\x1b]junk\nb", &mut text);
        assert_eq!(text, b"a\nb");
    }
}
