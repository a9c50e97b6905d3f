//! QUIC and TLS: who may speak to whom, and how much a stranger may cost.
//!
//! Both sides show an Ed25519 raw public key (RFC 7250) in TLS 1.3; there are no certificates and so
//! no expiry dates. A dialler pins the key of the relay it wants. An acceptor takes any Ed25519 key
//! and hands it on as a [`DeviceKey`]: whether that device is a member is the session's question.
//! Early data, tickets, datagrams and server names are off.

use cairn_keys::device::{self, DeviceSecret, Domain};
use cairn_wire::{DeviceKey, hash, limits};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{IdleTimeout, TransportConfig, ValidationTokenConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerMisbehaved, SignatureScheme,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The protocol as TLS negotiates it.
pub const ALPN: &[u8] = b"cairn/1";
/// Asked for by QUIC's interface and never sent: SNI is off.
const SERVER_NAME: &str = "cairn";

/// Why no endpoint was made. Ours or the operator's fault, never a peer's.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be listened on or no socket can be had.
    #[error("cannot use the address {address}: {source}")]
    Socket {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The device's key does not load, or TLS cannot be set up with it.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The TLS library lacks the cipher that QUIC begins with.
    #[error(transparent)]
    Cipher(#[from] NoInitialCipherSuite),
    /// A time that QUIC cannot express.
    #[error("an idle time of {0:?} is longer than QUIC can express")]
    Idle(Duration),
}

/// How patient an endpoint is. The defaults fit satellites; tests shorten them.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// A connection on which nothing was heard for so long is dead.
    pub idle: Duration,
    /// How often a quiet connection is kept alive, by both sides.
    pub keep_alive: Duration,
    /// How long a peer may take until its first whole frame.
    pub handshake: Duration,
    /// How long a peer may take to finish a frame it began, or to read anything of what waits for it.
    pub stall: Duration,
    /// First guess of the round trip time; loopback addresses use a small one of their own.
    pub initial_rtt: Duration,
    /// Look for datagrams larger than 1,200 bytes. Costs probes, so it is off on metered links.
    pub mtu_discovery: bool,
    /// Half-open connections above which a stranger must first prove its address.
    pub half_open_before_retry: usize,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            keep_alive: Duration::from_secs(25),
            handshake: Duration::from_secs(15),
            stall: Duration::from_secs(600),
            initial_rtt: Duration::from_millis(600),
            mtu_discovery: false,
            half_open_before_retry: 64,
        }
    }
}

impl NetworkOptions {
    /// All limits of a connection to or from `remote`, in one place.
    pub(crate) fn transport(&self, remote: IpAddr) -> Result<Arc<TransportConfig>, EndpointError> {
        let idle = IdleTimeout::try_from(self.idle).map_err(|_| EndpointError::Idle(self.idle))?;
        let mut config = TransportConfig::default();
        config
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(self.keep_alive))
            .initial_rtt(if remote.to_canonical().is_loopback() {
                LOOPBACK_INITIAL_RTT.min(self.initial_rtt)
            } else {
                self.initial_rtt
            })
            .receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW_BYTES))
            .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW_BYTES))
            .send_window(u64::from(limits::SEND_WINDOW_BYTES))
            .max_concurrent_bidi_streams(VarInt::from_u32(limits::STREAMS_MAX))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None);
        if !self.mtu_discovery {
            config.mtu_discovery_config(None);
        }
        Ok(Arc::new(config))
    }
}

/// A loopback peer answers within this time, so that lost packets are noticed at once.
const LOOPBACK_INITIAL_RTT: Duration = Duration::from_millis(20);

/// The key that this side shows in TLS.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    device: DeviceKey,
    reset: Arc<ResetKey>,
}

impl Identity {
    /// From the device's secret; the TLS library keeps a copy of the signing key.
    pub fn new(secret: &DeviceSecret) -> Result<Self, EndpointError> {
        let provider = Arc::new(ring::default_provider());
        let pkcs8 = secret.pkcs8();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let signing = ring::sign::any_eddsa_type(match &private {
            PrivateKeyDer::Pkcs8(key) => key,
            _ => return Err(rustls::Error::General("not a PKCS#8 key".into()).into()),
        })?;
        let device = secret.device();
        let public = CertificateDer::from(device::spki(&device).to_vec());
        Ok(Self {
            key: Arc::new(CertifiedKey::new(vec![public], signing)),
            provider,
            device,
            reset: Arc::new(ResetKey::new(secret)),
        })
    }

    /// The device this identity shows.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        self.device
    }

    fn client(&self, pinned: Arc<PinnedKey>) -> Result<rustls::ClientConfig, EndpointError> {
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key));
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(pinned)
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }

    fn server(&self) -> Result<rustls::ServerConfig, EndpointError> {
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key));
        let verifier = AnyDeviceKey {
            provider: Arc::clone(&self.provider),
        };
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity(of {:?})", self.device)
    }
}

/// With what an acceptor tells peers of connections that it does not know any more that it has been
/// restarted (RFC 9000, stateless reset), so that they dial again at once instead of waiting for their
/// idle timeout. Derived from the device's secret: the same after every restart.
struct ResetKey([u8; 64]);

impl ResetKey {
    const DOMAIN: Domain = Domain::new(b"cairn stateless reset key v1\0");

    fn new(secret: &DeviceSecret) -> Self {
        // Ed25519 signs the same bytes with the same signature; nobody ever sees this one.
        Self(secret.sign(Self::DOMAIN, b""))
    }

    fn endpoint(self: &Arc<Self>) -> quinn::EndpointConfig {
        let mut config = quinn::EndpointConfig::new(Arc::clone(self) as Arc<dyn HmacKey>);
        let mut key = [0; 8];
        key.copy_from_slice(&self.tag(b"connection ids")[..8]);
        let key = u64::from_be_bytes(key);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config
    }

    /// BLAKE3 is no Merkle–Damgård hash: the key before the data makes a MAC.
    fn tag(&self, data: &[u8]) -> [u8; 32] {
        hash::derive(RESET_CONTEXT, &[&self.0, data])
    }
}

const RESET_CONTEXT: &str = "cairn 2026 stateless reset v1";

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let tag = self.tag(data);
        let length = signature_out.len().min(tag.len());
        signature_out[..length].copy_from_slice(&tag[..length]);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Quinn only ever makes tokens with this key; peers compare them.
        if self.tag(data) == *signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) server: quinn::ServerConfig,
    pub(crate) options: NetworkOptions,
}

impl Listener {
    /// Listens on `address` (IPv4, IPv6, or both through an unspecified IPv6 address).
    pub fn bind(
        identity: &Identity,
        address: SocketAddr,
        options: NetworkOptions,
    ) -> Result<Self, EndpointError> {
        let crypto = QuicServerConfig::try_from(identity.server()?)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut no_tokens = ValidationTokenConfig::default();
        no_tokens.sent(0);
        server
            .transport_config(options.transport(IpAddr::V6(Ipv6Addr::UNSPECIFIED))?)
            .validation_token_config(no_tokens)
            .max_incoming(limits::INCOMING_MAX)
            .incoming_buffer_size(limits::INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(limits::INCOMING_BYTES_TOTAL_MAX);
        let socket_error = |source| EndpointError::Socket { address, source };
        let socket = std::net::UdpSocket::bind(address).map_err(socket_error)?;
        let endpoint = quinn::Endpoint::new(
            identity.reset.endpoint(),
            Some(server.clone()),
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(socket_error)?;
        Ok(Self {
            endpoint,
            server,
            options,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The configuration for a connection from `remote`.
    pub(crate) fn config_for(&self, remote: IpAddr) -> Option<Arc<quinn::ServerConfig>> {
        let mut server = self.server.clone();
        server.transport_config(self.options.transport(remote).ok()?);
        Some(Arc::new(server))
    }
}

/// Why a dialled address gave no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the peer shows another key than the one expected")]
    WrongKey,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Dials `address` from a socket of its own, expecting the peer to prove that it holds `expected`.
pub(crate) async fn connect(
    identity: &Identity,
    address: SocketAddr,
    expected: DeviceKey,
    options: &NetworkOptions,
) -> Result<(quinn::Endpoint, quinn::Connection), ConnectError> {
    let pinned = Arc::new(PinnedKey {
        spki: device::spki(&expected),
        mismatch: AtomicBool::new(false),
        provider: Arc::clone(&identity.provider),
    });
    let crypto = QuicClientConfig::try_from(identity.client(Arc::clone(&pinned))?)
        .map_err(EndpointError::from)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(options.transport(address.ip())?);
    let endpoint = dialling_socket(address)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME)?;
    match tokio::time::timeout(options.handshake, connecting).await {
        Err(_) => Err(ConnectError::Timeout(options.handshake)),
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(_)) if pinned.mismatch.load(Ordering::Relaxed) => Err(ConnectError::WrongKey),
        Ok(Err(error)) => Err(error.into()),
    }
}

fn dialling_socket(to: SocketAddr) -> Result<quinn::Endpoint, EndpointError> {
    let any: IpAddr = match to.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let address = SocketAddr::new(any, 0);
    let socket_error = |source| EndpointError::Socket { address, source };
    let socket = std::net::UdpSocket::bind(address).map_err(socket_error)?;
    quinn::Endpoint::new(
        quinn::EndpointConfig::default(),
        None,
        socket,
        Arc::new(quinn::TokioRuntime),
    )
    .map_err(socket_error)
}

/// The device on the other side of a connection whose handshake is done.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<DeviceKey> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    match keys.as_slice() {
        [key] => device::device_of_spki(key),
        _ => None,
    }
}

/// Accepts exactly one key.
#[derive(Debug)]
struct PinnedKey {
    spki: [u8; 44],
    mismatch: AtomicBool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.spki && intermediates.is_empty() {
            return Ok(ServerCertVerified::assertion());
        }
        self.mismatch.store(true, Ordering::Relaxed);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts every Ed25519 key.
#[derive(Debug)]
struct AnyDeviceKey {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyDeviceKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if device::device_of_spki(end_entity).is_none() || !intermediates.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    key: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if dss.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(key.as_ref()),
        dss,
        &provider.signature_verification_algorithms,
    )
}

#[cfg(test)]
#[allow(clippy::print_stderr)] // a test that is skipped says so
pub(crate) mod tests {
    use super::*;
    use crate::link::Link;
    use cairn_wire::frame::CloseReason;

    pub(crate) fn secret(seed: u8) -> DeviceSecret {
        DeviceSecret::from_bytes(&[seed; 64])
    }

    /// Patience for tests on loopback.
    pub(crate) fn quick() -> NetworkOptions {
        NetworkOptions {
            idle: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            handshake: Duration::from_secs(5),
            ..NetworkOptions::default()
        }
    }

    async fn accept(listener: &Listener) -> Result<Link, quinn::ConnectionError> {
        let incoming = listener.endpoint.accept().await.unwrap();
        let config = listener.config_for(incoming.remote_address().ip()).unwrap();
        let connection = incoming.accept_with(config)?.await?;
        let peer = peer_of(&connection).unwrap();
        let options = listener.options.clone();
        Ok(Link::new(None, connection, peer, options, None))
    }

    /// Two ends of one connection, the dialler's first.
    pub(crate) async fn pair(options: NetworkOptions) -> (Link, Link) {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener =
            Listener::bind(&Identity::new(&secret(1)).unwrap(), here, options.clone()).unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Identity::new(&secret(2)).unwrap();
        let relay = secret(1).device();
        let (dialled, accepted) = tokio::join!(
            connect(&identity, address, relay, &options),
            accept(&listener)
        );
        let (endpoint, connection) = dialled.unwrap();
        let dialled = Link::new(Some(endpoint), connection, relay, options, None);
        (dialled, accepted.unwrap())
    }

    #[tokio::test]
    async fn both_sides_prove_their_keys_and_share_keying_material() {
        let (dialled, accepted) = pair(quick()).await;
        assert_eq!(peer_of(&dialled.connection), Some(secret(1).device()));
        assert_eq!(accepted.peer, secret(2).device());
        let export = |link: &Link| {
            let mut salt = [0; 8];
            link.connection
                .export_keying_material(&mut salt, b"label", &[])
                .unwrap();
            salt
        };
        assert_eq!(export(&dialled), export(&accepted));
        assert_ne!(export(&dialled), [0; 8]);
    }

    #[tokio::test]
    async fn another_key_than_the_pinned_one_is_told_apart() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = Identity::new(&secret(1)).unwrap();
        let listener = Listener::bind(&relay, here, quick()).unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Identity::new(&secret(2)).unwrap();
        let (dialled, accepted) = tokio::join!(
            async {
                let expected = secret(3).device();
                connect(&identity, address, expected, &quick()).await
            },
            accept(&listener)
        );
        assert!(matches!(dialled, Err(ConnectError::WrongKey)));
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn ipv6_works_and_nobody_there_is_a_timeout() {
        let here = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let relay = Identity::new(&secret(1)).unwrap();
        let Ok(listener) = Listener::bind(&relay, here, quick()) else {
            eprintln!("SKIPPED: this machine has no IPv6");
            return;
        };
        let address = listener.local_addr().unwrap();
        let identity = Identity::new(&secret(2)).unwrap();
        let expected = secret(1).device();
        let options = quick();
        let (dialled, accepted) = tokio::join!(
            connect(&identity, address, expected, &options),
            accept(&listener)
        );
        let (_endpoint, connection) = dialled.unwrap();
        connection.close((CloseReason::Done as u32).into(), b"");
        drop(accepted);

        let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let impatient = NetworkOptions {
            handshake: Duration::from_millis(100),
            ..quick()
        };
        let address = silent.local_addr().unwrap();
        let nobody = connect(&identity, address, expected, &impatient).await;
        assert!(matches!(nobody, Err(ConnectError::Timeout(_))));
    }

    #[tokio::test]
    async fn a_client_of_another_protocol_or_without_a_key_is_refused() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = Identity::new(&secret(1)).unwrap();
        let listener = Listener::bind(&relay, here, quick()).unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Identity::new(&secret(2)).unwrap();
        let pinned = || {
            Arc::new(PinnedKey {
                spki: device::spki(&secret(1).device()),
                mismatch: AtomicBool::new(false),
                provider: Arc::clone(&identity.provider),
            })
        };
        let mut other_protocol = identity.client(pinned()).unwrap();
        other_protocol.alpn_protocols = vec![b"h3".to_vec()];
        let mut without_key =
            rustls::ClientConfig::builder_with_provider(Arc::clone(&identity.provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(pinned())
                .with_no_client_auth();
        without_key.alpn_protocols = vec![ALPN.to_vec()];
        for config in [other_protocol, without_key] {
            let crypto = QuicClientConfig::try_from(config).unwrap();
            let mut config = quinn::ClientConfig::new(Arc::new(crypto));
            config.transport_config(quick().transport(address.ip()).unwrap());
            let endpoint = dialling_socket(address).unwrap();
            let connecting = endpoint.connect_with(config, address, SERVER_NAME).unwrap();
            let (dialled, accepted) = tokio::join!(connecting, accept(&listener));
            assert!(accepted.is_err());
            // Without a key the client may believe that it is connected until its first read.
            if let Ok(connection) = dialled {
                assert!(connection.accept_bi().await.is_err());
            }
        }
    }
}
