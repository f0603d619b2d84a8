//! A device as a power cut leaves it.

use super::log::Entry;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// What is on the medium, without blocks of zeroes.
pub(super) struct Disk {
    blocks: BTreeMap<u64, [u8; BLOCK]>,
    size: u64,
}

impl Disk {
    pub(super) fn of(path: &Path) -> Disk {
        let mut file = File::open(path).unwrap();
        let mut disk = Disk { blocks: BTreeMap::new(), size: file.metadata().unwrap().len() };
        let mut block = [0; BLOCK];
        for number in 0..disk.size / BLOCK as u64 {
            file.read_exact(&mut block).unwrap();
            if block != [0; BLOCK] {
                disk.blocks.insert(number, block);
            }
        }
        disk
    }

    /// Does what a log's entry says.
    pub(super) fn apply(&mut self, entry: &Entry, log: &File) {
        match entry {
            Entry::Write { offset, len, data, .. } => {
                for at in (0..*len).step_by(SECTOR) {
                    log.read_exact_at(self.sector(offset + at), data + at).unwrap();
                }
            }
            Entry::Discard { offset, len } => {
                for at in (0..*len).step_by(SECTOR) {
                    self.sector(offset + at).fill(0);
                }
            }
            Entry::Mark(_) => {}
        }
    }

    fn sector(&mut self, offset: u64) -> &mut [u8] {
        let block = self.blocks.entry(offset / BLOCK as u64).or_insert([0; BLOCK]);
        let at = usize::try_from(offset).unwrap() % BLOCK;
        &mut block[at..at + SECTOR]
    }

    /// Writes it to a new file, and over it some of the sectors of later entries: bit n of the number stands for
    /// every sector whose place in its entry is n modulo 64.
    pub(super) fn write(&self, to: &Path, later: &[(&Entry, u64)], log: &File) {
        let file = File::create(to).unwrap();
        file.set_len(self.size).unwrap();
        for (number, block) in &self.blocks {
            file.write_all_at(block, number * BLOCK as u64).unwrap();
        }
        let mut bytes = [0; SECTOR];
        for (entry, sectors) in later {
            let Entry::Write { offset, len, data, .. } = entry else { continue };
            for (number, at) in (0..*len).step_by(SECTOR).enumerate() {
                if sectors >> (number % 64) & 1 == 1 {
                    log.read_exact_at(&mut bytes, data + at).unwrap();
                    file.write_all_at(&bytes, offset + at).unwrap();
                }
            }
        }
    }
}
