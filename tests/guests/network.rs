//! What makes a guest an EC2 instance: its network, its metadata, and the clients of both that people have on theirs.

use crate::debian::has;
use crate::expect::{Launch, done};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const USER_DATA: &str = "#!/bin/sh\necho ran >> /var/lib/user-data\n";
const CREDENTIALS: &str = r#"{"Version": 1, "AccessKeyId": "ASIATESTTESTTESTTEST", "SecretAccessKey": "c2VjcmV0",
  "SessionToken": "dG9rZW4=", "Expiration": "2099-01-01T00:00:00Z"}"#;

/// Services of this computer's, at its loopback address.
pub(crate) struct World {
    tcp: SocketAddr,
    udp: SocketAddr,
    /// Of this computer, for the guest's SSH.
    ssh: u16,
}

impl World {
    pub(crate) fn new() -> World {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // Nobody else takes it before the launch does.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let world = World {
            tcp: tcp.local_addr().unwrap(),
            udp: udp.local_addr().unwrap(),
            ssh: free.local_addr().unwrap().port(),
        };
        background(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap_or_default();
                stream.write_all(format!("tcp {line}").as_bytes()).unwrap_or_default();
            }
        });
        background(move || {
            let mut datagram = [0; 1500];
            while let Ok((len, from)) = udp.recv_from(&mut datagram) {
                let answer = [b"udp ", &datagram[..len]].concat();
                udp.send_to(&answer, from).unwrap();
            }
        });
        world
    }

    /// What a launch is to be given besides its image; files are made in `folder`.
    pub(crate) fn options(&self, folder: &Path) -> Vec<String> {
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (data, credentials) = (file("user-data", USER_DATA), file("credentials", CREDENTIALS));
        let ssh = format!("{}:22", self.ssh);
        [
            ["--user-data", &data],
            ["--iam-credentials", &format!("file:{credentials}")],
            ["--tag", "Stage=test"],
            ["--name", "guest"],
            [
                "--metadata-options",
                "HttpTokens=required,HttpPutResponseHopLimit=1,InstanceMetadataTags=enabled",
            ],
            ["-p", &ssh],
        ]
        .concat()
        .into_iter()
        .chain(["--host-loopback"])
        .map(str::to_owned)
        .collect()
    }
}

/// Until the test's program ends.
fn background(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(work).unwrap();
}

/// The lease, and what it says; services beyond the router; a port that leads to the guest.
pub(crate) fn subnet(launch: &mut Launch, world: &World) {
    let address = launch.shell("ip -4 -o addr show scope global | awk '{print $4}'");
    let (plain, prefix) = address.split_once('/').unwrap();
    assert!(plain.starts_with("172.31.") && prefix == "20", "{address}");
    let dashed = format!("ip-{}", plain.replace('.', "-"));
    assert_eq!(launch.shell("hostname"), dashed);
    assert_eq!(launch.shell("ip -4 -o route show default | awk '{print $3}'"), "172.31.16.1");
    assert_eq!(launch.shell("cat /sys/class/net/e*/mtu"), "9001");
    has(&launch.shell("resolvectl dns"), &["172.31.16.2"]);
    let lease = launch.shell("cat /run/systemd/netif/leases/*");
    has(&lease, &["SERVER_ADDRESS=172.31.16.1", "LIFETIME=3600", "MTU=9001", "DOMAINNAME=ec2.internal"]);
    assert_eq!(
        launch.shell(&format!("getent hosts {dashed}.ec2.internal | awk '{{print $1}}'")),
        plain,
        "the resolver knows the instance"
    );
    has(&launch.shell("readlink -f /sys/class/net/e*/device/driver"), &["virtio_net"]);
    has(&launch.shell("lspci -n -s 00:05.0"), &["0200: 1af4:1041"]);
    let (tcp, udp) = (world.tcp.port(), world.udp.port());
    let line = format!("exec 3<>/dev/tcp/172.31.16.1/{tcp}; echo hello >&3; cat <&3");
    assert_eq!(launch.shell(&format!("bash -c '{line}'")), "tcp hello");
    let line = format!("exec 3<>/dev/udp/172.31.16.1/{udp}; echo hello >&3; head -n 1 <&3");
    assert_eq!(launch.shell(&format!("timeout 60 bash -c '{line}'")), "udp hello");
    let mut ssh = TcpStream::connect((Ipv4Addr::LOCALHOST, world.ssh)).unwrap();
    ssh.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut banner = [0; 8];
    ssh.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    let clock = launch.shell("timeout 100 chronyd -t 60 -Q 'server 169.254.169.123 iburst' 2>&1 | tail -n 2");
    has(&clock, &["System clock wrong by"]);
}

/// cloud-init's Ec2 data source and the clients that Debian has.
pub(crate) fn clients(launch: &mut Launch) {
    let result = launch.shell("cat /run/cloud-init/result.json");
    has(&result, &["DataSourceEc2", "\"errors\": []"]);
    assert_eq!(launch.shell("grep -cE 'WARNING|ERROR' /var/log/cloud-init.log"), "0");
    assert_eq!(launch.shell("cloud-init query cloud_name"), "aws");
    assert_eq!(launch.shell("cloud-init query platform"), "ec2");
    assert_eq!(launch.shell("cat /var/lib/user-data"), "ran");
    let id = launch.shell("cat /sys/class/dmi/id/board_asset_tag");
    assert_eq!(launch.shell("cloud-init query instance_id"), id);
    let all = launch.shell("ec2-metadata --all");
    has(
        &all,
        &[
            &format!("instance-id: {id}"),
            "ami-id: ami-0123456789abcdef0",
            "placement: us-east-1a",
            "local-ipv4: 172.31.",
            "user-data: #!/bin/sh",
            "security-groups: default",
        ],
    );
    let botocore = "from botocore.utils import IMDSFetcher, InstanceMetadataFetcher as F, \
        InstanceMetadataRegionFetcher as R; \
        c = F(timeout=60, num_attempts=3).retrieve_iam_role_credentials(); \
        print(c[\"access_key\"], c[\"token\"], R(timeout=60, num_attempts=3).retrieve_region())";
    assert_eq!(launch.shell(&format!("python3 -c '{botocore}'")), "ASIATESTTESTTESTTEST dG9rZW4= us-east-1");
    // Its rules are for the drivers of EC2's own cards: with virtio-net it does nothing until it is called.
    let policy =
        "card=$(basename /sys/class/net/e*); setup-policy-routes $card start 2>&1 | tail -n 3; echo $?";
    assert!(launch.shell(policy).ends_with('0'));
}

/// A token comes no further than its hop limit: not into a network namespace, one hop inside the guest, until
/// `metadata-options` allows it.
pub(crate) fn hop_limit(launch: &mut Launch, state: &Arc<TempDir>) {
    launch.shell(
        "card=$(basename /sys/class/net/e*); sysctl -qw net.ipv4.ip_forward=1; ip netns add inner; \
         ip link add out type veth peer name in netns inner; \
         ip addr add 10.9.0.1/24 dev out; ip link set out up; \
         ip -n inner addr add 10.9.0.2/24 dev in; ip -n inner link set in up; \
         ip -n inner route add default via 10.9.0.1; \
         nft add table ip t; nft 'add chain ip t c { type nat hook postrouting priority 100; }'; \
         nft add rule ip t c oifname $card masquerade",
    );
    let token = "curl -s -m 20 -o /dev/null -w '%{http_code}' -X PUT \
        -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token";
    let inner = format!("ip netns exec inner {token}");
    assert_eq!(launch.shell(token), "200");
    assert_eq!(launch.shell(&inner), "000", "the answer expires on its way");
    done(state, &["metadata-options", "guest", "--http-put-response-hop-limit", "2"]);
    assert_eq!(launch.shell(&inner), "200");
}
