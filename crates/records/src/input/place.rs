//! Positions as people read them off a device.

use super::InputError;
use super::number::western_digits;
use crate::geometry::Position;

/// `LAT, LON` in degrees: `44.1234567, 18.1234567`, `44,1234; 18,1234`, `N44.12 E18.12`,
/// `44°12'30"N 18°07'24"E`. Swapped and impossible values are refused.
///
/// # Errors
///
/// With what to check.
pub fn position(given: &str) -> Result<Position, InputError> {
    let refuse = |advice: &str| InputError::NotAPosition {
        given: given.chars().take(60).collect(),
        advice: advice.to_owned(),
    };
    const FORM: &str = "write LAT, LON in degrees, as 44.1234567, 18.1234567";
    let text = western_digits(given.trim()).to_uppercase();
    let (first, second) = halves(&text).ok_or_else(|| refuse(FORM))?;
    let first = angle(first).ok_or_else(|| refuse(FORM))?;
    let second = angle(second).ok_or_else(|| refuse(FORM))?;
    let (lat, lon) = match (first.axis, second.axis) {
        (Some(Axis::Lon), Some(Axis::Lat)) => (second.degrees, first.degrees),
        (Some(Axis::Lon), _) | (_, Some(Axis::Lat)) => {
            return Err(refuse(
                "mark both numbers with N or S and E or W, or neither",
            ));
        }
        _ => (first.degrees, second.degrees),
    };
    if lat.abs() > 90.0 && lat.abs() <= 180.0 && lon.abs() <= 90.0 {
        return Err(refuse(
            "latitude comes first and is at most 90: are the two swapped?",
        ));
    }
    if lat == 0.0 && lon == 0.0 {
        return Err(refuse(
            "0, 0 lies in the Atlantic: the device had no position",
        ));
    }
    Position::from_degrees(lat, lon)
        .ok_or_else(|| refuse("latitude is at most 90 and longitude at most 180"))
}

#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Lat,
    Lon,
}

struct Angle {
    degrees: f64,
    axis: Option<Axis>,
}

/// At the one semicolon; else at the one comma (or the second of three, where commas are
/// decimal); else between N/S and E/W or at the one space.
fn halves(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    if let Some((first, second)) = text.split_once(';') {
        return Some((first, second));
    }
    let commas: Vec<usize> = text.match_indices(',').map(|(at, _)| at).collect();
    let at = |at: usize| Some((text.get(..at)?, text.get(at + 1..)?));
    match commas.as_slice() {
        [one] => return at(*one),
        [_, middle, _] => return at(*middle),
        [_, _] => {
            // 44,12 18,12
            let (first, second) = text.split_once(char::is_whitespace)?;
            return (first.contains(',') && second.contains(',')).then_some((first, second));
        }
        [] => {}
        _ => return None,
    }
    let letters: Vec<usize> = text
        .match_indices(['N', 'S', 'E', 'W'])
        .map(|(at, _)| at)
        .collect();
    if let [first, second] = letters.as_slice() {
        let split = if *first == 0 { *second } else { first + 1 };
        return text.split_at_checked(split);
    }
    let mut words = text.split_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    words.next().is_none().then_some((first, second))
}

fn angle(text: &str) -> Option<Angle> {
    let text = text.trim();
    let letter = text.chars().find(|c| matches!(c, 'N' | 'S' | 'E' | 'W'));
    let axis = letter.map(|letter| match letter {
        'N' | 'S' => Axis::Lat,
        _ => Axis::Lon,
    });
    let bare = text.trim_matches(|c: char| matches!(c, 'N' | 'S' | 'E' | 'W') || c.is_whitespace());
    let marks = ['°', '\'', '′', '’', '"', '″', '”', ' '];
    let parts: Vec<&str> = bare.split(marks).filter(|part| !part.is_empty()).collect();
    let mut degrees = 0.0;
    let mut negative = false;
    for (index, part) in parts.iter().enumerate() {
        let number = part.replace(',', ".");
        let plain = number
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
        let number: f64 = plain.then(|| number.parse().ok())??;
        let scale = match index {
            0 => {
                negative = part.starts_with('-');
                1.0
            }
            1 | 2 if !(0.0..60.0).contains(&number) => return None,
            1 => 60.0,
            2 => 3600.0,
            _ => return None,
        };
        degrees += number.abs() / scale;
    }
    if parts.is_empty() || (negative && letter.is_some()) {
        return None;
    }
    let negative = negative || matches!(letter, Some('S' | 'W'));
    Some(Angle {
        degrees: if negative { -degrees } else { degrees },
        axis,
    })
}
