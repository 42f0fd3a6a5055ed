//! The pipeline language: YAML with places, the typed model, findings, and the editor's JSON Schema.
//!
//! ```text
//! text -> yaml -> tree -> overrides -> variables -> check (against the schema of file/) -> names, columns,
//!                                                           connectors
//!      -> read (serde) -> file/ -> lower -> model
//! ```
//!
//! 1. The text is parsed once; everything else comes from the tree.
//! 2. Every finding is told, at its place; only text that is not YAML ends the reading early.
//! 3. The structs of `file/` are the one source of keys: check, editor schema and model come from them.
//! 4. What a `${VARIABLE}` gave is never part of a finding.

mod check;
pub mod codes;
mod columns;
mod connectors;
pub mod diagnostic;
mod editor;
mod file;
mod findings;
mod kinds;
mod lower;
pub mod model;
mod names;
mod overrides;
mod parse;
mod path;
mod read;
mod render;
pub mod span;
mod sqltext;
mod starter;
pub mod suggest;
mod tree;
mod variables;
mod yaml;

pub use diagnostic::{Finding, Severity};
pub use editor::json_schema;
pub use file::scalar::instant;
pub use findings::sort;
pub use parse::{ParseOptions, Parsed, parse};
pub use render::{render, to_json};
pub use span::{Span, Spanned};
pub use starter::starter;
pub use variables::redact;
