//! The sink of objects while the service throttles, fails, forgets to answer, and answers half.

use std::time::Duration;

use millstream_core::ErrorKind;
use millstream_core::sink::{Outcome, Prepared, Sink, SinkOptions, WriteMode};
use millstream_core::{Batch, Error};
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::{Value, json};

use super::{Bucket, count, long_rows, options, rows};

fn passing(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate)
}

/// Writes a batch as the engine does: what did not get through is given again, alone.
async fn write(sink: &mut dyn Sink, batch: &Batch) {
    let mut batch = batch.clone();
    for _ in 0..ATTEMPTS {
        match sink.write(&batch).await {
            Err(e) => assert!(passing(&e), "{e}"),
            Ok(outcomes) => {
                let again: Vec<u32> = (0..outcomes.len() as u32)
                    .filter(|i| match &outcomes[*i as usize] {
                        Outcome::Done => false,
                        Outcome::Retry(_) => true,
                        Outcome::Refused(why) => panic!("{why}"),
                    })
                    .collect();
                if again.is_empty() {
                    return;
                }
                batch = batch.take(&again.into()).unwrap();
            }
        }
    }
    panic!("it cannot be written");
}

async fn prepare(sink: &mut dyn Sink, number: u64) -> Prepared {
    for _ in 0..ATTEMPTS {
        match sink.prepare(number, false).await {
            Err(e) => assert!(passing(&e), "{e}"),
            Ok(prepared) => return prepared,
        }
    }
    panic!("it cannot be prepared");
}

/// More attempts than any of these faults can take.
const ATTEMPTS: usize = 200;

/// Commits until it is done; how often it had to be tried again.
async fn commit(sink: &mut dyn Sink, number: u64, staged: &Value) -> usize {
    let mut failures = 0;
    loop {
        match sink.commit(number, staged).await {
            Err(e) => assert!(passing(&e), "{e}"),
            Ok(()) => return failures,
        }
        failures += 1;
        assert!(failures < ATTEMPTS, "it does not become visible");
    }
}

/// The body of an error, as S3 also sends it with the status 200 when it has begun to answer too early.
fn error_body(code: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>")
}

/// A service that answers each kind of call in every wrong way once, and is alive otherwise.
#[tokio::test]
async fn a_completed_upload_that_is_answered_wrong_is_told_from_one_that_is_not() {
    let answer = |forward, body: &str| Fault::Answer { forward, status: 200, body: body.to_owned() };
    let faults = [
        answer(false, &error_body("InternalError")),
        answer(true, &error_body("InternalError")),
        answer(false, &error_body("SlowDown")),
        answer(true, ""),
        answer(true, "<CompleteMultipartUploadResult><Loc"),
        Fault::Lose,
        Fault::Drop,
        Fault::Throttle,
        Fault::Cut { after: 20 },
        Fault::refuse(500, "InternalError"),
        Fault::refuse(409, "ConditionalRequestConflict"),
        Fault::Gateway(504),
    ];
    for mode in [WriteMode::Append, WriteMode::Overwrite] {
        for fault in &faults {
            let bucket = Bucket::new("wrong-answer").await;
            let proxy = Proxy::start(services::s3(), 1);
            let connector = bucket.connector(json!({ "inline_size": "0", "endpoint": proxy.url() }));
            let options = SinkOptions { mode, key: vec!["k".into()], ..options("s") };
            let mut sink = connector.sink(&options).await.unwrap();
            write(sink.as_mut(), &rows(&options, &[("a", 1), ("b", 2)])).await;
            let staged = prepare(sink.as_mut(), 1).await.staged.unwrap();
            proxy.rule(Rule::on("CompleteMultipartUpload", fault.clone()).times(1));
            assert_eq!(commit(sink.as_mut(), 1, &staged).await, 1, "{mode} {fault:?}: it is tried again");
            assert_eq!(commit(sink.as_mut(), 1, &staged).await, 0, "{mode} {fault:?}: and changes nothing");
            assert_eq!(count(&connector.written(&options).await.unwrap()), 2, "{mode} {fault:?}");
            assert_eq!(bucket.uploads().await, [""; 0], "{mode} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_small_file_whose_answer_is_lost_is_there_once() {
    for mode in [WriteMode::Append, WriteMode::Overwrite] {
        for fault in [Fault::Lose, Fault::Drop, Fault::Throttle, Fault::refuse(500, "InternalError")] {
            let bucket = Bucket::new("lost").await;
            let proxy = Proxy::start(services::s3(), 2);
            let connector = bucket.connector(json!({ "endpoint": proxy.url() }));
            let options = SinkOptions { mode, key: vec!["k".into()], ..options("s") };
            let mut sink = connector.sink(&options).await.unwrap();
            write(sink.as_mut(), &rows(&options, &[("a", 1)])).await;
            let staged = prepare(sink.as_mut(), 1).await.staged.unwrap();
            proxy.rule(Rule::on("PutObject", fault.clone()).times(2));
            commit(sink.as_mut(), 1, &staged).await;
            assert_eq!(count(&connector.written(&options).await.unwrap()), 1, "{mode} {fault:?}");
        }
    }
}

/// An upload is gone, and its object is not there either.
#[tokio::test]
async fn rows_that_are_lost_are_told() {
    for mode in [WriteMode::Append, WriteMode::Overwrite] {
        let bucket = Bucket::new("gone").await;
        let connector = bucket.connector(json!({ "inline_size": "0" }));
        let options = SinkOptions { mode, key: vec!["k".into()], ..options("s") };
        let mut sink = connector.sink(&options).await.unwrap();
        write(sink.as_mut(), &rows(&options, &[("a", 1)])).await;
        let staged = prepare(sink.as_mut(), 1).await.staged.unwrap();
        let (key, id) = (staged[0]["target"].as_str().unwrap(), staged[0]["upload"]["id"].as_str().unwrap());
        bucket.abort(key, id).await;
        let error = sink.commit(1, &staged).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
        assert!(error.to_string().contains("its rows are lost"), "{error}");
        // Somebody has put something of the same length in its place.
        bucket.put(key, "{\"k\":\"z\",\"v\":1}\n").await;
        let error = sink.commit(1, &staged).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    }
}

/// A third of all calls goes wrong, each in its way; every row is there once, whoever commits.
#[tokio::test]
async fn a_service_in_trouble_costs_no_row_and_doubles_none() {
    for seed in 0..2 {
        let bucket = Bucket::new("trouble").await;
        let proxy = Proxy::start(services::s3(), seed);
        for fault in [
            Fault::Throttle,
            Fault::Drop,
            Fault::Lose,
            Fault::refuse(500, "InternalError"),
            Fault::Cut { after: 30 },
            Fault::Delay(Duration::from_millis(3)),
        ] {
            proxy.rule(Rule::on("*", fault).share(0.06));
        }
        let connector = bucket.connector(json!({ "endpoint": proxy.url(), "part_size": "5MiB", "max_open_files": 4 }));
        let options = SinkOptions { path: Some("{v}/{batch_id}.jsonl".into()), ..options("s") };
        let mut expected = 0;
        let mut generation = 0;
        let mut sink = connector.sink(&options).await.unwrap();
        for number in 1..=4_u64 {
            for value in 0..6 {
                write(sink.as_mut(), &rows(&options, &[("a", value), ("b", value + 1), ("c", value)])).await;
                expected += 3;
            }
            if number == 2 {
                let large = long_rows(&options, 6 << 20);
                write(sink.as_mut(), &large).await;
                expected += large.num_rows();
            }
            let staged = prepare(sink.as_mut(), number).await.staged.unwrap();
            // It dies in the middle of its commit, and another one goes on.
            let _ = sink.commit(number, &staged).await;
            generation += 1;
            let next = SinkOptions { generation: format!("g{generation}x"), checkpoint: number + 1, ..options.clone() };
            let mut later = connector.sink(&next).await.unwrap();
            commit(later.as_mut(), number, &staged).await;
            sink = later;
        }
        while let Err(e) = sink.clean().await {
            assert!(passing(&e), "{e}");
        }
        proxy.heal();
        assert_eq!(count(&connector.written(&options).await.unwrap()), expected, "seed {seed}");
        assert_eq!(bucket.uploads().await, [""; 0], "seed {seed}");
    }
}
