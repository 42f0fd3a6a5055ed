//! A trip as the tests' own folds see it: its times and amounts as texts, and its row in the table.

use chrono::DateTime;
use serde_json::json;

use crate::rows::{self, Row};

/// A time in seconds since the epoch, in UTC, as a text.
pub fn stamp(seconds: i64, format: &str) -> String {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().format(format).to_string()
}

/// An amount in cents.
pub fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// What the events of a trip say. Times are in seconds since the epoch, amounts in cents.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The key.
    pub id: &'a str,
    /// Said by the start.
    pub pickup: i64,
    /// Said by the end.
    pub dropoff: i64,
    /// Said by the start.
    pub zone: u64,
    /// Said by the start.
    pub estimate: u64,
    /// Said by the end.
    pub fare: u64,
    /// Said by the end, of some.
    pub tip: Option<u64>,
}

impl Facts<'_> {
    /// The trip's row in the table when these of its events have come; none before the first.
    pub fn row(&self, started: bool, ended: bool) -> Option<Row> {
        let status = match (started, ended) {
            (true, true) => "COMPLETED",
            (true, false) => "STARTED",
            (false, true) => "AWAITING_START",
            (false, false) => return None,
        };
        let instant = |seconds| stamp(seconds, "%Y-%m-%dT%H:%M:%SZ");
        let number = |cents: u64| serde_json::from_str::<serde_json::Value>(&money(cents)).unwrap();
        let mut row = json!({ "trip_id": self.id, "status": status });
        if started {
            row["pickup_at"] = instant(self.pickup).into();
            row["zone"] = self.zone.into();
            row["estimate"] = number(self.estimate);
        }
        if ended {
            row["dropoff_at"] = instant(self.dropoff).into();
            row["fare"] = number(self.fare);
            if let Some(tip) = self.tip {
                row["tip"] = number(tip);
            }
        }
        Some(rows::parse(&row.to_string()))
    }
}
