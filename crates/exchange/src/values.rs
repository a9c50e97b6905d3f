//! Values of files as values of fields: codes by their labels, dates as other programs write
//! them. What is not understood is refused or kept as unknown and said, never guessed.

use std::collections::HashMap;

use cairn_records::{
    Edit,
    input::{self, InputError},
    schema::{self, Class, CodeList, Field, FieldType},
};
use cairn_wire::limits;
use serde_json::Value as Json;

use crate::fault::{FileFault, Refusal, Warning};

/// Languages in which the schema has labels.
const LANGUAGES: [&str; 6] = ["en", "fr", "ar", "uk", "es", "pt"];
/// Milliseconds since 1970 from which a bare number is taken as a time (1973): ArcGIS writes
/// dates so, and no number of another meaning is as large in a field for a date.
const EPOCH_MS_MIN: i64 = 100_000_000_000;
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// How days, months and years stand in dates with slashes, dots or dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOrder {
    /// 24/11/2026.
    DayMonthYear,
    /// 11/24/2026.
    MonthDayYear,
}

impl DateOrder {
    /// From `dmy` or `mdy`.
    ///
    /// # Errors
    ///
    /// For anything else.
    pub fn from_name(name: &str) -> Result<Self, FileFault> {
        match name.trim().to_ascii_lowercase().as_str() {
            "dmy" => Ok(Self::DayMonthYear),
            "mdy" => Ok(Self::MonthDayYear),
            _ => Err(FileFault::request(
                "bad_date_order",
                format!("“{name}” is no order of day, month and year."),
                "Write --date-order dmy for 24/11/2026, or --date-order mdy for 11/24/2026. Dates as 2026-11-24 need neither.",
            )),
        }
    }
}

/// What values are read with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub date_order: Option<DateOrder>,
    /// The day of the import, `YYYY-MM-DD`: later dates are looked at.
    pub today: Option<String>,
    /// Codes by label, of each list that was asked for.
    labels: HashMap<String, HashMap<String, Option<String>>>,
}

impl Answers {
    pub fn new(date_order: Option<DateOrder>, today: Option<String>) -> Self {
        Self {
            date_order,
            today,
            labels: HashMap::new(),
        }
    }

    /// Adds what a property says about a field. Blank says nothing.
    pub fn put(
        &mut self,
        edits: &mut Vec<Edit>,
        path: &str,
        field: &Field,
        value: &Json,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Refusal> {
        let blank = match value {
            Json::Null => true,
            Json::String(text) => text.trim().is_empty(),
            _ => false,
        };
        if blank {
            return Ok(());
        }
        match field.class {
            Class::Text => edits.push(text(path, value)?),
            Class::Set | Class::Log => {
                for member in self.members(field, value) {
                    let Some(member) = self.normal(path, field, member, warnings)? else {
                        continue;
                    };
                    let edit = Edit::Add {
                        field: path.to_owned(),
                        value: read(path, field, &member)?,
                    };
                    if !edits.contains(&edit) {
                        edits.push(edit);
                    }
                }
            }
            _ => {
                let Some(value) = self.normal(path, field, value.clone(), warnings)? else {
                    return Ok(());
                };
                edits.push(Edit::Set {
                    field: path.to_owned(),
                    value: read(path, field, &value)?,
                    reason: None,
                });
            }
        }
        Ok(())
    }

    /// A value in the form that the schema takes; nothing where it is left out.
    fn normal(
        &mut self,
        path: &str,
        field: &Field,
        value: Json,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Json>, Refusal> {
        match &field.field_type {
            FieldType::Code(list) => self.code(path, field, list, value, warnings),
            FieldType::Date => {
                let date = self.date(path, &value)?;
                if let (Some(today), Some(date)) = (&self.today, date.as_str())
                    && today.get(..date.len()).is_some_and(|today| date > today)
                {
                    warnings.push(Warning::new(
                        "date_in_future",
                        format!("{path}: {date} is in the future by this machine's clock."),
                    ));
                }
                Ok(Some(date))
            }
            FieldType::Position => Ok(Some(geopoint(value))),
            _ => Ok(Some(value)),
        }
    }

    /// The code that a text is, or is the label of in any language.
    fn known_code(&mut self, list_name: &str, list: &CodeList, text: &str) -> Option<String> {
        let form = text.trim().to_lowercase().replace([' ', '-'], "_");
        if list.code(&form).is_some() {
            return Some(form);
        }
        let labels = self
            .labels
            .entry(list_name.to_owned())
            .or_insert_with(|| labels_of(list));
        labels.get(&text.trim().to_lowercase()).cloned().flatten()
    }

    fn code(
        &mut self,
        path: &str,
        field: &Field,
        list_name: &str,
        value: Json,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Json>, Refusal> {
        let text = match &value {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            Json::Bool(true) => "yes".to_owned(),
            Json::Bool(false) => "no".to_owned(),
            _ => return Ok(Some(value)),
        };
        let Some(list) = schema::code_list(list_name) else {
            return Ok(Some(value));
        };
        if let Some(code) = self.known_code(list_name, list, &text) {
            return Ok(Some(Json::from(code)));
        }
        let shown: String = text.trim().chars().take(60).collect();
        match field.class {
            Class::Haz => {
                let reads = list.assumed.as_deref().unwrap_or("the most dangerous");
                warnings.push(Warning::new(
                    "unknown_answer",
                    format!(
                        "“{shown}” is no answer of {path}: it was left out, and a new record reads as {reads} there, the most dangerous answer, until somebody says more."
                    ),
                ));
                Ok(None)
            }
            Class::Reg | Class::Set if list.code("unknown").is_some() => {
                warnings.push(Warning::new(
                    "unknown_answer",
                    format!("“{shown}” is no answer of {path}: it was recorded as unknown."),
                ));
                Ok(Some(Json::from("unknown")))
            }
            // Refused, with the answers that there are.
            _ => Ok(Some(Json::from(text))),
        }
    }

    /// Several values in one property: a list, a list as text (as GIS programs write it), or codes
    /// divided by commas, semicolons, bars or, as Kobo writes them, spaces.
    fn members(&mut self, field: &Field, value: &Json) -> Vec<Json> {
        let text = match value {
            Json::Array(members) => return members.clone(),
            Json::String(text) => text,
            other => return vec![other.clone()],
        };
        if text.trim_start().starts_with('[')
            && let Ok(Json::Array(members)) = serde_json::from_str(text)
        {
            return members;
        }
        let FieldType::Code(list_name) = &field.field_type else {
            return vec![value.clone()];
        };
        let Some(list) = schema::code_list(list_name) else {
            return vec![value.clone()];
        };
        if self.known_code(list_name, list, text).is_some() {
            return vec![value.clone()];
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > 1 && words.iter().all(|word| list.code(word).is_some()) {
            return words.into_iter().map(Json::from).collect();
        }
        text.split([',', ';', '|'])
            .map(str::trim)
            .filter(|code| !code.is_empty())
            .map(Json::from)
            .collect()
    }

    /// A date as ISO 8601 has it. Day and month are never guessed.
    fn date(&self, path: &str, value: &Json) -> Result<Json, Refusal> {
        let text = match value {
            Json::String(text) => text.trim().to_owned(),
            Json::Number(number) => number.to_string(),
            other => return Ok(other.clone()),
        };
        if let Ok(number) = text.parse::<i64>() {
            let long = number.abs() >= EPOCH_MS_MIN;
            let date = long.then(|| jiff::Timestamp::from_millisecond(number).ok());
            return Ok(match date.flatten() {
                Some(at) => Json::from(jiff::tz::Offset::UTC.to_datetime(at).date().to_string()),
                None => Json::from(text),
            });
        }
        // The day as the other program wrote it; the time of day is not a date's business.
        let day = text.split(['T', ' ']).next().unwrap_or_default();
        if text.len() > day.len() && is_iso(day) {
            return Ok(Json::from(day));
        }
        let parts: Vec<&str> = text.split(['/', '.', '-', ' ']).collect();
        let [first, second, third] = parts.as_slice() else {
            return Ok(Json::from(text));
        };
        let small = |part: &str| {
            let short = part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            short.then(|| part.parse::<u8>().ok()).flatten()
        };
        let year = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        let iso =
            |year: &str, month: u8, day: u8| Json::from(format!("{year}-{month:02}-{day:02}"));
        if let (true, Some(month), Some(day)) = (year(first), small(second), small(third)) {
            return Ok(iso(first, month, day));
        }
        if !year(third) {
            return Ok(Json::from(text));
        }
        if let (Some(day), Some(month)) = (small(first), month_of(second)) {
            return Ok(iso(third, month, day));
        }
        let (Some(one), Some(two)) = (small(first), small(second)) else {
            return Ok(Json::from(text));
        };
        match (self.date_order, one, two) {
            (Some(DateOrder::DayMonthYear), ..) => Ok(iso(third, two, one)),
            (Some(DateOrder::MonthDayYear), ..) => Ok(iso(third, one, two)),
            (None, 13.., ..=12) => Ok(iso(third, two, one)),
            (None, ..=12, 13..) => Ok(iso(third, one, two)),
            (None, ..) if one == two => Ok(iso(third, one, two)),
            (None, ..) => Err(Refusal::new(
                "date_unclear",
                format!("{path}: {text} may mean day or month first."),
                "Say which: --date-order dmy (24/11/2026) or --date-order mdy (11/24/2026).",
            )),
        }
    }
}

fn is_iso(day: &str) -> bool {
    let mut parts = day.split('-').map(str::len);
    matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some(4), Some(2), Some(2), None)
    )
}

fn month_of(word: &str) -> Option<u8> {
    let word = word.to_ascii_lowercase();
    let short = word.get(..3)?;
    let at = MONTHS.iter().position(|month| *month == short)?;
    u8::try_from(at + 1).ok()
}

/// `LAT LON ALTITUDE ACCURACY`, as ODK and Kobo write a place, as `LAT, LON`.
fn geopoint(value: Json) -> Json {
    let Json::String(text) = &value else {
        return value;
    };
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts.as_slice() {
        [lat, lon, _] | [lat, lon, _, _] if parts.iter().all(|part| is_number(part)) => {
            Json::from(format!("{lat}, {lon}"))
        }
        _ => value,
    }
}

pub(crate) fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Codes by label. A label of two codes names neither.
fn labels_of(list: &CodeList) -> HashMap<String, Option<String>> {
    let mut labels: HashMap<String, Option<String>> = HashMap::new();
    for code in &list.codes {
        for language in LANGUAGES {
            let label = code.label.get(language).trim().to_lowercase();
            labels
                .entry(label)
                .and_modify(|known| {
                    if known.as_ref() != Some(&code.code) {
                        *known = None;
                    }
                })
                .or_insert_with(|| Some(code.code.clone()));
        }
    }
    labels
}

fn text(path: &str, value: &Json) -> Result<Edit, Refusal> {
    let text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(refused(&InputError::WrongForm {
            field: path.to_owned(),
            advice: format!("a text has at most {} bytes", limits::TEXT_BYTES_MAX),
        }));
    }
    Ok(Edit::Text {
        field: path.to_owned(),
        text,
    })
}

fn read(path: &str, field: &Field, value: &Json) -> Result<cairn_records::Value, Refusal> {
    input::from_json(path, &field.field_type, value).map_err(|error| refused(&error))
}

pub(crate) fn refused(error: &InputError) -> Refusal {
    Refusal::new(
        "bad_value",
        error.to_string(),
        "Correct the value in the file, or map another property to this field.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> &'static Field {
        let kind = schema::kind("hazardous_area").unwrap();
        kind.field(name).unwrap()
    }

    fn put(
        order: Option<DateOrder>,
        name: &str,
        value: Json,
    ) -> (Result<Vec<Edit>, Refusal>, Vec<Warning>) {
        let mut answers = Answers::new(order, Some("2026-11-24".into()));
        let (mut edits, mut warnings) = (Vec::new(), Vec::new());
        let done = answers.put(&mut edits, name, field(name), &value, &mut warnings);
        (done.map(|()| edits), warnings)
    }

    fn date(order: Option<DateOrder>, text: impl Into<Json>) -> Result<String, &'static str> {
        match put(order, "date_of_information", text.into()).0 {
            Ok(edits) => match &edits[0] {
                Edit::Set { value, .. } => Ok(value.as_text().unwrap().to_owned()),
                other => panic!("{other:?}"),
            },
            Err(refusal) => Err(refusal.code),
        }
    }

    #[test]
    fn dates_are_read_as_programs_write_them_and_never_guessed() {
        for (given, read) in [
            ("2026-11-24", "2026-11-24"),
            ("2026-11", "2026-11"),
            ("2026-11-24T23:30:00.000+03:00", "2026-11-24"),
            ("2026-11-24 08:00", "2026-11-24"),
            ("2026/11/4", "2026-11-04"),
            ("24/11/2026", "2026-11-24"),
            ("11/24/2026", "2026-11-24"),
            ("24.11.2026", "2026-11-24"),
            ("5/5/2026", "2026-05-05"),
            ("4-Nov-2026", "2026-11-04"),
            ("1795500000000", "2026-11-24"),
        ] {
            assert_eq!(date(None, given), Ok(read.to_owned()), "{given}");
        }
        assert_eq!(date(None, 1_795_500_000_000_i64), Ok("2026-11-24".into()));
        assert_eq!(date(None, "03/04/2026"), Err("date_unclear"));
        let (dmy, mdy) = (DateOrder::DayMonthYear, DateOrder::MonthDayYear);
        assert_eq!(date(Some(dmy), "03/04/2026"), Ok("2026-04-03".into()));
        assert_eq!(date(Some(mdy), "03/04/2026"), Ok("2026-03-04".into()));
        for wrong in [
            "2026-02-30",
            "31/02/2026",
            "24/11/26",
            "45000",
            "1795500000",
            "soon",
        ] {
            assert_eq!(date(None, wrong), Err("bad_value"), "{wrong}");
        }
        assert_eq!(date(Some(mdy), "24/11/2026"), Err("bad_value"));
        let (_, warnings) = put(None, "date_of_information", "2027-01-01".into());
        assert_eq!(warnings[0].code, "date_in_future");
    }

    #[test]
    fn codes_are_known_by_their_labels_and_unknown_ones_read_as_the_most_dangerous() {
        for (name, given, read) in [
            ("hazard_class", "suspected", "suspected"),
            ("hazard_class", " Suspected Hazardous Area ", "suspected"),
            ("hazard_class", "Zone soupçonnée dangereuse", "suspected"),
            ("hazard_class", "منطقة خطرة مؤكدة", "confirmed"),
            ("status", "Закрита", "closed"),
        ] {
            let (edits, warnings) = put(None, name, given.into());
            let Some(Edit::Set { value, .. }) = edits.unwrap().pop() else {
                panic!("{given}");
            };
            assert_eq!(value.as_text(), Some(read));
            assert_eq!(warnings, []);
        }
        let (edits, warnings) = put(None, "status", "quite safe".into());
        assert_eq!(edits.unwrap(), [], "nothing is said, so it reads open");
        assert_eq!(warnings[0].code, "unknown_answer");
        assert!(warnings[0].message.contains("reads as open"));
        let (edits, warnings) = put(None, "eo_categories", "ap_mine uxo".into());
        assert_eq!((edits.unwrap().len(), warnings.len()), (2, 0));
        let (edits, warnings) = put(None, "eo_categories", "ap_mine, PMA-3".into());
        let edits = edits.unwrap();
        assert!(matches!(&edits[1], Edit::Add { value, .. } if value.as_text() == Some("unknown")));
        assert_eq!(warnings.len(), 1);
        let (refused, _) = put(None, "status_reason", "whatever".into());
        assert!(refused.unwrap_err().message.contains("it is one of"));
    }
}
