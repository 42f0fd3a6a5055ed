//! The Arrow types that leave a query: those of the pipeline language, so that every other part knows them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use millstream_core::batch::TIMESTAMP;

/// The type a column of `found` type leaves with, or none where the language has no such type.
pub(crate) fn language_type(found: &DataType) -> Option<DataType> {
    Some(match found {
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            DataType::Decimal128(*p, *s)
        }
        DataType::Decimal256(p, s) if *p <= 38 => DataType::Decimal128(*p, *s),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => TIMESTAMP,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, value) => language_type(value)?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(Arc::new(language_field(item)?)),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|f| language_field(f)).collect::<Option<Fields>>()?)
        }
        _ => return None,
    })
}

fn language_field(field: &Field) -> Option<Field> {
    Some(field.clone().with_data_type(language_type(field.data_type())?))
}

/// Whether the type is an instant in a named zone: it must become UTC before the zone is dropped.
pub(crate) fn is_zoned(found: &DataType) -> bool {
    matches!(found, DataType::Timestamp(_, Some(_)))
}

/// Microseconds in UTC, with the zone in the type.
pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}
