//! `check tls`, `check https`, `expect … tls`: the client side of a handshake.
//! Owns the one TLS configuration of all checks.
//! Must never be used for anything but checks: it believes every certificate, as the original's checks do.

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Makes TLS connections to hosts.
#[derive(Clone)]
pub struct Client(TlsConnector);

impl Client {
    /// The configuration of checks: no server name, no verification, no resumption.
    ///
    /// # Errors
    /// The cryptography library supports no protocol version that we do.
    pub fn new() -> Result<Client, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anything = Arc::new(Anything(Arc::clone(&provider)));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(anything)
            .with_no_client_auth();
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Client(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands over an established connection.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let address: IpAddr = stream.peer_addr()?.ip();
        self.0
            .connect(ServerName::IpAddress(address.into()), stream)
            .await
    }
}

/// Believes every certificate. Not even its form matters: appliances present version 1 certificates.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
