//! For tests: an aggregate whose result depends on the order of its values.

use arroyo_udf_plugin::udf;

/// A thousand times the first value, and the last; panics where one of them is 13.
#[udf]
fn first_and_last(values: Vec<i64>, weights: Vec<i64>) -> i64 {
    assert!(!values.contains(&13), "thirteen is bad luck");
    let weight: i64 = weights.iter().enumerate().map(|(i, w)| i as i64 * w).sum();
    values[0] * 1000 + values[values.len() - 1] + weight * 1_000_000
}
