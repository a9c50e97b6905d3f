//! Records become features, and a mark on each says what it was, so that a file that comes back
//! unaltered adds nothing.

use std::collections::BTreeMap;

use cairn_records::{Record, json::present, perimeter::Extent, schema::Class, value::Value};
use serde_json::{Value as Json, json};

use crate::geojson::{Drawing, Geometry, geometry_text};

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
const DERIVED: [&str; 12] = [
    ACCURACY,
    "area_m2",
    ASSUMED,
    "conflicts",
    CONTENT_KEY,
    "extent",
    "flags",
    IMPORT_KEY,
    METHOD,
    "proposals",
    RADIUS,
    "record_kind",
];

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

fn place(record: &Record, properties: &mut BTreeMap<String, Json>) -> Place {
    let region = record.region();
    if let Some(region) = region {
        properties.insert("area_m2".to_owned(), json!(region.area_m2()));
    }
    let reading = record.fields.get("perimeter");
    match (reading.map(|reading| &reading.reads), region) {
        (Some(Value::Perimeter(perimeter)), _) => {
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
        (_, Some(region)) => Place::Area(region.polygons().to_vec()),
        _ => Place::None,
    }
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
        let assumed = properties.get(ASSUMED).and_then(Json::as_array);
        let assumed = assumed.into_iter().flatten().filter_map(Json::as_str);
        let same = content_key(geometry.into(), properties) == content;
        Self {
            import_key: same.then_some(key),
            altered: !same,
            assumed: assumed.map(str::to_owned).collect(),
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
