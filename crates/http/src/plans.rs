//! Plans between clients, the store and the public.

use jb_model::Value;
use jb_wire::plan::{PlanJsonError, PublicBuildPlan, PublicPlan, from_private};
use serde_json::value::RawValue;

/// Reads a plan that a client sends and returns it as it is stored. What is no plan is refused.
pub(crate) fn received(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let plan = from_private(text).map_err(|error: PlanJsonError| error.to_string())?;
    let stored = jb_wire::plan::to_private(&plan).map_err(|error| error.to_string())?;
    serde_json::from_str(&stored).map_err(|error| error.to_string())
}

/// What everyone may see of a stored plan.
pub(crate) fn public(stored: &Value) -> Result<PublicBuildPlan, String> {
    let plan = from_private(&stored.to_string()).map_err(|error| error.to_string())?;
    Ok(PublicBuildPlan::new(&plan))
}

/// The public plan alone, for places where a build is only mentioned.
pub(crate) fn public_node(stored: &Value) -> Option<Box<RawValue>> {
    let plan = from_private(&stored.to_string()).ok()?;
    serde_json::value::to_raw_value(&PublicPlan::from(&plan)).ok()
}
