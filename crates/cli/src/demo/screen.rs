//! How the demo tells its story: steps with sentences, tables and maps for people, one object a step
//! with `--json`.

use super::map::{Cell, Layers, Map, Says};
use crate::output::{Output, shows_unicode};
use crate::words;
use serde_json::{Value as Json, json};

/// A wider page is harder to read.
const COLUMNS_MAX: usize = 100;
const COLUMNS_USUAL: usize = 80;
const INDENT: usize = 3;
/// Columns for what stands beside a map.
const LEGEND_COLUMNS: usize = 31;

/// Colours, each with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Titles.
    Bold,
    /// What is open.
    Open,
    /// What is settled.
    Good,
    /// What stands back.
    Faint,
    /// The teams.
    Alpha,
    /// The second.
    Delta,
    /// The third.
    Echo,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Open => "1;31",
            Self::Good => "32",
            Self::Faint => "2",
            Self::Alpha => "36",
            Self::Delta => "33",
            Self::Echo => "35",
        }
    }
}

/// Where the story is told.
pub struct Screen<'a> {
    output: &'a Output,
    unicode: bool,
    step: u64,
    title: String,
}

impl<'a> Screen<'a> {
    /// On standard output.
    pub fn new(output: &'a Output) -> Self {
        Self {
            output,
            unicode: shows_unicode(),
            step: 0,
            title: String::new(),
        }
    }

    /// A new step; said before it is done, for it takes a while.
    pub fn begin(&mut self, title: &str) {
        self.step += 1;
        self.title = title.to_owned();
        self.title(&format!("{}  {title}", self.step));
    }

    /// A line that stands out.
    pub fn title(&self, title: &str) {
        let text = self.paint(title, Paint::Bold);
        self.print(&format!("\n{text}"));
    }

    /// What a step found out, as data.
    pub fn end(&self, name: &str, facts: Json) {
        if !self.output.json {
            return;
        }
        let mut object = json!({
            "schema": "cairn.demo.step/1",
            "number": self.step,
            "step": name,
            "title": self.title,
        });
        if let (Some(object), Json::Object(facts)) = (object.as_object_mut(), facts) {
            object.extend(facts);
        }
        self.output.line(&object.to_string());
    }

    /// A sentence or several.
    pub fn say(&self, text: &str) {
        let lines = words::wrapped(text, self.columns() - INDENT);
        self.lines(&lines);
    }

    /// Lines as they are.
    pub fn lines<T: AsRef<str>>(&self, lines: &[T]) {
        for line in lines {
            self.print(format!("{:INDENT$}{}", "", line.as_ref()).trim_end());
        }
    }

    /// Something beside a name: the name in its colour, the sentences indented behind it.
    pub fn beside(&self, name: &str, paint: Paint, text: &str) {
        const NAME: usize = 7;
        let lines = words::wrapped(text, self.columns() - INDENT - NAME);
        for (index, line) in lines.iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let pad = " ".repeat(NAME.saturating_sub(words::width(name)));
            let name = self.paint(name, paint);
            self.lines(&[format!("{name}{pad}{line}")]);
        }
    }

    /// Rows in columns.
    pub fn table(&self, rows: &[Vec<String>]) {
        let text = words::table(rows, Some(self.columns() - INDENT), &[]);
        self.lines(&text.lines().collect::<Vec<_>>());
    }

    /// Text in a colour, where there are colours.
    pub fn paint(&self, text: &str, paint: Paint) -> String {
        if self.output.color_data && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", paint.code())
        } else {
            text.to_owned()
        }
    }

    /// A map with what stands beside it: marks with their meaning, then sentences.
    pub fn map(&self, map: &Map, layers: &Layers, legend: &[(Cell, &str)], beside: &[String]) {
        let glyphs = |cell: Cell| self.paint(self.glyph(cell), paint(cell));
        let (metres, columns) = map.scale();
        let scale = format!("|{}| {metres} m", "-".repeat(columns.saturating_sub(2)));
        let mut notes = vec![format!("N up   {scale}"), String::new()];
        for (cell, meaning) in legend {
            let lines = words::wrapped(meaning, LEGEND_COLUMNS - 3);
            for (index, line) in lines.iter().enumerate() {
                let glyph = if index == 0 {
                    glyphs(*cell)
                } else {
                    " ".to_owned()
                };
                notes.push(format!("{glyph}  {line}"));
            }
        }
        notes.push(String::new());
        for sentence in beside {
            notes.extend(words::wrapped(sentence, LEGEND_COLUMNS));
        }
        let cells = map.cells(layers);
        let width = cells.first().map_or(0, Vec::len);
        let [corners, side, edge] = if self.unicode {
            ["┌┐└┘", "│", "─"]
        } else {
            ["++++", "|", "-"]
        };
        let corner = |index: usize| corners.chars().nth(index).unwrap_or('+');
        let edge = edge.repeat(width);
        let mut lines = vec![format!("{}{edge}{}", corner(0), corner(1))];
        for row in &cells {
            lines.push(format!("{side}{}{side}", self.row(row)));
        }
        lines.push(format!("{}{edge}{}", corner(2), corner(3)));
        let below = notes.len().saturating_sub(lines.len());
        lines.extend((0..below).map(|_| " ".repeat(width + 2)));
        for (index, line) in lines.iter_mut().enumerate() {
            if let Some(note) = notes.get(index).filter(|note| !note.is_empty()) {
                line.push_str(&format!("  {note}"));
            }
        }
        self.lines(&lines);
    }

    /// How large a map is here, in cells.
    pub fn map_size(&self) -> (usize, usize) {
        let columns = self.columns().saturating_sub(INDENT + LEGEND_COLUMNS + 4);
        (columns.clamp(20, 60), if columns > 50 { 19 } else { 14 })
    }

    /// Neighbours of one colour are painted at once.
    fn row(&self, row: &[Cell]) -> String {
        let runs = row.chunk_by(|one, other| paint(*one) == paint(*other));
        runs.map(|run| {
            let text: String = run.iter().map(|cell| self.glyph(*cell)).collect();
            run.first()
                .map_or(text.clone(), |cell| self.paint(&text, paint(*cell)))
        })
        .collect()
    }

    fn glyph(&self, cell: Cell) -> &'static str {
        match (cell, self.unicode) {
            (Cell::Nothing, true) => "·",
            (Cell::Nothing, false) => ".",
            (Cell::Counts(Says::First), true) => "╱",
            (Cell::Counts(Says::First), false) => "/",
            (Cell::Counts(Says::Second), true) => "╲",
            (Cell::Counts(Says::Second), false) => "\\",
            (Cell::Counts(Says::Both), true) => "╳",
            (Cell::Counts(Says::Both), false) => "X",
            (Cell::Proposed, true) => "○",
            (Cell::Proposed, false) => "o",
            (Cell::NotTaken, _) => ":",
        }
    }

    fn columns(&self) -> usize {
        self.output
            .columns
            .unwrap_or(COLUMNS_USUAL)
            .min(COLUMNS_MAX)
    }

    fn print(&self, line: &str) {
        if self.output.json {
            return;
        }
        let line = match self.unicode {
            true => line.to_owned(),
            false => line.replace('\u{a0}', " ").replace("m²", "m2"),
        };
        self.output.bytes(format!("{line}\n").as_bytes());
    }
}

fn paint(cell: Cell) -> Paint {
    match cell {
        Cell::Nothing | Cell::NotTaken => Paint::Faint,
        Cell::Counts(Says::First) => Paint::Alpha,
        Cell::Counts(Says::Second) => Paint::Delta,
        Cell::Counts(Says::Both) => Paint::Open,
        Cell::Proposed => Paint::Echo,
    }
}
