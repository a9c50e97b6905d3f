//! Story 4: two people write in one narrative, in any script.

use super::{SCOPE, centre_reads, conflicts, disputed, field, meet, two_teams, values};
use cairn_end_to_end::{Centre, Device};
use serde_json::Value;

const ARABIC: &str = "وصلنا إلى الحقل صباحًا، والنهر مرتفع.";
const TAMIL: &str = "வடக்கே உள்ள பாதையில் கண்ணிவெடிகள் உள்ளன.";
const SINHALA: &str = "උතුරු පාරේ බිම්බෝම්බ තිබේ යැයි ගම්වාසීහු කියති.";

fn write(device: &Device, id: &str, text: &str) {
    let file = device.file("narrative.txt", text);
    device.save(&["edit", id, "--text", &format!("narrative={file}")]);
}

fn narrative(record: &Value) -> &str {
    field(record, "narrative")["reads"].as_str().unwrap_or("")
}

#[test]
fn story_4_both_sentences_survive_in_every_script() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let file = alpha.file("first.txt", ARABIC);
    let id = alpha.save(&[
        "new",
        "survey_visit",
        "--scope",
        SCOPE,
        "--set",
        "local_id=SV-4",
        "--set",
        "visit_type=non_technical",
        "--text",
        &format!("narrative={file}"),
    ]);
    meet(&[&alpha, &delta]);
    assert_eq!(narrative(&delta.show(&id)), ARABIC);

    // Offline one writes before, the other behind; then both at one place.
    write(&alpha, &id, &format!("{ARABIC} {TAMIL}"));
    write(&delta, &id, &format!("{SINHALA} {ARABIC}"));
    meet(&[&alpha, &delta]);
    let merged = format!("{SINHALA} {ARABIC} {TAMIL}");
    assert_eq!(narrative(&alpha.show(&id)), merged);
    write(&alpha, &id, &format!("{merged}\n{ARABIC}"));
    write(&delta, &id, &format!("{merged}\n{SINHALA}"));
    meet(&[&alpha, &delta]);
    let survive = |record: &Value| {
        let text = narrative(record);
        assert!(text.starts_with(&merged), "{text}");
        let added = text.split_at(merged.len()).1;
        assert!(added.contains(ARABIC) && added.contains(SINHALA), "{added}");
        assert!(disputed(record).is_empty());
    };
    for device in [&alpha, &delta] {
        survive(&device.show(&id));
        assert!(conflicts(device).is_empty());
    }
    assert_eq!(narrative(&alpha.show(&id)), narrative(&delta.show(&id)));
    let whole = narrative(&alpha.show(&id)).to_owned();
    survive(&centre_reads(&centre, &id, |doc| narrative(doc) == whole));

    // Where each replaces what the other replaces, neither becomes half of both: both are shown.
    write(&alpha, &id, &whole.replace("مرتفع", TAMIL));
    write(&delta, &id, &whole.replace("مرتفع", SINHALA));
    meet(&[&alpha, &delta]);
    for device in [&alpha, &delta] {
        let record = device.show(&id);
        assert_eq!(disputed(&record), ["narrative"]);
        let versions: Vec<&str> = values(&record, "narrative")
            .iter()
            .filter_map(|value| value["value"].as_str())
            .collect();
        for sentence in [TAMIL, SINHALA] {
            let whole = whole.replace("مرتفع", sentence);
            assert!(versions.contains(&whole.as_str()), "{versions:#?}");
        }
    }
}
