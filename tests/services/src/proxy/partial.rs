//! A batch of which a part fails: those entries are taken out of the request, and stand in the answer as failed.

use serde_json::{Map, Value, json};

use crate::proxy::operation::{Operation, Protocol};

/// A request without the entries that fail, and how they stand in the answer.
#[derive(Debug)]
pub(crate) struct Partial {
    /// What is forwarded; nothing where every entry fails.
    pub(crate) forward: Option<Vec<u8>>,
    failed: Failed,
}

#[derive(Debug)]
enum Failed {
    /// Indices of records.
    Records(Vec<usize>),
    /// Ids of entries of SQS.
    Entries(Vec<String>),
    /// What DynamoDB has not done, under the answer's key.
    Unprocessed(&'static str, Map<String, Value>),
    /// XML to stand in an element of the answer.
    Xml { result: &'static str, list: Option<&'static str>, entries: String },
}

/// The HTTP form of an empty answer to a batch.
const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

impl Partial {
    /// Takes out the entries that are chosen. Nothing where the operation has no entries or none is chosen.
    pub(crate) fn of(operation: &Operation, body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Self> {
        match (operation.protocol, operation.name.as_str()) {
            (Protocol::Json, "PutRecords") => records(body, choose),
            (Protocol::Json, "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch") => {
                entries(body, choose)
            }
            (Protocol::Json, "BatchWriteItem") => writes(body, choose),
            (Protocol::Json, "BatchGetItem") => gets(body, choose),
            (Protocol::Query, "PublishBatch") => messages(body, choose),
            (Protocol::Rest, "DeleteObjects") => objects(body, choose),
            _ => None,
        }
    }

    /// The answer with the failed entries in it; `answer` is the service's to the others, `None` where it got none.
    pub(crate) fn answer(self, answer: Option<&[u8]>) -> Vec<u8> {
        if let Failed::Xml { result, list, entries } = self.failed {
            return xml(answer, result, list, &entries);
        }
        let mut answer: Map<String, Value> = answer.map_or_else(Map::new, |a| serde_json::from_slice(a).unwrap());
        match self.failed {
            Failed::Records(indices) => {
                let mut records = take(&mut answer, "Records");
                for index in &indices {
                    let failed = json!({ "ErrorCode": "ProvisionedThroughputExceededException",
                        "ErrorMessage": "Rate exceeded for shard" });
                    records.insert(*index, failed);
                }
                let before = answer.get("FailedRecordCount").and_then(Value::as_u64).unwrap_or(0);
                answer.insert("FailedRecordCount".to_owned(), json!(before + indices.len() as u64));
                answer.insert("Records".to_owned(), Value::Array(records));
            }
            Failed::Entries(ids) => {
                let mut failed = take(&mut answer, "Failed");
                failed.extend(ids.iter().map(
                    |id| json!({ "Id": id, "SenderFault": false, "Code": "InternalError", "Message": "try again" }),
                ));
                answer.entry("Successful").or_insert_with(|| json!([]));
                answer.insert("Failed".to_owned(), Value::Array(failed));
            }
            Failed::Unprocessed(key, items) => {
                answer.insert(key.to_owned(), Value::Object(items));
            }
            Failed::Xml { .. } => {}
        }
        Value::Object(answer).to_string().into_bytes()
    }
}

fn take(answer: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match answer.remove(key) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

/// The request with the entries that are left, where any is.
fn rest(mut request: Map<String, Value>, key: &str, left: Vec<Value>) -> Option<Vec<u8>> {
    if left.is_empty() {
        return None;
    }
    request.insert(key.to_owned(), Value::Array(left));
    Some(Value::Object(request).to_string().into_bytes())
}

fn records(body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Partial> {
    let mut request = object(body)?;
    let (mut left, mut failed) = (Vec::new(), Vec::new());
    for (index, record) in take(&mut request, "Records").into_iter().enumerate() {
        if choose() { failed.push(index) } else { left.push(record) }
    }
    (!failed.is_empty()).then(|| Partial { forward: rest(request, "Records", left), failed: Failed::Records(failed) })
}

fn entries(body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Partial> {
    let mut request = object(body)?;
    let (mut left, mut failed) = (Vec::new(), Vec::new());
    for entry in take(&mut request, "Entries") {
        if choose() { failed.push(entry["Id"].as_str()?.to_owned()) } else { left.push(entry) }
    }
    (!failed.is_empty()).then(|| Partial { forward: rest(request, "Entries", left), failed: Failed::Entries(failed) })
}

/// Splits what is asked of each table; `split` says what of it is left and what has failed.
fn by_table(
    body: &[u8],
    unprocessed: &'static str,
    split: &mut dyn FnMut(Value) -> Option<(Option<Value>, Option<Value>)>,
) -> Option<Partial> {
    let mut request = object(body)?;
    let Some(Value::Object(tables)) = request.remove("RequestItems") else { return None };
    let (mut left, mut failed) = (Map::new(), Map::new());
    for (table, asked) in tables {
        let (some, others) = split(asked)?;
        left.extend(some.map(|some| (table.clone(), some)));
        failed.extend(others.map(|others| (table, others)));
    }
    if failed.is_empty() {
        return None;
    }
    let forward = (!left.is_empty()).then(|| {
        request.insert("RequestItems".to_owned(), Value::Object(left));
        Value::Object(request).to_string().into_bytes()
    });
    Some(Partial { forward, failed: Failed::Unprocessed(unprocessed, failed) })
}

fn divide(values: Vec<Value>, choose: &mut dyn FnMut() -> bool) -> (Vec<Value>, Vec<Value>) {
    values.into_iter().partition(|_| !choose())
}

fn writes(body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Partial> {
    by_table(body, "UnprocessedItems", &mut |asked| {
        let Value::Array(writes) = asked else { return None };
        let (left, failed) = divide(writes, choose);
        let some = |values: Vec<Value>| (!values.is_empty()).then_some(Value::Array(values));
        Some((some(left), some(failed)))
    })
}

fn gets(body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Partial> {
    by_table(body, "UnprocessedKeys", &mut |asked| {
        let Value::Object(mut asked) = asked else { return None };
        let (left, failed) = divide(take(&mut asked, "Keys"), choose);
        let some = |keys: Vec<Value>| {
            (!keys.is_empty()).then(|| {
                let mut asked = asked.clone();
                asked.insert("Keys".to_owned(), Value::Array(keys));
                Value::Object(asked)
            })
        };
        Some((some(left), some(failed)))
    })
}

/// Fields of a form `PublishBatchRequestEntries.member.N.FIELD`, renumbered without those that fail.
fn messages(body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Partial> {
    const MEMBER: &str = "PublishBatchRequestEntries.member.";
    let (mut others, mut members) = (Vec::new(), Vec::<(String, Vec<(String, String)>)>::new());
    for (key, value) in form_urlencoded::parse(body).into_owned() {
        match key.strip_prefix(MEMBER).and_then(|rest| rest.split_once('.')) {
            Some((number, field)) => {
                let field = (field.to_owned(), value);
                match members.iter_mut().find(|(n, _)| n == number) {
                    Some((_, fields)) => fields.push(field),
                    None => members.push((number.to_owned(), vec![field])),
                }
            }
            None => others.push((key, value)),
        }
    }
    let (left, failed): (Vec<_>, Vec<_>) = members.into_iter().partition(|_| !choose());
    if failed.is_empty() {
        return None;
    }
    let forward = (!left.is_empty()).then(|| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&others);
        for (number, (_, fields)) in left.iter().enumerate() {
            for (field, value) in fields {
                form.append_pair(&format!("{MEMBER}{}.{field}", number + 1), value);
            }
        }
        form.finish().into_bytes()
    });
    let ids = failed.iter().filter_map(|(_, fields)| fields.iter().find(|(f, _)| f == "Id").map(|(_, id)| id));
    let entries = ids
        .map(|id| {
            format!(
                "<member><Id>{id}</Id><SenderFault>false</SenderFault><Code>InternalFailure</Code>\
                 <Message>try again</Message></member>"
            )
        })
        .collect();
    Some(Partial { forward, failed: Failed::Xml { result: "PublishBatchResult", list: Some("Failed"), entries } })
}

fn objects(body: &[u8], choose: &mut dyn FnMut() -> bool) -> Option<Partial> {
    let text = std::str::from_utf8(body).ok()?;
    let (head, rest) = text.split_once("<Object>")?;
    let (list, tail) = rest.rsplit_once("</Object>")?;
    let (left, failed): (Vec<&str>, Vec<&str>) = list.split("</Object><Object>").partition(|_| !choose());
    if failed.is_empty() {
        return None;
    }
    let forward = (!left.is_empty())
        .then(|| format!("{head}<Object>{}</Object>{tail}", left.join("</Object><Object>")).into_bytes());
    let key = |object: &str| -> String {
        let key = object.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
        key.map_or_else(String::new, |(key, _)| key.to_owned())
    };
    let entries = failed
        .iter()
        .map(|o| format!("<Error><Key>{}</Key><Code>InternalError</Code><Message>try again</Message></Error>", key(o)))
        .collect();
    Some(Partial { forward, failed: Failed::Xml { result: "DeleteResult", list: None, entries } })
}

/// Puts entries at the end of a result, in a list of their own where they have one.
fn xml(answer: Option<&[u8]>, result: &str, list: Option<&str>, entries: &str) -> Vec<u8> {
    let (open, close) = (format!("<{result}>"), format!("</{result}>"));
    let text = match answer {
        Some(answer) => String::from_utf8_lossy(answer).into_owned(),
        // SNS has the result in a response, S3 has it alone.
        None => match list {
            Some(_) => {
                let response = result.replace("Result", "Response");
                format!("{XML}<{response}>{open}{close}</{response}>")
            }
            None => format!("{XML}{open}{close}"),
        },
    };
    let entries = match list {
        Some(list) if text.contains(&format!("<{list}>")) => {
            let begin = format!("<{list}>");
            return text.replacen(&begin, &format!("{begin}{entries}"), 1).into_bytes();
        }
        Some(list) => format!("<{list}>{entries}</{list}>"),
        None => entries.to_owned(),
    };
    let empty = list.map(|list| (format!("<{list}/>"), format!("<{list} />")));
    let text = empty.map_or(text.clone(), |(a, b)| text.replace(&a, "").replace(&b, ""));
    match text.rfind(&close) {
        Some(at) => format!("{}{entries}{}", &text[..at], &text[at..]).into_bytes(),
        // `<DeleteResult/>`
        None => {
            let (short, spaced) = (format!("<{result}/>"), format!("<{result} />"));
            let whole = format!("{open}{entries}{close}");
            text.replace(&short, &whole).replace(&spaced, &whole).into_bytes()
        }
    }
}
