//! What a pipeline needs of Kinesis: the stream, and the actions on it.

use std::time::Duration;

use aws_sdk_kinesis::types::{StreamMode, StreamModeDetails, StreamStatus};
use millstream_core::resource::{Grant, Presence, Resource, Use};
use millstream_core::{Error, Result};

use super::client::Stream;
use super::config::{KinesisConfig, ReadMode};

/// How long a stream may take to be made.
const MAKING: Duration = Duration::from_secs(120);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

/// The actions of a use on the stream, without which it fails.
pub(super) fn actions(config: &KinesisConfig, of: &Use<'_>) -> &'static [&'static str] {
    match (of, config.read) {
        (Use::Source(_), ReadMode::Polling) => {
            &["kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"]
        }
        (Use::Source(_), ReadMode::FanOut) if is_arn(config) => {
            &["kinesis:DescribeStreamSummary", "kinesis:ListShards"]
        }
        (Use::Source(_), ReadMode::FanOut) => {
            &["kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:RegisterStreamConsumer"]
        }
        (Use::Sink(_), _) => &["kinesis:PutRecords"],
        _ => &[],
    }
}

/// The actions of a use on its registered consumer.
fn on_consumer(config: &KinesisConfig) -> &'static [&'static str] {
    match is_arn(config) {
        true => &["kinesis:SubscribeToShard"],
        false => &["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"],
    }
}

/// Whether the consumer is registered by somebody else.
fn is_arn(config: &KinesisConfig) -> bool {
    config.consumer.as_deref().is_some_and(|consumer| consumer.starts_with("arn:"))
}

/// The stream's ARN, with `{region}` and `{account}` where the options do not say them.
fn arn(config: &KinesisConfig) -> String {
    match (&config.stream_arn, &config.stream) {
        (Some(arn), _) => arn.clone(),
        (None, name) => {
            let region = config.region.as_deref().unwrap_or("{region}");
            format!("arn:aws:kinesis:{region}:{{account}}:stream/{}", name.as_deref().unwrap_or_default())
        }
    }
}

/// The stream as something a pipeline needs.
pub(super) fn resource(config: &KinesisConfig, of: &Use<'_>) -> Option<Resource> {
    let actions = actions(config, of);
    if actions.is_empty() {
        return None;
    }
    let arn = arn(config);
    let mut grants = vec![Grant::on(&arn, actions)];
    let mut properties = Vec::new();
    if let (Use::Source(_), ReadMode::FanOut, Some(consumer)) = (of, config.read, &config.consumer) {
        // A registered consumer's ARN ends with the time at which it was.
        let consumers = if is_arn(config) { consumer.clone() } else { format!("{arn}/consumer/{consumer}:*") };
        grants.push(Grant::on(consumers, on_consumer(config)));
        properties.push(format!("consumer {consumer}"));
    }
    let of_arn = |arn: &String| arn.rsplit('/').next().map(str::to_owned);
    let name = config.stream.clone().or_else(|| config.stream_arn.as_ref().and_then(of_arn)).unwrap_or_default();
    Some(Resource { kind: "Kinesis stream", name, properties, grants })
}

/// Makes the stream where it is not there: on demand, so that it is paid by use.
pub(super) async fn create(stream: &Stream) -> Result<Presence> {
    let Some(name) = stream.name() else {
        // A stream of an ARN may be another account's.
        return stream.summary().await.map(|_| Presence::Exists);
    };
    let client = stream.client().await?;
    let on_demand = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
    let on_demand = on_demand.map_err(|e| Error::bug("a stream's mode is incomplete").caused_by(e))?;
    let presence = match client.create_stream().stream_name(&name).stream_mode_details(on_demand).send().await {
        Ok(_) => Presence::Created,
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => Presence::Exists,
        Err(error) => return Err(stream.write_error("CreateStream", error)),
    };
    let active = async {
        loop {
            let summary = stream.summary().await?;
            let status = summary.stream_description_summary().map(|d| d.stream_status().clone());
            if matches!(status, Some(StreamStatus::Active | StreamStatus::Updating)) {
                return Ok(presence);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let late = |_| Error::unavailable(format!("{} is still being made after {MAKING:?}", stream.on));
    tokio::time::timeout(MAKING, active).await.map_err(late)?
}
