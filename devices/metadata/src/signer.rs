//! The key and certificate that sign identity documents, in place of AWS's: made at first use, kept in one file.
//!
//! AWS signs pkcs7 with DSA and rsa2048 with RSA; here one RSA-2048 key signs all three forms, and one certificate
//! verifies them.

use crate::tree::Form;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::builder::{SignedDataBuilder, SignerInfoBuilder};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::signed_data::{EncapsulatedContentInfo, SignerIdentifier};
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::{Signature, SigningKey};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::rand_core::{OsRng, RngCore as _};
use rsa::sha2::Sha256;
use rsa::signature::{Keypair as _, SignatureEncoding as _, Signer as _};
use std::error::Error;
use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;
use thiserror::Error as ThisError;
use x509_cert::Certificate;
use x509_cert::builder::{Builder as _, CertificateBuilder, Profile};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Any, DecodePem as _, Encode as _, EncodePem as _, Tag};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Validity;

/// Key and certificate, for the owner alone.
const FILE: &str = "identity.pem";
const BITS: usize = 2048;
const YEARS: Duration = Duration::from_secs(20 * 365 * 86400);
const SUBJECT: &str = "CN=ami-run instance identity of this computer,O=ami-run";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// What EC2's base64 is wrapped at.
const COLUMNS: usize = 76;

/// RFC 5911 id-data, and FIPS 180's SHA-256.
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

#[derive(Debug, ThisError)]
pub enum SignerError {
    #[error("cannot read or make {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The file was changed by somebody else, or cut short.
    #[error("{} holds no key and certificate of identity documents: remove it, and new ones are made", path.display())]
    Damaged { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error("the identity document cannot be signed: {0}")]
    Sign(String),
}

/// One identity document's, in all forms.
#[derive(Clone, Debug)]
pub struct Signatures(pub(crate) Vec<(Form, String)>);

/// Signs identity documents.
pub struct Signer {
    key: SigningKey<Sha256>,
    certificate: Certificate,
    pem: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("certificate", &self.pem).finish_non_exhaustive()
    }
}

impl Signer {
    /// The signer of this folder; at first use the folder and the file are made, which takes part of a second.
    pub fn open(folder: &Path) -> Result<Signer, SignerError> {
        let path = folder.join(FILE);
        let cannot = |source| SignerError::Io { path: path.clone(), source };
        let text = match std::fs::read_to_string(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                let new = make().map_err(|cause| SignerError::Sign(cause.to_string()))?;
                keep(&new, folder, &path).map_err(cannot)?
            }
            other => other.map_err(cannot)?,
        };
        parse(&text).map_err(|source| SignerError::Damaged { path, source })
    }

    /// The certificate in PEM, for who verifies the documents.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// In all forms.
    pub fn sign_all(&self, document: &str) -> Result<Signatures, SignerError> {
        let forms = [Form::Signature, Form::Pkcs7, Form::Rsa2048].into_iter();
        let signed = forms.map(|form| self.sign(document.as_bytes(), form).map(|signed| (form, signed)));
        signed.collect::<Result<_, _>>().map(Signatures)
    }

    pub(crate) fn sign(&self, document: &[u8], form: Form) -> Result<String, SignerError> {
        let cannot = |cause: &dyn fmt::Display| SignerError::Sign(cause.to_string());
        let signed = match form {
            Form::Signature => self.key.try_sign(document).map_err(|cause| cannot(&cause))?.to_vec(),
            Form::Pkcs7 | Form::Rsa2048 => self.pkcs7(document).map_err(|cause| cannot(&cause))?,
        };
        Ok(wrapped(&STANDARD.encode(signed)))
    }

    /// SignedData with the document in it (RFC 5652).
    fn pkcs7(&self, document: &[u8]) -> Result<Vec<u8>, cms::builder::Error> {
        let data = Any::new(Tag::OctetString, document)?;
        let content = EncapsulatedContentInfo { econtent_type: DATA, econtent: Some(data) };
        let digest = AlgorithmIdentifierOwned { oid: SHA_256, parameters: None };
        let tbs = &self.certificate.tbs_certificate;
        let who = SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: tbs.issuer.clone(),
            serial_number: tbs.serial_number.clone(),
        });
        let info = SignerInfoBuilder::new(&self.key, who, digest.clone(), &content, None)?;
        let signed = SignedDataBuilder::new(&content)
            .add_digest_algorithm(digest)?
            .add_certificate(CertificateChoices::Certificate(self.certificate.clone()))?
            .add_signer_info::<SigningKey<Sha256>, Signature>(info)?
            .build()?;
        Ok(signed.to_der()?)
    }
}

fn wrapped(base64: &str) -> String {
    let lines = base64.as_bytes().chunks(COLUMNS).map(String::from_utf8_lossy);
    lines.collect::<Vec<_>>().join("\n")
}

/// A new key and its certificate, in PEM.
fn make() -> Result<String, Box<dyn Error + Send + Sync>> {
    let key = SigningKey::<Sha256>::new(RsaPrivateKey::new(&mut OsRng, BITS)?);
    let mut serial = [0; 16];
    OsRng.try_fill_bytes(&mut serial)?;
    // A serial number is positive, and not 0.
    let serial: Vec<u8> = [1].into_iter().chain(serial).collect();
    let public = SubjectPublicKeyInfoOwned::from_key(key.verifying_key())?;
    let (serial, validity) = (SerialNumber::new(&serial)?, Validity::from_now(YEARS)?);
    let name = Name::from_str(SUBJECT)?;
    let builder = CertificateBuilder::new(Profile::Root, serial, validity, name, public, &key)?;
    let certificate = builder.build::<Signature>()?.to_pem(LineEnding::LF)?;
    let private: RsaPrivateKey = key.into();
    Ok(format!("{}{certificate}", private.to_pkcs8_pem(LineEnding::LF)?.as_str()))
}

/// Writes the file as a whole. If somebody else was first, theirs is the one.
fn keep(new: &str, folder: &Path, path: &Path) -> io::Result<String> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(new.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(new.to_owned()),
        Err(cause) if cause.error.kind() == ErrorKind::AlreadyExists => std::fs::read_to_string(path),
        Err(cause) => Err(cause.error),
    }
}

fn parse(text: &str) -> Result<Signer, Box<dyn Error + Send + Sync>> {
    let (key, _) = text.split_once(CERTIFICATE).ok_or("it has no certificate")?;
    let pem = text.strip_prefix(key).unwrap_or_default();
    let key = SigningKey::new(RsaPrivateKey::from_pkcs8_pem(key)?);
    let certificate = Certificate::from_pem(pem)?;
    let public = key.verifying_key().to_public_key_der()?;
    if certificate.tbs_certificate.subject_public_key_info.to_der()? != public.as_bytes() {
        return Err("the certificate is of another key".into());
    }
    Ok(Signer { key, certificate, pem: pem.to_owned() })
}
