//! The [`Store`] port: what everybody who keeps something asks of a store.

use crate::error::StoreError;
use cairn_keys::grant::Grant;
use cairn_replica::holdings::{Holdings, Origin, PeerRecord};
use cairn_wire::Entry;
use cairn_wire::frame::{Backlog, JournalMark, ScopeLane};
use cairn_wire::ids::{DeviceKey, EntryId, Epoch, Incarnation, Lane, LogId, ProgrammeId, ScopeId};

/// Random bytes for whatever an opening or a repair may have to draw anew: 8 for the epoch, 16 for
/// the incarnation, 16 for the store's salt, 8 for the generation of the derived tables.
#[derive(Clone, Copy)]
pub struct Fresh(pub [u8; 48]);

impl Fresh {
    /// The epoch that is drawn if one is needed.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.part())
    }

    /// The incarnation that is drawn if one is needed.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        let mut out = [0; 16];
        out.copy_from_slice(&self.0[8..24]);
        Incarnation(out)
    }

    pub(crate) fn salt(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out.copy_from_slice(&self.0[24..40]);
        out
    }

    pub(crate) fn generation(&self) -> u64 {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[40..48]);
        u64::from_be_bytes(out)
    }

    fn part(&self) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[..8]);
        out
    }
}

/// An entry to keep, and who sent it.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The entry; admission has judged it.
    pub entry: Entry,
    /// Peers that are known to have it; empty for our own.
    pub origins: Vec<Origin>,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The entry.
    pub id: EntryId,
    /// Its journal.
    pub of: ScopeLane,
    /// Its position there: the journal's mark after it is `position + 1`.
    pub position: u64,
    /// False if it was held already.
    pub new: bool,
    /// True if it stands above a gap.
    pub detached: bool,
}

/// What became of authority entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorityAppended {
    /// How many were new and now stand in the log.
    pub new: u64,
    /// Entries that contradict one that is held at their height: recorded, and ops must be told.
    pub forks: Vec<AuthorityFork>,
}

/// Two authority entries at one height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFork {
    /// The height.
    pub height: u64,
    /// The one that is not in the log here.
    pub bytes: Vec<u8>,
}

/// A change that is saved on this device and not yet sealed into an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxFrame {
    /// Scope it belongs to.
    pub scope: ScopeId,
    /// Lane it will travel in.
    pub lane: Lane,
    /// Number of the key that seals it.
    pub key_number: u32,
    /// Outbox number, from 1, unique in this store, see [`Store::next_outbox_number`].
    pub number: u64,
    /// The sealed bytes, at most [`OUTBOX_BYTES_MAX`].
    pub sealed: Vec<u8>,
}

/// Sealed bytes of one outbox frame at most.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Value of one [`Store::put_state`] at most.
pub const STATE_BYTES_MAX: usize = 64 * 1024;
/// Key of a state, a side object or a derived value at most.
pub const KEY_BYTES_MAX: usize = 512;
/// Contradicting authority entries that are kept.
pub const AUTHORITY_FORKS_MAX: usize = 64;

/// The next entry that this device writes in a scope and lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextOwn {
    /// Its log, under the incarnation of now.
    pub log: LogId,
    /// Its number.
    pub number: u64,
    /// The entry before it, [`EntryId::NONE`] for number 1.
    pub previous: EntryId,
}

/// A signed object that stands outside the logs: a grant or a row of a receipt. The one with the
/// higher counter replaces the other; at equal counters the one that is held stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideObject {
    /// What it is about. A grant's key is the recipient's device key (32 bytes), then whatever
    /// tells that recipient's grants apart; a receipt's the centre's device key, then the scope's id
    /// (16 bytes), then whatever tells its rows apart.
    pub key: Vec<u8>,
    /// Its counter.
    pub counter: u64,
    /// The object.
    pub bytes: Vec<u8>,
}

impl SideObject {
    /// A sealed scope key: keyed by recipient, scope, key number and the beginning of its hash. So a
    /// forged grant never takes the place of the right one; both are kept, and only one opens.
    #[must_use]
    pub fn of_grant(grant: &Grant) -> Self {
        let mut key = Vec::with_capacity(32 + 16 + 4 + 8);
        key.extend_from_slice(&grant.recipient().0);
        key.extend_from_slice(&grant.scope().0);
        key.extend_from_slice(&grant.key_number().to_be_bytes());
        key.extend_from_slice(&grant.hash().0[..8]);
        Self {
            key,
            counter: 1,
            bytes: grant.to_bytes().to_vec(),
        }
    }
}

/// Tables that callers fill from what the store holds, and can fill again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TableName {
    /// Documents as they are saved.
    Documents = 0x80,
    /// What is known of each change.
    Changes = 0x81,
    /// Changes that wait for others, or are quarantined or stuck.
    Waiting = 0x82,
    /// One line per document, for lists.
    Summaries = 0x83,
    /// The centre's projection.
    Projection = 0x84,
    /// What was imported under which key.
    Imports = 0x85,
    /// How far the caller has read: cursors into journals and the outbox.
    Meta = 0x86,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);
/// Keys and values, ascending.
pub type Rows = Vec<Row>;

/// Puts and deletes in derived tables that become visible together.
#[derive(Debug, Clone, Default)]
pub struct WriteSet {
    pub(crate) writes: Vec<(TableName, Vec<u8>, Option<Vec<u8>>)>,
}

impl WriteSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value; a later write of the same key in the same set wins.
    pub fn put(&mut self, table: TableName, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push((table, key.into(), Some(value.into())));
    }

    /// Takes a value out.
    pub fn delete(&mut self, table: TableName, key: impl Into<Vec<u8>>) {
        self.writes.push((table, key.into(), None));
    }

    /// Is there nothing in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds the writes of another set after those of this one.
    pub fn extend(&mut self, other: Self) {
        self.writes.extend(other.writes);
    }
}

/// Why the index was made anew from the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebuilt {
    /// There was none.
    Missing,
    /// It could not be opened, or failed its check; it was set aside under this name, if it is a folder.
    Damaged {
        /// What was wrong.
        why: String,
        /// Where it is now.
        set_aside: Option<String>,
    },
    /// It speaks of segments that are not there: they were cut, or replaced by older ones.
    SegmentsBehind,
    /// It was asked for.
    Asked,
}

/// A stretch of a segment that holds no readable frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadStretch {
    /// Number of the segment file.
    pub segment: u64,
    /// First bad byte.
    pub from: u64,
    /// First byte that is good again, or the file's end.
    pub to: u64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// The store was made by this opening.
    pub created: bool,
    /// The index was rebuilt, and why.
    pub rebuilt: Option<Rebuilt>,
    /// Frames read from the segments to bring the index up to date.
    pub replayed_frames: u64,
    /// Frames missing that were not known to be missing before.
    pub lost_frames: u64,
    /// Pieces that the segments had lost and the index still held (the authority's log, grants, receipts,
    /// states): they were written again. Only a repair does that.
    pub carried_over: u64,
    /// Unreadable stretches that were met (a torn tail after a power cut is one, and loses nothing
    /// that was acknowledged). At most [`BAD_STRETCHES_MAX`].
    pub bad_stretches: Vec<BadStretch>,
    /// The format file was missing or unreadable and was written again from what the segments say.
    pub format_mended: bool,
    /// A new epoch was drawn: cursors into the old journals are void.
    pub new_epoch: bool,
    /// A new incarnation was drawn: own logs start anew.
    pub new_incarnation: bool,
}

/// Bad stretches that a report lists.
pub const BAD_STRETCHES_MAX: usize = 256;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Frames read.
    pub frames: u64,
    /// Entries read.
    pub entries: u64,
    /// Frames missing between those that are there.
    pub lost_frames: u64,
    /// Unreadable stretches.
    pub bad_stretches: Vec<BadStretch>,
    /// What is wrong, a sentence each, at most [`PROBLEMS_MAX`].
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

/// Problems that a report lists.
pub const PROBLEMS_MAX: usize = 256;

/// Segment bytes that are looked over in one slice, up to one frame more …
pub const VERIFY_SLICE_BYTES: u64 = 1024 * 1024;
/// … and entries or rows, each of which costs reads of the index.
pub const VERIFY_SLICE_ROWS: u64 = 512;

/// A check that is under way.
#[derive(Debug, Clone)]
pub struct Verifying {
    pub(crate) deep: bool,
    pub(crate) report: VerifyReport,
    pub(crate) stage: VerifyStage,
    /// Number that the next frame should have.
    pub(crate) next_frame: u64,
    /// Frames that the store knows to have been lost.
    pub(crate) accounted: u64,
    pub(crate) done_bytes: u64,
    pub(crate) of_bytes: u64,
}

/// How far it has come.
#[derive(Debug, Clone)]
pub(crate) enum VerifyStage {
    /// Frames, from this segment and offset on.
    Frames(u64, u64),
    /// Rows of journals, as they ended when the last frame was read.
    Journals(Vec<JournalCheck>),
    Done,
}

/// A journal whose rows are looked over.
#[derive(Debug, Clone)]
pub(crate) struct JournalCheck {
    pub(crate) of: ScopeLane,
    pub(crate) end: JournalMark,
    pub(crate) at: JournalMark,
}

impl Verifying {
    /// Begins.
    #[must_use]
    pub fn new(deep: bool) -> Self {
        Self {
            deep,
            report: VerifyReport::default(),
            stage: VerifyStage::Frames(0, 0),
            next_frame: 1,
            accounted: 0,
            done_bytes: 0,
            of_bytes: 0,
        }
    }

    /// Everything was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.stage, VerifyStage::Done)
    }

    /// Bytes of segments that were read, and how many there were when it began.
    #[must_use]
    pub fn progress_bytes(&self) -> (u64, u64) {
        (self.done_bytes, self.of_bytes)
    }

    /// What was found, once it is done.
    #[must_use]
    pub fn into_report(self) -> VerifyReport {
        self.report
    }
}

impl VerifyReport {
    /// Is everything as it was written? Losses that an epoch has accounted for count as sound.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }
}

/// Where everything is kept.
///
/// What a store promises: whatever a call reports as done survives a power cut, except where it
/// says "index only"; a failed write poisons it, and every later call says so; nothing is ever
/// deleted; reads see what is durable and nothing that is not.
///
/// Derived tables and peers are *index only*: they survive a clean close, and after a crash they may
/// be older than the entries, all of them as of one moment. So callers write, in the same
/// [`WriteSet`], how far they have read (journal positions, outbox number) into
/// [`TableName::Meta`], and go on from there after opening.
pub trait Store: Holdings + Send + Sync {
    /// Keeps entries, in order, in one group commit; durable when it returns. An entry that is held
    /// only gains the origins (index only). Callers batch: every call costs one disk sync.
    fn append(&mut self, incoming: Vec<Incoming>) -> Result<Vec<Appended>, StoreError>;

    /// Keeps authority entries that verify, in order; refreshes the membership. Idempotent. An entry
    /// above a gap or with a bad signature is an error; what came before it is kept.
    fn append_authority(&mut self, entries: Vec<Vec<u8>>) -> Result<AuthorityAppended, StoreError>;

    /// Names the programme of a store that has none yet (a device that joins by a code knows it from
    /// there; founding names it by entry 0). Durable. It never changes after.
    fn set_programme(&mut self, programme: ProgrammeId) -> Result<(), StoreError>;

    /// Contradicting authority entries that were ever given.
    fn authority_forks(&self) -> Result<Vec<AuthorityFork>, StoreError>;

    /// The highest entry of the authority's log that is known to have been held and is not, because of a
    /// hole below it. Until a peer has filled it nothing above the hole counts.
    fn authority_hole(&self) -> Option<u64>;

    /// Saves changes of this device: durable when it returns. The derived `writes` follow (index only).
    fn save_outbox(&mut self, frames: Vec<OutboxFrame>, writes: WriteSet)
    -> Result<(), StoreError>;

    /// The number that the next outbox frame takes.
    fn next_outbox_number(&self) -> u64;

    /// Outbox frames that are not sealed, from a number on, as many as fit into `bytes_max` (at least one).
    fn outbox(&self, from: u64, bytes_max: usize) -> Result<Vec<OutboxFrame>, StoreError>;

    /// How many outbox frames are not sealed.
    fn outbox_len(&self) -> u64;

    /// Keeps the entries into which outbox frames were sealed, and marks those frames, together:
    /// the marks count only while every one of these entries is held. After a crash in between, the
    /// frames are there still; sealing them again is harmless, since changes are told apart by
    /// their hash.
    fn seal_outbox(
        &mut self,
        sealed: &[u64],
        entries: Vec<Entry>,
        writes: WriteSet,
    ) -> Result<Vec<Appended>, StoreError>;

    /// Where the next own entry goes. A number is never used twice: whenever an own frame is found
    /// missing, opening draws a new incarnation.
    fn next_own(&self, of: ScopeLane) -> Result<NextOwn, StoreError>;

    /// What was last put under a key.
    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps what no peer can give back (enrolment, decisions on quarantine …): durable when it returns.
    fn put_state(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Keeps sealed scope keys, their recipients' or our own; durable. Answers how many replaced something.
    fn put_grants(&mut self, grants: Vec<SideObject>) -> Result<usize, StoreError>;

    /// Keeps receipts; durable. Answers how many were new or newer.
    fn put_receipts(&mut self, receipts: Vec<SideObject>) -> Result<usize, StoreError>;

    /// Remembers a peer (index only).
    fn put_peer(&mut self, peer: &DeviceKey, record: &PeerRecord) -> Result<(), StoreError>;

    /// Says what waits here for a relay, for [`Holdings::backlog`]; forgotten at close.
    fn set_backlog(&mut self, backlog: Backlog);

    /// Begins a new life of own logs: after a restore, or when a fork of one's own log is seen. Durable.
    fn set_incarnation(&mut self, incarnation: Incarnation) -> Result<(), StoreError>;

    /// Begins a new life of the journals: after a restore. Durable.
    fn new_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError>;

    /// Logs in a scope and lane that have more than one end.
    fn forked_logs(&self, of: ScopeLane) -> Vec<LogId>;

    /// Every scope and lane that has a journal here.
    fn journals(&self) -> Vec<ScopeLane>;

    /// Changes whenever the index was made anew, and with it every derived table is empty.
    fn derived_generation(&self) -> u64;

    /// A value of a derived table.
    fn get(&self, table: TableName, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys that begin with `prefix`, from `from` on (inclusive), ascending, at most `limit`.
    fn scan(
        &self,
        table: TableName,
        prefix: &[u8],
        from: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows, StoreError>;

    /// Writes derived tables (index only).
    fn apply(&mut self, writes: WriteSet) -> Result<(), StoreError>;

    /// Frames that were ever written here and are known to have been lost. Never sinks: what peers give
    /// back comes in new frames.
    fn lost_frames(&self) -> u64;

    /// Reads everything and says what is wrong; `deep` verifies signatures too.
    fn verify(&self, deep: bool) -> Result<VerifyReport, StoreError> {
        let mut verifying = Verifying::new(deep);
        while !verifying.is_done() {
            self.verify_some(&mut verifying)?;
        }
        Ok(verifying.report)
    }

    /// A slice of it, so that others get their turn in between: at most [`VERIFY_SLICE_BYTES`] and
    /// [`VERIFY_SLICE_ROWS`]. What is written meanwhile may be looked over or not.
    fn verify_some(&self, verifying: &mut Verifying) -> Result<(), StoreError>;

    /// Writes again what the segments have lost and the index still holds whole, then makes the index anew
    /// from the segments; draws a new epoch and incarnation if frames are missing that were not known to
    /// be missing. What does not read stays where it is.
    fn repair(&mut self, fresh: Fresh) -> Result<OpenReport, StoreError>;

    /// Lets the index catch up on disk, where a second or a few megabytes have passed. `now_ms` is any
    /// clock that only rises.
    fn tick(&mut self, now_ms: u64) -> Result<(), StoreError>;

    /// Lets the index catch up on disk now, so that the next opening has nothing to replay.
    fn sync_point(&mut self) -> Result<(), StoreError>;

    /// Closes cleanly.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}
