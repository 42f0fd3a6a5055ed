//! From rows to the paths of their files.
//!
//! Rendering a path costs more than encoding a row, so it is done once per run of rows that must have the same path:
//! rows whose columns in the template are equal, times compared as coarsely as their formats allow.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::partition;
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use millstream_core::batch::{TIMESTAMP, hidden};
use millstream_core::{Batch, Error, Result};
use millstream_formats::template::{BoundTemplate, Template};

/// Names in templates that are no columns.
const VARIABLES: [&str; 3] = ["batch_id", "pipeline", "sink"];
/// Directives of strftime that look at nothing finer than an hour.
const COARSE: &str = "YmdHFjyCUWGVuwaAbBehDIp";
const HOUR: i64 = 3_600_000_000;

/// A path template over a schema.
#[derive(Debug)]
pub(crate) struct Paths {
    template: BoundTemplate,
    text: String,
    pipeline: String,
    sink: String,
    /// The columns it looks at, and whether only their hours matter.
    columns: Vec<(usize, bool)>,
}

/// Rows of a batch that have the same path.
#[derive(Debug)]
pub(crate) struct Group {
    /// The path with an empty `{batch_id}`.
    pub(crate) path: String,
    pub(crate) rows: Batch,
    /// Where its rows stand in the batch; `None`: it is the whole batch.
    at: Option<Vec<u32>>,
}

impl Group {
    /// The first of its rows in the batch.
    pub(crate) fn first(&self) -> usize {
        self.at.as_ref().and_then(|at| at.first()).map_or(0, |row| *row as usize)
    }
    /// Puts a value per row of the group to where the rows stand in the batch.
    pub(crate) fn spread<T>(&self, values: impl IntoIterator<Item = T>, batch: &mut [T]) {
        for (i, value) in values.into_iter().enumerate() {
            let row = self.at.as_ref().map_or(Some(i), |at| at.get(i).map(|row| *row as usize));
            if let Some(place) = row.and_then(|row| batch.get_mut(row)) {
                *place = value;
            }
        }
    }
}

impl Paths {
    /// Binds the template `text`.
    ///
    /// # Errors
    /// `Config` where it is wrong.
    pub(crate) fn new(text: &str, schema: &SchemaRef, pipeline: &str, sink: &str) -> Result<Self> {
        let wrong = |message: String| Error::config(format!("the path `{text}`: {message}"));
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            return Err(wrong("it is not below the folder: write it relative, without `..`".into()));
        }
        let template = Template::parse(text).map_err(|e| wrong(e.to_string()))?;
        let mut columns = Vec::new();
        for (name, range) in template.names() {
            let column = schema
                .index_of(name)
                .ok()
                .or_else(|| hidden::column_of(name).and_then(|hidden| schema.index_of(hidden).ok()));
            match column {
                Some(index) => {
                    let format = text.get(range.end..).and_then(|rest| rest.strip_prefix(':'));
                    let format = format.and_then(|f| f.split_once('}')).map(|(format, _)| format);
                    let timed = schema.fields().get(index).is_some_and(|f| *f.data_type() == TIMESTAMP);
                    columns.push((index, timed && format.is_some_and(is_coarse)));
                }
                None if name == "source" || name == "split" || VARIABLES.contains(&name) => {}
                None => {
                    let columns: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                    let known: Vec<_> = columns.into_iter().filter(|n| !n.starts_with(hidden::PREFIX)).collect();
                    return Err(wrong(format!(
                        "`{{{name}}}` is no column of its rows ({}) and none of batch_id, arrived_at, source, split, \
                         position, pipeline, sink",
                        known.join(", ")
                    )));
                }
            }
        }
        let template = template.bind(schema).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { template, text: text.into(), pipeline: pipeline.into(), sink: sink.into(), columns })
    }

    /// The path of a row, below the sink's folder.
    ///
    /// # Errors
    /// `Config` where the template leads out of the folder.
    pub(crate) fn render(&self, batch: &Batch, row: usize, batch_id: &str) -> Result<String> {
        let mut path = String::new();
        let variables = |name: &str| match name {
            "batch_id" => Some(batch_id.to_owned()),
            "pipeline" => Some(self.pipeline.clone()),
            "sink" => Some(self.sink.clone()),
            _ => None,
        };
        self.template.render_path(batch, row, &variables, &mut path);
        if Path::new(&path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Ok(path);
        }
        Err(Error::config(format!(
            "the path `{}` of `{}` gives `{path}`, which is not below the folder: write it relative, without `..`",
            self.text, self.sink
        )))
    }

    /// The rows of `batch` by path, each group in the batch's order.
    pub(crate) fn group(&self, batch: &Batch) -> Result<Vec<Group>> {
        let runs = self.runs(batch)?;
        let mut groups: Vec<(String, Vec<std::ops::Range<usize>>)> = Vec::new();
        let mut by_path = HashMap::new();
        for run in runs {
            let path = self.render(batch, run.start, "")?;
            let group = *by_path.entry(path.clone()).or_insert_with(|| {
                groups.push((path, Vec::new()));
                groups.len() - 1
            });
            if let Some((_, runs)) = groups.get_mut(group) {
                runs.push(run);
            }
        }
        if let [(path, _)] = groups.as_slice() {
            return Ok(vec![Group { path: path.clone(), rows: batch.clone(), at: None }]);
        }
        groups
            .into_iter()
            .map(|(path, runs)| {
                let at: Vec<u32> = runs.into_iter().flat_map(|run| run.map(|row| row as u32)).collect();
                let rows = batch.take(&UInt32Array::from(at.clone()))?;
                Ok(Group { path, rows, at: Some(at) })
            })
            .collect()
    }

    /// Runs of rows that certainly have the same path.
    fn runs(&self, batch: &Batch) -> Result<Vec<std::ops::Range<usize>>> {
        let count = batch.num_rows();
        let columns = self.columns.iter().filter_map(|(index, coarse)| {
            let column = batch.rows.columns().get(*index)?;
            Some(if *coarse { hours(column) } else { column.clone() })
        });
        let columns: Vec<ArrayRef> = columns.collect();
        if columns.is_empty() || count == 0 {
            return Ok(std::iter::once(0..count).filter(|r| !r.is_empty()).collect());
        }
        // Nested columns cannot be compared: each row is a run of its own.
        Ok(partition(&columns).map_or_else(|_| (0..count).map(|row| row..row + 1).collect(), |p| p.ranges()))
    }
}

fn hours(column: &ArrayRef) -> ArrayRef {
    match (column.data_type(), column.as_primitive_opt::<TimestampMicrosecondType>()) {
        (DataType::Timestamp(..), Some(times)) => {
            let hours: Int64Array = times.unary(|t| t.div_euclid(HOUR));
            Arc::new(hours)
        }
        _ => column.clone(),
    }
}

/// Whether a strftime format gives the same text for all times of an hour.
fn is_coarse(format: &str) -> bool {
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            match chars.next().map(|d| if matches!(d, '-' | '_' | '0') { chars.next().unwrap_or('?') } else { d }) {
                Some(d) if d == '%' || COARSE.contains(d) => {}
                _ => return false,
            }
        }
    }
    true
}

/// Matches the paths of the files that a template may have written.
#[derive(Debug)]
pub struct Written {
    pattern: glob::Pattern,
    text: String,
}

/// A `*` is a part of a path and not more; no part that begins with a dot is meant unless it is named.
const MATCH: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

impl Written {
    /// What the template `text` may have written.
    ///
    /// # Errors
    /// `Config` where the template is wrong.
    pub fn by(text: &str) -> Result<Self> {
        let template = Template::parse(text).map_err(|e| Error::config(format!("the path `{text}`: {e}")))?;
        let mut pattern = String::new();
        let mut at = 0;
        let literal = |from: usize, to: usize| {
            let literal = text.get(from..to).unwrap_or_default().replace("{{", "{").replace("}}", "}");
            glob::Pattern::escape(&literal)
        };
        for (_, range) in template.names() {
            pattern.push_str(&literal(at, range.start.saturating_sub(1)));
            let close = text.get(range.end..).and_then(|rest| rest.find('}')).map_or(text.len(), |c| range.end + c);
            // A slash in a time format is one in the path.
            let levels = text.get(range.end..close).unwrap_or_default().matches('/').count();
            pattern.push('*');
            pattern.extend(std::iter::repeat_n("/*", levels));
            at = close + 1;
        }
        pattern.push_str(&literal(at, text.len()));
        let parsed = glob::Pattern::new(&pattern);
        let parsed = parsed.map_err(|e| Error::config(format!("the path `{text}`: {}", e.msg)))?;
        Ok(Self { pattern: parsed, text: pattern })
    }

    /// Whether it may have written the file at `path`, below the sink's root.
    pub fn matches(&self, path: &str) -> bool {
        self.pattern.matches_with(path, MATCH)
    }

    /// All such files below the folder `root`, sorted.
    ///
    /// # Errors
    /// `Config` where the folder's name cannot be part of a pattern.
    pub fn below(&self, root: &Path) -> Result<Vec<PathBuf>> {
        let pattern = format!("{}/{}", glob::Pattern::escape(&root.to_string_lossy()), self.text);
        let wrong = |e: glob::PatternError| Error::config(format!("`{pattern}` is no pattern: {}", e.msg));
        let files = glob::glob_with(&pattern, MATCH).map_err(wrong)?;
        let mut files: Vec<PathBuf> = files.filter_map(Result::ok).filter(|p| p.is_file()).collect();
        files.sort();
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{RecordBatch, TimestampMicrosecondArray};

    use super::*;
    use millstream_local::conformance::{batch, every_type, sink_options};

    #[test]
    fn coarse_formats() {
        assert!(is_coarse("%Y-%m-%d") && is_coarse("%F/%H") && is_coarse("%-d%%") && is_coarse(""));
        assert!(!is_coarse("%H%M") && !is_coarse("%s") && !is_coarse("%T") && !is_coarse("%"));
    }

    #[test]
    fn rows_are_grouped_by_the_path_they_render() {
        let rows = every_type(0, 30);
        let options = sink_options("s", &rows.schema());
        // Rows 700 s apart, so that an hour holds about five.
        let batch = batch(&options, &rows);
        let spread: TimestampMicrosecondArray =
            (0..30).map(|i| Some(1_716_650_000_000_000 + i * 700_000_000)).collect();
        let mut columns = batch.rows.columns().to_vec();
        let at = batch.rows.schema().index_of(hidden::ARRIVED_AT).unwrap();
        columns[at] = Arc::new(spread);
        let batch = batch.with_rows(RecordBatch::try_new(options.schema.clone(), columns).unwrap());
        for template in ["{batch_id}", "{bool}/{batch_id}", "{arrived_at:%F/%H}", "{arrived_at:%T}", "{list}{source}"] {
            let paths = Paths::new(template, &options.schema, "p", "s").unwrap();
            let mut grouped = vec![String::new(); 30];
            let groups = paths.group(&batch).unwrap();
            for group in &groups {
                group.spread(std::iter::repeat_n(group.path.clone(), group.rows.num_rows()), &mut grouped);
                assert_eq!(paths.render(&group.rows, 0, "").unwrap(), group.path);
                assert_eq!(paths.render(&batch, group.first(), "").unwrap(), group.path);
            }
            let rendered: Vec<String> = (0..30).map(|row| paths.render(&batch, row, "").unwrap()).collect();
            assert_eq!(grouped, rendered, "{template}");
            assert_eq!(groups.iter().map(|g| g.rows.num_rows()).sum::<usize>(), 30, "{template}");
        }
    }

    #[test]
    fn written_files_are_found_by_their_template() {
        let finds = |template: &str| {
            let written = Written::by(template).unwrap();
            let paths =
                ["kpis/date=2024-05-20/kpi.json", "kpis/date=2024-05-21/kpi.json", "kpis/x", "kpis/d/e/kpi.json"];
            let hidden = ["kpis/date=.a/kpi.json", ".staging/date=a/kpi.json"];
            paths.iter().chain(&hidden).filter(|path| written.matches(path)).count()
        };
        assert_eq!(finds("kpis/date={date:%F}/kpi.json"), 3, "a dot inside of a part hides nothing");
        assert_eq!(finds("kpis/{a:%Y/%m}/kpi.json"), 1);
        assert_eq!(finds("{a}/{b}/kpi.json"), 3);
        assert_eq!(finds("none/{a}.json"), 0);
        assert_eq!(finds("kpis/[x]"), 0);
    }
}
