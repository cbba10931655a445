//! What an agent's programs reach, and what becomes of their connections.

use serde::{Deserialize, Serialize};

/// The way of an agent's programs out of its container. The gateway is reached whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reach", rename_all = "snake_case")]
pub enum Reach {
    /// There is none.
    #[default]
    Gateway,
    /// The gateway's proxy, which lets these hosts through. The harness listens for it at `listen`, an address of loopback.
    Hosts { hosts: Vec<String>, listen: String },
    /// A network.
    Full,
}

/// What the gateway's proxy lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// As the pipeline names them.
    pub hosts: Vec<String>,
    /// Names whose addresses may be private.
    #[serde(default)]
    pub private: Vec<PrivateHost>,
    /// Addresses that nothing leads to.
    #[serde(default)]
    pub denied: Vec<std::net::IpAddr>,
}

/// A name, or all below one, whose addresses may be private, if they are in this range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateHost {
    pub name: String,
    pub cidr: String,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionOutcome {
    /// It was let through.
    Allowed,
    Denied,
    /// It would have been let through, and the host could not be reached.
    Failed,
}
