//! Crashes, rebuilt tables, copies of a folder, late keys, revocation, and what the disk shows.

mod programme;

use cairn_keys::{Access, Grant, Leaf, Role};
use cairn_member::{ImportRow, Imported, Importing, Member, RowOutcome, TableKey};
use cairn_records::{Edit, Envelope, input};
use cairn_store::disk::Disk as _;
use cairn_store::{Store, TableName, Unsynced, WriteSet};
use programme::{OF, Programme, Replica, SCOPE, exchange, kind, set, square};

fn team(programme: &mut Programme, name: &str) -> Replica {
    programme.member(name, Role::Device, Access::Write)
}

#[test]
fn tables_made_anew_from_the_segments_show_the_same() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let mut bravo = team(&mut programme, "T5 Bravo");
    programme.tell(&mut alpha);
    let area = alpha.new_area(&["hazard_class=confirmed", &square(44.0, 18.0, 50)]);
    alpha.edit(&area, &["slope=steep"]);
    exchange(&mut alpha, &mut bravo);
    bravo.edit(&area, &["slope=flat"]);
    alpha.edit(&area, &["slope=gentle"]);
    exchange(&mut alpha, &mut bravo);
    // Unsealed at the time of the crash.
    alpha.edit(&area, &["vegetation=grass"]);
    alpha.new_area(&["local_id=HA-2"]);
    let (before, status) = (alpha.picture(), alpha.status());
    assert_eq!(status.unsent_changes, 6);

    let generation = alpha.store.derived_generation();
    let disk = alpha.disk.crash(Unsynced::Dropped, 1);
    let mut again = programme.open(alpha.member.clone(), disk);
    assert_ne!(again.store.derived_generation(), generation);
    again.catch_up();
    assert_eq!(again.picture(), before);
    assert_eq!(again.status(), status);
}

#[test]
fn a_crash_between_outbox_and_sealing_neither_loses_nor_doubles() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let mut bravo = team(&mut programme, "T5 Bravo");
    programme.tell(&mut alpha);
    let area = alpha.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    for number in 0..5 {
        alpha.edit(&area, &[&format!("local_id=HA-{number}")]);
    }
    let before = alpha.disk.operations() as usize;
    let picture = alpha.picture();
    alpha.seal();
    let after = alpha.disk.operations() as usize;
    assert!(after > before);
    let mut images = 0;
    for at in before..=after {
        for unsynced in Unsynced::ALL {
            let disk = alpha.disk.image_at(at, unsynced, at as u64);
            let mut again = programme.open(alpha.member.clone(), disk);
            again.catch_up();
            assert_eq!(again.picture(), picture, "image {at} {unsynced:?}");
            again.seal();
            assert_eq!(again.store.outbox_len(), 0);
            let mut changes = 0;
            let mut other = programme.open(bravo.member.clone(), bravo.disk.copy());
            other.catch_up();
            changes += again.send_to(&mut other).changes_applied;
            assert_eq!(changes, 6, "image {at} {unsynced:?}");
            assert_eq!(other.picture(), picture);
            images += 1;
        }
    }
    assert!(images >= 6, "{images}");
    exchange(&mut alpha, &mut bravo);
    assert_eq!(alpha.picture(), bravo.picture());
}

#[test]
fn both_copies_of_a_folder_keep_working_and_a_third_device_has_it_all() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let mut third = team(&mut programme, "T9");
    programme.tell(&mut alpha);
    let area = alpha.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    alpha.seal();
    let mut copy = programme.open(alpha.member.clone(), alpha.disk.copy());
    copy.catch_up();
    assert_eq!(
        copy.store.incarnation(),
        alpha.store.incarnation(),
        "nobody noticed"
    );

    alpha.edit(&area, &["slope=steep"]);
    let made = copy.new_area(&["local_id=HA-copy"]);
    alpha.seal();
    copy.seal();
    alpha.send_to(&mut third);
    copy.send_to(&mut third);
    assert_eq!(third.store.forked_logs(OF).len(), 1);
    assert_eq!(third.status().forked_logs, 1);
    assert_eq!(third.field(&made, "local_id")["reads"], "HA-copy");

    // What the other copy wrote comes back, and each goes on in a log of its own.
    let old = alpha.store.incarnation();
    assert!(third.send_to(&mut alpha).own_log_returned);
    assert!(third.send_to(&mut copy).own_log_returned);
    alpha.edit(&area, &["slope=gentle"]);
    copy.edit(&area, &["vegetation=grass"]);
    assert!(alpha.seal().new_incarnation);
    assert!(copy.seal().new_incarnation);
    assert_ne!(alpha.store.incarnation(), old);
    assert_ne!(copy.store.incarnation(), alpha.store.incarnation());
    exchange(&mut alpha, &mut third);
    exchange(&mut copy, &mut third);
    exchange(&mut alpha, &mut third);
    assert_eq!(alpha.picture(), third.picture());
    assert_eq!(copy.picture(), third.picture());
    let status = third.status();
    assert_eq!(
        (status.forked_logs, status.waiting, status.quarantined),
        (1, 0, 0)
    );
    // Once begun anew, it stays.
    alpha.edit(&area, &["slope=flat"]);
    assert!(!alpha.seal().new_incarnation);
}

#[test]
fn entries_wait_for_their_key_and_open_when_it_comes() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let secret = cairn_keys::DeviceSecret::from_bytes(&[77; 64]);
    let mut late = programme.replica(secret.clone());
    programme.tell(&mut late);
    let area = alpha.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    let taken = alpha.send_to(&mut late);
    assert_eq!((taken.entries_locked, taken.changes_applied), (1, 0));
    assert_eq!(late.status().locked_entries, 1);
    let grant = Grant::seal(
        programme.log.programme(),
        &programme.scope_key,
        &secret.public(),
        &[5; 32],
    )
    .unwrap();
    late.put_grants(&[grant]);
    assert_eq!(late.catch_up().changes_applied, 1);
    let status = late.status();
    assert_eq!((status.locked_entries, status.documents), (0, 1));
    assert_eq!(late.field(&area, "slope")["reads"], "flat");
}

#[test]
fn what_a_revoked_device_wrote_later_reads_unverified_and_lists_follow() {
    let mut programme = Programme::found();
    let mut centre = programme.member("Centre", Role::Ops, Access::Decide);
    let mut rogue = programme.member("T6", Role::Ops, Access::Decide);
    programme.tell(&mut centre);
    let area = centre.new_area(&[
        "hazard_class=confirmed",
        "status=open",
        &square(44.0, 18.0, 50),
    ]);
    centre.send_to(&mut rogue);
    let moment = rogue.moment();
    let closed = cairn_records::Choice::Value("closed".into());
    let name = area.id.to_string();
    rogue
        .member
        .decide(
            &mut *rogue.store,
            &moment,
            &name,
            None,
            Some("status"),
            &closed,
            "clean",
        )
        .unwrap();
    rogue.send_to(&mut centre);
    assert_eq!(centre.field(&area, "status")["reads"], "closed");
    let line = centre
        .member
        .line(&*centre.store, &SCOPE, &area.id)
        .unwrap()
        .unwrap();
    assert_eq!(line.summary.status.as_deref(), Some("closed"));

    programme.revoke(rogue.device(), vec![]);
    programme.tell(&mut centre);
    assert_eq!(centre.field(&area, "status")["reads"], "open");
    let line = centre
        .member
        .line(&*centre.store, &SCOPE, &area.id)
        .unwrap()
        .unwrap();
    assert_eq!(
        line.summary.status.as_deref(),
        Some("open"),
        "the list follows"
    );

    // Accepted after all: what the leaf reaches counts again.
    let leaves = centre.store.leaves(OF);
    let leaf = leaves
        .iter()
        .find(|leaf| leaf.log.device == rogue.device())
        .unwrap();
    programme.sign(&cairn_keys::Body::LeavesAccepted {
        device: rogue.device(),
        leaves: vec![Leaf {
            scope: SCOPE,
            lane: OF.lane,
            incarnation: leaf.log.incarnation,
            number: leaf.number,
            id: leaf.id,
        }],
    });
    programme.tell(&mut centre);
    let status = centre.field(&area, "status");
    assert!(
        status["values"]
            .as_array()
            .unwrap()
            .iter()
            .all(|value| value["verified"] == true),
        "{status}"
    );
}

/// Imports rows known by a key of their source, a boundary and some values each.
fn import(
    replica: &mut Replica,
    dry_run: bool,
    rows: Vec<Vec<Edit>>,
) -> (Imported, Vec<(u64, RowOutcome)>) {
    let moment = replica.moment();
    let mut outcomes = Vec::new();
    let mut clock = 0;
    let rows: Vec<ImportRow> = rows
        .into_iter()
        .zip(1..)
        .map(|(edits, row)| ImportRow {
            row,
            envelope: Envelope::default(),
            edits,
            copy_of: None,
        })
        .collect();
    let imported = replica
        .member
        .import_rows(
            &mut *replica.store,
            &moment,
            &mut Importing::new(SCOPE, kind(), dry_run),
            &mut rows.into_iter(),
            &mut || {
                clock += 10;
                clock
            },
            &mut |row, outcome| outcomes.push((row, outcome)),
        )
        .unwrap();
    outcomes.sort_by_key(|(row, _)| *row);
    (imported, outcomes)
}

fn row(number: u32, values: &[&str]) -> Vec<Edit> {
    let mut row = set(values);
    row.extend(set(&[
        &format!("external_id=uuid:{number}"),
        &square(44.0 + f64::from(number) * 0.01, 18.0, 20),
    ]));
    row
}

#[test]
fn an_import_takes_each_row_once_wherever_it_came_from() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let mut bravo = team(&mut programme, "T5 Bravo");
    programme.tell(&mut alpha);
    let rows = |slope: &str| -> Vec<Vec<Edit>> {
        (1..=40)
            .map(|number| {
                let slope = if number <= 3 { slope } else { "flat" };
                row(number, &[&format!("slope={slope}")])
            })
            .collect()
    };
    let (dry, _) = import(&mut alpha, true, rows("flat"));
    assert_eq!((dry.taken, alpha.store.outbox_len()), (40, 0));
    assert_eq!(alpha.status().documents, 0, "a dry run writes nothing");
    let (first, outcomes) = import(&mut alpha, false, rows("flat"));
    assert_eq!(
        (first.considered, first.taken, first.duplicates),
        (40, 40, 0)
    );
    assert_eq!(outcomes.len(), 40);
    let saved_together = alpha.store.outbox_len();
    assert!((4..40).contains(&saved_together), "{saved_together} frames");
    exchange(&mut alpha, &mut bravo);
    let (dry, _) = import(&mut bravo, true, rows("steep"));
    assert_eq!((dry.updated, dry.unchanged), (3, 37));
    let (second, outcomes) = import(&mut bravo, false, rows("steep"));
    assert_eq!(
        (second.taken, second.updated, second.unchanged),
        (0, 3, 37),
        "and the dry run before it wrote nothing"
    );
    assert!(matches!(outcomes[0], (1, RowOutcome::Updated(_))));
    assert!(matches!(outcomes[39], (40, RowOutcome::Unchanged(_))));
    exchange(&mut alpha, &mut bravo);
    assert_eq!(alpha.picture(), bravo.picture());
    assert_eq!(alpha.status().documents, 40);
}

#[test]
fn a_later_file_proposes_what_is_safer_and_sets_no_correction_back() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    programme.tell(&mut alpha);
    let first = row(
        1,
        &["hazard_class=confirmed", "local_id=HA-1", "slope=flat"],
    );
    import(&mut alpha, false, vec![first]);
    let moment = alpha.moment();
    alpha
        .member
        .edit(
            &mut *alpha.store,
            &moment,
            "HA-1",
            None,
            &set(&["slope=steep"]),
        )
        .unwrap();
    let later = row(
        1,
        &["hazard_class=suspected", "local_id=HA-1", "slope=flat"],
    );
    let (imported, outcomes) = import(&mut alpha, false, vec![later.clone()]);
    assert_eq!(imported.updated, 1);
    let RowOutcome::Updated(compared) = &outcomes[0].1 else {
        panic!("{outcomes:?}");
    };
    assert_eq!(compared.proposals, ["hazard_class"], "a lower class waits");
    assert_eq!(compared.kept, ["slope"], "what people changed stays");
    let shown = alpha
        .member
        .show(&*alpha.store, alpha.store.membership(), "HA-1", None)
        .unwrap();
    assert_eq!(
        shown.record.reads("hazard_class").as_text(),
        Some("confirmed")
    );
    assert_eq!(shown.record.reads("slope").as_text(), Some("steep"));
    // The same file again says nothing new; two rows of one key in a file are one after the other.
    let (again, _) = import(&mut alpha, false, vec![later]);
    assert_eq!((again.updated, again.unchanged), (0, 1));
    let twice = vec![row(2, &["vegetation=grass"]), row(2, &["vegetation=trees"])];
    let (twice, _) = import(&mut alpha, false, twice);
    assert_eq!((twice.taken, twice.updated), (1, 1));
}

#[test]
fn a_folder_shows_nothing_of_what_was_typed() {
    let mut programme = Programme::found();
    let folder = tempfile::tempdir().unwrap();
    let secret = cairn_keys::DeviceSecret::from_bytes(&[78; 64]);
    let fresh = cairn_store::Fresh([3; 48]);
    let mut options = cairn_store::OpenOptions::new(secret.device(), fresh);
    options.programme = Some(programme.log.programme());
    let (store, _) = cairn_store::SegmentStore::open(folder.path(), &options).unwrap();
    let mut store: Box<dyn Store> = Box::new(store);
    let mut alpha = team(&mut programme, "T3 Alpha");
    let entries = programme.log.entries_from(0, usize::MAX);
    store
        .append_authority(entries.iter().map(|entry| entry.to_vec()).collect())
        .unwrap();
    let mut member = Member::new(secret, TableKey::from_bytes(&[9; 32]));
    member.insert_key(programme.scope_key.clone()).unwrap();
    let canary = "KANARIENVOGEL";
    let texts = [
        format!("local_id={canary}-1"),
        format!("access_notes=behind the mill of {canary}"),
        square(44.8765432, 16.1234567, 50),
    ];
    let edits = set(&texts.each_ref().map(String::as_str));
    let envelope = Envelope {
        created_by: Some(format!("{canary} Person")),
        ..Envelope::default()
    };
    let moment = alpha.moment();
    let saved = member
        .new_record(&mut *store, &moment, SCOPE, kind(), &envelope, &edits)
        .unwrap();
    let add = input::add(kind(), "direct_evidence=detonation").unwrap();
    let moment = alpha.moment();
    member
        .edit(&mut *store, &moment, &saved.id.to_string(), None, &[add])
        .unwrap();
    member
        .seal_outbox(&mut *store, None, cairn_wire::Incarnation([1; 16]))
        .unwrap();
    member.catch_up(&mut *store).unwrap();
    store.sync_point().unwrap();
    store.close().unwrap();

    let mut files = 0;
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for item in std::fs::read_dir(next).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            files += 1;
            let lat = 448_765_432_i32;
            let needles: [&[u8]; 8] = [
                canary.as_bytes(),
                b"north/hazards",
                b"hazardous_area",
                b"detonation",
                b"44.8765432",
                b"448765432",
                &lat.to_be_bytes(),
                &lat.to_le_bytes(),
            ];
            for needle in needles {
                let found = bytes.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "{} shows {needle:?}", path.display());
            }
        }
    }
    assert!(files >= 3, "{files} files");
}

#[test]
fn an_index_that_does_not_open_under_the_key_says_so() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let area = alpha.new_area(&["slope=flat"]);
    // Somebody writes noise under every key of the list.
    let rows = alpha
        .store
        .scan(TableName::Summaries, &[], None, 10)
        .unwrap();
    let mut writes = WriteSet::new();
    for (key, mut value) in rows {
        value[30] ^= 1;
        writes.put(TableName::Summaries, key, value);
    }
    alpha.store.apply(writes).unwrap();
    let asked = alpha.member.find(&*alpha.store, &area.id.to_string());
    assert!(
        matches!(asked, Err(cairn_member::MemberError::Tables(_))),
        "{asked:?}"
    );
}

#[test]
fn trust_that_hangs_on_a_leaf_comes_when_the_leaf_does() {
    let mut programme = Programme::found();
    let mut centre = programme.member("Centre", Role::Ops, Access::Decide);
    let mut team = team(&mut programme, "T6");
    programme.tell(&mut centre);
    let area = team.new_area(&["slope=flat", &square(44.0, 18.0, 50)]);
    team.seal();
    team.edit(&area, &["slope=steep"]);
    team.seal();
    let entries: Vec<_> = team
        .store
        .journal(OF, 0, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|item| item.entry)
        .collect();
    let last = entries.last().unwrap();
    let leaf = Leaf {
        scope: SCOPE,
        lane: OF.lane,
        incarnation: last.header().log.incarnation,
        number: last.header().number,
        id: last.id(),
    };
    programme.revoke(team.device(), vec![leaf]);
    programme.tell(&mut centre);
    let give = |centre: &mut Replica, entry: &cairn_wire::Entry| {
        let incoming = cairn_store::Incoming {
            entry: entry.clone(),
            origins: vec![],
        };
        centre.store.append(vec![incoming]).unwrap();
        centre.catch_up();
    };
    let verified = |centre: &Replica| {
        let field = centre.field(&area, "slope");
        field["values"][0]["verified"].as_bool().unwrap()
    };
    give(&mut centre, &entries[0]);
    assert!(!verified(&centre), "the leaf is not here yet");
    give(&mut centre, &entries[1]);
    assert!(verified(&centre));
    assert_eq!(centre.field(&area, "slope")["reads"], "steep");
}

#[test]
fn what_cannot_be_saved_is_kept_as_a_draft() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let long = |letter: &str| letter.repeat(16_000);
    let texts = [
        format!("description={}", long("a")),
        format!("access_notes={}", long("b")),
        format!("location_name={}", long("c")),
        "local_id=HA-7".to_owned(),
    ];
    let edits = set(&texts.each_ref().map(String::as_str));
    let mut edits_too_many = edits.clone();
    for field in ["points", "direct_evidence"] {
        let code = if field == "points" {
            "turning"
        } else {
            "detonation"
        };
        for _ in 0..40 {
            edits_too_many.extend(input::add(kind(), &format!("{field}={code}")));
        }
    }
    let refused = alpha.try_new(&edits_too_many).unwrap_err();
    let cairn_member::MemberError::Request(cairn_member::RequestError::Rule { draft, .. }) =
        refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((draft, alpha.status().drafts), (1, 1));
    assert_eq!(alpha.status().documents, 0);
    let kept = alpha.member.draft(&*alpha.store, 1).unwrap().unwrap();
    assert!(
        kept.contains("HA-7") || kept.contains("aaaa"),
        "{}",
        &kept[..200]
    );
    assert_eq!(alpha.member.draft(&*alpha.store, 2).unwrap(), None);
    let files = alpha.disk.list().unwrap();
    assert!(!files.is_empty());
    for name in files {
        let bytes = alpha.disk.content(&name).unwrap();
        assert!(
            !bytes.windows(8).any(|window| window == b"aaaaaaaa"),
            "{name}"
        );
    }
}

#[test]
fn a_record_that_many_wrote_at_once_is_merged_before_it_is_edited() {
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let area = alpha.new_area(&["slope=flat"]);
    let root = alpha.show(&area).heads;
    for number in 0..70 {
        let edits = set(&[&format!("local_id=HA-{number}")]);
        alpha.edit_seen(&area, Some(&root), &edits).unwrap();
    }
    assert_eq!(alpha.show(&area).heads.len(), 70);
    let saved = alpha.edit(&area, &["vegetation=grass"]);
    assert_eq!(saved.heads.len(), 1);
    let field = alpha.field(&area, "local_id");
    assert_eq!(
        field["values"].as_array().unwrap().len(),
        70,
        "merging settles nothing"
    );
    assert_eq!(field["conflict"], true);
}

#[test]
fn what_the_centre_signed_for_is_seen_and_no_more() {
    use cairn_member::receipt::{Exception, Receipt, UpTo};
    let mut programme = Programme::found();
    let mut alpha = team(&mut programme, "T3 Alpha");
    let centre = programme.member("Centre", Role::Centre, Access::Decide);
    programme.tell(&mut alpha);
    let areas: Vec<_> = (0..3)
        .map(|number| {
            let area = alpha.new_area(&[&format!("local_id=HA-{number}")]);
            alpha.seal();
            area
        })
        .collect();
    let items = alpha.store.journal(OF, 0, usize::MAX).unwrap();
    let mut receipt = Receipt {
        programme: programme.log.programme(),
        centre: centre.device(),
        log: items[1].entry.header().log,
        branch: [0; 8],
        counter: 1,
        opened: UpTo {
            number: 2,
            id: items[1].entry.id(),
        },
        backed_up: UpTo::NONE,
        exceptions: [(items[0].entry.id(), Exception::Waiting)].into(),
    };
    let put = |alpha: &mut Replica, receipt: &Receipt| {
        let bytes = receipt.sign(centre.member.secret()).unwrap();
        alpha
            .store
            .put_receipts(vec![receipt.side_object(&bytes)])
            .unwrap();
    };
    put(&mut alpha, &receipt);
    use cairn_member::Stage::{OnThisDevice, SeenByCentre};
    let stages = |alpha: &Replica| {
        areas
            .iter()
            .map(|area| alpha.show(area).stage())
            .collect::<Vec<_>>()
    };
    assert_eq!(stages(&alpha), [OnThisDevice, SeenByCentre, OnThisDevice]);
    receipt.counter = 2;
    receipt.exceptions.clear();
    receipt.opened = UpTo {
        number: 3,
        id: items[2].entry.id(),
    };
    put(&mut alpha, &receipt);
    assert_eq!(stages(&alpha), [SeenByCentre; 3]);
    // A log that forked: what the centre opened is another branch than ours.
    receipt.counter = 3;
    receipt.opened.id = cairn_wire::EntryId([9; 32]);
    put(&mut alpha, &receipt);
    assert_eq!(stages(&alpha), [OnThisDevice; 3]);
}
