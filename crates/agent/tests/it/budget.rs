use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Entry, GatewayBudget};
use jb_scripted_model::{Reply, Rule, Script, When};
use serde_json::json;

use crate::step::Step;

/// A model that calls the same tool for ever.
fn looping() -> Script {
    let reply = Reply::tool("shell", json!({"argv": ["echo", "again"]}));
    Script { rules: vec![Rule { when: When::default(), times: None, reply }] }
}

async fn ended_by(budget: GatewayBudget) -> (String, usize) {
    let mut step = Step::new(looping()).await;
    step.gateway.budget = budget;
    let ran = step.run().await;
    let (ending, message, _) = ran.ending();
    assert_eq!(ending, Ending::BudgetSpent, "{message}");
    let told = ran.gateway.iter().filter(|entry| matches!(entry, Entry::BudgetSpent { .. }));
    assert_eq!(told.count(), 1);
    (message, step.model().received().len())
}

#[tokio::test]
async fn the_gateway_stops_at_each_limit() {
    // Every answer is counted as 100 tokens in and 10 out, $0.00045.
    let turns = GatewayBudget { turns: Some(3), ..GatewayBudget::default() };
    let spent = |text: &str| format!("the step's budget is spent: {text}");
    assert_eq!(ended_by(turns).await, (spent("3 of 3 turns"), 3));
    let tokens = GatewayBudget { tokens: Some(250), ..GatewayBudget::default() };
    assert_eq!(ended_by(tokens).await, (spent("330 of 250 tokens"), 3));
    let cost = GatewayBudget { cost_micros: Some(900), ..GatewayBudget::default() };
    assert_eq!(ended_by(cost).await, (spent("$0.0009 of $0.0009"), 2));
}

#[tokio::test]
async fn an_answer_cannot_be_longer_than_what_is_left() {
    let mut step = Step::new(Script::of([Reply::text("Done.")])).await;
    step.gateway.budget.tokens = Some(500);
    step.run().await;
    assert_eq!(step.model().received()[0].body["max_tokens"], 500);
    let mut step = Step::new(Script::of([Reply::text("Done.")])).await;
    step.gateway.budget.cost_micros = Some(1500);
    step.run().await;
    assert_eq!(step.model().received()[0].body["max_tokens"], 100);
}

#[tokio::test]
async fn another_model_is_refused() {
    let mut step = Step::new(Script::default()).await;
    step.spec.model = "dearer".into();
    let (ending, message, _) = step.run().await.ending();
    assert_eq!(ending, Ending::ModelFailed);
    assert!(message.contains("`dearer` is not granted"), "{message}");
    assert!(step.model().received().is_empty());
}
