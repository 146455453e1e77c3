//! TLS to the server, as libpq's `sslmode` and `sslrootcert` say it.
use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::OpenError;

/// How much is known of the server that is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Nothing: what is sent cannot be overheard, but whoever sits in between can pretend to be the server.
    None,
    /// Its certificate was issued by an authority that we trust, for whatever name.
    Authority,
    /// And it is for the name in the URL.
    Name,
}

/// What the URL says of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Whether the driver asks for TLS.
    pub mode: SslMode,
    trust: Trust,
    /// Of a file with the authorities' certificates (PEM); `None`: the system's.
    roots: Option<String>,
}

impl Wish {
    /// Without `sslmode` nothing is encrypted: who wants that says so. As in libpq, `require` with a root certificate is
    /// `verify-ca`.
    pub fn new(mode: Option<&str>, roots: Option<&str>) -> Result<Wish, OpenError> {
        let (mode, trust) = match mode {
            None | Some("disable") => (SslMode::Disable, Trust::None),
            Some("prefer") => (SslMode::Prefer, Trust::None),
            Some("require") if roots.is_none() => (SslMode::Require, Trust::None),
            Some("require" | "verify-ca") => (SslMode::Require, Trust::Authority),
            Some("verify-full") => (SslMode::Require, Trust::Name),
            Some(other) => {
                return Err(OpenError::Url(format!(
                    "sslmode is disable, prefer, require, verify-ca or verify-full, not {other:?}"
                )));
            }
        };
        if roots.is_some() && trust == Trust::None {
            return Err(OpenError::Url(
                "it names an sslrootcert, but its sslmode checks no certificate: write sslmode=verify-full".into(),
            ));
        }
        Ok(Wish {
            mode,
            trust,
            roots: roots.map(str::to_owned),
        })
    }

    /// Reads the certificates; asks nobody.
    pub fn connector(&self) -> Result<MakeRustlsConnect, OpenError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.trust {
            Trust::None => Arc::new(Lenient {
                checks: None,
                provider: provider.clone(),
            }),
            Trust::Authority => Arc::new(Lenient {
                checks: Some(self.verifier(&provider)?),
                provider: provider.clone(),
            }),
            Trust::Name => self.verifier(&provider)?,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| OpenError::Failed(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<WebPkiServerVerifier>, OpenError> {
        let roots = match &self.roots {
            Some(path) => roots_of(path)?,
            None => system_roots()?,
        };
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|e| OpenError::Failed(e.to_string()))
    }
}

fn roots_of(path: &str) -> Result<RootCertStore, OpenError> {
    let cannot = |problem: String| {
        OpenError::Url(format!(
            "sslrootcert {path} is no file of certificates (PEM): {problem}"
        ))
    };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|e| cannot(e.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|e| cannot(e.to_string()))?;
        roots.add(certificate).map_err(|e| cannot(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(cannot("it has none".into()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, OpenError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(OpenError::Failed(
            "this system has no trusted certificates: install ca-certificates, or name a file with sslrootcert".into(),
        ));
    }
    Ok(roots)
}

/// Checks less than names: the issuer only, or nothing. That the server has the key of the certificate that it shows is
/// checked in any case.
#[derive(Debug)]
struct Lenient {
    /// `None`: any certificate is taken.
    checks: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(checks) = &self.checks else {
            return Ok(ServerCertVerified::assertion());
        };
        match checks.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last: all else was good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_mean_what_libpq_means() {
        let wish = |mode, roots| Wish::new(mode, roots).map(|w| (w.mode, w.trust));
        assert_eq!(wish(None, None).unwrap(), (SslMode::Disable, Trust::None));
        let require = Some("require");
        assert_eq!(
            wish(require, None).unwrap(),
            (SslMode::Require, Trust::None)
        );
        let with_root = wish(require, Some("ca.crt")).unwrap();
        assert_eq!(with_root, (SslMode::Require, Trust::Authority));
        let full = wish(Some("verify-full"), None).unwrap();
        assert_eq!(full, (SslMode::Require, Trust::Name));
        assert!(wish(Some("verify"), None).is_err());
        assert!(
            wish(None, Some("ca.crt")).is_err(),
            "nothing would be checked"
        );
    }

    #[test]
    fn a_file_without_certificates_is_told() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("ca.crt");
        std::fs::write(&path, "nothing").unwrap();
        for path in [path.to_str().unwrap(), "/nowhere/ca.crt"] {
            let wish = Wish::new(Some("verify-full"), Some(path)).unwrap();
            let error = wish.connector().map(drop).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
