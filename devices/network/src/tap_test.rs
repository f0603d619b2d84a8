//! The TAP link on interfaces of its own: each test runs once more in a network namespace that it makes.

use crate::link::Link as _;
use crate::namespace::{in_a_namespace, run};
use crate::play::{ADDRESS, Client, Play, ROUTER, config, host, noise};
use crate::tap::{TapConfig, TapError, TapLink};
use crate::user_test::shouting;
use crate::wire::{Arp, ETHERTYPE_ARP, Ethernet, Macs};
use crate::{LinkError, Offload, Takes};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use zerocopy::IntoBytes as _;

const METADATA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
/// A host with a TAP interface, on whose other side a guest is.
const SET_UP: &str = "set -e
    ip link set lo up
    ip tuntap add tap0 mode tap
    ip link set tap0 address 0e:0a:4d:49:52:01 mtu 9001 up
    ip addr add 172.31.0.1/20 dev tap0";

fn tap(name: &str) -> Result<TapLink, LinkError> {
    let services = vec![shouting(METADATA)];
    TapLink::new(TapConfig { name: name.to_owned(), guest: config().guest, services })
}

/// Frames only between two stations that know of each other.
fn play(takes: Takes) -> Play<TapLink> {
    let play = Play::on(tap("tap0").unwrap(), config().guest.macs(), takes);
    run("ip neigh replace 172.31.4.66 lladdr 02:00:00:00:00:01 dev tap0 nud permanent").unwrap();
    play
}

#[test]
fn frames_pass_through_and_large_ones_whole() {
    in_a_namespace("tap_test::frames_pass_through_and_large_ones_whole", || {
        run(SET_UP).unwrap();
        let all = Takes { checksum: true, segments: true };
        for (takes, longest) in [(Takes::default(), 8000), (all, 60000)] {
            let mut play = play(takes);
            let listener = TcpListener::bind((ROUTER, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let (said, data) = (noise(2_000_000), noise(3_000_000));
            let answer = data.clone();
            let far = host(move || {
                let (mut stream, _) = listener.accept()?;
                let mut other = stream.try_clone()?;
                let says = host(move || {
                    other.write_all(&answer)?;
                    other.shutdown(Shutdown::Write)
                });
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard)?;
                says.join().unwrap();
                Ok(heard)
            });
            let mut client = Client::new(40000, SocketAddrV4::new(ROUTER, port));
            (client.send, client.ends, client.longest) = (said.clone(), true, longest);
            play.until(&mut [&mut client], |_, clients| {
                clients[0].window = 0xf_fff0;
                clients[0].is_sent() && clients[0].ended
            });
            assert!(client.received == data, "what came is what was said");
            assert!(far.join().unwrap() == said, "and the other way");
            let (len, segment) = play.largest;
            assert_eq!(len > 8961, takes.segments, "{len} bytes at once");
            assert_eq!(segment.is_some(), takes.segments);
            assert_eq!(play.link.flows(), 0, "nothing of it was ours");
        }
    });
}

/// Frames that the interface took from the guest.
fn taken() -> u64 {
    let all = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = all.lines().find_map(|line| line.trim().strip_prefix("tap0:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_metadata_service_answers_inside_whatever_station_was_meant() {
    in_a_namespace("tap_test::the_metadata_service_answers_inside_whatever_station_was_meant", || {
        run(SET_UP).unwrap();
        // Another station than the one that the link was told of, with an address that nobody has told it.
        let guest = crate::Guest { mac: [2, 9, 9, 9, 9, 9], address: [10, 0, 0, 9].into(), ..config().guest };
        let (name, services) = ("tap0".to_owned(), vec![shouting(METADATA)]);
        let link = TapLink::new(TapConfig { name, guest, services }).unwrap();
        let macs = Macs { router: [2, 7, 7, 7, 7, 7], ..config().guest.macs() };
        let mut play = Play::on(link, macs, Takes::default());
        let before = taken();

        let asks = |target: Ipv4Addr| {
            let ethernet = Ethernet { destination: [255; 6], source: macs.guest, kind: ETHERTYPE_ARP.into() };
            let arp = Arp {
                hardware: 1.into(),
                protocol: 0x800.into(),
                lengths: [6, 4],
                operation: 1.into(),
                sender_mac: macs.guest,
                sender: ADDRESS.octets(),
                target_mac: [0; 6],
                target: target.octets(),
            };
            [ethernet.as_bytes(), arp.as_bytes()].concat()
        };
        play.give(&asks(*METADATA.ip()), Offload::default());
        play.until(&mut [], |play, _| !play.others.is_empty());
        let answer = play.others.pop().unwrap();
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!(answer[28..32], METADATA.ip().octets());

        let mut client = Client::new(40000, METADATA);
        client.send = b"hello.".to_vec();
        play.until(&mut [&mut client], |_, clients| clients[0].ended);
        assert_eq!(client.received, b"HELLO.");
        // What no service listens at is refused in here too, or lost.
        let mut client = Client::new(40001, SocketAddrV4::new(*METADATA.ip(), 81));
        play.until(&mut [&mut client], |_, clients| clients[0].reset);
        play.datagram(5000, METADATA, b"lost");
        assert_eq!(taken(), before, "the network heard of it");

        // And what is the network's gets there.
        play.others.clear();
        play.give(&asks(ROUTER), Offload::default());
        assert_eq!(taken().checked_sub(before), Some(1));
        let is_answer = |frame: &Vec<u8>| frame[12..14] == [8, 6] && frame[28..32] == ROUTER.octets();
        play.until(&mut [], |play, _| {
            // A host sends nothing for as long as it has not seen that the interface has a carrier.
            play.give(&asks(ROUTER), Offload::default());
            play.others.iter().any(is_answer)
        });
    });
}

#[test]
fn a_socket_leads_to_the_guest_beside_the_network() {
    in_a_namespace("tap_test::a_socket_leads_to_the_guest_beside_the_network", || {
        run(SET_UP).unwrap();
        let mut play = play(Takes { checksum: true, segments: true });
        let mut server = Client::listen(22);
        (server.send, server.ends) = (b"SSH-2.0-guest".to_vec(), true);
        let (mut stream, theirs) = UnixStream::pair().unwrap();
        play.link.dialer().dial(theirs.into(), 22).unwrap();
        stream.write_all(b"SSH-2.0-host").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        play.until(&mut [&mut server], |play, clients| clients[0].ended && play.link.flows() == 0);
        assert_eq!((server.to.ip(), &server.received[..]), (METADATA.ip(), &b"SSH-2.0-host"[..]));
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "SSH-2.0-guest");
    });
}

#[test]
fn an_interface_that_goes_down_and_up_again_works_again() {
    in_a_namespace("tap_test::an_interface_that_goes_down_and_up_again_works_again", || {
        run(SET_UP).unwrap();
        let mut play = play(Takes::default());
        let far = UdpSocket::bind((ROUTER, 0)).unwrap();
        let to = SocketAddrV4::new(ROUTER, far.local_addr().unwrap().port());
        let mut buffer = [0; 16];
        play.datagram(5000, to, b"one");
        assert_eq!(far.recv(&mut buffer).unwrap(), 3);
        run("ip link set tap0 down").unwrap();
        play.datagram(5000, to, b"lost");
        while play.turn(&mut []) {}
        run("ip link set tap0 up && ip neigh replace 172.31.4.66 lladdr 02:00:00:00:00:01 dev tap0 nud permanent")
            .unwrap();
        play.datagram(5000, to, b"three");
        let (len, peer) = far.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"three");
        play.until(&mut [], |play, _| {
            far.send_to(b"back", peer).unwrap();
            play.others.iter().any(|frame| frame.ends_with(b"back"))
        });
        // An interface that is no more says nothing, and is no reason to end.
        run("ip link delete tap0").unwrap();
        play.datagram(5000, to, b"lost");
        while play.turn(&mut []) {}
    });
}

#[test]
fn an_interface_that_cannot_be_had_is_told_in_words() {
    in_a_namespace("tap_test::an_interface_that_cannot_be_had_is_told_in_words", || {
        run(SET_UP).unwrap();
        let told = |name: &str| tap(name).unwrap_err().to_string();
        assert!(
            told("tap9").starts_with("there is no network interface tap9; make it: sudo ip tuntap add tap9 ")
        );
        assert!(told("lo").starts_with("the network interface lo is no TAP interface"));
        run("ip link set tap0 mtu 1400").unwrap();
        let first = tap("tap0").unwrap();
        assert_eq!(first.mtu(), 1400);
        assert!(told("tap0").starts_with("the network interface tap0 is in use by another program"));
        drop(first);
        drop(tap("tap0").unwrap());
        assert!(run("ip link show tap9").is_err(), "it was made");
    });
    for name in ["", "..", "a/b", "a b", "sixteen-letters-", "a\0"] {
        let refused = tap(name).unwrap_err();
        assert!(matches!(refused, LinkError::Tap(TapError::Name(_))), "{refused}");
    }
}
