//! Who a pod's containers run as.

use jb_runtime::{ContainerKind, User};

use crate::probe::Features;
use crate::settings::PodSecurity;

/// For what wants no particular user where root cannot be had.
const NOBODY_IN_PARTICULAR: i64 = 65532;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// As the image says.
    Image,
    User {
        uid: i64,
        gid: Option<i64>,
    },
}

/// Decides it by what is asked for, what the image names (`None`: unknown), and what the cluster offers. An error
/// says what to change.
pub(crate) fn decide(
    wanted: &User,
    of_image: Option<&str>,
    kind: ContainerKind,
    features: Features,
    security: PodSecurity,
) -> Result<RunAs, String> {
    let root = features.user_namespaces || security > PodSecurity::Restricted;
    let fallback = RunAs::User { uid: if root { 0 } else { NOBODY_IN_PARTICULAR }, gid: None };
    let name = match (wanted, of_image) {
        (User::Named(name), _) => name.as_str(),
        (User::Image, Some(name)) => name,
        (User::Image, None) if root => return Ok(RunAs::Image),
        (User::Image, None) => return Ok(fallback),
    };
    if name.is_empty() {
        return Ok(fallback);
    }
    if is_root(name) && !root {
        // Scripts of resources are run as root as a matter of course; they need not be.
        return match kind {
            ContainerKind::Task => Err(needs("the task wants to run as root", "baseline")),
            _ => Ok(fallback),
        };
    }
    if let Some((uid, gid)) = numbers(name) {
        return Ok(RunAs::User { uid, gid });
    }
    if is_root(name) {
        return Ok(fallback);
    }
    if of_image == Some(name) {
        if root {
            return Ok(RunAs::Image);
        }
        let what = format!(
            "the image's user `{name}` is no number, as which alone it is known not to be root"
        );
        return Err(needs(&what, "baseline"));
    }
    if security > PodSecurity::Restricted {
        // The runner finds the name in the image's own files and becomes that user.
        return Ok(RunAs::User { uid: 0, gid: None });
    }
    let what = format!(
        "the step wants to run as `{name}`, which is no number and not the image's own user"
    );
    Err(needs(&what, "baseline"))
}

/// As [`decide`], where the container puts the image's files in place itself: only root can, who then becomes whom the
/// step wants, where that is allowed.
pub(crate) fn decide_over_nothing(
    wanted: &User,
    features: Features,
    security: PodSecurity,
) -> Result<RunAs, String> {
    let what = "the image is an artifact, not one that nodes pull from a registry";
    if security == PodSecurity::Restricted {
        if !features.user_namespaces {
            return Err(needs(what, "baseline"));
        }
        if let User::Named(name) = wanted
            && !name.is_empty()
            && !is_root(name)
        {
            return Err(format!(
                "{what}, and the step wants to run as `{name}`: the two together take Pod Security level `baseline` \
                 (--kubernetes-pod-security and the namespace's label)"
            ));
        }
    }
    Ok(RunAs::User { uid: 0, gid: None })
}

/// Whom the runner becomes for the step's process, where the container itself runs as root.
pub(crate) fn becomes(wanted: &User, run_as: RunAs) -> Option<&str> {
    match (wanted, run_as) {
        (User::Named(name), RunAs::User { uid: 0, .. }) if !name.is_empty() && !is_root(name) => {
            Some(name)
        }
        _ => None,
    }
}

/// Whether a user, with or without a group, is root.
fn is_root(name: &str) -> bool {
    let user = name.split_once(':').map_or(name, |(user, _)| user);
    user == "root" || user.parse() == Ok(0_u32)
}

/// `uid` or `uid:gid`.
fn numbers(name: &str) -> Option<(i64, Option<i64>)> {
    let number = |text: &str| text.parse::<u32>().ok().map(i64::from);
    match name.split_once(':') {
        Some((uid, gid)) => Some((number(uid)?, Some(number(gid)?))),
        None => Some((number(name)?, None)),
    }
}

fn needs(what: &str, level: &str) -> String {
    format!(
        "{what}: that takes Pod Security level `{level}` (--kubernetes-pod-security and the namespace's label) \
         or a cluster with user namespaces"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const PLAIN: Features = Features { image_volumes: true, user_namespaces: false };
    const MAPPED: Features = Features { image_volumes: true, user_namespaces: true };

    fn user(uid: i64) -> Result<RunAs, String> {
        Ok(RunAs::User { uid, gid: None })
    }

    #[test]
    fn root_is_had_where_it_does_no_harm() {
        let wanted = User::Named("root".into());
        let decide = |kind, features, security| decide(&wanted, Some(""), kind, features, security);
        let (task, get) = (ContainerKind::Task, ContainerKind::Get);
        assert_eq!(decide(task, MAPPED, PodSecurity::Restricted), user(0));
        assert_eq!(decide(task, PLAIN, PodSecurity::Baseline), user(0));
        assert_eq!(decide(get, PLAIN, PodSecurity::Restricted), user(65532));
        let refused = decide(task, PLAIN, PodSecurity::Restricted).unwrap_err();
        assert!(refused.contains("baseline"), "{refused}");
    }

    #[test]
    fn root_is_known_by_all_its_names() {
        let decide = |name: &str, security| {
            decide(&User::Named(name.into()), None, ContainerKind::Task, PLAIN, security)
        };
        for name in ["root", "0", "00", "0:0", "0:3078", "root:root"] {
            let refused = decide(name, PodSecurity::Restricted).unwrap_err();
            assert!(refused.contains("wants to run as root"), "{name}: {refused}");
            let RunAs::User { uid, .. } = decide(name, PodSecurity::Baseline).unwrap() else {
                panic!("{name} is left to the image");
            };
            assert_eq!(uid, 0, "{name}");
        }
        assert_eq!(decide("0:7", PodSecurity::Baseline), Ok(RunAs::User { uid: 0, gid: Some(7) }));
    }

    #[test]
    fn root_puts_an_images_files_in_place() {
        let decide = |name: &str, features, security| {
            decide_over_nothing(&User::Named(name.into()), features, security)
        };
        assert_eq!(decide("root", MAPPED, PodSecurity::Restricted), user(0));
        assert!(decide("node", MAPPED, PodSecurity::Restricted).is_err());
        assert_eq!(decide("node", PLAIN, PodSecurity::Baseline), user(0));
        let refused = decide_over_nothing(&User::Image, PLAIN, PodSecurity::Restricted);
        assert!(refused.unwrap_err().contains("baseline"));
    }

    #[test]
    fn numbers_need_nothing() {
        for features in [PLAIN, MAPPED] {
            for level in [PodSecurity::Restricted, PodSecurity::Privileged] {
                let decide = |name: &str| {
                    let wanted = User::Named(name.into());
                    decide(&wanted, None, ContainerKind::Task, features, level)
                };
                assert_eq!(decide("1000"), user(1000));
                assert_eq!(decide("1000:7"), Ok(RunAs::User { uid: 1000, gid: Some(7) }));
            }
        }
    }

    #[test]
    fn names_are_for_the_image_or_the_runner_to_know() {
        let decide = |name: &str, features, security| {
            let wanted = User::Named(name.into());
            decide(&wanted, Some("node"), ContainerKind::Task, features, security)
        };
        assert_eq!(decide("node", MAPPED, PodSecurity::Restricted), Ok(RunAs::Image));
        assert!(decide("node", PLAIN, PodSecurity::Restricted).is_err());
        assert!(decide("other", MAPPED, PodSecurity::Restricted).is_err());
        assert_eq!(decide("other", PLAIN, PodSecurity::Baseline), user(0));
    }

    #[test]
    fn unknown_images_decide_themselves() {
        let decide = |features| {
            decide(&User::Image, None, ContainerKind::Task, features, PodSecurity::Restricted)
        };
        assert_eq!(decide(MAPPED), Ok(RunAs::Image));
        assert_eq!(decide(PLAIN), user(65532));
    }
}
