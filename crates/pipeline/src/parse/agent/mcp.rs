//! `mcp` of an agent step.

use jb_model::Value;
use jb_model::agent::{MCP_SERVERS_MAX, McpImage, McpProgram, McpServer, McpWay};
use jb_yaml::Node;

use super::super::decoder::{Decoder, Empty, Fields};
use super::super::task::image_resource;
use crate::diagnostic::Code;

const KEY: &str = "mcp";

pub(super) fn servers(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<McpServer> {
    let span = f.find(KEY).map(|node| node.span).unwrap_or_default();
    let mut values = Vec::new();
    let read = d.list(f, KEY, |d, node| {
        let (server, value) = server(d, node)?;
        values.push(value);
        Some((server, node.span))
    });
    if read.len() > MCP_SERVERS_MAX {
        let message = format!("an agent has at most {MCP_SERVERS_MAX} MCP servers");
        d.within(KEY, |d| d.fail(Code::InvalidValue, message, span));
    }
    let mut servers: Vec<McpServer> = Vec::new();
    for (index, read) in read.into_iter().enumerate() {
        let Some((server, span)) = read else { continue };
        if servers.iter().any(|known| known.name == server.name) {
            let message = format!("the MCP server '{}' is named twice", server.name);
            d.within(KEY, |d| d.within(index, |d| d.fail(Code::DuplicateName, message, span)));
        } else {
            servers.push(server);
        }
    }
    if !values.is_empty() {
        f.put(KEY, values);
    }
    servers
}

fn server(d: &mut Decoder, node: &Node) -> Option<(McpServer, Value)> {
    let mut f = d.fields(node, false)?;
    let name = d.text(&mut f, "name", Empty::Keep);
    checked(d, &f, "name", node, McpServer::check_name(&name));
    let way = way(d, &mut f, node);
    let tools = tools(d, &mut f, &name);
    let server = McpServer { name, tools, way };
    if let Err(message) = server.check_amounts() {
        d.fail(Code::InvalidValue, message, node.span);
    }
    let listed = f.find("tools").map_or(node.span, |node| node.span);
    for index in 0..server.tools.len() {
        if let Err(message) = server.check_once(index) {
            d.within("tools", |d| d.fail(Code::DuplicateName, message, listed));
        }
    }
    Some((server, Value::Object(d.close(f))))
}

fn way(d: &mut Decoder, f: &mut Fields<'_>, node: &Node) -> McpWay {
    if f.find("command").is_some() {
        if f.find("url").is_some() {
            let message = "an MCP server has a `url:` or a `command:`, not both";
            d.fail(Code::InvalidValue, message, node.span);
        }
        misplaced(
            d,
            f,
            &["headers"],
            "an MCP server with a `command:` is sent no headers: give it `params:`",
        );
        f.claim("url");
        return McpWay::Program(program(d, f, node));
    }
    let message = "it goes with the `command:` of an MCP server";
    misplaced(d, f, &["image", "image_resource", "params"], message);
    if f.find("url").is_none() {
        let message = "an MCP server needs a `url:`, or the `command:` that it is";
        d.fail(Code::InvalidValue, message, node.span);
    }
    let url = d.text(f, "url", Empty::Keep);
    // One with vars is read when the step runs.
    if !url.is_empty() && !url.contains("((") {
        checked(d, f, "url", node, McpServer::check_url(&url));
    }
    let headers = d.text_map(f, "headers").unwrap_or_default();
    for header in headers.keys() {
        checked(d, f, "headers", node, McpServer::check_header(header));
    }
    McpWay::Http { url, headers }
}

fn program(d: &mut Decoder, f: &mut Fields<'_>, node: &Node) -> McpProgram {
    let command = d.texts(f, "command");
    checked(d, f, "command", node, McpServer::check_command(&command));
    let artifact = d.text(f, "image", Empty::Omit);
    let image = match image_resource(d, f) {
        Some(image) => {
            checked(d, f, "image_resource", node, McpServer::check_image(&image));
            if !artifact.is_empty() {
                let message = "an MCP server has an `image:` or an `image_resource:`, not both";
                d.fail(Code::InvalidValue, message, node.span);
            }
            McpImage::Resource(Box::new(image))
        }
        None if artifact.is_empty() => McpImage::Step,
        None => McpImage::Artifact(artifact),
    };
    McpProgram { command, image, params: d.environment(f, "params") }
}

/// Reports keys of the other kind of server.
fn misplaced(d: &mut Decoder, f: &mut Fields<'_>, keys: &[&'static str], message: &str) {
    for key in keys {
        if let Some(node) = f.claim(key) {
            d.within(*key, |d| d.fail(Code::InvalidValue, message, node.span));
        }
    }
}

fn tools(d: &mut Decoder, f: &mut Fields<'_>, server: &str) -> Vec<String> {
    let read = d.list(f, "tools", |d, node| {
        let Some(tool) = node.as_str() else {
            d.wrong_type("the name of a tool", node);
            return None;
        };
        if let Err(message) = McpServer::check_tool(server, tool) {
            d.fail(Code::InvalidValue, message, node.span);
        }
        Some(tool.to_owned())
    });
    let tools: Vec<String> = read.into_iter().flatten().collect();
    f.put("tools", tools.clone());
    tools
}

/// Reports what is wrong with a key at its value, or at the server when it is missing.
fn checked(
    d: &mut Decoder,
    f: &Fields<'_>,
    key: &'static str,
    server: &Node,
    checked: Result<(), String>,
) {
    if let Err(message) = checked {
        let span = f.find(key).map_or(server.span, |node| node.span);
        d.within(key, |d| d.fail(Code::InvalidValue, message, span));
    }
}
