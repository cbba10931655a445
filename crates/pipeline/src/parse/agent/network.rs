//! `network` of an agent step: `gateway`, `full`, or a list of hosts.

use jb_model::agent::network::{NO_HOSTS, too_many, twice};
use jb_model::agent::{AgentNetwork, HOSTS_MAX, HostPattern};
use jb_yaml::NodeKind;

use super::super::decoder::{Decoder, Fields};
use crate::diagnostic::Code;

const KEY: &str = "network";

pub(super) fn network(d: &mut Decoder, f: &mut Fields<'_>) -> AgentNetwork {
    let Some(node) = f.find(KEY) else { return AgentNetwork::Gateway };
    if matches!(node.value, NodeKind::List(_)) {
        return hosts(d, f);
    }
    let Some(node) = f.take(KEY) else { return AgentNetwork::Gateway };
    let known = [("gateway", AgentNetwork::Gateway), ("full", AgentNetwork::Full)];
    let meant = known.into_iter().find(|(name, _)| node.as_str() == Some(name));
    let Some((name, network)) = meant else {
        let message = "an agent's network is 'gateway', 'full', or a list of the hosts that its programs reach, as in ['crates.io', '*.crates.io']";
        d.within(KEY, |d| d.fail(Code::InvalidValue, message, node.span));
        return AgentNetwork::Gateway;
    };
    f.put(KEY, name);
    network
}

fn hosts(d: &mut Decoder, f: &mut Fields<'_>) -> AgentNetwork {
    let span = f.find(KEY).map(|node| node.span).unwrap_or_default();
    let read = d.list(f, KEY, |d, node| {
        let Some(text) = node.as_str() else {
            d.wrong_type("the name of a host", node);
            return None;
        };
        match HostPattern::parse(text) {
            Ok(host) => Some((host, text.to_owned(), node.span)),
            Err(message) => {
                d.fail(Code::InvalidValue, message, node.span);
                None
            }
        }
    });
    let written: Vec<String> =
        read.iter().flatten().map(|(_, written, _)| written.clone()).collect();
    if read.is_empty() {
        d.within(KEY, |d| d.fail(Code::InvalidValue, NO_HOSTS, span));
    }
    if read.len() > HOSTS_MAX {
        d.within(KEY, |d| d.fail(Code::InvalidValue, too_many(), span));
    }
    let mut hosts: Vec<HostPattern> = Vec::new();
    for (index, read) in read.into_iter().enumerate() {
        let Some((host, _, span)) = read else { continue };
        if hosts.contains(&host) {
            let message = twice(&host);
            d.within(KEY, |d| d.within(index, |d| d.fail(Code::DuplicateName, message, span)));
        } else {
            hosts.push(host);
        }
    }
    f.put(KEY, written);
    AgentNetwork::Hosts(hosts)
}
