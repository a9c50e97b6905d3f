//! Story 3: two people write down who came.

use super::{SCOPE, centre_reads, conflicts, disputed, field, in_words, meet, two_teams, values};
use cairn_end_to_end::{Centre, Device};
use serde_json::{Value, json};

const WOMEN: &str = "reached/female/18_plus";
const GIRLS: &str = "reached/female/0_17";
const BOYS: &str = "reached/male/0_17";

fn set(device: &Device, id: &str, figures: &[(&str, u32)]) {
    let figures: Vec<String> = figures
        .iter()
        .map(|(path, figure)| format!("{path}={figure}"))
        .collect();
    let mut arguments = vec!["edit", id];
    for figure in &figures {
        arguments.extend(["--set", figure]);
    }
    device.save(&arguments);
}

#[test]
fn story_3_two_figures_for_one_band_are_both_shown_and_never_added() {
    let centre = Centre::start();
    let [alpha, delta] = two_teams(&centre);
    let id = alpha.save(&[
        "new",
        "eore_session",
        "--scope",
        SCOPE,
        "--set",
        "local_id=RE-3",
        "--set",
        "reporting=session",
        "--set",
        "age_bands=split_18",
        "--set",
        "session_date=2026-02-02",
    ]);
    meet(&[&alpha, &delta]);
    set(&alpha, &id, &[(WOMEN, 34), (GIRLS, 12)]);
    set(&delta, &id, &[(WOMEN, 43), (BOYS, 9)]);
    meet(&[&alpha, &delta]);

    let shown = |record: &Value| {
        // Both are shown.
        assert_eq!(field(record, WOMEN)["conflict"], true, "{record:#}");
        assert_eq!(field(record, WOMEN)["reads"], Value::Null);
        let mut women: Vec<_> = values(record, WOMEN)
            .iter()
            .map(|value| (value["value"].as_i64(), value["by"].as_str()))
            .collect();
        women.sort_unstable();
        assert_eq!(
            women,
            [(Some(34), Some("Alpha")), (Some(43), Some("Delta"))]
        );
        // Different bands merge quietly.
        for (path, figure) in [(GIRLS, 12), (BOYS, 9)] {
            assert_eq!(field(record, path)["reads"], figure);
            assert_eq!(field(record, path)["conflict"], false);
        }
        assert_eq!(disputed(record), [WOMEN]);
        // What is derived is a range, and nothing is 34 + 43.
        let all = &record["derived"]["reached"]["all"];
        assert_eq!((&all["least"], &all["most"]), (&json!(55), &json!(64)));
        let readings = record["fields"].as_object().into_iter().flatten();
        for (name, reading) in readings {
            assert_ne!(reading["reads"], 77, "{name}");
        }
    };
    for device in [&alpha, &delta] {
        shown(&device.show(&id));
        let open = conflicts(device);
        assert_eq!(open.len(), 1, "{open:#?}");
        assert_eq!(open[0]["field"], WOMEN);
        let words = in_words(device, &["conflicts"]).out;
        assert!(words.contains("34   by Alpha"), "{words}");
        assert!(words.contains("43   by Delta"), "{words}");

        // A table has both as well, and neither in the column of the figure.
        let file = device.file("sessions.csv", "");
        device.run(&["export", &file, "eore_session"]).expect(0);
        let table = std::fs::read_to_string(&file).expect("the table");
        assert!(
            table.contains(&format!("{WOMEN}: 34 | 43"))
                || table.contains(&format!("{WOMEN}: 43 | 34")),
            "{table}"
        );
    }
    shown(&centre_reads(&centre, &id, |doc| disputed(doc) == [WOMEN]));
}
