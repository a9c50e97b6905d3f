//! Every limit on what comes from outside, in one place, unit last.
//!
//! A limit is checked before the bytes it speaks of are read, allocated or inflated.

/// Sealed payload of an entry.
pub const ENTRY_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Entry from first header byte to last signature byte.
pub const ENTRY_BYTES_MAX: usize =
    crate::entry::HEADER_BYTES + ENTRY_PAYLOAD_BYTES_MAX + crate::entry::SIGNATURE_BYTES;
/// Body of a frame: an entry and what a frame says about it.
pub const FRAME_BYTES_MAX: usize = ENTRY_BYTES_MAX + 512;
/// One Automerge change, uncompressed.
pub const CHANGE_BYTES_MAX: usize = 48 * 1024;
/// Dependencies that one change may name.
pub const CHANGE_DEPENDENCIES_MAX: usize = 64;
/// Operations in one change.
pub const CHANGE_OPERATIONS_MAX: usize = 48 * 1024;
/// A batch when inflated.
pub const BATCH_RAW_BYTES_MAX: usize = 512 * 1024;
/// Changes in one batch.
pub const BATCH_CHANGES_MAX: usize = 16 * 1024;
/// Leaves that are listed in one frame; more go by buckets.
pub const LEAVES_LISTED_MAX: usize = 512;
/// Buckets of a bucketed leaf list.
pub const LEAF_BUCKETS: usize = 256;
/// Scopes that two peers may share.
pub const SCOPES_SHARED_MAX: usize = 256;
/// Ids in one probe for the place where a log forked.
pub const PROBE_IDS_MAX: usize = 64;
/// Ids of detached entries exchanged in one frame.
pub const DETACHED_IDS_MAX: usize = 1024;
/// Unasked entries in the first flight of a dialler.
pub const FIRST_FLIGHT_BYTES_MAX: usize = 64 * 1024;
/// Bytes on the way that the receiver has not called durable, on a link below [`SLOW_LINK_BYTES_PER_SECOND`].
pub const WINDOW_SLOW_BYTES: usize = 64 * 1000;
/// The same on a faster link.
pub const WINDOW_FAST_BYTES: usize = 512 * 1000;
/// 2 Mbit/s.
pub const SLOW_LINK_BYTES_PER_SECOND: u64 = 250_000;
/// One authority entry, signature included.
pub const AUTHORITY_ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Authority entries in one frame, by bytes.
pub const AUTHORITY_FRAME_BYTES_MAX: usize = 48 * 1024;
/// One sealed grant.
pub const GRANT_BYTES_MAX: usize = 512;
/// Grants in one frame.
pub const GRANTS_MAX: usize = 96;
/// One receipt.
pub const RECEIPT_BYTES_MAX: usize = 4 * 1024;
/// Receipts in one frame.
pub const RECEIPTS_MAX: usize = 256;
/// Receipts in one frame, by bytes.
pub const RECEIPTS_FRAME_BYTES_MAX: usize = 48 * 1024;
/// A device's name as it asks to be enrolled, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest time between durable writes of a session's entries.
pub const GROUP_COMMIT_MS_MAX: u64 = 50;
