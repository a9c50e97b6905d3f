//! `cairn`: records in the field, and `cairn ops` for the coordination centre.

fn main() -> std::process::ExitCode {
    cairn_cli::cairn()
}
