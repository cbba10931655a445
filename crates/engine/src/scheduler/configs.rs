//! Parsed pipeline configurations, kept for as long as they are current.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jb_model::{PipelineConfig, PipelineId};
use jb_store::{Result, Store};

/// How many configurations are kept; beyond that any may be dropped and read again.
const MAX_KEPT: usize = 2_000;

/// Reads configurations of pipelines; asking again costs one small query while nothing changes.
pub struct Configs {
    store: Store,
    kept: Mutex<HashMap<PipelineId, (i64, Arc<PipelineConfig>)>>,
}

impl Configs {
    pub fn new(store: Store) -> Self {
        Self { store, kept: Mutex::new(HashMap::new()) }
    }

    /// The present configuration; none for a pipeline that is archived or gone.
    pub async fn get(&self, pipeline: PipelineId) -> Result<Option<Arc<PipelineConfig>>> {
        let version = match self.store.pipeline(pipeline).await? {
            Some(record) if !record.archived => record.config_version,
            _ => return Ok(None),
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&pipeline).cloned();
        if let Some((_, config)) = kept.filter(|(kept_version, _)| *kept_version == version) {
            return Ok(Some(config));
        }
        let Some((value, version)) = self.store.pipeline_config(pipeline).await? else {
            return Ok(None);
        };
        let config = Arc::new(jb_pipeline::parse_pipeline_value(&value).config);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT
            && let Some(any) = kept.keys().next().copied()
        {
            kept.remove(&any);
        }
        kept.insert(pipeline, (version, config.clone()));
        Ok(Some(config))
    }
}
