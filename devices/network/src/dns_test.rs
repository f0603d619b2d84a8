//! Names that EC2's resolver knows, queries that lie, and resolv.conf.

use super::*;

fn guest() -> Guest {
    Guest {
        mac: [2, 0, 0, 0, 0, 1],
        address: Ipv4Addr::new(172, 31, 4, 66),
        prefix: 20,
        ipv6: None,
        host_name: "i-0123456789abcdef0".to_owned(),
        domain: "ec2.internal".to_owned(),
    }
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let head = [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], &labels(name), &kind.to_be_bytes(), &[0, 1]].concat()
}

fn answer(name: &str, kind: u16) -> Option<Vec<u8>> {
    own_answer(&guest(), &query(name, kind))
}

#[test]
fn names_of_the_subnet_are_answered_and_others_are_not() {
    for (name, address) in [
        ("ip-172-31-4-66.ec2.internal", [172, 31, 4, 66]),
        ("IP-172-31-4-66.EC2.Internal", [172, 31, 4, 66]),
        ("i-0123456789abcdef0.ec2.internal", [172, 31, 4, 66]),
        ("ip-172-31-15-9.ec2.internal", [172, 31, 15, 9]),
    ] {
        let question = query(name, A);
        let reply = answer(name, A).unwrap();
        assert_eq!(reply[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], "{name}");
        assert_eq!(reply[12..question.len()], question[12..], "{name}");
        assert_eq!(
            reply[question.len()..],
            [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &address].concat()
        );
    }
    for name in
        ["ip-10-0-0-1.ec2.internal", "ip-172-31-04-66.ec2.internal", "example.com", "ec2.internal", "i-1"]
    {
        assert_eq!(answer(name, A), None, "{name}");
    }
}

#[test]
fn an_own_name_without_what_was_asked_for_is_no_error_and_no_answer() {
    let reply = answer("ip-172-31-4-66.ec2.internal", 28).unwrap();
    assert_eq!(reply[2..8], [0x81, 0x80, 0, 1, 0, 0]);
    assert_eq!(reply.len(), query("ip-172-31-4-66.ec2.internal", 28).len());
}

#[test]
fn an_address_of_the_subnet_has_a_name() {
    let reply = answer("66.4.31.172.in-addr.arpa", PTR).unwrap();
    assert!(reply.ends_with(&labels("ip-172-31-4-66.ec2.internal")));
    assert_eq!(answer("1.0.0.10.in-addr.arpa", PTR), None);
}

#[test]
fn messages_that_lie_are_nobody_s() {
    let good = query("ip-172-31-4-66.ec2.internal", A);
    for len in 0..good.len() {
        assert!(own_answer(&guest(), &good[..len]).is_none(), "{len}");
    }
    let mut pointer = good.clone();
    pointer[12] = 0xc0;
    let mut response = good.clone();
    response[2] |= 0x80;
    let long = query(&vec!["a".repeat(63); 5].join("."), A);
    for bad in [pointer, response, long] {
        assert!(own_answer(&guest(), &bad).is_none() && failure(&bad).is_none());
    }
    assert_eq!(failure(&good).unwrap()[3] & 15, 2);
}

#[test]
fn resolv_conf_is_read_again_when_it_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut directory = Directory::new(Resolvers::File(file.path().to_owned()));
    assert_eq!(directory.server(), None);
    assert!(Resolvers::File(file.path().to_owned()).are_none());
    std::fs::write(
        file.path(),
        "# nameserver 9.9.9.9\nsearch x\nnameserver 127.0.0.53\n nameserver fe80::1%eth0\nnameserver\t::1 trust-ad\n",
    )
    .unwrap();
    let changed = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7);
    std::fs::File::options().write(true).open(file.path()).unwrap().set_modified(changed).unwrap();
    let [first, second] = ["127.0.0.53:53", "[::1]:53"].map(|text| text.parse::<SocketAddr>().unwrap());
    assert_eq!(directory.server(), Some(first));
    assert!(!Resolvers::File(file.path().to_owned()).are_none());
    directory.silent(first);
    assert_eq!(directory.server(), Some(second), "whoever is silent is passed over");
    directory.silent(first);
    assert_eq!(directory.server(), Some(second), "what is told late changes nothing");
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(directory.server(), None);
}
