//! The link between a guest of the tests and real sockets of the host.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]

use crate::link::Link as _;
use crate::play::{ADDRESS, Client, Play, RESOLVER, ROUTER, config, host, noise};
use crate::subnet::CLOCK;
use crate::{Answer, Forward, Protocol, Resolvers, Service};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) fn on_host(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ROUTER, port)
}

pub(crate) fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Says back all it hears, when it has heard all.
fn echo(listener: TcpListener, say: Vec<u8>) -> JoinHandle<Vec<u8>> {
    host(move || {
        let (mut stream, _) = listener.accept()?;
        let mut heard = Vec::new();
        let mut other = stream.try_clone()?;
        let says = host(move || {
            other.write_all(&say)?;
            other.shutdown(Shutdown::Write)
        });
        stream.read_to_end(&mut heard)?;
        says.join().unwrap();
        Ok(heard)
    })
}

fn both_ways(play: &mut Play, to_host: usize, from_host: usize, longest: usize) {
    let (listener, port) = listener();
    let (said, heard) = (noise(to_host), noise(from_host));
    let far = echo(listener, heard.clone());
    let mut client = Client::new(40000, on_host(port));
    client.send = said.clone();
    (client.ends, client.longest) = (true, longest);
    play.until(&mut [&mut client], |play, clients| {
        // It reads all that came.
        clients[0].window = 0xf_fff0;
        // Nobody remembers a connection whose last acknowledgement was lost: the guest hears that it is over.
        let forgotten = play.loses > 0 && clients[0].reset && play.link.flows() == 0;
        (clients[0].is_sent() || forgotten) && clients[0].ended
    });
    play.until(&mut [&mut client], |play, _| play.link.flows() == 0 && far.is_finished());
    assert!(client.received == heard, "what came is what was said");
    assert!(far.join().unwrap() == said, "and the other way");
}

#[test]
fn data_goes_both_ways_and_both_close() {
    both_ways(&mut Play::new(config()), 3_000_000, 3_000_000, 8000);
}

#[test]
fn large_segments_travel_whole() {
    let mut play = Play::with_offloads(config());
    both_ways(&mut play, 3_000_000, 3_000_000, 64000);
    let (len, segment) = play.largest;
    assert!(len > 60_000, "one of {len} bytes");
    assert_eq!(segment, Some(8961));
}

#[test]
fn a_guest_that_takes_no_large_segments_gets_none() {
    let mut play = Play::new(config());
    both_ways(&mut play, 1000, 300_000, 1000);
    assert_eq!(play.largest, (8961, None));
}

#[test]
fn what_is_lost_is_said_again() {
    for (loses, swaps) in [(10, 0), (0, 5), (7, 7)] {
        let mut play = Play::with_offloads(config());
        (play.loses, play.swaps) = (loses, swaps);
        both_ways(&mut play, 1_500_000, 1_500_000, 20000);
    }
}

#[test]
fn a_lost_frame_is_said_again_without_waiting() {
    let (listener, port) = listener();
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let data = noise(100_000);
    listener.accept().unwrap().0.write_all(&data).unwrap();
    play.loses_next = true;
    play.until(&mut [&mut client], |play, _| !play.loses_next);
    // The clock stands still as long as something happens.
    while play.turn(&mut [&mut client]) {}
    assert_eq!(client.received.len(), data.len());
}

#[test]
fn a_guest_with_no_place_is_asked_again() {
    let (listener, port) = listener();
    let data = noise(500_000);
    let far = echo(listener, data.clone());
    let mut play = Play::with_offloads(config());
    let mut client = Client::new(40000, on_host(port));
    client.window = 5000;
    play.until(&mut [&mut client], |_, clients| clients[0].received.len() == 5000);
    // The news that there is a place again never come: it is asked.
    let mut rounds = 0;
    play.until(&mut [&mut client], |_, clients| {
        if clients[0].window == 0 {
            rounds += 1;
            clients[0].window = if rounds % 3 == 0 { 40_000 } else { 0 };
        }
        clients[0].ended
    });
    assert!(client.received == data);
    client.ends = true;
    play.until(&mut [&mut client], |play, _| play.link.flows() == 0);
    drop(far.join().unwrap());
}

#[test]
fn a_host_that_reads_nothing_stops_the_guest_within_bounds() {
    let (listener, port) = listener();
    let mut play = Play::with_offloads(config());
    let mut client = Client::new(40000, on_host(port));
    client.send = noise(64 << 20);
    client.longest = 60000;
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (mut stream, _) = listener.accept().unwrap();
    // It goes on until the window is closed and stays so.
    let (mut last, mut same) = (0, 0);
    play.until(&mut [&mut client], |_, clients| {
        let said = clients[0].unsaid();
        same = if said == last { same + 1 } else { 0 };
        last = said;
        same > 50
    });
    assert!(last > 20 << 20, "{last} bytes were never taken");
    let count = client.send.len();
    let reads = host(move || {
        let mut heard = vec![0; count];
        stream.read_exact(&mut heard)?;
        Ok(heard)
    });
    play.until(&mut [&mut client], |_, clients| clients[0].is_sent() && reads.is_finished());
    assert!(reads.join().unwrap() == client.send);
}

#[test]
fn a_refused_connection_is_reset() {
    let (listener, port) = listener();
    drop(listener);
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].reset);
    assert!(!client.connected);
    assert_eq!(play.link.flows(), 0);
}

#[test]
fn the_host_s_loopback_is_out_of_reach_unless_it_was_asked_for() {
    let (listener, port) = listener();
    listener.set_nonblocking(true).unwrap();
    let mut play = Play::new(crate::Config { host_loopback: false, ..config() });
    for to in [on_host(port), SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), SocketAddrV4::new(RESOLVER, port)]
    {
        let mut client = Client::new(40000, to);
        play.until(&mut [&mut client], |_, clients| clients[0].reset);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_connection_that_the_host_breaks_is_broken_for_the_guest_and_the_other_way() {
    let (listener, port) = listener();
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    client.send = noise(1000);
    play.until(&mut [&mut client], |_, clients| clients[0].is_sent());
    // Closed with the guest's bytes unread: a reset.
    drop(listener.accept().unwrap());
    play.until(&mut [&mut client], |_, clients| clients[0].reset);
    assert_eq!(play.link.flows(), 0);

    // A reset after the host's last word, while the guest says nothing.
    let mut client = Client::new(40002, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (stream, _) = listener.accept().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    play.until(&mut [&mut client], |_, clients| clients[0].ended);
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    play.until(&mut [&mut client], |_, clients| clients[0].reset);
    assert_eq!(play.link.flows(), 0);

    let mut client = Client::new(40001, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (mut stream, _) = listener.accept().unwrap();
    client.break_off(&mut play);
    assert_eq!(play.link.flows(), 0);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn each_side_may_close_first_and_the_other_goes_on() {
    let (listener, port) = listener();
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    client.send = b"question".to_vec();
    client.ends = true;
    play.until(&mut [&mut client], |_, clients| clients[0].is_sent());
    let (mut stream, _) = listener.accept().unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"question");
    stream.write_all(b"answer").unwrap();
    play.until(&mut [&mut client], |_, clients| clients[0].received == b"answer");
    drop(stream);
    play.until(&mut [&mut client], |play, clients| clients[0].ended && play.link.flows() == 0);

    let mut client = Client::new(40001, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (mut stream, _) = listener.accept().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    play.until(&mut [&mut client], |_, clients| clients[0].ended);
    client.send = b"still here".to_vec();
    client.ends = true;
    play.until(&mut [&mut client], |play, clients| clients[0].is_sent() && play.link.flows() == 0);
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"still here");
}

/// A service that says everything back in capitals, and ends at a full stop; two hops far.
pub(crate) fn shouting(at: SocketAddrV4) -> Service {
    let open = || -> crate::Session {
        Box::new(|bytes: &[u8], answer: &mut Answer| {
            answer.bytes.extend(bytes.to_ascii_uppercase());
            (answer.ttl, answer.end) = (2, bytes.contains(&b'.'));
        })
    };
    Service { at: at.into(), open: Box::new(open) }
}

#[test]
fn a_service_answers_at_its_address_with_its_own_ttl() {
    let at = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
    let mut play = Play::new(crate::Config { services: vec![shouting(at)], ..config() });
    let mut client = Client::new(40000, at);
    client.send = b"hello, ".to_vec();
    play.until(&mut [&mut client], |_, clients| clients[0].received == b"HELLO, ");
    play.ttls.clear();
    client.send.extend(b"world.");
    play.until(&mut [&mut client], |_, clients| clients[0].ended);
    assert_eq!(client.received, b"HELLO, WORLD.");
    assert!(play.ttls.iter().all(|ttl| *ttl == 2), "{:?}", play.ttls);
    client.ends = true;
    play.until(&mut [&mut client], |play, clients| clients[0].is_sent() && play.link.flows() == 0);

    let mut client = Client::new(40001, SocketAddrV4::new(*at.ip(), 81));
    play.until(&mut [&mut client], |_, clients| clients[0].reset);
}

#[test]
fn a_guest_that_never_reads_a_service_s_answers_is_told_nothing_new() {
    let at = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
    let mut play = Play::with_offloads(crate::Config { services: vec![shouting(at)], ..config() });
    let mut client = Client::new(40000, at);
    (client.send, client.longest, client.window) = (vec![b'a'; 2 << 20], 30000, 0);
    let mut rounds = 0;
    play.until(&mut [&mut client], |_, _| {
        rounds += 1;
        rounds > 300
    });
    assert!(client.unsaid() > 1 << 20, "{} bytes were left", client.unsaid());
    client.window = 0xf_fff0;
    client.acknowledge();
    play.until(&mut [&mut client], |_, clients| {
        clients[0].window = 0xf_fff0;
        clients[0].received.len() == 2 << 20
    });
    assert!(client.received.iter().all(|byte| *byte == b'A'));
}

#[test]
fn many_connections_leave_nothing() {
    let (listener, port) = listener();
    listener.set_nonblocking(true).unwrap();
    let mut play = Play::new(config());
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut clients: Vec<Client> = (0..200).map(|n| Client::new(20000 + n, on_host(port))).collect();
    for client in &mut clients {
        (client.send, client.ends) = (client.port.to_be_bytes().to_vec(), true);
    }
    let mut streams = Vec::new();
    let mut all: Vec<&mut Client> = clients.iter_mut().collect();
    play.until(&mut all, |_, clients| {
        while let Ok((stream, _)) = listener.accept() {
            streams.push(stream);
        }
        streams.len() == clients.len() && clients.iter().all(|client| client.is_sent())
    });
    assert_eq!(play.link.flows(), 200);
    let before = descriptors();
    for mut stream in streams {
        stream.set_nonblocking(false).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
    }
    play.until(&mut all, |play, clients| play.link.flows() == 0 && clients.iter().all(|client| client.ended));
    assert!(clients.iter().all(|client| client.received == client.port.to_be_bytes()));
    // Other tests of this process have some too.
    assert!(descriptors() < before - 200, "{} descriptors of {before}", descriptors());
}

#[test]
fn connections_beyond_the_bound_end_the_idle_and_begin_with_those_that_never_came_about() {
    let at = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
    let mut play = Play::new(crate::Config { services: vec![shouting(at)], ..config() });
    let mut client = Client::new(40000, at);
    client.send = b"a".to_vec();
    play.until(&mut [&mut client], |_, clients| clients[0].received == b"A");
    for port in 0..20000u16 {
        let mut one = Client::new(port + 1, at);
        one.write(&mut play, crate::wire::SYN, u32::from(port), &[]);
    }
    assert_eq!(play.link.flows(), crate::tcp::MAX_FLOWS);
    client.send.push(b'b');
    play.until(&mut [&mut client], |_, clients| clients[0].received == b"AB");
}

pub(crate) fn forwarded(protocol: Protocol, guest: u16) -> (Play, SocketAddr) {
    // A port that was free a moment ago; another program may take it meanwhile.
    loop {
        let host = match protocol {
            Protocol::Tcp => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            Protocol::Udp => UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        };
        let forward = Forward { host, guest, protocol };
        if crate::UserLink::new(crate::Config { forwards: vec![forward], ..config() }).is_ok() {
            return (Play::new(crate::Config { forwards: vec![forward], ..config() }), host);
        }
    }
}

#[test]
fn a_forwarded_port_leads_to_the_guest() {
    let (mut play, host_side) = forwarded(Protocol::Tcp, 22);
    let mut server = Client::listen(22);
    server.send = b"SSH-2.0-guest".to_vec();
    server.ends = true;
    let far = host(move || {
        let mut stream = TcpStream::connect(host_side)?;
        stream.write_all(b"SSH-2.0-host")?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        Ok(heard)
    });
    play.until(&mut [&mut server], |play, clients| clients[0].ended && play.link.flows() == 0);
    assert_eq!(server.received, b"SSH-2.0-host");
    assert_eq!(far.join().unwrap(), "SSH-2.0-guest");
}

#[test]
fn a_forwarded_port_where_the_guest_never_answers_is_given_up() {
    let (mut play, host_side) = forwarded(Protocol::Tcp, 22);
    let mut stream = TcpStream::connect(host_side).unwrap();
    play.until(&mut [], |play, _| play.link.flows() == 1);
    play.until(&mut [], |play, _| play.link.flows() == 0);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let (taken, port) = listener();
    let forward = Forward { host: taken.local_addr().unwrap(), guest: 22, protocol: Protocol::Tcp };
    let error = crate::UserLink::new(crate::Config { forwards: vec![forward], ..config() }).unwrap_err();
    let told = format!(
        "the port 127.0.0.1:{port}:22 cannot be forwarded: another program has 127.0.0.1:{port}; give another port"
    );
    assert_eq!(error.to_string(), told);
}

/// The payload of a datagram that came, with its addresses and ports.
fn heard(frame: &[u8]) -> (SocketAddrV4, u16, &[u8]) {
    let packet = crate::wire::Packet::parse(&frame[14..]).unwrap();
    assert_eq!((packet.protocol, packet.destination), (17, ADDRESS.into()));
    assert_eq!(packet.pseudo(packet.payload.len()).add(packet.payload).finish(), 0);
    let port = |at: usize| u16::from_be_bytes([packet.payload[at], packet.payload[at + 1]]);
    let IpAddr::V4(source) = packet.source else { panic!("{packet:?}") };
    (SocketAddrV4::new(source, port(0)), port(2), &packet.payload[8..])
}

#[test]
fn datagrams_go_both_ways_and_idle_ones_are_forgotten() {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = on_host(far.local_addr().unwrap().port());
    let mut play = Play::new(config());
    play.datagram(5000, to, b"ping");
    let mut buffer = [0; 9000];
    let (len, peer) = far.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"ping");
    far.send_to(&[7; 8973], peer).unwrap();
    far.send_to(&[8; 8974], peer).unwrap();
    far.send_to(b"pong", peer).unwrap();
    play.until(&mut [], |play, _| play.others.len() == 2);
    assert_eq!(heard(&play.others[0]), (to, 5000, &[7; 8973][..]));
    assert_eq!(heard(&play.others[1]), (to, 5000, &b"pong"[..]), "what is longer than the MTU is lost");
    play.until(&mut [], |play, _| play.link.flows() == 0);
}

#[test]
fn a_datagram_to_nobody_is_refused_as_a_host_does() {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = on_host(far.local_addr().unwrap().port());
    drop(far);
    let mut play = Play::new(config());
    play.datagram(5000, to, b"ping");
    play.until(&mut [], |play, _| !play.others.is_empty());
    let packet = crate::wire::Packet::parse(&play.others[0][14..]).unwrap();
    assert_eq!((packet.protocol, packet.source), (1, ROUTER.into()));
    assert_eq!(packet.payload[..2], [3, 3]);
    assert_eq!(packet.payload[20..28], [&ADDRESS.octets()[..], &ROUTER.octets()].concat());
    assert_eq!(packet.payload[28..32], [&5000u16.to_be_bytes()[..], &to.port().to_be_bytes()].concat());
    assert_eq!(play.link.flows(), 0);
}

#[test]
fn many_udp_flows_stay_within_their_bound() {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = on_host(far.local_addr().unwrap().port());
    let mut play = Play::new(config());
    for port in 1..=3000 {
        play.datagram(port, to, b"x");
    }
    assert_eq!(play.link.flows(), crate::udp::MAX_FLOWS);
}

#[test]
fn a_forwarded_udp_port_leads_to_the_guest_and_back() {
    let (mut play, host_side) = forwarded(Protocol::Udp, 53);
    let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    for (peer, said) in peers.iter().zip([b"one", b"two"]) {
        peer.send_to(said, host_side).unwrap();
    }
    play.until(&mut [], |play, _| play.others.len() == 2);
    for frame in std::mem::take(&mut play.others) {
        let (from, port, said) = heard(&frame);
        assert_eq!((*from.ip(), port), (ROUTER, 53));
        let answer = said.to_ascii_uppercase();
        play.datagram(53, from, &answer);
    }
    for (peer, said) in peers.iter().zip([b"ONE", b"TWO"]) {
        let mut buffer = [0; 16];
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&said[..], host_side));
    }
}

/// A query for the address of a name.
fn query(id: u8, name: &str) -> Vec<u8> {
    let mut bytes = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

#[test]
fn queries_go_to_the_host_s_resolver_and_on_to_the_next_when_it_is_silent() {
    let servers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let resolvers = Resolvers::These(servers.iter().map(|server| server.local_addr().unwrap()).collect());
    let mut play = Play::new(crate::Config { resolvers, host_loopback: false, ..config() });
    for (id, resolver, server) in
        [(1, RESOLVER, &servers[0]), (2, Ipv4Addr::new(169, 254, 169, 253), &servers[1])]
    {
        let to = SocketAddrV4::new(resolver, 53);
        play.datagram(5000, to, &query(id, "example.com"));
        let mut buffer = [0; 512];
        let (len, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], query(id, "example.com"));
        if id == 2 {
            server.send_to(b"an answer", peer).unwrap();
            play.until(&mut [], |play, _| !play.others.is_empty());
            assert_eq!(heard(&play.others[0]), (to, 5000, &b"an answer"[..]));
        }
        play.until(&mut [], |play, _| play.link.flows() == 0);
    }
}

#[test]
fn a_resolver_that_falls_silent_is_passed_over_by_who_asks_from_one_port_too() {
    let servers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let resolvers = Resolvers::These(servers.iter().map(|server| server.local_addr().unwrap()).collect());
    let mut play = Play::new(crate::Config { resolvers, ..config() });
    let to = SocketAddrV4::new(RESOLVER, 53);
    play.datagram(5000, to, &query(1, "example.com"));
    let (_, peer) = servers[0].recv_from(&mut [0; 512]).unwrap();
    servers[0].send_to(b"an answer", peer).unwrap();
    play.until(&mut [], |play, _| !play.others.is_empty());
    // Whatever is asked meanwhile, and however often.
    servers[1].set_nonblocking(true).unwrap();
    let begun = play.now().instant;
    while servers[1].recv(&mut [0; 512]).is_err() {
        let now = play.now().instant;
        assert!(now < begun + Duration::from_secs(60), "the other is never asked");
        play.datagram(5000, to, &query(2, "example.com"));
        play.until(&mut [], |play, _| play.now().instant > now + Duration::from_secs(1));
    }
}

#[test]
fn own_names_the_time_and_no_resolver_are_answered_at_once() {
    let mut play = Play::new(config());
    let resolver = SocketAddrV4::new(RESOLVER, 53);
    play.datagram(5000, resolver, &query(1, "ip-172-31-4-66.ec2.internal"));
    play.datagram(5000, resolver, &query(2, "example.com"));
    let mut request = [0; 48];
    request[0] = 0x23;
    play.datagram(5001, SocketAddrV4::new(CLOCK, 123), &request);
    play.until(&mut [], |play, _| play.others.len() == 3);
    let (from, _, own) = heard(&play.others[0]);
    assert_eq!((from, &own[own.len() - 4..]), (resolver, &ADDRESS.octets()[..]));
    assert_eq!(heard(&play.others[1]).2[2..4], [0x81, 0x82], "a failure of the server");
    assert_eq!(heard(&play.others[2]).2[..2], [0x24, 3]);
}

#[test]
fn queries_over_tcp_reach_the_resolver() {
    let (listener, port) = listener();
    let resolvers = Resolvers::These(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]);
    let mut play = Play::new(crate::Config { resolvers, host_loopback: false, ..config() });
    let mut client = Client::new(40000, SocketAddrV4::new(RESOLVER, 53));
    client.send = b"query".to_vec();
    play.until(&mut [&mut client], |_, clients| clients[0].is_sent());
    let mut heard = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"query");
}

#[test]
fn a_new_driver_finds_nothing_of_the_last_one_s() {
    let (listener, port) = listener();
    let mut play = Play::new(config());
    let mut client = Client::new(40000, on_host(port));
    play.until(&mut [&mut client], |_, clients| clients[0].connected);
    let (mut stream, _) = listener.accept().unwrap();
    play.link.begin(crate::Takes::default());
    assert_eq!(play.link.flows(), 0);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    client.send = b"old".to_vec();
    play.until(&mut [&mut client], |_, clients| clients[0].reset);
}
