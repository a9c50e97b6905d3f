//! Real binaries, real stores, real QUIC on loopback: a relay and devices as a test's own processes.
//!
//! A test asks for a [`Centre`] and for [`Device`]s and tells a story with them. Everything lives in
//! a temporary folder and ends with the test; only processes that a test started are ever killed.

#![allow(clippy::print_stderr)] // Skipped tests and failing relays must be heard.

pub mod proxy;

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything on loopback may take before a test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The folder of the binaries under test: the one that `CAIRN_BINARIES` names, or else that of this
/// program, where they are built once if they are not there or stale.
pub fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(built) = std::env::var_os("CAIRN_BINARIES") {
            return PathBuf::from(built);
        }
        let this = std::env::current_exe().expect("a program knows its own path");
        // Tests lie in `deps`, below the profile's folder; the bench lies in it.
        let folder = this
            .ancestors()
            .skip(1)
            .find(|folder| folder.file_name() != Some(OsStr::new("deps")))
            .expect("programs are built in the profile's folder")
            .to_path_buf();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "cairn-cli", "--bins"]);
        if folder.file_name() == Some(OsStr::new("release")) {
            build.arg("--release");
        }
        let status = build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the binaries under test do not build");
        folder
    })
}

/// The folder of real data, or `None` after saying loudly that the test is skipped.
pub fn shared_data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CAIRN_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    if folder.join("bih_suspect_areas_simplyfied.geojson").exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED {test}: no real data in CAIRN_SHARED_DATA nor in ../shared/data");
    None
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub words: String,
}

impl Said {
    /// From what a process left behind.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The last JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.out.lines().rfind(|line| !line.trim().is_empty());
        match last.map(serde_json::from_str) {
            Some(Ok(value)) => value,
            _ => panic!("no JSON in {self:?}"),
        }
    }

    /// Itself, after asserting the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// The command `cairn` with arguments, its output kept.
pub fn cairn(arguments: &[&str]) -> Said {
    let output = Command::new(binaries().join("cairn"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("CAIRN_DATA_DIR")
        .env_remove("CAIRN_RELAY_DIR")
        .output()
        .expect("cairn starts");
    Said::of(output)
}

/// A relay with its centre, in a folder of its own.
pub struct Centre {
    folder: TempDir,
    running: Option<Child>,
    words: Arc<Mutex<Vec<String>>>,
    throttle: Option<u64>,
}

impl Centre {
    /// Makes a programme, with a relay on a free loopback port, and starts it.
    pub fn start() -> Self {
        let port = std::net::UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port on loopback")
            .port();
        Self::start_reached_at(port, &format!("127.0.0.1:{port}"))
    }

    /// The same, listening on `port` and named `public` in joining codes.
    pub fn start_reached_at(port: u16, public: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listen = format!("127.0.0.1:{port}");
        let dir = folder.path().join("centre");
        let output = Command::new(binaries().join("cairnd"))
            .args(["init", "--dir"])
            .arg(&dir)
            .args(["--listen", &listen, "--public", public])
            .stdin(Stdio::null())
            .output()
            .expect("cairnd starts");
        Said::of(output).expect(0);
        let mut centre = Self {
            folder,
            running: None,
            words: Arc::default(),
            throttle: None,
        };
        centre.run();
        centre
    }

    /// Slows every session of the relay, from its next start on.
    pub fn throttle(&mut self, bytes_per_second: Option<u64>) {
        self.throttle = bytes_per_second;
    }

    /// The relay's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("centre")
    }

    /// Starts the daemon and waits until it says that it listens.
    pub fn run(&mut self) {
        let ended = self.start_with(&[]);
        assert!(
            ended.is_none(),
            "the relay does not listen: {:?}",
            self.words()
        );
    }

    /// Starts the daemon with more variables. Answers once it listens, or with the exit code of one
    /// that gave up.
    pub fn start_with(&mut self, variables: &[(&str, String)]) -> Option<i32> {
        assert!(self.running.is_none(), "the relay runs already");
        let mut command = Command::new(binaries().join("cairnd"));
        command
            .args(["run", "--dir"])
            .arg(self.dir())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(rate) = self.throttle {
            command.env("CAIRN_THROTTLE_BYTES_PER_S", rate.to_string());
        }
        let mut child = command.spawn().expect("cairnd starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (ready, wait) = std::sync::mpsc::channel();
        let words = Arc::clone(&self.words);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let listens = line.contains("istening");
                words.lock().expect("no test panics with it").push(line);
                if listens {
                    let _ = ready.send(());
                }
            }
        });
        self.running = Some(child);
        match wait.recv_timeout(PATIENCE) {
            Ok(()) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                let mut child = self.running.take().expect("it was started");
                let status = child.wait().expect("our own child can be waited for");
                Some(status.code().unwrap_or(-1))
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                panic!("the relay does not listen: {:?}", self.words())
            }
        }
    }

    /// The exit code of a daemon that has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let running = self.running.as_mut()?;
        let status = running.try_wait().expect("our own child can be asked")?;
        self.running = None;
        Some(status.code().unwrap_or(-1))
    }

    /// Resident memory of the daemon, as the kernel counts it.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it was since it started.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, line: &str) -> u64 {
        let id = self.running.as_ref().expect("the relay runs").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))
            .expect("the kernel tells of our own child");
        status
            .lines()
            .find_map(|of| of.strip_prefix(line))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok())
            .expect("the kernel counts memory")
            * 1024
    }

    /// Bytes that the daemon has read from files and local sockets since it started, cached or not.
    pub fn bytes_read(&self) -> u64 {
        let id = self.running.as_ref().expect("the relay runs").id();
        let counts = std::fs::read_to_string(format!("/proc/{id}/io"))
            .expect("the kernel tells of our own child");
        counts
            .lines()
            .find_map(|line| line.strip_prefix("rchar:"))
            .and_then(|count| count.trim().parse().ok())
            .expect("rchar is there")
    }

    /// Everything the daemon wrote on standard error so far.
    pub fn words(&self) -> Vec<String> {
        self.words.lock().expect("no test panics with it").clone()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.running.take().expect("the relay runs");
        child.kill().expect("our own child can be killed");
        child.wait().expect("our own child can be waited for");
    }

    /// `cairn ops --dir … --json`.
    pub fn ops(&self, arguments: &[&str]) -> Said {
        let dir = self.dir();
        let mut all = vec!["ops", "--json", "--dir", dir.to_str().expect("UTF-8")];
        all.extend_from_slice(arguments);
        cairn(&all)
    }

    /// A joining code for one device.
    #[track_caller]
    pub fn code(&self, name: &str, scopes: &[&str]) -> String {
        let mut arguments = vec!["enrol", "new", "--name", name, "--role", "device"];
        for scope in scopes {
            arguments.extend_from_slice(&["--scope", scope]);
        }
        let said = self.ops(&arguments).expect(0).json();
        said["code"].as_str().expect("a code").to_owned()
    }

    /// A device that has joined.
    #[track_caller]
    pub fn device(&self, name: &str, scopes: &[&str]) -> Device {
        let device = Device::new(name);
        let code = self.code(name, scopes);
        device.run(&["join", &code]).expect(0);
        device
    }

    /// Waits until the centre's answer to a request satisfies `wanted`.
    #[track_caller]
    pub fn eventually(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.ops(arguments).expect(0).json();
            if wanted(&value) {
                return value;
            }
            assert!(
                Instant::now() < until,
                "never came: {arguments:?}: {value:#}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the relay's words: {:#?}", self.words());
        }
    }
}

/// A device in a folder of its own.
pub struct Device {
    folder: TempDir,
}

impl Device {
    /// A device that has not joined.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let device = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        device
            .run(&["init", "--name", name, "--no-encryption"])
            .expect(0);
        device
    }

    /// Where it keeps its data.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A copy of the whole folder, as somebody would make with a file manager.
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let status = Command::new("cp")
            .arg("-a")
            .arg(self.dir())
            .arg(folder.path().join("data"))
            .status()
            .expect("cp runs");
        assert!(status.success());
        Self { folder }
    }

    /// A command of this device, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries().join("cairn"));
        command
            .arg("--data-dir")
            .arg(self.dir())
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// `cairn --data-dir … --json …`.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().expect("cairn starts"))
    }

    /// Syncs with the relay and asserts that it came to its end.
    #[track_caller]
    pub fn sync(&self) -> Value {
        let said = self.run(&["sync"]).expect(0).json();
        assert_eq!(said["complete"], true, "{said:#}");
        said
    }

    /// Saves a record or an edit and gives its id.
    #[track_caller]
    pub fn save(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).expect(0).json();
        assert_eq!(said["schema"], "cairn.saved/1");
        said["id"].as_str().expect("an id").to_owned()
    }

    /// A record as `show` gives it.
    #[track_caller]
    pub fn show(&self, id: &str) -> Value {
        self.run(&["show", id]).expect(0).json()
    }

    /// The whole of what it holds, as GeoJSON bytes.
    #[track_caller]
    pub fn export(&self) -> Vec<u8> {
        let file = self.folder.path().join("export.geojson");
        self.run(&["export", file.to_str().expect("UTF-8"), "hazardous_area"])
            .expect(0);
        std::fs::read(file).expect("the export is there")
    }

    /// Writes a file beside its data and gives its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the temporary folder is writable");
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// A GeoJSON feature with one square ring: south-west corner in degrees, side in metres, roughly.
pub fn square(lat: f64, lon: f64, side_m: f64) -> String {
    let north = side_m / 111_320.0;
    let east = side_m / (111_320.0 * lat.to_radians().cos());
    let corners = [
        (lon, lat),
        (lon + east, lat),
        (lon + east, lat + north),
        (lon, lat + north),
        (lon, lat),
    ];
    let ring: Vec<String> = corners
        .iter()
        .map(|(x, y)| format!("[{x:.7},{y:.7}]"))
        .collect();
    format!(
        "{{\"type\":\"Feature\",\"properties\":{{}},\"geometry\":{{\"type\":\"Polygon\",\"coordinates\":[[{}]]}}}}",
        ring.join(",")
    )
}
