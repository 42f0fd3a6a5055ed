//! The user's functions as DataFusion's.

pub(crate) mod aggregate;
mod groups;
pub(crate) mod misuse;
pub(crate) mod scalar;
