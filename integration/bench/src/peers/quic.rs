//! Raw quinn: one bidirectional stream, echo and upload, with keys pinned on both sides.
//!
//! Same TLS (raw public keys, Ed25519, ring), same socket buffers, packet size and runtime as ours; no frames, no
//! verification, no store. This is the floor that STOQ stands on. An upload may also be kept: hashed, written and
//! synced, in the simplest way; and the packets may be as small as quinn leaves them when nobody sets their size.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};

use tokio::sync::{mpsc, oneshot};

use crate::cpu;
use crate::record::BenchError;

const ALPN: &[u8] = b"bench-raw/1";
/// What is hashed by itself of an upload that is kept.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes that are read and written at once, and how many such parts one thread may be ahead of the next.
const PART_BYTES: usize = 1 << 20;
const PARTS_AHEAD: usize = 16;

/// Accepts exactly one key.
#[derive(Debug)]
struct Pinned {
    spki: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if key.as_ref() == self.spki {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "another key than the expected one".into(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn certified_key(pkcs8: &[u8]) -> Result<Arc<CertifiedKey>, BenchError> {
    let key = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
    let key = rustls::crypto::ring::sign::any_eddsa_type(&key)?;
    let spki = key
        .public_key()
        .ok_or_else(|| BenchError::new("the key has no public part"))?;
    let chain = vec![CertificateDer::from(spki.as_ref().to_vec())];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// How large packets may become.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packets {
    /// As ours: what the path takes, on loopback nearly 64 KiB.
    AsOurs,
    /// As quinn comes: what nearly every path on the Internet takes, 1,452 bytes.
    AsItComes,
}

fn transport(packets: Packets) -> Result<Arc<quinn::TransportConfig>, BenchError> {
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    if let Packets::AsOurs = packets {
        mtu.upper_bound(stoq::UDP_PAYLOAD_MAX);
    }
    let mut transport = quinn::TransportConfig::default();
    transport
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(Some(Duration::from_secs(20).try_into()?))
        .send_window(16 << 20)
        .receive_window((16u32 << 20).into())
        .stream_receive_window((16u32 << 20).into());
    Ok(Arc::new(transport))
}

fn socket() -> Result<std::net::UdpSocket, BenchError> {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)?;
    // What the kernel grants is enough; it caps the request silently.
    socket.set_send_buffer_size(4 << 20)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

fn endpoint(server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint, BenchError> {
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(stoq::UDP_PAYLOAD_MAX)?;
    Ok(quinn::Endpoint::new(config, server, socket()?, runtime)?)
}

/// A raw server on its own thread, runtime and processor.
#[derive(Debug)]
pub(crate) struct RawServer {
    address: SocketAddr,
    spki: Vec<u8>,
    packets: Packets,
}

/// Starts a server that echoes 64-byte messages on streams whose first byte is `e`, swallows the rest of
/// streams whose first byte is `u`, and keeps in `file` that of streams whose first byte is `k`,
/// answering one byte at the end.
pub(crate) fn serve(
    pkcs8: &[u8],
    processor: usize,
    packets: Packets,
    file: Option<PathBuf>,
) -> Result<RawServer, BenchError> {
    // Not bound to the server's processor, which a thread that is started later would be.
    let (keeper, kept) = mpsc::channel(PARTS_AHEAD);
    std::thread::Builder::new()
        .name("raw-keeper".into())
        .spawn(move || keep(kept, file.as_deref()))?;
    let key = certified_key(pkcs8)?;
    let spki = key.cert[0].as_ref().to_vec();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(
            rustls::server::AlwaysResolvesServerRawPublicKeys::new(key),
        ));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport(packets)?);

    let (tell, told) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("raw-quic-server".into())
        .spawn(move || {
            if let Err(error) = cpu::pin(processor) {
                return drop(tell.send(Err(error.into())));
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let started = runtime.map_err(BenchError::from).and_then(|runtime| {
                let entered = runtime.enter();
                let endpoint = endpoint(Some(config))?;
                drop(entered);
                Ok((runtime, endpoint))
            });
            match started {
                Ok((runtime, endpoint)) => {
                    let address = endpoint.local_addr().map_err(BenchError::from);
                    if tell.send(address).is_ok() {
                        runtime.block_on(accept(endpoint, keeper));
                    }
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        })?;
    let address = told.recv().map_err(BenchError::from)??;
    Ok(RawServer {
        address,
        spki,
        packets,
    })
}

/// What the keeper is handed.
enum Part {
    Bytes(Vec<u8>),
    /// The upload has ended; told when it is on the disk.
    End(oneshot::Sender<std::io::Result<()>>),
}

/// Hashes every piece, writes, and syncs at the end of each upload, which has made the file anew.
fn keep(mut parts: mpsc::Receiver<Part>, path: Option<&Path>) {
    let mut file = None;
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Bytes(bytes) => {
                let open = || match path {
                    Some(path) => File::create(path),
                    None => Err(std::io::Error::other("nothing is kept here")),
                };
                let kept = file.get_or_insert_with(open);
                for piece in bytes.chunks(PIECE_BYTES) {
                    std::hint::black_box(blake3::hash(piece));
                }
                if let Ok(to) = kept
                    && let Err(error) = to.write_all(&bytes)
                {
                    *kept = Err(error);
                }
            }
            Part::End(tell) => {
                let synced = match file.take() {
                    Some(kept) => kept.and_then(|file| file.sync_data()),
                    None => Ok(()),
                };
                // Whoever asked may be gone.
                let _ = tell.send(synced);
            }
        }
    }
}

async fn accept(endpoint: quinn::Endpoint, keeper: mpsc::Sender<Part>) {
    while let Some(incoming) = endpoint.accept().await {
        let keeper = keeper.clone();
        tokio::spawn(async move {
            let connection = incoming.await?;
            loop {
                let (send, receive) = connection.accept_bi().await?;
                tokio::spawn(answer(send, receive, keeper.clone()));
            }
            #[expect(unreachable_code, reason = "gives the block its error type")]
            Ok::<(), quinn::ConnectionError>(())
        });
    }
}

async fn answer(
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    keeper: mpsc::Sender<Part>,
) -> Result<(), BenchError> {
    let mut kind = [0; 1];
    receive.read_exact(&mut kind).await?;
    if kind == *b"e" {
        let mut message = [0; 64];
        while receive.read_exact(&mut message).await.is_ok() {
            send.write_all(&message).await?;
        }
        return Ok(());
    }
    if kind == *b"k" {
        let mut part = Vec::with_capacity(PART_BYTES);
        while let Some(chunk) = receive.read_chunk(PART_BYTES - part.len(), true).await? {
            part.extend_from_slice(&chunk.bytes);
            if part.len() == PART_BYTES {
                let full = std::mem::replace(&mut part, Vec::with_capacity(PART_BYTES));
                keeper.send(Part::Bytes(full)).await?;
            }
        }
        keeper.send(Part::Bytes(part)).await?;
        let (tell, told) = oneshot::channel();
        keeper.send(Part::End(tell)).await?;
        told.await??;
    } else {
        while receive.read_chunk(usize::MAX, true).await?.is_some() {}
    }
    send.write_all(&[1]).await?;
    send.finish()?;
    Ok(())
}

/// A connection to a raw server, driven by the caller's runtime.
#[derive(Debug)]
pub(crate) struct RawClient {
    connection: quinn::Connection,
    /// Kept: the endpoint drives the connection.
    _endpoint: quinn::Endpoint,
}

impl RawClient {
    pub(crate) async fn connect(server: &RawServer) -> Result<Self, BenchError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let pinned = Arc::new(Pinned {
            spki: server.spki.clone(),
            algorithms,
        });
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(pinned)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(transport(server.packets)?);
        let endpoint = endpoint(None)?;
        let connection = endpoint
            .connect_with(config, server.address, "raw")?
            .await?;
        Ok(Self {
            connection,
            _endpoint: endpoint,
        })
    }

    /// Round-trip times of `count` echoes of 64 bytes on one stream, in nanoseconds.
    pub(crate) async fn echo(&self, count: usize) -> Result<Vec<f64>, BenchError> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(b"e").await?;
        let mut message = [5; 64];
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            send.write_all(&message).await?;
            receive.read_exact(&mut message).await?;
            times.push(start.elapsed().as_nanos() as f64);
        }
        Ok(times)
    }

    /// How long `bytes` take to the server, its last acknowledgement included.
    pub(crate) async fn upload(&self, bytes: u64) -> Result<Duration, BenchError> {
        let chunk = bytes::Bytes::from(vec![9; 256 << 10]);
        let (mut send, mut receive) = self.connection.open_bi().await?;
        let start = Instant::now();
        send.write_all(b"u").await?;
        let mut left = bytes;
        while left > 0 {
            let take = left.min(chunk.len() as u64);
            send.write_chunk(chunk.slice(..take as usize)).await?;
            left -= take;
        }
        send.finish()?;
        receive.read_exact(&mut [0; 1]).await?;
        Ok(start.elapsed())
    }

    /// How long a file takes to the server's disk: read here, hashed, written and synced there.
    pub(crate) async fn upload_file(&self, path: &Path) -> Result<Duration, BenchError> {
        let start = Instant::now();
        let mut file = File::open(path)?;
        let (to, mut from) = mpsc::channel::<std::io::Result<bytes::Bytes>>(PARTS_AHEAD);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut part = Vec::with_capacity(PART_BYTES);
                let read = (&mut file).take(PART_BYTES as u64).read_to_end(&mut part);
                let (part, last) = match read {
                    Ok(0) => return,
                    Ok(_) => (Ok(part.into()), false),
                    Err(error) => (Err(error), true),
                };
                if to.blocking_send(part).is_err() || last {
                    return;
                }
            }
        });
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(b"k").await?;
        while let Some(part) = from.recv().await {
            send.write_chunk(part?).await?;
        }
        send.finish()?;
        receive.read_exact(&mut [0; 1]).await?;
        Ok(start.elapsed())
    }
}
