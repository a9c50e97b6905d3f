//! `cairnd`: the relay daemon.

/// A relay with its centre that took in 100,000 small areas kept 209 MB with the system's allocator and
/// 139 MB with this one; with the bench's areas of thirty fields it keeps 178 MB right after the intake.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of the option that says after how many milliseconds memory that is free goes back to the
/// system, and what the library does where nobody says (nor `MIMALLOC_PURGE_DELAY`).
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
const PURGE_DELAY_DEFAULT_MS: std::ffi::c_long = 1000;
/// With the default, what hostile entries cost for a moment stays for as long as they keep coming: 51
/// to 65 MB, and 31 to 33 with this.
const PURGE_DELAY_MS: std::ffi::c_long = 1;

#[allow(
    unsafe_code,
    reason = "the allocator's options can be set in no other way"
)]
fn give_memory_back_soon() {
    // SAFETY: both take numbers alone, and no other thread runs yet. Where another version numbers its
    // options otherwise, the value found is another one, and nothing is set.
    unsafe {
        if libmimalloc_sys::mi_option_get(PURGE_DELAY) == PURGE_DELAY_DEFAULT_MS {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        }
    }
}

fn main() -> std::process::ExitCode {
    give_memory_back_soon();
    cairn_cli::cairnd()
}
