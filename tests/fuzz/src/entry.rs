//! The entry: what is stored and handed on for ever, and admitted by a signature.
//!
//! Promises: nothing panics; what parses is the same bytes again; only the bytes that were signed
//! verify; a payload opens only under its key and as it was sealed.
//!
//! An input is one byte, then an entry. Where that byte is odd the entry is signed anew by its device,
//! so that what an enrolled device can write is met too.

use crate::{Random, Target, mutate_bytes};
use cairn_keys::DeviceSecret;
use cairn_keys::device::{Domain, seal_entry, verify_entry};
use cairn_keys::sealing::{ENTRY_PLAINTEXT_BYTES_MAX, ScopeKey, open_entry};
use cairn_wire::entry::{FORMAT_VERSION, HEADER_BYTES, SIGNATURE_BYTES};
use cairn_wire::ids::{AuthorityRef, EntryId, Incarnation, Lane, LogId, ProgrammeId, ScopeId};
use cairn_wire::{Entry, EntryHeader};

const SCOPE: ScopeId = ScopeId([7; 16]);
const PLAIN: &[u8] = b"a batch of changes, as far as an entry knows";

/// The target.
pub struct EntryTarget {
    secret: DeviceSecret,
    key: ScopeKey,
    honest: Vec<Entry>,
}

impl Default for EntryTarget {
    fn default() -> Self {
        let secret = DeviceSecret::from_bytes(&[3; 64]);
        let key = ScopeKey::new(SCOPE, 1, &[4; 32]);
        let mut header = EntryHeader {
            version: FORMAT_VERSION,
            programme: ProgrammeId([1; 32]),
            log: LogId {
                scope: SCOPE,
                lane: Lane::Records,
                device: secret.device(),
                incarnation: Incarnation([5; 16]),
            },
            number: 1,
            previous: EntryId::NONE,
            authority: AuthorityRef {
                height: 2,
                id: [6; 8],
            },
            key_number: 1,
            payload_bytes: 0,
        };
        let mut honest = Vec::new();
        for plain in [PLAIN, b"", &[0; 600]] {
            let entry = seal_entry(&secret, &key, &header, plain).expect("an honest entry");
            header.number += 1;
            header.previous = entry.id();
            honest.push(entry);
        }
        Self {
            secret,
            key,
            honest,
        }
    }
}

impl EntryTarget {
    /// As the device itself would have signed it.
    fn signed(&self, bytes: &[u8]) -> Vec<u8> {
        let body = &bytes[..bytes.len().saturating_sub(SIGNATURE_BYTES)];
        let signature = self.secret.sign(Domain::ENTRY, body);
        [body, &signature].concat()
    }
}

impl Target for EntryTarget {
    fn name(&self) -> &'static str {
        "entry"
    }

    fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let names = ["first", "empty", "long"];
        let honest = names.into_iter().zip(&self.honest);
        honest
            .flat_map(|(name, entry)| {
                [(name.to_owned(), 0), (format!("{name}-signed"), 1)]
                    .map(|(name, choice)| (name, [&[choice], entry.bytes()].concat()))
            })
            .collect()
    }

    fn mutate(&self, input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        let mut mutated = mutate_bytes(input, other, random);
        // Most lengths are wrong after a mutation: half of them are put right again.
        let payload = (mutated.len()).checked_sub(1 + HEADER_BYTES + SIGNATURE_BYTES);
        if let Some(payload) = payload
            && random.below(2) == 0
        {
            let length = (payload as u32).to_be_bytes();
            mutated[1 + HEADER_BYTES - 4..=HEADER_BYTES].copy_from_slice(&length);
        }
        mutated
    }

    fn run(&self, input: &[u8]) -> bool {
        let Some((choice, bytes)) = input.split_first() else {
            return false;
        };
        let bytes = match choice & 1 {
            0 => bytes.to_vec(),
            _ => self.signed(bytes),
        };
        let Ok(entry) = Entry::parse(bytes.clone()) else {
            return false;
        };
        assert_eq!(entry.bytes(), bytes, "it is written otherwise");
        assert_eq!(Ok(entry.header()), EntryHeader::parse(&bytes).as_ref());
        let known = self.honest.iter().find(|honest| honest.id() == entry.id());
        let verified = verify_entry(&entry).is_ok();
        if let Some(honest) = known {
            assert_eq!(honest.bytes(), bytes, "two entries have one id");
        } else if choice & 1 == 0 {
            assert!(!verified, "a forged entry verifies");
        }
        if let Ok(plain) = open_entry(&entry, &self.key) {
            assert!(plain.len() <= ENTRY_PLAINTEXT_BYTES_MAX);
            let sealed = self.honest.iter().any(|honest| {
                honest.header() == entry.header() && honest.payload() == entry.payload()
            });
            assert!(sealed, "what nobody sealed opens");
        }
        verified
    }
}
