//! Clumsy files, each met by a sentence that helps, and nothing half done: coordinates that are
//! swapped, a day that does not exist, a comma for the decimal point, a file that ends in its middle,
//! the wrong kind, an unknown field, a path without permission, an empty file, UTF-16, and 300 MB.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use cairn_end_to_end::{Centre, Device, Said, binaries};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SCOPE: &str = "north/records";

fn import(device: &Device, file: &str, kind: &str, more: &[&str]) -> Said {
    let mut arguments = vec!["import", file, "--kind", kind, "--scope", SCOPE];
    arguments.extend_from_slice(more);
    device.run(&arguments)
}

fn reasons(report: &Value) -> Vec<(u64, String)> {
    let rows = report["refused"].as_array().expect("refused rows");
    rows.iter()
        .map(|row| {
            (
                row["row"].as_u64().expect("a number"),
                row["reason"].as_str().expect("a word").to_owned(),
            )
        })
        .collect()
}

fn documents(device: &Device) -> u64 {
    let status = device.run(&["status"]).expect(0).json();
    status["documents"].as_u64().expect("a count")
}

/// An error that says what to do.
#[track_caller]
fn error(said: Said, exit: i32, code: &str) -> Value {
    let error = said.expect(exit).json();
    assert_eq!(error["schema"], "cairn.error/1");
    assert_eq!(error["code"], code, "{error:#}");
    let hint = error["hint"].as_str().unwrap_or_default();
    assert!(hint.len() > 10, "{error:#}");
    error
}

#[test]
fn clumsy_files_meet_a_sentence_and_nothing_is_half_done() {
    let device = Centre::start().device("Alpha", &["north/records:rw"]);
    let head = "local_id,date,latitude,longitude,narrative\n";
    let mut rest = String::new();
    for row in 0..20 {
        let _ = writeln!(rest, "AC-{row},2026-11-01,44.{row:02},17.{row:02},ok");
    }
    let try_out = |name: &str, text: &str, more: &[&str]| {
        let file = device.file(name, text);
        import(&device, &file, "accident", more)
    };
    let mut taken = 0;

    // One row is wrong: it is named, the others are taken.
    for (name, row, reason, word) in [
        (
            "swapped.csv",
            "X,2026-11-01,17.05,44.05,",
            "coordinates_swapped",
            "swapped",
        ),
        (
            "beyond.csv",
            "X,2026-11-01,117.9,44.1,",
            "coordinates_swapped",
            "swapped",
        ),
        (
            "no-day.csv",
            "X,2026-02-30,44.1,17.9,",
            "bad_value",
            "no 2026-02-30",
        ),
        (
            "unclear.csv",
            "X,03/04/2026,44.1,17.9,",
            "date_unclear",
            "day or month",
        ),
        (
            "comma.csv",
            "X,2026-11-01,44,1,17,9,",
            "wrong_width",
            "7 values",
        ),
        ("cut.csv", "X,2026-11-01,44.1", "truncated", "cut off"),
        (
            "quote.csv",
            "X,2026-11-01,44.1,17.9,\"half a sent",
            "truncated",
            "quotation",
        ),
    ] {
        let body = rest.replace("AC-", name);
        let end = if reason == "truncated" { "" } else { "\n" };
        let said = try_out(name, &format!("{head}{body}{row}{end}"), &[]).expect(3);
        let report = said.json();
        assert_eq!(
            reasons(&report),
            [(21, reason.to_owned())],
            "{name}: {report:#}"
        );
        let message = report["refused"][0]["message"]
            .as_str()
            .expect("a sentence");
        assert!(message.contains(word), "{name}: {message}");
        assert_eq!(report["refused"][0]["line"], 22);
        taken += 20;
        assert_eq!(report["taken"], 20);
    }
    assert_eq!(documents(&device), taken);

    // The whole file or the request is wrong: nothing is taken.
    let whole = format!("{head}{rest}");
    let latin = device.file("latin.csv", "");
    std::fs::write(
        &latin,
        [head.as_bytes(), b"A,2026-11-01,44.1,17.9,Se\xf1or\n"].concat(),
    )
    .expect("writable");
    for (said, exit, code) in [
        (try_out("empty.csv", "", &[]), 1, "empty_file"),
        (try_out("blank.csv", " \n\n", &[]), 1, "empty_file"),
        (
            try_out("foreign.csv", "PK\u{3}\u{4}", &[]),
            1,
            "wrong_format",
        ),
        (
            try_out("map.csv", &whole, &["--map", "nonsense=date"]),
            2,
            "unknown_field",
        ),
        (
            try_out("column.csv", &whole, &["--map", "team=TEAM"]),
            2,
            "unknown_field",
        ),
        (
            try_out("column.csv", &whole, &["--map", "local_id=ID"]),
            2,
            "unknown_property",
        ),
        (
            try_out("order.csv", &whole, &["--date-order", "ymd"]),
            2,
            "bad_date_order",
        ),
        (
            try_out("crs.csv", &whole, &["--crs", "EPSG:3857"]),
            2,
            "crs",
        ),
        (
            try_out("words.csv", "just some words\nmore\n", &[]),
            2,
            "nothing_mapped",
        ),
        (import(&device, &latin, "accident", &[]), 1, "not_utf8"),
        (import(&device, &latin, "accidents", &[]), 2, "usage"),
        (
            import(&device, "/does/not/exist.csv", "accident", &[]),
            1,
            "file",
        ),
        (
            import(
                &device,
                device.dir().to_str().expect("UTF-8"),
                "accident",
                &[],
            ),
            1,
            "file",
        ),
    ] {
        let said = said.expect(exit);
        let error = said.json();
        assert_eq!(error["schema"], "cairn.error/1");
        assert_eq!(error["code"], code, "{error:#}");
        assert!(
            error["hint"].as_str().is_some_and(|hint| hint.len() > 10),
            "{error:#}"
        );
    }
    assert_eq!(documents(&device), taken, "nothing is half done");

    // Another dress, the same table: known again.
    let utf16: Vec<u8> = format!("\u{feff}{head}{}", rest.replace("AC-", "swapped.csv"))
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let file = device.file("utf16.csv", "");
    std::fs::write(&file, utf16).expect("writable");
    let report = import(&device, &file, "accident", &[]).expect(0).json();
    assert_eq!(
        (&report["taken"], &report["duplicates"]),
        (&0.into(), &20.into())
    );
    let semicolons = "local_id;latitude;longitude\nDC-1;44,1234;17,9\n";
    let report = try_out("decimal.csv", semicolons, &[]).expect(0).json();
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("comma") && notes.contains("semicolon"),
        "{notes}"
    );
    let position = &device.show("DC-1")["fields"]["position"]["reads"];
    assert_eq!(position["lat"], 44.1234);
}

/// A map of areas and one more feature; `end` closes it.
fn map_of(areas: u32, last: &str, end: &str) -> String {
    let mut map = String::from("{\"type\":\"FeatureCollection\",\"features\":[\n");
    for area in 0..areas {
        let (south, west) = (
            44.0 + f64::from(area) / 100.0,
            17.0 + f64::from(area) / 100.0,
        );
        let (north, east) = (south + 0.002, west + 0.002);
        let ring = json!([
            [west, south],
            [east, south],
            [east, north],
            [west, north],
            [west, south]
        ]);
        let feature = json!({
            "type": "Feature",
            "properties": { "local_id": format!("HA-{area}"), "date_of_information": "2026-11-01" },
            "geometry": { "type": "Polygon", "coordinates": [ring] },
        });
        let _ = writeln!(map, "{feature},");
    }
    map + last + end
}

fn feature(local_id: &str, date: &str, geometry: &str) -> String {
    let properties = format!("{{\"local_id\":\"{local_id}\",\"date_of_information\":\"{date}\"}}");
    format!("{{\"type\":\"Feature\",\"properties\":{properties},\"geometry\":{geometry}}}")
}

#[test]
fn clumsy_maps_meet_a_sentence_and_nothing_is_half_done() {
    const POINT: &str = "{\"type\":\"Point\",\"coordinates\":[17.05,44.05]}";
    const END: &str = "\n]}\n";
    let device = Centre::start().device("Alpha", &["north/records:rw"]);
    let mut taken = 0;

    // One row is wrong: it is named, the others are taken, each once.
    for (row, reason, word) in [
        (
            feature(
                "X-1",
                "2026-11-01",
                "{\"type\":\"Point\",\"coordinates\":[44.05,17.05]}",
            ),
            "coordinates_swapped",
            "swapped",
        ),
        (
            feature(
                "X-2",
                "2026-11-01",
                "{\"type\":\"Point\",\"coordinates\":[44.1,117.9]}",
            ),
            "coordinates_swapped",
            "swapped",
        ),
        (
            feature(
                "X-3",
                "2026-11-01",
                "{\"type\":\"Point\",\"coordinates\":[17,9,44,1]}",
            ),
            "bad_coordinates",
            "decimal sign",
        ),
        (
            feature("X-4", "2026-02-30", POINT),
            "bad_value",
            "2026-02-30",
        ),
        (feature("X-5", "2026-11-01", "null"), "no_geometry", "where"),
    ] {
        let map = map_of(20, &row, END).replace("HA-", &format!("HA-{taken}-"));
        // The areas lie a little elsewhere each time, so that they are none of those before.
        let map = map.replace("17.0", &format!("17.0{taken}"));
        let file = device.file("areas.geojson", &map);
        let report = import(&device, &file, "hazardous_area", &[])
            .expect(3)
            .json();
        assert_eq!(reasons(&report), [(21, reason.to_owned())], "{report:#}");
        let message = report["refused"][0]["message"].as_str();
        assert!(
            message.is_some_and(|message| message.contains(word)),
            "{message:?}"
        );
        taken += 20;
        assert_eq!(report["taken"], 20, "{report:#}");
        assert_eq!(documents(&device), taken);
    }

    // A map that ends in its middle: what is whole before is taken, the end is said, and the whole
    // file takes the rest later.
    let whole = map_of(40, &feature("HA-40", "2026-11-01", POINT), END).replace("HA-", "HC-");
    let whole = whole.replace("17.", "18.");
    let at = whole.find("HC-30").expect("it is there") + 3;
    let cut = device.file("cut.geojson", whole.get(..at).expect("a piece"));
    let said = import(&device, &cut, "hazardous_area", &[]).expect(3);
    let report = said.json();
    assert_eq!(
        (&report["taken"], &report["complete"]),
        (&json!(30), &json!(false))
    );
    let fault = &report["fault"];
    assert!(
        fault["hint"].as_str().is_some_and(|hint| hint.len() > 10),
        "{fault:#}"
    );
    assert!(fault["message"].to_string().contains("end"), "{fault:#}");
    taken += 30;
    assert_eq!(documents(&device), taken);
    let file = device.file("whole.geojson", &whole);
    let report = import(&device, &file, "hazardous_area", &[])
        .expect(0)
        .json();
    assert_eq!(
        (&report["taken"], &report["duplicates"]),
        (&json!(11), &json!(30))
    );
    taken += 11;

    // Areas as another kind of record: each row says why, nothing is taken.
    let report = import(&device, &file, "eore_session", &["--dry-run"])
        .expect(3)
        .json();
    assert_eq!(report["refused"][0]["reason"], "geometry_kind");
    let report = import(&device, &file, "accident", &[]).expect(3).json();
    assert_eq!(
        (&report["taken"], &report["refused_count"]),
        (&json!(1), &json!(40))
    );
    taken += 1;
    assert_eq!(documents(&device), taken);

    // The whole file or the request is wrong: nothing is taken.
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = device.file("utf16.geojson", "");
    std::fs::write(&marked, [&[0xff, 0xfe], &*utf16].concat()).expect("writable");
    let bare = device.file("bare.geojson", "");
    std::fs::write(&bare, utf16).expect("writable");
    let empty = device.file("empty.geojson", "");
    let list = device.file("list.geojson", "[]");
    for (path, kind, more, exit, code) in [
        (&marked, "hazardous_area", &[][..], 1, "utf16"),
        (&bare, "hazardous_area", &[], 1, "utf16"),
        (&empty, "hazardous_area", &[], 1, "empty_file"),
        (&list, "hazardous_area", &[], 1, "wrong_top_level"),
        (&file, "hazard", &[], 2, "usage"),
        (
            &file,
            "hazardous_area",
            &["--map", "nonsense=ID"],
            2,
            "unknown_field",
        ),
        (
            &file,
            "hazardous_area",
            &["--map", "local_id=ID"],
            2,
            "unknown_property",
        ),
        (&file, "hazardous_area", &["--crs", "EPSG:3857"], 2, "crs"),
    ] {
        error(import(&device, path, kind, more), exit, code);
    }
    assert_eq!(documents(&device), taken, "nothing is half done");
}

/// The account that owns nothing.
const NOBODY: u32 = 65_534;

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_superuser() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file");
}

/// Gives a folder and all in it to an account.
fn give(folder: &Path, account: u32) {
    chown(folder, Some(account), Some(account)).expect("the superuser gives away");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            give(&path, account);
        } else {
            chown(&path, Some(account), Some(account)).expect("the superuser gives away");
        }
    }
}

/// A command of a device, as somebody who owns its folder and nothing else.
fn as_nobody(device: &Device, program: &Path, arguments: &[&str]) -> Said {
    let mut command = match is_superuser() {
        true => {
            let account = NOBODY.to_string();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &account, "--regid", &account, "--clear-groups"]);
            command.arg(program);
            command
        }
        false => Command::new(program),
    };
    command.arg("--data-dir").arg(device.dir()).arg("--json");
    finished(command.args(arguments).current_dir("/"))
}

fn finished(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        words: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_path_without_permission_is_said() {
    let test = "a_path_without_permission_is_said";
    let account = NOBODY.to_string();
    let away = [
        "--reuid",
        &account,
        "--regid",
        &account,
        "--clear-groups",
        "true",
    ];
    if is_superuser() && !runs("setpriv", &away) {
        eprintln!("SKIPPED {test}: the superuser may read every file, and setpriv is not there");
        return;
    }
    let device = Centre::start().device("Alpha", &["north/records:rw"]);
    let file = device.file("open.csv", "local_id\n1\n");
    import(&device, &file, "accident", &[]).expect(0);
    let closed = device.file("closed.csv", "local_id\n2\n");
    mode(Path::new(&closed), 0o000);
    // Somewhere that nobody else reaches lies the program where tests usually run.
    let shop = tempfile::tempdir().expect("a temporary folder");
    mode(shop.path(), 0o755);
    let program = shop.path().join("cairn");
    std::fs::copy(binaries().join("cairn"), &program).expect("the program is copied");
    let theirs = shop.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    mode(&theirs, 0o555);
    let home = device.dir().parent().expect("a folder").to_path_buf();
    if is_superuser() {
        chown(&home, Some(NOBODY), Some(NOBODY)).expect("the superuser gives away");
        give(&device.dir(), NOBODY);
    }
    let ask = |arguments: &[&str]| as_nobody(&device, &program, arguments);

    // A file that may not be read.
    let arguments = ["import", &closed, "--kind", "accident"];
    let said = error(ask(&arguments), 1, "file");
    assert!(
        said["hint"].to_string().contains("may not read"),
        "{said:#}"
    );
    assert!(
        said["message"].to_string().contains("closed.csv"),
        "{said:#}"
    );
    // A folder in which nothing may be written: no half of a file stays behind.
    let out = theirs.join("out.csv");
    let arguments = ["export", out.to_str().expect("UTF-8"), "accident"];
    error(ask(&arguments), 1, "file");
    assert_eq!(std::fs::read_dir(&theirs).expect("a folder").count(), 0);
    // What may be done is done.
    let status = ask(&["status"]).expect(0).json();
    assert_eq!(status["documents"], 1);
    // A device that belongs to somebody else.
    if is_superuser() {
        give(&device.dir(), 0);
        mode(&device.dir(), 0o700);
        let said = ask(&["import", &file, "--kind", "accident"]);
        assert_ne!(said.code, 0, "{said:?}");
        let error = said.json();
        assert!(
            error["hint"].as_str().is_some_and(|hint| hint.len() > 10),
            "{error:#}"
        );
        assert!(!error.to_string().contains("panicked"), "{error:#}");
    }
    assert_eq!(documents(&device), 1, "nothing is half done");
}

#[test]
fn a_disk_that_may_only_be_read_is_said() {
    let test = "a_disk_that_may_only_be_read_is_said";
    if !runs("unshare", &["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        eprintln!("SKIPPED {test}: no mount namespace may be made here");
        return;
    }
    let device = Centre::start().device("Alpha", &["north/records:rw"]);
    let file = device.file("one.csv", "local_id\n1\n");
    import(&device, &file, "accident", &[]).expect(0);
    let more = device.file("more.csv", "local_id\n2\n");
    let home = device.dir().parent().expect("a folder").to_path_buf();
    let on_it = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c"]);
        command.arg("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"");
        command.arg(&home).arg(binaries().join("cairn"));
        command.arg("--data-dir").arg(device.dir()).arg("--json");
        finished(command.args(arguments))
    };
    let out = home.join("out.csv");
    for arguments in [
        &["import", &more, "--kind", "accident"][..],
        &["export", out.to_str().expect("UTF-8"), "accident"],
    ] {
        let said = on_it(arguments);
        assert!((1..=8).contains(&said.code), "{said:?}");
        let error = said.json();
        let told = format!("{} {}", error["message"], error["hint"]).to_lowercase();
        assert!(told.contains("read"), "{error:#}");
        assert!(
            error["hint"].as_str().is_some_and(|hint| hint.len() > 10),
            "{error:#}"
        );
    }
    assert!(!out.exists());
    assert_eq!(documents(&device), 1, "nothing is half done");
}

#[test]
fn a_proposed_outline_is_drawn_and_not_taken_for_a_record() {
    let centre = Centre::start();
    let device = centre.device("Alpha", &["north/records:rw"]);
    let ring = |size: f64| {
        let corners = [
            [17.0, 44.0],
            [17.0 + size, 44.0],
            [17.0 + size, 44.0 + size],
        ];
        let corners = [&corners[..], &corners[..1]].concat();
        json!({ "type": "Polygon", "coordinates": [corners] }).to_string()
    };
    let (large, small) = (
        device.file("large.geojson", &ring(0.01)),
        device.file("small.geojson", &ring(0.005)),
    );
    let set = [
        "--scope",
        SCOPE,
        "--set",
        "local_id=HA-1",
        "--geojson",
        &large,
    ];
    let new = [&["new", "hazardous_area"][..], &set].concat();
    device.run(&new).expect(0);
    device.run(&["edit", "HA-1", "--geojson", &small]).expect(0);
    let map = device.file("map.geojson", "");
    let said = device.run(&["export", &map]).expect(0).json();
    assert_eq!(
        (&said["records"], &said["proposals"]),
        (&json!(1), &json!(1))
    );
    let text = std::fs::read_to_string(&map).expect("it was written");
    let features: Value = serde_json::from_str(&text).expect("GeoJSON");
    let properties = |index: usize| &features["features"][index]["properties"];
    assert_eq!(properties(0)["proposals"], json!(["perimeter"]));
    assert_eq!(properties(1)["proposal"], true);
    assert_eq!(properties(1)["proposed_by"], "Alpha");
    assert!(properties(1)["proposed_at"].is_string());
    // It comes back: here as nothing new, elsewhere as one record.
    let other = centre.device("Bravo", &["north/records:rw"]);
    for (device, taken) in [(&device, 0), (&other, 1)] {
        let report = import(device, &map, "hazardous_area", &[]).expect(3).json();
        assert_eq!(report["taken"], taken, "{report:#}");
        assert_eq!(reasons(&report), [(2, "proposal".to_owned())]);
        let message = report["refused"][0]["message"].as_str();
        assert!(
            message.is_some_and(|message| message.contains("by Alpha") && message.contains("HA-1")),
            "{message:?}"
        );
        assert_eq!(documents(device), 1);
    }
}

/// Megabytes of the large files: the 300, of which continuous integration reads 40.
fn large_megabytes() -> u64 {
    let asked = std::env::var("CAIRN_LARGE_FILE_MB").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Imports a file and gives the report and the most memory that the program ever held, in kB.
fn watched(device: &Device, file: &str, more: &[&str]) -> (Value, u64) {
    let mut arguments = vec!["import", file, "--kind", "accident", "--scope", SCOPE];
    arguments.extend_from_slice(more);
    // Into a file: nobody reads a pipe while the program is watched.
    let answer = device.file("answer.json", "");
    let out = std::fs::File::create(&answer).expect("writable");
    let mut child = device
        .command(&arguments)
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("cairn starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most_kb = 0;
    while child.try_wait().expect("our own child").is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let high = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let high = high.and_then(|rest| rest.trim().strip_suffix("kB"));
        most_kb = high
            .and_then(|kb| kb.trim().parse().ok())
            .unwrap_or(most_kb);
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = std::fs::read(&answer).expect("the answer is there");
    let report = serde_json::from_slice(&answer).expect("a report");
    (report, most_kb)
}

#[test]
fn a_large_file_streams() {
    let device = Centre::start().device("Alpha", &["north/records:rw"]);
    let megabytes = large_megabytes();
    let written = |name: &str, rows: u64, row: &dyn Fn(u64) -> String| {
        let file = device.file(name, "");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("writable"));
        writeln!(out, "local_id,latitude,longitude,notes").expect("disk");
        for number in 0..rows {
            writeln!(out, "{}", row(number)).expect("disk");
        }
        out.into_inner().expect("disk").sync_all().expect("disk");
        file
    };
    // Few rows, each wide.
    let notes = "x".repeat(100_000);
    let wide = written("wide.csv", megabytes * 10, &|row| {
        let (lat, lon) = (row % 100, row / 100);
        format!("L-{row},44.{lat:02},17.{lon:02},{notes}")
    });
    let (report, most_kb) = watched(&device, &wide, &[]);
    assert_eq!(report["taken"], megabytes * 10);
    assert_eq!(report["unmapped"], json!(["notes"]));
    assert!(most_kb < 150_000, "{most_kb} kB at most");

    // Very many rows, each narrow: a fraction, for each is work of its own. What is kept of each is a
    // few bytes, whatever its width: 300 MB of such rows fit into 200 MB.
    let rows = megabytes * 1_000;
    let narrow = device.file("narrow.csv", "");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&narrow).expect("writable"));
    writeln!(out, "local_id,date,narrative").expect("disk");
    for row in 0..rows {
        writeln!(out, "N-{row:07},2026-{:02}-15,{}", row % 12 + 1, row % 97).expect("disk");
    }
    out.into_inner().expect("disk").sync_all().expect("disk");
    let (report, most_kb) = watched(&device, &narrow, &["--dry-run"]);
    eprintln!("{rows} narrow rows: {most_kb} kB at most");
    assert_eq!(report["taken"], rows);
    assert!(most_kb < 80_000 + rows / 25, "{most_kb} kB at most");
    assert_eq!(documents(&device), megabytes * 10);

    // Zeros are no table, and nobody waits to learn it.
    let sparse = device.file("sparse.csv", "");
    let zeros = std::fs::File::create(&sparse).and_then(|file| file.set_len(300_000_000));
    zeros.expect("a sparse file");
    error(import(&device, &sparse, "accident", &[]), 1, "binary_file");
}
