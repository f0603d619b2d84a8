//! A model of how EDK II keeps variables in flash (`MdeModulePkg`: `Variable/RuntimeDxe`, `FaultTolerantWriteDxe`),
//! on the chip and its log: wherever the log is cut, what firmware finds is the variables before or after the one
//! that was being set.

use super::{Flash, Geometry, Wiring};
use crate::bus::{Access, Width};
use ami_run_storage::flash::records::{Found, Head, replay};
use std::collections::BTreeMap;

const BLOCK: usize = 0x1000;
/// A block each for the variables, the work queue and the spare copy.
const SIZE: usize = 3 * BLOCK;
const WORK: usize = BLOCK;
const SPARE: usize = 2 * BLOCK;

// A variable: 0x55, state, name, size of its data; states lose bits one after the other.
const HEADER: usize = 4;
const HEADER_VALID: u8 = 0x7f;
const ADDED: u8 = 0x3f;
const IN_TRANSITION: u8 = 0xfe;
const DELETED: u8 = 0xfd;

// A record of the work queue.
const ALLOCATED: u8 = 0x7f;
const SPARE_COMPLETE: u8 = 0x3f;
const DESTINATION_COMPLETE: u8 = 0x1f;

type Variables = BTreeMap<u8, Vec<u8>>;

struct Firmware {
    chip: Flash,
    content: Vec<u8>,
    head: Head,
    log: Vec<u8>,
    /// Where each record of the log ends.
    ends: Vec<usize>,
}

impl Firmware {
    /// Starts on this content, and ends what was interrupted.
    fn boot(content: Vec<u8>) -> Firmware {
        let geometry = Geometry::new(Wiring::Byte, u32::try_from(SIZE).unwrap(), 0x1000).unwrap();
        let head = Head::new(&content, 1);
        let log = head.bytes().to_vec();
        let mut firmware =
            Firmware { chip: Flash::new(geometry, false), content, head, ends: vec![log.len()], log };
        let used = firmware.records();
        if used > 0 && firmware.content[WORK + used - 1] == SPARE_COMPLETE {
            firmware.copy_spare(WORK + used - 1);
        }
        firmware
    }

    fn tell(&mut self, at: usize, values: &[u8]) {
        for value in values {
            let effect = self.chip.write(Access::new(at as u64, Width::Byte), u64::from(*value));
            let Firmware { content, head, log, ends, .. } = self;
            let keep = |offset, change: ami_run_storage::flash::Change<'_>| {
                log.extend(head.record(log.len(), offset, change));
                ends.push(log.len());
                Ok(())
            };
            effect.carry_out(content, keep).unwrap();
        }
    }

    fn program(&mut self, at: usize, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            self.tell(at, &[0x10, *byte]);
        }
        self.tell(at, &[0xff]);
        assert_eq!(self.content[at..][..bytes.len()], *bytes, "programmed what was not erased");
    }

    fn erase(&mut self, at: usize) {
        self.tell(at, &[0x20, 0xd0, 0xff]);
    }

    /// Places of all variables' headers, and where the next one goes. One whose header is not valid has no data.
    fn walk(&self) -> (Vec<usize>, usize) {
        let (mut places, mut at) = (vec![], 0);
        while at + HEADER <= BLOCK && self.content[at] == 0x55 {
            places.push(at);
            let len = if self.content[at + 1] == 0xff { 0 } else { usize::from(self.content[at + 3]) };
            at += HEADER + len;
        }
        (places, at)
    }

    /// Places of the variables that count: added, or about to be deleted and nothing added since.
    fn live(&self) -> BTreeMap<u8, usize> {
        let mut live = BTreeMap::new();
        for state in [ADDED & IN_TRANSITION, ADDED] {
            let places = self.walk().0.into_iter().filter(|at| self.content[at + 1] == state);
            live.extend(places.map(|at| (self.content[at + 2], at)));
        }
        live
    }

    fn variable(&self, at: usize) -> &[u8] {
        &self.content[at + HEADER..][..usize::from(self.content[at + 3])]
    }

    fn variables(&self) -> Variables {
        self.live().into_iter().map(|(name, at)| (name, self.variable(at).to_vec())).collect()
    }

    fn set(&mut self, name: u8, data: &[u8]) {
        if self.walk().1 + HEADER + data.len() > BLOCK {
            self.reclaim();
        }
        let at = self.walk().1;
        let old = self.live().get(&name).copied();
        if let Some(old) = old {
            self.program(old + 1, &[self.content[old + 1] & IN_TRANSITION]);
        }
        self.program(at, &[0x55, 0xff, name, u8::try_from(data.len()).unwrap()]);
        self.program(at + 1, &[HEADER_VALID]);
        self.program(at + HEADER, data);
        self.program(at + 1, &[ADDED]);
        if let Some(old) = old {
            self.program(old + 1, &[self.content[old + 1] & DELETED]);
        }
    }

    fn records(&self) -> usize {
        self.content[WORK..SPARE].iter().take_while(|state| **state != 0xff).count()
    }

    /// Writes the variables that count anew, by the spare block.
    fn reclaim(&mut self) {
        let mut area = vec![];
        for (name, data) in self.variables() {
            area.extend([0x55, ADDED, name, u8::try_from(data.len()).unwrap()]);
            area.extend(data);
        }
        let record = WORK + self.records();
        self.program(record, &[ALLOCATED]);
        self.erase(SPARE);
        self.program(SPARE, &area);
        self.program(record, &[SPARE_COMPLETE]);
        self.copy_spare(record);
    }

    fn copy_spare(&mut self, record: usize) {
        let area = self.content[SPARE..].to_vec();
        self.erase(0);
        self.program(0, &area);
        self.program(record, &[DESTINATION_COMPLETE]);
    }
}

/// What the log leaves when it is cut here.
fn cut(image: &[u8], log: &[u8], at: usize) -> Vec<u8> {
    let mut content = image.to_vec();
    assert!(matches!(replay(&log[..at], &mut content), Found::Log { good, .. } if good == at));
    content
}

#[test]
fn wherever_the_log_is_cut_firmware_finds_the_variables_before_or_after() {
    // Almost full, of variables that were deleted long ago.
    let mut full = vec![0xff; SIZE];
    for variable in full[..BLOCK].chunks_exact_mut(HEADER + 255) {
        variable.fill(0);
        variable[..HEADER].copy_from_slice(&[0x55, ADDED & IN_TRANSITION & DELETED, 9, 255]);
    }
    let mut firmware = Firmware::boot(full.clone());
    // How long the log was before each variable was set, and what there was.
    let mut history = vec![(firmware.log.len(), Variables::new())];
    for round in 0u8..20 {
        let data = vec![round; usize::from(round) % 7 * 10 + 1];
        firmware.set(round % 4, &data);
        let mut expected = history.last().unwrap().1.clone();
        expected.insert(round % 4, data);
        assert_eq!(firmware.variables(), expected);
        history.push((firmware.log.len(), expected));
    }
    assert!(firmware.records() >= 1, "nothing was reclaimed");
    let mut interrupted = 0;
    for at in &firmware.ends {
        let before = history.iter().rposition(|(end, _)| end <= at).unwrap();
        let good = &history[before..history.len().min(before + 2)];
        let content = cut(&full, &firmware.log, *at);
        let again = Firmware::boot(content.clone());
        assert!(good.iter().any(|(_, variables)| *variables == again.variables()), "cut at {at}");
        // And when the power goes again while firmware ends what was interrupted.
        if again.ends.len() > 1 && interrupted < 8 {
            interrupted += 1;
            for end in &again.ends {
                let content = cut(&content, &again.log, *end);
                assert_eq!(Firmware::boot(content).variables(), again.variables());
            }
        }
    }
    assert!(interrupted > 0, "no copy was interrupted");
}
