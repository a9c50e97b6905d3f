//! Reference systems: which are taken as they are, which are converted, which are refused.
//!
//! RFC 7946 removed GeoJSON's `crs` member and means WGS 84 throughout; older and national files
//! still carry it, and tables say nothing. WGS 84 in degrees is taken; its UTM zones are
//! converted, with the numbers as they were kept beside; anything else is refused, never misread.

use cairn_records::geometry::Position;
use proj4rs::{Proj, transform::transform};
use serde_json::Value;

use crate::fault::Refusal;

/// What a file or a person says about coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Crs {
    /// WGS 84 in degrees, longitude first.
    Wgs84,
    /// A zone of the Universal Transverse Mercator system on WGS 84, in metres, easting first.
    Utm {
        /// 1 to 60.
        zone: u8,
        /// Whether it lies south of the equator.
        south: bool,
    },
    /// Not named: `null`, a link, or something that cannot be read.
    Unnamed,
    /// Something else, by its name.
    Other(String),
}

impl Crs {
    /// From `EPSG:4326`, a URN or a URL.
    pub fn from_name(name: &str) -> Self {
        let upper = name.trim().to_ascii_uppercase();
        let last = upper.rsplit([':', '/']).next().unwrap_or_default();
        let epsg = upper.split([':', '/']).any(|part| part == "EPSG");
        let ogc = upper.split([':', '/']).any(|part| part == "OGC");
        match (last, last.parse::<u32>()) {
            ("4326", _) if epsg => Self::Wgs84,
            ("CRS84", _) if ogc || upper == "CRS84" => Self::Wgs84,
            (_, Ok(code @ (32_601..=32_660 | 32_701..=32_760))) if epsg => Self::Utm {
                zone: (code % 100) as u8,
                south: code > 32_700,
            },
            _ => Self::Other(name.trim().chars().take(100).collect()),
        }
    }

    /// From the `crs` member: `{"type":"name","properties":{"name":…}}`.
    pub fn from_member(member: &Value) -> Self {
        let name = member
            .get("properties")
            .and_then(|properties| properties.get("name"))
            .and_then(Value::as_str)
            .or_else(|| member.as_str());
        match name {
            Some(name) => Self::from_name(name),
            None => Self::Unnamed,
        }
    }

    /// # Errors
    ///
    /// Where coordinates are neither WGS 84 degrees nor a zone of UTM on WGS 84.
    pub fn accept(&self) -> Result<(), Refusal> {
        match self {
            Self::Wgs84 | Self::Utm { .. } => Ok(()),
            Self::Unnamed => Err(Refusal::new(
                "crs",
                "The file does not say by name in which reference system its coordinates are.",
                "If they are WGS 84 degrees, longitude first, say so with --crs EPSG:4326.",
            )),
            Self::Other(name) => Err(Refusal::new(
                "crs",
                format!(
                    "The coordinates are in another reference system ({name}); WGS 84 in degrees (EPSG:4326) and its UTM zones (EPSG:32601 to 32660 and 32701 to 32760) are taken."
                ),
                "Save it as WGS 84, for example in QGIS: Export, Save Features As, CRS EPSG:4326.",
            )),
        }
    }

    /// Its name, where coordinates are converted from it.
    pub fn source(&self) -> Option<String> {
        match self {
            Self::Utm { zone, south } => {
                let base = if *south { 32_700 } else { 32_600 };
                Some(format!("EPSG:{}", base + u32::from(*zone)))
            }
            _ => None,
        }
    }

    /// What turns numbers of this system into positions.
    pub fn converter(&self) -> Result<Converter, Refusal> {
        self.accept()?;
        let Self::Utm { zone, south } = self else {
            return Ok(Converter {
                crs: self.clone(),
                utm: None,
            });
        };
        let south = if *south { " +south" } else { "" };
        let utm = format!("+proj=utm +zone={zone}{south} +datum=WGS84 +units=m +no_defs");
        let made = Proj::from_proj_string(&utm)
            .and_then(|utm| Ok((utm, Proj::from_proj_string("+proj=longlat +datum=WGS84")?)));
        let (utm, degrees) = made.map_err(|error| {
            Refusal::new(
                "crs",
                format!("The reference system cannot be converted from: {error}."),
                "Save the file as WGS 84 (EPSG:4326).",
            )
        })?;
        let source = self.source().unwrap_or_default();
        Ok(Converter {
            crs: self.clone(),
            utm: Some(Box::new(Utm {
                utm,
                degrees,
                source,
            })),
        })
    }
}

/// Turns pairs of numbers into positions.
pub(crate) struct Converter {
    crs: Crs,
    utm: Option<Box<Utm>>,
}

struct Utm {
    utm: Proj,
    degrees: Proj,
    source: String,
}

impl Converter {
    /// # Errors
    ///
    /// Where a part of a file names another reference system than the whole.
    pub fn accepts(&self, crs: &Crs) -> Result<(), Refusal> {
        crs.accept()?;
        if *crs == self.crs {
            return Ok(());
        }
        Err(Refusal::new(
            "crs",
            "The row names another reference system than the file.",
            "Export the file anew in one reference system, best WGS 84 (EPSG:4326).",
        ))
    }

    /// Where coordinates are converted from, such as `EPSG:32644`.
    pub fn source(&self) -> Option<&str> {
        self.utm.as_ref().map(|utm| utm.source.as_str())
    }

    /// The position of a pair: east first, north second.
    pub fn position(&self, east: f64, north: f64) -> Result<Position, Refusal> {
        let Some(utm) = &self.utm else {
            return Position::from_degrees(north, east).ok_or_else(|| out_of_range(north, east));
        };
        // Degrees under the name of a zone must not pass for metres.
        let within =
            (50_000.0..=950_000.0).contains(&east) && (0.0..=10_000_000.0).contains(&north);
        let mut point = (east, north, 0.0);
        let converted = within && transform(&utm.utm, &utm.degrees, &mut point).is_ok();
        converted
            .then(|| Position::from_degrees(point.1.to_degrees(), point.0.to_degrees()))
            .flatten()
            .ok_or_else(|| {
                Refusal::new(
                    "coordinates_out_of_range",
                    format!(
                        "The numbers are no easting and northing of {}: eastings have six digits before the point, northings at most seven.",
                        utm.source
                    ),
                    "Check --crs, and whether the two columns are swapped.",
                )
            })
    }
}

fn out_of_range(lat: f64, lon: f64) -> Refusal {
    if lat.abs() <= 180.0 && lon.abs() <= 90.0 {
        return Refusal::new(
            "coordinates_swapped",
            "Latitude and longitude seem to be swapped: in GeoJSON longitude comes first, and no latitude is beyond 90°.",
            "Export the file anew with longitude first, or swap its columns.",
        );
    }
    if lat.abs() <= 180.0 && lon.abs() <= 360.0 {
        return Refusal::new(
            "coordinates_out_of_range",
            "A position lies outside the globe: longitude goes from −180° to 180°, latitude from −90° to 90°.",
            "Correct the position in the source and export it anew.",
        );
    }
    Refusal::new(
        "coordinates_projected",
        "The numbers are too large for degrees: they seem to be metres of a map projection.",
        "If they are of a UTM zone, name it with --crs EPSG:326ZZ (north) or EPSG:327ZZ (south); else save the file as WGS 84 (EPSG:4326).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_wgs84_are_known_and_others_are_not() {
        for name in [
            "EPSG:4326",
            "epsg:4326",
            "urn:ogc:def:crs:OGC:1.3:CRS84",
            "urn:ogc:def:crs:OGC::CRS84",
            "urn:ogc:def:crs:EPSG::4326",
            "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            "http://www.opengis.net/def/crs/EPSG/0/4326",
            "OGC:CRS84",
            "CRS84",
        ] {
            assert_eq!(Crs::from_name(name), Crs::Wgs84, "{name}");
        }
        for name in [
            "EPSG:3857",
            "EPSG:32600",
            "EPSG:32661",
            "4326",
            "32644",
            "urn:ogc:def:crs:EPSG::14326",
            "",
            "CRS83",
        ] {
            assert!(Crs::from_name(name).accept().is_err(), "{name}");
        }
        assert!(Crs::from_member(&Value::Null).accept().is_err());
    }

    const GOLDEN: [(&str, f64, f64, f64, f64); 4] = [
        ("EPSG:32633", 733452.12, 4885321.5, 44.08385844, 17.91588241),
        ("EPSG:32644", 441234.5, 1071234.25, 9.69045126, 80.46430311),
        ("EPSG:32718", 300000.0, 9000000.0, -9.04204707, -76.81952251),
        (
            "EPSG:32736",
            612345.75,
            8123456.0,
            -16.97005177,
            34.05523493,
        ),
    ];

    #[test]
    fn utm_is_converted_within_a_centimetre() {
        // By the series of Karney, “Transverse Mercator with an accuracy of a few nanometers”
        // (2011), worked out apart from this program.
        for (name, east, north, lat, lon) in GOLDEN {
            let crs = Crs::from_name(name);
            assert_eq!(crs.source().as_deref(), Some(name));
            let at = crs.converter().unwrap().position(east, north).unwrap();
            assert!((at.lat() - lat).abs() < 1.5e-7, "{name}: {}", at.lat());
            assert!((at.lon() - lon).abs() < 1.5e-7, "{name}: {}", at.lon());
        }
    }

    #[test]
    fn numbers_of_no_zone_are_refused() {
        let utm = Crs::from_name("EPSG:32633").converter().unwrap();
        for (east, north) in [
            (44.1, -17.9),
            (4_885_321.5, 733_452.1),
            (f64::NAN, 1.0),
            (1e300, 1e300),
        ] {
            assert_eq!(
                utm.position(east, north).unwrap_err().code,
                "coordinates_out_of_range"
            );
        }
        let degrees = Crs::Wgs84.converter().unwrap();
        assert_eq!(
            degrees.position(44.1, 117.9).unwrap_err().code,
            "coordinates_swapped"
        );
        assert_eq!(
            degrees.position(733_452.1, 4_885_321.5).unwrap_err().code,
            "coordinates_projected"
        );
    }
}
