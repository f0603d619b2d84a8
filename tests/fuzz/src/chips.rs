//! The small chips: serial port, real-time clock, power block with the ports that reset. Each step of a play begins
//! with a byte: what to do, how wide, where.

use crate::host;
use crate::input::{Input, width};
use ami_run_models::bus::{Access, Device};
use ami_run_models::clock::Chip;
use ami_run_models::cmos::Cmos;
use ami_run_models::console::Console;
use ami_run_models::irq::Line;
use ami_run_models::ports::{FastA20, KeyboardReset};
use ami_run_models::power::PowerBlock;
use ami_run_models::serial::Port;
use std::sync::Arc;

/// A 16550 with a console that sends, and takes what comes.
pub fn serial(data: &[u8]) {
    let console = Arc::new(Console::new().expect("an event"));
    let port = Port::new(Line::new(host::lines(), 4), &console);
    let (mut input, mut output) = (Input::new(data), Vec::new());
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let at = Access::new(u64::from(what >> 4), width(what >> 2));
        match what & 3 {
            0 => assert!(port.read(at) <= 0xff),
            3 => {
                let text = input.bytes(usize::from(what >> 2))?;
                assert!(console.send(text) <= text.len());
            }
            _ => {
                port.write(at, input.value(at.width)?);
            }
        }
        Some(())
    };
    while step().is_some() {}
    console.take(&mut output);
    assert!(output.len() <= data.len(), "more came out than went in");
}

/// The years that the clocks know end here, and an alarm is not further away.
const END_OF_TIME: i64 = 253_402_300_799_000_000;

/// The clock's chip: selecting, reading and writing at times that jump about, or that go on to the next interrupt.
pub fn cmos(data: &[u8]) {
    let mut input = Input::new(data);
    let mut chip = Cmos::new(2);
    let mut now = 0i64;
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        match what & 7 {
            0 => chip.select(input.byte()?),
            1 => {
                chip.read(now);
            }
            2 => chip.write(input.byte()?, now),
            3 => now = i64::from_le_bytes(input.qword()?.to_le_bytes()),
            4 => now = now.saturating_add(i64::from(input.word()?) << (what >> 3)),
            5 => chip.advance(now),
            6 => {
                chip.select(0x0c);
                let flags = chip.read(now);
                assert!(flags & 0x0f == 0 && !chip.interrupt(), "reading the flags lets the line go");
            }
            _ => now = next_interrupt(&mut chip, now),
        }
        assert!(!chip.interrupt() || chip.interrupts_are_on() && chip.next_interrupt(now).is_none());
        Some(())
    };
    while step().is_some() {}
    chip.select(0x0d);
    assert_eq!(chip.read(now), 0x80, "the battery is good");
}

/// Goes on to when the line goes up, if it will: then, and no microsecond earlier.
pub(crate) fn next_interrupt(chip: &mut impl Chip, now: i64) -> i64 {
    chip.advance(now);
    let Some(at) = chip.next_interrupt(now).filter(|at| *at < END_OF_TIME) else { return now };
    assert!(at > now);
    chip.advance(at - 1);
    assert!(!chip.interrupt(), "an interrupt before its time");
    chip.advance(at);
    assert!(chip.interrupt(), "no interrupt at its time");
    at
}

/// Power management, with the ports that reset beside it.
pub fn power(data: &[u8]) {
    let block = PowerBlock::new(Line::new(host::lines(), 9));
    let a20 = FastA20::default();
    let mut input = Input::new(data);
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        let place = input.byte()?;
        let (device, offset): (&dyn Device, u8) = match place >> 6 {
            0 | 1 => (&block, place & 0x3f),
            2 => (&a20, 0),
            _ => (&KeyboardReset, 0),
        };
        let at = Access::new(u64::from(offset), width);
        match what & 3 {
            0 => assert!(device.read(at) <= width.ones()),
            3 => {
                block.press_power_button();
            }
            _ => {
                device.write(at, input.value(width)?);
            }
        }
        Some(())
    };
    while step().is_some() {}
}
