//! The content of volumes: reading through stacked directories, packing, and safe unpacking.

pub(crate) mod merged;
pub(crate) mod pack;
pub(crate) mod unpack;
