//! The MCP servers of an agent step.

use std::collections::BTreeMap;

use crate::config::ImageResource;

/// The most servers of one step.
pub const MCP_SERVERS_MAX: usize = 16;
/// The most tools that one server's are granted.
pub const MCP_TOOLS_MAX: usize = 64;
/// The most headers that one server is sent.
const HEADERS_MAX: usize = 32;
/// The most variables of one server's environment.
const PARAMS_MAX: usize = 256;
/// The longest command, its program counted.
const COMMAND_WORDS_MAX: usize = 256;
/// The longest name of a tool as the agent knows it. Models take 64 characters; harnesses put some of their own before it.
const NAME_CHARACTERS_MAX: usize = 48;
/// Headers that are the protocol's.
const RESERVED: [&str; 7] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "transfer-encoding",
];

/// An MCP server that an agent's gateway reaches, and what of it the agent may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// What the names of its tools begin with.
    pub name: String,
    /// Its tools that exist for the agent, as the server calls them.
    pub tools: Vec<String>,
    pub way: McpWay,
}

/// How an MCP server is reached. All texts have `((vars))` until the step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpWay {
    /// By HTTP.
    Http {
        url: String,
        /// What it is sent with every request. Nobody but the gateway gets to see it.
        headers: BTreeMap<String, String>,
    },
    /// It is a program, whose stdin and stdout the gateway has.
    Program(McpProgram),
}

/// An MCP server that runs in a container of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpProgram {
    /// The program and its arguments.
    pub command: Vec<String>,
    pub image: McpImage,
    /// Its environment beside the image's. Nobody but it gets to see it.
    pub params: BTreeMap<String, String>,
}

/// The image of the container that an MCP server runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum McpImage {
    #[default]
    Step,
    /// The artifact of that name.
    Artifact(String),
    /// Fetched for it alone, as a task's is.
    Resource(Box<ImageResource>),
}

impl McpServer {
    /// The name of a server's tool as the agent knows it.
    pub fn offered_name(server: &str, tool: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let tool: String = tool.chars().map(plain).collect();
        format!("{server}__{tool}")
    }

    /// # Errors
    /// When models would not take names of tools that begin with it.
    pub fn check_name(name: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && name.chars().all(plain) && !name.contains("__") && !name.ends_with('_') {
            return Ok(());
        }
        Err(format!(
            "the MCP server's name '{name}' is not of the form a-z, 0-9, '-' and single '_' that names of tools begin with"
        ))
    }

    /// Checks an address in which no var is left.
    ///
    /// # Errors
    /// When it is none that is reached by HTTP.
    pub fn check_url(url: &str) -> Result<(), String> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let Some(rest) = rest else {
            return Err(format!("the MCP server's address '{url}' is not one of https or http"));
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.contains('@') {
            return Err("an MCP server's address has no user or password: send a header".to_owned());
        }
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if host.is_empty() || host.starts_with(':') || url.contains(odd) {
            return Err(format!("the MCP server's address '{url}' names no host"));
        }
        Ok(())
    }

    /// # Errors
    /// When models would not take the name that it has for the agent.
    pub fn check_tool(server: &str, tool: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        if tool.is_empty() || !tool.chars().all(plain) {
            let what = "is not of the letters, digits and '_', '-', '.', '/' that MCP has";
            return Err(format!("the tool's name '{tool}' {what}"));
        }
        let offered = Self::offered_name(server, tool);
        if offered.len() > NAME_CHARACTERS_MAX {
            return Err(format!(
                "the tool's name is '{offered}' for the agent, and has more than {NAME_CHARACTERS_MAX} characters"
            ));
        }
        Ok(())
    }

    /// # Errors
    /// When it is none, or the protocol's own.
    pub fn check_header(name: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("'{name}' is no name of a header"));
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) || lower.starts_with("mcp-") {
            return Err(format!("the header '{name}' is the protocol's own"));
        }
        Ok(())
    }

    /// Checks all of several servers, as plans that were posted have them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_all(servers: &[Self]) -> Result<(), String> {
        if servers.len() > MCP_SERVERS_MAX {
            return Err(format!("an agent has at most {MCP_SERVERS_MAX} MCP servers"));
        }
        for (index, server) in servers.iter().enumerate() {
            Self::check_name(&server.name)?;
            if servers[..index].iter().any(|known| known.name == server.name) {
                return Err(format!("the MCP server '{}' is named twice", server.name));
            }
            server.check_way()?;
            server.check_amounts()?;
            for (index, tool) in server.tools.iter().enumerate() {
                Self::check_tool(&server.name, tool)?;
                server.check_once(index)?;
            }
        }
        Ok(())
    }

    fn check_way(&self) -> Result<(), String> {
        match &self.way {
            McpWay::Http { url, headers } => {
                if !url.contains("((") {
                    Self::check_url(url)?;
                }
                headers.keys().try_for_each(|name| Self::check_header(name))
            }
            McpWay::Program(program) => {
                if let McpImage::Resource(image) = &program.image {
                    Self::check_image(image)?;
                }
                Self::check_command(&program.command)
            }
        }
    }

    /// # Errors
    /// When nothing says what fetches it.
    pub fn check_image(image: &ImageResource) -> Result<(), String> {
        if image.kind.is_empty() {
            return Err("the MCP server's `image_resource:` has no `type:`".to_owned());
        }
        Ok(())
    }

    /// # Errors
    /// When it names no program, or is longer than one may be.
    pub fn check_command(command: &[String]) -> Result<(), String> {
        if command.first().is_none_or(String::is_empty) {
            return Err("the MCP server's `command:` names no program".to_owned());
        }
        if command.len() > COMMAND_WORDS_MAX {
            return Err(format!("an MCP server's command has at most {COMMAND_WORDS_MAX} words"));
        }
        if command.iter().any(|word| word.contains('\0')) {
            return Err("a word of an MCP server's command has a NUL".to_owned());
        }
        Ok(())
    }

    /// # Errors
    /// When it has no tools, or more of something than a step may have.
    pub fn check_amounts(&self) -> Result<(), String> {
        let name = &self.name;
        if self.tools.is_empty() {
            return Err(format!(
                "the MCP server '{name}' needs a list of the `tools:` that the agent may call"
            ));
        }
        if self.tools.len() > MCP_TOOLS_MAX {
            return Err(format!("of an MCP server at most {MCP_TOOLS_MAX} tools are granted"));
        }
        match &self.way {
            McpWay::Http { headers, .. } if headers.len() > HEADERS_MAX => {
                Err(format!("an MCP server is sent at most {HEADERS_MAX} headers"))
            }
            McpWay::Program(program) if program.params.len() > PARAMS_MAX => {
                Err(format!("an MCP server has at most {PARAMS_MAX} params"))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// When the agent would know the tool at `index` by the name of one before it.
    pub fn check_once(&self, index: usize) -> Result<(), String> {
        let offered = |tool: &String| Self::offered_name(&self.name, tool);
        let (before, tool) = (&self.tools[..index], &self.tools[index]);
        if before.iter().any(|known| offered(known) == offered(tool)) {
            return Err(format!("the tool '{tool}' is granted twice"));
        }
        Ok(())
    }
}
