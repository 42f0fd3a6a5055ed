//! A pipeline over a local DynamoDB: resources, check --online, run, query, and a table read back as a source.

use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::Value;

use crate::{Ran, Shell, shell};

const TRIPS: &str = r#"
version: 1
name: trips
profiles:
  aws:
    trip_stream: { file: { path: trips.csv, format: csv } }
    trip_table: { dynamodb: { table: TABLE } }
    total_table: { dynamodb: { table: TABLE-totals } }
    refused: { directory: { path: out } }
sources:
  trips_in:
    read: trip_stream
    schema: { trip_id: string, zone: int, fare: "decimal(10,2)", status: string? }
tables:
  trip_state: { store: trip_table, key: trip_id, ttl: 30d }
transforms:
  trips: { upsert: { into: trip_state, set: { trips_in: "*" } } }
  totals: { sql: "SELECT zone, sum(fare) AS total FROM trips_in GROUP BY zone" }
sinks:
  total_items: { from: totals, write: total_table, mode: overwrite }
  refused_rows: { from: ["*.rejected", "*.failed"], write: refused, path: "refused/{batch_id}.jsonl" }
"#;

const BACKFILL: &str = r#"
version: 1
name: backfill
profiles:
  aws:
    old_trips: { dynamodb: { table: TABLE, segments: 2 } }
    lake: { directory: { path: back } }
sources:
  trips_in:
    read: old_trips
    schema: { trip_id: string, zone: int, fare: "decimal(10,2)" }
transforms:
  totals: { sql: "SELECT zone, sum(fare) AS total, count(*) AS trips FROM trips_in GROUP BY zone" }
sinks:
  files: { from: totals, write: lake, mode: overwrite, path: "zone={zone}.json" }
  refused_rows: { from: ["*.rejected", "*.late", "*.failed"], write: lake, path: "refused/{batch_id}.jsonl" }
"#;

struct Aws {
    shell: Shell,
}

impl Aws {
    fn new() -> Self {
        let shell = shell();
        let table = services::name("cli");
        let rows = (0..200).map(|i| format!("t{i},{},{}.50,\n", i % 3, i));
        shell.write("trips.csv", &format!("trip_id,zone,fare,status\n{}", rows.collect::<String>()));
        shell.write("trips.yaml", &TRIPS.replace("TABLE", &table));
        shell.write("backfill.yaml", &BACKFILL.replace("TABLE", &table));
        Self { shell }
    }
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.shell.command(args);
        Ran::of(command.envs(services::environment()).output().unwrap())
    }
}

#[test]
fn from_nothing_to_a_table_that_can_be_queried() {
    let aws = Aws::new();
    aws.run(&["check", "trips.yaml", "--online"]).ends(3).says(&[
        "E0501",
        "does not exist",
        "trip_table:",
        "tables.trip_state",
        "resources FILE --create",
    ]);
    aws.run(&["resources", "trips.yaml", "--create"]).ends(0).says(&["DynamoDB table", "created", "key trip_id (S)"]);
    aws.run(&["resources", "trips.yaml", "--create"]).ends(0).says(&["exists"]);
    aws.run(&["check", "trips.yaml", "--online"]).ends(0).says(&["trips is fine"]);
    aws.run(&["run", "trips.yaml"]).ends(0).says(&[
        "every row is accounted for",
        "3 writes to",
        "trip_state: read to acknowledged p50",
        "of that its store p50",
    ]);
    let told = aws.run(&["run", "trips.yaml", "--fresh", "--json"]).ends(0).json();
    let tables: Vec<&Value> = told["nodes"].as_array().unwrap().iter().map(|n| &n["table"]).collect();
    let table = tables.iter().find(|t| t["id"] == "trip_state").unwrap();
    let micros = |what: &str, of: &str| table[what][of].as_u64().unwrap();
    assert_eq!((micros("acknowledged", "count"), micros("answered", "count")), (200, 200));
    assert!(micros("acknowledged", "p50") >= micros("answered", "p50") && micros("answered", "p50") > 0, "{table}");

    let csv = |sql: &str| aws.run(&["query", "trips.yaml", sql, "--format", "csv"]).ends(0).out;
    assert_eq!(csv("SELECT count(*) AS n, sum(fare) AS total FROM trip_state"), "n,total\n200,20000.00\n");
    assert_eq!(csv("SELECT fare FROM trip_state WHERE trip_id = 't7'"), "fare\n7.50\n");
    assert_eq!(csv("SELECT fare FROM trip_state WHERE trip_id IN ('t7', 'nobody')"), "fare\n7.50\n");

    aws.run(&["run", "backfill.yaml"]).ends(0).says(&["every row is accounted for"]);
    let zone = std::fs::read_to_string(aws.shell.folder.path().join("back/zone=0.json")).unwrap();
    assert!(zone.contains("\"total\":6666.50") && zone.contains("\"trips\":67"), "every digit: {zone}");
}

#[test]
fn one_address_stands_for_all_services() {
    let aws = Aws::new();
    let mut command = aws.shell.command(&["resources", "trips.yaml", "--create"]);
    let other = services::environment().into_iter().filter(|(name, _)| !name.starts_with("AWS_ENDPOINT_URL"));
    command.envs(other).env("AWS_ENDPOINT_URL", services::dynamodb());
    Ran::of(command.output().unwrap()).ends(0).says(&["created"]);
}

#[test]
fn a_role_is_assumed_at_the_token_service() {
    let aws = Aws::new();
    let role = "dynamodb: { table: TABLE, role_arn: \"arn:aws:iam::000000000000:role/writer\" }";
    let table = services::name("role");
    let text = TRIPS.replace("dynamodb: { table: TABLE }", role).replace("TABLE", &table);
    aws.shell.write("role.yaml", &text);
    let tokens = Proxy::start(services::ministack(), 1);
    let mut command = aws.shell.command(&["resources", "role.yaml", "--create"]);
    command.envs(services::environment()).env("AWS_ENDPOINT_URL_STS", tokens.url());
    Ran::of(command.output().unwrap()).ends(0).says(&["created"]);
    assert!(tokens.requests("AssumeRole") > 0, "{:?}", tokens.seen());
    tokens.rule(Rule::on("AssumeRole", Fault::refuse(403, "AccessDenied")));
    let mut command = aws.shell.command(&["check", "role.yaml", "--online"]);
    command.envs(services::environment()).env("AWS_ENDPOINT_URL_STS", tokens.url());
    Ran::of(command.output().unwrap()).ends(3).says(&["E0501", "trip_table"]);
}

#[test]
fn a_policy_allows_what_is_done_and_nothing_else() {
    let aws = Aws::new();
    let policy = aws.run(&["resources", "trips.yaml", "--policy", "--account", "123456789012"]).ends(0).json();
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 2, "{policy:#}");
    let table = statements[0]["Resource"][0].as_str().unwrap();
    assert!(table.starts_with("arn:aws:dynamodb:us-east-1:123456789012:table/cli"), "{table}");
    let actions: Vec<&str> = statements[0]["Action"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let expected = ["dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:UpdateItem"];
    assert_eq!(actions, expected, "a table");
    assert_eq!(statements[1]["Action"].as_array().unwrap().len(), 2, "a sink writes only: {policy:#}");
    let source = aws.run(&["resources", "backfill.yaml", "--json"]).ends(0).json();
    assert_eq!(source["resources"][0]["used_by"][0], "sources.trips_in");
    let actions = source["resources"][0]["actions"].as_array().unwrap();
    assert_eq!(actions.len(), 2, "a source reads only: {source:#}");
}

#[test]
fn a_laptop_needs_nothing() {
    let shell = shell();
    shell.starter("orders", &[]);
    shell.run(&["resources", "orders.yaml"]).ends(0).says(&["needs no service"]);
    shell.run(&["check", "orders.yaml", "--online"]).ends(0).says(&["orders is fine"]);
}
