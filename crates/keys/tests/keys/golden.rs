//! The golden bytes of `proto/vectors/keys.json`: what this version makes of fixed inputs, and what
//! it makes of the stored bytes. `CAIRN_BLESS=1` writes the file anew; a change in it that
//! was not meant is a break of the format.

use crate::enrolment::code;
use crate::programme::{NORTH, Programme, device, leaf, log_of, scope_key};
use cairn_keys::{
    Access, AuthorityLog, Body, Code, Grant, GrantHash, IssuedCode, Keyring, Request, Role,
    Standing, Subject, open_entry, seal_entry, sealing, verify_entry,
};
use cairn_wire::{Entry, EntryHeader, EntryId, Lane};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors/keys.json")
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a vector is a text");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// A programme in which one of everything has happened.
fn programme(entry: impl Fn(&Programme) -> Entry) -> (Programme, Entry) {
    let mut programme = Programme::new();
    let team = device(7);
    let grant = grant(&programme);
    let mut set = programme.member_set(&team, Role::Device, &[(NORTH, Access::Write)]);
    set.code = Some(code(&programme).id);
    set.grant_set = GrantHash::of_set(&[grant.hash()]);
    programme.say(&Body::MemberSet(set));
    let entry = entry(&programme);
    programme.say(&Body::RightsPolicy {
        rw_includes_decide: false,
        leaves: vec![(team.device(), leaf(&entry))],
    });
    programme.narrow(&team, &[(NORTH, Access::Read)], &[leaf(&entry)]);
    programme.revoke(&team, &[leaf(&entry)]);
    programme.accept(&team, &[leaf(&entry)]);
    programme.say(&Body::ScopeKeyRotated {
        scope: NORTH,
        number: 2,
        key: scope_key(NORTH, 2).commitment(),
    });
    programme.say(&Body::SingletonFixed {
        scope: NORTH,
        document: cairn_wire::DocumentId([0x44; 16]),
        root: cairn_wire::ChangeHash([0x45; 32]),
    });
    let replaced = Body::AuthorityReplaced {
        key: programme.recovery.public(),
    };
    let bytes = programme.log.sign(&programme.recovery, &replaced).unwrap();
    programme.log.append_verified(&bytes).unwrap();
    (programme, entry)
}

fn grant(programme: &Programme) -> Grant {
    let key = scope_key(NORTH, 1);
    Grant::seal(
        programme.log.programme(),
        &key,
        &device(7).public(),
        &[0x46; 32],
    )
    .unwrap()
}

fn entry(programme: &Programme) -> Entry {
    let team = device(7);
    let header = EntryHeader {
        version: 1,
        programme: programme.log.programme(),
        log: log_of(&team, NORTH, Lane::Urgent, 0x47),
        number: 1,
        previous: EntryId::NONE,
        authority: programme.log.head(),
        key_number: 0,
        payload_bytes: 0,
    };
    seal_entry(&team, &scope_key(NORTH, 1), &header, PLAINTEXT).unwrap()
}

const PLAINTEXT: &[u8] = "path through the orchard is mined / mines dans le verger".as_bytes();

fn made_now() -> Value {
    let (programme, entry) = programme(entry);
    let team = device(7);
    let key = scope_key(NORTH, 1);
    let code = code(&Programme::new());
    let request = Request::new(&code, team.public(), "T7 Delta");
    let issued = IssuedCode {
        programme: code.programme,
        id: code.id,
        secret: code.secret.clone(),
        role: Role::Device,
        scopes: vec![(NORTH, Access::Write)],
        uses: 3,
        expires: code.expires,
    };
    let name = programme.name(Subject::Scope(NORTH), "north/hazards");
    let created = Body::ScopeCreated {
        scope: NORTH,
        name,
        key: key.commitment(),
    };
    assert!(programme.log.sign(&programme.recovery, &created).is_ok());
    let log = programme.log.entries_from(0, usize::MAX);
    json!({
        "device": {
            "secret": hex(*team.to_bytes()),
            "device_key": hex(team.device().0),
            "x25519": hex(team.public().x25519),
            "spki": hex(cairn_keys::device::spki(&team.device())),
        },
        "scope_key": {
            "bytes": hex(*key.to_bytes()),
            "commitment": hex(key.commitment().0),
        },
        "programme_key": hex(*programme.programme_key.to_bytes()),
        "entry": {
            "plaintext": hex(PLAINTEXT),
            "bytes": hex(entry.bytes()),
            "id": hex(entry.id().0),
        },
        "outbox": {
            "number": 5,
            "frame": hex(sealing::seal_outbox(&key, 5, PLAINTEXT)),
        },
        "grant": {
            "random": hex([0x46; 32]),
            "bytes": hex(grant(&programme).to_bytes()),
            "hash": hex(grant(&programme).hash().0),
            "set_hash": hex(GrantHash::of_set(&[grant(&programme).hash()])),
        },
        "authority": {
            "secret": hex([0xa1; 32]),
            "recovery_secret": hex([0xa2; 32]),
            "programme": hex(programme.log.programme().0),
            "log": log.iter().map(hex).collect::<Vec<_>>(),
            "scope_name": "north/hazards",
            "member_name": "T7 Delta",
        },
        "code": {
            "text": code.to_text().as_str(),
            "secret": hex([0x32; 16]),
        },
        "request": {
            "name": "T7 Delta",
            "bytes": hex(request.to_bytes()),
        },
        "issued_code": hex(&*issued.to_bytes()),
    })
}

fn stored() -> Value {
    let text = std::fs::read_to_string(path()).expect("proto/vectors/keys.json is there");
    serde_json::from_str(&text).expect("proto/vectors/keys.json is JSON")
}

#[test]
fn the_bytes_are_those_of_every_release() {
    let made = made_now();
    if std::env::var_os("CAIRN_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&made).expect("JSON") + "\n";
        std::fs::create_dir_all(path().parent().expect("a folder")).expect("the folder");
        std::fs::write(path(), text).expect("the vectors are written");
    }
    let stored = stored();
    for (name, value) in made.as_object().expect("an object") {
        assert_eq!(Some(value), stored.get(name), "{name}");
    }
}

#[test]
fn the_stored_bytes_mean_what_they_meant() {
    let stored = stored();
    let (programme, _) = programme(entry);
    let key = scope_key(NORTH, 1);
    let entry = Entry::parse(unhex(&stored["entry"]["bytes"])).unwrap();
    assert_eq!(verify_entry(&entry), Ok(()));
    assert_eq!(open_entry(&entry, &key).unwrap().as_slice(), PLAINTEXT);
    let frame = unhex(&stored["outbox"]["frame"]);
    assert_eq!(
        sealing::open_outbox(&frame, &key).unwrap().as_slice(),
        PLAINTEXT
    );

    let mut log = AuthorityLog::new(programme.log.programme());
    for entry in stored["authority"]["log"].as_array().unwrap() {
        log.append_verified(&unhex(entry)).unwrap();
    }
    assert_eq!(log.head(), programme.log.head());
    let membership = log.membership();
    let team = device(7);
    assert_eq!(membership.standing(&team.device()), Standing::Revoked);
    assert_eq!(membership.newest_key(&NORTH), Some(2));
    let mut ring = Keyring::new();
    ring.insert(programme.programme_key.clone()).unwrap();
    let name = membership.member_name(&team.device(), &ring).unwrap();
    assert_eq!(name.as_deref(), Ok("T7 Delta"));

    let grant = Grant::parse(&unhex(&stored["grant"]["bytes"])).unwrap();
    assert_eq!(grant.open(&team, membership), Ok(key));
    let code = Code::parse(stored["code"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(code, crate::enrolment::code(&Programme::new()));
    let request = Request::parse(&unhex(&stored["request"]["bytes"])).unwrap();
    assert!(request.verify(&code.secret));
    assert_eq!(request.public, team.public());
    let issued = IssuedCode::parse(&unhex(&stored["issued_code"])).unwrap();
    assert_eq!(issued.secret, code.secret);
}
