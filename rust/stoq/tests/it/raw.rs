//! A QUIC connection with a node's key and nothing of the protocol above it.

use std::net::SocketAddr;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use hypermesh_id::NodeId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use stoq_proto::{FRAME_HEADER_BYTES, Frame, Message};

/// The key of a test's node.
pub(crate) fn key(seed: u32) -> SigningKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    SigningKey::from_bytes(&bytes)
}

/// The node of that key.
pub(crate) fn node(seed: u32) -> NodeId {
    NodeId(key(seed).verifying_key().to_bytes())
}

#[derive(Debug)]
struct Anyone;
impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("only TLS 1.3 is offered")
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("only TLS 1.3 is offered")
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, key, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn certified(seed: u32) -> Arc<CertifiedKey> {
    let der = key(seed).to_pkcs8_der().unwrap();
    let signer = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(
        der.as_bytes().to_vec(),
    ))
    .unwrap();
    let chain = vec![CertificateDer::from(
        signer.public_key().unwrap().as_ref().to_vec(),
    )];
    Arc::new(CertifiedKey::new(chain, signer))
}

/// How to dial with that key.
pub(crate) fn caller(seed: u32) -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(Arc::new(
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(certified(seed)),
        ));
    tls.alpn_protocols = vec![b"stoq/1".to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Dials a node with that key.
pub(crate) async fn dial(seed: u32, to: SocketAddr) -> (quinn::Endpoint, quinn::Connection) {
    let endpoint = quinn::Endpoint::client("[::1]:0".parse().unwrap()).unwrap();
    let connection = endpoint
        .connect_with(caller(seed), to, "stoq")
        .unwrap()
        .await
        .unwrap();
    (endpoint, connection)
}

/// Listens with that key, and speaks what is newest.
pub(crate) fn listen(seed: u32) -> quinn::Endpoint {
    listen_speaking(seed, &[b"stoq/1.2", b"stoq/1.1", b"stoq/1"])
}

pub(crate) fn listen_speaking(seed: u32, protocols: &[&[u8]]) -> quinn::Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_cert_resolver(Arc::new(
            rustls::server::AlwaysResolvesServerRawPublicKeys::new(certified(seed)),
        ));
    tls.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    let config =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    quinn::Endpoint::server(config, "[::1]:0".parse().unwrap()).unwrap()
}

pub(crate) async fn read(receive: &mut quinn::RecvStream) -> Option<Message> {
    let mut header = [0; FRAME_HEADER_BYTES];
    receive.read_exact(&mut header).await.ok()?;
    let frame = Frame::decode(header).ok()?;
    let mut body = vec![0; frame.length as usize];
    receive.read_exact(&mut body).await.ok()?;
    Message::decode(frame.kind, body.into()).ok()
}

pub(crate) fn bytes(message: &Message) -> Vec<u8> {
    let (head, tail) = message.encode();
    [&head[..], &tail[..]].concat()
}

pub(crate) async fn ask(connection: &quinn::Connection, request: &[u8]) -> Option<Message> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(request).await.ok()?;
    send.finish().ok()?;
    read(&mut receive).await
}
