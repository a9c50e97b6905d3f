//! The head of a line: what orders it in lists, filters it and tells where it is near. Heads stand in
//! rows of their own, because most questions look at those of all records and at little else.

use crate::error::MemberError;
use crate::line::{CODE_BYTES_MAX, cut, take, text};
use cairn_records::geometry::{Bounds, Position};
use cairn_records::{Likeness, Summary};
use cairn_wire::ids::DocumentId;

const VOID: u8 = 1;
const CONFLICTS: u8 = 2;
const PROPOSALS: u8 = 4;
const UNVERIFIED: u8 = 8;
const BOUNDS: u8 = 16;
const LINKED: u8 = 32;
const SAME_NUMBER: u8 = 64;
const SAME_DAY_NEARBY: u8 = 128;
const ALIKE: u8 = LINKED | SAME_NUMBER | SAME_DAY_NEARBY;

/// Where the flags stand.
const FLAGS_AT: usize = DocumentId::LEN + 8;

const fn flag_of(likeness: Likeness) -> u8 {
    match likeness {
        Likeness::Linked => LINKED,
        Likeness::SameNumber => SAME_NUMBER,
        Likeness::SameDayNearby => SAME_DAY_NEARBY,
    }
}

/// A head as it lies in its page, read without copying.
///
/// Integers big-endian: id 16, newest change 8, flags 1, where they say so the box 16; kind, status and
/// class, each a length more by one (0: none) and its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) id: DocumentId,
    pub(crate) recorded_at_s: i64,
    flags: u8,
    pub(crate) bounds: Option<Bounds>,
    pub(crate) kind: &'a str,
    pub(crate) status: Option<&'a str>,
    pub(crate) hazard_class: Option<&'a str>,
}

impl<'a> Head<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, MemberError> {
        Self::try_read(bytes)
            .ok_or_else(|| MemberError::Tables("the head of a line does not read".into()))
    }

    fn try_read(mut bytes: &'a [u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let id = DocumentId(take(bytes)?);
        let recorded_at_s = i64::from_be_bytes(take(bytes)?);
        let [flags] = take(bytes)?;
        let mut position = || {
            let lat = i32::from_be_bytes(take(bytes)?);
            let lon = i32::from_be_bytes(take(bytes)?);
            Position::new(lat.into(), lon.into())
        };
        let bounds = match flags & BOUNDS != 0 {
            true => Some(Bounds {
                south_west: position()?,
                north_east: position()?,
            }),
            false => None,
        };
        Some(Self {
            id,
            recorded_at_s,
            flags,
            bounds,
            kind: text(bytes)??,
            status: text(bytes)?,
            hazard_class: text(bytes)?,
        })
    }

    pub(crate) const fn is_void(&self) -> bool {
        self.flags & VOID != 0
    }

    pub(crate) const fn has_conflicts(&self) -> bool {
        self.flags & CONFLICTS != 0
    }

    pub(crate) const fn has_proposals(&self) -> bool {
        self.flags & PROPOSALS != 0
    }

    pub(crate) const fn is_unverified(&self) -> bool {
        self.flags & UNVERIFIED != 0
    }

    /// Is it probably the same as another record?
    pub(crate) const fn is_alike(&self) -> bool {
        self.flags & ALIKE != 0
    }

    /// Is it, for this reason?
    pub(crate) const fn is_alike_by(&self, likeness: Likeness) -> bool {
        self.flags & flag_of(likeness) != 0
    }
}

/// The bytes of a head that is like no other record yet.
pub(crate) fn encode(id: &DocumentId, recorded_at_s: i64, summary: &Summary) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    out.extend_from_slice(&id.0);
    out.extend_from_slice(&recorded_at_s.to_be_bytes());
    let flags = [
        (summary.void, VOID),
        (summary.conflicts > 0, CONFLICTS),
        (summary.proposals > 0, PROPOSALS),
        (summary.unverified > 0, UNVERIFIED),
        (summary.bounds.is_some(), BOUNDS),
    ];
    let flags = flags.iter().filter(|(is, _)| *is);
    out.push(flags.map(|(_, flag)| flag).sum());
    for at in summary
        .bounds
        .into_iter()
        .flat_map(|bounds| [bounds.south_west, bounds.north_east])
    {
        out.extend_from_slice(&at.lat_e7.to_be_bytes());
        out.extend_from_slice(&at.lon_e7.to_be_bytes());
    }
    let texts = [
        Some(&summary.kind),
        summary.status.as_ref(),
        summary.hazard_class.as_ref(),
    ];
    for text in texts {
        push_text(&mut out, text, CODE_BYTES_MAX);
    }
    out
}

/// Appends a text as [`text`] reads it.
pub(crate) fn push_text(out: &mut Vec<u8>, text: Option<&String>, bytes_max: usize) {
    match text {
        None => out.push(0),
        Some(text) => {
            let text = cut(text, bytes_max);
            out.push(text.len() as u8 + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Says in a head whether its record is like another one for this reason.
pub(crate) fn set_alike(head: &mut [u8], likeness: Likeness, is: bool) {
    if let Some(flags) = head.get_mut(FLAGS_AT) {
        *flags &= !flag_of(likeness);
        *flags |= if is { flag_of(likeness) } else { 0 };
    }
}

/// Takes over what the head before said of likeness.
pub(crate) fn keep_alike(head: &mut [u8], before: &[u8]) {
    if let (Some(flags), Some(before)) = (head.get_mut(FLAGS_AT), before.get(FLAGS_AT)) {
        *flags |= before & ALIKE;
    }
}
