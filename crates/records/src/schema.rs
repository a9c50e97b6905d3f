//! What kinds of record there are, which fields they have, and what these mean: data, not code.
//!
//! Kinds, fields and code lists stand in `data/`, with labels in several languages. What is not
//! in there (a field or code of a newer version) is kept, shown raw and sent on untouched.

use cairn_wire::ids::Lane;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Version that a new record's `schema_version` names.
pub const SCHEMA_VERSION: i64 = 1;

/// Words by language (`en`, `fr`, `ar`, `uk`, `es`, `pt`); English is always there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Words(BTreeMap<String, String>);

impl Words {
    /// In this language, else in English.
    #[must_use]
    pub fn get(&self, language: &str) -> &str {
        let words = self.0.get(language).or_else(|| self.0.get("en"));
        words.map_or("", String::as_str)
    }
}

/// How values of a field meet. Where each class stands in a document: `proto/records.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Written by the first change, never changed.
    Once,
    /// One value; concurrent values are all kept and shown until somebody decides.
    Reg,
    /// Assertions about safety; reads as the more dangerous value.
    Haz,
    /// Free text.
    Text,
    /// Codes; adds win.
    Set,
    /// Entries that stay.
    Log,
}

/// What a field's value is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// A code of a list.
    Code(String),
    /// One line.
    Line,
    /// Free text of any length.
    Text,
    /// Whole number.
    Integer {
        /// What it counts: `m2`, `m`, `cm`, `dm`, `persons`, or nothing.
        unit: Unit,
        /// Largest value.
        max: i64,
    },
    /// Day, month or year.
    Date,
    /// Time of day by the clock of the place, `14:30`.
    Time,
    /// Another record.
    Reference,
    /// A place.
    Position,
    /// Extent of an area.
    Perimeter,
    /// Several named parts.
    Entry(Vec<Part>),
}

/// Unit of a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Square metres.
    M2,
    /// Tenths of a metre.
    Dm,
    /// Metres.
    M,
    /// Centimetres.
    Cm,
    /// Tenths of a degree.
    TenthDegree,
    /// Persons.
    Persons,
    /// A mere number.
    None,
}

/// A part of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// Whether an entry without it is refused.
    #[serde(default)]
    pub required: bool,
}

/// A field of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Field {
    /// Its name, snake_case English.
    pub name: String,
    /// How its values meet.
    pub class: Class,
    /// What its values are.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// Taking something out of it is a decision (sets and logs).
    #[serde(default)]
    pub safety: bool,
    /// Its entries wait for a decision.
    #[serde(default)]
    pub waits: bool,
    /// Safety field that every entry of this one asserts at its most dangerous value.
    #[serde(default)]
    pub stands_as: Option<String>,
    /// Code lists whose codes follow the name, as `name/code/code` (maps).
    #[serde(default)]
    pub keys: Vec<String>,
    /// Field, written once, whose code says which codes of the last of these lists a record uses
    /// ([`Code::holds`]).
    #[serde(default)]
    pub keys_by: Option<String>,
    /// Field of the same keys of which this one counts a part.
    #[serde(default)]
    pub part_of: Option<String>,
    /// Date or time before which this one cannot lie.
    #[serde(default)]
    pub not_before: Option<String>,
    /// What people call it.
    pub label: Words,
    /// What the question means.
    pub help: Words,
}

/// A kind of record.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// What people call it.
    pub label: Words,
    /// How it travels.
    pub lane: Lane,
    fields: Vec<Field>,
}

/// A code of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Code {
    /// The code.
    pub code: String,
    /// How dangerous it reads, where that matters: more is more dangerous.
    #[serde(default)]
    pub danger: u8,
    /// Codes of another list that it stands for (schemes: which bands there are).
    #[serde(default)]
    pub holds: Vec<String>,
    /// The broader code that it counts under (age bands: of the list `age_group`).
    #[serde(default)]
    pub group: Option<String>,
    /// What people call it.
    pub label: Words,
}

/// The answers that a question has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CodeList {
    /// What is taken when nothing was said; the most dangerous code (lists of `haz` fields).
    #[serde(default)]
    pub assumed: Option<String>,
    /// The codes, in the order in which people see them.
    pub codes: Vec<Code>,
}

impl CodeList {
    /// The code of this name.
    #[must_use]
    pub fn code(&self, code: &str) -> Option<&Code> {
        self.codes.iter().find(|known| known.code == code)
    }

    /// How dangerous a value reads; unknown and unrecognised is the most dangerous.
    #[must_use]
    pub fn danger(&self, code: Option<&str>) -> u8 {
        let most = self.codes.iter().map(|code| code.danger).max();
        code.and_then(|code| self.code(code))
            .map_or(most.unwrap_or(0), |code| code.danger)
    }
}

/// What a word of the vocabulary means.
#[derive(Debug, Clone, PartialEq)]
pub enum Explanation<'a> {
    /// A question.
    Field {
        /// The field.
        field: &'a Field,
        /// The answers it has, if they are codes.
        codes: Option<&'a CodeList>,
    },
    /// An answer.
    Code {
        /// The list it stands in.
        list: &'a str,
        /// The code.
        code: &'a Code,
    },
}

#[derive(Deserialize)]
struct KindFile {
    label: Words,
    urgent: bool,
    fields: Vec<Field>,
}

static LISTS: LazyLock<BTreeMap<String, CodeList>> =
    LazyLock::new(|| embedded(include_str!("../data/code_lists.json")));

static KINDS: LazyLock<BTreeMap<String, Kind>> = LazyLock::new(|| {
    let envelope: Vec<Field> = embedded(include_str!("../data/envelope.json"));
    let kinds: BTreeMap<String, KindFile> = embedded(include_str!("../data/kinds.json"));
    let whole = |(name, file): (String, KindFile)| {
        let fields = file.fields.into_iter().chain(envelope.clone()).collect();
        let lane = if file.urgent {
            Lane::Urgent
        } else {
            Lane::Records
        };
        let label = file.label;
        (
            name.clone(),
            Kind {
                name,
                label,
                lane,
                fields,
            },
        )
    };
    kinds.into_iter().map(whole).collect()
});

/// Our own data, compiled in and read by a test: it parses, or the build is broken.
#[allow(clippy::expect_used)]
fn embedded<T: for<'a> Deserialize<'a>>(text: &str) -> T {
    serde_json::from_str(text).expect("embedded schema data is well-formed")
}

/// Every kind.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.values()
}

/// The kind of this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.get(name)
}

/// The code list of this name.
#[must_use]
pub fn code_list(name: &str) -> Option<&'static CodeList> {
    LISTS.get(name)
}

/// How records of a kind travel. Unknown kinds go with the urgent ones: in doubt, early.
#[must_use]
pub fn lane(kind_name: &str) -> Lane {
    kind(kind_name).map_or(Lane::Urgent, |kind| kind.lane)
}

/// What a field or a code means: the field of that name first, then every list that has the code.
#[must_use]
pub fn explain(word: &str) -> Vec<Explanation<'static>> {
    let mut found = Vec::new();
    for kind in kinds() {
        if let Some(field) = kind.field(word) {
            let explanation = Explanation::Field {
                field,
                codes: field.codes(),
            };
            if !found.contains(&explanation) {
                found.push(explanation);
            }
        }
    }
    for (list, codes) in LISTS.iter() {
        if let Some(code) = codes.code(word) {
            found.push(Explanation::Code { list, code });
        }
    }
    found
}

impl Kind {
    /// Its fields, those of the envelope last.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field that a name (or, for maps, a path `name/part/part`) speaks of.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Field> {
        let mut parts = path.split('/');
        let name = parts.next()?;
        let field = self.fields.iter().find(|field| field.name == name)?;
        let parts: Vec<&str> = parts.collect();
        let fits = parts.len() == field.keys.len()
            && parts
                .iter()
                .zip(&field.keys)
                .all(|(part, list)| code_list(list).is_some_and(|list| list.code(part).is_some()));
        // The bare name of a map speaks of the whole of it.
        (fits || parts.is_empty()).then_some(field)
    }

    /// The codes that may end a path of this map in a record whose scheme ([`Field::keys_by`]) is
    /// this one; `None` where the map has no scheme, and no code but `unknown` without one.
    #[must_use]
    pub fn keys_of_scheme(&self, field: &Field, scheme: Option<&str>) -> Option<Vec<&'static str>> {
        let named = self.field(field.keys_by.as_ref()?)?;
        let code = named.codes()?.code(scheme.unwrap_or_default());
        Some(match code {
            Some(code) => code.holds.iter().map(String::as_str).collect(),
            None => vec!["unknown"],
        })
    }

    /// Names nearest to one that does not exist, best first, at most three.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Vec<String> {
        nearest(name, self.fields.iter().map(|field| field.name.as_str()))
    }
}

impl Field {
    /// The answers it has, if they are codes.
    #[must_use]
    pub fn codes(&self) -> Option<&'static CodeList> {
        match &self.field_type {
            FieldType::Code(list) => code_list(list),
            FieldType::Entry(parts) => parts.iter().find_map(|part| match &part.field_type {
                FieldType::Code(list) => code_list(list),
                _ => None,
            }),
            _ => None,
        }
    }
}

/// Names nearest to one that does not exist, best first, at most three.
#[must_use]
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut near: Vec<(usize, &str)> = known
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| {
            *distance <= 2 + known.len() / 4 || known.contains(name) || name.contains(known)
        })
        .collect();
    near.sort_unstable();
    near.into_iter()
        .take(3)
        .map(|(_, known)| known.to_owned())
        .collect()
}

/// Edits between two words (V. I. Levenshtein, 1966); words beyond 64 characters are cut.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.chars().take(64).enumerate() {
        let mut before = index + 1;
        let mut next = vec![before];
        for (b, above) in other.iter().zip(row.windows(2)) {
            let [diagonal, above] = above else { break };
            before = (diagonal + usize::from(a != *b))
                .min(above + 1)
                .min(before + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(field_type: &FieldType) -> Vec<&String> {
        match field_type {
            FieldType::Code(list) => vec![list],
            FieldType::Entry(parts) => parts
                .iter()
                .flat_map(|part| lists(&part.field_type))
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_data_hold_together() {
        for kind in kinds() {
            let mut names: Vec<&str> = kind.fields().iter().map(|one| one.name.as_str()).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}: a name twice", kind.name);
            for field in kind.fields() {
                let name = &field.name;
                assert!(!field.label.get("en").is_empty() && !field.help.get("en").is_empty());
                for list in lists(&field.field_type).into_iter().chain(&field.keys) {
                    assert!(code_list(list).is_some(), "{name}: no list {list}");
                }
                if let Some(other) = &field.keys_by {
                    let named = kind.field(other).unwrap();
                    assert_eq!(named.class, Class::Once, "{name}");
                    let bands = code_list(field.keys.last().unwrap()).unwrap();
                    for scheme in &named.codes().unwrap().codes {
                        assert!(scheme.holds.iter().any(|band| band == "unknown"), "{name}");
                        for band in &scheme.holds {
                            let band = bands.code(band).unwrap();
                            let group = band.group.as_deref().unwrap();
                            let groups = code_list("age_group").unwrap();
                            assert!(groups.code(group).is_some(), "no boundary at 18");
                        }
                    }
                }
                if let Some(other) = &field.part_of {
                    assert_eq!(kind.field(other).unwrap().keys, field.keys, "{name}");
                }
                if let Some(other) = &field.not_before {
                    assert_eq!(kind.field(other).unwrap().field_type, field.field_type);
                }
                if let Some(other) = &field.stands_as {
                    assert_eq!(kind.field(other).unwrap().class, Class::Haz, "{name}");
                }
                if field.class == Class::Haz && field.field_type != FieldType::Perimeter {
                    let list = field.codes().unwrap();
                    let assumed = list.assumed.as_deref().unwrap();
                    assert_eq!(list.danger(Some(assumed)), list.danger(None), "{name}");
                    assert!(list.codes.iter().all(|code| code.danger > 0), "{name}");
                }
            }
        }
        for (name, list) in LISTS.iter() {
            for code in &list.codes {
                assert!(!code.label.get("en").is_empty(), "{name}: {}", code.code);
            }
        }
    }

    #[test]
    fn words_are_explained_and_labels_fall_back_to_english() {
        let found = explain("suspected");
        let [
            Explanation::Code {
                list: "hazard_class",
                code,
            },
        ] = found.as_slice()
        else {
            panic!("{found:?}");
        };
        assert_eq!(code.label.get("fr"), "Zone soupçonnée dangereuse");
        assert_eq!(code.label.get("xx"), "Suspected hazardous area");
        let lists = LISTS.values().filter(|list| list.code("unknown").is_some());
        assert_eq!(
            explain("unknown").len(),
            lists.count(),
            "in every list that has it"
        );
        let found = explain("status");
        assert!(matches!(
            found.as_slice(),
            [Explanation::Field { codes: Some(_), .. }]
        ));
        assert!(explain("nonsense").is_empty());
        assert_eq!(lane("hazardous_area"), Lane::Urgent);
        assert_eq!(lane("accident"), Lane::Urgent);
        assert_eq!(lane("eore_session"), Lane::Records);
        assert_eq!(lane("survey_visit"), Lane::Records);
    }
}
