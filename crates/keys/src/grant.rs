//! Grants: a scope key sealed to one member's X25519 key, sent to that member only.
//!
//! Layout, integers big-endian:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | version, 1 |
//! | 1 | 32 | programme id |
//! | 33 | 16 | scope id ([`ScopeId::AUTHORITY`]: the programme key) |
//! | 49 | 4 | key number |
//! | 53 | 32 | device key of the recipient |
//! | 85 | 32 | HPKE encapsulated key |
//! | 117 | 48 | HPKE ciphertext of the 32-byte secret |
//!
//! HPKE (RFC 9180) base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305; info is
//! `cairn 2026 grant v1`, associated data the first 85 bytes. Base mode names no sender: a grant is
//! believed because the key in it is the one to which the authority's log commits
//! ([`Membership::announces`]), whoever sealed it.

use crate::canonical::{Malformed, Reader};
use crate::device::{DevicePublic, DeviceSecret};
use crate::membership::Membership;
use crate::sealing::ScopeKey;
use cairn_wire::{DeviceKey, ProgrammeId, ScopeId, hash};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use std::convert::Infallible;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Length of a grant.
pub const GRANT_BYTES: usize = HEADER_BYTES + ENCAPSULATED_BYTES + CIPHERTEXT_BYTES;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 85;
const ENCAPSULATED_BYTES: usize = 32;
const CIPHERTEXT_BYTES: usize = 48;
const INFO: &[u8] = b"cairn 2026 grant v1";
const HASH_CONTEXT: &str = "cairn 2026 grant hash v1";
const SET_CONTEXT: &str = "cairn 2026 grant set hash v1";
const EPHEMERAL_CONTEXT: &str = "cairn 2026 grant ephemeral v1";

/// Why a grant gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not a grant at all: the fault of whoever gave it.
    #[error("the grant is not well-formed: {0}")]
    Malformed(#[from] Malformed),
    /// For another programme or device: the fault of whoever sent it here.
    #[error("the grant is for another programme or device")]
    OtherRecipient,
    /// It does not open: sealed to another key, or changed.
    #[error("the grant does not open under this device's key")]
    Refused,
    /// The authority's log, as far as it is held here, does not announce that key. Keep the grant
    /// and try again when the log has grown.
    #[error("the authority has not announced that key yet")]
    NotAnnounced,
    /// The authority's log announces another key: whoever sealed the grant made a key up.
    #[error("the key in the grant is not the one that the authority announced")]
    Foreign,
}

/// The hash by which a grant is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantHash(pub [u8; 32]);

impl GrantHash {
    /// The hash of a set of grants, in whatever order; that of the empty set for none.
    #[must_use]
    pub fn of_set(grants: &[Self]) -> [u8; 32] {
        let mut sorted = grants.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let parts: Vec<&[u8]> = sorted.iter().map(|grant| grant.0.as_slice()).collect();
        hash::derive(SET_CONTEXT, &parts)
    }
}

/// A scope key, sealed to one member.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    programme: ProgrammeId,
    scope: ScopeId,
    key_number: u32,
    recipient: DeviceKey,
    encapsulated: [u8; ENCAPSULATED_BYTES],
    ciphertext: [u8; CIPHERTEXT_BYTES],
}

impl Grant {
    /// Seals `key` to `recipient`. `random`: 32 fresh random bytes. (Used twice by mistake, they
    /// still give another ephemeral key to every other grant.) `None` if the recipient's X25519
    /// key is none, which is the fault of whoever enrolled it.
    #[must_use]
    pub fn seal(
        programme: ProgrammeId,
        key: &ScopeKey,
        recipient: &DevicePublic,
        random: &[u8; 32],
    ) -> Option<Self> {
        let header = header(programme, key.scope(), key.number(), recipient.device);
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&recipient.x25519).ok()?;
        let mut ephemeral = Replay::of(&[random, &header, &recipient.x25519, key.secret()]);
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &public,
                INFO,
                key.secret(),
                &header,
                &mut ephemeral,
            )
            .ok()?;
        Some(Self {
            programme,
            scope: key.scope(),
            key_number: key.number(),
            recipient: recipient.device,
            encapsulated: encapsulated.to_bytes().as_slice().try_into().ok()?,
            ciphertext: ciphertext.as_slice().try_into().ok()?,
        })
    }

    /// Opens the grant and holds the key against what the authority announced.
    pub fn open(
        &self,
        secret: &DeviceSecret,
        membership: &Membership,
    ) -> Result<ScopeKey, GrantError> {
        if self.recipient != secret.device() || self.programme != membership.programme() {
            return Err(GrantError::OtherRecipient);
        }
        let key = self.unseal(secret)?;
        match membership.announces(&key) {
            None => Err(GrantError::NotAnnounced),
            Some(false) => Err(GrantError::Foreign),
            Some(true) => Ok(key),
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; GRANT_BYTES] {
        let mut out = [0; GRANT_BYTES];
        out[..HEADER_BYTES].copy_from_slice(&self.header());
        out[HEADER_BYTES..HEADER_BYTES + ENCAPSULATED_BYTES].copy_from_slice(&self.encapsulated);
        out[HEADER_BYTES + ENCAPSULATED_BYTES..].copy_from_slice(&self.ciphertext);
        out
    }

    /// Reads a grant that fills `bytes` exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let grant = Self {
            programme: ProgrammeId(reader.array()?),
            scope: ScopeId(reader.array()?),
            key_number: reader.u32()?,
            recipient: DeviceKey(reader.array()?),
            encapsulated: reader.array()?,
            ciphertext: reader.array()?,
        };
        reader.finish()?;
        Ok(grant)
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> GrantHash {
        GrantHash(hash::derive(HASH_CONTEXT, &[&self.to_bytes()]))
    }

    /// Programme it belongs to.
    #[must_use]
    pub fn programme(&self) -> ProgrammeId {
        self.programme
    }

    /// Scope whose key it holds.
    #[must_use]
    pub fn scope(&self) -> ScopeId {
        self.scope
    }

    /// Number of the key that it holds.
    #[must_use]
    pub fn key_number(&self) -> u32 {
        self.key_number
    }

    /// Whom it is for.
    #[must_use]
    pub fn recipient(&self) -> DeviceKey {
        self.recipient
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        header(self.programme, self.scope, self.key_number, self.recipient)
    }

    fn unseal(&self, secret: &DeviceSecret) -> Result<ScopeKey, GrantError> {
        let private =
            <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret.receiving().as_bytes())
                .map_err(|_| GrantError::Refused)?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.encapsulated)
            .map_err(|_| GrantError::Refused)?;
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &encapsulated,
            INFO,
            &self.ciphertext,
            &self.header(),
        )
        .map(Zeroizing::new)
        .map_err(|_| GrantError::Refused)?;
        let secret = <&[u8; 32]>::try_from(opened.as_slice()).map_err(|_| GrantError::Refused)?;
        Ok(ScopeKey::new(self.scope, self.key_number, secret))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Grant({:?}, number {}, to {:?})",
            self.scope, self.key_number, self.recipient
        )
    }
}

fn header(
    programme: ProgrammeId,
    scope: ScopeId,
    key_number: u32,
    recipient: DeviceKey,
) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[0] = VERSION;
    out[1..33].copy_from_slice(&programme.0);
    out[33..49].copy_from_slice(&scope.0);
    out[49..53].copy_from_slice(&key_number.to_be_bytes());
    out[53..85].copy_from_slice(&recipient.0);
    out
}

/// Gives HPKE the randomness that came in as an argument, mixed with what is sealed.
struct Replay(blake3::OutputReader);

impl Replay {
    fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(EPHEMERAL_CONTEXT);
        for part in parts {
            hasher.update(part);
        }
        let reader = hasher.finalize_xof();
        hasher.zeroize();
        Self(reader)
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Replay {}
