//! Volumes as archives in a directory that many machines share, such as a claim of a cluster.
//!
//! Every volume is one file: a tar archive in one zstd frame that ends with a checksum, written under another name
//! and renamed when it is whole. So a volume is complete or not there, also where a writer dies or two write the
//! same one. The program of this crate does the same inside pods, where the directory is mounted. Where volumes lie in an
//! object store, the same archives are its objects, and the program is told by the server where to find them
//! ([`exchange`]).

pub mod alive;
mod caches;
pub mod command;
pub mod exchange;
pub mod frames;
mod name;
pub mod rest;
mod volumes;

pub use caches::{CACHES, Caches, cache_path};
pub use name::{file_name, handle_of_file};
pub use volumes::{
    Error, Kind, Volumes, empty_archive, extract_archive, extract_files, extract_root, pack_archive,
};
