//! The built-in harness: asks the model, calls tools, asks again.

mod compaction;
mod conversation;
mod repeats;

use jb_agent_protocol::LoopSpec;

use crate::Decisions;
use crate::output::Output;
use crate::step::{self, End, Ended};

const NAME: &str = "builtin";

/// Runs an agent to its end or to where it stops to be gone on with, which is the last thing it says.
pub async fn run(spec: LoopSpec, decisions: Decisions, output: Output) {
    step::begin(&spec, NAME, env!("CARGO_PKG_VERSION"), &output);
    work(spec, decisions, &output).await.say(&output);
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
