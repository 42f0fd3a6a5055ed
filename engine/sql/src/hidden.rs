//! Hidden columns that SQL may name: `arrived_at`, `position`, `source`, `split`.
//!
//! They are columns of a stream for a query that names them, where the stream has no own column of that name;
//! `SELECT *` leaves them out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use millstream_core::batch::{hidden, user_columns};
use millstream_core::{Error, Origin, Result};

use crate::parse::plain;

/// A hidden column by the name SQL has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hidden {
    ArrivedAt,
    Position,
    Source,
    Split,
}

impl Hidden {
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::ArrivedAt, Self::Position, Self::Source, Self::Split].into_iter().find(|h| h.name() == name)
    }
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ArrivedAt => "arrived_at",
            Self::Position => "position",
            Self::Source => "source",
            Self::Split => "split",
        }
    }
}

/// Where a column that SQL sees comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// The batch's column.
    At(usize),
    /// The batch's source.
    Source,
    /// The batch's split.
    Split,
}

/// What SQL sees of a stream.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// User columns, then the hidden ones the query names.
    pub(crate) schema: SchemaRef,
    /// Where each comes from.
    pub(crate) columns: Vec<Column>,
    /// The hidden columns among them.
    pub(crate) hidden: Vec<&'static str>,
}

impl View {
    /// The view of a stream of `schema` for a query that names `named`.
    pub(crate) fn of(schema: &SchemaRef, named: &BTreeSet<Hidden>) -> Self {
        let users = user_columns(schema);
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().take(users).cloned().collect();
        let mut columns: Vec<Column> = (0..users).map(Column::At).collect();
        let mut seen = Vec::new();
        for &hidden in named {
            if fields.iter().take(users).any(|f| f.name() == hidden.name()) {
                continue;
            }
            let found = match hidden {
                Hidden::ArrivedAt => at(schema, hidden::ARRIVED_AT),
                Hidden::Position => at(schema, hidden::POSITION),
                Hidden::Source => Some((Column::Source, DataType::Utf8, true)),
                Hidden::Split => Some((Column::Split, DataType::Utf8, true)),
            };
            if let Some((column, data_type, nullable)) = found {
                fields.push(Arc::new(Field::new(hidden.name(), data_type, nullable)));
                columns.push(column);
                seen.push(hidden.name());
            }
        }
        Self { schema: Arc::new(Schema::new(fields)), columns, hidden: seen }
    }

    /// One column of a batch.
    pub(crate) fn column(&self, index: usize, rows: &RecordBatch, origin: Option<&Origin>) -> Result<ArrayRef> {
        let text = |value: Option<&String>| -> ArrayRef {
            match value {
                Some(v) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(v, rows.num_rows()))),
                None => new_null_array(&DataType::Utf8, rows.num_rows()),
            }
        };
        match self.columns.get(index) {
            Some(Column::At(i)) => rows.columns().get(*i).cloned(),
            Some(Column::Source) => Some(text(origin.map(|o| &o.source))),
            Some(Column::Split) => Some(text(origin.map(|o| &o.split))),
            None => None,
        }
        .ok_or_else(|| Error::bug("a batch has fewer columns than its stream's schema"))
    }

    /// The whole view of a batch.
    pub(crate) fn rows(&self, rows: &RecordBatch, origin: Option<&Origin>) -> Result<RecordBatch> {
        let columns = (0..self.columns.len()).map(|i| self.column(i, rows, origin)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

fn at(schema: &Schema, name: &str) -> Option<(Column, DataType, bool)> {
    let (i, field) = schema.column_with_name(name)?;
    Some((Column::At(i), field.data_type().clone(), field.is_nullable()))
}

/// Makes every `*` leave hidden columns out; `exposed` says which a stream shows.
pub(crate) fn leave_out_of_wildcards(statement: &mut Statement, exposed: &dyn Fn(&str) -> Vec<&'static str>) {
    let _: ControlFlow<()> = statement.visit(&mut Wildcards { exposed });
}

struct Wildcards<'a> {
    exposed: &'a dyn Fn(&str) -> Vec<&'static str>,
}

impl Wildcards<'_> {
    /// The name a relation goes by and the hidden columns it shows.
    fn relation(&self, factor: &TableFactor) -> Option<(ObjectName, Vec<&'static str>)> {
        let TableFactor::Table { name, alias, args, .. } = factor else { return None };
        let stream: ObjectName = match args.as_ref().map(|a| a.args.as_slice()) {
            None => name.clone(),
            Some([FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(id))), ..]) => vec![id.clone()].into(),
            Some([FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(ids))), ..]) => {
                ids.clone().into()
            }
            Some(_) => return None,
        };
        let shown = (self.exposed)(&plain(&stream));
        let name = alias.as_ref().map_or(stream, |a| vec![a.name.clone()].into());
        Some((name, shown))
    }
}

impl VisitorMut for Wildcards<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let factors =
            select.from.iter().flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)));
        let relations: Vec<_> = factors.map(|f| self.relation(f)).collect();
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match (item, relations.as_slice()) {
                (SelectItem::Wildcard(options), [Some((_, shown))]) => {
                    items.push(SelectItem::Wildcard(without(options, shown)));
                }
                (SelectItem::Wildcard(options), all)
                    if all.len() > 1
                        && all.iter().all(Option::is_some)
                        && all.iter().flatten().any(|r| !r.1.is_empty()) =>
                {
                    items.extend(all.iter().flatten().map(|(name, shown)| {
                        let kind = SelectItemQualifiedWildcardKind::ObjectName(name.clone());
                        SelectItem::QualifiedWildcard(kind, without(options.clone(), shown))
                    }));
                }
                (SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options), all) => {
                    let shown = all.iter().flatten().find(|(n, _)| plain(n) == plain(&name));
                    let options = shown.map_or(options.clone(), |(_, shown)| without(options, shown));
                    let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                    items.push(SelectItem::QualifiedWildcard(kind, options));
                }
                (other, _) => items.push(other),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

fn without(mut options: WildcardAdditionalOptions, names: &[&str]) -> WildcardAdditionalOptions {
    if names.is_empty() {
        return options;
    }
    let mut excluded = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    for name in names {
        if !excluded.iter().any(|e| plain(e) == *name) {
            excluded.push(vec![Ident::new(*name)].into());
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(excluded));
    options
}
