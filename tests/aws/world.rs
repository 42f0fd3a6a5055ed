//! One test's streams, table, bucket, topic and queues, and the binary over them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use millstream_services as services;
use millstream_services::Proxy;
use tempfile::TempDir;

use crate::resources::{Bucket, Queue, Stream, Table, Topic};
use crate::trips::{Outcome, Trips, refusals};
use crate::{succeeded, until};
use millstream_aws_tests::binary::{binary, root};

/// Everything the profile `aws` names.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) starts: Stream,
    pub(crate) ends: Stream,
    pub(crate) table: Table,
    pub(crate) bucket: Bucket,
    pub(crate) alerts: Topic,
    pub(crate) dead_letters: Queue,
    environment: Vec<(String, String)>,
    set: Vec<String>,
}

/// A run that nobody waits for yet. It is killed when it is forgotten.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            starts: Stream::new("starts", 3),
            ends: Stream::new("ends", 2),
            table: Table::new("trips"),
            bucket: Bucket::new("lake"),
            alerts: Topic::new("alerts"),
            dead_letters: Queue::new("dead"),
            ..Self::named()
        }
    }
    /// Names of what nobody has made yet.
    pub(crate) fn named() -> Self {
        let environment = services::environment();
        Self {
            folder: TempDir::new().unwrap(),
            starts: Stream { name: services::name("starts") },
            ends: Stream { name: services::name("ends") },
            table: Table { name: services::name("trips") },
            bucket: Bucket { name: services::name("lake") },
            alerts: Topic::named("alerts"),
            dead_letters: Queue::named("dead"),
            environment,
            set: Vec::new(),
        }
    }
    /// The binary talks to this service through a proxy: `KINESIS`, `DYNAMODB`, ..
    #[must_use]
    pub(crate) fn through(mut self, service: &str, proxy: &Proxy) -> Self {
        self.environment.push((format!("AWS_ENDPOINT_URL_{service}"), proxy.url().to_owned()));
        self
    }
    /// Changes a value of the pipeline file.
    #[must_use]
    pub(crate) fn set(mut self, assignment: &str) -> Self {
        self.set.push(assignment.to_owned());
        self
    }

    /// A command of the binary on the flagship pipeline.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg(name).arg(root().join("pipelines/taxi_trips.yaml")).args(["--profile", "aws"]);
        command.current_dir(self.folder.path());
        let streams = [("start_stream", &self.starts), ("end_stream", &self.ends)];
        for (binding, stream) in streams {
            command.arg("--set").arg(format!("profiles.aws.{binding}.kinesis.stream={}", stream.name));
        }
        command.arg("--set").arg(format!("profiles.aws.trip_table.dynamodb.table={}", self.table.name));
        command.args(["--set", "checkpoint.every=500ms"]);
        for assignment in &self.set {
            command.arg("--set").arg(assignment);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("LAKE_BUCKET", &self.bucket.name).env("ALERT_TOPIC_ARN", &self.alerts.arn);
        command.env("DEAD_LETTER_QUEUE_URL", &self.dead_letters.url);
        command.env("NO_COLOR", "1").env("RUST_LOG", "warn");
        command
    }

    /// Puts a file into each stream, both at once.
    pub(crate) fn produce(&self, starts: &Path, ends: &Path) {
        let produce = |source: &str, from: &Path| {
            let mut command = self.command("produce");
            command.args([source, "--partition-key", "trip_id", "--from"]).arg(from);
            if from.extension().is_some_and(|e| e == "csv") {
                // As the trips once came: the rows of these files stand in no order.
                command.arg("--by-event-time");
            }
            succeeded(&mut command)
        };
        std::thread::scope(|scope| {
            scope.spawn(|| produce("trip_starts", starts));
            produce("trip_ends", ends);
        });
    }

    /// Runs until every stream is read and nothing is in flight.
    pub(crate) fn run(&self) -> String {
        succeeded(self.command("run").arg("--until-idle"))
    }
    /// Starts a run that goes on until it is stopped.
    pub(crate) fn start(&self) -> Running {
        let log = self.folder.path().join("run.log");
        let file = File::create(&log).unwrap();
        let mut command = self.command("run");
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), log }
    }

    /// What is at the services now.
    pub(crate) fn outcome(&self) -> Outcome {
        let lines = |prefix: &str| self.bucket.lines(prefix).into_iter().map(|(_, line)| line).collect();
        let kpis = self.bucket.objects("kpis/").into_iter();
        Outcome {
            table: self.table.items(),
            kpis: kpis.map(|(key, bytes)| (key, String::from_utf8(bytes).unwrap())).collect(),
            rejects: refusals(lines("rejects/")),
            late: refusals(lines("late/")),
        }
    }
    /// All is as it has to be.
    #[track_caller]
    pub(crate) fn came_to(&self, trips: &Trips) {
        let differences = self.outcome().differences(&trips.outcome);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        assert_eq!(self.dead_letters.waiting(), 0, "dead letters");
    }
    /// Each record of the files is in the raw archive once.
    #[track_caller]
    pub(crate) fn has_archived(&self, trips: &Trips) {
        for (source, file) in [("trip_starts", &trips.starts), ("trip_ends", &trips.ends)] {
            let lines = self.bucket.lines(&format!("raw/source={source}/"));
            let lines = if lines.is_empty() { self.bucket.lines(&format!("raw/{source}/")) } else { lines };
            let mut archived: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
            let text = std::fs::read_to_string(file).unwrap();
            let mut sent: Vec<&str> = text.lines().collect();
            archived.sort_unstable();
            sent.sort_unstable();
            assert_eq!(archived.len(), sent.len(), "{source}");
            assert!(archived == sent, "the archive of {source} has other records than were sent");
        }
    }
}

impl Running {
    /// Waits until something is so; the run must not end before.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let (child, log) = (&mut self.child, &self.log);
        until(what, || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the run has ended: {ended:?}\n{}", text(log));
            holds()
        });
    }
    /// Waits until something is so, or the run has come to its end; whether it has.
    pub(crate) fn ends_before(&mut self, what: &str, mut holds: impl FnMut() -> bool) -> bool {
        let (child, mut ended) = (&mut self.child, false);
        until(what, || {
            ended = child.try_wait().unwrap().is_some();
            ended || holds()
        });
        ended
    }
    /// `kill -9`
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    /// Ctrl-C: it finishes what is in flight. What it printed.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", text(&self.log));
        text(&self.log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
