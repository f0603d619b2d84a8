//! What the guest's CPUID says: the host's features as KVM supports them, one socket of single-thread cores, and
//! KVM's own leaves.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;

const FLAG_INDEX: u32 = kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
/// Leaf 1.
const ECX_VMX: u32 = 1 << 5;
const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_HTT: u32 = 1 << 28;
/// Leaf 0x80000001.
const ECX_SVM: u32 = 1 << 2;
/// Where hypervisors say TSC and APIC timer frequency.
const TIMING_LEAF: u32 = 0x4000_0010;
/// KVM's local APIC timer runs at 1 GHz.
const APIC_KHZ: u32 = 1_000_000;

/// What KVM supports on this host. Asked once a machine: KVM runs CPUID some 70 times for an answer, and where the
/// host is a virtual machine itself each of these is an exit.
#[derive(Debug)]
pub(crate) struct Supported {
    entries: CpuId,
    /// The TSC deadline timer, which KVM leaves out of the entries.
    deadline: bool,
}

impl Supported {
    pub(crate) fn ask(kvm: &Kvm) -> Result<Supported, kvm_ioctls::Error> {
        let entries = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        Ok(Supported { entries, deadline: kvm.check_extension(kvm_ioctls::Cap::TscDeadlineTimer) })
    }

    /// The entries for vCPU `id` of `count`.
    pub(crate) fn for_vcpu(
        &self,
        id: u32,
        count: u32,
        tsc_khz: Option<u32>,
    ) -> Result<CpuId, kvm_ioctls::Error> {
        let entries = edit(self.entries.as_slice().to_vec(), id, count, tsc_khz, self.deadline);
        CpuId::from_entries(&entries).map_err(|_| kvm_ioctls::Error::new(libc::E2BIG))
    }
}

fn edit(
    entries: Vec<kvm_cpuid_entry2>,
    id: u32,
    count: u32,
    tsc_khz: Option<u32>,
    deadline: bool,
) -> Vec<kvm_cpuid_entry2> {
    // Topology leaves are made below, whatever the host's are.
    let mut entries: Vec<_> =
        entries.into_iter().filter(|entry| !matches!(entry.function, 0xb | 0x1f | TIMING_LEAF)).collect();
    for entry in &mut entries {
        edit_entry(entry, id, count, deadline, tsc_khz.is_some());
    }
    let extended = entries.iter().any(|entry| entry.function == 0 && entry.eax >= 0xb);
    if extended {
        entries.extend([topology(0, 0, 1, 1, id), topology(1, bits(count), count, 2, id)]);
    }
    if let Some(khz) = tsc_khz {
        let leaf = kvm_cpuid_entry2 { function: TIMING_LEAF, eax: khz, ebx: APIC_KHZ, ..Default::default() };
        entries.push(leaf);
    }
    entries
}

fn edit_entry(entry: &mut kvm_cpuid_entry2, id: u32, count: u32, deadline: bool, timing: bool) {
    let cores = count - 1;
    match entry.function {
        1 => {
            // APIC id, logical processors, a cache line of eight times eight bytes.
            entry.ebx = id << 24 | count << 16 | 8 << 8 | entry.ebx & 0xff;
            entry.ecx = entry.ecx & !ECX_VMX | ECX_HYPERVISOR | ECX_X2APIC;
            entry.ecx = if deadline { entry.ecx | ECX_TSC_DEADLINE } else { entry.ecx & !ECX_TSC_DEADLINE };
            entry.edx = if count > 1 { entry.edx | EDX_HTT } else { entry.edx & !EDX_HTT };
        }
        // Caches: levels 1 and 2 belong to a core, the third to the socket.
        4 | 0x8000_001d if entry.eax & 0x1f != 0 => {
            let sharing = if entry.eax >> 5 & 7 >= 3 { (1 << bits(count)) - 1 } else { 0 };
            let package = if entry.function == 4 { ((1 << bits(count)) - 1) << 26 } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14 | package;
        }
        // Energy bias and the performance counters are the host's own affair.
        6 => entry.ecx &= !(1 << 3),
        0xa => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        // No virtualization inside, as on EC2's virtual instances; leaf 0x8000000a describes SVM.
        0x8000_0001 => entry.ecx &= !ECX_SVM,
        0x8000_000a => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        0x4000_0000 if timing => entry.eax = entry.eax.max(TIMING_LEAF),
        0x8000_0008 => entry.ecx = bits(count) << 12 | cores,
        0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (id, id & 0xff, 0),
        _ => (),
    }
}

/// One level of leaf 0xb: how far to shift the APIC id for the next level, processors at this one, its kind.
fn topology(index: u32, shift: u32, processors: u32, kind: u32, id: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: FLAG_INDEX,
        eax: shift,
        ebx: processors,
        ecx: kind << 8 | index,
        edx: id,
        ..Default::default()
    }
}

/// Bits that number `count` things.
fn bits(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, eax: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, eax, ..Default::default() }
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *entries.iter().find(|entry| entry.function == function && entry.index == index).unwrap()
    }

    #[test]
    fn three_cores_in_one_socket() {
        let one = kvm_cpuid_entry2 { ecx: ECX_VMX, ..entry(1, 0) };
        let extended = kvm_cpuid_entry2 { ecx: ECX_SVM | 1, ..entry(0x8000_0001, 0) };
        let (caches, sizes) = (entry(4, 0xfc00_0121), entry(0x8000_0008, 46));
        let host = vec![entry(0, 0x16), one, caches, entry(0xb, 7), extended, sizes];
        let edited = edit(host, 2, 3, Some(2_000_000), true);
        let one = find(&edited, 1, 0);
        assert_eq!((one.ebx, one.edx), (0x0203_0800, EDX_HTT));
        assert_eq!(one.ecx, ECX_HYPERVISOR | ECX_X2APIC | ECX_TSC_DEADLINE);
        assert_eq!(find(&edited, 4, 0).eax, 3 << 26 | 0x121, "a first-level cache is not shared");
        let cores = find(&edited, 0xb, 1);
        assert_eq!((cores.eax, cores.ebx, cores.ecx, cores.edx), (2, 3, 0x201, 2));
        assert_eq!(find(&edited, 0x8000_0008, 0).ecx, 2 << 12 | 2);
        assert_eq!(find(&edited, TIMING_LEAF, 0).eax, 2_000_000);
        assert_eq!(find(&edited, 0x8000_0001, 0).ecx, 1, "no SVM inside");
    }

    #[test]
    fn one_core_has_no_neighbours() {
        let edited = edit(vec![entry(0, 1), entry(1, 0)], 0, 1, None, false);
        assert_eq!((find(&edited, 1, 0).ebx, find(&edited, 1, 0).edx), (0x0001_0800, 0));
        assert!(!edited.iter().any(|entry| matches!(entry.function, 0xb | TIMING_LEAF)));
    }
}
