//! The flagship pipeline on its profile `aws`: the real binary and the official SDKs, over real HTTP to local servers.
//! Whatever happens on the way, table and files are those of a run on the laptop over the same records.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "processes are waited for and killed by the wall clock")]

mod resources;
mod surge;
mod trips;
mod world;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use millstream_runtime::checkpoint::CHECKPOINT_POINTS;
use millstream_services::proxy::Kind;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;
use trips::{Trips, object};
use world::World;

/// The signal of `abort`.
const ABORTED: i32 = 6;
/// Longer than anything takes; reached only by what hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        sleep(Duration::from_millis(50));
    }
}

/// Runs a command, which has to succeed: what it printed as its result.
#[track_caller]
fn succeeded(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

#[test]
fn the_laptops_results_come_out_of_aws() {
    let (world, trips) = (World::new(), Trips::few());
    world.produce(&trips.starts, &trips.ends);
    let told = world.run();
    assert!(told.contains("every row is accounted for"), "{told}");
    world.came_to(trips);
    world.has_archived(trips);
    alerts_tell_every_rule(&world);

    // A second run finds nothing new, and changes nothing.
    world.run();
    world.came_to(trips);
    let query = "SELECT status, COUNT(*) AS trips FROM trip_state GROUP BY status";
    let found = succeeded(world.command("query").arg(query).args(["--format", "json"]));
    let completed = found.lines().map(object).find(|row| row["status"] == "COMPLETED").unwrap();
    assert_eq!(completed["trips"], trips.completed());
}

/// What was published to the topic counts each rule as often as the files of refused rows have it.
fn alerts_tell_every_rule(world: &World) {
    let mut refused: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (_, line) in world.bucket.lines("rejects/") {
        let row = object(&line);
        let component = row["component"].as_str().unwrap();
        let rules = row["rules"].as_array().cloned().unwrap_or_else(|| vec![row["rule"].clone()]);
        for rule in rules {
            *refused.entry((component.to_owned(), rule.as_str().unwrap().to_owned())).or_default() += 1;
        }
    }
    assert!(!refused.is_empty());
    let mut told: BTreeMap<(String, String), u64> = BTreeMap::new();
    for alert in world.alerts.take() {
        // "{component} refused {count} rows: {rule}"
        let message = alert["Message"].as_str().unwrap();
        let words: Vec<&str> = message.split(' ').collect();
        let [component, "refused", count, "rows:", rule] = words[..] else { panic!("{message}") };
        assert_eq!(alert["Subject"], format!("taxi_trips: {component} refuses rows"));
        assert_eq!(alert["MessageAttributes"]["component"]["Value"], component, "{alert}");
        *told.entry((component.to_owned(), rule.to_owned())).or_default() += count.parse::<u64>().unwrap();
    }
    assert_eq!(told, refused);
}

#[test]
fn what_the_pipeline_needs_is_listed_made_and_found() {
    let (world, trips) = (World::named(), Trips::few());
    let missing = world.command("check").arg("--online").output().unwrap();
    let told = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(3), "{told}");
    for (binding, node) in [
        ("start_stream", "sources.trip_starts"),
        ("trip_table", "tables.trip_state"),
        ("lake", "sinks.raw_archive"),
        ("alerts", "sinks.reject_alerts"),
        ("dead_letters", "sinks.dead_letter"),
    ] {
        let finding = told.split("E0501").find(|finding| finding.contains(node));
        let finding = finding.unwrap_or_else(|| panic!("{node} is not told: {told}"));
        assert!(finding.contains(binding) && finding.contains("does not exist"), "{finding}");
    }
    let made = succeeded(world.command("resources").arg("--create"));
    for kind in ["Kinesis stream", "DynamoDB table", "S3 bucket", "SNS topic", "SQS queue"] {
        assert!(made.lines().any(|line| line.contains(kind) && line.contains("created")), "{kind}: {made}");
    }
    assert!(!succeeded(world.command("resources").arg("--create")).contains("created"));
    succeeded(world.command("check").arg("--online"));

    let policy = succeeded(world.command("resources").args(["--policy", "--account", "123456789012"]));
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions: Vec<&str> =
        statements.iter().flat_map(|s| s["Action"].as_array().unwrap()).filter_map(|a| a.as_str()).collect();
    for action in ["kinesis:GetRecords", "dynamodb:UpdateItem", "s3:PutObject", "sns:Publish", "sqs:SendMessage"] {
        assert!(actions.contains(&action), "{action}: {policy:#}");
    }
    let not_done = ["kinesis:PutRecords", "kinesis:SubscribeToShard", "dynamodb:PutItem"];
    assert!(!actions.iter().any(|action| not_done.contains(action) || action.contains('*')), "{policy:#}");

    world.produce(&trips.starts, &trips.ends);
    world.run();
    world.came_to(trips);
}

#[test]
fn the_real_trips_of_a_day_come_out_right() {
    let Some(trips) = Trips::real() else {
        println!("TRIP_DATA is not set: only generated trips are sent");
        return;
    };
    let world = World::new();
    world.produce(&trips.starts, &trips.ends);
    world.run();
    world.came_to(trips);
    assert_eq!(world.table.of_status("COMPLETED"), 4979);
    let kpis = world.outcome().kpis;
    let day = object(&kpis["kpis/date=2024-05-25/kpi.json"]);
    assert_eq!((day["trip_count"].as_u64(), day["total_fare"].as_f64()), (Some(4979), Some(273_100.56)), "{day:?}");
}

#[test]
fn shards_may_be_split_and_merged_meanwhile() {
    let (world, trips) = (World::new(), Trips::few());
    let [(starts, ends), (more_starts, more_ends)] = trips.halves(world.folder.path());
    let mut run = world.start();
    world.produce(&starts, &ends);
    run.until("some trips are there", || world.table.count() > trips.outcome.table.len() / 4);
    world.starts.split();
    world.ends.merge();
    world.produce(&more_starts, &more_ends);
    world.ends.split();
    run.until("all trips are complete", || world.table.of_status("COMPLETED") == trips.completed());
    run.stop();
    // What was behind the last trip that became complete.
    world.run();
    world.came_to(trips);
    world.has_archived(trips);
}

#[test]
fn a_kill_changes_nothing() {
    let (world, trips) = (World::new(), Trips::few());
    world.produce(&trips.starts, &trips.ends);
    let all = trips.outcome.table.len();
    for quarter in 1..=3 {
        let mut run = world.start();
        let ended = run.ends_before("a part of the trips is there", || world.table.count() >= all * quarter / 4);
        assert!(!ended, "the run ended before it was killed");
        run.kill();
    }
    world.run();
    world.came_to(trips);
    world.has_archived(trips);
}

/// A process that dies at a point leaves uploads, notes, claims and letters at the services in every state they can be in.
#[test]
fn crashes_at_every_point_of_a_checkpoint_change_nothing() {
    let (world, trips) = (World::new(), Trips::few());
    let parts = trips.parts(CHECKPOINT_POINTS.len(), world.folder.path());
    for (point, (starts, ends)) in CHECKPOINT_POINTS.iter().zip(&parts) {
        world.produce(starts, ends);
        let mut command = world.command("run");
        let output = command.arg("--until-idle").env("MILLSTREAM_CRASH_AT", point).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(ABORTED), "{point}: {}\n{told}", output.status);
    }
    world.run();
    world.came_to(trips);
    world.has_archived(trips);
}

/// A proxy before each service, by the names of their variables.
fn proxies(rules: impl Fn(&Proxy)) -> Vec<(&'static str, Proxy)> {
    let all = [
        ("KINESIS", services::kinesis()),
        ("DYNAMODB", services::dynamodb()),
        ("S3", services::s3()),
        ("SQS", services::sqs()),
        ("SNS", services::sns()),
    ];
    let start = |(seed, (name, url)): (u64, (&'static str, &str))| {
        let proxy = Proxy::start(url, seed);
        rules(&proxy);
        (name, proxy)
    };
    (1..).zip(all).map(start).collect()
}

fn through(proxies: &[(&str, Proxy)]) -> World {
    let world = proxies.iter().fold(World::new(), |world, (service, proxy)| world.through(service, proxy));
    // A day of these trips is sent within a second: a record that is sent again comes hours late by its own time.
    let world = ["trip_starts", "trip_ends"]
        .iter()
        .fold(world, |world, source| world.set(&format!("sources.{source}.event_time.max_delay=72h")));
    world.set("delivery.retry.max_backoff=500ms")
}

#[test]
fn throttled_services_change_nothing() {
    let trips = Trips::few();
    let proxies = proxies(|proxy| {
        proxy.rule(Rule::on("*", Fault::Throttle).share(0.3)).rule(Rule::on("*", Fault::Partial { share: 0.3 }));
    });
    let world = through(&proxies);
    world.produce(&trips.starts, &trips.ends);
    world.run();
    world.came_to(trips);
    for (service, proxy) in proxies.iter().filter(|(service, _)| *service != "SQS") {
        assert!(proxy.faults(Kind::Throttle) > 0, "{service} was not asked often enough");
    }
    assert!(proxies[0].1.faults(Kind::Partial) > 0);
}

#[test]
fn answers_that_get_lost_change_nothing() {
    let trips = Trips::few();
    let proxies = proxies(|proxy| {
        // What was done and what was not cannot be told apart.
        proxy.rule(Rule::on("*", Fault::Lose).share(0.1)).rule(Rule::on("*", Fault::Drop).share(0.05));
        proxy.rule(Rule::on("*", Fault::Gateway(502)).share(0.05));
        proxy.rule(Rule::on("*", Fault::Cut { after: 10 }).share(0.05));
    });
    let world = through(&proxies);
    // Records that are put twice are told apart by their ids, but the archive has both.
    world.produce(&trips.starts, &trips.ends);
    world.run();
    let (mut outcome, expected) = (world.outcome(), &trips.outcome);
    outcome.rejects.values_mut().for_each(|count| *count = 1);
    let mut once =
        trips::Outcome { rejects: expected.rejects.keys().map(|k| (k.clone(), 1)).collect(), ..Default::default() };
    (once.table, once.kpis, once.late) = (expected.table.clone(), expected.kpis.clone(), expected.late.clone());
    let differences = outcome.differences(&once);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(proxies[1].1.faults(Kind::Lose) > 0);
}

#[test]
fn rows_of_a_table_that_was_down_are_replayed() {
    let trips = Trips::few();
    let proxy = Proxy::start(services::dynamodb(), 1);
    let world = World::new().through("DYNAMODB", &proxy);
    let world = world.set("delivery.retry.give_up_after=1s").set("delivery.retry.max_backoff=200ms");
    let [(starts, ends), (more_starts, more_ends)] = trips.halves(world.folder.path());
    let mut run = world.start();
    world.produce(&starts, &ends);
    run.until("some trips are there", || world.table.count() > trips.outcome.table.len() / 4);
    proxy.rule(Rule::on("*", Fault::refuse(500, "InternalServerError")));
    world.produce(&more_starts, &more_ends);
    run.until("rows become dead letters", || world.dead_letters.waiting() > 0);
    proxy.heal();
    run.stop();
    world.run();
    let waiting = world.dead_letters.waiting();
    assert!(waiting > 0);
    let before = world.table.items();

    let replay = |world: &World, more: &[&str]| {
        let mut command = world.command("replay");
        succeeded(command.arg("dead_letter").args(more))
    };
    replay(&world, &["--dry-run"]);
    assert_eq!(world.table.items(), before);
    until("they are visible again", || world.dead_letters.waiting() == waiting);
    let told = replay(&world, &[]);
    assert!(told.contains("trip_state"), "{told}");
    world.came_to(trips);
    world.has_archived(trips);
}

#[test]
fn items_of_another_program_are_merged() {
    let (world, trips) = (World::new(), Trips::few());
    // A Lambda has written every third trip's start, and a note of its own, without versions.
    let mut notes = 0;
    for (trip, item) in trips.outcome.table.iter().step_by(3) {
        let mut old = json!({ "trip_id": { "S": trip }, "note": { "S": "by hand" }, "status": { "S": "STARTED" } });
        if let Some(at) = item.get("pickup_datetime") {
            old["pickup_datetime"] = json!({ "S": at });
        }
        world.table.put(&old);
        notes += 1;
    }
    world.produce(&trips.starts, &trips.ends);
    world.run();
    let mut outcome = world.outcome();
    let noted =
        outcome.table.values_mut().filter_map(|item| item.remove("note")).filter(|note| note == "by hand").count();
    assert_eq!(noted, notes, "attributes that are not the pipeline's stay");
    let differences = outcome.differences(&trips.outcome);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
