//! Guests of a few instructions, as firmware, on the host's own /dev/kvm: how a machine's life goes.
//!
//! They need no packages, and run on a KVM that only emulates guests too. What a guest does is assembled by a `Code` of
//! each architecture, behind the same names, and what only one architecture has is tested beside it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod arch;

use ami_run_machine::{Boot, Exit, Handle, Identity, Machine, MachineError, Network, Spec, Uefi, Variables};
use ami_run_network::{Config, Guest, Resolvers, UserLink};
use ami_run_storage::flash::FlashFile;
use arch::Code;
use parking_lot::Mutex;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A machine for the code, or `None` where there is no KVM (said on standard output).
fn machine(code: Code, cpus: u32) -> Option<Machine> {
    machine_of(code.boot(), cpus, None)
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

/// UEFI firmware with variables of these bytes in a new file.
fn uefi(rom: &[u8], path: &Path, content: &[u8]) -> Boot {
    let mut code = tempfile::tempfile().unwrap();
    code.write_all(rom).unwrap();
    FlashFile::create(path, content).unwrap();
    let (file, content) = FlashFile::open(path, content.len()).unwrap();
    let variables = Variables { file, content };
    Boot::Uefi(Uefi { code, code_offset: 0, code_size: rom.len(), variables })
}

/// Lets the machine run beside the test.
fn run(machine: Machine) -> (Handle, JoinHandle<Exit>) {
    let handle = machine.handle();
    let thread = Builder::new().name("machine".to_owned());
    (handle, thread.spawn(move || machine.run(|| ()).unwrap()).unwrap())
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

/// Only there to end a broken test.
const BOUND: Duration = Duration::from_secs(300);

/// Pauses the machine. A slow host may need longer than the handle waits, which is then asked again: twice is the same
/// as once. But a pause that is lost is known at once.
fn pause(handle: &Handle) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        if handle.pause() {
            return;
        }
        assert!(asked.elapsed() >= PATIENCE, "the machine ended, or forgot that it was to pause");
        assert!(start.elapsed() < BOUND, "the machine does not stand still");
    }
}

/// Waits until the guest has said `text`.
fn wait_for(handle: &Handle, text: &str) -> String {
    let start = Instant::now();
    let mut all = String::new();
    while !all.contains(text) {
        assert!(start.elapsed() < BOUND, "only got {all:?}");
        std::thread::sleep(Duration::from_millis(2));
        all.push_str(&output(handle));
    }
    all
}

fn wait_for_bytes(handle: &Handle, count: usize) -> Vec<u8> {
    let (start, mut all) = (Instant::now(), Vec::new());
    while all.len() < count {
        assert!(start.elapsed() < BOUND, "only got {all:02x?}");
        std::thread::sleep(Duration::from_millis(2));
        handle.console().take(&mut all);
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
    for reset in arch::RESETS {
        let Some(machine) = machine(reset(Code::default().count_in_ram()), 2) else { return };
        let (handle, thread) = run(machine);
        let said = wait_for_bytes(&handle, 3);
        assert!(said.iter().all(|byte| *byte == b'0'), "{said:x?}");
        handle.stop();
        assert!(matches!(thread.join().unwrap(), Exit::Stopped));
    }
}

#[test]
fn eight_halted_cpus_stop_when_told() {
    let Some(machine) = machine(Code::default().say("z").halt(), 8) else { return };
    let (handle, thread) = run(machine);
    wait_for(&handle, "z");
    assert!(!handle.press_power_button(), "nobody listens to the button");
    handle.stop();
    assert!(matches!(thread.join().unwrap(), Exit::Stopped));
}

#[test]
fn input_reaches_the_guest() {
    let Some(machine) = machine(Code::default().say("r").echo_one_more(), 1) else { return };
    let (handle, thread) = run(machine);
    wait_for(&handle, "r");
    assert_eq!(handle.console().send(b"HAL"), 3);
    wait_for(&handle, "IBM");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn a_paused_guest_stands_still_and_goes_on() {
    let Some(machine) = machine(Code::default().say_for_ever(b'x'), 2) else { return };
    let (handle, thread) = run(machine);
    for _ in 0..5 {
        wait_for(&handle, "xxx");
        pause(&handle);
        output(&handle);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(output(&handle), "", "it stands still");
        handle.resume();
    }
    wait_for(&handle, "xxx");
    pause(&handle);
    pause(&handle);
    handle.stop();
    assert!(matches!(thread.join().unwrap(), Exit::Stopped));
    assert!(!handle.pause(), "nothing is left to pause");
}

#[test]
fn a_guest_that_resets_all_the_time_is_paused_too() {
    let Some(machine) = machine(Code::default().say("r").reset(), 2) else { return };
    let (handle, thread) = run(machine);
    wait_for(&handle, "rr");
    for _ in 0..10 {
        pause(&handle);
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
    let code = Code::default().listen_to_the_button().say("r").wait_for_the_button().power_off();
    let Some(machine) = machine(code, 1) else { return };
    let (handle, thread) = run(machine);
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
        let code = Code::default().tell_ids_of_slot_5().power_off();
        let Some(machine) = machine_of(code.boot(), 1, network) else { return };
        let handle = machine.handle();
        assert!(matches!(machine.run(|| ()).unwrap(), Exit::PoweredOff));
        let mut said = Vec::new();
        handle.console().take(&mut said);
        assert_eq!(said, expected);
    }
}

/// What firmware does with its variables, and what comes of it.
struct FlashPlay {
    /// Ends in a reset.
    code: Code,
    /// What the flash holds before, and behind.
    before: Vec<u8>,
    after: Vec<u8>,
    /// What the guest reads, before its first reset and after it.
    said: [Vec<u8>; 2],
}

#[test]
fn a_guest_drives_the_flash_of_its_variables_and_what_it_wrote_stays_over_a_reset() {
    let FlashPlay { code, before, after, said: [first, second] } = arch::flash_play();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uefi-vars");
    let Some(machine) = machine_of(uefi(&code.rom(), &path, &before), 1, None) else { return };
    let (handle, thread) = run(machine);
    let said = wait_for_bytes(&handle, first.len() + second.len());
    handle.stop();
    assert!(matches!(thread.join().unwrap(), Exit::Stopped));
    let (said_first, rest) = said.split_at(first.len());
    assert_eq!(said_first, first, "the first time");
    assert_eq!(&rest[..second.len()], second, "after a reset");
    assert!(std::fs::read(&path).unwrap() == after, "compacted at the end");
}
