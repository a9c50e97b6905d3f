//! Kills, lost indexes and silence: nothing that was acknowledged is missing, nothing doubles.

#![allow(clippy::print_stderr)] // How many kills there were is a figure of tests/README.md.

use cairn_end_to_end::proxy::Proxy;
use cairn_end_to_end::{Centre, Device, PATIENCE, square};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const SCOPE: &str = "north/hazards";
/// A whole push of [`areas`] takes about half a minute at this rate.
const SLOW_BYTES_PER_SECOND: u64 = 3_000;
const AREAS: usize = 600;

/// Kills of each side; `CAIRN_KILLS` says another number.
fn kills() -> u32 {
    let asked = std::env::var("CAIRN_KILLS").ok();
    asked.map_or(25, |kills| kills.parse().expect("CAIRN_KILLS is a number"))
}

/// A file of areas that compress badly, so that a slow link is needed for long.
fn areas(count: usize, seed: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut text = String::from("{\"type\":\"FeatureCollection\",\"features\":[\n");
    for number in 0..count {
        let (lat, lon) = (
            44.0 + f64::from(random.random_range(0..900_000u32)) / 1e6,
            17.0 + f64::from(random.random_range(0..900_000u32)) / 1e6,
        );
        let feature = square(lat, lon, f64::from(random.random_range(20..900u32)));
        text.push_str(&feature.replace(
            "\"properties\":{}",
            &format!("\"properties\":{{\"label\":\"A-{number}\"}}"),
        ));
        text.push_str(if number + 1 < count { ",\n" } else { "\n" });
    }
    text.push_str("]}\n");
    text
}

fn import(device: &Device, count: usize, seed: u64) {
    let file = device.file("areas.geojson", &areas(count, seed));
    let said = device
        .run(&[
            "import",
            &file,
            "--kind",
            "hazardous_area",
            "--scope",
            SCOPE,
            "--map",
            "local_id=label",
        ])
        .expect(0)
        .json();
    assert_eq!(said["taken"], count);
}

fn documents(device: &Device) -> u64 {
    device.run(&["status"]).expect(0).json()["documents"]
        .as_u64()
        .expect("a number of documents")
}

fn sound(device: &Device) {
    let check = device.run(&["check"]).expect(0).json();
    assert_eq!(check["ok"], true, "{check:#}");
}

/// Saves a record and is killed while it does; its id, if it had said so before.
fn killed_while_saving(device: &Device, number: u32, random: &mut ChaCha8Rng) -> Option<String> {
    let set = format!("local_id=K-{number}");
    let mut saving = device
        .command(&["new", "hazardous_area", "--set", &set])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("cairn starts");
    std::thread::sleep(Duration::from_millis(random.random_range(0..120)));
    saving.kill().expect("our own child can be killed");
    let said = saving
        .wait_with_output()
        .expect("our own child can be waited for");
    let saved: Value = serde_json::from_slice(&said.stdout).ok()?;
    Some(saved["id"].as_str().expect("an id").to_owned())
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_missing() {
    let kills = kills();
    let mut random = ChaCha8Rng::seed_from_u64(0xCA1F);
    let mut centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    import(&alpha, AREAS, 1);
    import(&delta, AREAS, 2);

    let mut saved = BTreeSet::new();
    let (mut device_kills, mut relay_kills) = (0, 0);
    let until = Instant::now() + PATIENCE * (10 + kills / 10);
    while device_kills < kills || relay_kills < kills {
        assert!(Instant::now() < until, "the kills take too long");
        let device = [&alpha, &delta][random.random_range(0..2)];
        if device_kills < kills && random.random_bool(0.25) {
            saved.extend(killed_while_saving(device, device_kills, &mut random));
            device_kills += 1;
            continue;
        }
        let set = format!("local_id=S-{}", saved.len());
        saved.insert(device.save(&["new", "hazardous_area", "--set", &set]));
        let mut syncing = device
            .command(&["sync"])
            .env(
                "CAIRN_THROTTLE_BYTES_PER_S",
                SLOW_BYTES_PER_SECOND.to_string(),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("cairn starts");
        std::thread::sleep(Duration::from_millis(random.random_range(20..500)));
        if device_kills < kills && (relay_kills >= kills || random.random_bool(0.4)) {
            syncing.kill().expect("our own child can be killed");
            device_kills += 1;
        } else {
            centre.kill();
            relay_kills += 1;
            syncing.kill().expect("our own child can be killed");
            centre.run();
        }
        syncing.wait().expect("our own child can be waited for");
    }
    eprintln!(
        "{kills} kills of each side, {} records said to be saved",
        saved.len()
    );

    for device in [&alpha, &delta, &alpha] {
        device.sync();
    }
    // What was killed before it said so may be there or not; nothing may be there twice.
    let all = documents(&alpha);
    assert!(all >= (2 * AREAS + saved.len()) as u64, "{all}");
    assert!(
        all <= (2 * AREAS + saved.len()) as u64 + u64::from(kills),
        "{all}"
    );
    for device in [&alpha, &delta] {
        let listed = device.run(&["list", "--all"]).expect(0).json();
        let listed = listed["records"].as_array().expect("records are listed");
        let ids: BTreeSet<&str> = listed
            .iter()
            .filter_map(|record| record["id"].as_str())
            .collect();
        assert_eq!(ids.len(), listed.len(), "a record stands there twice");
        assert_eq!(ids.len() as u64, all);
        let missing: Vec<_> = saved
            .iter()
            .filter(|id| !ids.contains(id.as_str()))
            .collect();
        assert!(missing.is_empty(), "acknowledged and gone: {missing:?}");
        sound(device);
    }
    assert_eq!(alpha.export(), delta.export());
    let verified = centre.ops(&["verify"]).expect(0).json();
    assert_eq!(verified["ok"], true, "{verified:#}");
    let ahead = alpha.sync();
    assert_eq!(ahead["entries_sent"], 0);
    assert_eq!(ahead["entries_received"], 0);
    centre.eventually(&["status"], |status| status["documents"] == all);
}

fn index_folders(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the folder is readable").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name == "index") {
                    found.push(path);
                } else {
                    folders.push(path);
                }
            }
        }
    }
    found
}

fn overwrite_with_noise(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the index is a folder") {
        let path = entry.expect("the index is a folder").path();
        if path.is_file() {
            let length = std::fs::metadata(&path).expect("it is there").len() as usize;
            let mut random = ChaCha8Rng::seed_from_u64(length as u64);
            let noise: Vec<u8> = (0..length.max(64)).map(|_| random.random()).collect();
            std::fs::write(&path, noise).expect("the index is writable");
        }
    }
}

#[test]
fn a_lost_index_is_rebuilt_from_the_segments_and_says_so() {
    let mut centre = Centre::start();
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    import(&alpha, 60, 3);
    alpha.sync();
    // Some of it sealed and sent, some of it not.
    import(&alpha, 20, 4);
    let whole = alpha.export();

    for noise in [false, true] {
        let folders = index_folders(&alpha.dir());
        assert_eq!(folders.len(), 1);
        if noise {
            overwrite_with_noise(&folders[0]);
        } else {
            std::fs::remove_dir_all(&folders[0]).expect("the index is a folder");
        }
        let said = alpha.run(&["status"]).expect(0);
        assert!(said.words.contains("rebuilt"), "{said:#?}");
        assert_eq!(said.json()["documents"], 80);
        assert_eq!(alpha.export(), whole);
        sound(&alpha);

        centre.kill();
        for folder in index_folders(&centre.dir()) {
            if noise {
                overwrite_with_noise(&folder);
            } else {
                std::fs::remove_dir_all(&folder).expect("the index is a folder");
            }
        }
        centre.run();
        assert!(
            centre.words().iter().any(|line| line.contains("rebuilt")),
            "{:#?}",
            centre.words()
        );
    }
    alpha.sync();
    delta.sync();
    assert_eq!(delta.export(), whole);
    centre.eventually(&["status"], |status| status["documents"] == 80);
}

#[test]
fn after_a_silence_the_sync_goes_on_and_sends_little_twice() {
    let port = std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port on loopback")
        .port();
    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let centre = Centre::start_reached_at(port, &proxy.address().to_string());
    let alpha = centre.device("Alpha", &["north/hazards:rw"]);
    let delta = centre.device("Delta", &["north/hazards:rw"]);
    import(&alpha, AREAS, 5);

    let rate = 20_000;
    let mut syncing = alpha
        .command(&["sync"])
        .env("CAIRN_THROTTLE_BYTES_PER_S", rate.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cairn starts");
    let until = Instant::now() + PATIENCE;
    while proxy.bytes_up() < 12_000 {
        assert!(Instant::now() < until, "nothing flows");
        std::thread::sleep(Duration::from_millis(10));
    }
    proxy.set_silent(true);
    std::thread::sleep(Duration::from_secs(3));
    proxy.set_silent(false);
    let status = syncing.wait().expect("our own child can be waited for");
    assert!(status.success(), "the sync outlives a silence: {status}");

    let again = alpha.sync();
    assert_eq!(again["entries_sent"], 0);
    delta.sync();
    assert_eq!(alpha.export(), delta.export());
}
