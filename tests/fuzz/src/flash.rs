//! The flash of UEFI firmware: what a guest tells the chip, and the log of what it wrote, damaged.

use crate::input::{Input, width};
use ami_run_models::bus::Access;
use ami_run_models::flash::{Effect, Flash, Geometry, Reads, Wiring};
use ami_run_storage::flash::Change;
use ami_run_storage::flash::records::{Found, Head, replay};

const SIZE: usize = 0x2000;
const BLOCK: u32 = 0x1000;

/// The first byte of a play chooses wiring and protection. Each step begins with a byte and an offset: 0 reads, 1 writes
/// at any width, 2 tells the chips a command or a word at theirs, 3 lets the next change fail, or resets.
pub fn flash_commands(data: &[u8]) {
    commands(data);
}

/// Returns how many changes were kept.
fn commands(data: &[u8]) -> Option<usize> {
    let mut input = Input::new(data);
    let first = input.byte()?;
    let wiring = if first & 1 == 0 { Wiring::Byte } else { Wiring::Pair };
    let is_protected = first & 2 != 0;
    let size = u32::try_from(SIZE).expect("a small flash");
    let mut chip = Flash::new(Geometry::new(wiring, size, BLOCK).expect("a chip"), is_protected);
    let mut content = vec![0xa5; SIZE];
    let (head, mut image) = (Head::new(&content, 1), content.clone());
    let (mut log, mut kept, mut fails) = (head.bytes().to_vec(), 0, false);
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let offset = u64::from(input.word()? & 0x3fff);
        let (at, value) = match what & 3 {
            0 => {
                let at = Access::new(offset, width(what >> 2));
                let value = chip.read(at);
                assert_eq!(value.is_none(), chip.reads() == Reads::Array);
                assert!(value.is_none_or(|value| value <= at.width.ones()));
                if let Some(value) = value
                    && told(wiring, at, value) != Told::No
                {
                    let halves = [value & 0xffff, value >> 16];
                    let agree = wiring == Wiring::Byte || halves[0] == halves[1];
                    assert!(agree && halves[0] <= 0xff, "two chips that are told the same say the same");
                }
                return Some(());
            }
            1 => {
                let at = Access::new(offset, width(what >> 2));
                (at, input.value(at.width)?)
            }
            2 => {
                let told = u64::from(input.byte()?);
                (Access::new(offset, width(if wiring == Wiring::Byte { 0 } else { 2 })), told << 16 | told)
            }
            _ => {
                fails = what & 4 != 0;
                if !fails {
                    chip.reset();
                    assert_eq!(chip.reads(), Reads::Array);
                }
                return Some(());
            }
        };
        let state = chip.reads();
        let effect = chip.write(at, value);
        assert!(!is_protected || effect == Effect::None);
        let kind = told(wiring, at, value);
        let is_nothing = kind == Told::No || kind == Told::Apart && state == Reads::Array;
        assert!(!is_nothing || effect == Effect::None && chip.reads() == state, "no command");
        let before = fails.then(|| content.clone());
        let mut asked = false;
        let done = effect.carry_out(&mut content, |offset, change| {
            asked = true;
            if fails {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            log.extend(head.record(log.len(), offset, change));
            kept += 1;
            Ok(())
        });
        assert_eq!(done.is_err(), asked && fails, "an effect outside the flash");
        if done.is_err() {
            chip.fail(&effect);
            assert!(before.is_some_and(|before| before == content), "seen, and not kept");
            fails = false;
        }
        Some(())
    };
    while step().is_some() {}
    assert_eq!(replay(&log, &mut image), Found::Log { head, good: log.len() });
    assert!(image == content, "the log is not what happened");
    Some(kept)
}

#[derive(PartialEq)]
enum Told {
    /// All chips the same.
    Same,
    /// Each chip something else.
    Apart,
    /// Not an access to a whole word of the flash.
    No,
}

/// What chips are told by such an access.
fn told(wiring: Wiring, at: Access, value: u64) -> Told {
    let len = if wiring == Wiring::Byte { 1 } else { 4 };
    let size = u64::try_from(SIZE).expect("a small flash");
    if u64::from(at.width.bytes()) != len || !at.offset.is_multiple_of(len) || at.offset >= size {
        Told::No
    } else if len == 1 || value & 0xff == value >> 16 & 0xff {
        Told::Same
    } else {
        Told::Apart
    }
}

/// The bytes as what lies behind an image; and a log made of them, cut and damaged: its first bytes say at which byte it
/// is cut, at which one is changed and how, and each step is a change, of bytes or of an erasure.
pub fn flash_log(data: &[u8]) {
    let mut image = vec![0; SIZE];
    if !matches!(replay(data, &mut image), Found::Log { .. }) {
        assert!(image.iter().all(|byte| *byte == 0));
    }
    log(data);
}

/// Returns how many changes were there, and how many were left.
fn log(data: &[u8]) -> Option<[usize; 2]> {
    let mut input = Input::new(data);
    let (cut, place, mask) = (input.word()?, input.word()?, input.byte()?);
    let image = vec![0; SIZE];
    let head = Head::new(&image, u64::from(place));
    let (mut log, mut changes, mut ends) = (head.bytes().to_vec(), vec![], vec![head.bytes().len()]);
    let mut step = || -> Option<()> {
        let (len, offset) = (input.byte()?, input.word()? & 0x3fff);
        let change = match len {
            0 => Change::Erased(input.word()?.into()),
            _ => Change::Bytes(input.bytes(len.into())?),
        };
        log.extend(head.record(log.len(), offset.into(), change));
        changes.push((usize::from(offset), change));
        ends.push(log.len());
        Some(())
    };
    while step().is_some() {}
    let mut whole = usize::from(cut).min(log.len());
    log.truncate(whole);
    if let Some(byte) = log.get_mut(usize::from(place)).filter(|_| mask != 0) {
        *byte ^= mask;
        whole = place.into();
    }
    let (mut expected, mut left) = (image.clone(), 0);
    for ((offset, change), end) in changes.iter().zip(&ends[1..]) {
        let (bytes, len) = match change {
            Change::Bytes(bytes) => (Some(bytes), bytes.len()),
            Change::Erased(len) => (None, usize::try_from(*len).expect("at most 64 KiB")),
        };
        // A record whose place is outside the flash ends the log as one that is damaged.
        let Some(target) = expected.get_mut(*offset..offset + len).filter(|_| *end <= whole) else { break };
        match bytes {
            Some(bytes) => target.copy_from_slice(bytes),
            None => target.fill(0xff),
        }
        left += 1;
    }
    let mut found = image;
    match replay(&log, &mut found) {
        Found::Log { head: same, good } => assert!(same == head && good == ends[left]),
        _ => assert!(whole < ends[0], "the head is whole"),
    }
    assert!(found == expected, "not a prefix of what was written");
    Some([changes.len(), left])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn the_corpus_changes_the_flash() {
        for (name, kept) in [("ovmf", 4), ("aavmf", 3), ("apart", 2), ("protected", 0), ("full", 1)] {
            assert_eq!(commands(&seed(&format!("flash_commands/{name}"))), Some(kept), "{name}");
        }
    }

    #[test]
    fn the_corpus_leaves_prefixes() {
        for (name, counts) in [("whole", [3, 3]), ("cut", [3, 1]), ("damaged", [3, 2]), ("outside", [3, 1])] {
            assert_eq!(log(&seed(&format!("flash_log/{name}"))), Some(counts), "{name}");
        }
    }
}
