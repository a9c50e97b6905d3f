//! One line per record: what lists show without loading a document, and by which name it is found.

use crate::alike;
use crate::catalogue::{self, FreshLine};
use crate::error::{MemberError, RequestError};
use crate::head::{self, Head, push_text};
use crate::tables::Tables;
use crate::trust::{Trust, read_loaded};
use cairn_documents::{Documents, LoadedDocument, Storage};
use cairn_records::count::Count;
use cairn_records::geometry::Position;
use cairn_records::{Record, Summary};
use cairn_wire::ids::{DeviceKey, DocumentId, ScopeId};
use cairn_wire::limits::LINKS_LISTED_MAX;
use std::collections::BTreeSet;

/// Digits that are not taken for each other when read over the radio (Crockford's base 32).
const RADIO_DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of a short code, 5 bits each.
const SHORT_CODE_DIGITS: usize = 6;
/// Bytes of a text that a line keeps …
pub(crate) const TEXT_BYTES_MAX: usize = 200;
/// … and of a code or a date.
pub(crate) const CODE_BYTES_MAX: usize = 64;
/// Candidates that an ambiguous name lists.
const CANDIDATES_MAX: usize = 8;

/// A record as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its scope.
    pub scope: ScopeId,
    /// Its id.
    pub id: DocumentId,
    /// What its fields say in brief.
    pub summary: Summary,
    /// By which an import knows it again; `None` for a document that is no record.
    pub import_key: Option<[u8; 32]>,
    /// The device that made it.
    pub creator: DeviceKey,
    /// How many changes it has.
    pub changes: u64,
    /// Its newest change by the devices' clocks, seconds since 1970.
    pub recorded_at_s: i64,
    /// Changes kept for it that are not part of it: waiting, stuck or quarantined.
    pub held: u64,
}

impl Line {
    /// The code by which people name it over the radio: `7QX-M2K`. Several records can share one.
    #[must_use]
    pub fn short_code(&self) -> String {
        short_code(&self.id)
    }

    pub(crate) fn of(
        scope: &ScopeId,
        id: &DocumentId,
        loaded: &LoadedDocument,
        record: Option<&Record>,
    ) -> Self {
        let summary = match record {
            Some(record) => cairn_records::summary(record),
            None => nothing_readable(&loaded.kind),
        };
        Self {
            scope: *scope,
            id: *id,
            summary,
            import_key: cairn_records::import_key(&loaded.automerge, scope).ok(),
            creator: loaded.creator,
            changes: loaded.changes.len() as u64,
            recorded_at_s: loaded
                .changes
                .iter()
                .map(|change| change.recorded_at_s)
                .max()
                .unwrap_or(0),
            held: loaded.held.len() as u64,
        }
    }

    /// The bytes of its head: see [`Head`].
    pub(crate) fn encode_head(&self) -> Vec<u8> {
        head::encode(&self.id, self.recorded_at_s, &self.summary)
    }

    /// The bytes of the rest: see [`LineBytes`].
    pub(crate) fn encode_rest(&self) -> Vec<u8> {
        let summary = &self.summary;
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        let mut out = Vec::with_capacity(192);
        out.extend_from_slice(&self.creator.0);
        for number in [
            summary.conflicts as u64,
            summary.proposals as u64,
            summary.unverified as u64,
            self.changes,
            self.held,
        ] {
            out.extend_from_slice(&count(number));
        }
        let flags = [
            (summary.extent_not_surveyed, NOT_SURVEYED),
            (summary.centre.is_some(), CENTRE),
            (summary.area_m2.is_some(), AREA),
            (summary.people.is_some(), PEOPLE),
            (summary.people.is_some_and(|people| people.or_more), OR_MORE),
            (self.import_key.is_some(), IMPORT_KEY),
        ];
        let flags = flags.iter().filter(|(is, _)| *is);
        out.push(flags.map(|(_, flag)| flag).sum());
        if let Some(at) = summary.centre {
            out.extend_from_slice(&at.lat_e7.to_be_bytes());
            out.extend_from_slice(&at.lon_e7.to_be_bytes());
        }
        if let Some(area) = summary.area_m2 {
            out.extend_from_slice(&area.to_be_bytes());
        }
        if let Some(people) = &summary.people {
            out.extend_from_slice(&people.least.to_be_bytes());
            out.extend_from_slice(&people.most.to_be_bytes());
        }
        if let Some(key) = &self.import_key {
            out.extend_from_slice(key);
        }
        push_text(&mut out, summary.local_id.as_ref(), TEXT_BYTES_MAX);
        for text in [
            &summary.category,
            &summary.date_of_information,
            &summary.date,
        ] {
            push_text(&mut out, text.as_ref(), CODE_BYTES_MAX);
        }
        let links = summary.duplicates_of.iter().take(LINKS_LISTED_MAX);
        for link in links {
            out.extend_from_slice(&link.0);
        }
        out
    }
}

const NOT_SURVEYED: u8 = 1;
const CENTRE: u8 = 2;
const AREA: u8 = 4;
const PEOPLE: u8 = 8;
const OR_MORE: u8 = 16;
const IMPORT_KEY: u8 = 32;

/// A line as it lies in its pages, read without copying: its head, and the rest.
///
/// Of the rest, integers big-endian: creator 32; conflicts, proposals, unverified values, changes and
/// held ones 4 each; flags 1; where they say so the centre 8, the area 8, the fewest and the most people
/// 8 each, the import key 32; number, category and both dates, each a length more by one (0: none) and
/// its bytes; the records it is linked with, 16 each.
pub(crate) struct LineBytes<'a> {
    pub(crate) head: Head<'a>,
    creator: DeviceKey,
    conflicts: u32,
    proposals: u32,
    unverified: u32,
    changes: u32,
    held: u32,
    extent_not_surveyed: bool,
    pub(crate) centre: Option<Position>,
    area_m2: Option<u64>,
    people: Option<Count>,
    import_key: Option<[u8; 32]>,
    pub(crate) local_id: Option<&'a str>,
    category: Option<&'a str>,
    pub(crate) date_of_information: Option<&'a str>,
    pub(crate) date: Option<&'a str>,
    links: &'a [u8],
}

impl<'a> LineBytes<'a> {
    pub(crate) fn read(head: &'a [u8], rest: &'a [u8]) -> Result<Self, MemberError> {
        Self::try_read(Head::read(head)?, rest)
            .ok_or_else(|| MemberError::Tables("a line of the list does not read".into()))
    }

    fn try_read(head: Head<'a>, mut bytes: &'a [u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let creator = DeviceKey(take(bytes)?);
        let mut number = || Some(u32::from_be_bytes(take(bytes)?));
        let (conflicts, proposals, unverified) = (number()?, number()?, number()?);
        let (changes, held) = (number()?, number()?);
        let [flags] = take(bytes)?;
        let has = |flag| flags & flag != 0;
        let centre = match has(CENTRE) {
            true => {
                let lat = i32::from_be_bytes(take(bytes)?);
                let lon = i32::from_be_bytes(take(bytes)?);
                Some(Position::new(lat.into(), lon.into())?)
            }
            false => None,
        };
        let area_m2 = match has(AREA) {
            true => Some(u64::from_be_bytes(take(bytes)?)),
            false => None,
        };
        let people = match has(PEOPLE) {
            true => Some(Count {
                least: u64::from_be_bytes(take(bytes)?),
                most: u64::from_be_bytes(take(bytes)?),
                or_more: has(OR_MORE),
            }),
            false => None,
        };
        let import_key = match has(IMPORT_KEY) {
            true => Some(take(bytes)?),
            false => None,
        };
        Some(Self {
            head,
            creator,
            conflicts,
            proposals,
            unverified,
            changes,
            held,
            extent_not_surveyed: has(NOT_SURVEYED),
            centre,
            area_m2,
            people,
            import_key,
            local_id: text(bytes)?,
            category: text(bytes)?,
            date_of_information: text(bytes)?,
            date: text(bytes)?,
            links: bytes,
        })
    }

    /// The records it is linked with.
    pub(crate) fn links(&self) -> impl Iterator<Item = DocumentId> + use<'a> {
        self.links
            .chunks_exact(DocumentId::LEN)
            .filter_map(DocumentId::from_slice)
    }

    pub(crate) fn to_line(&self, scope: ScopeId) -> Line {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let head = &self.head;
        Line {
            scope,
            id: head.id,
            summary: Summary {
                kind: head.kind.to_owned(),
                local_id: text(self.local_id),
                status: text(head.status),
                hazard_class: text(head.hazard_class),
                category: text(self.category),
                people: self.people,
                centre: self.centre,
                bounds: head.bounds,
                area_m2: self.area_m2,
                conflicts: self.conflicts as usize,
                proposals: self.proposals as usize,
                unverified: self.unverified as usize,
                void: head.is_void(),
                date_of_information: text(self.date_of_information),
                date: text(self.date),
                duplicates_of: self.links().collect(),
                extent_not_surveyed: self.extent_not_surveyed,
            },
            import_key: self.import_key,
            creator: self.creator,
            changes: self.changes.into(),
            recorded_at_s: head.recorded_at_s,
            held: self.held.into(),
        }
    }
}

pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (part, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*part)
}

/// `None` for bytes that do not read, `Some(None)` for no text.
pub(crate) fn text<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a str>> {
    let [length] = take(bytes)?;
    let Some(length) = length.checked_sub(1) else {
        return Some(None);
    };
    let (text, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    std::str::from_utf8(text).ok().map(Some)
}

/// The line of a document as `storage` holds it, and how it reads; `None` if it holds none.
pub(crate) fn summarise<S: Storage<Error = MemberError>>(
    storage: &S,
    trust: &Trust<'_>,
    scope: &ScopeId,
    document: &DocumentId,
) -> Result<Option<(FreshLine, Option<Record>)>, MemberError> {
    let loaded = Documents::new(storage)
        .load(scope, document)
        .map_err(MemberError::from_shelf)?;
    loaded
        .map(|loaded| summarise_loaded(&loaded, trust, scope, document))
        .transpose()
}

/// The same of a document that is loaded.
pub(crate) fn summarise_loaded(
    loaded: &LoadedDocument,
    trust: &Trust<'_>,
    scope: &ScopeId,
    document: &DocumentId,
) -> Result<(FreshLine, Option<Record>), MemberError> {
    let facts = trust.facts(scope, loaded)?;
    let record = read_loaded(loaded, &facts).ok();
    let line = Line::of(scope, document, loaded, record.as_ref());
    Ok((FreshLine::of(line, record.as_ref()), record))
}

/// Calls `visit` with every line of a scope, or of all; it answers whether to go on.
pub(crate) fn each_line(
    tables: &Tables<'_>,
    scope: Option<&ScopeId>,
    visit: &mut dyn FnMut(Line) -> Result<bool, MemberError>,
) -> Result<(), MemberError> {
    catalogue::each(tables, scope, &mut |at, line| visit(line.to_line(at.scope)))
}

/// The one record that goes by `name`: the beginning of an id, a number, or a short code.
pub(crate) fn find(tables: &Tables<'_>, name: &str) -> Result<Line, MemberError> {
    let asked = Name::of(name);
    let mut found: BTreeSet<(ScopeId, DocumentId)> = BTreeSet::new();
    for record in alike::with_number(tables, asked.given, CANDIDATES_MAX + 1)? {
        found.insert(record);
    }
    if asked.hexadecimal || asked.short_code.is_some() {
        catalogue::each_head(tables, None, &mut |at, head| {
            if asked.means(&head.id) {
                found.insert((at.scope, head.id));
            }
            Ok(found.len() <= CANDIDATES_MAX)
        })?;
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some((scope, id)), None) => catalogue::line(tables, &scope, &id)?
            .ok_or_else(|| MemberError::Tables("a found record is gone".into())),
        (None, _) => Err(RequestError::NotFound(name.chars().take(80).collect()).into()),
        (Some(first), Some(second)) => Err(RequestError::Ambiguous {
            asked: name.chars().take(80).collect(),
            candidates: [first, second]
                .into_iter()
                .chain(found)
                .map(|(_, id)| id.to_string())
                .collect(),
        }
        .into()),
    }
}

/// The shortest beginning of an id that people need to type is the CLI's affair; shorter than this is
/// no beginning of an id but a slip.
const PREFIX_DIGITS_MIN: usize = 4;

struct Name<'a> {
    given: &'a str,
    lower: String,
    hexadecimal: bool,
    short_code: Option<String>,
}

impl<'a> Name<'a> {
    fn of(given: &'a str) -> Self {
        let given = given.trim();
        let lower = given.to_ascii_lowercase();
        let hexadecimal =
            lower.len() >= PREFIX_DIGITS_MIN && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self {
            given,
            hexadecimal,
            short_code: normal_code(given),
            lower,
        }
    }

    /// Is this record meant: by a beginning of its id, or its short code?
    fn means(&self, id: &DocumentId) -> bool {
        (self.hexadecimal && id.to_string().starts_with(&self.lower))
            || (self.short_code.is_some() && self.short_code.as_deref() == Some(&plain_code(id)))
    }
}

/// A short code as it was heard or typed: case, dashes and digits that look alike do not matter.
fn normal_code(given: &str) -> Option<String> {
    let code: String = given
        .chars()
        .filter(|character| !matches!(character, '-' | ' '))
        .map(|character| match character.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect();
    (code.len() == SHORT_CODE_DIGITS && code.bytes().all(|byte| RADIO_DIGITS.contains(&byte)))
        .then_some(code)
}

fn plain_code(id: &DocumentId) -> String {
    let bits = u64::from_be_bytes([
        id.0[0], id.0[1], id.0[2], id.0[3], id.0[4], id.0[5], id.0[6], id.0[7],
    ]);
    (0..SHORT_CODE_DIGITS)
        .map(|at| RADIO_DIGITS[(bits >> (59 - 5 * at)) as usize & 31] as char)
        .collect()
}

/// The code by which people name a record over the radio: 30 bits of its id, in two groups.
#[must_use]
pub fn short_code(id: &DocumentId) -> String {
    let code = plain_code(id);
    let (first, second) = code.split_at(SHORT_CODE_DIGITS / 2);
    format!("{first}-{second}")
}

pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn nothing_readable(kind: &str) -> Summary {
    Summary {
        kind: kind.to_owned(),
        local_id: None,
        status: None,
        hazard_class: None,
        category: None,
        people: None,
        centre: None,
        bounds: None,
        area_m2: None,
        conflicts: 0,
        proposals: 0,
        unverified: 0,
        void: false,
        date_of_information: None,
        date: None,
        duplicates_of: Vec::new(),
        extent_not_surveyed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_code_is_found_as_it_is_heard() {
        let mut id = DocumentId([0; 16]);
        // Groups of five bits: 1, 2, 3, 4, 5, 6.
        id.0[..4].copy_from_slice(&0x0886_4298_u32.to_be_bytes());
        assert_eq!(short_code(&id), "123-456");
        for heard in ["123-456", "L23456", "i23 456", "123456"] {
            assert_eq!(normal_code(heard).as_deref(), Some("123456"), "{heard}");
        }
        assert_eq!(normal_code("123-45"), None);
        assert_eq!(normal_code("123-45U"), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "é".repeat(300);
        let cut = cut(&text, TEXT_BYTES_MAX);
        assert!(cut.len() <= TEXT_BYTES_MAX && text.starts_with(&cut));
    }
}
