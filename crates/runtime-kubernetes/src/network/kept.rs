//! Keeps the policies what they shall be, whoever changes or deletes them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use jb_runtime::Result;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};

use crate::settings::Settings;
use crate::{api, names};

/// After a policy could not be put back, before all are looked at again.
const PAUSE: Duration = Duration::from_secs(30);
/// After a policy was put back. Servers that want different ones, as during an upgrade, would else write without end.
const SPACING: Duration = Duration::from_secs(2);

/// Makes a policy what it shall be, whatever it was; returns what it is now.
pub(crate) async fn apply(
    policies: &Api<NetworkPolicy>,
    policy: &NetworkPolicy,
) -> kube::Result<NetworkPolicy> {
    let name = policy.name_any();
    let (params, patch) = (PatchParams::apply("jetbridge").force(), Patch::Apply(policy));
    api::call("apply a network policy", || policies.patch(&name, &params, &patch)).await
}

/// The policies of all kinds of steps.
pub(crate) struct Kept {
    api: Api<NetworkPolicy>,
    worker: String,
    /// As they shall be, and what is known of those that are.
    policies: BTreeMap<String, (NetworkPolicy, Mark)>,
    /// Of a list that is coming in.
    seen: HashSet<String>,
}

/// Changes with what a policy says, and with nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mark {
    uid: Option<String>,
    generation: Option<i64>,
}

impl Mark {
    fn of(metadata: &ObjectMeta) -> Self {
        Self { uid: metadata.uid.clone(), generation: metadata.generation }
    }

    /// Whether another policy is the one this was taken of, or an earlier state of it.
    fn covers(&self, other: &Self) -> bool {
        self.uid == other.uid && self.generation >= other.generation
    }
}

impl Kept {
    /// Puts the policies in place.
    /// The API server is at `addresses`.
    pub(crate) async fn put(
        api: Api<NetworkPolicy>,
        settings: &Settings,
        addresses: &[String],
    ) -> Result<Self> {
        let wanted = super::policies(settings, addresses).into_iter();
        let policies = wanted.map(|policy| (policy.name_any(), (policy, Mark::default())));
        let mut kept = Self {
            api,
            worker: settings.worker_name.clone(),
            policies: policies.collect(),
            seen: HashSet::new(),
        };
        let names: Vec<String> = kept.policies.keys().cloned().collect();
        for name in names {
            kept.put_back(&name).await.map_err(|error| {
                let what =
                    format!("cannot apply network policy `{name}`, without which no step runs");
                api::failed(what, error)
            })?;
        }
        Ok(kept)
    }

    async fn put_back(&mut self, name: &str) -> kube::Result<()> {
        let Some((policy, mark)) = self.policies.get_mut(name) else { return Ok(()) };
        *mark = Mark::of(&apply(&self.api, policy).await?.metadata);
        Ok(())
    }

    /// Keeps them for ever. As long as nobody touches them, nothing is written.
    pub(crate) async fn follow(mut self) {
        loop {
            let config = watcher::Config::default().labels(&names::selector(&self.worker));
            let events = watcher(self.api.clone(), config).default_backoff();
            let mut events = std::pin::pin!(events);
            let mut is_told = false;
            while let Some(event) = events.next().await {
                let strange = match event {
                    Ok(event) => {
                        is_told = false;
                        self.take(&event)
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut is_told, true) {
                            tracing::warn!(%error, "network policies cannot be watched; trying again");
                        }
                        continue;
                    }
                };
                if strange.is_empty() {
                    continue;
                }
                let mut failed = false;
                for name in strange {
                    match self.put_back(&name).await {
                        Ok(()) => tracing::warn!(
                            policy = name,
                            "somebody changed or deleted a network policy; it is put back"
                        ),
                        Err(error) => {
                            tracing::error!(policy = name, %error, "a network policy cannot be put back");
                            failed = true;
                        }
                    }
                }
                if failed {
                    break;
                }
                tokio::time::sleep(SPACING).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The names of policies that are not what they shall be.
    fn take(&mut self, event: &watcher::Event<NetworkPolicy>) -> Vec<String> {
        match event {
            watcher::Event::Init => {
                self.seen.clear();
                Vec::new()
            }
            watcher::Event::InitApply(found) | watcher::Event::Apply(found) => {
                let name = found.name_any();
                let Some((_, mark)) = self.policies.get(&name) else { return Vec::new() };
                self.seen.insert(name.clone());
                if mark.covers(&Mark::of(&found.metadata)) { Vec::new() } else { vec![name] }
            }
            watcher::Event::InitDone => {
                let all = self.policies.keys();
                all.filter(|name| !self.seen.contains(*name)).cloned().collect()
            }
            watcher::Event::Delete(gone) => {
                let name = gone.name_any();
                let known = self.policies.get(&name);
                // One of that name may have come since.
                let is_ours = known.is_some_and(|(_, mark)| mark.uid == gone.metadata.uid);
                if is_ours { vec![name] } else { Vec::new() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;
    use watcher::Event;

    use super::*;
    use crate::scripted::{self, Answer};

    fn found(name: &str, uid: &str, generation: i64) -> NetworkPolicy {
        let metadata = json!({"name": name, "uid": uid, "generation": generation});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// Two policies that were applied.
    async fn kept() -> Kept {
        let answers = ["a", "b"]
            .map(|name| Answer::Said(200, serde_json::to_value(found(name, name, 3)).unwrap()));
        let (client, _) = scripted::client(answers.into());
        let policies =
            ["a", "b"].map(|name| (name.to_owned(), (found(name, "", 0), Mark::default())));
        let mut kept = Kept {
            api: Api::namespaced(client, "ci"),
            worker: "w".to_owned(),
            policies: policies.into(),
            seen: HashSet::new(),
        };
        for name in ["a", "b"] {
            kept.put_back(name).await.unwrap();
        }
        kept
    }

    #[tokio::test]
    async fn what_is_as_it_was_left_stays() {
        let mut kept = kept().await;
        let events = [
            Event::Init,
            Event::InitApply(found("a", "a", 3)),
            Event::InitApply(found("b", "b", 3)),
            Event::InitApply(found("of an agent", "c", 9)),
            Event::InitDone,
            // What the watch tells late.
            Event::Apply(found("a", "a", 2)),
            Event::Delete(found("b", "before", 1)),
            Event::Delete(found("of an agent", "c", 9)),
        ];
        for event in events {
            assert_eq!(kept.take(&event), [""; 0], "{event:?}");
        }
    }

    #[tokio::test]
    async fn what_was_changed_made_anew_or_deleted_is_put_back() {
        let mut kept = kept().await;
        assert_eq!(kept.take(&Event::Apply(found("a", "a", 4))), ["a"]);
        assert_eq!(kept.take(&Event::Apply(found("a", "another", 1))), ["a"]);
        assert_eq!(kept.take(&Event::Delete(found("b", "b", 3))), ["b"]);
        kept.take(&Event::Init);
        kept.take(&Event::InitApply(found("a", "a", 3)));
        assert_eq!(kept.take(&Event::InitDone), ["b"]);
    }
}
