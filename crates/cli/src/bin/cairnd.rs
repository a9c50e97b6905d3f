//! `cairnd`: the relay daemon.

fn main() -> std::process::ExitCode {
    cairn_cli::cairnd()
}
