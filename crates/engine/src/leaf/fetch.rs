//! Images that the runtime fetches by itself, so that a `get` of one needs no container.

use jb_model::plan::GetPlan;
use jb_model::{BuildEvent, Metadata, Object, Version, VolumeHandle};
use jb_runtime::{ImageFetch, ImageRequest};
use tokio::sync::mpsc;

use super::{Leaf, Started, Trouble};
use crate::build::BuildContext;

/// The type whose `in` a runtime may do itself.
pub(super) const TYPE: &str = "registry-image";
/// Lines of log that wait to be stored.
const WAITING_LINES: usize = 256;

/// How the runtime's own fetching ended.
pub(crate) enum Fetched {
    /// The script has to do it.
    No,
    Yes(Vec<Metadata>),
    Failed,
    Cancelled,
}

/// Asks the runtime to fetch an image into a volume; `on_start` are the events that begin the step's log.
pub(crate) async fn fetch(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &GetPlan,
    (source, params, version): (&Object, &Object, &Version),
    volume: &VolumeHandle,
    started: &Started<'_>,
    on_start: &[BuildEvent],
) -> Result<Fetched, Trouble> {
    if plan.image.base_type != TYPE || plan.image.get.is_some() {
        return Ok(Fetched::No);
    }
    let request =
        ImageRequest { source: source.clone(), params: params.clone(), version: version.clone() };
    let (log, mut lines) = mpsc::channel(WAITING_LINES);
    let runtime = &leaf.place(context).runtime;
    let mut fetching = std::pin::pin!(runtime.fetch_image(volume, request, log));
    let mut said = Said { context, leaf, started, on_start, begun: false };
    let outcome = loop {
        tokio::select! {
            // What was said before the end is stored before the end.
            biased;
            () = leaf.cancel.requested() => return Ok(Fetched::Cancelled),
            Some(line) = lines.recv() => said.line(line).await?,
            outcome = &mut fetching => break outcome?,
        }
    };
    while let Ok(line) = lines.try_recv() {
        said.line(line).await?;
    }
    Ok(match outcome {
        ImageFetch::NotOffered => Fetched::No,
        ImageFetch::Fetched(metadata) => {
            said.begin().await?;
            Fetched::Yes(metadata)
        }
        ImageFetch::Failed => {
            said.begin().await?;
            Fetched::Failed
        }
    })
}

/// The step's log, which begins when it is clear that the runtime does the work.
struct Said<'a> {
    context: &'a BuildContext,
    leaf: &'a Leaf,
    started: &'a Started<'a>,
    on_start: &'a [BuildEvent],
    begun: bool,
}

impl Said<'_> {
    async fn begin(&mut self) -> Result<(), Trouble> {
        if !self.begun {
            self.begun = true;
            self.context.once(&self.leaf.plan.id, "start", self.on_start.to_vec()).await?;
            self.started.tell().await;
        }
        Ok(())
    }

    async fn line(&mut self, text: String) -> Result<(), Trouble> {
        self.begin().await?;
        // After a restart the image is fetched again, and that is said again.
        Ok(self.context.say_anew(&self.leaf.plan.id, "image", text).await?)
    }
}
