//! `/openapi.json`: the table of routes as OpenAPI 3.1.
//!
//! Made once at the start. What always holds: it is made of the table that dispatches, so it lists
//! what the door does and nothing else.

use serde_json::{Map, Value, json};

use crate::media::PROBLEM;
use crate::problem::Kind;
use crate::route::{Call, Parameter, Reply, Route, routes};
use crate::schema;

const DESCRIPTION: &str = "The HTTP door of a Linckia region. Resources under /v1 are those of the \
    data set `default`; others have the same under /v1/data-sets/{dataSet}. What is marked \
    `x-linckia-built: false` answers 501.";

/// What every call behind the door's guard can meet.
const EVERYWHERE: [Kind; 3] = [Kind::InvalidParameter, Kind::Unauthorized, Kind::Unavailable];

/// The whole document.
pub(crate) fn document(version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        add(&mut paths, route.path.to_owned(), route, false);
        if let Some(rest) = route.path_in_data_set() {
            add(&mut paths, format!("/v1/data-sets/{{dataSet}}{rest}"), route, true);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Linckia",
            "version": version,
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schema::all(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
        },
        "security": [{}, { "token": [] }, { "certificate": [] }],
    })
}

fn add(paths: &mut Map<String, Value>, path: String, route: &Route, in_data_set: bool) {
    let operation = operation(&path, route, in_data_set);
    let item = paths.entry(path).or_insert_with(|| json!({}));
    if let Some(methods) = item.as_object_mut() {
        methods.insert(route.verb.name().to_ascii_lowercase(), operation);
    }
}

fn operation(path: &str, route: &Route, in_data_set: bool) -> Value {
    let id = if in_data_set { format!("{}InDataSet", route.id) } else { route.id.to_owned() };
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    parameters.extend(route.query.iter().map(|it| parameter(it, "query")));
    parameters.extend(route.headers.iter().map(|it| parameter(it, "header")));
    let mut operation = json!({
        "operationId": id,
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses(route),
    });
    if route.call == Call::Unbuilt {
        operation["x-linckia-built"] = json!(false);
    }
    if route.call == Call::Live {
        operation["security"] = json!([]);
    }
    if !route.bodies.is_empty() {
        let forms = route.bodies.iter().map(|body| (body.media.to_owned(), content(body.schema)));
        let forms: Map<String, Value> = forms.collect();
        operation["requestBody"] = json!({ "required": true, "content": forms });
    }
    operation
}

fn parameter(parameter: &Parameter, place: &str) -> Value {
    json!({
        "name": parameter.name,
        "in": place,
        "description": parameter.text,
        "schema": { "type": parameter.kind },
    })
}

fn responses(route: &Route) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    for reply in route.replies {
        add_reply(&mut responses, reply);
    }
    let mut problems: Vec<Kind> = route.problems.to_vec();
    problems.extend(EVERYWHERE);
    for kind in problems {
        let entry = kind.entry();
        let title = format!("{}: {}.", entry.name(), entry.title);
        let response = responses.entry(entry.status.to_string()).or_insert_with(
            || json!({ "description": "", "content": { PROBLEM: content("Problem") } }),
        );
        let described = match response["description"].as_str() {
            None | Some("") => title,
            Some(earlier) => format!("{earlier} {title}"),
        };
        response["description"] = json!(described);
    }
    Value::Object(responses)
}

fn add_reply(responses: &mut Map<String, Value>, reply: &Reply) {
    let response = responses
        .entry(reply.status.to_string())
        .or_insert_with(|| json!({ "description": reply.text }));
    if !reply.media.is_empty() {
        let content = if reply.schema.is_empty() { json!({}) } else { content(reply.schema) };
        response["content"][reply.media] = content;
    }
}

fn content(schema: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target.clone());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = document("0");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let named: BTreeSet<String> =
            schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
        assert_eq!(found, named);
    }

    #[test]
    fn every_route_is_in_the_document() {
        let document = document("0");
        let mut ids = BTreeSet::new();
        for route in routes() {
            let operation = &document["paths"][route.path][route.verb.name().to_lowercase()];
            assert_eq!(operation["operationId"], route.id);
            assert!(ids.insert(route.id));
            assert_eq!(operation["x-linckia-built"] == false, route.call == Call::Unbuilt);
        }
        let path = &document["paths"]["/v1/data-sets/{dataSet}/aggregates/{aggregateType}"];
        assert_eq!(path["get"]["parameters"][0]["name"], "dataSet");
    }
}
