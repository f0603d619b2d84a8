//! An instance to ask about, in the scenarios of conformance.tsv.

use ami_run_metadata::{
    Credentials, Events, Facts, Interface, Maintenance, MaintenanceState, MetadataOptions, Placement,
    PublicKey, Role, SecurityGroup, SpotAction, SpotNotice,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 21 November 2026, 21:00 and so many seconds.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_294_800 + seconds)
}

/// `default`, `required` and `disabled` (its options), `tags` (in metadata), `bare` (nothing that not every instance
/// has), `events` (an unlucky spot instance).
pub(crate) fn scenario(name: &str) -> (Facts, MetadataOptions) {
    let mut options = MetadataOptions::default();
    options.tokens_required = name == "required";
    options.hop_limit = if options.tokens_required { 2 } else { 1 };
    options.endpoint = name != "disabled";
    options.tags = name == "tags";
    let mut facts = facts();
    if name == "bare" {
        (facts.public_key, facts.user_data, facts.role) = (None, None, None);
        facts.interfaces[0].public_ipv4 = None;
        facts.interfaces[0].ipv6s.clear();
    }
    if name == "events" {
        facts.life_cycle = "spot".to_owned();
        facts.product_codes = vec!["4i20ezfza3p7xx2kt2g8weu2u".to_owned()];
        facts.target_life_cycle_state = Some("InService".to_owned());
        facts.events = events();
    }
    (facts, options)
}

fn facts() -> Facts {
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        image_id: "ami-0abcdef1234567890".to_owned(),
        ancestor_image_ids: Vec::new(),
        launch_index: 0,
        reservation_id: "r-0fedcba9876543210".to_owned(),
        account_id: "123456789012".to_owned(),
        instance_type: "t3.micro".to_owned(),
        architecture: "x86_64".to_owned(),
        life_cycle: "on-demand".to_owned(),
        kernel_id: None,
        ramdisk_id: None,
        product_codes: Vec::new(),
        billing_products: Vec::new(),
        pending_time: at(0),
        hostname: "ip-172-31-4-66.ec2.internal".to_owned(),
        placement: Placement {
            region: "us-east-1".to_owned(),
            availability_zone: "us-east-1a".to_owned(),
            availability_zone_id: "use1-az1".to_owned(),
            group_name: None,
            host_id: None,
            partition_number: None,
        },
        interfaces: vec![interface()],
        block_devices: texts(&[
            ("ami", "/dev/xvda"),
            ("root", "/dev/xvda"),
            ("ebs1", "sdf"),
            ("ephemeral0", "sdb"),
        ]),
        public_key: Some(PublicKey {
            name: "my-key-name".to_owned(),
            openssh: "ssh-rsa AAAAB3NzaC1yc2E my-key-name".to_owned(),
        }),
        user_data: Some(b"#!/bin/sh\necho hello".to_vec()),
        tags: texts(&[("Name", "web server"), ("Empty", ""), ("a+b=c@d", "x")]),
        monitoring: false,
        hibernation: false,
        target_life_cycle_state: None,
        role: Some(role()),
        events: Events::default(),
    }
}

fn interface() -> Interface {
    let group = |id: &str, name: &str| SecurityGroup { id: id.to_owned(), name: name.to_owned() };
    let ipv6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x1a00, 0, 0, 0, last);
    Interface {
        mac: "02:11:22:33:44:55".to_owned(),
        interface_id: "eni-0123456789abcdef0".to_owned(),
        device_number: 0,
        network_card: None,
        private_ipv4s: vec![Ipv4Addr::new(172, 31, 4, 66), Ipv4Addr::new(172, 31, 4, 67)],
        public_ipv4: Some(Ipv4Addr::new(203, 0, 113, 25)),
        ipv6s: vec![ipv6(0x66), ipv6(0x67)],
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        local_hostname: "ip-172-31-4-66.ec2.internal".to_owned(),
        security_groups: vec![group("sg-0123456789abcdef0", "default"), group("sg-0123456789abcdef1", "ssh")],
        subnet_id: "subnet-0123456789abcdef0".to_owned(),
        subnet_ipv4_cidr: "172.31.0.0/20".to_owned(),
        subnet_ipv6_cidrs: vec!["2001:db8:1234:1a00::/64".to_owned()],
        vpc_id: "vpc-0123456789abcdef0".to_owned(),
        vpc_ipv4_cidrs: vec!["172.31.0.0/16".to_owned(), "100.64.0.0/16".to_owned()],
        vpc_ipv6_cidrs: vec!["2001:db8:1234:1a00::/56".to_owned()],
    }
}

fn role() -> Role {
    Role {
        name: "my-role".to_owned(),
        profile_arn: "arn:aws:iam::123456789012:instance-profile/my-profile".to_owned(),
        profile_id: "AIPAEXAMPLEEXAMPLEEXA".to_owned(),
        credentials: Some(Credentials {
            access_key_id: "ASIAEXAMPLEEXAMPLE00".to_owned(),
            secret_access_key: "secret/of+nobody".to_owned(),
            token: "token==".to_owned(),
            expiration: at(6 * 3600),
        }),
        updated: at(0),
    }
}

fn events() -> Events {
    let event = |last, description: &str, state| Maintenance {
        event_id: format!("instance-event-0d59937288b749b3{last}"),
        code: "system-reboot".to_owned(),
        description: description.to_owned(),
        not_before: at(12 * 3600),
        not_after: Some(at(12 * 3600 + 17 * 60)),
        state,
    };
    Events {
        spot: Some(SpotNotice { action: SpotAction::Terminate, time: at(600) }),
        rebalance: Some(at(120)),
        maintenance: vec![
            event(2, "scheduled reboot", MaintenanceState::Active),
            event(3, "[Completed] scheduled reboot", MaintenanceState::Completed),
        ],
    }
}
