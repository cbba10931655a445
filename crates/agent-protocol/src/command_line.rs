//! The command lines of others that can be an agent's harness, and the one version of each whose protocol is known.

use crate::Api;

/// A program of somebody else's that runs an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// As a step's `harness` names it, and the verb of its driver.
    pub name: &'static str,
    /// How it is found in the step's image, by `PATH`.
    pub program: &'static str,
    /// As it says itself.
    pub version: &'static str,
    /// How it can speak to a model.
    pub apis: &'static [Api],
}

pub const CLAUDE_CODE: CommandLine = CommandLine {
    name: "claude-code",
    program: "claude",
    version: "2.1.330",
    apis: &[Api::Messages],
};

pub const CODEX: CommandLine =
    CommandLine { name: "codex", program: "codex", version: "0.169.0", apis: &[Api::Responses] };

pub const OPENCODE: CommandLine =
    CommandLine { name: "opencode", program: "opencode", version: "1.18.33", apis: &Api::ALL };

impl CommandLine {
    pub const ALL: [Self; 3] = [CLAUDE_CODE, CODEX, OPENCODE];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name == name)
    }
}
