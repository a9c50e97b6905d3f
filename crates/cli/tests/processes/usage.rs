//! What is typed wrongly, typed strangely, or read by nobody.

use super::{Device, Said, cairn, program};
use cairn_cli::arguments::{Cairn, relay::Cairnd};
use clap::{Command as Definition, CommandFactory as _};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

/// Every command that has no commands below it, with the words that lead to it.
fn leaves(definition: &Definition, path: &[String], found: &mut Vec<Vec<String>>) {
    let mut below = definition
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
        .peekable();
    if below.peek().is_none() {
        found.push(path.to_vec());
    }
    for command in below {
        let path = [path, &[command.get_name().to_owned()]].concat();
        leaves(command, &path, found);
    }
}

#[test]
fn every_command_has_help_with_an_example_that_parses() {
    for (program_path, definition) in [
        (env!("CARGO_BIN_EXE_cairn"), Cairn::command()),
        (env!("CARGO_BIN_EXE_cairnd"), Cairnd::command()),
    ] {
        let mut commands = Vec::new();
        leaves(&definition, &[], &mut commands);
        assert!(commands.len() >= 3);
        for command in commands {
            let output = program(program_path)
                .args(&command)
                .arg("--help")
                .output()
                .unwrap();
            let said = Said::of(output);
            assert_eq!(said.code, 0, "{command:?}: {said:#?}");
            let (_, example) = said
                .out
                .split_once("Example:\n")
                .unwrap_or_else(|| panic!("{command:?} has no example"));
            assert!(example.contains("cairn"), "{command:?}: {example}");
            assert!(!said.out.contains("panicked"));
        }
    }
}

#[test]
fn what_is_typed_wrongly_ends_with_2_and_says_so_where_scripts_read() {
    for wrong in [
        &["nonsense"][..],
        &["list", "--nonsense"],
        &["new"],
        &["decide", "X", "--reason", "r"],
        &["withdraw", "X"],
        &["sync", "--deadline", "soon"],
        &["sync", "--byte-budget", "-1"],
        &["sync", "--watch", "--deadline", "5s"],
        &["--profile", "a", "--data-dir", "b", "status"],
        &["--profile", "../a", "status"],
        &["--tz", "Mars/Olympus", "status"],
        &["export", "f", "--format", "dbf"],
        &["completions", "cobol"],
        &["ops", "status"],
        &[
            "ops",
            "--dir",
            "/nonexistent",
            "enrol",
            "new",
            "--name",
            "x",
        ],
    ] {
        let said = cairn(wrong);
        assert_eq!(said.code, 2, "{wrong:?}: {said:#?}");
        assert!(
            said.out.is_empty() && !said.words.is_empty(),
            "{wrong:?}: {said:#?}"
        );
        let with_json: Vec<&str> = ["--json"].iter().chain(wrong).copied().collect();
        let error = cairn(&with_json).json(2);
        assert_eq!(error["schema"], "cairn.error/1");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        assert_eq!(error["retryable"], false);
    }
    assert_eq!(cairn::<&str>(&[]).code, 2);
}

#[test]
fn errors_have_a_code_a_hint_and_the_exit_code_of_the_contract() {
    let nowhere = tempfile::tempdir().unwrap();
    let folder = nowhere.path().join("none").display().to_string();
    for arguments in [
        &["status"][..],
        &["list"],
        &["sync"],
        &["show", "X"],
        &["check"],
    ] {
        let all: Vec<&str> = ["--json", "--data-dir", &folder]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let error = cairn(&all).json(5);
        assert_eq!(error["code"], "no_device");
        assert!(
            error["hint"]
                .as_str()
                .is_some_and(|hint| hint.contains("cairn init"))
        );
    }
    assert!(
        !nowhere.path().join("none").exists(),
        "looking makes nothing"
    );

    let device = Device::new("Alone");
    assert_eq!(device.run(&["init"]).json(1)["code"], "device_exists");
    assert_eq!(device.run(&["sync"]).json(5)["code"], "not_joined");
    assert_eq!(device.run(&["show", "HA-1"]).json(1)["code"], "not_found");
    assert_eq!(
        device.run(&["join", "CAIRN-rubbish"]).json(2)["code"],
        "code"
    );
    assert_eq!(
        device
            .run(&["import", "/nonexistent", "--kind", "hazardous_area"])
            .json(1)["code"],
        "file"
    );
    let new = device
        .run(&["new", "hazardous_area", "--set", "local_id=X"])
        .json(5);
    assert_eq!(new["code"], "not_joined");
    let twice = [
        "new",
        "hazardous_area",
        "--set",
        "slope=flat",
        "--set",
        "slope=steep",
    ];
    let twice = device.run(&twice).json(2);
    assert!(twice["message"].as_str().unwrap().contains("slope"));
    let kind = device
        .run(&["new", "minefeld", "--set", "local_id=X"])
        .json(2);
    assert!(kind["hint"].as_str().unwrap().contains("hazardous_area"));

    let ops = cairn(&["--json", "ops", "--dir", &folder, "status"]).json(4);
    assert_eq!(ops["code"], "unreachable");
    assert_eq!(ops["retryable"], true);
}

#[test]
fn a_folder_in_use_ends_with_6() {
    let device = Device::new("Busy");
    let held = cairn_device::Device::open(&device.folder(), &Default::default()).unwrap();
    let error = device.run(&["status"]).json(6);
    assert_eq!(error["code"], "locked");
    assert_eq!(error["retryable"], true);
    held.close().unwrap();
    device.run(&["status"]).json(0);
}

#[test]
fn a_closed_pipe_is_no_fault() {
    let device = Device::new("Unread");
    let folder = device.folder();
    for arguments in [
        &["--help"][..],
        &["explain", "hazardous_area"],
        &["completions", "bash"],
        &["list"],
        &["--json", "status"],
        &["export", "-"],
        &["nonsense", "--json"],
    ] {
        let mut command = program(env!("CARGO_BIN_EXE_cairn"));
        command.arg("--data-dir").arg(&folder).args(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = Said::of(output);
        assert!(!said.words.contains("panicked"), "{arguments:?}: {said:#?}");
        let wrong = arguments.contains(&"nonsense");
        assert_eq!(
            said.code,
            if wrong { 2 } else { 0 },
            "{arguments:?}: {said:#?}"
        );
    }
}

#[test]
fn strange_words_are_refused_and_nothing_panics() {
    let device = Device::new("Ünïcödé 🪨 الفريق");
    let folder = device.folder();
    let long = "x".repeat(100_000);
    let strange: [&OsStr; 9] = [
        OsStr::new(""),
        OsStr::new(" "),
        OsStr::new("-"),
        OsStr::new("\u{202e}abc\u{0}".trim_end_matches('\u{0}')),
        OsStr::new("../../etc/passwd"),
        OsStr::new("=\n\t\x1b[31m"),
        OsStr::new("🪨=🪨"),
        OsStr::from_bytes(b"\xff\xfe=\x80"),
        OsStr::new(&long),
    ];
    for word in strange {
        for before in [
            &["show"][..],
            &["explain"],
            &["join"],
            &["edit", "x", "--set"],
            &["new", "hazardous_area", "--set"],
            &["new", "hazardous_area", "--position"],
            &["list", "--where"],
            &["show", "x", "--as-of"],
            &["decide", "x", "--reason", "r", "--take"],
            &["edit", "x", "--set", "slope=flat", "--seen"],
            &["import", "--kind", "hazardous_area"],
            &["sync", "--peer"],
        ] {
            let mut all: Vec<OsString> =
                vec!["--json".into(), "--data-dir".into(), folder.clone().into()];
            all.extend(before.iter().map(OsString::from));
            all.push(word.to_owned());
            let said = cairn(&all);
            assert!(
                (0..=8).contains(&said.code),
                "{before:?} {word:?}: {said:#?}"
            );
            assert!(
                !said.words.contains("panicked"),
                "{before:?} {word:?}: {said:#?}"
            );
        }
    }
}

#[test]
fn settings_say_where_they_come_from_and_unknown_keys_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "data_dir = \"/somewhere\"\ntz = \"UTC\"\n").unwrap();
    let show = |more: &[(&str, &str)], flags: &[&str]| {
        let mut command = program(env!("CARGO_BIN_EXE_cairn"));
        command
            .env("CAIRN_CONFIG", &file)
            .args(["--json", "config", "show", "--origin"]);
        command.args(flags).envs(more.iter().copied());
        Said::of(command.output().unwrap())
    };
    let origin = |said: &Said| {
        let settings = said.json(0)["settings"].as_array().unwrap().clone();
        let data_dir = settings
            .into_iter()
            .find(|one| one["key"] == "data_dir")
            .unwrap();
        let text = |key: &str| data_dir[key].as_str().unwrap().to_owned();
        (text("value"), text("origin"))
    };
    let path = file.display().to_string();
    assert_eq!(origin(&show(&[], &[])), ("/somewhere".into(), path));
    let set = [("CAIRN_DATA_DIR", "/elsewhere")];
    assert_eq!(
        origin(&show(&set, &[])),
        ("/elsewhere".into(), "CAIRN_DATA_DIR".into())
    );
    let flag = ["--data-dir", "/here"];
    assert_eq!(
        origin(&show(&set, &flag)),
        ("/here".into(), "--data-dir".into())
    );

    std::fs::write(&file, "data_dri = \"/somewhere\"\n").unwrap();
    let error = show(&[], &[]).json(2);
    assert!(
        error["message"].as_str().unwrap().contains("data_dri"),
        "{error:#}"
    );
}

#[test]
fn a_relays_configuration_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = program(env!("CARGO_BIN_EXE_cairnd"));
        Said::of(
            command
                .args(["--json", "config", "check"])
                .arg(&file)
                .output()
                .unwrap(),
        )
    };
    assert_eq!(
        check("public = \"relay.example:7443\"\n").json(0)["ok"],
        true
    );
    let error = check("lissten = \"127.0.0.1:1\"\n").json(2);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("\"listen\" may be meant"),
        "{error:#}"
    );
    check("public = \"nowhere\"\n").json(2);
}
