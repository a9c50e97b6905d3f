//! The whole story on one machine: a relay and two teams, each a process of its own with a real store,
//! on loopback. What is told was measured; what does not hold ends the command with an error.

mod stage;

use crate::Ended;
use crate::arguments::Demo;
use crate::failure::Failure;
use crate::output::Output;
use crate::words::{self, count};
use cairn_exchange::{SAMPLE_AREAS, SAMPLE_GEOJSON};
use serde_json::{Value as Json, json};
use stage::{Stage, Team};
use std::path::PathBuf;
use std::time::Instant;

const SCOPE: &str = "demo/hazards";
/// How far each team moves its corners, in degrees: about a hundred metres.
const MOVED: f64 = 0.001;

pub(crate) fn demo(arguments: &Demo, output: &Output) -> Result<Ended, Failure> {
    let began = Instant::now();
    let (folder, kept) = folder(arguments)?;
    let mut stage = Stage::set(&folder)?;
    let told = tell(&mut stage, output);
    drop(stage);
    let mut facts = told.map_err(|failure| match &arguments.keep {
        Some(_) => failure,
        None => failure.hint("Look into it with: cairn demo --keep DIR"),
    })?;
    facts.duration_s = began.elapsed().as_secs_f64();
    if let Some(folder) = kept {
        folder
            .close()
            .map_err(|error| Failure::new("cleanup", format!("cleaning up: {error}")))?;
    }
    if !output.json {
        output.line(&format!(
            "\nDone in {:.1} s: {}, {} lost, both teams hold the same{}.",
            facts.duration_s,
            count(facts.documents, "record"),
            facts.lost,
            match &arguments.keep {
                Some(folder) => format!("; all is kept in {}", folder.display()),
                None => "; what was made for this is gone again".to_owned(),
            }
        ));
    }
    let object = facts.to_json();
    if output.json {
        output.answer(&object, String::new);
    }
    if facts.converged && facts.lost == 0 {
        return Ok(Ended::Done);
    }
    Err(Failure::new(
        "not_converged",
        "the two teams do not hold the same: this is a fault of Cairn",
    )
    .exit(8))
}

/// Where all happens, and what removes it afterwards.
fn folder(arguments: &Demo) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    match &arguments.keep {
        Some(folder) => {
            let wrong = |error| Failure::file("making", folder, &error);
            std::fs::create_dir_all(folder).map_err(wrong)?;
            if std::fs::read_dir(folder).map_err(wrong)?.next().is_some() {
                return Err(Failure::usage(format!("{} is not empty", folder.display())));
            }
            Ok((folder.clone(), None))
        }
        None => {
            let made = tempfile::Builder::new().prefix("cairn-demo-").tempdir();
            let made = made.map_err(|error| {
                Failure::file("making a folder in", &std::env::temp_dir(), &error)
            })?;
            Ok((made.path().to_owned(), Some(made)))
        }
    }
}

/// What was measured.
#[derive(Debug, Default)]
struct Facts {
    converged: bool,
    lost: u64,
    documents: u64,
    conflicts: u64,
    conflicts_open: u64,
    bytes_first_push: u64,
    bytes_nothing_new: u64,
    relay_kills: u64,
    duration_s: f64,
}

impl Facts {
    fn to_json(&self) -> Json {
        json!({
            "schema": "cairn.demo/1",
            "converged": self.converged,
            "lost": self.lost,
            "documents": self.documents,
            "conflicts": self.conflicts,
            "conflicts_open": self.conflicts_open,
            "bytes_first_push": self.bytes_first_push,
            "bytes_nothing_new": self.bytes_nothing_new,
            "relay_kills": self.relay_kills,
            "duration_s": self.duration_s,
        })
    }
}

fn tell(stage: &mut Stage, output: &Output) -> Result<Facts, Failure> {
    let say = |sentence: String| {
        if !output.json {
            output.line(&sentence);
        }
    };
    let mut facts = Facts::default();

    stage.start_relay()?;
    say(format!(
        "A coordination centre starts its relay on {}.",
        stage.address()
    ));
    let alpha = stage.team("Team Alpha", &format!("{SCOPE}:rw+decide"))?;
    let delta = stage.team("Team Delta", &format!("{SCOPE}:rw"))?;
    say("Team Alpha and Team Delta join its programme, with a code each.".to_owned());

    let taken = import(&alpha)?;
    say(format!(
        "Alpha imports a file: {} become records on its laptop.",
        count(taken, "hazardous area")
    ));
    let pushed = alpha.run(&["sync"])?;
    facts.bytes_first_push = number(&pushed, "app_bytes_sent");
    delta.run(&["sync"])?;
    let documents = number(&delta.run(&["status"])?, "documents");
    say(format!(
        "Alpha syncs ({} sent, encrypted), Delta syncs: {} are on Delta's laptop.",
        words::bytes(facts.bytes_first_push),
        count(documents, "record")
    ));

    stage.kill_relay()?;
    facts.relay_kills = 1;
    say("The relay is killed. Both teams go on working without a network.".to_owned());
    let area = redraw_on_both(&alpha, &delta, &say)?;
    let failed = alpha.run_any(&["sync", "--deadline", "2s"])?;
    if failed.exit == 0 {
        return Err(Failure::new(
            "demo",
            "a sync without a relay said that it worked",
        ));
    }
    say("Alpha tries to sync: no relay answers. Nothing is lost by it.".to_owned());
    stage.start_relay()?;
    say("The relay starts again, with everything that it had acknowledged.".to_owned());
    for team in [&alpha, &delta, &alpha] {
        team.run(&["sync"])?;
    }

    facts.conflicts = settle(&area, &alpha, &delta, &say)?;
    measure(&mut facts, taken, &alpha, &delta, &say)?;
    Ok(facts)
}

fn import(alpha: &Team) -> Result<u64, Failure> {
    let file = alpha.file("areas.geojson", SAMPLE_GEOJSON)?;
    let report = alpha.run(&[
        "import",
        &file,
        "--kind",
        "hazardous_area",
        "--scope",
        SCOPE,
    ])?;
    let taken = number(&report, "taken");
    if taken != SAMPLE_AREAS as u64 {
        return Err(Failure::new(
            "demo",
            format!("only {taken} of {SAMPLE_AREAS} areas of the sample were taken"),
        ));
    }
    Ok(taken)
}

/// Both teams redraw the same area, neither knowing of the other. Gives its id.
fn redraw_on_both(alpha: &Team, delta: &Team, say: &dyn Fn(String)) -> Result<String, Failure> {
    let listed = alpha.run(&["list", "hazardous_area"])?;
    let surveyed = listed
        .get("records")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter(|record| record.get("extent_not_surveyed") == Some(&Json::Bool(false)))
        .min_by_key(|record| text(record, "local_id"));
    let record = surveyed.ok_or_else(|| Failure::new("demo", "the sample has no boundary"))?;
    let id = text(record, "id");
    let mut areas = Vec::new();
    for (team, east, north) in [(alpha, 0.0, MOVED), (delta, MOVED, 0.0)] {
        let shown = team.run(&["show", &id])?;
        let mut geometry = shown
            .pointer("/fields/perimeter/reads/geometry")
            .cloned()
            .ok_or_else(|| Failure::new("demo", "the area has no boundary"))?;
        if let Some(coordinates) = geometry.get_mut("coordinates") {
            shift(coordinates, east, north);
        }
        let file = team.file("redrawn.geojson", geometry.to_string().as_bytes())?;
        team.run(&["edit", &id, "--geojson", &file])?;
        areas.push(number(record, "area_m2"));
    }
    say(format!(
        "Both redraw {} ({} m²), Alpha to the north, Delta to the east, neither knowing of the other.",
        text(record, "local_id"),
        words::grouped(areas.first().copied().unwrap_or(0))
    ));
    Ok(id)
}

/// Moves every corner.
fn shift(coordinates: &mut Json, east: f64, north: f64) {
    let Json::Array(members) = coordinates else {
        return;
    };
    match members.as_mut_slice() {
        [lon, lat, ..] if lon.is_number() && lat.is_number() => {
            *lon = json!(lon.as_f64().unwrap_or(0.0) + east);
            *lat = json!(lat.as_f64().unwrap_or(0.0) + north);
        }
        members => members
            .iter_mut()
            .for_each(|member| shift(member, east, north)),
    }
}

/// Both read the union; one decision settles it on both. Gives how many conflicts there were.
fn settle(area: &str, alpha: &Team, delta: &Team, say: &dyn Fn(String)) -> Result<u64, Failure> {
    let (on_alpha, on_delta) = (alpha.perimeter(area)?, delta.perimeter(area)?);
    if on_alpha != on_delta || on_alpha.get("conflict") != Some(&Json::Bool(true)) {
        return Err(Failure::new(
            "demo",
            "the two teams do not read the same conflict",
        ));
    }
    let values = on_alpha
        .get("values")
        .and_then(Json::as_array)
        .map_or(0, Vec::len);
    let union = area_of(&on_alpha);
    let conflicts = alpha.run(&["conflicts"])?;
    let open = conflicts
        .get("conflicts")
        .and_then(Json::as_array)
        .map_or(0, Vec::len);
    say(format!(
        "Both sync. Both see {} in {}: {values} boundaries stand, with team and date, and the area \
         reads as their union, {} m². Nothing reads smaller than somebody said.",
        count(open as u64, "conflict"),
        count(1, "record"),
        words::grouped(union)
    ));
    alpha.run(&[
        "decide",
        area,
        "--field",
        "perimeter",
        "--take",
        "A",
        "--reason",
        "walked together",
    ])?;
    alpha.run(&["sync"])?;
    delta.run(&["sync"])?;
    let decided = delta.perimeter(area)?;
    if decided != alpha.perimeter(area)? || decided.get("conflict") != Some(&Json::Bool(false)) {
        return Err(Failure::new(
            "demo",
            "the decision did not settle it on both",
        ));
    }
    say(format!(
        "Alpha decides for one of them, with a reason. One sync later it reads {} m² on both; the \
         boundaries that were not taken stay in its history.",
        words::grouped(area_of(&decided))
    ));
    Ok(open as u64)
}

fn area_of(perimeter: &Json) -> u64 {
    let area = perimeter.pointer("/reads/area_m2");
    area.and_then(Json::as_u64).unwrap_or(0)
}

/// Whether both hold the same, and all of it.
fn measure(
    facts: &mut Facts,
    taken: u64,
    alpha: &Team,
    delta: &Team,
    say: &dyn Fn(String),
) -> Result<(), Failure> {
    // The import, two redrawn boundaries and a decision.
    let changes = taken + 3;
    let nothing_new = alpha.run(&["sync"])?;
    facts.bytes_nothing_new =
        number(&nothing_new, "app_bytes_sent") + number(&nothing_new, "app_bytes_received");
    let proved = nothing_new.get("complete") == Some(&Json::Bool(true))
        && delta.run(&["sync"])?.get("complete") == Some(&Json::Bool(true));
    facts.converged = proved && alpha.export()? == delta.export()?;
    for team in [alpha, delta] {
        let check = team.run(&["check"])?;
        facts.lost += taken.saturating_sub(number(&check, "documents"));
        facts.lost += changes.saturating_sub(number(&check, "changes"));
        facts.documents = number(&check, "documents");
        let open = team.run(&["conflicts"])?;
        let open = open
            .get("conflicts")
            .and_then(Json::as_array)
            .map_or(0, Vec::len);
        facts.conflicts_open = facts.conflicts_open.max(open as u64);
    }
    say(format!(
        "Both exports are equal byte for byte; the digests of both with the relay are equal; a sync \
         with nothing new costs {}.",
        words::bytes(facts.bytes_nothing_new)
    ));
    Ok(())
}

fn number(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or(0)
}

fn text(json: &Json, key: &str) -> String {
    json.get(key)
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned()
}
