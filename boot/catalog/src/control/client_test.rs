//! The socket's path and mode, and a client before servers that misbehave.

use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::thread::{self, JoinHandle};

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

/// A folder of this name in a fresh one.
fn folder(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    (outer, folder)
}

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().name("peer".to_owned()).spawn(run).unwrap()
}

/// Asks a server that does this with the connection.
fn ask(serve: impl FnOnce(UnixStream) + Send + 'static, within: Duration) -> Result<Outcome, CatalogError> {
    let (_outer, folder) = folder("i-1");
    let listener = listen(&folder).unwrap();
    listener.set_nonblocking(false).unwrap();
    let server = spawn(move || serve(listener.accept().unwrap().0));
    let answer = Connection::connect(&folder).unwrap().ask_within(Action::Describe, within);
    server.join().unwrap();
    answer
}

#[test]
fn a_deep_folder_is_reached_and_the_socket_is_private() {
    let (_outer, folder) = folder(&["x".repeat(99), "y".repeat(99), "z".repeat(99)].join("/"));
    assert!(folder.as_os_str().len() > 300);
    assert_eq!(Connection::connect(&folder).unwrap_err().kind(), ErrorKind::NotFound);
    let dead = listen(&folder).unwrap();
    let mode = folder.join(SOCKET).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(dead);
    assert_eq!(Connection::connect(&folder).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let before = folder.join(SOCKET).metadata().unwrap().ino();
    let listener = listen(&folder).unwrap();
    listener.set_nonblocking(false).unwrap();
    let mut connection = Connection::connect(&folder).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"{\"Version\":1,\"Done\":true}\nconsole").unwrap();
    assert_eq!(connection.ask(Action::Console).unwrap(), Outcome::Done(true));
    let mut rest = [0; 7];
    let mut stream = connection.into_stream();
    stream.read_exact(&mut rest).unwrap();
    assert_eq!((&rest, before > 0), (b"console", true));
    assert_eq!(stream.write_timeout().unwrap(), None, "who reads slowly loses nothing of what comes then");
}

#[test]
fn errors_come_with_their_code() {
    let say = |line: &'static str| move |mut stream: UnixStream| stream.write_all(line.as_bytes()).unwrap();
    let known = say("{\"Version\":1,\"Error\":{\"Code\":\"IncorrectInstanceState\",\"Message\":\"no\"}}\n");
    let answer = ask(known, LONG);
    assert!(
        matches!(&answer, Err(CatalogError::Refused { code: "IncorrectInstanceState", message, .. }) if message == "no")
    );
    let value = say("{\"Version\":1,\"Error\":{\"Code\":\"InvalidParameterValue\",\"Message\":\"no\"}}\n");
    assert!(matches!(ask(value, LONG), Err(CatalogError::Refused { code: "InvalidParameterValue", .. })));
    let other = say("{\"Version\":1,\"Error\":{\"Code\":\"Strange\",\"Message\":\"no\"}}\n");
    assert!(matches!(ask(other, LONG), Err(CatalogError::Refused { code: OTHER_CODE, .. })));
    let newer = say("{\"Version\":9,\"Done\":{}}\n");
    assert!(matches!(ask(newer, LONG), Err(CatalogError::Protocol { version: 9, .. })));
}

#[test]
fn a_server_that_misbehaves_is_left_in_bounded_time() {
    let kind = |answer| match answer {
        Err(CatalogError::NoAnswer { id, source }) if id == "i-1" => source.kind(),
        other => panic!("{other:?}"),
    };
    let silent = |mut stream: UnixStream| drop(stream.read_to_end(&mut Vec::new()));
    assert_eq!(kind(ask(silent, SOON)), ErrorKind::TimedOut);
    assert_eq!(kind(ask(drop, LONG)), ErrorKind::UnexpectedEof);
    let garbage = |mut stream: UnixStream| stream.write_all(b"\xff\n").unwrap();
    assert_eq!(kind(ask(garbage, LONG)), ErrorKind::InvalidData);
    let endless = |mut stream: UnixStream| while stream.write_all(&[b'x'; 4096]).is_ok() {};
    assert_eq!(kind(ask(endless, LONG)), ErrorKind::InvalidData);
}

#[test]
fn the_end_is_waited_for() {
    let (_outer, folder) = folder("i-1");
    let listener = listen(&folder).unwrap();
    let mut connection = Connection::connect(&folder).unwrap();
    assert!(!connection.wait_for_end(Some(SOON)).unwrap());
    let waiter = spawn(move || connection.wait_for_end(None).unwrap());
    drop(listener);
    assert!(waiter.join().unwrap());
}

#[test]
fn who_finds_many_at_the_door_waits_a_moment() {
    let (_outer, folder) = folder("i-1");
    let listener = listen(&folder).unwrap();
    // As many as there is room for, and one more (listen(2): the limit is what may be exceeded).
    let first: Vec<_> = (0..=WAITING).map(|_| Connection::connect(&folder).unwrap()).collect();
    let late = spawn({
        let folder = folder.clone();
        move || Connection::connect(&folder).map(drop)
    });
    listener.set_nonblocking(false).unwrap();
    let taken = listener.accept().unwrap();
    late.join().unwrap().unwrap();
    drop((first, taken));
}
