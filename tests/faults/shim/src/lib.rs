//! A disk that fails when it is told to: loaded before libc (`LD_PRELOAD`) into the real programs.
//!
//! It counts what a process does to files below `CAIRN_FAULT_DIR` (writes, syncs, new names, new
//! lengths) and spoils the `CAIRN_FAULT_AT`-th, in the way that `CAIRN_FAULT_KIND` says:
//!
//! | kind | what happens |
//! | --- | --- |
//! | `eio` | that one fails with EIO, nothing of it is done |
//! | `dead` | that one and all after it fail with EIO |
//! | `enospc` | that one fails with ENOSPC, and so does everything after it that needs room |
//! | `short` | a write takes half and says so, as a system may; anything else goes well |
//! | `torn` | a write takes half and fails with EIO; anything else fails with EIO |
//!
//! `CAIRN_FAULT_LOG` names a file to which a line is added for each operation. If
//! `CAIRN_FAULT_ARMED` is set, nothing counts while the file of that name is absent.
//!
//! `CAIRN_FAULT_CLOCK_S` moves the wall clock by that many seconds. For tests only:
//! nothing that is shipped links it.

// Functions of libc are replaced here, which only unsafe code can do. What they are handed is passed
// on to the kernel as it came; nothing but names is ever read, and names end in a zero by contract.
#![allow(unsafe_code)]
#![cfg(target_os = "linux")]

use libc::{c_char, c_int, c_long, c_void, iovec, mode_t, off_t, size_t, ssize_t};
use std::ffi::CStr;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Eio,
    Dead,
    Enospc,
    Short,
    Torn,
}

/// What an operation does, as far as faults differ by it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Write,
    Sync,
    /// A name or a length, which need room.
    Name,
}

struct Plan {
    dir: Vec<u8>,
    at: u64,
    kind: Kind,
    log: c_int,
    armed: Option<Vec<u8>>,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
static COUNT: AtomicU64 = AtomicU64::new(0);

fn plan() -> Option<&'static Plan> {
    PLAN.get_or_init(read_plan).as_ref()
}

fn read_plan() -> Option<Plan> {
    let variable = |name: &str| std::env::var(name).ok();
    let with_zero = |text: String| [text.as_bytes(), b"\0"].concat();
    let log = variable("CAIRN_FAULT_LOG").map_or(-1, |name| {
        let name = with_zero(name);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: `name` ends in a zero and lives until the call is over.
        unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                name.as_ptr(),
                flags,
                0o600,
            ) as c_int
        }
    });
    Some(Plan {
        dir: variable("CAIRN_FAULT_DIR")?.into_bytes(),
        at: variable("CAIRN_FAULT_AT")
            .and_then(|at| at.parse().ok())
            .unwrap_or(0),
        kind: match variable("CAIRN_FAULT_KIND").as_deref() {
            Some("dead") => Kind::Dead,
            Some("enospc") => Kind::Enospc,
            Some("short") => Kind::Short,
            Some("torn") => Kind::Torn,
            _ => Kind::Eio,
        },
        log,
        armed: variable("CAIRN_FAULT_ARMED").map(with_zero),
    })
}

/// What is to become of an operation.
enum Verdict {
    Pass,
    Fail(c_int),
    /// Write half; then say so, or fail with this.
    Half(Option<c_int>),
}

fn judge(operation: Operation, what: &str, bytes: usize, path: &[u8]) -> Verdict {
    let Some(plan) = plan() else {
        return Verdict::Pass;
    };
    if !path.starts_with(&plan.dir) || !is_armed(plan) {
        return Verdict::Pass;
    }
    let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    let verdict = if plan.at == 0 || number < plan.at {
        Verdict::Pass
    } else if number == plan.at {
        match plan.kind {
            Kind::Eio | Kind::Dead => Verdict::Fail(libc::EIO),
            Kind::Enospc => Verdict::Fail(libc::ENOSPC),
            Kind::Short if operation == Operation::Write => Verdict::Half(None),
            Kind::Short => Verdict::Pass,
            Kind::Torn if operation == Operation::Write => Verdict::Half(Some(libc::EIO)),
            Kind::Torn => Verdict::Fail(libc::EIO),
        }
    } else {
        match plan.kind {
            Kind::Dead => Verdict::Fail(libc::EIO),
            Kind::Enospc if operation != Operation::Sync => Verdict::Fail(libc::ENOSPC),
            _ => Verdict::Pass,
        }
    };
    note(plan, number, what, bytes, path, &verdict);
    verdict
}

fn is_armed(plan: &Plan) -> bool {
    let Some(name) = &plan.armed else {
        return true;
    };
    // SAFETY: `name` ends in a zero, see `read_plan`.
    unsafe {
        libc::syscall(
            libc::SYS_faccessat,
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::F_OK,
        ) == 0
    }
}

/// A line in a buffer on the stack: whoever writes may hold the allocator's locks.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.len() - self.length;
        let taken = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.length..self.length + taken.len()].copy_from_slice(taken);
        self.length += taken.len();
        Ok(())
    }
}

fn note(plan: &Plan, number: u64, what: &str, bytes: usize, path: &[u8], verdict: &Verdict) {
    if plan.log < 0 {
        return;
    }
    let word = match verdict {
        Verdict::Pass => "ok",
        Verdict::Fail(_) => "FAILED",
        Verdict::Half(_) => "HALF",
    };
    let name = path.strip_prefix(plan.dir.as_slice()).unwrap_or(path);
    let name = std::str::from_utf8(name).unwrap_or("?");
    let mut line = Line {
        bytes: [0; 512],
        length: 0,
    };
    let _ = writeln!(line, "{number} {what} {bytes} {name} {word}");
    // SAFETY: the buffer lives, and `length` bytes of it are filled.
    unsafe { libc::syscall(libc::SYS_write, plan.log, line.bytes.as_ptr(), line.length) };
}

fn fail(error: c_int) -> c_long {
    // SAFETY: libc gives every thread a place for its error.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// The name of an open file, in `into`.
fn name_of(file: c_int, into: &mut [u8; 512]) -> &[u8] {
    if plan().is_none() {
        return &[];
    }
    let mut link = Line {
        bytes: [0; 512],
        length: 0,
    };
    let _ = write!(link, "/proc/self/fd/{file}\0");
    // SAFETY: `link` ends in a zero, and no more than the buffer's length is written to it.
    let length = unsafe {
        libc::syscall(
            libc::SYS_readlinkat,
            libc::AT_FDCWD,
            link.bytes.as_ptr(),
            into.as_mut_ptr(),
            into.len(),
        )
    };
    &into[..usize::try_from(length).unwrap_or(0)]
}

fn judge_file(operation: Operation, what: &str, bytes: usize, file: c_int) -> Verdict {
    let mut name = [0; 512];
    // Whoever looks at the error after a success must find it as it was.
    // SAFETY: libc gives every thread a place for its error.
    let error = unsafe { *libc::__errno_location() };
    let verdict = judge(operation, what, bytes, name_of(file, &mut name));
    fail(error);
    verdict
}

fn judge_name(what: &str, name: *const c_char) -> Verdict {
    if name.is_null() {
        return Verdict::Pass;
    }
    // SAFETY: the caller promises libc a name that ends in a zero.
    let name = unsafe { CStr::from_ptr(name) };
    judge(Operation::Name, what, 0, name.to_bytes())
}

/// Does the half and then what `verdict` says, or passes on.
fn written(verdict: Verdict, bytes: usize, write: impl Fn(usize) -> c_long) -> ssize_t {
    let result = match verdict {
        Verdict::Pass => write(bytes),
        Verdict::Fail(error) => fail(error),
        Verdict::Half(error) => {
            let done = write(bytes.div_ceil(2));
            error.map_or(done, fail)
        }
    };
    result as ssize_t
}

fn passed(verdict: Verdict, call: impl FnOnce() -> c_long) -> c_int {
    let result = match verdict {
        Verdict::Fail(error) | Verdict::Half(Some(error)) => fail(error),
        Verdict::Pass | Verdict::Half(None) => call(),
    };
    result as c_int
}

/// See write(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, from: *const c_void, bytes: size_t) -> ssize_t {
    let verdict = judge_file(Operation::Write, "write", bytes, file);
    // SAFETY: as the caller promised, or less of it.
    written(verdict, bytes, |bytes| unsafe {
        libc::syscall(libc::SYS_write, file, from, bytes)
    })
}

/// See writev(2). Half of it is half of its first part.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let verdict = judge_file(Operation::Write, "writev", 0, file);
    match verdict {
        Verdict::Half(_) if count > 0 => {
            // SAFETY: the caller promises `count` parts.
            let first = unsafe { *parts };
            written(verdict, first.iov_len, |bytes| unsafe {
                // SAFETY: as the caller promised, or less of it.
                libc::syscall(libc::SYS_write, file, first.iov_base, bytes)
            })
        }
        // SAFETY: as the caller promised.
        verdict => written(verdict, 0, |_| unsafe {
            libc::syscall(libc::SYS_writev, file, parts, count)
        }),
    }
}

/// See pwrite(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    file: c_int,
    from: *const c_void,
    bytes: size_t,
    at: off_t,
) -> ssize_t {
    let verdict = judge_file(Operation::Write, "pwrite", bytes, file);
    // SAFETY: as the caller promised, or less of it.
    written(verdict, bytes, |bytes| unsafe {
        libc::syscall(libc::SYS_pwrite64, file, from, bytes, at)
    })
}

/// See pwrite(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, from: *const c_void, bytes: size_t, at: off_t) -> ssize_t {
    // SAFETY: the same function.
    unsafe { pwrite64(file, from, bytes, at) }
}

/// See fsync(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    let verdict = judge_file(Operation::Sync, "fsync", 0, file);
    // SAFETY: the kernel checks the number.
    passed(verdict, || unsafe { libc::syscall(libc::SYS_fsync, file) })
}

/// See fdatasync(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    let verdict = judge_file(Operation::Sync, "fdatasync", 0, file);
    // SAFETY: the kernel checks the number.
    passed(verdict, || unsafe {
        libc::syscall(libc::SYS_fdatasync, file)
    })
}

/// See sync_file_range(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(file: c_int, at: off_t, bytes: off_t, flags: u32) -> c_int {
    let verdict = judge_file(Operation::Sync, "sync_file_range", 0, file);
    // SAFETY: the kernel checks the numbers.
    passed(verdict, || unsafe {
        libc::syscall(libc::SYS_sync_file_range, file, at, bytes, flags)
    })
}

/// See ftruncate(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, length: off_t) -> c_int {
    let verdict = judge_file(Operation::Name, "ftruncate", 0, file);
    // SAFETY: the kernel checks the numbers.
    passed(verdict, || unsafe {
        libc::syscall(libc::SYS_ftruncate, file, length)
    })
}

/// See ftruncate(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(file: c_int, length: off_t) -> c_int {
    // SAFETY: the same function.
    unsafe { ftruncate64(file, length) }
}

/// See rename(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let verdict = judge_name("rename", to);
    // SAFETY: as the caller promised.
    passed(verdict, || unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from,
            libc::AT_FDCWD,
            to,
            0,
        )
    })
}

/// See linkat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    let verdict = judge_name("link", to);
    // SAFETY: as the caller promised.
    passed(verdict, || unsafe {
        libc::syscall(libc::SYS_linkat, from_folder, from, to_folder, to, flags)
    })
}

/// See mkdir(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(name: *const c_char, mode: mode_t) -> c_int {
    let verdict = judge_name("mkdir", name);
    // SAFETY: as the caller promised.
    passed(verdict, || unsafe {
        libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, name, mode)
    })
}

/// See open(2); counted where it makes a file. The third argument travels in a register whether or
/// not a function takes any number of them, on every machine that these tests run on.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as the caller promised.
    let makes = flags & libc::O_CREAT != 0
        && unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, name, libc::F_OK) != 0 };
    let verdict = match makes {
        true => judge_name("create", name),
        false => Verdict::Pass,
    };
    // SAFETY: as the caller promised.
    passed(verdict, || unsafe {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name, flags, mode)
    })
}

/// See open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the same function.
    unsafe { open64(name, flags, mode) }
}

/// Seconds by which the wall clock is wrong: `CAIRN_FAULT_CLOCK_S`.
fn clock_is_wrong_by() -> i64 {
    static SECONDS: OnceLock<i64> = OnceLock::new();
    *SECONDS.get_or_init(|| {
        let text = std::env::var("CAIRN_FAULT_CLOCK_S").ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    })
}

/// See clock_gettime(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, into: *mut libc::timespec) -> c_int {
    // SAFETY: as the caller promised.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) } as c_int;
    if result == 0 && clock == libc::CLOCK_REALTIME && !into.is_null() {
        // SAFETY: the kernel has just written to it.
        unsafe { (*into).tv_sec += clock_is_wrong_by() };
    }
    result
}
