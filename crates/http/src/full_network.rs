//! Who may bring in agents that have the network of tasks.

use axum::http::StatusCode;
use jb_pipeline::full_network;

use crate::call::Call;
use crate::reply::{Failure, Result};

/// Refuses a pipeline or plan with such `steps`, unless the caller has the role on the team that the operator asks for. That
/// somebody brought them in is in the server's log.
pub(crate) fn check(call: &Call, team: &str, what: &str, steps: &[String]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let role = call.state.settings().agent_full_network_role;
    let (steps, user) = (steps.join(", "), call.caller.name());
    if !call.caller.actor.has_role(team, Some(role)) {
        tracing::warn!(team, what, steps, user, %role, "agents with the network of tasks were refused");
        let text = format!(
            "the agents of these steps have `network: full`: {steps}; bringing that in needs the role `{role}` on team `{team}`: \
             list the hosts they need instead, or ask somebody who has it"
        );
        return Err(Failure::text(StatusCode::FORBIDDEN, text));
    }
    tracing::info!(team, what, steps, user, "agents with the network of tasks were brought in");
    Ok(())
}

/// The steps of a stored plan.
pub(crate) fn of_stored(plan: &jb_model::Value) -> Result<Vec<String>> {
    let plan = jb_wire::plan::from_private(&plan.to_string()).map_err(Failure::internal)?;
    Ok(full_network::of_plan(&plan))
}
