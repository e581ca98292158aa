//! Real answers against the schemas of `/openapi.json`: the few keywords that they use.
//!
//! For every test that gets a body. What always holds: a keyword unknown here fails the test.

use std::sync::OnceLock;

use serde_json::Value;

use super::server::Server;

static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// Fetches the document, unless it is there already.
pub async fn load(server: &Server) {
    if DOCUMENT.get().is_some() {
        return;
    }
    let answer = server.client().await.get("/openapi.json").await.expect(200);
    DOCUMENT.get_or_init(|| answer.json());
}

/// Holds a value against a schema by name; without the document there is nothing to hold it to.
#[track_caller]
pub fn check(name: &str, value: &Value) {
    let Some(document) = DOCUMENT.get() else { return };
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "there is no schema {name}");
    if let Err(fault) = fits(document, schema, value) {
        panic!("{name}: {fault}: {value}");
    }
}

fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Value::Object(keywords) = schema else { return Err(format!("{schema} is no schema")) };
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            // They speak of objects.
            "required" | "properties" | "additionalProperties" if !value.is_object() => {}
            "$ref" => {
                let pointer = wanted.as_str().unwrap().trim_start_matches('#');
                fits(document, document.pointer(pointer).unwrap(), value)?;
            }
            "oneOf" => {
                let choices = wanted.as_array().unwrap();
                let fitting = choices.iter().filter(|it| fits(document, it, value).is_ok()).count();
                if fitting != 1 {
                    return Err(format!("{fitting} of the choices fit"));
                }
            }
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !kinds.iter().any(|kind| is(kind.as_str().unwrap(), value)) {
                    return Err(format!("{value} is not {wanted}"));
                }
            }
            "enum" => {
                if !wanted.as_array().unwrap().contains(value) {
                    return Err(format!("{value} is not in {wanted}"));
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return Err(format!("{name} is missing"));
                    }
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(document, wanted, item)?;
                }
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(name) {
                        fits(document, schema, member).map_err(|it| format!("{name}: {it}"))?;
                    }
                }
            }
            "additionalProperties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    let known = schema.get("properties").is_some_and(|it| it.get(name).is_some());
                    match wanted {
                        _ if known => {}
                        Value::Bool(false) => return Err(format!("{name} is not in the schema")),
                        schema => fits(document, schema, member)?,
                    }
                }
            }
            "description" | "format" | "default" | "minimum" | "minLength" | "maxLength"
            | "maxItems" => {}
            unknown => return Err(format!("the keyword {unknown} is not known here")),
        }
    }
    Ok(())
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("there is no type {other}"),
    }
}
