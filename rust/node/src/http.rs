//! Prometheus text over HTTP, on a loopback address, for scrapers that know nothing of our sockets.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::MetricsService;
use crate::node::NodeError;

/// Scrapers at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16;
/// How long a request's head may take to arrive, and a connection to stay.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| NodeError::MetricsHttp { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(url = %format!("http://{address}/metrics"), "metrics are served over HTTP");
    Ok(listener)
}

/// Answers `GET /metrics`, for ever.
pub(crate) async fn serve(listener: TcpListener, metrics: MetricsService) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return std::future::pending().await;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a scraper");
                // Out of descriptors: trying again at once would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let answering = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| {
                        let metrics = metrics.clone();
                        async move { Ok::<_, Infallible>(answer(&request, &metrics).await) }
                    }),
                );
            // A scraper that goes away or talks nonsense is its own problem.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, answering).await;
            drop(permit);
        });
    }
}

async fn answer(request: &Request<Incoming>, metrics: &MetricsService) -> Response<Full<Bytes>> {
    let host = request.headers().get(HOST);
    if !host.is_none_or(|host| host.to_str().is_ok_and(is_local)) {
        // A page in a browser can make a name of its own point here: it must not read.
        return text(StatusCode::FORBIDDEN, "ask for a loopback address\n".into());
    }
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "metrics are at /metrics\n".into());
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    }
    match metrics.text().await {
        Ok(metrics) => text(StatusCode::OK, metrics),
        Err(failure) => text(StatusCode::SERVICE_UNAVAILABLE, failure.text + "\n"),
    }
}

/// Whether that is this machine's name for itself, with or without a port.
fn is_local(host: &str) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_refused() {
        for local in [
            "localhost",
            "localhost:9464",
            "[::1]:9464",
            "[::1]",
            "127.0.0.1:1",
            "127.9.9.9",
        ] {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "192.0.2.1:80",
            "",
            "::1x",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }
}
