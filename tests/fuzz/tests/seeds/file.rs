//! Seeds of the disk-file targets: whole compressed disks, and what differs from a good file of another format.

use crate::Seed;
use crate::disk::{at, bytes};

/// A disk of 1 KiB as the tools pack it: `gzip -n`, `xz -9 -C crc32`, `xz -C sha256 --block-size=512 --x86
/// --lzma2=dict=4KiB`, `zstd -19`.
const GZIP: &str = "1f8b08000000000000039b30617800063a006e83d0aaf9475ef21947d42e3afe46d02cba61e9\
    a9f7229671cd2bce7e12b7496c5b7de1ab947d4ae7bacb3f649dd27b365efbade09ad5bfe5e63f658fdc49dbef30aa7917\
    4cdd759f45d3af78c6de47ec3a8165b30f3ce5d20fa99c77f805af5178cdc263f4f0c3281805c8000001a3c13b00040000";
const XZ: &str = "fd377a585a0000016922de36020021011c00000010cf58cce003ff00735d00486f6600dd0ce28f\
    55c9f32187e7d4d6680dcb37835ca5bbf3c61e6648c836a1b6efd276d6ae189b6479f34cfd2100ff6ee01b03c18d86dd99\
    dcce34adc27d32d0c97ae9528bdcf953434a92970adbcb797459c99d6ec9844e523d98f2602e0236ebbed36af823d3b3c3\
    b34e8235cdc52e3000000001a3c13b00018b0180080000f5fe08693e300d8b020000000001595a";
const XZ_BLOCKS: &str = "fd377a585a00000ae1fb0ca10201040021010000da33ad03e001ff006f5d00486f6600\
    dd0ce28f55c9f32187e7d4d6680dcb37835ca5bbf3c61e6648c836a1b6efd276d6ae189b6479f34cfd2100ff6ee01b03c1\
    8d86dd99dcce34adc27d32d0c97ae9528bdcf953434a92970adbcb797459c99d6ec9844e523d98f2602e0236ebbed36af8\
    23d3b3c3b19b49596000007266e8aaa2c83964d251e8a59349a1fd200eeb36010e2721e7197514bd142f10020104002101\
    0000da33ad03e001ff00085d00006ffdfeb35fa80000076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b8\
    9b55f365600002a30180043c8004000000e59be59c133a83d703000000000a595a";
const ZSTD: &str = "28b52ffd640003850300340690000b30557a9fc4e90e33587da2c7ec11365b80a5caef14395e\
    83a8cdf2173c6186abd0f51a3f6489aed3f81d42678cb1d6fb20456a8fb4d9fe23486d92b7dc01264b7095badf04294e73\
    98bde2072c51769bc0e50a2f54799ec3e80d32577ca1c600031000219c2a40ca8894101fa7bf03";

/// A frame of zstd with a window of 1 KiB (RFC 8878 §3.1.1) and these blocks: a kind (0 stored, 1 one byte again and
/// again), a size, and the bytes.
fn frame(blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd\0\0".to_vec();
    for (number, (kind, size, bytes)) in blocks.iter().enumerate() {
        let last = u32::from(number + 1 == blocks.len());
        frame.extend(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend(*bytes);
    }
    frame
}

fn zstd() -> Vec<Seed> {
    let skipped = b"\x5e\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    let frames = [bytes(ZSTD), skipped.clone(), frame(&[(0, 512, &[7; 512])]), skipped];
    let bomb = frame(&[(1, 1000, &[0]), (1, 1024, &[0]), (1, 24, &[0]), (1, 1024, &[0])]);
    vec![("bomb", bomb), ("frames", frames.concat()), ("plain", bytes(ZSTD))]
}

fn gzip() -> Vec<Seed> {
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut stored, &[7; 512]).unwrap();
    let members = [bytes(GZIP), stored.finish().unwrap()].concat();
    let extra =
        [b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03\x02\0abname\0comment\0\0\0".to_vec(), bytes(GZIP)[10..].to_vec()];
    vec![("extra", extra.concat()), ("members", members), ("plain", bytes(GZIP))]
}

fn xz() -> Vec<Seed> {
    let streams = [bytes(XZ), vec![0; 8], bytes(XZ_BLOCKS)].concat();
    vec![("blocks", bytes(XZ_BLOCKS)), ("plain", bytes(XZ)), ("streams", streams)]
}

fn number(offset: u32, value: u32) -> Vec<u8> {
    at(offset, &value.to_be_bytes())
}

/// Clusters have 512 bytes: header, counts, block of counts, first table, two second tables, data.
fn qcow2() -> Vec<Seed> {
    // The name of a backing file, behind the header.
    let backing = |name: &[u8], format: &[u8]| {
        let extension = [&0xe279_2acau32.to_be_bytes()[..], &5u32.to_be_bytes(), format, &[0; 3]].concat();
        [at(104, &extension), at(200, name), number(12, 200), number(16, u32::try_from(name.len()).unwrap())]
            .concat()
    };
    let data = [
        number(76, 4),
        at(104, &[&0x4441_5441u32.to_be_bytes()[..], &4u32.to_be_bytes(), b"base", &[0; 4]].concat()),
    ];
    let tables = [
        number(24 + 4, 32 << 10),
        number(36, 1),
        // The second table is the first's, and a cluster that it says itself is in two places.
        number(1536 + 4, 1536),
        number(2048 + 12, 3584 + 100),
        number(2048 + 24, 0x8000_0000),
        number(2048 + 28, 3072),
    ];
    let lengths =
        [number(20, 21), number(48, 0), number(56, 0), number(96, 6), number(100, 112), number(4, 2)];
    vec![
        ("backing", backing(b"base", b"raw\0\0")),
        ("data", data.concat()),
        ("lengths", lengths.concat()),
        ("loop", backing(b"./disk", b"qcow2")),
        ("outside", backing(b"/etc/shadow", b"raw\0\0")),
        ("tables", tables.concat()),
    ]
}

/// Tables at the end with 0, none with 1, in front of plain grains with 2.
fn vmdk() -> Vec<Seed> {
    let with = |first: u8, steps: &[Vec<u8>]| [vec![first], steps.concat()].concat();
    let little = |offset: u32, value: u32| at(offset, &value.to_le_bytes());
    const FIRST: u32 = 21 * 512;
    vec![
        ("descriptor", with(0, &[at(512 + 60, b"createType=\"monolithicSparse\"\nparentCID=1\n")])),
        ("footer", with(0, &[at(56, &[0; 8]), little(44, 512), little(8, 1)])),
        (
            "grains",
            with(
                1,
                &[little(FIRST, 8), little(FIRST + 8, 9), at(FIRST + 12, &[0x78, 1, 1, 3, 0, 0xfc, 0xff])],
            ),
        ),
        ("markers", with(1, &[little(FIRST, 2), at(FIRST + 8, &[0; 4]), little(FIRST + 12, 3)])),
        ("plain", with(2, &[little(12, 200), little(20, 16), little(8, 5)])),
    ]
}

/// Fixed with 1; checksums are left as they are with 2.
fn vhd() -> Vec<Seed> {
    let with = |first: u8, steps: &[Vec<u8>]| [vec![first], steps.concat()].concat();
    vec![
        (
            "blocks",
            with(0, &[number(1536, 4), number(1540, 4), number(512 + 32, 4 << 20), at(2048, &[0x55])]),
        ),
        ("fixed", with(1, &[number(4096 + 52, 2048), number(4096 + 60, 2)])),
        (
            "header",
            with(0, &[number(512 + 20, 1024), number(512 + 28, 15), number(512 + 32, 8192), number(60, 4)]),
        ),
        ("sums", with(2, &[number(64, 0), number(512 + 36, 0)])),
    ]
}

pub(crate) fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("file_gzip", gzip()),
        ("file_qcow2", qcow2()),
        ("file_vhd", vhd()),
        ("file_vmdk", vmdk()),
        ("file_xz", xz()),
        ("file_zstd", zstd()),
    ]
}
