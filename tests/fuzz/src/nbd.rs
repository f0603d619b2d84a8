//! An NBD client's bytes: a handshake, then requests, each answered as if the volume had done at once what it was
//! asked for. The first byte says which volume and how the bytes arrive.

use ami_run_storage::nbd::{About, HEAD, Handshake, Job, Known, Replies, Request, Run, Session, Step};

/// No single message is answered by more.
const MOST: usize = 64 << 10;

/// The client's bytes in pieces of `step`, as a socket gives them.
struct Stream<'a> {
    bytes: &'a [u8],
    come: usize,
    step: usize,
}

impl Stream<'_> {
    fn come(&self) -> &[u8] {
        self.bytes.get(..self.come).unwrap_or(self.bytes)
    }

    /// False: the client has said all.
    fn more(&mut self) -> bool {
        let before = self.come;
        self.come = self.come.saturating_add(self.step).min(self.bytes.len());
        self.come > before
    }

    fn take(&mut self, count: usize) {
        self.bytes = self.bytes.get(count..).unwrap_or_default();
        self.come = self.come.saturating_sub(count);
    }
}

pub fn nbd(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let step = if how & 2 == 0 { bytes.len() } else { usize::from(how >> 2) + 1 };
    let about = About { size: 1 << 30, read_only: how & 1 != 0, description: "a volume".to_owned() };
    let mut stream = Stream { bytes, come: 0, step };
    if let Some(session) = handshake(about, &mut stream) {
        requests(&session, &mut stream);
    }
}

fn handshake(about: About, stream: &mut Stream<'_>) -> Option<Session> {
    let mut handshake = Handshake::new(about);
    loop {
        let mut out = Vec::new();
        let taken = handshake.step(stream.come(), &mut out).ok()?;
        assert!(out.len() <= MOST, "an answer of {} bytes", out.len());
        match taken {
            Some((count, step)) => {
                assert!(count > 0 && count <= stream.come().len(), "it takes what it has, and something");
                stream.take(count);
                match step {
                    Step::Begin(session) => return Some(session),
                    Step::End => return None,
                    Step::Next => {}
                }
            }
            None if stream.more() => {}
            None => return None,
        }
    }
}

fn requests(session: &Session, stream: &mut Stream<'_>) {
    let replies = Replies { structured: session.structured };
    loop {
        match Request::parse(stream.come(), session) {
            Ok(Some(request)) => {
                stream.take(HEAD + usize::try_from(request.payload).unwrap_or(usize::MAX - HEAD));
                if request.job == Ok(Job::Disconnect) {
                    return;
                }
                let mut out = Vec::new();
                answer(session, replies, &request, &mut out);
                assert!(!out.is_empty() && out.len() <= MOST, "an answer of {} bytes", out.len());
            }
            Ok(None) if stream.more() => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn answer(session: &Session, replies: Replies, request: &Request, out: &mut Vec<u8>) {
    let &Request { cookie, offset, len, .. } = request;
    let job = match request.job {
        Ok(job) => job,
        Err(refusal) => return replies.refused(cookie, refusal, out),
    };
    if job != Job::Flush {
        let end = offset.checked_add(len.into()).expect("what is done is inside the volume");
        assert!(len > 0 && end <= session.size, "{request:?} is outside the volume");
    }
    let changes = matches!(job, Job::Write | Job::Trim | Job::WriteZeroes { .. });
    assert!(!(changes && session.read_only), "{request:?} on a read-only volume");
    match job {
        Job::Read { whole } if session.structured && !whole => {
            replies.data(cookie, offset, len / 2, false, out);
            replies.hole(cookie, offset, len - len / 2, true, out);
        }
        Job::Read { .. } => replies.data(cookie, offset, len, true, out),
        Job::BlockStatus { .. } => replies.status(cookie, &[Run { len, known: Known::Zero }], out),
        _ => replies.done(cookie, out),
    }
}
