//! A raw file by itself, as fast as one thread gets at it: the plain loop around an io_uring, with the flags that the
//! queues of volumes use.
#![expect(unsafe_code, reason = "io_uring is given addresses")]

use crate::disk::{Disk, Load, Op};
use ami_run_memory::Memory;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(crate) struct RawFile {
    // Before the memory that it may have.
    ring: IoUring,
    file: File,
    memory: Memory,
}

impl RawFile {
    /// `direct`: past the page cache.
    pub(crate) fn open(path: &Path, direct: bool, memory: &Memory) -> io::Result<RawFile> {
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(path)?;
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        let ring = builder.build(128)?;
        ring.submitter().register_iowq_max_workers(&mut [8, 0])?;
        Ok(RawFile { ring, file, memory: memory.clone() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// fdatasync, by the ring.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let sync = opcode::Fsync::new(Fd(self.file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build();
        self.push(&sync)?;
        self.ring.submit_and_wait(1)?;
        self.reap().try_for_each(|(_, done)| done.map(drop))
    }

    fn entry(&self, load: &Load, slot: u64, offset: u64) -> io::Result<squeue::Entry> {
        let begin = self.memory.slots().first().map_or(0, |slot| slot.host) + slot * load.len;
        let address =
            std::ptr::with_exposed_provenance_mut(usize::try_from(begin).map_err(io::Error::other)?);
        let (file, len) = (Fd(self.file.as_raw_fd()), u32::try_from(load.len).map_err(io::Error::other)?);
        let entry = match load.op {
            Op::Read => opcode::Read::new(file, address, len).offset(offset).build(),
            Op::Write => opcode::Write::new(file, address, len).offset(offset).build(),
        };
        Ok(entry.user_data(slot))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what it points to is the memory, which lives as long as the ring; nobody takes references to it.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }

    /// The slots of what has come.
    fn reap(&mut self) -> impl Iterator<Item = (u64, io::Result<u64>)> {
        self.ring.completion().map(|entry| {
            let failed = || io::Error::from_raw_os_error(-entry.result());
            (entry.user_data(), u64::try_from(entry.result()).map_err(|_| failed()))
        })
    }
}

impl Disk for RawFile {
    fn run(&mut self, load: &Load, offsets: &mut dyn Iterator<Item = u64>) -> io::Result<u64> {
        let begin = std::time::Instant::now();
        let (mut count, mut at_work) = (0, 0u32);
        let mut free: Vec<u64> = (0..u64::from(load.depth)).collect();
        loop {
            while begin.elapsed() < load.time
                && let Some(slot) = free.pop()
            {
                let Some(offset) = offsets.next() else { break };
                let entry = self.entry(load, slot, offset)?;
                self.push(&entry)?;
                at_work += 1;
            }
            if at_work == 0 {
                return Ok(count);
            }
            self.ring.submit_and_wait(1)?;
            for (slot, len) in self.reap() {
                if len? != load.len {
                    return Err(io::Error::other("a short transfer"));
                }
                free.push(slot);
                (count, at_work) = (count + 1, at_work - 1);
            }
        }
    }
}
