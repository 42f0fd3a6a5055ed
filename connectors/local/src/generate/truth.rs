//! The true KPIs per pickup day, as the flagship pipeline must find them: computed from the trips, not from their
//! records, in whole cents.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use millstream_core::Result;

use super::record;
use super::trip::Trips;
use crate::io_error::io_error;

#[derive(Debug, Clone, Copy)]
struct Day {
    trips: u64,
    sum: u64,
    max: u64,
    min: u64,
}

/// The KPIs of the first `count` trips as JSON lines in the order of the days.
pub(crate) fn lines(trips: &Trips, count: u64) -> Vec<u8> {
    let mut days = BTreeMap::<i64, Day>::new();
    for index in 0..count {
        let trip = trips.trip(index);
        if trip.completes() {
            let fare = trips.fare(index).cents();
            let day =
                days.entry(trip.pickup.div_euclid(86_400)).or_insert(Day { trips: 0, sum: 0, max: fare, min: fare });
            day.trips += 1;
            day.sum += fare;
            day.max = day.max.max(fare);
            day.min = day.min.min(fare);
        }
    }
    let mut out = Vec::new();
    for (number, day) in days {
        out.extend_from_slice(b"{\"date\":\"");
        record::write_date(number, &mut out);
        // The average of a decimal(10,2) is a decimal(14,6) that is cut, not rounded.
        let average = u128::from(day.sum) * 10_000 / u128::from(day.trips);
        let _ = writeln!(
            out,
            "\",\"total_fare\":{},\"trip_count\":{},\"average_fare\":{}.{:06},\"max_fare\":{},\"min_fare\":{}}}",
            money(day.sum),
            day.trips,
            average / 1_000_000,
            average % 1_000_000,
            money(day.max),
            money(day.min)
        );
    }
    out
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Writes [`lines`] to `path`; both parts of a dataset may do so at once, with the same bytes.
pub(crate) fn write(trips: &Trips, count: u64, path: &Path, part: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{part}.tmp"));
    fs::write(&staged, lines(trips, count)).map_err(|e| io_error("write", &staged, e))?;
    fs::rename(&staged, path).map_err(|e| io_error("write", path, e))
}
