//! The processes of the demo: this program as a relay, and as each team's commands.

use crate::failure::Failure;
use serde_json::Value as Json;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a relay may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Settings of whoever runs the demo are none of its business.
const NOT_INHERITED: [&str; 10] = [
    "CAIRN_CLOCK_S",
    "CAIRN_COLOR",
    "CAIRN_CONFIG",
    "CAIRN_DATA_DIR",
    "CAIRN_LOG",
    "CAIRN_LOG_FORMAT",
    "CAIRN_PROFILE",
    "CAIRN_RELAY_DIR",
    "CAIRN_THROTTLE_BYTES_PER_S",
    "CAIRN_TZ",
];

/// A relay's folder and process, and where teams' folders go.
pub struct Stage {
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    relay: Option<Child>,
}

/// A team's laptop.
pub struct Team {
    /// As others see it.
    pub name: String,
    program: PathBuf,
    folder: PathBuf,
    clock_s: Option<i64>,
}

/// What a command answered.
pub struct Said {
    /// Its last object.
    pub json: Json,
    /// Its exit code.
    pub exit: i32,
}

impl Stage {
    /// Makes a relay in a folder.
    pub fn set(folder: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new("demo", format!("finding this program: {error}")))?;
        // The relay comes back on the same port after it was killed.
        let address = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .map_err(|error| {
                Failure::new("demo", format!("finding a port on loopback: {error}"))
            })?;
        let stage = Self {
            program,
            folder: folder.to_owned(),
            address,
            relay: None,
        };
        let address = address.to_string();
        let mut command = stage.command(&["relay-daemon", "init", "--listen", &address]);
        command
            .args(["--public", &address, "--dir"])
            .arg(stage.relay_folder());
        said(command)?.expect("cairnd init")?;
        Ok(stage)
    }

    /// Where the relay listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn relay_folder(&self) -> PathBuf {
        self.folder.join("centre")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.program, arguments)
    }

    /// Starts the relay and waits until devices can connect.
    pub fn start_relay(&mut self) -> Result<(), Failure> {
        let mut command = self.command(&["relay-daemon", "run", "--dir"]);
        command
            .arg(self.relay_folder())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let words = child.stderr.take();
        self.relay = Some(child);
        let (heard, hear) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = words.map(BufReader::new).into_iter();
            for line in lines.flat_map(|words| words.lines().map_while(Result::ok)) {
                // After it listens nobody hears any more.
                let _ = heard.send(line);
            }
        });
        let mut last = String::new();
        while let Ok(line) = hear.recv_timeout(PATIENCE) {
            if line.contains("listening on") {
                return Ok(());
            }
            last = line;
        }
        Err(Failure::new(
            "demo",
            format!("the relay does not start: {last}"),
        ))
    }

    /// As a power cut would.
    pub fn kill_relay(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.relay.take() else {
            return Ok(());
        };
        let ended = child.kill().and_then(|()| child.wait());
        ended.map_err(|error| Failure::new("demo", format!("killing the relay: {error}")))?;
        Ok(())
    }

    /// A team that has joined.
    pub fn team(&self, name: &str, scope: &str) -> Result<Team, Failure> {
        let team = Team {
            name: name.to_owned(),
            program: self.program.clone(),
            folder: self.folder.join(name.to_lowercase().replace(' ', "-")),
            clock_s: None,
        };
        team.run(&["init", "--name", name, "--no-encryption"])?;
        let mut command = self.command(&["ops", "--json", "enrol", "new", "--name", name]);
        command
            .args(["--role", "device", "--scope", scope, "--dir"])
            .arg(self.relay_folder());
        let enrolment = said(command)?.expect("cairn ops enrol new")?;
        let code = enrolment
            .get("code")
            .and_then(Json::as_str)
            .unwrap_or_default();
        team.run(&["join", code])?;
        Ok(team)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It is our own child; where it cannot be killed it has ended.
        let _ = self.kill_relay();
    }
}

impl Team {
    /// Runs a command that has to work, and gives what it answered.
    pub fn run(&self, arguments: &[&str]) -> Result<Json, Failure> {
        let name = arguments.first().copied().unwrap_or_default();
        self.run_any(arguments)?.expect(&format!("cairn {name}"))
    }

    /// Runs a command, however it ends.
    pub fn run_any(&self, arguments: &[&str]) -> Result<Said, Failure> {
        let mut command = command(&self.program, &["--json", "--data-dir"]);
        command.arg(&self.folder).args(arguments);
        if let Some(second) = self.clock_s {
            command.env("CAIRN_CLOCK_S", second.to_string());
        }
        said(command)
    }

    /// From now on its clock stands at a second since 1970.
    pub fn clock_falls_to(&mut self, second: i64) {
        self.clock_s = Some(second);
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last word of its name.
    pub fn short(&self) -> &str {
        self.name.rsplit(' ').next().unwrap_or_default()
    }

    /// Writes a file beside the team's data and gives its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> Result<String, Failure> {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| Failure::file("writing", &path, &error))?;
        Ok(path.display().to_string())
    }

    /// How a record's fields read.
    pub fn fields(&self, id: &str) -> Result<Json, Failure> {
        let shown = self.run(&["show", id])?;
        let fields = shown.get("fields").cloned();
        fields.ok_or_else(|| Failure::new("demo", "a record has no fields"))
    }

    /// All that it holds, as a file.
    pub fn export(&self) -> Result<Vec<u8>, Failure> {
        let path = self.folder.join("export.geojson");
        self.run(&["export", &path.display().to_string()])?;
        std::fs::read(&path).map_err(|error| Failure::file("reading", &path, &error))
    }
}

impl Said {
    fn expect(self, what: &str) -> Result<Json, Failure> {
        if self.exit == 0 {
            return Ok(self.json);
        }
        let message = self
            .json
            .get("message")
            .and_then(Json::as_str)
            .unwrap_or("it said nothing");
        Err(Failure::new(
            "demo",
            format!("{what} ended with {}: {message}", self.exit),
        ))
    }
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
}

fn said(mut command: Command) -> Result<Said, Failure> {
    let output = command.output().map_err(not_started)?;
    let out = String::from_utf8_lossy(&output.stdout);
    let last = out
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("");
    Ok(Said {
        json: serde_json::from_str(last).unwrap_or(Json::Null),
        exit: output.status.code().unwrap_or(-1),
    })
}

fn not_started(error: std::io::Error) -> Failure {
    Failure::new("demo", format!("starting a process: {error}"))
}
