//! From what the file says to the model: defaults are filled in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use millstream_core::schema::{self, SourceSchema};
use millstream_core::sink::{Delivery, Roll};

use crate::codes;
use crate::file::scalar::DurationText;
use crate::file::{self, Entries};
use crate::findings::Findings;
use crate::model::{
    Binding, Checkpoint, Digest, Emit, EventTimeSpec, Metrics, OrderedMap, Oversize, Pipeline, Profile, RouteElse,
    Rule, SetSpec, SinkSpec, Source, Step, Table, Test, Transform, TransformKind, UdfFrom, UdfSpec,
};
use crate::path;
use crate::span::Span;

/// What `roll:` is unless the file says otherwise.
const ROLL: Roll = Roll { bytes: 64 << 20, every: Duration::from_secs(5 * 60) };

/// Makes the model.
pub(crate) struct Lowering<'a> {
    /// Where findings go.
    pub(crate) findings: &'a mut Findings,
    /// Whether every entry could be read.
    pub(crate) complete: bool,
    /// Places of keys by structural path.
    pub(crate) keys: &'a HashMap<String, Span>,
}

impl Lowering<'_> {
    /// The pipeline of a file.
    pub(crate) fn pipeline(&mut self, file: file::File) -> Pipeline {
        let base = delivery(Delivery::default(), file.delivery.as_ref());
        Pipeline {
            name: file.name,
            profiles: self.entries(file.profiles, "profiles", |this, profile, at| {
                let bindings = this.entries(profile, at, |_, binding, _| Some(binding_of(binding)));
                Some(Profile { bindings })
            }),
            checkpoint: checkpoint(file.checkpoint),
            metrics: file.metrics.map(|m| Metrics { write: m.write, every: or(m.every, Duration::from_secs(60)) }),
            sources: self.entries(file.sources, "sources", Self::source),
            tables: self.entries(file.tables.unwrap_or_default(), "tables", |_, table, _| Some(table_of(table, base))),
            udfs: self.entries(file.udfs.unwrap_or_default(), "udfs", |_, udf, _| udf_of(udf)),
            transforms: self.entries(file.transforms.unwrap_or_default(), "transforms", Self::transform),
            sinks: self.entries(file.sinks.unwrap_or_default(), "sinks", |_, sink, _| Some(sink_of(sink, base))),
            drop: file.drop,
            tests: file.tests.unwrap_or_default().into_iter().map(|test| test_of(test.value)).collect(),
        }
    }

    /// The entries that can be read; of the others is told why, unless a check has told it already.
    fn entries<T, U>(
        &mut self,
        entries: Entries<T>,
        at: &str,
        mut f: impl FnMut(&mut Self, T, &str) -> Option<U>,
    ) -> OrderedMap<U> {
        let mut all = Vec::with_capacity(entries.0.len());
        for (key, entry) in entries.0 {
            let at = path::key(at, &key.value);
            let value = match entry {
                Ok(value) => f(self, value, &at),
                Err(unread) => {
                    if !self.findings.has_errors() {
                        self.findings.error(codes::UNREADABLE, unread.span, &at, unread.message);
                    }
                    None
                }
            };
            match value {
                Some(value) => all.push((key, value)),
                None => self.complete = false,
            }
        }
        all
    }

    fn source(&mut self, source: file::Source, at: &str) -> Option<Source> {
        let schema_at = path::key(at, "schema");
        let mut column_spans = BTreeMap::new();
        let columns = self.entries(source.schema, &schema_at, |_, column, _| Some(column_of(column)));
        let columns = columns.into_iter().map(|(name, column)| {
            column_spans.insert(name.value.clone(), name.span);
            schema::Column {
                path: if column.path.is_empty() { vec![name.value.clone()] } else { column.path },
                name: name.value,
                ..column
            }
        });
        let columns: Vec<schema::Column> = columns.collect();
        let extra = match source.extra {
            Some(file::ExtraFields::Reject) => schema::ExtraFields::Reject,
            Some(file::ExtraFields::Ignore) | None => schema::ExtraFields::Ignore,
        };
        let event_time = source.event_time.map(|spec| EventTimeSpec {
            max_delay: or(spec.max_delay, Duration::ZERO),
            late_after: or(spec.late_after, Duration::ZERO),
            idle_after: or(spec.idle_after, Duration::from_secs(30)),
            max_future: or(spec.max_future, Duration::from_secs(3600)),
            column: spec.column,
        });
        Some(Source { read: source.read, schema: SourceSchema { columns, extra }, column_spans, event_time })
    }

    fn transform(&mut self, transform: file::Transform, at: &str) -> Option<Transform> {
        let emit = transform.emit.map(|emit| Emit {
            early: emit.value.early.map(|early| early.0),
            allowed_lateness: or(emit.value.allowed_lateness, Duration::ZERO),
        });
        let (kind, span) = if let Some(validate) = transform.validate {
            (self.validate(validate.value, at), validate.key)
        } else if let Some(dedup) = transform.dedup {
            let file::Dedup { from, key, within } = dedup.value;
            (TransformKind::Dedup { from, key, within: within.0 }, dedup.key)
        } else if let Some(upsert) = transform.upsert {
            (self.upsert(upsert.value, at), upsert.key)
        } else if let Some(route) = transform.route {
            (self.route(route.value, at), route.key)
        } else {
            let sql = transform.sql?;
            (TransformKind::Sql(sql.value), sql.key)
        };
        Some(Transform { kind, span, emit })
    }

    fn validate(&mut self, validate: file::Validate, at: &str) -> TransformKind {
        let rules = self.entries(validate.rules, &path::key(at, "validate.rules"), |_, rule, _| {
            Some(Rule { check: rule.check, reason: rule.reason })
        });
        TransformKind::Validate { from: validate.from, rules }
    }

    fn upsert(&mut self, upsert: file::Upsert, at: &str) -> TransformKind {
        let set_at = path::key(at, "upsert.set");
        let keys = self.keys;
        let set = self.entries(upsert.set, &set_at, |_, spec, at| {
            let file::SetOptions { columns, latest_by, nulls } = spec.0;
            let all = columns.len() == 1 && columns.first().is_some_and(|column| column.value == "*");
            Some(SetSpec {
                columns: (!all).then_some(columns),
                latest_by,
                write_nulls: nulls == Some(file::Nulls::Write),
                span: keys.get(at).copied().unwrap_or_default(),
            })
        });
        let status = upsert.status.unwrap_or_default();
        let status = self.entries(status, &path::key(at, "upsert.status"), |_, predicate, _| Some(predicate));
        TransformKind::Upsert { into: upsert.into, set, status }
    }

    fn route(&mut self, route: file::Route, at: &str) -> TransformKind {
        let cases = self.entries(route.cases, &path::key(at, "route.cases"), |_, value, _| Some(value));
        let otherwise = match route.otherwise {
            Some(file::Otherwise::Drop) => RouteElse::Drop,
            Some(file::Otherwise::Reject) | None => RouteElse::Reject,
        };
        TransformKind::Route { from: route.from, on: route.on, cases, otherwise }
    }
}

fn or(duration: Option<DurationText>, default: Duration) -> Duration {
    duration.map_or(default, |duration| duration.0)
}

/// A column without its name.
fn column_of(column: file::Column) -> schema::Column {
    let file::ColumnOptions { column_type, path, formats, timezone, excess_digits } = column.0;
    let (column_type, optional) = column_type.0;
    schema::Column {
        name: String::new(),
        column_type,
        optional,
        path: path.map(|path| path.0).unwrap_or_default(),
        formats: formats.into_iter().flatten().map(|format| format.0).collect(),
        zone: timezone.map(|zone| zone.0).unwrap_or_default(),
        excess_digits: match excess_digits {
            Some(file::ExcessDigits::RoundHalfEven) => schema::ExcessDigits::RoundHalfEven,
            Some(file::ExcessDigits::Truncate) => schema::ExcessDigits::Truncate,
            Some(file::ExcessDigits::Reject) | None => schema::ExcessDigits::Reject,
        },
    }
}

fn binding_of(binding: file::Binding) -> Binding {
    Binding { connector: binding.connector, options: binding.options }
}

fn checkpoint(checkpoint: Option<file::Checkpoint>) -> Checkpoint {
    let (every, store, keep) = checkpoint.map(|c| (c.every, c.store, c.keep)).unwrap_or_default();
    Checkpoint { every: or(every, Duration::from_secs(10)), store, keep: keep.unwrap_or(3) }
}

fn delivery(base: Delivery, own: Option<&file::Delivery>) -> Delivery {
    let Some(own) = own else { return base };
    let retry = own.retry.as_ref();
    let pause = |given: Option<&DurationText>, base| given.map_or(base, |duration| duration.0);
    Delivery {
        backoff: pause(retry.and_then(|r| r.backoff.as_ref()), base.backoff),
        max_backoff: pause(retry.and_then(|r| r.max_backoff.as_ref()), base.max_backoff),
        give_up_after: pause(retry.and_then(|r| r.give_up_after.as_ref()), base.give_up_after),
        bad_row: own.bad_row.unwrap_or(base.bad_row),
        outage: own.outage.unwrap_or(base.outage),
    }
}

fn table_of(table: file::Table, base: Delivery) -> Table {
    Table {
        store: table.store,
        key: table.key,
        ttl: table.ttl.map(|ttl| ttl.0),
        forget_after: table.forget_after.map(|time| time.0),
        oversize: match table.oversize {
            Some(file::Oversize::Truncate(columns)) => Oversize::Truncate(columns),
            Some(file::Oversize::FailRow) | None => Oversize::FailRow,
        },
        delivery: delivery(base, table.delivery.as_ref()),
    }
}

/// None where a check has told what is missing.
fn udf_of(udf: file::Udf) -> Option<UdfSpec> {
    let from = match (udf.folder, udf.library) {
        (Some(folder), None) => UdfFrom::Crate(folder),
        (None, Some(path)) => UdfFrom::Library {
            path,
            args: udf.args?.into_iter().map(|arg| arg.0).collect(),
            returns: udf.returns?.0.0,
            kind: match udf.kind {
                Some(file::UdfKind::Aggregate) => "aggregate",
                Some(file::UdfKind::Async) => "async",
                Some(file::UdfKind::Scalar) | None => "scalar",
            },
        },
        _ => return None,
    };
    let file::Udf { ordered, timeout, max_in_flight, deterministic, .. } = udf;
    Some(UdfSpec { from, ordered, timeout: timeout.map(|t| t.0), max_in_flight, deterministic })
}

fn sink_of(sink: file::Sink, base: Delivery) -> SinkSpec {
    let roll = sink.roll.map_or(ROLL, |roll| Roll {
        bytes: roll.bytes.map_or(ROLL.bytes, |bytes| bytes.0),
        every: or(roll.every, ROLL.every),
    });
    SinkSpec {
        from: sink.from,
        write: sink.write,
        format: sink.format,
        compression: sink.compression.unwrap_or_default(),
        path: sink.path,
        mode: sink.mode.unwrap_or_default(),
        roll,
        digest: sink.digest.map(|digest| Digest {
            every: digest.every.0,
            by: digest.by,
            samples: digest.samples.unwrap_or(3),
        }),
        subject: sink.subject,
        message: sink.message,
        decimals_as_strings: sink.decimals == Some(file::Decimals::String),
        delivery: delivery(base, sink.delivery.as_ref()),
    }
}

fn test_of(test: file::Test) -> Test {
    let step = |step| match step {
        file::StepFile::Record(source, value) => Step::Record { source, value },
        file::StepFile::Watermark(time) => Step::Watermark(time),
        file::StepFile::Fault(fault) => Step::Fault { at: fault.at, kind: fault.kind, times: fault.times.unwrap_or(1) },
        file::StepFile::Crash(crash) => Step::Crash(
            match crash {
                file::Crash::Now => "now",
                file::Crash::BeforeCheckpoint => "before_checkpoint",
                file::Crash::AfterCheckpoint => "after_checkpoint",
            }
            .to_owned(),
        ),
        file::StepFile::Restart(restart) => Step::Restart { workers: restart.workers },
    };
    Test {
        name: test.name,
        steps: test.steps.into_iter().map(|spanned| spanned.map(step)).collect(),
        expect: test.expect.0,
    }
}
