//! Sockets of this process's that lead to the guest.

use crate::link::Link as _;
use crate::play::{Client, Play, ROUTER, config, host, noise};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn dial(play: &Play, port: u16) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    play.link.dialer().dial(theirs.into(), port).unwrap();
    ours
}

/// Whether the link has closed its end.
fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0))
}

#[test]
fn a_dialed_port_answers_through_the_socket_from_another_thread_and_both_close() {
    for play in &mut [Play::new(config()), Play::with_offloads(config())] {
        let mut server = Client::listen(22);
        (server.send, server.ends) = (noise(3_000_000), true);
        server.longest = if play.takes.segments { 60000 } else { 8000 };
        let (said, dialer) = (noise(2_000_000), play.link.dialer());
        let sent = said.clone();
        let far = host(move || {
            let (mut stream, theirs) = UnixStream::pair()?;
            dialer.dial(theirs.into(), 22)?;
            let mut other = stream.try_clone()?;
            let says = host(move || {
                // In pieces of many sizes: each is an entry of its own in the socket's queue.
                let (mut rest, mut len) = (&sent[..], 0);
                while !rest.is_empty() {
                    len += 37;
                    let (piece, more) = rest.split_at(rest.len().min(len));
                    other.write_all(piece)?;
                    rest = more;
                }
                other.shutdown(Shutdown::Write)
            });
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard)?;
            says.join().unwrap();
            Ok(heard)
        });
        play.until(&mut [&mut server], |_, clients| {
            clients[0].window = 0xf_fff0;
            clients[0].is_sent() && clients[0].ended
        });
        play.until(&mut [&mut server], |play, _| play.link.flows() == 0 && far.is_finished());
        assert!(server.received == said, "what came is what was said");
        assert!(far.join().unwrap() == server.send, "and the other way");
        assert_eq!(*server.to.ip(), ROUTER);
    }
}

#[test]
fn what_is_lost_on_the_way_from_a_socket_is_said_again() {
    let mut play = Play::with_offloads(config());
    (play.loses, play.swaps) = (7, 7);
    let mut server = Client::listen(22);
    let data = noise(700_000);
    let (mut stream, said) = (dial(&play, 22), data.clone());
    let far = host(move || {
        stream.write_all(&said)?;
        Ok(stream)
    });
    play.until(&mut [&mut server], |_, clients| {
        clients[0].window = 0xf_fff0;
        clients[0].received.len() == data.len()
    });
    assert!(server.received == data);
    drop(far.join().unwrap());
}

#[test]
fn a_socket_is_closed_when_the_guest_refuses_or_does_not_answer() {
    let mut play = Play::new(config());
    let mut server = Client::listen(22);
    server.refuses = true;
    let mut stream = dial(&play, 22);
    play.until(&mut [&mut server], |play, clients| clients[0].reset && play.link.flows() == 0);
    assert!(is_closed(&mut stream));

    let mut stream = dial(&play, 23);
    play.until(&mut [], |play, _| play.link.flows() == 1);
    let begun = play.now().instant;
    play.until(&mut [], |play, _| play.link.flows() == 0);
    let waited = play.now().instant - begun;
    assert!(waited > Duration::from_secs(8) && waited < Duration::from_secs(100), "{waited:?}");
    assert!(is_closed(&mut stream));
}

#[test]
fn each_end_of_a_dialed_connection_may_close_first() {
    let mut play = Play::new(config());
    let mut server = Client::listen(22);
    (server.send, server.ends) = (b"SSH-2.0-guest".to_vec(), true);
    let mut stream = dial(&play, 22);
    play.until(&mut [&mut server], |_, clients| clients[0].is_sent());
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "SSH-2.0-guest");
    stream.write_all(b"still here").unwrap();
    drop(stream);
    play.until(&mut [&mut server], |play, clients| clients[0].ended && play.link.flows() == 0);
    assert_eq!(server.received, b"still here");

    // Nobody is there any more to take what the guest says.
    let mut server = Client::listen(23);
    let stream = dial(&play, 23);
    play.until(&mut [&mut server], |_, clients| clients[0].connected);
    drop(stream);
    play.until(&mut [&mut server], |_, clients| clients[0].ended);
    server.send = b"to nobody".to_vec();
    play.until(&mut [&mut server], |play, clients| clients[0].reset && play.link.flows() == 0);
}

#[test]
fn dials_are_bounded_and_end_with_their_link() {
    let mut play = Play::new(config());
    let mut streams: Vec<UnixStream> = (0..64).map(|_| dial(&play, 22)).collect();
    let dialer = play.link.dialer();
    let more = || dialer.dial(UnixStream::pair().unwrap().1.into(), 22).unwrap_err();
    assert_eq!(more().kind(), ErrorKind::WouldBlock);
    play.until(&mut [], |play, _| play.link.flows() == 64);
    streams.push(dial(&play, 22));
    play.until(&mut [], |play, _| play.link.flows() == 65);
    // The guest's driver begins anew; then the link is no more.
    play.link.begin(crate::Takes::default());
    assert!(streams.iter_mut().all(is_closed));
    let mut last = dial(&play, 22);
    drop(play);
    assert!(is_closed(&mut last));
    assert_eq!(more().kind(), ErrorKind::BrokenPipe);
}
