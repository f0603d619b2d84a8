//! What is not read, and the words for it.

use super::maker::{DESCRIPTOR, End, Shape, vmdk};
use super::{Files, disk, error};
use std::fs;

fn whole_vmdk(end: End) -> Vec<u8> {
    vmdk(&disk(), Shape { grain: 64 << 10, entries: 512, end })
}

/// Puts bytes over a file's.
fn patch(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn descriptor(from: &str, to: &str) -> Vec<u8> {
    let text = DESCRIPTOR.replace(from, to);
    assert_ne!(text, DESCRIPTOR);
    let mut bytes = vec![0; 1024];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    patch(&whole_vmdk(End::Footer), 512, &bytes)
}

#[test]
fn every_refusal_says_what_to_do() {
    let files = Files::new();
    let good = whole_vmdk(End::Footer);
    let convert = "convert it with `qemu-img convert -O raw FILE NEW.raw`";
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let table: &[(Vec<u8>, &str, &str)] = &[
        (b"vhdxfile".to_vec(), "a VHDX file", convert),
        (b"COWD".to_vec(), "a VMDK file of ESX (COWD)", convert),
        (b"# Disk DescriptorFile\n".to_vec(), "a VMDK descriptor, whose data is in other files", convert),
        (b"BZh91AY&SY".to_vec(), "a bzip2 file", "unpack it with `bzip2 -dc FILE >NEW.raw`"),
        (tar, "a tar archive (so is an OVA)", "unpack it, and give the disk file that is in it"),
        (patch(&good, 4, &[9]), "a VMDK file of version 9", convert),
        (patch(&good, 77, &[7]), "a VMDK file with the unknown compression 7", convert),
        (
            patch(&good, 28, &[0; 8]),
            "a VMDK file that is one of several, named by a descriptor of its own",
            convert,
        ),
        (
            descriptor("streamOptimized", "twoGbMaxExtentSparse"),
            "a VMDK file of the kind \"twoGbMaxExtentSparse\"",
            convert,
        ),
        (
            descriptor("parentCID=ffffffff", "parentCID=7e29f0c2"),
            "a VMDK file that holds only what differs from another (a delta disk)",
            convert,
        ),
        (descriptor("RW 10243", "RW 9 SPARSE \"x\"\nRW 10243"), "a VMDK file of 2 extents", convert),
    ];
    for (bytes, what, advice) in table {
        let path = files.write("disk", bytes);
        assert_eq!(
            error(&path),
            format!("{} is {what}, which cannot be used here: {advice}", path.display())
        );
    }
}

#[test]
fn what_a_stream_holds_must_be_raw() {
    let files = Files::new();
    files.write("disk.raw", disk());
    if !files.run("qemu-img convert -O qcow2 disk.raw disk.qcow2")
        || !files.run("qemu-img convert -O vpc -o subformat=fixed disk.raw disk.vhd")
    {
        return;
    }
    for (line, path, words) in [
        ("xz -k disk.qcow2", "disk.qcow2.xz", "an xz file with a qcow2 file in it"),
        ("gzip -k disk.qcow2", "disk.qcow2.gz", "a gzip file with a qcow2 file in it"),
        ("zstd -q disk.qcow2", "disk.qcow2.zst", "a zstd file with a qcow2 file in it"),
        ("zstd -q disk.qcow2.xz", "disk.qcow2.xz.zst", "a zstd file with an xz file in it"),
        ("gzip -k disk.vhd", "disk.vhd.gz", "a gzip file with a VHD file in it"),
    ] {
        if files.run(line) {
            let said = error(&files.path(path));
            assert!(said.contains(words) && said.contains(" -dc FILE >NEW`, and give that"), "{said}");
        }
    }
}

#[test]
fn streams_that_take_much_memory_are_refused() {
    let files = Files::new();
    let words = "that takes more than 128 MiB to unpack, which cannot be used here: unpack it yourself";
    // A frame's window of 1 GiB: 2^(10 + 20).
    let said = error(&files.write("disk.zst", b"\x28\xb5\x2f\xfd\0\xa0\x01\0\0"));
    assert!(said.contains(words), "{said}");
    files.write("disk.raw", disk());
    if files.run("xz -k disk.raw") {
        // The dictionary's size is in the first block's header, which has a checksum: 4 GiB less a byte.
        let mut file = fs::read(files.path("disk.raw.xz")).unwrap();
        let end = 12 + usize::from(file[12]) * 4;
        file[16] = 40;
        let mut sum = flate2::Crc::new();
        sum.update(&file[12..end]);
        file[end..end + 4].copy_from_slice(&sum.sum().to_le_bytes());
        let said = error(&files.write("disk.xz", file));
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn other_formats_by_qemu_img() {
    let files = Files::new();
    files.write("disk.raw", disk());
    for (options, words) in [
        ("-O vdi", "is a VDI file, which"),
        ("-O vhdx", "is a VHDX file, which"),
        ("-O qed", "is a QED file, which"),
        ("-O parallels", "is a Parallels file, which"),
        ("-O vmdk -o subformat=monolithicFlat", "is a VMDK descriptor, whose data is in other files, which"),
        (
            "-O vmdk -o subformat=twoGbMaxExtentSparse",
            "is a VMDK descriptor, whose data is in other files, which",
        ),
        ("-O qcow2 -o compression_type=zstd", "is a qcow2 file with clusters compressed by zstd, which"),
        ("-O qcow2 -o extended_l2=on", "is a qcow2 file with extended L2 entries, which"),
    ] {
        if !files.run(&format!("qemu-img convert {options} disk.raw disk.other")) {
            return;
        }
        let said = error(&files.path("disk.other"));
        assert!(said.contains(words) && said.contains(": convert it with `qemu-img convert"), "{said}");
    }
}

#[test]
fn features_of_qcow2_that_are_not_read() {
    let files = Files::new();
    files.write("disk.raw", disk());
    if !files.run("qemu-img convert -O qcow2 disk.raw disk.qcow2") {
        return;
    }
    let good = fs::read(files.path("disk.qcow2")).unwrap();
    for (at, byte, words) in [
        (7, 4, "of version 4"),
        (35, 2, "that is encrypted"),
        (79, 1, "that was not closed (it is marked as dirty)"),
        (79, 2, "that is marked as corrupt"),
        (79, 3, "that is marked as corrupt"),
        (79, 0x20, "with unknown features (0x20)"),
    ] {
        let path = files.write("harmed.qcow2", patch(&good, at, &[byte]));
        let said = error(&path);
        let start = format!("{} is a qcow2 file {words}, which cannot be used here: ", path.display());
        assert!(said.starts_with(&start) && said.contains("`qemu-img "), "{said}");
    }
}

#[test]
fn a_differencing_vhd_is_refused() {
    let files = Files::new();
    files.write("disk.raw", disk());
    if !files.run("qemu-img convert -O vpc disk.raw disk.vhd") {
        return;
    }
    let mut file = fs::read(files.path("disk.vhd")).unwrap();
    let last = file.len() - 512;
    for footer in [0, last] {
        file[footer + 63] = 4;
        file[footer + 64..footer + 68].fill(0);
        let sum: u32 = file[footer..footer + 512].iter().map(|byte| u32::from(*byte)).sum();
        file[footer + 64..footer + 68].copy_from_slice(&(!sum).to_be_bytes());
    }
    let said = error(&files.write("disk.vhd", &file));
    assert!(said.contains("holds only what differs from another (a differencing disk), which"), "{said}");
}

#[test]
fn ec2s_own_containers_are_refused_in_words() {
    let files = Files::new();
    let stored = error(&files.write("ami-0123456789abcdef0.bin", [7; 1024]));
    assert!(
        stored.contains("as CreateStoreImageTask stores it, which cannot be used here: only EC2 reads it")
    );
    let manifest =
        "<?xml version=\"1.0\"?>\n<manifest><version>2007-10-10</version><bundler><name>ec2-ami-tools";
    let said = error(&files.write("image.manifest.xml", manifest));
    assert!(
        said.contains("the manifest of an instance-store bundle") && said.contains("ec2-unbundle"),
        "{said}"
    );
    let part = error(&files.write("image.part.00", [7; 1024]));
    assert!(part.contains("a part of an instance-store bundle") && part.contains("ec2-unbundle"), "{part}");
}
