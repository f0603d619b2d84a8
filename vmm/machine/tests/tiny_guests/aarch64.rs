//! Code for arm64: at exception level 1, with the MMU off, from address 0 on; and what only arm64 has: CPUs that the
//! guest starts by PSCI, accesses that no device can answer, and flash as two chips side by side.

use super::{FlashPlay, machine, run, skip, uefi, wait_for};
use ami_run_machine::{Boot, EmulationProblem, Exit, MachineError};
use kvm_bindings::KVM_CAP_ARM_NISV_TO_USER;
use kvm_ioctls::Kvm;

// The board's parts (the parts list is vmm/machine/src/aarch64/virt.rs).
const FLASH: u32 = 0x400_0000;
const UART: u32 = 0x900_0000;
const EVENTS: u32 = 0x908_0000;
const ECAM: u32 = 0x3f00_0000;
/// A place in RAM behind the device tree.
const PLACE: u32 = 0x4020_0000;

// Functions of PSCI (Arm DEN 0022, section 5.1).
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const CPU_ON: u32 = 0xc400_0003;

/// Bytes of AAVMF's variables, and of a block of their flash.
const VARIABLES: usize = 0xc_0000;
const BLOCK: u32 = 0x4_0000;

pub(crate) const RESETS: [fn(Code) -> Code; 1] = [Code::reset];

/// A register: x0 to x30.
type Register = u32;
/// Holds the address that is accessed.
const AT: Register = 9;
/// Holds what is read and written.
const VALUE: Register = 10;

/// movz xD, #value, lsl #(16 * half)
fn movz(to: Register, value: u32, half: u32) -> u32 {
    0xd280_0000 | half << 21 | value << 5 | to
}
/// movk xD, #value, lsl #(16 * half)
fn movk(to: Register, value: u32, half: u32) -> u32 {
    0xf280_0000 | half << 21 | value << 5 | to
}
/// ldr wT, [xN, #offset]
fn ldr(to: Register, base: Register, offset: u32) -> u32 {
    0xb940_0000 | (offset / 4) << 10 | base << 5 | to
}
/// str wT, [xN, #offset]
fn str(from: Register, base: Register, offset: u32) -> u32 {
    0xb900_0000 | (offset / 4) << 10 | base << 5 | from
}
/// ldr wT, [xN], #4
fn ldr_and_step(to: Register, base: Register) -> u32 {
    0xb840_4400 | base << 5 | to
}
/// ldp wT, wU, [xN]
fn ldp(to: Register, second: Register, base: Register) -> u32 {
    0x2940_0000 | second << 10 | base << 5 | to
}
/// add wD, wN, #value
fn add(to: Register, from: Register, value: u32) -> u32 {
    0x1100_0000 | value << 10 | from << 5 | to
}
/// lsr wD, wN, #bits
fn lsr(to: Register, from: Register, bits: u32) -> u32 {
    0x5300_7c00 | bits << 16 | from << 5 | to
}
/// adr xD, so many instructions ahead
fn adr(to: Register, ahead: u32) -> u32 {
    0x1000_0000 | ahead << 5 | to
}
/// b, so many instructions back
fn b(back: u32) -> u32 {
    0x1400_0000 | back.wrapping_neg() & 0x3ff_ffff
}
/// tbz wT, #bit, so many instructions back
fn tbz(register: Register, bit: u32, back: u32) -> u32 {
    0x3600_0000 | bit << 19 | (back.wrapping_neg() & 0x3fff) << 5 | register
}
/// tbnz wT, #bit, so many instructions back
fn tbnz(register: Register, bit: u32, back: u32) -> u32 {
    0x3700_0000 | bit << 19 | (back.wrapping_neg() & 0x3fff) << 5 | register
}
/// hvc #0
const HVC: u32 = 0xd400_0002;
/// wfi
const WFI: u32 = 0xd503_207f;

/// Instructions that run at reset.
#[derive(Default)]
pub(crate) struct Code(Vec<u32>);

impl Code {
    fn does(mut self, instructions: &[u32]) -> Code {
        self.0.extend(instructions);
        self
    }
    fn set(self, register: Register, value: u32) -> Code {
        self.does(&[movz(register, value & 0xffff, 0), movk(register, value >> 16, 1)])
    }
    fn put(self, address: u32, value: u32) -> Code {
        self.set(AT, address).set(VALUE, value).does(&[str(VALUE, AT, 0)])
    }
    /// Says the four bytes that are there, the lowest first: the UART takes the low byte of what it is given.
    fn tell(self, address: u32) -> Code {
        let code = self.set(AT, address).does(&[ldr(VALUE, AT, 0)]).set(AT, UART);
        (0..4).fold(code, |code, _| code.does(&[str(VALUE, AT, 0), lsr(VALUE, VALUE, 8)]))
    }
    /// Asks the hypervisor for a function of PSCI.
    fn call(self, function: u32) -> Code {
        self.set(0, function).does(&[HVC])
    }
    pub(crate) fn say(self, text: &str) -> Code {
        text.bytes().fold(self, |code, byte| code.put(UART, byte.into()))
    }
    pub(crate) fn say_for_ever(self, byte: u8) -> Code {
        self.put(UART, byte.into()).does(&[str(VALUE, AT, 0), b(1)])
    }
    /// Sends each byte back with one added, once the UART and its receiver are on (CR).
    pub(crate) fn echo_one_more(self) -> Code {
        // Back to the first until the flag register says that something was received.
        self.put(UART + 0x30, 0x301).set(AT, UART).does(&[
            ldr(VALUE, AT, 0x18),
            tbnz(VALUE, 4, 1),
            ldr(VALUE, AT, 0),
            add(VALUE, VALUE, 1),
            str(VALUE, AT, 0),
            b(5),
        ])
    }
    /// Says what number lies in RAM, and adds one to it.
    pub(crate) fn count_in_ram(self) -> Code {
        const DIGIT: Register = 11;
        self.set(AT, PLACE)
            .does(&[ldr(VALUE, AT, 0), add(DIGIT, VALUE, u32::from(b'0')), add(VALUE, VALUE, 1)])
            .does(&[str(VALUE, AT, 0)])
            .set(AT, UART)
            .does(&[str(DIGIT, AT, 0)])
    }
    pub(crate) fn listen_to_the_button(self) -> Code {
        self.put(EVENTS + 4, 1)
    }
    pub(crate) fn wait_for_the_button(self) -> Code {
        self.set(AT, EVENTS).does(&[ldr(VALUE, AT, 0), tbz(VALUE, 1, 1)])
    }
    /// Asks for the identity of 0:5.0, and says its four bytes.
    pub(crate) fn tell_ids_of_slot_5(self) -> Code {
        self.tell(ECAM | 5 << 15)
    }
    /// Starts the second CPU, which goes on behind this with this in its register 0; the first has nothing more to do.
    fn start_the_second(self, context: u32) -> Code {
        const CALL: u32 = 3;
        const HALT: u32 = 2;
        self.set(1, 1).set(3, context).does(&[adr(2, 1 + CALL + HALT)]).call(CPU_ON).halt()
    }
    pub(crate) fn power_off(self) -> Code {
        self.call(SYSTEM_OFF).halt()
    }
    pub(crate) fn reset(self) -> Code {
        self.call(SYSTEM_RESET).halt()
    }
    pub(crate) fn halt(self) -> Code {
        self.does(&[WFI, b(1)])
    }
    /// A ROM of 64 KiB that begins with the first instruction.
    pub(crate) fn rom(self) -> Vec<u8> {
        let mut rom: Vec<u8> = self.0.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
        assert!(rom.len() <= 0x1_0000);
        rom.resize(0x1_0000, 0);
        rom
    }
    /// There is no other firmware than UEFI. These guests do not write to its variables: their file need not stay.
    pub(crate) fn boot(self) -> Boot {
        let folder = tempfile::tempdir().unwrap();
        uefi(&self.rom(), &folder.path().join("uefi-vars"), &[0xff; VARIABLES])
    }

    /// Tells both flash chips these commands, at an offset.
    fn command(self, offset: u32, commands: &[u8]) -> Code {
        let both = |command: u8| u32::from(command) << 16 | u32::from(command);
        commands.iter().fold(self, |code, command| code.put(FLASH + offset, both(*command)))
    }
}

/// As edk2's driver (OvmfPkg/VirtNorFlashDxe) writes a buffer and a word, and erases a block.
pub(crate) fn flash_play() -> FlashPlay {
    const BUFFER: u32 = BLOCK + 0x80;
    const WORD: u32 = 2 * BLOCK;
    const READY: [u8; 4] = [0x80, 0, 0x80, 0];
    let text = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
    let mut before = vec![0xff; VARIABLES];
    before[..8].copy_from_slice(b"abcdefgh");
    let mut after = vec![0xff; VARIABLES];
    after[0x4_0080..0x4_0088].copy_from_slice(b"ijklmnop");
    after[0x8_0000..0x8_0004].copy_from_slice(b"@@@@");
    let code = Code::default()
        // The bytes themselves; the status; the bytes again.
        .tell(FLASH)
        .command(0, &[0x70])
        .tell(FLASH)
        .command(0, &[0xff])
        .tell(FLASH + 4)
        // What is in the buffer's place, and the status that says that a buffer is free.
        .tell(FLASH + BUFFER)
        .command(BUFFER, &[0xe8])
        .tell(FLASH + BUFFER)
        // Two words, which are less one as a number, then the confirmation, and the status asked for.
        .command(BUFFER, &[1])
        .put(FLASH + BUFFER, text(*b"ijkl"))
        .put(FLASH + BUFFER + 4, text(*b"mnop"))
        .command(BUFFER, &[0xd0, 0x70])
        .tell(FLASH + BUFFER)
        .command(0, &[0xff])
        .tell(FLASH + BUFFER + 4)
        // A word is programmed, and then to what both have in common.
        .command(WORD, &[0x40])
        .put(FLASH + WORD, text(*b"AAAA"))
        .command(WORD, &[0x40])
        .put(FLASH + WORD, text(*b"bbbb"))
        .command(WORD, &[0x70])
        .tell(FLASH + WORD)
        .command(0, &[0xff])
        .tell(FLASH + WORD)
        // The first block is erased. The reset finds the chips as they give their status.
        .command(0, &[0x20, 0xd0, 0x70])
        .tell(FLASH)
        .reset();
    let said = |first: &[u8; 4], second: &[u8; 4], buffer: &[u8; 4]| {
        [first, &READY, second, buffer, &READY, &READY, b"mnop", &READY, b"@@@@", &READY]
            .map(|word| *word)
            .concat()
    };
    let blank = &[0xff; 4];
    FlashPlay { code, before, after, said: [said(b"abcd", b"efgh", blank), said(blank, blank, b"ijkl")] }
}

#[test]
fn a_second_cpu_is_started_by_the_guest_and_again_after_a_reset() {
    // It says what it was given.
    let second = Code::default().say("1").start_the_second(b'2'.into()).set(AT, UART).does(&[str(0, AT, 0)]);
    let Some(machine) = machine(second.power_off(), 2) else { return };
    machine.handle().restart_on_power_off(true);
    let (handle, thread) = run(machine);
    assert_eq!(wait_for(&handle, "1212"), "1212");
    assert!(matches!(thread.join().unwrap(), Exit::PoweredOff));
}

/// Whether this KVM tells what address it was.
fn tells() -> bool {
    Kvm::new().unwrap().check_extension_raw(KVM_CAP_ARM_NISV_TO_USER.into()) > 0
}

#[test]
fn an_access_that_no_device_can_answer_ends_the_machine_and_is_told() {
    // The flag register and the one behind it; the data register.
    for (access, to) in [(ldp(VALUE, 11, AT), UART + 0x18), (ldr_and_step(VALUE, AT), UART)] {
        let Some(machine) = machine(Code::default().set(AT, to).does(&[access]).halt(), 1) else { return };
        match machine.run(|| ()) {
            Ok(Exit::Emulation(failure)) => {
                // Behind the two instructions that set the address.
                assert_eq!((failure.cpu, failure.address), (0, 8));
                assert_eq!(failure.why, EmulationProblem::Access(to.into()));
            }
            // A KVM that cannot tell where it was does not go on, either.
            Err(MachineError::Call { what: "KVM_RUN", cause }) if !tells() => skip(&cause.to_string()),
            other => panic!("{other:?}"),
        }
    }
}
