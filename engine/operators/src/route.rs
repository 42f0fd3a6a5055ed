//! `route`: each row goes to the port of its case; the rest is rejected or dropped.
//!
//! Ports: one per case in their order, then `.rejected`.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use millstream_core::format::Reason;
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::schema::type_name;
use millstream_core::{Batch, Error, Result, refusal};

use millstream_formats::refused::refusal;

/// What happens to rows of no case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// They leave by `.rejected`.
    Reject,
    /// They are counted as filtered.
    Drop,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Route {
    id: String,
    on: usize,
    column: String,
    /// Canonical text of the column's value, by port.
    cases: Vec<String>,
    otherwise: Otherwise,
}

impl Route {
    /// The routing of node `id` by the column at `on`; `cases` are its values as the pipeline file writes them, one
    /// per port.
    ///
    /// # Errors
    /// `Config` where a value is none of the column's type.
    pub fn new(id: &str, schema: &SchemaRef, on: usize, cases: &[String], otherwise: Otherwise) -> Result<Self> {
        let field = schema.fields().get(on).ok_or_else(|| Error::bug("a route is on a column its input lacks"))?;
        let cases = cases.iter().map(|c| canonical(c, field.data_type())).collect::<Result<_>>()?;
        Ok(Self { id: id.to_owned(), on, column: field.name().clone(), cases, otherwise })
    }
    /// Per case, the rows that are of it; last, the rows of none.
    fn sort(&self, values: &StringArray) -> Vec<Vec<u32>> {
        let mut rows = vec![Vec::new(); self.cases.len() + 1];
        let mut last = 0;
        for (row, value) in values.iter().enumerate() {
            // Equal values often follow each other.
            let same = value.is_some() && self.cases.get(last).map(String::as_str) == value;
            if !same {
                let found = value.and_then(|v| self.cases.iter().position(|c| c == v));
                last = found.unwrap_or(self.cases.len());
            }
            if let Some(port) = rows.get_mut(last) {
                port.push(row as u32);
            }
        }
        rows
    }
    fn reject(&self, batch: &Batch, values: &StringArray, rows: &[u32], out: &mut Output) -> Result<()> {
        out.counts.rejected += rows.len() as u64;
        let cases = self.cases.join(", ");
        let refusals = rows.iter().map(|row| {
            let row = *row as usize;
            let value = if values.is_valid(row) { format!("`{}`", values.value(row)) } else { "null".to_owned() };
            let text = format!("{} {value} is none of {cases}", self.column);
            refusal(&self.id, "rejected", batch, row, vec![Reason { rule: "no_case".to_owned(), text }])
        });
        out.give(OutPort(self.cases.len()), refusal::batch(&refusals.collect::<Result<Vec<_>>>()?)?);
        Ok(())
    }
}

/// The text that a value of a column's type has as text, from how a person writes it.
fn canonical(value: &str, data_type: &DataType) -> Result<String> {
    let wrong = || Error::config(format!("`{value}` is not a value of a column of type {}", type_name(data_type)));
    let text: ArrayRef = std::sync::Arc::new(StringArray::from(vec![value]));
    let typed = arrow::compute::cast(&text, data_type).map_err(|_| wrong())?;
    let text = arrow::compute::cast(&typed, &DataType::Utf8).map_err(|_| wrong())?;
    if text.is_null(0) {
        return Err(wrong());
    }
    Ok(text.as_string::<i32>().value(0).to_owned())
}

impl Operator for Route {
    fn on_batch(&mut self, _port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        let column = batch.rows.columns().get(self.on).ok_or_else(|| Error::bug("a batch lacks the route's column"))?;
        let text = arrow::compute::cast(column, &DataType::Utf8)?;
        let values = text.as_string::<i32>();
        for (port, rows) in self.sort(values).into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            if port < self.cases.len() {
                out.counts.out += rows.len() as u64;
                let all = rows.len() == batch.num_rows();
                let given = if all { batch.clone() } else { batch.take(&UInt32Array::from(rows))? };
                out.give(OutPort(port), given);
            } else if self.otherwise == Otherwise::Drop {
                out.counts.filtered += rows.len() as u64;
            } else {
                self.reject(&batch, values, &rows, out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, run, text_of};

    fn route(on: usize, cases: &[&str], otherwise: Otherwise) -> Result<Route> {
        let schema = batch(&[("a", None, 0)]).rows.schema();
        Route::new("r", &schema, on, &cases.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>(), otherwise)
    }

    #[test]
    fn rows_go_to_their_case_in_order_and_the_rest_says_why() {
        let rows = batch(&[("x", Some(1), 0), ("y", Some(2), 1), ("x", Some(3), 2), ("z", Some(4), 3)]);
        let out = run(&mut route(0, &["x", "y"], Otherwise::Reject).unwrap(), rows.clone());
        let ports: Vec<_> = out.batches.iter().map(|(p, b)| (p.0, b.num_rows())).collect();
        assert_eq!(ports, [(0, 2), (1, 1), (2, 1)]);
        assert_eq!(text_of(&out.batches[0].1, "id"), ["x", "x"]);
        let reasons = out.batches[2].1.column("reasons").unwrap().as_list::<i32>().value(0);
        assert_eq!(reasons.as_string::<i32>().value(0), "id `z` is none of x, y");
        assert_eq!((out.counts.out, out.counts.rejected), (3, 1));
        let out = run(&mut route(0, &["x"], Otherwise::Drop).unwrap(), rows);
        assert_eq!((out.counts.out, out.counts.filtered), (2, 2));
    }

    #[test]
    fn cases_are_values_of_the_columns_type() {
        let rows = batch(&[("x", Some(10), 0), ("y", None, 1)]);
        let out = run(&mut route(1, &["010"], Otherwise::Reject).unwrap(), rows);
        assert_eq!((out.counts.out, out.counts.rejected), (1, 1));
        let wrong = route(1, &["ten"], Otherwise::Reject).unwrap_err();
        assert_eq!(wrong.message(), "`ten` is not a value of a column of type bigint");
    }
}
