//! Surge pricing on its profile `aws`: a function of the user's between Kinesis and a DynamoDB table with a key of two columns.

use std::path::Path;
use std::process::Command;

use millstream_aws_tests::binary::{binary, root, udf_cache};
use millstream_services::{self as services, name};
use tempfile::TempDir;

use crate::resources::{Bucket, Stream};
use crate::succeeded;

/// The pipeline on a profile, with streams, table and bucket nobody else has.
struct Surge {
    folder: TempDir,
    arguments: Vec<String>,
    bucket: Bucket,
}

impl Surge {
    fn on(profile: &str) -> Self {
        let mut arguments = vec!["--profile".to_owned(), profile.to_owned()];
        if profile == "aws" {
            for (option, unique) in [
                ("request_stream.kinesis.stream", Stream::new("requests", 2).name),
                ("driver_stream.kinesis.stream", Stream::new("drivers", 1).name),
                ("price_table.dynamodb.table", name("prices")),
            ] {
                arguments.extend(["--set".to_owned(), format!("profiles.aws.{option}={unique}")]);
            }
        }
        Self { folder: TempDir::new().unwrap(), arguments, bucket: Bucket::new("prices") }
    }
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg(name).arg(root().join("pipelines/surge_pricing.yaml")).args(&self.arguments);
        command.current_dir(self.folder.path()).envs(services::environment()).env("LAKE_BUCKET", &self.bucket.name);
        command.env("MILLSTREAM_UDF_CACHE", udf_cache()).env("NO_COLOR", "1").env("RUST_LOG", "warn");
        command
    }
    fn produce(&self, source: &str, from: &Path) {
        succeeded(self.command("produce").args([source, "--by-event-time", "--from"]).arg(from));
    }
    fn prices(&self) -> Vec<String> {
        let all = "SELECT zone, window_start, demand, supply, multiplier, surge_multiplier(demand, supply) AS again
            FROM surge_prices ORDER BY window_start, zone";
        let found = succeeded(self.command("query").args([all, "--format", "csv"]));
        found.lines().skip(1).map(str::to_owned).collect()
    }
}

#[test]
fn prices_of_aws_are_those_of_the_laptop_and_follow_late_requests() {
    let (laptop, aws) = (Surge::on("local"), Surge::on("aws"));
    succeeded(&mut laptop.command("run"));
    succeeded(aws.command("resources").arg("--create"));
    aws.produce("requests", &root().join("pipelines/data/ride_requests.csv"));
    aws.produce("drivers", &root().join("pipelines/data/driver_status.csv"));
    let told = succeeded(aws.command("run").arg("--until-idle"));
    assert!(told.contains("every row is accounted for"), "{told}");
    let prices = aws.prices();
    assert_eq!(prices, laptop.prices());
    let of = |prices: &[String]| -> Option<Vec<String>> {
        let price = prices.iter().find(|p| p.starts_with("161,") && p.contains("08:50:00"))?;
        Some(price.split(',').skip(2).map(str::to_owned).collect())
    };
    let before = of(&prices).unwrap();
    // Six more wanted a ride, and their requests come late.
    let late = aws.folder.path().join("late.csv");
    let rows: String = (0..6).map(|i| format!("late{i},161,2026-03-01 08:51:0{i}\n")).collect();
    std::fs::write(&late, format!("request_id,zone,requested_at\n{rows}")).unwrap();
    aws.produce("requests", &late);
    let told = succeeded(aws.command("run").arg("--until-idle"));
    assert!(told.contains("every row is accounted for"), "{told}");
    let after = aws.prices();
    assert_eq!(after.len(), prices.len());
    let (before, after) = (before, of(&after).unwrap());
    let demand = |price: &[String]| price[0].parse::<u64>().unwrap();
    assert_eq!(demand(&after), demand(&before) + 6, "{before:?} {after:?}");
    assert!(after[2].parse::<f64>().unwrap() > before[2].parse::<f64>().unwrap(), "{before:?} {after:?}");
    assert_eq!(after[2], after[3], "the same function in the run and in the query");
}
