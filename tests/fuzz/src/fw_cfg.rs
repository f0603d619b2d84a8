//! fw_cfg: its ports at every width, and DMA descriptors anywhere in guest memory.

use crate::host;
use crate::input::{Input, width};
use ami_run_memory::Gpa;
use ami_run_models::bus::{Access, Device, Width};
use ami_run_models::fw_cfg::{FwCfg, Items};

const RAM: u64 = 0x8000;

/// Each step begins with a byte: 0 reads a port, 1 writes one, 2 puts bytes into memory, 3 puts a descriptor there
/// and rings for it.
pub fn fw_cfg(data: &[u8]) {
    let memory = host::ram(RAM);
    let files = vec![("etc/small".to_owned(), vec![1, 2, 3]), ("etc/large".to_owned(), vec![7; 9000])];
    let device = FwCfg::new(Items::new([(5, vec![2, 0])], files), memory.clone(), None);
    let mut input = Input::new(data);
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let at = Access::new(u64::from(what >> 4), width(what >> 2));
        match what & 3 {
            0 => assert!(device.read(at) <= at.width.ones()),
            1 => {
                device.write(at, input.value(at.width)?);
            }
            // What reaches past the end of memory ends the play.
            2 => {
                let place = Gpa(u64::from(input.word()?));
                memory.write(place, input.bytes(usize::from(what >> 2))?).ok()?;
            }
            _ => {
                let place = input.word()?;
                memory.write(Gpa(u64::from(place)), input.bytes(16)?).ok()?;
                device.write(Access::new(8, Width::Dword), u64::from(u32::from(place).swap_bytes()));
            }
        }
        Some(())
    };
    while step().is_some() {}
    assert_eq!(device.read(Access::new(4, Width::Dword)), 0x554d_4551, "its signature stands");
}
