//! What a guest that means no good, and a host whose network comes and goes, may cost: a bound, and nothing afterwards.
#![expect(clippy::arithmetic_side_effects, reason = "the tests' own numbers")]

use crate::link::Link as _;
use crate::namespace::{in_a_namespace, run};
use crate::play::{ADDRESS, Client, Play, RESOLVER, ROUTER, config};
use crate::tcp::{MAX_FLOWS, MAX_KEPT};
use crate::user_test::shouting;
use crate::{Offload, Resolvers, Takes};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;

const METADATA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
const WAVE: u16 = 100;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// So many connections to the host, to a service and from this process, a wave at a time, that end in every way.
fn opened_and_closed(count: usize) {
    run("ip link set lo up").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = SocketAddrV4::new(ROUTER, listener.local_addr().unwrap().port());
    let mut play = Play::new(crate::Config { services: vec![shouting(METADATA)], ..config() });
    let before = descriptors();
    for wave in 0..count.div_ceil(usize::from(WAVE)) {
        let first = 1024 + u16::try_from(wave).unwrap() % 100 * WAVE;
        let mut clients: Vec<Client> = (first..first + WAVE)
            .map(|port| match port % 4 {
                0 => Client::new(port, METADATA),
                1 => Client::listen(port),
                _ => Client::new(port, to),
            })
            .collect();
        let mut streams = Vec::new();
        for client in &mut clients {
            client.send = b"end.".to_vec();
            if client.listening {
                let (ours, theirs) = UnixStream::pair().unwrap();
                play.link.dialer().dial(theirs.into(), client.port).unwrap();
                streams.push(ours);
            }
        }
        let mut all: Vec<&mut Client> = clients.iter_mut().collect();
        play.until(&mut all, |_, clients| clients.iter().all(|client| client.is_sent()));
        assert_eq!(play.link.flows(), usize::from(WAVE));
        let accepted: Vec<_> = (0..WAVE / 2).map(|_| listener.accept().unwrap().0).collect();
        // Some are broken off by the guest, some by the host with bytes unread; the others end on both sides.
        for (client, mut stream) in all.iter_mut().filter(|client| client.port % 4 > 1).zip(accepted) {
            match client.port % 12 {
                2 => client.break_off(&mut play),
                3 => {}
                _ => stream.read_exact(&mut [0; 4]).unwrap(),
            }
            client.ends = true;
        }
        streams.clear();
        for client in &mut all {
            client.ends = true;
        }
        play.until(&mut all, |play, _| play.link.flows() == 0);
    }
    assert_eq!(descriptors(), before);
    assert_eq!(play.link.kept(), (0, 0));
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    in_a_namespace("robust_test::ten_thousand_connections_leave_nothing", || opened_and_closed(10_000));
}

#[test]
fn a_guest_leaves_descriptors_to_the_rest_of_the_process() {
    in_a_namespace("robust_test::a_guest_leaves_descriptors_to_the_rest_of_the_process", || {
        run("ip link set lo up").unwrap();
        let few = Rlimit { current: Some(256), maximum: Some(256) };
        setrlimit(Resource::Nofile, few).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = SocketAddrV4::new(ROUTER, listener.local_addr().unwrap().port());
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        let all_to = SocketAddrV4::new(ROUTER, far.local_addr().unwrap().port());
        let mut play = Play::new(config());
        let left = || (0..32).map(|_| std::fs::File::open("/dev/null")).collect::<Result<Vec<_>, _>>();
        for port in 1..400 {
            play.datagram(port, all_to, b"x");
        }
        assert!(left().is_ok() && play.link.flows() > 100, "{} flows", play.link.flows());
        // One that is idle makes room for a new one of either kind.
        let mut clients: Vec<Client> = (1000..1300).map(|port| Client::new(port, to)).collect();
        for client in &mut clients {
            play.until(&mut [client], |_, clients| clients[0].connected || clients[0].reset);
            assert!(client.connected, "{client:?}");
            drop(listener.accept().unwrap());
        }
        assert!(left().is_ok() && play.link.flows() > 100, "{} flows", play.link.flows());
    });
}

#[test]
fn a_guest_that_asks_and_never_reads_fills_no_more_than_the_bound() {
    let mut play = Play::with_offloads(crate::Config { services: vec![shouting(METADATA)], ..config() });
    let mut most = 0;
    for wave in 0..16 {
        let mut clients: Vec<Client> = (0..64)
            .map(|n| {
                let mut client = Client::new(1024 + wave * 64 + n, METADATA);
                (client.send, client.longest, client.window) = (vec![b'a'; 300_000], 60000, 0);
                client
            })
            .collect();
        let mut all: Vec<&mut Client> = clients.iter_mut().collect();
        let mut rounds = 0;
        play.until(&mut all, |play, _| {
            most = most.max(play.link.kept().0);
            rounds += 1;
            rounds > 10
        });
    }
    // One connection more than fits may be given its last answer.
    assert!(most > MAX_KEPT / 2 && most < MAX_KEPT + (1 << 20), "{most} bytes were kept");
    // And there is a place again when it is gone.
    play.link.begin(Takes::default());
    assert_eq!(play.link.kept(), (0, 0));
    let mut client = Client::new(1, METADATA);
    client.send = b"a.".to_vec();
    play.takes = Takes::default();
    play.until(&mut [&mut client], |_, clients| clients[0].ended);
    assert_eq!(client.received, b"A.");
}

#[test]
fn a_guest_that_never_takes_a_frame_is_kept_few_and_heard_all_the_same() {
    let mut play = Play::new(crate::Config { services: vec![shouting(METADATA)], ..config() });
    let echo = play.route(ROUTER).icmp(&[&[8, 0, 0, 0, 0, 1, 0, 1][..], &[7; 60_000]].concat());
    for round in 0..5000u16 {
        play.give(&echo, Offload::default());
        let mut syn = Client::new(1 + round, METADATA);
        syn.write(&mut play, crate::wire::SYN, 9, &[]);
        let mut stray = Client::new(1 + round, SocketAddrV4::new(RESOLVER, 9));
        stray.write(&mut play, crate::wire::ACK, 9, &[]);
    }
    let (kept, waiting) = play.link.kept();
    assert!(kept < 1 << 20 && waiting <= 64 * 65536, "{kept} bytes of connections, {waiting} of answers");
    assert_eq!(play.link.flows(), MAX_FLOWS);
    let mut client = Client::new(60000, METADATA);
    client.send = b"a.".to_vec();
    play.until(&mut [&mut client], |_, clients| clients[0].received == b"A.");
}

#[test]
fn fragments_and_broken_leases_are_nobody_s() {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    far.set_nonblocking(true).unwrap();
    let to = SocketAddrV4::new(ROUTER, far.local_addr().unwrap().port());
    let mut play = Play::new(config());
    let whole = play.route(ROUTER).datagram((5000, to.port()), &[7; 64]);
    // Overlapping, to the end of what can be said, with and without more to come.
    for at in (0..0x2000u16).step_by(3) {
        for more in [0, 0x2000] {
            if at | more == 0 {
                continue;
            }
            let mut fragment = whole.clone();
            fragment[20..22].copy_from_slice(&(at | more).to_be_bytes());
            fragment[24..26].fill(0);
            let sum = crate::wire::Sum::default().add(&fragment[14..34]).finish();
            fragment[24..26].copy_from_slice(&sum.to_be_bytes());
            play.give(&fragment, Offload::default());
        }
    }
    // A lease is asked for with every byte but the first ones wrong once.
    let mut discover = vec![1, 1, 6, 0];
    discover.resize(236, 0);
    discover.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    for at in 0..discover.len() {
        for wrong in [0, 255] {
            let mut broken = discover.clone();
            broken[at] ^= wrong;
            broken.truncate(at + 1);
            play.datagram(68, SocketAddrV4::new(ROUTER, 67), &broken);
        }
    }
    assert_eq!((play.link.flows(), play.link.kept()), (0, (0, 0)));
    assert!(far.recv(&mut [0]).is_err(), "a part of a datagram was sent on");
    play.give(&whole, Offload::default());
    assert_eq!(far.recv(&mut [0; 128]).unwrap(), 64);
}

/// The host's network is an interface with the far end's address.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

#[test]
fn the_host_s_network_may_go_away_and_come_back() {
    in_a_namespace("robust_test::the_host_s_network_may_go_away_and_come_back", || {
        run("ip link set lo up; ip tuntap add far mode tap; ip addr add 198.51.100.7/24 dev far; ip link set far up")
            .unwrap();
        let listener = TcpListener::bind((FAR, 80)).unwrap();
        let datagrams = UdpSocket::bind((FAR, 53)).unwrap();
        let resolvers = Resolvers::These(vec![SocketAddr::from((FAR, 53))]);
        let mut play = Play::new(crate::Config { resolvers, host_loopback: false, ..config() });
        let to = SocketAddrV4::new(FAR, 80);
        let mut client = Client::new(40000, to);
        client.send = b"before".to_vec();
        play.until(&mut [&mut client], |_, clients| clients[0].is_sent());
        let (mut stream, _) = listener.accept().unwrap();

        run("ip addr del 198.51.100.7/24 dev far").unwrap();
        let mut late = Client::new(40001, to);
        play.until(&mut [&mut late], |_, clients| clients[0].reset);
        assert!(!late.connected);
        play.datagram(5000, SocketAddrV4::new(FAR, 9), b"lost");
        let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a'][..], &[0, 0, 1, 0, 1]].concat();
        play.datagram(5001, SocketAddrV4::new(RESOLVER, 53), &query);
        play.until(&mut [], |play, _| play.others.len() == 2);
        assert_eq!(play.others[0][34..36], [3, 0], "unreachable, the network");
        assert_eq!(play.others[0][54..62], [ADDRESS.octets(), FAR.octets()].concat());
        assert_eq!(play.others[1][44..46], [0x81, 0x82], "a failure of the server");
        play.others.clear();
        client.send.extend(b" and after");

        run("ip addr add 198.51.100.7/24 dev far").unwrap();
        play.until(&mut [&mut client], |_, clients| clients[0].is_sent());
        let mut heard = [0; 16];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"before and after");
        stream.write_all(b"here").unwrap();
        play.until(&mut [&mut client], |_, clients| clients[0].received == b"here");
        let mut new = Client::new(40002, to);
        play.until(&mut [&mut new], |_, clients| clients[0].connected);
        play.datagram(5001, SocketAddrV4::new(RESOLVER, 53), &query);
        assert_eq!(datagrams.recv(&mut [0; 64]).unwrap(), query.len());
    });
}
