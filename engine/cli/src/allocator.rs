//! The allocator, and what the kernel gives it.
//!
//! State grows in many columns at once. With transparent huge pages every first touch zeroes two megabytes, most of which
//! is not used for long: the job of `tests/bench/trips.yaml` spent 40 % of its time there (docs/performance.md).

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Asks the kernel for ordinary pages. Called once, before anything is read.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "prctl has no safe form; this call only sets a flag of the process")]
pub(crate) fn tune() {
    // SAFETY: PR_SET_THP_DISABLE reads its arguments as numbers and touches no memory of ours. Where the kernel does
    // not know it, it says so and nothing changes.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Elsewhere the allocator is used as it is.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tune() {}
