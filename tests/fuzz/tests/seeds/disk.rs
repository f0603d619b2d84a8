//! Seeds of the disk targets: what differs from a good disk, in the places that a reader goes by.

use crate::Seed;

/// A step: these bytes at this offset of the disk.
pub(crate) fn at(offset: u32, bytes: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = offset.to_le_bytes();
    [&[low, middle, high, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn number(offset: u32, value: u32) -> Vec<u8> {
    at(offset, &value.to_le_bytes())
}

fn numbers(places: &[(u32, u32)]) -> Vec<u8> {
    places.iter().flat_map(|(offset, value)| number(*offset, *value)).collect()
}

/// GPTs begin with 0 (checksums made good) or 2, MBRs with 1.
fn tables() -> Vec<Seed> {
    let with = |first: u8, steps: Vec<u8>| [vec![first], steps].concat();
    let header = numbers(&[(512 + 72, 2), (512 + 80, 128), (512 + 84, 128), (512 + 32, 255), (512 + 24, 1)]);
    let entries =
        [number(1024 + 32, 40), number(1024 + 40, 55), at(1024 + 48, &[4]), number(1024 + 128 + 32, 80)]
            .concat();
    let looped = numbers(&[(60 * 512 + 446 + 16 + 8, 50), (110 * 512 + 446 + 16 + 8, 100)]);
    let first =
        [at(446, &[0x80, 0, 0, 0, 0xee]), number(446 + 8, 1), at(0x180, b"Multiple active partitions")]
            .concat();
    vec![
        ("chain", with(1, looped)),
        ("checksums", with(2, number(512 + 40, 9))),
        ("entries", with(0, entries)),
        ("hybrid", with(0, at(446 + 16, &[0x80, 0, 0, 0, 0x83, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0, 0]))),
        ("header", with(0, header)),
        ("protective", with(1, first)),
    ]
}

/// The builder of the good disk puts inodes of 128 bytes behind five blocks of 1 KiB, and the root is the second.
fn ext() -> Vec<Seed> {
    const SUPERBLOCK: u32 = 1024;
    const INODES: u32 = 5 * 1024;
    let superblock =
        [0x04, 0x14, 0x18, 0x20, 0x28, 0x4c, 0x58, 0x60].map(|field| number(SUPERBLOCK + field, 1));
    let root =
        [number(INODES + 128 + 4, 4096), number(INODES + 128 + 0x34, 0), number(INODES + 128 + 0x38, 2)]
            .concat();
    // Trees of extents: in the root's inode, and in the block behind the inodes, one level each.
    let tree = |node: u32, depth: u8| {
        let header = [0x0a, 0xf3, 2, 0, 4, 0, depth, 0, 0, 0, 0, 0];
        [at(node, &header), numbers(&[(node + 12, 0), (node + 16, 21), (node + 24, 1), (node + 28, 21)])]
            .concat()
    };
    let files: Vec<u8> = (10..16)
        .flat_map(|inode| numbers(&[(INODES + inode * 128 + 4, 3000), (INODES + inode * 128 + 0x20, 0)]))
        .collect();
    let folder = [number(21 * 1024, 12), at(21 * 1024 + 4, &[12, 0, 1, 7, b'a', 0, 0, 0])].concat();
    vec![
        ("files", files),
        ("folder", folder),
        ("root", root),
        ("superblock", superblock.concat()),
        ("tree", [number(INODES + 132, 1 << 20), tree(INODES + 168, 1), tree(21 * 1024, 0)].concat()),
    ]
}

fn fat() -> Vec<Seed> {
    let boot =
        [at(11, &[0, 2, 1, 1, 0, 2]), at(17, &[0, 2, 128, 0]), at(22, &[1, 0]), number(32, 0), number(36, 1)];
    // FAT12's first entries, whichever sector the table is in.
    let chains: Vec<u8> =
        [512, 1024].iter().flat_map(|table| at(*table + 3, &[0x03, 0x20, 0x00, 0x02, 0x30, 0x00])).collect();
    let mut long = vec![0x41];
    long.extend(
        b"b\0o\0o\0t\0.\0"
            .iter()
            .copied()
            .chain([0x0f, 0, 0x77])
            .chain(*b"e\0f\0i\0\0\0\xff\xff\xff\xff\0\0\xff\xff\xff\xff"),
    );
    let entry = [&b"BOOTX64 EFI\x20\x18"[..], &[0; 13], &[2, 0], &[0, 8, 0, 0]].concat();
    let entries =
        [1536, 2048, 4096].iter().flat_map(|folder| [at(*folder, &long), at(*folder + 32, &entry)].concat());
    vec![("boot", boot.concat()), ("chains", chains), ("entries", entries.collect())]
}

fn programs() -> Vec<Seed> {
    let mut plain = vec![0; 0x98];
    plain[..2].copy_from_slice(b"MZ");
    plain[0x3c] = 0x80;
    plain[0x80..0x88].copy_from_slice(b"PE\0\0\x64\x86\x03\0");
    let mut unified = plain.clone();
    for (name, start, length) in
        [(b".linux\0\0", 0x200u32, 8u32), (b".cmdline", 0x220, 20), (b".initrd\0", 0x240, 64)]
    {
        unified.extend(name);
        for value in [length, 0, length, start, 0, 0, 0, 0] {
            unified.extend(value.to_le_bytes());
        }
    }
    unified.resize(0x220, 0);
    unified.extend(b"console=ttyS0 quiet\n");
    unified.resize(0x240, 0);
    unified.extend(archive());
    // A name among the strings at 0x100.
    let mut shim = plain.clone();
    shim[0x86] = 1;
    shim[0x8d] = 1;
    shim.extend(b"/4");
    shim.resize(0x100, 0);
    shim.extend(b"\x11\0\0\0.vendor_cert\0");
    let mut boot = plain.clone();
    boot[0x86] = 2;
    let magic = b"#### LoaderInfo: systemd-boot 252 ####";
    let sbat = b"sbat,1,SBAT Version,sbat,1,x\nsystemd-boot,1,x,systemd,252,x\n";
    for (name, start, length) in [(b".sdmagic", 0x100u32, magic.len()), (b".sbat\0\0\0", 0x140, sbat.len())] {
        let length = u32::try_from(length).unwrap();
        boot.extend(name);
        boot.extend([length, 0, length, start, 0, 0, 0, 0].iter().flat_map(|value| value.to_le_bytes()));
    }
    boot.resize(0x100, 0);
    boot.extend(magic);
    boot.resize(0x140, 0);
    boot.extend(sbat);
    let mut kernel = vec![0; 0x400];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&[0, 1]);
    kernel[0x300..0x305].copy_from_slice(b"6.1.0");
    vec![("boot", boot), ("kernel", kernel), ("plain", plain), ("shim", shim), ("unified", unified)]
}

/// One module, as cpio's new format has it.
fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in [("lib/modules/6.1.0/nvme.ko", &b"x"[..]), ("TRAILER!!!", b"")] {
        let numbers = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        bytes.extend(b"070701");
        bytes.extend(numbers.iter().flat_map(|number| format!("{number:08x}").into_bytes()));
        for part in [[name.as_bytes(), b"\0"].concat(), content.to_vec()] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// `archive` as the tools pack it: `xz --check=crc32`, `zstd -19`.
const XZ: &str = "fd377a585a0000016922de360200210116000000742fe5a3e00107004b5d00180ddd04639c721b76a1c028f1765832e826\
                  82a37f8da11d62b795c0e4cec72e53ac577731ffd0f3195d5251474cf556a9726e0c2f3740e63e7ad841c566f284e5f9b3\
                  cdb4f749ac1f5c000000cc71ffe70001638802000000f19aaa663e300d8b020000000001595a";
const ZSTD: &str = "28b52ffd04687d0200c2830d11907d40a397222ca028ad2b24b866663405eeee0000969642ac3d77df7e6788555bf16184\
                    2270a419de2a9ea46e8c276e9c1f6fde7c09002e211d04c4e349e712089c98495f57a93be10246a1576519";

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn initrds() -> Vec<Seed> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut gzip, &archive()).unwrap();
    let mut early = archive();
    early.resize(512, 0);
    early.extend(bytes(ZSTD));
    vec![
        ("early", early),
        ("gzip", gzip.finish().unwrap()),
        ("plain", archive()),
        ("xz", bytes(XZ)),
        ("zstd", bytes(ZSTD)),
    ]
}

pub(crate) fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("disk_ext", ext()),
        ("disk_fat", fat()),
        ("disk_tables", tables()),
        ("efi_program", programs()),
        ("initrd_archive", initrds()),
    ]
}

/// The packed seeds are what they are said to be.
#[test]
fn packed_seeds_unpack() {
    let whole = ami_run_inspect::initrd::read(&archive()[..]);
    assert_eq!((whole.modules.len(), whole.unread.as_deref()), (1, None));
    for (name, bytes) in initrds() {
        let seen = ami_run_inspect::initrd::read(&bytes[..]);
        assert_eq!((seen.modules, seen.unread), (whole.modules.clone(), None), "{name}");
    }
}
