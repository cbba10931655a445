//! A build's events as text on a terminal.

use std::io::Write;

use jb_model::BuildEvent;

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// Prints what an event has to say to a person.
pub(crate) fn print(
    out: &mut impl Write,
    event: &BuildEvent,
    colours: bool,
) -> std::io::Result<()> {
    let (bold, red, plain) = if colours { (BOLD, RED, PLAIN) } else { ("", "", "") };
    match event {
        BuildEvent::Log { payload, .. } => write!(out, "{payload}")?,
        BuildEvent::Error { message, .. } => writeln!(out, "{bold}{red}{message}{plain}")?,
        BuildEvent::InitializeTask { .. } => writeln!(out, "{bold}initializing{plain}")?,
        BuildEvent::StartTask { config, .. } => {
            let command = [std::slice::from_ref(&config.path), &config.args].concat().join(" ");
            writeln!(out, "{bold}running {command}{plain}")?;
        }
        BuildEvent::InitializeCheck { name, .. } => {
            writeln!(out, "{bold}initializing check: {name}{plain}")?;
        }
        BuildEvent::SelectedWorker { worker, .. } => {
            writeln!(out, "{bold}selected worker:{plain} {worker}")?;
        }
        BuildEvent::Status { status, .. } if status.is_final() => {
            writeln!(out, "{bold}{status}{plain}")?;
        }
        _ => {}
    }
    out.flush()
}
