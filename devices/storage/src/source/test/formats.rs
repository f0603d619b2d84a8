//! What qemu-img and the compressors write, byte by byte against the raw disk that they were given.

use super::{Files, SIZE, assert_holds, disk, source};
use crate::source::{Kind, Stream};
use std::fs;

fn convert(options: &[&str]) {
    let (files, disk) = (Files::new(), disk());
    files.write("disk.raw", &disk);
    for (number, options) in options.iter().enumerate() {
        let name = format!("{number}.img");
        if !files.run(&format!("qemu-img convert -f raw {options} disk.raw {name}")) {
            return;
        }
        assert_holds(&files.path(&name), &disk);
        let source = source(&files.path(&name));
        assert_eq!((source.parts().len(), &source.parts()[0].path), (1, &files.path(&name)));
    }
}

#[test]
fn qcow2() {
    convert(&[
        "-O qcow2",
        "-c -O qcow2",
        "-O qcow2 -o compat=0.10",
        "-O qcow2 -o cluster_size=512",
        "-c -O qcow2 -o cluster_size=4k",
        "-O qcow2 -o cluster_size=2M",
        "-c -O qcow2 -o cluster_size=2M",
        "-O qcow2 -o lazy_refcounts=on",
        "-O qcow2 -o refcount_bits=1",
        "-O qcow2 -o refcount_bits=64",
        "-O qcow2 -o preallocation=metadata",
        "-O qcow2 -o preallocation=falloc",
    ]);
}

#[test]
fn vmdk() {
    convert(&[
        "-O vmdk -o subformat=streamOptimized",
        "-O vmdk",
        "-O vmdk -o subformat=monolithicSparse,zeroed_grain=on",
        "-O vmdk -o compat6",
    ]);
}

#[test]
fn vhd() {
    convert(&[
        "-O vpc",
        "-O vpc -o force_size=on",
        "-O vpc -o subformat=fixed",
        "-O vpc -o subformat=fixed,force_size=on",
    ]);
}

#[test]
fn a_vhd_of_exact_size_has_that_size() {
    let files = Files::new();
    files.write("disk.raw", disk());
    for kind in ["fixed", "dynamic"] {
        if !files
            .run(&format!("qemu-img convert -O vpc -o subformat={kind},force_size=on disk.raw {kind}.vhd"))
        {
            return;
        }
        let size = match source(&files.path(&format!("{kind}.vhd"))).kind() {
            Kind::Raw { size, .. } => *size,
            Kind::Blocks(blocks) => blocks.size(),
            Kind::Stream(_) => 0,
        };
        assert_eq!(size, SIZE as u64);
    }
}

#[test]
fn streams() {
    let (files, disk) = (Files::new(), disk());
    files.write("disk.raw", &disk);
    for line in [
        "gzip -k disk.raw",
        "xz -k disk.raw",
        "xz -k -9e -C sha256 -S .best.xz disk.raw",
        "xz -k --block-size=300KiB -S .blocks.xz disk.raw",
        "xz -k -C none -S .unchecked.xz disk.raw",
        "xz -k --x86 --lzma2 -S .x86.xz disk.raw",
        "xz -k --delta=dist=4 --lzma2 -S .delta.xz disk.raw",
        "zstd -q disk.raw",
        "zstd -q -19 --no-check disk.raw -o disk.raw.19.zst",
        "zstd -q --ultra -22 --long=27 disk.raw -o disk.raw.22.zst",
    ] {
        files.run(line);
    }
    let mut names: Vec<_> =
        fs::read_dir(files.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension != "raw"));
    assert!(!names.is_empty());
    for path in names {
        assert_holds(&path, &disk);
        let source = source(&path);
        let Kind::Stream(stream) = source.kind() else { panic!("{} is a stream", path.display()) };
        assert_eq!(Stream::size(stream), None);
    }
}

/// Several files put behind each other, what may lie between them, and what may not lie behind them.
#[test]
fn streams_in_pieces() {
    let (files, disk) = (Files::new(), disk());
    let (front, back) = disk.split_at(1_234_567);
    files.write("front", front);
    files.write("back", back);
    for (tool, end, between, allowed) in [
        ("gzip -k", "gz", &b""[..], &b""[..]),
        ("xz -k", "xz", &[0; 8], &[0; 4]),
        ("zstd -q", "zst", b"\x53\x2a\x4d\x18\x03\0\0\0abc", b"\x50\x2a\x4d\x18\0\0\0\0"),
    ] {
        if !files.run(&format!("{tool} front back")) {
            continue;
        }
        let [one, other] =
            ["front", "back"].map(|name| fs::read(files.path(&format!("{name}.{end}"))).unwrap());
        let whole = files.write("whole", [&one, between, &other, allowed].concat());
        assert_holds(&whole, &disk);
        let said = |bytes: &[u8]| super::error(&files.write("harmed", bytes));
        let garbage = [&one[..], &other, b"garbage that is long enough to be looked at"].concat();
        assert!(said(&garbage).contains("that is damaged: "), "{}", said(&garbage));
        let cut = &[&one[..], &other[..other.len() - 9]].concat();
        assert!(said(cut).contains("it ends too early, so it was cut short"), "{}", said(cut));
        // The last bytes of a frame or member are those of its checksum, or near them.
        let mut wrong = [&one[..], &other].concat();
        let at = wrong.len() - if end == "xz" { 40 } else { 6 };
        wrong[at] ^= 1;
        if end == "zst" {
            let last = wrong.len() - 1;
            wrong[last] ^= 1;
        }
        assert!(said(&wrong).contains("that is damaged: "), "{}", said(&wrong));
    }
}
