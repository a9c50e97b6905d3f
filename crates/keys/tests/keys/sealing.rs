//! Sealing, signing, granting: what opens, for whom, and what a clone can give away.

use crate::programme::{NORTH, Programme, SOUTH, Stored, device, log_of, scope_key};
use cairn_keys::device::{SealEntryError, device_of_spki, spki, verify};
use cairn_keys::sealing::{
    self, BEFORE_GRANT, ENTRY_PLAINTEXT_BYTES_MAX, KeyConflict, OpenError, SealError, outbox_header,
};
use cairn_keys::{
    Body, DeviceSecret, Domain, Grant, GrantError, GrantHash, Keyring, SEAL_OVERHEAD_BYTES,
    ScopeKey, SealedName, Subject, open_entry, seal_entry, verify_entry,
};
use cairn_wire::{Entry, EntryHeader, Lane, ScopeId, limits};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use proptest::prelude::*;

fn header(programme: &Programme, secret: &DeviceSecret) -> EntryHeader {
    let log = log_of(secret, NORTH, Lane::Urgent, 1);
    let head = programme.log.head();
    Stored::default()
        .write(programme, secret, log, None, head, "")
        .header()
        .clone()
}

/// Seals as `proto/membership.md` says, but under a nonce of choice.
fn seal_by_hand(context: &str, secret: &[u8], nonce: Option<[u8; 24]>, ad: &[u8]) -> Vec<u8> {
    let sealing_key = blake3::derive_key(context, secret);
    let nonce_key = blake3::derive_key("cairn 2026 sealing nonce v1", &sealing_key);
    let nonce = nonce.unwrap_or_else(|| {
        let hash = blake3::keyed_hash(&nonce_key, &[ad, b"a mine"].concat());
        *hash.as_bytes().first_chunk().unwrap()
    });
    let payload = Payload {
        msg: b"a mine",
        aad: ad,
    };
    let sealed = XChaCha20Poly1305::new(&sealing_key.into())
        .encrypt(&XNonce::from(nonce), payload)
        .unwrap();
    [&nonce[..], &sealed].concat()
}

#[test]
fn sealing_is_what_the_protocol_says_and_another_nonce_is_refused() {
    let key = scope_key(NORTH, 3);
    let header = [&NORTH.0[..], &3u32.to_be_bytes(), &7u64.to_be_bytes()].concat();
    let frame = |nonce| {
        let context = "cairn 2026 outbox sealing v1";
        let sealed = seal_by_hand(context, &key.to_bytes()[20..], nonce, &header);
        [&header[..], &sealed].concat()
    };
    assert_eq!(frame(None), sealing::seal_outbox(&key, 7, b"a mine"));
    assert_eq!(
        sealing::open_outbox(&frame(Some([1; 24])), &key),
        Err(OpenError::Refused)
    );
}

fn nonce(sealed: &[u8]) -> &[u8] {
    &sealed[..24]
}

#[test]
fn an_entry_opens_under_its_key_only_and_its_signature_is_its_authors() {
    let programme = Programme::new();
    let secret = device(1);
    let key = scope_key(NORTH, 1);
    let entry = seal_entry(&secret, &key, &header(&programme, &secret), b"a mine").unwrap();
    assert_eq!(verify_entry(&entry), Ok(()));
    assert_eq!(open_entry(&entry, &key).unwrap().as_slice(), b"a mine");
    assert_eq!(entry.payload().len(), 6 + SEAL_OVERHEAD_BYTES);
    assert_eq!(entry.header().key_number, 1);
    for other in [scope_key(NORTH, 2), scope_key(SOUTH, 1)] {
        assert_eq!(
            open_entry(&entry, &other),
            Err(OpenError::OtherKey { number: 1 })
        );
    }
    let foreign = ScopeKey::new(NORTH, 1, &[0; 32]);
    assert_eq!(open_entry(&entry, &foreign), Err(OpenError::Refused));
    let mut bytes = entry.into_bytes();
    bytes[49..81].copy_from_slice(&device(2).device().0);
    assert!(verify_entry(&Entry::parse(bytes).unwrap()).is_err());
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let programme = Programme::new();
    let secret = device(1);
    let good = header(&programme, &secret);
    let key = scope_key(NORTH, 1);
    let largest = vec![0; ENTRY_PLAINTEXT_BYTES_MAX];
    let entry = seal_entry(&secret, &key, &good, &largest).unwrap();
    assert_eq!(entry.payload().len(), limits::ENTRY_PAYLOAD_BYTES_MAX);
    let too_long = vec![0; ENTRY_PLAINTEXT_BYTES_MAX + 1];
    assert_eq!(
        seal_entry(&secret, &key, &good, &too_long),
        Err(SealEntryError::Seal(SealError::TooLong(too_long.len())))
    );
    assert_eq!(
        seal_entry(&device(2), &key, &good, b""),
        Err(SealEntryError::Device)
    );
    assert_eq!(
        seal_entry(&secret, &scope_key(SOUTH, 1), &good, b""),
        Err(SealEntryError::Seal(SealError::Scope))
    );
    assert_eq!(
        seal_entry(&secret, &scope_key(NORTH, BEFORE_GRANT), &good, b""),
        Err(SealEntryError::Seal(SealError::BeforeGrant))
    );
    let mut numberless = good;
    numberless.number = 0;
    assert!(matches!(
        seal_entry(&secret, &key, &numberless, b""),
        Err(SealEntryError::Header(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two copies of one device write on: whatever they write, a nonce that both use stands over
    /// the same header and plaintext.
    #[test]
    fn clones_share_a_nonce_only_over_one_plaintext(
        one in proptest::collection::vec(any::<u8>(), 0..64),
        other in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let programme = Programme::new();
        let secret = device(1);
        let copy = DeviceSecret::from_bytes(&secret.to_bytes());
        let key = scope_key(NORTH, 1);
        let header = header(&programme, &secret);
        let a = seal_entry(&secret, &key, &header, &one).unwrap();
        let b = seal_entry(&copy, &key, &header, &other).unwrap();
        prop_assert_eq!(nonce(a.payload()) == nonce(b.payload()), one == other);
        prop_assert_eq!(a == b, one == other);
        let mut elsewhere = header;
        elsewhere.log.incarnation.0[0] ^= 1;
        let c = seal_entry(&secret, &key, &elsewhere, &one).unwrap();
        prop_assert_ne!(nonce(a.payload()), nonce(c.payload()));
    }

    #[test]
    fn outbox_frames_read_back(
        plaintext in proptest::collection::vec(any::<u8>(), 0..2048),
        number in any::<u64>(),
    ) {
        let key = scope_key(NORTH, 3);
        let frame = sealing::seal_outbox(&key, number, &plaintext);
        let header = outbox_header(&frame).unwrap();
        prop_assert_eq!((header.scope, header.key_number, header.number), (NORTH, 3, number));
        let opened = sealing::open_outbox(&frame, &key).unwrap();
        prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
        prop_assert!(sealing::open_outbox(&frame, &scope_key(NORTH, 4)).is_err());
        let foreign = ScopeKey::new(NORTH, 3, &[0; 32]);
        prop_assert_eq!(sealing::open_outbox(&frame, &foreign), Err(OpenError::Refused));
    }
}

#[test]
fn a_signature_for_one_purpose_serves_no_other() {
    let secret = device(1);
    let signature = secret.sign(Domain::RECEIPT, b"seen");
    let key = secret.device();
    assert_eq!(verify(&key, Domain::RECEIPT, b"seen", &signature), Ok(()));
    assert!(verify(&key, Domain::ENTRY, b"seen", &signature).is_err());
    assert!(verify(&key, Domain::RECEIPT, b"unseen", &signature).is_err());
    assert!(verify(&device(2).device(), Domain::RECEIPT, b"seen", &signature).is_err());
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    // Under the identity point this signature would fit every message, were it not for strictness.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&identity);
    let key = cairn_wire::DeviceKey(identity);
    assert!(verify(&key, Domain::ENTRY, b"anything", &signature).is_err());
}

#[test]
fn a_device_reads_back_and_tells_nothing() {
    let secret = device(1);
    let again = DeviceSecret::from_bytes(&secret.to_bytes());
    assert_eq!(again.public(), secret.public());
    let text = format!("{secret:?} {:?}", scope_key(NORTH, 1));
    for byte in [secret.to_bytes()[0], secret.to_bytes()[32], NORTH.0[0] ^ 1] {
        assert!(!text.contains(&format!("{byte:02x}").repeat(4)), "{text}");
        assert!(!text.contains(&format!("{byte}, {byte}")), "{text}");
    }
}

#[test]
fn tls_forms_of_a_key() {
    let secret = device(1);
    let der = spki(&secret.device());
    assert_eq!(device_of_spki(&der), Some(secret.device()));
    assert_eq!(device_of_spki(&der[..43]), None);
    let mut other_algorithm = der;
    other_algorithm[8] = 0x6e;
    assert_eq!(device_of_spki(&other_algorithm), None);
    let pkcs8 = secret.pkcs8();
    assert_eq!(pkcs8.len(), 48);
    assert_eq!(pkcs8[16..], secret.to_bytes()[..32]);
}

#[test]
fn a_keyring_knows_its_keys_and_refuses_a_second_truth() {
    let mut ring = Keyring::new();
    assert_eq!(ring.insert(scope_key(NORTH, 2)), Ok(true));
    assert_eq!(ring.insert(scope_key(NORTH, 1)), Ok(true));
    assert_eq!(ring.insert(scope_key(SOUTH, 1)), Ok(true));
    assert_eq!(ring.insert(scope_key(NORTH, 1)), Ok(false));
    let foreign = ScopeKey::new(NORTH, 1, &[0; 32]);
    assert_eq!(ring.insert(foreign), Err(KeyConflict { number: 1 }));
    assert_eq!(ring.newest(&NORTH).map(ScopeKey::number), Some(2));
    assert_eq!(ring.get(&SOUTH, 1), Some(&scope_key(SOUTH, 1)));
    assert_eq!(ring.get(&SOUTH, 2), None);
    assert_eq!(ring.keys().count(), 3);
    assert_eq!(Keyring::from_bytes(&ring.to_bytes()), Ok(ring));
}

#[test]
fn a_grant_opens_for_its_recipient_and_only_a_key_that_the_authority_announced() {
    let mut programme = Programme::new();
    let team = device(7);
    let id = programme.log.programme();
    let key = scope_key(NORTH, 1);
    let grant = Grant::seal(id, &key, &team.public(), &[9; 32]).unwrap();
    assert_eq!(grant.open(&team, programme.membership()), Ok(key.clone()));
    assert_eq!(
        grant.open(&device(8), programme.membership()),
        Err(GrantError::OtherRecipient)
    );
    let elsewhere = Programme::found_by(0xb7);
    assert_eq!(elsewhere.membership().announces(&key), Some(true));
    assert_eq!(
        grant.open(&team, elsewhere.membership()),
        Err(GrantError::OtherRecipient)
    );
    // Whoever has the device's public keys can seal a key to it; it must not be believed.
    let foreign = ScopeKey::new(NORTH, 1, &[0; 32]);
    let planted = Grant::seal(id, &foreign, &team.public(), &[9; 32]).unwrap();
    assert_eq!(
        planted.open(&team, programme.membership()),
        Err(GrantError::Foreign)
    );
    let next = scope_key(NORTH, 2);
    let early = Grant::seal(id, &next, &team.public(), &[9; 32]).unwrap();
    assert_eq!(
        early.open(&team, programme.membership()),
        Err(GrantError::NotAnnounced)
    );
    programme.say(&Body::ScopeKeyRotated {
        scope: NORTH,
        number: 2,
        key: next.commitment(),
    });
    assert_eq!(early.open(&team, programme.membership()), Ok(next));
    let programme_key = programme.programme_key.clone();
    let grant = Grant::seal(id, &programme_key, &team.public(), &[9; 32]).unwrap();
    assert_eq!(grant.scope(), ScopeId::AUTHORITY);
    assert_eq!(grant.open(&team, programme.membership()), Ok(programme_key));
}

#[test]
fn randomness_used_twice_gives_two_ephemeral_keys() {
    let id = Programme::new().log.programme();
    let team = device(7).public();
    let one = Grant::seal(id, &scope_key(NORTH, 1), &team, &[9; 32]).unwrap();
    let same = Grant::seal(id, &scope_key(NORTH, 1), &team, &[9; 32]).unwrap();
    let other = Grant::seal(id, &scope_key(NORTH, 2), &team, &[9; 32]).unwrap();
    assert_eq!(one, same);
    assert_ne!(one.to_bytes()[85..117], other.to_bytes()[85..117]);
    let set = [one.hash(), other.hash()];
    let turned = [other.hash(), one.hash(), one.hash()];
    assert_eq!(GrantHash::of_set(&set), GrantHash::of_set(&turned));
    assert_ne!(GrantHash::of_set(&set), GrantHash::of_set(&set[..1]));
}

#[test]
fn nothing_is_sealed_to_a_key_that_is_none() {
    let id = Programme::new().log.programme();
    let mut nobody = device(7).public();
    nobody.x25519 = [0; 32];
    assert_eq!(
        Grant::seal(id, &scope_key(NORTH, 1), &nobody, &[9; 32]),
        None
    );
}

#[test]
fn a_name_opens_where_it_belongs_only() {
    let programme = Programme::new();
    let id = programme.log.programme();
    let mut ring = Keyring::new();
    ring.insert(programme.programme_key.clone()).unwrap();
    let here = Subject::Member(device(1).device());
    let name = programme.name(here, "T3 Alpha");
    assert_eq!(name.open(id, here, &ring).as_deref(), Ok("T3 Alpha"));
    for elsewhere in [
        Subject::Member(device(2).device()),
        Subject::Reason(device(1).device()),
        Subject::Scope(NORTH),
    ] {
        assert!(name.open(id, elsewhere, &ring).is_err());
    }
    assert!(name.open(id, here, &Keyring::new()).is_err());
    let long = "ش".repeat(limits::NAME_BYTES_MAX);
    let name = SealedName::seal(id, here, &programme.programme_key, &long);
    let opened = name.open(id, here, &ring).unwrap();
    assert_eq!(
        opened.len(),
        limits::NAME_BYTES_MAX,
        "cut at a whole character"
    );
}
