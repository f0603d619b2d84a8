//! The escape key: what is typed at a terminal is for the guest, except for the key after this one.

use crate::values::EscapeKey;

/// What the user wants of ami-run itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    End,
    PowerButton,
    Detach,
    Help,
}

#[derive(Debug)]
pub(crate) struct Escape {
    key: EscapeKey,
    /// Whether there is a key to leave the console with.
    detaches: bool,
    /// The last byte was the key.
    pressed: bool,
}

impl Escape {
    pub(crate) fn new(key: EscapeKey, detaches: bool) -> Escape {
        Escape { key, detaches, pressed: false }
    }

    /// Sorts typed bytes into commands and what the guest gets.
    pub(crate) fn sort(&mut self, typed: &[u8], for_guest: &mut Vec<u8>) -> Vec<Command> {
        let mut commands = Vec::new();
        for byte in typed {
            if !std::mem::take(&mut self.pressed) {
                self.pressed = *byte == self.key.0;
                if !self.pressed {
                    for_guest.push(*byte);
                }
                continue;
            }
            match byte {
                _ if *byte == self.key.0 => for_guest.push(*byte),
                b'x' | b'X' => commands.push(Command::End),
                b'p' | b'P' => commands.push(Command::PowerButton),
                b'd' | b'D' if self.detaches => commands.push(Command::Detach),
                // Any other key is a slip: say what there is.
                _ => commands.push(Command::Help),
            }
        }
        commands
    }

    pub(crate) fn way_out(&self) -> String {
        let key = self.key.name();
        let detach = if self.detaches { format!("{key} d detaches, ") } else { String::new() };
        format!("{detach}{key} x ends the guest, {key} p presses its power button, {key} h helps")
    }

    pub(crate) fn help(&self) -> String {
        let key = self.key.name();
        let detach = if self.detaches {
            format!("{key} d      leave the console; the guest runs on\n")
        } else {
            String::new()
        };
        format!(
            "{detach}{key} x      end the guest at once\n{key} p      press its power button\n\
             {key} h      this help\n{key} {key} send one {key} to the guest"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(pieces: &[&[u8]]) -> (Vec<Command>, Vec<u8>) {
        let mut escape = Escape::new(EscapeKey(1), false);
        let mut guest = Vec::new();
        let commands = pieces.iter().flat_map(|piece| escape.sort(piece, &mut guest)).collect();
        (commands, guest)
    }

    #[test]
    fn keys_after_the_escape_are_commands() {
        assert_eq!(sorted(&[b"a\x01xb"]), (vec![Command::End], b"ab".to_vec()));
        assert_eq!(sorted(&[b"\x01", b"p"]), (vec![Command::PowerButton], vec![]));
        assert_eq!(sorted(&[b"\x01h\x01?"]), (vec![Command::Help; 2], vec![]));
    }

    #[test]
    fn the_key_twice_is_sent_once() {
        assert_eq!(sorted(&[b"\x01\x01x"]), (vec![], b"\x01x".to_vec()));
        assert_eq!(sorted(&[b"\x01", b"\x01", b"\x01x"]), (vec![Command::End], b"\x01".to_vec()));
    }

    #[test]
    fn a_guest_that_runs_on_can_be_left() {
        let mut guest = Vec::new();
        assert_eq!(Escape::new(EscapeKey(1), true).sort(b"\x01d", &mut guest), [Command::Detach]);
        assert_eq!(Escape::new(EscapeKey(1), false).sort(b"\x01d", &mut guest), [Command::Help]);
        assert!(Escape::new(EscapeKey(1), true).way_out().starts_with("Ctrl-A d detaches, Ctrl-A x ends"));
    }
}
