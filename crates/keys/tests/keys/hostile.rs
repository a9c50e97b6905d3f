//! Bytes from outside: whatever they are, nothing panics, and nothing changed passes for the whole.

use crate::programme::{NORTH, Programme, device, log_of, scope_key};
use cairn_keys::authority::AuthorityEntry;
use cairn_keys::{
    Access, AuthorityLog, Body, Grant, IssuedCode, Keyring, Leaf, Request, Role, ScopeKey,
    open_entry, seal_entry, sealing, verify_entry,
};
use cairn_wire::{Entry, EntryHeader, EntryId, Incarnation, Lane};
use proptest::prelude::*;

/// Every one-bit change of `bytes`, and every shorter piece from its beginning.
fn spoilt(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flips = (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    let cuts = (0..bytes.len()).map(|len| bytes[..len].to_vec());
    let longer = [0, 0xff].map(|byte| [bytes, &[byte]].concat());
    flips.chain(cuts).chain(longer)
}

#[test]
fn no_spoilt_entry_is_its_authors() {
    let programme = Programme::new();
    let secret = device(1);
    let header = EntryHeader {
        version: 1,
        programme: programme.log.programme(),
        log: log_of(&secret, NORTH, Lane::Urgent, 1),
        number: 1,
        previous: EntryId::NONE,
        authority: programme.log.head(),
        key_number: 0,
        payload_bytes: 0,
    };
    let key = scope_key(NORTH, 1);
    let entry = seal_entry(&secret, &key, &header, b"a mine").unwrap();
    for bytes in spoilt(entry.bytes()) {
        let Ok(changed) = Entry::parse(bytes) else {
            continue;
        };
        assert!(verify_entry(&changed).is_err());
        if changed.header() != entry.header() || changed.payload() != entry.payload() {
            assert!(open_entry(&changed, &key).is_err());
        }
    }
}

#[test]
fn no_spoilt_outbox_frame_opens() {
    let key = scope_key(NORTH, 1);
    let frame = sealing::seal_outbox(&key, 7, b"a mine");
    for bytes in spoilt(&frame) {
        assert!(sealing::open_outbox(&bytes, &key).is_err());
    }
}

#[test]
fn no_spoilt_grant_gives_a_key() {
    let programme = Programme::new();
    let team = device(1);
    let id = programme.log.programme();
    let grant = Grant::seal(id, &scope_key(NORTH, 1), &team.public(), &[1; 32]).unwrap();
    for bytes in spoilt(&grant.to_bytes()) {
        if let Ok(changed) = Grant::parse(&bytes) {
            assert!(changed.open(&team, programme.membership()).is_err());
            assert_ne!(changed.hash(), grant.hash());
        }
    }
}

fn every_kind_of_body(programme: &Programme) -> Vec<Body> {
    let key = device(1).device();
    let leaf = Leaf {
        scope: NORTH,
        lane: Lane::Records,
        incarnation: Incarnation([3; 16]),
        number: 9,
        id: EntryId([4; 32]),
    };
    let scopes = vec![(NORTH, Access::Decide)];
    let mut member = programme.member_set(&device(1), Role::Ops, &scopes);
    member.code = Some(cairn_keys::CodeId([6; 16]));
    vec![
        Body::ScopeCreated {
            scope: NORTH,
            name: programme.name(cairn_keys::Subject::Scope(NORTH), "n"),
            key: scope_key(NORTH, 1).commitment(),
        },
        Body::ScopeKeyRotated {
            scope: NORTH,
            number: 2,
            key: scope_key(NORTH, 2).commitment(),
        },
        Body::MemberSet(member),
        Body::Revoked {
            device: key,
            leaves: vec![leaf],
            reason: programme.name(cairn_keys::Subject::Reason(key), "lost"),
        },
        Body::Narrowed {
            device: key,
            scopes,
            leaves: vec![leaf],
        },
        Body::LeavesAccepted {
            device: key,
            leaves: vec![leaf],
        },
        Body::RightsPolicy {
            rw_includes_decide: false,
            leaves: vec![(key, leaf)],
        },
        Body::SingletonFixed {
            scope: NORTH,
            document: cairn_wire::DocumentId([7; 16]),
            root: cairn_wire::ChangeHash([8; 32]),
        },
    ]
}

#[test]
fn no_spoilt_authority_entry_is_taken() {
    let programme = Programme::new();
    for body in every_kind_of_body(&programme) {
        let bytes = programme.log.sign(&programme.authority, &body).unwrap();
        assert_eq!(AuthorityEntry::parse(&bytes).unwrap().body, body);
        let mut log = programme.log.clone();
        for spoilt in spoilt(&bytes) {
            assert!(log.append_verified(&spoilt).is_err(), "{body:?}");
        }
        assert_eq!(log.head(), programme.log.head());
        log.append_verified(&bytes).unwrap();
    }
    let founding = programme.log.entries_from(0, 0)[0].clone();
    let mut log = AuthorityLog::new(programme.log.programme());
    for spoilt in spoilt(&founding) {
        assert!(log.append_verified(&spoilt).is_err());
    }
    assert!(log.is_empty());
}

#[test]
fn no_spoilt_keyring_is_read() {
    let mut ring = Keyring::new();
    ring.insert(scope_key(NORTH, 1)).unwrap();
    for bytes in spoilt(&ring.to_bytes()) {
        assert!(Keyring::from_bytes(&bytes).is_err());
    }
    for len in [0, 51, 53] {
        assert!(ScopeKey::from_bytes(&vec![0; len]).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Grant::parse(&bytes);
        let _ = Request::parse(&bytes);
        let _ = IssuedCode::parse(&bytes);
        let _ = Keyring::from_bytes(&bytes);
        let _ = ScopeKey::from_bytes(&bytes);
        let _ = AuthorityEntry::parse(&bytes);
        let _ = sealing::outbox_header(&bytes);
        let _ = sealing::open_outbox(&bytes, &scope_key(NORTH, 1));
        let _ = cairn_keys::device::device_of_spki(&bytes);
    }

    /// Bodies of every kind with any bytes, signed by the true authority: refused or folded in,
    /// and read back the same.
    #[test]
    fn no_signed_body_makes_the_log_panic(
        kind in 1u8..14,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut programme = Programme::new();
        let body = [&[kind][..], &bytes].concat();
        let entry = signed(&programme, &body);
        if programme.log.append_verified(&entry).is_ok() {
            let parsed = AuthorityEntry::parse(&entry).unwrap();
            let before = AuthorityLog::clone(&Programme::new().log);
            if let Ok(again) = before.sign(&programme.authority, &parsed.body) {
                prop_assert_eq!(again, entry, "one meaning has one form");
            }
        }
    }
}

fn signed(programme: &Programme, body: &[u8]) -> Vec<u8> {
    let log = &programme.log;
    let mut bytes = vec![1];
    bytes.extend_from_slice(&log.programme().0);
    bytes.extend_from_slice(&log.next_height().to_be_bytes());
    bytes.extend_from_slice(&log.id_at(log.next_height() - 1).unwrap().0);
    bytes.extend_from_slice(body);
    let secret = cairn_keys::DeviceSecret::from_bytes(&[0xa1; 64]);
    let signature = secret.sign(cairn_keys::Domain::AUTHORITY, &bytes);
    bytes.extend_from_slice(&signature);
    bytes
}
