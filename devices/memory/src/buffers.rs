//! Pieces of guest RAM for one I/O request, read and written by the host kernel without a copy.
#![expect(unsafe_code, reason = "preadv and pwritev on guest memory")]

use crate::{Bitmap, Gpa, MemoryError, Ram};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

/// Linux's UIO_MAXIOV: the most pieces that one preadv takes.
const MAX_PIECES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Piece {
    gpa: Gpa,
    len: usize,
}

/// A list of pieces of RAM, in order. It owns a share of the mapping, so that a request in flight can outlive
/// the device that made it. Every piece was checked to be whole in one region when it was added.
#[derive(Clone, Debug)]
pub struct Buffers {
    ram: Arc<Ram>,
    pieces: Vec<Piece>,
    len: u64,
}

impl Buffers {
    pub(crate) fn new(ram: Arc<Ram>) -> Buffers {
        Buffers { ram, pieces: Vec::new(), len: 0 }
    }

    /// Adds a piece. Pieces may overlap each other: what a guest asks for twice it gets twice.
    pub fn push(&mut self, gpa: Gpa, len: u64) -> Result<(), MemoryError> {
        let wrong = MemoryError::OutOfRange { gpa, len };
        let Ok(size) = usize::try_from(len) else { return Err(wrong) };
        if self.ram.get_slice(GuestAddress(gpa.0), size).is_err() {
            return Err(wrong);
        }
        self.len = self.len.checked_add(len).ok_or(MemoryError::OutOfRange { gpa, len })?;
        self.pieces.push(Piece { gpa, len: size });
        Ok(())
    }

    /// The sum of all pieces.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Splits at `at` bytes: this keeps what is before, the rest is returned.
    #[must_use]
    pub fn split_off(&mut self, at: u64) -> Buffers {
        let mut rest = Buffers::new(Arc::clone(&self.ram));
        let mut before = 0u64;
        let mut kept = Vec::new();
        for piece in self.pieces.drain(..) {
            let len = piece.len as u64;
            let room = at.saturating_sub(before).min(len);
            before = before.saturating_add(len);
            let here = usize::try_from(room).unwrap_or(piece.len);
            if room > 0 {
                kept.push(Piece { gpa: piece.gpa, len: here });
            }
            if let (true, Some(gpa)) = (room < len, piece.gpa.checked_add(room)) {
                rest.pieces.push(Piece { gpa, len: piece.len.saturating_sub(here) });
                rest.len = rest.len.saturating_add(len.saturating_sub(room));
            }
        }
        self.pieces = kept;
        self.len = self.len.min(at);
        rest
    }

    fn slice(&self, piece: Piece) -> io::Result<VolatileSlice<'_, Bitmap>> {
        self.ram
            .get_slice(GuestAddress(piece.gpa.0), piece.len)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    }

    /// True if each piece of `[start, start + len)` begins and ends at a multiple of `align` in the host's memory.
    #[must_use]
    pub fn are_aligned(&self, start: u64, len: u64, align: usize) -> bool {
        let check = |slice: VolatileSlice<'_, Bitmap>, _| {
            let address = slice.ptr_guard().as_ptr().addr();
            let fits = address.is_multiple_of(align) && slice.len().is_multiple_of(align);
            if fits { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
        };
        self.walk(start, len, check).is_ok()
    }

    /// The host's view of `len` bytes from `start`, piece by piece. It holds for as long as these buffers live.
    pub fn vectors(&self, start: u64, len: u64) -> io::Result<Vec<libc::iovec>> {
        // A piece is a page as a rule: a short part of long buffers has few.
        let likely = usize::try_from(len / 4096).unwrap_or(MAX_PIECES).saturating_add(1);
        let mut vectors = Vec::with_capacity(likely.min(self.pieces.len()).min(MAX_PIECES));
        self.walk(start, len, |slice, _| {
            let guard = slice.ptr_guard_mut();
            vectors.push(libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: slice.len() });
            Ok(())
        })?;
        Ok(vectors)
    }

    /// Calls `f` with every part of `[start, start + len)` and its distance from `start`.
    fn walk(
        &self,
        start: u64,
        len: u64,
        mut f: impl FnMut(VolatileSlice<'_, Bitmap>, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut skip, mut left, mut done) = (start, len, 0u64);
        for piece in &self.pieces {
            let whole = piece.len as u64;
            if left == 0 {
                break;
            }
            if skip >= whole {
                skip = skip.saturating_sub(whole);
                continue;
            }
            let take = whole.saturating_sub(skip).min(left);
            let short = || io::Error::from(io::ErrorKind::InvalidInput);
            let (from, count) =
                (usize::try_from(skip).map_err(|_| short())?, usize::try_from(take).map_err(|_| short())?);
            let part = self.slice(*piece)?.subslice(from, count).map_err(|_| short())?;
            f(part, done)?;
            skip = 0;
            left = left.saturating_sub(take);
            done = done.saturating_add(take);
        }
        if left == 0 { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Fills `[start, start + len)` of the buffers from `file` at `offset`, all of it: a file that ends before is an
    /// error.
    pub fn fill_from(&self, start: u64, len: u64, file: &File, offset: u64) -> io::Result<()> {
        let mut done = 0u64;
        while done < len {
            let (at, left) = (start.saturating_add(done), len.saturating_sub(done));
            let n = self.transfer(at, left, file, offset.saturating_add(done), libc::preadv)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done = done.saturating_add(n);
        }
        Ok(())
    }

    /// Writes `[start, start + len)` of the buffers to `file` at `offset`.
    pub fn drain_to(&self, start: u64, len: u64, file: &File, offset: u64) -> io::Result<()> {
        let mut done = 0u64;
        while done < len {
            let (at, left) = (start.saturating_add(done), len.saturating_sub(done));
            let n = self.transfer(at, left, file, offset.saturating_add(done), libc::pwritev)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done = done.saturating_add(n);
        }
        Ok(())
    }

    fn transfer(
        &self,
        start: u64,
        len: u64,
        file: &File,
        offset: u64,
        call: unsafe extern "C" fn(libc::c_int, *const libc::iovec, libc::c_int, libc::off_t) -> isize,
    ) -> io::Result<u64> {
        let vectors = self.vectors(start, len)?;
        let count = libc::c_int::try_from(vectors.len().min(MAX_PIECES)).unwrap_or(libc::c_int::MAX);
        let at = libc::off_t::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        loop {
            // SAFETY: each vector is a checked part of a guest mapping that `self.ram` keeps alive for the time of
            // the call; the guest may change those bytes meanwhile, as it may with any of its memory.
            let n = unsafe { call(file.as_raw_fd(), vectors.as_ptr(), count, at) };
            if let Ok(n) = u64::try_from(n) {
                return Ok(n);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Zeroes `[start, start + len)` of the buffers.
    pub fn zero(&self, start: u64, len: u64) -> io::Result<()> {
        const ZEROES: [u8; 4096] = [0; 4096];
        self.walk(start, len, |slice, _| {
            let mut at = 0usize;
            while let Ok(rest) = slice.offset(at) {
                if rest.is_empty() {
                    break;
                }
                let n = rest.len().min(ZEROES.len());
                rest.copy_from(ZEROES.get(..n).unwrap_or(&ZEROES));
                at = at.saturating_add(n);
            }
            Ok(())
        })
    }

    /// Copies `bytes` into the buffers from `start` on.
    pub fn put(&self, start: u64, bytes: &[u8]) -> io::Result<()> {
        self.walk(start, bytes.len() as u64, |slice, done| {
            let from = usize::try_from(done).unwrap_or(usize::MAX);
            let part = bytes.get(from..).and_then(|rest| rest.get(..slice.len())).unwrap_or_default();
            slice.copy_from(part);
            Ok(())
        })
    }

    /// Copies the buffers' content from `start` on into `bytes`.
    pub fn get(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.walk(start, bytes.len() as u64, |slice, done| {
            let from = usize::try_from(done).unwrap_or(usize::MAX);
            let len = slice.len();
            if let Some(part) = bytes.get_mut(from..).and_then(|rest| rest.get_mut(..len)) {
                slice.copy_to(part);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Gpa, Memory, Range};
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    #[test]
    fn bytes_travel_between_file_and_scattered_pieces() {
        let memory = Memory::new(&[Range::new(0, 0x4000)]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789ab").unwrap();
        let mut buffers = memory.buffers();
        for (gpa, len) in [(0x3000, 3), (0x10, 4), (0x2000, 5)] {
            buffers.push(Gpa(gpa), len).unwrap();
        }
        buffers.fill_from(0, 12, &file, 0).unwrap();
        let mut all = [0xff; 12];
        buffers.get(0, &mut all).unwrap();
        assert_eq!(&all, b"0123456789ab");
        let short = buffers.fill_from(0, 12, &file, 1).unwrap_err();
        assert_eq!(short.kind(), std::io::ErrorKind::UnexpectedEof);
        buffers.fill_from(0, 12, &file, 0).unwrap();
        buffers.put(2, b"xyz").unwrap();
        buffers.drain_to(1, 6, &file, 100).unwrap();
        let mut back = [0; 6];
        file.read_exact_at(&mut back, 100).unwrap();
        assert_eq!(&back, b"1xyz56");
        buffers.zero(3, 5).unwrap();
        buffers.get(0, &mut all).unwrap();
        assert_eq!(&all, b"01x\0\0\0\0\089ab");
    }

    #[test]
    fn a_split_keeps_every_byte_on_one_side() {
        let memory = Memory::new(&[Range::new(0, 0x4000)]).unwrap();
        memory.write(Gpa(0x10), b"abcdef").unwrap();
        for at in 0..8 {
            let mut front = memory.buffers();
            front.push(Gpa(0x10), 2).unwrap();
            front.push(Gpa(0x12), 4).unwrap();
            let back = front.split_off(at);
            assert_eq!((front.len(), back.len()), (at.min(6), 6 - at.min(6)));
            let mut all = vec![0; usize::try_from(front.len()).unwrap()];
            front.get(0, &mut all).unwrap();
            let mut rest = vec![0; usize::try_from(back.len()).unwrap()];
            back.get(0, &mut rest).unwrap();
            assert_eq!([all, rest].concat(), b"abcdef");
        }
    }

    #[test]
    fn a_piece_outside_memory_and_a_range_outside_the_pieces_are_refused() {
        let memory = Memory::new(&[Range::new(0, 0x4000), Range::new(0x8000, 0x1000)]).unwrap();
        let mut buffers = memory.buffers();
        for (gpa, len) in [(0x4000, 1), (0x3fff, 2), (0x3000, 0x6000), (u64::MAX, 2), (0, u64::MAX)] {
            assert!(buffers.push(Gpa(gpa), len).is_err(), "{gpa:#x}+{len:#x}");
        }
        buffers.push(Gpa(0), 16).unwrap();
        assert!(buffers.zero(10, 7).is_err());
        assert!(buffers.get(17, &mut [0]).is_err());
    }
}
