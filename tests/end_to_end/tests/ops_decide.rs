//! The centre decides, in the name of a person, and devices see it after their next sync.

use cairn_end_to_end::{Centre, Device};
use serde_json::Value;

const RIGHT: &str = "north/hazards:rw";

/// An area on which two teams that did not know of each other say different things.
fn disputed(alpha: &Device, beta: &Device, number: &str) -> String {
    let id = alpha.save(&[
        "new",
        "hazardous_area",
        "--set",
        &format!("local_id={number}"),
        "--set",
        "hazard_class=suspected",
        "--set",
        "area_reported=400",
        "--position",
        "44.1000, 17.9000",
    ]);
    alpha.sync();
    beta.sync();
    alpha.save(&["edit", &id, "--set", "area_reported=34"]);
    beta.save(&["edit", &id, "--set", "area_reported=43"]);
    alpha.sync();
    beta.sync();
    id
}

fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
    &record["fields"][name]
}

fn conflicts(answer: &Value) -> usize {
    answer["conflicts"].as_array().map_or(0, Vec::len)
}

#[test]
fn the_centre_decides_for_a_person_and_devices_have_it_with_their_next_sync() {
    let mut centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT]);
    let beta = centre.device("Beta", &[RIGHT]);
    let first = disputed(&alpha, &beta, "HA-1");
    let second = disputed(&alpha, &beta, "HA-2");
    let shown = centre.eventually(&["conflicts"], |answer| conflicts(answer) == 2);
    let of_first = shown["conflicts"].as_array().unwrap().iter();
    let of_first = of_first
        .clone()
        .find(|one| one["id"] == first.as_str())
        .unwrap();
    let heads: Vec<&str> = of_first["heads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|head| head.as_str().unwrap())
        .collect();
    assert_eq!(heads.len(), 2);

    let mut decide = vec![
        "decide",
        "HA-1",
        "--field",
        "area_reported",
        "--take",
        "B",
        "--reason",
        "asked both",
        "--as",
        "Amina K.",
    ];
    for (without, word) in [("asked both", "usage"), ("Amina K.", "usage")] {
        let lacking: Vec<&str> = decide
            .iter()
            .map(|it| if *it == without { " " } else { *it })
            .collect();
        assert_eq!(centre.ops(&lacking).expect(2).json()["code"], word);
    }
    let wrong: Vec<&str> = decide
        .iter()
        .map(|it| if *it == "B" { "Q" } else { *it })
        .collect();
    assert_eq!(centre.ops(&wrong).expect(1).json()["code"], "form");
    decide.push("--dry-run");
    let would = centre.ops(&decide).expect(0).json();
    assert_eq!(would["change"], Value::Null);
    assert_eq!(would["names"].as_array().unwrap().len(), 2);
    decide.pop();
    assert_eq!(conflicts(&centre.ops(&["conflicts"]).expect(0).json()), 2);

    let seen = heads.join(",");
    let with_seen = [&decide[..], &["--seen", &seen]].concat();
    let decided = centre.ops(&with_seen).expect(0).json();
    assert_eq!(decided["schema"], "cairn.saved/1");
    assert_eq!(decided["fields"][0]["conflict"], false);
    assert_eq!(decided["fields"][0]["proposal"], false);
    let chosen = decided["fields"][0]["reads"].clone();
    for device in [&alpha, &beta] {
        device.sync();
        let record = device.show(&first);
        let area = field(&record, "area_reported");
        assert_eq!(area["reads"], chosen, "{area:#}");
        assert_eq!(area["conflict"], false, "{area:#}");
    }
    let history = alpha.run(&["show", &first, "--history"]).expect(0).out;
    assert!(
        history.contains("asked both (decided by Amina K.)"),
        "{history}"
    );
    let audit = centre.ops(&["audit", "list"]).expect(0).json();
    assert_eq!(audit["lines"][0]["action"], "decide");
    assert_eq!(audit["lines"][0]["document"], first.as_str());
    assert!(!audit.to_string().contains("Amina"));

    // Its log goes on where it ended, and a store that is filled anew begins another.
    centre.kill();
    centre.run();
    decide[1] = "HA-2";
    centre.ops(&decide).expect(0);
    alpha.sync();
    assert_eq!(
        field(&alpha.show(&second), "area_reported")["conflict"],
        false
    );
    let third = disputed(&alpha, &beta, "HA-3");
    centre.kill();
    let tables = centre.dir().join("centre/data");
    std::fs::rename(&tables, centre.dir().join("centre/aside")).unwrap();
    centre.run();
    centre.eventually(&["conflicts"], |answer| conflicts(answer) == 1);
    decide[1] = "HA-3";
    centre.ops(&decide).expect(0);
    beta.sync();
    assert_eq!(
        field(&beta.show(&third), "area_reported")["conflict"],
        false
    );
    let logs = centre.ops(&["logs"]).expect(0).json();
    let logs = logs["logs"].as_array().unwrap();
    assert!(logs.iter().all(|log| log["forked"] == false), "{logs:#?}");
    let own: Vec<u64> = logs
        .iter()
        .filter(|log| log["name"] == "Centre")
        .map(|log| log["height"].as_u64().unwrap())
        .collect();
    assert_eq!(own.iter().sum::<u64>(), 3, "{own:?}");
    assert_eq!(own.len(), 2);
    let sound = centre.ops(&["verify", "--deep"]).expect(0).json();
    assert_eq!(sound["ok"], true, "{sound:#}");
}

#[test]
fn what_a_person_did_not_see_is_not_decided() {
    let centre = Centre::start();
    let alpha = centre.device("Alpha", &[RIGHT]);
    let beta = centre.device("Beta", &[RIGHT]);
    let gamma = centre.device("Gamma", &[RIGHT]);
    let id = disputed(&alpha, &beta, "HA-1");
    let shown = centre.eventually(&["conflicts"], |answer| conflicts(answer) == 1);
    let heads: Vec<&str> = shown["conflicts"][0]["heads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|head| head.as_str().unwrap())
        .collect();
    // A third team comes in between; it knew what the two began from, and neither of them.
    let seen = heads.join(",");
    gamma.sync();
    let root = gamma.show(&id);
    let root = root["fields"]["hazard_class"]["values"][0]["change"]
        .as_str()
        .unwrap();
    gamma.save(&["edit", &id, "--set", "area_reported=77", "--seen", root]);
    gamma.sync();
    centre.eventually(&["conflicts"], |answer| {
        let values = answer["conflicts"][0]["values"].as_array();
        values.is_some_and(|values| values.len() == 3)
    });
    centre
        .ops(&[
            "resolve",
            &id,
            "--take",
            "A",
            "--reason",
            "two of two",
            "--as",
            "Amina",
            "--seen",
            &seen,
        ])
        .expect(0);
    alpha.sync();
    let area = alpha.show(&id)["fields"]["area_reported"].clone();
    assert_eq!(area["conflict"], true, "{area:#}");
    let values = area["values"].as_array().unwrap();
    assert!(values.iter().any(|value| value["value"] == 77), "{area:#}");
}
