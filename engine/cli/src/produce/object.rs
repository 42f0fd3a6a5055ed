//! A CSV record as a JSON object that a source with this schema reads as the same row.
//!
//! Text that is a JSON value of its column's declared type stands as it is, digit for digit; all other text is a string.
//! A column that is declared at a path (`driver.id`) stands there.

use millstream_core::schema::{ColumnType, SourceSchema};
use serde_json::Value;

/// The header of a CSV file, as a source reads its columns.
#[derive(Debug)]
pub(crate) struct Objects {
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    path: Vec<String>,
    /// `None` where it is not declared.
    declared: Option<ColumnType>,
}

/// A value in an object.
#[derive(Debug)]
enum Node {
    /// JSON text.
    Leaf(String),
    Object(Vec<(String, Node)>),
}

impl Objects {
    pub(crate) fn new(header: &[String], schema: &SourceSchema) -> Self {
        let field = |name: &String| match schema.columns.iter().find(|c| c.path.join(".") == *name) {
            Some(column) => Field { path: column.path.clone(), declared: Some(column.column_type.clone()) },
            None => Field { path: vec![name.clone()], declared: None },
        };
        Self { fields: header.iter().map(field).collect() }
    }
    /// A record with as many values as the header has names.
    pub(crate) fn json(&self, values: &[String]) -> String {
        let mut object = Vec::new();
        for (field, value) in self.fields.iter().zip(values) {
            insert(&mut object, &field.path, Node::Leaf(text(value, field.declared.as_ref())));
        }
        let mut out = String::new();
        write(&Node::Object(object), &mut out);
        out
    }
}

fn insert(object: &mut Vec<(String, Node)>, path: &[String], leaf: Node) {
    let Some((name, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        object.push((name.clone(), leaf));
        return;
    }
    let inner = object.iter_mut().find_map(|(n, node)| match node {
        Node::Object(inner) if n == name => Some(inner),
        _ => None,
    });
    match inner {
        Some(inner) => insert(inner, rest, leaf),
        None => {
            let mut inner = Vec::new();
            insert(&mut inner, rest, leaf);
            object.push((name.clone(), Node::Object(inner)));
        }
    }
}

fn write(node: &Node, out: &mut String) {
    match node {
        Node::Leaf(text) => out.push_str(text),
        Node::Object(fields) => {
            out.push('{');
            for (i, (name, node)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(node, out);
            }
            out.push('}');
        }
    }
}

/// The JSON text of a field.
fn text(value: &str, declared: Option<&ColumnType>) -> String {
    let is = |wanted: fn(&Value) -> bool| serde_json::from_str(value).is_ok_and(|value| wanted(&value));
    let as_it_is = match declared {
        Some(ColumnType::Int | ColumnType::Bigint | ColumnType::Double | ColumnType::Decimal(..)) => {
            is(Value::is_number)
        }
        Some(ColumnType::Bool) => is(Value::is_boolean),
        Some(ColumnType::Struct(_)) => is(Value::is_object),
        Some(ColumnType::List(..)) => is(Value::is_array),
        Some(ColumnType::Json) => is(|_| true),
        _ => false,
    };
    if as_it_is { value.trim().to_owned() } else { Value::from(value).to_string() }
}

#[cfg(test)]
mod tests {
    use millstream_core::schema::{Column, ExcessDigits, ExtraFields, Zone};

    use super::*;

    fn column(name: &str, column_type: ColumnType, path: &[&str]) -> Column {
        Column {
            name: name.to_owned(),
            column_type,
            optional: true,
            path: path.iter().map(|p| (*p).to_owned()).collect(),
            formats: Vec::new(),
            zone: Zone::Utc,
            excess_digits: ExcessDigits::Reject,
        }
    }

    #[test]
    fn text_keeps_its_digits_and_its_meaning() {
        let schema = SourceSchema {
            columns: vec![
                column("id", ColumnType::String, &["id"]),
                column("fare", ColumnType::Decimal(20, 2), &["fare"]),
                column("riders", ColumnType::Int, &["riders"]),
                column("driver", ColumnType::String, &["driver", "id"]),
                column("rating", ColumnType::Double, &["driver", "rating"]),
                column("tags", ColumnType::Json, &["tags"]),
            ],
            extra: ExtraFields::Ignore,
        };
        let header = ["id", "fare", "riders", "driver.id", "more", "driver.rating", "tags"].map(str::to_owned);
        let objects = Objects::new(&header, &schema);
        let values = ["1e5", "273100.560", "", "a \"b\"", "7", "4.5", "[1]"].map(str::to_owned);
        assert_eq!(
            objects.json(&values),
            r#"{"id":"1e5","fare":273100.560,"riders":"","driver":{"id":"a \"b\"","rating":4.5},"more":"7","tags":[1]}"#
        );
    }
}
