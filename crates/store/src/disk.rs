//! The little that segments ask of a disk, so that the same code runs on a real one and on a model
//! that loses power.

pub mod model;
pub mod real;

use std::io;

/// A folder of append-only files.
///
/// What an implementation promises: what was appended before a [`Disk::sync_data`] that returned
/// `Ok` survives a power cut, if the file's name was there at a [`Disk::sync_dir`] that returned
/// `Ok`. Nothing else is promised, and callers rely on nothing else.
pub trait Disk: Send + Sync {
    /// Names of the files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; an error if there is one of that name.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes at the end of a file.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Waits until the bytes and the length of a file are on the disk.
    fn sync_data(&mut self, name: &str) -> io::Result<()>;
    /// Waits until the names of the files are on the disk.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// Length of a file in bytes.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Fills as much of `into` as there is from `offset` on; answers how much that was.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Gives a file another name, in place of one that may have it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Takes away a file that was never part of the store: a half-made one.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}
