//! Columns over the Arrow C data interface, which is what makes this process and a plugin of another Arrow release
//! understand each other: <https://arrow.apache.org/docs/format/CDataInterface.html>.
//!
//! Only flat columns cross. Going out, buffers are shared and stay until the plugin releases the column; coming back,
//! values are copied and the plugin's memory is released at once.

#![expect(unsafe_code, reason = "structs shared with another library; each use says why it holds")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};

use crate::error::UdfError;
use crate::types::Type;

/// `struct ArrowSchema`.
#[repr(C)]
pub(crate) struct CSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut CSchema,
    dictionary: *mut CSchema,
    release: Option<unsafe extern "C" fn(*mut CSchema)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`.
#[repr(C)]
pub(crate) struct CArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut CArray,
    dictionary: *mut CArray,
    release: Option<unsafe extern "C" fn(*mut CArray)>,
    private_data: *mut c_void,
}

/// A column with its type: what crosses.
#[repr(C)]
pub(crate) struct CColumn {
    array: CArray,
    schema: CSchema,
}

const NULLABLE: i64 = 2;

impl Drop for CSchema {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the interface says that whoever holds a struct that is not released may release it, once;
            // `release` sets itself to null.
            unsafe { release(self) }
        }
    }
}

impl Drop for CArray {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: as for `CSchema`.
            unsafe { release(self) }
        }
    }
}

/// Told when the plugin lets a column go.
pub(crate) type OnRelease = Arc<dyn Fn() + Send + Sync>;

/// What stays while the plugin has a column.
struct Lent {
    buffers: [*const c_void; 3],
    /// Keeps the buffers.
    _owners: [Option<Buffer>; 3],
    on_release: Option<OnRelease>,
}

unsafe extern "C" fn release_array(array: *mut CArray) {
    // SAFETY: called with a struct that `export` made, by the interface exactly once; `private_data` is the box it
    // leaked. A null pointer breaks the interface and is left alone.
    let Some(array) = (unsafe { array.as_mut() }) else { return };
    array.release = None;
    let lent = std::mem::replace(&mut array.private_data, ptr::null_mut()).cast::<Lent>();
    if lent.is_null() {
        return;
    }
    // SAFETY: see above.
    let lent = unsafe { Box::from_raw(lent) };
    let on_release = lent.on_release.clone();
    drop(lent);
    if let Some(on_release) = on_release {
        on_release();
    }
}

unsafe extern "C" fn release_schema(schema: *mut CSchema) {
    // SAFETY: a struct that `export` made: it owns nothing, all it points at is static.
    if let Some(schema) = unsafe { schema.as_mut() } {
        schema.release = None;
    }
}

impl CColumn {
    /// A column of exactly `data_type` on its way out. Buffers begin with the first value, so that the receiver needs
    /// no offset, and are aligned for their values, as Arrow's typed arrays guarantee.
    ///
    /// # Errors
    /// Where the column has another type: a cast was forgotten.
    pub(crate) fn export(column: &ArrayRef, data_type: Type, on_release: Option<OnRelease>) -> Result<Self, UdfError> {
        let owners = buffers(column, data_type).ok_or_else(|| {
            UdfError::Broken(format!("a column of {} was given where {data_type} is declared", column.data_type()))
        })?;
        let [validity, values, data] = &owners;
        let pointer = |b: &Option<Buffer>| b.as_ref().map_or(ptr::null(), |b| b.as_ptr().cast::<c_void>());
        let buffers = [pointer(validity), pointer(values), pointer(data)];
        let mut lent = Box::new(Lent { buffers, _owners: owners, on_release });
        let n_buffers = if data_type.width().is_some() { 2 } else { 3 };
        let length = i64::try_from(column.len()).map_err(|_| UdfError::Broken("a column is too long".to_owned()))?;
        let array = CArray {
            length,
            null_count: i64::try_from(column.null_count()).unwrap_or(-1),
            offset: 0,
            n_buffers,
            n_children: 0,
            buffers: lent.buffers.as_mut_ptr(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: Some(release_array),
            private_data: Box::into_raw(lent).cast(),
        };
        let schema = CSchema {
            format: data_type.format().as_ptr(),
            name: c"".as_ptr(),
            metadata: ptr::null(),
            flags: NULLABLE,
            n_children: 0,
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: Some(release_schema),
            private_data: ptr::null_mut(),
        };
        Ok(Self { array, schema })
    }

    /// Copies a column that a plugin gave, and lets the plugin's go.
    ///
    /// # Errors
    /// Where it is not a column of `data_type`.
    pub(crate) fn import(self, data_type: Type) -> Result<ArrayRef, UdfError> {
        let Self { array, schema } = self;
        if schema.format.is_null() {
            return Err(UdfError::Broken("the library gave a column without a type".to_owned()));
        }
        // SAFETY: the interface says that `format` is a C string that lives until the schema is released.
        let format = unsafe { CStr::from_ptr(schema.format) };
        if format != data_type.format() {
            let given = Type::ALL.into_iter().find(|t| t.format() == format);
            let given = given.map_or_else(|| format.to_string_lossy().into_owned(), |t| t.name().to_owned());
            return Err(UdfError::Broken(format!("the library gives {given}, and {data_type} is declared")));
        }
        let copied = copy(&array, data_type);
        drop(array);
        copied
    }
}

/// Validity, values or offsets, bytes; none where the column is of another type.
fn buffers(column: &ArrayRef, data_type: Type) -> Option<[Option<Buffer>; 3]> {
    fn values<P: ArrowPrimitiveType>(column: &ArrayRef) -> Option<Buffer> {
        Some(column.as_primitive_opt::<P>()?.values().inner().clone())
    }
    let validity = column.nulls().filter(|n| n.null_count() > 0).map(|n| n.inner().sliced());
    let (values, data) = match data_type {
        Type::Int => (values::<Int32Type>(column)?, None),
        Type::Bigint => (values::<Int64Type>(column)?, None),
        Type::Uint => (values::<UInt32Type>(column)?, None),
        Type::Ubigint => (values::<UInt64Type>(column)?, None),
        Type::Real => (values::<Float32Type>(column)?, None),
        Type::Double => (values::<Float64Type>(column)?, None),
        Type::String => {
            let text = column.as_string_opt::<i32>()?;
            (text.offsets().inner().inner().clone(), Some(text.values().clone()))
        }
        Type::Bytes => {
            let bytes = column.as_binary_opt::<i32>()?;
            (bytes.offsets().inner().inner().clone(), Some(bytes.values().clone()))
        }
    };
    Some([validity, Some(values), data])
}

/// The values of a column of `data_type`.
fn copy(array: &CArray, data_type: Type) -> Result<ArrayRef, UdfError> {
    let broken = |what: &str| UdfError::Broken(format!("the library gave a column with {what}"));
    let size = |n: i64| usize::try_from(n).map_err(|_| broken("a negative length"));
    let (length, offset) = (size(array.length)?, size(array.offset)?);
    let rows = length.checked_add(offset).ok_or_else(|| broken("too many rows"))?;
    let count = if data_type.width().is_some() { 2 } else { 3 };
    if size(array.n_buffers)? != count || array.buffers.is_null() {
        return Err(broken("another number of buffers than its type has"));
    }
    let buffer = |i: usize, bytes: usize| -> Result<Buffer, UdfError> {
        // SAFETY: `buffers` has `n_buffers` elements, and `i` is less than that: checked above.
        let from = unsafe { *array.buffers.add(i) }.cast::<u8>();
        match (from.is_null(), bytes) {
            (_, 0) => Ok(Buffer::from(Vec::<u8>::new())),
            (true, _) => Err(broken("a buffer that is not there")),
            // SAFETY: the interface says how long the buffers of a column of this type and length are; they live
            // until the column is released, which is after this copy.
            (false, bytes) => Ok(Buffer::from(unsafe { std::slice::from_raw_parts(from, bytes) })),
        }
    };
    // SAFETY: as above; the first buffer of a column may be missing where no value is null.
    let has_nulls = !unsafe { *array.buffers }.is_null() && array.null_count != 0;
    let validity = has_nulls.then(|| buffer(0, rows.div_ceil(8))).transpose()?;
    let mut builder = ArrayData::builder(data_type.arrow()).len(length).offset(offset).null_bit_buffer(validity);
    match data_type.width() {
        Some(width) => {
            builder = builder.add_buffer(buffer(1, rows.checked_mul(width).ok_or_else(|| broken("too many rows"))?)?);
        }
        None if rows == 0 => {
            builder = builder.add_buffer(Buffer::from(vec![0_u8; 4])).add_buffer(Buffer::from(Vec::<u8>::new()));
        }
        None => {
            let offsets = buffer(1, (rows + 1).checked_mul(4).ok_or_else(|| broken("too many rows"))?)?;
            let last = offsets.as_slice().last_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
            let bytes = usize::try_from(last).map_err(|_| broken("a negative offset"))?;
            builder = builder.add_buffer(offsets).add_buffer(buffer(2, bytes)?);
        }
    }
    // Checked: offsets in order, text in UTF-8; and buffers are moved to where their values are aligned.
    let data = builder.align_buffers(true).build();
    data.map(make_array).map_err(|e| UdfError::Broken(format!("the library gave a broken column: {e}")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::{
        BinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray, UInt32Array, UInt64Array,
    };

    use super::*;

    #[test]
    fn structs_are_as_the_interface_says() {
        assert_eq!((size_of::<CArray>(), size_of::<CSchema>(), size_of::<CColumn>()), (80, 72, 152));
    }

    fn columns() -> Vec<(Type, ArrayRef)> {
        vec![
            (Type::Int, Arc::new(Int32Array::from(vec![Some(1), None, Some(-3), Some(4)]))),
            (Type::Bigint, Arc::new(Int64Array::from(vec![1, 2, i64::MIN, 4]))),
            (Type::Uint, Arc::new(UInt32Array::from(vec![Some(1), None, None, Some(u32::MAX)]))),
            (Type::Ubigint, Arc::new(UInt64Array::from(vec![1, 2, 3, u64::MAX]))),
            (Type::Real, Arc::new(Float32Array::from(vec![1.5, f32::NAN, 0.0, -0.0]))),
            (Type::Double, Arc::new(Float64Array::from(vec![Some(1.5), None, Some(2.5), None]))),
            (Type::String, Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("zürich")]))),
            (Type::Bytes, Arc::new(BinaryArray::from(vec![Some(b"a".as_ref()), None, Some(b""), Some(b"\xff\x00")]))),
        ]
    }

    #[test]
    fn every_type_crosses_whole_and_in_part() {
        for (data_type, column) in columns() {
            for (from, len) in [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0)] {
                let part = column.slice(from, len);
                let back = CColumn::export(&part, data_type, None).unwrap().import(data_type).unwrap();
                assert_eq!(format!("{back:?}"), format!("{part:?}"), "{data_type} {from} {len}");
            }
        }
    }

    #[test]
    fn a_column_is_released_once_and_says_so() {
        let released = Arc::new(AtomicUsize::new(0));
        let count = released.clone();
        let told: OnRelease = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let out = CColumn::export(&column, Type::Int, Some(told)).unwrap();
        assert_eq!(released.load(Ordering::Relaxed), 0);
        drop(out);
        assert_eq!(released.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn another_type_than_declared_is_said() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        assert!(CColumn::export(&column, Type::Bigint, None).is_err());
        let error = CColumn::export(&column, Type::Int, None).unwrap().import(Type::Double).unwrap_err();
        assert_eq!(error.to_string(), "the library gives int, and double is declared");
    }
}
