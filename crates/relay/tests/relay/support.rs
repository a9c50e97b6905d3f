//! A relay in a folder of its own, and devices that join it.

use cairn_keys::{Code, DeviceSecret};
use cairn_member::receipt::read_receipt;
use cairn_member::{Member, Moment, TableKey};
use cairn_records::geometry::Position;
use cairn_records::{Edit, Envelope, Value, schema};
use cairn_relay::ops::client::{CallError, call};
use cairn_relay::ops::{OpsError, OpsRequest};
use cairn_relay::{InitOptions, InitReport, Relay, RunOptions, init};
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store};
use cairn_transport::engine::{self, EngineOptions};
use cairn_transport::{
    EnrolError, Handle, Identity, NetworkOptions, SyncError, SyncOptions, SyncReport, SyncTarget,
    enrol, keep_synced, sync_once,
};
use cairn_wire::ids::{Incarnation, ScopeId};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything here may take before it is called hung.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn network() -> NetworkOptions {
    NetworkOptions {
        idle: Duration::from_secs(20),
        handshake: Duration::from_secs(10),
        ..NetworkOptions::default()
    }
}

pub fn sync_options() -> SyncOptions {
    SyncOptions {
        network: network(),
        patience: Duration::from_secs(5),
        ..SyncOptions::default()
    }
}

/// A relay's folder, and the relay while it runs.
pub struct House {
    folder: TempDir,
    clock_s: Arc<AtomicU64>,
    running: Option<Relay>,
}

impl House {
    pub fn made() -> (Self, InitReport) {
        let folder = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = InitOptions {
            listen,
            public: None,
        };
        let report = init(&folder.path().join("relay"), &options).unwrap();
        let house = Self {
            folder,
            clock_s: Arc::new(AtomicU64::new(1_800_000_000)),
            running: None,
        };
        (house, report)
    }

    pub async fn started() -> Self {
        let (mut house, _) = Self::made();
        house.start().await;
        house
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("relay")
    }

    pub fn options(&self) -> RunOptions {
        let clock_s = Arc::clone(&self.clock_s);
        RunOptions {
            network: network(),
            clock: Arc::new(move || clock_s.load(Ordering::Relaxed)),
            ..RunOptions::default()
        }
    }

    pub async fn start(&mut self) {
        let relay = Relay::start(&self.dir(), self.options()).await.unwrap();
        self.running = Some(relay);
    }

    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    pub fn relay(&self) -> &Relay {
        self.running.as_ref().unwrap()
    }

    pub fn let_pass(&self, seconds: u64) {
        self.clock_s.fetch_add(seconds, Ordering::Relaxed);
    }

    pub async fn try_ask(&self, request: OpsRequest) -> Result<Json, OpsError> {
        ask(&self.dir(), request).await
    }

    pub async fn ask(&self, request: OpsRequest) -> Json {
        self.try_ask(request).await.unwrap()
    }

    pub async fn code(&self, scopes: &[&str], uses: u32) -> String {
        let answer = self
            .ask(enrol_request("Team", "device", scopes, uses))
            .await;
        assert_eq!(answer["schema"], "cairn.enrolment/1");
        answer["code"].as_str().unwrap().to_owned()
    }

    pub async fn status(&self) -> Json {
        self.ask(OpsRequest::Status { stale_s: 3600 }).await
    }

    /// Waits until the status is as wanted, woken by what the relay does.
    pub async fn eventually(&self, wanted: impl Fn(&Json) -> bool) -> Json {
        let mut pulses = self.relay().engine().subscribe();
        let waiting = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                // The centre works on after a pulse; there is nothing to be woken by then.
                let _ = tokio::time::timeout(Duration::from_millis(50), pulses.changed()).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("never came: {:#}", self.status().await),
        }
    }
}

pub async fn ask(dir: &Path, request: OpsRequest) -> Result<Json, OpsError> {
    let dir = dir.to_owned();
    let asked = tokio::task::spawn_blocking(move || call(&dir, &request)).await;
    asked.unwrap().map_err(|error: CallError| error.to_error())
}

pub fn enrol_request(name: &str, role: &str, scopes: &[&str], uses: u32) -> OpsRequest {
    OpsRequest::EnrolNew {
        name: Some(name.into()),
        role: role.into(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        uses,
        valid_s: 3600,
    }
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A device: a store, an engine over it, a member that reads it.
pub struct TestDevice {
    _folder: TempDir,
    pub secret: DeviceSecret,
    pub engine: Handle,
    identity: Identity,
    target: SyncTarget,
}

impl TestDevice {
    /// Joins by a code.
    pub async fn join(code: &str, name: &str) -> Result<Self, EnrolError> {
        Self::join_as(DeviceSecret::from_bytes(&random()), code, name).await
    }

    pub async fn join_as(secret: DeviceSecret, code: &str, name: &str) -> Result<Self, EnrolError> {
        let code = Code::parse(code).unwrap();
        let enrolled = enrol(&code, &secret, name, &sync_options()).await?;
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(secret.device(), Fresh(random()));
        let (store, _) = SegmentStore::open(folder.path(), &options).unwrap();
        let mut store: Box<dyn Store> = Box::new(store);
        store.append_authority(enrolled.authority.clone()).unwrap();
        let grants = enrolled.grants.iter().map(|bytes| {
            let grant = cairn_keys::Grant::parse(bytes).unwrap();
            cairn_transport::side_objects::grant_object(&grant)
        });
        store.put_grants(grants.collect()).unwrap();
        drop(enrolled);
        let engine_options = EngineOptions {
            read_receipt: Some(Arc::new(read_receipt)),
        };
        Ok(Self {
            _folder: folder,
            engine: engine::start(store, engine_options).unwrap(),
            identity: Identity::new(&secret).unwrap(),
            target: SyncTarget {
                addresses: code.addresses.clone(),
                relay: code.relay,
            },
            secret,
        })
    }

    pub fn relay_moved_to(&mut self, address: std::net::SocketAddr) {
        self.target.addresses = vec![address.to_string()];
    }

    /// Runs `work` as the member, all that came taken in.
    pub async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Member, &mut dyn Store) -> R + Send + 'static,
    ) -> R {
        let mut member = Member::new(self.secret.clone(), TableKey::from_bytes(&[9; 32]));
        let done = self.engine.call(move |store| {
            member.catch_up(store).unwrap();
            work(&mut member, store)
        });
        done.await.unwrap()
    }

    /// The scope of a name, as far as the device knows it.
    pub async fn scope(&self, name: &str) -> Option<ScopeId> {
        let name = name.to_owned();
        self.with(move |member, store| {
            let membership = store.membership().clone();
            member.find_scope(&membership, Some(&name)).ok()
        })
        .await
    }

    /// Saves an area and seals it.
    pub async fn save(&self, scope: &str, local_id: &str) -> String {
        let scope = self.scope(scope).await.unwrap();
        let local_id = local_id.to_owned();
        self.with(move |member, store| {
            let moment = Moment {
                now_s: 1_800_000_000,
                nonce: random(),
            };
            let kind = schema::kind("hazardous_area").unwrap();
            let edits = [
                set("local_id", &local_id),
                set("hazard_class", "confirmed"),
                Edit::Place {
                    field: "perimeter".into(),
                    at: Position {
                        lat_e7: 441_000_000,
                        lon_e7: 179_000_000,
                    },
                },
            ];
            let envelope = Envelope::default();
            let saved = member
                .new_record(store, &moment, scope, kind, &envelope, &edits)
                .unwrap();
            member
                .seal_outbox(store, None, Incarnation(random()))
                .unwrap();
            saved.id.to_string()
        })
        .await
    }

    /// Changes one field and seals that.
    pub async fn edit(&self, id: &str, field: &str, value: &str) {
        let (id, edit) = (id.to_owned(), set(field, value));
        self.with(move |member, store| {
            let moment = Moment {
                now_s: 1_800_000_100,
                nonce: random(),
            };
            member.edit(store, &moment, &id, None, &[edit]).unwrap();
            member
                .seal_outbox(store, None, Incarnation(random()))
                .unwrap();
        })
        .await;
    }

    pub async fn sync(&self) -> Result<SyncReport, SyncError> {
        let (identity, target) = (&self.identity, &self.target);
        sync_once(&self.engine, identity, target, &sync_options(), &mut |_| {}).await
    }

    /// Stays in sync until it is told to stop.
    pub async fn stay(self, stopped: tokio::sync::oneshot::Receiver<()>) -> Self {
        let stop = async {
            // Told, or forgotten.
            let _ = stopped.await;
        };
        let (identity, target) = (&self.identity, &self.target);
        let options = sync_options();
        keep_synced(&self.engine, identity, target, &options, stop, &mut |_| {})
            .await
            .unwrap();
        self
    }

    /// Records that it can read.
    pub async fn records(&self) -> usize {
        self.with(|member, store| {
            let mut count = 0;
            member
                .each_line(store, None, &mut |_| {
                    count += 1;
                    Ok(true)
                })
                .unwrap();
            count
        })
        .await
    }
}

fn set(field: &str, value: &str) -> Edit {
    Edit::Set {
        field: field.into(),
        value: Value::Text(value.into()),
        reason: None,
    }
}
