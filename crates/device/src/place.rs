//! Where a device's folder lies: by which a copy of it is known for one.
//!
//! A file that is copied or restored becomes another file: it gets a number and a date of birth of its
//! own, and on another machine that machine's id. Nobody needs to understand them; where they are not
//! what they were, the folder counts as a copy, begins a new incarnation and a new epoch, and loses
//! nothing by it. What this cannot see (a virtual machine set back) shows when the device's own log
//! comes back from a relay.

use cairn_wire::hash;
use std::path::Path;
use std::time::UNIX_EPOCH;

const PLACE_CONTEXT: &str = "cairn 2026 place of a device folder v1";

/// What files are, apart from their content; `None` where the system does not say of all of them.
pub(crate) fn place_of(files: &[&Path]) -> Option<[u8; 32]> {
    let mut parts = vec![std::fs::read("/etc/machine-id").unwrap_or_default()];
    for file in files {
        let metadata = std::fs::metadata(file).ok()?;
        let born = metadata.created().ok();
        let born = born.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born = born.map_or(0, |at| at.as_nanos());
        parts.push(number(&metadata).to_be_bytes().to_vec());
        parts.push(born.to_be_bytes().to_vec());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Some(hash::derive(PLACE_CONTEXT, &parts))
}

#[cfg(unix)]
fn number(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_another_place_and_a_renamed_file_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, three) = (
            dir.path().join("1"),
            dir.path().join("2"),
            dir.path().join("3"),
        );
        std::fs::write(&one, b"key").unwrap();
        let place = place_of(&[&one]).unwrap();
        std::fs::copy(&one, &two).unwrap();
        assert_ne!(place_of(&[&two]), Some(place));
        std::fs::rename(&one, &three).unwrap();
        assert_eq!(place_of(&[&three]), Some(place));
        assert_eq!(place_of(&[&one]), None);
    }
}
