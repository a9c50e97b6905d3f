//! The morning screen in lines: nothing stands on it that the relay does not know.

use super::lines::{array, head, is, known, number, text};
use crate::field::one_line;
use crate::output::{Output, shows_unicode};
use crate::words::{self, age, count};
use serde_json::Value as Json;

/// Columns where there is no terminal.
const COLUMNS: usize = 80;
/// Teams that the screen lists; those to look after come first.
const TEAMS_MAX: usize = 24;

pub(super) fn lines(answer: &Json, output: &Output) -> String {
    lines_within(answer, output, output.columns.unwrap_or(COLUMNS))
}

/// The same for a terminal that may have another width by now.
pub(super) fn lines_within(answer: &Json, output: &Output, columns: usize) -> String {
    let mut screen = Screen {
        text: String::new(),
        columns,
    };
    heading(answer, output, &mut screen);
    acts(answer, output, &mut screen);
    teams(&answer["teams"], output, &mut screen);
    inbox(&answer["inbox"], output, &mut screen);
    yesterday(&answer["yesterday"], &mut screen);
    land(&answer["land"], &mut screen);
    system(&answer["system"], &mut screen);
    screen.text
}

/// Lines that fit.
struct Screen {
    text: String,
    columns: usize,
}

impl Screen {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A word, and figures beside it; what does not fit goes below.
    fn row(&mut self, word: &str, figures: &[String]) {
        const INDENT: usize = 10;
        let mut line = format!("{word:<INDENT$}");
        let mut empty = true;
        for figure in figures {
            let more = words::width(figure) + if empty { 0 } else { 3 };
            if !empty && words::width(&line) + more > self.columns {
                self.line(&line);
                line = " ".repeat(INDENT);
                empty = true;
            }
            if !empty {
                line.push_str(" | ");
            }
            line.push_str(figure);
            empty = false;
        }
        if !figures.is_empty() {
            self.line(&line);
        }
    }
}

fn heading(answer: &Json, output: &Output, screen: &mut Screen) {
    let health = match is(answer, "healthy") {
        true => "Relay OK".to_owned(),
        false => one_line(text(answer, "health")),
    };
    let at = clock(answer, "at", output);
    let backup = match text(&answer["system"], "last_backup") {
        "" => "never backed up".to_owned(),
        _ => {
            let last = super::lines::time(&answer["system"], "last_backup", output);
            format!("backup {last}")
        }
    };
    let left = format!("CAIRN  {health}  {backup}");
    let gap = screen
        .columns
        .saturating_sub(words::width(&left) + words::width(&at))
        .max(2);
    screen.line(&format!("{left}{}{at}", " ".repeat(gap)));
    let rule = if shows_unicode() { "─" } else { "-" };
    screen.line(&rule.repeat(screen.columns));
}

/// A day and a time, as on a wall.
fn clock(json: &Json, key: &str, output: &Output) -> String {
    match text(json, key).parse::<jiff::Timestamp>() {
        Ok(at) => {
            let at = at.to_zoned_datetime(output.zone.clone());
            at.strftime("%a %d %b %Y %H:%M").to_string()
        }
        Err(_) => String::new(),
    }
}

fn acts(answer: &Json, output: &Output, screen: &mut Screen) {
    let acts = array(answer, "act_now");
    if acts.is_empty() {
        screen.line("Nothing to act on.");
        return;
    }
    screen.line("ACT NOW");
    for act in acts {
        let since = match text(act, "undecided_since").parse::<jiff::Timestamp>() {
            Ok(since) => format!(", since {}", words::time(since.as_second(), &output.zone)),
            Err(_) => String::new(),
        };
        let line = format!("{}{since}", words::harmless(text(act, "message")));
        let wrapped = words::wrapped(&line, screen.columns.saturating_sub(4));
        for (index, part) in wrapped.iter().enumerate() {
            let mark = if index == 0 { "  ! " } else { "    " };
            screen.line(&format!("{mark}{part}"));
        }
    }
}

fn teams(teams: &Json, output: &Output, screen: &mut Screen) {
    let mut figures = vec![count(number(teams, "count"), "device")];
    for (key, words) in [
        ("connected", "connected"),
        ("synced_24h", "synced <24 h"),
        ("late", "late"),
        ("silent_5d", "silent >5 days"),
    ] {
        figures.push(format!("{} {words}", known(teams, key)));
    }
    screen.row("TEAMS", &figures);
    let devices = array(teams, "devices");
    if devices.is_empty() {
        return;
    }
    let mut rows = vec![head(&[
        "  team",
        "area of work",
        "last seen",
        "waiting",
        "oldest",
        "",
    ])];
    for device in devices.iter().take(TEAMS_MAX) {
        let areas: Vec<&str> = array(device, "scopes")
            .iter()
            .map(|scope| text(scope, "scope"))
            .collect();
        let areas = match areas.as_slice() {
            [] => "-".to_owned(),
            [one] => one_line(one),
            [first, rest @ ..] => format!("{} +{}", one_line(first), rest.len()),
        };
        let seen = match (is(device, "connected"), text(device, "last_contact")) {
            (true, _) => "now".to_owned(),
            (false, "") => "never".to_owned(),
            (false, _) => super::lines::time(device, "last_contact", output),
        };
        let oldest = device.get("oldest_unsent_s").and_then(Json::as_u64);
        let mark = match text(device, "standing") {
            "silent" => "SILENT".to_owned(),
            "late" => "late".to_owned(),
            _ if !text(device, "last_error").is_empty() => "last sync failed".to_owned(),
            _ => String::new(),
        };
        rows.push(vec![
            format!("  {}", one_line(text(device, "name"))),
            areas,
            seen,
            known(device, "backlog"),
            oldest.map_or_else(|| "-".to_owned(), age),
            mark,
        ]);
    }
    screen
        .text
        .push_str(&words::table(&rows, Some(screen.columns), &[1, 4]));
    if !screen.text.ends_with('\n') {
        screen.text.push('\n');
    }
    let more = devices.len().saturating_sub(TEAMS_MAX);
    if more > 0 {
        screen.line(&format!("  and {more} more: cairn ops devices"));
    }
}

fn inbox(inbox: &Json, output: &Output, screen: &mut Screen) {
    if !inbox.is_object() {
        return;
    }
    let mut figures = Vec::new();
    let today = &inbox["today"];
    if today.is_object() {
        let since = super::lines::time(today, "since", output);
        figures.push(format!("{} new since {since}", known(today, "records")));
    }
    let (conflicts, safety) = (
        number(inbox, "conflicts"),
        number(inbox, "safety_conflicts"),
    );
    let least = if is(inbox, "more_safety_conflicts") {
        "at least "
    } else {
        ""
    };
    figures.push(format!("conflicts {conflicts} ({least}{safety} safety)"));
    figures.push(format!("proposals {}", known(inbox, "proposals")));
    figures.push(format!("duplicates {}", known(inbox, "duplicates")));
    if number(inbox, "unverified") > 0 {
        figures.push(format!("unverified {}", known(inbox, "unverified")));
    }
    screen.row("INBOX", &figures);
}

fn yesterday(yesterday: &Json, screen: &mut Screen) {
    if !yesterday.is_object() {
        return;
    }
    let mut figures = vec![
        format!("records {}", known(yesterday, "records")),
        format!("changes {}", known(yesterday, "changes")),
    ];
    let kinds = yesterday["by_kind"].as_object().into_iter().flatten();
    figures.extend(kinds.map(|(kind, came)| {
        let came = came.as_u64().unwrap_or_default();
        format!("{} {}", kind.replace('_', " "), words::grouped(came))
    }));
    screen.row("YESTERDAY", &figures);
}

fn land(land: &Json, screen: &mut Screen) {
    if !land.is_object() {
        return;
    }
    let mut figures = vec![format!(
        "open {} m² in {}",
        known(land, "open_m2"),
        count(number(land, "open_areas"), "area")
    )];
    if number(land, "not_surveyed") > 0 {
        figures.push(format!(
            "{} not surveyed (circles)",
            known(land, "not_surveyed")
        ));
    }
    if number(land, "without_place") > 0 {
        figures.push(format!("{} without a place", known(land, "without_place")));
    }
    if number(land, "open_areas") > 1 {
        figures.push("overlaps count in each".to_owned());
    }
    screen.row("LAND", &figures);
}

fn system(system: &Json, screen: &mut Screen) {
    let mut figures = Vec::new();
    if let Some(used) = system.get("disk_used_percent").and_then(Json::as_u64) {
        figures.push(format!("disk {used}%"));
    }
    figures.push(format!(
        "refused devices {} (24 h)",
        known(system, "refused_devices")
    ));
    figures.push(format!("long sessions {}", known(system, "long_sessions")));
    if system.get("quarantine").is_some_and(Json::is_u64) {
        figures.push(format!("quarantine {}", known(system, "quarantine")));
    }
    let behind = number(system, "centre_behind");
    if behind > 0 {
        figures.push(format!("centre still reads {}", count(behind, "entry")));
    }
    if number(system, "lost_frames") > 0 {
        figures.push(format!("lost frames {}", known(system, "lost_frames")));
    }
    screen.row("SYSTEM", &figures);
}
