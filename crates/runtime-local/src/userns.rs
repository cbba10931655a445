//! User namespaces, for a server that is not root.

use std::fs;

use crate::launch::IdMaps;

/// The id maps this user can have: itself as root, and its subordinate ids where they are set up.
pub(crate) fn id_maps() -> IdMaps {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let single = IdMaps { users: vec![[0, user, 1]], groups: vec![[0, group, 1]], helpers: false };
    let tools = ["newuidmap", "newgidmap"].iter().all(|name| crate::network::tool(name).is_some());
    let name = user_name(user);
    let range = |file: &str| {
        let text = fs::read_to_string(file).ok()?;
        subordinate(&text, name.as_deref(), user)
    };
    match (tools, range("/etc/subuid"), range("/etc/subgid")) {
        (true, Some((first_user, users)), Some((first_group, groups))) => IdMaps {
            users: vec![[0, user, 1], [1, first_user, users]],
            groups: vec![[0, group, 1], [1, first_group, groups]],
            helpers: true,
        },
        _ => single,
    }
}

fn user_name(id: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == id).then(|| name.to_owned())
    })
}

/// The first range of a user in `/etc/subuid` or `/etc/subgid`: first id and count.
pub(crate) fn subordinate(text: &str, name: Option<&str>, id: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let mine = name == Some(owner) || owner.parse::<u32>().ok() == Some(id);
        let first = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.trim().parse().ok()?;
        (mine && count > 0).then_some((first, count))
    })
}

/// Why user namespaces may be refused on this machine, and what to do about it.
pub(crate) fn refusal() -> String {
    let setting = |path: &str| {
        fs::read_to_string(format!("/proc/sys/{path}")).ok().map(|text| text.trim().to_owned())
    };
    explain_refusal(
        setting("user/max_user_namespaces").as_deref(),
        setting("kernel/unprivileged_userns_clone").as_deref(),
        setting("kernel/apparmor_restrict_unprivileged_userns").as_deref(),
    )
}

pub(crate) fn explain_refusal(
    maximum: Option<&str>,
    clone: Option<&str>,
    apparmor: Option<&str>,
) -> String {
    if maximum == Some("0") {
        return "user namespaces are switched off: run `sysctl -w user.max_user_namespaces=15000`, \
                or run the server as root"
            .into();
    }
    if clone == Some("0") {
        return "unprivileged user namespaces are switched off: run `sysctl -w \
                kernel.unprivileged_userns_clone=1`, or run the server as root"
            .into();
    }
    if apparmor == Some("1") {
        return "AppArmor restricts unprivileged user namespaces: run `sysctl -w \
                kernel.apparmor_restrict_unprivileged_userns=0`, add an AppArmor profile with \
                `userns,` for the server's program, or run the server as root"
            .into();
    }
    "user namespaces seem to be refused, perhaps by a container this server runs in: allow them \
     there, or run the server as root"
        .into()
}

#[cfg(test)]
mod tests;
