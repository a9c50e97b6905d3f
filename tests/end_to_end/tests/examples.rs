//! The examples of `cairn import --help`, each run as it is written there.

use cairn_end_to_end::{Centre, binaries, cairn, square};
use std::fmt::Write as _;
use std::process::{Command, Stdio};

/// The examples of a command's help, each as the words that a shell makes of it.
fn examples(command: &str) -> Vec<Vec<String>> {
    let help = cairn(&[command, "--help"]).expect(0).out;
    let start = format!("cairn {command} ");
    let joined = help.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let lines = lines.filter(|line| line.starts_with(&start));
    lines
        .map(|line| line.split_whitespace().skip(1).map(str::to_owned).collect())
        .collect()
}

/// The file that an example speaks of: five rows.
fn contents(name: &str) -> String {
    let mut text = String::new();
    match name {
        "areas.geojson" => {
            let areas: Vec<String> = (0..5)
                .map(|row| {
                    let area = square(44.1 + f64::from(row) / 50.0, 17.9, 100.0);
                    area.replace("{}", &format!("{{\"ID\":\"HA-{row}\"}}"))
                })
                .collect();
            let areas = areas.join(",\n");
            let _ = write!(
                text,
                "{{\"type\":\"FeatureCollection\",\"features\":[{areas}]}}"
            );
        }
        "kobo.csv" => {
            text.push_str("instanceID,date,women\n");
            for row in 0..5 {
                let _ = writeln!(text, "uuid:{row},2026-11-2{row},3{row}");
            }
        }
        "accidents.csv" => {
            text.push_str("local_id,X,Y\n");
            for row in 0..5 {
                let _ = writeln!(text, "AC-{row},73345{row}.1,4885321.5");
            }
        }
        other => panic!("the help has a new example, of {other}: give it its file here"),
    }
    text
}

#[test]
fn every_example_of_import_does_what_it_says() {
    let centre = Centre::start();
    let device = centre.device("Alpha", &["north/hazards:rw"]);
    let examples = examples("import");
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        let name = &example[1];
        let file = device.file(name, &contents(name));
        let folder = std::path::Path::new(&file).parent().expect("a folder");
        let output = Command::new(binaries().join("cairn"))
            .arg("--json")
            .args(&example)
            .current_dir(folder)
            .env("CAIRN_DATA_DIR", device.dir())
            .stdin(Stdio::null())
            .output()
            .expect("cairn starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example:?}: {words}");
        let out = String::from_utf8_lossy(&output.stdout);
        let last = out.lines().last().expect("a report");
        let report: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(report["taken"], 5, "{example:?}: {report:#}");
        assert_eq!(report["unmapped"], serde_json::json!([]), "{example:?}");
        let dry = example.iter().any(|word| word == "--dry-run");
        assert_eq!(report["dry_run"], dry);
    }
}
