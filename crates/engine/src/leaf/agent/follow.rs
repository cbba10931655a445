//! Following a run of an agent: its harness, the gateway, and the servers beside it.

use jb_agent_protocol::Source;
use jb_build::CancelReason;
use jb_model::{ContainerHandle, Timestamp};

use super::{Made, Step, programs};
use crate::cancel::{self, Cancel, CancelHandle};
use crate::leaf::{Started, Trouble};
use crate::process::{Error, Exit, Process, Show, Speaker};

/// How the parts of a run are ended, each for itself.
struct Stops {
    harness: (CancelHandle, Cancel),
    gateway: (CancelHandle, Cancel),
    servers: (CancelHandle, Cancel),
}

impl Step<'_> {
    /// Follows a run's harness to its end, and the gateway and servers beside it; none when the step was cancelled.
    pub(super) async fn follow(
        &self,
        made: &Made,
        began: Timestamp,
        started: &Started<'_>,
    ) -> Result<Option<Exit>, Trouble> {
        let (context, leaf) = (self.context, self.leaf);
        let [agent_name, gateway_name] = ["agent", "gateway"].map(|name| made.run.named(name));
        let gateway = self.process(made, &made.run.own.gateway, &gateway_name, Source::Gateway);
        let agent = self.process(made, &made.run.own.agent, &agent_name, Source::Harness);
        let stops =
            Stops { harness: cancel::pair(), gateway: cancel::pair(), servers: cancel::pair() };
        let server_stops = (&stops.servers.1, &stops.harness.0);
        let servers = programs::follow(context, leaf, &made.name, &made.servers, server_stops);
        let (gateway_began, harness_began) =
            (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let gateway = self.follow_gateway(made, &gateway, &stops, &gateway_began);
        let harness = async {
            let ended = tokio::select! {
                biased;
                () = gateway_began.notified() => {
                    let begun = async || {
                        context.once(&leaf.plan.id, "start", vec![made.start.clone()]).await?;
                        started.tell().await;
                        harness_began.notify_one();
                        Ok(())
                    };
                    agent.run(made.harness.clone(), &stops.harness.1, begun).await
                }
                () = stops.harness.1.requested() => Ok(Exit::unseen()),
            };
            // Whoever waits for the gateway would wait for ever.
            stops.gateway.0.cancel(CancelReason::Abort);
            ended
        };
        let limited = async {
            harness_began.notified().await;
            self.limits.watch(context, leaf, began, &agent).await
        };
        let stop = async {
            tokio::select! {
                () = leaf.cancel.requested() => {}
                over = limited => if let Err(trouble) = over { return trouble },
            }
            stops.harness.0.cancel(CancelReason::Abort);
            std::future::pending().await
        };
        let (gateway, harness, servers) = tokio::select! {
            all = async { tokio::join!(gateway, harness, servers) } => all,
            trouble = stop => return Err(trouble),
        };
        let (gateway, harness, ()) = (gateway?, harness?, servers?);
        if leaf.cancel.is_requested() {
            return Ok(None);
        }
        if harness.cancelled && !self.said_its_last(made, began).await? {
            return Err(self.without_gateway(made, &gateway).await);
        }
        Ok(Some(harness))
    }

    fn process<'a>(
        &'a self,
        made: &'a Made,
        container: &'a ContainerHandle,
        name: &'a str,
        source: Source,
    ) -> Process<'a> {
        let asking = self.limits.asking.as_ref();
        let show = Show::Transcript(Speaker { agent: &made.name, source, asking });
        Process { context: self.context, origin: &self.leaf.plan.id, container, name, show }
    }

    async fn follow_gateway(
        &self,
        made: &Made,
        gateway: &Process<'_>,
        stops: &Stops,
        began: &tokio::sync::Notify,
    ) -> Result<Exit, Error> {
        let on_start = async || {
            began.notify_one();
            Ok(())
        };
        let ended = gateway.run(made.way_out.clone(), &stops.gateway.1, on_start).await;
        // Without it the harness can do nothing, and servers have nobody to answer.
        stops.harness.0.cancel(CancelReason::Abort);
        stops.servers.0.cancel(CancelReason::Abort);
        ended
    }

    /// Whether a harness that was ended with its gateway had come to an end before: after a restart both may have ended long
    /// ago, in good order.
    async fn said_its_last(&self, made: &Made, began: Timestamp) -> Result<bool, Trouble> {
        let (context, leaf) = (self.context, self.leaf);
        Ok(context.agent_end(leaf).await?.is_some()
            || self.is_suspended(&made.run).await?
            || self.limits.over(context, leaf, began).await?.is_some())
    }

    /// Why a gateway ended before its agent.
    async fn without_gateway(&self, made: &Made, gateway: &Exit) -> Trouble {
        let said = String::from_utf8_lossy(&gateway.result).trim().to_owned();
        let runtime = &self.leaf.place(self.context).runtime;
        // One that is asked to end does so in good order, whoever asks.
        let why = match runtime.taken_away(&made.run.own.gateway).await {
            Some(why) => why,
            None if said.is_empty() => format!("it ended with status {}", gateway.status),
            None => said,
        };
        Trouble::new(format!("the agent's gateway: {why}"))
    }
}
