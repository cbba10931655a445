//! The content of volumes as tar archives: read through stacked directories, packed, and extracted without leaving
//! the directory they are extracted into, whatever they and it hold.

pub mod merged;
pub mod owner;
pub mod pack;
pub mod privilege;
pub mod unpack;
