//! How a device becomes a member: a code goes out of band to a person, a request comes back.
//!
//! The code's secret is never sent. The request proves it by a MAC over (domain, programme, code
//! id, keys, name), which whoever issued the code verifies before the authority signs; relays only
//! pass requests on. Text form: `CAIRN1-` and Crockford base32 of the code's bytes with a checksum.

use crate::authority::{Access, AuthorityKey, Role, put_scopes, read_scopes};
use crate::canonical::{self, Malformed, Reader, put_text};
use crate::device::DevicePublic;
use crate::membership::{Membership, Standing};
use cairn_wire::{AuthorityRef, DeviceKey, ProgrammeId, ScopeId, ids, limits};
use data_encoding::{Encoding, Specification};
use std::fmt;
use std::sync::LazyLock;
use zeroize::Zeroizing;

const CODE_VERSION: u8 = 1;
const REQUEST_VERSION: u8 = 1;
const ISSUED_VERSION: u8 = 1;
const PREFIX: &str = "CAIRN1";
const CODE_CHECKSUM_CONTEXT: &str = "cairn 2026 joining code checksum v1";
const ISSUED_CHECKSUM_CONTEXT: &str = "cairn 2026 issued code checksum v1";
const MAC_KEY_CONTEXT: &str = "cairn 2026 enrolment request key v1";
const MAC_DOMAIN: &[u8] = b"cairn enrolment request v1\0";
const LENGTH_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;

static CROCKFORD: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification.translate.from.push_str("OIL");
    specification.translate.to.push_str("011");
    specification.encoding().expect("a valid base32 alphabet")
});

/// Which joining code: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeId(pub [u8; 16]);

impl fmt::Debug for CodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeId(")?;
        ids::write_hex(&self.0[..4], f)?;
        f.write_str("…)")
    }
}

/// What proves that a device was given a code: 128 random bits, never sent.
#[derive(Clone)]
pub struct CodeSecret(Zeroizing<[u8; 16]>);

impl CodeSecret {
    /// From 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    fn mac(
        &self,
        programme: &ProgrammeId,
        code: &CodeId,
        public: &DevicePublic,
        name: &str,
    ) -> blake3::Hash {
        let key = Zeroizing::new(blake3::derive_key(MAC_KEY_CONTEXT, &*self.0));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher
            .update(MAC_DOMAIN)
            .update(&programme.0)
            .update(&code.0)
            .update(&public.device.0)
            .update(&public.x25519)
            .update(name.as_bytes());
        hasher.finalize()
    }
}

impl PartialEq for CodeSecret {
    fn eq(&self, other: &Self) -> bool {
        // Through a hash, whose comparison takes the same time for all secrets.
        blake3::hash(&*self.0) == blake3::hash(&*other.0)
    }
}

impl Eq for CodeSecret {}

impl fmt::Debug for CodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeSecret(…)")
    }
}

/// A scope that a code promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeScope {
    /// Its id.
    pub id: ScopeId,
    /// Its name, such as `north/hazards`.
    pub name: String,
    /// What the member will be able to do in it.
    pub access: Access,
}

/// All that a device needs to know before it has spoken with anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The programme's authority.
    pub authority: AuthorityKey,
    /// The programme.
    pub programme: ProgrammeId,
    /// The authority's log when the code was made; headers name it until the log is held.
    pub head: AuthorityRef,
    /// Where relays are, as `host:port`.
    pub addresses: Vec<String>,
    /// The relay's key.
    pub relay: DeviceKey,
    /// The centre's keys, so that a device that cannot reach anybody can seal to it.
    pub centre: Option<DevicePublic>,
    /// The scopes.
    pub scopes: Vec<CodeScope>,
    /// What the member will be.
    pub role: Role,
    /// Which code it is.
    pub id: CodeId,
    /// What proves it.
    pub secret: CodeSecret,
    /// When it ends, in seconds since 1970 by the authority's clock.
    pub expires: u64,
}

/// Why a text is no joining code. The message says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It does not begin like one.
    #[error(
        "this is not a joining code: one begins with CAIRN1-. Copy it whole, from its beginning"
    )]
    NotACode,
    /// Its prefix names another version.
    #[error(
        "this joining code was made by another version of Cairn: update this device, or ask for a new code"
    )]
    OtherVersion,
    /// A character that no code holds, counted from 1 without spaces and dashes.
    #[error(
        "character {0} of the joining code is mistyped: only letters and digits occur, never U"
    )]
    Character(usize),
    /// It ends early.
    #[error(
        "the joining code is cut off, or mistyped near its beginning: {got} of {expected} characters are here. Copy it whole, to its end"
    )]
    CutOff {
        /// Characters that are here.
        got: usize,
        /// Characters that its beginning announces.
        expected: usize,
    },
    /// There is more than a code.
    #[error(
        "the joining code has {0} characters too many, or is mistyped near its beginning. Copy it alone"
    )]
    TooLong(usize),
    /// A character is another one, or missing and doubled.
    #[error(
        "the joining code is mistyped somewhere: compare it with the original, or scan its QR form"
    )]
    Mistyped,
    /// The checksum fits and the content does not: whoever made the code is at fault.
    #[error("the joining code does not make sense ({0}): ask for a new one")]
    Malformed(Malformed),
}

impl Code {
    /// The text form: `CAIRN1-` and capital letters and digits, without further dashes.
    ///
    /// Names and addresses over their limits are cut; more scopes or addresses than
    /// [`limits::MEMBER_SCOPES_MAX`] and [`limits::CODE_ADDRESSES_MAX`] are left out.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let content = self.content();
        let mut bytes = Zeroizing::new(Vec::with_capacity(content.len() + 10));
        bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&content);
        canonical::put_checksum(&mut bytes, CODE_CHECKSUM_CONTEXT);
        let mut text = Zeroizing::new(String::from(PREFIX));
        text.push('-');
        text.push_str(&Zeroizing::new(CROCKFORD.encode(&bytes)));
        text
    }

    /// Reads a code as people hand it on: in capitals or not, with spaces, line breaks and dashes
    /// anywhere, O for 0, I and L for 1.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.len() > limits::CODE_TEXT_BYTES_MAX {
            return Err(CodeError::TooLong(text.len() - limits::CODE_TEXT_BYTES_MAX));
        }
        let symbols: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|character| !is_ignored(*character))
                .map(|character| character.to_ascii_uppercase())
                .collect(),
        );
        let Some(body) = symbols.strip_prefix(PREFIX) else {
            return Err(without_prefix(&symbols));
        };
        let bytes = decode(body)?;
        let content = canonical::strip_checksum(&bytes, CODE_CHECKSUM_CONTEXT)
            .ok()
            .and_then(|checked| checked.get(LENGTH_BYTES..))
            .ok_or(CodeError::Mistyped)?;
        Self::read(content).map_err(CodeError::Malformed)
    }

    fn content(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(512));
        out.push(CODE_VERSION);
        out.extend_from_slice(&self.authority.0);
        out.extend_from_slice(&self.programme.0);
        out.extend_from_slice(&self.head.height.to_be_bytes());
        out.extend_from_slice(&self.head.id);
        let addresses = &self.addresses[..self.addresses.len().min(limits::CODE_ADDRESSES_MAX)];
        out.push(addresses.len() as u8);
        for address in addresses {
            put_text(&mut out, address, limits::CODE_ADDRESS_BYTES_MAX);
        }
        out.extend_from_slice(&self.relay.0);
        match &self.centre {
            None => out.push(0),
            Some(centre) => {
                out.push(1);
                out.extend_from_slice(&centre.device.0);
                out.extend_from_slice(&centre.x25519);
            }
        }
        let scopes = &self.scopes[..self.scopes.len().min(limits::MEMBER_SCOPES_MAX)];
        out.extend_from_slice(&(scopes.len() as u16).to_be_bytes());
        for scope in scopes {
            out.extend_from_slice(&scope.id.0);
            out.push(scope.access as u8);
            put_text(&mut out, &scope.name, limits::NAME_BYTES_MAX);
        }
        out.push(self.role as u8);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&*self.secret.0);
        out.extend_from_slice(&self.expires.to_be_bytes());
        out
    }

    fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        reader.version(CODE_VERSION)?;
        let code = Self {
            authority: AuthorityKey(reader.array()?),
            programme: ProgrammeId(reader.array()?),
            head: AuthorityRef {
                height: reader.u64()?,
                id: reader.array()?,
            },
            addresses: read_addresses(&mut reader)?,
            relay: DeviceKey(reader.array()?),
            centre: match reader.flag("centre")? {
                false => None,
                true => Some(DevicePublic {
                    device: DeviceKey(reader.array()?),
                    x25519: reader.array()?,
                }),
            },
            scopes: read_code_scopes(&mut reader)?,
            role: Role::read(&mut reader)?,
            id: CodeId(reader.array()?),
            secret: CodeSecret(Zeroizing::new(reader.array()?)),
            expires: reader.u64()?,
        };
        reader.finish()?;
        Ok(code)
    }
}

/// A device asks to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Programme it wants to join.
    pub programme: ProgrammeId,
    /// By which code.
    pub code: CodeId,
    /// Its keys.
    pub public: DevicePublic,
    /// Its name, as a person gave it.
    pub name: String,
    mac: [u8; 32],
}

impl Request {
    /// Asks by `code`. A name over [`limits::NAME_BYTES_MAX`] is cut.
    #[must_use]
    pub fn new(code: &Code, public: DevicePublic, name: &str) -> Self {
        let name = canonical::cut_text(name, limits::NAME_BYTES_MAX);
        let mac = code.secret.mac(&code.programme, &code.id, &public, name);
        Self {
            programme: code.programme,
            code: code.id,
            public,
            name: name.to_owned(),
            mac: *mac.as_bytes(),
        }
    }

    /// Whether whoever made it holds the code's secret. Count failures: they are guesses.
    #[must_use]
    pub fn verify(&self, secret: &CodeSecret) -> bool {
        // blake3's comparison takes the same time for all.
        secret.mac(&self.programme, &self.code, &self.public, &self.name) == self.mac
    }

    /// The canonical bytes: version 1 ‖ programme ‖ code id ‖ device key ‖ X25519 key ‖ length of
    /// the name (1) ‖ name ‖ MAC (32).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![REQUEST_VERSION];
        out.extend_from_slice(&self.programme.0);
        out.extend_from_slice(&self.code.0);
        out.extend_from_slice(&self.public.device.0);
        out.extend_from_slice(&self.public.x25519);
        put_text(&mut out, &self.name, limits::NAME_BYTES_MAX);
        out.extend_from_slice(&self.mac);
        out
    }

    /// Reads a request that fills `bytes` exactly. Its MAC is not verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::ENROLMENT_REQUEST_BYTES_MAX {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        reader.version(REQUEST_VERSION)?;
        let request = Self {
            programme: ProgrammeId(reader.array()?),
            code: CodeId(reader.array()?),
            public: DevicePublic {
                device: DeviceKey(reader.array()?),
                x25519: reader.array()?,
            },
            name: reader.text(limits::NAME_BYTES_MAX, "name")?,
            mac: reader.array()?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// What whoever issued a code keeps of it, beside the authority. Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCode {
    /// Programme that it lets in to.
    pub programme: ProgrammeId,
    /// Which code.
    pub id: CodeId,
    /// What proves it.
    pub secret: CodeSecret,
    /// What members by it become.
    pub role: Role,
    /// What they may do.
    pub scopes: Vec<(ScopeId, Access)>,
    /// How many members it makes at most.
    pub uses: u32,
    /// When it ends, in seconds since 1970 by the authority's clock.
    pub expires: u64,
}

/// What to do with a request that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Make it a member; that uses the code once.
    New,
    /// It is a member by this code already: answer as the first time, sign nothing.
    Already,
}

/// Why a request is refused: one of the three is the asker's fault, the others time's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not by that code, or its MAC does not fit: count it as a guess.
    #[error("the request does not prove that it holds the joining code")]
    NotProved,
    /// The code has ended.
    #[error("the joining code has expired: ask for a new one")]
    Expired,
    /// The code has made all its members.
    #[error("the joining code is used up: ask for a new one")]
    UsedUp,
    /// That device was revoked; a code does not bring it back.
    #[error("that device was revoked: set it up anew, so that it has a new key")]
    Revoked,
}

impl IssuedCode {
    /// Judges a request. `now`: seconds since 1970 by the authority's clock. Judge and append the
    /// member's entry in one transaction: the uses are counted in the authority's log.
    pub fn judge(
        &self,
        request: &Request,
        membership: &Membership,
        now: u64,
    ) -> Result<Admission, Refusal> {
        let for_this = request.code == self.id
            && request.programme == self.programme
            && membership.programme() == self.programme;
        if !for_this || !request.verify(&self.secret) {
            return Err(Refusal::NotProved);
        }
        let device = &request.public.device;
        if membership.standing(device) == Standing::Revoked {
            return Err(Refusal::Revoked);
        }
        if membership.has_used_code(&self.id, device) {
            return Ok(Admission::Already);
        }
        if now >= self.expires {
            return Err(Refusal::Expired);
        }
        if membership.uses_of_code(&self.id) >= self.uses as usize {
            return Err(Refusal::UsedUp);
        }
        Ok(Admission::New)
    }

    /// The canonical bytes: version 1 ‖ programme ‖ code id ‖ secret (16) ‖ role ‖ scopes ‖ uses
    /// (4) ‖ expiry (8) ‖ checksum (8).
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(128));
        out.push(ISSUED_VERSION);
        out.extend_from_slice(&self.programme.0);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&*self.secret.0);
        out.push(self.role as u8);
        put_scopes(&mut out, &self.scopes);
        out.extend_from_slice(&self.uses.to_be_bytes());
        out.extend_from_slice(&self.expires.to_be_bytes());
        canonical::put_checksum(&mut out, ISSUED_CHECKSUM_CONTEXT);
        out
    }

    /// Reads a record that fills `bytes` exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::ISSUED_CODE_BYTES_MAX {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(canonical::strip_checksum(bytes, ISSUED_CHECKSUM_CONTEXT)?);
        reader.version(ISSUED_VERSION)?;
        let issued = Self {
            programme: ProgrammeId(reader.array()?),
            id: CodeId(reader.array()?),
            secret: CodeSecret(Zeroizing::new(reader.array()?)),
            role: Role::read(&mut reader)?,
            scopes: read_scopes(&mut reader)?,
            uses: reader.u32()?,
            expires: reader.u64()?,
        };
        reader.finish()?;
        Ok(issued)
    }
}

/// Spaces, line breaks, dashes of all kinds, and marks without width that messengers put in.
fn is_ignored(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '-' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2010}'..='\u{2015}' | '\u{2060}' | '\u{2212}' | '\u{feff}'
        )
}

fn without_prefix(symbols: &str) -> CodeError {
    let version = symbols
        .strip_prefix("CAIRN")
        .and_then(|rest| rest.chars().next());
    match version {
        Some(digit) if digit.is_ascii_digit() => CodeError::OtherVersion,
        _ => CodeError::NotACode,
    }
}

/// Base32 to bytes, leaving what is cut off or too long for the length to tell.
fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, CodeError> {
    for (at, character) in body.chars().enumerate() {
        if !character.is_ascii_alphanumeric() || character == 'U' {
            return Err(CodeError::Character(PREFIX.len() + at + 1));
        }
    }
    let announced = announced_chars(body)?;
    if body.len() < announced {
        return Err(CodeError::CutOff {
            got: body.len() + PREFIX.len(),
            expected: announced + PREFIX.len(),
        });
    }
    if body.len() > announced {
        return Err(CodeError::TooLong(body.len() - announced));
    }
    CROCKFORD
        .decode(body.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| CodeError::Mistyped)
}

/// How many characters follow the prefix, from the length in the first two bytes.
fn announced_chars(body: &str) -> Result<usize, CodeError> {
    // Eight characters are five bytes.
    let cut_off = CodeError::CutOff {
        got: body.len() + PREFIX.len(),
        expected: PREFIX.len() + 8,
    };
    let beginning = body.as_bytes().get(..8).ok_or(cut_off)?;
    let beginning = CROCKFORD
        .decode(beginning)
        .map_err(|_| CodeError::Mistyped)?;
    let length = beginning.first_chunk::<2>().ok_or(cut_off)?;
    let bytes = LENGTH_BYTES + usize::from(u16::from_be_bytes(*length)) + CHECKSUM_BYTES;
    Ok(CROCKFORD.encode_len(bytes))
}

fn read_addresses(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > limits::CODE_ADDRESSES_MAX {
        return Err(Malformed::Field("addresses"));
    }
    (0..count)
        .map(|_| reader.text(limits::CODE_ADDRESS_BYTES_MAX, "addresses"))
        .collect()
}

fn read_code_scopes(reader: &mut Reader<'_>) -> Result<Vec<CodeScope>, Malformed> {
    let count = usize::from(reader.u16()?);
    if count > limits::MEMBER_SCOPES_MAX {
        return Err(Malformed::Field("scopes"));
    }
    (0..count)
        .map(|_| {
            Ok(CodeScope {
                id: ScopeId(reader.array()?),
                access: Access::read(reader)?,
                name: reader.text(limits::NAME_BYTES_MAX, "scope name")?,
            })
        })
        .collect()
}
