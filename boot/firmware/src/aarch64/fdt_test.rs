//! The tree read back by the specification's rules, as firmware and kernels do it; and by dtc.

use super::super::board::sample;
use super::*;
use std::collections::BTreeMap;
use std::process::Command;

/// Properties by path: "/cpus/cpu@0/reg".
type Tree = BTreeMap<String, Vec<u8>>;

const SEED: Seed = {
    let mut seed = [9; 40];
    let (place, _) = seed.split_at_mut(8);
    place.copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
    seed
};

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())).unwrap()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

/// Header (§5.2) and structure block (§5.4). A node without properties has an empty one of its own name.
fn read(tree: &[u8]) -> Tree {
    assert_eq!((word(tree, 0), word(tree, 4), word(tree, 20)), (0xd00d_feed, tree.len(), 17));
    let (mut at, strings) = (word(tree, 8), &tree[word(tree, 12)..]);
    let (mut path, mut found) = (Vec::new(), Tree::new());
    loop {
        let token = word(tree, at);
        at += 4;
        match token {
            1 => {
                let name = text(&tree[at..]);
                at += (name.len() + 1).next_multiple_of(4);
                path.push(name);
                assert!(found.insert(path.join("/"), Vec::new()).is_none(), "twice: {path:?}");
            }
            2 => drop(path.pop().unwrap()),
            3 => {
                let (length, name) = (word(tree, at), text(&strings[word(tree, at + 4)..]));
                let value = tree[at + 8..at + 8 + length].to_vec();
                at += 8 + length.next_multiple_of(4);
                assert!(found.insert(format!("{}/{name}", path.join("/")), value).is_none(), "{name} twice");
            }
            9 => break,
            other => panic!("token {other}"),
        }
    }
    assert!(path.is_empty());
    found
}

fn cells(tree: &Tree, path: &str) -> Vec<u32> {
    let value = tree.get(path).unwrap_or_else(|| panic!("no {path}"));
    let (cells, []) = value.as_chunks::<4>() else { panic!("{path}: {value:x?}") };
    cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
}

fn words(tree: &Tree, path: &str) -> Vec<String> {
    let value = tree.get(path).unwrap_or_else(|| panic!("no {path}"));
    let value = value.strip_suffix(&[0]).unwrap();
    value.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap()).collect()
}

fn firmware_s(board: &Board) -> Tree {
    read(&device_tree(board, Reader::Firmware).unwrap())
}

#[test]
fn aavmf_finds_what_it_looks_for() {
    let tree = firmware_s(&sample::board());
    assert_eq!((cells(&tree, "/#address-cells"), cells(&tree, "/#size-cells")), (vec![2], vec![2]));
    assert_eq!(cells(&tree, "/memory@40000000/reg"), [0, 0x4000_0000, 0, 0x4000_0000]);
    assert_eq!(words(&tree, "/memory@40000000/device_type"), ["memory"]);
    assert_eq!(words(&tree, "/chosen/stdout-path"), ["/pl011@9000000"]);
    for (node, compatible, registers) in [
        ("/pl011@9000000", "arm,pl011", &[0, 0x900_0000, 0, 0x1000][..]),
        ("/pl031@9010000", "arm,pl031", &[0, 0x901_0000, 0, 0x1000]),
        ("/fw-cfg@9020000", "qemu,fw-cfg-mmio", &[0, 0x902_0000, 0, 0x18]),
        ("/flash@0", "cfi-flash", &[0, 0, 0, 0x400_0000, 0, 0x400_0000, 0, 0x400_0000]),
        ("/intc@8000000", "arm,gic-v3", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000]),
        ("/intc@8000000/its@8080000", "arm,gic-v3-its", &[0, 0x808_0000, 0, 0x2_0000]),
        ("/pcie@3f000000", "pci-host-ecam-generic", &[0, 0x3f00_0000, 0, 0x100_0000]),
        ("/serial@90a0000", "ns16550a", &[0, 0x90a_0000, 0, 0x1000]),
    ] {
        assert_eq!(words(&tree, &format!("{node}/compatible"))[0], compatible);
        assert_eq!(cells(&tree, &format!("{node}/reg")), registers, "{node}");
    }
    assert_eq!(cells(&tree, "/flash@0/bank-width"), [4]);
    assert_eq!(
        (words(&tree, "/psci/compatible")[1].as_str(), &*words(&tree, "/psci/method")[0]),
        ("arm,psci-0.2", "hvc")
    );
    // Secure, physical, virtual, hypervisor: each a CPU's own, level, high.
    assert_eq!(cells(&tree, "/timer/interrupts"), [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    assert_eq!(cells(&tree, "/pl011@9000000/interrupts"), [0, 1, 4]);
}

#[test]
fn cpus_are_named_by_their_affinity() {
    let mut board = sample::board();
    board.cpus = vec![0, 0x10f, 0x1_0000_0000];
    board.pmu = false;
    let tree = firmware_s(&board);
    assert_eq!(cells(&tree, "/cpus/cpu@10f/reg"), [0, 0x10f]);
    assert_eq!(cells(&tree, "/cpus/cpu@100000000/reg"), [1, 0]);
    assert_eq!(words(&tree, "/cpus/cpu@0/enable-method"), ["psci"]);
    assert!(!tree.contains_key("/pmu"));
    assert_eq!(cells(&firmware_s(&sample::board()), "/pmu/interrupts"), [1, 7, 4]);
}

#[test]
fn pci_has_its_window_its_messages_and_its_links() {
    let mut board = sample::board();
    board.pci.links = [3, 9, 5, 6];
    let tree = firmware_s(&board);
    let bridge = |name| cells(&tree, &format!("/pcie@3f000000/{name}"));
    assert_eq!(bridge("bus-range"), [0, 15]);
    assert_eq!(bridge("ranges"), [0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000]);
    assert_eq!(bridge("msi-map"), [0, cells(&tree, "/intc@8000000/its@8080000/phandle")[0], 0, 0x1_0000]);
    let gic = cells(&tree, "/intc@8000000/phandle")[0];
    let map = bridge("interrupt-map");
    let entries: Vec<&[u32]> = map.chunks(10).collect();
    assert_eq!(entries.len(), 16);
    // Slot 1's INTA is link A; pins rotate. Slot 4 is slot 0 to the mask.
    let mask = bridge("interrupt-map-mask");
    for (slot, pin, spi) in [(1u32, 1u32, 3u32), (1, 2, 9), (2, 1, 9), (4, 1, 6), (5, 1, 3), (31, 4, 9)] {
        let (slot, pin) = ((slot << 11) & mask[0], pin & mask[3]);
        let entry = entries.iter().find(|entry| (entry[0], entry[3]) == (slot, pin)).unwrap();
        assert_eq!(entry[4..], [gic, 0, 0, 0, spi, 4], "{slot:#x} {pin}");
    }
}

#[test]
fn a_kernel_is_told_its_command_line_initrd_and_console() {
    let mut board = sample::board();
    board.flash = None;
    let initrd = Some(Range::new(0x4800_0000, 0x1234));
    let reader = Reader::Kernel { command_line: "console=ttyS0 root=/dev/nvme0n1p1", initrd, seed: &SEED };
    let tree = read(&device_tree(&board, reader).unwrap());
    assert_eq!(words(&tree, "/chosen/bootargs"), ["console=ttyS0 root=/dev/nvme0n1p1"]);
    assert_eq!(words(&tree, "/chosen/stdout-path"), ["/serial@90a0000"]);
    assert_eq!(cells(&tree, "/chosen/linux,initrd-start"), [0, 0x4800_0000]);
    assert_eq!(cells(&tree, "/chosen/linux,initrd-end"), [0, 0x4800_1234]);
    assert_eq!(cells(&tree, "/chosen/kaslr-seed"), [0x0807_0605, 0x0403_0201]);
    assert_eq!(tree["/chosen/rng-seed"], [9; 32]);
    assert!(!tree.contains_key("/flash@0") && !tree.contains_key("/fw-cfg@9020000"), "no firmware");
    board.serial = None;
    let reader = Reader::Kernel { command_line: "", initrd: None, seed: &SEED };
    let tree = read(&device_tree(&board, reader).unwrap());
    assert_eq!(words(&tree, "/chosen/stdout-path"), ["/pl011@9000000"]);
    assert!(!tree.contains_key("/chosen/linux,initrd-start"));
    let reader = Reader::Kernel { command_line: "a\0b", initrd: None, seed: &SEED };
    assert!(matches!(device_tree(&board, reader), Err(FirmwareError::CommandLineNul)));
}

/// dtc reads it, and finds nothing to warn of.
#[test]
fn dtc_accepts_the_tree() {
    if Command::new("dtc").arg("-v").output().is_err() {
        println!("skipped: dtc is not installed (package device-tree-compiler)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for reader in [Reader::Firmware, Reader::Kernel { command_line: "quiet", initrd: None, seed: &SEED }] {
        let file = folder.path().join("board.dtb");
        std::fs::write(&file, device_tree(&sample::board(), reader).unwrap()).unwrap();
        let output = Command::new("dtc").args(["-I", "dtb", "-O", "dts"]).arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.is_empty(), "{told}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("pci-host-ecam-generic"));
    }
}
