//! What a ride costs more where more people ask than drivers are free.

use arroyo_udf_plugin::udf;

/// The multiplier of a zone: by requests for each free driver. No free driver counts as one.
#[udf]
fn surge_multiplier(demand: i64, supply: i64) -> f64 {
    let ratio = demand as f64 / supply.max(1) as f64;
    match ratio {
        r if r < 1.2 => 1.0,
        r if r < 2.0 => 1.5,
        r if r < 3.0 => 2.0,
        _ => 2.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_where_they_should_be() {
        let steps = [(0, 10, 1.0), (11, 10, 1.0), (12, 10, 1.5), (19, 10, 1.5), (20, 10, 2.0), (29, 10, 2.0), (30, 10, 2.5)];
        for (demand, supply, multiplier) in steps {
            assert_eq!(surge_multiplier(demand, supply), multiplier, "{demand} requests, {supply} drivers");
        }
    }

    #[test]
    fn no_driver_counts_as_one() {
        assert_eq!(surge_multiplier(1, 0), 1.0);
        assert_eq!(surge_multiplier(2, 0), 2.0);
        assert_eq!(surge_multiplier(3, 0), 2.5);
    }
}
