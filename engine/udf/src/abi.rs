//! The structs and functions of the interface of `arroyo-udf-plugin` 0.2, declared anew: this process and a plugin share
//! their layout in memory and nothing else.
//!
//! Invariant: a list of columns is made with the system's allocator, because the side that receives it frees it, and
//! a library's own allocator is the system's unless it says otherwise.

#![expect(unsafe_code, reason = "structs shared with another library; each use says why it holds")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;

use arrow::array::ArrayRef;
use async_ffi::FfiFuture;

use crate::cdata::{CColumn, OnRelease};
use crate::error::UdfError;
use crate::types::{Arg, Type};

/// Columns on their way to the other side.
#[repr(C)]
pub(crate) struct Columns {
    ptr: *mut CColumn,
    len: usize,
    capacity: usize,
    error: bool,
}

/// What a call gives.
#[repr(C)]
#[expect(dead_code, reason = "libraries make them")]
pub(crate) enum RunResult {
    Ok(CColumn),
    Err,
}

/// What async calls have given since the last look: ids and values.
#[repr(C)]
#[expect(dead_code, reason = "libraries make them")]
pub(crate) enum DrainResult {
    Data(Columns),
    None,
    Error,
}

/// A running async UDF, as the library knows it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle {
    ptr: *mut u8,
}

// SAFETY: the library hands it out to be used from any thread: what is behind it is locked there.
unsafe impl Send for Handle {}

/// `__run`.
pub(crate) type Run = unsafe extern "C-unwind" fn(Columns) -> RunResult;
/// `__start`.
pub(crate) type Start =
    unsafe extern "C-unwind" fn(ordered: bool, timeout_micros: u64, allowed_in_flight: u32) -> Handle;
/// `__send`.
pub(crate) type SendCall = unsafe extern "C-unwind" fn(Handle, id: u64, Columns) -> FfiFuture<bool>;
/// `__drain_results`.
pub(crate) type Drain = unsafe extern "C-unwind" fn(Handle) -> DrainResult;
/// `__stop_runtime`.
pub(crate) type Stop = unsafe extern "C-unwind" fn(Handle);

impl Columns {
    /// Arguments, each of exactly its declared type. Whoever receives them frees them.
    ///
    /// # Errors
    /// Where a column has another type.
    pub(crate) fn of(columns: &[ArrayRef], args: &[Arg], on_release: Option<&OnRelease>) -> Result<Self, UdfError> {
        if columns.len() != args.len() || columns.is_empty() {
            return Err(UdfError::Broken(format!("{} arguments were given for {}", columns.len(), args.len())));
        }
        // One of them tells: they are released together.
        let tell = |i: usize| on_release.filter(|_| i == 0).cloned();
        let exported = columns.iter().zip(args).enumerate();
        let exported: Vec<CColumn> =
            exported.map(|(i, (c, a))| CColumn::export(c, a.data_type, tell(i))).collect::<Result<_, _>>()?;
        let len = exported.len();
        let layout = Layout::array::<CColumn>(len).map_err(|e| UdfError::Broken(e.to_string()))?;
        // SAFETY: the layout has a size, because there is at least one column.
        let ptr = unsafe { System.alloc(layout) }.cast::<CColumn>();
        if ptr.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        for (i, column) in exported.into_iter().enumerate() {
            // SAFETY: the allocation has room for `len` columns, and `i` is less than that.
            unsafe { ptr.add(i).write(column) }
        }
        Ok(Self { ptr, len, capacity: len, error: false })
    }

    /// Takes columns that the library made, and frees their list.
    ///
    /// # Errors
    /// Where they are not of these types.
    pub(crate) fn take(self, types: &[Type]) -> Result<Vec<ArrayRef>, UdfError> {
        let mut columns = Vec::with_capacity(types.len());
        let mut result = Ok(());
        for i in 0..self.len {
            // SAFETY: the library filled `len` columns, and gave them to us; each is read once.
            let column = unsafe { self.ptr.add(i).read() };
            match types.get(i) {
                Some(data_type) if result.is_ok() => match column.import(*data_type) {
                    Ok(array) => columns.push(array),
                    Err(e) => result = Err(e),
                },
                _ => drop(column),
            }
        }
        if let (Ok(layout), true) = (Layout::array::<CColumn>(self.capacity), self.capacity > 0) {
            // SAFETY: a list of that capacity, made by the library's allocator, which is the system's.
            unsafe { System.dealloc(self.ptr.cast(), layout) }
        }
        result?;
        if self.error || self.len != types.len() {
            return Err(UdfError::Broken("the library gave another number of columns".to_owned()));
        }
        Ok(columns)
    }
}

/// A call of `__run`.
///
/// # Errors
/// `Panicked` where the function did; `Broken` where the result is not of the declared type.
pub(crate) fn run(
    run: Run,
    name: &str,
    columns: &[ArrayRef],
    args: &[Arg],
    returns: Type,
) -> Result<ArrayRef, UdfError> {
    let columns = Columns::of(columns, args, None)?;
    // SAFETY: the symbol is `__run` of a plugin, checked when it was loaded; it takes the columns over and catches the
    // function's panics.
    match unsafe { run(columns) } {
        RunResult::Ok(column) => column.import(returns),
        RunResult::Err => Err(UdfError::Panicked(name.to_owned())),
    }
}

/// Whether a type has this size: what the interface was written against.
const fn sized<T>(bytes: usize) -> bool {
    size_of::<MaybeUninit<T>>() == bytes
}

// A library built with another idea of these would read other memory.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(sized::<CColumn>(152));
    assert!(sized::<Columns>(32));
    assert!(sized::<RunResult>(160));
    assert!(sized::<DrainResult>(40));
    assert!(sized::<Handle>(8));
    assert!(sized::<FfiFuture<bool>>(24));
};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn arg(data_type: Type) -> Arg {
        Arg { data_type, optional: false }
    }

    #[test]
    fn sizes_are_those_of_the_plugin() {
        assert_eq!(size_of::<CColumn>(), 152);
        assert_eq!(size_of::<Columns>(), 32);
        assert_eq!(size_of::<RunResult>(), 160);
        assert_eq!(size_of::<DrainResult>(), 40);
    }

    #[test]
    fn columns_cross_and_their_list_is_freed() {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["a", "b"]))];
        let args = [arg(Type::Bigint), arg(Type::String)];
        let back = Columns::of(&columns, &args, None).unwrap().take(&[Type::Bigint, Type::String]).unwrap();
        assert_eq!(format!("{back:?}"), format!("{columns:?}"));
        let short = Columns::of(&columns, &args, None).unwrap().take(&[Type::Bigint]).unwrap_err();
        assert!(short.to_string().contains("columns") || short.to_string().contains("number"), "{short}");
    }
}
