//! For tests: text and nulls in and out, and a number it panics on.

use arroyo_udf_plugin::udf;

/// `text` (or `none`) as often as `times` says; null for no times, a panic for 13.
#[udf]
fn troubled(text: Option<&str>, times: i64) -> Option<String> {
    assert!(times != 13, "thirteen is bad luck");
    let times = usize::try_from(times).ok().filter(|t| *t > 0)?;
    Some(text.unwrap_or("none").repeat(times))
}
