//! The table of `crates/README.md`, checked against what cargo and the sources say.

use cairn_tidy::{shipped_code, sources, workspace_root};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::BTreeSet;

/// Crate, the crates of this workspace it may depend on, and outside crates it must never name.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("wire", &[], &["automerge", "tokio", "sled", "quinn"]),
    ("keys", &["wire"], &["automerge", "tokio", "sled", "quinn"]),
    (
        "replica",
        &["wire", "keys"],
        &["automerge", "tokio", "sled", "quinn", "rand", "getrandom"],
    ),
    (
        "store",
        &["wire", "keys", "replica"],
        &["automerge", "tokio", "quinn"],
    ),
    (
        "documents",
        &["wire", "keys"],
        &["tokio", "sled", "quinn", "rand", "getrandom"],
    ),
    (
        "records",
        &["wire", "documents"],
        &["tokio", "sled", "quinn", "rand", "getrandom"],
    ),
    (
        "exchange",
        &["wire", "documents", "records"],
        &["tokio", "sled", "quinn"],
    ),
    (
        "member",
        &["wire", "keys", "replica", "documents", "records", "store"],
        &["tokio", "sled", "quinn"],
    ),
    (
        "transport",
        &["wire", "keys", "replica", "store"],
        &["automerge", "sled"],
    ),
    (
        "device",
        &[
            "wire",
            "keys",
            "replica",
            "documents",
            "records",
            "store",
            "member",
            "transport",
        ],
        &["sled", "quinn"],
    ),
    (
        "centre",
        &[
            "wire",
            "keys",
            "replica",
            "documents",
            "records",
            "exchange",
            "store",
            "member",
        ],
        &["sled", "quinn"],
    ),
    (
        "relay",
        &[
            "wire",
            "keys",
            "replica",
            "store",
            "transport",
            "member",
            "centre",
        ],
        &["automerge", "sled", "quinn"],
    ),
    (
        "cli",
        &["wire", "device", "exchange", "relay"],
        &["automerge", "sled", "quinn"],
    ),
];

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs");
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a folder");
        let crates = workspace_root().join("crates");
        if !folder.starts_with(crates.to_str().expect("the root is UTF-8")) {
            continue;
        }
        let name = folder.file_name().expect("a crate's folder has a name");
        assert_eq!(
            package.name.as_str(),
            format!("cairn-{name}"),
            "package of {folder}"
        );
        let (_, allowed, never) = TABLE
            .iter()
            .find(|(row, _, _)| *row == name)
            .unwrap_or_else(|| panic!("crates/{name} is not in the table of crates/README.md"));
        seen.insert(name.to_owned());
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Normal {
                continue;
            }
            if let Some(inner) = dependency.name.strip_prefix("cairn-") {
                assert!(
                    allowed.contains(&inner),
                    "crates/{name} may not depend on crates/{inner}"
                );
            }
            assert!(
                !never.contains(&dependency.name.as_str()),
                "crates/{name} must never know {}",
                dependency.name
            );
        }
    }
    for (name, _, _) in TABLE {
        assert!(
            seen.contains(*name),
            "crates/{name} is in the table but not in the tree"
        );
    }
}

#[test]
fn the_replica_is_a_pure_machine() {
    const ABSENT: &[&str] = &[
        "Instant::now",
        "SystemTime",
        "std::time::Instant",
        "std::fs",
        "std::net",
        "std::thread",
        "std::io",
        "std::env",
        "async ",
        ".await;",
        ".await?",
        ".await)",
        "thread_rng",
        "getrandom",
        "OsRng",
        "println!",
        "HashMap",
        "HashSet",
    ];
    for (path, text) in sources(&workspace_root().join("crates/replica/src")) {
        let code = shipped_code(&text);
        for word in ABSENT {
            assert!(!code.contains(word), "{} contains {word}", path.display());
        }
    }
}

#[test]
fn each_fragile_library_is_named_in_one_place() {
    let allowed: &[(&str, &str)] = &[
        ("bincode::", "crates/wire/src/codec.rs"),
        ("sled::", "crates/store/src/index/sled_index.rs"),
    ];
    let root = workspace_root();
    for (path, text) in sources(&root.join("crates")) {
        let place = path
            .strip_prefix(&root)
            .expect("sources lie below the root")
            .to_string_lossy()
            .replace('\\', "/");
        let code = shipped_code(&text);
        for (word, only) in allowed {
            assert!(
                !code.contains(word) || place == *only,
                "{place} names {word}, which belongs to {only} alone"
            );
        }
    }
}

#[test]
fn core_crates_take_time_and_randomness_as_arguments() {
    for name in [
        "wire",
        "keys",
        "documents",
        "records",
        "exchange",
        "store",
        "member",
    ] {
        for (path, text) in sources(&workspace_root().join("crates").join(name).join("src")) {
            let code = shipped_code(&text);
            for word in ["SystemTime::now", "getrandom::", "OsRng", "thread_rng"] {
                assert!(!code.contains(word), "{} contains {word}", path.display());
            }
        }
    }
}

#[test]
fn the_tree_has_the_shape_it_says() {
    let root = workspace_root();
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "crates",
        "proto",
        "tests",
        "deploy",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "target",
    ];
    for entry in std::fs::read_dir(&root).expect("the root is readable") {
        let name = entry.expect("the root is readable").file_name();
        let name = name.to_string_lossy();
        assert!(
            name.starts_with('.') || allowed.contains(&name.as_ref()),
            "{name} does not belong at the top level"
        );
    }
    for page in [
        "README.md",
        "CHANGELOG.md",
        "crates/README.md",
        "proto/README.md",
        "tests/README.md",
        "deploy/README.md",
        "tests/run",
        ".ci/run",
    ] {
        assert!(root.join(page).exists(), "{page} is missing");
    }
}

#[test]
fn every_crate_is_in_the_architecture_page() {
    let page = std::fs::read_to_string(workspace_root().join("crates/README.md"))
        .expect("crates/README.md is there");
    for (name, allowed, _) in TABLE {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("crates/README.md has no row for `{name}`"));
        let cell = row.split(" | ").nth(2).expect("a row has four cells");
        let named: BTreeSet<&str> = cell.split('`').skip(1).step_by(2).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert_eq!(
            named, allowed,
            "what `{name}` may depend on, page and table"
        );
    }
}

#[test]
fn decisions_are_numbered_without_gaps_and_listed() {
    let folder = workspace_root().join("crates/decisions");
    let page = std::fs::read_to_string(workspace_root().join("crates/README.md"))
        .expect("crates/README.md is there");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("crates/decisions is readable")
        .map(|entry| {
            let name = entry.expect("crates/decisions is readable").file_name();
            name.to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    for (at, name) in names.iter().enumerate() {
        let number = format!("{:04}", at + 1);
        assert!(
            name.starts_with(&format!("{number}-")),
            "{name} is not {number}"
        );
        assert!(
            page.contains(&format!("(decisions/{name})")),
            "{name} is not listed"
        );
        let text = std::fs::read_to_string(folder.join(name)).expect("a decision is text");
        assert!(
            text.starts_with(&format!("# {number}: ")),
            "the title of {name}"
        );
    }
}

#[test]
fn no_dependency_is_declared_for_nobody() {
    let root = workspace_root();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml is there");
    let (_, declared) = manifest
        .split_once("[workspace.dependencies]")
        .expect("the workspace declares dependencies");
    let declared = declared.split("\n[").next().unwrap_or_default();
    let mut taken = String::new();
    for folder in ["crates", "tests", "tests/faults"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder of the tree is readable")
        {
            let manifest = entry.expect("a folder of the tree is readable").path();
            taken.push('\n');
            taken.push_str(
                &std::fs::read_to_string(manifest.join("Cargo.toml")).unwrap_or_default(),
            );
        }
    }
    for line in declared.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        assert!(
            taken.contains(&format!("\n{name}.workspace"))
                || taken.contains(&format!("\n{name} = {{ workspace")),
            "no crate takes {name}"
        );
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = workspace_root();
    let pages = [
        "README.md",
        "crates/README.md",
        "proto/README.md",
        "proto/batch.md",
        "proto/membership.md",
        "proto/receipts.md",
        "proto/records.md",
        "proto/session.md",
        "tests/README.md",
        "deploy/README.md",
        "crates/decisions/0005-preflight.md",
        "crates/decisions/0006-key-commitments.md",
        "crates/decisions/0007-import-key.md",
        "crates/decisions/0009-receipts.md",
    ];
    for page in pages {
        let text = std::fs::read_to_string(root.join(page)).expect("the page is there");
        let folder = root
            .join(page)
            .parent()
            .expect("a page lies in a folder")
            .to_path_buf();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                folder.join(target).exists(),
                "{page} links to {target}, which is not there"
            );
        }
    }
}
