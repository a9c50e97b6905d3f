//! Rows of a file become first changes of records.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Seek},
};

use cairn_records::{
    Edit, Extent, Record,
    input::{self, InputError},
    perimeter::Perimeter,
    schema::{self, Class, Field, FieldType, Kind},
    summary::import_key_of,
    value::Value,
};
use cairn_wire::{ids::ScopeId, limits};
use serde_json::Value as Json;

use crate::{
    export,
    fault::{FileFault, Refusal, Warning},
    geojson::{Feature, GeoJsonReader, Geometry, Outline},
    mapping::{KEY_FIELD, Mapping, Source},
};

/// Fields that a file does not write unless it is told to: they speak of this programme's own
/// work, or come from elsewhere.
const NEVER_BY_NAME: [&str; 5] = [
    "perimeter",
    "schema_version",
    "workflow",
    "attachments",
    "decisions",
];

/// A row that can become a record.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportRow {
    /// What its first change writes.
    pub edits: Vec<Edit>,
    /// What `--key` found in it.
    pub key: Option<String>,
    /// The import key of the record that this row is an unaltered export of.
    pub exported_key: Option<[u8; 32]>,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

impl ImportRow {
    /// The keys by which a record of this row may be known already: its own, which the record
    /// made of it will have, then that of the record it was exported from. Where either is held,
    /// the row adds nothing.
    #[must_use]
    pub fn import_keys(&self, kind: &Kind, scope: &ScopeId) -> ([u8; 32], Option<[u8; 32]>) {
        (import_key_of(kind, scope, &self.edits), self.exported_key)
    }

    /// What this row says that its record does not say already: the edits of a second import.
    /// `now` is the record as it reads, `at_root` as the first import left it. A value that
    /// stands is not written again, and neither is one that the file said then and that people
    /// have changed since.
    #[must_use]
    pub fn news(&self, now: &Record, at_root: &Record) -> Vec<Edit> {
        let said = |edit: &&Edit| !says(now, edit) && !says(at_root, edit);
        self.edits.iter().filter(said).cloned().collect()
    }
}

/// Whether a record says what an edit would say. What is written once is never said anew.
fn says(record: &Record, edit: &Edit) -> bool {
    match edit {
        Edit::Set { field, .. } if field == KEY_FIELD => true,
        Edit::Set { field, value, .. } | Edit::Add { field, value } => record.stands(field, value),
        Edit::Text { field, text } => record.fields.get(field).is_some_and(|reading| {
            let texts = reading.values.iter().map(|shown| &shown.value);
            texts
                .chain([&reading.reads])
                .any(|value| value.as_text() == Some(text))
        }),
        Edit::Place { field, at } => record.fields.get(field).is_some_and(|reading| {
            let stands = reading
                .values
                .iter()
                .filter_map(|shown| shown.value.as_perimeter());
            stands.into_iter().any(|perimeter| match &perimeter.extent {
                Extent::Circle { centre, .. } => centre == at,
                Extent::Rings(_) => false,
            })
        }),
        Edit::Remove { .. } | Edit::Decide(_) => false,
    }
}

/// One row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its number, from 1.
    pub number: u64,
    /// Byte position behind it, for showing progress.
    pub byte: u64,
    /// What it says, or why it is not taken.
    pub result: Result<ImportRow, Refusal>,
}

/// Rows of a GeoJSON file as edits of a kind of record: up to the place where the file is
/// damaged, then the fault, then nothing.
pub struct Import<R> {
    reader: GeoJsonReader<R>,
    plan: Plan,
}

impl<R: Read + Seek> Import<R> {
    /// Looks over the file and makes ready to read it. `crs` is what the person says about its
    /// coordinates, such as `EPSG:4326`.
    ///
    /// # Errors
    ///
    /// Where the file is of another kind or damaged before its first row, or where a field or
    /// property of the mapping does not exist.
    pub fn open(
        input: R,
        kind: &'static Kind,
        mapping: &Mapping,
        crs: Option<&str>,
    ) -> Result<Self, FileFault> {
        let reader = GeoJsonReader::open(input, crs)?;
        let plan = Plan::new(kind, mapping, reader.outline())?;
        Ok(Self { reader, plan })
    }
}

impl<R> Import<R> {
    /// Properties that go into no field.
    #[must_use]
    pub fn unmapped(&self) -> &[String] {
        &self.plan.unmapped
    }
}

impl<R: Read> Import<R> {
    /// What the first look has shown.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        self.reader.outline()
    }
}

impl<R: Read> Iterator for Import<R> {
    type Item = Result<Row, FileFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.reader.next()? {
            Ok(row) => row,
            Err(fault) => return Some(Err(fault)),
        };
        let result = row.result.and_then(|feature| self.plan.row(feature));
        Some(Ok(Row {
            number: row.number,
            byte: row.byte,
            result,
        }))
    }
}

/// A mapping held against a kind and a file.
struct Plan {
    kind: &'static Kind,
    /// Property by field, as asked for.
    asked: BTreeMap<String, Source>,
    /// Properties that were sent somewhere: they go nowhere by name.
    sent: BTreeSet<String>,
    key: Option<String>,
    unmapped: Vec<String>,
}

impl Plan {
    fn new(kind: &'static Kind, mapping: &Mapping, outline: &Outline) -> Result<Self, FileFault> {
        let asked = mapping.resolve(kind, outline)?;
        let sent = asked.values().map(|source| &source.property);
        let mut plan = Self {
            kind,
            sent: sent.chain(&mapping.key).cloned().collect(),
            asked,
            key: mapping.key.clone(),
            unmapped: Vec::new(),
        };
        let unmapped = outline.properties.iter().filter(|name| {
            !plan.sent.contains(*name) && plan.by_name(name).is_none() && !export::is_mark(name)
        });
        plan.unmapped = unmapped.cloned().collect();
        Ok(plan)
    }

    /// The field that a property goes into by its own name.
    fn by_name(&self, property: &str) -> Option<&'static Field> {
        let field = self.kind.field(property)?;
        let whole_map = property == field.name && !field.keys.is_empty();
        let taken = field.class != Class::Once
            && !whole_map
            && !NEVER_BY_NAME.contains(&field.name.as_str())
            && !self.sent.contains(property)
            && !self.asked.contains_key(property);
        taken.then_some(field)
    }

    fn row(&self, feature: Feature) -> Result<ImportRow, Refusal> {
        let Feature {
            geometry,
            properties,
            mut warnings,
            ..
        } = feature;
        let exported = export::Mark::of(&geometry, &properties);
        let mut edits = vec![extent(geometry, &properties)?];
        for (property, value) in &properties {
            if let Some(field) = self.by_name(property)
                && !exported.leaves_out(property)
            {
                put(&mut edits, property, field, value).map_err(|error| refused(&error))?;
            }
        }
        for (path, source) in &self.asked {
            let Some(value) = properties.get(&source.property) else {
                continue;
            };
            let field = input::known(self.kind, path).map_err(|error| refused(&error))?;
            put(&mut edits, path, field, &source.value(value)).map_err(|error| refused(&error))?;
        }
        let mut key = self
            .key
            .as_ref()
            .map(|key| key_of(key, properties.get(key)))
            .transpose()?;
        if key.is_none() && exported.is_some() {
            key = properties
                .get(KEY_FIELD)
                .map(|key| key_of(KEY_FIELD, Some(key)))
                .transpose()?;
        }
        if let Some(key) = &key {
            edits.push(Edit::Set {
                field: KEY_FIELD.to_owned(),
                value: Value::Text(key.clone()),
                reason: None,
            });
        }
        if exported.altered {
            warnings.push(Warning::new(
                "altered_copy",
                "The row is an exported record that was changed in the file; it is taken as a record of its own. To change the record itself use cairn edit.",
            ));
        }
        Ok(ImportRow {
            edits,
            key,
            exported_key: exported.import_key,
            warnings,
        })
    }
}

fn refused(error: &InputError) -> Refusal {
    Refusal::new(
        "bad_value",
        error.to_string(),
        "Correct the value in the file, or map another property to this field.",
    )
}

fn key_of(property: &str, value: Option<&Json>) -> Result<String, Refusal> {
    let key = match value {
        Some(Json::String(text)) => text.trim().to_owned(),
        Some(Json::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    if key.is_empty() || key.len() > limits::LINE_BYTES_MAX || key.contains('\n') {
        return Err(Refusal::new(
            "no_key",
            format!("The row has no key in “{property}”."),
            "Each row needs one short key of its own; give it one in the source.",
        ));
    }
    Ok(key)
}

/// The boundary, or the place where there is none.
fn extent(geometry: Geometry, properties: &BTreeMap<String, Json>) -> Result<Edit, Refusal> {
    let radius = properties.get(export::RADIUS).and_then(Json::as_u64);
    let radius = radius.and_then(|radius| u32::try_from(radius).ok());
    let mut perimeter = match (geometry, radius) {
        (Geometry::Area(shape), _) => Perimeter::rings(shape),
        (Geometry::Position(at), Some(radius_m)) => Perimeter::circle(at, radius_m),
        (Geometry::Position(at), None) => {
            return Ok(Edit::Place {
                field: "perimeter".to_owned(),
                at,
            });
        }
    };
    if let Some(Json::String(method)) = properties.get(export::METHOD) {
        let codes = schema::code_list("perimeter_method");
        let known = codes.and_then(|codes| codes.code(method));
        perimeter.method = known.map(|code| code.code.clone());
    }
    let accuracy_m = properties.get(export::ACCURACY).and_then(Json::as_f64);
    perimeter.accuracy_dm = accuracy_m
        .filter(|metres| (0.0..100_000.0).contains(metres))
        .map(|metres| (metres * 10.0).round() as u32);
    Ok(Edit::Set {
        field: "perimeter".to_owned(),
        value: Value::Perimeter(perimeter),
        reason: None,
    })
}

/// Adds what a property says about a field; blank says nothing.
fn put(edits: &mut Vec<Edit>, path: &str, field: &Field, value: &Json) -> Result<(), InputError> {
    let blank = match value {
        Json::Null => true,
        Json::String(text) => text.trim().is_empty(),
        _ => false,
    };
    if blank {
        return Ok(());
    }
    match field.class {
        Class::Text => {
            let text = match value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            if text.len() > limits::TEXT_BYTES_MAX {
                return Err(InputError::WrongForm {
                    field: path.to_owned(),
                    advice: format!("a text has at most {} bytes", limits::TEXT_BYTES_MAX),
                });
            }
            edits.push(Edit::Text {
                field: path.to_owned(),
                text,
            });
        }
        Class::Set | Class::Log => {
            for member in members(field, value) {
                let value = input::from_json(path, &field.field_type, &member)?;
                let edit = Edit::Add {
                    field: path.to_owned(),
                    value,
                };
                if !edits.contains(&edit) {
                    edits.push(edit);
                }
            }
        }
        Class::Once | Class::Reg | Class::Haz => edits.push(Edit::Set {
            field: path.to_owned(),
            value: input::from_json(path, &field.field_type, value)?,
            reason: None,
        }),
    }
    Ok(())
}

/// Several values in one property: a list, a list as text (as GIS programs write it), or codes
/// divided by commas, semicolons or bars.
fn members(field: &Field, value: &Json) -> Vec<Json> {
    match value {
        Json::Array(members) => members.clone(),
        Json::String(text) if text.trim_start().starts_with('[') => {
            match serde_json::from_str(text) {
                Ok(Json::Array(members)) => members,
                _ => vec![value.clone()],
            }
        }
        Json::String(text) if matches!(field.field_type, FieldType::Code(_)) => text
            .split([',', ';', '|'])
            .map(str::trim)
            .filter(|code| !code.is_empty())
            .map(Json::from)
            .collect(),
        other => vec![other.clone()],
    }
}
