//! Logging in and out, where the paths are those of Concourse's login service.

pub(crate) mod attempts;
pub(crate) mod fly;
pub(crate) mod form;
pub(crate) mod login;
pub(crate) mod redirect;
pub(crate) mod signed;
pub(crate) mod token;
