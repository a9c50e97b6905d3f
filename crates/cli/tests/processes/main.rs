//! The programs as scripts and people meet them: real processes, real folders.

mod laptops;
mod screens;
mod screens_field;
mod screens_help;
mod screens_ops;
mod shapes;
mod stage;
mod usage;

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    words: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The last object, after asserting the exit code.
    #[track_caller]
    fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:#?}");
        let last = self.out.lines().rfind(|line| !line.trim().is_empty());
        let last = last.unwrap_or_else(|| panic!("nothing on standard output: {self:#?}"));
        let value: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{self:#?}"));
        assert!(
            value["schema"]
                .as_str()
                .is_some_and(|schema| schema.starts_with("cairn."))
        );
        value
    }
}

/// A program without any settings of whoever runs the tests.
fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIRN_") {
            command.env_remove(name);
        }
    }
    command
        .env("CAIRN_CONFIG", "/dev/null")
        .stdin(Stdio::null());
    command
}

fn cairn<A: AsRef<OsStr>>(arguments: &[A]) -> Said {
    let mut command = program(env!("CARGO_BIN_EXE_cairn"));
    Said::of(command.args(arguments).output().unwrap())
}

/// A device's folder, gone after the test.
struct Device(tempfile::TempDir);

impl Device {
    fn new(name: &str) -> Self {
        let device = Self(tempfile::tempdir().unwrap());
        device
            .run(&["init", "--name", name, "--no-encryption"])
            .json(0);
        device
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let folder = self.folder();
        let mut all: Vec<&OsStr> = vec!["--json".as_ref(), "--data-dir".as_ref(), folder.as_ref()];
        all.extend(arguments.iter().map(|one| -> &OsStr { one.as_ref() }));
        cairn(&all)
    }
}

/// The text of a file that has to be there.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
