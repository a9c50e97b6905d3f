//! Records become features, and a mark on each says what it was, so that a file that comes back
//! unaltered adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use cairn_records::{
    Record,
    json::{present, utc},
    perimeter::{Extent, Perimeter},
    schema::{self, Class, FieldType, Kind},
    value::Value,
};
use serde_json::{Value as Json, json};

use crate::{
    csv::{CsvTable, cell_text, value_text},
    fault::Refusal,
    geojson::{Drawing, Geometry, degrees, geometry_text, wkt_text},
};

/// Radius of the circle round a position, in metres.
pub(crate) const RADIUS: &str = "radius_m";
/// How the boundary was measured.
pub(crate) const METHOD: &str = "perimeter_method";
/// Accuracy of its corners, in metres.
pub(crate) const ACCURACY: &str = "perimeter_accuracy_m";
/// Fields whose reading is only what silence counts as.
const ASSUMED: &str = "assumed";
const IMPORT_KEY: &str = "import_key";
const CONTENT_KEY: &str = "content_key";
/// That a feature is not a record, but what somebody proposes for the outline of one.
const PROPOSAL: &str = "proposal";
/// The id of that record, who proposes it and when.
const PROPOSAL_OF: &str = "proposal_of";
const PROPOSED_BY: &str = "proposed_by";
const PROPOSED_AT: &str = "proposed_at";
const DERIVED: [&str; 16] = [
    ACCURACY,
    "area_m2",
    ASSUMED,
    "conflicts",
    CONTENT_KEY,
    "extent",
    "flags",
    IMPORT_KEY,
    METHOD,
    PROPOSAL,
    PROPOSAL_OF,
    "proposals",
    PROPOSED_AT,
    PROPOSED_BY,
    RADIUS,
    "record_kind",
];

/// Columns of a table that say which record a row is and where it lies.
const OF_TABLE: [&str; 5] = ["id", "scope", LATITUDE, LONGITUDE, WKT];
const LATITUDE: &str = "latitude";
const LONGITUDE: &str = "longitude";
const WKT: &str = "geometry_wkt";
/// Letters of one value that a table's `conflicts` shows.
const SHOWN_CHARACTERS_MAX: usize = 200;

/// Fields that stand elsewhere in a feature, or are nobody's business outside.
const HIDDEN: [&str; 5] = ["kind", "scope", "created_by", "perimeter", "schema_version"];

/// A record as a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportFeature {
    /// The record's document id.
    pub id: String,
    /// Its properties by name, ready to be written.
    pub properties: BTreeMap<String, Json>,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    None,
    Position(cairn_records::geometry::Position),
    Area(Vec<cairn_records::geometry::Polygon>),
}

impl ExportFeature {
    /// Where it lies.
    #[must_use]
    pub fn drawing(&self) -> Drawing<'_> {
        match &self.place {
            Place::None => Drawing::None,
            Place::Position(position) => Drawing::Position(*position),
            Place::Area(polygons) => Drawing::Area(polygons),
        }
    }
}

/// Makes a feature of a record. Fields read as the record reads: a safety field in conflict as
/// its most dangerous value, another field in conflict as null; the names of fields in conflict,
/// with proposals, and of those about which nobody said anything stand in `conflicts`,
/// `proposals` and `assumed`. `import_key` is the key of its root, in hexadecimal digits.
#[must_use]
pub fn export_feature(id: &str, record: &Record, import_key: Option<&[u8; 32]>) -> ExportFeature {
    let mut properties = BTreeMap::new();
    let kind = record.definition();
    let (mut conflicts, mut proposals, mut assumed) = (Vec::new(), Vec::new(), Vec::new());
    let place = place(record, &mut properties);
    for (name, reading) in &record.fields {
        if reading.conflict {
            conflicts.push(name.as_str());
        }
        if reading.values.iter().any(|shown| shown.proposal) {
            proposals.push(name.as_str());
        }
        if reading.assumed {
            assumed.push(name.as_str());
        }
        let hidden = HIDDEN.contains(&name.as_str());
        let field_type = kind
            .and_then(|kind| kind.field(name))
            .map(|field| &field.field_type);
        let mut value = present(&reading.reads, field_type);
        if let (Class::Set, Json::Array(members)) = (reading.class, &mut value) {
            members.sort_by_cached_key(Json::to_string);
        }
        if !hidden && !DERIVED.contains(&name.as_str()) && value != json!([]) {
            properties.insert(name.clone(), value);
        }
    }
    let flags: Vec<&str> = record.flags.iter().map(|flag| flag.name()).collect();
    for (name, list) in [
        ("conflicts", conflicts),
        ("proposals", proposals),
        (ASSUMED, assumed),
        ("flags", flags),
    ] {
        if !list.is_empty() {
            properties.insert(name.to_owned(), json!(list));
        }
    }
    properties.insert("record_kind".to_owned(), json!(record.kind));
    let mut feature = ExportFeature {
        id: id.to_owned(),
        properties,
        place,
    };
    if let Some(key) = import_key {
        let content = content_key(feature.drawing(), &feature.properties);
        feature
            .properties
            .insert(IMPORT_KEY.to_owned(), json!(hex(key)));
        feature
            .properties
            .insert(CONTENT_KEY.to_owned(), json!(content));
    }
    feature
}

/// Outlines that wait for a decision, as features that follow the record's own, so that a map shows
/// both. They bear no mark of a record, and are not taken for one when they come back.
#[must_use]
pub fn export_proposals(id: &str, record: &Record) -> Vec<ExportFeature> {
    let Some(reading) = record.fields.get("perimeter") else {
        return Vec::new();
    };
    let proposed = reading.values.iter().filter(|shown| shown.proposal);
    let outlines = proposed.filter_map(|shown| Some((shown, shown.value.as_perimeter()?)));
    outlines
        .zip(1..)
        .map(|((shown, perimeter), number)| {
            let mut properties = BTreeMap::new();
            properties.insert("area_m2".to_owned(), json!(perimeter.region().area_m2()));
            let place = place_of_perimeter(perimeter, &mut properties);
            properties.insert(PROPOSAL.to_owned(), json!(true));
            properties.insert(PROPOSAL_OF.to_owned(), json!(id));
            properties.insert(PROPOSED_BY.to_owned(), json!(shown.by));
            let at = shown.recorded_at_s.and_then(utc);
            properties.insert(PROPOSED_AT.to_owned(), json!(at));
            if let Some(reason) = &shown.reason {
                properties.insert("reason".to_owned(), json!(reason));
            }
            let number_of_record = record.reads("local_id").as_text();
            properties.insert("local_id".to_owned(), json!(number_of_record));
            properties.insert("record_kind".to_owned(), json!(record.kind));
            ExportFeature {
                // Behind the record's own feature and before the next one's.
                id: format!("{id}-proposal-{number:04}"),
                properties,
                place,
            }
        })
        .collect()
}

/// Whether a row of a file is the outline that somebody proposes for a record: why it is not taken.
pub(crate) fn proposal_refused(properties: &BTreeMap<String, Json>) -> Option<Refusal> {
    let is = match properties.get(PROPOSAL)? {
        Json::Bool(is) => *is,
        Json::Number(number) => number.as_u64() == Some(1),
        Json::String(text) => ["true", "1"].contains(&text.trim().to_lowercase().as_str()),
        _ => false,
    };
    let text = |name: &str| properties.get(name).and_then(Json::as_str);
    let of = text(PROPOSAL_OF).filter(|of| is && !of.is_empty())?;
    let shown = |text: &str| text.chars().take(60).collect::<String>();
    let by = text(PROPOSED_BY).map_or(String::new(), |by| format!(" by {}", shown(by)));
    let on = text(PROPOSED_AT)
        .and_then(|at| at.get(..10))
        .map_or(String::new(), |day| format!(" of {day}"));
    Some(Refusal::new(
        "proposal",
        format!(
            "The row is an outline proposed{by}{on} for {}, not a record: it was not taken.",
            shown(text("local_id").unwrap_or(of))
        ),
        "The record's own row says what counts. A proposal travels with cairn sync; to make one here: cairn edit ID --geojson FILE.",
    ))
}

fn place(record: &Record, properties: &mut BTreeMap<String, Json>) -> Place {
    let region = record.region();
    if let Some(region) = region {
        properties.insert("area_m2".to_owned(), json!(region.area_m2()));
    }
    if let Some(at) = place_of(record) {
        return at;
    }
    let reading = record.fields.get("perimeter");
    match (reading.map(|reading| &reading.reads), region) {
        (Some(Value::Perimeter(perimeter)), _) => place_of_perimeter(perimeter, properties),
        (_, Some(region)) => Place::Area(region.polygons().to_vec()),
        _ => Place::None,
    }
}

fn place_of_perimeter(perimeter: &Perimeter, properties: &mut BTreeMap<String, Json>) -> Place {
    let extent = match &perimeter.extent {
        Extent::Rings(_) => "surveyed",
        Extent::Circle { .. } => "not surveyed",
    };
    properties.insert("extent".to_owned(), json!(extent));
    if let Some(method) = &perimeter.method {
        properties.insert(METHOD.to_owned(), json!(method));
    }
    if let Some(accuracy_dm) = perimeter.accuracy_dm {
        properties.insert(ACCURACY.to_owned(), json!(f64::from(accuracy_dm) / 10.0));
    }
    match &perimeter.extent {
        Extent::Rings(shape) => Place::Area(shape.polygons().to_vec()),
        Extent::Circle { centre, radius_m } => {
            properties.insert(RADIUS.to_owned(), json!(radius_m));
            Place::Position(*centre)
        }
    }
}

/// Where a record lies that has a position and no extent.
fn place_of(record: &Record) -> Option<Place> {
    let kind = record.definition()?;
    match crate::import::place_field(kind)? {
        (field, FieldType::Position) => Some(
            record
                .reads(field)
                .as_position()
                .map_or(Place::None, Place::Position),
        ),
        _ => None,
    }
}

/// A record as cells of a table, by column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRow {
    cells: BTreeMap<String, String>,
}

impl ExportRow {
    /// The cells in the order of a table.
    pub fn cells<'a>(&'a self, table: &'a CsvTable) -> impl Iterator<Item = &'a str> {
        table
            .columns
            .iter()
            .map(|column| self.cells.get(column).map_or("", String::as_str))
    }

    /// The columns in which something stands.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.cells.keys().map(String::as_str)
    }

    /// Whether it holds letters that only a file marked as UTF-8 shows in every spreadsheet.
    #[must_use]
    pub fn needs_mark(&self) -> bool {
        !self.cells.values().all(|cell| cell.is_ascii())
    }
}

/// Makes a row of a record: its fields as they read, the values of fields in conflict and what is
/// proposed in columns of their own. `scope` is the name of its area of work.
#[must_use]
pub fn export_row(
    id: &str,
    scope: &str,
    record: &Record,
    import_key: Option<&[u8; 32]>,
) -> ExportRow {
    let mut feature = export_feature(id, record, None);
    let place = record.definition().and_then(crate::import::place_field);
    if let Some((field, FieldType::Position)) = place {
        feature.properties.remove(field);
    }
    let mut cells: BTreeMap<String, String> = feature
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), value_text(value)))
        .collect();
    let open = |wanted: &dyn Fn(&cairn_records::FieldReading) -> Vec<String>| {
        let fields = record.fields.iter().filter_map(|(name, reading)| {
            let values = wanted(reading);
            (!values.is_empty()).then(|| format!("{name}: {}", values.join(" | ")))
        });
        cell_text(&fields.collect::<Vec<_>>().join("; "))
    };
    let conflicts = open(&|reading| match reading.conflict {
        true => reading.values.iter().map(in_short).collect(),
        false => Vec::new(),
    });
    let proposals = open(&|reading| {
        let proposals = reading.values.iter().filter(|shown| shown.proposal);
        proposals.map(in_short).collect()
    });
    let lists = [ASSUMED, "flags"].map(|name| {
        let members = feature.properties.get(name).and_then(Json::as_array);
        let members = members.into_iter().flatten().filter_map(Json::as_str);
        (name, members.collect::<Vec<_>>().join("; "))
    });
    cells.insert("conflicts".to_owned(), conflicts);
    cells.insert("proposals".to_owned(), proposals);
    cells.extend(lists.map(|(name, list)| (name.to_owned(), list)));
    cells.insert("id".to_owned(), id.to_owned());
    cells.insert("scope".to_owned(), cell_text(scope));
    match feature.drawing() {
        Drawing::Position(at) => {
            cells.insert(LATITUDE.to_owned(), degrees(at.lat_e7));
            cells.insert(LONGITUDE.to_owned(), degrees(at.lon_e7));
        }
        drawing => {
            cells.insert(WKT.to_owned(), wkt_text(drawing));
        }
    }
    cells.retain(|_, cell| !cell.trim().is_empty());
    if let Some(key) = import_key {
        let said = cells
            .iter()
            .map(|(name, cell)| {
                let plain = crate::csv::plain_text(cell);
                (name.clone(), Json::from(plain))
            })
            .collect();
        let content = content_key(feature.drawing(), &said);
        cells.insert(IMPORT_KEY.to_owned(), hex(key));
        cells.insert(CONTENT_KEY.to_owned(), content);
    }
    ExportRow { cells }
}

/// A value that stands beside others, in a few letters.
fn in_short(shown: &cairn_records::Shown) -> String {
    let text = match present(&shown.value, None) {
        Json::String(text) => text,
        Json::Null => "nothing".to_owned(),
        value => match &shown.value {
            Value::Perimeter(perimeter) => {
                format!("{} m2", perimeter.region().area_m2())
            }
            _ => value.to_string(),
        },
    };
    let mut short: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    if shown.removes {
        short.insert_str(0, "without ");
    }
    short
}

/// The table of a kind: which record, where it lies, its fields in the order of the schema, then
/// what is open. Of fields that have many parts, such as figures by sex and age, those stand in
/// it that some row has (`present`).
#[must_use]
pub fn export_table(kind: &Kind, present: &BTreeSet<String>) -> CsvTable {
    let has_extent = kind
        .fields()
        .iter()
        .any(|field| field.field_type == FieldType::Perimeter);
    let mut columns: Vec<String> = ["id", "local_id", "scope", "record_kind"]
        .into_iter()
        .chain([LATITUDE, LONGITUDE])
        .map(str::to_owned)
        .collect();
    if has_extent {
        let extent = [WKT, "extent", RADIUS, "area_m2", METHOD, ACCURACY];
        columns.extend(extent.map(str::to_owned));
    }
    for field in kind.fields() {
        let name = field.name.as_str();
        let elsewhere = columns.iter().any(|column| column == name)
            || HIDDEN.contains(&name)
            || DERIVED.contains(&name)
            || matches!(field.field_type, FieldType::Position if name == "position");
        if elsewhere {
            continue;
        }
        if field.keys.is_empty() {
            columns.push(name.to_owned());
        } else {
            let paths = paths(name, &field.keys);
            columns.extend(paths.into_iter().filter(|path| present.contains(path)));
        }
    }
    let last = [
        "conflicts",
        "proposals",
        ASSUMED,
        "flags",
        IMPORT_KEY,
        CONTENT_KEY,
    ];
    // What a newer version has written.
    let unknown = present
        .iter()
        .filter(|name| !columns.contains(name) && !last.contains(&name.as_str()));
    let unknown: Vec<String> = unknown.cloned().collect();
    columns.extend(unknown);
    columns.extend(last.map(str::to_owned));
    CsvTable { columns }
}

/// Every path of a map, in the order of its code lists.
fn paths(name: &str, lists: &[String]) -> Vec<String> {
    let mut paths = vec![name.to_owned()];
    for list in lists {
        let codes = schema::code_list(list).map(|list| list.codes.as_slice());
        let codes = codes.unwrap_or_default();
        paths = paths
            .iter()
            .flat_map(|path| {
                codes
                    .iter()
                    .map(move |code| format!("{path}/{}", code.code))
            })
            .collect();
    }
    paths
}

/// Whether a file is an export of this program: each of its rows says what it was.
pub(crate) fn is_marked(columns: &[String]) -> bool {
    [IMPORT_KEY, CONTENT_KEY]
        .iter()
        .all(|mark| columns.iter().any(|column| column == mark))
}

/// Whether a column is one that an exported table has besides fields.
pub(crate) fn is_place_of_table(column: &str) -> bool {
    OF_TABLE.contains(&column)
}

/// Whether a property is one that an export adds of itself.
pub(crate) fn is_mark(property: &str) -> bool {
    DERIVED.contains(&property)
}

/// What a row says about being an export.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mark {
    /// Key of the record's root, if the row is as it was written.
    pub import_key: Option<[u8; 32]>,
    /// Whether it was an export and was changed.
    pub altered: bool,
    assumed: Vec<String>,
}

impl Mark {
    pub fn of(geometry: &Geometry, properties: &BTreeMap<String, Json>) -> Self {
        let text = |name: &str| properties.get(name).and_then(Json::as_str);
        let (Some(key), Some(content)) = (text(IMPORT_KEY), text(CONTENT_KEY)) else {
            return Self::default();
        };
        let Some(key) = unhex(key) else {
            return Self::default();
        };
        let assumed: Vec<String> = match properties.get(ASSUMED) {
            Some(Json::Array(names)) => {
                let names = names.iter().filter_map(Json::as_str);
                names.map(str::to_owned).collect()
            }
            Some(Json::String(names)) => names.split("; ").map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let same = content_key(geometry.into(), properties) == content;
        Self {
            import_key: same.then_some(key),
            altered: !same,
            assumed,
        }
    }

    /// Whether the row comes from an export, altered or not.
    pub fn is_some(&self) -> bool {
        self.altered || self.import_key.is_some()
    }

    /// Whether nobody said anything about this field where the row came from.
    pub fn leaves_out(&self, property: &str) -> bool {
        self.assumed.iter().any(|name| name == property)
    }
}

/// Hash of what a row says: geometry and properties without nulls, as this program writes them.
fn content_key(drawing: Drawing<'_>, properties: &BTreeMap<String, Json>) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("cairn 2026-11-24 exported feature");
    let mut text = String::new();
    geometry_text(drawing, &mut text);
    hasher.update(text.as_bytes());
    for (name, value) in properties {
        if value.is_null() || name == IMPORT_KEY || name == CONTENT_KEY {
            continue;
        }
        for part in [name.as_str(), &value.to_string()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}

fn hex(key: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*key).to_hex().to_string()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(text)
        .ok()
        .map(|hash| *hash.as_bytes())
}
