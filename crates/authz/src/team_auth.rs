//! Who has which role on a team, from what the team's configuration says of users and groups.

use std::collections::BTreeMap;

use crate::{Actor, Role};

/// What a login told about a person, with connector-free names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Where the person logged in, e.g. `local` or `github`.
    pub connector: String,
    pub user_id: String,
    /// The preferred user name, or else the name.
    pub user_name: String,
    pub groups: Vec<String>,
}

/// Users and groups that have a role, each as `connector:name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleAuth {
    pub users: Vec<String>,
    pub groups: Vec<String>,
}

/// A team's roles. Roles that the server does not know give nothing.
pub type TeamAuth = BTreeMap<String, RoleAuth>;

/// The roles of a person on a team, lowest first. A role with neither users nor groups belongs to everyone.
pub fn roles_of(identity: &Identity, auth: &TeamAuth) -> Vec<Role> {
    let (users, groups) = names_of(identity);
    let mut roles: Vec<Role> = auth
        .iter()
        .filter(|(_, auth)| {
            (auth.users.is_empty() && auth.groups.is_empty())
                || any_equal(&auth.users, &users)
                || any_equal(&auth.groups, &groups)
        })
        .filter_map(|(role, _)| role.parse().ok())
        .collect();
    roles.sort_unstable();
    roles
}

/// Who may answer a question of a team's build.
#[derive(Clone, Copy, Debug)]
pub struct Approvers<'a> {
    /// Roles on the team. Names that the server does not know give nothing.
    pub roles: &'a [String],
    /// Each as `connector:name`, as the groups.
    pub users: &'a [String],
    pub groups: &'a [String],
}

/// Whether someone is among the approvers: by a role, which higher ones and administrators have, too, or by name.
pub fn may_answer(
    approvers: Approvers<'_>,
    identity: &Identity,
    actor: &Actor,
    team: &str,
) -> bool {
    let mut roles = approvers.roles.iter().filter_map(|role| role.parse().ok());
    if roles.any(|role: Role| actor.has_role(team, Some(role))) {
        return true;
    }
    let (users, groups) = names_of(identity);
    any_equal(approvers.users, &users) || any_equal(approvers.groups, &groups)
}

/// Everything a person and their groups are called, each as `connector:name`.
fn names_of(identity: &Identity) -> (Vec<String>, Vec<String>) {
    let connector = if identity.connector.eq_ignore_ascii_case("cloudfoundry") {
        "cf"
    } else {
        identity.connector.as_str()
    };
    let names = |name: &String| (!name.is_empty()).then(|| format!("{connector}:{name}"));
    let users = [&identity.user_id, &identity.user_name].into_iter().filter_map(names).collect();
    (users, identity.groups.iter().filter_map(names).collect())
}

fn any_equal(allowed: &[String], given: &[String]) -> bool {
    allowed
        .iter()
        .any(|allowed| given.iter().any(|given| allowed.to_lowercase() == given.to_lowercase()))
}
