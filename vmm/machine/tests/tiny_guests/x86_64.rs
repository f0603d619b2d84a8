//! Code for x86_64: 16-bit, as a CPU begins, or 32-bit where it has to reach what lies high; and what only a PC has:
//! several ways to reset, and the triple fault.

use super::{FlashPlay, machine, output, skip};
use ami_run_machine::{Boot, Exit};

const COM1: u16 = 0x3f8;
const PM_ENABLE: u16 = 0x602;
const PM_CONTROL: u16 = 0x604;

/// By the PIIX, by the keyboard controller, by port 92.
pub(crate) const RESETS: [fn(Code) -> Code; 3] =
    [Code::reset, |code| code.out8(0x64, 0xfe).halt(), |code| code.out8(0x92, 1).halt()];

/// 16-bit code that runs at reset.
#[derive(Default)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    fn bytes(mut self, bytes: &[u8]) -> Code {
        self.0.extend(bytes);
        self
    }
    /// mov dx, port; mov al, value; out dx, al
    fn out8(self, port: u16, value: u8) -> Code {
        let [low, high] = port.to_le_bytes();
        self.bytes(&[0xba, low, high, 0xb0, value, 0xee])
    }
    /// mov dx, port; mov ax, value; out dx, ax
    fn out16(self, port: u16, value: u16) -> Code {
        let [low, high] = port.to_le_bytes();
        let [v0, v1] = value.to_le_bytes();
        self.bytes(&[0xba, low, high, 0xb8, v0, v1, 0xef])
    }
    pub(crate) fn say(self, text: &str) -> Code {
        text.bytes().fold(self, |code, byte| code.out8(COM1, byte))
    }
    /// mov dx, COM1; mov al, byte; out dx, al; jmp to the out
    pub(crate) fn say_for_ever(self, byte: u8) -> Code {
        self.out8(COM1, byte).bytes(&[0xeb, 0xfd])
    }
    /// Sends each byte back with one added.
    ///
    /// mov dx, COM1 + 5; in al, dx; test al, 1; jz back; mov dx, COM1; in al, dx; add al, 1; out dx, al; jmp back
    pub(crate) fn echo_one_more(self) -> Code {
        self.bytes(&[
            0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, 0xba, 0xf8, 0x03, 0xec, 0x04, 0x01, 0xee, 0xeb,
            0xef,
        ])
    }
    /// Says what number lies at 1 KiB, and adds one to it.
    ///
    /// mov al, [1024]; add al, '0'; mov dx, COM1; out dx, al; inc byte [1024]
    pub(crate) fn count_in_ram(self) -> Code {
        self.bytes(&[0xa0, 0x00, 0x04, 0x04, b'0', 0xba, 0xf8, 0x03, 0xee, 0xfe, 0x06, 0x00, 0x04])
    }
    pub(crate) fn listen_to_the_button(self) -> Code {
        self.out16(PM_ENABLE, 1 << 8)
    }
    /// mov dx, PM status; in ax, dx; test ah, 1; jz to the in
    pub(crate) fn wait_for_the_button(self) -> Code {
        self.bytes(&[0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa])
    }
    /// Asks for the identity of 0:5.0, and says its four bytes.
    pub(crate) fn tell_ids_of_slot_5(self) -> Code {
        // mov dx, 0xcf8; mov eax, 1 << 31 | 5 << 11; out dx, eax; mov dx, 0xcfc; in eax, dx; mov dx, COM1
        let ask = [
            0xba, 0xf8, 0x0c, 0x66, 0xb8, 0x00, 0x28, 0x00, 0x80, 0x66, 0xef, 0xba, 0xfc, 0x0c, 0x66, 0xed,
            0xba, 0xf8, 0x03,
        ];
        // out dx, al; shr eax, 8
        (0..4).fold(self.bytes(&ask), |code, _| code.bytes(&[0xee, 0x66, 0xc1, 0xe8, 8]))
    }
    pub(crate) fn power_off(self) -> Code {
        self.out16(PM_CONTROL, 1 << 13).halt()
    }
    pub(crate) fn reset(self) -> Code {
        self.out8(0xcf9, 6).halt()
    }
    /// cli; hlt; jmp back
    pub(crate) fn halt(self) -> Code {
        self.bytes(&[0xfa, 0xf4, 0xeb, 0xfc])
    }
    /// Goes on in 32-bit mode, where all addresses can be reached.
    fn flat(mut self) -> Code {
        // A null segment, code and data from 0 to 4 GiB (Intel SDM volume 3, 3.4.5); where they are; a jump over them.
        const GDT: [u8; 24] =
            [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0];
        let at = |offset: usize| u32::try_from(offset).unwrap() | 0xffff_0000;
        self = self.bytes(&[0xeb, 30]);
        let gdt = self.0.len();
        self = self.bytes(&GDT).bytes(&[23, 0]).bytes(&at(gdt).to_le_bytes());
        let [low, high] = u16::try_from(gdt + GDT.len()).unwrap().to_le_bytes();
        // cs lgdtd [pointer]; mov eax, cr0; or al, 1; mov cr0, eax; jmp dword 8:next
        self = self
            .bytes(&[0x2e, 0x66, 0x0f, 0x01, 0x16, low, high, 0x0f, 0x20, 0xc0, 0x0c, 1, 0x0f, 0x22, 0xc0]);
        let next = at(self.0.len() + 8);
        self = self.bytes(&[0x66, 0xea]).bytes(&next.to_le_bytes()).bytes(&[8, 0]);
        // mov ax, 16; mov ds, ax; mov dx, COM1
        self.bytes(&[0x66, 0xb8, 16, 0, 0x8e, 0xd8, 0x66, 0xba, 0xf8, 0x03])
    }
    /// In 32-bit mode: mov byte [address], value
    fn put(self, address: u32, value: u8) -> Code {
        self.bytes(&[0xc6, 0x05]).bytes(&address.to_le_bytes()).bytes(&[value])
    }
    /// In 32-bit mode, dx being COM1: mov al, [address]; out dx, al
    fn tell(self, address: u32) -> Code {
        self.bytes(&[0xa0]).bytes(&address.to_le_bytes()).bytes(&[0xee])
    }
    /// In 32-bit mode: mov dx, port; mov al, value; out dx, al; cli; hlt; jmp back
    fn last8(self, port: u16, value: u8) -> Code {
        let [low, high] = port.to_le_bytes();
        self.bytes(&[0x66, 0xba, low, high, 0xb0, value, 0xee, 0xfa, 0xf4, 0xeb, 0xfc])
    }
    /// A ROM of 64 KiB that jumps here from the reset vector.
    pub(crate) fn rom(self) -> Vec<u8> {
        let mut rom = self.0;
        assert!(rom.len() < 0xfff0);
        rom.resize(0x1_0000, 0);
        rom[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
        rom
    }
    pub(crate) fn boot(self) -> Boot {
        Boot::Firmware(self.rom())
    }
}

/// What OVMF does to find out what the chip is, and to write: its byte is at one address, 64 KiB of code above it.
pub(crate) fn flash_play() -> FlashPlay {
    const SIZE: usize = 0x8_4000;
    const FLASH: u32 = 0xffff_0000 - 0x8_4000;
    let mut before = vec![0xff; SIZE];
    before[..3].copy_from_slice(b"abc");
    let mut after = vec![0xff; SIZE];
    after[0x1000] = b'@';
    let byte = FLASH + 0x1000;
    let code = Code::default()
        .flat()
        // The bytes themselves; the status after it was cleared is 0, but read as an array.
        .tell(FLASH)
        .put(FLASH, 0x50)
        .tell(FLASH)
        .put(FLASH, 0x70)
        .tell(FLASH)
        .put(FLASH, 0xff)
        .tell(FLASH + 1)
        // A byte is programmed to `A`, and then to what both have in common.
        .put(byte, 0x10)
        .put(byte, 0x41)
        .put(byte, 0xff)
        .tell(byte)
        .put(byte, 0x10)
        .put(byte, 0x62)
        .put(byte, 0xff)
        .tell(byte)
        // The first block is erased.
        .put(FLASH, 0x20)
        .put(FLASH, 0xd0)
        .put(FLASH, 0xff)
        .tell(FLASH + 2)
        .last8(0x64, 0xfe);
    FlashPlay { code, before, after, said: [b"aa\0bA@\xff".to_vec(), b"\xff\xff\0\xff@@\xff".to_vec()] }
}

#[test]
fn a_second_triple_fault_ends_the_machine() {
    // lidt of a zero limit, then an invalid opcode: no handler, no handler for that, shutdown.
    let code = Code::default().say("t").bytes(&[0x0f, 0x01, 0x1e, 0x00, 0x04, 0x0f, 0x0b]);
    let Some(machine) = machine(code, 1) else { return };
    let handle = machine.handle();
    let exit = machine.run(|| ()).unwrap();
    match exit {
        Exit::TripleFault => assert_eq!(output(&handle), "tt"),
        // A KVM that only emulates may not know how to shut a CPU down.
        Exit::Emulation(failure) => skip(&failure.to_string()),
        other => panic!("{other:?}"),
    }
}
