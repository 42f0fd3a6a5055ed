//! One run of `trips.yaml`: streams in memory cut as one likes, outputs in a folder, everything captured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use millstream_core::EventTime;
use millstream_local::fault::Faults;
use millstream_local::memory::{self, Memory};
use millstream_runtime::Graph;
use millstream_runtime::metrics::Snapshot;
use millstream_runtime::run::RunError;
use millstream_tests::check::{Reading, check_with_faults};
use millstream_tests::random::Random;
use millstream_tests::rows::{self, Row};
use millstream_tests::run::{Tables, account, run, run_until};
use tempfile::TempDir;

use crate::trips::{Record, Trip};

/// The pipeline of the properties.
pub(crate) const PIPELINE: &str = include_str!("trips.yaml");

/// How the records of both streams arrive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Orders the records, cuts and spreads them.
    pub(crate) seed: u64,
    pub(crate) splits: u64,
    /// One in so many comes a second time; 0: none.
    pub(crate) repeated: u64,
    /// Records of a run at most.
    pub(crate) run: u64,
    /// Whether the records of a split come in event-time order up to less than ten minutes.
    pub(crate) ordered: bool,
}

impl Arrival {
    /// Any order, cuts, splits.
    pub(crate) fn random(seed: u64, ordered: bool) -> Self {
        let random = &mut Random::new(seed ^ 0xA5);
        let (splits, run) = (1 + random.below(5), *random.pick(&[1, 7, 50, 1000]));
        Self { seed, splits, repeated: 20 * random.below(2), run, ordered }
    }

    /// Puts records into splits of a stream in memory.
    fn feed(&self, memory: &Memory, salt: u64, mut records: Vec<Record>, ends: bool) {
        let random = &mut Random::new(self.seed.wrapping_mul(31).wrapping_add(salt));
        if self.repeated > 0 {
            let again: Vec<Record> = records.iter().filter(|_| random.one_in(self.repeated)).cloned().collect();
            records.extend(again);
        }
        random.shuffle(&mut records);
        if self.ordered {
            let mut keyed: Vec<(i64, Record)> =
                records.into_iter().map(|r| (r.at + random.below(590) as i64, r)).collect();
            keyed.sort_by_key(|(at, _)| *at);
            records = keyed.into_iter().map(|(_, r)| r).collect();
        }
        let mut splits: Vec<Vec<Record>> = vec![Vec::new(); self.splits as usize];
        for record in records {
            splits[random.below(self.splits) as usize].push(record);
        }
        for (i, records) in splits.into_iter().enumerate() {
            let id = format!("split-{i}");
            memory.split(&id, &[]);
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let (run, more) = rest.split_at((1 + random.below(self.run) as usize).min(rest.len()));
                // Everything arrives long after it happened, so that nothing is from the future.
                memory.push_records(&id, run.iter().map(|r| r.text.as_str()), EventTime(1_800_000_000_000_000));
                rest = more;
            }
            if ends {
                memory.finish(&id);
            }
        }
        if ends {
            memory.close();
        }
    }
}

/// A folder for the outputs of runs, and how they are run.
pub(crate) struct World {
    pub(crate) out: TempDir,
    pub(crate) profile: &'static str,
    pub(crate) faults: BTreeMap<String, Faults>,
    pub(crate) environment: Vec<(String, String)>,
}

impl World {
    pub(crate) fn new(profile: &'static str) -> Self {
        Self { out: TempDir::new().unwrap(), profile, faults: BTreeMap::new(), environment: Vec::new() }
    }
    /// The calls at a binding fail as the script says.
    pub(crate) fn faults(&mut self, binding: &str) -> Faults {
        self.faults.entry(binding.to_owned()).or_default().clone()
    }
    /// What the table does while its store is down, and after how long.
    pub(crate) fn outage(&mut self, what: &str, give_up_after: &str) {
        self.environment = vec![variable("OUTAGE", what), variable("GIVE_UP_AFTER", give_up_after)];
    }
    /// What the table does with a row its store refuses.
    pub(crate) fn bad_row(&mut self, what: &str) {
        self.environment = vec![variable("BAD_ROW", what)];
    }
    /// Runs the pipeline over these trips to its end.
    pub(crate) fn run(&self, trips: &[Trip], arrival: Arrival, workers: usize) -> Ran {
        self.try_run(trips, arrival, workers).unwrap_or_else(|e| panic!("{arrival:?}: {e}"))
    }
    /// The same; the run may fail.
    pub(crate) fn try_run(&self, trips: &[Trip], arrival: Arrival, workers: usize) -> Result<Ran, RunError> {
        self.play(trips, arrival, true, |graph| run(graph, workers))
    }
    /// Reads all records of streams that do not end, and is stopped then.
    pub(crate) fn run_stopped(&self, trips: &[Trip], arrival: Arrival, workers: usize) -> Ran {
        let count = |record: fn(&Trip) -> Option<Record>| trips.iter().filter_map(record).count() as u64;
        let records = count(Trip::start_record) + count(Trip::end_record);
        assert_eq!(arrival.repeated, 0, "the records are counted");
        let read = |snapshot: &Snapshot| {
            let sources = snapshot.nodes.iter().filter(|n| n.kind == "source");
            sources.map(|n| n.counts.input).sum::<u64>() == records
        };
        let stopped = self.play(trips, arrival, false, |graph| run_until(graph, workers, read));
        stopped.unwrap_or_else(|e| panic!("{arrival:?}: {e}"))
    }

    fn play(
        &self,
        trips: &[Trip],
        arrival: Arrival,
        ends: bool,
        run: impl FnOnce(Graph) -> Result<Snapshot, RunError>,
    ) -> Result<Ran, RunError> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let world = format!("world-{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let memory = |stream: &str| memory::handle(&format!("{world}-{stream}"));
        arrival.feed(&memory("starts"), 1, trips.iter().filter_map(Trip::start_record).collect(), ends);
        arrival.feed(&memory("ends"), 2, trips.iter().filter_map(Trip::end_record).collect(), ends);
        let mut environment = self.environment.clone();
        environment.extend([variable("WORLD", &world), variable("OUT", &self.out.path().to_string_lossy())]);
        let reading = Reading { profile: Some(self.profile.to_owned()), run: true, environment, ..Reading::default() };
        let graph = check_with_faults(PIPELINE, &reading, &self.faults).graph("trips.yaml", PIPELINE);
        let tables = Tables::of(&graph);
        let snapshot = run(graph);
        memory("starts").clear();
        memory("ends").clear();
        account(&snapshot?);
        Ok(Ran {
            table: rows::of(&tables.rows("trip_state")),
            files: rows::files(self.out.path()).into_iter().filter(|(path, _)| !path.contains(".db")).collect(),
            capture: memory("capture"),
        })
    }
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) table: Vec<Row>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    capture: Memory,
}

impl Ran {
    /// What a capturing sink was given, hidden columns included.
    pub(crate) fn batches(&self, sink: &str) -> Vec<RecordBatch> {
        self.capture.written(sink).into_iter().map(|b| b.rows).collect()
    }
    /// The same as rows of user columns.
    pub(crate) fn rows(&self, sink: &str) -> Vec<Row> {
        rows::of(&self.batches(sink))
    }
    /// The files below a folder.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        self.files.iter().filter(|(path, _)| path.starts_with(folder)).map(|(p, b)| (p.clone(), b.clone())).collect()
    }
    /// Of refused rows, what does not depend on where in a split they stood, each once.
    pub(crate) fn refused(&self, sink: &str) -> Vec<String> {
        let what = |row: &Row| {
            let of = |name: &str| row.get(name).map(ToString::to_string).unwrap_or_default();
            format!("{} {} {} {}{}", of("component"), of("rules"), of("reasons"), of("row"), of("raw"))
        };
        let mut all: Vec<String> = self.rows(sink).iter().map(what).collect();
        all.sort();
        all.dedup();
        all
    }
}
