//! Making a device, and joining a programme.

use crate::arguments::{Init, Join};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;
use crate::{Ended, words};
use cairn_device::Device;
use cairn_wire::limits;
use serde_json::json;
use std::io::Read as _;

pub fn init(arguments: &Init, settings: &Settings, output: &Output) -> Result<Ended, Failure> {
    let name = match &arguments.name {
        Some(name) => name.trim().to_owned(),
        None => machine_name(),
    };
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control)
    {
        return Err(Failure::usage(format!(
            "a device's name has 1 to {} bytes and no control characters",
            limits::NAME_BYTES_MAX
        )));
    }
    let device = Device::create(&settings.folder, &name, &super::options()?)?;
    let id = device.device().to_string();
    device.close()?;
    output.answer(
        &json!({
            "schema": "cairn.device/1",
            "device": id,
            "name": name,
            "data_dir": settings.folder.display().to_string(),
            "encryption": false,
        }),
        || id.clone(),
    );
    output.say(&format!(
        "{name} is ready, in {}.",
        settings.folder.display()
    ));
    if !arguments.no_encryption {
        output.warn(
            "Protection by a passphrase is OFF: this version does not have it yet. Whoever takes this \
             machine can read what is recorded on it. Keep the folder on an encrypted disk; \
             --no-encryption says that you know.",
        );
    }
    output.say("Next: cairn join CODE, with a code from the coordination centre.");
    Ok(Ended::Done)
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = name.trim();
    let short: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
    if short.is_empty() {
        "this device".to_owned()
    } else {
        short
    }
}

pub fn join(arguments: &Join, device: &Device, output: &Output) -> Result<Ended, Failure> {
    let code = if arguments.code == "-" {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(limits::CODE_TEXT_BYTES_MAX as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| Failure::new("input", format!("reading standard input: {error}")))?;
        text
    } else {
        arguments.code.clone()
    };
    let joined = device.join(code.trim(), arguments.defer)?;
    let object = json!({
        "schema": "cairn.enrolled/1",
        "device": joined.device.to_string(),
        "relay": joined.addresses.first(),
        "relay_key": joined.relay.to_string(),
        "scopes": joined.scopes.iter().map(|scope| json!({
            "scope": scope.name,
            "id": scope.id.to_string(),
            "access": scope.access,
        })).collect::<Vec<_>>(),
        "deferred": joined.deferred,
    });
    output.answer(&object, || {
        let rows: Vec<Vec<String>> = joined
            .scopes
            .iter()
            .map(|scope| vec![scope.name.clone(), scope.access.clone()])
            .collect();
        output.table(&rows)
    });
    let names: Vec<String> = joined
        .scopes
        .iter()
        .map(|scope| {
            let may = access_in_words(&scope.access);
            format!("{} ({may})", words::harmless(&scope.name))
        })
        .collect();
    output.say(&if joined.deferred {
        format!(
            "The code is kept and used at the next sync. Records can be made already. Areas of work: {}. \
             Next: cairn new, and cairn sync when there is a network.",
            words::listed(&names)
        )
    } else {
        format!(
            "Joined. Areas of work: {}. Next: cairn sync.",
            words::listed(&names)
        )
    });
    Ok(Ended::Done)
}

/// What a right allows.
fn access_in_words(access: &str) -> &str {
    match access {
        "r" => "read",
        "rw" => "read and record",
        "rw+decide" => "read, record and decide",
        other => other,
    }
}
