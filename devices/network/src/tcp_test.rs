//! Connections in less common places: a guest that pauses, urgent data, a flood of datagrams beside, a port that was
//! used a moment ago.

use crate::Protocol;
use crate::link::Link as _;
use crate::play::{Client, Play, config, noise};
use crate::user_test::{forwarded, listener, on_host};
use rustix::event::{PollFd, PollFlags};
use std::io::Write as _;
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

#[test]
fn a_guest_that_has_a_place_again_waits_for_nothing() {
    let (listener, port) = listener();
    let mut play = Play::with_offloads(config());
    let mut client = Client::new(40000, on_host(port));
    client.window = 5000;
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let data = noise(65_000);
    listener.accept().unwrap().0.write_all(&data).unwrap();
    play.until(&mut [&mut client], |_, clients| clients[0].received.len() == 5000);
    // It is asked again and again, with a byte that it has no place for.
    let begun = play.now().instant;
    play.until(&mut [&mut client], |play, _| play.now().instant > begun + Duration::from_secs(60));
    while play.turn(&mut [&mut client]) {}
    client.window = 8000;
    client.acknowledge();
    // The clock stands still as long as something happens.
    while play.turn(&mut [&mut client]) {}
    assert_eq!(client.received.len(), 13_000);
}

#[test]
fn urgent_data_comes_in_its_place_and_stops_nothing() {
    let (listener, port) = listener();
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (mut stream, _) = listener.accept().unwrap();
    let send_urgent = |byte: &[u8]| rustix::net::send(&stream, byte, rustix::net::SendFlags::OOB);
    (&stream).write_all(b"before ").unwrap();
    send_urgent(b"!").unwrap();
    stream.write_all(b" after").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    play.until(&mut [&mut client], |_, clients| clients[0].ended);
    assert_eq!(client.received, b"before ! after");
}

#[test]
fn datagrams_do_not_keep_connections_waiting() {
    let (listener, port) = listener();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut play = Play::new(config());
    play.datagram(5000, on_host(far.local_addr().unwrap().port()), b"ping");
    let (_, peer) = far.recv_from(&mut [0; 8]).unwrap();
    let mut client = Client::new(40000, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (mut stream, _) = listener.accept().unwrap();
    while play.turn(&mut [&mut client]) {}
    stream.write_all(&noise(30_000)).unwrap();
    let news = &mut [PollFd::new(&play.link, PollFlags::IN)];
    assert_eq!(rustix::event::poll(news, None).unwrap(), 1);
    for _ in 0..20 {
        far.send_to(b"pong", peer).unwrap();
    }
    let (mut frame, mut connections) = (Box::new([0; crate::MAX_FRAME]), 0);
    let now = play.now();
    play.link.poll(now);
    for _ in 0..6 {
        let (len, _) = play.link.receive(&mut frame, now).unwrap();
        connections += u32::from(len > 1000);
    }
    assert!(connections >= 3, "{connections} of the first six frames");
}

#[test]
fn a_guest_that_remembers_the_port_s_last_connection_is_told_to_forget_it() {
    let (mut play, host_side) = forwarded(Protocol::Tcp, 22);
    let stream = TcpStream::connect(host_side).unwrap();
    play.until(&mut [], |play, _| play.link.flows() == 1);
    // What it says of the last one, to a number that the new one has not (RFC 9293, 3.10.7.3).
    let mut server = Client::new(22, on_host(stream.local_addr().unwrap().port()));
    server.write(&mut play, crate::wire::ACK, 7, &[]);
    play.until(&mut [&mut server], |_, clients| clients[0].reset);
    let mut server = Client::listen(22);
    play.until(&mut [&mut server], |_, clients| clients[0].connected);
    assert_eq!(play.link.flows(), 1);
}

#[test]
fn what_the_host_said_before_it_broke_off_arrives() {
    let (listener, port) = listener();
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    client.send = noise(1000);
    play.until(&mut [&mut client], |_, clients| clients[0].is_sent());
    let (mut stream, _) = listener.accept().unwrap();
    let answer = noise(20_000);
    stream.write_all(&answer).unwrap();
    // Closed with the guest's bytes unread: a reset. The guest goes on to speak.
    drop(stream);
    client.send.extend(noise(1000));
    play.until(&mut [&mut client], |_, clients| clients[0].reset);
    assert_eq!((client.received.len(), play.link.flows()), (answer.len(), 0));
}
