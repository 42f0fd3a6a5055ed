//! The types that cross into a UDF, and what a UDF takes and gives.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::DataType;

/// A type of the plugin interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// `i32`.
    Int,
    /// `i64`.
    Bigint,
    /// `u32`.
    Uint,
    /// `u64`.
    Ubigint,
    /// `f32`.
    Real,
    /// `f64`.
    Double,
    /// `String`, `&str`.
    String,
    /// `Vec<u8>`, `&[u8]`.
    Bytes,
}

impl Type {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 8] =
        [Self::Int, Self::Bigint, Self::Uint, Self::Ubigint, Self::Real, Self::Double, Self::String, Self::Bytes];

    /// As the pipeline file writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Bigint => "bigint",
            Self::Uint => "uint",
            Self::Ubigint => "ubigint",
            Self::Real => "real",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
        }
    }

    /// The type of this name in the pipeline file.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// As Arrow has it. A call gets exactly this: no views, no dictionaries.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Int => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Uint => DataType::UInt32,
            Self::Ubigint => DataType::UInt64,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::String => DataType::Utf8,
            Self::Bytes => DataType::Binary,
        }
    }

    /// Its format string in the Arrow C data interface.
    pub(crate) fn format(self) -> &'static std::ffi::CStr {
        match self {
            Self::Int => c"i",
            Self::Bigint => c"l",
            Self::Uint => c"I",
            Self::Ubigint => c"L",
            Self::Real => c"f",
            Self::Double => c"g",
            Self::String => c"u",
            Self::Bytes => c"z",
        }
    }

    /// Bytes of one value; none where lengths differ.
    pub(crate) fn width(self) -> Option<usize> {
        match self {
            Self::Int | Self::Uint | Self::Real => Some(4),
            Self::Bigint | Self::Ubigint | Self::Double => Some(8),
            Self::String | Self::Bytes => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arg {
    /// Its type; of an aggregate, that of its items.
    pub data_type: Type,
    /// Whether the function wants to see nulls. Where it does not, a null argument gives a null result without a call;
    /// an aggregate's function does not see them.
    pub optional: bool,
}

/// What a UDF is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One value per row.
    Scalar,
    /// One value per group: takes all values of the group.
    Aggregate,
    /// One value per row, later.
    Async,
}

impl Kind {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Aggregate => "aggregate",
            Self::Async => "async",
        }
    }
}

/// What a UDF takes and gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signature {
    /// What it is.
    pub kind: Kind,
    /// At least one.
    pub args: Vec<Arg>,
    /// What it gives; it may always be null.
    pub returns: Type,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = self.args.iter().map(|a| format!("{}{}", a.data_type, if a.optional { "?" } else { "" }));
        write!(f, "({}) -> {}", args.collect::<Vec<_>>().join(", "), self.returns)
    }
}

/// How the calls of an async UDF are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Calling {
    /// Whether rows go on in the order they came.
    pub ordered: bool,
    /// How long one call may take; then its row fails.
    pub timeout: Duration,
    /// The most calls under way at once, per worker.
    pub max_in_flight: u32,
    /// Whether equal arguments always give equal results, so that a call may be repeated after its result was used.
    pub deterministic: bool,
}

impl Default for Calling {
    fn default() -> Self {
        Self { ordered: false, timeout: Duration::from_secs(5), max_in_flight: 1000, deterministic: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_of_their_own() {
        for t in Type::ALL {
            assert_eq!(Type::named(t.name()), Some(t));
        }
        assert_eq!(Type::named("bool"), None);
    }
}
