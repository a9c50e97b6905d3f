//! A device's own keys: Ed25519 says who it is, X25519 receives scope keys. Neither ever leaves it.

use crate::sealing::{ScopeKey, SealError};
use cairn_wire::{DeviceKey, Entry, EntryError, EntryHeader};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Length of a device's secret as a key file holds it: Ed25519 seed, then X25519 secret.
pub const DEVICE_SECRET_BYTES: usize = 64;
/// Length of a signature.
pub const SIGNATURE_BYTES: usize = cairn_wire::entry::SIGNATURE_BYTES;

/// `PrivateKeyInfo` of an Ed25519 seed (RFC 8410), without the seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410), without the key.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What stands before bytes when they are signed, so that a signature made for one purpose never
/// serves another. Ends with its only zero byte, so no domain is the beginning of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain(&'static [u8]);

impl Domain {
    /// Entries; the bytes are those of [`cairn_wire::entry::SIGNATURE_DOMAIN`].
    pub const ENTRY: Self = Self::new(cairn_wire::entry::SIGNATURE_DOMAIN);
    /// Entries of the authority's log.
    pub const AUTHORITY: Self = Self::new(b"cairn authority entry signature v1\0");
    /// Receipts of a centre.
    pub const RECEIPT: Self = Self::new(b"cairn receipt signature v1\0");

    /// A domain of another object.
    ///
    /// # Panics
    /// When built (so at compile time in a `const`) if `text` does not end with its only zero byte.
    #[must_use]
    pub const fn new(text: &'static [u8]) -> Self {
        let mut at = 0;
        while at < text.len() {
            let last = at + 1 == text.len();
            assert!(
                last == (text[at] == 0),
                "a domain ends with its only zero byte"
            );
            at += 1;
        }
        assert!(!text.is_empty(), "a domain is not empty");
        Self(text)
    }

    fn before(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + bytes.len());
        out.extend_from_slice(self.0);
        out.extend_from_slice(bytes);
        out
    }
}

/// A signature does not belong to the key and the bytes, or the key is none. The fault of whoever
/// gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not by the key that it names")]
pub struct BadSignature;

/// A device's secret keys. Wiped from memory when dropped; `Debug` shows the public key's beginning.
#[derive(Clone)]
pub struct DeviceSecret {
    signing: SigningKey,
    receiving: StaticSecret,
}

/// What others know of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePublic {
    /// Its Ed25519 key, by which it is known.
    pub device: DeviceKey,
    /// Its X25519 key, to which scope keys are sealed.
    pub x25519: [u8; 32],
}

impl DeviceSecret {
    /// From 64 bytes: fresh random ones make a new device, those of [`Self::to_bytes`] the same.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; DEVICE_SECRET_BYTES]) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        let mut secret = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..]);
        Self {
            signing: SigningKey::from_bytes(&seed),
            receiving: StaticSecret::from(*secret),
        }
    }

    /// What a key file holds.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; DEVICE_SECRET_BYTES]> {
        let mut out = Zeroizing::new([0; DEVICE_SECRET_BYTES]);
        out[..32].copy_from_slice(self.signing.as_bytes());
        out[32..].copy_from_slice(self.receiving.as_bytes());
        out
    }

    /// What others may know.
    #[must_use]
    pub fn public(&self) -> DevicePublic {
        DevicePublic {
            device: self.device(),
            x25519: PublicKey::from(&self.receiving).to_bytes(),
        }
    }

    /// The key by which it is known.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        DeviceKey(self.signing.verifying_key().to_bytes())
    }

    /// Signs `bytes` for one purpose.
    #[must_use]
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        sign(&self.signing, domain, bytes)
    }

    /// The Ed25519 key as PKCS#8 DER (RFC 8410), for TLS with raw public keys.
    #[must_use]
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
        out.extend_from_slice(&PKCS8_PREFIX);
        out.extend_from_slice(self.signing.as_bytes());
        out
    }

    pub(crate) fn receiving(&self) -> &StaticSecret {
        &self.receiving
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSecret(of {:?})", self.device())
    }
}

/// The `SubjectPublicKeyInfo` DER of a device's key, as TLS sends raw public keys (RFC 7250).
#[must_use]
pub fn spki(device: &DeviceKey) -> [u8; 44] {
    let mut out = [0; 44];
    out[..12].copy_from_slice(&SPKI_PREFIX);
    out[12..].copy_from_slice(&device.0);
    out
}

/// The key in a `SubjectPublicKeyInfo` DER; `None` if it is not exactly an Ed25519 key.
#[must_use]
pub fn device_of_spki(spki: &[u8]) -> Option<DeviceKey> {
    DeviceKey::from_slice(spki.strip_prefix(&SPKI_PREFIX)?)
}

/// Verifies a device's signature over `bytes`, strictly (no small-order key, canonical scalar).
pub fn verify(
    device: &DeviceKey,
    domain: Domain,
    bytes: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> Result<(), BadSignature> {
    verify_key(&device.0, domain, bytes, signature)
}

/// Seals `plaintext` under `scope_key` and signs the entry.
///
/// `header` says everything but the key's number and the payload's length, which are filled in
/// here. Fails if the header is not of this device, of that scope, or not well-formed, or if the
/// plaintext is longer than [`crate::sealing::ENTRY_PLAINTEXT_BYTES_MAX`]: all faults of the caller.
pub fn seal_entry(
    secret: &DeviceSecret,
    scope_key: &ScopeKey,
    header: &EntryHeader,
    plaintext: &[u8],
) -> Result<Entry, SealEntryError> {
    if header.log.device != secret.device() {
        return Err(SealEntryError::Device);
    }
    let (header, payload) = crate::sealing::seal_payload(scope_key, header, plaintext)?;
    let mut signed = Vec::with_capacity(cairn_wire::entry::HEADER_BYTES + payload.len());
    signed.extend_from_slice(&header.to_bytes());
    signed.extend_from_slice(&payload);
    let signature = secret.sign(Domain::ENTRY, &signed);
    Ok(Entry::assemble(&header, &payload, &signature)?)
}

/// Verifies the signature of an entry by the device that its header names.
pub fn verify_entry(entry: &Entry) -> Result<(), BadSignature> {
    let bytes = entry.bytes();
    let signed = &bytes[..bytes.len() - SIGNATURE_BYTES];
    verify(
        &entry.header().log.device,
        Domain::ENTRY,
        signed,
        &entry.signature(),
    )
}

/// Why no entry was made. Always the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealEntryError {
    /// The header names another device.
    #[error("the header names another device than the one that signs")]
    Device,
    /// The payload cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The header is not well-formed.
    #[error("the header is not well-formed: {0}")]
    Header(#[from] EntryError),
}

pub(crate) fn sign(key: &SigningKey, domain: Domain, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
    key.sign(&domain.before(bytes)).to_bytes()
}

pub(crate) fn verify_key(
    key: &[u8; 32],
    domain: Domain,
    bytes: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadSignature)?;
    key.verify_strict(&domain.before(bytes), &Signature::from_bytes(signature))
        .map_err(|_| BadSignature)
}
