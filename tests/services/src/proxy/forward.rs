//! Requests to the service behind the proxy.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::proxy::spoiled::Broken;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    pub(crate) fn new(url: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url: url.trim_end_matches('/').to_owned(), client }
    }
    /// Its answer to a request with this body; the answer's body may still be on its way.
    pub(crate) async fn ask(&self, head: &Parts, body: Bytes) -> Result<Response<Incoming>, Broken> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", self.url).parse().map_err(|_| Broken)?;
        let mut request = Request::builder().method(&head.method).uri(uri).body(Full::new(body)).map_err(|_| Broken)?;
        *request.headers_mut() = head.headers.clone();
        for name in [HOST, CONNECTION, EXPECT, CONTENT_LENGTH, TRANSFER_ENCODING] {
            request.headers_mut().remove(name);
        }
        self.client.request(request).await.map_err(|_| Broken)
    }
}
