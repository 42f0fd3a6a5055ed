//! A crate to start from, with its test: `millstream udf new`.

use crate::types::Kind;

/// The files of a new crate called `name`: each with its path below the crate's folder.
pub fn starter(name: &str, kind: Kind) -> Vec<(&'static str, String)> {
    let manifest = format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2021"
publish = false

[lib]
crate-type = ["cdylib"]

[dependencies]
arroyo-udf-plugin = "0.2"

# A workspace of its own: the plugin needs an older Arrow than Millstream has.
[workspace]
"#
    );
    let source = match kind {
        Kind::Scalar => SCALAR,
        Kind::Aggregate => AGGREGATE,
        Kind::Async => ASYNC,
    };
    vec![
        ("Cargo.toml", manifest),
        ("Cargo.lock", LOCK.replace("surge_multiplier", name)),
        ("src/lib.rs", source.replace("NAME", name)),
        (".gitignore", "/target\n".to_owned()),
    ]
}

/// The versions that are known to build together, and that other UDFs have built already.
const LOCK: &str = include_str!("../../../udfs/surge_multiplier/Cargo.lock");

const SCALAR: &str = r#"//! `NAME` for Millstream: one value per row.

use arroyo_udf_plugin::udf;

/// Called for each row. Types: i32 i64 u32 u64 f32 f64 &str &[u8], each also in an Option; a null for an argument that
/// is no Option gives null without a call. Results: the same, text as String and bytes as Vec<u8>. Equal arguments must
/// give equal results; a panic sends the row to `.failed`.
#[udf]
fn NAME(value: i64, factor: i64) -> i64 {
    value * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_multiplied() {
        assert_eq!(NAME(6, 7), 42);
    }
}
"#;

const AGGREGATE: &str = r#"//! `NAME` for Millstream: one value per group.

use arroyo_udf_plugin::udf;

/// Called with all values of a group, sorted. Items: i32 i64 u32 u64 f32 f64, each also in an Option; nulls are left out
/// of items that are no Option. A panic sends the group to `.failed`.
#[udf]
fn NAME(values: Vec<i64>) -> Option<i64> {
    Some(values.last()? - values.first()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_sorted_values() {
        assert_eq!(NAME(vec![1, 5, 9]), Some(8));
        assert_eq!(NAME(vec![]), None);
    }
}
"#;

const ASYNC: &str = r#"//! `NAME` for Millstream: one value per row, from somewhere else.

use arroyo_udf_plugin::udf;

/// Called for each row; many calls are under way at once, on one thread: wait with `.await`, never block. Types are those
/// of other UDFs: i32 i64 u32 u64 f32 f64 &str &[u8], each also in an Option. None is null; a panic or a call that takes
/// longer than the timeout sends the row to `.failed`. A call may be made again after a crash.
#[udf(timeout = "5s", allowed_in_flight = 1000)]
async fn NAME(id: i64) -> Option<String> {
    // Here a request would be sent, and its answer awaited.
    (id >= 0).then(|| format!("name of {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arroyo_udf_plugin::async_udf::tokio;

    #[test]
    fn ids_have_names() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(NAME(7)).as_deref(), Some("name of 7"));
        assert_eq!(runtime.block_on(NAME(-1)), None);
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    #[test]
    fn a_new_crate_is_what_was_asked_for() {
        for kind in [Kind::Scalar, Kind::Aggregate, Kind::Async] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("src")).unwrap();
            for (path, text) in starter("my_function", kind) {
                std::fs::write(folder.path().join(path), text).unwrap();
            }
            let declared = source::read(folder.path()).unwrap();
            assert_eq!((declared.name.as_str(), declared.signature.kind), ("my_function", kind));
        }
    }
}
