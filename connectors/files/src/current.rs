//! The current rows of the files of a sink: which row each key has, in which file, and what of it has changed.
//!
//! A row of a known key replaces the old one, also where it belongs to another file now; the retraction of a row
//! removes it. What changed is kept until the checkpoint after the one it was given to: that one may be asked for
//! again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use millstream_core::batch::{hidden, is_hidden};
use millstream_core::sink::SinkOptions;
use millstream_core::snapshot::{Snapshot, StateTable};
use millstream_core::{Batch, Error, Result};

/// The table of rows in the state.
const ROWS: &str = "rows";
/// Its last column: the file that the row is in; null where the row is gone.
const PATH: &str = "__path";
/// Rows of one batch of state.
const CHUNK: usize = 64 << 10;

/// What has changed.
#[derive(Debug, Default)]
struct Changes {
    /// By key, the row that is there now or was there last.
    rows: BTreeMap<OwnedRow, OwnedRow>,
    /// Files whose rows are others now.
    files: BTreeSet<String>,
}

/// The current rows of all files of one sink.
#[derive(Debug)]
pub(crate) struct Current {
    sink: String,
    key: Vec<usize>,
    columns: Vec<usize>,
    /// The user's columns.
    schema: SchemaRef,
    keys: RowConverter,
    values: RowConverter,
    /// Rows by key, sorted, by file. A file without rows is not there.
    files: BTreeMap<String, BTreeMap<OwnedRow, OwnedRow>>,
    /// The file of each key.
    homes: HashMap<OwnedRow, String>,
    changed: Changes,
    /// The last checkpoint and what was given to it.
    given: Option<(u64, Changes)>,
}

fn pick(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns.iter().filter_map(|i| rows.columns().get(*i).cloned()).collect()
}

impl Current {
    pub(crate) fn new(options: &SinkOptions) -> Result<Self> {
        let schema = &options.schema;
        let columns: Vec<usize> =
            schema.fields().iter().enumerate().filter(|(_, f)| !is_hidden(f.name())).map(|(i, _)| i).collect();
        let fields: Vec<_> = columns.iter().filter_map(|i| schema.fields().get(*i).cloned()).collect();
        let user = Arc::new(Schema::new(fields));
        let key = options.key.iter().map(|name| {
            let message = || Error::config(format!("`{name}` is a key of `{}` but no column of it", options.id));
            user.index_of(name).map_err(|_| message())
        });
        let key: Vec<usize> = key.collect::<Result<_>>()?;
        let converter = |columns: &mut dyn Iterator<Item = usize>| {
            let fields = columns.filter_map(|i| user.fields().get(i));
            RowConverter::new(fields.map(|f| SortField::new(f.data_type().clone())).collect()).map_err(|e| {
                Error::config(format!("`{}` has a column that cannot be kept by key", options.id)).caused_by(e)
            })
        };
        Ok(Self {
            sink: options.id.clone(),
            keys: converter(&mut key.iter().copied())?,
            values: converter(&mut (0..user.fields().len()))?,
            schema: user,
            key,
            columns,
            files: BTreeMap::new(),
            homes: HashMap::new(),
            changed: Changes::default(),
            given: None,
        })
    }

    /// Takes the rows of a batch; `paths[i]` is the file of row `i`.
    pub(crate) fn take(&mut self, batch: &Batch, paths: &[String]) -> Result<()> {
        let rows = batch.rows.project(&self.columns)?;
        let keys = self.keys.convert_columns(&pick(&rows, &self.key))?;
        let values = self.values.convert_columns(rows.columns())?;
        let diffs = batch.column(hidden::DIFF).and_then(|c| c.as_primitive_opt::<Int8Type>());
        for (row, path) in paths.iter().enumerate() {
            let (key, value) = (keys.row(row).owned(), values.row(row).owned());
            if diffs.is_some_and(|d| d.value(row) < 0) {
                self.retract(&key, value);
            } else {
                self.put(key, value, path);
            }
        }
        Ok(())
    }

    fn put(&mut self, key: OwnedRow, value: OwnedRow, path: &str) {
        match self.homes.get(&key).cloned() {
            Some(home) if home == path => {
                if self.files.get(path).and_then(|file| file.get(&key)) == Some(&value) {
                    return;
                }
            }
            Some(home) => {
                self.leave(&home, &key);
                self.homes.insert(key.clone(), path.to_owned());
            }
            None => drop(self.homes.insert(key.clone(), path.to_owned())),
        }
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), BTreeMap::new());
        }
        if let Some(file) = self.files.get_mut(path) {
            file.insert(key.clone(), value.clone());
        }
        if !self.changed.files.contains(path) {
            self.changed.files.insert(path.to_owned());
        }
        self.changed.rows.insert(key, value);
    }

    /// Removes exactly this row; where another has taken its place, that is the update the retraction belongs to.
    fn retract(&mut self, key: &OwnedRow, value: OwnedRow) {
        let Some(home) = self.homes.get(key).cloned() else { return };
        if self.files.get(&home).and_then(|file| file.get(key)) == Some(&value) {
            self.leave(&home, key);
            self.homes.remove(key);
            self.changed.rows.insert(key.clone(), value);
        }
    }

    /// Takes a key's row out of a file.
    fn leave(&mut self, home: &str, key: &OwnedRow) {
        if let Some(file) = self.files.get_mut(home) {
            file.remove(key);
            if file.is_empty() {
                self.files.remove(home);
            }
        }
        self.changed.files.insert(home.to_owned());
    }

    /// From here on, what changed belongs to `checkpoint`: with all that was given to it already, if it was.
    pub(crate) fn begin(&mut self, checkpoint: u64) {
        if let Some((_, given)) = self.given.take_if(|(number, _)| *number == checkpoint) {
            let since = std::mem::replace(&mut self.changed, given);
            self.changed.rows.extend(since.rows);
            self.changed.files.extend(since.files);
        }
    }

    /// The files that have changed, in order.
    pub(crate) fn changed_files(&self) -> Vec<String> {
        self.changed.files.iter().cloned().collect()
    }

    /// The rows of a file, sorted by key; `None` where it has none left.
    pub(crate) fn file(&self, path: &str) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.files.get(path) else { return Ok(None) };
        let arrays = self.values.convert_rows(rows.values().map(OwnedRow::row))?;
        Ok(Some(RecordBatch::try_new(self.schema.clone(), arrays)?))
    }

    /// The rows of a file that has none.
    pub(crate) fn no_rows(&self) -> RecordBatch {
        RecordBatch::new_empty(self.schema.clone())
    }

    /// What changed, or all there is, for the state.
    pub(crate) fn snapshot(&self, whole: bool) -> Result<Snapshot> {
        let mut rows: Vec<(&OwnedRow, Option<&str>)> = Vec::new();
        if whole {
            rows.extend(self.files.iter().flat_map(|(path, file)| file.values().map(|v| (v, Some(path.as_str())))));
        } else {
            let changed = self.changed.rows.iter();
            rows.extend(changed.map(|(key, value)| (value, self.homes.get(key).map(String::as_str))));
        }
        let mut fields: Vec<Arc<Field>> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(PATH, DataType::Utf8, true)));
        let schema = Arc::new(Schema::new(fields));
        let batches = rows.chunks(CHUNK).map(|chunk| -> Result<RecordBatch> {
            let mut arrays = self.values.convert_rows(chunk.iter().map(|(value, _)| value.row()))?;
            arrays.push(Arc::new(chunk.iter().map(|(_, path)| *path).collect::<StringArray>()));
            Ok(RecordBatch::try_new(schema.clone(), arrays)?)
        });
        let table = StateTable { name: ROWS.into(), rows: batches.collect::<Result<_>>()? };
        let tables = if table.rows.is_empty() { Vec::new() } else { vec![table] };
        Ok(if whole { Snapshot::whole(tables) } else { Snapshot::changes(tables) })
    }

    /// What changed has been given to `checkpoint`.
    pub(crate) fn give(&mut self, checkpoint: u64) {
        self.given = Some((checkpoint, std::mem::take(&mut self.changed)));
    }

    /// `checkpoint` is not asked for again.
    pub(crate) fn committed(&mut self, checkpoint: u64) {
        self.given.take_if(|(number, _)| *number <= checkpoint);
    }

    /// Takes the tables of `snapshot` back, oldest first.
    ///
    /// # Errors
    /// `Bug` where they are not of this sink.
    pub(crate) fn restore(&mut self, tables: &[StateTable]) -> Result<()> {
        for rows in tables.iter().flat_map(|table| &table.rows) {
            let paths = rows.column_by_name(PATH).and_then(|c| c.as_string_opt::<i32>());
            let paths = paths.ok_or_else(|| self.foreign("it has no paths"))?;
            let columns = self.schema.fields().iter().map(|f| self.restored(rows, f)).collect::<Result<Vec<_>>>()?;
            let key: Vec<ArrayRef> = self.key.iter().filter_map(|i| columns.get(*i).cloned()).collect();
            let (keys, values) = (self.keys.convert_columns(&key)?, self.values.convert_columns(&columns)?);
            for (row, path) in paths.iter().enumerate() {
                let key = keys.row(row).owned();
                match path {
                    Some(path) => self.put(key, values.row(row).owned(), path),
                    None => {
                        if let Some(home) = self.homes.remove(&key) {
                            self.leave(&home, &key);
                        }
                    }
                }
            }
        }
        // All of it is in the checkpoint and its files are visible.
        self.changed = Changes::default();
        Ok(())
    }

    /// A column of restored rows; one that the pipeline has gained since is null.
    fn restored(&self, rows: &RecordBatch, field: &Field) -> Result<ArrayRef> {
        match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
            Some(column) => {
                Err(self.foreign(&format!("its column `{}` is of type {}", field.name(), column.data_type())))
            }
            None => Err(self.foreign(&format!("it has no column `{}`", field.name()))),
        }
    }

    fn foreign(&self, why: &str) -> Error {
        Error::bug(format!("the state given to `{}` is not of its rows: {why}", self.sink))
    }
}
