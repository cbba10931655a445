//! The built-in harness: asks the model, calls tools, asks again.

mod compaction;
mod conversation;
mod repeats;
mod state;

use jb_agent_protocol::{Entry, LoopSpec};

use crate::Decisions;
use crate::output::Output;
use crate::step::{self, End};

const NAME: &str = "builtin";

/// Runs an agent to its end or to where it stops to be gone on with, which is the last thing it says.
pub async fn run(spec: LoopSpec, decisions: Decisions, output: Output) {
    step::begin(&spec, NAME, env!("CARGO_PKG_VERSION"), &output);
    match work(spec, decisions, &output).await {
        Ended::Over(end) => end.say(&output),
        Ended::Suspended(last) => output.say(last),
    }
}

/// How a run of the loop ends.
enum Ended {
    Over(End),
    /// It is gone on with later; this is its last word.
    Suspended(Entry),
}

async fn work(spec: LoopSpec, decisions: Decisions, output: &Output) -> Ended {
    let tools = match step::ready(&spec, decisions, output).await {
        Ok(tools) => tools,
        Err(end) => return Ended::Over(end),
    };
    match conversation::Conversation::new(&spec, tools, output) {
        Ok(conversation) => conversation.run().await,
        Err(error) => Ended::Over(End::failed(error)),
    }
}
