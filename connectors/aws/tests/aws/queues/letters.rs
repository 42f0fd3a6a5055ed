//! Dead letters in SQS: sent with all that is known, read back, removed.

use millstream_core::dead_letter::DeadLetters;
use millstream_core::format::Reason;
use millstream_core::refusal::{self, Refusal};
use millstream_core::sink::SinkOptions;
use millstream_core::{Batch, EventTime};
use millstream_local::conformance;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::{Fresh, attributes, connector, id, insist};

fn options() -> SinkOptions {
    SinkOptions {
        schema: refusal::schema(),
        pipeline: "shop".into(),
        ..conformance::sink_options("dead", &refusal::schema())
    }
}

fn refusals() -> Batch {
    let base = Refusal {
        component: "shop_state".into(),
        port: "failed",
        reasons: vec![Reason { rule: "unavailable".into(), text: "was tried for 900s".into() }],
        row: Some("{\"id\":\"a\u{ffff}\",\"total\":10.10}".into()),
        raw: None,
        version: Some(3),
        stamps: Some(r#"[[5,"00ff","total"]]"#.into()),
        attempts: Some(17),
        source: None,
        split: None,
        position: None,
        arrived_at: EventTime(0),
        event_time: None,
    };
    let record = Refusal {
        component: "orders".into(),
        port: "rejected",
        reasons: vec![
            Reason { rule: "bad_json".into(), text: "no object".into() },
            Reason { rule: "too_long".into(), text: "x".repeat(3000) },
        ],
        row: None,
        raw: Some(b"\xff{".to_vec()),
        version: None,
        stamps: None,
        attempts: None,
        source: Some("orders".into()),
        split: Some("shard-1".into()),
        position: Some("4959".into()),
        ..base.clone()
    };
    refusal::batch(&[base, record]).unwrap()
}

async fn all(letters: &mut dyn DeadLetters) -> Vec<millstream_core::dead_letter::DeadLetter> {
    let mut found = Vec::new();
    loop {
        let more = letters.next().await.unwrap();
        if more.is_empty() {
            found.sort_by(|a: &millstream_core::dead_letter::DeadLetter, b| a.component.cmp(&b.component));
            return found;
        }
        found.extend(more);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_says_all_that_is_known_of_its_row() {
    let queue = Fresh::standard("dead").await;
    let sqs = connector("sqs", services::sqs(), json!({ "queue_url": queue.name }));
    insist(sqs.sink(&options()).await.unwrap().as_mut(), &id(1, 0), &refusals()).await;
    let mut messages = queue.drain().await;
    messages.sort_by_key(|m| attributes(m)["component"].clone());
    let of_record = attributes(&messages[0]);
    assert_eq!(messages[0].body.as_deref(), Some("/3s="));
    let expected = [("encoding", "base64"), ("position", "4959"), ("source", "orders"), ("split", "shard-1")];
    assert!(expected.iter().all(|(name, value)| of_record[*name] == *value), "{of_record:?}");
    assert!(
        of_record["reason"].starts_with("bad_json: no object; too_long: xxx") && of_record["reason"].ends_with('…')
    );
    let of_row = attributes(&messages[1]);
    assert_eq!(messages[1].body.as_deref(), Some(r#"{"id":"a\uffff","total":10.10}"#));
    let expected = [("pipeline", "shop"), ("port", "failed"), ("version", "3"), ("attempts", "17")];
    assert!(expected.iter().all(|(name, value)| of_row[*name] == *value), "{of_row:?}");
    assert_eq!(of_row["reason"], "unavailable: was tried for 900s");
    assert_eq!(of_row["id"], id(1, 0).row(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_read_once_and_stay_until_they_are_removed() {
    let queue = Fresh::standard("dead").await;
    let sqs = connector("sqs", services::sqs(), json!({ "queue_url": queue.name }));
    let mut sink = sqs.sink(&options()).await.unwrap();
    for sequence in 0..7 {
        insist(sink.as_mut(), &id(1, sequence), &refusals()).await;
    }
    let mut letters = sqs.dead_letters(&options()).await.unwrap();
    let found = all(letters.as_mut()).await;
    assert_eq!(found.len(), 14);
    let of_table: Vec<_> = found.iter().filter(|l| l.version.is_some()).collect();
    let letter = of_table[0];
    assert_eq!((letter.pipeline.as_str(), letter.component.as_str(), letter.version), ("shop", "shop_state", Some(3)));
    assert_eq!(letter.stamps.as_deref(), Some(r#"[[5,"00ff","total"]]"#));
    assert_eq!(letter.row.as_deref(), Some(r#"{"id":"a\uffff","total":10.10}"#));
    assert!(found.iter().filter(|l| l.version.is_none()).all(|l| l.row.is_none()));
    let ids: Vec<String> = of_table.iter().map(|l| l.id.clone()).collect();
    letters.remove(&ids).await.unwrap();
    letters.let_go().await.unwrap();
    assert_eq!(queue.counts().await, (7, 0), "the others are there, and visible");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_goes_on_where_some_fail() {
    let queue = Fresh::standard("dead").await;
    let sqs = connector("sqs", services::sqs(), json!({ "queue_url": queue.name }));
    let mut sink = sqs.sink(&options()).await.unwrap();
    for sequence in 0..10 {
        insist(sink.as_mut(), &id(1, sequence), &refusals()).await;
    }
    let proxy = Proxy::start(services::sqs(), 5);
    proxy.rule(Rule::on("DeleteMessageBatch", Fault::Throttle).times(1));
    proxy.rule(Rule::on("DeleteMessageBatch", Fault::Partial { share: 0.4 }).times(4));
    proxy.rule(Rule::on("ReceiveMessage", Fault::Gateway(502)).times(1));
    let spoiled = connector("sqs", proxy.url(), json!({ "queue_url": queue.name }));
    let mut letters = spoiled.dead_letters(&options()).await.unwrap();
    let found = all(letters.as_mut()).await;
    assert_eq!(found.len(), 20);
    letters.remove(&found.iter().map(|l| l.id.clone()).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test]
async fn only_sinks_of_refused_rows_have_letters() {
    let sqs = connector("sqs", "http://127.0.0.1:1", json!({ "queue_url": "q" }));
    let (options, _) = super::rows(1);
    let error = sqs.dead_letters(&options).await.err().unwrap();
    assert!(error.to_string().contains("gets no refused rows"), "{error}");
}
