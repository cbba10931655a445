//! The built-in harness: asks the model, calls tools, asks again.

mod conversation;

use jb_agent_protocol::LoopSpec;

use crate::output::Output;
use crate::step::{self, End};

const NAME: &str = "builtin";

/// Runs an agent to its end, which is the last thing it says.
pub async fn run(spec: LoopSpec, output: Output) {
    step::begin(&spec, NAME, env!("CARGO_PKG_VERSION"), &output);
    work(spec, &output).await.say(&output);
}

async fn work(spec: LoopSpec, output: &Output) -> End {
    let tools = match step::ready(&spec, output).await {
        Ok(tools) => tools,
        Err(end) => return end,
    };
    match conversation::Conversation::new(&spec, tools, output) {
        Ok(conversation) => conversation.run().await,
        Err(error) => End::failed(error),
    }
}
