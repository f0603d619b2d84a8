//! Known points of the table of instance types, and that every line of it can be read.

use super::*;

fn find(name: &str) -> InstanceType {
    InstanceType::find(name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn known_types_have_their_vcpus_and_memory() {
    let known = [
        ("t3.micro", 2, 1024),
        ("t3.nano", 2, 512),
        ("t3.medium", 2, 4096),
        ("t4g.micro", 2, 1024),
        ("t2.micro", 1, 1024),
        ("m4.large", 2, 8192),
        ("m4.10xlarge", 40, 163_840),
        ("m5.large", 2, 8192),
        ("m5.metal", 96, 393_216),
        ("c5.9xlarge", 36, 73_728),
        ("c4.8xlarge", 36, 61_440),
        ("c7g.medium", 1, 2048),
        ("c7g.xlarge", 4, 8192),
        ("r5d.xlarge", 4, 32_768),
        ("r6i.32xlarge", 128, 1_048_576),
        ("c5n.large", 2, 5376),
        ("m7i.metal-24xl", 96, 393_216),
        ("c7i-flex.large", 2, 4096),
        ("u7i-12tb.224xlarge", 896, 12_582_912),
    ];
    for (name, vcpus, mib) in known {
        let found = find(name);
        assert_eq!((found.vcpus, found.memory_mib, found.name.as_str()), (vcpus, mib, name));
    }
}

#[test]
fn nitro_starts_either_way_graviton_by_uefi_and_xen_by_bios() {
    let modes = |name| (find(name).legacy_bios, find(name).uefi);
    for both in ["t3.micro", "m5.large", "c6a.large", "m7i-flex.large"] {
        assert_eq!(modes(both), (true, true), "{both}");
    }
    for uefi in ["t4g.nano", "a1.medium", "m9g.large", "c7g.metal"] {
        assert_eq!(modes(uefi), (false, true), "{uefi}");
    }
    for bios in ["t2.micro", "m4.large", "i3.large", "m5.metal", "p4d.24xlarge"] {
        assert_eq!(modes(bios), (true, false), "{bios}");
    }
}

#[test]
fn hypervisor_network_and_disks_follow_the_kind() {
    let kind = |name| (find(name).hypervisor, find(name).ena, find(name).nvme);
    assert_eq!(kind("t3.micro"), (Hypervisor::Nitro, Ena::Required, true));
    assert_eq!(kind("t2.micro"), (Hypervisor::Xen, Ena::Unsupported, false));
    assert_eq!(kind("r4.large"), (Hypervisor::Xen, Ena::Supported, false));
    assert_eq!(kind("i3.large"), (Hypervisor::Xen, Ena::Supported, true));
    assert_eq!(kind("m5.metal").0, Hypervisor::None);
    assert_eq!(
        (find("t3.micro").max_nics, find("m5.24xlarge").max_nics, find("t2.micro").max_nics),
        (2, 15, 2)
    );
}

#[test]
fn instance_store_is_counted() {
    let store = |name| find(name).store.map(|store| (store.count, store.gigabytes));
    assert_eq!(store("r5d.xlarge"), Some((1, 150)));
    assert_eq!(store("m5d.24xlarge"), Some((4, 900)));
    assert_eq!(store("i3en.3xlarge"), Some((1, 7500)));
    assert_eq!(store("m3.medium"), Some((1, 4)));
    assert_eq!((store("m5.large"), store("t3.micro")), (None, None));
}

#[test]
fn every_entry_can_be_read_and_stands_once() {
    let names: Vec<_> = InstanceType::names().collect();
    assert!(names.len() > 1300, "{}", names.len());
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    for name in &names {
        let found = find(name);
        assert!(found.vcpus > 0 && found.memory_mib >= 512 && found.max_nics > 0, "{name}");
        assert!(found.legacy_bios || found.uefi, "{name}");
    }
}

#[test]
fn an_unknown_type_has_ec2_s_words_and_near_names() {
    let refused = InstanceType::named("t3.mikro").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--instance-type: Invalid value 't3.mikro' for InstanceType. (InvalidParameterValue)"
    );
    assert!(refused.hint.unwrap().contains("t3.micro"));
    assert_eq!(
        InstanceType::named("M7I.LARGE").unwrap_err().hint.unwrap().split(',').next(),
        Some("did you mean m7i.large")
    );
    for bad in ["", "t3", "t3.", ".micro", "t3.micro.x", "mac1.metal", "#.x", "t3/micro", "large.t3"] {
        let refused = InstanceType::named(bad).unwrap_err();
        assert!(refused.hint.is_some(), "{bad}");
    }
}
