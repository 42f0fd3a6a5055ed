//! User-defined functions: crates written against `arroyo-udf-plugin`, built as dynamic libraries and called from SQL.
//!
//! ```text
//! crate -> source (signature, by syn)        arguments: Arrow columns of exactly the declared types
//!       -> compile (cargo, kept by content)    |  cdata: the Arrow C data interface, abi: the plugin's structs
//!       -> library (loaded for good)           v
//!       -> Udf --------------------------> the user's function, one call per batch --> a column
//! ```
//!
//! This crate knows Arrow and `millstream-core`. It shares no Rust type with a plugin, which may be built with another
//! Arrow and another compiler.
//!
//! Invariants:
//! 1. A library is never unloaded.
//! 2. A column that went out is released by the plugin, exactly once; one that came back is copied and released here.
//! 3. What the user's function does wrong is an error of the rows it was called with.

mod abi;
mod calls;
mod cdata;
pub mod compile;
mod driver;
mod error;
mod library;
mod runtime;
pub mod source;
mod starter;
mod types;
mod udf;

pub use calls::{Answer, Calls};
pub use error::UdfError;
pub use source::Declared;
pub use starter::starter;
pub use types::{Arg, Calling, Kind, Signature, Type};
pub use udf::Udf;
