//! What an upsert is told, and the schemas of what it gives.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::hidden_fields;
use millstream_core::operator::{OutPort, Predicate};
use millstream_core::{Error, Result};

/// An upsert: several inputs merged by key into the rows of a table.
#[derive(Debug, Clone)]
pub struct UpsertSpec {
    /// Id of the node, for refusals.
    pub id: String,
    /// The table's columns. Those outside the key may be null, whatever the schema says.
    pub table: SchemaRef,
    /// Indices in `table` of the columns that identify a row.
    pub key: Vec<usize>,
    /// By input port.
    pub inputs: Vec<InputSpec>,
    /// In the order of the pipeline file: the first that is true is the row's status. At most 32.
    pub statuses: Vec<StatusSpec>,
    /// The `Utf8` column of `table` that shows the status; no input sets it.
    pub status_column: Option<usize>,
    /// How long after its greatest event time a key is forgotten.
    pub forget_after: Option<Duration>,
    /// Indices in `table` of the columns that are cut, in this order, where a row is larger than
    /// [`millstream_core::item::LIMIT`]: texts and bytes outside the key.
    pub truncate: Vec<usize>,
    /// Port of refused rows: rows the store refused, and input rows whose key is null.
    pub failed: OutPort,
}

/// What one input sets.
#[derive(Debug, Clone)]
pub struct InputSpec {
    /// (index in the input, index in the table) of each column it sets. Columns of the key are ignored here.
    pub columns: Vec<(usize, usize)>,
    /// Indices in the input of the key's columns, in the table's order of them.
    pub key: Vec<usize>,
    /// Index in the input of the column whose greater value wins: a whole number, double, decimal of at most 18
    /// digits, date or time. Null is the least.
    pub latest_by: Option<usize>,
    /// Whether a null overwrites a value.
    pub write_nulls: bool,
}

/// A status and its port.
#[derive(Clone)]
pub struct StatusSpec {
    /// Its name, as the status column shows it.
    pub name: String,
    /// Asked with all of the table's columns; only those in `reads` have values.
    pub predicate: Arc<dyn Predicate>,
    /// Indices in the table of the columns the predicate reads.
    pub reads: Vec<usize>,
    /// Indices in the table of the columns that its transition shows: the key, and columns of inputs that the
    /// predicate requires. The status column is added.
    pub columns: Vec<usize>,
    /// Where the transition is given.
    pub port: OutPort,
    /// Whether anything reads the port; if not, transitions are counted and not built.
    pub wanted: bool,
}

impl fmt::Debug for StatusSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusSpec").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Name of the status column in transitions of tables that have none.
pub const STATUS: &str = "status";

impl UpsertSpec {
    /// The schema of the transitions into status `status`: its columns, the status, the hidden columns.
    pub fn transition_schema(&self, status: usize) -> SchemaRef {
        let columns = self.statuses.get(status).map(|s| s.columns.as_slice()).unwrap_or_default();
        let mut fields: Vec<Field> = columns
            .iter()
            .filter(|c| Some(**c) != self.status_column)
            .filter_map(|c| self.table.fields().get(*c).map(|f| (c, f)))
            .map(|(c, f)| f.as_ref().clone().with_nullable(!self.key.contains(c)))
            .collect();
        let name = self.status_column.and_then(|c| self.table.fields().get(c)).map_or(STATUS, |f| f.name());
        fields.push(Field::new(name, DataType::Utf8, false));
        fields.extend(hidden_fields(DataType::Utf8));
        Arc::new(Schema::new(fields))
    }
    /// The table's columns as the engine keeps them: those outside the key may be null.
    pub fn nullable_table(&self) -> SchemaRef {
        let field = |(i, f): (usize, &Arc<Field>)| f.as_ref().clone().with_nullable(!self.key.contains(&i));
        Arc::new(Schema::new(self.table.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
    }
    pub(super) fn check(&self) -> Result<()> {
        let width = self.table.fields().len();
        let known = |c: &usize| *c < width;
        if self.statuses.len() > 32 {
            return Err(Error::config(format!("`{}` has more than 32 statuses", self.id)));
        }
        let columns = self.inputs.iter().flat_map(|i| i.columns.iter().map(|(_, c)| *c));
        let shown = self.statuses.iter().flat_map(|s| s.columns.iter().chain(&s.reads).copied());
        if !columns
            .chain(shown)
            .chain(self.key.iter().copied())
            .chain(self.status_column)
            .chain(self.truncate.iter().copied())
            .all(|c| known(&c))
        {
            return Err(Error::bug(format!("`{}` names a column its table lacks", self.id)));
        }
        if self.inputs.iter().any(|i| i.key.len() != self.key.len()) {
            return Err(Error::bug(format!("an input of `{}` has another number of key columns", self.id)));
        }
        Ok(())
    }
}
