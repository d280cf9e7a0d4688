//! What the document says of one job: the topics with their schemas, the names that there are, and the routes of the pipeline files.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::core::plan::{Plan, TopicPlan, WindowPlan};
use crate::core::units::TopicId;
use crate::pipeline::Pipelines;
use crate::pipeline::routes::{Does, List, Method, Route, Taking};
use crate::web::openapi::{bare, objects, schema, share_answers};
use crate::web::params::escape;
use crate::web::{keyed, query};

/// An event of each topic, where there is one.
type Examples = [Option<Vec<u8>>];

/// The document of a job with these pipelines.
pub fn document(pipelines: &Pipelines, examples: &Examples, with_tokens: bool) -> Value {
    let mut document = bare().clone();
    if with_tokens {
        document["security"] = json!([{"token": []}]);
    }
    name(&mut document, &pipelines.plan);
    let mut ids = Ids::default();
    for (at, topic) in pipelines.plan.topics.iter().enumerate().filter(|(_, topic)| !topic.retired) {
        let text = pipelines.schemas.get(at).map_or("{}", String::as_str);
        let example = example(examples, at);
        document["components"]["schemas"][component(topic)] = described(topic, text, example.as_ref());
        if topic.emitted.is_none() {
            let path = format!("/topics/{}/events", escape(&topic.name));
            document["paths"][path] = calls_of(topic, example.as_ref(), &mut ids);
        }
    }
    for route in &pipelines.routes {
        let mut operation = of_route(pipelines, examples, route);
        let (method, path) = (method(route.method), route.path.as_str());
        operation["operationId"] = json!(ids.give(&format!("{method}{path}")));
        operation["tags"] = json!(["application"]);
        share_answers(&mut operation);
        let item = &mut document["paths"][path];
        if path.contains("{key}") && item["parameters"].is_null() {
            item["parameters"] = json!([{
                "name": "key", "in": "path", "required": true, "description": "The key, as text.",
                "schema": {"type": "string", "minLength": 1},
            }]);
        }
        item[method] = operation;
    }
    document
}

/// Ids of operations, each once.
#[derive(Default)]
struct Ids(BTreeSet<String>);

impl Ids {
    /// This name, as programs may have it.
    fn give(&mut self, of: &str) -> String {
        let parts = of.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
        let plain = parts.collect::<Vec<_>>().join("_");
        let mut id = plain.clone();
        let mut number = 1;
        while !self.0.insert(id.clone()) {
            number += 1;
            id = format!("{plain}_{number}");
        }
        id
    }
}

/// Puts the names that there are where one of them is asked for.
fn name(document: &mut Value, plan: &Plan) {
    let topics = || plan.topics.iter();
    let windows: Vec<&WindowPlan> = plan.windows.iter().collect();
    let names: [(&str, Vec<&str>); 7] = [
        ("Topic", topics().filter(|topic| !topic.retired).map(|topic| topic.name.as_str()).collect()),
        ("OfTopic", topics().map(|topic| topic.name.as_str()).collect()),
        ("OfPipeline", plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect()),
        ("OfWindow", windows.iter().map(|window| window.name.as_str()).collect()),
        ("OfAlert", plan.alerts.iter().map(|alert| alert.name.as_str()).collect()),
        ("OfWebhook", plan.webhooks.iter().map(|webhook| webhook.name.as_str()).collect()),
        ("View", plan.views.iter().map(|view| view.name.as_str()).collect()),
    ];
    for (parameter, mut names) in names {
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            document["components"]["parameters"][parameter]["schema"] = json!({"type": "string", "enum": names});
        } else if parameter != "View" {
            leave_out(document, |of| of["$ref"] == format!("#/components/parameters/{parameter}"));
        }
    }
    if plan.topics.iter().all(|topic| topic.correlation.is_none()) {
        leave_out(document, |of| of["name"] == "correlation");
    }
    if let Some(parameters) = document.pointer_mut("/paths/~1windows/get/parameters").and_then(Value::as_array_mut) {
        parameters.extend(by_group(&windows));
    }
}

/// Takes a parameter away wherever it stands: there is nothing that it could name.
fn leave_out(document: &mut Value, is_it: impl Fn(&Value) -> bool) {
    for item in objects(&mut document["paths"]) {
        for parameters in item.values_mut().filter_map(|operation| operation.get_mut("parameters")?.as_array_mut()) {
            parameters.retain(|parameter| !is_it(parameter));
        }
    }
}

/// A parameter for each field that one of the windows groups by.
fn by_group(windows: &[&WindowPlan]) -> Vec<Value> {
    let fields: BTreeSet<&str> = windows.iter().flat_map(|w| w.group.iter().map(|field| field.name.as_str())).collect();
    let parameter = |field: &str| {
        let description = format!("Only rows whose group has this value, as text, for {field}.");
        let name = format!("group.{field}");
        json!({"name": name, "in": "query", "description": description, "schema": {"type": "string"}})
    };
    fields.into_iter().map(parameter).collect()
}

/// Where a topic's schema stands among the components.
fn component(topic: &TopicPlan) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    format!("topic.{}", topic.name.replace(|c| !allowed(c), "_"))
}

fn reference(topic: &TopicPlan) -> Value {
    json!({"$ref": place(topic)})
}

fn place(topic: &TopicPlan) -> String {
    format!("#/components/schemas/{}", component(topic))
}

fn described(topic: &TopicPlan, text: &str, example: Option<&Value>) -> Value {
    let mut schema = schema::placed(text, &place(topic));
    if let Some(members) = schema.as_object_mut() {
        members.entry("title").or_insert_with(|| json!(format!("An event of {}", topic.name)));
        if let Some(example) = example {
            members.entry("examples").or_insert_with(|| json!([example]));
        }
    }
    schema
}

fn example(examples: &Examples, topic: usize) -> Option<Value> {
    serde_json::from_slice(examples.get(topic)?.as_ref()?).ok()
}

/// The two calls of `/topics/{topic}/events`, for one topic.
fn calls_of(topic: &TopicPlan, example: Option<&Value>, ids: &mut Ids) -> Value {
    let general = &bare()["paths"]["/topics/{topic}/events"];
    let (mut read, mut send) = (general["get"].clone(), general["post"].clone());
    read["operationId"] = json!(ids.give(&format!("read {}", topic.name)));
    read["summary"] = json!(format!("A page of the events of {}, out of the log", topic.name));
    let mut event = bare()["components"]["schemas"]["TopicEvent"].clone();
    event["properties"]["event"] = reference(topic);
    let mut events = bare()["components"]["schemas"]["TopicEvents"].clone();
    events["properties"]["events"]["items"] = event;
    read["responses"]["200"]["content"] = json!({"application/json": {"schema": events}});
    send["operationId"] = json!(ids.give(&format!("send {}", topic.name)));
    send["summary"] = json!(format!("Send events to {}", topic.name));
    let one_or_more = json!({"anyOf": [reference(topic), {"type": "array", "minItems": 1, "items": reference(topic)}]});
    let body = &mut send["requestBody"]["content"]["application/json"];
    *body = json!({"schema": one_or_more});
    if let Some(example) = example {
        body["example"] = example.clone();
    }
    json!({"get": read, "post": send})
}

/// What a route is answered, and what it is sent; without its id and the answers of all calls.
fn of_route(pipelines: &Pipelines, examples: &Examples, route: &Route) -> Value {
    let plan = &pipelines.plan;
    match &route.does {
        Does::Windows { window, list } => {
            let Some(window) = plan.windows.get(*window) else { panic!("a route is of a window of the plan") };
            let what = format!("the window {} of {}", window.name, plan.pipeline_of(window).name);
            let mut parameters = parameters_of("/windows", &["from", "to", "closed", "limit", "after"]);
            parameters.extend(by_group(&[window]));
            reading(&what, "Rows", "rows", parameters, list.as_ref(), query::WINDOWS_MAX)
        }
        Does::View { view, list } => {
            let Some(view) = plan.views.get(*view) else { panic!("a route is of a view of the plan") };
            let parameters = parameters_of("/views/{view}", &["after", "limit"]);
            let what = format!("the view {}", view.name);
            reading(&what, "Entries", "entries", parameters, list.as_ref(), keyed::LIMIT_MAX)
        }
        Does::Alerts { alert, list } => {
            let Some(alert) = plan.alerts.get(*alert) else { panic!("a route is of an alert of the plan") };
            let mut parameters = parameters_of("/alerts", &["active", "limit", "after"]);
            parameters[0]["schema"]["default"] = json!(true);
            parameters[1]["schema"]["default"] = parameters[1]["schema"]["maximum"].clone();
            let what = format!("the alert {} of {}", alert.name, plan.pipeline_name(alert.pipeline));
            reading(&what, "Alerts", "alerts", parameters, list.as_ref(), query::WINDOWS_MAX)
        }
        Does::Entry { view } => {
            one_of_view(plan, *view, "/views/{view}/{key}", "What the newest event with this key said")
        }
        Does::History { view } => {
            one_of_view(plan, *view, "/views/{view}/{key}/history", "What the events said to a key")
        }
        Does::Event(taking) => taking_events(pipelines, examples, taking),
    }
}

/// Of the engine's own call at this path these parameters, in this order.
fn parameters_of(path: &str, names: &[&str]) -> Vec<Value> {
    let all = bare()["paths"][path]["get"]["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(|name| all.iter().find(|parameter| parameter["name"] == *name)).cloned().collect()
}

/// A route that answers as the engine's own call does, or a list of single values.
fn reading(
    what: &str,
    answers: &str,
    items: &str,
    mut parameters: Vec<Value>,
    list: Option<&List>,
    list_limit: u32,
) -> Value {
    let Some(List { name, field }) = list else {
        return json!({
            "summary": format!("{answers} of {what}"),
            "description": format!("A page of {items}, as the job's own call answers them."),
            "parameters": parameters,
            "responses": {"200": answer(&format!("The {items}."), &json!({"$ref": format!("#/components/schemas/{answers}")}))},
        });
    };
    for limit in parameters.iter_mut().filter(|parameter| parameter["name"] == "limit") {
        limit["schema"]["default"] = json!(list_limit);
    }
    let each = field.as_deref().unwrap_or("the key");
    let members = json!({
        name.as_str(): {"type": "array", "description": format!("Of each of the {items}, {each}; null where it has none.")},
        "next": {"type": "string", "description": "The path and query of the next page, where there is more."},
    });
    let schema = json!({"type": "object", "properties": members, "required": [name], "additionalProperties": false});
    json!({
        "summary": format!("{name}: {each} of {what}"),
        "description": format!("One value of each of the {items}, in their order."),
        "parameters": parameters,
        "responses": {"200": answer("The values.", &schema)},
    })
}

fn one_of_view(plan: &Plan, view: usize, path: &str, summary: &str) -> Value {
    let Some(view) = plan.views.get(view) else { panic!("a route is of a view of the plan") };
    let own = &bare()["paths"][path]["get"];
    let mut operation = json!({
        "summary": format!("{summary} in the view {}", view.name),
        "description": own["description"],
        "responses": {"200": own["responses"]["200"], "404": own["responses"]["404"]},
    });
    if let Some(parameters) = own.get("parameters") {
        operation["parameters"] = parameters.clone();
    }
    // The example is of another view.
    if let Some(Value::Object(media)) = operation.pointer_mut("/responses/200/content/application~1json") {
        media.retain(|name, _| name == "schema");
    }
    operation
}

/// A route that takes one event, and fills what is absent in it.
fn taking_events(pipelines: &Pipelines, examples: &Examples, taking: &Taking) -> Value {
    let Taking { topic: TopicId(at), key, fill } = taking;
    let at = usize::from(*at);
    let Some(topic) = pipelines.plan.topics.get(at) else { panic!("a route is of a topic of the plan") };
    let filled: Vec<&str> = fill.iter().map(|(field, _)| field.as_str()).collect();
    let text = pipelines.schemas.get(at).map_or("{}", String::as_str);
    let mut event = schema::without_asking(schema::placed(text, &place(topic)), &filled);
    if let Some(key) = key {
        event = schema::without(event, key);
    }
    let mut body = json!({"schema": event});
    if let Some(Value::Object(mut example)) = example(examples, at) {
        example.retain(|name, _| !filled.contains(&name.as_str()) && key.as_deref() != Some(name.as_str()));
        body["example"] = Value::Object(example);
    }
    let mut own = bare()["paths"]["/topics/{topic}/events"]["post"].clone();
    let answer = |name: &str| {
        let mut schema = bare()["components"]["schemas"][name].clone();
        let members: Map<String, Value> = key
            .iter()
            .map(String::as_str)
            .chain(filled.iter().copied())
            .map(|field| (field.to_owned(), json!({})))
            .collect();
        let described = schema["properties"]["filled"]["description"].clone();
        schema["properties"]["filled"] = schema::closed(&members);
        schema["properties"]["filled"]["description"] = described;
        schema
    };
    let (applied, accepted) = (answer("AppliedByRoute"), answer("AcceptedByRoute"));
    // Whoever comes again under an Idempotency-Key after a restart is not told of fates.
    for (status, schema) in [("200", json!({"anyOf": [applied, accepted]})), ("202", accepted)] {
        own["responses"][status]["content"] = json!({"application/json": {"schema": schema}});
    }
    let mut answers = own["responses"].clone();
    if let Some(answers) = answers.as_object_mut() {
        // The topic is there as long as the route is.
        answers.retain(|status, _| status != "404");
    }
    let mut told = vec![format!("The body is one event of {}, as JSON.", topic.name)];
    if let Some(key) = key {
        told.push(format!("Its {key} is the key in the path."));
    }
    if !filled.is_empty() {
        told.push(format!(
            "What is absent or null of {} is filled, and answered; a request that comes again under its Idempotency-Key is answered what was filled \
             then, also where the route fills other fields by now.",
            filled.join(", ")
        ));
    }
    told.push(
        "The answer comes when the event is on disk: then it is counted exactly once, whatever fails.".to_owned(),
    );
    json!({
        "summary": format!("Send one event to {}", topic.name),
        "description": told.join(" "),
        "parameters": own["parameters"],
        "requestBody": {"required": false, "content": {"application/json": body}},
        "responses": answers,
    })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
    }
}
