//! Rows of a file become first changes of records.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Seek, SeekFrom},
};

use cairn_records::{
    Edit,
    geometry::{Position, Shape, area_m2},
    input,
    perimeter::Perimeter,
    schema::{self, Field, FieldType, Kind},
    summary::import_key_of,
    value::Value,
};
use cairn_wire::{ids::ScopeId, limits};
use serde_json::Value as Json;

use crate::{
    crs::{Converter, Crs},
    csv::{CsvReader, CsvRow},
    export,
    fault::{FileFault, Refusal, Warning},
    geojson::{GeoJsonReader, Geometry, Outline},
    mapping::{KEY_FIELD, Mapping, Source, places_by_name},
    places::{PlaceSource, number, place_in},
    surroundings::{Beside, Sample, Surroundings},
    values::{Answers, DateOrder, refused},
};

/// Fields that a file does not write unless it is told to: they speak of this programme's own
/// work, or come from elsewhere.
const NEVER_BY_NAME: [&str; 10] = [
    "kind",
    "scope",
    "org",
    "created_by",
    KEY_FIELD,
    "schema_version",
    "workflow",
    "attachments",
    "decisions",
    "suggestions",
];

/// A hazard of more square metres is looked at: its boundary is often that of a district.
const LARGE_M2: f64 = 1e8;

/// How a file is read.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What the person says about its coordinates, such as `EPSG:4326` or `EPSG:32633`.
    pub crs: Option<String>,
    /// How days and months stand in dates that could mean either.
    pub date_order: Option<DateOrder>,
    /// The day of the import, `YYYY-MM-DD`, by which a date is in the future.
    pub today: Option<String>,
    /// Places of records that are here already: rows that lie elsewhere are looked at.
    pub held: Vec<Position>,
    /// What every row says that says nothing else there.
    pub every_row: Vec<Edit>,
}

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
}

/// One row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its number, from 1; in a table the line of names is not counted.
    pub number: u64,
    /// The line of a table in which it begins, from 1.
    pub line: Option<u64>,
    /// Byte position behind it, for showing progress.
    pub byte: u64,
    /// What it says, or why it is not taken.
    pub result: Result<ImportRow, Refusal>,
}

/// Rows of a GeoJSON file or a table as edits of a kind of record: up to the place where the
/// file is damaged, then the fault, then nothing.
pub struct Import<R> {
    rows: Rows<R>,
    outline: Outline,
    plan: Plan,
}

enum Rows<R> {
    GeoJson(GeoJsonReader<R>),
    Csv(Box<CsvReader<R>>, Box<Converter>),
}

impl<R: Read + Seek> Import<R> {
    /// Looks over the file and makes ready to read it. What begins with a brace is GeoJSON, what
    /// else is text a table.
    ///
    /// # Errors
    ///
    /// Where the file is of another kind, damaged before its first row or in another encoding, or
    /// where a field or property of the mapping does not exist.
    pub fn open(
        mut input: R,
        kind: &'static Kind,
        mapping: &Mapping,
        options: &ImportOptions,
    ) -> Result<Self, FileFault> {
        if looks_like_json(&mut input)? {
            Self::open_geojson(input, kind, mapping, options)
        } else {
            Self::open_csv(input, kind, mapping, options)
        }
    }

    fn open_geojson(
        input: R,
        kind: &'static Kind,
        mapping: &Mapping,
        options: &ImportOptions,
    ) -> Result<Self, FileFault> {
        let mut reader = GeoJsonReader::open(input, options.crs.as_deref())?;
        let outline = reader.outline().clone();
        let mut plan = Plan::new(kind, mapping, &outline, options)?;
        if plan.place_optional() || !plan.places.is_empty() {
            reader.let_places_be_missing();
        }
        plan.beside.file = Surroundings::of(&reader.places());
        plan.converted_from(reader.source_crs());
        Ok(Self {
            rows: Rows::GeoJson(reader),
            outline,
            plan,
        })
    }

    fn open_csv(
        input: R,
        kind: &'static Kind,
        mapping: &Mapping,
        options: &ImportOptions,
    ) -> Result<Self, FileFault> {
        let crs = options.crs.as_deref().map_or(Crs::Wgs84, Crs::from_name);
        let converter = crs.converter().map_err(FileFault::asked)?;
        let mut reader = CsvReader::open(input)?;
        let mut outline = Outline {
            features: 0,
            bytes: reader.bytes,
            properties: reader.columns.clone(),
        };
        let mut plan = Plan::new(kind, mapping, &outline, options)?;
        if place_field(kind).is_some() && plan.places.is_empty() {
            plan.places = places_by_name(&reader.columns, converter.source().is_some());
            plan.say_places();
        }
        plan.find_unmapped(&outline);
        if !outline.properties.iter().any(|name| plan.wants(name)) {
            return Err(nothing_mapped(kind, &outline));
        }
        if reader.delimiter() != b',' {
            let name = if reader.delimiter() == b';' {
                "semicolon"
            } else {
                "tab"
            };
            plan.notes
                .push(format!("The columns are divided by a {name}."));
        }
        let mut sample = Sample::default();
        let places = plan.places.clone();
        let at = |name: &String| reader.columns.iter().position(|column| column == name);
        let columns: Vec<Vec<usize>> = places
            .iter()
            .map(|place| place.names().into_iter().filter_map(at).collect())
            .collect();
        let wanted = |name: &str| plan.wants(name);
        reader.survey(wanted, |cells| {
            outline.features += 1;
            if sample.wants() {
                let found = columns.iter().find_map(|columns| match columns.as_slice() {
                    [north, east] => {
                        Some((number(cells.text(*east))?, number(cells.text(*north))?))
                    }
                    [one] => place_in(cells.text(*one)),
                    _ => None,
                });
                sample.see(found);
            } else {
                sample.see(None);
            }
        })?;
        let positions: Vec<Position> = sample
            .places()
            .iter()
            .filter_map(|(east, north)| converter.position(*east, *north).ok())
            .collect();
        plan.beside.file = Surroundings::of(&positions);
        plan.converted_from(converter.source());
        Ok(Self {
            rows: Rows::Csv(Box::new(reader), Box::new(converter)),
            outline,
            plan,
        })
    }
}

impl<R> Import<R> {
    /// Properties that go into no field.
    #[must_use]
    pub fn unmapped(&self) -> &[String] {
        &self.plan.unmapped
    }

    /// What the first look has shown.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// What a person should know of how the file is read, in sentences; more may come with rows.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }
}

impl<R: Read> Iterator for Import<R> {
    type Item = Result<Row, FileFault>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Rows::GeoJson(reader) => {
                let row = match reader.next()? {
                    Ok(row) => row,
                    Err(fault) => return Some(Err(fault)),
                };
                let converter = reader.converter();
                let result = row.result.and_then(|feature| {
                    self.plan.row(
                        Content {
                            geometry: feature.geometry,
                            source_text: feature.source_text,
                            properties: feature.properties,
                            warnings: feature.warnings,
                        },
                        converter,
                    )
                });
                Some(Ok(Row {
                    number: row.number,
                    line: None,
                    byte: row.byte,
                    result,
                }))
            }
            Rows::Csv(reader, converter) => {
                let row: CsvRow = match reader.next()? {
                    Ok(row) => row,
                    Err(fault) => return Some(Err(fault)),
                };
                if row.at_end && row.result.is_ok() {
                    self.plan.notes.push(
                        "The file does not end with a line break: look whether its last row is whole."
                            .to_owned(),
                    );
                }
                let result = row.result.and_then(|properties| {
                    self.plan.row(
                        Content {
                            geometry: Geometry::Nowhere,
                            source_text: None,
                            properties,
                            warnings: Vec::new(),
                        },
                        converter,
                    )
                });
                Some(Ok(Row {
                    number: row.number,
                    line: Some(row.line),
                    byte: row.byte,
                    result,
                }))
            }
        }
    }
}

fn nothing_mapped(kind: &Kind, outline: &Outline) -> FileFault {
    const NAMES_MAX: usize = 20;
    let names: Vec<&str> = outline
        .properties
        .iter()
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .take(NAMES_MAX)
        .collect();
    let more = if outline.properties.len() > NAMES_MAX {
        " …"
    } else {
        ""
    };
    FileFault::request(
        "nothing_mapped",
        format!(
            "None of the columns bears the name of a field of {}. The first line of the file was read as: {}{more}.",
            kind.name,
            names.join(", ").chars().take(400).collect::<String>()
        ),
        "Say what goes where: --map FIELD=COLUMN and --map position=LATITUDE,LONGITUDE. Or is it another kind of record, or a file without a line of names?",
    )
}

/// Whether the first byte that is not white space is a brace, or a bracket that no table begins with.
fn looks_like_json<R: Read + Seek>(input: &mut R) -> Result<bool, FileFault> {
    const HEAD_BYTES: u64 = 1024;
    input.rewind()?;
    let mut head = Vec::new();
    input.take(HEAD_BYTES).read_to_end(&mut head)?;
    input.seek(SeekFrom::Start(0))?;
    // The mark of UTF-8, white space, and the record separators of RFC 8142; in UTF-16 every
    // second byte is zero.
    let first = head
        .iter()
        .find(|byte| !b"\xef\xbb\xbf\xff\xfe\0\x1e".contains(byte) && !byte.is_ascii_whitespace());
    Ok(matches!(first, Some(b'{' | b'[')))
}

/// The field of a kind that says where it is: a perimeter, else a position.
pub(crate) fn place_field(kind: &'static Kind) -> Option<(&'static str, &'static FieldType)> {
    let of = |wanted: FieldType| {
        kind.fields()
            .iter()
            .find(|field| field.field_type == wanted)
    };
    let field = of(FieldType::Perimeter).or_else(|| of(FieldType::Position))?;
    Some((field.name.as_str(), &field.field_type))
}

/// What stands in one row.
struct Content {
    geometry: Geometry,
    source_text: Option<String>,
    properties: BTreeMap<String, Json>,
    warnings: Vec<Warning>,
}

/// A mapping held against a kind and a file.
struct Plan {
    kind: &'static Kind,
    /// Property by field, as asked for.
    asked: BTreeMap<String, Source>,
    /// Where places stand, but for the geometry of a feature; the first that says one is taken.
    places: Vec<PlaceSource>,
    /// Properties that were sent somewhere: they go nowhere by name.
    sent: BTreeSet<String>,
    key: Option<String>,
    /// Whether the file is an export of this program, so that all of a row is looked at.
    marked: bool,
    every_row: Vec<Edit>,
    answers: Answers,
    beside: Beside,
    source_crs: Option<String>,
    unmapped: Vec<String>,
    notes: Vec<String>,
    comma_noted: bool,
}

impl Plan {
    fn new(
        kind: &'static Kind,
        mapping: &Mapping,
        outline: &Outline,
        options: &ImportOptions,
    ) -> Result<Self, FileFault> {
        let (asked, place) = mapping.resolve(kind, outline)?;
        let sent = asked.values().map(|source| &source.property);
        let mut plan = Self {
            kind,
            sent: sent.chain(&mapping.key).cloned().collect(),
            asked,
            places: place.into_iter().collect(),
            key: mapping.key.clone(),
            marked: export::is_marked(&outline.properties),
            every_row: options.every_row.clone(),
            answers: Answers::new(options.date_order, options.today.clone()),
            beside: Beside {
                file: None,
                held: Surroundings::of(&options.held),
            },
            source_crs: None,
            unmapped: Vec::new(),
            notes: Vec::new(),
            comma_noted: false,
        };
        plan.say_places();
        plan.find_unmapped(outline);
        Ok(plan)
    }

    fn say_places(&mut self) {
        for place in &self.places {
            self.sent.extend(place.names().into_iter().cloned());
        }
        let named: Vec<String> = self
            .places
            .iter()
            .map(|place| match place {
                PlaceSource::Pair { north, east } => format!("“{north}” and “{east}”"),
                PlaceSource::Text(name) => format!("“{name}”"),
            })
            .collect();
        if !named.is_empty() {
            self.notes
                .push(format!("Places are taken from {}.", named.join(", else ")));
        }
    }

    fn find_unmapped(&mut self, outline: &Outline) {
        let of_export =
            |name: &str| export::is_mark(name) || (self.marked && export::is_place_of_table(name));
        let unmapped = outline.properties.iter().filter(|name| {
            let used = self.sent.contains(*name) || self.by_name(name).is_some();
            !name.is_empty() && !used && !of_export(name)
        });
        self.unmapped = unmapped.cloned().collect();
    }

    fn converted_from(&mut self, crs: Option<&str>) {
        self.source_crs = crs.map(str::to_owned);
        if let Some(crs) = crs {
            self.notes.push(format!(
                "Coordinates are converted from {crs} to WGS 84; the numbers of the file are kept beside them."
            ));
        }
    }

    /// Whether rows need say no place.
    fn place_optional(&self) -> bool {
        !matches!(place_field(self.kind), Some((_, FieldType::Perimeter)))
    }

    /// Whether anything is done with a column.
    fn wants(&self, column: &str) -> bool {
        self.marked
            || self.sent.contains(column)
            || self.by_name(column).is_some()
            || export::is_mark(column)
    }

    /// The field that a property goes into by its own name.
    fn by_name(&self, property: &str) -> Option<&'static Field> {
        let field = self.kind.field(property)?;
        let whole_map = property == field.name && !field.keys.is_empty();
        let place = place_field(self.kind).is_some_and(|(name, _)| name == field.name);
        let taken = !whole_map
            && !place
            && !NEVER_BY_NAME.contains(&field.name.as_str())
            && !self.sent.contains(property)
            && !self.asked.contains_key(property);
        taken.then_some(field)
    }

    fn row(&mut self, content: Content, converter: &Converter) -> Result<ImportRow, Refusal> {
        let Content {
            mut geometry,
            mut source_text,
            properties,
            mut warnings,
        } = content;
        if let Some(refusal) = export::proposal_refused(&properties) {
            return Err(refusal);
        }
        for place in &self.places {
            let Some(found) = place.read(&properties, converter, &mut warnings)? else {
                continue;
            };
            geometry = found.geometry;
            source_text = converter.source().map(|_| found.source_text);
            if found.decimal_comma && !self.comma_noted {
                self.comma_noted = true;
                self.notes
                    .push("A comma in a coordinate is read as the decimal sign.".to_owned());
            }
            break;
        }
        self.beside.look(&geometry, &mut warnings)?;
        if let Geometry::Area(shape) = &geometry
            && drawn_m2(shape) > LARGE_M2
        {
            warnings.push(Warning::new(
                "very_large",
                "The area is larger than 100 km²: is it the border of a district rather than of a hazard, or do its coordinates belong to another reference system?",
            ));
        }
        let exported = export::Mark::of(&geometry, &properties);
        let nowhere = geometry == Geometry::Nowhere;
        let mut edits: Vec<Edit> = extent(self.kind, geometry, &properties)?
            .into_iter()
            .collect();
        if let (false, Some(crs), Some(text)) = (nowhere, &self.source_crs, source_text) {
            let value = |field: &str, text: String| Edit::Set {
                field: field.to_owned(),
                value: Value::Text(text),
                reason: None,
            };
            edits.push(value("source_crs", crs.clone()));
            edits.push(value("source_text", text));
        }
        for (property, value) in &properties {
            if let Some(field) = self.by_name(property)
                && !exported.leaves_out(property)
            {
                self.answers
                    .put(&mut edits, property, field, value, &mut warnings)?;
            }
        }
        for (path, source) in &self.asked {
            let Some(value) = properties.get(&source.property) else {
                continue;
            };
            let field = input::known(self.kind, path).map_err(|error| refused(&error))?;
            let value = source.value(value);
            self.answers
                .put(&mut edits, path, field, &value, &mut warnings)?;
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
        if edits.is_empty() {
            return Err(Refusal::new(
                "empty_row",
                "The row says nothing that goes into a field.",
                "Map its columns with --map FIELD=COLUMN; cairn explain FIELD says what a field means.",
            ));
        }
        for edit in &self.every_row {
            if !edits.iter().any(|said| field_of(said) == field_of(edit)) {
                edits.push(edit.clone());
            }
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

/// About the area within a boundary, in square metres.
fn drawn_m2(shape: &Shape) -> f64 {
    let polygons = shape.polygons().iter();
    polygons.map(|polygon| area_m2(&polygon.outer)).sum()
}

fn field_of(edit: &Edit) -> &str {
    match edit {
        Edit::Set { field, .. }
        | Edit::Place { field, .. }
        | Edit::Add { field, .. }
        | Edit::Remove { field, .. }
        | Edit::Text { field, .. } => field,
        Edit::Decide(decision) => &decision.field,
    }
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

/// The boundary, or the place where there is none; nothing for a kind that needs neither.
fn extent(
    kind: &'static Kind,
    geometry: Geometry,
    properties: &BTreeMap<String, Json>,
) -> Result<Option<Edit>, Refusal> {
    let place = place_field(kind);
    let set = |field: &str, value| {
        Ok(Some(Edit::Set {
            field: field.to_owned(),
            value,
            reason: None,
        }))
    };
    let (field, geometry) = match (place, geometry) {
        (Some((_, FieldType::Perimeter)), Geometry::Nowhere) => {
            return Err(Refusal::new(
                "no_geometry",
                "The row has no geometry: it says nothing about where the area is.",
                "If the place is known from elsewhere, record it with a position; else leave it out.",
            ));
        }
        (_, Geometry::Nowhere) | (None, Geometry::Position(_)) => return Ok(None),
        (Some((field, FieldType::Perimeter)), geometry) => (field, geometry),
        (Some((field, _)), Geometry::Position(at)) => {
            return set(field, input::position_value(at));
        }
        (_, Geometry::Area(_)) => {
            return Err(Refusal::new(
                "geometry_kind",
                format!(
                    "The row has a boundary; {} has a place at most.",
                    kind.label.get("en").to_lowercase()
                ),
                "Give its place as a point, or import the file as another kind of record.",
            ));
        }
    };
    let text = |name: &str| match properties.get(name) {
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let radius = text(export::RADIUS).and_then(|radius| radius.trim().parse::<u32>().ok());
    let mut perimeter = match (geometry, radius) {
        (Geometry::Area(shape), _) => Perimeter::rings(shape),
        (Geometry::Position(at), Some(radius_m)) => Perimeter::circle(at, radius_m),
        (Geometry::Position(at), None) => {
            return Ok(Some(Edit::Place {
                field: field.to_owned(),
                at,
            }));
        }
        (Geometry::Nowhere, _) => return Ok(None),
    };
    if let Some(method) = text(export::METHOD) {
        let codes = schema::code_list("perimeter_method");
        let known = codes.and_then(|codes| codes.code(&method));
        perimeter.method = known.map(|code| code.code.clone());
    }
    let accuracy_m = text(export::ACCURACY).and_then(|metres| metres.trim().parse::<f64>().ok());
    perimeter.accuracy_dm = accuracy_m
        .filter(|metres| (0.0..100_000.0).contains(metres))
        .map(|metres| (metres * 10.0).round() as u32);
    set(field, Value::Perimeter(perimeter))
}
