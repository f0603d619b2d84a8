//! The chip as OVMF and AAVMF drive it, and what they never do.

use super::spec::{Geometry, Wiring};
use super::{Effect, Flash, Reads};
use crate::bus::{Access, Width};
use ami_run_storage::flash::Change;
use std::io;

struct Rig {
    chip: Flash,
    content: Vec<u8>,
    width: Width,
    /// What was to be kept.
    kept: Vec<(u32, usize)>,
}

impl Rig {
    fn x86(is_protected: bool) -> Rig {
        Rig::new(Geometry::new(Wiring::Byte, 0x3000, 0x1000).unwrap(), Width::Byte, is_protected)
    }

    fn arm() -> Rig {
        Rig::new(Geometry::new(Wiring::Pair, 0x8_0000, 0x4_0000).unwrap(), Width::Dword, false)
    }

    fn new(geometry: Geometry, width: Width, is_protected: bool) -> Rig {
        let content = vec![0xff; geometry.size as usize];
        Rig { chip: Flash::new(geometry, is_protected), content, width, kept: vec![] }
    }

    fn write(&mut self, offset: u64, values: &[u64]) {
        for value in values {
            let effect = self.chip.write(Access::new(offset, self.width), *value);
            let kept = &mut self.kept;
            let keep = |offset, change: Change<'_>| {
                kept.push((
                    offset,
                    match change {
                        Change::Bytes(bytes) => bytes.len(),
                        Change::Erased(len) => len as usize,
                    },
                ));
                Ok(())
            };
            effect.carry_out(&mut self.content, keep).unwrap();
        }
    }

    /// Both chips are told this.
    fn tell(&mut self, offset: u64, commands: &[u64]) {
        for command in commands {
            self.write(offset, &[command << 16 | command]);
        }
    }

    fn read(&self, offset: u64) -> u64 {
        let content = |offset: u64| {
            let offset = usize::try_from(offset).unwrap();
            crate::bus::little_endian(&self.content[offset..offset + usize::from(self.width.bytes())])
        };
        self.chip.read(Access::new(offset, self.width)).unwrap_or_else(|| content(offset))
    }
}

#[test]
fn ovmf_sees_that_it_is_flash_and_whether_it_is_protected() {
    for (is_protected, expected) in [(false, 0x80), (true, 0x92)] {
        let mut rig = Rig::x86(is_protected);
        rig.content[0x10] = 0xa5;
        // QemuFlashDetected: not RAM, as 0x50 does not read back; not ROM, as the status is not the byte.
        rig.write(0x10, &[0x50]);
        assert_eq!((rig.read(0x10), rig.chip.reads()), (0xa5, Reads::Array));
        rig.write(0x10, &[0x70]);
        assert_eq!((rig.read(0x10), rig.chip.reads()), (0, Reads::Register));
        rig.write(0x10, &[0x10, 0xa5]);
        assert_eq!(rig.chip.reads(), Reads::Progress);
        rig.write(0x10, &[0x70]);
        assert_eq!(rig.read(0x10), expected);
        rig.write(0x10, &[0xff]);
        assert_eq!((rig.read(0x10), rig.chip.reads()), (0xa5, Reads::Array));
        assert_eq!(rig.kept, [], "nothing has changed");
    }
}

#[test]
fn bytes_lose_bits_and_blocks_get_them_back() {
    let mut rig = Rig::x86(false);
    rig.write(0x1ffe, &[0x10, 0xf0]);
    rig.write(0x1ffe, &[0x40, 0x3c]);
    rig.write(0x2000, &[0x10, 0x00]);
    assert_eq!(rig.content[0x1ffd..0x2001], [0xff, 0x30, 0xff, 0]);
    rig.write(0x1234, &[0x20, 0xd0]);
    assert_eq!(rig.content[0x1ffd..0x2001], [0xff, 0xff, 0xff, 0]);
    assert_eq!(rig.read(0), 0x80);
    assert_eq!(rig.kept, [(0x1ffe, 1), (0x1ffe, 1), (0x2000, 1), (0x1000, 0x1000)]);
}

#[test]
fn a_protected_chip_keeps_its_bytes_and_says_so() {
    let mut rig = Rig::x86(true);
    rig.write(0x10, &[0x10, 0x00]);
    assert_eq!(rig.read(0x10), 0x92, "a program's error");
    rig.write(0x10, &[0x50, 0x20, 0xd0]);
    assert_eq!(rig.read(0x10), 0xa2, "an erasure's");
    rig.write(0x10, &[0x50, 0xe8, 0, 0, 0xd0]);
    assert_eq!(rig.read(0x10), 0x92);
    assert!(rig.content.iter().all(|byte| *byte == 0xff) && rig.kept.is_empty());
}

#[test]
fn aavmf_writes_a_buffer_on_both_chips() {
    let mut rig = Rig::arm();
    let block = 0x4_0000;
    // Lock status, unlocking all the same, clearing the status.
    rig.tell(block, &[0x90]);
    assert_eq!((rig.read(block), rig.read(block + 4), rig.read(block + 8)), (0x0089_0089, 0x0018_0018, 0));
    rig.tell(block, &[0x60, 0xd0]);
    assert_eq!(rig.read(block), 0x0080_0080);
    rig.tell(block, &[0x50, 0xe8]);
    assert_eq!(rig.read(block), 0x0080_0080, "a buffer is there");
    rig.tell(block, &[31]);
    for word in 0..32 {
        rig.write(block + 0x80 + word * 4, &[0xff00_0000 | word << 8]);
    }
    assert!(rig.kept.is_empty(), "not yet confirmed");
    rig.tell(block, &[0xd0]);
    assert_eq!((rig.read(block), rig.chip.reads()), (0x0080_0080, Reads::Progress));
    rig.tell(block, &[0x70]);
    assert_eq!(rig.read(block + 4), 0x0080_0080);
    rig.tell(block, &[0xff]);
    assert_eq!((rig.read(block + 0x7c), rig.read(block + 0xfc)), (0xffff_ffff, 0xff00_1f00));
    // A word by itself, and the block's erasure.
    rig.write(block + 0x80, &[0x0040_0040, 0x1234_5678]);
    rig.tell(block, &[0xff]);
    assert_eq!(rig.read(block + 0x80), 0x1200_0000);
    rig.tell(block + 0x100, &[0x20, 0xd0, 0xff]);
    assert!(rig.content.iter().all(|byte| *byte == 0xff));
    assert_eq!(rig.kept, [(0x4_0080, 128), (0x4_0080, 4), (0x4_0000, 0x4_0000)]);
}

#[test]
fn a_buffer_takes_only_some_words_and_leaves_what_is_between() {
    let mut rig = Rig::arm();
    rig.tell(0x100, &[0xe8, 1]);
    rig.write(0x104, &[0x1111_1111]);
    rig.write(0x17c, &[0x2222_2222]);
    rig.tell(0x100, &[0xd0, 0xff]);
    assert_eq!(
        [0x100, 0x104, 0x108, 0x17c].map(|at| rig.read(at)),
        [0xffff_ffff, 0x1111_1111, 0xffff_ffff, 0x2222_2222]
    );
}

/// As EDK II's driver for Arm does it: in each block but the first.
#[test]
fn a_buffer_is_confirmed_at_the_chip_s_first_address() {
    let mut rig = Rig::arm();
    let block = 0x4_0000;
    rig.tell(block, &[0xe8]);
    assert_eq!(rig.read(block), 0x0080_0080);
    rig.tell(block, &[0]);
    rig.write(block, &[0x5aa5_1234]);
    rig.tell(0, &[0xd0, 0x70]);
    assert_eq!(rig.read(0), 0x0080_0080);
    rig.tell(0, &[0xff]);
    assert_eq!((rig.read(block), rig.read(0)), (0x5aa5_1234, 0xffff_ffff));
}

#[test]
fn what_is_no_sequence_changes_nothing_and_says_so() {
    let cases: [&[(u64, u64)]; 6] = [
        &[(0, 0x20), (0, 0xff)],
        &[(0, 0x60), (0, 0x01)],
        // Too many words; words across windows; a word too many; another command.
        &[(0, 0xe8), (0, 128)],
        &[(0x7f, 0xe8), (0x7f, 1), (0x7f, 0), (0x80, 0)],
        &[(0, 0xe8), (0, 0), (0, 0), (1, 0)],
        &[(0, 0xe8), (0, 0), (0, 0), (0x1000, 0x70)],
    ];
    for steps in cases {
        let mut rig = Rig::x86(false);
        for (offset, value) in steps {
            rig.write(*offset, &[*value]);
        }
        assert_eq!((rig.read(0), rig.kept.len()), (0xb0, 0), "{steps:x?}");
        rig.write(0, &[0xff]);
        assert_eq!(rig.chip.reads(), Reads::Array);
    }
    let mut rig = Rig::arm();
    rig.tell(0, &[0xe8, 32]);
    assert_eq!(rig.read(0), 0x00b0_00b0);
    // The chips are told different things.
    rig.write(0, &[0x0070_0090]);
    assert_eq!(rig.chip.reads(), Reads::Array);
}

#[test]
fn an_access_that_is_no_word_of_the_bus_is_no_command() {
    let mut rig = Rig::arm();
    for (offset, width) in [(0, Width::Byte), (0, Width::Qword), (2, Width::Dword), (0x8_0000, Width::Dword)]
    {
        assert_eq!(rig.chip.write(Access::new(offset, width), 0x0070_0070), Effect::None);
        assert_eq!(rig.chip.reads(), Reads::Array);
    }
    // But a register reads at any width.
    rig.tell(0, &[0x70]);
    for (offset, width, value) in [
        (0, Width::Byte, 0x80),
        (1, Width::Byte, 0),
        (2, Width::Word, 0x80),
        (4, Width::Qword, 0x0080_0080_0080_0080),
    ] {
        assert_eq!(rig.chip.read(Access::new(offset, width)), Some(value));
    }
}

#[test]
fn the_query_tells_size_and_blocks() {
    let query = |rig: &mut Rig, words: std::ops::Range<u64>, bus: u64| -> Vec<u64> {
        rig.tell(0x55 * bus, &[0x98]);
        words.map(|word| rig.read(word * bus) & 0xffff).collect()
    };
    let mut rig = Rig::x86(false);
    assert_eq!(query(&mut rig, 0x10..0x15, 1), [0x51, 0x52, 0x59, 1, 0]);
    // 2^14 bytes hold it; 8 lines; a buffer of 2^7 bytes; one region of 2 + 1 blocks of 16 * 256 bytes.
    assert_eq!(query(&mut rig, 0x27..0x31, 1), [14, 0, 0, 7, 0, 1, 2, 0, 16, 0]);
    let mut rig = Rig::arm();
    // Each chip has half: 2^18 bytes, blocks of 512 * 256.
    assert_eq!(query(&mut rig, 0x27..0x34, 4), [18, 1, 0, 6, 0, 1, 1, 0, 0, 2, 0x50, 0x52, 0x49]);
}

#[test]
fn reset_forgets_everything_but_the_bytes() {
    for commands in [&[0x10][..], &[0x20], &[0xe8, 3, 0], &[0x70], &[0x90], &[0x50]] {
        let mut rig = Rig::x86(false);
        rig.write(7, &[0x10, 0x55]);
        rig.write(0, commands);
        rig.chip.reset();
        assert_eq!((rig.chip.reads(), rig.read(7)), (Reads::Array, 0x55));
        rig.write(0, &[0x70]);
        assert_eq!(rig.read(0), 0x80);
    }
}

#[test]
fn what_cannot_be_kept_is_an_error_and_is_not_seen() {
    for (commands, expected) in [([0x10, 0], 0x90), ([0x20, 0xd0], 0xa0)] {
        let mut rig = Rig::x86(false);
        rig.content[0] = 0x0f;
        let at = Access::new(0, Width::Byte);
        assert_eq!(rig.chip.write(at, commands[0]), Effect::None);
        let effect = rig.chip.write(at, commands[1]);
        let full = |_: u32, _: Change<'_>| Err(io::ErrorKind::StorageFull.into());
        effect.carry_out(&mut rig.content, full).unwrap_err();
        rig.chip.fail(&effect);
        assert_eq!((rig.read(0), rig.content[0]), (expected, 0x0f));
    }
}

#[test]
fn no_chip_is_odd() {
    for (size, block) in
        [(0, 0x1000), (0x1800, 0x1000), (0x3000, 0x3000), (0x1000, 64), (0x4000_0000, 0x1000)]
    {
        assert_eq!(Geometry::new(Wiring::Byte, size, block), None);
    }
    assert!(Geometry::new(Wiring::Byte, 0x8_4000, 0x1000).is_some(), "OVMF's variables");
    assert!(Geometry::new(Wiring::Pair, 0x400_0000, 0x4_0000).is_some(), "AAVMF's");
}
