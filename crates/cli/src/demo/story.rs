//! What happens in the demo, step by step. Every figure and every reading on the screen is an answer of
//! one of the processes; what should hold and does not ends the story.

use super::map::{Cell, Layers, Map, Says, Shape};
use super::redraw::{self, Towards};
use super::screen::{Paint, Screen};
use super::stage::{Said, Stage, Team};
use super::{Facts, Left};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{self, bytes, count, grouped};
use cairn_exchange::{SAMPLE_AREAS, SAMPLE_GEOJSON};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

const SCOPE: &str = "demo/north";
const SESSION: &str = "DEMO-EORE-1";
const WOMEN: &str = "reached/female/18_plus";
const MEN: &str = "reached/male/18_plus";
/// What is said about the session, in the order in which it is written.
const FIRST_SENTENCE: &str = "Everybody listened.";
const DELTA_SENTENCE: &str = "Діти грають біля мосту.";
const ECHO_SENTENCE: &str = "الأطفال يلعبون قرب الجسر";
/// An area of a size that can be drawn.
const AREA_M2: std::ops::RangeInclusive<u64> = 20_000..=200_000;
/// Sessions until receipts have gone round as well.
const ROUNDS_MAX: usize = 5;

/// Tells it all.
pub fn tell(stage: &mut Stage, output: &Output) -> Result<(Facts, Left), Failure> {
    let mut screen = Screen::new(output);
    let mut story = Story::begin(stage, &mut screen)?;
    story.apart(&mut screen)?;
    story.back(&mut screen)?;
    story.session(&mut screen, output)?;
    story.area(&mut screen)?;
    story.decide(&mut screen)?;
    story.prove(&mut screen)?;
    let left = Left {
        area: story.area.label.clone(),
        session: SESSION.to_owned(),
        field: WOMEN.to_owned(),
        alpha: story.alpha.folder().to_owned(),
        delta: story.delta.folder().to_owned(),
    };
    Ok((story.facts, left))
}

struct Story<'a> {
    stage: &'a mut Stage,
    alpha: Team,
    delta: Team,
    echo: Team,
    area: Area,
    session: String,
    imported: BTreeSet<String>,
    /// Record and change of everything that was reported as saved.
    ledger: Vec<(String, String)>,
    facts: Facts,
}

/// The area that everybody redraws.
struct Area {
    id: String,
    label: String,
    imported: Shape,
    area_m2: u64,
}

impl<'a> Story<'a> {
    /// A centre, three teams, and the same records on every laptop.
    fn begin(stage: &'a mut Stage, screen: &mut Screen) -> Result<Self, Failure> {
        screen.begin("A coordination centre and three teams");
        stage.start_relay()?;
        let alpha = stage.team("Team Alpha", &format!("{SCOPE}:rw+decide"))?;
        let delta = stage.team("Team Delta", &format!("{SCOPE}:rw"))?;
        let echo = stage.team("Team Echo", &format!("{SCOPE}:rw"))?;
        let address = stage.address();
        screen.say(&format!(
            "The centre's relay listens on {address}. Alpha, Delta and Echo join, each with a code of \
             its own. Each of the four is a process with a folder of its own."
        ));
        let imported = import(&alpha)?;
        let area = choose_area(&alpha)?;
        let mut story = Self {
            stage,
            alpha,
            delta,
            echo,
            area,
            session: String::new(),
            imported,
            ledger: Vec::new(),
            facts: Facts::default(),
        };
        story.session = story.record_session()?;
        let sent = story.alpha.run(&["sync"])?;
        story.facts.bytes_first_push = number(&sent, "app_bytes_sent");
        let mut held = Vec::new();
        for team in [&story.alpha, &story.delta, &story.echo] {
            team.run(&["sync"])?;
            held.push(number(&team.run(&["status"])?, "documents"));
        }
        let records = held.iter().copied().min().unwrap_or(0);
        screen.say(&format!(
            "Alpha imports {} from a file and records a risk education session: {} sent, signed and \
             encrypted. One sync later {} are on every laptop.",
            count(story.imported.len() as u64, "hazardous area"),
            bytes(story.facts.bytes_first_push),
            count(records, "record"),
        ));
        screen.end(
            "join",
            json!({
                "relay": address.to_string(),
                "imported": story.imported.len(),
                "app_bytes_sent": story.facts.bytes_first_push,
                "documents": held,
            }),
        );
        Ok(story)
    }

    fn record_session(&mut self) -> Result<String, Failure> {
        let at = self.area.imported.corners().next().unwrap_or_default();
        let position = format!("{:.4}, {:.4}", at.1, at.0);
        let first = self.alpha.file("feedback.txt", FIRST_SENTENCE.as_bytes())?;
        let saved = self.alpha.run(&[
            "new",
            "eore_session",
            "--scope",
            SCOPE,
            "--set",
            &format!("local_id={SESSION}"),
            "--set",
            "age_bands=split_18",
            "--set",
            "method=interactive_group_session",
            "--position",
            &position,
            "--text",
            &format!("feedback={first}"),
        ])?;
        self.keep(&saved);
        Ok(text(&saved, "id"))
    }

    /// What was reported as saved has to be found again.
    fn keep(&mut self, saved: &Json) {
        self.ledger.push((text(saved, "id"), text(saved, "change")));
    }

    /// Nobody has a network, and everybody works on the same two records.
    fn apart(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.begin("No network: three teams change the same two records");
        self.kill_relay()?;
        screen.say(&format!(
            "The relay is killed. Each team redraws {} and fills in {SESSION}, none knowing of the \
             others.",
            self.area.label
        ));
        let north = redraw::grown(&self.area.imported, Towards::North);
        let (drawn, _) = draw(&self.alpha, &self.area.id, &north, &[])?;
        let counted = edit(
            &self.alpha,
            &self.session,
            &["--set", &format!("{WOMEN}=34")],
        )?;
        screen.beside(
            "Alpha",
            Paint::Alpha,
            &format!(
                "draws the area, {} so far, on to the north: {}. Counts 34 women.",
                square_metres(self.area.area_m2),
                area_in_words(&drawn)
            ),
        );
        self.delta.clock_falls_to(0);
        let east = redraw::grown(&self.area.imported, Towards::East);
        let (drawn_delta, _) = draw(&self.delta, &self.area.id, &east, &[])?;
        let more = ["--set", &format!("{WOMEN}=43")];
        let counted_delta = tell_more(&self.delta, &self.session, DELTA_SENTENCE, &more)?;
        screen.beside(
            "Delta",
            Paint::Delta,
            &format!(
                "has a laptop whose clock fell back to 1970. Draws the area on to the east: {}. \
                 Counts 43 women, adds a sentence in Ukrainian.",
                area_in_words(&drawn_delta)
            ),
        );
        let smaller = redraw::shrunk(&self.area.imported);
        let close = ["--set", "status=closed"];
        let (drawn_echo, proposal) = draw(&self.echo, &self.area.id, &smaller, &close)?;
        let more = ["--set", &format!("{MEN}=12")];
        let counted_echo = tell_more(&self.echo, &self.session, ECHO_SENTENCE, &more)?;
        expect(proposal, "a smaller boundary is more than a proposal")?;
        screen.beside(
            "Echo",
            Paint::Echo,
            &format!(
                "draws it smaller and closes it. Both are only proposals: it reads {} and {} as \
                 before. Counts 12 men, adds a sentence in Arabic.",
                area_in_words(&drawn_echo),
                reads_of_saved(&drawn_echo, "status"),
            ),
        );
        let saved = [
            &drawn,
            &counted,
            &drawn_delta,
            &counted_delta,
            &drawn_echo,
            &counted_echo,
        ];
        saved.into_iter().for_each(|saved| self.keep(saved));
        let failed = self.alpha.run_any(&["sync", "--deadline", "2s"])?;
        expect(failed.exit == 4, "a sync without a relay did not say so")?;
        screen.say(&format!(
            "Alpha tries to sync: {}. Its work stays on the laptop, saved.",
            message(&failed)
        ));
        screen.end(
            "apart",
            json!({
                "area": self.area.label,
                "session": SESSION,
                "saved": saved,
                "sync_without_relay": failed.json,
            }),
        );
        Ok(())
    }

    fn kill_relay(&mut self) -> Result<(), Failure> {
        self.facts.relay_kills += 1;
        self.stage.kill_relay()
    }

    /// They come back one after the other; the relay dies once more in between.
    fn back(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.begin("They come back, one after the other");
        self.stage.start_relay()?;
        let mut rows = vec![row(&["", "sent", "received", "bytes, both ways"])];
        let mut facts = Vec::new();
        for (index, team) in [
            &self.delta,
            &self.alpha,
            &self.echo,
            &self.delta,
            &self.alpha,
        ]
        .into_iter()
        .enumerate()
        {
            if index == 1 {
                self.facts.relay_kills += 1;
                self.stage.kill_relay()?;
                self.stage.start_relay()?;
            }
            let synced = team.run(&["sync"])?;
            rows.push(vec![
                if index > 2 {
                    format!("{} again", team.short())
                } else {
                    team.short().to_owned()
                },
                count(number(&synced, "changes_sent"), "change"),
                count(number(&synced, "changes_received"), "change"),
                bytes(number(&synced, "app_bytes_sent") + number(&synced, "app_bytes_received")),
            ]);
            facts.push(json!({ "team": team.name, "sync": synced }));
        }
        screen.table(&rows);
        screen.say(
            "Right after Delta's first sync the relay was killed once more. What it had acknowledged was \
             on its disk: the others got it.",
        );
        screen.end("back", json!({ "syncs": facts }));
        Ok(())
    }

    /// The session: what merged by itself, and two figures that nobody adds up.
    fn session(&mut self, screen: &mut Screen, output: &Output) -> Result<(), Failure> {
        screen.begin("The session: what merges by itself, and what does not");
        let session = self.same_fields(&self.session)?;
        let open = self.open_questions()?;
        self.facts.conflicts = open.iter().filter(|one| is(one, "conflict")).count() as u64;
        show_session(&session, screen, output)?;
        screen.end(
            "session",
            json!({
                "session": SESSION,
                "fields": {
                    WOMEN: session.get(WOMEN),
                    MEN: session.get(MEN),
                    "feedback": session.get("feedback"),
                },
                "conflicts": self.facts.conflicts,
            }),
        );
        Ok(())
    }

    /// The area: every boundary stands, and it reads as what anybody fears.
    fn area(&self, screen: &mut Screen) -> Result<(), Failure> {
        screen.begin("The area: nothing reads safer than somebody said");
        let area = self.same_fields(&self.area.id)?;
        self.show_area(&area, screen)?;
        screen.end(
            "area",
            json!({
                "area": self.area.label,
                "fields": { "perimeter": area.get("perimeter"), "status": area.get("status") },
            }),
        );
        Ok(())
    }

    fn show_area(&self, area: &Json, screen: &Screen) -> Result<(), Failure> {
        let perimeter = area.get("perimeter").unwrap_or(&Json::Null);
        let status = area.get("status").unwrap_or(&Json::Null);
        expect(is(perimeter, "conflict"), "two boundaries are no conflict")?;
        let alpha = self.drawn_by(perimeter, &self.alpha)?;
        let delta = self.drawn_by(perimeter, &self.delta)?;
        let echo = self.drawn_by(perimeter, &self.echo)?;
        expect(
            values(status).iter().any(|value| is(value, "proposal")),
            "closing is no proposal",
        )?;
        let (columns, rows) = screen.map_size();
        let union = reads_area(perimeter);
        let layers = Layers {
            first: alpha,
            second: delta,
            proposed: echo,
            ..Layers::default()
        };
        screen.say(&format!("{} as every map shows it:", self.area.label));
        screen.map(
            &self.map(&layers, columns, rows),
            &layers,
            &[
                (Cell::Counts(Says::First), "only Alpha says so"),
                (Cell::Counts(Says::Second), "only Delta says so"),
                (Cell::Counts(Says::Both), "both say so"),
                (Cell::Proposed, "edge of what Echo proposes"),
                (Cell::Nothing, "nothing recorded: that does not say that it is safe"),
            ],
            &[format!(
                "{} boundaries stand, each with team and date. Until somebody decides, the area reads \
                 as their union, {}, and {}: what Echo drew and closed is a proposal.",
                values(perimeter).len(),
                square_metres(union),
                text(status, "reads"),
            )],
        );
        Ok(())
    }

    fn map(&self, layers: &Layers, columns: usize, rows: usize) -> Map {
        let shapes = [&layers.first, &layers.second, &layers.not_taken];
        let corners = shapes.into_iter().flat_map(Shape::corners);
        Map::around(corners, columns, rows)
    }

    /// The boundary that a team drew, of those that stand.
    fn drawn_by(&self, perimeter: &Json, team: &Team) -> Result<Shape, Failure> {
        let value = value_by(perimeter, team)?;
        let geometry = value.pointer("/value/geometry").unwrap_or(&Json::Null);
        Shape::of(geometry).ok_or_else(|| fault("a boundary is no boundary"))
    }

    /// One decision, and every laptop reads the same.
    fn decide(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.begin("One decision settles the area everywhere");
        let before = self.same_fields(&self.area.id)?;
        let perimeter = before.get("perimeter").unwrap_or(&Json::Null);
        let alpha = self.drawn_by(perimeter, &self.alpha)?;
        let taken = text(value_by(perimeter, &self.delta)?, "change");
        let because = ["--reason", "walked the edge together"];
        for (field, take) in [("perimeter", taken.as_str()), ("status", "reading")] {
            let mut arguments = vec!["decide", &self.area.id, "--field", field, "--take", take];
            arguments.extend(because);
            let saved = self.alpha.run(&arguments)?;
            self.ledger
                .push((text(&saved, "id"), text(&saved, "change")));
        }
        for team in [&self.alpha, &self.delta, &self.echo] {
            team.run(&["sync"])?;
        }
        let fields = self.same_fields(&self.area.id)?;
        let decided = fields.get("perimeter").unwrap_or(&Json::Null);
        let status = fields.get("status").unwrap_or(&Json::Null);
        expect(!is(decided, "conflict"), "the decision did not settle it")?;
        let geometry = decided.pointer("/reads/geometry").unwrap_or(&Json::Null);
        let shape = Shape::of(geometry).ok_or_else(|| fault("the decision left no boundary"))?;
        screen.say(&format!(
            "Alpha may decide here. It takes Delta's boundary, with a reason, and keeps the area {}.",
            text(status, "reads")
        ));
        let layers = Layers {
            first: shape.clone(),
            second: shape,
            not_taken: alpha,
            ..Layers::default()
        };
        let (columns, rows) = screen.map_size();
        screen.map(
            &self.map(&layers, columns, rows),
            &layers,
            &[
                (Cell::Counts(Says::Both), "the boundary that was taken"),
                (
                    Cell::NotTaken,
                    "drawn by Alpha and not taken; it stays in the history",
                ),
                (
                    Cell::Nothing,
                    "nothing recorded: that does not say that it is safe",
                ),
            ],
            &[format!(
                "One sync later it reads {} on all three laptops.",
                square_metres(reads_area(decided))
            )],
        );
        screen.end("decide", json!({ "perimeter": decided, "status": status }));
        Ok(())
    }

    /// Whether all hold the same, and all of it.
    fn prove(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.begin("Nothing is lost");
        let teams = [&self.alpha, &self.delta, &self.echo];
        let mut complete = true;
        for team in teams {
            complete &= is(&team.run(&["sync"])?, "complete");
        }
        let mut exports = Vec::new();
        for team in teams {
            exports.push(team.export()?);
        }
        let equal = exports.windows(2).all(|pair| pair.first() == pair.get(1));
        self.facts.converged = complete && equal;
        let mut lost = BTreeSet::new();
        for team in teams {
            let check = team.run(&["check"])?;
            self.facts.documents = number(&check, "documents");
            self.facts.changes = number(&check, "changes");
            lost.extend(self.missing(team)?);
        }
        self.facts.lost = lost.len() as u64;
        self.facts.conflicts_open = self.open_questions()?.len() as u64;
        self.facts.bytes_nothing_new = nothing_new(&self.alpha)?;
        screen.say(&format!(
            "{} and {} were reported as saved. Looked up one by one on each laptop: {} missing. The \
             three exports are {} byte for byte, with {}. A sync with nothing new costs {}.",
            count(self.imported.len() as u64, "imported record"),
            count(self.ledger.len() as u64, "change"),
            lost.len(),
            if equal { "equal" } else { "NOT equal" },
            count(self.facts.documents, "record"),
            bytes(self.facts.bytes_nothing_new),
        ));
        screen.end(
            "prove",
            json!({
                "reported_as_saved": self.ledger.len() + self.imported.len(),
                "missing": lost,
                "exports_equal": equal,
                "complete": complete,
                "bytes_nothing_new": self.facts.bytes_nothing_new,
            }),
        );
        Ok(())
    }

    /// Records and changes that were reported as saved and are not on a laptop.
    fn missing(&self, team: &Team) -> Result<Vec<String>, Failure> {
        let listed = team.run(&["list"])?;
        let records = array(&listed, "records");
        let held: BTreeSet<String> = records.iter().map(|record| text(record, "id")).collect();
        let mut missing: Vec<String> = self.imported.difference(&held).cloned().collect();
        for record in [&self.area.id, &self.session] {
            let shown = team.run(&["show", record, "--history"])?;
            let history = array(&shown, "history");
            let held: BTreeSet<String> = history.iter().map(|one| text(one, "change")).collect();
            let saved = self.ledger.iter().filter(|(id, _)| id == record);
            let lost = saved.filter(|(_, change)| !held.contains(change));
            missing.extend(lost.map(|(_, change)| change.clone()));
        }
        Ok(missing)
    }

    /// A record's fields, which have to read the same on all three laptops.
    fn same_fields(&self, id: &str) -> Result<Json, Failure> {
        let fields = self.alpha.fields(id)?;
        for team in [&self.delta, &self.echo] {
            expect(
                team.fields(id)? == fields,
                "the laptops do not read the same",
            )?;
        }
        Ok(fields)
    }

    fn open_questions(&self) -> Result<Vec<Json>, Failure> {
        let open = self.alpha.run(&["conflicts"])?;
        Ok(array(&open, "conflicts").to_vec())
    }
}

fn show_session(session: &Json, screen: &Screen, output: &Output) -> Result<(), Failure> {
    screen.say(&format!("{SESSION}, the same on all three laptops:"));
    let men = session.pointer(&pointer(MEN)).unwrap_or(&Json::Null);
    let women = session.pointer(&pointer(WOMEN)).unwrap_or(&Json::Null);
    let feedback = session.get("feedback").unwrap_or(&Json::Null);
    expect(
        !is(men, "conflict"),
        "a figure that one team gave is in conflict",
    )?;
    expect(
        is(women, "conflict"),
        "two figures of one field are no conflict",
    )?;
    expect(
        !is(feedback, "conflict"),
        "sentences beside each other are in conflict",
    )?;
    let merged = screen.paint("merged", Paint::Good);
    let conflict = screen.paint("CONFLICT", Paint::Open);
    screen.lines(&[format!("{merged}    men       {}", number(men, "reads"))]);
    let sentences = text(feedback, "reads");
    for (index, sentence) in sentences.lines().enumerate() {
        let (mark, name) = match index {
            0 => (merged.as_str(), "feedback"),
            _ => ("      ", "        "),
        };
        screen.lines(&[format!("{mark}    {name}  {}", words::harmless(sentence))]);
    }
    for said in [FIRST_SENTENCE, DELTA_SENTENCE, ECHO_SENTENCE] {
        expect(sentences.contains(said), "a sentence is missing")?;
    }
    for (index, value) in values(women).iter().enumerate() {
        let (mark, name) = match index {
            0 => (conflict.as_str(), "women"),
            _ => ("        ", "     "),
        };
        screen.lines(&[format!(
            "{mark}  {name}     {}  {}  by {}, {}",
            text(value, "letter"),
            number(value, "value"),
            words::harmless(&text(value, "by")),
            when(value, output)
        )]);
    }
    screen.say("No clock decides, nothing is added up: both figures stand until somebody chooses.");
    Ok(())
}

/// The records that a file becomes.
fn import(team: &Team) -> Result<BTreeSet<String>, Failure> {
    let file = team.file("areas.geojson", SAMPLE_GEOJSON)?;
    team.run(&[
        "import",
        &file,
        "--kind",
        "hazardous_area",
        "--scope",
        SCOPE,
    ])?;
    let listed = team.run(&["list"])?;
    let records = array(&listed, "records");
    expect(
        records.len() == SAMPLE_AREAS,
        "not every area of the sample was taken",
    )?;
    Ok(records.iter().map(|record| text(record, "id")).collect())
}

fn choose_area(team: &Team) -> Result<Area, Failure> {
    let open = [
        "--where",
        "hazard_class=confirmed",
        "--where",
        "status=open",
    ];
    let listed = team.run(&[&["list", "hazardous_area"][..], &open].concat())?;
    let fits = |record: &&Json| {
        record.get("extent_not_surveyed") == Some(&Json::Bool(false))
            && AREA_M2.contains(&number(record, "area_m2"))
    };
    let records = array(&listed, "records").iter().filter(fits);
    let chosen = records.min_by_key(|record| text(record, "local_id"));
    let chosen = chosen.ok_or_else(|| fault("the sample has no area that can be drawn"))?;
    let id = text(chosen, "id");
    let fields = team.fields(&id)?;
    let geometry = fields.pointer("/perimeter/reads/geometry");
    let imported = geometry.and_then(Shape::of);
    Ok(Area {
        id,
        label: text(chosen, "local_id"),
        area_m2: number(chosen, "area_m2"),
        imported: imported.ok_or_else(|| fault("the area has no boundary"))?,
    })
}

/// Redraws an area. Gives what was saved, and whether the boundary is only a proposal.
fn draw(team: &Team, id: &str, shape: &Shape, more: &[&str]) -> Result<(Json, bool), Failure> {
    let file = team.file("redrawn.geojson", shape.to_geojson().to_string().as_bytes())?;
    let mut arguments = vec!["--geojson", &file];
    arguments.extend(more);
    let saved = edit(team, id, &arguments)?;
    let fields = array(&saved, "fields");
    let perimeter = fields
        .iter()
        .find(|field| text(field, "field") == "perimeter");
    let proposal = perimeter.is_some_and(|field| is(field, "proposal"));
    Ok((saved, proposal))
}

/// Adds a sentence to what people said, beside other edits.
fn tell_more(team: &Team, id: &str, sentence: &str, more: &[&str]) -> Result<Json, Failure> {
    let text = format!("{FIRST_SENTENCE}\n{sentence}");
    let file = team.file("feedback.txt", text.as_bytes())?;
    let feedback = format!("feedback={file}");
    let mut arguments = vec!["--text", &feedback];
    arguments.extend(more);
    edit(team, id, &arguments)
}

fn edit(team: &Team, id: &str, more: &[&str]) -> Result<Json, Failure> {
    let mut arguments = vec!["edit", id];
    arguments.extend(more);
    team.run(&arguments)
}

/// What a sync costs once receipts have gone round as well.
fn nothing_new(team: &Team) -> Result<u64, Failure> {
    let mut least = u64::MAX;
    for _ in 0..ROUNDS_MAX {
        let synced = team.run(&["sync"])?;
        let moved = number(&synced, "app_bytes_sent") + number(&synced, "app_bytes_received");
        if moved >= least {
            break;
        }
        least = moved;
    }
    Ok(least)
}

/// How an area's boundary reads after an edit.
fn area_in_words(saved: &Json) -> String {
    let fields = array(saved, "fields");
    let perimeter = fields
        .iter()
        .find(|field| text(field, "field") == "perimeter");
    square_metres(perimeter.map_or(0, reads_area))
}

/// On one line.
fn square_metres(area_m2: u64) -> String {
    format!("{}\u{a0}m²", grouped(area_m2))
}

fn reads_of_saved(saved: &Json, name: &str) -> String {
    let fields = array(saved, "fields");
    let field = fields.iter().find(|field| text(field, "field") == name);
    field.map(|field| text(field, "reads")).unwrap_or_default()
}

fn reads_area(perimeter: &Json) -> u64 {
    let area = perimeter.pointer("/reads/area_m2");
    area.and_then(Json::as_u64).unwrap_or(0)
}

fn values(field: &Json) -> &[Json] {
    array(field, "values")
}

fn value_by<'a>(field: &'a Json, team: &Team) -> Result<&'a Json, Failure> {
    let value = values(field)
        .iter()
        .find(|value| text(value, "by") == team.name);
    value.ok_or_else(|| fault("what a team said does not stand any more"))
}

fn when(value: &Json, output: &Output) -> String {
    let at = text(value, "recorded_at").parse::<jiff::Timestamp>();
    at.map_or_else(
        |_| "without a date".to_owned(),
        |at| words::time(at.as_second(), &output.zone),
    )
}

fn message(said: &Said) -> String {
    text(&said.json, "message")
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(fault(otherwise)) }
}

/// Not the fault of whoever runs the demo.
fn fault(what: &str) -> Failure {
    Failure::new("demo", format!("this is a fault of Cairn: {what}")).exit(8)
}

/// A field's name as a JSON pointer.
fn pointer(field: &str) -> String {
    format!("/{}", field.replace('/', "~1"))
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn array<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json.get(key)
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

fn number(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or(0)
}

fn is(json: &Json, key: &str) -> bool {
    json.get(key).and_then(Json::as_bool) == Some(true)
}

fn text(json: &Json, key: &str) -> String {
    let text = json.get(key).and_then(Json::as_str);
    text.unwrap_or_default().to_owned()
}
