//! Files that were cut, or changed, or that lie about how large they are.

use super::maker::{End, Shape, vmdk};
use super::{Files, disk, error, open, read};
use std::fs;

fn whole_vmdk(end: End) -> Vec<u8> {
    vmdk(&disk(), Shape { grain: 64 << 10, entries: 512, end })
}

/// Every format by another tool, and what it is named.
fn all(files: &Files) -> Vec<(&'static str, Vec<u8>)> {
    files.write("disk.raw", disk());
    let mut found = vec![("footer.vmdk", whole_vmdk(End::Footer)), ("bare.vmdk", whole_vmdk(End::Bare))];
    for (line, name) in [
        ("qemu-img convert -O qcow2 disk.raw plain.qcow2", "plain.qcow2"),
        ("qemu-img convert -c -O qcow2 disk.raw packed.qcow2", "packed.qcow2"),
        ("qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw stream.vmdk", "stream.vmdk"),
        ("qemu-img convert -O vmdk disk.raw sparse.vmdk", "sparse.vmdk"),
        ("qemu-img convert -O vpc disk.raw dynamic.vhd", "dynamic.vhd"),
        ("gzip -k disk.raw", "disk.raw.gz"),
        ("xz -k disk.raw", "disk.raw.xz"),
        ("zstd -q disk.raw", "disk.raw.zst"),
    ] {
        if files.run(line) {
            found.push((name, fs::read(files.path(name)).unwrap()));
        }
    }
    found
}

/// The disk, and zeroes up to the next cylinder.
fn is_disk(found: &[u8]) -> bool {
    let disk = disk();
    found.starts_with(&disk) && found[disk.len()..].iter().all(|byte| *byte == 0)
}

/// A download that stopped: an error that names the file, at once or when what is missing is read; never another
/// disk.
#[test]
fn files_that_were_cut_short() {
    let files = Files::new();
    for (name, whole) in all(&files) {
        let half = whole.len() / 2;
        for cut in [1, 300, 512, 513, 4096, 65536, 100_000, half, whole.len() - 5000, whole.len() - 100] {
            let path = files.write(name, &whole[..whole.len() - cut]);
            let said = match open(&path).map(|source| read(&source)) {
                Ok(Ok(found)) => {
                    // What is missing then is padding.
                    assert!(is_disk(&found), "{name} less {cut}: read as another disk");
                    continue;
                }
                Ok(Err(said)) => said,
                Err(error) => error.to_string(),
            };
            assert!(said.starts_with(path.to_str().unwrap()), "{name} less {cut}: {said}");
            assert!(!said.contains("cannot be used"), "{name} less {cut}: {said}");
        }
    }
}

/// One bit anywhere: an error that names the file, or a disk; and where a format has checksums, the right disk.
#[test]
fn files_of_which_a_bit_changed() {
    let files = Files::new();
    let mut random = super::Random(11);
    for (name, whole) in all(&files) {
        for _ in 0..12 {
            let mut harmed = whole.clone();
            // Where headers and tables are, every other time.
            let below = if random.next() & 1 == 0 { harmed.len() } else { 2048 };
            let at = random.next() as usize % below;
            harmed[at] ^= 1 << (random.next() & 7);
            let path = files.write(name, &harmed);
            let checked = ["gz", "xz", "zst"].iter().any(|end| name.ends_with(end));
            match open(&path).map(|source| read(&source)) {
                Ok(Ok(found)) => assert!(!checked || is_disk(&found), "{name} with byte {at} changed"),
                Ok(Err(said)) => assert!(said.starts_with(path.to_str().unwrap()), "{name}: {said}"),
                Err(error) => {
                    assert!(error.to_string().starts_with(path.to_str().unwrap()), "{name}: {error}");
                }
            }
        }
    }
}

/// Puts a number into a header.
fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn absurd_sizes() {
    let files = Files::new();
    for (name, whole) in all(&files) {
        let lies: &[(usize, &[u8], &str)] = match name {
            "plain.qcow2" => &[
                (24, &[0xff; 8], "and a volume has 64 TiB at most"),
                (24, &[0; 8], "the disk has no bytes"),
                (24, &[0, 0, 0, 0, 0, 0, 1, 1], "not a multiple of 512"),
                (24, &[0, 0, 0x40, 0, 0, 0, 0, 0], "its first table has 1 entries, its disk takes 131072"),
                (36, &[0xff; 4], "its first table at 196608 has 34359738360 bytes, the file"),
                (40, &[0xff; 8], "its first table at"),
                (20, &[0, 0, 0, 8], "its header says clusters of 2^8 bytes"),
                (20, &[0, 0, 0, 63], "its header says clusters of 2^63 bytes"),
                (20, &[0xff; 4], "its header says clusters of 2^4294967295 bytes"),
                (48, &[0xff; 8], "its table of counts is past its end, so it was cut short"),
                (56, &[0xff; 4], "its table of counts is past its end, so it was cut short"),
                (96, &[0xff; 4], "its header says counts of 2^4294967295 bits"),
                (8, &[0, 0, 0, 0, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff], "the name of its backing file has"),
                (100, &[0xff; 4], "it may have been cut short"),
            ],
            "stream.vmdk" | "footer.vmdk" => &[
                (12, &[0xff; 8], "and a volume has 64 TiB at most"),
                (12, &[0; 8], "the disk has no bytes"),
                (20, &[0xff; 8], "its header says grains of"),
                (20, &[0; 8], "its header says grains of 0 sectors"),
                (20, &[0, 0, 0, 0, 0, 0, 0, 0x80], "its header says grains of 9223372036854775808 sectors"),
                (44, &[0xff; 4], "its header says grain tables of 4294967295 entries"),
                (44, &[0; 4], "its header says grain tables of 0 entries"),
                (73, b"\n\r\n\n", "its line ends were changed on the way here"),
            ],
            _ => continue,
        };
        for (at, bytes, words) in lies {
            let said = error(&files.write(name, with(&whole, *at, bytes)));
            assert!(said.contains(words), "{name} at {at}: {said}");
        }
    }
}

#[test]
fn vhds_whose_footers_are_wrong() {
    let files = Files::new();
    files.write("disk.raw", disk());
    if !files.run("qemu-img convert -O vpc disk.raw dynamic.vhd")
        || !files.run("qemu-img convert -O vpc -o subformat=fixed,force_size=on disk.raw fixed.vhd")
    {
        return;
    }
    let [dynamic, fixed] = ["dynamic.vhd", "fixed.vhd"].map(|name| fs::read(files.path(name)).unwrap());
    let said = |bytes: &[u8]| error(&files.write("harmed.vhd", bytes));
    let end = fixed.len() - 512;
    assert!(
        said(&with(&fixed, end + 40, &[1]))
            .contains(&format!("the checksum of its footer at {end} is wrong"))
    );
    assert!(said(&with(&dynamic, 40, &[1])).contains("the checksum of its footer at 0 is wrong"));
    let end = dynamic.len() - 512;
    assert!(
        said(&with(&dynamic, end + 40, &[1]))
            .contains(&format!("the checksum of its footer at {end} is wrong"))
    );
    assert!(said(&with(&dynamic, 512 + 20, &[1])).contains("the checksum of its header at 512 is wrong"));
    assert!(said(&[&dynamic[..], b"more"].concat()).contains("it does not end in a VHD's footer"));
    assert!(
        said(&fixed[1 << 20..]).contains("it should hold 5244416 bytes and has 4195840 before its footer")
    );
    // Old footers lack their last byte.
    let short = files.write("short.vhd", &fixed[..fixed.len() - 1]);
    super::assert_holds(&short, &disk());
    let short = files.write("short.vhd", &dynamic[..dynamic.len() - 1]);
    super::assert_holds(&short, &disk());
}

/// A stream that unpacks to far more than it is: it ends where whoever takes it in says so, in bounded memory.
#[test]
fn a_bomb_ends_where_the_sink_says() {
    let files = Files::new();
    let zeroes = files.path("zeroes");
    fs::File::create(&zeroes).unwrap().set_len(256 << 20).unwrap();
    for (line, name) in [("zstd -q zeroes", "zeroes.zst"), ("gzip -1k zeroes", "zeroes.gz")] {
        if !files.run(line) {
            continue;
        }
        let source = super::source(&files.path(name));
        let super::Kind::Stream(stream) = source.kind() else { panic!("a stream") };
        let mut pieces = 0;
        let gave_up = stream.decode(&mut |piece| {
            assert!(piece.bytes.is_empty());
            pieces += 1;
            if piece.offset >= 64 << 20 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        assert!(gave_up.is_err() && pieces == 129, "{pieces}");
    }
}
