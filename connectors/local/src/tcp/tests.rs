use std::collections::BTreeSet;

use millstream_core::ErrorKind;
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::sink::Outcome;
use millstream_core::source::{Position, Read, SplitReader};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::conformance;

fn tcp(options: Value) -> Arc<dyn Connector> {
    (kind().parse)(options).unwrap()
}

fn options() -> SourceOptions {
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    SourceOptions { id: "s".into(), pipeline: "p".into(), schema }
}

async fn records(reader: &mut dyn SplitReader, count: usize) -> Vec<(String, Position)> {
    let mut found = Vec::new();
    while found.len() < count {
        match reader.next().await.unwrap() {
            Read::Records { records, .. } => found.extend(
                records
                    .records
                    .iter()
                    .enumerate()
                    .map(|(i, r)| (String::from_utf8_lossy(records.bytes(i)).into_owned(), r.position.clone())),
            ),
            Read::Idle | Read::Behind(_) => {}
            Read::Finished => break,
        }
    }
    found
}

/// A listening source with its address.
async fn listening(extra: Value) -> (Box<dyn SplitSource>, String) {
    let mut config = json!({ "listen": "127.0.0.1:0" });
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let source = tcp(config).source(&options()).await.unwrap();
    let address = source.discover(&BTreeSet::new()).await.unwrap()[0].id.0.clone();
    (source, address)
}

#[tokio::test]
async fn lines_of_several_clients_come_in() {
    let (source, address) = listening(json!({})).await;
    assert!(!source.bounded());
    let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
    let mut reader = source.open(split, None).await.unwrap();
    let mut one = TcpStream::connect(&address).await.unwrap();
    let mut two = TcpStream::connect(&address).await.unwrap();
    one.write_all(b"{\"a\":1}\n{\"a\"").await.unwrap();
    assert_eq!(records(reader.as_mut(), 1).await, [("{\"a\":1}".into(), Position::Offset(1))]);
    two.write_all(b"two\n").await.unwrap();
    assert_eq!(records(reader.as_mut(), 1).await, [("two".into(), Position::Offset(2))]);
    one.write_all(b":2}\r\n").await.unwrap();
    assert_eq!(records(reader.as_mut(), 1).await, [("{\"a\":2}".into(), Position::Offset(3))]);
    one.write_all(b"last").await.unwrap();
    drop(one);
    assert_eq!(records(reader.as_mut(), 1).await[0].0, "last");
}

#[tokio::test]
async fn until_close_ends_with_the_first_client() {
    let (source, address) = listening(json!({ "until_close": true, "format": "csv" })).await;
    assert!(source.bounded());
    let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
    let mut reader = source.open(split, None).await.unwrap();
    let client = tokio::spawn(async move {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let lines: String = (0..100_000).map(|i| format!("{i},some text to fill the buffers\n")).collect();
        client.write_all(format!("n,text\n{lines}").as_bytes()).await.unwrap();
    });
    let found = records(reader.as_mut(), usize::MAX).await;
    client.await.unwrap();
    assert_eq!(found.len(), 100_000);
    assert_eq!(found[99_999], ("99999,some text to fill the buffers".into(), Position::Offset(100_000)));
}

#[tokio::test]
async fn a_connecting_source_waits_for_its_peer() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let source = tcp(json!({ "connect": free, "until_close": true })).source(&options()).await.unwrap();
    let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
    let mut reader = source.open(split, None).await.unwrap();
    assert!(matches!(reader.next().await.unwrap(), Read::Idle));
    let listener = bind(&free).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"hello\n").await.unwrap();
    drop(peer);
    assert_eq!(records(reader.as_mut(), usize::MAX).await[0].0, "hello");
}

#[tokio::test]
async fn every_client_of_a_sink_gets_every_row() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let connector = tcp(json!({ "listen": free }));
    let rows = conformance::every_type(0, 3).project(&[0]).unwrap();
    let sink_options = conformance::sink_options("s", &rows.schema());
    let batch = conformance::batch(&sink_options, &rows);
    let mut sink = connector.sink(&sink_options).await.unwrap();
    let mut other = connector.sink(&SinkOptions { instance: 1, ..sink_options.clone() }).await.unwrap();
    let writing = tokio::spawn(async move {
        let outcomes = sink.write(&batch).await.unwrap();
        (sink, batch, outcomes)
    });
    let mut one = BufReader::new(TcpStream::connect(&free).await.unwrap()).lines();
    let (mut sink, batch, outcomes) = writing.await.unwrap();
    assert_eq!(outcomes, vec![Outcome::Done; 3]);
    for i in 0..3 {
        assert_eq!(one.next_line().await.unwrap().unwrap(), format!("{{\"id\":\"id-{i:06}\"}}"));
    }
    // A client that leaves does no harm to the others, nor do workers to each other.
    let mut two = TcpStream::connect(&free).await.unwrap();
    drop(one);
    for _ in 0..50 {
        other.write(&batch).await.unwrap();
        sink.write(&batch).await.unwrap();
    }
    let mut text = [0; 19];
    two.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"{\"id\":\"id-000000\"}\n");
    assert!(sink.summary().unwrap().contains(" rows to tcp 127.0.0.1:"));
}

#[tokio::test]
async fn a_connecting_sink_reports_an_outage_and_comes_back() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let rows = conformance::every_type(0, 1).project(&[0]).unwrap();
    let sink_options = conformance::sink_options("s", &rows.schema());
    let batch = conformance::batch(&sink_options, &rows);
    let mut sink = tcp(json!({ "connect": free })).sink(&sink_options).await.unwrap();
    assert_eq!(sink.write(&batch).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let listener = bind(&free).await.unwrap();
    sink.write(&batch).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let mut text = [0; 19];
    peer.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"{\"id\":\"id-000000\"}\n");
}

#[test]
fn wrong_options_say_what_to_write() {
    for wrong in [json!({}), json!({ "listen": "a:1", "connect": "b:2" }), json!({ "listen": "7001" })] {
        let problems = tcp(wrong).problems();
        assert!(problems[0].contains("127.0.0.1:7001"), "{problems:?}");
    }
}
