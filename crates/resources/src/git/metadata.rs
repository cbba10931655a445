//! What is shown about a commit, in the order and under the names Concourse's resource uses.

use serde_json::{Value, json};

use crate::git::command::Git;

/// A message longer than this many bytes is cut.
const MAX_MESSAGE: usize = 10_240;

/// Name, value and kind of each field of the commit at `HEAD`.
pub(super) fn of_head(git: &Git<'_>) -> anyhow::Result<Value> {
    // One git call for the commit itself; the parts are separated by NUL, which none of them can contain.
    let format = "--format=format:%H%x00%an%x00%ai%x00%cn%x00%ci%x00%B";
    let text = git.output(&["log", "-1", "--no-show-signature", format], b"")?;
    let text = String::from_utf8_lossy(&text);
    let mut parts = text.splitn(6, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (commit, author, author_date, committer, committer_date, message) =
        (part(), part(), part(), part(), part(), part());
    let mut fields = vec![
        json!({"name": "commit", "value": commit}),
        json!({"name": "author", "value": author}),
        json!({"name": "author_date", "value": author_date, "type": "time"}),
        json!({"name": "committer", "value": committer}),
        json!({"name": "committer_date", "value": committer_date, "type": "time"}),
    ];
    let at_head = format!("--points-at={commit}");
    let names = |pattern: &str| -> anyhow::Result<String> {
        let names =
            git.lines(&["for-each-ref", &at_head, "--format=%(refname:lstrip=2)", "--", pattern])?;
        Ok(names.join(","))
    };
    for (name, pattern) in [("branch", "refs/heads/"), ("tags", "refs/tags/")] {
        let value = names(pattern)?;
        if !value.is_empty() {
            fields.push(json!({"name": name, "value": value}));
        }
    }
    fields.push(json!({"name": "message", "value": cut(message), "type": "message"}));
    if git.succeeds(&["remote", "get-url", "origin"])? {
        let origin = git.line(&["remote", "get-url", "origin"])?;
        if let Some(url) = commit_url(&origin, commit) {
            fields.push(json!({"name": "url", "value": url}));
        }
    }
    Ok(Value::Array(fields))
}

/// The value of a field, empty when it is not there.
pub(super) fn value<'a>(fields: &'a Value, name: &str) -> &'a str {
    let fields = fields.as_array().map_or(&[][..], Vec::as_slice);
    let field = fields.iter().find(|field| field["name"] == name);
    field.and_then(|field| field["value"].as_str()).unwrap_or_default()
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Where a person can look at the commit, for the kinds of hosts whose addresses are known.
fn commit_url(origin: &str, commit: &str) -> Option<String> {
    let web = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let (host, path) = if let Some(rest) = web.or_else(|| origin.strip_prefix("ssh://git@")) {
        rest.split_once('/')?
    } else {
        origin.strip_prefix("git@")?.split_once([':', '/'])?
    };
    // Never a login, should the address carry one.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.strip_suffix(".git").unwrap_or(path);
    let middle = match host {
        host if host.contains("github") || host.contains("gogs") => "commit",
        host if host.contains("gitlab") => "-/commit",
        host if host.contains("bitbucket") => "commits",
        _ => return None,
    };
    Some(format!("https://{host}/{path}/{middle}/{commit}"))
}

#[cfg(test)]
mod tests;
