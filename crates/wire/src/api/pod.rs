use serde::Serialize;

/// A pod in which a step of a build runs, in the words of its cluster. Times are seconds since the epoch; what is not
/// known yet is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    /// The id of the container it is.
    pub container_id: String,
    /// `get`, `put`, `task`, `check` or `run`.
    #[serde(rename = "type")]
    pub kind: String,
    pub step_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attempt: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown` or `Terminating`.
    pub phase: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<i64>,
    /// When its node began with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// Those that run before the others first.
    pub containers: Vec<PodContainer>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodContainer {
    pub name: String,
    pub image: String,
    /// Runs to its end before the others start.
    pub init: bool,
    /// `waiting`, `running` or `terminated`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    pub restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
}
