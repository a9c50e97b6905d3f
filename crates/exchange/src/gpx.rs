//! GPX in: the way that somebody means to go.
//!
//! Tracks and routes are read, each segment a part of its own; a file that has neither gives its
//! waypoints, each by itself. Nothing else in it is looked at. Document types are refused: nothing in
//! GPX needs one, and they are how a small file becomes a large one.

use cairn_records::geometry::Position;
use cairn_wire::limits;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::io::BufRead;

/// Why a file gives no way.
#[derive(Debug, thiserror::Error)]
pub enum WayFault {
    /// The system could not read it.
    #[error("the file cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is no XML, or no GPX, or not whole.
    #[error("the file is no whole GPX file: {0}")]
    NotGpx(String),
    /// A point without a latitude or longitude on the globe.
    #[error("point {0} has no latitude and longitude in degrees")]
    Point(usize),
    /// There is no point in it.
    #[error("there is no track, route or waypoint in the file")]
    Empty,
    /// More than is read.
    #[error("the file is longer than {} MB or has more than {} points: cut the way into parts",
        limits::EXCHANGE_WAY_BYTES_MAX / 1_000_000, limits::EXCHANGE_WAY_POINTS_MAX)]
    TooLong,
}

/// Reads a way: its parts, each from place to place, a waypoint a part of one.
///
/// # Errors
///
/// Where the file cannot be read to its end as GPX, or gives no place.
pub fn read_way(input: impl BufRead) -> Result<Vec<Vec<Position>>, WayFault> {
    let mut reader = Reader::from_reader(input.take(limits::EXCHANGE_WAY_BYTES_MAX as u64 + 1));
    let mut reading = Reading::default();
    let mut buffer = Vec::new();
    loop {
        if reader.buffer_position() > limits::EXCHANGE_WAY_BYTES_MAX as u64 {
            return Err(WayFault::TooLong);
        }
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(element)) => {
                reading.begin(&element)?;
                reading.depth += 1;
            }
            Ok(Event::Empty(element)) => reading.begin(&element)?,
            Ok(Event::End(_)) => reading.depth = reading.depth.saturating_sub(1),
            Ok(Event::DocType(_)) => {
                let why = "it declares a document type, which GPX never needs";
                return Err(WayFault::NotGpx(why.to_owned()));
            }
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(quick_xml::Error::Io(error)) => {
                return Err(WayFault::Io(std::io::Error::new(
                    error.kind(),
                    error.to_string(),
                )));
            }
            Err(error) => return Err(WayFault::NotGpx(error.to_string())),
        }
    }
    if !reading.is_gpx || reading.depth > 0 {
        let why = match reading.is_gpx {
            true => "it ends in the middle",
            false => "it does not begin with <gpx>",
        };
        return Err(WayFault::NotGpx(why.to_owned()));
    }
    reading.parts.retain(|part| !part.is_empty());
    match (reading.parts.is_empty(), reading.waypoints.is_empty()) {
        (false, _) => Ok(reading.parts),
        (true, false) => Ok(reading.waypoints.into_iter().map(|at| vec![at]).collect()),
        (true, true) => Err(WayFault::Empty),
    }
}

#[derive(Default)]
struct Reading {
    is_gpx: bool,
    depth: usize,
    points: usize,
    parts: Vec<Vec<Position>>,
    waypoints: Vec<Position>,
}

impl Reading {
    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), WayFault> {
        let name = element.local_name();
        match name.as_ref() {
            b"gpx" if self.depth == 0 => self.is_gpx = true,
            _ if !self.is_gpx => {
                let why = "it does not begin with <gpx>";
                return Err(WayFault::NotGpx(why.to_owned()));
            }
            b"trkseg" | b"rte" => self.parts.push(Vec::new()),
            b"trkpt" | b"rtept" => {
                let at = self.point(element)?;
                match self.parts.last_mut() {
                    Some(part) => part.push(at),
                    None => self.parts.push(vec![at]),
                }
            }
            b"wpt" => {
                let at = self.point(element)?;
                self.waypoints.push(at);
            }
            _ => {}
        }
        Ok(())
    }

    fn point(&mut self, element: &BytesStart<'_>) -> Result<Position, WayFault> {
        self.points += 1;
        if self.points > limits::EXCHANGE_WAY_POINTS_MAX {
            return Err(WayFault::TooLong);
        }
        let degrees = |name: &[u8]| -> Option<f64> {
            let attribute = element
                .attributes()
                .filter_map(Result::ok)
                .find(|attribute| attribute.key.local_name().as_ref() == name)?;
            std::str::from_utf8(&attribute.value)
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        degrees(b"lat")
            .zip(degrees(b"lon"))
            .and_then(|(lat, lon)| Position::from_degrees(lat, lon))
            .ok_or(WayFault::Point(self.points))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<Position>>, WayFault> {
        read_way(text.as_bytes())
    }

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).unwrap()
    }

    #[test]
    fn tracks_and_routes_are_parts_and_waypoints_beside_them_are_not() {
        let way = read(
            r#"<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1">
            <wpt lat="1" lon="1"><name>camp &amp; well</name></wpt>
            <trk><trkseg><trkpt lat="44.1" lon="18"><ele>3</ele></trkpt><trkpt lat="44.2" lon="18.1"/></trkseg>
            <trkseg><trkpt lon=" 18.3 " lat="44.3"/></trkseg></trk>
            <rte><rtept lat="-44.5" lon="-18.5"/></rte></gpx>"#,
        );
        let want = vec![
            vec![at(44.1, 18.0), at(44.2, 18.1)],
            vec![at(44.3, 18.3)],
            vec![at(-44.5, -18.5)],
        ];
        assert_eq!(way.unwrap(), want);
    }

    #[test]
    fn waypoints_alone_are_places_of_their_own() {
        let way = read(r#"<gpx><wpt lat="1" lon="2"/><wpt lat="3" lon="4"/></gpx>"#).unwrap();
        assert_eq!(way, vec![vec![at(1.0, 2.0)], vec![at(3.0, 4.0)]]);
    }

    #[test]
    fn what_is_no_whole_gpx_file_is_refused() {
        let not_gpx = [
            "",
            "lat,lon\n1,2\n",
            "<kml><trkpt lat=\"1\" lon=\"2\"/></kml>",
            "<gpx><trk><trkseg><trkpt lat=\"1\" lon=\"2\"/>",
            "<gpx><trk></gpx>",
            "<!DOCTYPE gpx [<!ENTITY a \"aaaa\">]><gpx><wpt lat=\"1\" lon=\"2\"/></gpx>",
        ];
        for text in not_gpx {
            assert!(matches!(read(text), Err(WayFault::NotGpx(_))), "{text}");
        }
        assert!(matches!(read("<gpx></gpx>"), Err(WayFault::Empty)));
        let nowhere = [
            "lat=\"91\" lon=\"2\"",
            "lat=\"1\"",
            "lat=\"x\" lon=\"2\"",
            "lat=\"NaN\" lon=\"2\"",
        ];
        for point in nowhere {
            let said = read(&format!("<gpx><wpt {point}/></gpx>"));
            assert!(matches!(said, Err(WayFault::Point(1))), "{point}");
        }
    }
}
