//! `cairnd`: the relay daemon.

/// A relay that took in 100,000 areas keeps 209 MB with the system's allocator, 139 MB with this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cairn_cli::cairnd()
}
