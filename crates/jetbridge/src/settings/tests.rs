use clap::{Arg, ArgAction, Command};

use super::*;

fn command() -> Command {
    Command::new("jetbridge").subcommand(
        Command::new("web")
            .arg(Arg::new("port").long("bind-port").short('p'))
            .arg(Arg::new("user").long("add-local-user").action(ArgAction::Append))
            .arg(Arg::new("secure").long("cookie-secure").action(ArgAction::SetTrue)),
    )
}

fn merged(arguments: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let arguments = arguments.iter().map(OsString::from).collect();
    with_environment(&command(), arguments, |name| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    })
    .into_iter()
    .map(|argument| argument.to_string_lossy().into_owned())
    .collect()
}

#[test]
fn own_prefix_wins_over_concourses_and_the_command_line_over_both() {
    let environment = [("CONCOURSE_BIND_PORT", "1"), ("JETBRIDGE_BIND_PORT", "2")];
    assert_eq!(merged(&["jetbridge", "web"], &environment), ["jetbridge", "web", "--bind-port=2"]);
    for given in [&["--bind-port", "3"][..], &["--bind-port=3"], &["-p3"]] {
        let arguments = [&["jetbridge", "web"], given].concat();
        assert_eq!(merged(&arguments, &environment), arguments);
    }
}

#[test]
fn lists_are_split_and_switches_are_true_or_absent() {
    let environment =
        [("CONCOURSE_ADD_LOCAL_USER", "a:b,c:d"), ("CONCOURSE_COOKIE_SECURE", "false")];
    assert_eq!(
        merged(&["jetbridge", "web"], &environment),
        ["jetbridge", "web", "--add-local-user=a:b", "--add-local-user=c:d"]
    );
    let environment = [("CONCOURSE_COOKIE_SECURE", "true")];
    assert_eq!(merged(&["jetbridge", "web"], &environment)[2], "--cookie-secure");
    let environment = [("CONCOURSE_COOKIE_SECURE", "perhaps")];
    let added = &merged(&["jetbridge", "web"], &environment)[2];
    assert_eq!(added, "--cookie-secure=perhaps", "the parser refuses it by name");
}

/// A flag that was renamed would be passed over in silence.
#[test]
fn what_deployments_set_are_flags() {
    use clap::CommandFactory as _;

    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kustomize/base/web.yaml");
    let text = std::fs::read_to_string(base).unwrap();
    let command = crate::cli::Cli::command();
    let web = command.find_subcommand("web").unwrap();
    let flags = web.get_arguments().filter_map(|argument| argument.get_long());
    let flags: Vec<String> = flags.map(|long| name(PREFIXES[0], long)).collect();
    let set = text.lines().filter_map(|line| line.trim().strip_prefix("- name: "));
    let set: Vec<&str> = set.filter(|name| name.starts_with(PREFIXES[0])).collect();
    assert!(set.len() > 10, "{set:?}");
    for variable in set {
        assert!(flags.iter().any(|flag| flag == variable), "{variable} is no flag of `web`");
    }
}
