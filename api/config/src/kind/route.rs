//! One entry of a VirtualService's `http`.
//!
//! It does not know the services that it names.

use super::attachment::{self, Attachment};
use super::{header, matching, retry, rewrite};
use crate::fields::{Cursor, Fields, Place};
use crate::names::qualify;
use crate::problem::Code;
use std::time::Duration;
use weft_snapshot::{Direct, Headers, Host, Redirect, RedirectPath, RetryPolicy, Rewrite, StringMatch};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) name: String,
    /// Empty: every request.
    pub(crate) blocks: Vec<matching::Block>,
    pub(crate) headers: Headers,
    pub(crate) action: RouteAction,
    pub(crate) filters: Vec<Attachment>,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RouteAction {
    Forward(Forwarding),
    Redirect(Redirect),
    Direct(Direct),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Forwarding {
    pub(crate) destinations: Vec<RouteDestination>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<RetryPolicy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteDestination {
    /// Fully qualified.
    pub(crate) host: Host,
    pub(crate) subset: String,
    pub(crate) port: Option<u16>,
    pub(crate) weight: u32,
    pub(crate) headers: Headers,
    pub(crate) filters: Vec<Attachment>,
    /// Of its host.
    pub(crate) place: Place,
}

impl Route {
    pub(crate) fn takes_everything(&self) -> bool {
        self.blocks.is_empty() || self.blocks.iter().any(matching::Block::takes_everything)
    }

    pub(crate) fn destinations(&self) -> &[RouteDestination] {
        match &self.action {
            RouteAction::Forward(forwarding) => &forwarding.destinations,
            RouteAction::Redirect(_) | RouteAction::Direct(_) => &[],
        }
    }
}

pub(crate) fn route(cursor: &Cursor<'_>, namespace: &str) -> Option<Route> {
    cursor.object(|fields| {
        let name = fields.get("name").and_then(|c| c.text()).unwrap_or_default().to_owned();
        let blocks: Vec<_> = fields.list("match").iter().filter_map(matching::block).collect();
        let headers = fields.get("headers").map(|c| header::headers(&c)).unwrap_or_default();
        let filters = attachment::at_the_caller(fields);
        not_supported_yet(fields);
        let action = action(fields, namespace)?;
        prefixes_where_needed(cursor, &blocks, &action);
        Some(Route { name, blocks, headers, action, filters, place: cursor.place() })
    })?
}

fn not_supported_yet(fields: &mut Fields<'_>) {
    for (name, what) in [
        ("fault", "fault injection"),
        ("mirror", "mirroring"),
        ("mirrors", "mirroring"),
        ("mirrorPercentage", "mirroring"),
        ("mirrorPercent", "mirroring"),
        ("mirror_percent", "mirroring"),
        ("corsPolicy", "CORS"),
        ("delegate", "delegation"),
    ] {
        fields.not_supported(name, what);
    }
}

fn action(fields: &mut Fields<'_>, namespace: &str) -> Option<RouteAction> {
    let choices = fields.exclusive(&["route", "redirect", "directResponse"]);
    let route = fields.get("route");
    let redirect = fields.get("redirect").map(|c| rewrite::redirect(&c));
    let direct = fields.get("directResponse").map(|c| rewrite::direct_response(&c));
    let rewritten = fields.get("rewrite");
    let timeout = fields.get("timeout").and_then(|c| retry::positive(&c));
    let retries = fields.get("retries").map(|c| retry::policy(&c));
    if route.is_none() {
        for name in ["timeout", "retries"] {
            fields.no_effect(name, "nothing is sent upstream by this route, so this changes nothing");
        }
    }
    if choices == 0 && !fields.has("delegate") {
        let remedy = "add route, redirect or directResponse";
        fields.cursor().error(Code::MissingField, "this route leads nowhere", remedy);
    }
    let Some(route) = route else {
        if let Some(rewritten) = rewritten {
            rewritten.error(
                Code::Conflict,
                "rewrite without route",
                "remove it: nothing is sent that could be rewritten",
            );
        }
        return redirect.flatten().map(RouteAction::Redirect).or(direct.flatten().map(RouteAction::Direct));
    };
    let destinations = destinations(&route, namespace)?;
    let rewrite = rewritten.and_then(|c| rewrite::rewrite(&c));
    let retry = retries.unwrap_or_else(|| Some(retry::default_policy()));
    Some(RouteAction::Forward(Forwarding { destinations, rewrite, timeout, retry }))
}

fn destinations(cursor: &Cursor<'_>, namespace: &str) -> Option<Vec<RouteDestination>> {
    let entries = cursor.list();
    if entries.is_empty() {
        cursor.error(Code::MissingField, "a route without destinations", "add a destination");
        return None;
    }
    let destinations: Vec<_> = entries.iter().filter_map(|c| destination(c, namespace)).collect();
    if destinations.len() < entries.len() {
        return None;
    }
    if destinations.len() > 1 && destinations.iter().all(|d| d.weight == 0) {
        cursor.error(Code::ZeroWeight, "the weights of all destinations are 0", "give one of them a weight");
    }
    Some(destinations)
}

fn destination(cursor: &Cursor<'_>, namespace: &str) -> Option<RouteDestination> {
    cursor.object(|fields| {
        let destination = fields.required("destination");
        let weight = fields.get("weight").map(|c| c.count());
        let headers = fields.get("headers").map(|c| header::headers(&c)).unwrap_or_default();
        let filters = attachment::at_the_caller(fields);
        let weight = weight.unwrap_or(Some(0))?;
        destination?.object(|fields| {
            let written = fields.required("host");
            let place = written.as_ref().map_or_else(|| cursor.place(), Cursor::place);
            let host = written.and_then(|c| service_name(&c, namespace));
            let subset = fields.get("subset").map(|c| c.text());
            let port = fields.get("port").map(|c| port_number(&c));
            Some(RouteDestination {
                host: host?,
                subset: subset.unwrap_or(Some(""))?.to_owned(),
                port: port.map_or(Some(None), |port| port.map(Some))?,
                weight,
                headers,
                filters,
                place,
            })
        })?
    })?
}

/// The host of a destination or a rule, fully qualified.
pub(crate) fn service_name(cursor: &Cursor<'_>, namespace: &str) -> Option<Host> {
    match qualify(cursor.nonempty()?, namespace) {
        Ok(host) => Some(host),
        Err(error) => {
            cursor.error(
                Code::BadValue,
                error.to_string(),
                "write the name of a service, such as reviews or reviews.default.svc.cluster.local",
            );
            None
        }
    }
}

fn port_number(cursor: &Cursor<'_>) -> Option<u16> {
    if !cursor.is_map() && cursor.is_text() {
        let remedy = cursor.scalar().map(|number| format!("write {{number: {number}}}")).unwrap_or_default();
        cursor.error(Code::WrongType, "a port is a mapping here", remedy);
        return None;
    }
    cursor.object(|fields| fields.required("number").and_then(|c| c.port()))?
}

/// A prefix can be swapped only where one has matched.
fn prefixes_where_needed(cursor: &Cursor<'_>, blocks: &[matching::Block], action: &RouteAction) {
    let all_prefixes =
        !blocks.is_empty() && blocks.iter().all(|b| matches!(b.conditions.uri, Some(StringMatch::Prefix(_))));
    if let RouteAction::Redirect(Redirect { path: Some(RedirectPath::Prefix(_)), .. }) = action
        && !all_prefixes
    {
        let remedy = "give every match of this route a uri.prefix, or use redirect.uri";
        cursor.error(
            Code::Conflict,
            "prefixRewrite swaps the prefix that matched, and not every match has one",
            remedy,
        );
    }
}
