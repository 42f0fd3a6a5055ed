//! For tests of findings: it is read and never built.

use arroyo_udf_plugin::udf;

/// Takes what cannot be passed.
#[udf]
fn flag(is_set: bool) -> i64 {
    i64::from(is_set)
}
