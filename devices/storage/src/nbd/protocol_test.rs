//! The protocol without a socket: handshakes byte by byte, requests by the table.
#![expect(clippy::arithmetic_side_effects, reason = "the test's own small numbers")]

use super::*;
use std::fmt::Write as _;

fn about() -> About {
    About { size: 1 << 30, read_only: false, description: "a disk".to_owned() }
}

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT".as_slice(), &option.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

/// Plays a client's bytes, one at a time, to the first step that ends the handshake or to the last byte.
fn play(handshake: &mut Handshake, bytes: &[u8]) -> Result<(Step, Vec<u8>), Violation> {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    for byte in bytes {
        input.push(*byte);
        if let Some((count, step)) = handshake.step(&input, &mut out)? {
            assert_eq!(count, input.len(), "it takes a message with its last byte");
            input.clear();
            if step != Step::Next {
                return Ok((step, out));
            }
        }
    }
    assert_eq!(input, b"");
    Ok((Step::Next, out))
}

/// Option replies in short: option, kind, data.
fn told(mut out: &[u8]) -> String {
    let mut text = String::new();
    while let Some((head, rest)) = out.split_at_checked(20) {
        assert_eq!(head[..8], 0x0003_e889_0455_65a9_u64.to_be_bytes());
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let (data, rest) = rest.split_at(usize::try_from(number(16)).unwrap());
        writeln!(text, "{} {:x} {}", number(8), number(12), data.escape_ascii()).unwrap();
        out = rest;
    }
    assert_eq!(out, b"");
    text
}

const FLAGS: [u8; 4] = [0, 0, 0, 3];
const QUERY: &[u8] = b"\0\0\0\0\0\0\0\x02\0\0\0\x07other:x\0\0\0\x0fbase:allocation";

#[test]
fn a_client_learns_the_export_and_agrees_on_what_both_can() {
    let mut handshake = Handshake::new(about());
    let mut greeting = Vec::new();
    handshake.greet(&mut greeting);
    assert_eq!(greeting, b"NBDMAGICIHAVEOPT\0\x03");
    let hello = [
        FLAGS.to_vec(),
        option(5, &[]),
        option(3, &[]),
        option(8, &[]),
        option(9, b"\0\0\0\0\0\0\0\0"),
        option(10, QUERY),
        option(6, b"\0\0\0\0\0\x01\0\x02"),
        option(7, b"\0\0\0\0\0\0"),
    ];
    let (step, out) = play(&mut handshake, &hello.concat()).unwrap();
    let session = Session { size: 1 << 30, read_only: false, structured: true, allocation: true };
    assert_eq!(step, Step::Begin(session));
    let export = r"\x00\x00\x00\x00\x00\x00@\x00\x00\x00\r\xed";
    let sizes = r"\x00\x03\x00\x00\x02\x00\x00\x00\x10\x00\x02\x00\x00\x00";
    let wanted = format!(
        "5 80000001 this server does not have this option\n\
         3 2 \\x00\\x00\\x00\\x00a disk\n3 1 \n\
         8 1 \n\
         9 4 \\x00\\x00\\x00\\x00base:allocation\n9 1 \n\
         10 4 \\x00\\x00\\x00\\x01base:allocation\n10 1 \n\
         6 3 {export}\n6 3 {sizes}\n6 3 \\x00\\x02a disk\n6 1 \n\
         7 3 {export}\n7 3 {sizes}\n7 1 \n"
    );
    assert_eq!(told(&out), wanted);
}

#[test]
fn the_old_way_in_ends_in_zeroes_unless_both_can_do_without() {
    for (flags, len) in [(3, 10), (1, 134)] {
        let hello = [[0, 0, 0, flags].to_vec(), option(1, b"")].concat();
        let (step, out) = play(&mut Handshake::new(about()), &hello).unwrap();
        let session = Session { size: 1 << 30, read_only: false, structured: false, allocation: false };
        assert_eq!((step, out.len()), (Step::Begin(session), len));
    }
    let hello = [FLAGS.to_vec(), option(1, b"other")].concat();
    assert_eq!(play(&mut Handshake::new(about()), &hello).unwrap().0, Step::End);
    let hello = [FLAGS.to_vec(), option(2, b"")].concat();
    assert_eq!(play(&mut Handshake::new(about()), &hello).unwrap().0, Step::End);
}

#[test]
fn an_option_that_does_not_fit_is_refused_and_the_next_one_is_taken() {
    let kind = |set_up: &[u8], asked: Vec<u8>| {
        let hello = [FLAGS.to_vec(), set_up.to_vec(), asked].concat();
        let (step, out) = play(&mut Handshake::new(about()), &hello).unwrap();
        assert_eq!(step, Step::Next);
        let told = told(&out);
        told.lines().last().unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let structured = option(8, &[]);
    assert_eq!(kind(&[], option(3, b"x")), "80000003");
    assert_eq!(kind(&[], option(8, b"x")), "80000003");
    assert_eq!(kind(&[], option(10, QUERY)), "80000003", "before structured replies");
    assert_eq!(kind(&structured, option(10, b"\0\0\0\x01x\0\0\0\0")), "80000006", "another export");
    assert_eq!(kind(&structured, option(10, &[QUERY, b"x"].concat())), "80000003", "more than it says");
    assert_eq!(kind(&structured, option(10, b"\0\0\0\0\xff\xff\xff\xff")), "80000003", "less than it says");
    assert_eq!(kind(&[], option(7, b"\0\0\0\x01x\0\0")), "80000006");
    for wrong in [b"".as_slice(), b"\xff\xff\xff\xff\0\0", b"\0\0\0\0\0\x01", b"\0\0\0\0\0\0\0"] {
        assert_eq!(kind(&[], option(7, wrong)), "80000003", "{wrong:?}");
    }
    assert_eq!(kind(&[], option(4711, b"what?")), "80000001");
}

#[test]
fn a_context_that_was_selected_is_gone_with_the_next_selection() {
    for next in
        [b"\0\0\0\0\0\0\0\0".as_slice(), b"\0\0\0\x01x\0\0\0\0", b"?", b"\0\0\0\0\0\0\0\x01\0\0\0\x05base:"]
    {
        let hello = [option(8, &[]), option(10, QUERY), option(10, next), option(7, b"\0\0\0\0\0\0")];
        let hello = [FLAGS.to_vec(), hello.concat()].concat();
        match play(&mut Handshake::new(about()), &hello).unwrap().0 {
            Step::Begin(session) => assert!(session.structured && !session.allocation, "{next:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nonsense_ends_the_handshake() {
    let after = |bytes: &[u8]| play(&mut Handshake::new(about()), bytes).unwrap_err();
    assert_eq!(after(&[0, 0, 0, 0]), Violation::ClientFlags(0), "not fixed newstyle");
    assert_eq!(after(&[0, 0, 0, 5]), Violation::ClientFlags(5), "a flag that nobody knows");
    assert_eq!(after(&[FLAGS.as_slice(), b"GET / HTTP/1.1\r\n"].concat()), Violation::Magic);
    let long = [b"IHAVEOPT".as_slice(), &7u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
    assert_eq!(after(&[FLAGS.as_slice(), &long].concat()), Violation::OptionTooLong(u32::MAX));
    let flood = [FLAGS.to_vec(), option(3, &[]).repeat(2000)].concat();
    assert_eq!(after(&flood), Violation::TooManyOptions);
}

const SESSION: Session = Session { size: 1 << 20, read_only: false, structured: true, allocation: true };

fn request(kind: u16, flags: u16, offset: u64, len: u32) -> Vec<u8> {
    let head = [b"\x25\x60\x95\x13".as_slice(), &flags.to_be_bytes(), &kind.to_be_bytes()].concat();
    [head, b"cookies!".to_vec(), offset.to_be_bytes().to_vec(), len.to_be_bytes().to_vec()].concat()
}

fn judged(session: Session, kind: u16, flags: u16, offset: u64, len: u32) -> Result<Job, Error> {
    let bytes = request(kind, flags, offset, len);
    assert_eq!(Request::parse(&bytes[..HEAD - 1], &session), Ok(None));
    let request = Request::parse(&bytes, &session).unwrap().unwrap();
    assert_eq!((request.cookie, request.durable), (0x636f_6f6b_6965_7321, flags & 1 != 0));
    request.job.map_err(|refusal| refusal.error)
}

#[test]
fn requests_come_to_jobs() {
    let job = |kind, flags| judged(SESSION, kind, flags, 4096, 8192).unwrap();
    assert_eq!(job(0, 0), Job::Read { whole: false });
    assert_eq!(job(0, 4), Job::Read { whole: true });
    assert_eq!(job(1, 1), Job::Write);
    assert_eq!(job(4, 1), Job::Trim);
    assert_eq!(job(5, 0), Job::Cache);
    assert_eq!(job(6, 16), Job::WriteZeroes { unmap: true });
    assert_eq!(job(6, 2), Job::WriteZeroes { unmap: false });
    assert_eq!(job(7, 8), Job::BlockStatus { one: true });
    assert_eq!(judged(SESSION, 3, 0, 0, 0), Ok(Job::Flush));
    assert_eq!(judged(SESSION, 2, 0, 7, 7), Ok(Job::Disconnect));
}

#[test]
fn what_cannot_be_done_has_the_protocols_error() {
    let end = SESSION.size;
    for (kind, flags, offset, len, error) in [
        (8, 0, 0, 512, Error::Invalid),
        (0, 2, 0, 512, Error::Invalid),
        (4, 16, 0, 512, Error::Invalid),
        (0, 0, 0, 0, Error::Invalid),
        (0, 0, 100, 512, Error::Invalid),
        (0, 0, 0, 100, Error::Invalid),
        (0, 0, end, 512, Error::Invalid),
        (4, 0, end - 512, 1024, Error::Invalid),
        (7, 0, u64::MAX - 511, 512, Error::Invalid),
        (1, 0, end, 512, Error::NoSpace),
        (6, 0, u64::MAX - 511, 1024, Error::NoSpace),
        (3, 0, 512, 0, Error::Invalid),
        // A granule that is not whole is written, which is not faster than to write it.
        (6, 16, 512, 4096, Error::NotSupported),
    ] {
        assert_eq!(judged(SESSION, kind, flags, offset, len), Err(error), "{kind} {flags} {offset} {len}");
    }
    let large = Session { size: 1 << 40, ..SESSION };
    assert_eq!(judged(large, 0, 0, 0, MAX_PAYLOAD + 512), Err(Error::TooLarge));
    assert!(judged(large, 5, 0, 0, u32::MAX - 511).is_ok(), "no payload, no limit");
    let simple = Session { structured: false, allocation: false, ..large };
    assert_eq!(judged(simple, 0, 0, 0, MAX_PAYLOAD + 512), Err(Error::Invalid));
    assert_eq!(judged(simple, 7, 0, 0, 512), Err(Error::Invalid));
    let read_only = Session { read_only: true, ..SESSION };
    for kind in [1, 4, 6] {
        assert_eq!(judged(read_only, kind, 0, 0, 512), Err(Error::NotPermitted));
    }
    assert!(judged(read_only, 3, 0, 0, 0).is_ok());
}

#[test]
fn a_refused_write_still_brings_its_bytes_and_too_many_end_the_connection() {
    let parse = |bytes: &[u8]| Request::parse(bytes, &SESSION);
    let beyond = parse(&request(1, 0, SESSION.size, 512)).unwrap().unwrap();
    assert_eq!((beyond.payload, beyond.job.is_err()), (512, true));
    assert_eq!(parse(&request(0, 0, 0, 512)).unwrap().unwrap().payload, 0);
    let much = parse(&request(1, 0, 0, MAX_PAYLOAD + 1));
    assert_eq!(much, Err(Violation::PayloadTooLong(MAX_PAYLOAD + 1)));
    assert_eq!(parse(&[0; HEAD]), Err(Violation::Magic));
}
