//! `tables.<id>`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Delivery;
use super::scalar::DurationText;
use crate::span::Spanned;

/// A keyed table in a store outside the engine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// A name bound by the profile.
    pub(crate) store: Spanned<String>,
    /// The column or columns that identify a row.
    #[schemars(schema_with = "super::one_or_many")]
    pub(crate) key: Vec<Spanned<String>>,
    /// How long after its last write a row expires in the store. Default: never.
    pub(crate) ttl: Option<DurationText>,
    /// How long after its last event the engine forgets a key: longer than a key stays in progress. Default: never.
    pub(crate) forget_after: Option<DurationText>,
    /// What to do with rows of more than 396 KB. Default: `fail_row`.
    pub(crate) oversize: Option<Oversize>,
    /// What to do about trouble, where it differs from the pipeline's `delivery`.
    pub(crate) delivery: Option<Delivery>,
}

/// What to do with rows that are too large.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Oversize {
    /// The row is a bad row.
    FailRow,
    /// These columns are cut until it fits.
    Truncate(Vec<Spanned<String>>),
}
