//! The key of a table: that of the pipeline file and that of the service must be the same.

use arrow::datatypes::SchemaRef;
use aws_sdk_dynamodb::types::{KeyType, ScalarAttributeType, TableDescription};
use millstream_core::schema::type_name;
use millstream_core::{Error, Result};

use super::attributes::key_type;

/// A part of a table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPart {
    pub(crate) name: String,
    pub(crate) scalar: ScalarAttributeType,
}

/// The key that columns make: the partition key, then the sort key.
///
/// # Errors
/// `Config` where they make none.
pub(crate) fn of_columns(columns: &SchemaRef, key: &[String]) -> Result<Vec<KeyPart>> {
    if key.is_empty() || key.len() > 2 {
        let many = key.len();
        return Err(Error::config(format!(
            "its key has {many} columns: an item of DynamoDB has a partition key and at most a sort key"
        )));
    }
    let part = |name: &String| {
        let field = columns.field_with_name(name);
        let field = field.map_err(|_| Error::config(format!("its key `{name}` is no column")))?;
        let scalar = key_type(field.data_type()).ok_or_else(|| {
            let what = type_name(field.data_type());
            Error::config(format!("its key `{name}` is a {what}: keys of DynamoDB are texts, exact numbers or bytes"))
        })?;
        Ok(KeyPart { name: name.clone(), scalar })
    };
    key.iter().map(part).collect()
}

/// The key that the service says a table has.
pub(crate) fn of_table(description: &TableDescription) -> Vec<KeyPart> {
    let mut parts: Vec<_> = description.key_schema().iter().collect();
    parts.sort_by_key(|part| *part.key_type() != KeyType::Hash);
    let scalar = |name: &str| {
        let definition = description.attribute_definitions().iter().find(|d| d.attribute_name() == name);
        definition.map_or(ScalarAttributeType::S, |d| d.attribute_type().clone())
    };
    let part = |name: &str| KeyPart { name: name.to_owned(), scalar: scalar(name) };
    parts.into_iter().map(|part_of| part(part_of.attribute_name())).collect()
}

/// What is wrong between the key of the pipeline file and that of the table `shown`.
pub(crate) fn difference(shown: &str, declared: &[KeyPart], found: &[KeyPart]) -> Option<String> {
    if declared == found {
        return None;
    }
    let mut swapped = found.to_vec();
    swapped.reverse();
    let names = |parts: &[KeyPart]| parts.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let fix = if names(declared) == names(&swapped) {
        "name the partition key first, then the sort key"
    } else if names(declared) == names(found) {
        "bring the column to the type of the table's key with `sql` and CAST"
    } else {
        "name the table's key in `key:`, or another table"
    };
    Some(format!("{shown} has the key {}, the pipeline says {}: {fix}", words(found), words(declared)))
}

/// A key in words: `trip_id (S), at (N)`.
pub(crate) fn words(parts: &[KeyPart]) -> String {
    parts.iter().map(|p| format!("{} ({})", p.name, p.scalar.as_str())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn part(name: &str, scalar: ScalarAttributeType) -> KeyPart {
        KeyPart { name: name.into(), scalar }
    }

    #[test]
    fn the_order_of_a_key_is_partition_then_sort() {
        let columns: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("at", DataType::Int64, false),
            Field::new("id", DataType::Utf8, false),
            Field::new("ok", DataType::Boolean, false),
        ]));
        let key = |names: &[&str]| of_columns(&columns, &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let declared = key(&["id", "at"]).unwrap();
        let table = [part("id", ScalarAttributeType::S), part("at", ScalarAttributeType::N)];
        assert_eq!(difference("it", &declared, &table), None);
        let swapped = difference("it", &key(&["at", "id"]).unwrap(), &table).unwrap();
        assert!(swapped.contains("partition key first"), "{swapped}");
        let retyped = [part("id", ScalarAttributeType::N), part("at", ScalarAttributeType::N)];
        assert!(difference("it", &declared, &retyped).unwrap().contains("CAST"));
        let lacking = difference("it", &key(&["id"]).unwrap(), &table).unwrap();
        assert!(lacking.contains("has the key id (S), at (N), the pipeline says id (S)"), "{lacking}");
        assert!(key(&["ok"]).unwrap_err().to_string().contains("`ok` is a bool"));
        assert!(key(&["id", "at", "ok"]).unwrap_err().to_string().contains("3 columns"));
    }
}
