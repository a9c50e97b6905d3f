//! Tables as people have them: every separator, encoding and habit, and every way to be broken.

use std::io::Cursor;

use cairn_exchange::{
    DateOrder, FileFault, Import, ImportOptions, ImportRow, Mapping, Refusal, Row,
};
use cairn_records::{
    Edit, Value,
    geometry::Position,
    input::position_value,
    schema::{self, Kind},
};

fn kind(name: &str) -> &'static Kind {
    schema::kind(name).unwrap()
}

fn mapping(maps: &[&str], key: Option<&str>) -> Mapping {
    let mut mapping = Mapping {
        key: key.map(str::to_owned),
        ..Mapping::default()
    };
    for map in maps {
        mapping.add(map).unwrap();
    }
    mapping
}

fn open(
    bytes: impl AsRef<[u8]>,
    of: &str,
    maps: &[&str],
    options: &ImportOptions,
) -> Result<Import<Cursor<Vec<u8>>>, FileFault> {
    let input = Cursor::new(bytes.as_ref().to_vec());
    Import::open(input, kind(of), &mapping(maps, None), options)
}

fn rows(bytes: impl AsRef<[u8]>, of: &str, maps: &[&str]) -> Vec<Row> {
    let import = open(bytes, of, maps, &ImportOptions::default()).unwrap();
    import.map(|row| row.unwrap()).collect()
}

fn taken(row: &Row) -> &ImportRow {
    row.result.as_ref().unwrap()
}

fn refusal(row: &Row) -> &Refusal {
    row.result.as_ref().unwrap_err()
}

fn value(row: &ImportRow, wanted: &str) -> Option<Value> {
    row.edits.iter().find_map(|edit| match edit {
        Edit::Set { field, value, .. } if field == wanted => Some(value.clone()),
        Edit::Text { field, text } if field == wanted => Some(Value::Text(text.clone())),
        _ => None,
    })
}

fn text(row: &ImportRow, field: &str) -> String {
    match value(row, field) {
        Some(Value::Text(text)) => text,
        Some(Value::Int(number)) => number.to_string(),
        other => panic!("{field}: {other:?}"),
    }
}

fn fault(bytes: impl AsRef<[u8]>) -> FileFault {
    match open(bytes, "accident", &[], &ImportOptions::default()) {
        Ok(_) => panic!("it opened"),
        Err(fault) => fault,
    }
}

const ACCIDENTS: &str = "\
local_id,date,latitude,longitude,activity,casualties/killed/male/adult/civilian,narrative\r\n\
AC-1,2026-11-20,44.1234567,17.9,farming,1,\"He said: \"\"a bang\"\",\r\nthen smoke\"\r\n\
AC-2,2026-11-21,44.2,17.8,Herding,,\r\n";

#[test]
fn columns_named_as_fields_go_there_and_places_are_found() {
    let import = open(ACCIDENTS, "accident", &[], &ImportOptions::default()).unwrap();
    assert_eq!(import.outline().features, 2);
    assert!(import.unmapped().is_empty());
    assert_eq!(
        import.notes(),
        ["Places are taken from “latitude” and “longitude”."]
    );
    let rows: Vec<Row> = import.map(|row| row.unwrap()).collect();
    assert_eq!((rows[0].number, rows[0].line), (1, Some(2)));
    assert_eq!((rows[1].number, rows[1].line), (2, Some(4)));
    let first = taken(&rows[0]);
    assert_eq!(text(first, "local_id"), "AC-1");
    assert_eq!(text(first, "casualties/killed/male/adult/civilian"), "1");
    assert_eq!(
        text(first, "narrative"),
        "He said: \"a bang\",\r\nthen smoke"
    );
    let at = Position::new(441_234_567, 179_000_000).unwrap();
    assert_eq!(value(first, "position"), Some(position_value(at)));
    let second = taken(&rows[1]);
    assert_eq!(text(second, "activity"), "herding");
    assert_eq!(
        value(second, "casualties/killed/male/adult/civilian"),
        None,
        "blank is not zero"
    );
}

#[test]
fn the_same_table_in_every_dress_says_the_same() {
    let wanted: Vec<_> = rows(ACCIDENTS, "accident", &[])
        .iter()
        .map(|row| taken(row).edits.clone())
        .collect();
    let excel = ACCIDENTS
        .replace("44.1234567", "44;1234567")
        .replace("44.2", "44;2")
        .replace("17.", "17;")
        .replace(',', "\u{1}")
        .replace(';', ",")
        .replace('\u{1}', ";")
        .replace("bang\"\";", "bang\"\",");
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let marked = format!("\u{feff}{text}");
        marked.encode_utf16().flat_map(bytes).collect()
    };
    let tabs = ACCIDENTS
        .replace(',', "\t")
        .replace("bang\"\"\t", "bang\"\",");
    for (name, bytes) in [
        ("mark", format!("\u{feff}{ACCIDENTS}").into_bytes()),
        (
            "lines",
            ACCIDENTS
                .replace(",\r\nthen", "\u{1}")
                .replace("\r\n", "\n")
                .replace('\u{1}', ",\r\nthen")
                .into_bytes(),
        ),
        ("no last break", ACCIDENTS.trim_end().as_bytes().to_vec()),
        ("semicolons", excel.clone().into_bytes()),
        ("sep", format!("sep=;\r\n{excel}").into_bytes()),
        ("tabs, UTF-16", utf16(&tabs, u16::to_le_bytes)),
        ("UTF-16, big", utf16(ACCIDENTS, u16::to_be_bytes)),
        (
            "blank lines",
            format!("{ACCIDENTS}\r\n,,,,,,\r\n").into_bytes(),
        ),
    ] {
        let found = rows(bytes, "accident", &[]);
        let edits: Vec<_> = found.iter().map(|row| taken(row).edits.clone()).collect();
        assert_eq!(edits, wanted, "{name}");
    }
    let import = open(&excel, "accident", &[], &ImportOptions::default()).unwrap();
    assert!(import.notes().iter().any(|note| note.contains("semicolon")));
}

#[test]
fn a_decimal_comma_is_said_once() {
    let table = "a;b\n44,1;17,9\n44,2;17,8\n";
    let mut import = open(
        table,
        "accident",
        &["position=a,b"],
        &ImportOptions::default(),
    )
    .unwrap();
    let first = import.next().unwrap().unwrap();
    let at = Position::from_degrees(44.1, 17.9).unwrap();
    assert_eq!(value(taken(&first), "position"), Some(position_value(at)));
    import.next().unwrap().unwrap();
    let said = import.notes().iter().filter(|note| note.contains("comma"));
    assert_eq!(said.count(), 1);
    // Forty thousand or forty: nobody's figure is guessed.
    let table = "latitude;longitude;area_reported\n44,1;17,9;40,000\n";
    let found = rows(table, "hazardous_area", &[]);
    assert_eq!(refusal(&found[0]).code, "bad_value");
    assert!(refusal(&found[0]).message.contains("40,000"));
}

#[test]
fn what_is_broken_is_refused_by_row_and_the_rest_is_taken() {
    let good = "1,44.1,17.9,ok\n";
    let head = "local_id,latitude,longitude,narrative\n";
    let codes = |body: &str| -> Vec<Result<(), &'static str>> {
        rows(format!("{head}{body}"), "accident", &[])
            .into_iter()
            .map(|row| row.result.map(drop).map_err(|refusal| refusal.code))
            .collect()
    };
    for (body, expected) in [
        ("2,44.2,17.8\n", Err("wrong_width")),
        ("2,44,2,17,8,x\n", Err("wrong_width")),
        ("2,44.2,17.8,x,\n", Ok(())),
        ("2,44.2,17.8,", Ok(())),
        ("2,44.2,1", Err("truncated")),
        ("2,44.2,17.8,\"cut o", Err("truncated")),
        ("2,144.2,17.8,x\n", Err("coordinates_swapped")),
        ("2,0,0.0,x\n", Err("no_fix")),
        ("2,44.2,,x\n", Err("bad_position")),
        ("2,north,east,x\n", Err("bad_position")),
        ("2,733452.1,4885321.5,x\n", Err("coordinates_projected")),
        ("2,,,x\n", Ok(())),
    ] {
        assert_eq!(
            codes(&format!("{good}{body}")),
            [Ok(()), expected],
            "{body}"
        );
    }
    let cut = format!("{head}{good}2,44.2,17.8,свят");
    let cut = &cut.as_bytes()[..cut.len() - 1];
    let found = rows(cut, "accident", &[]);
    assert_eq!(found.len(), 2, "cut within a character");
    let hazards = "local_id,latitude,longitude\n1,,\n";
    assert_eq!(
        refusal(&rows(hazards, "hazardous_area", &[])[0]).code,
        "no_geometry"
    );
}

#[test]
fn an_open_quotation_mark_ends_the_reading_and_says_where() {
    let long = "x".repeat(1_200_000);
    let table = format!("local_id,narrative\n1,ok\n2,\"{long}\n3,ok\n");
    let mut import = open(&table, "accident", &[], &ImportOptions::default()).unwrap();
    assert!(import.next().unwrap().unwrap().result.is_ok());
    let fault = import.next().unwrap().unwrap_err();
    assert_eq!(fault.code(), "row_too_long");
    assert!(fault.to_string().contains("line 3"), "{fault}");
    assert!(import.next().is_none());
}

#[test]
fn files_that_are_no_table_meet_a_sentence() {
    for (bytes, code) in [
        (&b""[..], "empty_file"),
        (b" \r\n\t\n", "empty_file"),
        (b"\xff\xfe", "empty_file"),
        (b"PK\x03\x04xl/workbook.xml", "wrong_format"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "wrong_format"),
        (b"\x1f\x8b\x08", "wrong_format"),
        (b"%PDF-1.7", "wrong_format"),
        (b"<?xml version=\"1.0\"?><kml/>", "wrong_format"),
        (b"SQLite format 3\0", "wrong_format"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "binary_file"),
        (b"a\0,\0b\0\n\0", "utf16"),
        (b"\0a\0,\0b\0\n", "utf16"),
        (b"local_id,narrative\n1,Se\xf1or\n", "not_utf8"),
        (b"local_id,narrative\n1,ok\n2,\0\0\0\n", "binary_file"),
        (b"hello\n", "nothing_mapped"),
        (b",,,\n1,2,3,4\n", "no_names"),
    ] {
        assert_eq!(
            fault(bytes).code(),
            code,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    let said = fault(b"local_id,narrative\n1,Se\xf1or\n").to_string();
    assert!(
        said.contains("line 2") && said.contains("Windows-1252"),
        "{said}"
    );
    let half = b"\xff\xfel\0i\0n\0e\0\n\0\x3d\xd8";
    let mapped = open(
        half,
        "accident",
        &["local_id=line"],
        &ImportOptions::default(),
    );
    assert_eq!(mapped.err().map(|fault| fault.code()), Some("not_utf16"));
}

#[test]
fn maps_are_held_against_the_file_before_a_row_is_read() {
    let table = "id,lat,lon,when,when\n1,44.1,17.9,2026-01-01,2026-01-02\n";
    let fault = |maps: &[&str]| {
        let opened = open(table, "accident", maps, &ImportOptions::default());
        opened.err().map(|fault| fault.code())
    };
    assert_eq!(fault(&["local_id=id"]), None);
    assert_eq!(fault(&["local_id=ID"]), Some("unknown_property"));
    assert_eq!(fault(&["nonsense=id"]), Some("unknown_field"));
    assert_eq!(fault(&["position=lat,longitude"]), Some("unknown_property"));
    assert_eq!(fault(&["date=when"]), Some("column_twice"));
    assert_eq!(fault(&["casualties=id"]), Some("unknown_field"));
    let both = ["position=lat,lon", "local_id=id"];
    let import = open(table, "accident", &both, &ImportOptions::default()).unwrap();
    assert_eq!(import.unmapped(), ["when", "when"]);
}

#[test]
fn shapes_from_other_programs_become_perimeters() {
    let table = "site;WKT;hazard_class\n\
        1;POLYGON ((17.9 44.1, 17.91 44.1, 17.91 44.11, 17.9 44.1));suspected\n\
        2;POINT (17.9 44.1);Confirmed hazardous area\n";
    let found = rows(table, "hazardous_area", &["local_id=site"]);
    assert!(
        matches!(value(taken(&found[0]), "perimeter"), Some(Value::Perimeter(one)) if one.surveyed())
    );
    assert!(
        matches!(taken(&found[1]).edits[0], Edit::Place { .. }),
        "a circle"
    );
    let kobo = "instanceID,_where_latitude,_where_longitude,shape\n\
        a,44.1,17.9,\nb,44.1,17.9,44.1 17.9 0 4;44.1 17.91 0 4;44.11 17.91 0 4;44.1 17.9 0 4\n";
    let found = rows(kobo, "hazardous_area", &[]);
    assert!(matches!(taken(&found[0]).edits[0], Edit::Place { .. }));
    let found = rows(kobo, "hazardous_area", &["position=shape"]);
    assert_eq!(refusal(&found[0]).code, "no_geometry");
    assert!(value(taken(&found[1]), "perimeter").is_some());
}

#[test]
fn utm_columns_are_converted_and_kept() {
    let options = ImportOptions {
        crs: Some("EPSG:32633".into()),
        ..ImportOptions::default()
    };
    let table = "local_id,northing,easting\n1,4885321.5,733452.12\n2,733452.12,4885321.5\n";
    let import = open(table, "accident", &[], &options).unwrap();
    assert!(
        import
            .notes()
            .iter()
            .any(|note| note.contains("EPSG:32633"))
    );
    let found: Vec<Row> = import.map(|row| row.unwrap()).collect();
    let row = taken(&found[0]);
    let at = Position::new(440_838_584, 179_158_824).unwrap();
    assert_eq!(value(row, "position"), Some(position_value(at)));
    assert_eq!(text(row, "source_crs"), "EPSG:32633");
    assert_eq!(text(row, "source_text"), "4885321.5; 733452.12");
    assert_eq!(refusal(&found[1]).code, "coordinates_out_of_range");
    let options = ImportOptions {
        crs: Some("EPSG:3857".into()),
        ..ImportOptions::default()
    };
    assert_eq!(
        open(table, "accident", &[], &options).err().unwrap().code(),
        "crs"
    );
}

#[test]
fn one_swapped_row_among_many_is_seen() {
    let mut table = String::from("local_id,latitude,longitude\n");
    for row in 0..30 {
        table.push_str(&format!("{row},44.{row:02},17.{row:02}\n"));
    }
    table.push_str("s,17.2,44.2\nf,-33.0,151.0\n");
    let found = rows(&table, "accident", &[]);
    assert!(found[..30].iter().all(|row| taken(row).warnings.is_empty()));
    assert_eq!(refusal(&found[30]).code, "coordinates_swapped");
    assert_eq!(taken(&found[31]).warnings[0].code, "far_from_rest");
    // All of a file, beside what is here already.
    let held = (0..20).map(|n| Position::new(440_000_000 + n * 10_000, 179_000_000).unwrap());
    let options = ImportOptions {
        held: held.collect(),
        ..ImportOptions::default()
    };
    let import = open("latitude,longitude\n17.9,44.1\n", "accident", &[], &options).unwrap();
    let found: Vec<Row> = import.map(|row| row.unwrap()).collect();
    assert_eq!(refusal(&found[0]).code, "coordinates_swapped");
}

#[test]
fn what_every_row_says_is_said_where_a_row_is_silent() {
    let session = kind("eore_session");
    let every_row = ["reporting=session", "age_bands=split_18"]
        .map(|text| cairn_records::input::set(session, text).unwrap());
    let options = ImportOptions {
        every_row: every_row.to_vec(),
        date_order: Some(DateOrder::DayMonthYear),
        today: Some("2026-11-24".into()),
        ..ImportOptions::default()
    };
    let table = "reporting;session_date;women;messages\n\
        period;03/04/2026;34;recognise do_not_touch\n;01/12/2026;43;\n";
    let maps = ["reached/female/18_plus=women"];
    let import = open(table, "eore_session", &maps, &options).unwrap();
    let found: Vec<Row> = import.map(|row| row.unwrap()).collect();
    let first = taken(&found[0]);
    assert_eq!(text(first, "reporting"), "period");
    assert_eq!(text(first, "age_bands"), "split_18");
    assert_eq!(text(first, "session_date"), "2026-04-03");
    assert_eq!(text(first, "reached/female/18_plus"), "34");
    let adds = first
        .edits
        .iter()
        .filter(|edit| matches!(edit, Edit::Add { .. }));
    assert_eq!(adds.count(), 2);
    let second = taken(&found[1]);
    assert_eq!(text(second, "reporting"), "session");
    assert_eq!(second.warnings[0].code, "date_in_future");
}

#[test]
fn a_column_called_position_is_the_place() {
    for (of, header) in [
        ("accident", "local_id,position"),
        ("hazardous_area", "local_id,Position"),
        ("survey_visit", "local_id,POSITION"),
    ] {
        let mut table = format!("{header}\n");
        for row in 0..12 {
            table.push_str(&format!("P-{row},\"44.10{row:02}, 17.90{row:02}\"\n"));
        }
        // As people and programs write it; swapped; nowhere; no place at all.
        table.push_str("P-12,\"44,1012; 17,9012\"\n");
        table.push_str("P-13,44.1013 17.9013 560.5 4.2\n");
        table.push_str("P-14,\"17.9014, 44.1014\"\n");
        table.push_str("P-15,\"117.9, 44.1\"\n");
        table.push_str("P-16,\"0, 0\"\n");
        table.push_str("P-17,by the river\n");
        let import = open(&table, of, &[], &ImportOptions::default()).unwrap();
        let column = header.split_once(',').unwrap().1;
        assert_eq!(
            import.notes(),
            [format!("Places are taken from “{column}”.")]
        );
        assert!(import.unmapped().is_empty());
        let found: Vec<Row> = import.map(|row| row.unwrap()).collect();
        for (index, row) in found.iter().take(14).enumerate() {
            let part = index as i64 * 1_000;
            let at = Position::new(441_000_000 + part, 179_000_000 + part).unwrap();
            let edits = &taken(row).edits;
            let said = edits.iter().any(|edit| match edit {
                Edit::Set { field, value, .. } => {
                    field == "position" && *value == position_value(at)
                }
                Edit::Place { at: place, .. } => *place == at,
                _ => false,
            });
            assert!(said, "{of}, row {index}: {edits:?}");
        }
        let codes: Vec<&str> = found[14..].iter().map(|row| refusal(row).code).collect();
        assert_eq!(
            codes,
            [
                "coordinates_swapped",
                "coordinates_swapped",
                "no_fix",
                "bad_position"
            ]
        );
    }
    // Two columns say more than one; where they say nothing, the one does.
    let table = "latitude,longitude,position\n44.1,17.9,\"45.0, 18.0\"\n,,\"45.0, 18.0\"\n";
    let lat = |row: &Row| match value(taken(row), "position") {
        Some(Value::List(place)) => place[0].clone(),
        other => panic!("{other:?}"),
    };
    let found = rows(table, "accident", &[]);
    assert_eq!(lat(&found[0]), Value::Int(441_000_000));
    assert_eq!(lat(&found[1]), Value::Int(450_000_000));
}
