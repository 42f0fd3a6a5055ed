//! The middle of all fares of a group.

use arroyo_udf_plugin::udf;

/// The median of fares in cents; of an even number, the mean of the two in the middle, rounded down. The fares come
/// sorted, but this does not rely on it.
#[udf]
fn median_fare(fares: Vec<i64>) -> Option<i64> {
    let mut fares = fares;
    fares.sort_unstable();
    let middle = fares.len() / 2;
    match fares.len() {
        0 => None,
        n if n % 2 == 1 => Some(fares[middle]),
        _ => Some(fares[middle - 1] + (fares[middle] - fares[middle - 1]) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers() {
        assert_eq!(median_fare(vec![]), None);
        assert_eq!(median_fare(vec![7]), Some(7));
        assert_eq!(median_fare(vec![900, 100, 500]), Some(500));
        assert_eq!(median_fare(vec![100, 200, 301, 900]), Some(250));
    }
}
