//! What an agent is given to know: files beside its inputs, and a manifest that says what they are. Nothing of it is put
//! into the prompt, where it could be taken for an order.

use jb_agent_protocol::{CONTEXT_DIR, CONTEXT_MANIFEST, CONTEXT_UNTRUSTED};
use jb_model::agent::{AgentConfig, ContextItem, ContextSource};
use jb_model::plan::TaskPlan;
use jb_model::{ContainerHandle, Object, Value, VolumeHandle};
use jb_runtime::{Mount, MountSource};
use serde_json::json;

use super::{files, untrusted};
use crate::build::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// The largest text that is handed over.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// A thing to hand over.
#[derive(Debug, PartialEq)]
enum Given {
    File { from: String, text: String },
    Build(Value),
    Vars(Object),
}

/// Puts the step's context where the agent finds it; nothing for a step without one.
pub(super) async fn mount(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    agent: &AgentConfig,
    container: &ContainerHandle,
) -> Result<Option<Mount>, Trouble> {
    if agent.context.is_empty() {
        return Ok(None);
    }
    let mut given = Vec::new();
    for item in &agent.context {
        given.push((gather(context, leaf, item).await?, item.untrusted));
    }
    let written = lay_out(given);
    let written: Vec<(&str, String)> =
        written.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    let volume = VolumeHandle::new(format!("{container}-context"));
    files::keep(context, leaf, &volume, &plan.name, &written).await?;
    let source = MountSource::Input { volume, copy: None };
    Ok(Some(Mount { path: CONTEXT_DIR.to_owned(), source }))
}

async fn gather(context: &BuildContext, leaf: &Leaf, item: &ContextItem) -> Result<Given, Trouble> {
    Ok(match &item.source {
        ContextSource::File(file) => {
            let from = context.interpolate_text(leaf, file).await?;
            let text = context.read_artifact_file(leaf, &from, TEXT_BYTES_MAX).await?;
            let text = String::from_utf8(text);
            let text = text.map_err(|_| Trouble::new(format!("{from} is no UTF-8 text")))?;
            Given::File { from, text }
        }
        ContextSource::Build => Given::Build(build(context).await?),
        ContextSource::Vars(names) => {
            let mut vars = Object::new();
            for name in names {
                vars.insert(name.clone(), context.var(leaf, name).await?);
            }
            Given::Vars(vars)
        }
    })
}

/// Without times: the same pipeline run again from its recording says the same.
async fn build(context: &BuildContext) -> Result<Value, Trouble> {
    let build = &context.build;
    let inputs = context.engine.store.build_inputs(build.id).await?;
    let inputs: Vec<Value> = inputs
        .into_iter()
        .map(|input| {
            json!({"name": input.name, "resource": input.resource_name, "version": input.version})
        })
        .collect();
    Ok(json!({
        "id": build.id.to_string(),
        "name": build.name,
        "team": build.team_name,
        "pipeline": build.pipeline.as_ref().map(|pipeline| &pipeline.name),
        "instance_vars": build.pipeline.as_ref().map(|pipeline| &pipeline.instance_vars),
        "job": build.job_name,
        "created_by": build.created_by,
        "url": context.url(),
        "inputs": inputs,
    }))
}

/// Which files there are, the manifest first. What is untrusted lies in a directory of its own.
fn lay_out(given: Vec<(Given, bool)>) -> Vec<(String, String)> {
    let mut written: Vec<(String, String)> = Vec::new();
    let mut items = Vec::new();
    for (index, (given, is_untrusted)) in given.into_iter().enumerate() {
        let (name, mut about, mut text) = match given {
            Given::File { from, text } => {
                (format!("files/{from}"), json!({"kind": "file", "from": from}), text)
            }
            Given::Build(build) => {
                ("build.json".to_owned(), json!({"kind": "build"}), format!("{build:#}\n"))
            }
            Given::Vars(vars) => {
                let names: Vec<&String> = vars.keys().collect();
                let about = json!({"kind": "vars", "names": names});
                (format!("vars-{index}.json"), about, format!("{:#}\n", Value::Object(vars)))
            }
        };
        let mut path = name;
        if is_untrusted {
            path = format!("{CONTEXT_UNTRUSTED}/{path}");
            let cleaned = untrusted::clean(&text);
            about["removed"] = json!({
                "hidden_characters": cleaned.hidden_characters, "comments": cleaned.comments,
            });
            text = cleaned.text;
        }
        about["path"] = json!(format!("{CONTEXT_DIR}/{path}"));
        about["untrusted"] = json!(is_untrusted);
        about["bytes"] = json!(text.len());
        items.push(about);
        written.push((path, text));
    }
    let manifest = json!({"version": 1, "items": items});
    written.insert(0, (CONTEXT_MANIFEST.to_owned(), format!("{manifest:#}\n")));
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_untrusted_lies_apart_and_is_cleaned() {
        let file = |from: &str, text: &str| Given::File { from: from.into(), text: text.into() };
        let vars = json!({"release": "1.2"}).as_object().unwrap().clone();
        let written = lay_out(vec![
            (file("issue/body.md", "Fix\u{200b} it. <!-- push -->\n"), true),
            (file("repo/README.md", "Be\u{200b} kind.\n"), false),
            (Given::Vars(vars), false),
            (Given::Build(json!({"id": 1})), false),
        ]);
        let paths: Vec<&str> = written.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "manifest.json",
                "untrusted/files/issue/body.md",
                "files/repo/README.md",
                "vars-2.json",
                "build.json"
            ]
        );
        assert_eq!(written[1].1, "Fix it. \n");
        assert_eq!(written[2].1, "Be\u{200b} kind.\n");
        let manifest: Value = serde_json::from_str(&written[0].1).unwrap();
        let first = json!({
            "kind": "file", "from": "issue/body.md", "untrusted": true, "bytes": 9,
            "path": ".context/untrusted/files/issue/body.md",
            "removed": {"hidden_characters": 1, "comments": 1},
        });
        assert_eq!(manifest["items"][0], first);
        assert_eq!(manifest["items"][2]["names"], json!(["release"]));
    }
}
