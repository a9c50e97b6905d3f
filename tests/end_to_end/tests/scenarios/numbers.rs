//! Story 11: one report number, given out twice.

use super::{SCOPE, in_words, meet, two_teams};
use cairn_end_to_end::{Centre, Device};

fn report(device: &Device, place: &str) -> String {
    device.save(&[
        "new",
        "accident",
        "--scope",
        SCOPE,
        "--set",
        "record_type=accident",
        "--set",
        "local_id=AC-0077",
        "--position",
        place,
    ])
}

#[test]
fn story_11_one_report_number_from_two_devices_makes_two_flagged_documents() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let of_alpha = report(&alpha, "44.1, 17.9");
    let of_delta = report(&delta, "44.6, 18.2");
    assert_ne!(of_alpha, of_delta);
    let nothing = alpha.show(&of_alpha);
    assert_eq!(nothing["duplicates"], serde_json::json!([]));
    meet(&[&alpha, &delta]);

    for device in [&alpha, &delta] {
        // Two documents, each with its own place and author, flagged in the list.
        let list = device.run(&["list", "accident"]).expect(0).json();
        let records = list["records"].as_array().expect("records");
        assert_eq!(records.len(), 2);
        for record in records {
            assert_eq!(record["local_id"], "AC-0077", "nothing is renamed");
            let others = record["duplicates"].as_array().expect("a list");
            assert_eq!(others.len(), 1, "{record:#}");
            assert_eq!(others[0]["why"], "same_number");
            assert_ne!(others[0]["id"], record["id"]);
        }
        let words = in_words(device, &["list", "accident"]);
        let marked = words.out.lines().filter(|line| line.contains("duplicate?"));
        assert_eq!(marked.count(), 2, "{words:?}");

        // And in each record.
        for (id, other, lat, by) in [
            (&of_alpha, &of_delta, 44.1, "Alpha"),
            (&of_delta, &of_alpha, 44.6, "Delta"),
        ] {
            let record = device.show(id);
            assert_eq!(record["duplicates"][0]["id"], other.as_str());
            assert_eq!(record["fields"]["position"]["reads"]["lat"], lat);
            assert_eq!(record["fields"]["position"]["values"][0]["by"], by);
            let words = in_words(device, &["show", id]).out;
            assert!(words.contains("bears the same number"), "{words}");
        }
        // Whoever asks by the number alone is told that there are two.
        let asked = device.run(&["show", "AC-0077"]);
        assert_ne!(asked.code, 0, "{asked:?}");
        let error = asked.json();
        let told = format!("{} {}", error["message"], error["hint"]);
        for record in records {
            let code = record["short_code"].as_str().expect("a short code");
            assert!(told.contains(code), "{told}");
        }
        // Nothing is blocked: each can be changed by its own name.
        assert_eq!(device.show(&of_alpha)["conflicts"], 0);
    }
    delta.save(&["edit", &of_alpha, "--set", "date=2026-02-02"]);
    meet(&[&delta, &alpha]);
    let date = &alpha.show(&of_alpha)["fields"]["date"]["reads"];
    assert_eq!(date, "2026-02-02");
    centre.eventually(&["status"], |status| status["documents"] == 2);
}
