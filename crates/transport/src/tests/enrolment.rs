//! Joining by code, over the wire.

use super::*;
use crate::accept::{EnrolRefused, Enroller};
use crate::dial::sync_once_on;
use crate::enrol::{EnrolError, enrol};
use crate::side_objects::grant_object;
use cairn_keys::enrolment::{Admission, Code, CodeScope, CodeSecret, IssuedCode, Request};
use cairn_keys::grant::Grant;
use cairn_keys::membership::Standing;
use std::sync::{Arc, Mutex};

/// Signs members beside the relay, as the simple mode does.
struct Office {
    programme: Mutex<Programme>,
    issued: IssuedCode,
    queue_first: Mutex<bool>,
}

impl Enroller for Office {
    fn enrol(
        &self,
        request: &[u8],
        peer: DeviceKey,
        store: &mut dyn Store,
    ) -> Result<(), EnrolRefused> {
        let request =
            Request::parse(request).map_err(|why| EnrolRefused::Malformed(why.to_string()))?;
        if request.public.device != peer {
            return Err(EnrolRefused::Malformed("another key".into()));
        }
        if request.code != self.issued.id {
            return Err(EnrolRefused::UnknownCode);
        }
        if self.issued.judge(&request, store.membership(), 1000)? == Admission::Already {
            return Ok(());
        }
        if std::mem::take(&mut *self.queue_first.lock().unwrap()) {
            return Err(EnrolRefused::Later { retry_after_s: 30 });
        }
        let mut programme = self.programme.lock().unwrap();
        let programme_id = programme.id();
        let grant = Grant::seal(
            programme_id,
            &programme.scope_key,
            &request.public,
            &[5; 32],
        )
        .unwrap();
        let body = Body::MemberSet(MemberSet {
            public: request.public,
            role: self.issued.role,
            scopes: self.issued.scopes.clone(),
            name: programme.sealed(Subject::Member(peer), &request.name),
            code: Some(request.code),
            grant_set: GrantHash::of_set(&[grant.hash()]),
        });
        let entry = programme.sign(&body);
        store.append_authority(vec![entry])?;
        store.put_grants(vec![grant_object(&grant)])?;
        Ok(())
    }
}

struct Setting {
    relay: Relay,
    code: Code,
    office: Arc<Office>,
}

fn setting(uses: u32, queue_first: bool) -> Setting {
    let (programme, relay_secret) = members(0);
    let handle = programme.replica(&relay_secret);
    let code_secret = CodeSecret::from_bytes(&[6; 16]);
    let scopes = vec![(SCOPE, Access::Write)];
    let issued = IssuedCode {
        programme: programme.id(),
        id: CodeId([8; 16]),
        secret: code_secret.clone(),
        role: Role::Device,
        scopes,
        uses,
        expires: 2000,
    };
    let mut code = Code {
        authority: programme.authority.public(),
        programme: programme.id(),
        head: programme.log.head(),
        addresses: Vec::new(),
        relay: relay_secret.device(),
        centre: None,
        scopes: vec![CodeScope {
            id: SCOPE,
            name: "north/hazards".into(),
            access: Access::Write,
        }],
        role: Role::Device,
        id: CodeId([8; 16]),
        secret: code_secret,
        expires: 2000,
    };
    let office = Arc::new(Office {
        programme: Mutex::new(programme),
        issued,
        queue_first: Mutex::new(queue_first),
    });
    let options = AcceptOptions {
        enroller: Some(office.clone()),
        ..AcceptOptions::default()
    };
    let relay = Relay::start(&relay_secret, handle, options);
    code.addresses = relay.target().addresses;
    Setting {
        relay,
        code,
        office,
    }
}

#[tokio::test]
async fn a_code_makes_a_member_that_syncs_on_the_same_connection() {
    let Setting {
        relay,
        code,
        office,
    } = setting(1, false);
    let joining = secret(120);
    let enrolment = enrol(&code, &joining, "Team 7", &patient()).await.unwrap();
    let grants: Vec<_> = enrolment
        .grants
        .iter()
        .map(|bytes| Grant::parse(bytes).unwrap())
        .collect();
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].recipient(), joining.device());

    let mut store = open(&joining, ModelDisk::new());
    store.append_authority(enrolment.authority).unwrap();
    assert_eq!(
        store.membership().standing(&joining.device()),
        Standing::Member
    );
    let handle = engine::start(store, EngineOptions::default()).unwrap();
    let (programme_id, key) = {
        let programme = office.programme.lock().unwrap();
        (programme.id(), programme.scope_key.clone())
    };
    let writer = joining.clone();
    handle
        .call(move |store| write(store, &writer, &key, programme_id, 2, 100))
        .await
        .unwrap();
    let identity = Identity::new(&joining).unwrap();
    let report = sync_once_on(
        enrolment.dialled,
        &handle,
        &identity,
        &relay.target(),
        &patient(),
        &mut |_| {},
    )
    .await
    .unwrap();
    assert!(report.complete);
    assert_eq!(report.connections, 1);
    assert_eq!(count(&relay.handle).await, 2);
}

#[tokio::test]
async fn asked_again_it_says_yes_and_signs_nothing_and_the_code_is_used_up_for_others() {
    let Setting { relay, code, .. } = setting(1, false);
    let first = enrol(&code, &secret(120), "Team 7", &patient())
        .await
        .unwrap();
    let again = enrol(&code, &secret(120), "Team 7", &patient())
        .await
        .unwrap();
    assert_eq!(first.authority, again.authority);
    assert_eq!(first.grants, again.grants);
    let height = relay.handle.call(|store| store.authority_head().height);
    assert_eq!(height.await.unwrap() + 1, again.authority.len() as u64);

    let other = enrol(&code, &secret(121), "Team 8", &patient()).await;
    assert!(
        matches!(other, Err(EnrolError::Refused(CloseReason::NotPermitted))),
        "{other:?}"
    );
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_code_and_another_programme_are_refused() {
    let Setting { relay, code, .. } = setting(5, false);
    let guessed = Code {
        secret: CodeSecret::from_bytes(&[66; 16]),
        ..code.clone()
    };
    let unknown = Code {
        id: CodeId([88; 16]),
        ..code.clone()
    };
    for wrong in [guessed, unknown] {
        let refused = enrol(&wrong, &secret(120), "Team 7", &patient()).await;
        assert!(
            matches!(refused, Err(EnrolError::Refused(CloseReason::NotPermitted))),
            "{refused:?}"
        );
    }
    assert_eq!(
        relay
            .handle
            .call(|store| store.membership().members().count())
            .await
            .unwrap(),
        1
    );
    // A relay that passes off a log which is not the one the code was made under is found out.
    let elsewhere = Code {
        head: cairn_wire::AuthorityRef {
            height: 1,
            id: [9; 8],
        },
        ..code
    };
    let lied = enrol(&elsewhere, &secret(120), "Team 7", &patient()).await;
    assert!(matches!(lied, Err(EnrolError::Log(_))), "{lied:?}");
}

#[tokio::test]
async fn a_request_that_waits_for_the_authority_says_when_to_ask_again() {
    let Setting {
        relay: _relay,
        code,
        ..
    } = setting(1, true);
    let waits = enrol(&code, &secret(120), "Team 7", &patient()).await;
    assert!(
        matches!(waits, Err(EnrolError::Later { retry_after_s: 30 })),
        "{waits:?}"
    );
    assert!(
        enrol(&code, &secret(120), "Team 7", &patient())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn without_an_enroller_nobody_joins() {
    let (programme, relay, _devices) = world(0);
    let Setting { mut code, .. } = setting(1, false);
    code.addresses = relay.target().addresses;
    code.relay = relay.key;
    code.programme = programme.id();
    let refused = enrol(&code, &secret(120), "Team 7", &patient()).await;
    assert!(
        matches!(refused, Err(EnrolError::Refused(CloseReason::Unknown))),
        "{refused:?}"
    );
}
