//! Free texts.

use crate::programme::*;
use cairn_records::Choice;

/// Two teams write into one narrative offline, in Arabic, Tamil and Sinhala.
#[test]
fn sentences_in_any_script_survive() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 9_000, 9_000)]);
    let sentences = [
        "الطريق ملغوم بعد الجسر.",
        "பாலத்திற்குப் பின் கண்ணிவெடிகள்.",
        "පාලමෙන් පසු බිම්බෝම්බ ඇත.",
    ];
    let written: Vec<_> = sentences
        .iter()
        .map(|sentence| programme.edit(&root, team("T2"), &[text("description", sentence)]))
        .collect();
    let both = merged(&[&written[0], &written[1], &written[2]]);
    let record = programme.read(&both);
    for sentence in sentences {
        assert!(
            reads(&record, "description").contains(sentence),
            "{sentence}"
        );
    }
    assert_eq!(record.fields["description"].values.len(), 3);
    assert!(!record.fields["description"].conflict);
    // Insertions into one text merge too.
    let base = programme.create(
        team("T1"),
        &[text("description", "A mill."), ring(0, 0, 9_000, 9_000)],
    );
    let a = programme.edit(
        &base,
        team("T2"),
        &[text("description", "A mill. الطريق ملغوم.")],
    );
    let b = programme.edit(
        &base,
        team("T3"),
        &[text("description", "Tripwires. A mill.")],
    );
    let record = programme.read(&merged(&[&a, &b]));
    assert_eq!(
        reads(&record, "description"),
        "Tripwires. A mill. الطريق ملغوم."
    );
    assert!(!record.fields["description"].conflict);
}

#[test]
fn a_text_written_over_several_keeps_what_comes_into_them() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[ring(0, 0, 9_000, 9_000)]);
    let a = programme.edit(&root, team("T2"), &[text("description", "One.")]);
    let b = programme.edit(&root, team("T3"), &[text("description", "Two.")]);
    let both = merged(&[&a, &b]);
    let joined = programme.edit(&both, team("T1"), &[text("description", "One and two.")]);
    assert_eq!(
        reads(&programme.read(&joined), "description"),
        "One and two."
    );
    for early in [&a, &b] {
        let old = reads(&programme.read(early), "description").to_owned();
        let late = programme.edit(
            early,
            team("T4"),
            &[text("description", &format!("{old} Three!"))],
        );
        let record = programme.read(&merged(&[&joined, &late]));
        assert!(
            reads(&record, "description").contains("Three!"),
            "{}",
            reads(&record, "description")
        );
    }
}

#[test]
fn neither_of_two_replacements_becomes_a_third() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[
            text("access_notes", "The path is open."),
            ring(0, 0, 9_000, 9_000),
        ],
    );
    let a = programme.edit(
        &root,
        team("T2"),
        &[text("access_notes", "The path is mined.")],
    );
    let b = programme.edit(
        &root,
        team("T3"),
        &[text("access_notes", "The path is safe.")],
    );
    let both = merged(&[&a, &b]);
    let record = programme.read(&both);
    let field = &record.fields["access_notes"];
    assert!(field.conflict);
    let versions: Vec<_> = field
        .values
        .iter()
        .map(|one| one.value.as_text().unwrap())
        .collect();
    assert!(versions.contains(&"The path is mined.") && versions.contains(&"The path is safe."));
    // An edit elsewhere, with both in sight, does not settle it.
    let elsewhere = programme.edit(&both, team("T1"), &[set("slope=flat")]);
    assert!(programme.read(&elsewhere).fields["access_notes"].conflict);
    let mined = Choice::Change(last_change(&a));
    let decided = programme.decide(&both, team("T2"), "access_notes", mined.clone());
    let record = programme.read(&decided);
    assert_eq!(reads(&record, "access_notes"), "The path is mined.");
    assert!(!record.fields["access_notes"].conflict);
    // Deciding for what the merge happens to read touches the text all the same.
    let c = programme.edit(&root, team("T3"), &[text("access_notes", "The path is .")]);
    let both = merged(&[&a, &c]);
    if programme.read(&both).fields["access_notes"].conflict {
        let decided = programme.decide(&both, team("T2"), "access_notes", mined);
        assert!(!programme.read(&decided).fields["access_notes"].conflict);
        assert_eq!(
            reads(&programme.read(&decided), "access_notes"),
            "The path is mined."
        );
    }
}

#[test]
fn an_insertion_into_what_another_deletes_is_a_conflict() {
    let programme = Programme::default();
    let root = programme.create(
        team("T1"),
        &[
            text("description", "Clear. Not checked: the east bank. End."),
            ring(0, 0, 9_000, 9_000),
        ],
    );
    let deleted = programme.edit(&root, team("T2"), &[text("description", "Clear. End.")]);
    let inserted = programme.edit(
        &root,
        team("T3"),
        &[text(
            "description",
            "Clear. Not checked: the whole east bank. End.",
        )],
    );
    let record = programme.read(&merged(&[&deleted, &inserted]));
    assert!(record.fields["description"].conflict);
    assert_eq!(record.fields["description"].values.len(), 2);
}

/// In a session's feedback and the narrative of an accident, as people use them first.
#[test]
fn narratives_of_every_kind_keep_both_sentences_or_show_both_versions() {
    for (kind, field) in [
        ("survey_visit", "narrative"),
        ("eore_session", "feedback"),
        ("accident", "narrative"),
    ] {
        let programme = Programme::default();
        let schema_kind = cairn_records::schema::kind(kind).unwrap();
        let base = "A visit.";
        let root = programme.create_of(schema_kind, team("T1"), &[text(field, base)]);
        let tamil = format!("{base} பாலத்திற்குப் பின் கண்ணிவெடிகள்.");
        let sinhala = format!("පාලමෙන් පසු බිම්බෝම්බ ඇත. {base}");
        let arabic = format!("{base} الطريق ملغوم بعد الجسر.");
        let written: Vec<_> = [&tamil, &sinhala, &arabic]
            .iter()
            .map(|whole| programme.edit(&root, team("T2"), &[text(field, whole)]))
            .collect();
        let all = merged(&written.iter().collect::<Vec<_>>());
        let record = programme.read(&all);
        for sentence in [&tamil, &sinhala, &arabic] {
            let sentence = sentence.replace(base, "");
            assert!(reads(&record, field).contains(sentence.trim()), "{kind}");
        }
        assert!(!record.fields[field].conflict, "{kind}: insertions merge");
        let a = programme.edit(&all, team("T2"), &[text(field, "الطريق آمن.")]);
        let b = programme.edit(&all, team("T3"), &[text(field, "பாதை ஆபத்தானது.")]);
        let record = programme.read(&merged(&[&a, &b]));
        let versions: Vec<_> = record.fields[field]
            .values
            .iter()
            .map(|one| one.value.as_text().unwrap())
            .collect();
        assert!(record.fields[field].conflict);
        assert!(versions.contains(&"الطريق آمن.") && versions.contains(&"பாதை ஆபத்தானது."));
    }
}

/// What somebody adds to one of two versions, or beside both, is never out of sight.
#[test]
fn what_is_written_beside_a_conflict_is_shown_too() {
    let programme = Programme::default();
    let root = programme.create(team("T1"), &[text("description", "The path is open.")]);
    let mined = programme.edit(
        &root,
        team("T2"),
        &[text("description", "The path is mined.")],
    );
    let safe = programme.edit(
        &root,
        team("T3"),
        &[text("description", "The path is safe.")],
    );
    let more = programme.edit(
        &mined,
        team("T4"),
        &[text("description", "The path is mined. Two cows died.")],
    );
    let beside = programme.edit(
        &root,
        team("T5"),
        &[text("description", "By the mill. The path is open.")],
    );
    let record = programme.read(&merged(&[&safe, &more, &beside]));
    let field = &record.fields["description"];
    assert!(field.conflict);
    assert_eq!(
        field.reads,
        cairn_records::Value::Null,
        "nobody wrote a mixture"
    );
    let shown: Vec<_> = field
        .values
        .iter()
        .map(|one| one.value.as_text().unwrap())
        .collect();
    for version in [
        "The path is safe.",
        "The path is mined. Two cows died.",
        "By the mill. The path is open.",
    ] {
        assert!(shown.contains(&version), "{shown:?}");
    }
    assert_eq!(shown.len(), 3);
}
