//! A column while its rows are being decoded: typed values that can be cut back to any earlier length.
//!
//! Values are written straight into the vectors that become Arrow buffers. A record that turns out bad is undone
//! by [`Column::truncate`], so no value is ever copied twice.
//!
//! Invariants, between records: 1. all columns of a decoder have as many values as rows were accepted;
//! 2. a required column has no nulls, except below a struct that is itself null.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, GenericByteArray, ListArray,
    NullBufferBuilder, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, ByteArrayType, Date32Type, Field, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use millstream_core::schema::{Column as Declared, ColumnType, Zone};
use millstream_core::{Error, Result};

use crate::json::Shape;
use crate::number::{DecimalType, Number};
use crate::problem::{Described, Problem};
use crate::temporal::{DateFormats, TimestampFormats};

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Values of variable length.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Texts {
    fn new() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
    /// Ends the value whose bytes were appended. Decoders refuse runs of more than 2 GiB, and no value is longer
    /// than its text, so the offset fits.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
    }
    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.bytes.truncate(self.offsets.last().map_or(0, |end| *end as usize));
    }
    fn finish<T: ByteArrayType<Offset = i32>>(&mut self, nulls: Option<NullBuffer>) -> Result<GenericByteArray<T>> {
        let (rows, bytes) = (self.offsets.len(), self.bytes.len());
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows));
        self.offsets.push(0);
        let values = std::mem::replace(&mut self.bytes, Vec::with_capacity(bytes));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(GenericByteArray::try_new(offsets, Buffer::from_vec(values), nulls)?)
    }
}

/// The values of a column, by type.
#[derive(Debug)]
pub(crate) enum Values {
    Text(Texts),
    Json(Texts),
    Bytes(Texts),
    Int(Vec<i32>),
    Bigint(Vec<i64>),
    Double(Vec<f64>),
    Bool(BooleanBufferBuilder),
    Decimal { values: Vec<i128>, decimal: DecimalType },
    Timestamp { values: Vec<i64>, formats: TimestampFormats },
    Date { values: Vec<i32>, formats: DateFormats },
    Struct { shape: Shape, fields: Vec<Column> },
    List { offsets: Vec<i32>, item: Box<Column> },
}

/// A column while its rows are being decoded.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) values: Values,
    pub(crate) nulls: NullBufferBuilder,
    /// The object (a number given to each) that last had this field: tells what is missing and what is double.
    pub(crate) seen: u64,
    pub(crate) optional: bool,
    pub(crate) described: Described,
    field: Arc<Field>,
}

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// `Config` where a format or a zone is wrong.
    pub(crate) fn new(declared: &Declared) -> Result<Self> {
        let wrong = |message: String| Error::config(format!("column `{}`: {message}", declared.name));
        let values = match &declared.column_type {
            ColumnType::Timestamp => Values::Timestamp {
                values: Vec::new(),
                formats: TimestampFormats::new(&declared.formats, &declared.zone).map_err(wrong)?,
            },
            ColumnType::Date => {
                Values::Date { values: Vec::new(), formats: DateFormats::new(&declared.formats).map_err(wrong)? }
            }
            ColumnType::Decimal(precision, scale) => Values::Decimal {
                values: Vec::new(),
                decimal: DecimalType::new(*precision, *scale, declared.excess_digits),
            },
            ColumnType::String => Values::Text(Texts::new()),
            ColumnType::Json => Values::Json(Texts::new()),
            ColumnType::Bytes => Values::Bytes(Texts::new()),
            ColumnType::Int => Values::Int(Vec::new()),
            ColumnType::Bigint => Values::Bigint(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            ColumnType::Struct(fields) => {
                let children: Vec<Self> = fields
                    .iter()
                    .map(|(name, t, optional)| Self::within(declared, name, &format!(".{name}"), t, *optional))
                    .collect::<Result<_>>()?;
                let shape = Shape::of_paths(fields.iter().map(|(name, _, _)| std::slice::from_ref(name)));
                Values::Struct { shape, fields: children }
            }
            ColumnType::List(item, optional) => Values::List {
                offsets: vec![0],
                item: Box::new(Self::within(declared, "item", "[]", item, *optional)?),
            },
        };
        Ok(Self {
            values,
            nulls: NullBufferBuilder::new(0),
            seen: 0,
            optional: declared.optional,
            described: Described::new(declared),
            field: Arc::new(declared.column_type.field(&declared.name, declared.optional)),
        })
    }

    /// A field or an item of a column; it has the column's formats, zone and rounding.
    fn within(outer: &Declared, name: &str, suffix: &str, column_type: &ColumnType, optional: bool) -> Result<Self> {
        let timed = matches!(column_type, ColumnType::Struct(_) | ColumnType::List(..) | ColumnType::Timestamp);
        let declared = Declared {
            name: format!("{}{suffix}", outer.name),
            column_type: column_type.clone(),
            optional,
            path: Vec::new(),
            formats: if timed { outer.formats.clone() } else { Vec::new() },
            zone: if timed { outer.zone.clone() } else { Zone::Utc },
            excess_digits: outer.excess_digits,
        };
        let mut column = Self::new(&declared)?;
        column.field = Arc::new(column_type.field(name, optional));
        Ok(column)
    }

    /// Appends a null.
    pub(crate) fn push_null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Text(texts) | Values::Json(texts) | Values::Bytes(texts) => texts.end(),
            Values::Int(values) | Values::Date { values, .. } => values.push(0),
            Values::Bigint(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::Double(values) => values.push(0.0),
            Values::Bool(values) => values.append(false),
            Values::Decimal { values, .. } => values.push(0),
            Values::Struct { fields, .. } => fields.iter_mut().for_each(Self::push_null),
            Values::List { offsets, .. } => offsets.push(offsets.last().copied().unwrap_or(0)),
        }
    }

    /// Appends a null, if the column may have one.
    #[inline]
    pub(crate) fn push_nothing(&mut self, problem: Problem) -> Result<(), Problem> {
        if !self.optional {
            return Err(problem);
        }
        self.push_null();
        Ok(())
    }

    /// Appends a number; `text` is where it was scanned.
    #[inline(always)]
    pub(crate) fn push_number(&mut self, number: &Number, text: &[u8]) -> Result<(), Problem> {
        match &mut self.values {
            Values::Int(values) => {
                values.push(i32::try_from(number.to_i64(text)?).map_err(|_| Problem::OutOfRange)?);
            }
            Values::Bigint(values) => values.push(number.to_i64(text)?),
            Values::Double(values) => values.push(number.to_f64(text)?),
            Values::Decimal { values, decimal } => values.push(number.decimal(text, decimal)?),
            Values::Timestamp { values, formats } => match formats.parse_number(number, text) {
                Some(micros) => values.push(micros),
                None if formats.reads_numbers() => return Err(Problem::BadTimestamp),
                None => return Err(Problem::WrongType),
            },
            _ => return Err(Problem::WrongType),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends the value a text stands for, for types whose values may be texts. Strings are for the caller, who
    /// knows whether "" is a value.
    #[inline(always)]
    pub(crate) fn push_text(&mut self, text: &[u8]) -> Result<(), Problem> {
        if text.is_empty() {
            return self.push_nothing(Problem::Empty);
        }
        match &mut self.values {
            Values::Timestamp { values, formats } => {
                values.push(formats.parse(text).ok_or(Problem::BadTimestamp)?);
            }
            Values::Date { values, formats } => values.push(formats.parse(text).ok_or(Problem::BadDate)?),
            Values::Bytes(texts) => {
                let start = texts.bytes.len();
                if BASE64.decode_vec(text, &mut texts.bytes).is_err() {
                    texts.bytes.truncate(start);
                    return Err(Problem::WrongType);
                }
                texts.end();
            }
            Values::Int(_) | Values::Bigint(_) | Values::Double(_) | Values::Decimal { .. } => {
                let number = Number::of_text(text).ok_or(Problem::WrongType)?;
                return self.push_number(&number, text);
            }
            _ => return Err(Problem::WrongType),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends a truth value.
    #[inline]
    pub(crate) fn push_bool(&mut self, value: bool) -> Result<(), Problem> {
        let Values::Bool(values) = &mut self.values else {
            return Err(Problem::WrongType);
        };
        values.append(value);
        self.nulls.append_non_null();
        Ok(())
    }

    /// Cuts the column back to its first `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.nulls.truncate(len);
        match &mut self.values {
            Values::Text(texts) | Values::Json(texts) | Values::Bytes(texts) => texts.truncate(len),
            Values::Int(values) | Values::Date { values, .. } => values.truncate(len),
            Values::Bigint(values) | Values::Timestamp { values, .. } => values.truncate(len),
            Values::Double(values) => values.truncate(len),
            Values::Bool(values) => values.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::Struct { fields, .. } => fields.iter_mut().for_each(|f| f.truncate(len)),
            Values::List { offsets, item } => {
                offsets.truncate(len + 1);
                item.truncate(offsets.last().map_or(0, |end| *end as usize));
            }
        }
    }

    /// Takes all values as an array; the column is empty again, with as much room as it had.
    ///
    /// # Errors
    /// `Bug` where an invariant is broken.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Text(texts) | Values::Json(texts) => {
                let array: StringArray = texts.finish(nulls)?;
                Arc::new(array)
            }
            Values::Bytes(texts) => {
                let array: BinaryArray = texts.finish(nulls)?;
                Arc::new(array)
            }
            Values::Int(values) => Arc::new(primitive::<Int32Type>(values, nulls)?),
            Values::Date { values, .. } => Arc::new(primitive::<Date32Type>(values, nulls)?),
            Values::Bigint(values) => Arc::new(primitive::<Int64Type>(values, nulls)?),
            Values::Timestamp { values, .. } => Arc::new(primitive::<TimestampMicrosecondType>(values, nulls)?),
            Values::Double(values) => Arc::new(primitive::<Float64Type>(values, nulls)?),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Decimal { values, .. } => {
                let array: Decimal128Array = primitive(values, nulls)?;
                Arc::new(array.with_data_type(self.field.data_type().clone()))
            }
            Values::Struct { fields, .. } => {
                let arrays = fields.iter_mut().map(Self::finish).collect::<Result<Vec<_>>>()?;
                let types = fields.iter().map(|f| f.field.clone()).collect();
                Arc::new(StructArray::try_new_with_length(types, arrays, nulls, len)?)
            }
            Values::List { offsets, item } => {
                let ends = std::mem::replace(offsets, vec![0]);
                let items = item.finish()?;
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(ListArray::try_new(item.field.clone(), offsets, items, nulls)?)
            }
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> Result<PrimitiveArray<T>> {
    let taken = std::mem::replace(values, Vec::with_capacity(values.len()));
    Ok(PrimitiveArray::try_new(ScalarBuffer::from(taken), nulls)?)
}
