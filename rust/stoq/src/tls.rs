//! TLS 1.3 with raw Ed25519 public keys (RFC 7250, RFC 8410) on both sides, and the QUIC settings.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use hypermesh_id::NodeId;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::config::Limits;
use crate::error::StoqError;
use crate::tell::STREAMS_MAX;

const ALPN: &[u8] = b"stoq/1";
/// The same, and blocks may travel as deltas. Whoever speaks it speaks the other one as well, and the handshake finds out
/// which of them both sides do: no peer ever sees a frame that it does not know.
const ALPN_DELTAS: &[u8] = b"stoq/1.1";
/// The same, and the answer to JOIN names the mesh. Whether the other side listens to what is told, the handshake says by
/// itself: it is how many streams of one direction may be opened.
const ALPN_MESH: &[u8] = b"stoq/1.2";
/// The name in the handshake; it says nothing, keys do.
pub(crate) const SERVER_NAME: &str = "stoq";
/// DER of an Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Longest UDP payload that is tried. On loopback and in data centres larger packets cost less; above 9,000 bytes
/// segmentation offload breaks down.
pub const UDP_PAYLOAD_MAX: u16 = 6_000;

/// The node whose key this is.
fn node_of(spki: &[u8]) -> Option<NodeId> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(NodeId)
}

/// The node at the other end: whose key the handshake has proved.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    node_of(identity.first()?.as_ref())
}

/// Whether blocks may travel as deltas on the connection. In `stoq/1.2` one that makes none answers with whole blocks.
pub(crate) fn speaks_deltas(connection: &quinn::Connection) -> bool {
    speaks(connection, &[ALPN_DELTAS, ALPN_MESH])
}

/// Whether the answer to JOIN may name the mesh.
pub(crate) fn speaks_mesh(connection: &quinn::Connection) -> bool {
    speaks(connection, &[ALPN_MESH])
}

fn speaks(connection: &quinn::Connection, any: &[&[u8]]) -> bool {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let spoken = data.and_then(|data| data.protocol);
    spoken.is_some_and(|spoken| any.contains(&&spoken[..]))
}

/// Verifies that the other side has the key that it shows; and which key, where one is expected.
#[derive(Debug)]
struct Verifier {
    expected: Option<NodeId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check(&self, spki: &[u8]) -> Result<(), rustls::Error> {
        let found = node_of(spki)
            .ok_or_else(|| rustls::Error::General("the key is not an Ed25519 key".into()))?;
        match self.expected {
            Some(expected) if expected != found => Err(rustls::Error::General(format!(
                "another node answers there: {found}"
            ))),
            _ => Ok(()),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(key).map(|()| ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, key, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    /// Any key is let in this far; what it may do is decided once it is known.
    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(key).map(|()| ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, key, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The node's key in the forms that TLS wants, and the settings of its connections.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    transport: Arc<quinn::TransportConfig>,
    /// What is spoken, the preferred one first.
    protocols: Vec<Vec<u8>>,
}

fn wrong(error: impl std::fmt::Display) -> StoqError {
    StoqError::Tls(error.to_string())
}

impl Tls {
    pub(crate) fn new(key: &SigningKey, limits: &Limits, hears: bool) -> Result<Self, StoqError> {
        let pkcs8 = key.to_pkcs8_der().map_err(wrong)?;
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_bytes().to_vec());
        let signer = rustls::crypto::ring::sign::any_eddsa_type(&der).map_err(wrong)?;
        let spki = signer
            .public_key()
            .ok_or_else(|| wrong("it has no public part"))?;
        let chain = vec![CertificateDer::from(spki.as_ref().to_vec())];
        Ok(Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            key: Arc::new(CertifiedKey::new(chain, signer)),
            transport: Arc::new(transport(limits, hears)?),
            protocols: if limits.deltas {
                vec![ALPN_MESH.to_vec(), ALPN_DELTAS.to_vec(), ALPN.to_vec()]
            } else {
                vec![ALPN_MESH.to_vec(), ALPN.to_vec()]
            },
        })
    }

    fn verifier(&self, expected: Option<NodeId>) -> Arc<Verifier> {
        Arc::new(Verifier {
            expected,
            algorithms: self.provider.signature_verification_algorithms,
        })
    }

    /// For those who dial us.
    pub(crate) fn server(&self) -> Result<quinn::ServerConfig, StoqError> {
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_client_cert_verifier(self.verifier(None))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&self.key),
            )));
        tls.alpn_protocols.clone_from(&self.protocols);
        // No tickets: a session must not outlive a membership, and nothing is sent before the handshake ends.
        tls.send_tls13_tickets = 0;
        let crypto = QuicServerConfig::try_from(tls).map_err(wrong)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.transport));
        Ok(config)
    }

    /// For dialling that node and no other.
    pub(crate) fn client(&self, expected: NodeId) -> Result<quinn::ClientConfig, StoqError> {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(Some(expected)))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.key),
            )));
        tls.alpn_protocols.clone_from(&self.protocols);
        let crypto = QuicClientConfig::try_from(tls).map_err(wrong)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.transport));
        Ok(config)
    }
}

fn transport(limits: &Limits, hears: bool) -> Result<quinn::TransportConfig, StoqError> {
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(UDP_PAYLOAD_MAX);
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(Some(limits.idle_time.try_into().map_err(wrong)?))
        .keep_alive_interval(Some((limits.idle_time / 3).max(Duration::from_millis(100))))
        // What 100 ms at 1 Gbit/s needs; a peer can make us hold this much, not more.
        .send_window(16 << 20)
        .receive_window((16u32 << 20).into())
        .stream_receive_window((8u32 << 20).into())
        .max_concurrent_bidi_streams(limits.streams_per_peer.into())
        .max_concurrent_uni_streams(if hears { STREAMS_MAX } else { 0 }.into())
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(mtu));
    Ok(transport)
}
