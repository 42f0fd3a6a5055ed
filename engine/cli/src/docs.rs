//! `docs`: the options of a connector, from the struct that reads them.

use millstream_core::connector::ConnectorKind;
use serde_json::{Map, Value, json};

use crate::args::DocsArgs;
use crate::exit::Failure;
use crate::grid::wrap;
use crate::{list, registry, terminal};

/// Columns of a page.
const PAGE: usize = 100;

/// Runs the command.
pub(crate) fn execute(args: &DocsArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let Some(kind) = registry.kind(&args.connector) else {
        let names: Vec<&str> = registry.kinds().iter().map(|k| k.name).collect();
        let failure = Failure::new(Failure::FILE, format!("no connector `{}`", args.connector));
        return Err(match millstream_spec::suggest::nearest(&args.connector, names.iter().copied()) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure.help(format!("connectors: {}", names.join(", "))),
        });
    };
    let schema = (kind.options)().to_value();
    if args.json {
        let roles = list::roles(kind);
        terminal::line(&format!(
            "{:#}",
            json!({ "name": kind.name, "summary": kind.summary, "roles": roles, "options": schema })
        ));
    } else {
        terminal::out(&page(kind, &schema));
    }
    Ok(())
}

fn page(kind: &ConnectorKind, schema: &Value) -> String {
    let mut out = format!("{}   {}\n\n", terminal::bold(kind.name), terminal::dim(&list::roles(kind).join(", ")));
    for line in wrap(kind.summary, PAGE - 2) {
        out.push_str(&format!("  {line}\n"));
    }
    if !kind.built_in {
        out.push_str("\n  It is not part of this binary: files that use it can be checked, not run.\n");
        return out;
    }
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str(&format!("\n{}\n", terminal::bold("Options")));
    if properties.is_empty() {
        out.push_str("  none\n");
    }
    for (name, option) in properties {
        out.push_str(&describe(name, option, schema, required.contains(&name.as_str())));
    }
    out.push_str(&format!("\n{}\n", terminal::bold("Example")));
    out.push_str(&format!(
        "  profiles:\n    local:\n      my_name: {{ {}: {} }}\n",
        kind.name,
        example(properties, &required, schema)
    ));
    out
}

fn describe(name: &str, option: &Value, root: &Value, required: bool) -> String {
    let resolved = resolve(option, root);
    let mut facts = vec![type_name(option, root)];
    if required {
        facts.push("required".to_owned());
    }
    if let Some(default) = option.get("default").filter(|d| !d.is_null()) {
        facts.push(format!("default {}", plain(default)));
    }
    let mut out = format!("  {}  {}\n", terminal::bold(name), terminal::dim(&facts.join(", ")));
    let text = option.get("description").or_else(|| resolved.get("description")).and_then(Value::as_str).unwrap_or("");
    for line in wrap(text, PAGE - 6) {
        out.push_str(&format!("      {line}\n"));
    }
    for (value, text) in choices(resolved) {
        let lines = wrap(&text, PAGE - 10);
        out.push_str(&format!("      {value}  {}\n", terminal::dim(&lines.join(" "))));
    }
    for (inner, schema) in resolved.get("properties").and_then(Value::as_object).into_iter().flatten() {
        for line in describe(&format!("{name}.{inner}"), schema, root, false).lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}

/// Follows references and takes the null out of optional values.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
        let found = root.get("$defs").or_else(|| root.get("definitions")).and_then(|d| d.get(name));
        return found.map_or(schema, |s| resolve(s, root));
    }
    for key in ["anyOf", "allOf"] {
        let some = schema.get(key).and_then(Value::as_array).into_iter().flatten();
        let mut some = some.filter(|s| s.get("type").and_then(Value::as_str) != Some("null"));
        if let (Some(one), None) = (some.next(), some.next()) {
            return resolve(one, root);
        }
    }
    schema
}

/// `duration`, `text`, `one of a, b`, ..
fn type_name(schema: &Value, root: &Value) -> String {
    let resolved = resolve(schema, root);
    let choices = choices(resolved);
    if !choices.is_empty() {
        return format!("one of {}", choices.iter().map(|(v, _)| v.as_str()).collect::<Vec<_>>().join(", "));
    }
    if let Some(several) = resolved.get("anyOf").or_else(|| resolved.get("oneOf")).and_then(Value::as_array) {
        let names = several.iter().filter(|s| s.get("type").and_then(Value::as_str) != Some("null"));
        return names.map(|s| type_name(s, root)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(format) = resolved.get("format").and_then(Value::as_str).map(|f| f.trim_start_matches("millstream-"))
        && !format.starts_with("uint")
        && !format.starts_with("int")
        && !matches!(format, "double" | "float")
    {
        return format.to_owned();
    }
    let types = match resolved.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let named = types.iter().filter(|t| **t != "null").map(|t| match *t {
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "object" => "map".to_owned(),
        "array" => {
            let item = resolved.get("items").map(|i| type_name(i, root)).unwrap_or_default();
            format!("list of {item}")
        }
        other => other.to_owned(),
    });
    named.collect::<Vec<_>>().join(" or ")
}

/// The values of an enumeration, with what each means.
fn choices(schema: &Value) -> Vec<(String, String)> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(|v| (plain(v), String::new())).collect();
    }
    let several = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let mut all = Vec::new();
    for one in several {
        let Some(value) = one
            .get("const")
            .map(plain)
            .map(|v| vec![v])
            .or_else(|| one.get("enum").and_then(Value::as_array).map(|values| values.iter().map(plain).collect()))
        else {
            return Vec::new();
        };
        let text = one.get("description").and_then(Value::as_str).unwrap_or("");
        all.extend(value.into_iter().map(|v| (v, text.to_owned())));
    }
    all
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The required options, and if there are none the first, each with a value that could stand there.
fn example(properties: &Map<String, Value>, required: &[&str], root: &Value) -> String {
    let mut shown: Vec<(&String, &Value)> = properties.iter().filter(|(n, _)| required.contains(&n.as_str())).collect();
    if shown.is_empty() {
        shown.extend(properties.iter().next());
    }
    let options = shown.into_iter().map(|(name, schema)| format!("{name}: {}", sample(name, schema, root)));
    let options = options.collect::<Vec<_>>().join(", ");
    if options.is_empty() { "{}".to_owned() } else { format!("{{ {options} }}") }
}

fn sample(name: &str, schema: &Value, root: &Value) -> String {
    let resolved = resolve(schema, root);
    let given = schema.get("examples").or_else(|| resolved.get("examples")).and_then(|e| e.get(0));
    if let Some(value) = given.or_else(|| schema.get("default")).filter(|v| !v.is_null()) {
        return value.to_string();
    }
    if let Some((value, _)) = choices(resolved).into_iter().next() {
        return value;
    }
    match type_name(schema, root).as_str() {
        "whole number" => "1".to_owned(),
        "true or false" => "true".to_owned(),
        _ if name == "path" => "out/data".to_owned(),
        _ => format!("\"{name}\""),
    }
}
