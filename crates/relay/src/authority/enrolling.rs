//! Joining: issuing codes, and making members of devices that prove one.

use super::codes::NewCode;
use super::scopes::{ScopeGrant, reads};
use super::{Authority, AuthorityFault, RequestFault, State, device_tag, keys_of, random};
use cairn_keys::enrolment::{Admission, CodeId, CodeScope, CodeSecret, Refusal};
use cairn_keys::{Access, Body, Code, IssuedCode, MemberSet, Request, Role, Subject};
use cairn_store::Store;
use cairn_transport::{EnrolRefused, Enroller};
use cairn_wire::{DeviceKey, ScopeId, limits};
use serde_json::json;
use std::collections::BTreeMap;

/// Requests that do not prove their code, per code and [`GUESS_WINDOW_S`].
const GUESSES_MAX: u32 = 16;
/// The same for requests that name no code of ours, together.
const UNKNOWN_MAX: u32 = 256;
const GUESS_WINDOW_S: u64 = 3600;
/// Codes whose guesses are counted one by one.
const COUNTED_CODES_MAX: usize = 1024;
const RETRY_S: u32 = 60;
/// Members that one code may make.
const USES_MAX: u32 = 10_000;

/// What a code is to let in.
#[derive(Debug, Clone)]
pub struct NewCodeRequest {
    /// What the device is to be called; without it, or with several uses, as it calls itself.
    pub name: Option<String>,
    /// What it becomes.
    pub role: Role,
    /// What it may do.
    pub scopes: Vec<ScopeGrant>,
    /// How many devices the code lets in.
    pub uses: u32,
    /// How long, in seconds.
    pub valid_s: u64,
    /// Where the relay is reached, as `host:port`.
    pub addresses: Vec<String>,
}

impl Authority {
    /// Issues a joining code, and makes those scopes that do not exist yet.
    pub fn new_code(
        &self,
        store: &mut dyn Store,
        request: &NewCodeRequest,
    ) -> Result<NewCode, AuthorityFault> {
        check(request)?;
        let mut scopes = Vec::new();
        let mut scopes_made = Vec::new();
        for grant in &request.scopes {
            let id = match self.find_scope(store, &grant.name) {
                Ok(id) => id,
                Err(_) => {
                    scopes_made.push(grant.name.clone());
                    self.create_scope(store, &grant.name)?
                }
            };
            scopes.push(CodeScope {
                id,
                name: grant.name.clone(),
                access: grant.access.unwrap_or(usual_access(request.role)),
            });
        }
        let mut state = self.state();
        // Nothing to sign, and yet the log in memory must be that of the store.
        self.act(store, &mut state, |_| Ok(()))?;
        let code = self.code(&state, request, scopes)?;
        let issued = IssuedCode {
            programme: code.programme,
            id: code.id,
            secret: code.secret.clone(),
            role: code.role,
            scopes: code.scopes.iter().map(|one| (one.id, one.access)).collect(),
            uses: request.uses,
            expires: code.expires,
        };
        let State { codes, keyring, .. } = &mut *state;
        codes.add(issued, request.name.as_deref(), keyring)?;
        drop(state);
        let what =
            json!({ "code": tag(&code.id), "role": code.role.to_string(), "uses": request.uses });
        self.note("enrol new", what, store)?;
        Ok(NewCode {
            text: code.to_text(),
            role: code.role,
            uses: request.uses,
            expires: code.expires,
            scopes_made,
        })
    }

    fn code(
        &self,
        state: &State,
        request: &NewCodeRequest,
        scopes: Vec<CodeScope>,
    ) -> Result<Code, AuthorityFault> {
        Ok(Code {
            authority: self.secret.public(),
            programme: state.log.programme(),
            head: state.log.head(),
            addresses: request.addresses.clone(),
            relay: self.relay,
            centre: Some(self.centre.public()),
            scopes,
            role: request.role,
            id: CodeId(random()?),
            secret: CodeSecret::from_bytes(&random()?),
            expires: self.now_s().saturating_add(request.valid_s),
        })
    }

    fn admit(
        &self,
        bytes: &[u8],
        peer: DeviceKey,
        store: &mut dyn Store,
    ) -> Result<Admission, EnrolRefused> {
        let request =
            Request::parse(bytes).map_err(|error| EnrolRefused::Malformed(error.to_string()))?;
        if request.public.device != peer {
            let why = "it names another device than the one that connected";
            return Err(EnrolRefused::Malformed(why.into()));
        }
        if request.programme != store.programme() {
            return Err(EnrolRefused::OtherProgramme);
        }
        let now_s = self.now_s();
        let mut guard = self.state();
        let state = &mut *guard;
        if !state.guesses.allow(&state.codes, &request.code, now_s) {
            return Err(EnrolRefused::Later {
                retry_after_s: RETRY_S,
            });
        }
        let Some(kept) = state.codes.get(&request.code) else {
            state.guesses.failed(None, now_s);
            return Err(EnrolRefused::UnknownCode);
        };
        let judged = kept.issued.judge(&request, store.membership(), now_s);
        let issued = kept.issued.clone();
        let label = kept.label(&state.keyring);
        match judged {
            Ok(Admission::Already) => return Ok(Admission::Already),
            Ok(Admission::New) => {}
            Err(refusal) => {
                if refusal == Refusal::NotProved {
                    state.guesses.failed(Some(request.code), now_s);
                }
                return Err(refusal.into());
            }
        }
        let name = match label {
            Some(label) if issued.uses == 1 => label,
            _ if request.name.trim().is_empty() => device_tag(&peer),
            _ => request.name.clone(),
        };
        // Judged and appended while both store and state are ours alone: nobody else's request for
        // the same code comes between.
        self.make_member(store, state, &issued, &request, &name)
            .map_err(refused)?;
        Ok(Admission::New)
    }

    fn make_member(
        &self,
        store: &mut dyn Store,
        state: &mut State,
        issued: &IssuedCode,
        request: &Request,
        name: &str,
    ) -> Result<(), AuthorityFault> {
        self.act(store, state, |draft| {
            let mut keys = Vec::new();
            if reads(issued.role) {
                keys = keys_of(draft.keyring(), &ScopeId::AUTHORITY);
                for (scope, _) in &issued.scopes {
                    keys.extend(keys_of(draft.keyring(), scope));
                }
            }
            let grant_set = draft.grant(&keys, &request.public)?;
            let name = draft.seal_name(Subject::Member(request.public.device), name)?;
            draft.say(&Body::MemberSet(MemberSet {
                public: request.public,
                role: issued.role,
                scopes: issued.scopes.clone(),
                name,
                code: Some(issued.id),
                grant_set,
            }))
        })
    }
}

impl Enroller for Authority {
    fn enrol(
        &self,
        request: &[u8],
        peer: DeviceKey,
        store: &mut dyn Store,
    ) -> Result<(), EnrolRefused> {
        if self.admit(request, peer, store)? == Admission::New {
            let what = json!({ "device": peer.to_string() });
            if let Err(error) = self.note("enrolled", what, store) {
                // The device is a member; that must be answered.
                tracing::error!(%error, "the audit file is not complete");
            }
        }
        Ok(())
    }
}

fn refused(fault: AuthorityFault) -> EnrolRefused {
    match fault {
        AuthorityFault::Store(error) => error.into(),
        AuthorityFault::Holdings(error) => error.into(),
        fault => {
            tracing::error!(%fault, "no member could be made");
            EnrolRefused::Later {
                retry_after_s: RETRY_S,
            }
        }
    }
}

fn usual_access(role: Role) -> Access {
    match role {
        Role::Device | Role::Ops => Access::Write,
        Role::Viewer | Role::Hub | Role::Centre | Role::Relay => Access::Read,
    }
}

fn check(request: &NewCodeRequest) -> Result<(), AuthorityFault> {
    let wrong = |what, why: String| Err(RequestFault::Text { what, why }.into());
    if request.role == Role::Hub {
        return wrong(
            "the role",
            "there are no hubs in this version; a relay or a device can hand on".into(),
        );
    }
    if matches!(request.role, Role::Centre | Role::Relay) {
        return wrong("the role", "expected device, viewer or ops".into());
    }
    if request.uses == 0 || request.uses > USES_MAX {
        return wrong("the uses", format!("expected 1 to {USES_MAX}"));
    }
    if request.scopes.is_empty() {
        return wrong("the scopes", "name at least one".into());
    }
    if request.scopes.len() > limits::MEMBER_SCOPES_MAX {
        return wrong("the scopes", "there are too many".into());
    }
    let names: std::collections::BTreeSet<_> = request.scopes.iter().map(|one| &one.name).collect();
    if names.len() != request.scopes.len() {
        return wrong("the scopes", "one is named twice".into());
    }
    let writes = |grant: &ScopeGrant| grant.access.is_some_and(|access| access > Access::Read);
    if request.role == Role::Viewer && request.scopes.iter().any(writes) {
        return wrong(
            "the scopes",
            "a viewer only reads: leave the right out, or give r".into(),
        );
    }
    let too_long = |name: &String| name.len() > limits::NAME_BYTES_MAX;
    if request.name.as_ref().is_some_and(too_long) {
        return wrong("the name", "it is too long".into());
    }
    let unreadable = |name: &String| name.trim().is_empty() || name.chars().any(char::is_control);
    if request.name.as_ref().is_some_and(unreadable) {
        return wrong(
            "the name",
            "it is empty, or holds a control character".into(),
        );
    }
    Ok(())
}

fn tag(code: &CodeId) -> String {
    let mut tag = String::new();
    // Writing to a String cannot fail.
    let _ = cairn_wire::ids::write_hex(&code.0[..4], &mut tag);
    tag
}

/// Requests that failed, so that nobody guesses at leisure.
#[derive(Default)]
pub(super) struct Guesses {
    since_s: u64,
    by_code: BTreeMap<CodeId, u32>,
    unknown: u32,
}

impl Guesses {
    fn allow(&mut self, codes: &super::codes::Codes, code: &CodeId, now_s: u64) -> bool {
        self.begin_window(now_s);
        if codes.get(code).is_none() {
            return self.unknown < UNKNOWN_MAX;
        }
        self.by_code
            .get(code)
            .is_none_or(|count| *count < GUESSES_MAX)
    }

    fn failed(&mut self, code: Option<CodeId>, now_s: u64) {
        self.begin_window(now_s);
        match code {
            Some(code) if self.by_code.len() < COUNTED_CODES_MAX => {
                *self.by_code.entry(code).or_default() += 1;
            }
            _ => self.unknown += 1,
        }
    }

    /// A clock that is set back begins a window as well.
    fn begin_window(&mut self, now_s: u64) {
        if now_s < self.since_s || now_s - self.since_s >= GUESS_WINDOW_S {
            *self = Self {
                since_s: now_s,
                ..Self::default()
            };
        }
    }
}
