//! Disks that fail in the middle of what the real programs do, and what must hold afterwards.
//!
//! The shim in `shim/` is loaded before libc into `cairn` and `cairnd` and spoils the k-th operation on
//! files below a folder. A [`Ledger`] outside the system keeps what people were told is saved, and is
//! held against what the system shows once the disk is sound again.

use cairn_end_to_end::{Device, Said, binaries};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How an operation is spoiled; what each means stands in the shim.
pub const KINDS: [&str; 5] = ["eio", "dead", "enospc", "short", "torn"];

/// How long one command on a failing disk may take before it counts as hung.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(120);

/// The library to load, built once if it is not there or stale.
pub fn shim() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = binaries();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "cairn-faults-shim"]);
        if folder.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        let status = build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the shim does not build");
        folder.join("libcairn_faults_shim.so")
    })
}

/// What is to go wrong on the disk of one process.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Folder whose files are meant.
    pub dir: PathBuf,
    /// Which operation, from 1; 0 for none, to count them.
    pub at: u64,
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// Nothing counts while this file is absent, if one is named.
    pub armed: Option<PathBuf>,
    /// Where each operation is noted.
    pub log: PathBuf,
}

impl Fault {
    /// What a process must be told, as variables.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().expect("temporary names are UTF-8").to_owned();
        let _ = std::fs::remove_file(&self.log);
        let mut variables = vec![
            ("LD_PRELOAD", text(shim())),
            ("CAIRN_FAULT_DIR", text(&self.dir)),
            ("CAIRN_FAULT_AT", self.at.to_string()),
            ("CAIRN_FAULT_KIND", self.kind.to_owned()),
            ("CAIRN_FAULT_LOG", text(&self.log)),
        ];
        if let Some(armed) = &self.armed {
            variables.push(("CAIRN_FAULT_ARMED", text(armed)));
        }
        variables
    }

    /// The operations of the last process, a line each.
    pub fn operations(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What was spoiled first, in words.
    pub fn spoiled(&self) -> Option<String> {
        let operations = self.operations();
        let bad = |line: &&String| line.ends_with("FAILED") || line.ends_with("HALF");
        operations.iter().find(bad).cloned()
    }
}

/// Runs a command to its end; one that hangs is killed and fails the test.
#[track_caller]
pub fn run(command: &mut Command) -> Said {
    run_while(command, || ())
}

/// The same, calling `meanwhile` again and again.
#[track_caller]
pub fn run_while(command: &mut Command, mut meanwhile: impl FnMut()) -> Said {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let out = drain(child.stdout.take().expect("stdout is piped"));
    let words = drain(child.stderr.take().expect("stderr is piped"));
    let until = Instant::now() + COMMAND_PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            break status;
        }
        if Instant::now() > until {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
            panic!("{command:?} hangs");
        }
        meanwhile();
        std::thread::sleep(Duration::from_millis(2));
    };
    Said::of(Output {
        status,
        stdout: out.join().expect("reading ends"),
        stderr: words.join().expect("reading ends"),
    })
}

fn drain(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A command of a device on a disk that fails.
#[track_caller]
pub fn run_on(device: &Device, fault: &Fault, arguments: &[&str]) -> Said {
    run(device.command(arguments).envs(fault.variables()))
}

/// What people were told is saved, by the id that was printed.
#[derive(Debug, Default, Clone)]
pub struct Ledger(BTreeSet<String>);

impl Ledger {
    /// Notes the id that an answer with exit code 0 prints.
    #[track_caller]
    pub fn note(&mut self, saved: &Value) {
        assert_eq!(saved["schema"], "cairn.saved/1", "{saved:#}");
        self.0
            .insert(saved["id"].as_str().expect("an id").to_owned());
    }

    /// How many were noted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Was none noted?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in the ledger and not among the records of `cairn list --json`.
    pub fn missing_from(&self, list: &Value) -> Vec<&str> {
        let records = list["records"].as_array();
        let held: BTreeSet<&str> = records
            .into_iter()
            .flatten()
            .filter_map(|record| record["id"].as_str())
            .collect();
        let all = self.0.iter().map(String::as_str);
        all.filter(|id| !held.contains(id)).collect()
    }

    /// Holds it against what a device shows; answers what is wrong.
    #[must_use]
    pub fn held_against(&self, device: &Device) -> Option<String> {
        let said = run(&mut device.command(&["list"]));
        if said.code != 0 {
            return Some(format!("the list does not read: {said:?}"));
        }
        let missing = self.missing_from(&said.json());
        (!missing.is_empty()).then(|| format!("LOST: {missing:?}"))
    }
}

/// What is wrong with an answer that should say in words what failed: the exit code is one of `codes`,
/// the error is a sentence with what to do, and nothing in it is meant for programmers.
#[must_use]
pub fn unclear(said: &Said, codes: &[i32]) -> Option<String> {
    let last = said.out.lines().rfind(|line| !line.trim().is_empty());
    let error: Value = last
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    let message = text("message");
    let foreign = ["Os {", "Error(", "Err(", "unwrap", "sled", "panic"];
    let wrong = if !codes.contains(&said.code) {
        "the exit code"
    } else if said.words.contains("panicked") {
        "a panic is shown"
    } else if text("schema") != "cairn.error/1" || message.len() < 10 {
        "no sentence"
    } else if text("hint").len() < 10 {
        "no hint"
    } else if foreign.iter().any(|word| message.contains(word)) {
        "words for programmers"
    } else {
        return None;
    };
    Some(format!("{wrong}: {said:?}"))
}

/// All operations from 1 to `count` if `CAIRN_FAULTS_ALL` is set, else `spread` of them, evenly.
pub fn chosen(count: u64, spread: u64) -> Vec<u64> {
    let count = count.min(300);
    if std::env::var_os("CAIRN_FAULTS_ALL").is_some() || count <= spread {
        return (1..=count).collect();
    }
    (0..spread)
        .map(|at| 1 + at * (count - 1) / (spread - 1).max(1))
        .collect()
}

/// How runs ended: by exit code and the error's word.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, said: &Said) {
        let last = said.out.lines().rfind(|line| !line.trim().is_empty());
        let json = last.and_then(|line| serde_json::from_str::<Value>(line).ok());
        let word = json.as_ref().and_then(|json| json["code"].as_str());
        let key = format!("exit {} {}", said.code, word.unwrap_or(""));
        self.count_as(key.trim_end());
    }

    /// Counts one by another name.
    pub fn count_as(&mut self, key: &str) {
        *self.0.entry(key.to_owned()).or_default() += 1;
    }

    /// What a person reads.
    pub fn words(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(key, n)| format!("{n} × {key}"))
            .collect();
        parts.join(", ")
    }
}
