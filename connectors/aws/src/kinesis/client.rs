//! Calls to the service about one stream, with what their answers mean.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::describe_stream_summary::DescribeStreamSummaryOutput;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ChildShard, ShardFilter, ShardFilterType, ShardIteratorType};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use millstream_core::source::SplitId;
use millstream_core::{Error, ErrorKind, Result};
use tokio::sync::OnceCell;

use super::config::KinesisConfig;
use super::position::Place;
use super::shards::{KeyRange, Shard};
use crate::access::Access;
use crate::answer::Call;

/// Records per call; more than the service gives at once.
const RECORDS: i32 = 10_000;

/// One stream of the service.
#[derive(Debug)]
pub(crate) struct Stream {
    access: Access,
    name: Option<String>,
    arn: Option<String>,
    /// In the words of messages.
    pub(crate) on: String,
    client: OnceCell<Client>,
}

/// Which shards a listing is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    All,
    /// Those that take records now.
    Open,
    /// Those that took records at this time (in milliseconds) or later.
    Since(i64),
}

/// What became of the wish to read from a place.
#[derive(Debug)]
pub(crate) enum Begun {
    At(String),
    /// The service does not know the place (any more); its words.
    NoSuchPlace(String),
    /// The shard is not there any more.
    NoSuchShard,
}

/// What a call for records gave.
#[derive(Debug)]
pub(crate) enum Answer {
    Records(GetRecordsOutput),
    /// The iterator has outlived its five minutes.
    IteratorExpired,
}

impl Stream {
    pub(crate) fn new(config: &KinesisConfig) -> Self {
        let shown = config.stream.as_deref().or(config.stream_arn.as_deref()).unwrap_or_default();
        Self {
            access: Access::new(config.region.as_deref(), config.endpoint.as_deref(), config.role_arn.as_deref()),
            name: config.stream.clone(),
            arn: config.stream_arn.clone(),
            on: format!("stream {shown}"),
            client: OnceCell::new(),
        }
    }

    pub(crate) async fn client(&self) -> Result<&Client> {
        let make = async || {
            let config = aws_sdk_kinesis::config::Builder::from(self.access.config().await?)
                // A subscription may be silent for seconds, and is not stalled.
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .build();
            Ok(Client::from_conf(config))
        };
        self.client.get_or_try_init(make).await
    }

    pub(crate) fn name(&self) -> Option<String> {
        self.name.clone()
    }
    pub(crate) fn arn(&self) -> Option<String> {
        self.arn.clone()
    }

    pub(crate) fn call(&self, operation: &'static str) -> Call<'_> {
        Call { service: "kinesis", operation, on: &self.on }
    }

    /// What a failed call means for a reader: whether it happened does not matter, so it is made again.
    pub(crate) fn read_error<E>(&self, operation: &'static str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        again(self.call(operation).error(error))
    }

    /// What a failed call means for a writer.
    pub(crate) fn write_error<E>(&self, operation: &'static str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.call(operation).error(error)
    }

    /// All pages of a listing.
    pub(crate) async fn shards(&self, filter: Filter) -> Result<Vec<Shard>> {
        let client = self.client().await?;
        let filter = match filter {
            Filter::All => None,
            Filter::Open => Some(ShardFilter::builder().r#type(ShardFilterType::AtLatest)),
            Filter::Since(millis) => Some(
                ShardFilter::builder().r#type(ShardFilterType::FromTimestamp).timestamp(DateTime::from_millis(millis)),
            ),
        };
        let filter = filter.map(|f| f.build().map_err(|e| Error::bug("a shard filter").caused_by(e))).transpose()?;
        let mut shards = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let call = client.list_shards();
            let call = match &next {
                // The token names the stream and the filter.
                Some(token) => call.next_token(token),
                None => call.set_stream_name(self.name()).set_stream_arn(self.arn()).set_shard_filter(filter.clone()),
            };
            let page = match call.send().await {
                Ok(page) => page,
                // The listing took longer than a token lives.
                Err(e) if e.code() == Some("ExpiredNextTokenException") => {
                    return Err(Error::unavailable(format!("ListShards on {}: the listing took too long", self.on)));
                }
                Err(e) => return Err(self.read_error("ListShards", e)),
            };
            shards.extend(page.shards().iter().map(listed));
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(shards);
            }
        }
    }

    /// An iterator that begins at a place.
    pub(crate) async fn iterator(&self, shard: &SplitId, place: &Place) -> Result<Begun> {
        use ShardIteratorType as Type;
        let call = self.client().await?.get_shard_iterator();
        let call = call.set_stream_name(self.name()).set_stream_arn(self.arn()).shard_id(&shard.0);
        let call = match place {
            Place::Beginning => call.shard_iterator_type(Type::TrimHorizon),
            Place::Time(millis) => {
                call.shard_iterator_type(Type::AtTimestamp).timestamp(DateTime::from_millis(*millis))
            }
            Place::Behind { sequence, sub: None, .. } => {
                call.shard_iterator_type(Type::AfterSequenceNumber).starting_sequence_number(sequence)
            }
            Place::Behind { sequence, sub: Some(_), .. } => {
                call.shard_iterator_type(Type::AtSequenceNumber).starting_sequence_number(sequence)
            }
        };
        let error = match call.send().await {
            Ok(output) => {
                let iterator = output.shard_iterator.ok_or_else(|| {
                    Error::unavailable(format!("GetShardIterator on {}: the answer has no iterator", self.on))
                })?;
                return Ok(Begun::At(iterator));
            }
            Err(error) => error,
        };
        let said = error.message().unwrap_or_default().to_owned();
        match (error.code(), place) {
            (Some("InvalidArgumentException"), Place::Behind { .. }) => Ok(Begun::NoSuchPlace(said)),
            // A clock that is ahead of the service's has named a time that is still to come there.
            (Some("InvalidArgumentException"), Place::Time(_)) => {
                Err(Error::unavailable(format!("GetShardIterator on {}: {said}", self.on)))
            }
            (Some("ResourceNotFoundException"), _) if said.contains(&shard.0) => Ok(Begun::NoSuchShard),
            _ => Err(self.read_error("GetShardIterator", error)),
        }
    }

    /// The records behind an iterator.
    pub(crate) async fn records(&self, iterator: &str) -> Result<Answer> {
        let call =
            self.client().await?.get_records().shard_iterator(iterator).limit(RECORDS).set_stream_arn(self.arn());
        match call.send().await {
            Ok(output) => Ok(Answer::Records(output)),
            Err(e) if e.code() == Some("ExpiredIteratorException") => Ok(Answer::IteratorExpired),
            Err(e) => Err(self.read_error("GetRecords", e)),
        }
    }

    /// The stream's properties.
    pub(crate) async fn summary(&self) -> Result<DescribeStreamSummaryOutput> {
        let call = self.client().await?.describe_stream_summary();
        let call = call.set_stream_name(self.name()).set_stream_arn(self.arn());
        call.send().await.map_err(|e| self.read_error("DescribeStreamSummary", e))
    }

    /// The stream's ARN, asked for where the options name the stream.
    pub(crate) async fn known_arn(&self) -> Result<String> {
        if let Some(arn) = self.arn() {
            return Ok(arn);
        }
        let summary = self.summary().await?;
        let arn = summary.stream_description_summary().map(|s| s.stream_arn().to_owned());
        arn.ok_or_else(|| Error::unavailable(format!("{} has no ARN yet", self.on)))
    }

    /// How long records are kept, in milliseconds.
    pub(crate) async fn retention(&self) -> Result<i64> {
        let summary = self.summary().await?;
        let hours = summary.stream_description_summary().map_or(24, |s| s.retention_period_hours());
        Ok(i64::from(hours) * 3_600_000)
    }
}

/// An error of a call that only reads: what may have happened can be done again.
pub(crate) fn again(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Indeterminate => Error::unavailable(error.message()),
        _ => error,
    }
}

fn ids<'a>(names: impl Iterator<Item = &'a str>) -> Vec<SplitId> {
    names.map(|n| SplitId(n.to_owned())).collect()
}

fn listed(shard: &aws_sdk_kinesis::types::Shard) -> Shard {
    let range = shard.hash_key_range().and_then(|r| KeyRange::parse(r.starting_hash_key(), r.ending_hash_key()));
    let ended = shard.sequence_number_range().is_some_and(|r| r.ending_sequence_number().is_some());
    Shard {
        id: SplitId(shard.shard_id().to_owned()),
        parents: ids(shard.parent_shard_id().into_iter().chain(shard.adjacent_parent_shard_id())),
        range,
        closed: ended,
    }
}

/// A shard as the last answer of one of its parents names it.
pub(crate) fn child(shard: &ChildShard) -> Shard {
    let range = shard.hash_key_range().and_then(|r| KeyRange::parse(r.starting_hash_key(), r.ending_hash_key()));
    Shard {
        id: SplitId(shard.shard_id().to_owned()),
        parents: ids(shard.parent_shards().iter().map(String::as_str)),
        range,
        closed: false,
    }
}
