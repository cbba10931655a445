//! Which names may stand in a git command line.

use anyhow::bail;

/// Checks a branch or tag name by the rules of `git check-ref-format`, and that it cannot be taken for an option.
pub(super) fn validate(path: &str, name: &str) -> anyhow::Result<()> {
    if is_valid(name) {
        return Ok(());
    }
    bail!("{path}: {name:?} is not a valid name for a branch or tag")
}

fn is_valid(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !name.is_empty()
        && name.len() <= 1024
        && name != "@"
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(forbidden)
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

/// Whether this is a whole object name (SHA-1 or SHA-256).
pub(super) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Checks an address of a repository: anything git takes, but nothing that reads as an option or runs a command.
pub(super) fn validate_uri(path: &str, uri: &str) -> anyhow::Result<()> {
    if uri.starts_with('-') || uri.chars().any(char::is_control) {
        bail!("{path}: {uri:?} is not the address of a repository");
    }
    if let Some((helper, _)) = uri.split_once("::")
        && !helper.is_empty()
        && helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        bail!("{path}: remote helpers such as {helper}:: are not allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
