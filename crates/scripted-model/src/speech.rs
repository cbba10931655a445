//! The same answer in the words of each API.

use jb_agent_protocol::Api;
use serde_json::{Value, json};

use crate::script::Said;
use crate::{chat, messages, responses};

/// Refuses what the real service refuses.
pub(crate) fn check(api: Api, request: &Value) -> Result<(), String> {
    match api {
        Api::Messages => messages::check(request),
        Api::Responses => responses::check(request),
        Api::Chat => chat::check(request),
    }
}

/// An error.
pub(crate) fn problem(api: Api, kind: &str, message: &str) -> Value {
    match api {
        Api::Messages => json!({"type": "error", "error": {"type": kind, "message": message}}),
        Api::Responses | Api::Chat => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
        }
    }
}

/// How one request is answered.
#[derive(Clone, Copy)]
pub(crate) struct Speech<'a> {
    pub(crate) api: Api,
    pub(crate) model: &'a str,
    /// The request's, which makes ids.
    pub(crate) number: usize,
}

impl Speech<'_> {
    /// An answer that is not streamed.
    pub(crate) fn whole(self, said: &Said) -> Value {
        match self.api {
            Api::Messages => messages::whole(said, self.model, self.number),
            Api::Responses => responses::whole(said, self.model, self.number),
            Api::Chat => chat::whole(said, self.model, self.number),
        }
    }

    /// A streamed answer, event by event.
    pub(crate) fn events(self, said: &Said) -> Vec<String> {
        match self.api {
            Api::Messages => messages::events(said, self.model, self.number),
            Api::Responses => responses::events(said, self.model, self.number),
            Api::Chat => chat::events(said, self.model, self.number),
        }
    }

    /// How an answer with one text begins.
    pub(crate) fn beginning(self) -> Vec<String> {
        match self.api {
            Api::Messages => messages::beginning(self.model, self.number),
            Api::Responses => responses::beginning(self.model, self.number),
            Api::Chat => Vec::new(),
        }
    }

    /// How it goes on.
    pub(crate) fn piece(self, text: &str) -> String {
        match self.api {
            Api::Messages => messages::piece(text),
            Api::Responses => responses::piece(text),
            Api::Chat => chat::piece(text, self.model, self.number),
        }
    }
}
