//! What plans carry of an agent's MCP servers.

use std::collections::BTreeMap;

use jb_model::agent::{McpImage, McpProgram, McpServer, McpWay};
use serde::{Deserialize, Serialize};

use super::super::config::ImageResourceJson;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct McpServerJson {
    name: String,
    tools: Vec<String>,
    #[serde(flatten)]
    way: WayJson,
}

/// Told apart by their first field.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum WayJson {
    Http {
        url: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    Program {
        command: Vec<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        image: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_resource: Option<Box<ImageResourceJson>>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
    },
}

impl McpServerJson {
    pub(super) fn of(server: &McpServer) -> Self {
        let McpServer { name, tools, way } = server.clone();
        let way = match way {
            McpWay::Http { url, headers } => WayJson::Http { url, headers },
            McpWay::Program(McpProgram { command, image, params }) => {
                let (image, image_resource) = match image {
                    McpImage::Step => (String::new(), None),
                    McpImage::Artifact(name) => (name, None),
                    McpImage::Resource(image) => (String::new(), Some(Box::new((*image).into()))),
                };
                WayJson::Program { command, image, image_resource, params }
            }
        };
        Self { name, tools, way }
    }

    pub(super) fn into_server(self) -> McpServer {
        let way = match self.way {
            WayJson::Http { url, headers } => McpWay::Http { url, headers },
            WayJson::Program { command, image, image_resource, params } => {
                let image = match image_resource {
                    Some(image) => McpImage::Resource(Box::new((*image).into())),
                    None if image.is_empty() => McpImage::Step,
                    None => McpImage::Artifact(image),
                };
                McpWay::Program(McpProgram { command, image, params })
            }
        };
        McpServer { name: self.name, tools: self.tools, way }
    }
}
