//! One line per record: what lists show without loading a document, and by which name it is found.

use crate::catalogue::{self, FreshLine};
use crate::error::{MemberError, RequestError};
use crate::tables::Tables;
use crate::trust::{Trust, read_loaded};
use cairn_documents::{Documents, LoadedDocument, Storage};
use cairn_records::geometry::{Bounds, Position};
use cairn_records::{Record, Summary};
use cairn_wire::codec;
use cairn_wire::ids::{DeviceKey, DocumentId, ScopeId};
use serde::{Deserialize, Serialize};

/// Digits that are not taken for each other when read over the radio (Crockford's base 32).
const RADIO_DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of a short code, 5 bits each.
const SHORT_CODE_DIGITS: usize = 6;
/// Bytes of a text that a line keeps …
pub(crate) const TEXT_BYTES_MAX: usize = 200;
/// … and of a code or a date.
const CODE_BYTES_MAX: usize = 64;
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

/// A line as it is kept, in the order of its bytes. Its scope is that of its page.
#[derive(Serialize, Deserialize)]
struct Row {
    id: DocumentId,
    kind: String,
    local_id: Option<String>,
    status: Option<String>,
    hazard_class: Option<String>,
    centre: Option<(i32, i32)>,
    bounds: Option<[i32; 4]>,
    area_m2: Option<u64>,
    conflicts: u32,
    proposals: u32,
    void: bool,
    date_of_information: Option<String>,
    date: Option<String>,
    duplicates_of: Vec<DocumentId>,
    extent_not_surveyed: bool,
    import_key: Option<[u8; 32]>,
    creator: DeviceKey,
    changes: u64,
    recorded_at_s: i64,
    held: u64,
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

    /// Its bytes in a page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let summary = &self.summary;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let code = |text: &Option<String>| text.as_deref().map(|text| cut(text, CODE_BYTES_MAX));
        codec::encode(&Row {
            id: self.id,
            kind: cut(&summary.kind, CODE_BYTES_MAX),
            local_id: summary
                .local_id
                .as_deref()
                .map(|text| cut(text, TEXT_BYTES_MAX)),
            status: code(&summary.status),
            hazard_class: code(&summary.hazard_class),
            centre: summary.centre.map(|at| (at.lat_e7, at.lon_e7)),
            bounds: summary.bounds.map(|bounds| {
                let (south_west, north_east) = (bounds.south_west, bounds.north_east);
                [
                    south_west.lat_e7,
                    south_west.lon_e7,
                    north_east.lat_e7,
                    north_east.lon_e7,
                ]
            }),
            area_m2: summary.area_m2,
            conflicts: count(summary.conflicts),
            proposals: count(summary.proposals),
            void: summary.void,
            date_of_information: code(&summary.date_of_information),
            date: code(&summary.date),
            duplicates_of: summary.duplicates_of.clone(),
            extent_not_surveyed: summary.extent_not_surveyed,
            import_key: self.import_key,
            creator: self.creator,
            changes: self.changes,
            recorded_at_s: self.recorded_at_s,
            held: self.held,
        })
    }

    pub(crate) fn decode(scope: ScopeId, bytes: &[u8]) -> Result<Self, MemberError> {
        let row: Row = codec::decode(bytes)?;
        let position = |lat_e7, lon_e7| Position { lon_e7, lat_e7 };
        Ok(Self {
            scope,
            id: row.id,
            summary: Summary {
                kind: row.kind,
                local_id: row.local_id,
                status: row.status,
                hazard_class: row.hazard_class,
                centre: row.centre.map(|(lat, lon)| position(lat, lon)),
                bounds: row.bounds.map(|[south, west, north, east]| Bounds {
                    south_west: position(south, west),
                    north_east: position(north, east),
                }),
                area_m2: row.area_m2,
                conflicts: row.conflicts as usize,
                proposals: row.proposals as usize,
                void: row.void,
                date_of_information: row.date_of_information,
                date: row.date,
                duplicates_of: row.duplicates_of,
                extent_not_surveyed: row.extent_not_surveyed,
            },
            import_key: row.import_key,
            creator: row.creator,
            changes: row.changes,
            recorded_at_s: row.recorded_at_s,
            held: row.held,
        })
    }

    /// Is it meant by this name: a beginning of its id, its number, or its short code?
    fn is_named(&self, name: &Name<'_>) -> bool {
        (name.hexadecimal && self.id.to_string().starts_with(&name.lower))
            || self.summary.local_id.as_deref() == Some(name.given)
            || name.short_code.as_deref() == Some(&plain_code(&self.id))
    }
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
    catalogue::each(tables, scope, &mut |scope, bytes| {
        visit(Line::decode(*scope, bytes)?)
    })
}

/// The one record that goes by `name`: the beginning of an id, a number, or a short code.
pub(crate) fn find(tables: &Tables<'_>, name: &str) -> Result<Line, MemberError> {
    let asked = Name::of(name);
    let mut found: Vec<Line> = Vec::new();
    each_line(tables, None, &mut |line| {
        if line.is_named(&asked) {
            found.push(line);
        }
        Ok(found.len() <= CANDIDATES_MAX)
    })?;
    match found.len() {
        1 => found
            .pop()
            .ok_or_else(|| MemberError::Internal("a found record is gone".into())),
        0 => Err(RequestError::NotFound(name.chars().take(80).collect()).into()),
        _ => Err(RequestError::Ambiguous {
            asked: name.chars().take(80).collect(),
            candidates: found.iter().map(|line| line.id.to_string()).collect(),
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
        centre: None,
        bounds: None,
        area_m2: None,
        conflicts: 0,
        proposals: 0,
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
