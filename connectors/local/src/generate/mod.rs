//! `generate`: invented records, the same for the same seed, with known truth and known trouble.
//!
//! ```text
//! Trips (what is true) -> Order (when each record arrives) -> record (its bytes)
//!        \-> truth (the KPIs the flagship must find)
//! ```

mod config;
mod order;
mod random;
mod record;
mod source;
mod trip;
mod truth;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::source::SplitSource;
use millstream_core::{Error, Result};

pub use config::{Dataset, GenerateConfig, Part, Shares};

use crate::clock;
use source::GenerateSource;
use trip::{DEFAULT_TRIPS, Trips};

/// A configured generator.
#[derive(Debug)]
struct Generate {
    source: GenerateSource,
    truth: Option<PathBuf>,
}

/// How many trips; `None` is endless.
fn count(config: &GenerateConfig) -> Option<u64> {
    match (config.trips, config.rate) {
        (Some(0) | None, Some(_)) => None,
        (trips, _) => Some(trips.unwrap_or(DEFAULT_TRIPS)),
    }
}

fn connector(config: &GenerateConfig) -> Result<Generate, String> {
    let Dataset::TaxiTrips = config.dataset;
    if let Some((name, share)) = config.shares.named().into_iter().find(|(_, s)| !(0.0..=1.0).contains(s)) {
        return Err(format!("shares.{name} is {share}: a share is between 0 and 1"));
    }
    if config.days == 0 {
        return Err("days is 0: trips need at least one day".into());
    }
    let count = count(config);
    if count.is_none() && config.truth.is_some() {
        return Err("an endless stream has no truth to write: give `trips` or leave `truth` out".into());
    }
    let config = GenerateConfig { trips: config.trips.filter(|t| *t > 0), ..config.clone() };
    Ok(Generate {
        source: GenerateSource {
            trips: Arc::new(Trips::new(&config)?),
            part: config.part,
            count,
            rate: config.rate.map(|r| r.0),
            clock: clock::system(),
        },
        truth: config.truth.map(PathBuf::from),
    })
}

#[async_trait]
impl Connector for Generate {
    fn kind(&self) -> &'static str {
        "generate"
    }
    fn bounded(&self) -> bool {
        self.source.bounded()
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        if let (Some(path), Some(count)) = (self.truth.clone(), self.source.count) {
            let (trips, part) = (self.source.trips.clone(), format!("{:?}", self.source.part).to_lowercase());
            tokio::task::spawn_blocking(move || truth::write(&trips, count, &path, &part))
                .await
                .map_err(|e| Error::bug("writing the truth panicked").caused_by(e))??;
        }
        Ok(Box::new(self.source.clone()))
    }
}

/// Writes the true KPIs of a dataset to `path` as JSON lines, as `truth:` does.
///
/// # Errors
/// `Config` where the options are wrong; `Environment` and `Unavailable` where the file cannot be written.
pub fn write_truth(config: &GenerateConfig, path: &Path) -> Result<()> {
    let generate = connector(config).map_err(Error::config)?;
    let count = generate.source.count.ok_or_else(|| Error::config("an endless stream has no truth to write"))?;
    truth::write(&generate.source.trips, count, path, "truth")
}

/// The kind `generate`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "generate",
        summary: "Invented taxi trips, the same for the same seed, with duplicates, disorder and bad records",
        roles: &[Role::Source],
        built_in: true,
        options: || schemars::schema_for!(GenerateConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(connector(&config)?))
        },
    }
}

#[cfg(test)]
mod tests;
