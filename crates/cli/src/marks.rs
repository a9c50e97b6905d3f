//! Marks: the few words on a screen that must be seen, and their colour.
//!
//! Colour only repeats what the words say, so nothing is lost without it.

/// Somebody is in danger, or people disagree about it.
const ALARMS: [&str; 4] = ["CONFLICT", "INSIDE", "CONTRADICTED", "ACT NOW"];
/// Something waits for somebody.
const OPEN: [&str; 5] = [
    "proposal",
    "suggestion",
    "not verified",
    "duplicate?",
    "not yet at the centre",
];

const ALARM: &str = "\x1b[1;31m";
const WAITS: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Lines as they are shown, with their marks in colour. Done last: colours have no width.
pub fn coloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        colour_line(line, &mut out);
    }
    out
}

fn colour_line(line: &str, out: &mut String) {
    let mut rest = line;
    let mut before = "";
    while let Some((at, mark, colour)) = first_mark(before, rest) {
        let (start, from) = rest.split_at(at);
        let (_, after) = from.split_at(mark.len());
        for piece in [start, colour, mark, PLAIN] {
            out.push_str(piece);
        }
        before = line.get(..line.len() - after.len()).unwrap_or("");
        rest = after;
    }
    out.push_str(rest);
}

/// The first mark in what is left of a line: a mark stands apart, or in a list of them.
fn first_mark(before: &str, rest: &str) -> Option<(usize, &'static str, &'static str)> {
    let alarms = ALARMS.iter().map(|mark| (*mark, ALARM));
    let open = OPEN.iter().map(|mark| (*mark, WAITS));
    let places = alarms.chain(open).flat_map(|(mark, colour)| {
        rest.match_indices(mark)
            .map(move |(at, _)| (at, mark, colour))
    });
    places
        .filter(|(at, mark, _)| {
            let (start, from) = rest.split_at(*at);
            let apart = match start.is_empty() {
                true => before,
                false => start,
            };
            let after = from.get(mark.len()..).unwrap_or("");
            let ends = after.trim_end_matches('\n').is_empty();
            (apart.trim().is_empty() || apart.ends_with("  ") || apart.ends_with(", "))
                && (ends || after.starts_with(',') || after.starts_with("  "))
        })
        .min_by_key(|(at, _, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_coloured_and_words_of_people_are_not() {
        assert_eq!(
            coloured("HA-1  open  CONFLICT, proposal\nHA-2\n"),
            "HA-1  open  \x1b[1;31mCONFLICT\x1b[0m, \x1b[33mproposal\x1b[0m\nHA-2\n"
        );
        assert_eq!(
            coloured("INSIDE  HA-1\n    not verified"),
            "\x1b[1;31mINSIDE\x1b[0m  HA-1\n    \x1b[33mnot verified\x1b[0m"
        );
        assert_eq!(coloured("ACT NOW\n"), "\x1b[1;31mACT NOW\x1b[0m\n");
        for plain in [
            "because: it is a proposal of ours",
            "narrative: CONFLICTING words",
            "",
            "\n",
        ] {
            assert_eq!(coloured(plain), plain);
        }
    }
}
