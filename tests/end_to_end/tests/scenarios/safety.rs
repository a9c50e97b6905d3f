//! Story 2: one team closes what another finds dangerous.

use super::{
    SCOPE, centre_reads, conflicts, exported, field, in_words, listed, meet, proposed, strings,
    two_teams, values,
};
use cairn_end_to_end::Centre;
use serde_json::json;

#[test]
fn story_2_closing_against_evidence_reads_open_and_releases_nothing() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let id = alpha.save(&[
        "new",
        "hazardous_area",
        "--scope",
        SCOPE,
        "--set",
        "local_id=HA-2",
        "--set",
        "hazard_class=suspected",
        "--set",
        "status=open",
        "--position",
        "44.1, 17.9",
    ]);
    meet(&[&alpha, &delta]);
    let before_m2 = listed(&alpha, &id)["area_m2"].clone();

    // Delta proposes to close it, while Alpha finds a mine.
    let told = in_words(&delta, &["edit", "HA-2", "--set", "status=closed"]);
    assert!(told.words.contains("status reads open."), "{told:?}");
    assert!(told.words.contains("proposal"), "{told:?}");
    alpha.save(&[
        "edit",
        "HA-2",
        "--append",
        "direct_evidence={\"type\":\"visual_observation\"}",
    ]);
    meet(&[&delta, &alpha]);

    let reads_open = |record: &serde_json::Value| {
        assert_eq!(field(record, "status")["reads"], "open");
        let mut values = values(record, "status").iter();
        let closed = values.find(|value| value["value"] == "closed");
        let closed = closed.expect("the proposal is kept and shown");
        assert_eq!(
            (&closed["by"], &closed["proposal"]),
            (&json!("Delta"), &json!(true))
        );
        let evidence = &field(record, "direct_evidence")["reads"];
        assert_eq!(evidence[0]["type"], "visual_observation");
    };
    for device in [&alpha, &delta] {
        reads_open(&device.show(&id));
        let open = device.run(&["list", "--where", "status=open"]);
        assert_eq!(open.expect(0).json()["records"][0]["id"], id.as_str());
        assert_eq!(listed(device, &id)["area_m2"], before_m2);
        let map = exported(device, "hazardous_area");
        assert_eq!(map["properties"]["status"], "open");
        assert!(strings(&map["properties"]["proposals"]).contains(&"status"));
    }
    reads_open(&centre_reads(&centre, &id, |doc| {
        proposed(doc).contains(&"status") && field(doc, "direct_evidence")["reads"][0].is_object()
    }));
    let mut open = conflicts(&alpha).into_iter();
    assert!(open.any(|one| one["field"] == "status"));

    // No release can be issued: nobody has a record that would.
    let release = ["new", "land_release", "--set", "local_id=LR-2"];
    for device in [&alpha, &delta] {
        assert_eq!(device.run(&release).expect(2).json()["code"], "usage");
    }
}
