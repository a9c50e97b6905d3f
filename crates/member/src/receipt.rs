//! The receipt: how a centre says which entries it has opened, and the only thing that makes a change
//! *seen by the centre*.
//!
//! One row per centre and branch of a log; the row with the higher counter replaces the other.
//! Layout, integers big-endian, nothing optional:
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | format version, 1 |
//! | 32 | programme id |
//! | 32 | device key of the centre |
//! | 16 + 1 + 32 + 16 | the log: scope, lane, device key, incarnation |
//! | 8 | branch: zeros, or for a log that forked the first 8 bytes of the id of the branch's first entry after the fork |
//! | 8 | counter |
//! | 8 + 32 | number and id of the last entry up to which all are opened but for the exceptions; zeros for none |
//! | 8 + 32 | the same for the last one that a verified backup holds |
//! | 1 | number n of exceptions, at most 64 |
//! | n × 33 | exceptions: 1 waiting, 2 stuck, 3 quarantined; entry id; ascending by id |
//! | 64 | Ed25519 signature of the centre under [`Domain::RECEIPT`] over all before it |

use cairn_keys::{DeviceSecret, Domain, Membership, Role, Standing};
use cairn_store::SideObject;
use cairn_wire::ids::{DeviceKey, EntryId, Incarnation, Lane, LogId, ProgrammeId, ScopeId};
use std::collections::BTreeMap;

/// Exceptions that one receipt lists; where more are needed its number stops before them.
pub const EXCEPTIONS_MAX: usize = 64;

const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

/// Why an entry below a receipt's number is not all applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exception {
    /// A change in it waits for others.
    Waiting = 1,
    /// A change in it fails in company of others.
    Stuck = 2,
    /// A change in it, or all of it, broke a rule.
    Quarantined = 3,
}

impl Exception {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Waiting),
            2 => Some(Self::Stuck),
            3 => Some(Self::Quarantined),
            _ => None,
        }
    }
}

/// An entry by number and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpTo {
    /// The number in its log; 0 for none.
    pub number: u64,
    /// The id; [`EntryId::NONE`] for none.
    pub id: EntryId,
}

impl UpTo {
    /// No entry yet.
    pub const NONE: Self = Self {
        number: 0,
        id: EntryId::NONE,
    };
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The programme.
    pub programme: ProgrammeId,
    /// Who says so.
    pub centre: DeviceKey,
    /// Of which log.
    pub log: LogId,
    /// Of which branch of it.
    pub branch: [u8; 8],
    /// Rises with every row that replaces another.
    pub counter: u64,
    /// All up to here are opened, but for the exceptions.
    pub opened: UpTo,
    /// All up to here are in a verified backup.
    pub backed_up: UpTo,
    /// What below `opened` is not all applied.
    pub exceptions: BTreeMap<EntryId, Exception>,
}

/// Why bytes are no receipt. The fault of whoever gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Cut off, too long, or not in its canonical form.
    #[error("the receipt is malformed")]
    Malformed,
    /// A version that is not known here.
    #[error("the receipt has version {0}, which is not known here")]
    Version(u8),
    /// Not by a centre of this programme, or not signed by it.
    #[error("the receipt is not by a centre of this programme")]
    Signer,
}

impl Receipt {
    /// Signs it. More exceptions than [`EXCEPTIONS_MAX`] do not fit: `None`.
    #[must_use]
    pub fn sign(&self, secret: &DeviceSecret) -> Option<Vec<u8>> {
        if self.exceptions.len() > EXCEPTIONS_MAX || self.centre != secret.device() {
            return None;
        }
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.programme.0);
        out.extend_from_slice(&self.centre.0);
        out.extend_from_slice(&log_bytes(&self.log));
        out.extend_from_slice(&self.branch);
        out.extend_from_slice(&self.counter.to_be_bytes());
        for up_to in [self.opened, self.backed_up] {
            out.extend_from_slice(&up_to.number.to_be_bytes());
            out.extend_from_slice(&up_to.id.0);
        }
        out.push(self.exceptions.len() as u8);
        for (id, exception) in &self.exceptions {
            out.push(*exception as u8);
            out.extend_from_slice(&id.0);
        }
        let signature = secret.sign(Domain::RECEIPT, &out);
        out.extend_from_slice(&signature);
        Some(out)
    }

    /// Reads a receipt that fills `bytes` exactly, and verifies who signed it.
    pub fn verify(bytes: &[u8], membership: &Membership) -> Result<Self, ReceiptError> {
        let (signed, signature) = bytes
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(ReceiptError::Malformed)?;
        let receipt = Self::parse(signed)?;
        let centre = membership
            .member(&receipt.centre)
            .ok_or(ReceiptError::Signer)?;
        if receipt.programme != membership.programme()
            || centre.role != Role::Centre
            || centre.standing != Standing::Member
        {
            return Err(ReceiptError::Signer);
        }
        cairn_keys::device::verify(&receipt.centre, Domain::RECEIPT, signed, signature)
            .map_err(|_| ReceiptError::Signer)?;
        Ok(receipt)
    }

    fn parse(signed: &[u8]) -> Result<Self, ReceiptError> {
        let mut reader = Reader(signed);
        let [version] = reader.array()?;
        if version != VERSION {
            return Err(ReceiptError::Version(version));
        }
        let programme = ProgrammeId(reader.array()?);
        let centre = DeviceKey(reader.array()?);
        let scope = ScopeId(reader.array()?);
        let [lane] = reader.array()?;
        let log = LogId {
            scope,
            lane: Lane::from_byte(lane).ok_or(ReceiptError::Malformed)?,
            device: DeviceKey(reader.array()?),
            incarnation: Incarnation(reader.array()?),
        };
        let branch = reader.array()?;
        let counter = u64::from_be_bytes(reader.array()?);
        let opened = reader.up_to()?;
        let backed_up = reader.up_to()?;
        let [count] = reader.array()?;
        if usize::from(count) > EXCEPTIONS_MAX {
            return Err(ReceiptError::Malformed);
        }
        let mut exceptions = BTreeMap::new();
        for _ in 0..count {
            let [kind] = reader.array()?;
            let kind = Exception::from_byte(kind).ok_or(ReceiptError::Malformed)?;
            let id = EntryId(reader.array()?);
            if exceptions
                .last_key_value()
                .is_some_and(|(last, _)| *last >= id)
            {
                return Err(ReceiptError::Malformed);
            }
            exceptions.insert(id, kind);
        }
        if !reader.0.is_empty() {
            return Err(ReceiptError::Malformed);
        }
        Ok(Self {
            programme,
            centre,
            log,
            branch,
            counter,
            opened,
            backed_up,
            exceptions,
        })
    }

    /// What the store keeps it under: centre, log, branch.
    #[must_use]
    pub fn side_object(&self, bytes: &[u8]) -> SideObject {
        let mut key = self.centre.0.to_vec();
        key.extend_from_slice(&log_bytes(&self.log));
        key.extend_from_slice(&self.branch);
        SideObject {
            key,
            counter: self.counter,
            bytes: bytes.to_vec(),
        }
    }
}

/// Verifies a receipt and says where it belongs, for whoever passes receipts on without reading them.
#[must_use]
pub fn read_receipt(bytes: &[u8], membership: &Membership) -> Option<SideObject> {
    let receipt = Receipt::verify(bytes, membership).ok()?;
    Some(receipt.side_object(bytes))
}

fn log_bytes(log: &LogId) -> Vec<u8> {
    let mut out = log.scope.0.to_vec();
    out.push(log.lane.as_byte());
    out.extend_from_slice(&log.device.0);
    out.extend_from_slice(&log.incarnation.0);
    out
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReceiptError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(ReceiptError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn up_to(&mut self) -> Result<UpTo, ReceiptError> {
        let up_to = UpTo {
            number: u64::from_be_bytes(self.array()?),
            id: EntryId(self.array()?),
        };
        if (up_to.number == 0) != (up_to.id == EntryId::NONE) {
            return Err(ReceiptError::Malformed);
        }
        Ok(up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_keys::{
        Access, AuthorityLog, AuthoritySecret, Body, GrantHash, MemberSet, ScopeKey, SealedName,
        Subject,
    };

    fn programme(role: Role) -> (AuthorityLog, DeviceSecret, Receipt) {
        let authority = AuthoritySecret::from_bytes(&[1; 32]);
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[2; 32]);
        let recovery = AuthoritySecret::from_bytes(&[3; 32]).public();
        let mut log = AuthorityLog::found(&authority, recovery, programme_key.commitment());
        let centre = DeviceSecret::from_bytes(&[4; 64]);
        let subject = Subject::Member(centre.device());
        let body = Body::MemberSet(MemberSet {
            public: centre.public(),
            role,
            scopes: vec![(ScopeId([5; 16]), Access::Decide)],
            name: SealedName::seal(log.programme(), subject, &programme_key, "centre"),
            code: None,
            grant_set: GrantHash::of_set(&[]),
        });
        let bytes = log.sign(&authority, &body).unwrap();
        log.append_verified(&bytes).unwrap();
        let receipt = Receipt {
            programme: log.programme(),
            centre: centre.device(),
            log: LogId {
                scope: ScopeId([5; 16]),
                lane: Lane::Urgent,
                device: DeviceKey([6; 32]),
                incarnation: Incarnation([7; 16]),
            },
            branch: [0; 8],
            counter: 3,
            opened: UpTo {
                number: 9,
                id: EntryId([8; 32]),
            },
            backed_up: UpTo::NONE,
            exceptions: [
                (EntryId([1; 32]), Exception::Waiting),
                (EntryId([2; 32]), Exception::Quarantined),
            ]
            .into(),
        };
        (log, centre, receipt)
    }

    #[test]
    fn a_receipt_reads_back_and_every_bent_bit_is_refused() {
        let (log, centre, receipt) = programme(Role::Centre);
        let bytes = receipt.sign(&centre).unwrap();
        assert!(bytes.len() <= cairn_wire::limits::RECEIPT_BYTES_MAX);
        assert_eq!(
            Receipt::verify(&bytes, log.membership()),
            Ok(receipt.clone())
        );
        let object = read_receipt(&bytes, log.membership()).unwrap();
        assert_eq!((object.counter, object.key.len()), (3, 32 + 65 + 8));
        for at in 0..bytes.len() {
            assert!(Receipt::verify(&bytes[..at], log.membership()).is_err());
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert!(
                Receipt::verify(&bent, log.membership()).is_err(),
                "byte {at}"
            );
        }
        let mut full = receipt;
        full.exceptions = (0..EXCEPTIONS_MAX)
            .map(|at| (EntryId([at as u8; 32]), Exception::Stuck))
            .collect();
        let largest = full.sign(&centre).unwrap().len();
        assert!(largest <= cairn_wire::limits::RECEIPT_BYTES_MAX);
        full.exceptions.insert(EntryId([200; 32]), Exception::Stuck);
        assert_eq!(full.sign(&centre), None);
    }

    #[test]
    fn only_a_centre_signs_receipts() {
        let (log, device, receipt) = programme(Role::Device);
        let bytes = receipt.sign(&device).unwrap();
        let refused = Receipt::verify(&bytes, log.membership());
        assert_eq!(refused, Err(ReceiptError::Signer));
        let (_, _, receipt) = programme(Role::Centre);
        assert_eq!(receipt.sign(&DeviceSecret::from_bytes(&[9; 64])), None);
    }
}
