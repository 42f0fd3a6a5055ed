//! Memory over many calls: what the host lends must come back, and what the library gives must be let go. (What the
//! library keeps for itself is seen by the process's size only; `examples/million.rs` is for valgrind.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    reason = "a test fails by panicking; a counting allocator is unsafe by its trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use millstream_udf::{Calling, Calls, Udf, compile, source};

/// The system's allocator, with a count of the bytes that are out.
struct Counting;

static OUT: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is the system allocator's; counting changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OUT.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        OUT.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as of the caller.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn cache() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("udfs")
}

/// No call is so old that its time-out makes it forgotten.
const HOUR: Duration = Duration::from_secs(3600);

fn load(folder: &str, timeout: Option<Duration>) -> Udf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let declared = source::read(&folder).unwrap();
    let library = compile::library(&folder, &cache()).unwrap();
    let timeout = timeout.unwrap_or(declared.calling.timeout);
    Udf::load(&declared.name, declared.signature, Calling { timeout, ..declared.calling }, &library).unwrap()
}

/// The process's resident memory.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or_default() * 4096
}

/// One test, because the count is the process's.
#[test]
fn nothing_is_left_of_many_calls() {
    let (troubled, slowly) = (load("tests/udfs/troubled", None), load("tests/udfs/slowly", Some(HOUR)));
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("some text that is copied to and fro"), None]));
    let times: ArrayRef = Arc::new(Int64Array::from(vec![3, 2]));
    let bad: ArrayRef = Arc::new(Int64Array::from(vec![13, 2]));
    let under_way = Calls::start(&slowly, || {}).unwrap();
    let scalars = |calls: usize| {
        for _ in 0..calls {
            troubled.call(&[text.clone(), times.clone()]).unwrap();
        }
        troubled.call(&[text.clone(), bad.clone()]).unwrap_err();
    };
    let asyncs = |calls: usize| {
        for _ in 0..calls / 2_000 {
            let values: ArrayRef = Arc::new(Int64Array::from(vec![-1; 2_000]));
            under_way.call(0, &[values]);
            assert_eq!(under_way.wait().len(), 2_000);
        }
    };
    // Buffers and pools grow to their size once; what is left of each call would grow with their number.
    scalars(10_000);
    asyncs(20_000);
    let size = resident();
    for calls in [2_000, 20_000, 200_000] {
        let out = OUT.load(Ordering::Relaxed);
        scalars(calls);
        let after_scalars = OUT.load(Ordering::Relaxed);
        asyncs(calls);
        let (scalar, asynchronous) = (after_scalars - out, OUT.load(Ordering::Relaxed) - after_scalars);
        assert!(scalar < 1_000, "{scalar} bytes of the host are still out after {calls} calls");
        // A queue may have been as long as never before.
        assert!(asynchronous < 100_000, "{asynchronous} bytes of the host are still out after {calls} async calls");
    }
    // A byte of each call would show.
    let grown = resident() - size;
    assert!(grown < 24 << 20, "the process has grown by {grown} bytes");
}
