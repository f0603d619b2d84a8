//! Guests of a few instructions: an ELF file with a PVH note (Xen's docs/misc/pvh.pandoc), entered in 32-bit
//! protected mode with flat segments.

const COM1: u32 = 0x3f8;
const PM_EVENTS: u32 = 0x600;
const PM_CONTROL: u32 = 0x604;
const POWER_BUTTON: u16 = 1 << 8;
const SLEEP: u16 = 1 << 13;

const ADDRESS: u32 = 0x10_0000;
const HEADERS: usize = 64 + 2 * 56;
const NOTE: usize = 20;

/// Code in the making.
#[derive(Default)]
pub(crate) struct Guest(Vec<u8>);

impl Guest {
    fn bytes(mut self, bytes: &[u8]) -> Guest {
        self.0.extend(bytes);
        self
    }

    /// mov edx, port
    fn port(self, port: u32) -> Guest {
        self.bytes(&[0xba]).bytes(&port.to_le_bytes())
    }

    /// mov ax, value; out dx, ax
    fn out16(self, port: u32, value: u16) -> Guest {
        self.port(port).bytes(&[0x66, 0xb8]).bytes(&value.to_le_bytes()).bytes(&[0x66, 0xef])
    }

    /// Writes to the serial console.
    pub(crate) fn say(self, text: &str) -> Guest {
        text.bytes().fold(self.port(COM1), |guest, byte| guest.bytes(&[0xb0, byte, 0xee]))
    }

    /// Writes one line for ever.
    pub(crate) fn flood(self) -> Guest {
        let start = self.0.len();
        let said = self.say("flood flood flood\r\n");
        let back = i32::try_from(start).unwrap() - i32::try_from(said.0.len() + 5).unwrap();
        said.bytes(&[0xe9]).bytes(&back.to_le_bytes())
    }

    pub(crate) fn power_off(self) -> Guest {
        self.out16(PM_CONTROL, SLEEP).halt()
    }

    /// Resets the machine by the chipset's own register: mov edx, 0xcf9; mov al, 6; out dx, al
    pub(crate) fn reset(self) -> Guest {
        self.port(0xcf9).bytes(&[0xb0, 6, 0xee]).halt()
    }

    /// cli; hlt; and again, should anything wake it
    pub(crate) fn halt(self) -> Guest {
        self.bytes(&[0xfa, 0xf4, 0xeb, 0xfc])
    }

    /// Enables the power button, says `ready`, and powers off when it is pressed.
    pub(crate) fn wait_for_button(self, ready: &str) -> Guest {
        // in ax, dx; test ah, 1; jz back to the in
        self.out16(PM_EVENTS + 2, POWER_BUTTON)
            .say(ready)
            .port(PM_EVENTS)
            .bytes(&[0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf9])
            .power_off()
    }

    /// Enables the power button, says `ready`, and does nothing about it.
    pub(crate) fn ignore_button(self, ready: &str) -> Guest {
        self.out16(PM_EVENTS + 2, POWER_BUTTON).say(ready).halt()
    }

    fn echo(self) -> Guest {
        self.bytes(&[0xba, 0xfd, 0x03, 0, 0, 0xec, 0xa8, 0x01, 0x74, 0xf6])
            .bytes(&[0xba, 0xf8, 0x03, 0, 0, 0xec, 0x3c, b'Q', 0x74, 0x03, 0xee, 0xeb, 0xe9])
            .power_off()
    }

    /// Says `ready`, then sends back what is typed, until a Q, which powers off.
    pub(crate) fn echo_after(self, ready: &str) -> Guest {
        self.say(ready).echo()
    }

    /// An invalid opcode without any handler.
    pub(crate) fn triple_fault(self) -> Guest {
        // lidt of six zero bytes, which follow the ud2
        let zeroes = ADDRESS + u32::try_from(self.0.len()).unwrap() + 9;
        self.bytes(&[0x0f, 0x01, 0x1d]).bytes(&zeroes.to_le_bytes()).bytes(&[0x0f, 0x0b]).bytes(&[0; 6])
    }

    /// The guest as a file for `--kernel`.
    pub(crate) fn elf(self) -> Vec<u8> {
        let (code, note) = (HEADERS + NOTE, HEADERS);
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // An executable for x86_64, version 1; entry, program headers at 64, no sections.
        half(&mut elf, &[2, 62]);
        word(&mut elf, &[1]);
        long(&mut elf, &[u64::from(ADDRESS), 64, 0]);
        word(&mut elf, &[0]);
        half(&mut elf, &[64, 56, 2, 0, 0, 0]);
        segment(&mut elf, 1, code, self.0.len(), u64::from(ADDRESS));
        segment(&mut elf, 4, note, NOTE, 0);
        // XEN_ELFNOTE_PHYS32_ENTRY
        word(&mut elf, &[4, 4, 18]);
        elf.extend(b"Xen\0");
        word(&mut elf, &[ADDRESS]);
        elf.extend(self.0);
        elf
    }
}

/// One program header: type, flags, place in the file, addresses, sizes, alignment.
fn segment(elf: &mut Vec<u8>, kind: u32, offset: usize, size: usize, address: u64) {
    word(elf, &[kind, 5]);
    let (offset, size) = (u64::try_from(offset).unwrap(), u64::try_from(size).unwrap());
    long(elf, &[offset, address, address, size, size, 1]);
}

fn half(elf: &mut Vec<u8>, values: &[u16]) {
    elf.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn word(elf: &mut Vec<u8>, values: &[u32]) {
    elf.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn long(elf: &mut Vec<u8>, values: &[u64]) {
    elf.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
