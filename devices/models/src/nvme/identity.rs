//! Who a controller says it is: EC2's EBS volume or instance store; and the Identify data (NVMe 1.4, section 5.15).

use super::prp::MAX_TRANSFER_PAGES;
use super::registers::VERSION;
use super::spec::NAMESPACE;
use super::stats::put;

const AMAZON: u16 = 0x1d0f;

/// What EC2 says of one disk.
#[derive(Clone, Debug)]
pub struct Identity {
    device: u16,
    serial: String,
    model: &'static str,
    firmware: &'static str,
    /// EC2's word in the vendor's area: the name in the block-device mapping.
    mapping: String,
    /// Differs for every controller: Linux refuses a second of the same name.
    nqn: String,
    ebs: bool,
}

impl Identity {
    /// An EBS volume (`vol-…`). `mapping` is the device name as EC2 shows it to the guest: without `/dev/` for a
    /// volume attached at launch, with it for one attached later.
    #[must_use]
    pub fn ebs(volume_id: &str, mapping: &str) -> Identity {
        let serial = volume_id.replace('-', "");
        Identity {
            device: 0x8061,
            nqn: format!("nqn.2008-08.com.amazon.aws:ebs:{serial}"),
            serial,
            model: "Amazon Elastic Block Store",
            firmware: "1.0",
            mapping: mapping.to_owned(),
            ebs: true,
        }
    }

    /// An instance store volume: `serial` is `AWS` and 17 digits, `mapping` is `ephemeral0:sdb`.
    #[must_use]
    pub fn instance_store(serial: &str, mapping: &str) -> Identity {
        Identity {
            device: 0xcd01,
            serial: serial.to_owned(),
            model: "Amazon EC2 NVMe Instance Storage",
            firmware: "0",
            mapping: mapping.to_owned(),
            nqn: format!("nqn.2014-08.org.nvmexpress:1d0f1d0f{serial:20}Amazon EC2 NVMe Instance Storage"),
            ebs: false,
        }
    }

    pub(super) fn pci(&self) -> crate::pci::Identity {
        crate::pci::Identity {
            vendor: AMAZON,
            device: self.device,
            revision: 0,
            class: 0x01_0802,
            subsystem_vendor: AMAZON,
            subsystem: self.device,
        }
    }

    pub(super) fn is_ebs(&self) -> bool {
        self.ebs
    }

    pub(super) fn firmware(&self) -> [u8; 8] {
        padded(self.firmware)
    }

    /// Identify Controller (5.15.2.2).
    pub(super) fn controller(&self) -> Vec<u8> {
        let mut page = vec![0; 4096];
        let mut set = |at: usize, bytes: &[u8]| put(&mut page, at, bytes);
        set(0, &AMAZON.to_le_bytes());
        set(2, &AMAZON.to_le_bytes());
        set(4, &padded::<20>(&self.serial));
        set(24, &padded::<40>(self.model));
        set(64, &self.firmware());
        // Recommended arbitration burst: 2^5 commands. IEEE's number of Amazon.
        set(72, &[5, 0xdc, 0x02, 0xa0]);
        set(77, &[MAX_TRANSFER_PAGES]);
        set(80, &VERSION.to_le_bytes());
        // OAES: notices of changed namespaces.
        set(92, &(1u32 << 8).to_le_bytes());
        // CNTRLTYPE: an I/O controller.
        set(111, &[1]);
        // OACS: doorbell buffers. ACL, AERL: 4 aborts, 4 event requests.
        set(256, &(1u16 << 8).to_le_bytes());
        set(258, &[3, 3]);
        // FRMW: one firmware slot, read only. LPA: log pages can be read from an offset.
        set(260, &[0x03, 0x04]);
        // WCTEMP and CCTEMP in kelvin.
        set(266, &343u16.to_le_bytes());
        set(268, &353u16.to_le_bytes());
        set(512, &[0x66, 0x44]);
        set(516, &NAMESPACE.to_le_bytes());
        // ONCS: Dataset Management, Write Zeroes.
        set(520, &0x0cu16.to_le_bytes());
        // VWC: there is a volatile write cache, and Flush takes all namespaces at once.
        set(525, &[0x07]);
        set(768, self.nqn.as_bytes().get(..223).unwrap_or(self.nqn.as_bytes()));
        // PSD0: at most 25 W.
        set(2048, &2500u16.to_le_bytes());
        set(3072, &padded::<32>(&self.mapping));
        page
    }
}

/// Identify Namespace (5.15.2.1) of so many sectors. Its blocks are sectors, and 4 KiB are what the volume works
/// with best.
pub(super) fn namespace(sectors: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    for at in [0, 8, 16] {
        put(&mut page, at, &sectors.to_le_bytes());
    }
    // NSFEAT: the preferred sizes below are valid.
    put(&mut page, 24, &[0x10]);
    // DLFEAT: deallocated blocks read as zeroes; Write Zeroes can deallocate.
    put(&mut page, 33, &[0x09]);
    // NPWG, NPWA, NPDG, NPDA, NOWS: 8 blocks each.
    for at in [64, 66, 68, 70, 72] {
        put(&mut page, at, &7u16.to_le_bytes());
    }
    // LBAF0.LBADS: 2^9 bytes.
    put(&mut page, 130, &[9]);
    page
}

/// Active namespaces with numbers above `after` (5.15.2.3).
pub(super) fn namespaces(after: u32) -> Vec<u8> {
    let mut page = vec![0; 4096];
    if after < NAMESPACE {
        put(&mut page, 0, &NAMESPACE.to_le_bytes());
    }
    page
}

/// Text in a field of fixed size, with spaces after it.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    put(&mut field, 0, text.as_bytes());
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ebs_volume_is_identified_as_on_ec2() {
        let page = Identity::ebs("vol-0546d3c3b0af0bf6d", "sda1").controller();
        assert_eq!(page[..4], [0x0f, 0x1d, 0x0f, 0x1d]);
        assert_eq!(&page[4..24], b"vol0546d3c3b0af0bf6d");
        assert_eq!(&page[24..64], b"Amazon Elastic Block Store              ");
        assert_eq!(&page[64..72], b"1.0     ");
        assert_eq!(page[77], 7);
        assert_eq!(page[80..84], [0, 4, 1, 0]);
        assert_eq!((page[93], page[111], page[257], page[258], page[259]), (1, 1, 1, 3, 3));
        assert_eq!((page[512], page[513], page[516], page[520], page[525]), (0x66, 0x44, 1, 0x0c, 7));
        assert_eq!(&page[768..819], b"nqn.2008-08.com.amazon.aws:ebs:vol0546d3c3b0af0bf6d");
        assert_eq!(&page[3072..3104], b"sda1                            ");
        assert!(page[3104..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn an_instance_store_has_its_own_names() {
        let identity = Identity::instance_store("AWS24BBF51AF55097008", "ephemeral0:sdb");
        let page = identity.controller();
        assert_eq!((identity.pci().device, identity.is_ebs()), (0xcd01, false));
        assert_eq!(&page[4..24], b"AWS24BBF51AF55097008");
        assert_eq!(&page[24..56], b"Amazon EC2 NVMe Instance Storage");
        assert_eq!((&page[64..66], &page[3072..3087]), (&b"0 "[..], &b"ephemeral0:sdb "[..]));
    }

    #[test]
    fn a_namespace_has_its_size_in_sectors() {
        let page = namespace(0x12345);
        for at in [0, 8, 16] {
            assert_eq!(page[at..at + 8], 0x12345u64.to_le_bytes());
        }
        assert_eq!((page[25], page[26], page[33], page[128..132].to_vec()), (0, 0, 9, vec![0, 0, 9, 0]));
        assert_eq!(
            (namespaces(0)[..4].to_vec(), namespaces(1)[..4].to_vec()),
            (vec![1, 0, 0, 0], vec![0; 4])
        );
    }

    #[test]
    fn names_that_are_too_long_are_cut() {
        let page = Identity::ebs(&"v".repeat(300), &"x".repeat(300)).controller();
        assert_eq!((page[23], page[24], page[990], page[991]), (b'v', b'A', b'v', 0));
        assert_eq!((page[3103], page[3104]), (b'x', 0));
    }
}
