//! Making a relay in simple mode: a programme, its authority, its centre and its relay in one folder.

use crate::authority::random;
use crate::config::Config;
use crate::error::RelayError;
use crate::folder::{self, Folder, UNFINISHED};
use crate::key_file::{self, Kind};
use cairn_keys::{
    Access, AuthorityLog, AuthoritySecret, Body, DevicePublic, DeviceSecret, Grant, GrantHash,
    MemberSet, Role, ScopeKey, SealedName, Subject,
};
use cairn_store::{Fresh, OpenOptions, SegmentStore, SideObject, Store};
use cairn_transport::side_objects::grant_object;
use cairn_wire::{DeviceKey, ProgrammeId, ScopeId};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a relay is made with.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// UDP address to listen on. Port 0: whichever the system gives at each start.
    pub listen: SocketAddr,
    /// `HOST:PORT` under which devices reach it; without one, taken from `listen`.
    pub public: Option<String>,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            listen: Config::default().listen,
            public: None,
        }
    }
}

/// What was made.
#[derive(Debug, Clone)]
pub struct InitReport {
    /// The programme.
    pub programme: ProgrammeId,
    /// The relay's device key.
    pub relay: DeviceKey,
    /// The centre's device key.
    pub centre: DeviceKey,
    /// The configuration file.
    pub config_file: PathBuf,
    /// The recovery key, to be moved offline.
    pub recovery_key: PathBuf,
    /// What whoever runs it must know, a sentence or two each.
    pub warnings: Vec<String>,
}

const RECOVERY_WORDS: &str = "\
CAIRN RECOVERY KEY. Move this file off this machine now, to paper or to a disk that lies in a safe.
It is the only key that can replace the programme's authority when that is lost or stolen.
Whoever holds it can take over the programme. The relay never needs it.";
const SECRET_WORDS: &str = "Secret and not encrypted: keep this file private, and in every backup.";

/// Makes a relay in `dir`, which must be empty or not there.
///
/// An attempt that was cut off is set aside in a folder of its own and begun anew; nothing is
/// deleted. The configuration file is written last, so a relay that was not made wholly does not run.
pub fn init(dir: &Path, options: &InitOptions) -> Result<InitReport, RelayError> {
    let folder = Folder::new(dir);
    let config = config(options);
    config.check(&folder.config())?;
    prepare(&folder)?;
    let secrets = Secrets::draw()?;
    secrets.write(&folder)?;
    let programme = found(&folder, &secrets)?;
    folder::write_whole(&folder.config(), config.to_text().as_bytes())
        .map_err(RelayError::system("writing", folder.config()))?;
    let mark = dir.join(UNFINISHED);
    std::fs::remove_file(&mark).map_err(RelayError::system("removing", mark))?;
    Ok(InitReport {
        programme,
        relay: secrets.relay.device(),
        centre: secrets.centre.device(),
        config_file: folder.config(),
        recovery_key: folder.recovery_key(),
        warnings: warnings(&folder, &config),
    })
}

fn config(options: &InitOptions) -> Config {
    let host = match options.listen.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    let listened = format!("{host}:{}", options.listen.port());
    Config {
        listen: options.listen,
        public: options.public.clone().unwrap_or(listened),
        ..Config::default()
    }
}

fn warnings(folder: &Folder, config: &Config) -> Vec<String> {
    let mut warnings = vec![
        format!(
            "MOVE {} OFF THIS MACHINE NOW. It alone can replace the authority if that is lost or stolen.",
            folder.recovery_key().display()
        ),
        "This is simple mode: the programme's authority lies beside the relay, which gives NO \
         protection from whoever takes this machine over. They could read what the centre reads and \
         let devices in."
            .to_owned(),
        format!(
            "Encryption at rest is off: whoever can read {} can read what the centre has opened. \
             Keep that folder private and on an encrypted disk.",
            folder.centre().display()
        ),
    ];
    if config.public.starts_with("localhost:") {
        warnings.push(
            "Joining codes will send devices to localhost, so only this machine can join. Set public \
             in relay.toml to the host and port under which devices reach it."
                .to_owned(),
        );
    }
    warnings
}

/// Claims the folder.
pub(crate) fn prepare(folder: &Folder) -> Result<(), RelayError> {
    let dir = folder.path();
    let system = |doing| RelayError::system(doing, dir);
    folder::make_private(dir).map_err(system("making"))?;
    let mark = dir.join(UNFINISHED);
    if !is_empty(dir).map_err(system("reading"))? {
        if !mark.exists() {
            return Err(RelayError::InUse(dir.to_owned()));
        }
        set_aside(dir, &mark)?;
    }
    folder::write_whole(&mark, b"").map_err(system("writing into"))?;
    for private in [folder.keys(), folder.codes(), folder.centre()] {
        folder::make_private(&private).map_err(RelayError::system("making", private))?;
    }
    Ok(())
}

/// Whether nothing is in a folder, but for a mark that was not finished itself.
pub(crate) fn is_empty(dir: &Path) -> std::io::Result<bool> {
    let half_made = format!("{UNFINISHED}.new");
    for entry in std::fs::read_dir(dir)? {
        if entry?.file_name() != half_made.as_str() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Before a daemon begins: the folder is whole since it has its configuration, even if whoever made it was
/// cut off before saying so. From now on it is nobody's unfinished work.
pub(crate) fn finish(folder: &Folder) -> Result<(), RelayError> {
    let mark = folder.path().join(UNFINISHED);
    if !mark.exists() {
        return Ok(());
    }
    let system = |doing| RelayError::system(doing, &mark);
    folder::sync_folder_of(&mark).map_err(system("syncing"))?;
    std::fs::remove_file(&mark).map_err(system("removing"))?;
    folder::sync_folder_of(&mark).map_err(system("syncing"))
}

fn set_aside(dir: &Path, mark: &Path) -> Result<(), RelayError> {
    let aside = (1..)
        .map(|number: u32| dir.join(format!("unfinished-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| dir.join("unfinished"));
    folder::make_private(&aside).map_err(RelayError::system("making", &aside))?;
    let system = |doing| RelayError::system(doing, dir);
    for entry in std::fs::read_dir(dir).map_err(system("reading"))? {
        let path = entry.map_err(system("reading"))?.path();
        let name = path.file_name().unwrap_or_default();
        let earlier = name.to_string_lossy().starts_with("unfinished");
        if path != mark && !earlier {
            std::fs::rename(&path, aside.join(name))
                .map_err(RelayError::system("setting aside", &path))?;
        }
    }
    Ok(())
}

/// Everything that is drawn once.
struct Secrets {
    authority: AuthoritySecret,
    recovery: AuthoritySecret,
    relay: DeviceSecret,
    centre: DeviceSecret,
    table_key: Zeroizing<[u8; 32]>,
    programme_key: ScopeKey,
}

impl Secrets {
    fn draw() -> Result<Self, RelayError> {
        Ok(Self {
            authority: AuthoritySecret::from_bytes(&Zeroizing::new(random()?)),
            recovery: AuthoritySecret::from_bytes(&Zeroizing::new(random()?)),
            relay: DeviceSecret::from_bytes(&Zeroizing::new(random()?)),
            centre: DeviceSecret::from_bytes(&Zeroizing::new(random()?)),
            table_key: Zeroizing::new(random()?),
            programme_key: ScopeKey::new(ScopeId::AUTHORITY, 1, &Zeroizing::new(random()?)),
        })
    }

    fn write(&self, folder: &Folder) -> Result<(), RelayError> {
        let authority = self.authority.to_bytes();
        key_file::create(
            &folder.authority_key(),
            Kind::Authority,
            &*authority,
            SECRET_WORDS,
        )?;
        let recovery = self.recovery.to_bytes();
        key_file::create(
            &folder.recovery_key(),
            Kind::Recovery,
            &*recovery,
            RECOVERY_WORDS,
        )?;
        let relay = self.relay.to_bytes();
        key_file::create(&folder.relay_key(), Kind::Relay, &*relay, SECRET_WORDS)?;
        let mut centre = Zeroizing::new(self.centre.to_bytes().to_vec());
        centre.extend_from_slice(&*self.table_key);
        key_file::create(&folder.centre_key(), Kind::Centre, &centre, SECRET_WORDS)?;
        Ok(())
    }
}

/// Founds the programme, with relay and centre as its first members, in a new store.
fn found(folder: &Folder, secrets: &Secrets) -> Result<ProgrammeId, RelayError> {
    let key = &secrets.programme_key;
    let mut log = AuthorityLog::found(
        &secrets.authority,
        secrets.recovery.public(),
        key.commitment(),
    );
    let programme = log.programme();
    let (grant, object) = grant(programme, key, &secrets.centre.public())?;
    let first = |public: DevicePublic, role, name, grants: &[GrantHash]| {
        Body::MemberSet(MemberSet {
            public,
            role,
            scopes: Vec::<(ScopeId, Access)>::new(),
            name: SealedName::seal(programme, Subject::Member(public.device), key, name),
            code: None,
            grant_set: GrantHash::of_set(grants),
        })
    };
    let relay = first(
        secrets.relay.public(),
        Role::Relay,
        crate::authority::RELAY_NAME,
        &[],
    );
    let centre = first(
        secrets.centre.public(),
        Role::Centre,
        crate::authority::CENTRE_NAME,
        &[grant],
    );
    for body in [relay, centre] {
        let entry = log
            .sign(&secrets.authority, &body)
            .map_err(crate::authority::AuthorityFault::from)?;
        log.append_verified(&entry)
            .map_err(crate::authority::AuthorityFault::from)?;
    }
    let options = OpenOptions::new(secrets.relay.device(), Fresh(random()?));
    let (store, _) = SegmentStore::open(&folder.data(), &options)?;
    let mut store: Box<dyn Store> = Box::new(store);
    let entries = log.entries_from(0, usize::MAX);
    store.append_authority(entries.iter().map(|entry| entry.to_vec()).collect())?;
    store.put_grants(vec![object])?;
    store.close()?;
    Ok(programme)
}

fn grant(
    programme: ProgrammeId,
    key: &ScopeKey,
    to: &DevicePublic,
) -> Result<(GrantHash, SideObject), RelayError> {
    let grant = Grant::seal(programme, key, to, &random()?).ok_or(
        crate::authority::AuthorityFault::KeyMissing("programme key"),
    )?;
    Ok((grant.hash(), grant_object(&grant)))
}
