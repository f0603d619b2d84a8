//! Descriptors that this program was started with and does not know: a pipe of a job server, a log of the caller's. What
//! it starts and leaves behind must not hold them, or who reads at their other ends would wait for an instance's end.
#![expect(unsafe_code, reason = "close_range is a system call")]

/// Standard input, output and error come before it.
const FIRST: libc::c_uint = 3;

/// Lets no other program have them. The kernel can do so since Linux 5.11; before, they go on.
pub(crate) fn keep_to_ourselves() {
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or_default();
    // SAFETY: with this flag nothing is closed; it says what happens to descriptors when another program is executed.
    let failed = unsafe { libc::close_range(FIRST, libc::c_uint::MAX, flags) } != 0;
    if failed {
        log::info!("the caller's descriptors go on to the instance: {}", std::io::Error::last_os_error());
    }
}
