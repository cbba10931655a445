//! The HTTP edge: Concourse's API, login and event streams.
