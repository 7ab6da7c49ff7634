//! What programs use today between processes of one machine: HTTP/1.1 with hyper, and gRPC with tonic, as their own
//! documentation sets them up, without delays on small packets.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};

use crate::cpu;
use crate::record::BenchError;

/// The words that make this binary one of the servers.
pub(crate) const HTTP_CHILD: &str = "child-http-echo";
pub(crate) const TONIC_CHILD: &str = "child-tonic-echo";

/// Serves until it is killed. Says its address first.
pub(crate) fn serve(word: &str, processor: &str) -> ExitCode {
    let serve = || -> Result<(), BenchError> {
        cpu::pin(processor.parse().map_err(std::io::Error::other)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(mfn_local::EVENT_INTERVAL)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("[::1]:0").await?;
            println!("{}", listener.local_addr()?);
            if word == HTTP_CHILD {
                serve_http(listener).await
            } else {
                let incoming =
                    tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
                tonic::transport::Server::builder()
                    .add_service(EchoService)
                    .serve_with_incoming(incoming)
                    .await?;
                Ok(())
            }
        })
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{word}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_http(listener: TcpListener) -> Result<(), BenchError> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let echo = service_fn(|request: Request<Incoming>| async move {
                let body = request.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>(Response::new(Full::new(body)))
            });
            // A client that goes away ends its connection.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), echo)
                .await;
        });
    }
}

/// Connections of HTTP/1.1: each has one request under way, as the protocol's clients do.
pub(crate) struct Http {
    connections: Vec<hyper::client::conn::http1::SendRequest<Full<Bytes>>>,
    host: String,
}

impl Http {
    pub(crate) async fn connect(address: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let mut connections = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (send, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            connections.push(send);
        }
        let host = address.to_string();
        Ok(Self { connections, host })
    }

    /// Requests per second with one on each connection.
    pub(crate) async fn rate(&mut self, count: usize) -> Result<f64, BenchError> {
        let connections = std::mem::take(&mut self.connections);
        let each = count / connections.len().max(1);
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let total = each * connections.len();
        for mut send in connections {
            let host = self.host.clone();
            tasks.spawn(async move {
                for _ in 0..each {
                    let request = Request::post("/echo")
                        .header("host", &host)
                        .body(Full::new(Bytes::from_static(&[7; 64])))
                        .map_err(std::io::Error::other)?;
                    send.ready().await?;
                    let reply = send.send_request(request).await?;
                    let body = reply.into_body().collect().await?.to_bytes();
                    if body.len() != 64 {
                        return Err(BenchError::new("the echo is wrong"));
                    }
                }
                Ok(send)
            });
        }
        while let Some(done) = tasks.join_next().await {
            self.connections.push(done??);
        }
        Ok(total as f64 / start.elapsed().as_secs_f64())
    }
}

/// One connection of gRPC, shared by all calls.
#[derive(Clone)]
pub(crate) struct Grpc(tonic::transport::Channel);

impl Grpc {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, BenchError> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self(endpoint.tcp_nodelay(true).connect().await?))
    }

    /// Unary calls per second, that many at once.
    pub(crate) async fn rate(&self, count: usize, at_once: usize) -> Result<f64, BenchError> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let each = count / at_once;
        for _ in 0..at_once {
            let channel = self.0.clone();
            tasks.spawn(async move {
                let mut grpc = tonic::client::Grpc::new(channel);
                for _ in 0..each {
                    grpc.ready().await?;
                    let request = tonic::Request::new(Bytes::from_static(&[7; 64]));
                    let path = http::uri::PathAndQuery::from_static("/echo.Echo/Echo");
                    let reply = grpc.unary(request, path, Raw).await?;
                    if reply.into_inner().len() != 64 {
                        return Err(BenchError::new("the echo is wrong"));
                    }
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok((each * at_once) as f64 / start.elapsed().as_secs_f64())
    }
}

#[derive(Clone)]
struct EchoService;

impl Service<http::Request<tonic::body::Body>> for EchoService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(Echo, request).await) })
    }
}

impl tonic::server::NamedService for EchoService {
    const NAME: &'static str = "echo.Echo";
}

struct Echo;

impl tonic::server::UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

/// Bytes as they are: cheaper than any message.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let count = from.remaining();
        Ok(Some(from.copy_to_bytes(count)))
    }
}
