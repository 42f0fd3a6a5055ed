//! One request and what befalls it.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_LENGTH;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::time::{Sleep, sleep};

use crate::proxy::forward::Upstream;
use crate::proxy::operation::Operation;
use crate::proxy::partial::Partial;
use crate::proxy::refusal;
use crate::proxy::rule::Fault;
use crate::proxy::{Script, Seen};

/// The connection breaks.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection breaks here")
    }
}
impl Error for Broken {}

/// How an answer's body goes wrong.
#[derive(Debug)]
enum End {
    /// It does not.
    Whole,
    /// The connection breaks after so many bytes, once those are out.
    Breaks { left: usize, flushed: Option<Pin<Box<Sleep>>> },
    /// It ends in good order at this time.
    Ends(Pin<Box<Sleep>>),
}

/// The body of an answer: the service's, or one made here.
#[derive(Debug)]
pub(crate) struct Answer {
    from: From,
    end: End,
}

#[derive(Debug)]
enum From {
    Service(Incoming),
    Here(Full<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let End::Ends(at) = &mut this.end
            && at.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        if let End::Breaks { left: 0, flushed } = &mut this.end {
            // What was given before gets out of the buffers.
            let flushed = flushed.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(20))));
            return flushed.as_mut().poll(context).map(|()| Some(Err(Broken.into())));
        }
        let frame = match &mut this.from {
            From::Service(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            From::Here(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        };
        let End::Breaks { left, .. } = &mut this.end else { return frame };
        frame.map_ok(|frame| match frame.into_data() {
            Ok(mut data) => {
                data.truncate(*left);
                *left -= data.len();
                Frame::data(data)
            }
            Err(trailers) => trailers,
        })
    }
    fn is_end_stream(&self) -> bool {
        match (&self.end, &self.from) {
            (End::Whole, From::Service(body)) => body.is_end_stream(),
            (End::Whole, From::Here(body)) => body.is_end_stream(),
            _ => false,
        }
    }
    fn size_hint(&self) -> SizeHint {
        match (&self.end, &self.from) {
            (End::Ends(_), _) => SizeHint::default(),
            (_, From::Service(body)) => body.size_hint(),
            (_, From::Here(body)) => body.size_hint(),
        }
    }
}

fn made(answer: Response<Bytes>) -> Response<Answer> {
    answer.map(|body| Answer { from: From::Here(Full::new(body)), end: End::Whole })
}

fn served(answer: Response<Incoming>, end: End) -> Response<Answer> {
    answer.map(|body| Answer { from: From::Service(body), end })
}

/// The answer to a request; an error breaks the connection.
pub(crate) async fn serve(
    request: Request<Incoming>,
    upstream: Upstream,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Answer>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let operation = Operation::of(&head, &body);
    let (fault, partial) = befalls(&operation, &body, &script);
    match fault {
        None => Ok(served(upstream.ask(&head, body).await?, End::Whole)),
        Some(Fault::Partial { .. }) => match partial {
            Some(partial) => in_part(partial, &head, &upstream).await,
            None => Ok(served(upstream.ask(&head, body).await?, End::Whole)),
        },
        Some(fault) => spoil(fault, &operation, &head, body, &upstream).await,
    }
}

/// What befalls a request, and what of a batch fails; noted as seen.
fn befalls(operation: &Operation, body: &[u8], script: &Mutex<Script>) -> (Option<Fault>, Option<Partial>) {
    let mut script = script.lock().unwrap();
    let fault = script.next(&operation.name);
    let partial = match fault {
        Some(Fault::Partial { share }) => {
            let random = &mut script.random;
            Partial::of(operation, body, &mut || random.f64() < share)
        }
        _ => None,
    };
    let befell = match &fault {
        Some(Fault::Partial { .. }) if partial.is_none() => None,
        fault => fault.as_ref().map(Fault::kind),
    };
    script.seen.push(Seen { operation: operation.name.clone(), fault: befell });
    (fault, partial)
}

async fn spoil(
    fault: Fault,
    operation: &Operation,
    head: &Parts,
    body: Bytes,
    upstream: &Upstream,
) -> Result<Response<Answer>, Broken> {
    match fault {
        Fault::Throttle => Ok(made(refusal::throttle(operation))),
        Fault::Refuse { status, code } => Ok(made(refusal::refusal(operation, status, &code, "as the test wants it"))),
        Fault::Gateway(status) => {
            let page = Bytes::from_static(b"<html><body><h1>Service Unavailable</h1></body></html>");
            let answer = Response::builder().status(status).header("content-type", "text/html");
            Ok(made(answer.body(page).map_err(|_| Broken)?))
        }
        Fault::Drop => Err(Broken),
        Fault::Lose => {
            // It is done when the whole answer is there.
            upstream.ask(head, body).await?.into_body().collect().await.map_err(|_| Broken)?;
            Err(Broken)
        }
        Fault::Delay(time) => {
            sleep(time).await;
            Ok(served(upstream.ask(head, body).await?, End::Whole))
        }
        Fault::Hold(time) => {
            let answer = upstream.ask(head, body).await?;
            sleep(time).await;
            Ok(served(answer, End::Whole))
        }
        Fault::Cut { after } => {
            let end = End::Breaks { left: after, flushed: None };
            Ok(served(upstream.ask(head, body).await?, end))
        }
        Fault::EndStream(time) => Ok(served(upstream.ask(head, body).await?, End::Ends(Box::pin(sleep(time))))),
        Fault::Answer { forward, status, body: answer } => {
            if forward {
                upstream.ask(head, body).await?.into_body().collect().await.map_err(|_| Broken)?;
            }
            let head = Response::builder().status(status);
            Ok(made(head.body(Bytes::from(answer)).map_err(|_| Broken)?))
        }
        // Handled where its entries are known.
        Fault::Partial { .. } => Err(Broken),
    }
}

/// Forwards what does not fail, and puts what does into the answer.
async fn in_part(partial: Partial, head: &Parts, upstream: &Upstream) -> Result<Response<Answer>, Broken> {
    let Some(forward) = &partial.forward else {
        let kind = head.headers.get("content-type").cloned();
        let mut answer = Response::new(Bytes::from(partial.answer(None)));
        if let Some(kind) = kind {
            answer.headers_mut().insert("content-type", kind);
        }
        return Ok(made(answer));
    };
    let answer = upstream.ask(head, Bytes::from(forward.clone())).await?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    if !parts.status.is_success() {
        return Ok(made(Response::from_parts(parts, body)));
    }
    // Of another body.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove("x-amz-crc32");
    Ok(made(Response::from_parts(parts, Bytes::from(partial.answer(Some(&body))))))
}
