//! Options of `generate`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::Rate;

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// Taxi trips: a stream of starts and a stream of ends, joined by `trip_id`.
    #[default]
    TaxiTrips,
}

/// Which stream of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// One record when a trip starts.
    Starts,
    /// One record when a trip ends.
    Ends,
}

/// Options of `generate`: invented records, the same for the same seed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateConfig {
    /// What is generated.
    #[serde(default)]
    pub dataset: Dataset,
    /// Which of the dataset's streams this is. Both with the same options describe the same trips.
    pub part: Part,
    /// How many trips; default 100000, or endless where `rate` is given.
    pub trips: Option<u64>,
    /// How many days of event time the trips are spread over (endless: per 100000 trips). Default 7.
    #[serde(default = "default_days")]
    pub days: u32,
    /// Another seed gives other trips. Default 42.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The first day, such as `2024-05-20`.
    #[serde(default = "default_start_date")]
    pub start_date: String,
    /// Records per time, such as `5000/s`; default as fast as they are read. Records then arrive now, in order.
    pub rate: Option<Rate>,
    /// A file to write the true KPIs per pickup day to, as JSON lines.
    pub truth: Option<String>,
    /// How much trouble there is in the stream.
    #[serde(default)]
    pub shares: Shares,
}

/// Shares of trouble, each between 0 and 1.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// Records that come twice, byte for byte. Default 0.01.
    pub duplicates: f64,
    /// Records out of order by less than 10 minutes. Default 0.05.
    pub disorder: f64,
    /// Records that come one to five hours late. Default 0.001.
    pub hours_late: f64,
    /// Records cut off in the middle. Default 0.001.
    pub bad_json: f64,
    /// Records without a required field. Default 0.001.
    pub missing_field: f64,
    /// Records with text where a number belongs. Default 0.001.
    pub wrong_type: f64,
    /// Records with a day that does not exist. Default 0.001.
    pub bad_date: f64,
    /// Well-formed records with a zone or fare out of range. Default 0.001.
    pub bad_rule: f64,
    /// Trips whose start never comes. Default 0.004.
    pub unmatched_ends: f64,
    /// Trips whose end never comes. Default 0.004.
    pub unfinished_trips: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            duplicates: 0.01,
            disorder: 0.05,
            hours_late: 0.001,
            bad_json: 0.001,
            missing_field: 0.001,
            wrong_type: 0.001,
            bad_date: 0.001,
            bad_rule: 0.001,
            unmatched_ends: 0.004,
            unfinished_trips: 0.004,
        }
    }
}

impl Shares {
    /// The shares with their names.
    pub(crate) fn named(&self) -> [(&'static str, f64); 10] {
        [
            ("duplicates", self.duplicates),
            ("disorder", self.disorder),
            ("hours_late", self.hours_late),
            ("bad_json", self.bad_json),
            ("missing_field", self.missing_field),
            ("wrong_type", self.wrong_type),
            ("bad_date", self.bad_date),
            ("bad_rule", self.bad_rule),
            ("unmatched_ends", self.unmatched_ends),
            ("unfinished_trips", self.unfinished_trips),
        ]
    }
}

fn default_days() -> u32 {
    7
}
fn default_seed() -> u64 {
    42
}
fn default_start_date() -> String {
    "2024-05-20".into()
}
