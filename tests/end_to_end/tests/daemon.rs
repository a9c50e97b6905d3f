//! `cairnd` as whoever runs it meets it: settings, health, logs, signals, systemd, and words when it cannot.

#![allow(clippy::print_stderr)] // Skipped tests must be heard.

use cairn_end_to_end::{Device, PATIENCE, binaries, cairn};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A relay's folder, made by `cairnd init` on a free port.
struct Relay {
    folder: TempDir,
}

/// A daemon that runs, and the lines that it says.
struct Running {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Relay {
    fn made() -> Self {
        let relay = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let listen = format!("127.0.0.1:{}", free_port());
        let made = cairnd()
            .args(["init", "--listen", &listen, "--dir"])
            .arg(relay.dir())
            .output()
            .expect("cairnd starts");
        assert!(made.status.success(), "{made:?}");
        relay
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("relay")
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.dir().join("relay.toml")).expect("a configuration")
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.dir().join("relay.toml"), text).expect("a writable folder");
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = cairnd();
        command.arg("run").arg("--dir").arg(self.dir()).args(flags);
        command
    }

    fn run(&self) -> Running {
        Running::of(self.command(&[]))
    }

    /// Runs it until it gives up.
    fn fails(&self, command: &mut Command) -> Output {
        command.output().expect("cairnd starts")
    }

    fn ops(&self, arguments: &[&str]) -> Value {
        let dir = self.dir();
        let mut all = vec!["ops", "--json", "--dir", dir.to_str().expect("UTF-8")];
        all.extend_from_slice(arguments);
        cairn(&all).expect(0).json()
    }

    fn device(&self) -> Device {
        let device = Device::new("T1");
        let code = self.ops(&[
            "enrol",
            "new",
            "--name",
            "Canary Team",
            "--scope",
            "north/hazards",
        ]);
        device
            .run(&["join", code["code"].as_str().expect("a code")])
            .expect(0);
        device
    }

    /// A request for its health; the status line and the body.
    fn get(&self, path: &str) -> (String, String) {
        let address = std::fs::read_to_string(self.dir().join("health")).expect("an address");
        let mut stream = TcpStream::connect(address.trim()).expect("health is answered");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is read");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.lines().next().unwrap_or_default().to_owned();
        (status, body.to_owned())
    }
}

impl Running {
    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cairnd starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        let mut running = Self {
            child,
            lines,
            said: Vec::new(),
        };
        running.until("listening on");
        running
    }

    /// Waits for a line that holds `words`.
    #[track_caller]
    fn until(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("never said {words:?}: {:#?}", self.said),
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// SIGTERM; its exit code and everything that it said.
    fn stop(mut self) -> (Option<i32>, Vec<String>) {
        self.signal("TERM");
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            assert!(Instant::now() < until, "it does not stop: {:#?}", self.said);
            std::thread::sleep(Duration::from_millis(20));
        };
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
        }
        (status.code(), std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cairnd() -> Command {
    let mut command = Command::new(binaries().join("cairnd"));
    command.stdin(Stdio::null()).env_remove("CAIRN_RELAY_DIR");
    command
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port on loopback")
        .port()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_setting_says_where_it_comes_from_and_a_bad_file_changes_nothing() {
    let relay = Relay::made();
    let mut command = relay.command(&["--public", "by.flag:1"]);
    command
        .env("CAIRN_RELAY_PUBLIC", "by.environment:2")
        .env("CAIRN_RELAY_CONNECTIONS_MAX", "77");
    let mut running = Running::of(command);
    let shown = relay.ops(&["config", "show"]);
    for (key, value, from) in [
        ("public", Value::from("by.flag:1"), "--public"),
        ("connections_max", 77.into(), "CAIRN_RELAY_CONNECTIONS_MAX"),
        ("cache_bytes", (32 * 1024 * 1024).into(), "relay.toml"),
    ] {
        assert_eq!(
            (&shown[key], &shown["origins"][key]),
            (&value, &from.into()),
            "{key}: {shown:#}"
        );
    }
    let good = relay.config();

    relay.configure(&format!("{good}\nconections_max = 5\n"));
    running.signal("HUP");
    let line = running.until("relay.toml was not taken over");
    assert!(line.contains("\"connections_max\" may be meant"), "{line}");
    assert_eq!(
        relay.ops(&["config", "show"]),
        shown,
        "the old one is in force"
    );

    relay.configure(&good.replace("centre = true", "centre = false"));
    running.signal("HUP");
    running.until("centre: true is false now, from the next start on");
    assert_eq!(running.stop().0, Some(0));

    // In the file, and a flag no more.
    relay.configure(&good.replace("public = ", "# public = "));
    let mut running = relay.run();
    relay.configure(&good.replace("public = \"127.0.0.1", "public = \"relay.example"));
    running.signal("HUP");
    running.until("public: localhost:7443 is relay.example:");
    let shown = relay.ops(&["config", "show"]);
    assert_eq!(shown["origins"]["public"], "relay.toml");

    let wrong = relay.fails(&mut relay.command(&["--health", "somewhere"]));
    assert_eq!(wrong.status.code(), Some(2), "{}", words(&wrong));
    assert!(
        words(&wrong).contains("--health: \"somewhere\""),
        "{}",
        words(&wrong)
    );
}

#[test]
fn health_and_metrics_are_answered_and_name_nobody() {
    let relay = Relay::made();
    let running = relay.run();
    let device = relay.device();
    device.save(&[
        "new",
        "hazardous_area",
        "--set",
        "local_id=HA-CANARY",
        "--position",
        "44.1, 17.9",
    ]);
    device.sync();
    relay.ops(&["docs"]);
    assert_eq!(relay.get("/livez").0, "HTTP/1.1 200 OK");
    let (status, body) = relay.get("/readyz");
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 200 OK", "ready\n")
    );
    assert!(relay.get("/").0.contains("404"));

    // Those who say nothing, more than are served at a time, hold nobody up.
    let address = std::fs::read_to_string(relay.dir().join("health")).expect("an address");
    let silent: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(address.trim()).expect("a connection"))
        .collect();
    let (_, metrics) = relay.get("/metrics");
    drop(silent);
    let sample = |name: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name}: {metrics}"));
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok())
            .expect("a number")
    };
    assert_eq!(sample("cairn_ready"), 1.0);
    assert_eq!(sample("cairn_store_answers"), 1.0);
    assert_eq!(sample("cairn_journal_entries"), 1.0);
    assert_eq!(
        sample("cairn_session_entries_total{what=\"received\"}"),
        1.0
    );
    assert_eq!(sample("cairn_devices_synced_within{hours=\"24\"}"), 1.0);
    assert_eq!(sample("cairn_devices_waiting"), 0.0);
    assert!(sample("cairn_commit_seconds_count") >= 1.0);
    assert_eq!(
        sample("cairn_commit_seconds_count"),
        sample("cairn_commit_seconds_bucket{le=\"+Inf\"}")
    );
    assert!(sample("cairn_disk_free_bytes") > 0.0);
    assert!(sample("cairn_session_bytes_total{direction=\"received\"}") > 0.0);
    for name in ["Canary", "CANARY", "north", "hazards", "T1"] {
        assert!(!metrics.contains(name), "{name} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    running.stop();
    assert!(!relay.dir().join("health").exists());

    let quiet = Running::of(relay.command(&["--health", "off"]));
    assert!(!relay.dir().join("health").exists());
    quiet.stop();
}

#[test]
fn json_logs_hold_a_span_per_session_and_no_name_place_or_key() {
    let relay = Relay::made();
    let running = Running::of(relay.command(&["--log-format", "json", "-v"]));
    let device = relay.device();
    device.save(&[
        "new",
        "hazardous_area",
        "--set",
        "local_id=HA-CANARY",
        "--position",
        "44.1234, 17.9876",
    ]);
    device.sync();
    let keys: Vec<String> = ["keys/authority.key", "keys/relay.key", "centre/centre.key"]
        .iter()
        .flat_map(|name| secret(&relay.dir().join(name)))
        .collect();
    let devices = relay.ops(&["devices"]).to_string();
    assert!(devices.contains("Canary Team"));
    let (code, lines) = running.stop();
    assert_eq!(code, Some(0));
    let mut sessions = 0;
    for line in &lines {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(
            event["timestamp"].is_string() && event["level"].is_string(),
            "{line}"
        );
        sessions +=
            usize::from(event["span"]["name"] == "session" && event["span"]["id"].is_number());
        for canary in [
            "CANARY",
            "Canary",
            "44.1234",
            "17.9876",
            "441234",
            "north/hazards",
        ] {
            assert!(!line.contains(canary), "{canary} in {line}");
        }
        assert!(
            !keys.iter().any(|key| line.contains(key.as_str())),
            "a key in {line}"
        );
    }
    assert!(sessions >= 1, "{lines:#?}");
}

/// The secret in a key file, whole and its first half.
fn secret(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a key file");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let secret = lines.nth(1).expect("a secret").to_owned();
    vec![secret[..32].to_owned(), secret]
}

#[test]
fn it_stops_in_the_middle_of_a_session_and_nothing_acknowledged_is_missing() {
    let relay = Relay::made();
    // An entry of 64 KiB takes a second and a half at this rate, all of them seven.
    let mut slow = relay.command(&[]);
    slow.env("CAIRN_THROTTLE_BYTES_PER_S", "40000");
    let running = Running::of(slow);
    let device = relay.device();
    let mut rows = String::from("local_id,latitude,longitude,narrative\n");
    for number in 0..600u64 {
        // Text that does not compress.
        let noise: String = (1..30u64)
            .map(|step| {
                format!(
                    "{:x}",
                    (number * 7919 + step).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                )
            })
            .collect();
        rows.push_str(&format!(
            "HA-{number},44.{number:03},17.{number:03},{noise}\n"
        ));
    }
    let file = device.file("areas.csv", &rows);
    device
        .run(&[
            "import",
            &file,
            "--kind",
            "hazardous_area",
            "--map",
            "description=narrative",
        ])
        .expect(0);
    let mut syncing = device
        .command(&["sync"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("cairn starts");
    let until = Instant::now() + PATIENCE;
    while relay.ops(&["status"])["entries"].as_u64().unwrap_or(0) == 0 {
        assert!(Instant::now() < until, "nothing arrives");
        std::thread::sleep(Duration::from_millis(50));
    }
    let entries = relay.ops(&["status"])["entries"]
        .as_u64()
        .expect("a number");
    let (code, lines) = running.stop();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("did not end in time")),
        "{lines:#?}"
    );
    syncing.kill().expect("our own child");
    syncing.wait().expect("our own child");
    let running = relay.run();
    let now = relay.ops(&["status"])["entries"]
        .as_u64()
        .expect("a number");
    assert!(now >= entries, "{now} of {entries}");
    device.sync();
    running.stop();
}

#[test]
fn systemd_is_told_how_it_goes() {
    let relay = Relay::made();
    let told = relay.folder.path().join("notify");
    let socket = UnixDatagram::bind(&told).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let next = |wanted: &str| loop {
        let mut bytes = [0; 4096];
        let length = socket
            .recv(&mut bytes)
            .unwrap_or_else(|_| panic!("never told {wanted}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.lines().any(|line| line == wanted) {
            return text;
        }
    };
    let mut command = relay.command(&[]);
    command
        .env("NOTIFY_SOCKET", &told)
        .env("WATCHDOG_USEC", "300000")
        .env_remove("WATCHDOG_PID");
    let running = Running::of(command);
    assert!(next("READY=1").contains("STATUS=listening on 127.0.0.1:"));
    next("WATCHDOG=1");
    running.signal("HUP");
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    running.signal("TERM");
    next("STOPPING=1");
    running.stop();
}

#[test]
fn what_keeps_it_from_starting_is_said_in_words() {
    let relay = Relay::made();
    let running = relay.run();
    let second = relay.fails(&mut relay.command(&[]));
    assert_eq!(second.status.code(), Some(6), "{}", words(&second));
    assert!(
        words(&second).contains("another daemon runs in"),
        "{}",
        words(&second)
    );
    let health = std::fs::read_to_string(relay.dir().join("health")).expect("an address");
    assert_eq!(
        relay.get("/livez").0,
        "HTTP/1.1 200 OK",
        "the first one is as it was"
    );

    let other = Relay::made();
    let address = std::fs::read_to_string(relay.dir().join("address")).expect("an address");
    let taken = other.fails(&mut other.command(&["--listen", address.trim()]));
    assert_eq!(taken.status.code(), Some(1), "{}", words(&taken));
    assert!(words(&taken).contains(address.trim()), "{}", words(&taken));
    assert!(
        words(&taken).contains("listen in relay.toml"),
        "{}",
        words(&taken)
    );
    let taken = other.fails(&mut other.command(&["--health", health.trim()]));
    assert_eq!(taken.status.code(), Some(1), "{}", words(&taken));
    assert!(
        words(&taken).contains("health cannot be answered at"),
        "{}",
        words(&taken)
    );
    running.stop();

    let nowhere = other.folder.path().join("nowhere");
    let mut command = cairnd();
    let missing = other.fails(command.arg("run").arg("--dir").arg(&nowhere));
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        words(&missing).contains("there is no relay in"),
        "{}",
        words(&missing)
    );

    // A newer store is not touched.
    let format = other.dir().join("data/format");
    let text = std::fs::read_to_string(&format).expect("a format");
    let newer = text.replacen("cairn-store 1 ", "cairn-store 2 ", 1);
    assert_ne!(newer, text);
    std::fs::write(&format, &newer).expect("a writable folder");
    let refused = other.fails(&mut other.command(&[]));
    assert_eq!(refused.status.code(), Some(7), "{}", words(&refused));
    assert!(
        words(&refused).contains("Update Cairn"),
        "{}",
        words(&refused)
    );
    assert_eq!(std::fs::read_to_string(&format).expect("a format"), newer);
}

#[test]
fn no_descriptors_left_and_a_strangers_folder_are_said_in_words() {
    let relay = Relay::made();
    let other_folder = tempfile::tempdir().expect("a temporary folder");
    let run = format!(
        "exec {} run --dir {}",
        binaries().join("cairnd").display(),
        relay.dir().display()
    );
    let mut command = Command::new("sh");
    let few = relay.fails(
        command
            .args(["-c", &format!("ulimit -n 9; {run}")])
            .stdin(Stdio::null()),
    );
    assert_eq!(few.status.code(), Some(1), "{}", words(&few));
    assert!(words(&few).contains("open files"), "{}", words(&few));

    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binaries().join("cairnd"))
        .args(["run", "--dir"])
        .arg(relay.dir())
        .stdin(Stdio::null());
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED a stranger's folder: there is no setpriv");
        return;
    };
    let stranger = words(&output);
    if stranger.contains("setpriv:") {
        eprintln!("SKIPPED a stranger's folder: {stranger}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{stranger}");
    assert!(
        stranger.contains("belongs to another account"),
        "{stranger}"
    );

    // As in a container: an account that has no name and no home.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own")
    };
    let file = other_folder.path().join("relay.toml");
    std::fs::write(&file, relay.config()).expect("a writable folder");
    open(other_folder.path(), 0o755);
    open(&file, 0o644);
    let checked = Command::new("setpriv")
        .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
        .arg(binaries().join("cairnd"))
        .args(["config", "check"])
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("setpriv was there a moment ago");
    assert_eq!(checked.status.code(), Some(0), "{}", words(&checked));
}
