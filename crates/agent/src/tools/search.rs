//! `search`.

use regex::Regex;
use rustix::fs::{FileType, Mode, OFlags};
use serde_json::Value;

use super::files::{content, entries};
use super::roots::{Place, Roots};
use super::{ANSWER_BYTES_MAX, Answer, Refusal, maybe_text, text};

/// Lines that are shown.
const MATCHES_MAX: usize = 200;
/// Files that are looked into.
const FILES_MAX: usize = 50_000;
/// Characters of a line that are shown.
const LINE_CHARACTERS: usize = 300;
/// The deepest directory.
const DEPTH_MAX: usize = 64;
/// Bytes of the compiled expression.
const EXPRESSION_BYTES_MAX: usize = 4 << 20;

pub(super) fn search(roots: &Roots, input: &Value) -> Answer {
    let pattern = regex::RegexBuilder::new(text(input, "pattern")?)
        .size_limit(EXPRESSION_BYTES_MAX)
        .build()
        .map_err(|error| Refusal::failed(format!("`pattern`: {error}")))?;
    let names = maybe_text(input, "files")?.map(glob).transpose()?;
    let path = maybe_text(input, "path")?.filter(|path| !roots.is_working_dir(path));
    let places = match path {
        Some(path) => vec![roots.place(path)?],
        None => roots.all(),
    };
    let mut search = Search { pattern, names, found: String::new(), matches: 0, files: 0 };
    for place in &places {
        let is_dir = place.open(OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok();
        if is_dir {
            search.directory(place, &place.rest, &place.shown, 0);
        } else {
            // So that a path that cannot be opened says why.
            place.open(OFlags::RDONLY, Mode::empty())?;
            search.file(place, &place.rest, &place.shown);
        }
    }
    if search.full() {
        search.found.push_str("… (there is more; search for something narrower)\n");
    }
    if search.found.is_empty() {
        return Ok(format!("nothing found in {} files\n", search.files));
    }
    Ok(search.found)
}

/// A pattern of names as an expression.
fn glob(pattern: &str) -> Result<Regex, Refusal> {
    let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*")))
        .map_err(|error| Refusal::failed(format!("`files`: {error}")))
}

struct Search {
    pattern: Regex,
    names: Option<Regex>,
    found: String,
    matches: usize,
    files: usize,
}

impl Search {
    fn full(&self) -> bool {
        self.matches >= MATCHES_MAX
            || self.files >= FILES_MAX
            || self.found.len() >= ANSWER_BYTES_MAX - 1000
    }

    /// Looks into a directory and those in it. Links are not followed; what cannot be read is left out.
    fn directory(&mut self, place: &Place<'_>, rest: &str, shown: &str, depth: usize) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let Ok(dir) = place.open_at(rest, flags, Mode::empty()) else { return };
        let Ok(mut names) = entries(&dir, place) else { return };
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in names {
            if self.full() {
                return;
            }
            let below = if rest == "." { name.clone() } else { format!("{rest}/{name}") };
            let shown = format!("{}/{name}", shown.trim_end_matches('/'));
            match kind {
                FileType::Directory if name != ".git" && depth < DEPTH_MAX => {
                    self.directory(place, &below, &shown, depth + 1);
                }
                FileType::RegularFile
                    if self.names.as_ref().is_none_or(|names| names.is_match(&name)) =>
                {
                    self.file(place, &below, &shown);
                }
                _ => {}
            }
        }
    }

    fn file(&mut self, place: &Place<'_>, rest: &str, shown: &str) {
        self.files += 1;
        let Ok(file) = place.open_at(rest, OFlags::RDONLY, Mode::empty()) else { return };
        let Ok(content) = content(file, place) else { return };
        for (index, line) in content.lines().enumerate() {
            if self.full() {
                return;
            }
            if self.pattern.is_match(line) {
                let line: String = line.trim_end().chars().take(LINE_CHARACTERS).collect();
                self.found.push_str(&format!("{shown}:{}: {line}\n", index + 1));
                self.matches += 1;
            }
        }
    }
}
