//! Dates and times of day.

use super::InputError;
use super::number::western_digits;
use crate::value::Value;

/// Day, month or year; the calendar decides.
pub(super) fn date(field: &str, given: &str) -> Result<Value, InputError> {
    let given = given.trim();
    let digits = western_digits(given);
    let parts: Vec<&str> = digits.split('-').collect();
    let shaped = match parts.as_slice() {
        [year] => year.len() == 4,
        [year, month] => year.len() == 4 && month.len() == 2,
        [year, month, day] => year.len() == 4 && month.len() == 2 && day.len() == 2,
        _ => false,
    } && parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if !shaped {
        return Err(InputError::NotADate {
            field: field.to_owned(),
            given: given.chars().take(40).collect(),
        });
    }
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<i16>().ok());
    let (year, month, day) = (
        number(0).unwrap_or(0),
        number(1).unwrap_or(1),
        number(2).unwrap_or(1),
    );
    let narrow = |number: i16| i8::try_from(number).unwrap_or(0);
    if year < 1900 || jiff::civil::Date::new(year, narrow(month), narrow(day)).is_err() {
        return Err(InputError::NoSuchDay {
            field: field.to_owned(),
            given: digits,
        });
    }
    Ok(Value::Text(digits))
}

/// Hours and minutes of a day of 24 hours; a clock that shows seconds is read without them.
pub(super) fn time(field: &str, given: &str) -> Result<Value, InputError> {
    let refuse = || InputError::NotATime {
        field: field.to_owned(),
        given: given.chars().take(40).collect(),
    };
    let digits = western_digits(given.trim());
    let parts: Vec<&str> = digits.split(':').collect();
    let within = |part: &str, max: u8| {
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let number: Option<u8> = plain.then(|| part.parse().ok()).flatten();
        number.filter(|number| *number <= max).ok_or_else(refuse)
    };
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "0"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(refuse()),
    };
    if minute.len() != 2 {
        return Err(refuse());
    }
    within(second, 59)?;
    let (hour, minute) = (within(hour, 23)?, within(minute, 59)?);
    Ok(Value::Text(format!("{hour:02}:{minute:02}")))
}
