//! Drives the processes of a simulation, one action at a time, from a seed to a verdict.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::table::{TableRows, TableStore};
use millstream_core::{ErrorKind, EventTime};
use millstream_local::checkpoints::{Holds, MemoryCheckpoints};
use millstream_local::memory::{self, Memory};
use millstream_plan::{Options, plan};
use millstream_runtime::Graph;
use millstream_runtime::graph::NodeKind;
use millstream_runtime::metrics::Snapshot;
use millstream_spec::{ParseOptions, Severity, parse, render};
use millstream_state::checkpoint::Epochs;
use millstream_tests::random::Random;
use tempfile::TempDir;

use crate::invariants::{self, Left};
use crate::model::Model;
use crate::plan::{Fate, Life, Plan};
use crate::planted::ServiceBug;
use crate::process::{At, BEGIN, End, Process, Setup};
use crate::services::{Simulated, SimulatedCheckpoints};
use crate::trips::Workload;
use crate::world::{Tally, World};

const PIPELINE: &str = include_str!("pipeline.yaml");
/// More actions than any simulation takes.
const MOST_ACTIONS: u64 = 200_000;

/// An event time behind all that is read.
const BEHIND_ALL: EventTime = EventTime(1_800_000_000_000_000);

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must not be and was; empty where all is well.
    pub broken: Vec<String>,
    /// Stands for everything that happened, in its order.
    pub trace: u64,
    /// Everything that happened, where it was asked for.
    pub lines: Vec<String>,
    /// How often what was injected.
    pub tally: Tally,
    /// Actions taken.
    pub actions: u64,
}

/// Simulates a seed. `traced`: keeps every line of the trace.
pub fn simulate(seed: u64, traced: bool) -> Outcome {
    simulate_with(seed, traced, None)
}

/// The same with a bug planted in a service.
pub(crate) fn simulate_with(seed: u64, traced: bool, bug: Option<ServiceBug>) -> Outcome {
    let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9_97F4_A7C1) ^ 0x5EED);
    let drawn = Plan::draw(&mut random);
    let world = Arc::new(World::new(seed, drawn.weather.clone(), traced, bug));
    let stage = Stage::set(&drawn, &world, &mut random);
    let mut driver = Driver::new(drawn, world.clone(), stage, random);
    driver.run();
    let actions = driver.actions;
    driver.judge();
    driver.stage.clear();
    let told = world.told();
    Outcome { seed, broken: told.broken, trace: told.hash, lines: told.lines, tally: told.tally, actions }
}

/// What outlives processes.
struct Stage {
    graph: Arc<Graph>,
    store: MemoryCheckpoints,
    out: TempDir,
    starts: Memory,
    ends: Memory,
    table: Memory,
    audit: Memory,
    alerts: Memory,
    dead: Memory,
}

/// A folder for files: in memory where the machine has such a place.
fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() };
    made.or_else(|_| TempDir::new()).expect("a temporary folder")
}

impl Stage {
    fn set(drawn: &Plan, world: &Arc<World>, random: &mut Random) -> Self {
        static STAGES: AtomicU64 = AtomicU64::new(0);
        let name = format!("simulation-{}", STAGES.fetch_add(1, Ordering::Relaxed));
        let memory = |part: &str| memory::handle(&format!("{name}-{part}"));
        let (starts, ends) = (memory("starts"), memory("ends"));
        drawn.workload.feed(random, &starts, &ends);
        let out = folder();
        let environment = [
            ("WORLD", name.clone()),
            ("OUT", out.path().to_string_lossy().into_owned()),
            ("OUTAGE", drawn.outage.to_owned()),
        ];
        let graph = Arc::new(graph(&environment, world, drawn.tick_ms));
        let holds = if drawn.shared { Holds::Shared } else { Holds::Exclusive };
        let stage = Self {
            store: MemoryCheckpoints::new(holds),
            out,
            starts,
            ends,
            table: memory("table"),
            audit: memory("audit"),
            alerts: memory("alerts"),
            dead: memory("dead"),
            graph,
        };
        stage.fill_table(&drawn.workload);
        stage
    }

    /// The table as the pipeline opens it, without faults.
    fn open_table(&self) -> Arc<dyn TableStore> {
        if self.table.table("trip_state").is_none() {
            let mut upserts = self.graph.nodes.iter().filter_map(|n| match &n.kind {
                NodeKind::Upsert(upsert) => Some(upsert),
                _ => None,
            });
            let upsert = upserts.next().expect("the pipeline has an upsert");
            block_on(upsert.connector.table(&upsert.table)).expect("a table in memory");
        }
        self.table.table("trip_state").expect("the table was opened")
    }

    /// Puts there what an earlier run has left.
    fn fill_table(&self, workload: &Workload) {
        let rows: Vec<String> = workload
            .trips
            .iter()
            .filter(|t| t.ended_before)
            .filter_map(|t| t.row(false, true))
            .map(|row| serde_json::Value::Object(row).to_string())
            .collect();
        if rows.is_empty() {
            return;
        }
        let schema = self.graph.nodes.iter().find_map(|n| match &n.kind {
            NodeKind::Upsert(upsert) => Some(upsert.table.columns.clone()),
            _ => None,
        });
        let mut decoder = arrow::json::ReaderBuilder::new(schema.expect("a table")).build_decoder().expect("a decoder");
        decoder.decode(rows.join("\n").as_bytes()).expect("rows of the table");
        let rows = decoder.flush().expect("rows of the table").expect("rows");
        let count = rows.num_rows();
        let put = TableRows { rows, versions: vec![3; count], stamps: vec![None; count], truncated: vec![None; count] };
        block_on(self.open_table().put(&put)).expect("a table in memory");
    }

    fn clear(&self) {
        for memory in [&self.starts, &self.ends, &self.table, &self.audit, &self.alerts, &self.dead] {
            memory.clear();
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(future)
}

fn graph(environment: &[(&str, String)], world: &Arc<World>, tick_ms: u64) -> Graph {
    let registry = millstream_tests::registry();
    let value = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
    let parsed = parse(
        PIPELINE,
        &ParseOptions {
            environment: &value,
            pipeline_dir: Path::new("."),
            require_variables: true,
            for_run: true,
            registry: &registry,
            profile: None,
            set: &[],
        },
    );
    let shown = |findings| render(findings, "pipeline.yaml", PIPELINE, false);
    let pipeline = parsed.pipeline.as_ref().unwrap_or_else(|| panic!("{}", shown(&parsed.findings)));
    let bind = Simulated::new(pipeline, &registry, world.clone());
    let planned = plan(pipeline, &Options { bind: &bind, tick_ms, all_ports: false });
    let errors = parsed.findings.iter().chain(&planned.findings).any(|f| f.severity != Severity::Warning);
    assert!(!errors, "{}{}", shown(&parsed.findings), shown(&planned.findings));
    planned.graph.expect("a file without errors has a graph")
}

/// A process that lives, and what is planned for it.
struct Living {
    process: Process,
    life: Life,
    /// Actions of its own.
    age: u64,
    stopping: bool,
    /// Others lived while it did.
    met_others: bool,
    closing: Closing,
}

/// The end of streams that do not end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    NotYet,
    /// Watermarks were moved behind everything; the process is stopped at this time.
    Advanced(u64),
    Stopped,
}

/// A process that stands still.
struct Paused {
    living: Living,
    /// How many more actions of others it sleeps for.
    sleeps: u64,
}

struct Driver {
    drawn: Plan,
    lives: VecDeque<Life>,
    model: Model,
    world: Arc<World>,
    stage: Stage,
    random: Random,
    living: Vec<Living>,
    paused: Vec<Paused>,
    begun: usize,
    actions: u64,
    /// Wall-clock time, as far as any process has seen it.
    now: u64,
    /// Actions since records were read.
    quiet: u64,
    /// The last process to have ended by itself, and whether that was the end of everything.
    done: Option<Snapshot>,
}

impl Driver {
    fn new(mut drawn: Plan, world: Arc<World>, stage: Stage, random: Random) -> Self {
        let lives = std::mem::take(&mut drawn.lives).into();
        let model = Model::of(&drawn.workload);
        Self {
            drawn,
            lives,
            model,
            world,
            stage,
            random,
            living: Vec::new(),
            paused: Vec::new(),
            begun: 0,
            actions: 0,
            now: BEGIN,
            quiet: 0,
            done: None,
        }
    }

    fn run(&mut self) {
        while self.done.is_none() || !self.living.is_empty() || !self.paused.is_empty() {
            if self.world.is_broken() {
                break;
            }
            if self.living.is_empty() && self.done.is_none() {
                self.begin();
            }
            self.act();
            self.see_fates();
            self.see_ends();
            self.wake();
            self.actions += 1;
            if self.actions > MOST_ACTIONS {
                self.world.broken("it does not come to an end");
            }
        }
        let rest = self.living.drain(..).chain(self.paused.drain(..).map(|p| p.living));
        for mut living in rest.collect::<Vec<_>>() {
            living.process.kill();
        }
    }

    fn begin(&mut self) {
        let life = match self.lives.len() {
            1 => self.lives[0].clone(),
            _ => self.lives.pop_front().expect("the last life is kept"),
        };
        let point = match &life.fate {
            Fate::Point(point, hit, _) => Some(((*point).to_owned(), *hit, At::Dies)),
            Fate::Pauses(point, hit, ..) => Some(((*point).to_owned(), *hit, At::Pauses)),
            _ => None,
        };
        self.begun += 1;
        let setup = Setup {
            index: self.begun,
            workers: life.workers,
            tick_ms: self.drawn.tick_ms,
            max_in_flight: life.max_in_flight,
            every: life.every,
            keep: life.keep,
            point,
            from: self.now,
        };
        self.world.enter(self.begun);
        self.world.note(&format!("begins with {} workers: {:?}", life.workers, life.fate));
        if self.begun > 1 {
            self.world.count("restart");
        }
        let store: Arc<dyn CheckpointStore> =
            Arc::new(SimulatedCheckpoints { inner: Arc::new(self.stage.store.clone()), world: self.world.clone() });
        let process = Process::begin(&self.world, self.stage.graph.clone(), store, setup);
        let met_others = !self.paused.is_empty();
        let (age, stopping, closing) = (0, false, Closing::NotYet);
        self.living.push(Living { process, life, age, stopping, met_others, closing });
    }

    /// One thing happens.
    fn act(&mut self) {
        if self.living.is_empty() {
            return;
        }
        let chosen = self.random.below(self.living.len() as u64) as usize;
        let Living { process, life, age, .. } = &mut self.living[chosen];
        *age += 1;
        let awake = process.awake();
        let workers: u64 = awake.iter().map(|w| life.diligence[*w]).sum();
        let all = workers + life.tasks + life.time;
        let mut at = self.random.below(all);
        self.quiet = if self.world.was_active() { 0 } else { self.quiet + 1 };
        for worker in awake {
            match at.checked_sub(life.diligence[worker]) {
                Some(rest) => at = rest,
                None => return process.give(worker),
            }
        }
        if at < life.tasks {
            process.tasks(1 + self.random.below(6));
        } else {
            // Where nothing happens, time flies.
            let most = (2 * self.drawn.tick_ms * 1000) << (self.quiet / 40).min(8);
            process.wait(Duration::from_micros(1 + self.random.below(most)));
        }
        self.now = self.now.max(process.now());
    }

    /// What was planned for processes comes true.
    fn see_fates(&mut self) {
        for i in (0..self.living.len()).rev() {
            let living = &mut self.living[i];
            match &living.life.fate {
                Fate::Dies(age) | Fate::Point(_, _, age) if living.age >= *age => {
                    self.world.count("crash at any step");
                    self.world.enter(living.process.index);
                    self.world.note("is killed");
                    let end = living.process.kill();
                    self.bury(i, end);
                }
                Fate::Stops(age) if living.age >= *age && !living.stopping => {
                    if let Some(handle) = living.process.handle() {
                        self.world.enter(living.process.index);
                        self.world.note("is told to stop");
                        self.world.count("stop");
                        handle.stop();
                        living.stopping = true;
                    }
                }
                Fate::Pauses(_, _, age, sleeps) if living.process.is_paused() || living.age >= *age => {
                    let sleeps = *sleeps;
                    self.world.enter(living.process.index);
                    self.world.note("is paused");
                    self.world.count("pause");
                    let mut living = self.living.remove(i);
                    living.met_others = true;
                    // Once it is woken, it goes on as far as it gets.
                    living.life.fate = Fate::Lives;
                    self.paused.push(Paused { living, sleeps });
                }
                Fate::Lives => self.close(i),
                _ => {}
            }
        }
    }

    /// Ends streams that do not end by themselves, once they have been read.
    fn close(&mut self, i: usize) {
        let living = &mut self.living[i];
        if self.drawn.workload.bounded || !living.age.is_multiple_of(32) {
            return;
        }
        let Some(handle) = living.process.handle() else { return };
        let now = living.process.now();
        match living.closing {
            Closing::NotYet => {
                let snapshot = handle.snapshot();
                let sources =
                    || snapshot.nodes.iter().filter_map(|n| Some((n, self.model.records.get(n.id.as_str())?)));
                if sources().any(|(node, records)| node.counts.input < *records) {
                    return;
                }
                if sources().all(|(node, _)| node.watermark >= Some(BEHIND_ALL)) {
                    self.world.note("everything has been read");
                    living.closing = Closing::Advanced(now + 2_000_000);
                } else {
                    // Again, until splits that were assigned only now have heard of it.
                    handle.advance(BEHIND_ALL);
                }
            }
            Closing::Advanced(until) if now >= until => {
                self.world.note("is stopped at the end");
                handle.stop();
                living.closing = Closing::Stopped;
            }
            _ => {}
        }
    }

    fn see_ends(&mut self) {
        for i in (0..self.living.len()).rev() {
            if let Some(end) = self.living[i].process.ended() {
                self.bury(i, end);
            }
        }
    }

    /// A process is gone: whether it had a reason to.
    fn bury(&mut self, i: usize, end: End) {
        let living = self.living.remove(i);
        let Living { process, closing, met_others, .. } = living;
        let has_started = process.has_started();
        self.world.enter(process.index);
        match end {
            End::KilledInStart => self.world.note("died while it was starting"),
            End::Done(snapshot) => {
                let complete = self.is_complete();
                self.world.note(&format!("is done, complete: {complete}"));
                if complete || closing == Closing::Stopped {
                    self.done = Some(*snapshot);
                } else {
                    invariants_at_stop(&snapshot).into_iter().for_each(|e| self.world.broken(e));
                }
            }
            End::Failed(error) => {
                self.world.note(&format!("ends: {:?}", error.error.kind()));
                match error.error.kind() {
                    ErrorKind::Killed => {}
                    ErrorKind::Unavailable if !has_started => self.world.count("start given up"),
                    ErrorKind::Fenced if met_others => self.world.count("fenced"),
                    _ => self.world.broken(format!("a process of {} workers fails: {error}", process.workers)),
                }
            }
        }
        if self.done.is_some() {
            // Whoever sleeps now finds everything done.
            self.paused.iter_mut().for_each(|p| p.sleeps = 0);
        }
    }

    /// Whether the newest checkpoint says that nothing is left to do.
    fn is_complete(&self) -> bool {
        let epochs = Epochs::new(Arc::new(self.stage.store.clone()));
        let complete = block_on(async {
            match epochs.latest().await? {
                Some(latest) => Ok(epochs.manifest(latest.checkpoint).await?.complete),
                None => Ok::<_, millstream_core::Error>(false),
            }
        });
        complete.unwrap_or_else(|e| {
            self.world.broken(format!("the newest checkpoint cannot be read: {e}"));
            false
        })
    }

    /// Processes that were paused wake up.
    fn wake(&mut self) {
        for i in (0..self.paused.len()).rev() {
            let paused = &mut self.paused[i];
            paused.sleeps = paused.sleeps.saturating_sub(1);
            if paused.sleeps > 0 {
                continue;
            }
            let Paused { mut living, .. } = self.paused.remove(i);
            let behind = self.now.saturating_sub(living.process.now());
            living.process.wait(Duration::from_micros(behind));
            self.world.note("wakes up");
            self.world.count("zombie");
            self.living.iter_mut().for_each(|l| l.met_others = true);
            self.living.push(living);
        }
    }

    /// Compares what was left with the model.
    fn judge(&mut self) {
        if self.world.is_broken() {
            return;
        }
        let table = block_on(async {
            let rows = self.stage.open_table().scan().await.expect("a table in memory");
            rows.try_collect().await.expect("a table in memory")
        });
        let Stage { out, audit, alerts, dead, .. } = &self.stage;
        let left = Left { out: out.path(), audit, alerts, dead, table };
        let mut broken = invariants::results(&left, &self.model);
        if let Some(snapshot) = &self.done {
            broken.extend(invariants::ledger_at_end(snapshot, &self.model));
        }
        broken.into_iter().for_each(|what| self.world.broken(what));
    }
}

fn invariants_at_stop(snapshot: &Snapshot) -> Vec<String> {
    let nodes = snapshot.nodes.iter().filter(|n| !n.adds_up());
    nodes.map(|n| format!("the ledger of {} does not add up at a stop: {:?} {:?}", n.id, n.counts, n.edges)).collect()
}
