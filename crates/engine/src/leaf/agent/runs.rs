//! Runs of one agent. While people take their time about a call nothing of it runs, and when it goes on that is in new
//! containers, which begin with what the ones before left. Pure.

use jb_agent_protocol::Spent;
use jb_agent_protocol::suspension::{Left, STATE_DIR, Suspension};
use jb_model::agent::{AgentConfig, Harness};
use jb_model::{ContainerHandle, Plan, VolumeHandle};
use jb_runtime::{ContainerKind, Mount, MountSource};

use crate::build::BuildContext;
use crate::leaf::script;

/// One run of an agent's containers.
pub(super) struct Run {
    /// Counted from 0.
    pub(super) number: u32,
    /// What it goes on from.
    pub(super) left: Option<Left>,
    /// What the step's gateways before its own let through.
    pub(super) spent: Spent,
    pub(super) own: Handles,
    before: Option<Handles>,
}

/// Names of what is made for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handles {
    pub(super) agent: ContainerHandle,
    pub(super) gateway: ContainerHandle,
    /// The beginning of the names of the containers of servers.
    servers: ContainerHandle,
}

impl Handles {
    /// The same run of the same step of the same build always has the same names.
    pub(super) fn new(context: &BuildContext, plan: &Plan, run: u32) -> Self {
        let [agent, gateway, servers] =
            [ContainerKind::Agent, ContainerKind::Gateway, ContainerKind::Mcp].map(|kind| {
                let first = script::container_handle(context, plan, kind);
                ContainerHandle::new(of_run(first.as_str(), run))
            });
        Self { agent, gateway, servers }
    }

    pub(super) fn server(&self, name: &str) -> ContainerHandle {
        ContainerHandle::new(format!("{}.{name}", self.servers))
    }

    /// Those beside the agent's, which are made before it.
    pub(super) fn beside(&self, agent: &AgentConfig) -> Vec<ContainerHandle> {
        let servers = agent.mcp.iter().map(|server| self.server(&server.name));
        std::iter::once(self.gateway.clone()).chain(servers).collect()
    }

    /// Where the harness keeps what it goes on from.
    pub(super) fn state(&self) -> VolumeHandle {
        VolumeHandle::new(format!("{}-state", self.agent))
    }

    /// What a volume is called here that is called so there.
    fn instead_of(&self, other: &Self, volume: &VolumeHandle) -> Option<VolumeHandle> {
        let own = [(&self.agent, &other.agent), (&self.gateway, &other.gateway)];
        own.into_iter().find_map(|(here, there)| {
            let rest = volume.as_str().strip_prefix(there.as_str())?;
            Some(VolumeHandle::new(format!("{here}{rest}")))
        })
    }
}

impl Run {
    pub(super) fn new(context: &BuildContext, plan: &Plan, number: u32) -> Self {
        let handles = |number| Handles::new(context, plan, number);
        let (left, spent) = Default::default();
        let before = number.checked_sub(1).map(handles);
        Self { number, left, spent, own: handles(number), before }
    }

    /// What a process is called, which each run has of its own: so is how far its words are stored.
    pub(super) fn named(&self, name: &str) -> String {
        of_run(name, self.number)
    }

    /// Lets what the run writes begin with what the one before wrote; gives the volumes that are not needed any more once
    /// this run has settled its own.
    pub(super) fn carry_over(&self, mounts: &mut [Mount]) -> Vec<VolumeHandle> {
        let Some(before) = &self.before else { return Vec::new() };
        let mut superseded = Vec::new();
        for mount in mounts {
            let (MountSource::Output(own) | MountSource::Input { copy: Some(own), .. }) =
                &mount.source
            else {
                continue;
            };
            let Some(volume) = before.instead_of(&self.own, own) else { continue };
            superseded.push(volume.clone());
            mount.source = MountSource::Input { volume, copy: Some(own.clone()) };
        }
        superseded
    }

    /// Whether the harness goes on from where it was by beginning anew, and asks for all that it was answered once more.
    pub(super) fn is_over_again(&self, agent: &AgentConfig) -> bool {
        self.left.is_some() && agent.harness != Harness::Builtin
    }

    /// Where the harness finds and leaves its state, if it may stop.
    pub(super) fn state(&self, agent: &AgentConfig) -> Option<Mount> {
        let source = MountSource::Output(self.own.state());
        can_stop(agent).then(|| Mount { path: STATE_DIR.to_owned(), source })
    }

    /// What the harness is told of its stops, if it may stop.
    pub(super) fn suspension(
        &self,
        context: &BuildContext,
        agent: &AgentConfig,
    ) -> Option<Suspension> {
        let after = context.engine.settings.agents.suspend_after.as_millis();
        can_stop(agent).then(|| Suspension {
            run: self.number,
            after_ms: u64::try_from(after).unwrap_or(u64::MAX),
            dir: STATE_DIR.to_owned(),
            left: self.left.clone(),
        })
    }
}

/// Whether a step's agent asks people: every harness can stop for them and go on later.
fn can_stop(agent: &AgentConfig) -> bool {
    agent.approval.is_some()
}

fn of_run(name: &str, run: u32) -> String {
    if run == 0 { name.to_owned() } else { format!("{name}-r{run}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(run: u32) -> Handles {
        let [agent, gateway, servers] = ["b1-agent-3", "b1-gateway-3", "b1-mcp-3"]
            .map(|it| ContainerHandle::new(of_run(it, run)));
        Handles { agent, gateway, servers }
    }

    fn run(number: u32) -> Run {
        let (left, spent) = Default::default();
        let before = number.checked_sub(1).map(handles);
        Run { number, left, spent, own: handles(number), before }
    }

    fn mounts(of: &str) -> Vec<Mount> {
        let volume = |name: &str| VolumeHandle::new(format!("{of}{name}"));
        let given = VolumeHandle::new("given");
        let sources = [
            MountSource::Output(volume("-o0")),
            MountSource::Input { volume: given.clone(), copy: Some(volume("-o1")) },
            MountSource::Input { volume: given.clone(), copy: None },
            MountSource::Cache(given),
        ];
        sources.map(|source| Mount { path: "x".to_owned(), source }).into()
    }

    #[test]
    fn a_run_begins_with_what_the_one_before_wrote() {
        let mut first = mounts("b1-agent-3");
        assert_eq!(run(0).carry_over(&mut first), []);
        assert_eq!(first, mounts("b1-agent-3"));
        for (number, here, there) in
            [(1, "b1-agent-3-r1", "b1-agent-3"), (2, "b1-agent-3-r2", "b1-agent-3-r1")]
        {
            let mut next = mounts(here);
            let volume = |of: &str, name: &str| VolumeHandle::new(format!("{of}{name}"));
            let before = ["-o0", "-o1"].map(|name| volume(there, name));
            assert_eq!(run(number).carry_over(&mut next), before);
            let mut expected = mounts(here);
            for (mount, name) in expected.iter_mut().zip(["-o0", "-o1"]) {
                let (volume, copy) = (volume(there, name), Some(volume(here, name)));
                mount.source = MountSource::Input { volume, copy };
            }
            assert_eq!(next, expected);
        }
    }

    #[test]
    fn nothing_of_two_runs_has_the_same_name() {
        assert_eq!(run(0).named("agent"), "agent");
        assert_eq!(run(2).named("agent"), "agent-r2");
        assert_eq!(handles(1).server("db").as_str(), "b1-mcp-3-r1.db");
        assert_eq!(handles(1).state().as_str(), "b1-agent-3-r1-state");
    }
}
