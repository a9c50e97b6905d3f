//! Making a folder, running in it, and what must not happen there.

use crate::support::{House, ask};
use cairn_relay::ops::OpsRequest;
use cairn_relay::{InitOptions, Relay, RelayError, init};
use std::os::unix::fs::PermissionsExt as _;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_socket_are_for_their_owner_only() {
    let (mut house, report) = House::made();
    for key in [
        "keys/relay.key",
        "keys/authority.key",
        "centre/centre.key",
        "recovery.key",
    ] {
        assert_eq!(mode(&house.dir().join(key)), 0o600, "{key}");
    }
    assert_eq!(mode(&house.dir()), 0o700);
    assert!(
        report
            .warnings
            .iter()
            .any(|word| word.contains("simple mode"))
    );
    assert!(
        report
            .warnings
            .iter()
            .any(|word| word.contains("OFF THIS MACHINE"))
    );
    assert!(
        report
            .warnings
            .iter()
            .any(|word| word.contains("Encryption at rest is off"))
    );
    let text = std::fs::read_to_string(&report.recovery_key).unwrap();
    assert!(text.starts_with("# CAIRN RECOVERY KEY"), "{text}");

    house.start().await;
    assert_eq!(mode(&house.dir().join("cairnd.sock")), 0o600);
    let address = std::fs::read_to_string(house.dir().join("address")).unwrap();
    assert_eq!(address.trim(), house.relay().address().to_string());
    assert_ne!(house.relay().address().port(), 0);
    house.stop().await;
    assert!(!house.dir().join("cairnd.sock").exists());
    let error = ask(&house.dir(), OpsRequest::Devices {}).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.exit_code), ("unreachable", 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_is_left_alone() {
    let (mut house, _) = House::made();
    let options = InitOptions::default();
    let again = init(&house.dir(), &options).unwrap_err();
    assert!(matches!(again, RelayError::InUse(_)), "{again}");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(
        init(other.path(), &options),
        Err(RelayError::InUse(_))
    ));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
    let empty = tempfile::tempdir().unwrap();
    let none = Relay::start(empty.path(), house.options())
        .await
        .err()
        .unwrap();
    assert!(matches!(none, RelayError::NoRelay(_)), "{none}");

    house.start().await;
    let second = Relay::start(&house.dir(), house.options())
        .await
        .err()
        .unwrap();
    assert_eq!(
        (second.code(), second.exit_code()),
        ("locked", 6),
        "{second}"
    );
    assert_eq!(
        house.status().await["healthy"],
        true,
        "the first one is not disturbed"
    );
    house.stop().await;
}

#[test]
fn an_init_that_was_cut_off_is_set_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("relay");
    std::fs::create_dir_all(dir.join("keys")).unwrap();
    std::fs::write(dir.join("init.unfinished"), "").unwrap();
    std::fs::write(dir.join("keys/relay.key"), "half").unwrap();
    init(&dir, &InitOptions::default()).unwrap();
    assert_eq!(
        std::fs::read(dir.join("unfinished-1/keys/relay.key")).unwrap(),
        b"half"
    );
    assert!(!dir.join("init.unfinished").exists());
    assert!(matches!(
        init(&dir, &InitOptions::default()),
        Err(RelayError::InUse(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_swaps_what_it_can_and_a_bad_file_changes_nothing() {
    let (mut house, report) = House::made();
    house.start().await;
    let text = std::fs::read_to_string(&report.config_file).unwrap();
    std::fs::write(&report.config_file, format!("{text}\nmisspelt = 1\n")).unwrap();
    let error = house.try_ask(OpsRequest::Reload {}).await.unwrap_err();
    assert_eq!(error.code, "config");
    assert!(error.message.contains("misspelt"), "{error}");

    let changed = text
        .replace(
            "public = \"127.0.0.1:0\"",
            "public = \"relay.example:9000\"",
        )
        .replace("connections_max = 4096", "connections_max = 10");
    assert_ne!(changed, text);
    std::fs::write(&report.config_file, changed).unwrap();
    let reloaded = house.ask(OpsRequest::Reload {}).await;
    let changes = reloaded["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{reloaded:#}");
    assert_eq!(
        (&changes[0]["key"], &changes[0]["in_force"]),
        (&"public".into(), &true.into())
    );
    assert_eq!(changes[1]["in_force"], false);
    let shown = house.ask(OpsRequest::ConfigShow {}).await;
    assert_eq!(shown["public"], "relay.example:9000");
    assert_eq!(shown["connections_max"], 4096);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_path_has_a_socket_too() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("d".repeat(120)).join("relay");
    let options = InitOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        public: None,
    };
    init(&dir, &options).unwrap();
    let (house, _) = House::made();
    let relay = Relay::start(&dir, house.options()).await.unwrap();
    let devices = ask(&dir, OpsRequest::Devices {}).await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 2);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_socket_is_answered_and_harms_nobody() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut house = House::started().await;
    for garbage in [
        &b"hello\n"[..],
        b"{}\n",
        b"\xff\xfe\n",
        &[b'x'; 70_000],
        b"{\"command\":",
    ] {
        let mut stream = tokio::net::UnixStream::connect(house.dir().join("cairnd.sock"))
            .await
            .unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        // A connection that is closed on a long line may take the answer with it.
        if stream.read_to_string(&mut answer).await.is_ok() && !answer.is_empty() {
            assert!(answer.contains("cairn.error/1"), "{answer}");
        }
    }
    assert_eq!(house.status().await["healthy"], true);
    house.stop().await;
}
