//! Who the step's process will run as, so that volumes can be handed over.

use std::path::Path;

use jb_archive::owner;

use crate::launch::{Attempt, Failure};

/// User and group id inside the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Ids {
    pub(super) const ROOT: Self = Self { user: 0, group: 0 };

    pub(super) fn is_root(self) -> bool {
        self == Self::ROOT
    }
}

/// Finds a user by the files of the root file system, which is the container's by now.
pub(super) fn resolve(user: &str) -> Result<Ids, Failure> {
    if user.is_empty() {
        return Ok(Ids::ROOT);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    find(user, &passwd, &group).map_err(Failure::image)
}

/// `name`, `id`, and either with `:group`, as images name their user.
pub(super) fn find(user: &str, passwd: &str, groups: &str) -> Result<Ids, String> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let field = |line: &str, n: usize| line.split(':').nth(n).map(str::to_owned);
    let entry = passwd.lines().find(|line| {
        field(line, 0).is_some_and(|found| found == name)
            || (id(name).is_some() && field(line, 2).as_deref().and_then(id) == id(name))
    });
    let user_id = entry
        .and_then(|line| id(&field(line, 2)?))
        .or_else(|| id(name))
        .ok_or_else(|| format!("user `{name}` is not in /etc/passwd of the image"))?;
    let group_id = match group {
        None => entry.and_then(|line| id(&field(line, 3)?)).unwrap_or(0),
        Some(group) => groups
            .lines()
            .find(|line| field(line, 0).is_some_and(|found| found == group))
            .and_then(|line| id(&field(line, 2)?))
            .or_else(|| id(group))
            .ok_or_else(|| format!("group `{group}` is not in /etc/group of the image"))?,
    };
    Ok(Ids { user: user_id, group: group_id })
}

/// Makes the working directory if it is missing, and then it is the user's.
pub(super) fn make_working_dir(path: &str, user: Ids) -> Result<(), Failure> {
    let path = Path::new(path);
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)
        .attempt(|| format!("cannot make the working directory `{}`", path.display()))?;
    std::os::unix::fs::chown(path, Some(user.user), Some(user.group))
        .attempt(|| format!("cannot give `{}` to user {}", path.display(), user.user))
}

/// Hands a volume's top directory over, and nothing in it.
pub(super) fn give_top(path: &Path, user: Ids) -> Result<(), Failure> {
    if owned_by(path, user)? {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(user.user), Some(user.group))
        .attempt(|| format!("cannot give `{}` to user {}", path.display(), user.user))
}

/// Hands a volume over unless its top directory shows that it was before.
pub(super) fn give_tree_once(path: &Path, user: Ids) -> Result<(), Failure> {
    owner::give_tree_once(path, user.user, user.group)
        .attempt(|| format!("cannot give `{}` to user {}", path.display(), user.user))
}

fn owned_by(path: &Path, user: Ids) -> Result<bool, Failure> {
    owner::is_owned_by(path, user.user, user.group)
        .attempt(|| format!("cannot read `{}`", path.display()))
}

/// Hands everything in a volume over.
pub(super) fn give_tree(path: &Path, user: Ids) -> Result<(), Failure> {
    owner::give_tree(path, user.user, user.group)
        .attempt(|| format!("cannot give `{}` to user {}", path.display(), user.user))
}

#[cfg(test)]
mod tests;
