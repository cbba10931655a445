//! Flags from the environment: `JETBRIDGE_BIND_PORT` or `CONCOURSE_BIND_PORT` for `--bind-port`.
//!
//! A flag on the command line wins over `JETBRIDGE_*`, which wins over `CONCOURSE_*`. Lists are
//! separated by commas, as Concourse's are.

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

const PREFIXES: [&str; 2] = ["JETBRIDGE_", "CONCOURSE_"];

/// The arguments with what the environment says of flags that are not among them.
pub(crate) fn with_environment(
    command: &Command,
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<OsString> {
    let chosen = arguments.get(1).and_then(|name| name.to_str());
    let Some(subcommand) = chosen.and_then(|name| command.find_subcommand(name)) else {
        return arguments;
    };
    let mut added = Vec::new();
    for argument in subcommand.get_arguments() {
        let Some(long) = argument.get_long() else { continue };
        if given(&arguments, long, argument.get_short()) {
            continue;
        }
        let Some(value) = PREFIXES.iter().find_map(|prefix| variable(&name(prefix, long))) else {
            continue;
        };
        match argument.get_action() {
            ArgAction::SetTrue => {
                match truth(&value) {
                    Some(true) => added.push(OsString::from(format!("--{long}"))),
                    Some(false) => {}
                    // The parser says that the flag takes no value, and shows this one.
                    None => added.push(flag(long, &value)),
                }
            }
            ArgAction::Append => {
                for item in value.to_string_lossy().split(',').filter(|item| !item.is_empty()) {
                    added.push(OsString::from(format!("--{long}={item}")));
                }
            }
            _ => {
                added.push(flag(long, &value));
            }
        }
    }
    let mut all = arguments;
    all.splice(2..2, added);
    all
}

/// The variable of a flag.
fn name(prefix: &str, long: &str) -> String {
    format!("{prefix}{}", long.replace('-', "_").to_ascii_uppercase())
}

fn given(arguments: &[OsString], long: &str, short: Option<char>) -> bool {
    let long = format!("--{long}");
    arguments.iter().skip(2).take_while(|argument| *argument != "--").any(|argument| {
        let Some(text) = argument.to_str() else { return false };
        text == long
            || text.strip_prefix(&long).is_some_and(|rest| rest.starts_with('='))
            || short.is_some_and(|short| {
                text.strip_prefix('-').is_some_and(|rest| rest.starts_with(short))
            })
    })
}

fn flag(long: &str, value: &OsStr) -> OsString {
    let mut flag = OsString::from(format!("--{long}="));
    flag.push(value);
    flag
}

/// What a switch's variable says, if that is clear.
fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()? {
        "1" | "true" | "t" | "yes" | "on" => Some(true),
        "" | "0" | "false" | "f" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
