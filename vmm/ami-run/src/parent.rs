//! What the process of a detached instance tells the command that started it: lines of JSON down a pipe, until there
//! is nothing more to wait for.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::sync::Arc;

/// The longest line: a failure with a console's last lines, or an explanation of silence.
const MAX_LINE: u64 = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The machine runs.
    Running,
    /// Something that was waited for was seen.
    Seen(String),
    /// All that was waited for was seen.
    AllSeen,
    /// The guest says nothing: why.
    Silent(Vec<String>),
    /// The instance does not run: it never did, or it has ended. `last_lines` are the console's, where they explain
    /// anything.
    Ended { failure: Failure, last_lines: Option<Vec<String>> },
}

/// The way to the command. It may be gone, which is no business of the instance's.
#[derive(Clone, Debug)]
pub(crate) struct Parent(Arc<File>);

impl Parent {
    pub(crate) fn new(pipe: File) -> Parent {
        Parent(Arc::new(pipe))
    }

    pub(crate) fn tell(&self, message: &Message) {
        let told = serde_json::to_vec(message).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.0.as_ref().write_all(&line)
        });
        if let Err(cause) = told {
            log::info!("nobody waits for this instance any more: {cause}");
        }
    }

    /// Something that was waited for was seen.
    pub(crate) fn seen(&self, pattern: &str) {
        self.tell(&Message::Seen(pattern.to_owned()));
    }

    /// The last word: the instance runs on.
    pub(crate) fn all_seen(&self) {
        self.tell(&Message::AllSeen);
    }
}

/// The command's end of the pipe.
#[derive(Debug)]
pub(crate) struct Child<R>(BufReader<R>);

impl<R: Read> Child<R> {
    pub(crate) fn new(pipe: R) -> Child<R> {
        Child(BufReader::new(pipe))
    }

    /// Waits for the next message. None: the process is gone, or says nothing more.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        let mut line = Vec::new();
        self.0.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&line)?)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_failure_arrives_as_it_was() {
        let (reader, writer) = io::pipe().unwrap();
        let parent = Parent::new(File::from(OwnedFd::from(writer)));
        let failure = Failure::new(Code::Host, "no").because(&io::Error::other("why")).hint("do");
        parent.seen("console:x");
        parent.tell(&Message::Silent(vec!["why".to_owned()]));
        parent.tell(&Message::Ended { failure: failure.ec2("Code", "words"), last_lines: None });
        drop(parent);
        let mut child = Child::new(reader);
        assert!(matches!(child.next().unwrap(), Some(Message::Seen(pattern)) if pattern == "console:x"));
        assert!(matches!(child.next().unwrap(), Some(Message::Silent(lines)) if lines == ["why"]));
        let Some(Message::Ended { failure, .. }) = child.next().unwrap() else { panic!() };
        assert_eq!((failure.code, failure.line().as_str()), (Code::Host, "no: why"));
        assert_eq!(failure.ec2.unwrap().code, "Code");
        assert!(child.next().unwrap().is_none());
    }

    #[test]
    fn nobody_at_the_other_end_is_no_harm() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let parent = Parent::new(File::from(OwnedFd::from(writer)));
        parent.seen("x");
        parent.all_seen();
    }
}
