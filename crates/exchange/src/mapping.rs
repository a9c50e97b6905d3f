//! Which property of a file goes into which field, as a person asks for it.

use std::collections::BTreeMap;

use cairn_records::{
    input,
    schema::{FieldType, Kind, Unit},
};
use serde_json::Value as Json;

use crate::{fault::FileFault, geojson::Outline};

/// Field that holds what `--key` names.
pub(crate) const KEY_FIELD: &str = "external_id";

/// Which property of a file goes into which field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Property by field, with the unit of its bare numbers behind a colon where it is not the
    /// field's own (`AREA:ha`). Properties that bear a field's name go there without being named
    /// here.
    pub properties: BTreeMap<String, String>,
    /// The property that identifies a row in the system it came from (instanceID of ODK and Kobo).
    pub key: Option<String>,
}

/// Where a field's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub property: String,
    unit: Option<String>,
}

impl Source {
    /// A property's value, with the unit that was named for bare numbers.
    pub fn value(&self, value: &Json) -> Json {
        let bare = match value {
            Json::Number(number) => Some(number.to_string()),
            Json::String(text) if text.trim().ends_with(|c: char| c.is_ascii_digit()) => {
                Some(text.trim().to_owned())
            }
            _ => None,
        };
        match (bare, &self.unit) {
            (Some(number), Some(unit)) => Json::from(format!("{number} {unit}")),
            _ => value.clone(),
        }
    }
}

impl Mapping {
    /// Adds one `FIELD=PROPERTY` or `FIELD=PROPERTY:UNIT`.
    ///
    /// # Errors
    ///
    /// Where it is not of that form or names a field twice.
    pub fn add(&mut self, text: &str) -> Result<(), FileFault> {
        let (field, property) = text.split_once('=').unwrap_or_default();
        let (field, property) = (field.trim(), property.trim());
        if field.is_empty() || property.is_empty() {
            return Err(bad_map(
                format!("“{text}” does not say which property goes into which field."),
                "Write --map FIELD=PROPERTY, for example --map local_id=ID_NUMBER.",
            ));
        }
        let before = self
            .properties
            .insert(field.to_owned(), property.to_owned());
        if before.is_some() {
            return Err(bad_map(
                format!("The field {field} is mapped twice."),
                "Name one property for each field.",
            ));
        }
        Ok(())
    }

    /// Holds the mapping against a kind and a file.
    pub(crate) fn resolve(
        &self,
        kind: &Kind,
        outline: &Outline,
    ) -> Result<BTreeMap<String, Source>, FileFault> {
        if let Some(key) = &self.key {
            there(outline, key)?;
        }
        let sources = self.properties.iter().map(|(path, property)| {
            let source = source(kind, path, property, outline)?;
            Ok((path.clone(), source))
        });
        sources.collect()
    }
}

fn source(kind: &Kind, path: &str, property: &str, outline: &Outline) -> Result<Source, FileFault> {
    let field = input::known(kind, path).map_err(|error| {
        FileFault::request(
            "unknown_field",
            error.to_string(),
            "Write --map FIELD=PROPERTY; `cairn explain FIELD` says what a field means.",
        )
    })?;
    if field.field_type == FieldType::Perimeter || path == KEY_FIELD {
        return Err(bad_map(
            format!("{path} is not taken from a property."),
            "The boundary comes from the row's geometry; for a key of the other system use --key.",
        ));
    }
    let FieldType::Integer { unit: measured, .. } = &field.field_type else {
        there(outline, property)?;
        return Ok(Source {
            property: property.to_owned(),
            unit: None,
        });
    };
    let has = |name: &str| outline.properties.iter().any(|property| property == name);
    match property.rsplit_once(':') {
        Some((name, unit)) if !has(property) && has(name) => {
            let example = Json::from(format!("1 {unit}"));
            if let Err(error) = input::from_json(path, &field.field_type, &example) {
                return Err(bad_map(
                    error.to_string(),
                    "Write --map FIELD=PROPERTY:UNIT.",
                ));
            }
            Ok(Source {
                property: name.to_owned(),
                unit: Some(unit.to_owned()),
            })
        }
        _ => {
            there(outline, property)?;
            if *measured == Unit::M2 && speaks_of_hectares(property) {
                return Err(FileFault::request(
                    "unit_unclear",
                    format!("“{property}” seems not to be in square metres, as {path} is."),
                    format!(
                        "Say its unit: --map {path}={property}:ha, or :m2 if it is square metres."
                    ),
                ));
            }
            Ok(Source {
                property: property.to_owned(),
                unit: None,
            })
        }
    }
}

/// Whether a name has a word for a larger unit of area in it.
fn speaks_of_hectares(property: &str) -> bool {
    let lower = property.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| {
        word.starts_with("hect")
            || matches!(
                word,
                "ha" | "km2" | "km²" | "sqkm" | "acres" | "dunum" | "jerib"
            )
    })
}

fn there(outline: &Outline, property: &str) -> Result<(), FileFault> {
    if outline.properties.iter().any(|name| name == property) {
        return Ok(());
    }
    let names = if outline.properties.is_empty() {
        "The file's rows have no properties.".to_owned()
    } else {
        format!("There are: {}.", outline.properties.join(", "))
    };
    Err(FileFault::request(
        "unknown_property",
        format!("The file's rows have no property “{property}”."),
        names,
    ))
}

fn bad_map(message: String, hint: &str) -> FileFault {
    FileFault::request("bad_map", message, hint)
}
