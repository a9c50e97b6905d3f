//! Codes and requests: what people type, what a rogue relay can do, how often a code serves.

use crate::programme::{NORTH, Programme, SOUTH, device};
use cairn_keys::enrolment::{Admission, CodeError, CodeScope, Refusal};
use cairn_keys::{Access, Body, Code, CodeId, CodeSecret, IssuedCode, Request, Role};
use proptest::prelude::*;

pub fn code(programme: &Programme) -> Code {
    Code {
        authority: programme.authority.public(),
        programme: programme.log.programme(),
        head: programme.log.head(),
        addresses: vec!["relay.example.org:4433".into(), "[2001:db8::7]:4433".into()],
        relay: device(200).device(),
        centre: Some(device(201).public()),
        scopes: vec![
            CodeScope {
                id: NORTH,
                name: "north/hazards".into(),
                access: Access::Write,
            },
            CodeScope {
                id: SOUTH,
                name: "جنوب/hazards".into(),
                access: Access::Read,
            },
        ],
        role: Role::Device,
        id: CodeId([0x31; 16]),
        secret: CodeSecret::from_bytes(&[0x32; 16]),
        expires: 1_800_000_000,
    }
}

fn issued(code: &Code, uses: u32) -> IssuedCode {
    IssuedCode {
        programme: code.programme,
        id: code.id,
        secret: code.secret.clone(),
        role: code.role,
        scopes: code.scopes.iter().map(|it| (it.id, it.access)).collect(),
        uses,
        expires: code.expires,
    }
}

fn enrol(programme: &mut Programme, issued: &IssuedCode, seed: u8) {
    let mut set = programme.member_set(&device(seed), issued.role, &issued.scopes);
    set.code = Some(issued.id);
    programme.say(&Body::MemberSet(set));
}

#[test]
fn a_code_reads_back_as_people_write_it() {
    let code = code(&Programme::new());
    let text = code.to_text();
    assert!(text.starts_with("CAIRN1-"));
    assert_eq!(Code::parse(&text).as_ref(), Ok(&code));
    let grouped: String = text
        .chars()
        .enumerate()
        .flat_map(|(at, c)| [Some(c), (at % 5 == 4).then_some('-')])
        .flatten()
        .collect();
    let wrapped = text
        .as_bytes()
        .chunks(40)
        .map(|line| String::from_utf8_lossy(line));
    for variant in [
        text.to_lowercase(),
        format!("  {}\r\n", text.as_str()),
        grouped,
        wrapped.collect::<Vec<_>>().join("\n\u{200b}"),
        text.replace('-', "–"),
        text[7..].replace('0', "O").replace('1', "l"),
    ] {
        let variant = if variant.to_uppercase().contains("CAIRN") {
            variant
        } else {
            format!("cairn1-{variant}")
        };
        assert_eq!(Code::parse(&variant).as_ref(), Ok(&code), "{variant}");
    }
}

#[test]
fn a_wrong_code_says_what_to_do() {
    let text = code(&Programme::new()).to_text();
    let whole = text.len() - 1;
    assert_eq!(Code::parse(""), Err(CodeError::NotACode));
    assert_eq!(Code::parse("https://example.org"), Err(CodeError::NotACode));
    assert_eq!(Code::parse(&text[3..]), Err(CodeError::NotACode));
    assert_eq!(
        Code::parse(&text.replace("CAIRN1", "CAIRN2")),
        Err(CodeError::OtherVersion)
    );
    assert_eq!(
        Code::parse(&text[..100]),
        Err(CodeError::CutOff {
            got: 99,
            expected: whole
        })
    );
    assert!(matches!(
        Code::parse("CAIRN1-AB"),
        Err(CodeError::CutOff { got: 8, .. })
    ));
    assert_eq!(
        Code::parse(&format!("{}ABC", text.as_str())),
        Err(CodeError::TooLong(3))
    );
    let mut mistyped = text.to_string();
    mistyped.replace_range(50..51, "?");
    assert_eq!(Code::parse(&mistyped), Err(CodeError::Character(50)));
    let other = if &text[50..51] == "7" { "8" } else { "7" };
    mistyped.replace_range(50..51, other);
    assert_eq!(Code::parse(&mistyped), Err(CodeError::Mistyped));
}

#[test]
fn every_mistyped_character_and_every_swap_is_noticed() {
    let text = code(&Programme::new()).to_text().to_string();
    for at in 7..text.len() {
        for symbol in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars() {
            if text[at..].starts_with(symbol) {
                continue;
            }
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &symbol.to_string());
            assert!(Code::parse(&wrong).is_err(), "{symbol} at {at}");
        }
        assert!(Code::parse(&text[..at]).is_err(), "cut at {at}");
        let mut swapped = text.clone().into_bytes();
        swapped.swap(at - 1, at);
        let swapped = String::from_utf8(swapped).unwrap();
        // The prefix's dash may stand anywhere.
        if swapped != text && at > 7 {
            assert!(Code::parse(&swapped).is_err(), "swapped at {at}");
        }
    }
}

#[test]
fn a_code_tells_its_secret_to_nobody_who_only_logs_it() {
    let code = code(&Programme::new());
    let text = format!("{code:?} {:?}", issued(&code, 1));
    assert!(
        !text.contains("32323232") && !text.contains("50, 50"),
        "{text}"
    );
}

#[test]
fn a_relay_cannot_change_a_request() {
    let code = code(&Programme::new());
    let request = Request::new(&code, device(1).public(), "T3 Alpha");
    assert!(request.verify(&code.secret));
    assert!(!request.verify(&CodeSecret::from_bytes(&[0; 16])));
    let bytes = request.to_bytes();
    assert!(
        !bytes.windows(16).any(|window| window == [0x32; 16]),
        "the secret is never sent"
    );
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(changed) = Request::parse(&changed) {
                assert!(!changed.verify(&code.secret), "bit {bit} of byte {at}");
            }
        }
        assert!(Request::parse(&bytes[..at]).is_err());
    }
    let mut moved = Request::parse(&bytes).unwrap();
    moved.name.push('x');
    assert!(!moved.verify(&code.secret));
}

#[test]
fn a_code_makes_as_many_members_as_it_says() {
    let mut programme = Programme::new();
    let code = code(&programme);
    let issued = issued(&code, 2);
    let now = code.expires - 1;
    let judge = |programme: &Programme, seed: u8, now: u64| {
        let request = Request::new(&code, device(seed).public(), "a team");
        issued.judge(&request, programme.membership(), now)
    };
    assert_eq!(judge(&programme, 1, now), Ok(Admission::New));
    enrol(&mut programme, &issued, 1);
    assert_eq!(judge(&programme, 1, now), Ok(Admission::Already));
    assert_eq!(judge(&programme, 1, u64::MAX), Ok(Admission::Already));
    // The same device set again by the same code is one use.
    enrol(&mut programme, &issued, 1);
    assert_eq!(programme.membership().uses_of_code(&code.id), 1);
    assert_eq!(judge(&programme, 2, code.expires), Err(Refusal::Expired));
    assert_eq!(judge(&programme, 2, now), Ok(Admission::New));
    enrol(&mut programme, &issued, 2);
    assert_eq!(judge(&programme, 3, now), Err(Refusal::UsedUp));
    programme.revoke(&device(2), &[]);
    assert_eq!(judge(&programme, 2, now), Err(Refusal::Revoked));
    assert_eq!(
        judge(&programme, 3, now),
        Err(Refusal::UsedUp),
        "used is used"
    );
    let mut guess = code.clone();
    guess.secret = CodeSecret::from_bytes(&[0; 16]);
    let request = Request::new(&guess, device(1).public(), "a team");
    assert_eq!(
        issued.judge(&request, programme.membership(), now),
        Err(Refusal::NotProved)
    );
}

#[test]
fn an_issued_code_reads_back_and_notices_rot() {
    let issued = issued(&code(&Programme::new()), 5);
    let bytes = issued.to_bytes();
    assert_eq!(IssuedCode::parse(&bytes).as_ref(), Ok(&issued));
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(IssuedCode::parse(&changed).is_err(), "byte {at}");
        assert!(IssuedCode::parse(&bytes[..at]).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_code_panic(text in "(CAIRN1-?)?[0-9A-Za-z \\-é]{0,80}") {
        let _ = Code::parse(&text);
    }

    #[test]
    fn any_name_can_ask(name in any::<String>()) {
        let code = code(&Programme::new());
        let request = Request::new(&code, device(1).public(), &name);
        prop_assert!(name.starts_with(&request.name));
        let read = Request::parse(&request.to_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&request));
        prop_assert!(request.verify(&code.secret));
    }
}
