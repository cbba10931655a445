//! Who a process runs as, by the container's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;

#[cfg(test)]
mod tests;

/// A user as the kernel and the environment see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
    pub(crate) name: String,
}

/// Databases larger than this are cut: no image has them.
const MAX_DATABASE: u64 = 4 << 20;

/// The identity of `user` (`None`: the runner's own).
pub(crate) fn identify(user: Option<&str>) -> Result<Identity, String> {
    let own = rustix::process::geteuid().as_raw().to_string();
    let user = user.filter(|user| !user.is_empty()).unwrap_or(&own);
    resolve(user, &read_database("/etc/passwd"), &read_database("/etc/group"))
}

/// Empty when missing. Only a plain file is read: an image must not be able to block the runner.
fn read_database(path: &str) -> String {
    if !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What could be read counts.
        let _ = file.take(MAX_DATABASE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

/// Name, number and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// `name`, `uid`, either with `:group` or `:gid`. A number need not be in the files; the name
/// `root` neither. A name comes before a number.
fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let number = user.parse::<u32>().ok();
    let account = accounts(passwd)
        .find(|account| account.name == user)
        .or_else(|| accounts(passwd).find(|account| Some(account.uid) == number));
    let mut identity = match (account, number) {
        (Some(account), _) => Identity {
            uid: account.uid,
            gid: account.gid,
            groups: groups(group)
                .filter(|(_, _, members)| members.split(',').any(|name| name == account.name))
                .map(|(_, gid, _)| gid)
                .collect(),
            home: account.home.to_owned(),
            name: account.name.to_owned(),
        },
        (None, Some(uid)) => unlisted(uid, user),
        (None, None) if user == "root" => unlisted(0, user),
        (None, None) => {
            return Err(format!("user `{user}` is not in the container's /etc/passwd"));
        }
    };
    if identity.home.is_empty() {
        "/".clone_into(&mut identity.home);
    }
    if let Some(wanted) = wanted_group {
        identity.gid = groups(group)
            .find(|(name, _, _)| *name == wanted)
            .map(|(_, gid, _)| gid)
            .or_else(|| wanted.parse().ok())
            .ok_or_else(|| format!("group `{wanted}` is not in the container's /etc/group"))?;
        // Who names a group wants that one only.
        identity.groups.clear();
    }
    Ok(identity)
}

fn unlisted(uid: u32, name: &str) -> Identity {
    let (home, name) = if uid == 0 { ("/root", "root") } else { ("/", name) };
    Identity { uid, gid: 0, groups: Vec::new(), home: home.to_owned(), name: name.to_owned() }
}
