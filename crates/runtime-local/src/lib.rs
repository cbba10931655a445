//! Containers on this machine: namespaces, overlays, cgroups.
