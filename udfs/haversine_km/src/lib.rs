//! The distance between two places.

use arroyo_udf_plugin::udf;

/// Mean radius of the Earth (IUGG), in kilometres.
const RADIUS_KM: f64 = 6371.0088;

/// The great-circle distance between two points in degrees, in kilometres, by the haversine formula.
#[udf]
fn haversine_km(lat1: f64, lon1: f64, lat2: f64, lon2: f64) -> f64 {
    let (lat1, lon1, lat2, lon2) = (lat1.to_radians(), lon1.to_radians(), lat2.to_radians(), lon2.to_radians());
    let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
    let a = half(lat1, lat2) + lat1.cos() * lat2.cos() * half(lon1, lon2);
    2.0 * RADIUS_KM * a.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        assert_eq!(haversine_km(40.0, -73.0, 40.0, -73.0), 0.0);
        // A quarter of the meridian, and half around the equator.
        let quarter = std::f64::consts::FRAC_PI_2 * RADIUS_KM;
        assert!((haversine_km(0.0, 0.0, 90.0, 0.0) - quarter).abs() < 1e-6);
        assert!((haversine_km(0.0, 0.0, 0.0, 180.0) - 2.0 * quarter).abs() < 1e-6);
        // Times Square to JFK: about 21.8 km.
        assert!((haversine_km(40.7580, -73.9855, 40.6413, -73.7781) - 21.8).abs() < 0.2);
    }
}
