//! `cargo sim SEED [COUNT]`: runs seeds and says what they came to; a failing one replays exactly.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(first)), count) = (arguments.next(), arguments.next()) else {
        say("usage: cargo sim SEED [COUNT]");
        return ExitCode::from(2);
    };
    let count = match count {
        None => 1,
        Some(Ok(count)) => count,
        Some(Err(_)) => {
            say("usage: cargo sim SEED [COUNT]");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for seed in first..first.saturating_add(count) {
        match cairn_sim::simulate(seed, cairn_sim::world::Bugs::default()) {
            Ok(report) => say(&format!("{report:?}")),
            Err(violation) => {
                failed += 1;
                say(&format!(
                    "seed {seed}: {violation}; replay with: cargo sim {seed}"
                ));
            }
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "its answer is its output")]
fn say(line: &str) {
    println!("{line}");
}
