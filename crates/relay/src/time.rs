//! The system's clock, and times as text. Nothing here decides about entries or membership.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by the system's clock; 0 before that.
pub(crate) fn now_s() -> u64 {
    since_1970_s(SystemTime::now())
}

pub(crate) fn since_1970_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// What [`utc`] wrote, in seconds since 1970; 0 for anything else.
pub(crate) fn from_utc(text: &str) -> u64 {
    let at = text
        .parse::<jiff::Timestamp>()
        .map_or(0, |at| at.as_second());
    u64::try_from(at).unwrap_or(0)
}

/// A time as `2026-11-24T07:05:00Z`.
pub(crate) fn utc(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{seconds} s after 1970"), |at| at.to_string())
}
