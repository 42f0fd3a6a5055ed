//! Calls of real plugins, built here with the Arrow they are pinned to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use millstream_udf::{Calling, Kind, Signature, Type, Udf, UdfError, compile, source};

/// One cache for all tests of this build: `target/udfs`.
fn cache() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().join("udfs")
}

fn load(folder: &str) -> Udf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let declared = source::read(&folder).unwrap();
    let library = compile::library(&folder, &cache()).unwrap();
    Udf::load(&declared.name, declared.signature, declared.calling, &library).unwrap()
}

fn bigints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

#[test]
fn a_scalar_is_called_once_for_all_rows() {
    let surge = load("udfs/surge_multiplier");
    assert_eq!(surge.signature().to_string(), "(bigint, bigint) -> double");
    let demand = bigints([Some(12), Some(0), None, Some(30), Some(29)]);
    let supply = bigints([Some(10), Some(10), Some(1), Some(0), Some(10)]);
    let found = surge.call(&[demand.clone(), supply.clone()]).unwrap();
    let found: Vec<Option<f64>> = found.as_primitive::<Float64Type>().iter().collect();
    // A null for an argument that is no Option gives null.
    assert_eq!(found, [Some(1.5), Some(1.0), None, Some(2.5), Some(2.0)]);
    let part = surge.call(&[demand.slice(3, 2), supply.slice(3, 2)]).unwrap();
    assert_eq!(part.as_primitive::<Float64Type>().values(), &[2.5, 2.0]);
    assert_eq!(surge.call(&[demand.slice(0, 0), supply.slice(0, 0)]).unwrap().len(), 0);
}

#[test]
fn numbers_are_those_of_rust() {
    let distance = load("udfs/haversine_km");
    let column = |v: f64| Arc::new(Float64Array::from(vec![v])) as ArrayRef;
    let found = distance.call(&[column(40.758), column(-73.9855), column(40.6413), column(-73.7781)]).unwrap();
    assert!((found.as_primitive::<Float64Type>().value(0) - 21.8).abs() < 0.2);
}

#[test]
fn text_and_nulls_cross_both_ways_and_a_panic_is_an_error() {
    let troubled = load("tests/udfs/troubled");
    assert_eq!(troubled.signature().to_string(), "(string?, bigint) -> string");
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("ä"), None, Some("b"), Some("c")]));
    let found = troubled.call(&[text.clone(), bigints([Some(2), Some(1), Some(0), None])]).unwrap();
    let found: Vec<Option<&str>> = found.as_string::<i32>().iter().collect();
    assert_eq!(found, [Some("ää"), Some("none"), None, None]);
    let panicked = troubled.call(&[text.slice(0, 2), bigints([Some(1), Some(13)])]).unwrap_err();
    assert_eq!(panicked, UdfError::Panicked("troubled".to_owned()));
    // And the library goes on.
    let again = troubled.call(&[text.slice(2, 1), bigints([Some(1)])]).unwrap();
    assert_eq!(again.as_string::<i32>().value(0), "b");
}

#[test]
fn an_aggregate_gets_all_values_of_a_group() {
    let median = load("udfs/median_fare");
    assert_eq!(median.signature().kind, Kind::Aggregate);
    let found = median.aggregate(&[bigints([Some(100), None, Some(300), Some(900)])]).unwrap();
    // Nulls are left out, because its items are no Options.
    assert_eq!(found.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(300)]);
    let nothing = median.aggregate(&[bigints([])]).unwrap();
    assert!(nothing.is_null(0));
}

#[test]
fn a_library_is_not_taken_for_what_it_is_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../udfs/surge_multiplier");
    let library = compile::library(&folder, &cache()).unwrap();
    let right = source::read(&folder).unwrap().signature;
    let load = |signature: Signature| Udf::load("surge", signature, Calling::default(), &library).map(|_| ());
    assert_eq!(load(right.clone()), Ok(()));
    let message = |signature| load(signature).unwrap_err().to_string();
    let mut args = right.clone();
    args.args[1].data_type = Type::Double;
    assert!(message(args).ends_with("is not a function (bigint, double) -> double: it does not take such arguments"));
    let returns = Signature { returns: Type::Bigint, ..right.clone() };
    assert!(message(returns).ends_with("the library gives double, and bigint is declared"));
    let kind = Signature { kind: Kind::Async, ..right };
    assert!(message(kind).contains("is not async"));
}

#[test]
fn a_crate_is_built_once_per_content() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../udfs/surge_multiplier");
    let first = compile::library(&folder, &cache()).unwrap();
    let built = std::fs::metadata(&first).unwrap().modified().unwrap();
    assert_eq!(compile::library(&folder, &cache()).unwrap(), first);
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), built);
}

#[test]
fn a_lockfile_that_cargo_writes_is_no_other_content() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    for (path, text) in millstream_udf::starter("zones", millstream_udf::Kind::Scalar) {
        // Cargo takes out what nobody needs.
        let unused = if path == "Cargo.lock" { "\n[[package]]\nname = \"unused\"\nversion = \"1.0.0\"\n" } else { "" };
        std::fs::write(folder.path().join(path), text + unused).unwrap();
    }
    let lockfile = || std::fs::read_to_string(folder.path().join("Cargo.lock")).unwrap();
    let before = lockfile();
    let first = compile::library(folder.path(), &cache()).unwrap();
    assert_ne!(lockfile(), before);
    assert_eq!(compile::library(folder.path(), &cache()).unwrap(), first);
}

#[test]
fn what_does_not_build_is_said_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../udfs/surge_multiplier");
    for file in ["Cargo.toml", "Cargo.lock"] {
        std::fs::copy(example.join(file), at(file)).unwrap();
    }
    std::fs::create_dir(at("src")).unwrap();
    std::fs::write(
        at("src/lib.rs"),
        "use arroyo_udf_plugin::udf;\n#[udf]\nfn f(a: i64) -> i64 {\n    a + missing\n}\n",
    )
    .unwrap();
    let error = compile::library(folder.path(), &cache()).unwrap_err();
    assert!(error.to_string().contains("does not build: src/lib.rs:4:9: cannot find value `missing`"), "{error}");
}

mod asynchronous {
    use std::time::Duration;

    use millstream_udf::{Answer, Calls};

    use super::*;

    fn slowly(calling: Calling) -> Udf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/udfs/slowly");
        let declared = source::read(&folder).unwrap();
        let library = compile::library(&folder, &cache()).unwrap();
        Udf::load(&declared.name, declared.signature, calling, &library).unwrap()
    }

    fn answers(udf: &Udf, values: &[Option<i64>]) -> Vec<Result<Option<i64>, UdfError>> {
        let calls = Calls::start(udf, || {}).unwrap();
        calls.call(100, &[bigints(values.iter().copied())]);
        let found = calls.wait();
        assert_eq!(
            found.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            (100..100 + values.len() as u64).collect::<Vec<_>>()
        );
        let value = |(_, answer): Answer| answer.map(|a| a.as_primitive::<Int64Type>().iter().next().unwrap());
        found.into_iter().map(value).collect()
    }

    #[test]
    fn many_are_under_way_at_once() {
        let udf = slowly(Calling::default());
        // The later ones are answered first: each is under way while all before it are.
        let calls = Calls::start(&udf, || {}).unwrap();
        calls.call(0, &[bigints([Some(600), Some(400), Some(200), Some(1)])]);
        let mut order = Vec::new();
        while order.len() < 4 {
            order.extend(calls.take().into_iter().map(|(id, _)| id));
            std::thread::yield_now();
        }
        assert_eq!(order, [3, 2, 1, 0]);
        let values: Vec<Option<i64>> = (0..500).map(|i| Some(1 + i % 7)).collect();
        let wanted: Vec<_> = values.iter().map(|v| Ok(v.map(|v| 2 * v))).collect();
        assert_eq!(answers(&udf, &values), wanted);
    }

    #[test]
    fn nulls_are_answered_without_a_call_and_a_function_may_give_none() {
        let udf = slowly(Calling::default());
        assert_eq!(answers(&udf, &[None, Some(-1), Some(2)]), [Ok(None), Ok(None), Ok(Some(4))]);
    }

    #[test]
    fn a_call_that_takes_too_long_fails_alone() {
        let calling = Calling { timeout: Duration::from_millis(500), max_in_flight: 3, ..Calling::default() };
        let udf = slowly(calling);
        // More hang than may be under way, and more than a runtime is kept with.
        let mut values = vec![Some(0); 70];
        values.extend([Some(1), Some(2), Some(0), Some(3)]);
        let found = answers(&slowly(Calling { max_in_flight: 100, ..calling }), &values);
        let late = Err(UdfError::TimedOut { name: "slowly".to_owned(), within: "500ms".to_owned() });
        assert_eq!(found[..70], vec![late.clone(); 70]);
        assert_eq!(found[70..], [Ok(Some(2)), Ok(Some(4)), late.clone(), Ok(Some(6))]);
        assert_eq!(
            answers(&udf, &[Some(0), Some(0), Some(0), Some(1)]),
            [late.clone(), late.clone(), late, Ok(Some(2))]
        );
    }

    #[test]
    fn a_call_that_panics_fails_alone() {
        let udf = slowly(Calling { max_in_flight: 10, ..Calling::default() });
        let values: Vec<Option<i64>> = (1..40).map(|i| Some(if i % 19 == 0 { 13 } else { i + 20 })).collect();
        let found = answers(&udf, &values);
        for (value, answer) in values.iter().zip(found) {
            match value {
                Some(13) => assert_eq!(answer, Err(UdfError::Panicked("slowly".to_owned()))),
                other => assert_eq!(answer, Ok(other.map(|v| 2 * v))),
            }
        }
        assert_eq!(answers(&udf, &[Some(13)]), [Err(UdfError::Panicked("slowly".to_owned()))]);
    }

    #[test]
    fn panics_beside_calls_that_hang() {
        let udf = slowly(Calling { timeout: Duration::from_millis(700), ..Calling::default() });
        let late = Err(UdfError::TimedOut { name: "slowly".to_owned(), within: "700ms".to_owned() });
        let panicked = Err(UdfError::Panicked("slowly".to_owned()));
        let found = answers(&udf, &[Some(0), Some(13), Some(30), Some(0), Some(13), Some(-5)]);
        assert_eq!(found, [late.clone(), panicked.clone(), Ok(Some(60)), late, panicked, Ok(None)]);
    }

    #[test]
    fn who_asks_no_more_ends_everything() {
        let udf = slowly(Calling::default());
        let calls = Calls::start(&udf, || {}).unwrap();
        calls.call(0, &[bigints([Some(0), Some(0)])]);
        drop(calls);
    }
}
