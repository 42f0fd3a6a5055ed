//! The connectors this binary knows: those it has, and those other builds of Millstream have.

use millstream_core::connector::{ConnectorKind, Registry, Role};
use schemars::json_schema;

/// All of them.
pub(crate) fn registry() -> Registry {
    let mut kinds = millstream_local::kinds();
    kinds.extend(millstream_aws::kinds());
    for (name, summary, roles) in ELSEWHERE {
        if kinds.iter().all(|k| k.name != *name) {
            kinds.push(elsewhere(name, summary, roles));
        }
    }
    Registry::new(kinds)
}

/// Known, so that `check` can name them, and not in this binary.
const ELSEWHERE: &[(&str, &str, &[Role])] = &[
    ("kinesis", "Amazon Kinesis Data Streams: reads all shards of a stream", &[Role::Source, Role::Sink]),
    ("dynamodb", "Amazon DynamoDB: one item per key, written on the condition of its version", &[Role::Table]),
    ("s3", "Amazon S3: objects by path template", &[Role::Source, Role::Sink, Role::Checkpoints]),
    ("sqs", "Amazon SQS: messages of a queue", &[Role::Source, Role::Sink]),
    ("sns", "Amazon SNS: messages to a topic", &[Role::Sink]),
    ("cloudwatch", "Amazon CloudWatch: the pipeline's metrics", &[Role::Metrics]),
];

fn elsewhere(name: &'static str, summary: &'static str, roles: &'static [Role]) -> ConnectorKind {
    ConnectorKind {
        name,
        summary,
        roles,
        built_in: false,
        options: || json_schema!({ "type": "object" }),
        parse: |_| Err("it is not part of this binary".to_owned()),
    }
}
