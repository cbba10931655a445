//! Roles, routes and who may do what.
