//! What a programme would try on the first day, with real binaries, real stores and real QUIC: each
//! story by its number in the list that the programme was given. The story of the Kobo export, 17, is
//! told in `tables.rs`.

mod boundaries;
mod clocks;
mod figures;
mod numbers;
mod safety;
mod texts;

use cairn_end_to_end::{Centre, Device, Said};
use serde_json::Value;

const SCOPE: &str = "north/field";
/// Noon of 2026-02-02, in seconds since 1970.
const MONDAY_NOON_S: i64 = 1_770_033_600;
const DAY_S: i64 = 86_400;

/// Two teams of one area of work; the first may decide.
fn two_teams(centre: &Centre) -> [Device; 2] {
    [
        centre.device("Alpha", &["north/field:rw+decide"]),
        centre.device("Delta", &["north/field:rw"]),
    ]
}

/// Everybody meets the relay until nobody has anything that another lacks.
#[track_caller]
fn meet(devices: &[&Device]) {
    for device in devices.iter().chain(devices) {
        device.sync();
    }
}

/// `cairn --json …` while the device's clock shows `clock_s`.
fn at(device: &Device, clock_s: i64, arguments: &[&str]) -> Said {
    said(
        device
            .command(arguments)
            .env("CAIRN_CLOCK_S", clock_s.to_string()),
    )
}

/// What people see, without `--json`, in UTC.
fn in_words(device: &Device, arguments: &[&str]) -> Said {
    let folder = device.dir();
    let mut all = vec!["--tz", "UTC", "--data-dir", folder.to_str().expect("UTF-8")];
    all.extend_from_slice(arguments);
    cairn_end_to_end::cairn(&all)
}

fn said(command: &mut std::process::Command) -> Said {
    let output = command.output().expect("cairn starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        words: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
    &record["fields"][name]
}

/// The values that stand in a field, as `values` of `show` has them.
fn values<'a>(record: &'a Value, name: &str) -> &'a [Value] {
    field(record, name)["values"]
        .as_array()
        .map_or(&[], |all| all)
}

/// The fields of a record that are in conflict.
fn disputed(record: &Value) -> Vec<&str> {
    open(record, |reading| reading["conflict"] == true)
}

/// The fields of a record in which a proposal waits.
fn proposed(record: &Value) -> Vec<&str> {
    open(record, |reading| {
        let values = reading["values"].as_array().into_iter().flatten();
        values.into_iter().any(|value| value["proposal"] == true)
    })
}

fn open(record: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<&str> {
    let fields = record["fields"].as_object().into_iter().flatten();
    let wanted = fields.filter(|(_, reading)| wanted(reading));
    wanted.map(|(name, _)| name.as_str()).collect()
}

/// The strings of a list.
fn strings(list: &Value) -> Vec<&str> {
    let members = list.as_array().into_iter().flatten();
    members.filter_map(Value::as_str).collect()
}

/// A record as the centre reads it, once it reads as `wanted`.
#[track_caller]
fn centre_reads(centre: &Centre, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    centre.eventually(&["doc", id], wanted)
}

/// The one feature of what a device exports of a kind.
#[track_caller]
fn exported(device: &Device, kind: &str) -> Value {
    let (mut drawn, _) = drawn_and_proposed(device, kind);
    assert_eq!(drawn.len(), 1, "{drawn:#?}");
    drawn.remove(0)
}

/// The features that `cairn export` draws, and the outlines beside them that are only proposed.
#[track_caller]
fn drawn_and_proposed(device: &Device, kind: &str) -> (Vec<Value>, Vec<Value>) {
    let file = device.file("map.geojson", "");
    device.run(&["export", &file, kind]).expect(0);
    let text = std::fs::read_to_string(&file).expect("the map is there");
    let map: Value = serde_json::from_str(&text).expect("GeoJSON");
    let features = map["features"].as_array().expect("features").clone();
    let proposed = |feature: &Value| feature["properties"]["proposal"] == true;
    features.into_iter().partition(|feature| !proposed(feature))
}

/// What `cairn list` says of a record.
#[track_caller]
fn listed(device: &Device, id: &str) -> Value {
    let list = device.run(&["list"]).expect(0).json();
    let mut records = list["records"].as_array().expect("records").iter();
    let found = records.find(|record| record["id"] == id);
    found.expect("it is listed").clone()
}

/// Open questions of a device.
#[track_caller]
fn conflicts(device: &Device) -> Vec<Value> {
    let said = device.run(&["conflicts"]).expect(0).json();
    assert_eq!(said["schema"], "cairn.conflicts/1");
    said["conflicts"].as_array().expect("a list").clone()
}
