//! Changes are made at the heads that were seen, and prove who made what.

mod world;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ReadDoc};
use cairn_documents::{
    Author, AuthorError, History, Place, Rule, TIME_S_MAX, Verdict, author_edit, author_merge,
    author_root, from_automerge, preflight,
};
use world::{KIND, Shelf, author, automerge_of, edit, origin, small_root};

#[test]
fn a_root_proves_its_document_and_its_author() {
    let by = author(1, 1);
    let root = small_root(&by, 1);
    assert_eq!(root.kind.as_deref(), Some(KIND));
    let place = Place::Root(KIND);
    let judge = |author: Author, document, place| {
        let origin = origin(&author, document, place);
        preflight::check(&root.bytes, &origin, &History::new()).map(|checked| checked.hash())
    };
    assert_eq!(judge(by, root.document, place), Ok(root.hash));

    let other_device = author(2, 1);
    let other_command = author(1, 2);
    for wrong in [other_device, other_command] {
        assert_eq!(judge(wrong, root.document, place), Err(Rule::DocumentId));
    }
    let other_kind = Place::Root("survey_visit");
    assert_eq!(judge(by, root.document, other_kind), Err(Rule::DocumentId));
    let edit = judge(by, root.document, Place::Edit);
    assert_eq!(edit, Err(Rule::EditWithoutDependencies));
}

#[test]
fn an_edit_belongs_to_one_document_of_one_author() {
    let root = small_root(&author(1, 1), 1);
    let by = author(2, 5);
    let change = edit(&by, &[&root], |tx| tx.put(ROOT, "slope", "steep"));
    let history = History::of(&automerge_of([&root])).unwrap();
    let judge = |author: Author, document| {
        preflight::check(
            &change.bytes,
            &origin(&author, document, Place::Edit),
            &history,
        )
        .map(|checked| checked.hash())
    };
    assert_eq!(judge(by, root.document), Ok(change.hash));
    assert_eq!(judge(author(1, 5), root.document), Err(Rule::Actor));
    assert_eq!(judge(author(2, 6), root.document), Err(Rule::Actor));
    let elsewhere = small_root(&author(1, 9), 9).document;
    assert_eq!(judge(by, elsewhere), Err(Rule::Actor));
}

#[test]
fn an_edit_is_made_on_what_was_seen() {
    let root = small_root(&author(1, 1), 1);
    let first = edit(&author(1, 2), &[&root], |tx| tx.put(ROOT, "slope", "flat"));
    let document = automerge_of([&root, &first]);
    let late = author_edit::<AutomergeError>(
        &author(2, 1),
        root.document,
        &document,
        &[root.hash],
        0,
        |tx| {
            assert!(tx.get(ROOT, "slope")?.is_none(), "what was not seen shows");
            tx.put(ROOT, "slope", "steep")
        },
    )
    .unwrap();
    let merged = automerge_of([&root, &first, &late]);
    assert_eq!(merged.get_all(ROOT, "slope").unwrap().len(), 2);
    assert_eq!(merged.get_heads().len(), 2);
}

#[test]
fn nothing_changed_is_an_error() {
    let root = small_root(&author(1, 1), 1);
    let document = automerge_of([&root]);
    let by = author(1, 2);
    let same =
        author_edit::<AutomergeError>(&by, root.document, &document, &[root.hash], 0, |tx| {
            tx.put(ROOT, "kind", KIND)
        });
    assert!(matches!(same, Err(AuthorError::NothingChanged)), "{same:?}");
    let empty = author_root::<AutomergeError>(&by, KIND, 0, |_| Ok(()));
    assert!(matches!(empty, Err(AuthorError::NothingChanged)));
    let failing = author_root(&by, KIND, 0, |_| Err("no"));
    assert!(matches!(failing, Err(AuthorError::Edit("no"))));
    let unseen = cairn_wire::ChangeHash([1; 32]);
    let unknown =
        author_edit::<AutomergeError>(&by, root.document, &document, &[unseen], 0, |tx| {
            tx.put(ROOT, "slope", "flat")
        });
    assert!(matches!(unknown, Err(AuthorError::UnknownHead(hash)) if hash == unseen));
}

#[test]
fn an_own_change_that_breaks_a_rule_is_named_and_not_made() {
    let by = author(1, 1);
    let replaced = author_root::<AutomergeError>(&by, KIND, 0, |tx| {
        let status = tx.put_object(ROOT, "+status", ObjType::Map)?;
        tx.put(&status, "0", b"open".to_vec())?;
        tx.put(&status, "0", b"shut".to_vec())
    });
    assert!(
        matches!(replaced, Err(AuthorError::Rule(Rule::GrowingMap))),
        "{replaced:?}"
    );
    let long = author_root::<AutomergeError>(&by, KIND, 0, |tx| {
        tx.put(ROOT, "local_id", "x".repeat(60_000))
    });
    assert!(matches!(long, Err(AuthorError::Rule(Rule::TooLong))));
    let kind = author_root::<AutomergeError>(&by, "Über", 0, |tx| tx.put(ROOT, "a", 1));
    assert!(matches!(kind, Err(AuthorError::Rule(Rule::Kind))));
}

#[test]
fn a_broken_clock_keeps_nobody_from_saving() {
    for clock in [i64::MIN, -1, 0, i64::MAX] {
        let root = author_root::<AutomergeError>(&author(1, 1), KIND, clock, |tx| {
            tx.put(ROOT, "slope", "flat")
        })
        .unwrap();
        let mut shelf = Shelf::default();
        assert_eq!(shelf.take_one(1, &root), Verdict::Applied);
        let loaded = shelf.documents().load(&world::SCOPE, &root.document);
        let recorded = loaded.unwrap().unwrap().changes[0].recorded_at_s;
        assert_eq!(recorded, clock.clamp(-TIME_S_MAX, TIME_S_MAX));
    }
}

#[test]
fn many_heads_are_merged_first() {
    let root = small_root(&author(1, 1), 1);
    let mut changes = vec![root.clone()];
    for device in 0..150u8 {
        changes.push(edit(&author(device, 2), &[&root], |tx| {
            tx.put(ROOT, format!("materials/{device}"), 1)
        }));
    }
    let document = automerge_of(&changes);
    let merges = author_merge(&author(9, 9), root.document, &document, 5).unwrap();
    assert_eq!(merges.len(), 2);
    let mut shelf = Shelf::default();
    for change in changes.iter().skip(1) {
        let device = change.nonce[7];
        assert_eq!(device, 2);
    }
    for (device, change) in std::iter::once(1u8).chain(0..150).zip(&changes) {
        assert_eq!(shelf.take_one(device, change), Verdict::Applied);
    }
    for merge in &merges {
        assert_eq!(shelf.take_one(9, merge), Verdict::Applied);
    }
    let loaded = shelf
        .documents()
        .load(&world::SCOPE, &root.document)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.heads.len(), 150 - 2 * 59);
    let few = author_merge(&author(9, 10), root.document, &loaded.automerge, 5).unwrap();
    assert!(few.is_empty());
    // An edit on so many heads passes and reads back.
    let next = author_edit::<AutomergeError>(
        &author(3, 3),
        root.document,
        &loaded.automerge,
        &loaded.heads,
        6,
        |tx| tx.put(ROOT, "slope", "flat"),
    )
    .unwrap();
    assert_eq!(shelf.take_one(3, &next), Verdict::Applied);
    let loaded = shelf
        .documents()
        .load(&world::SCOPE, &root.document)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.heads, vec![next.hash]);
    assert_eq!(
        loaded
            .automerge
            .get_heads()
            .iter()
            .map(from_automerge)
            .next(),
        Some(next.hash)
    );
}
