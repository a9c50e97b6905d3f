//! A relay on loopback with an authority beside it, as small as a test needs it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use cairn_device::transport::side_objects::grant_object;
use cairn_device::transport::{
    AcceptOptions, Acceptor, EngineOptions, EnrolRefused, Enroller, Handle, Identity, Listener,
    NetworkOptions, engine,
};
use cairn_keys::enrolment::{Admission, Code, CodeId, CodeScope, CodeSecret, IssuedCode, Request};
use cairn_keys::{
    Access, AuthorityLog, AuthoritySecret, Body, DeviceSecret, Grant, GrantHash, MemberSet, Role,
    ScopeKey, SealedName, Subject,
};
use cairn_store::{Fresh, OpenOptions, SegmentStore, Store};
use cairn_wire::DeviceKey;
use cairn_wire::ids::ScopeId;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

pub const SCOPE: ScopeId = ScopeId([4; 16]);

struct Authority {
    secret: AuthoritySecret,
    log: AuthorityLog,
    programme_key: ScopeKey,
    scope_key: ScopeKey,
    issued: Vec<IssuedCode>,
}

struct Desk(Mutex<Authority>);

pub struct Relay {
    secret: DeviceSecret,
    pub handle: Handle,
    acceptor: Option<Acceptor>,
    runtime: tokio::runtime::Runtime,
    desk: Arc<Desk>,
    pub address: String,
    _folder: tempfile::TempDir,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

impl Authority {
    fn found() -> Self {
        let secret = AuthoritySecret::from_bytes(&random());
        let recovery = AuthoritySecret::from_bytes(&random());
        let programme_key = ScopeKey::new(ScopeId::AUTHORITY, 1, &random());
        let scope_key = ScopeKey::new(SCOPE, 1, &random());
        let log = AuthorityLog::found(&secret, recovery.public(), programme_key.commitment());
        let mut authority = Self {
            secret,
            log,
            programme_key,
            scope_key,
            issued: Vec::new(),
        };
        let name = authority.sealed(Subject::Scope(SCOPE), "north/hazards");
        authority.sign(&Body::ScopeCreated {
            scope: SCOPE,
            name,
            key: authority.scope_key.commitment(),
        });
        authority
    }

    fn sealed(&self, subject: Subject, text: &str) -> SealedName {
        SealedName::seal(self.log.programme(), subject, &self.programme_key, text)
    }

    fn sign(&mut self, body: &Body) {
        let bytes = self.log.sign(&self.secret, body).unwrap();
        self.log.append_verified(&bytes).unwrap();
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let all = self.log.entries_from(0, usize::MAX);
        all.iter().map(|bytes| bytes.to_vec()).collect()
    }
}

impl Enroller for Desk {
    fn enrol(
        &self,
        request: &[u8],
        peer: DeviceKey,
        store: &mut dyn Store,
    ) -> Result<(), EnrolRefused> {
        let malformed = |why: &str| EnrolRefused::Malformed(why.to_owned());
        let request = Request::parse(request).map_err(|error| malformed(&error.to_string()))?;
        if request.public.device != peer {
            return Err(malformed("another key"));
        }
        let mut authority = self.0.lock().unwrap();
        let code = authority.issued.iter().find(|code| code.id == request.code);
        let code = code.cloned().ok_or(EnrolRefused::UnknownCode)?;
        if code.judge(&request, authority.log.membership(), 0)? == Admission::New {
            let programme = authority.log.programme();
            let grants: Vec<Grant> = [&authority.programme_key, &authority.scope_key]
                .into_iter()
                .map(|key| Grant::seal(programme, key, &request.public, &random()).unwrap())
                .collect();
            let hashes: Vec<_> = grants.iter().map(Grant::hash).collect();
            let name = authority.sealed(Subject::Member(peer), &request.name);
            authority.sign(&Body::MemberSet(MemberSet {
                public: request.public,
                role: code.role,
                scopes: code.scopes.clone(),
                name,
                code: Some(code.id),
                grant_set: GrantHash::of_set(&hashes),
            }));
            store.put_grants(grants.iter().map(grant_object).collect())?;
        }
        store.append_authority(authority.entries())?;
        Ok(())
    }
}

impl Relay {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = DeviceSecret::from_bytes(&random());
        let mut authority = Authority::found();
        let name = authority.sealed(Subject::Member(secret.device()), "relay");
        authority.sign(&Body::MemberSet(MemberSet {
            public: secret.public(),
            role: Role::Relay,
            scopes: vec![],
            name,
            code: None,
            grant_set: GrantHash::of_set(&[]),
        }));
        let options = OpenOptions::new(secret.device(), Fresh(random()));
        let (mut store, _) = SegmentStore::open(folder.path(), &options).unwrap();
        store.append_authority(authority.entries()).unwrap();
        let handle = engine::start(Box::new(store), EngineOptions::default()).unwrap();
        let mut relay = Self {
            secret,
            handle,
            acceptor: None,
            runtime,
            desk: Arc::new(Desk(Mutex::new(authority))),
            address: String::new(),
            _folder: folder,
        };
        relay.listen(0);
        relay
    }

    fn listen(&mut self, port: u16) {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let identity = Identity::new(&self.secret).unwrap();
        let options = AcceptOptions {
            enroller: Some(self.desk.clone()),
            ..AcceptOptions::default()
        };
        let acceptor = self.runtime.block_on(async {
            let listener = Listener::bind(&identity, address, NetworkOptions::default()).unwrap();
            Acceptor::spawn(listener, self.handle.clone(), options).unwrap()
        });
        self.address = acceptor.local_addr().to_string();
        self.acceptor = Some(acceptor);
    }

    pub fn code(&self, access: Access) -> String {
        let mut authority = self.desk.0.lock().unwrap();
        let id = CodeId(random());
        let secret: [u8; 16] = random();
        let programme = authority.log.programme();
        authority.issued.push(IssuedCode {
            programme,
            id,
            secret: CodeSecret::from_bytes(&secret),
            role: Role::Device,
            scopes: vec![(SCOPE, access)],
            uses: 1,
            expires: u64::MAX,
        });
        let code = Code {
            authority: authority.log.authority().unwrap(),
            programme: authority.log.programme(),
            head: authority.log.head(),
            addresses: vec![self.address.clone()],
            relay: self.secret.device(),
            centre: None,
            scopes: vec![CodeScope {
                id: SCOPE,
                name: "north/hazards".into(),
                access,
            }],
            role: Role::Device,
            id,
            secret: CodeSecret::from_bytes(&secret),
            expires: u64::MAX,
        };
        code.to_text().to_string()
    }

    pub fn revoke(&self, device: DeviceKey) {
        let mut authority = self.desk.0.lock().unwrap();
        let reason = authority.sealed(Subject::Reason(device), "lost");
        authority.sign(&Body::Revoked {
            device,
            leaves: vec![],
            reason,
        });
        let entries = authority.entries();
        let appended = self
            .handle
            .call_blocking(move |store| store.append_authority(entries));
        appended.unwrap().unwrap();
    }
}
