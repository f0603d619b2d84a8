//! Requests of one connection: from its socket to the volume's queue, and back in the order in which they finish.

use super::arena::Piece;
use super::connection::{Parts, refused};
use super::reply::{Known, Replies, Run};
use super::request::{Error, HEAD, Job, Refusal, Request};
use super::{Session, status};
use crate::{Completion, Fault, Op, Queue, Volume};
use std::io;
use std::time::Duration;

/// Requests in flight: as many as nbdcopy has, and twice what fio and QEMU have by default.
const MAX_REQUESTS: usize = 128;
/// Replies that wait to be read, besides large data: no new requests before they are.
const MAX_REPLIES: usize = 1 << 20;
/// How long a client may not read a reply.
const PATIENCE: Duration = Duration::from_secs(60);
/// Runs in a reply to a read, and in one to BLOCK_STATUS.
const READ_RUNS: usize = 64;
const STATUS_RUNS: usize = 4096;
/// A batch comes from so many steps; a request takes one to three.
const STEPS: usize = 64;
/// CACHE reads so much at once.
const AHEAD: u32 = 1 << 20;

/// A request at the queue.
#[derive(Debug)]
struct Flight {
    request: Request,
    piece: Option<Piece>,
    /// A read's, as they were when it was begun.
    runs: Vec<Run>,
    /// How many bytes a CACHE has read or is reading.
    ahead: u32,
}

/// What comes next from the client.
#[derive(Debug)]
enum Next {
    Head,
    /// A request that there was no room for.
    Again(Request),
    /// A write's bytes, as far as they have come.
    Payload(Request, Piece, u64),
    /// So many bytes of a write that was refused, and then the refusal.
    Skip(u32, Request, Refusal),
}

#[derive(Debug)]
pub(super) struct Transmission {
    parts: Parts,
    volume: Volume,
    session: Session,
    replies: Replies,
    queue: Queue,
    /// By the id that they have at the queue.
    flights: Vec<Option<Flight>>,
    flying: usize,
    batch: Vec<crate::Request>,
    next: Next,
    /// The client's time to read runs.
    timed: bool,
}

impl Transmission {
    pub(super) fn new(parts: Parts, volume: &Volume, session: Session) -> Transmission {
        Transmission {
            parts,
            volume: volume.clone(),
            session,
            replies: Replies { structured: session.structured },
            queue: volume.queue(),
            flights: std::iter::repeat_with(|| None).take(MAX_REQUESTS).collect(),
            flying: 0,
            batch: Vec::new(),
            next: Next::Head,
            timed: false,
        }
    }

    /// Until the client is done with, and nothing of it is in flight any more.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut done = Vec::new();
        loop {
            self.queue.reap(&mut done);
            let mut moved = !done.is_empty();
            for completion in done.drain(..) {
                self.complete(completion);
            }
            // What has come becomes one batch, but not so much that the disk waits for the socket.
            for _ in 0..STEPS {
                if !self.take() {
                    break;
                }
                moved = true;
            }
            self.queue.submit(&mut self.batch);
            let sent = self.parts.send();
            moved |= sent;
            let socket = &self.parts.socket;
            let answered = self.parts.output.is_empty() || socket.is_gone();
            if self.flying == 0 && !socket.is_open() && answered {
                return Ok(());
            }
            if !moved || self.timed {
                self.watch(sent)?;
            }
            if !moved && self.queue.wait(self.parts.socket.bell())? {
                self.parts.socket.look()?;
            }
        }
    }

    /// Sees to it that a client which does not read its replies is not waited for without end.
    fn watch(&mut self, sent: bool) -> io::Result<()> {
        let waits = !self.parts.output.is_empty();
        if waits != self.timed || (waits && sent) {
            self.timed = waits;
            self.parts.socket.set_timer(waits.then_some(PATIENCE))?;
        }
        Ok(())
    }

    /// Takes one step with what the client sends; false: nothing more can be taken now.
    fn take(&mut self) -> bool {
        if !self.parts.socket.is_open() {
            return false;
        }
        match std::mem::replace(&mut self.next, Next::Head) {
            Next::Head => self.head(),
            Next::Again(request) => self.begin(request),
            Next::Payload(request, piece, come) => self.payload(request, piece, come),
            Next::Skip(left, request, refusal) => self.skip(left, &request, refusal),
        }
    }

    fn has_room(&self) -> bool {
        self.flying < MAX_REQUESTS && self.parts.output.held() < MAX_REPLIES
    }

    fn head(&mut self) -> bool {
        if !self.has_room() {
            return false;
        }
        match Request::parse(self.parts.input.bytes(), &self.session) {
            Ok(Some(request)) => {
                self.parts.input.take(HEAD);
                self.begin(request)
            }
            Ok(None) => self.parts.input.fill(&mut self.parts.socket),
            Err(violation) => {
                refused(violation);
                self.parts.socket.abandon();
                false
            }
        }
    }

    /// False: there is no room for it yet.
    fn begin(&mut self, request: Request) -> bool {
        let job = match request.job {
            Ok(job) => job,
            Err(refusal) => {
                self.next = Next::Skip(request.payload, request, refusal);
                return true;
            }
        };
        let len = match job {
            Job::Disconnect => {
                self.parts.socket.end();
                return true;
            }
            Job::BlockStatus { one } => {
                let most = if one { 1 } else { STATUS_RUNS };
                let runs = status::runs(&self.volume, request.offset, request.len, most);
                self.parts.output.write(|out| self.replies.status(request.cookie, &runs, out));
                return true;
            }
            Job::Read { .. } | Job::Write => request.len,
            Job::Cache => request.len.min(AHEAD),
            Job::Flush | Job::Trim | Job::WriteZeroes { .. } => 0,
        };
        let runs = match job {
            Job::Read { whole: false } if self.replies.structured => self.runs(&request),
            _ => Vec::new(),
        };
        if let [Run { known: Known::Zero, .. }] = runs.as_slice() {
            let Request { cookie, offset, len, .. } = request;
            self.parts.output.write(|out| self.replies.hole(cookie, offset, len, true, out));
            return true;
        }
        let piece = match len {
            0 => None,
            len => match self.parts.arena.lend(len.into()) {
                Some(piece) => Some(piece),
                None => {
                    self.next = Next::Again(request);
                    return false;
                }
            },
        };
        match (job, piece) {
            (Job::Write, Some(piece)) => self.next = Next::Payload(request, piece, 0),
            (_, piece) => self.fly(Flight { request, piece, runs, ahead: len }),
        }
        true
    }

    /// What is known of a read's range; nothing, where it is in too many runs to be worth it.
    fn runs(&self, request: &Request) -> Vec<Run> {
        let runs = status::runs(&self.volume, request.offset, request.len, READ_RUNS);
        let sum = runs.iter().fold(0u32, |sum, run| sum.saturating_add(run.len));
        if sum == request.len { runs } else { Vec::new() }
    }

    fn payload(&mut self, request: Request, piece: Piece, come: u64) -> bool {
        let parts = &mut self.parts;
        let left = piece.len.saturating_sub(come);
        let at = piece.at.saturating_add(come);
        let ready = parts.input.bytes();
        let part = ready.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(ready);
        let count = if part.is_empty() {
            // Small rests come with what follows them.
            parts.socket.receive_into(parts.arena.memory(), at, left)
        } else {
            let count = part.len();
            if parts.arena.memory().write(ami_run_memory::Gpa(at), part).is_err() {
                parts.socket.abandon();
            }
            parts.input.take(count);
            count as u64
        };
        let come = come.saturating_add(count);
        if come < piece.len {
            self.next = Next::Payload(request, piece, come);
        } else {
            self.fly(Flight { request, piece: Some(piece), runs: Vec::new(), ahead: 0 });
        }
        count > 0
    }

    fn skip(&mut self, left: u32, request: &Request, refusal: Refusal) -> bool {
        if left == 0 {
            self.parts.output.write(|out| self.replies.refused(request.cookie, refusal, out));
            return true;
        }
        let input = &mut self.parts.input;
        let any = !input.bytes().is_empty() || input.fill(&mut self.parts.socket);
        let count = input.bytes().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        input.take(count);
        let left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        self.next = Next::Skip(left, *request, refusal);
        any
    }

    /// Puts a request into the batch.
    fn fly(&mut self, flight: Flight) {
        let Request { offset, len, durable, job, .. } = flight.request;
        let (op, offset, len) = match job {
            Ok(Job::Read { .. }) => (Op::Read, offset, len),
            Ok(Job::Write) => (Op::Write, offset, len),
            Ok(Job::Trim) => (Op::Discard, offset, len),
            Ok(Job::WriteZeroes { unmap }) => (Op::WriteZeroes { unmap }, offset, len),
            Ok(Job::Cache) => {
                // The piece is as long as one step; the last one is shorter.
                let before = flight.ahead.saturating_sub(1) & !(AHEAD - 1);
                let len = flight.ahead.saturating_sub(before);
                (Op::Read, offset.saturating_add(before.into()), len)
            }
            Ok(Job::Flush | Job::BlockStatus { .. } | Job::Disconnect) | Err(_) => (Op::Flush, 0, 0),
        };
        let buffers = flight.piece.as_ref().map(|piece| self.parts.arena.buffers(piece));
        let free = self.flights.iter_mut().enumerate().find(|(_, slot)| slot.is_none());
        let (Some((id, slot)), Ok(buffers)) = (free, buffers.transpose()) else {
            // There was room when it was begun, and a piece of the arena is in it.
            return self.parts.socket.abandon();
        };
        *slot = Some(flight);
        self.flying = self.flying.saturating_add(1);
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        self.batch.push(crate::Request { id, op, offset, len: len.into(), durable, buffers });
    }

    fn complete(&mut self, completion: Completion) {
        let slot = usize::try_from(completion.id).ok().and_then(|id| self.flights.get_mut(id));
        let Some(mut flight) = slot.and_then(Option::take) else { return };
        self.flying = self.flying.saturating_sub(1);
        let (cookie, more) = (flight.request.cookie, flight.request.len.saturating_sub(flight.ahead));
        match (completion.result, flight.request.job) {
            (Err(fault), _) => {
                self.parts.output.write(|out| self.replies.refused(cookie, refusal(fault), out));
            }
            (Ok(()), Ok(Job::Cache)) if more > 0 && self.parts.socket.is_open() => {
                flight.ahead = flight.ahead.saturating_add(more.min(AHEAD));
                return self.fly(flight);
            }
            (Ok(()), Ok(Job::Read { .. })) => return self.answer_read(flight),
            (Ok(()), _) => self.parts.output.write(|out| self.replies.done(cookie, out)),
        }
        if let Some(piece) = flight.piece {
            self.parts.arena.give_back(piece);
        }
    }

    fn answer_read(&mut self, flight: Flight) {
        let Request { cookie, offset, len, .. } = flight.request;
        let Some(piece) = flight.piece else { return };
        let whole = [Run { len, known: Known::Data }];
        let runs = if flight.runs.is_empty() { whole.as_slice() } else { &flight.runs };
        let Parts { output, arena, socket, .. } = &mut self.parts;
        let mut done = 0u32;
        for run in runs {
            let from = offset.saturating_add(done.into());
            let at = piece.at.saturating_add(done.into());
            done = done.saturating_add(run.len);
            let last = done >= len;
            match run.known {
                Known::Zero => output.write(|out| self.replies.hole(cookie, from, run.len, last, out)),
                Known::Data => {
                    output.write(|out| self.replies.data(cookie, from, run.len, last, out));
                    if output.data(arena, at, run.len.into()).is_err() {
                        socket.abandon();
                    }
                }
            }
        }
        output.free(piece, arena);
    }
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::OutOfRange => Refusal { error: Error::Invalid, why: "not in the volume" },
        Fault::NoSpace => Refusal { error: Error::NoSpace, why: "the host has no space left" },
        Fault::Io => Refusal { error: Error::Io, why: "input/output error; the server's log has the cause" },
    }
}
