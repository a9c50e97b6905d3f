//! Numbers with units, decimal commas and digits of other scripts, in exact decimal arithmetic.

use super::InputError;
use crate::schema::Unit;
use crate::value::Value;

/// Digits of a number that are read; more cannot be meant.
const DIGITS_MAX: usize = 18;

/// Units that people write, and how many of the field's unit they are (as a fraction).
fn factors(unit: Unit) -> &'static [(&'static str, i128, i128)] {
    match unit {
        Unit::M2 => &[
            ("", 1, 1),
            ("m2", 1, 1),
            ("m²", 1, 1),
            ("sqm", 1, 1),
            ("ha", 10_000, 1),
            ("km2", 1_000_000, 1),
            ("km²", 1_000_000, 1),
        ],
        Unit::Dm => &[
            ("", 10, 1),
            ("m", 10, 1),
            ("dm", 1, 1),
            ("cm", 1, 10),
            ("km", 10_000, 1),
        ],
        Unit::M => &[("", 1, 1), ("m", 1, 1), ("km", 1_000, 1)],
        Unit::Cm => &[("", 1, 1), ("cm", 1, 1), ("m", 100, 1), ("mm", 1, 10)],
        Unit::TenthDegree => &[("", 10, 1), ("°", 10, 1), ("deg", 10, 1)],
        Unit::Persons | Unit::None => &[("", 1, 1)],
    }
}

/// A whole number of the field's unit. Areas are rounded up, the rest to the nearest.
pub(super) fn whole(field: &str, unit: Unit, max: i64, given: &str) -> Result<Value, InputError> {
    let refuse = |advice: &str| InputError::NotANumber {
        field: field.to_owned(),
        given: given.chars().take(40).collect(),
        advice: advice.to_owned(),
    };
    let text = western_digits(given.trim());
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+')))
        .unwrap_or(text.len());
    let (number, written_unit) = text.split_at(end);
    let written_unit = written_unit.trim().to_lowercase();
    if written_unit.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(refuse("write the number without spaces"));
    }
    let units = factors(unit);
    let Some((_, times, per)) = units.iter().find(|(name, ..)| *name == written_unit) else {
        let known: Vec<&str> = units
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| !name.is_empty())
            .collect();
        return Err(refuse(&match known.as_slice() {
            [] => "write a number without a unit".to_owned(),
            known => format!(
                "the unit {written_unit:?} is unknown; use {}",
                known.join(", ")
            ),
        }));
    };
    let (digits, decimals) = decimal(number).map_err(refuse)?;
    let divisor = 10i128.pow(decimals) * per;
    let scaled = digits * times;
    if matches!(unit, Unit::Persons | Unit::None) && scaled % divisor != 0 {
        return Err(refuse("this takes whole numbers only"));
    }
    let rounded = match unit {
        Unit::M2 => (scaled + divisor - 1).div_euclid(divisor),
        _ => (2 * scaled + divisor).div_euclid(2 * divisor),
    };
    match i64::try_from(rounded) {
        Ok(number) if (0..=max).contains(&number) => Ok(Value::Int(number)),
        _ => Err(InputError::OutOfRange {
            field: field.to_owned(),
            given: given.chars().take(40).collect(),
            max,
        }),
    }
}

/// A decimal number as its digits and how many of them stand behind the point.
fn decimal(number: &str) -> Result<(i128, u32), &'static str> {
    let negative = number.starts_with('-');
    let number = number.trim_start_matches(['-', '+']);
    let separators: Vec<char> = number.chars().filter(|c| matches!(c, '.' | ',')).collect();
    let (before, after) = match separators.as_slice() {
        [] => (number, ""),
        [separator] => number.split_once(*separator).unwrap_or((number, "")),
        _ => return Err("write it without thousands separators, as 40000"),
    };
    // 40,000 may be forty thousand or forty: nobody's area is guessed.
    if separators.as_slice() == [','] && after.len() == 3 && before != "0" {
        return Err(
            "a comma before three digits may mean thousands or decimals: write 40000 or 40.0",
        );
    }
    if before.is_empty() || (!separators.is_empty() && after.is_empty()) {
        return Err("write it as 40000 or 40.5");
    }
    if before.len() + after.len() > DIGITS_MAX {
        return Err("it has too many digits");
    }
    let digits = format!("{before}{after}").parse::<i128>();
    let digits = digits.map_err(|_| "write it as 40000 or 40.5")?;
    Ok((if negative { -digits } else { digits }, after.len() as u32))
}

/// Arabic-Indic, Persian and Devanagari digits as the ones that everybody's software reads.
pub(super) fn western_digits(text: &str) -> String {
    text.chars()
        .map(|c| {
            let zero = match c {
                '٠'..='٩' => '٠',
                '۰'..='۹' => '۰',
                '०'..='९' => '०',
                '٫' => return '.',
                '−' => return '-',
                _ => return c,
            };
            char::from_digit(c as u32 - zero as u32, 10).unwrap_or(c)
        })
        .collect()
}
