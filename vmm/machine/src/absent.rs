//! Who is at an address: a device, one that other machines have there and this board leaves out, or nobody known. So a
//! trace can tell what is known to be missing from what is not.

use crate::arch;
use ami_run_models::bus::Bus;
use std::fmt;

/// Who is at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Device,
    Absent(&'static str),
    Nobody,
}

impl fmt::Display for Who {
    /// The end of a trace's line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Device => Ok(()),
            Who::Absent(what) => write!(f, " absent: {what}"),
            Who::Nobody => f.write_str(" nobody"),
        }
    }
}

pub(crate) fn port(ports: &Bus, port: u16) -> Who {
    who(ports, u64::from(port), arch::absent_port(port))
}

pub(crate) fn memory(memory: &Bus, address: u64) -> Who {
    who(memory, address, arch::absent_memory(address))
}

fn who(bus: &Bus, address: u64, absent: Option<&'static str>) -> Who {
    if bus.answers(address) { Who::Device } else { absent.map_or(Who::Nobody, Who::Absent) }
}
