//! The server before clients that behave, and before all kinds that do not.

use super::*;
use ami_run_catalog::control::{Connection, MAX_LINE, listen};
use std::io::Read as _;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};

const DESCRIBE: &[u8] = b"{\"Version\":1,\"Action\":\"Describe\"}\n";
const CONSOLE: &[u8] = b"{\"Version\":1,\"Action\":\"Console\"}\n";
const DONE: &[u8] = b"{\"Version\":1,\"Done\":true}\n";

struct Bed {
    server: Server,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        Bed { server: Server::new(listen(folder.path()).unwrap(), None), folder }
    }

    fn connect(&self) -> UnixStream {
        Connection::connect(self.folder.path()).unwrap().into_stream()
    }

    /// Connects and sends this.
    fn says(&self, bytes: &[u8]) -> UnixStream {
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        client
    }

    /// What an event loop does until nothing is to be done; every question is answered with Done.
    fn run(&mut self) -> Vec<Action> {
        let (mut asked, now) = (Vec::new(), Instant::now());
        loop {
            self.server.reap();
            self.server.accept(now);
            let ready = self.ready();
            if ready.is_empty() {
                self.server.reap();
                return asked;
            }
            for (fd, events) in ready {
                if let Some(action) = self.server.event(fd, events) {
                    asked.push(action);
                    self.server.answer(fd, Outcome::Done(true));
                }
            }
        }
    }

    fn ready(&self) -> Vec<(RawFd, EventSet)> {
        let epoll = Epoll::new().unwrap();
        for (fd, events) in self.server.interests() {
            epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(events, fd.unsigned_abs().into())).unwrap();
        }
        let mut events = vec![EpollEvent::default(); 2 * MAX_CLIENTS];
        let count = epoll.wait(0, &mut events).unwrap();
        events[..count].iter().map(|event| (event.fd(), event.event_set())).collect()
    }

    fn attach(&mut self) -> UnixStream {
        let mut client = self.says(CONSOLE);
        assert_eq!(self.run(), []);
        assert_eq!(read(&mut client, DONE.len()), DONE);
        client
    }

    fn here(&self) -> usize {
        self.server.clients.len()
    }

    fn typed(&mut self) -> Vec<u8> {
        let mut typed = Vec::new();
        self.server.offer(|bytes| {
            typed.extend_from_slice(bytes);
            bytes.len()
        });
        typed
    }
}

fn read(from: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

/// Ends them at once: a process that another test starts right now would keep what is merely dropped for a moment.
fn leave(clients: impl IntoIterator<Item = UnixStream>) {
    for client in clients {
        // The server may have closed it.
        client.shutdown(std::net::Shutdown::Both).unwrap_or_default();
    }
}

/// All that comes until the server has closed the connection.
fn rest(mut from: UnixStream) -> String {
    let mut text = Vec::new();
    // What the server has not read makes the end an error.
    from.read_to_end(&mut text).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_client_is_answered_once_and_sees_the_end() {
    let mut bed = Bed::new();
    let mut client = bed.says(&DESCRIBE[..10]);
    assert_eq!(bed.run(), []);
    client.write_all(&DESCRIBE[10..]).unwrap();
    assert_eq!(bed.run(), [Action::Describe]);
    assert_eq!(read(&mut client, DONE.len()), DONE);
    assert_eq!((bed.here(), bed.server.due(Instant::now())), (1, None), "it stays, and nobody looks at it");
    drop(bed);
    assert_eq!(rest(client), "");
}

#[test]
fn who_leaves_is_let_go() {
    let mut bed = Bed::new();
    let clients = [bed.says(b""), bed.says(b"{\"Ver"), bed.says(DESCRIBE), bed.says(CONSOLE)];
    assert_eq!(bed.run(), [Action::Describe]);
    assert_eq!(bed.here(), 4);
    leave(clients);
    bed.run();
    assert_eq!(bed.here(), 0);
    // Nobody waits for the answer any more: what was asked for is not done.
    leave([bed.says(DESCRIBE)]);
    assert_eq!(bed.run(), []);
    assert_eq!(bed.here(), 0);
}

#[test]
fn who_says_nothing_or_half_a_line_is_closed_in_time() {
    let mut bed = Bed::new();
    let (silent, half, asked) = (bed.says(b""), bed.says(b"{\"Version\":1,"), bed.says(DESCRIBE));
    bed.run();
    let due = bed.server.due(Instant::now()).unwrap();
    assert!(due <= Instant::now() + PATIENCE);
    bed.server.tick(due + PATIENCE);
    bed.run();
    assert_eq!((rest(silent), rest(half), bed.here()), (String::new(), String::new(), 1));
    drop(asked);
}

#[test]
fn who_says_what_is_no_request_is_told_and_closed() {
    let mut bed = Bed::new();
    let endless = [b'x'; 2 * MAX_LINE];
    let cases: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\n", "no request"),
        (b"\n", "no request"),
        (b"\xff\xfe\n", "no request"),
        (b"{\"Version\":7,\"Action\":\"Describe\"}\n", "version 1"),
        (&endless, "the line is too long"),
    ];
    for (bytes, words) in cases {
        let client = bed.connect();
        client.set_nonblocking(true).unwrap();
        // More than the server takes.
        let sent = (&client).write(bytes).unwrap();
        assert!(sent == bytes.len() || sent > MAX_LINE);
        client.set_nonblocking(false).unwrap();
        assert_eq!(bed.run(), []);
        assert_eq!(bed.here(), 0);
        let answer = rest(client);
        assert!(answer.contains("\"UnsupportedProtocol\"") && answer.contains(words), "{answer}");
    }
    let chatty = bed.says(&[DESCRIBE, DESCRIBE].concat());
    assert_eq!(bed.run(), [Action::Describe], "one question a connection");
    (&chatty).write_all(DESCRIBE).unwrap();
    assert_eq!((bed.run(), bed.here()), (vec![], 0));
}

#[test]
fn two_hundred_at_once_are_told_that_it_is_full() {
    let mut bed = Bed::new();
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(bed.connect());
        bed.run();
    }
    assert_eq!(bed.here(), MAX_CLIENTS);
    for client in clients.drain(MAX_CLIENTS..) {
        assert!(rest(client).contains("RequestLimitExceeded"));
    }
    leave(clients);
    bed.run();
    let mut client = bed.says(DESCRIBE);
    assert_eq!(bed.run(), [Action::Describe]);
    assert_eq!(read(&mut client, DONE.len()), DONE);
}

#[test]
fn a_late_console_begins_with_what_was_said_last() {
    let mut bed = Bed::new();
    bed.server.show(&vec![b'a'; 3 * BACKLOG], 0);
    bed.server.show(b"login: ", 0);
    let mut client = bed.attach();
    let mut said = Vec::new();
    while said.len() < BACKLOG {
        said.extend(read(&mut client, 4096));
        bed.run();
    }
    assert!(said.starts_with(b"aaa") && said.ends_with(b"alogin: "));
    bed.server.show(b"live", 0);
    assert_eq!(read(&mut client, 4), b"live");
}

#[test]
fn a_console_that_is_not_read_costs_nobody_anything() {
    let mut bed = Bed::new();
    let (stuck, mut reader) = (bed.attach(), bed.attach());
    for number in 0..1000_u32 {
        let line = format!("{number:4096}");
        bed.server.show(line.as_bytes(), 0);
        assert_eq!(read(&mut reader, 4096), line.as_bytes());
    }
    bed.run();
    bed.server.finish(Duration::ZERO);
    drop(bed);
    let said = rest(stuck);
    assert!(said.len() < 1 << 20, "{} bytes were kept", said.len());
    // The gap is where the socket was full. What did not fit at the end is lost with the server.
    assert!(said.trim_start().starts_with('0'));
}

#[test]
fn a_gap_is_marked_for_who_reads_again() {
    let mut bed = Bed::new();
    let mut client = bed.attach();
    let mut shown = 0;
    while bed.server.interests().all(|(_, events)| !events.contains(EventSet::OUT)) || shown < 1 << 20 {
        bed.server.show(&[b'x'; 4096], 0);
        shown += 4096;
    }
    let mut said = Vec::new();
    let mut bytes = [0; 4096];
    while !said.ends_with(b"end") {
        let count = client.read(&mut bytes).unwrap();
        said.extend_from_slice(&bytes[..count]);
        bed.run();
        bed.server.show(if said.len() > 64 << 10 { b"end" } else { b"" }, 0);
    }
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("bytes of console output dropped").count(), 1);
}

#[test]
fn what_is_typed_reaches_the_guest_as_it_takes_it() {
    let mut bed = Bed::new();
    let mut one = bed.says(&[CONSOLE, b"early ".as_slice()].concat());
    assert_eq!(bed.run(), []);
    assert_eq!(bed.typed(), b"early ");
    let two = bed.attach();
    one.write_all(b"1").unwrap();
    bed.run();
    (&two).write_all(b"2").unwrap();
    bed.run();
    bed.server.offer(|bytes| {
        assert_eq!(bytes, b"12");
        1
    });
    assert!(bed.server.due(Instant::now()).is_some(), "the rest is offered again");
    (&two).write_all(b"last").unwrap();
    leave([two]);
    bed.run();
    assert_eq!((bed.typed(), bed.here()), (b"2last".to_vec(), 1));
    assert!(bed.server.due(Instant::now()).is_none());
}

#[test]
fn a_guest_that_reads_nothing_stops_its_typists_and_nobody_else() {
    let mut bed = Bed::new();
    let typist = bed.attach();
    typist.set_nonblocking(true).unwrap();
    while (&typist).write(&[b'k'; 4096]).is_ok() {
        bed.run();
        assert!(bed.server.typed.len() < 3 * MAX_TYPED);
    }
    let mut other = bed.says(DESCRIBE);
    assert_eq!(bed.run(), [Action::Describe]);
    assert_eq!(read(&mut other, DONE.len()), DONE);
    assert!(!bed.typed().is_empty());
    bed.run();
    assert!(!bed.typed().is_empty(), "the typist goes on");
}

#[test]
fn half_a_close_leaves_the_other_half() {
    let mut bed = Bed::new();
    let mut client = bed.attach();
    client.write_all(b"bye").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    bed.run();
    assert_eq!((bed.typed(), bed.here()), (b"bye".to_vec(), 1));
    bed.server.show(b"hello", 0);
    assert_eq!(read(&mut client, 5), b"hello");
    leave([client]);
    bed.run();
    assert_eq!(bed.here(), 0);
}

#[test]
fn a_connection_to_the_guest_is_the_network_s_alone() {
    let guest = ami_run_network::Guest {
        mac: [2, 0, 0, 0, 0, 1],
        address: std::net::Ipv4Addr::new(172, 31, 4, 66),
        prefix: 20,
        ipv6: None,
        host_name: "guest".to_owned(),
        domain: "ec2.internal".to_owned(),
    };
    let link = ami_run_network::UserLink::new(ami_run_network::Config {
        guest,
        resolvers: ami_run_network::Resolvers::These(Vec::new()),
        services: Vec::new(),
        forwards: Vec::new(),
        host_loopback: false,
    });
    let link = link.unwrap();
    let mut bed = Bed::new();
    let connect = b"{\"Version\":1,\"Action\":\"Connect\",\"Port\":22}\n";
    let nobody = bed.says(connect);
    assert_eq!(bed.run(), []);
    assert!(rest(nobody).contains("The instance has no network."));
    bed.server.dialer = Some(link.dialer());
    let mut client = bed.says(connect);
    assert_eq!(bed.run(), []);
    assert_eq!(read(&mut client, DONE.len()), DONE);
    // The network closes it, and the client sees the end though the server lives.
    assert_eq!(bed.here(), 0);
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(link);
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
