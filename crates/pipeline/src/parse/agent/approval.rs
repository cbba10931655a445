//! `approval` of an agent step: which of its calls wait for people.

use jb_model::Value;
use jb_model::agent::{AskedTool, ToolApproval};
use jb_yaml::Node;

use super::super::approve::{people, timeout};
use super::super::decoder::{Decoder, Empty, Fields};
use super::shell;
use crate::diagnostic::Code;

const KEY: &str = "approval";

pub(super) fn approval(d: &mut Decoder, f: &mut Fields<'_>) -> Option<ToolApproval> {
    let node = f.take(KEY)?;
    let (approval, value) = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let tools = tools(d, &mut f);
        if tools.is_empty() {
            let message = "`tools:` names no call that would wait";
            d.fail(Code::InvalidValue, message, node.span);
        }
        let (approvers, quorum) = people(d, &mut f);
        timeout(d, &f);
        let timeout = d.text(&mut f, "timeout", Empty::Omit);
        Some((ToolApproval { tools, approvers, quorum, timeout }, d.close(f)))
    })?;
    f.put(KEY, value);
    Some(approval)
}

fn tools(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<AskedTool> {
    let mut values = Vec::new();
    let read = d.list(f, "tools", |d, node| {
        let (tool, value) = tool(d, node)?;
        values.push(value);
        Some(tool)
    });
    if !values.is_empty() {
        f.put("tools", values);
    }
    read.into_iter().flatten().collect()
}

fn tool(d: &mut Decoder, node: &Node) -> Option<(AskedTool, Value)> {
    if let Some(name) = node.as_str() {
        return Some((AskedTool::Named(name.to_owned()), Value::from(name)));
    }
    let (grants, value) = shell(d, node)?;
    Some((AskedTool::Shell(grants), value))
}
