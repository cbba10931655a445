//! From parser events to a tree: anchors, merge keys, duplicate keys and the budget.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as ParserSpan, StrInput, Tag};

use crate::Limits;
use crate::error::{Error, ErrorKind};
use crate::node::{Entry, Node, NodeKind, Span};
use crate::scalar::{float_text, resolve, resolve_tagged};

/// [`crate::parse`] with other bounds.
pub fn parse_with(text: &str, limits: Limits) -> Result<Node, Error> {
    if text.len() > limits.max_bytes {
        let kind = ErrorKind::TooLong { max: limits.max_bytes };
        return Err(Error { kind, span: Span::default() });
    }
    match Builder::new(limits).run(text) {
        // JSON may hold what YAML's scanner refuses, such as surrogate pairs in escapes.
        Err(Error { kind: ErrorKind::Syntax(what), span }) => {
            match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => checked_json(&value, limits),
                Err(_) => Err(Error { kind: ErrorKind::Syntax(what), span }),
            }
        }
        result => result,
    }
}

fn checked_json(value: &serde_json::Value, limits: Limits) -> Result<Node, Error> {
    let start = Span { line: 1, column: 1 };
    if depth(value) > limits.max_depth {
        return Err(Error { kind: ErrorKind::TooDeep { max: limits.max_depth }, span: start });
    }
    Ok(Node::from_json(value, start))
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// What a subtree costs when it is copied.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    text: usize,
    depth: usize,
}

struct Built {
    node: Node,
    cost: Cost,
    /// An unquoted `<<`, which as a key asks for a merge.
    merge: bool,
}

enum Open {
    List(Vec<Node>),
    Map { entries: MapEntries, key: Option<Key> },
}

enum Key {
    Text(String, Span),
    Merge,
}

struct Frame {
    open: Open,
    anchor: usize,
    span: Span,
    cost: Cost,
}

struct Builder {
    limits: Limits,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, Cost)>,
    spent: Cost,
    root: Option<Node>,
}

impl Builder {
    fn new(limits: Limits) -> Self {
        Builder {
            limits,
            frames: Vec::new(),
            anchors: BTreeMap::new(),
            spent: Cost::default(),
            root: None,
        }
    }

    fn run(mut self, text: &str) -> Result<Node, Error> {
        let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
        let mut documents = 0_usize;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| syntax(&error))?;
            let span = place(span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Error { kind: ErrorKind::SeveralDocuments, span });
                    }
                }
                Event::Alias(id) => self.alias(id, span)?,
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(text.into_owned(), style, anchor, tag.as_deref(), span)?;
                }
                Event::SequenceStart(anchor, _) => {
                    self.open(Open::List(Vec::new()), anchor, span)?
                }
                Event::MappingStart(anchor, _) => {
                    let open = Open::Map { entries: MapEntries::default(), key: None };
                    self.open(open, anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(self.root.unwrap_or_else(|| Node::new(NodeKind::Null, Span { line: 1, column: 1 })))
    }

    fn scalar(
        &mut self,
        text: String,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Error> {
        let plain = style == ScalarStyle::Plain;
        let text_cost = text.len();
        let merge = plain && tag.is_none() && text == "<<";
        let kind = match tag {
            Some(tag) if tag.is_yaml_core_schema() => resolve_tagged(&tag.suffix, &text),
            // A tag of one's own has no meaning here; the scalar is text.
            Some(_) => Ok(NodeKind::String(text)),
            None if plain => resolve(&text),
            None => Ok(NodeKind::String(text)),
        }
        .map_err(|kind| Error { kind, span })?;
        let cost = Cost { nodes: 1, text: text_cost, depth: 0 };
        self.spend(cost, span)?;
        self.finish(Built { node: Node::new(kind, span), cost, merge }, anchor)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Error> {
        let Some((_, cost)) = self.anchors.get(&id) else {
            return Err(Error { kind: ErrorKind::RecursiveAlias, span });
        };
        let cost = *cost;
        // Spent before the copy is made, so the budget bounds memory too.
        self.spend(cost, span)?;
        if self.frames.len() + cost.depth > self.limits.max_depth {
            return Err(Error { kind: ErrorKind::TooDeep { max: self.limits.max_depth }, span });
        }
        let Some((node, _)) = self.anchors.get(&id) else { return Ok(()) };
        let node = node.clone();
        self.finish(Built { node, cost, merge: false }, 0)
    }

    fn open(&mut self, open: Open, anchor: usize, span: Span) -> Result<(), Error> {
        let cost = Cost { nodes: 1, text: 0, depth: 1 };
        self.spend(cost, span)?;
        if self.frames.len() >= self.limits.max_depth {
            return Err(Error { kind: ErrorKind::TooDeep { max: self.limits.max_depth }, span });
        }
        self.frames.push(Frame { open, anchor, span, cost });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(Frame { open, anchor, span, cost }) = self.frames.pop() else { return Ok(()) };
        let kind = match open {
            Open::List(items) => NodeKind::List(items),
            Open::Map { entries, .. } => NodeKind::Map(entries.list),
        };
        self.finish(Built { node: Node::new(kind, span), cost, merge: false }, anchor)
    }

    /// Puts a finished value where it belongs: the anchor table, and the container around it.
    fn finish(&mut self, built: Built, anchor: usize) -> Result<(), Error> {
        if anchor != 0 {
            self.spend(built.cost, built.node.span)?;
            self.anchors.insert(anchor, (built.node.clone(), built.cost));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.cost.nodes += built.cost.nodes;
        frame.cost.text += built.cost.text;
        frame.cost.depth = frame.cost.depth.max(built.cost.depth + 1);
        match &mut frame.open {
            Open::List(items) => items.push(built.node),
            Open::Map { entries, key } => match key.take() {
                None => *key = Some(entries.read_key(built)?),
                Some(Key::Text(text, span)) => entries.set(text, span, built.node),
                Some(Key::Merge) => entries.merge(built.node)?,
            },
        }
        Ok(())
    }

    fn spend(&mut self, cost: Cost, span: Span) -> Result<(), Error> {
        self.spent.nodes = self.spent.nodes.saturating_add(cost.nodes);
        self.spent.text = self.spent.text.saturating_add(cost.text);
        let kind = if self.spent.nodes > self.limits.max_nodes {
            ErrorKind::TooManyNodes { max: self.limits.max_nodes }
        } else if self.spent.text > self.limits.max_text_bytes {
            ErrorKind::TooMuchText { max: self.limits.max_text_bytes }
        } else {
            return Ok(());
        };
        Err(Error { kind, span })
    }
}

/// The entries of a map under construction.
///
/// A merge counts at the place it stands: keys written after it override it, keys written before it are overridden,
/// as in the library Concourse reads with. In a list of maps the earlier map wins.
#[derive(Default)]
struct MapEntries {
    list: Vec<Entry>,
    /// Where each key stands in `list`.
    index: BTreeMap<String, usize>,
    /// The keys written in this map itself, with their places, to tell a duplicate from an override.
    written: BTreeMap<String, Span>,
    merge_key: Option<Span>,
}

impl MapEntries {
    fn read_key(&mut self, built: Built) -> Result<Key, Error> {
        let span = built.node.span;
        if built.merge {
            if let Some(first) = self.merge_key {
                let kind = ErrorKind::DuplicateKey { key: "<<".to_owned(), first };
                return Err(Error { kind, span });
            }
            self.merge_key = Some(span);
            return Ok(Key::Merge);
        }
        let text = match built.node.value {
            NodeKind::String(text) => text,
            NodeKind::Bool(truth) => truth.to_string(),
            NodeKind::Number(number) => float_text(&number),
            other => return Err(Error { kind: ErrorKind::UnusableKey(other.describe()), span }),
        };
        if let Some(first) = self.written.insert(text.clone(), span) {
            return Err(Error { kind: ErrorKind::DuplicateKey { key: text, first }, span });
        }
        Ok(Key::Text(text, span))
    }

    fn set(&mut self, key: String, key_span: Span, value: Node) {
        match self.index.get(&key) {
            Some(&at) => {
                if let Some(entry) = self.list.get_mut(at) {
                    *entry = Entry { key, key_span, value };
                }
            }
            None => {
                self.index.insert(key.clone(), self.list.len());
                self.list.push(Entry { key, key_span, value });
            }
        }
    }

    fn merge(&mut self, node: Node) -> Result<(), Error> {
        let span = node.span;
        let maps = match node.value {
            NodeKind::Map(_) => vec![node],
            NodeKind::List(items) => items,
            other => return Err(Error { kind: ErrorKind::BadMerge(other.describe()), span }),
        };
        for map in maps.into_iter().rev() {
            let span = map.span;
            let entries = match map.value {
                NodeKind::Map(entries) => entries,
                other => return Err(Error { kind: ErrorKind::BadMerge(other.describe()), span }),
            };
            for entry in entries {
                self.set(entry.key, entry.key_span, entry.value);
            }
        }
        Ok(())
    }
}

fn place(span: ParserSpan) -> Span {
    position(span.start.line(), span.start.col())
}

fn position(line: usize, column: usize) -> Span {
    Span {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
    }
}

fn syntax(error: &ScanError) -> Error {
    let marker = error.marker();
    Error {
        kind: ErrorKind::Syntax(error.info().to_owned()),
        span: position(marker.line(), marker.col()),
    }
}
