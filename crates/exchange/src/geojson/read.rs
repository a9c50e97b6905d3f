//! A stream of features out of a file that may be large, damaged or of another kind.

use std::io::{Read, Seek, SeekFrom};

use cairn_records::geometry::Position;
use cairn_wire::limits;

use super::feature::{self, Feature, Reading};
use crate::{
    crs::{Converter, Crs},
    fault::{FileFault, Refusal, SingleFault},
    places::numbers_in,
    scan::{ScanFault, Scanner},
    surroundings::Sample,
};

/// Names of members at the top of a file; longer ones are none of those looked for.
const MEMBER_NAME_BYTES_MAX: usize = 64;
const CRS_BYTES_MAX: usize = 4 * 1024;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// What a look over the whole file has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Features that could be counted; fewer than there are where the file is damaged.
    pub features: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Names of the properties of the first feature that has any, or of a table's columns.
    pub properties: Vec<String>,
}

/// One feature, or why it is none.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// Its place in the file, from 1.
    pub number: u64,
    /// Byte position behind it, for showing progress.
    pub byte: u64,
    /// What it says.
    pub result: Result<Feature, Refusal>,
}

/// Rows of a GeoJSON file: of a FeatureCollection, of a single feature or geometry, or of a
/// sequence of features (one a line, or RFC 8142).
///
/// As an iterator it gives every row up to the place where the file is damaged, then the fault,
/// then nothing. It holds one feature of at most [`limits::EXCHANGE_FEATURE_BYTES_MAX`] in memory;
/// a longer one is refused as a row and passed over.
pub struct GeoJsonReader<R> {
    scanner: Scanner<R>,
    outline: Outline,
    sample: Sample,
    collection: bool,
    state: State,
    features: u64,
    keep: Vec<u8>,
    reading: Reading,
}

#[derive(PartialEq)]
enum State {
    /// Before the first row.
    Start,
    /// In the list of features; true before its first element.
    Features(bool),
    /// Nothing more will come.
    End,
}

impl<R: Read + Seek> GeoJsonReader<R> {
    /// Looks over a whole file and makes ready to read its rows. `crs` is what the person says
    /// about the coordinates, such as `EPSG:4326`.
    ///
    /// # Errors
    ///
    /// Where the file is of another kind, is damaged before its first feature, or has
    /// coordinates that are not WGS 84 degrees.
    pub fn open(mut input: R, crs: Option<&str>) -> Result<Self, FileFault> {
        let bytes = input.seek(SeekFrom::End(0))?;
        input.rewind()?;
        let start = sniff(&mut input, bytes)?;
        input.seek(SeekFrom::Start(start))?;
        let mut scanner = Scanner::new(input, start);
        let mut survey = Survey::default();
        // Damage behind the beginning of the features is met again, and reported, by the rows.
        let fault = survey.top_level(&mut scanner).err();
        survey.outline.bytes = bytes;
        let collection = match (survey.kind.as_deref(), survey.listed) {
            (Some("FeatureCollection"), 1) => true,
            (Some("FeatureCollection"), 0) if fault.is_none() => return Err(no_list()),
            (_, 2..) => {
                return Err(FileFault::file(
                    "repeated_member",
                    None,
                    "The file has two lists called `features`.",
                    "Export it anew: a reader cannot know which of the two is meant.",
                ));
            }
            (Some("Feature" | "Polygon" | "MultiPolygon" | "Point"), 0) => false,
            (None, 1) if fault.is_some() => true,
            (kind, _) => {
                return Err(match fault {
                    Some(fault) => FileFault::scan(fault, 0),
                    None => wrong_kind(kind),
                });
            }
        };
        let crs = accept_crs(survey.crs.as_ref(), crs)?;
        let converter = crs.converter().map_err(FileFault::asked)?;
        let mut input = scanner.into_inner();
        if !collection {
            input.seek(SeekFrom::Start(start))?;
            let mut scanner = Scanner::new(input, start);
            survey.sequence(&mut scanner);
            input = scanner.into_inner();
        }
        input.seek(SeekFrom::Start(start))?;
        Ok(Self {
            scanner: Scanner::new(input, start),
            outline: survey.outline,
            sample: survey.sample,
            collection,
            state: State::Start,
            features: 0,
            keep: Vec::new(),
            reading: Reading {
                converter,
                place_optional: false,
            },
        })
    }
}

impl<R: Read> GeoJsonReader<R> {
    /// What the first look has shown.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Features without a place are given too, from now on.
    pub(crate) fn let_places_be_missing(&mut self) {
        self.reading.place_optional = true;
    }

    /// Where its features lie.
    pub(crate) fn places(&self) -> Vec<Position> {
        let places = self.sample.places().iter();
        places
            .filter_map(|(east, north)| self.reading.converter.position(*east, *north).ok())
            .collect()
    }

    /// Turns the file's numbers into positions.
    pub(crate) fn converter(&self) -> &Converter {
        &self.reading.converter
    }

    /// Where coordinates are converted from.
    pub(crate) fn source_crs(&self) -> Option<&str> {
        self.reading.converter.source()
    }

    fn advance(&mut self) -> Result<Option<FeatureRow>, FileFault> {
        match self.step() {
            Ok(true) => self.row().map(Some),
            Ok(false) => Ok(None),
            Err(fault) => Err(FileFault::scan(fault, self.features)),
        }
    }

    /// Goes to the next feature; false at the end.
    fn step(&mut self) -> Result<bool, ScanFault> {
        if !self.collection {
            return Ok(self.scanner.peek_token()?.is_some());
        }
        if self.state == State::Start {
            self.scanner.expect(b'{', "`{`")?;
            let mut first = true;
            loop {
                if !self
                    .scanner
                    .next_member(&mut first, &mut self.keep, MEMBER_NAME_BYTES_MAX)?
                {
                    return Ok(false);
                }
                if self.keep == b"features" {
                    break;
                }
                self.scanner.value(&mut self.keep, 0)?;
            }
            self.scanner.expect(b'[', "`[`")?;
            self.state = State::Features(true);
        }
        let State::Features(first) = &mut self.state else {
            return Ok(false);
        };
        if self.scanner.next_element(first)? {
            return Ok(true);
        }
        let mut first = false;
        while self
            .scanner
            .next_member(&mut first, &mut self.keep, MEMBER_NAME_BYTES_MAX)?
        {
            self.scanner.value(&mut self.keep, 0)?;
        }
        match self.scanner.peek_token()? {
            None => Ok(false),
            Some(_) => {
                let at = self.scanner.position();
                Err(ScanFault::Syntax {
                    at,
                    expected: "the end of the file",
                })
            }
        }
    }

    fn row(&mut self) -> Result<FeatureRow, FileFault> {
        let extent = self
            .scanner
            .value(&mut self.keep, limits::EXCHANGE_FEATURE_BYTES_MAX)
            .map_err(|fault| FileFault::scan(fault, self.features))?;
        let result = if extent.whole {
            feature::read(&self.keep, &self.reading).map_err(|bad| {
                let at = extent.start + bad.offset as u64;
                let hint = match bad.what.as_str() {
                    "invalid number" => {
                        "Was a comma written as the decimal sign, as in 44,05? GeoJSON has points: export the file anew."
                    }
                    _ => "Copy the file again from where it came, or export it anew.",
                };
                FileFault::file(
                    "not_json",
                    Some(at),
                    format!(
                        "The file is damaged at byte {at}, in feature {}: {}. The {} before it were read.",
                        self.features + 1,
                        bad.what,
                        self.features
                    ),
                    hint,
                )
            })?
        } else {
            Err(Refusal::new(
                "feature_too_large",
                format!(
                    "The row is {} bytes long; at most {} are read.",
                    extent.bytes,
                    limits::EXCHANGE_FEATURE_BYTES_MAX
                ),
                "Simplify its boundary outwards, divide the area, or leave out long properties.",
            ))
        };
        self.features += 1;
        Ok(FeatureRow {
            number: self.features,
            byte: self.scanner.position(),
            result,
        })
    }
}

impl<R: Read> Iterator for GeoJsonReader<R> {
    type Item = Result<FeatureRow, FileFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::End {
            return None;
        }
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.state = State::End;
        }
        item
    }
}

/// Reads a file that holds one feature or geometry, as `cairn new --geojson` takes it.
///
/// # Errors
///
/// Where it holds none or several, or one that says no place.
pub fn read_single(input: impl Read + Seek, crs: Option<&str>) -> Result<Feature, SingleFault> {
    let mut reader = GeoJsonReader::open(input, crs)?;
    let several = |what: &str| {
        SingleFault::Row(Refusal::new(
            "not_one_feature",
            format!("The file holds {what}; here it must hold one area or place."),
            "Save the one that is meant into a file of its own, or use cairn import.",
        ))
    };
    let row = reader.next().ok_or_else(|| several("no feature"))??;
    match reader.next() {
        None => Ok(row.result?),
        Some(Ok(_)) => Err(several("several features")),
        Some(Err(fault)) => Err(fault.into()),
    }
}

#[derive(Default)]
struct Survey {
    outline: Outline,
    sample: Sample,
    kind: Option<String>,
    crs: Option<Crs>,
    /// How many members are called `features`.
    listed: u32,
}

impl Survey {
    fn top_level<R: Read>(&mut self, scanner: &mut Scanner<R>) -> Result<(), ScanFault> {
        let mut keep = Vec::new();
        scanner.expect(b'{', "`{`")?;
        let mut first = true;
        while scanner.next_member(&mut first, &mut keep, MEMBER_NAME_BYTES_MAX)? {
            match keep.as_slice() {
                b"type" => {
                    let value = scanner.value(&mut keep, MEMBER_NAME_BYTES_MAX)?;
                    self.kind = value
                        .whole
                        .then(|| serde_json::from_slice(&keep).ok())
                        .flatten();
                }
                b"crs" => {
                    scanner.value(&mut keep, CRS_BYTES_MAX)?;
                    let member = serde_json::from_slice(&keep).ok();
                    self.crs =
                        Some(member.map_or(Crs::Unnamed, |member| Crs::from_member(&member)));
                }
                b"features" if scanner.peek_token()? == Some(b'[') => {
                    self.listed += 1;
                    scanner.expect(b'[', "`[`")?;
                    let mut first = true;
                    while scanner.next_element(&mut first)? {
                        self.feature(scanner, &mut keep)?;
                    }
                }
                _ => {
                    scanner.value(&mut keep, 0)?;
                }
            }
        }
        Ok(())
    }

    fn sequence<R: Read>(&mut self, scanner: &mut Scanner<R>) {
        let mut keep = Vec::new();
        while let Ok(Some(_)) = scanner.peek_token() {
            if self.feature(scanner, &mut keep).is_err() {
                return;
            }
        }
    }

    fn feature<R: Read>(
        &mut self,
        scanner: &mut Scanner<R>,
        keep: &mut Vec<u8>,
    ) -> Result<(), ScanFault> {
        let wanted = self.outline.properties.is_empty() && self.outline.features < 1000;
        let extent = scanner.value(
            keep,
            if wanted || self.sample.wants() {
                limits::EXCHANGE_FEATURE_BYTES_MAX
            } else {
                0
            },
        )?;
        self.outline.features += 1;
        self.sample.see(first_corner(keep));
        if wanted
            && extent.whole
            && let Ok(properties) = feature::read_properties(keep)
        {
            self.outline.properties = properties.into_keys().collect();
        }
        Ok(())
    }
}

/// The first two numbers behind `coordinates`.
fn first_corner(feature: &[u8]) -> Option<(f64, f64)> {
    const NAME: &[u8] = b"\"coordinates\"";
    let at = feature.windows(NAME.len()).position(|part| part == NAME)?;
    let rest = feature.get(at + NAME.len()..)?;
    // Two numbers, brackets and white space fit into this.
    let head = rest.get(..rest.len().min(200))?;
    numbers_in(&String::from_utf8_lossy(head))
}

/// Looks at the first bytes for what is not JSON at all; answers where the JSON begins.
fn sniff<R: Read>(input: &mut R, bytes: u64) -> Result<u64, FileFault> {
    let mut head = Vec::with_capacity(16);
    input.take(16).read_to_end(&mut head)?;
    let (code, is, hint) = match head.as_slice() {
        [] => ("empty_file", "The file is empty.", "Export it anew."),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..] => (
            "utf16",
            "The file is text in UTF-16; GeoJSON is UTF-8.",
            "Open it in an editor and save it with the encoding UTF-8.",
        ),
        [b'P', b'K', ..] => (
            "wrong_format",
            "The file is a ZIP archive (a zipped shapefile, KMZ or Excel file?), not GeoJSON.",
            "Unpack it, or export the layer as GeoJSON.",
        ),
        [0x1f, 0x8b, ..] => (
            "wrong_format",
            "The file is compressed with gzip.",
            "Unpack it first (gunzip).",
        ),
        head if head.starts_with(b"SQLite format 3") => (
            "wrong_format",
            "The file is a GeoPackage or another SQLite database, not GeoJSON.",
            "Export the layer as GeoJSON.",
        ),
        [0, 0, 0x27, 0x0a, ..] => (
            "wrong_format",
            "The file is a shapefile, not GeoJSON.",
            "Export the layer as GeoJSON.",
        ),
        head if head.starts_with(b"%PDF") => (
            "wrong_format",
            "The file is a PDF, not GeoJSON.",
            "Ask for the data behind it.",
        ),
        _ => {
            let start = if head.starts_with(&BYTE_ORDER_MARK) {
                3
            } else {
                0
            };
            let white = |byte: &&u8| !b" \t\r\n\x1e".contains(byte);
            return match head.get(start..).unwrap_or_default().iter().find(white) {
                Some(b'{') => Ok(start as u64),
                None if bytes > head.len() as u64 => Ok(start as u64),
                None => Err(FileFault::file(
                    "empty_file",
                    None,
                    "The file holds nothing but white space.",
                    "Export it anew.",
                )),
                Some(b'<') => Err(FileFault::file(
                    "wrong_format",
                    Some(0),
                    "The file is XML or HTML (KML, GML or a web page?), not GeoJSON.",
                    "Export the layer as GeoJSON; if it was downloaded, look whether it is an error page.",
                )),
                Some(b'[') => Err(FileFault::file(
                    "wrong_top_level",
                    Some(start as u64),
                    "The file is a bare list; GeoJSON is an object with \"type\":\"FeatureCollection\" and the list as \"features\".",
                    "Export it as a FeatureCollection.",
                )),
                Some(_) => Err(FileFault::file(
                    "not_json",
                    Some(start as u64),
                    format!(
                        "The file is not JSON: it does not begin with an opening brace (byte {start})."
                    ),
                    "Export the layer as GeoJSON.",
                )),
            };
        }
    };
    Err(FileFault::file(code, Some(0), is, hint))
}

fn no_list() -> FileFault {
    FileFault::file(
        "wrong_top_level",
        None,
        "The file says it is a FeatureCollection, but has no list called `features`.",
        "Export it anew.",
    )
}

fn wrong_kind(kind: Option<&str>) -> FileFault {
    let (message, hint) = match kind {
        Some("Topology") => (
            "The file is TopoJSON, not GeoJSON.".to_owned(),
            "Convert it to GeoJSON, for example with topojson-client or QGIS.",
        ),
        Some(kind) => (
            format!(
                "The file is JSON of type “{}”; a FeatureCollection, a Feature or a geometry is needed.",
                kind.chars().take(40).collect::<String>()
            ),
            "Export the layer as GeoJSON.",
        ),
        None => (
            "The file is JSON, but no GeoJSON: it has no \"type\".".to_owned(),
            "Export the layer as GeoJSON; Esri's JSON is another format (ask for f=geojson).",
        ),
    };
    FileFault::file("wrong_top_level", None, message, hint)
}

/// The reference system of a file: what it says itself, else what the person says.
fn accept_crs(of_file: Option<&Crs>, said: Option<&str>) -> Result<Crs, FileFault> {
    let said = said.map(Crs::from_name);
    if let Some(said) = &said {
        said.accept().map_err(FileFault::asked)?;
    }
    match (of_file, said) {
        (Some(Crs::Unnamed) | None, Some(said)) => Ok(said),
        (None, None) => Ok(Crs::Wgs84),
        (Some(of_file), said) => {
            of_file.accept().map_err(FileFault::asked)?;
            if said.is_some_and(|said| said != *of_file) {
                return Err(FileFault::request(
                    "crs",
                    "The file names another reference system than --crs does.",
                    "Leave --crs out: what the file says of itself is taken.",
                ));
            }
            Ok(of_file.clone())
        }
    }
}
