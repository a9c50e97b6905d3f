//! The power fails at every input or output of an action of the authority; and a daemon is killed.

use crate::support::{House, TestDevice, ask, enrol_request, random};
use cairn_keys::{
    Access, AuthorityLog, AuthoritySecret, Body, Code, DeviceSecret, Grant, GrantHash, Keyring,
    MemberSet, Request, Role, ScopeKey, SealedName, Standing, Subject,
};
use cairn_relay::authority::{Authority, AuthorityParts, NewCodeRequest, parse_scope_grant};
use cairn_relay::ops::OpsRequest;
use cairn_relay::{InitOptions, init};
use cairn_store::disk::model::Failure;
use cairn_store::{Fresh, ModelDisk, OpenOptions, SegmentStore, Store, Unsynced};
use cairn_transport::side_objects::grant_object;
use cairn_transport::{EnrolRefused, Enroller};
use cairn_wire::ScopeId;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const UNSYNCED: [Unsynced; 4] = [
    Unsynced::Dropped,
    Unsynced::Kept,
    Unsynced::Torn,
    Unsynced::Reordered,
];

/// How often chance decides where a write is torn.
const SEEDS: u64 = 8;

/// An authority over a disk that loses power.
struct Place {
    secret: AuthoritySecret,
    centre: DeviceSecret,
    relay: DeviceSecret,
    folder: tempfile::TempDir,
}

impl Place {
    /// Founds a programme; gives the disk that holds it.
    fn founded() -> (Self, ModelDisk) {
        let place = Self {
            secret: AuthoritySecret::from_bytes(&[1; 32]),
            centre: DeviceSecret::from_bytes(&[3; 64]),
            relay: DeviceSecret::from_bytes(&[4; 64]),
            folder: tempfile::tempdir().unwrap(),
        };
        let key = ScopeKey::new(ScopeId::AUTHORITY, 1, &[5; 32]);
        let recovery = AuthoritySecret::from_bytes(&[2; 32]).public();
        let mut log = AuthorityLog::found(&place.secret, recovery, key.commitment());
        let public = place.centre.public();
        let grant = Grant::seal(log.programme(), &key, &public, &[6; 32]).unwrap();
        let subject = Subject::Member(public.device);
        let centre = Body::MemberSet(MemberSet {
            public,
            role: Role::Centre,
            scopes: Vec::new(),
            name: SealedName::seal(log.programme(), subject, &key, "Centre"),
            code: None,
            grant_set: GrantHash::of_set(&[grant.hash()]),
        });
        let entry = log.sign(&place.secret, &centre).unwrap();
        log.append_verified(&entry).unwrap();
        let disk = ModelDisk::new();
        let mut store = place.store(&disk);
        let entries = log.entries_from(0, usize::MAX);
        store
            .append_authority(entries.iter().map(|entry| entry.to_vec()).collect())
            .unwrap();
        store.put_grants(vec![grant_object(&grant)]).unwrap();
        store.close().unwrap();
        (place, disk)
    }

    fn store(&self, disk: &ModelDisk) -> Box<dyn Store> {
        let options = OpenOptions::new(self.relay.device(), Fresh(random()));
        let (store, _) = SegmentStore::open_model(disk.clone(), &options).unwrap();
        Box::new(store)
    }

    fn authority(&self, store: &dyn Store) -> Authority {
        let parts = AuthorityParts {
            secret: self.secret.clone(),
            centre: self.centre.clone(),
            relay: self.relay.device(),
            codes: self.folder.path().join("codes"),
            audit: self.folder.path().join("audit.jsonl"),
            clock: Arc::new(|| 1_800_000_000),
        };
        Authority::open(parts, store).unwrap()
    }

    fn code(&self, store: &mut dyn Store) -> Code {
        let request = NewCodeRequest {
            name: None,
            role: Role::Device,
            scopes: vec![parse_scope_grant("north/hazards:rw").unwrap()],
            uses: 1,
            valid_s: 60,
            addresses: vec!["localhost:1".into()],
        };
        let authority = self.authority(store);
        let code = authority.new_code(store, &request).unwrap();
        Code::parse(&code.text).unwrap()
    }
}

/// The keys that a device can open from what the store holds for it.
fn keys_of(store: &dyn Store, device: &DeviceSecret) -> Keyring {
    let mut keyring = Keyring::new();
    for bytes in store.grants_for(&device.device()).unwrap() {
        let grant = Grant::parse(&bytes).unwrap();
        if let Ok(key) = grant.open(device, store.membership()) {
            keyring.insert(key).unwrap();
        }
    }
    keyring
}

/// Runs `act` with the power failing at each of its operations in turn, then `check` on what a crash
/// leaves. Answers how many images were checked.
fn at_every_operation(
    place: &Place,
    disk: &ModelDisk,
    act: impl Fn(&Authority, &mut dyn Store),
    check: impl Fn(&Authority, &mut dyn Store),
) -> usize {
    let mut images = 0;
    for after in 0.. {
        let tried = disk.copy();
        let mut store = place.store(&tried);
        let authority = place.authority(&*store);
        tried.fail_after(after, Failure::Io);
        act(&authority, &mut *store);
        let whole = tried.failure_pending();
        let ways = UNSYNCED
            .into_iter()
            .flat_map(|way| (0..SEEDS).map(move |seed| (way, seed)));
        for (unsynced, seed) in ways {
            let crashed = tried.crash(unsynced, seed);
            let mut store = place.store(&crashed);
            let authority = place.authority(&*store);
            check(&authority, &mut *store);
            images += 1;
        }
        if whole {
            return images;
        }
    }
    images
}

#[test]
fn an_enrolment_that_a_crash_cuts_off_is_repeated_and_counts_once() {
    let (place, disk) = Place::founded();
    let mut store = place.store(&disk);
    let code = place.code(&mut *store);
    store.close().unwrap();
    let device = DeviceSecret::from_bytes(&[7; 64]);
    let request = Request::new(&code, device.public(), "Alpha").to_bytes();
    let other = DeviceSecret::from_bytes(&[8; 64]);
    let others = Request::new(&code, other.public(), "Other").to_bytes();
    let images = at_every_operation(
        &place,
        &disk,
        |authority, store| {
            // It fails where the power does.
            let _ = authority.enrol(&request, device.device(), store);
        },
        |authority, store| {
            authority.enrol(&request, device.device(), store).unwrap();
            let membership = store.membership().clone();
            assert_eq!(membership.uses_of_code(&code.id), 1);
            let keys = keys_of(store, &device);
            assert!(keys.newest(&code.scopes[0].id).is_some());
            assert!(keys.newest(&ScopeId::AUTHORITY).is_some());
            let refused = authority.enrol(&others, other.device(), store);
            assert!(
                matches!(refused, Err(EnrolRefused::Refused(_))),
                "{refused:?}"
            );
            assert_eq!(membership.standing(&other.device()), Standing::Unknown);
        },
    );
    assert!(images >= 160, "{images}");
}

#[test]
fn a_revocation_that_a_crash_cuts_off_is_repeated_whole() {
    let (place, disk) = Place::founded();
    let mut store = place.store(&disk);
    let lost = DeviceSecret::from_bytes(&[7; 64]);
    let kept = DeviceSecret::from_bytes(&[8; 64]);
    for device in [&lost, &kept] {
        let code = place.code(&mut *store);
        let request = Request::new(&code, device.public(), "Team").to_bytes();
        let authority = place.authority(&*store);
        authority
            .enrol(&request, device.device(), &mut *store)
            .unwrap();
    }
    let scope = store.membership().scopes().next().unwrap().id;
    store.close().unwrap();
    let images = at_every_operation(
        &place,
        &disk,
        |authority, store| {
            // It fails where the power does.
            let _ = authority.revoke(store, lost.device(), "lost");
        },
        |authority, store| {
            authority.revoke(store, lost.device(), "lost").unwrap();
            let membership = store.membership().clone();
            assert_eq!(membership.standing(&lost.device()), Standing::Revoked);
            for of in [scope, ScopeId::AUTHORITY] {
                let newest = membership.newest_key(&of).unwrap();
                assert!(newest >= 2);
                for reader in [&kept, &place.centre] {
                    assert!(keys_of(store, reader).get(&of, newest).is_some());
                }
                assert!(keys_of(store, &lost).get(&of, newest).is_none());
            }
        },
    );
    assert!(images >= 160, "{images}");
}

#[test]
fn a_scope_that_a_crash_cuts_off_is_never_without_its_centre() {
    let (place, disk) = Place::founded();
    let images = at_every_operation(
        &place,
        &disk,
        |authority, store| {
            // It fails where the power does.
            let _ = authority.create_scope(store, "south");
        },
        |authority, store| {
            if authority.find_scope(store, "south").is_err() {
                authority.create_scope(store, "south").unwrap();
            }
            let scope = authority.find_scope(store, "south").unwrap();
            let centre = place.centre.device();
            let access = store.membership().access_now(&centre, &scope);
            assert_eq!(access, Some(Access::Decide));
            assert!(keys_of(store, &place.centre).newest(&scope).is_some());
        },
    );
    assert!(images >= 160, "{images}");
}

const DIR: &str = "CAIRN_TEST_RELAY_DIR";

/// Not a test of its own: what the tests below start as a process.
#[test]
#[allow(clippy::print_stderr)] // it speaks to the test that started it
fn daemon() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let options = cairn_relay::RunOptions::default();
    cairn_relay::run(Path::new(&dir), options, &mut |words| eprintln!("{words}")).unwrap();
}

/// A daemon in a process of its own.
struct Daemon {
    child: Child,
    words: std::sync::mpsc::Receiver<String>,
}

impl Daemon {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashing::daemon", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, words) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have heard enough.
                let _ = tell.send(line);
            }
        });
        let daemon = Self { child, words };
        daemon.wait_for("listening on");
        daemon
    }

    fn wait_for(&self, wanted: &str) {
        loop {
            let within = std::time::Duration::from_secs(60);
            let line = self.words.recv_timeout(within).expect("the daemon speaks");
            if line.contains(wanted) {
                return;
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, as a service manager sends it.
    fn terminate(mut self) {
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        self.wait_for("stopping");
        assert!(self.child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_has_all_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("relay");
    let port = std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .unwrap();
    let options = InitOptions {
        listen: port,
        public: None,
    };
    init(&dir, &options).unwrap();
    let mut daemon = Daemon::start(&dir);
    let code = ask(
        &dir,
        enrol_request("Alpha", "device", &["north/hazards"], 1),
    )
    .await
    .unwrap();
    // Killed between a code and its use.
    daemon.kill();
    daemon = Daemon::start(&dir);
    let code = code["code"].as_str().unwrap();
    let alpha = TestDevice::join(code, "Alpha").await.unwrap();
    for round in 0..4 {
        alpha.save("north/hazards", &format!("HA-{round}")).await;
        assert!(alpha.sync().await.unwrap().complete);
        daemon.kill();
        daemon = Daemon::start(&dir);
        let again = alpha.sync().await.unwrap();
        assert_eq!(
            (again.complete, again.entries_sent),
            (true, 0),
            "round {round}"
        );
    }
    let verify = ask(
        &dir,
        OpsRequest::Verify {
            deep: true,
            progress: false,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (&verify["ok"], &verify["entries"]),
        (&true.into(), &4.into())
    );
    daemon.terminate();
    assert!(!dir.join("cairnd.sock").exists());
    let audit = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    assert_eq!(
        audit
            .lines()
            .filter(|line| line.contains("\"enrolled\""))
            .count(),
        1
    );
    assert!(!audit.contains("Alpha"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_session_hears_of_new_keys_and_of_its_end() {
    let mut house = House::started().await;
    let alpha = TestDevice::join(&house.code(&["north/hazards"], 1).await, "Alpha")
        .await
        .unwrap();
    let lost = TestDevice::join(&house.code(&["north/hazards"], 1).await, "Lost")
        .await
        .unwrap();
    let mut pulses = alpha.engine.subscribe();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let staying = tokio::spawn(alpha.stay(stopped));
    pulses.wait_for(|pulse| pulse.sessions > 0).await.unwrap();
    let device = lost.secret.device().to_string();
    let revoke = OpsRequest::Revoke {
        device,
        reason: "lost".into(),
        dry_run: false,
    };
    house.ask(revoke).await;
    let within = std::time::Duration::from_secs(30);
    // What is borrowed from a pulse holds the engine up, so nothing of it is kept.
    let heard = async {
        pulses
            .wait_for(|pulse| pulse.side_objects > 0)
            .await
            .is_ok()
    };
    let heard = tokio::time::timeout(within, heard).await;
    assert_eq!(heard, Ok(true), "the new keys did not come");
    stop.send(()).unwrap();
    let alpha = staying.await.unwrap();
    let newest = alpha
        .with(|member, store| {
            let scope = store.membership().scopes().next().unwrap().id;
            (
                store.membership().newest_key(&scope),
                member.keyring().newest(&scope).map(ScopeKey::number),
            )
        })
        .await;
    assert_eq!(newest, (Some(2), Some(2)));
    house.stop().await;
}
