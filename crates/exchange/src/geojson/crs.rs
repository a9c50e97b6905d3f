//! The `crs` member of GeoJSON 2008, and which reference systems are taken.
//!
//! RFC 7946 removed the member and means WGS 84 throughout; older and national files still carry
//! it. What is not WGS 84 in degrees is refused, never misread.

use serde_json::Value;

use crate::fault::Refusal;

/// What a file or a person says about coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Crs {
    /// WGS 84 in degrees, longitude first.
    Wgs84,
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
        let authority = |word: &str| upper.split([':', '/']).any(|part| part == word);
        let known = match last {
            "4326" => authority("EPSG"),
            "CRS84" => upper == "CRS84" || authority("OGC"),
            _ => false,
        };
        if known {
            Self::Wgs84
        } else {
            Self::Other(name.trim().chars().take(100).collect())
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
    /// Where coordinates are not WGS 84 degrees.
    pub fn accept(&self) -> Result<(), Refusal> {
        match self {
            Self::Wgs84 => Ok(()),
            Self::Unnamed => Err(Refusal::new(
                "crs",
                "The file does not say by name in which reference system its coordinates are.",
                "If they are WGS 84 degrees, longitude first, say so with --crs EPSG:4326.",
            )),
            Self::Other(name) => Err(Refusal::new(
                "crs",
                format!(
                    "The coordinates are in another reference system ({name}); only WGS 84 in degrees (EPSG:4326) is taken."
                ),
                "Save it as WGS 84, for example in QGIS: Export, Save Features As, CRS EPSG:4326.",
            )),
        }
    }
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
            "EPSG:32644",
            "EPSG:3857",
            "4326",
            "urn:ogc:def:crs:EPSG::14326",
            "",
            "CRS83",
        ] {
            assert!(Crs::from_name(name).accept().is_err(), "{name}");
        }
        assert!(Crs::from_member(&Value::Null).accept().is_err());
    }
}
