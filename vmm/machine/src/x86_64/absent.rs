//! What other PCs have at an address and this board leaves out.
//!
//! Nobody answers there, as on a bus with no card: reads give all ones and writes are dropped. That is how drivers
//! learn that a device is missing, and the right answer for each line below. Each line was met in the traces of stock
//! firmware, kernels and tools, or is a device that `ami_run_models` says it leaves out. The test of other makers'
//! guests (tests/guests/foreign.rs) fails at any other access.

/// The first line that holds the port counts.
pub(crate) fn absent_port(port: u16) -> Option<&'static str> {
    Some(match port {
        // Nothing on this board transfers by it; Linux reads a page register and takes all ones for "no DMA".
        0x00..=0x0f | 0x81..=0x8f | 0xc0..=0xdf => "DMA controller",
        0x2e..=0x2f | 0x4e..=0x4f => "Super I/O configuration",
        // Port 0x64 is there, for its reset pulse, and reads all ones too: no controller.
        0x60 => "keyboard controller's data",
        // Written to let time pass; a real PC has only a latch there.
        0x80 => "POST code",
        0x94..=0x97 => "Micro Channel set-up",
        // The CPU reports its own errors. iPXE's NE2000 probe writes here by mistake, port and value exchanged.
        0xf0..=0xff => "coprocessor",
        0x170..=0x177 | 0x1f0..=0x1f7 | 0x376 | 0x3f6 => "IDE",
        0x278..=0x27a | 0x378..=0x37a => "parallel port, or ISA Plug and Play address",
        0x2e8..=0x2ef | 0x2f8..=0x2ff | 0x3e8..=0x3ef => "second to fourth serial port",
        // Text goes to the serial port; SeaBIOS copies there what is printed by INT 10h.
        0x3b0..=0x3df => "VGA",
        0x3f0..=0x3f7 => "floppy controller",
        0xa79 => "ISA Plug and Play data",
        // Where the ISA bus has its cards: iPXE looks for a dozen kinds of network cards.
        0x100..=0x3ff => "ISA card",
        // The identification of the card in each slot.
        0x1000.. if port & 0x0ffc == 0x0c80 => "EISA slot",
        _ => return None,
    })
}

pub(crate) fn absent_memory(address: u64) -> Option<&'static str> {
    Some(match address {
        0xa_0000..=0xb_ffff => "VGA",
        0xfed0_0000..=0xfed0_03ff => "HPET",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::absent::{Who, memory, port};
    use ami_run_memory::Range;
    use ami_run_models::bus::Bus;
    use ami_run_models::ports::KeyboardReset;
    use std::sync::Arc;

    #[test]
    fn a_trace_names_what_is_missing_only_where_no_device_is() {
        let mut bus = Bus::default();
        bus.add(Range::new(0x3f0, 1), Arc::new(KeyboardReset)).unwrap();
        for (at, end) in [
            (0x3f0, ""),
            (0x3f2, " absent: floppy controller"),
            (0x3f6, " absent: IDE"),
            (0xfc83, " absent: EISA slot"),
            (0x0c84, " nobody"),
            (0x0700, " nobody"),
        ] {
            assert_eq!(port(&bus, at).to_string(), end, "{at:#x}");
        }
        assert_eq!(memory(&Bus::default(), 0xb_8000), Who::Absent("VGA"));
        assert_eq!(memory(&Bus::default(), 0xc_0000), Who::Nobody);
    }
}
