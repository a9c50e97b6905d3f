//! Derived tables on disk: values sealed, keys hashed, so that whoever reads the disk without the
//! table key learns how many there are and how long, and nothing else.
//!
//! * A key is cut into segments of 16 bytes (a scope, a document, half a hash). Each becomes the first
//!   16 bytes of keyed BLAKE3 over the table's byte and all of the key up to the end of that segment.
//!   So keys that share whole segments still stand together, which is all that scanning needs.
//! * A value is nonce ‖ XChaCha20-Poly1305 of (length of the key as 4 bytes ‖ key ‖ value), its
//!   associated data the table's byte and the hashed key. The nonce is the first 24 bytes of keyed
//!   BLAKE3 over associated data and plaintext: equal nonces imply equal plaintexts, for a cloned
//!   folder too.
//!
//! This is a form of derived tables, which are filled again when they do not read: it may change.

use chacha20poly1305::aead::{Aead, AeadInOut, Payload};
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

const SEALING_CONTEXT: &str = "cairn 2026 derived table sealing v1";
const NONCE_CONTEXT: &str = "cairn 2026 derived table nonce v1";
const NAME_CONTEXT: &str = "cairn 2026 derived table names v1";
const LOCAL_SCOPE_CONTEXT: &str = "cairn 2026 key of frames before a grant v1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Bytes of a sealed value behind the value itself.
pub(crate) const AFTER_VALUE_BYTES: usize = TAG_BYTES;
const SEGMENT_BYTES: usize = 16;

/// A sealed value does not open: another table key, or bytes that changed. Our own store's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value of the derived tables does not open under this device's table key")]
pub struct TableSealError;

/// The key of all derived tables of one store.
#[derive(Clone)]
pub struct TableKey {
    secret: Zeroizing<[u8; 32]>,
    cipher: XChaCha20Poly1305,
    nonce_key: Zeroizing<[u8; 32]>,
    name_key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for TableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableKey(…)")
    }
}

impl TableKey {
    /// From 32 bytes: fresh random ones for a new store, those of [`Self::to_bytes`] for the same.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        let sealing_key = Zeroizing::new(blake3::derive_key(SEALING_CONTEXT, secret));
        Self {
            secret: Zeroizing::new(*secret),
            cipher: XChaCha20Poly1305::new((&*sealing_key).into()),
            nonce_key: Zeroizing::new(blake3::derive_key(NONCE_CONTEXT, secret)),
            name_key: Zeroizing::new(blake3::derive_key(NAME_CONTEXT, secret)),
        }
    }

    /// What a key file holds.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.secret.clone()
    }

    /// Secret of the key that seals outbox frames of a scope whose grant has not come yet.
    pub(crate) fn before_grant(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(LOCAL_SCOPE_CONTEXT, &*self.secret))
    }

    /// The hashed form of `key`: the table's byte, then 16 bytes for each begun segment.
    pub(crate) fn hashed(&self, table: u8, key: &[u8]) -> Vec<u8> {
        self.hashed_segments(table, key, key.len().div_ceil(SEGMENT_BYTES))
    }

    /// The hashed form of the whole segments of `prefix`; what it leaves over is the caller's to
    /// filter.
    pub(crate) fn hashed_prefix(&self, table: u8, prefix: &[u8]) -> Vec<u8> {
        self.hashed_segments(table, prefix, prefix.len() / SEGMENT_BYTES)
    }

    fn hashed_segments(&self, table: u8, key: &[u8], segments: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + segments * SEGMENT_BYTES);
        out.push(table);
        let mut hasher = blake3::Hasher::new_keyed(&self.name_key);
        hasher.update(&[table]);
        for segment in key.chunks(SEGMENT_BYTES).take(segments) {
            hasher.update(&[segment.len() as u8]).update(segment);
            out.extend_from_slice(&hasher.finalize().as_bytes()[..SEGMENT_BYTES]);
        }
        out
    }

    /// Seals a value for its place.
    pub(crate) fn seal(&self, hashed: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::with_capacity(4 + key.len() + value.len());
        plaintext.extend_from_slice(&(key.len() as u32).to_be_bytes());
        plaintext.extend_from_slice(key);
        plaintext.extend_from_slice(value);
        let nonce = self.nonce(hashed, &plaintext);
        let ciphertext = self
            .cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &plaintext,
                    aad: hashed,
                },
            )
            .expect("the cipher refuses only what is over 256 GiB");
        let mut out = Vec::with_capacity(NONCE_BYTES + ciphertext.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&ciphertext);
        out
    }

    /// Opens what [`Self::seal`] made for this place: key and value, decrypted where they lie.
    pub(crate) fn open<'a>(
        &self,
        hashed: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<(&'a [u8], &'a [u8]), TableSealError> {
        let (nonce, rest) = sealed
            .split_first_chunk_mut::<NONCE_BYTES>()
            .ok_or(TableSealError)?;
        let (plaintext, tag) = rest
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(TableSealError)?;
        self.cipher
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                hashed,
                (&mut *plaintext).into(),
                &Tag::from(*tag),
            )
            .map_err(|_| TableSealError)?;
        let (key_bytes, rest) = plaintext.split_first_chunk::<4>().ok_or(TableSealError)?;
        rest.split_at_checked(u32::from_be_bytes(*key_bytes) as usize)
            .ok_or(TableSealError)
    }

    fn nonce(&self, hashed: &[u8], plaintext: &[u8]) -> [u8; NONCE_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.nonce_key);
        // The length first: a hashed key does not fix its own.
        hasher
            .update(&(hashed.len() as u64).to_be_bytes())
            .update(hashed)
            .update(plaintext);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&hasher.finalize().as_bytes()[..NONCE_BYTES]);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TableKey {
        TableKey::from_bytes(&[7; 32])
    }

    #[test]
    fn a_value_reads_back_in_its_place_and_nowhere_else() {
        type Opened = Result<(Vec<u8>, Vec<u8>), TableSealError>;
        let open = |key: TableKey, place: &[u8], sealed: &[u8]| -> Opened {
            let mut sealed = sealed.to_vec();
            let (key, value) = key.open(place, &mut sealed)?;
            Ok((key.to_vec(), value.to_vec()))
        };
        let place = key().hashed(3, b"scope and document");
        let sealed = key().seal(&place, b"scope and document", b"a place name");
        assert_eq!(
            open(key(), &place, &sealed),
            Ok((b"scope and document".to_vec(), b"a place name".to_vec()))
        );
        let other = key().hashed(4, b"scope and document");
        assert_eq!(open(key(), &other, &sealed), Err(TableSealError));
        let stranger = TableKey::from_bytes(&[8; 32]);
        assert_eq!(open(stranger, &place, &sealed), Err(TableSealError));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(open(key(), &place, &bent), Err(TableSealError), "byte {at}");
            assert_eq!(open(key(), &place, &sealed[..at]), Err(TableSealError));
        }
    }

    #[test]
    fn keys_that_share_segments_stand_together() {
        let scope = [1; 16];
        let mut one = scope.to_vec();
        one.extend_from_slice(&[2; 16]);
        let mut two = scope.to_vec();
        two.extend_from_slice(&[3; 20]);
        let prefix = key().hashed_prefix(1, &scope);
        assert!(key().hashed(1, &one).starts_with(&prefix));
        assert!(key().hashed(1, &two).starts_with(&prefix));
        assert!(!key().hashed(1, &[9; 32]).starts_with(&prefix));
        assert_eq!(key().hashed(1, &two).len(), 1 + 3 * 16);
        // Half a segment narrows nothing down.
        assert_eq!(key().hashed_prefix(1, &one[..20]), prefix);
    }

    #[test]
    fn neither_key_nor_value_shows() {
        let name = b"Bosanska Krupa 44.88";
        let place = key().hashed(1, name);
        let sealed = key().seal(&place, name, name);
        for bytes in [&place, &sealed] {
            assert!(
                !bytes
                    .windows(4)
                    .any(|window| name.windows(4).any(|part| part == window))
            );
        }
    }
}
