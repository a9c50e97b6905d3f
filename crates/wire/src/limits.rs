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
/// Operations in one change, and predecessors of them. Each costs the merge engine up to 1.4 kB
/// and a few microseconds, however few bytes claim it.
pub const CHANGE_OPERATIONS_MAX: usize = 32 * 1024;
/// Operations and predecessors that the changes of one batch may claim together: a few bytes can
/// claim many.
pub const BATCH_OPERATIONS_MAX: u64 = 128 * 1024;
/// A key in a change, in bytes of UTF-8.
pub const CHANGE_KEY_BYTES_MAX: usize = 255;
/// All keys of a change together, each counted for every operation that has it.
pub const CHANGE_KEYS_BYTES_MAX: usize = 1024 * 1024;
/// How deep objects may lie within one another; those in the root lie at 1.
pub const OBJECT_DEPTH_MAX: u8 = 8;
/// Changes of one author in one scope that may wait for their dependencies.
pub const WAITING_CHANGES_MAX: u64 = 16 * 1024;
/// The same in bytes.
pub const WAITING_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Entries that are remembered for one change.
pub const PROVENANCES_MAX: usize = 256;
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
/// Sealed keys of one centre that are taken back from devices: more than any programme has.
pub const CENTRE_GRANTS_MAX: usize = 16 * 1024;
/// Of one of its keys; only one can be right.
pub const CENTRE_GRANTS_OF_A_KEY_MAX: usize = 4;
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
/// Vertices of one perimeter, all its rings together.
pub const PERIMETER_VERTICES_MAX: usize = 4_000;
/// Rings of one perimeter, holes included.
pub const PERIMETER_RINGS_MAX: usize = 256;
/// How far a perimeter may reach in latitude or longitude, in 1e-7 degrees (5°).
pub const PERIMETER_EXTENT_E7_MAX: i64 = 50_000_000;
/// A circle round a position, where no boundary was surveyed.
pub const CIRCLE_RADIUS_M_MAX: u32 = 50_000;
/// One-line texts: names, numbers, models.
pub const LINE_BYTES_MAX: usize = 1024;
/// A free text as one edit writes it.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Reason of a decision or a proposal.
pub const REASON_BYTES_MAX: usize = 4 * 1024;
/// Changes that one decision may name.
pub const CONSIDERED_MAX: usize = 512;
/// Ticks that one change may take back in one field.
pub const WITHDRAWN_MAX: usize = 512;
/// Links to other records that a line of a list keeps.
pub const LINKS_LISTED_MAX: usize = 16;
/// Probable duplicates that are named for one record.
pub const DUPLICATES_LISTED_MAX: usize = 16;
/// One assertion, encoded.
pub const ASSERTION_BYTES_MAX: usize = 44 * 1024;

/// QUIC: bytes on the way on one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// QUIC: bytes on the way on one stream.
pub const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// QUIC: bytes of one connection that we hold because the peer has not yet confirmed them.
pub const SEND_WINDOW_BYTES: u32 = 1024 * 1024;
/// QUIC: bidirectional streams a peer may open; unidirectional ones none.
pub const STREAMS_MAX: u32 = 8;
/// QUIC: connection attempts that wait to be accepted.
pub const INCOMING_MAX: usize = 1024;
/// QUIC: bytes kept of one connection attempt before it is accepted.
pub const INCOMING_BYTES_MAX: u64 = 64 * 1024;
/// QUIC: bytes kept of all connection attempts before they are accepted.
pub const INCOMING_BYTES_TOTAL_MAX: u64 = 16 * 1024 * 1024;
/// Sessions that one replica runs at a time; more are told to come back.
pub const SESSIONS_MAX: usize = 4096;
/// Sessions that one peer may have at a time: a dead connection beside its successor, and clones.
pub const SESSIONS_PER_PEER_MAX: usize = 4;
/// Bytes that wait for one peer to read before nothing more is taken from it.
pub const SESSION_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an authority's log and grants that a device takes in while it enrols.
pub const ENROL_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Why a member was revoked, in bytes of UTF-8.
pub const REVOCATION_REASON_BYTES_MAX: usize = 256;
/// Scopes that one member or one joining code may name.
pub const MEMBER_SCOPES_MAX: usize = SCOPES_SHARED_MAX;
/// A joining code as text, before anything of it is read.
pub const CODE_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Addresses of relays in a joining code.
pub const CODE_ADDRESSES_MAX: usize = 8;
/// One address (`host:port`) in a joining code: the longest host name and a port.
pub const CODE_ADDRESS_BYTES_MAX: usize = 255;
/// A record of an issued code, kept beside the authority.
pub const ISSUED_CODE_BYTES_MAX: usize = 8 * 1024;
/// A request to be enrolled.
pub const ENROLMENT_REQUEST_BYTES_MAX: usize = 512;
/// What ops ask in one request, its line break included.
pub const OPS_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// All lines that answer one request of ops.
pub const OPS_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections on which ops ask at a time.
pub const OPS_CONNECTIONS_MAX: usize = 64;
/// One feature of an imported file, as text.
pub const EXCHANGE_FEATURE_BYTES_MAX: usize = 1024 * 1024;
/// Properties of one imported feature.
pub const EXCHANGE_PROPERTIES_MAX: usize = 512;
/// Properties of one imported feature, names and values together, in bytes of UTF-8.
pub const EXCHANGE_PROPERTIES_BYTES_MAX: usize = 48 * 1024;
/// Id of an imported feature, in bytes of UTF-8.
pub const EXCHANGE_NAME_BYTES_MAX: usize = 1024;
/// A file with a way to go, in bytes.
pub const EXCHANGE_WAY_BYTES_MAX: usize = 64_000_000;
/// Points of a way to go.
pub const EXCHANGE_WAY_POINTS_MAX: usize = 200_000;
/// Columns of an imported table.
pub const EXCHANGE_COLUMNS_MAX: usize = 4096;
/// Rows and warnings that an import's report lists one by one; the rest is counted.
pub const EXCHANGE_REPORT_ROWS_MAX: usize = 100_000;
