//! Records into a file: whole or not at all.

use crate::Ended;
use crate::arguments::{Export, Format};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::count;
use cairn_device::records::schema;
use cairn_device::{Device, Filter, Line};
use cairn_exchange::{GeoJsonWriter, WriteError, export_feature};
use cairn_wire::ids::DocumentId;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Records that are open at a time.
const RECORDS_AT_ONCE: usize = 256;
/// Code of a failure that is none.
const CLOSED: &str = "closed";

pub fn export(arguments: &Export, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let Format::Geojson = arguments.format;
    let mut filter = Filter {
        kind: arguments.kind.clone(),
        ..Filter::default()
    };
    if let Some(kind) = &arguments.kind
        && schema::kind(kind).is_none()
    {
        return Err(
            Failure::usage(format!("there is no kind of record {kind:?}"))
                .hint("cairn explain hazardous_area says what one is."),
        );
    }
    if let Some(scope) = &arguments.scope {
        filter.scope = Some(device.find_scope(Some(scope))?);
    }
    let mut lines: Vec<Line> = device
        .list(filter)?
        .into_iter()
        .map(|one| one.line)
        .collect();
    // The same records give the same bytes.
    lines.sort_by_key(|line| line.id);
    let path = arguments.file.as_path();
    if path == Path::new("-") {
        match write(std::io::stdout().lock(), &lines, device, path) {
            // Whoever reads has read enough.
            Err(failure) if failure.code == CLOSED => return Ok(Ended::Done),
            written => written?,
        }
    } else {
        into_file(path, &lines, device)?;
        output.answer(
            &json!({
                "schema": "cairn.export/1",
                "file": path.display().to_string(),
                "format": "geojson",
                "records": lines.len(),
            }),
            String::new,
        );
    }
    output.say(&format!(
        "{} written. Positions of hazards are sensitive: share the file with care.",
        count(lines.len() as u64, "record")
    ));
    Ok(Ended::Done)
}

fn into_file(path: &Path, lines: &[Line], device: &Device) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::file("writing", path, &error);
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or a device: there is nothing to replace.
        let file = File::options().write(true).open(path).map_err(wrong)?;
        return write(file, lines, device, path).map(drop);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new()
        .prefix(".cairn-export-")
        .tempfile_in(folder)
        .map_err(wrong)?;
    write(beside.as_file(), lines, device, path)?;
    beside.as_file().sync_all().map_err(wrong)?;
    beside.persist(path).map_err(|error| wrong(error.error))?;
    // On the disk itself, so that the new name survives a power cut.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(wrong)
}

fn write(out: impl Write, lines: &[Line], device: &Device, path: &Path) -> Result<(), Failure> {
    let wrong = |error: WriteError| match error {
        WriteError::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Failure::new(CLOSED, "the reader closed the pipe")
        }
        WriteError::Io(error) => Failure::file("writing", path, &error),
        WriteError::Order => Failure::new("internal", error.to_string()),
    };
    let mut writer = GeoJsonWriter::new(BufWriter::new(out)).map_err(wrong)?;
    for lines in lines.chunks(RECORDS_AT_ONCE) {
        let named = lines.iter().map(|line| (line.scope, line.id)).collect();
        let keys: HashMap<DocumentId, Option<[u8; 32]>> = lines
            .iter()
            .map(|line| (line.id, line.import_key))
            .collect();
        for shown in device.records(named)? {
            let id = shown.id.to_string();
            let key = keys.get(&shown.id).copied().flatten();
            let feature = export_feature(&id, &shown.record, key.as_ref());
            writer
                .write(&id, feature.drawing(), &feature.properties)
                .map_err(wrong)?;
        }
    }
    writer.finish().map_err(wrong).map(drop)
}
