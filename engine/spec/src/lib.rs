//! The pipeline language: YAML with places, the typed model, findings, and the editor's JSON Schema.

pub mod codes;
pub mod diagnostic;
pub mod model;
pub mod span;

pub use diagnostic::{Finding, Severity};
pub use span::{Span, Spanned};
