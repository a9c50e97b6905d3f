//! What a session asks of the replica it runs on. Reads only; they see everything that is durable
//! and nothing that is not.

use cairn_keys::membership::Membership;
use cairn_wire::frame::{Backlog, Cursor, Digest, JournalMark, ScopeLane};
use cairn_wire::ids::{
    AuthorityRef, DeviceKey, EntryId, Epoch, Incarnation, LogId, ProgrammeId, ScopeId,
};
use cairn_wire::{Entry, hash};
use std::collections::{BTreeMap, BTreeSet};

/// Our own store could not answer. Never the peer's fault; the session ends and acknowledges nothing.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct HoldingsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Who is known to have an entry because it sent it: a peer in one life of its journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The peer.
    pub peer: DeviceKey,
    /// Life of the peer's journals when it sent the entry.
    pub epoch: Epoch,
}

/// One position of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalItem {
    /// The entry that became durable here.
    pub entry: Entry,
    /// The journal's mark after it.
    pub after: JournalMark,
    /// Who sent it to us (several, if several did). Empty for our own.
    pub origins: Vec<Origin>,
}

/// An entry with all its ancestors stored and nothing after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    /// Its log.
    pub log: LogId,
    /// Its number.
    pub number: u64,
    /// Its id.
    pub id: EntryId,
}

/// What is remembered of a peer between sessions. An optimisation: losing it costs a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct PeerRecord {
    /// Life of the peer's journals that `lanes[..].cursor` speaks of.
    pub epoch: Option<Epoch>,
    /// Per scope and lane.
    pub lanes: BTreeMap<ScopeLane, PeerLane>,
    /// Hash of all pair states after the last session that ended equal, and the states it covers.
    pub pair: Option<PairRecord>,
    /// Short hashes of the grants and receipts that this peer was given or has given in that epoch,
    /// sorted; empty where that is not known. Counts only where the peer's hash is that of just these,
    /// but see the session's rule for carriers.
    pub side: Vec<[u8; 8]>,
}

/// What is remembered of a peer in one scope and lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PeerLane {
    /// My cursor into the peer's journal: I hold everything before it.
    pub cursor: JournalMark,
    /// The peer's cursor into my journal as it last acknowledged it, in my epoch of then.
    pub acknowledged: Option<Cursor>,
}

/// What both sides agreed on at the end of an equal session.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PairRecord {
    /// The hash that stands for all of it.
    pub hash: [u8; 16],
    /// My epoch then.
    pub my_epoch: Epoch,
    /// The peer's epoch then.
    pub peer_epoch: Epoch,
    /// Per scope and lane: my end, the peer's end, the digest of both.
    pub states: BTreeMap<ScopeLane, (JournalMark, JournalMark, Digest)>,
}

/// What a replica holds.
pub trait Holdings {
    /// The device this replica belongs to.
    fn device(&self) -> DeviceKey;
    /// The incarnation under which it writes now.
    fn incarnation(&self) -> Incarnation;
    /// The life its journals are in.
    fn epoch(&self) -> Epoch;
    /// Its programme.
    fn programme(&self) -> ProgrammeId;
    /// Members, rights and revocations, as far as the authority's log is known here.
    fn membership(&self) -> &Membership;
    /// Head of the authority's log.
    fn authority_head(&self) -> AuthorityRef;
    /// Authority entries from a height on, as many as fit into `bytes_max` (at least one).
    fn authority_entries(&self, from: u64, bytes_max: usize)
    -> Result<Vec<Vec<u8>>, HoldingsError>;
    /// What waits here for a relay.
    fn backlog(&self) -> Backlog;

    /// End of a journal; the zero mark for one that has no entry.
    fn journal_end(&self, of: ScopeLane) -> JournalMark;
    /// The mark at a position, `None` beyond the end.
    fn journal_mark(
        &self,
        of: ScopeLane,
        position: u64,
    ) -> Result<Option<JournalMark>, HoldingsError>;
    /// Items from a position on, as many as fit into `bytes_max` of entry bytes (at least one).
    fn journal(
        &self,
        of: ScopeLane,
        position: u64,
        bytes_max: usize,
    ) -> Result<Vec<JournalItem>, HoldingsError>;
    /// Entry bytes between a position and the end of the journal.
    fn journal_bytes_from(&self, of: ScopeLane, position: u64) -> Result<u64, HoldingsError>;

    /// Digest over the leaves, see [`digest_of`].
    fn digest(&self, of: ScopeLane) -> Digest;
    /// How many leaves there are.
    fn leaf_count(&self, of: ScopeLane) -> usize;
    /// The leaves, sorted.
    fn leaves(&self, of: ScopeLane) -> Vec<Leaf>;
    /// Entries that stand above a gap, sorted by id.
    fn detached(&self, of: ScopeLane) -> Vec<EntryId>;

    /// Is the entry durable here?
    fn holds(&self, id: &EntryId) -> Result<bool, HoldingsError>;
    /// The entry, if it is held.
    fn entry(&self, id: &EntryId) -> Result<Option<Entry>, HoldingsError>;
    /// The ids held of one log at one number: one, or several where the log forked.
    fn ids_at(&self, log: &LogId, number: u64) -> Result<Vec<EntryId>, HoldingsError>;

    /// What is remembered of a peer.
    fn peer(&self, peer: &DeviceKey) -> Result<PeerRecord, HoldingsError>;
    /// Sealed scope keys for a member.
    fn grants_for(&self, device: &DeviceKey) -> Result<Vec<Vec<u8>>, HoldingsError>;
    /// The newest receipts.
    fn receipts(&self) -> Result<Vec<Vec<u8>>, HoldingsError>;
    /// Those that speak of logs of these scopes. Both sides of a session ask this and compare the
    /// answers, so they must choose alike.
    fn receipts_of(&self, scopes: &BTreeSet<ScopeId>) -> Result<Vec<Vec<u8>>, HoldingsError>;
}

/// The digest over `leaves`, which must be sorted: 16 bytes of BLAKE3 over, for each, device key,
/// incarnation, number (8 bytes, big-endian) and id.
#[must_use]
pub fn digest_of<'a>(leaves: impl IntoIterator<Item = &'a Leaf>) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(hash::DIGEST_CONTEXT);
    for leaf in leaves {
        hasher.update(&leaf.log.device.0);
        hasher.update(&leaf.log.incarnation.0);
        hasher.update(&leaf.number.to_be_bytes());
        hasher.update(&leaf.id.0);
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Digest(digest)
}
