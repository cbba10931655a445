//! `context` of an agent step.

use jb_model::Value;
use jb_model::agent::{ContextItem, ContextSource};
use jb_yaml::Node;

use super::super::decoder::{Decoder, Empty, Fields};
use crate::diagnostic::Code;
use crate::vars::VarRef;

const KEY: &str = "context";

pub(super) fn context(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<ContextItem> {
    let mut values = Vec::new();
    let read = d.list(f, KEY, |d, node| {
        let (item, value) = item(d, node)?;
        values.push(value);
        Some((item, node.span))
    });
    let mut items: Vec<ContextItem> = Vec::new();
    for (index, read) in read.into_iter().enumerate() {
        let Some((item, span)) = read else { continue };
        let once = !matches!(item.source, ContextSource::Vars(_));
        if once && items.iter().any(|known| known.source == item.source) {
            let message = "the same is handed over twice";
            d.within(KEY, |d| d.within(index, |d| d.fail(Code::DuplicateName, message, span)));
        } else {
            items.push(item);
        }
    }
    if !values.is_empty() {
        f.put(KEY, values);
    }
    items
}

fn item(d: &mut Decoder, node: &Node) -> Option<(ContextItem, Value)> {
    let mut f = d.fields(node, false)?;
    let file = d.text(&mut f, "file", Empty::Omit);
    let build = d.flag(&mut f, "build");
    let vars = vars(d, &mut f);
    let untrusted = d.flag(&mut f, "untrusted");
    let value = Value::Object(d.close(f));
    let source = match (file.is_empty(), build, vars.is_empty()) {
        (false, false, true) => ContextSource::File(file),
        (true, true, true) if untrusted => {
            let message = "what the server knows of the build is not untrusted";
            d.fail(Code::InvalidValue, message, node.span);
            return None;
        }
        (true, true, true) => ContextSource::Build,
        (true, false, false) => ContextSource::Vars(vars),
        _ => {
            let message = "must specify one of `file:`, `build: true` or `vars:`";
            d.fail(Code::InvalidValue, message, node.span);
            return None;
        }
    };
    Some((ContextItem { source, untrusted }, value))
}

fn vars(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<String> {
    let node = f.find("vars").map(|node| node.span).unwrap_or_default();
    let names = d.texts(f, "vars");
    for name in &names {
        if let Err(error) = VarRef::parse(name) {
            d.within("vars", |d| d.fail(Code::InvalidValue, error.to_string(), node));
        }
    }
    names
}
