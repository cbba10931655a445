//! What a build's agents said and did, on its way to the store.

use jb_agent_protocol::{Entry, Line, Source, log_text};
use jb_model::event::LogSource;
use jb_model::{BuildEvent, PlanId, Timestamp, Value, VolumeHandle};
use jb_store::{AgentUsage, AgentUse, Position, Transcribed};
use serde_json::json;

use super::{BuildContext, encode};
use crate::leaf::{Leaf, Trouble};
use crate::process::Speaker;

/// The scope under which the last words of a step's agent are kept, which no step is in.
fn agent_scope(step: &PlanId) -> String {
    format!("agent of {step}")
}

/// How it ended.
const END: &str = "end";
/// How it stopped last, to go on later.
const SUSPENDED: &str = "suspended";
/// Of which run that stopped all is kept.
const PUT_AWAY: &str = "put away";

/// How a step's agent stopped, to go on later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspended {
    /// How often it stopped before.
    pub run: u32,
    /// The id of the call that is to be decided about.
    pub needs: String,
    /// Of what it goes on from.
    pub digest: String,
}

/// What is kept of a run of an agent that stopped, while nothing of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PutAway {
    pub run: u32,
    /// Its outputs, by the names of the artifacts that they will be.
    pub outputs: Vec<(String, VolumeHandle)>,
}

impl BuildContext {
    /// Stores lines of a harness or gateway: as entries of the transcript, and as text in the log, together with how far
    /// they reach in the journal.
    pub(crate) async fn append_transcript(
        &self,
        origin: &PlanId,
        speaker: Speaker<'_>,
        lines: &str,
        key: &str,
        upto: u64,
    ) -> jb_store::Result<()> {
        let Speaker { agent, source, .. } = speaker;
        let (mut entries, mut shown) = (Vec::new(), String::new());
        let (mut understood, mut used) = (Vec::new(), Vec::new());
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let Ok(read) = serde_json::from_str::<Value>(line) else {
                shown.push_str(&self.mask_all(format!("{line}\n")));
                continue;
            };
            // Before its position is stored, so that it is known whenever the journal is not read again.
            if source == Source::Harness {
                for word in [END, SUSPENDED].into_iter().filter(|word| read["type"] == *word) {
                    self.keep_of_agent(origin, word, &read).await?;
                }
            }
            let mut entry = self.masked(read);
            if let Ok(line) = serde_json::from_value::<Line>(entry.clone()) {
                shown.push_str(&log_text(&line.entry));
                // Before its position is stored, too.
                let asked = self.ask_about_call(origin, speaker, &line.entry).await?;
                shown.push_str(&asked.unwrap_or_default());
                used.extend(use_of(origin, speaker, &line));
                understood.push(line);
            }
            if let Value::Object(fields) = &mut entry {
                fields.insert("source".to_owned(), json!(source));
                fields.insert("origin".to_owned(), json!(origin.as_str()));
                fields.insert("agent".to_owned(), json!(agent));
                entries.push(entry.to_string());
            }
        }
        let log: Vec<String> = (!shown.is_empty())
            .then(|| BuildEvent::Log {
                origin: origin.clone(),
                source: LogSource::Stdout,
                time: self.now(),
                payload: shown,
            })
            .iter()
            .map(encode)
            .collect();
        let position = Position { key, from: self.position_of(key), upto };
        let store = &self.engine.store;
        let said = Transcribed { entries: &entries, events: &log, used: &used };
        let stored =
            store.append_transcript(self.build.id, said, Some(self.fence), position).await?;
        if stored {
            self.tell_story(origin, source, &understood);
        } else {
            // Only the holder of the lease writes, so this is a defect and not a race.
            tracing::error!(build = %self.build.id, key, upto, "a transcript's position was refused");
        }
        self.remember(key, upto);
        Ok(())
    }

    fn masked(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask_all(text)),
            Value::Array(items) => items.into_iter().map(|item| self.masked(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.into_iter();
                fields.map(|(key, item)| (self.mask_all(key), self.masked(item))).collect()
            }
            other => other,
        }
    }

    async fn keep_of_agent(
        &self,
        step: &PlanId,
        what: &str,
        value: &Value,
    ) -> jb_store::Result<()> {
        let store = &self.engine.store;
        store.set_build_var(self.build.id, &agent_scope(step), what, value, false).await
    }

    async fn kept_of_agent(&self, leaf: &Leaf, what: &str) -> Result<Option<Value>, Trouble> {
        let scope = agent_scope(&leaf.plan.id);
        let vars = self.engine.store.build_vars(self.build.id).await?;
        let found = vars.into_iter().find(|var| var.scope == scope && var.name == what);
        Ok(found.map(|var| var.value))
    }

    /// The last word of a step's agent, if it came that far.
    pub(crate) async fn agent_end(&self, leaf: &Leaf) -> Result<Option<Value>, Trouble> {
        self.kept_of_agent(leaf, END).await
    }

    /// How a step's agent stopped last, if it did.
    pub(crate) async fn agent_suspended(&self, leaf: &Leaf) -> Result<Option<Suspended>, Trouble> {
        let Some(said) = self.kept_of_agent(leaf, SUSPENDED).await? else { return Ok(None) };
        match serde_json::from_value(said)? {
            Entry::Suspended { run, needs, digest } => Ok(Some(Suspended { run, needs, digest })),
            _ => Ok(None),
        }
    }

    /// The run of a step's agent that stopped last and of which all is kept.
    pub(crate) async fn agent_put_away(&self, leaf: &Leaf) -> Result<Option<PutAway>, Trouble> {
        let Some(kept) = self.kept_of_agent(leaf, PUT_AWAY).await? else { return Ok(None) };
        let (run, outputs): (u32, Vec<(String, String)>) = serde_json::from_value(kept)?;
        let outputs = outputs.into_iter().map(|(name, volume)| (name, VolumeHandle(volume)));
        Ok(Some(PutAway { run, outputs: outputs.collect() }))
    }

    /// Remembers that all is kept of a run that stopped: from now on its containers are not needed.
    pub(crate) async fn put_agent_away(&self, leaf: &Leaf, kept: &PutAway) -> Result<(), Trouble> {
        let outputs = kept.outputs.iter().map(|(name, volume)| (name.as_str(), volume.as_str()));
        let value = json!((kept.run, outputs.collect::<Vec<_>>()));
        Ok(self.keep_of_agent(&leaf.plan.id, PUT_AWAY, &value).await?)
    }
}

/// What a line of a gateway's tells of a model that was used.
fn use_of<'a>(step: &'a PlanId, speaker: Speaker<'a>, line: &Line) -> Option<AgentUse<'a>> {
    let (Source::Gateway, Entry::ModelCall { model, answer, status, usage, cost_micros, .. }) =
        (speaker.source, &line.entry)
    else {
        return None;
    };
    let usage = AgentUsage {
        turns: u64::from((200..300).contains(status)),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        cost_micros: *cost_micros,
    };
    let model = format!("{}/{model}", answer.provider);
    Some(AgentUse { plan: step, name: speaker.agent, model, usage, at: Timestamp(line.time_us) })
}
