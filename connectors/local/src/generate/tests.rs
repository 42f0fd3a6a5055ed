use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use millstream_core::source::{Position, Read, SplitSource};
use serde_json::{Value, json};

use super::*;

fn source(options: Value) -> GenerateSource {
    connector(&serde_json::from_value(options).unwrap()).unwrap().source
}

async fn read_all(source: &GenerateSource) -> Vec<(String, Vec<u8>, u64)> {
    let mut all = Vec::new();
    for split in source.discover(&BTreeSet::new()).await.unwrap() {
        let mut reader = source.open(&split, None).await.unwrap();
        while let Read::Records { records, .. } = reader.next().await.unwrap() {
            for (i, r) in records.records.iter().enumerate() {
                let Position::Offset(at) = r.position else { panic!() };
                all.push((split.id.0.clone(), records.bytes(i).to_vec(), at));
            }
        }
    }
    all
}

#[tokio::test]
async fn the_truth_is_what_the_records_say() {
    let options = |part| json!({ "part": part, "trips": 60_000, "days": 3, "seed": 7 });
    let (starts, ends) = (source(options("starts")), source(options("ends")));
    assert_eq!(starts.discover(&BTreeSet::new()).await.unwrap().len(), 2);
    let mut pickups = HashMap::new();
    for (_, bytes, _) in read_all(&starts).await {
        let Ok(v) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let zone = v["pickup_location_id"].as_u64().is_some_and(|z| (1..=265).contains(&z));
        let fare = v["estimated_fare_amount"].as_f64().is_some_and(|f| f >= 0.0);
        let date = v["pickup_datetime"].as_str().filter(|d| !d.starts_with("2024-13"));
        if let (true, true, Some(date)) = (zone, fare, date) {
            assert!((180..320).contains(&bytes.len()), "{}", bytes.len());
            pickups.insert(v["trip_id"].as_str().unwrap().to_owned(), date[..10].to_owned());
        }
    }
    let mut days = BTreeMap::<String, Vec<u64>>::new();
    let mut seen = HashSet::new();
    for (_, bytes, _) in read_all(&ends).await {
        let Ok(v) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let date = v["dropoff_datetime"].as_str().is_some_and(|d| !d.starts_with("2024-13"));
        let id = v["trip_id"].as_str().unwrap();
        let Some(day) = pickups.get(id) else { continue };
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some(fare) = text.split("\"fare_amount\":").nth(1).and_then(|t| t.split(',').next()) else { continue };
        if date && fare.parse::<f64>().is_ok_and(|f| (0.0..10_000.0).contains(&f)) && seen.insert(id.to_owned()) {
            days.entry(day.clone()).or_default().push(half_even(fare));
        }
    }
    let expected: String = days
        .iter()
        .map(|(day, fares)| {
            let sum: u64 = fares.iter().sum();
            let average = sum * 10_000 / fares.len() as u64;
            let money = |c: u64| format!("{}.{:02}", c / 100, c % 100);
            format!(
                "{{\"date\":\"{day}\",\"total_fare\":{},\"trip_count\":{},\"average_fare\":{}.{:06},\"max_fare\":{},\"min_fare\":{}}}\n",
                money(sum), fares.len(), average / 1_000_000, average % 1_000_000,
                money(*fares.iter().max().unwrap()), money(*fares.iter().min().unwrap())
            )
        })
        .collect();
    let truth = String::from_utf8(truth::lines(&starts.trips, 60_000)).unwrap();
    assert_eq!(truth, expected);
    assert_eq!(days.len(), 3);
}

/// Rounds by comparing texts, another way than the generator's.
fn half_even(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap();
    let (kept, rest) = fraction.split_at(2.min(fraction.len()));
    let cents: u64 = format!("{whole}{kept:0<2}").parse().unwrap();
    let rest = rest.trim_end_matches('0');
    match rest.cmp("5") {
        std::cmp::Ordering::Less => cents,
        std::cmp::Ordering::Equal => cents + cents % 2,
        std::cmp::Ordering::Greater => cents + 1,
    }
}

#[tokio::test]
async fn a_reader_goes_on_where_it_stopped() {
    for options in [json!({"part": "ends", "trips": 3000}), json!({"part": "starts", "trips": 3000, "days": 1})] {
        let source = source(options);
        let all = read_all(&source).await;
        let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
        for after in [0, 1, 777, 2999] {
            let mut reader = source.open(split, Some(Position::Offset(after))).await.unwrap();
            let mut rest = Vec::new();
            while let Read::Records { records, .. } = reader.next().await.unwrap() {
                rest.extend((0..records.records.len()).map(|i| records.bytes(i).to_vec()));
            }
            let expected: Vec<_> = all.iter().skip(after as usize).map(|r| r.1.clone()).collect();
            assert_eq!(rest, expected);
        }
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_source() {
    let options = json!({"part": "ends", "trips": 60_000});
    crate::conformance::source(async || Box::new(source(options.clone())) as Box<dyn SplitSource>, None).await;
}

#[tokio::test]
async fn disorder_stays_below_ten_minutes_but_for_the_late_ones() {
    let options = json!({"part": "ends", "trips": 20_000, "days": 2, "rate": "1000000000/s",
        "shares": {"hours_late": 0, "duplicates": 0, "bad_date": 0, "bad_json": 0, "missing_field": 0}});
    let source = source(options);
    assert!(source.ordered() && source.bounded());
    let mut greatest = String::new();
    let mut disordered = 0;
    for (_, bytes, _) in read_all(&source).await {
        let v: Value = serde_json::from_slice(&bytes).unwrap();
        let at = v["dropoff_datetime"].as_str().unwrap().to_owned();
        let parse = |t: &str| chrono::NaiveDateTime::parse_from_str(t, "%Y-%m-%d %H:%M:%S").unwrap();
        if at < greatest {
            disordered += 1;
            assert!((parse(&greatest) - parse(&at)).num_seconds() < 600);
        } else {
            greatest = at;
        }
    }
    assert!(disordered > 100);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let source = source(json!({"part": "starts", "rate": "1000/s"}));
    assert!(!source.bounded());
    let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
    let mut reader = source.open(split, None).await.unwrap();
    let begun = tokio::time::Instant::now();
    let mut count = 0;
    while count < 5000 {
        if let Read::Records { records, .. } = reader.next().await.unwrap() {
            count += records.records.len();
        }
    }
    let took = begun.elapsed().as_secs_f64();
    assert!((4.8..5.3).contains(&took), "{took}");
}

#[test]
fn wrong_options_say_what_is_wrong() {
    let problem = |options: Value| (kind().parse)(options).unwrap_err();
    assert!(problem(json!({"part": "middles"})).contains("starts"));
    assert!(problem(json!({"part": "ends", "shares": {"duplicates": 2}})).contains("between 0 and 1"));
    assert!(problem(json!({"part": "ends", "start_date": "May"})).contains("2024-05-20"));
    assert!(problem(json!({"part": "ends", "rate": "1/s", "truth": "x"})).contains("endless"));
}
