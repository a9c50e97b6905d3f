//! Revocations, cuts and rights: whose word counts, and from when on it does not.

use crate::programme::{NORTH, Programme, SOUTH, Stored, device, leaf, log_of};
use cairn_keys::{Access, Body, DeviceSecret, Leaf, Position, Role, Standing};
use cairn_wire::{AuthorityRef, Entry, Lane};

struct Field {
    programme: Programme,
    stored: Stored,
    team: DeviceSecret,
    enrolled: AuthorityRef,
}

impl Field {
    /// A team with that access to the north.
    fn new(role: Role, access: Access) -> Self {
        let mut programme = Programme::new();
        let team = device(7);
        let enrolled = programme.set(&team, role, &[(NORTH, access)]);
        Self {
            programme,
            stored: Stored::default(),
            team,
            enrolled,
        }
    }

    fn write(&mut self, incarnation: u8, authority: AuthorityRef, count: usize) -> Vec<Entry> {
        let log = log_of(&self.team, NORTH, Lane::Urgent, incarnation);
        self.stored
            .write_log(&self.programme, &self.team, log, authority, count)
    }

    fn follow(&mut self, previous: &Entry, authority: AuthorityRef, text: &str) -> Entry {
        let log = previous.header().log;
        self.stored.write(
            &self.programme,
            &self.team,
            log,
            Some(previous),
            authority,
            text,
        )
    }

    fn verified(&self, entry: &Entry) -> bool {
        self.stored.verified(self.programme.membership(), entry)
    }

    fn all_verified(&self, entries: &[Entry]) -> Vec<bool> {
        entries.iter().map(|entry| self.verified(entry)).collect()
    }

    fn decides(&self, entry: &Entry) -> bool {
        self.stored.decides(self.programme.membership(), entry)
    }

    fn all_decide(&self, entries: &[Entry]) -> Vec<bool> {
        entries.iter().map(|entry| self.decides(entry)).collect()
    }
}

#[test]
fn a_stranger_is_not_admitted_and_not_verified() {
    let mut field = Field::new(Role::Device, Access::Write);
    let stranger = device(99);
    let log = log_of(&stranger, NORTH, Lane::Urgent, 1);
    let head = field.programme.log.head();
    let entry = field
        .stored
        .write(&field.programme, &stranger, log, None, head, "x");
    let membership = field.programme.membership();
    assert!(!membership.was_ever_member_of(&stranger.device(), &NORTH));
    assert_eq!(membership.standing(&stranger.device()), Standing::Unknown);
    assert!(!field.verified(&entry));
    assert!(!field.decides(&entry));
}

#[test]
fn a_member_is_verified_in_its_scopes_only() {
    let mut field = Field::new(Role::Device, Access::Write);
    let log = log_of(&field.team, SOUTH, Lane::Urgent, 1);
    let head = field.programme.log.head();
    let south = field
        .stored
        .write(&field.programme, &field.team, log, None, head, "x");
    let north = field.write(1, field.enrolled, 1);
    assert!(field.verified(&north[0]));
    assert!(!field.verified(&south));
    let membership = field.programme.membership();
    assert!(membership.was_ever_member_of(&field.team.device(), &NORTH));
    assert!(!membership.was_ever_member_of(&field.team.device(), &SOUTH));
}

#[test]
fn what_was_written_before_enrolment_is_verified_after_it_and_decides_nothing() {
    let mut field = Field::new(Role::Device, Access::Write);
    let before = AuthorityRef {
        height: field.enrolled.height - 1,
        id: field
            .programme
            .log
            .id_at(field.enrolled.height - 1)
            .unwrap()
            .at(0)
            .id,
    };
    let deferred = field.write(1, before, 1);
    assert!(field.verified(&deferred[0]));
    assert!(!field.decides(&deferred[0]));
}

#[test]
fn a_reader_writes_nothing_that_counts() {
    let mut field = Field::new(Role::Viewer, Access::Read);
    let entries = field.write(1, field.enrolled, 1);
    assert!(!field.verified(&entries[0]));
}

#[test]
fn a_revocation_cuts_at_the_named_leaves() {
    let mut field = Field::new(Role::Device, Access::Write);
    let named = field.write(1, field.enrolled, 4);
    let unnamed_incarnation = field.write(2, field.enrolled, 2);
    let lane = log_of(&field.team, NORTH, Lane::Records, 1);
    let unnamed_lane =
        field
            .stored
            .write_log(&field.programme, &field.team, lane, field.enrolled, 2);
    let branch = field.follow(&named[0], field.enrolled, "branch at number 2");
    assert!(field.verified(&branch));
    field.programme.revoke(&field.team, &[leaf(&named[1])]);
    assert_eq!(field.all_verified(&named), [true, true, false, false]);
    assert_eq!(field.all_verified(&unnamed_incarnation), [false, false]);
    assert_eq!(field.all_verified(&unnamed_lane), [false, false]);
    assert!(
        !field.verified(&branch),
        "a branch is not reached from the leaf"
    );
    let membership = field.programme.membership();
    let key = field.team.device();
    assert_eq!(membership.standing(&key), Standing::Revoked);
    assert!(membership.scopes_now(&key).is_empty());
    assert!(
        membership.was_ever_member_of(&key, &NORTH),
        "still admitted"
    );
}

#[test]
fn entries_that_claim_an_authority_entry_after_the_revocation_are_not_verified() {
    let mut field = Field::new(Role::Device, Access::Write);
    let written = field.write(1, field.enrolled, 1);
    let revoked = field.programme.revoke(&field.team, &[leaf(&written[0])]);
    let thief = field.follow(&written[0], revoked, "by a thief");
    let unknown = AuthorityRef {
        height: 1_000,
        id: [9; 8],
    };
    let guess = field.follow(&written[0], unknown, "by a guessing thief");
    assert!(!field.verified(&thief));
    assert!(!field.verified(&guess));
}

#[test]
fn a_later_entry_that_names_a_leaf_above_verifies_what_it_reaches() {
    let mut field = Field::new(Role::Device, Access::Write);
    let written = field.write(1, field.enrolled, 5);
    field.programme.accept(&field.team, &[leaf(&written[4])]);
    field.programme.revoke(&field.team, &[leaf(&written[0])]);
    let cut = [true, false, false, false, false];
    assert_eq!(field.all_verified(&written), cut, "accepted before the cut");
    field.programme.accept(&field.team, &[leaf(&written[2])]);
    assert_eq!(
        field.all_verified(&written),
        [true, true, true, false, false]
    );
    field.programme.revoke(&field.team, &[leaf(&written[3])]);
    assert_eq!(
        field.all_verified(&written),
        [true, true, true, true, false]
    );
    field.programme.revoke(&field.team, &[]);
    assert_eq!(
        field.all_verified(&written),
        [false; 5],
        "the last revocation names nothing"
    );
}

#[test]
fn a_leaf_that_is_not_held_vouches_once_it_is() {
    let mut field = Field::new(Role::Device, Access::Write);
    let written = field.write(1, field.enrolled, 3);
    field.programme.revoke(&field.team, &[leaf(&written[2])]);
    assert_eq!(field.all_verified(&written), [true; 3]);
    field.stored.forget(&written[2]);
    assert_eq!(field.all_verified(&written[..2]), [false; 2]);
}

#[test]
fn a_member_that_is_set_again_starts_anew_and_the_gap_stays_unverified() {
    let mut field = Field::new(Role::Device, Access::Write);
    let written = field.write(1, field.enrolled, 3);
    field.programme.revoke(&field.team, &[leaf(&written[0])]);
    let again = field
        .programme
        .set(&field.team, Role::Device, &[(NORTH, Access::Write)]);
    let after = field.follow(&written[2], again, "found again");
    let backdated = field.follow(&written[2], field.enrolled, "backdated");
    let guessed = AuthorityRef {
        height: again.height,
        id: [9; 8],
    };
    let guessed = field.follow(&written[2], guessed, "naming the height but not the id");
    assert_eq!(field.all_verified(&written), [true, false, false]);
    assert!(field.verified(&after));
    assert!(!field.verified(&backdated));
    assert!(!field.verified(&guessed));
    assert!(field.decides(&after));
    assert!(!field.decides(&backdated), "later grants revive nothing");
    assert_eq!(
        field.programme.membership().standing(&field.team.device()),
        Standing::Member
    );
    field.programme.revoke(&field.team, &[leaf(&after)]);
    assert!(field.verified(&after));
    let later = field.follow(&after, again, "after the second revocation");
    assert!(!field.verified(&later));
}

#[test]
fn only_a_member_that_was_revoked_and_set_again_with_scopes_has_them() {
    let mut field = Field::new(Role::Device, Access::Write);
    field.programme.revoke(&field.team, &[]);
    field
        .programme
        .set(&field.team, Role::Device, &[(SOUTH, Access::Read)]);
    assert_eq!(
        field
            .programme
            .membership()
            .scopes_now(&field.team.device()),
        [(SOUTH, Access::Read)],
        "what was before the revocation does not come back by itself"
    );
}

#[test]
fn who_may_decide_follows_role_access_and_policy() {
    for (role, access, by_default, narrow_policy) in [
        (Role::Device, Access::Read, false, false),
        (Role::Device, Access::Write, true, false),
        (Role::Device, Access::Decide, true, true),
        (Role::Ops, Access::Write, true, false),
        (Role::Viewer, Access::Write, false, false),
        (Role::Viewer, Access::Decide, false, false),
        (Role::Hub, Access::Decide, false, false),
        (Role::Relay, Access::Decide, false, false),
        (Role::Centre, Access::Write, false, false),
        (Role::Centre, Access::Decide, true, true),
    ] {
        let mut field = Field::new(role, access);
        let entries = field.write(1, field.enrolled, 1);
        assert_eq!(field.decides(&entries[0]), by_default, "{role} {access}");
        let key = field.team.device();
        let membership = field.programme.membership();
        assert_eq!(membership.may_decide_now(&key, &NORTH), by_default);
        field.programme.say(&Body::RightsPolicy {
            rw_includes_decide: false,
            leaves: vec![],
        });
        assert_eq!(field.decides(&entries[0]), narrow_policy, "{role} {access}");
        let membership = field.programme.membership();
        assert_eq!(membership.may_decide_now(&key, &NORTH), narrow_policy);
        assert_eq!(
            field.verified(&entries[0]),
            access >= Access::Write,
            "deciding less is no distrust"
        );
    }
}

#[test]
fn a_withdrawn_policy_keeps_decisions_up_to_the_leaves() {
    let mut field = Field::new(Role::Device, Access::Write);
    let decisions = field.write(1, field.enrolled, 3);
    let withdrawn = field.programme.say(&Body::RightsPolicy {
        rw_includes_decide: false,
        leaves: vec![
            (field.team.device(), leaf(&decisions[1])),
            (device(50).device(), leaf(&decisions[2])),
        ],
    });
    assert_eq!(field.all_decide(&decisions), [true, true, false]);
    let after = field.follow(&decisions[2], withdrawn, "after");
    assert!(!field.decides(&after));
    let back = field.programme.say(&Body::RightsPolicy {
        rw_includes_decide: true,
        leaves: vec![],
    });
    let again = field.follow(&after, back, "allowed again");
    assert!(field.decides(&again));
    assert_eq!(field.all_decide(&decisions), [true, true, false]);
    field.programme.accept(&field.team, &[leaf(&decisions[2])]);
    assert_eq!(field.all_decide(&decisions), [true, true, true]);
}

#[test]
fn narrowing_the_right_to_decide_leaves_the_values() {
    let mut field = Field::new(Role::Centre, Access::Decide);
    let written = field.write(1, field.enrolled, 3);
    let narrowed = field.programme.narrow(
        &field.team,
        &[(NORTH, Access::Write), (SOUTH, Access::Decide)],
        &[leaf(&written[0])],
    );
    assert_eq!(field.all_decide(&written), [true, false, false]);
    assert_eq!(field.all_verified(&written), [true, true, true]);
    assert_eq!(
        field
            .programme
            .membership()
            .scopes_now(&field.team.device()),
        [(NORTH, Access::Write)],
        "narrowing gives nothing that was not there"
    );
    let after = field.follow(&written[2], narrowed, "after");
    assert!(field.verified(&after));
    assert!(!field.decides(&after));
    // A revocation's leaf says nothing about a right that was withdrawn before.
    field.programme.revoke(&field.team, &[leaf(&written[2])]);
    assert_eq!(field.all_verified(&written), [true, true, true]);
    assert_eq!(field.all_decide(&written), [true, false, false]);
}

#[test]
fn narrowing_the_right_to_write_cuts_the_values() {
    let mut field = Field::new(Role::Device, Access::Write);
    let written = field.write(1, field.enrolled, 2);
    let narrowed =
        field
            .programme
            .narrow(&field.team, &[(NORTH, Access::Read)], &[leaf(&written[0])]);
    let after = field.follow(&written[1], narrowed, "after");
    assert_eq!(field.all_verified(&written), [true, false]);
    assert!(!field.verified(&after));
    let again = field
        .programme
        .set(&field.team, Role::Device, &[(NORTH, Access::Write)]);
    let allowed = field.follow(&after, again, "allowed again");
    assert!(field.verified(&allowed));
    assert_eq!(field.all_verified(&written), [true, false]);
    assert!(!field.verified(&after));
}

#[test]
fn narrowing_one_scope_leaves_the_others() {
    let mut field = Field::new(Role::Device, Access::Write);
    field
        .programme
        .set(&field.team, Role::Device, &[(SOUTH, Access::Write)]);
    let head = field.programme.log.head();
    let log = log_of(&field.team, SOUTH, Lane::Records, 1);
    let south = field
        .stored
        .write_log(&field.programme, &field.team, log, head, 2);
    let north = field.write(1, head, 2);
    field
        .programme
        .narrow(&field.team, &[(SOUTH, Access::Write)], &[]);
    assert_eq!(field.all_verified(&south), [true, true]);
    assert_eq!(field.all_decide(&south), [true, true]);
    assert_eq!(field.all_verified(&north), [false, false]);
    assert_eq!(field.all_decide(&north), [false, false]);
}

#[test]
fn narrowing_gives_no_greater_access() {
    let mut field = Field::new(Role::Device, Access::Read);
    field
        .programme
        .narrow(&field.team, &[(NORTH, Access::Decide)], &[]);
    let membership = field.programme.membership();
    assert_eq!(
        membership.access_now(&field.team.device(), &NORTH),
        Some(Access::Read)
    );
}

#[test]
fn a_decision_that_is_not_verified_does_not_count() {
    let mut field = Field::new(Role::Centre, Access::Decide);
    let written = field.write(1, field.enrolled, 3);
    let (below, above) = (leaf(&written[0]), leaf(&written[2]));
    field
        .programme
        .narrow(&field.team, &[(NORTH, Access::Write)], &[above]);
    assert_eq!(field.all_decide(&written), [true; 3]);
    field
        .programme
        .narrow(&field.team, &[(NORTH, Access::Read)], &[below]);
    assert_eq!(field.all_verified(&written), [true, false, false]);
    assert_eq!(field.all_decide(&written), [true, false, false]);
}

#[test]
fn a_decision_under_an_authority_entry_that_is_not_held_does_not_count() {
    let mut field = Field::new(Role::Device, Access::Write);
    let same_height = AuthorityRef {
        height: field.enrolled.height,
        id: [9; 8],
    };
    let not_yet = AuthorityRef {
        height: field.enrolled.height + 1,
        id: field.enrolled.id,
    };
    for authority in [same_height, not_yet] {
        let entries = field.write(1, authority, 1);
        assert!(field.verified(&entries[0]));
        assert!(!field.decides(&entries[0]));
    }
}

#[test]
fn narrowing_never_brings_a_revoked_member_back() {
    let mut field = Field::new(Role::Device, Access::Write);
    field.programme.revoke(&field.team, &[]);
    field
        .programme
        .narrow(&field.team, &[(NORTH, Access::Write)], &[]);
    field
        .programme
        .narrow(&device(60), &[(NORTH, Access::Write)], &[]);
    let membership = field.programme.membership();
    assert_eq!(membership.standing(&field.team.device()), Standing::Revoked);
    assert_eq!(membership.standing(&device(60).device()), Standing::Unknown);
    assert!(membership.scopes_now(&field.team.device()).is_empty());
}

#[test]
fn a_second_setting_widens_and_a_lesser_role_cuts_decisions() {
    let mut field = Field::new(Role::Device, Access::Write);
    let decisions = field.write(1, field.enrolled, 1);
    field.programme.set(
        &field.team,
        Role::Viewer,
        &[(NORTH, Access::Read), (SOUTH, Access::Read)],
    );
    assert_eq!(
        field
            .programme
            .membership()
            .scopes_now(&field.team.device()),
        [(NORTH, Access::Write), (SOUTH, Access::Read)]
    );
    assert!(field.verified(&decisions[0]));
    assert!(!field.decides(&decisions[0]));
}

#[test]
fn the_authority_scope_is_nobodys_to_write() {
    let mut field = Field::new(Role::Device, Access::Write);
    let scope = cairn_wire::ScopeId::AUTHORITY;
    field
        .programme
        .set(&field.team, Role::Device, &[(scope, Access::Decide)]);
    let membership = field.programme.membership();
    assert!(!membership.was_ever_member_of(&field.team.device(), &scope));
}

#[test]
fn reaching_is_asked_only_of_leaves_of_the_same_log_above() {
    let mut field = Field::new(Role::Device, Access::Write);
    let written = field.write(1, field.enrolled, 3);
    let other = field.write(2, field.enrolled, 3);
    let leaves: Vec<Leaf> = [&written[0], &other[2]].map(leaf).to_vec();
    field.programme.revoke(&field.team, &leaves);
    let membership = field.programme.membership();
    let yes_to_all = |_: &Leaf| true;
    assert!(!membership.verified(&Position::of(&written[1]), &yes_to_all));
    assert!(membership.verified(&Position::of(&other[1]), &yes_to_all));
}
