//! The authority's log: what is taken in, what is refused and why, and what it then says.

use crate::programme::{NORTH, Programme, SOUTH, device, scope_key};
use cairn_keys::authority::AuthorityEntry;
use cairn_keys::device::Domain;
use cairn_keys::sealing::BEFORE_GRANT;
use cairn_keys::{
    Access, Appended, AuthorityError, AuthorityKey, AuthorityLog, AuthoritySecret, Body,
    DeviceSecret, Keyring, Leaf, Malformed, NO_AUTHORITY, Role, ScopeKey, SignError,
};
use cairn_wire::{
    ChangeHash, DocumentId, EntryId, Incarnation, Lane, ProgrammeId, ScopeId, limits,
};

/// The log's entries handed to another replica, `max_bytes` at a time.
fn replay(from: &AuthorityLog, max_bytes: usize) -> AuthorityLog {
    let mut log = AuthorityLog::new(from.programme());
    loop {
        let entries = from.entries_after(log.head(), max_bytes);
        if entries.is_empty() {
            return log;
        }
        for entry in entries {
            assert_eq!(log.append_verified(entry), Ok(Appended::New));
        }
    }
}

/// An entry with a body of any bytes, signed by who holds that Ed25519 seed.
fn signed_by(seed: u8, log: &AuthorityLog, height: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&log.programme().0);
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(&log.id_at(height - 1).unwrap().0);
    bytes.extend_from_slice(body);
    let signature = DeviceSecret::from_bytes(&[seed; 64]).sign(Domain::AUTHORITY, &bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

fn a_full_programme() -> Programme {
    let mut programme = Programme::new();
    for seed in 1..=20 {
        programme.set(&device(seed), Role::Device, &[(NORTH, Access::Write)]);
    }
    programme.revoke(&device(3), &[]);
    programme
}

#[test]
fn a_log_travels_in_parts_and_means_the_same() {
    let programme = a_full_programme();
    for max_bytes in [0, 700, 48 * 1024] {
        let log = replay(&programme.log, max_bytes);
        assert_eq!(log.head(), programme.log.head());
        let members: Vec<_> = log.membership().members().collect();
        let expected: Vec<_> = programme.membership().members().collect();
        assert_eq!(members, expected);
    }
    assert!(programme.log.entries_from(u64::MAX, 1).is_empty());
    assert_eq!(programme.log.entries_from(0, 0).len(), 1);
    let two = programme.log.entries_from(3, 700);
    assert!(two.len() > 1 && two.iter().map(|entry| entry.len()).sum::<usize>() <= 700);
}

#[test]
fn an_entry_that_is_held_changes_nothing() {
    let mut programme = a_full_programme();
    let entries = programme.log.entries_from(0, usize::MAX).to_vec();
    let head = programme.log.head();
    for entry in entries {
        assert_eq!(programme.log.append_verified(&entry), Ok(Appended::Held));
    }
    assert_eq!(programme.log.head(), head);
}

#[test]
fn a_gap_says_what_is_missing() {
    let programme = a_full_programme();
    let mut log = AuthorityLog::new(programme.log.programme());
    assert_eq!(log.head(), NO_AUTHORITY);
    assert!(!log.membership().knows(NO_AUTHORITY));
    let entry = &programme.log.entries_from(5, usize::MAX)[0];
    assert_eq!(
        log.append_verified(entry),
        Err(AuthorityError::Gap { next: 0, got: 5 })
    );
    assert!(log.is_empty());
    let all = programme.log.entries_from(0, usize::MAX);
    log.append_verified(&all[0]).unwrap();
    assert_eq!(
        log.append_verified(&all[2]),
        Err(AuthorityError::Gap { next: 1, got: 2 })
    );
}

#[test]
fn two_histories_of_one_authority_are_a_fork() {
    let mut one = Programme::new();
    let mut other = Programme::new();
    one.set(&device(1), Role::Device, &[(NORTH, Access::Write)]);
    other.set(&device(2), Role::Device, &[(NORTH, Access::Write)]);
    other.set(&device(3), Role::Device, &[(NORTH, Access::Write)]);
    let height = one.log.head().height;
    let held = one.log.id_at(height).unwrap();
    let offered = other.log.id_at(height).unwrap();
    let fork = AuthorityError::Fork {
        height,
        held,
        offered,
    };
    let theirs = other.log.entries_after(one.log.head(), usize::MAX).to_vec();
    assert_eq!(theirs.len(), 2, "from the other entry at our height on");
    for entry in &theirs {
        assert_eq!(one.log.append_verified(entry), Err(fork));
    }
    assert_eq!(one.log.id_at(height), Some(held));
    assert!(one.membership().member(&device(2).device()).is_none());
}

#[test]
fn only_the_authority_signs() {
    let mut programme = Programme::new();
    let other = AuthoritySecret::from_bytes(&[0xb1; 32]);
    let body = Body::LeavesAccepted {
        device: device(1).device(),
        leaves: vec![],
    };
    assert_eq!(
        programme.log.sign(&other, &body),
        Err(SignError::NotAuthority)
    );
    assert_eq!(
        programme.log.sign(&programme.recovery, &body),
        Err(SignError::NotAuthority)
    );
    let body = [&[7][..], &device(1).device().0, &[0, 0]].concat();
    let next = programme.log.next_height();
    let forged = signed_by(0xb1, &programme.log, next, &body);
    assert_eq!(
        programme.log.append_verified(&forged),
        Err(AuthorityError::Signature)
    );
    let forged_past = signed_by(0xb1, &programme.log, 1, &body);
    assert_eq!(
        programme.log.append_verified(&forged_past),
        Err(AuthorityError::Signature),
        "a stranger cannot make it look like a fork"
    );
    let genuine = signed_by(0xa1, &programme.log, next, &body);
    assert_eq!(programme.log.append_verified(&genuine), Ok(Appended::New));
}

#[test]
fn the_recovery_key_replaces_the_authority() {
    let mut programme = Programme::new();
    let new = AuthoritySecret::from_bytes(&[0xc1; 32]);
    let replaced = Body::AuthorityReplaced { key: new.public() };
    assert_eq!(
        programme.log.sign(&programme.authority, &replaced),
        Err(SignError::NotAuthority)
    );
    let bytes = programme.log.sign(&programme.recovery, &replaced).unwrap();
    assert_eq!(programme.log.append_verified(&bytes), Ok(Appended::New));
    assert_eq!(programme.log.authority(), Some(new.public()));
    let body = Body::LeavesAccepted {
        device: device(1).device(),
        leaves: vec![],
    };
    assert_eq!(
        programme.log.sign(&programme.authority, &body),
        Err(SignError::NotAuthority)
    );
    // What the old key signs where it no longer signs is no fork, and where it still did is one.
    let kind = [&[7][..], &device(1).device().0, &[0, 0]].concat();
    let height = programme.log.head().height;
    let late = signed_by(0xa1, &programme.log, height + 1, &kind);
    assert_eq!(
        programme.log.append_verified(&late),
        Err(AuthorityError::Signature)
    );
    let beside = signed_by(0xa1, &programme.log, height, &kind);
    assert!(matches!(
        programme.log.append_verified(&beside),
        Err(AuthorityError::Fork { .. })
    ));
    programme.authority = new;
    programme.say(&body);
    let copy = replay(&programme.log, 1_000);
    assert_eq!(copy.head(), programme.log.head());
}

#[test]
fn nobody_founds_a_programme_twice_or_passes_another_off() {
    let mut programme = Programme::new();
    let other = AuthoritySecret::from_bytes(&[0xd1; 32]);
    let key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[1; 32]).commitment();
    let foreign = AuthorityLog::found(&other, other.public(), key);
    let entry = foreign.entries_from(0, usize::MAX)[0].clone();
    assert_eq!(
        programme.log.append_verified(&entry),
        Err(AuthorityError::OtherProgramme)
    );
    let mut empty = AuthorityLog::new(programme.log.programme());
    assert_eq!(
        empty.append_verified(&entry),
        Err(AuthorityError::OtherProgramme)
    );
    let founded = Body::Founded {
        authority: other.public(),
        recovery: other.public(),
        programme_key: key,
    };
    assert_eq!(
        programme.log.sign(&programme.authority, &founded),
        Err(SignError::Founding)
    );
    let nothing = AuthorityLog::new(ProgrammeId([1; 32]));
    assert_eq!(
        nothing.sign(
            &other,
            &Body::AuthorityReplaced {
                key: AuthorityKey([0; 32])
            }
        ),
        Err(SignError::Founding)
    );
}

#[test]
fn what_a_newer_version_says_is_kept_passed_on_and_counted() {
    let mut programme = Programme::new();
    programme.say(&Body::Unknown {
        kind: 200,
        bytes: b"from the future".to_vec(),
    });
    programme.set(&device(1), Role::Device, &[(NORTH, Access::Write)]);
    assert_eq!(programme.membership().not_understood(), 1);
    let copy = replay(&programme.log, 1_000);
    assert_eq!(copy.head(), programme.log.head());
    let entry = AuthorityEntry::parse(&copy.entries_from(3, 0)[0]).unwrap();
    assert!(matches!(entry.body, Body::Unknown { kind: 200, .. }));
    let mut newer = programme.log.entries_from(3, 0)[0].to_vec();
    newer[0] = 2;
    assert_eq!(
        AuthorityEntry::parse(&newer),
        Err(Malformed::Version(2)),
        "another layout is not guessed at"
    );
}

fn a_leaf(number: u64) -> Leaf {
    Leaf {
        scope: NORTH,
        lane: Lane::Urgent,
        incarnation: Incarnation([1; 16]),
        number,
        id: EntryId([number as u8; 32]),
    }
}

#[test]
fn lists_have_one_form() {
    let mut programme = Programme::new();
    let mut team = programme.member_set(
        &device(1),
        Role::Device,
        &[
            (SOUTH, Access::Read),
            (NORTH, Access::Write),
            (SOUTH, Access::Write),
        ],
    );
    let bytes = programme
        .log
        .sign(&programme.authority, &Body::MemberSet(team.clone()))
        .unwrap();
    team.scopes = vec![(NORTH, Access::Write), (SOUTH, Access::Write)];
    assert_eq!(
        AuthorityEntry::parse(&bytes).unwrap().body,
        Body::MemberSet(team)
    );
    let leaves = vec![a_leaf(3), a_leaf(2), a_leaf(3)];
    let device = device(1).device();
    let body = Body::LeavesAccepted { device, leaves };
    let bytes = programme.log.sign(&programme.authority, &body).unwrap();
    let leaves = vec![a_leaf(2), a_leaf(3)];
    assert_eq!(
        AuthorityEntry::parse(&bytes).unwrap().body,
        Body::LeavesAccepted { device, leaves }
    );
    programme.log.append_verified(&bytes).unwrap();
    // The same list out of order, truly signed, is refused: it would be a second form.
    let at = bytes.len() - 64 - 2 * 73;
    let (first, second) = (at..at + 73, at + 73..at + 146);
    let next = programme.log.next_height();
    for leaves in [[second, first.clone()], [first.clone(), first]] {
        let leaves = leaves.map(|leaf| bytes[leaf].to_vec()).concat();
        let body = [&bytes[73..at], &leaves].concat();
        let forged = signed_by(0xa1, &programme.log, next, &body);
        assert_eq!(
            programme.log.append_verified(&forged),
            Err(AuthorityError::Malformed(Malformed::Field("leaves")))
        );
    }
}

#[test]
fn what_does_not_fit_is_not_signed() {
    let programme = Programme::new();
    let device = device(1).device();
    for count in [300, 70_000] {
        let leaves = (1..=count).map(a_leaf).collect();
        assert!(matches!(
            programme
                .log
                .sign(&programme.authority, &Body::LeavesAccepted { device, leaves }),
            Err(SignError::TooLong(bytes)) if bytes > limits::AUTHORITY_ENTRY_BYTES_MAX
        ));
    }
    let scopes = (0..=limits::MEMBER_SCOPES_MAX)
        .map(|at| (ScopeId((at as u128 + 1).to_be_bytes()), Access::Read))
        .collect();
    let body = Body::Narrowed {
        device,
        scopes,
        leaves: vec![],
    };
    assert_eq!(
        programme.log.sign(&programme.authority, &body),
        Err(SignError::Body(Malformed::Field("scopes")))
    );
    let known_kind = Body::Unknown {
        kind: 1,
        bytes: vec![],
    };
    assert!(matches!(
        programme.log.sign(&programme.authority, &known_kind),
        Err(SignError::Body(_))
    ));
}

#[test]
fn scopes_keys_names_and_singletons_are_told() {
    let mut programme = Programme::new();
    programme.set(&device(1), Role::Device, &[(NORTH, Access::Write)]);
    let rotated = scope_key(NORTH, 2);
    programme.say(&Body::ScopeKeyRotated {
        scope: NORTH,
        number: 2,
        key: rotated.commitment(),
    });
    // The first entry that names a number holds.
    programme.say(&Body::ScopeKeyRotated {
        scope: NORTH,
        number: 2,
        key: scope_key(SOUTH, 2).commitment(),
    });
    let own = scope_key(NORTH, BEFORE_GRANT);
    programme.say(&Body::ScopeKeyRotated {
        scope: NORTH,
        number: BEFORE_GRANT,
        key: own.commitment(),
    });
    assert_eq!(programme.membership().announces(&own), None);
    let document = DocumentId([5; 16]);
    for root in [6, 7] {
        programme.say(&Body::SingletonFixed {
            scope: NORTH,
            document,
            root: ChangeHash([root; 32]),
        });
    }
    let membership = programme.membership();
    assert_eq!(membership.newest_key(&NORTH), Some(2));
    assert_eq!(membership.scope(&NORTH).unwrap().newest_key, 2);
    assert_eq!(membership.scope(&SOUTH).unwrap().newest_key, 1);
    assert_eq!(membership.announces(&rotated), Some(true));
    let foreign = ScopeKey::new(NORTH, 2, &[0; 32]);
    assert_eq!(membership.announces(&foreign), Some(false));
    assert_eq!(membership.announces(&scope_key(NORTH, 3)), None);
    assert_eq!(membership.announces(&programme.programme_key), Some(true));
    assert_eq!(
        membership.singleton(&NORTH, &document),
        Some(ChangeHash([6; 32]))
    );
    let mut keyring = Keyring::new();
    let north = membership.scope_name(&NORTH, &keyring).unwrap();
    assert!(
        north.is_err(),
        "without the programme key a name says nothing"
    );
    keyring.insert(programme.programme_key.clone()).unwrap();
    let north = membership.scope_name(&NORTH, &keyring).unwrap();
    assert_eq!(north.as_deref(), Ok("north/hazards"));
    let name = membership.member_name(&device(1).device(), &keyring);
    assert_eq!(name.unwrap().as_deref(), Ok("T7 Delta"));
    let members: Vec<_> = membership.members_of(&NORTH).collect();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].1, Access::Write);
}

#[test]
fn a_clone_of_the_membership_stays_as_it_was() {
    let mut programme = Programme::new();
    programme.set(&device(1), Role::Device, &[(NORTH, Access::Write)]);
    let before = programme.membership().clone();
    let head = before.head();
    programme.revoke(&device(1), &[]);
    assert_eq!(before.head(), head);
    assert_eq!(before.scopes_now(&device(1).device()).len(), 1);
    assert!(
        programme
            .membership()
            .scopes_now(&device(1).device())
            .is_empty()
    );
}
