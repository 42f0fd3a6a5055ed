//! Calls UDFs a million times, for a look at their memory: `valgrind --leak-check=full million scalar 1000000`.
//! docs/udfs.md has the commands and what they said.

#![allow(clippy::print_stdout, reason = "an example says what it did")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use millstream_udf::{Calls, Udf, compile, source};

fn load(folder: &str) -> Result<Udf, Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let declared = source::read(&folder)?;
    let library = compile::library(&folder, &compile::cache())?;
    Ok(Udf::load(&declared.name, declared.signature, declared.calling, &library)?)
}

fn bigints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

/// Numbers: one row a call.
fn scalar(calls: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let surge = load("udfs/surge_multiplier")?;
    let mut sum = 0.0;
    for call in 0..calls {
        let demand = i64::try_from(call % 40)?;
        let result = surge.call(&[bigints(vec![Some(demand)]), bigints(vec![Some(10)])])?;
        sum += result.as_primitive::<Float64Type>().value(0);
    }
    println!("sum of multipliers: {sum}");
    Ok(calls)
}

/// Text and nulls in and out, and every thousandth call panics.
fn text(calls: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let troubled = load("tests/udfs/troubled")?;
    let (mut bytes, mut panics) = (0, 0);
    for call in 0..calls {
        let text = (call % 3 != 0).then_some("some text that is copied");
        let times = if call % 1000 == 999 { 13 } else { i64::try_from(call % 4)? };
        match troubled.call(&[Arc::new(StringArray::from(vec![text])) as ArrayRef, bigints(vec![Some(times)])]) {
            Ok(result) => bytes += result.as_string::<i32>().iter().flatten().map(str::len).sum::<usize>(),
            Err(_) => panics += 1,
        }
    }
    println!("{bytes} bytes of text, {panics} panics");
    Ok(calls)
}

/// All values of a group a call.
fn aggregate(calls: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let median = load("udfs/median_fare")?;
    let mut sum = 0;
    for call in 0..calls {
        let first = i64::try_from(call)?;
        let result = median.aggregate(&[bigints(vec![Some(first), None, Some(first + 2), Some(first + 9)])])?;
        sum += result.as_primitive::<Int64Type>().value(0);
    }
    println!("sum of medians: {sum}");
    Ok(calls)
}

/// Many calls under way, a batch of rows after the other.
fn asynchronous(calls: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let slowly = load("tests/udfs/slowly")?;
    let under_way = Calls::start(&slowly, || {})?;
    let (mut first, mut failed) = (0, 0);
    while first < calls {
        let rows = 1000.min(calls - first);
        // Null at once, or a value after a millisecond.
        under_way.call(first, &[bigints((0..rows).map(|i| Some(if i % 2 == 0 { -1 } else { 1 })).collect())]);
        failed += under_way.wait().iter().filter(|(_, answer)| answer.is_err()).count();
        first += rows;
    }
    println!("{failed} failed");
    drop(under_way);
    // The library's thread sees that nobody can call any more, and ends; nobody can wait for it.
    #[expect(clippy::disallowed_methods, reason = "a look at memory, after everything has ended")]
    std::thread::sleep(std::time::Duration::from_millis(500));
    Ok(calls)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_else(|| "scalar".to_owned());
    let calls = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let made = match kind.as_str() {
        "scalar" => scalar(calls)?,
        "text" => text(calls)?,
        "aggregate" => aggregate(calls)?,
        "async" => asynchronous(calls)?,
        other => return Err(format!("`{other}` is none of scalar, text, aggregate, async").into()),
    };
    println!("{made} calls");
    Ok(())
}
