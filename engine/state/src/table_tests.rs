use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("n", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
    ]))
}

fn ids(ids: &[&str]) -> (RecordBatch, Vec<u64>) {
    let column: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
    let rows = RecordBatch::try_from_iter([("id", column)]).unwrap();
    let hashes = key::hash_rows(&rows, &[0]).unwrap();
    (rows, hashes)
}

fn slots_of(table: &mut KeyedTable, keys: &[&str]) -> Vec<Slot> {
    let (rows, hashes) = ids(keys);
    let mut slots = Vec::new();
    table.find_or_insert(&rows, &[0], &hashes, &mut slots).unwrap();
    slots
}

#[test]
fn equal_keys_share_a_slot_and_unequal_ones_never_do() {
    let mut table = KeyedTable::new(&schema(), &[0], 1).unwrap();
    let slots = slots_of(&mut table, &["a", "b", "a", "a key that is longer than twelve bytes"]);
    assert_eq!(slots[0], slots[2]);
    assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), 3);
    // The same hash under another key: told apart by the key itself.
    let (rows, _) = ids(&["c"]);
    let mut more = Vec::new();
    let hash = table.meta(slots[0]).hash;
    table.find_or_insert(&rows, &[0], &[hash], &mut more).unwrap();
    assert!(!slots.contains(&more[0]));
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let structs: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("lat", DataType::Float64, true)),
        Arc::new(Float64Array::from(vec![Some(1.5), None, Some(2.0)])) as ArrayRef,
    )]));
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
    let decimals = Decimal128Array::from(vec![Some(1), None, Some(-3)]).with_precision_and_scale(10, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringArray::from(vec!["x", "y", "z"]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("int", Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))),
        ("date", Arc::new(Date32Array::from(vec![Some(1), None, Some(3)]))),
        ("bigint", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
        ("count", Arc::new(UInt64Array::from(vec![Some(1), None, Some(u64::MAX)]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(3)]).with_timezone("UTC"))),
        ("decimal", Arc::new(decimals)),
        ("double", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::NAN)]))),
        ("text", Arc::new(StringArray::from(vec![Some("a long text, longer than twelve"), None, Some("")]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(b"\xff".as_slice()), None, Some(b"")]))),
        ("struct", structs),
        ("list", Arc::new(lists)),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, n != "id"))).unwrap();
    let mut table = KeyedTable::new(&rows.schema(), &[0], 1).unwrap();
    let mut slots = Vec::new();
    table.find_or_insert(&rows, &[0], &key::hash_rows(&rows, &[0]).unwrap(), &mut slots).unwrap();
    for i in 1..rows.num_columns() {
        let column = table.column_mut(i).unwrap();
        let cells = column.cells(rows.column(i)).unwrap();
        column.scatter(&slots, &cells, None);
    }
    assert_eq!(table.rows(&slots).unwrap(), rows);
    let copy = table.scratch().unwrap();
    for i in 0..rows.num_columns() {
        let column = table.column_mut(i).unwrap();
        column.copy(slots[2], copy);
        let cells = column.cells(rows.column(i)).unwrap();
        assert!(column.equals(copy, &cells, 2) && !column.equals(copy, &cells, 1));
    }
    assert_eq!(table.rows(&[copy]).unwrap(), rows.slice(2, 1));
    table.release_scratch(copy);
    table.remove(slots[0]);
    assert_eq!(table.len(), 2);
    let reused = slots_of(&mut table, &["new"]);
    assert_eq!(table.rows(&reused).unwrap().columns().iter().filter(|c| c.is_null(0)).count(), rows.num_columns() - 1);
}

#[test]
fn assigning_makes_null_what_is_null_and_scattering_does_not() {
    let mut table = KeyedTable::new(&schema(), &[0], 1).unwrap();
    let slots = slots_of(&mut table, &["a", "b"]);
    let column = table.column_mut(1).unwrap();
    let values = |v: [Option<i64>; 2]| Arc::new(Int64Array::from(v.to_vec())) as ArrayRef;
    for (array, expected) in [
        (Some(values([Some(1), Some(2)])), [Some(1), Some(2)]),
        (Some(values([None, Some(3)])), [None, Some(3)]),
        (None, [None, None]),
    ] {
        let cells = array.map(|a| column.cells(&a).unwrap());
        column.assign(&slots, cells.as_ref());
        assert_eq!([column.i64_at(slots[0]), column.i64_at(slots[1])], expected);
    }
}

#[test]
fn keys_are_forgotten_by_their_greatest_time_unless_they_may_not_go() {
    let mut table = KeyedTable::new(&schema(), &[0], 10).unwrap();
    let slots = slots_of(&mut table, &["old", "moved", "kept", "new"]);
    for (slot, time) in slots.iter().zip([5, 5, 5, 100]) {
        table.touch(*slot, time);
    }
    table.touch(slots[1], 60);
    table.meta_mut(slots[2]).flags |= Meta::DIRTY;
    let mut gone = Vec::new();
    table.forget_before(50, |m| !m.has(Meta::DIRTY), |s| gone.push(s));
    assert_eq!(gone, [slots[0]]);
    table.meta_mut(slots[2]).flags &= !Meta::DIRTY;
    table.forget_before(70, |m| !m.has(Meta::DIRTY), |s| gone.push(s));
    gone.sort();
    assert_eq!(gone, [slots[0], slots[1], slots[2]]);
    assert_eq!(table.len(), 1);
    assert_eq!(slots_of(&mut table, &["new"]), [slots[3]]);
}

#[test]
fn key_groups_partition_the_slots() {
    let mut table = KeyedTable::new(&schema(), &[0], 1).unwrap();
    let names: Vec<String> = (0..500).map(|i| format!("key {i}")).collect();
    let slots = slots_of(&mut table, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut found: Vec<Slot> =
        [0..100, 100..101, 101..1024].into_iter().flat_map(|g| table.slots_of_groups(g)).collect();
    found.sort();
    assert_eq!(found, slots);
}

#[test]
fn memory_stays_flat_when_as_many_keys_go_as_come() {
    let mut table = KeyedTable::new(&schema(), &[0], 10).unwrap();
    let mut peak = 0;
    for round in 0..40_i64 {
        let names: Vec<String> = (0..2000).map(|i| format!("a rather long key {round} {i}")).collect();
        for slot in slots_of(&mut table, &names.iter().map(String::as_str).collect::<Vec<_>>()) {
            table.touch(slot, round * 100);
        }
        table.forget_before(round * 100 - 50, |_| true, |_| ());
        if round == 4 {
            peak = table.bytes();
        }
    }
    assert!(table.len() <= 4000 && table.bytes() <= peak + peak / 4, "{} of {peak}", table.bytes());
}

proptest! {
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec((0..40_u8, 0..3_u8, any::<i64>()), 1..200)) {
        let mut table = KeyedTable::new(&schema(), &[0], 1).unwrap();
        let mut model: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for (key, action, value) in steps {
            let key = "k".repeat(key as usize);
            let slot = slots_of(&mut table, &[&key])[0];
            if action == 0 {
                table.remove(slot);
                model.remove(&key);
            } else {
                let text = "v".repeat(value.unsigned_abs() as usize % 30);
                for (i, array) in [
                    (1, Arc::new(Int64Array::from(vec![value])) as ArrayRef),
                    (2, Arc::new(StringArray::from(vec![text.clone()]))),
                ] {
                    let column = table.column_mut(i).unwrap();
                    let cells = column.cells(&array).unwrap();
                    column.set(slot, &cells, 0);
                }
                model.insert(key, (value, text));
            }
        }
        let slots: Vec<Slot> = table.slots_of_groups(0..KEY_GROUPS).collect();
        let rows = table.rows(&slots).unwrap();
        let found: BTreeMap<String, (i64, String)> = (0..rows.num_rows())
            .map(|i| {
                let text = |c: usize| rows.column(c).as_string::<i32>().value(i).to_owned();
                (text(0), (rows.column(1).as_primitive::<Int64Type>().value(i), text(2)))
            })
            .collect();
        prop_assert_eq!(table.len(), model.len());
        prop_assert_eq!(found, model);
    }
}
