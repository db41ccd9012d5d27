//! The monitoring port: HTTP around [`crate::monitor`].
//!
//! Nobody has to log in here, so everything is bounded: 64 connections at a time (the next ones wait in
//! the listener's backlog), 16 KiB of request head that must come within 5 seconds, and 30 seconds for
//! a connection however many requests it makes; then it is closed after the answer that is under way.
//! Requests' bodies are not read.

pub(super) mod io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::server::Server;
use crate::monitor::{self, Response};
use io::{Clock, Stream};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a request's head may take, the pause before it included.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection lasts.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// How long the last answer may take after that.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted (too many open files, say).
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Serves monitoring on `listener` for as long as it is polled; must run within a `LocalSet`. Paths begin
/// with `base_path`, which has a leading and no trailing slash, or is empty.
pub async fn serve(server: Rc<Server>, listener: TcpListener, base_path: String) {
    let pages = match Pages::new(server, &listener, base_path) {
        Ok(pages) => Rc::new(pages),
        Err(error) => return warn!("monitoring is off: {error}"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed, so there will be a place some time.
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                spawn_local(async move {
                    converse(pages, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!("monitoring cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// Serves one connection.
async fn converse(pages: Rc<Pages>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let response = pages.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(Clock).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(Stream(stream), service));
    let ended = match timeout(CONNECTION_WITHIN, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_WITHIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!("monitoring connection: {error}");
    }
}

/// What answers take.
struct Pages {
    server: Rc<Server>,
    base_path: String,
}

impl Pages {
    fn new(server: Rc<Server>, listener: &TcpListener, base_path: String) -> std::io::Result<Self> {
        server.host.monitor.set(Some(listener.local_addr()?));
        Ok(Self { server, base_path })
    }

    fn answer(&self, request: &Request<Incoming>) -> hyper::Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return not_allowed();
        }
        let uri = request.uri();
        let Some(path) = within(&self.base_path, uri.path()) else { return dress(Response::not_found()) };
        let host = &self.server.host;
        let mut requests = host.requests.get();
        requests.count(path);
        host.requests.set(requests);
        let facts = host.facts(self.server.now());
        dress(monitor::respond(&self.server.node.borrow(), &facts, path, uri.query().unwrap_or_default()))
    }
}

/// What follows `base` in `path`, always with a leading slash.
fn within<'a>(base: &str, path: &'a str) -> Option<&'a str> {
    match path.strip_prefix(base)? {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// A response with the headers that all of them have.
fn dress(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut dressed = hyper::Response::new(Full::new(Bytes::from(response.body)));
    *dressed.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = dressed.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    dressed
}

fn not_allowed() -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::default());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

#[cfg(test)]
mod tests;
