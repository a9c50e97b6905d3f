use super::*;

fn finished(device: &str, ended_s: u64) -> Finished {
    Finished {
        device: device.to_owned(),
        began_s: ended_s.saturating_sub(5),
        ended_s,
        incoming: true,
        address: "127.0.0.1:9".into(),
        app_bytes_sent: 10,
        app_bytes_received: 20,
        udp_bytes_sent: 30,
        udp_bytes_received: 40,
        round_trips: 1,
        entries_sent: 0,
        entries_received: 2,
        entries_refused: 0,
        equals: 1,
        backlog: Some(2),
        end: "done".into(),
        error: None,
    }
}

fn all(folder: &Path) -> Told {
    let asked = Asked {
        limit: 1_000_000,
        ..Asked::default()
    };
    read(folder, &asked).unwrap()
}

#[test]
fn what_was_appended_is_told_newest_first_and_by_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new(folder.path().join("sessions"));
    history.start(1).unwrap();
    let lost = Finished {
        end: "lost".into(),
        error: Some("timed out".into()),
        ..finished("b", 30)
    };
    history
        .append(vec![finished("a", 10), finished("b", 20), lost.clone()])
        .unwrap();
    let again = finished("c", 30);
    history.append(vec![again.clone()]).unwrap();
    assert_eq!(all(&history.members.folder).sessions[0], again);
    let told = read(
        &history.members.folder,
        &Asked {
            device: Some("b".into()),
            limit: 9,
            ..Asked::default()
        },
    )
    .unwrap();
    assert_eq!(told.sessions.len(), 2);
    assert_eq!(told.sessions[0], lost);
    assert_eq!((told.total, told.failed), (2, 1));
    assert_eq!(lost.in_words(), "the connection was lost (timed out)",);
    let asked = Asked {
        since_s: 15,
        device: Some("b".into()),
        limit: 1,
    };
    let told = read(&history.members.folder, &asked).unwrap();
    assert_eq!(told.sessions, [lost]);
    assert_eq!(told.total, 2);
}

#[test]
fn a_torn_line_is_dropped_and_a_kill_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions");
    let mut history = History::new(path.clone());
    history.start(1).unwrap();
    history
        .append(vec![finished("a", 10), finished("a", 20)])
        .unwrap();
    drop(history);
    let file = file(&path, 1);
    let whole = std::fs::read(&file).unwrap();
    let two_lines = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    // Whatever of the last line reached the disk, the two before it are there, and what follows too.
    for cut in two_lines..=whole.len() {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let mut history = History::new(path.clone());
        history.start(30).unwrap();
        history.append(vec![finished("c", 40)]).unwrap();
        let told = all(&path);
        let expected = if cut == whole.len() { 3 } else { 2 };
        assert_eq!(told.sessions.len(), expected, "cut at {cut}");
        assert_eq!(told.sessions[0].device, "c");
        assert_eq!(
            told.starts,
            [
                Start {
                    at_s: 30,
                    clean: false
                },
                Start {
                    at_s: 1,
                    clean: true
                }
            ]
        );
    }
    let mut history = History::new(path.clone());
    history.stop(50).unwrap();
    let mut history = History::new(path.clone());
    history.start(60).unwrap();
    assert!(all(&path).starts[0].clean);

    // Out of a backup that was made while it ran: that is no kill.
    let mut history = History::new(path.clone());
    history.restored(80, 70).unwrap();
    let mut history = History::new(path.clone());
    history.start(90).unwrap();
    let told = all(&path);
    assert!(told.starts[0].clean);
    let restore = Restore {
        at_s: 80,
        made_s: 70,
    };
    assert_eq!(told.restores, [restore]);
}

#[test]
fn the_oldest_file_goes_and_is_counted_by_month_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions");
    let mut ring = Ring {
        folder: path.clone(),
        files_max: 2,
        open: None,
    };
    let line = serde_json::to_vec(&Line::Session(finished("a", 1))).unwrap();
    let per_file = FILE_BYTES_MAX as usize / line.len() + 2;
    let many = |device: &str, ended_s| -> Vec<Line> {
        (0..per_file)
            .map(|_| Line::Session(finished(device, ended_s)))
            .collect()
    };
    let (november, december) = (1_764_000_000, 1_766_000_000);
    ring.append(&many("a", november)).unwrap();
    ring.append(&many("b", november)).unwrap();
    let before = std::fs::read(file(&path, 1)).unwrap();
    assert_eq!(all(&path).total, 2 * per_file as u64);
    assert!(all(&path).months.is_empty());
    ring.append(&[Line::Session(finished("a", december))])
        .unwrap();
    assert!(!file(&path, 1).exists());
    // Killed after it was counted and before it was gone.
    std::fs::write(file(&path, 1), before).unwrap();
    ring.open = None;
    ring.append(&[Line::Session(finished("a", december))])
        .unwrap();
    let told = all(&path);
    assert_eq!(told.total, per_file as u64 + 2);
    assert_eq!(told.months.len(), 1);
    assert_eq!(told.months[0].0, "2025-11");
    assert_eq!(told.months[0].1.sessions, per_file as u64);
    assert_eq!(told.months[0].1.app_bytes_received, 20 * per_file as u64);
    let asked = Asked {
        device: Some("b".into()),
        limit: 1,
        ..Asked::default()
    };
    assert!(read(&path, &asked).unwrap().months.is_empty());
}

#[test]
fn strangers_push_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new(folder.path().join("sessions"));
    history.append(vec![finished("a", 10)]).unwrap();
    let stranger = Finished {
        entries_received: 0,
        equals: 0,
        backlog: None,
        end: "unknown".into(),
        error: Some("x".repeat(ERROR_CHARACTERS_MAX)),
        ..finished("stranger", 20)
    };
    for _ in 0..16 {
        history.append(vec![stranger.clone(); 1000]).unwrap();
    }
    let told = all(&history.members.folder);
    assert!(told.sessions.iter().any(|one| one.device == "a"));
    let refused = numbers(&history.members.folder.join("refused")).unwrap();
    assert_eq!(refused.len(), REFUSED_FILES_MAX);
    assert!(refused[0] > 1);
}

#[test]
fn a_disk_that_takes_nothing_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions");
    // A file stands where the folder is to be.
    std::fs::write(&path, b"").unwrap();
    let mut history = History::new(path.clone());
    assert!(history.append(vec![finished("a", 10)]).is_err());
    std::fs::remove_file(&path).unwrap();
    history.append(vec![finished("b", 20)]).unwrap();
    assert_eq!(all(&path).total, 2);
}
