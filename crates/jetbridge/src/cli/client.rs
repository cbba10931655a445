//! Commands that ask a server, and how it is found.

use clap::Args;

/// Which server to ask, and as whom.
#[derive(Args)]
pub(crate) struct ServerOptions {
    /// A target that `fly login` saved in ~/.flyrc
    #[arg(short, long, value_name = "TARGET", conflicts_with_all = ["url", "username", "password"])]
    pub target: Option<String>,
    /// The server's address, instead of a target
    #[arg(long, value_name = "URL", requires = "username")]
    pub url: Option<String>,
    /// A local user of it
    #[arg(short, long, value_name = "NAME", requires = "url")]
    pub username: Option<String>,
    /// That user's password, which others on this machine can see here; else JETBRIDGE_PASSWORD or the terminal is asked
    #[arg(short, long, value_name = "PASSWORD", requires = "url")]
    pub password: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Example: jetbridge approvals -t ci")]
pub(crate) struct ApprovalsOptions {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerOptions,
}

#[derive(Args)]
#[command(after_help = "Example: jetbridge approve 7 -t ci -m \"read the diff\"")]
pub(crate) struct AnswerOptions {
    /// The approval's number, as `jetbridge approvals` and the build's log show it
    pub approval: i64,
    /// Why; shown in the build's log
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub message: String,
    #[command(flatten)]
    pub server: ServerOptions,
}
