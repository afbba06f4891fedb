//! TLS: a certificate and its key, from files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// Where certificate and key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by those that lead to one that clients know.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let named = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let certificate = |why: &dyn std::fmt::Display| named(&self.certificate, why);
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(|why| certificate(&why))?;
        let chain: Vec<CertificateDer<'static>> =
            chain.collect::<Result<_, _>>().map_err(|why| certificate(&why))?;
        if chain.is_empty() {
            return Err(certificate(&"has no certificate in PEM"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|why| named(&self.key, &why))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|why| why.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|why| certificate(&why))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
