//! The `approve` step, in both spellings: as a step of its own, and as `run` of the built-in prototype.

use std::str::FromStr as _;

use jb_authz::Role;
use jb_model::approval::{ApproveStep, Approvers};
use jb_model::duration::parse_duration;
use jb_yaml::Node;

use super::decoder::{Decoder, Empty, Fields};
use crate::diagnostic::Code;

/// The built-in prototype's name for approvals.
pub(super) const PROTOTYPE: &str = "approval";

/// `approve: name` with everything beside it.
pub(super) fn approve(d: &mut Decoder, f: &mut Fields<'_>) -> ApproveStep {
    let name = d.text(f, "approve", Empty::Keep);
    d.in_context(&[format!(".approve({name})")], |d| step(d, f, name))
}

/// `run: name`, `type: approval` with everything in `params`.
pub(super) fn prototype(d: &mut Decoder, f: &mut Fields<'_>) -> ApproveStep {
    super::agent::in_params(d, f, PROTOTYPE, step)
}

fn step(d: &mut Decoder, f: &mut Fields<'_>, name: String) -> ApproveStep {
    timeout(d, f);
    let message = d.text(f, "message", Empty::Omit);
    let artifacts = d.texts(f, "artifacts");
    let (approvers, quorum) = people(d, f);
    ApproveStep { name, message, artifacts, approvers, quorum }
}

/// Who may answer, and how many have to.
pub(super) fn people(d: &mut Decoder, f: &mut Fields<'_>) -> (Approvers, u32) {
    let roles = names(d, f, "roles", |name| Role::from_str(name).map(drop).map_err(unknown_role));
    let users = names(d, f, "users", connected);
    let groups = names(d, f, "groups", connected);
    (Approvers { roles, users, groups }, quorum(d, f))
}

/// Says what is wrong with a time limit, and leaves it for whoever takes it.
pub(super) fn timeout(d: &mut Decoder, f: &Fields<'_>) {
    let Some(node) = f.find("timeout") else { return };
    let Some(text) = node.as_str().filter(|text| !text.is_empty() && !text.contains("((")) else {
        return;
    };
    if parse_duration(text).is_err() {
        let message = format!("invalid duration '{text}'");
        d.within("timeout", |d| d.fail(Code::InvalidDuration, message, node.span));
    }
}

/// A list of names, each of which has to be right unless it has vars, which are read when the step runs.
fn names(
    d: &mut Decoder,
    f: &mut Fields<'_>,
    key: &'static str,
    check: fn(&str) -> Result<(), String>,
) -> Vec<String> {
    let items: Vec<Node> =
        f.find(key).and_then(Node::as_list).map(<[Node]>::to_vec).unwrap_or_default();
    for (index, node) in items.iter().enumerate() {
        let Some(name) = node.as_str().filter(|name| !name.contains("((")) else { continue };
        if let Err(message) = check(name) {
            let span = node.span;
            d.within(key, |d| d.within(index, |d| d.fail(Code::InvalidValue, message, span)));
        }
    }
    d.texts(f, key)
}

fn unknown_role(message: String) -> String {
    let known: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
    format!("{message}; there are {}", known.join(", "))
}

fn connected(name: &str) -> Result<(), String> {
    match name.split_once(':') {
        Some((connector, name)) if !connector.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(format!("'{name}' is not named as 'connector:name', as in 'local:ann'")),
    }
}

fn quorum(d: &mut Decoder, f: &mut Fields<'_>) -> u32 {
    let count = super::agent::positive(d, f, "quorum").unwrap_or(1);
    u32::try_from(count).unwrap_or(u32::MAX)
}
