//! Looks up in which zone a place is: asks the service at `GEOCODER_URL` (`http://127.0.0.1:8080` unless it is set).
//!
//! The service answers `GET /zone?lat=..&lon=..` with the zone's number, or 404 where there is none.

use std::sync::OnceLock;
use std::time::Duration;

use arroyo_udf_plugin::async_udf::tokio;
use arroyo_udf_plugin::udf;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::StatusCode;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Longer answers are no zone.
const LONGEST: usize = 64;
/// A service that cannot answer now is asked again: so often, after these pauses.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

type Http = Client<HttpConnector, Empty<Bytes>>;

/// One client for all calls: it keeps its connections.
fn client() -> Http {
    static CLIENT: OnceLock<Http> = OnceLock::new();
    CLIENT.get_or_init(|| Client::builder(TokioExecutor::new()).build_http()).clone()
}

fn service() -> String {
    static SERVICE: OnceLock<String> = OnceLock::new();
    let url = || std::env::var("GEOCODER_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    SERVICE.get_or_init(|| url().trim_end_matches('/').to_owned()).clone()
}

/// The zone of a place in degrees; null where there is none. A service that does not answer, or answers something else,
/// makes it panic, and the row leaves by `.failed`.
#[udf(timeout = "5s", allowed_in_flight = 200)]
async fn geocode_zone(lat: f64, lon: f64) -> Option<i64> {
    let url = format!("{}/zone?lat={lat}&lon={lon}", service());
    let mut pauses = PAUSES.into_iter();
    loop {
        match ask(&url).await {
            Ok(zone) => return zone,
            Err(Trouble::Passing(why)) => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => panic!("{url}: {why}"),
            },
            Err(Trouble::Lasting(why)) => panic!("{url}: {why}"),
        }
    }
}

enum Trouble {
    /// It may go by itself.
    Passing(String),
    Lasting(String),
}

async fn ask(url: &str) -> Result<Option<i64>, Trouble> {
    let url = url.parse().map_err(|e| Trouble::Lasting(format!("not a URL: {e}")))?;
    let answer = client().get(url).await.map_err(|e| Trouble::Passing(e.to_string()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|e| Trouble::Passing(e.to_string()))?;
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK => {
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            text.trim().parse().map(Some).map_err(|_| Trouble::Lasting(format!("`{text}` is no zone")))
        }
        s if s.is_server_error() || s == StatusCode::TOO_MANY_REQUESTS => Err(Trouble::Passing(s.to_string())),
        s => Err(Trouble::Lasting(s.to_string())),
    }
}
