//! Records into a file: whole or not at all.

use crate::Ended;
use crate::arguments::{Export, Format};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::count;
use cairn_device::records::schema;
use cairn_device::{Device, Filter, Line};
use cairn_exchange::{GeoJsonWriter, WriteError, export_feature};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

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
        write(std::io::stdout().lock(), &lines, device, path)?;
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
        // Whoever reads has read enough.
        WriteError::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Failure::new("closed", "the reader closed the pipe").exit(0)
        }
        WriteError::Io(error) => Failure::file("writing", path, &error),
        WriteError::Order => Failure::new("internal", error.to_string()),
    };
    let mut writer = GeoJsonWriter::new(BufWriter::new(out)).map_err(wrong)?;
    for line in lines {
        let id = line.id.to_string();
        let shown = device.show(&id, None)?;
        let feature = export_feature(&id, &shown.record, line.import_key.as_ref());
        writer
            .write(&id, feature.drawing(), &feature.properties)
            .map_err(wrong)?;
    }
    writer.finish().map_err(wrong).map(drop)
}
