//! Guests of a few instructions, as firmware, on the host's own /dev/kvm: how a machine's life goes.
//!
//! They need no packages, and run on a KVM that only emulates guests too.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use ami_run_machine::{Boot, Exit, Handle, Identity, Machine, MachineError, Network, Spec, Uefi, Variables};
use ami_run_network::{Config, Guest, Resolvers, UserLink};
use ami_run_storage::flash::FlashFile;
use parking_lot::Mutex;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COM1: u16 = 0x3f8;
const PM_ENABLE: u16 = 0x602;
const PM_CONTROL: u16 = 0x604;

/// 16-bit code that runs at reset.
#[derive(Default)]
struct Code(Vec<u8>);

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
    fn say(self, text: &str) -> Code {
        text.bytes().fold(self, |code, byte| code.out8(COM1, byte))
    }
    fn power_off(self) -> Code {
        self.out16(PM_CONTROL, 1 << 13).halt()
    }
    /// cli; hlt; jmp back
    fn halt(self) -> Code {
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
    fn rom(self) -> Vec<u8> {
        let mut rom = self.0;
        assert!(rom.len() < 0xfff0);
        rom.resize(0x1_0000, 0);
        rom[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
        rom
    }
}

/// A machine for the code, or `None` where there is no KVM (said on standard output).
fn machine(code: Code, cpus: u32) -> Option<Machine> {
    machine_on(code, cpus, None)
}

/// The same, on a network.
fn machine_on(code: Code, cpus: u32, network: Option<Network>) -> Option<Machine> {
    machine_of(Boot::Firmware(code.rom()), cpus, network)
}

fn machine_of(boot: Boot, cpus: u32, network: Option<Network>) -> Option<Machine> {
    let spec = Spec {
        identity: Identity {
            instance_id: "i-0123456789abcdef0".to_owned(),
            instance_type: "t3.micro".to_owned(),
            uuid: [0xec; 16],
            generation: [1; 16],
        },
        cpus,
        memory: 64 << 20,
        disks: Vec::new(),
        network,
        trace: None,
        fail_on_triple_fault: false,
    };
    match Machine::new(spec, boot) {
        Ok(machine) => Some(machine),
        Err(why @ (MachineError::NoKvm | MachineError::KvmPermission)) => {
            skip(&why.to_string());
            None
        }
        Err(why) => panic!("{why}"),
    }
}

/// Says past the test runner's capture that a test could not be done here.
fn skip(why: &str) {
    let mut uncaptured = std::io::stderr();
    writeln!(uncaptured, "skipped: tiny guests: {why}").unwrap();
}

fn output(handle: &Handle) -> String {
    let mut all = Vec::new();
    handle.console().take(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits until the guest has said `text`; the bound is only there to end a broken test.
fn wait_for(handle: &Handle, text: &str) -> String {
    let start = Instant::now();
    let mut all = String::new();
    while !all.contains(text) {
        assert!(start.elapsed() < Duration::from_secs(120), "only got {all:?}");
        std::thread::sleep(Duration::from_millis(2));
        all.push_str(&output(handle));
    }
    all
}

#[test]
fn a_guest_speaks_and_powers_itself_off() {
    let Some(machine) = machine(Code::default().say("hello\n").power_off(), 1) else { return };
    let handle = machine.handle();
    assert!(matches!(machine.run(|| ()).unwrap(), Exit::PoweredOff));
    assert_eq!(output(&handle), "hello\n");
}

#[test]
fn every_way_to_reset_starts_anew_with_clean_memory() {
    for (port, value) in [(0xcf9, 6), (0x64, 0xfe), (0x92, 1)] {
        // Says what lies at 1 KiB, then changes it and resets.
        let code = Code::default()
            .bytes(&[0xa0, 0x00, 0x04, 0x04, b'0', 0xba, 0xf8, 0x03, 0xee])
            .bytes(&[0xc6, 0x06, 0x00, 0x04, 0x05])
            .out8(port, value)
            .halt();
        let Some(machine) = machine(code, 2) else { return };
        let handle = machine.handle();
        let thread = std::thread::Builder::new().spawn(move || machine.run(|| ()).unwrap()).unwrap();
        let said = wait_for(&handle, "000");
        assert!(!said.contains('5'), "{said}");
        handle.stop();
        assert!(matches!(thread.join().unwrap(), Exit::Stopped));
    }
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

#[test]
fn eight_halted_cpus_stop_when_told() {
    let Some(machine) = machine(Code::default().say("z").halt(), 8) else { return };
    let handle = machine.handle();
    let thread = std::thread::Builder::new().spawn(move || machine.run(|| ()).unwrap()).unwrap();
    wait_for(&handle, "z");
    assert!(!handle.press_power_button(), "nobody listens to the button");
    handle.stop();
    assert!(matches!(thread.join().unwrap(), Exit::Stopped));
}

#[test]
fn input_reaches_the_guest() {
    // Polls the line status, then sends each byte back with one added.
    let code = Code::default().say("r").bytes(&[
        0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, 0xba, 0xf8, 0x03, 0xec, 0x04, 0x01, 0xee, 0xeb, 0xef,
    ]);
    let Some(machine) = machine(code, 1) else { return };
    let handle = machine.handle();
    let thread = std::thread::Builder::new().spawn(move || machine.run(|| ()).unwrap()).unwrap();
    wait_for(&handle, "r");
    assert_eq!(handle.console().send(b"HAL"), 3);
    wait_for(&handle, "IBM");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn a_paused_guest_stands_still_and_goes_on() {
    // Says the same byte for ever.
    let code = Code::default().bytes(&[0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd]);
    let Some(machine) = machine(code, 2) else { return };
    let handle = machine.handle();
    let thread = std::thread::Builder::new().spawn(move || machine.run(|| ()).unwrap()).unwrap();
    for _ in 0..5 {
        wait_for(&handle, "xxx");
        assert!(handle.pause());
        output(&handle);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(output(&handle), "", "it stands still");
        handle.resume();
    }
    wait_for(&handle, "xxx");
    assert!(handle.pause() && handle.pause(), "twice is the same as once");
    handle.stop();
    assert!(matches!(thread.join().unwrap(), Exit::Stopped));
    assert!(!handle.pause(), "nothing is left to pause");
}

#[test]
fn a_guest_that_resets_all_the_time_is_paused_too() {
    let code = Code::default().say("r").out8(0xcf9, 6).halt();
    let Some(machine) = machine(code, 2) else { return };
    let handle = machine.handle();
    let thread = std::thread::Builder::new().spawn(move || machine.run(|| ()).unwrap()).unwrap();
    wait_for(&handle, "rr");
    for _ in 0..10 {
        assert!(handle.pause());
        output(&handle);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(output(&handle), "", "it stands still");
        handle.resume();
        wait_for(&handle, "r");
    }
    handle.stop();
    assert!(matches!(thread.join().unwrap(), Exit::Stopped));
}

#[test]
fn a_power_off_can_be_a_restart_once() {
    // Listens to the button, says so, and powers off when it is pressed: in dx,ax; test ah,1; jz back.
    let code = Code::default()
        .out16(PM_ENABLE, 1 << 8)
        .say("r")
        .bytes(&[0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa])
        .power_off();
    let Some(machine) = machine(code, 1) else { return };
    let handle = machine.handle();
    let thread = std::thread::Builder::new().spawn(move || machine.run(|| ()).unwrap()).unwrap();
    wait_for(&handle, "r");
    handle.restart_on_power_off(true);
    assert!(handle.press_power_button());
    wait_for(&handle, "r");
    handle.restart_on_power_off(true);
    handle.reset();
    wait_for(&handle, "r");
    assert!(handle.press_power_button(), "the reset has taken the restart back");
    assert!(matches!(thread.join().unwrap(), Exit::PoweredOff));
}

#[test]
fn a_network_card_stands_in_slot_5() {
    // Asks for the identity of 0:5.0, and says its four bytes.
    let guest = Guest {
        mac: [2, 0, 0, 0, 0, 1],
        address: [172, 31, 4, 66].into(),
        prefix: 20,
        ipv6: None,
        host_name: String::new(),
        domain: String::new(),
    };
    let (resolvers, services, forwards) = (Resolvers::These(Vec::new()), Vec::new(), Vec::new());
    let link = UserLink::new(Config { guest, resolvers, services, forwards, host_loopback: false }).unwrap();
    let network = Network { mac: [2, 0, 0, 0, 0, 1], link: Arc::new(Mutex::new(link)) };
    for (network, expected) in [(Some(network), [0xf4, 0x1a, 0x41, 0x10]), (None, [0xff; 4])] {
        // mov dx,0xcf8; mov eax,1<<31|5<<11; out dx,eax; mov dx,0xcfc; in eax,dx; mov dx,0x3f8
        let ask =
            [0xba, 0xf8, 0x0c, 0x66, 0xb8, 0x00, 0x28, 0x00, 0x80, 0x66, 0xef, 0xba, 0xfc, 0x0c, 0x66, 0xed];
        let mut code = Code::default().bytes(&ask).bytes(&[0xba, 0xf8, 0x03]);
        for _ in 0..4 {
            // out dx,al; shr eax,8
            code = code.bytes(&[0xee, 0x66, 0xc1, 0xe8, 8]);
        }
        let Some(machine) = machine_on(code.power_off(), 1, network) else { return };
        let handle = machine.handle();
        assert!(matches!(machine.run(|| ()).unwrap(), Exit::PoweredOff));
        let mut said = Vec::new();
        handle.console().take(&mut said);
        assert_eq!(said, expected);
    }
}

/// What OVMF does to find out what the chip is, and to write: its byte is at one address, 64 KiB of code above it.
#[test]
fn a_guest_drives_the_flash_of_its_variables_and_what_it_wrote_stays_over_a_reset() {
    const SIZE: usize = 0x8_4000;
    const FLASH: u32 = 0xffff_0000 - 0x8_4000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uefi-vars");
    let mut image = vec![0xff; SIZE];
    image[..3].copy_from_slice(b"abc");
    FlashFile::create(&path, &image).unwrap();
    let (file, content) = FlashFile::open(&path, SIZE).unwrap();
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
    let rom = code.rom();
    let mut file_of_code = tempfile::tempfile().unwrap();
    file_of_code.write_all(&rom).unwrap();
    let variables = Variables { file, content };
    let uefi = Uefi { code: file_of_code, code_offset: 0, code_size: rom.len(), variables };
    let Some(machine) = machine_of(Boot::Uefi(uefi), 1, None) else { return };
    let handle = machine.handle();
    let stop = handle.clone();
    let thread = std::thread::Builder::new().name("machine".to_owned());
    let thread = thread.spawn(move || machine.run(|| ())).unwrap();
    let said = wait_for_bytes(&handle, 14);
    stop.stop();
    assert!(matches!(thread.join().unwrap().unwrap(), Exit::Stopped));
    assert_eq!(&said[..7], b"aa\0bA@\xff", "the first time");
    assert_eq!(&said[7..14], b"\xff\xff\0\xff@@\xff", "after a reset");
    image[..3].fill(0xff);
    image[0x1000] = b'@';
    assert!(std::fs::read(&path).unwrap() == image, "compacted at the end");
}

fn wait_for_bytes(handle: &Handle, count: usize) -> Vec<u8> {
    let (start, mut all) = (Instant::now(), Vec::new());
    while all.len() < count {
        assert!(start.elapsed() < Duration::from_secs(120), "only got {all:02x?}");
        std::thread::sleep(Duration::from_millis(2));
        handle.console().take(&mut all);
    }
    all
}
