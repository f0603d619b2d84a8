//! The server over real sockets, with clients that behave and clients that do not.
#![expect(clippy::arithmetic_side_effects, reason = "the test's own small numbers")]

use super::{Export, MAX_PAYLOAD, Server};
use crate::{Base, Volume};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZE: u64 = 256 << 20;
/// Nothing here takes a second; a machine that is busy with other things may take a while.
const LONG: Duration = Duration::from_secs(60);

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const CACHE: u16 = 5;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;

struct Served {
    server: Option<Server>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn served(read_only: bool) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::temporary(Base::empty("nothing"), Some(SIZE), folder.path()).unwrap();
    let path = folder.path().join("socket");
    let export = Export { volume, read_only, description: String::new() };
    let server = Server::start(UnixListener::bind(&path).unwrap(), export).unwrap();
    Served { server: Some(server), path, _folder: folder }
}

struct Client {
    stream: UnixStream,
    structured: bool,
    cookies: u64,
}

/// What a request came to: its error, and the data as it lies in the range (holes as zeroes).
type Answer = (u32, Vec<u8>);

impl Client {
    /// A connection that has not said anything yet.
    fn silent(path: &Path) -> UnixStream {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    fn new(path: &Path, structured: bool) -> Client {
        Client::try_new(path, structured).unwrap()
    }

    fn try_new(path: &Path, structured: bool) -> std::io::Result<Client> {
        let mut stream = Client::silent(path);
        stream.read_exact(&mut [0; 18])?;
        let option = |option: u32, data: &[u8]| {
            let len = u32::try_from(data.len()).unwrap();
            [b"IHAVEOPT".as_slice(), &option.to_be_bytes(), &len.to_be_bytes(), data].concat()
        };
        stream.write_all(&[0, 0, 0, 3])?;
        if structured {
            stream.write_all(&option(8, b""))?;
            stream.write_all(&option(10, b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation"))?;
            stream.read_exact(&mut [0; 20 + 20 + 19 + 20])?;
        }
        stream.write_all(&option(7, b"\0\0\0\0\0\0"))?;
        stream.read_exact(&mut [0; 20 + 12 + 20 + 14 + 20])?;
        Ok(Client { stream, structured, cookies: 0 })
    }

    fn send(&mut self, kind: u16, offset: u64, len: u32, data: &[u8]) -> u64 {
        self.cookies += 1;
        let head = [&b"\x25\x60\x95\x13\0\0"[..], &kind.to_be_bytes(), &self.cookies.to_be_bytes()].concat();
        let range = [offset.to_be_bytes().as_slice(), &len.to_be_bytes()].concat();
        self.stream.write_all(&[&head, &range, data].concat()).unwrap();
        self.cookies
    }

    /// Reads replies until these requests are answered. `lens` are their lengths by cookie.
    fn answers(&mut self, lens: &BTreeMap<u64, (u64, u32)>) -> BTreeMap<u64, Answer> {
        let (mut answers, mut parts) = (BTreeMap::new(), BTreeMap::new());
        while answers.len() < lens.len() {
            let (cookie, last) = self.reply(lens, &mut parts);
            if last {
                answers.insert(cookie, parts.remove(&cookie).unwrap());
            }
        }
        answers
    }

    /// Reads one reply, or one chunk of one: whose it is, and whether it is the last.
    fn reply(&mut self, lens: &BTreeMap<u64, (u64, u32)>, parts: &mut BTreeMap<u64, Answer>) -> (u64, bool) {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).unwrap();
        let cookie = number(&head[8..]);
        let (start, len) = lens[&cookie];
        let part = parts.entry(cookie).or_insert((0, vec![0; usize::try_from(len).unwrap()]));
        if !self.structured {
            assert_eq!(head[..4], [0x67, 0x44, 0x66, 0x98]);
            part.0 = u32::try_from(number(&head[4..8])).unwrap();
            if part.0 == 0 {
                self.stream.read_exact(&mut part.1).unwrap();
            }
            return (cookie, true);
        }
        assert_eq!(head[..4], [0x66, 0x8e, 0x33, 0xef]);
        let mut more = [0; 4];
        self.stream.read_exact(&mut more).unwrap();
        let mut payload = vec![0; usize::try_from(number(&more)).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        match number(&head[6..8]) {
            0 | 2 => {}
            1 => {
                let at = usize::try_from(number(&payload[..8]) - start).unwrap();
                part.1[at..at + payload.len() - 8].copy_from_slice(&payload[8..]);
            }
            5 => part.1 = payload,
            _ => part.0 = u32::try_from(number(&payload[..4])).unwrap(),
        }
        (cookie, head[5] == 1)
    }

    /// One request, alone.
    fn ask(&mut self, kind: u16, offset: u64, len: u32) -> Answer {
        let data = if self.structured || kind == READ { len } else { 0 };
        let cookie = self.send(kind, offset, len, &[]);
        self.answers(&[(cookie, (offset, data))].into()).remove(&cookie).unwrap()
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        let cookie = self.send(WRITE, offset, u32::try_from(data.len()).unwrap(), data);
        self.answers(&[(cookie, (offset, 0))].into())[&cookie].0
    }

    fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        let (error, data) = self.ask(READ, offset, len);
        assert_eq!(error, 0);
        data
    }

    /// Reads to the end; panics if there is none.
    fn rest(mut self) -> usize {
        match self.stream.read_to_end(&mut Vec::new()) {
            Ok(count) => count,
            Err(cause) => {
                assert_eq!(cause.kind(), ErrorKind::ConnectionReset);
                0
            }
        }
    }
}

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(len)
    .collect()
}

#[test]
fn every_command_does_its_work_simple_and_structured() {
    for structured in [false, true] {
        let served = served(false);
        let (mut one, mut other) =
            (Client::new(&served.path, structured), Client::new(&served.path, !structured));
        let data = pattern(1 << 20, 7);
        assert_eq!(one.write(512, &data), 0);
        assert_eq!(one.ask(FLUSH, 0, 0).0, 0);
        assert_eq!(other.read(512, 1 << 20), data);
        assert_eq!(one.ask(WRITE_ZEROES, 4096, 8192).0, 0);
        assert_eq!(one.ask(TRIM, 16384, 4096).0, 0);
        let mut wanted = [vec![0; 512], data].concat();
        wanted[4096..12288].fill(0);
        wanted[16384..20480].fill(0);
        let len = u32::try_from(wanted.len()).unwrap();
        assert_eq!(one.read(0, len), wanted);
        assert_eq!(one.ask(CACHE, 0, 128 << 20).0, 0);
        assert_eq!(one.ask(READ, SIZE, 512).0, 22);
        assert_eq!(one.write(SIZE, &[1; 512]), 28);
        assert_eq!(one.ask(99, 0, 512).0, 22);
        assert_eq!(one.read(0, 512), [0; 512], "after a refused write the stream is still in step");
        let (error, _) = one.ask(BLOCK_STATUS, 0, 1 << 20);
        assert_eq!(error, if structured { 0 } else { 22 });
    }
}

#[test]
fn what_reads_as_zeroes_is_told_without_a_byte_of_it() {
    let served = served(false);
    let mut client = Client::new(&served.path, true);
    assert_eq!(client.write(8192, &[1; 16384]), 0);
    assert_eq!(client.ask(TRIM, 12288, 4096).0, 0);
    let told = |payload: Vec<u8>| -> Vec<(u32, u32)> {
        let numbers: Vec<_> =
            payload.chunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect();
        numbers[1..].chunks(2).map(|pair| (pair[0], pair[1])).collect()
    };
    let (error, status) = client.ask(BLOCK_STATUS, 512, 64 << 20);
    let end = (64 << 20) + 512 - 24576;
    assert_eq!((error, told(status)), (0, vec![(7680, 3), (4096, 0), (4096, 3), (8192, 0), (end, 3)]));
    // A read of both kinds comes in chunks, one of zeroes has no data.
    let mut wanted = vec![0; 32768];
    wanted[8192..24576].fill(1);
    wanted[12288..16384].fill(0);
    assert_eq!(client.read(0, 32768), wanted);
    let cookie = client.send(READ, 64 << 20, 1 << 20, &[]);
    let mut reply = [0; 32];
    client.stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[4..8], [0, 1, 0, 2], "one chunk, a hole");
    assert_eq!(reply[8..16], cookie.to_be_bytes());
    assert_eq!(
        reply[16..],
        [&[0, 0, 0, 12][..], &(64u64 << 20).to_be_bytes(), &(1u32 << 20).to_be_bytes()].concat()
    );
}

#[test]
fn a_read_only_export_keeps_its_bytes() {
    let served = served(true);
    let mut client = Client::new(&served.path, true);
    assert_eq!(client.write(0, &[1; 4096]), 1);
    assert_eq!(client.ask(TRIM, 0, 4096).0, 1);
    assert_eq!(client.ask(WRITE_ZEROES, 0, 4096).0, 1);
    assert_eq!(client.ask(FLUSH, 0, 0).0, 0);
    assert_eq!(client.read(0, 4096), [0; 4096]);
}

#[test]
fn the_largest_requests_fit_and_larger_ones_end_the_connection() {
    let served = served(false);
    let mut client = Client::new(&served.path, false);
    let data = pattern(usize::try_from(MAX_PAYLOAD).unwrap(), 3);
    assert_eq!(client.write(4096, &data), 0);
    assert!(client.read(4096, MAX_PAYLOAD) == data);
    assert_eq!(client.ask(READ, 0, MAX_PAYLOAD + 512).0, 22);
    client.send(WRITE, 0, MAX_PAYLOAD + 512, &[]);
    assert_eq!(client.rest(), 0);
}

/// More than may be in flight, more bytes than the connection's memory has, sizes mixed, all before the first reply
/// is read.
#[test]
fn a_long_queue_of_requests_is_answered_whole() {
    for structured in [false, true] {
        let served = served(false);
        let mut client = Client::new(&served.path, structured);
        let chunks: Vec<_> =
            [512, 4096, 300_000 / 512 * 512, 65536, 2 << 20].into_iter().cycle().take(400).collect();
        let mut offset = 0u64;
        let mut writes = BTreeMap::new();
        for (at, len) in chunks.iter().enumerate() {
            let len = u32::try_from(*len).unwrap();
            if offset + u64::from(len) > SIZE {
                break;
            }
            let cookie = client.send(WRITE, offset, len, &pattern(usize::try_from(len).unwrap(), at as u64));
            writes.insert(cookie, (offset, len));
            offset += u64::from(len);
        }
        assert!(writes.len() > 200);
        let none: BTreeMap<_, _> = writes.iter().map(|(cookie, (at, _))| (*cookie, (*at, 0))).collect();
        assert!(client.answers(&none).values().all(|(error, _)| *error == 0));
        // Reads: their heads go out while nothing is read, which the server must stand.
        let mut reads = BTreeMap::new();
        for (offset, len) in writes.values() {
            reads.insert(client.send(READ, *offset, *len, &[]), (*offset, *len));
        }
        for (at, (error, data)) in client.answers(&reads).into_values().enumerate() {
            assert!(error == 0 && data == pattern(data.len(), at as u64), "read {at}");
        }
    }
}

#[test]
fn a_client_that_never_reads_keeps_nobody_and_ends_with_the_server() {
    let mut served = served(false);
    let mut deaf = Client::new(&served.path, false);
    deaf.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Until the socket takes no more requests either.
    let head = [&b"\x25\x60\x95\x13\0\0\0\0cookies!"[..], &0u64.to_be_bytes(), &(1u32 << 20).to_be_bytes()];
    while deaf.stream.write_all(&head.concat()).is_ok() {}
    let mut other = Client::new(&served.path, true);
    let data = pattern(4096, 1);
    assert_eq!(other.write(0, &data), 0);
    assert_eq!(other.ask(FLUSH, 0, 0).0, 0);
    assert_eq!(other.read(0, 4096), data);
    let began = Instant::now();
    served.server.take().unwrap().stop().unwrap();
    assert!(began.elapsed() < LONG);
    assert_eq!(other.rest(), 0);
}

#[test]
fn nonsense_and_broken_connections_touch_nobody_else() {
    let served = served(false);
    let mut steady = Client::new(&served.path, true);
    assert_eq!(steady.write(0, &[5; 8192]), 0);
    let mut stream = Client::silent(&served.path);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    assert!(matches!(stream.read_to_end(&mut Vec::new()), Ok(18) | Err(_)), "the greeting, then the end");
    let mut garbage = Client::new(&served.path, false);
    garbage.stream.write_all(&pattern(1 << 16, 9)).unwrap_or_default();
    garbage.rest();
    // Half a write, and gone: nothing of it may be seen.
    let mut half = Client::new(&served.path, false);
    half.send(WRITE, 0, 8192, &[6; 4096]);
    half.stream.shutdown(std::net::Shutdown::Both).unwrap();
    drop(half);
    // Gone with replies under way.
    let mut gone = Client::new(&served.path, false);
    for _ in 0..100 {
        gone.send(READ, 0, 1 << 20, &[]);
    }
    drop(gone);
    assert_eq!(steady.read(0, 8192), [5; 8192]);
}

#[test]
fn a_polite_end_is_after_the_last_reply() {
    let served = served(false);
    let mut client = Client::new(&served.path, false);
    for at in 0..50 {
        client.send(WRITE, at * 4096, 4096, &[1; 4096]);
    }
    client.send(DISCONNECT, 0, 0, &[]);
    assert_eq!(client.rest(), 50 * 16);
}

#[test]
fn one_connection_too_many_is_closed_and_a_free_place_is_taken() {
    let served = served(false);
    let mut clients: Vec<_> = (0..16).map(|_| Client::new(&served.path, true)).collect();
    assert!(Client::try_new(&served.path, true).is_err());
    assert_eq!(clients[15].read(0, 512), [0; 512]);
    clients.pop();
    let began = Instant::now();
    while Client::try_new(&served.path, true).is_err() {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
}
