//! Asks Kinesis whether a pipeline could use a stream: by calls that change nothing.
//!
//! Writing is tried with a call without records, and subscribing with a shard that no stream has: the service refuses both,
//! for lack of permission first.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition, StreamStatus};
use millstream_core::resource::{Obstacle, Use};

use super::client::Stream;
use super::config::{KinesisConfig, ReadMode};
use crate::probe::{Probe, absent};

/// A shard that no stream has.
const PROBE: &str = "shardId-999999999999";
/// What the service says of a request that it would never carry out.
const MALFORMED: &[&str] =
    &["ValidationException", "InvalidArgumentException", "SerializationException", "ResourceNotFoundException"];

/// What stands in the way of a use of a stream.
pub(super) async fn obstacles(stream: &Stream, config: &KinesisConfig, of: &Use<'_>) -> Vec<Obstacle> {
    let client = match stream.client().await {
        Ok(client) => client,
        Err(error) => return vec![Obstacle::fatal(error.to_string())],
    };
    let asking = Asking { stream, client };
    let mut obstacles = Vec::new();
    match asking.existence().await {
        // A sink runs without being allowed to ask whether the stream is there.
        Some(o) if o.action.is_some() => obstacles.extend(matches!(of, Use::Source(_)).then_some(o)),
        Some(o) => return vec![o],
        None => {}
    }
    match (of, config.read) {
        (Use::Source(_), ReadMode::Polling) => obstacles.extend(asking.polling().await),
        (Use::Source(_), ReadMode::FanOut) => obstacles.extend(asking.fan_out(config).await),
        (Use::Sink(_), _) => obstacles.extend(asking.writing().await),
        _ => {}
    }
    obstacles
}

struct Asking<'a> {
    stream: &'a Stream,
    client: &'a Client,
}

impl Asking<'_> {
    fn probe(&self, action: &'static str, allowed: &'static [&'static str]) -> Probe<'_> {
        let operation = action.strip_prefix("kinesis:").unwrap_or(action);
        Probe { call: self.stream.call(operation), action, allowed }
    }

    async fn existence(&self) -> Option<Obstacle> {
        let call = self.client.describe_stream_summary();
        let described = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn()).send().await;
        let summary = described.as_ref().ok().and_then(|d| d.stream_description_summary());
        if summary.is_some_and(|s| *s.stream_status() == StreamStatus::Deleting) {
            return Some(absent(&self.stream.on));
        }
        self.probe("kinesis:DescribeStreamSummary", &[]).obstacle(described)
    }

    /// The first shard of the stream, and what forbids to list them.
    async fn shard(&self) -> (Option<String>, Option<Obstacle>) {
        let call = self.client.list_shards().max_results(1);
        let listed = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn()).send().await;
        let shard = listed.as_ref().ok().and_then(|l| l.shards().first()).map(|s| s.shard_id().to_owned());
        (shard, self.probe("kinesis:ListShards", &[]).obstacle(listed))
    }

    async fn polling(&self) -> Vec<Obstacle> {
        let (shard, obstacle) = self.shard().await;
        let mut obstacles: Vec<Obstacle> = obstacle.into_iter().collect();
        let Some(shard) = shard else { return obstacles };
        let call = self.client.get_shard_iterator().shard_id(shard).shard_iterator_type(ShardIteratorType::Latest);
        let begun = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn()).send().await;
        let iterator = begun.as_ref().ok().and_then(|b| b.shard_iterator()).map(str::to_owned);
        obstacles.extend(self.probe("kinesis:GetShardIterator", &[]).obstacle(begun));
        if let Some(iterator) = iterator {
            let call = self.client.get_records().shard_iterator(iterator).limit(1).set_stream_arn(self.stream.arn());
            obstacles.extend(self.probe("kinesis:GetRecords", &[]).obstacle(call.send().await));
        }
        obstacles
    }

    async fn fan_out(&self, config: &KinesisConfig) -> Vec<Obstacle> {
        let (_, obstacle) = self.shard().await;
        let mut obstacles: Vec<Obstacle> = obstacle.into_iter().collect();
        let name = config.consumer.clone().unwrap_or_default();
        let consumer = match name.starts_with("arn:") {
            true => Some(name),
            false => match self.consumer(&name).await {
                Ok(found) => found,
                Err(obstacle) => {
                    obstacles.push(obstacle);
                    None
                }
            },
        };
        let position = StartingPosition::builder().r#type(ShardIteratorType::Latest).build();
        if let (Some(consumer), Ok(position)) = (consumer, position) {
            let call = self.client.subscribe_to_shard().consumer_arn(consumer).shard_id(PROBE);
            let answer = call.starting_position(position).send().await;
            obstacles.extend(self.probe("kinesis:SubscribeToShard", MALFORMED).obstacle(answer));
        }
        obstacles
    }

    /// The ARN of the consumer, where it is registered already; the pipeline registers it.
    async fn consumer(&self, name: &str) -> Result<Option<String>, Obstacle> {
        // Without an ARN nothing can be asked, which was told already.
        let Ok(arn) = self.stream.known_arn().await else { return Ok(None) };
        let described = self.client.describe_stream_consumer().stream_arn(arn).consumer_name(name).send().await;
        let found = described.as_ref().ok().and_then(|d| d.consumer_description()).map(|c| c.consumer_arn().to_owned());
        let probe = self.probe("kinesis:DescribeStreamConsumer", &["ResourceNotFoundException"]);
        probe.obstacle(described).map_or(Ok(found), Err)
    }

    async fn writing(&self) -> Option<Obstacle> {
        let call = self.client.put_records().set_records(Some(Vec::new()));
        let answer = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn()).send().await;
        self.probe("kinesis:PutRecords", MALFORMED).obstacle(answer)
    }
}
