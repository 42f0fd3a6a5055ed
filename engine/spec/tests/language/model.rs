//! What files give.

use std::time::Duration;

use millstream_core::schema::{ColumnType, ExcessDigits, ExtraFields, Zone};
use millstream_core::sink::{Outage, WriteMode};
use millstream_spec::Parsed;
use millstream_spec::model::{Oversize, Pipeline, RouteElse, Step, TransformKind};
use serde_json::json;

use crate::{check, read};

const TAXI: &str = include_str!("../fixtures/taxi_trips.yaml");
const RIDES: &str = include_str!("../fixtures/rides.yaml");

fn clean(parsed: Parsed) -> Pipeline {
    assert_eq!(parsed.findings, [], "{}", millstream_spec::render(&parsed.findings, "f", TAXI, false));
    parsed.pipeline.unwrap()
}

fn entry<'a, T>(map: &'a [(millstream_spec::Spanned<String>, T)], key: &str) -> &'a T {
    &map.iter().find(|(k, _)| k.value == key).unwrap_or_else(|| panic!("no {key}")).1
}

#[test]
fn the_flagship_is_read() {
    let pipeline = clean(check(TAXI));
    assert_eq!(pipeline.name.value, "taxi_trips");
    assert_eq!(pipeline.profiles.iter().map(|(k, _)| k.value.as_str()).collect::<Vec<_>>(), ["local", "csv", "aws"]);
    let binding = entry(&entry(&pipeline.profiles, "local").bindings, "start_stream");
    assert_eq!(binding.connector.value, "generate");
    assert_eq!(binding.options.value["trips"], json!(100_000));
    assert_eq!(pipeline.checkpoint.store.as_ref().unwrap().value, "lake");

    let starts = entry(&pipeline.sources, "trip_starts");
    let fare = starts.schema.columns.iter().find(|c| c.name == "estimated_fare_amount").unwrap();
    assert_eq!((&fare.column_type, fare.excess_digits), (&ColumnType::Decimal(10, 2), ExcessDigits::RoundHalfEven));
    let vendor = starts.schema.columns.iter().find(|c| c.name == "vendor_id").unwrap();
    assert!(vendor.optional && vendor.path == ["vendor_id"]);
    assert_eq!(starts.schema.columns[4].formats.len(), 2);
    let time = starts.event_time.as_ref().unwrap();
    assert_eq!((time.max_delay, time.max_future), (Duration::from_secs(600), Duration::from_secs(3600)));
    assert_eq!(&TAXI[starts.column_spans["trip_id"].start..starts.column_spans["trip_id"].end], "trip_id");

    let table = entry(&pipeline.tables, "trip_state");
    assert_eq!(table.delivery.outage, Outage::Route);
    assert_eq!(table.delivery.give_up_after, Duration::from_secs(900));
    assert_eq!(table.key[0].value, "trip_id");

    let TransformKind::Upsert { set, status, .. } = &entry(&pipeline.transforms, "trips").kind else { panic!() };
    assert_eq!(entry(set, "starts").columns.as_ref().unwrap().len(), 6);
    assert_eq!(&TAXI[entry(set, "ends").span.start..entry(set, "ends").span.end], "ends");
    let completed = entry(status, "COMPLETED");
    let at = completed.value.text.find("dropoff").unwrap();
    let span = completed.value.locate(at..at + 7);
    assert_eq!(&TAXI[span.start..span.end], "dropoff");

    let kpis = entry(&pipeline.transforms, "daily_kpis");
    assert_eq!(&TAXI[kpis.span.start..kpis.span.end], "sql");
    assert_eq!(kpis.emit.unwrap().early, Some(Duration::from_secs(60)));
    let TransformKind::Sql(sql) = &kpis.kind else { panic!() };
    let at = sql.value.text.find("trips.completed").unwrap();
    let span = sql.value.locate(at..at + "trips.completed".len());
    assert_eq!(&TAXI[span.start..span.end], "trips.completed");

    let raw = entry(&pipeline.sinks, "raw_archive");
    assert_eq!((raw.roll.bytes, raw.roll.every), (64 << 20, Duration::from_secs(300)));
    assert_eq!(entry(&pipeline.sinks, "kpi_files").mode, WriteMode::Overwrite);
    assert_eq!(entry(&pipeline.sinks, "reject_alerts").digest.as_ref().unwrap().samples, 3);
}

#[test]
fn tests_of_the_flagship_are_read() {
    let pipeline = clean(check(TAXI));
    let test = &pipeline.tests[0];
    assert_eq!(test.steps.len(), 6);
    let Step::Record { source, value } = &test.steps[0].value else { panic!() };
    assert_eq!((source.value.as_str(), &value["fare_amount"]), ("trip_ends", &json!("40.096")));
    let Step::Record { value: again, .. } = &test.steps[4].value else { panic!() };
    assert_eq!(value, again);
    let Step::Fault { at, kind, times } = &test.steps[1].value else { panic!() };
    assert_eq!((at.value.as_str(), kind.value.as_str(), *times), ("trip_table", "throttled", 3));
    assert_eq!(test.expect.len(), 3);
    assert_eq!(entry(&test.expect, "*.rejected").len(), 0);
    assert_eq!(entry(&test.expect, "daily_kpis")[0].value["trip_count"], json!(1));
}

#[test]
fn the_rest_of_the_language_is_read() {
    let pipeline = clean(check(RIDES));
    let source = entry(&pipeline.sources, "ride_events");
    assert_eq!(source.schema.extra, ExtraFields::Reject);
    let column = |name: &str| source.schema.columns.iter().find(|c| c.name == name).unwrap();
    assert_eq!(column("driver_id").path, ["driver", "id"]);
    assert!(matches!(&column("location").column_type, ColumnType::Struct(fields) if fields.len() == 2));
    assert_eq!(column("paid_at").zone, Zone::Named("America/New_York".to_owned()));
    assert_eq!(column("paid_at").formats, ["%Y-%m-%d"]);
    assert!(matches!(&entry(&pipeline.tables, "drivers").oversize, Oversize::Truncate(c) if c[0].value == "notes"));
    let TransformKind::Route { cases, otherwise, .. } = &entry(&pipeline.transforms, "by_type").kind else { panic!() };
    assert_eq!(*otherwise, RouteElse::Drop);
    assert_eq!(entry(cases, "code").value, "7");
    let TransformKind::Upsert { set, .. } = &entry(&pipeline.transforms, "driver_state").kind else { panic!() };
    assert!(entry(set, "driver_started").write_nulls);
    assert!(entry(set, "driver_moved").columns.is_none() && entry(set, "by_type.code").columns.is_none());
    let sink = entry(&pipeline.sinks, "big_orders");
    assert!(sink.decimals_as_strings);
    assert_eq!((sink.delivery.backoff, sink.delivery.outage), (Duration::from_secs(1), Outage::Route));
    assert_eq!(pipeline.drop[0].value, "*.rejected");
    assert_eq!(entry(&entry(&pipeline.profiles, "local").bindings, "alerts").options.value, json!({}));
}

#[test]
fn variables_of_the_profile_in_use_must_be_set_to_run() {
    assert_eq!(read(TAXI, &|_| None, true, None, &[]).findings, []);
    let unset = read(TAXI, &|_| None, true, Some("csv"), &[]);
    assert_eq!(unset.findings.iter().map(|f| f.code).collect::<Vec<_>>(), ["E0025", "E0025"]);
    let set = read(TAXI, &|name| (name == "TRIP_DATA").then(|| "/data".to_owned()), true, Some("csv"), &[]);
    assert_eq!(set.profile.as_deref(), Some("csv"));
    let pipeline = clean(set);
    let binding = entry(&entry(&pipeline.profiles, "csv").bindings, "end_stream");
    assert_eq!(binding.options.value["path"], json!("/data/trip_end.csv"));
}

#[test]
fn set_overrides_and_is_checked() {
    let path = "profiles.local.start_stream.generate.trips";
    let pipeline = clean(read(TAXI, &|_| None, true, None, &[(path, "5"), ("checkpoint.every", "1m")]));
    assert_eq!(entry(&entry(&pipeline.profiles, "local").bindings, "start_stream").options.value["trips"], json!(5));
    assert_eq!(pipeline.checkpoint.every, Duration::from_secs(60));
    let findings = read(TAXI, &|_| None, true, None, &[(path, "many"), ("checkpoint.evry", "1m")]).findings;
    assert_eq!(findings.iter().map(|f| f.code).collect::<Vec<_>>(), ["E0027", "E0013"]);
}

#[test]
fn what_is_not_built_in_warns_in_check_and_fails_in_run() {
    let codes = |parsed: Parsed| parsed.findings.iter().map(|f| f.code).collect::<Vec<_>>();
    assert_eq!(codes(read(TAXI, &|_| None, false, Some("aws"), &[])), ["W0102"; 6]);
    let all = |_: &str| Some("x".to_owned());
    assert_eq!(codes(read(TAXI, &all, true, Some("aws"), &[])), ["E0105"; 6]);
}

#[test]
fn errors_that_do_not_concern_the_shape_leave_a_pipeline() {
    let text = TAXI.replace("compression: gzip", "compresion: gzip").replace("write: alerts", "write: alrts");
    let parsed = check(&text);
    assert_eq!(parsed.findings.iter().filter(|f| f.code.starts_with('E')).count(), 2);
    assert!(parsed.pipeline.is_some());
    assert!(check(&TAXI.replace("within: 24h", "within: 24 sheep")).pipeline.is_none());
}

#[test]
fn the_starter_is_a_pipeline() {
    let text = millstream_spec::starter("my-first");
    let pipeline = clean(check(&text));
    assert_eq!(pipeline.name.value, "my-first");
    assert_eq!(pipeline.tests.len(), 1);
}
