//! The commands of a device.

mod exporting;
mod held;
mod import_rows;
mod importing;
mod listing;
mod near;
mod reading;
mod setup;
mod status;
mod syncing;
mod values;
mod writing;

pub(crate) use reading::{field_in_lines, record_in_lines};
pub(crate) use syncing::interrupted;
pub(crate) use values::{in_words, one_line};

use crate::arguments::{Command, ConfigCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;
use crate::{Ended, words};
use cairn_device::records::schema::{self, Kind};
use cairn_device::{Device, DeviceOptions};

pub(crate) fn field(
    command: Command,
    settings: &Settings,
    output: &Output,
) -> Result<Ended, Failure> {
    match command {
        Command::Init(arguments) => return setup::init(&arguments, settings, output),
        Command::Explain(arguments) => return reading::explain(&arguments, output),
        Command::Config(arguments) => {
            let ConfigCommand::Show { origin } = arguments.command;
            status::settings(origin, settings, output);
            return Ok(Ended::Done);
        }
        _ => {}
    }
    let device = open(settings, output)?;
    let ended = on_device(command, &device, output);
    if let (Ok(_), Err(error)) = (&ended, device.close()) {
        // What was reported is in the segments; only the index lags behind, and catches up by itself.
        output.warn(&format!(
            "What was saved is safe, but this device could not tidy up: {error}. Check that its disk is \
             there and not full."
        ));
    }
    ended
}

fn on_device(command: Command, device: &Device, output: &Output) -> Result<Ended, Failure> {
    match command {
        Command::Join(arguments) => setup::join(&arguments, device, output),
        Command::New(arguments) => writing::new(&arguments, device, output),
        Command::Edit(arguments) => writing::edit(&arguments, device, output),
        Command::Withdraw(arguments) => writing::withdraw(&arguments, device, output),
        Command::Decide(arguments) => writing::decide(&arguments, device, output),
        Command::List(arguments) => listing::list(&arguments, device, output),
        Command::Near(arguments) => near::near(&arguments, device, output),
        Command::Show(arguments) => reading::show(&arguments, device, output),
        Command::Conflicts(arguments) => reading::conflicts(&arguments, device, output),
        Command::Status => status::status(device, output),
        Command::Check(arguments) => status::check(&arguments, device, output),
        Command::Sync(arguments) => syncing::sync(&arguments, device, output),
        Command::Import(arguments) => importing::import(&arguments, device, output),
        Command::Export(arguments) => exporting::export(&arguments, device, output),
        Command::Demo(_)
        | Command::Init(_)
        | Command::Explain(_)
        | Command::Completions(_)
        | Command::Config(_)
        | Command::Ops(_)
        | Command::RelayDaemon { .. } => {
            Err(Failure::new("internal", "this command needs no device"))
        }
    }
}

fn options() -> Result<DeviceOptions, Failure> {
    Ok(DeviceOptions {
        bandwidth_bytes_per_second: crate::settings::throttle()?,
        ..DeviceOptions::default()
    })
}

pub(crate) fn open(settings: &Settings, output: &Output) -> Result<Device, Failure> {
    let device = Device::open(&settings.folder, &options()?)?;
    say_what_opening_found(&device, output);
    Ok(device)
}

fn say_what_opening_found(device: &Device, output: &Output) {
    let opened = device.opened();
    let store = &opened.store;
    if store.rebuilt.is_some() && !store.created {
        output.warn(
            "The index on this device was missing or damaged and has been rebuilt from what was written. \
             Nothing needs to be done.",
        );
    }
    if store.format_mended {
        output.warn("A small file of this device's store was missing or damaged and has been written again.");
    }
    if store.lost_frames > 0 {
        output.warn(&format!(
            "{} written here could not be read again: the disk may be failing. What others have comes \
             back with the next sync. Run cairn check.",
            words::count(store.lost_frames, "piece")
        ));
    }
    if opened.copied {
        output.warn(
            "This device's folder is a copy, or was restored. Both can be used: each goes on under a \
             mark of its own, and nothing is lost.",
        );
    }
}

/// The kind that somebody named, or which there are.
fn known_kind(name: &str) -> Result<&'static Kind, Failure> {
    schema::kind(name).ok_or_else(|| {
        let known: Vec<&str> = schema::kinds().map(|kind| kind.name.as_str()).collect();
        Failure::usage(format!("there is no kind of record {name:?}"))
            .hint(format!("There is: {}.", known.join(", ")))
    })
}
