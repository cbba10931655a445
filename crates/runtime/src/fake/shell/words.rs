//! A script's words. Pure.

use std::collections::BTreeMap;

/// When a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    Always,
    /// After `&&`.
    IfDone,
    /// After `||`.
    IfFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub joint: Joint,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Words(Vec<Word>),
    While { condition: Vec<Command>, body: Vec<Command> },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pieces: Vec<Piece>,
    quoted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

impl Word {
    /// Nothing in it was quoted: it may be an operator.
    pub(super) fn is_bare(&self) -> bool {
        !self.quoted
    }

    pub(super) fn expand(&self, env: &BTreeMap<String, String>) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Variable(name) => env.get(name).map_or("", String::as_str),
        });
        pieces.collect()
    }

    fn is(&self, keyword: &str) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Text(text)] if !self.quoted && text == keyword)
    }

    fn push(&mut self, character: char) {
        if let Some(Piece::Text(text)) = self.pieces.last_mut() {
            text.push(character);
        } else {
            self.pieces.push(Piece::Text(character.to_string()));
        }
    }
}

/// Cuts a script into commands. Never fails: what it does not understand becomes a word.
pub(super) fn parse(script: &str) -> Vec<Command> {
    gather(&mut lines(script).into_iter().peekable(), &[])
}

/// Commands until one that begins with one of these keywords, with loops put together.
fn gather(
    lines: &mut std::iter::Peekable<std::vec::IntoIter<(Joint, Vec<Word>)>>,
    until: &[&str],
) -> Vec<Command> {
    let begins = |words: &[Word], keyword: &str| words.first().is_some_and(|word| word.is(keyword));
    let mut commands = Vec::new();
    while let Some((joint, mut words)) =
        lines.next_if(|(_, words)| !until.iter().any(|keyword| begins(words, keyword)))
    {
        if !begins(&words, "while") {
            commands.push(Command { joint, what: What::Words(words) });
            continue;
        }
        words.remove(0);
        let mut condition = vec![Command { joint: Joint::Always, what: What::Words(words) }];
        condition.extend(gather(lines, &["do"]));
        let mut body = Vec::new();
        if let Some((joint, mut words)) = lines.next() {
            words.remove(0);
            body.push(Command { joint, what: What::Words(words) });
        }
        body.extend(gather(lines, &["done"]));
        lines.next();
        commands.push(Command { joint, what: What::While { condition, body } });
    }
    commands
}

/// What stands between `;`, line ends and the like, none of it empty.
fn lines(script: &str) -> Vec<(Joint, Vec<Word>)> {
    let mut commands = Vec::new();
    let mut joint = Joint::Always;
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = script.chars().peekable();
    while let Some(character) = rest.next() {
        let next_joint = match character {
            ';' | '\n' => Some(Joint::Always),
            // `>&2` is a word; a lone `&` ends a command.
            '&' if word
                .as_ref()
                .is_some_and(|word| word.expand(&BTreeMap::new()).ends_with('>')) =>
            {
                None
            }
            '&' if rest.next_if_eq(&'&').is_some() => Some(Joint::IfDone),
            '&' => Some(Joint::Always),
            '|' if rest.next_if_eq(&'|').is_some() => Some(Joint::IfFailed),
            _ => None,
        };
        if let Some(next) = next_joint {
            words.extend(word.take());
            if !words.is_empty() {
                commands.push((joint, std::mem::take(&mut words)));
            }
            joint = next;
            continue;
        }
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                rest.by_ref().take_while(|c| *c != '\'').for_each(|c| word.push(c));
            }
            '"' => quoted(word.get_or_insert_default(), &mut rest),
            '$' => variable(word.get_or_insert_default(), &mut rest),
            '\\' => {
                if let Some(escaped) = rest.next() {
                    word.get_or_insert_default().push(escaped);
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if !words.is_empty() {
        commands.push((joint, words));
    }
    commands
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn quoted(word: &mut Word, rest: &mut Rest<'_>) {
    word.quoted = true;
    while let Some(character) = rest.next() {
        match character {
            '"' => return,
            '$' => variable(word, rest),
            '\\' if matches!(rest.peek(), Some('"' | '$' | '\\')) => {
                word.push(rest.next().unwrap_or('\\'));
            }
            other => word.push(other),
        }
    }
}

fn variable(word: &mut Word, rest: &mut Rest<'_>) {
    let braced = rest.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(character) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(character);
    }
    if braced {
        rest.next_if_eq(&'}');
    }
    if name.is_empty() {
        word.push('$');
    } else {
        word.pieces.push(Piece::Variable(name));
    }
}
