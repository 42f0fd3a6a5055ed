//! Rows of a batch as messages of a queue.

use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use millstream_core::format::RecordFormat;
use millstream_core::sink::SinkOptions;
use millstream_core::{Batch, Error, Result};
use millstream_formats::RAW;
use millstream_formats::template::{BoundTemplate, Template};
use millstream_formats::value::{JsonOptions, JsonRows};

use super::config::SqsConfig;
use super::payload::SIZE;
use crate::message::{self, Attributes, ID};
use crate::post::Outgoing;
use millstream_core::refusal;

/// Bytes of a message, and of all messages of a call.
pub(crate) const LIMIT: usize = 1 << 20;
/// The attribute that says how a body was written that is no text.
pub(crate) const ENCODING: &str = "encoding";
/// Its value.
pub(crate) const BASE64: &str = "base64";

/// The entry of a call, named by its place in it.
///
/// # Errors
/// `Bug` only.
pub(crate) fn entry(message: &Outgoing, place: usize) -> Result<SendMessageBatchRequestEntry> {
    let lacks = |e| Error::bug("a message lacks a part").caused_by(e);
    let mut entry = SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(&message.body);
    for (name, value) in message.attributes.iter() {
        let (of_type, text) = value.typed();
        let value = MessageAttributeValue::builder().data_type(of_type).string_value(text).build();
        entry = entry.message_attributes(name, value.map_err(lacks)?);
    }
    if let Some(group) = &message.group {
        entry = entry.message_group_id(group).message_deduplication_id(&message.id);
    }
    entry.build().map_err(lacks)
}

/// The message with another body in the place of its own.
pub(crate) fn pointing(message: &mut Outgoing, body: String) {
    message.attributes.number(SIZE, Some(message.body.len() as u64));
    message.body = body;
}

/// Makes messages of rows.
pub(crate) struct Shape {
    pipeline: String,
    sink: String,
    refused: bool,
    raw: bool,
    json: JsonOptions,
    /// Of a FIFO queue.
    group: Option<BoundTemplate>,
}

/// The template of `group`.
pub(crate) fn group(config: &SqsConfig, options: &SinkOptions) -> Result<Option<BoundTemplate>> {
    if !config.is_fifo() {
        return Ok(None);
    }
    let text = config.group.as_deref().unwrap_or("{sink}");
    let bound = Template::parse(text).and_then(|template| template.bind(&options.schema));
    bound.map(Some).map_err(|e| Error::config(format!("the message group `{text}`: {e}")))
}

impl Shape {
    pub(crate) fn new(config: &SqsConfig, options: &SinkOptions) -> Result<Self> {
        Ok(Self {
            pipeline: options.pipeline.clone(),
            sink: options.id.clone(),
            refused: refusal::is_of(&options.schema),
            raw: options.format == RecordFormat::Raw,
            json: JsonOptions { decimals_as_strings: options.decimals_as_strings },
            group: group(config, options)?,
        })
    }

    /// The messages of a batch whose rows have these ids.
    ///
    /// # Errors
    /// `Bug` only.
    pub(crate) fn messages(&self, batch: &Batch, ids: &[String]) -> Result<Vec<Outgoing>> {
        let json = JsonRows::new(&batch.rows, self.json)?;
        let message = |(row, id): (usize, &String)| {
            let mut attributes = Attributes::default();
            attributes.text("pipeline", &self.pipeline);
            let body = if self.refused {
                self.dead_letter(batch, row, &mut attributes)
            } else {
                attributes.text("sink", &self.sink);
                if self.raw { self.raw(batch, RAW, row, &mut attributes) } else { text(&json, row) }
            };
            attributes.text(ID, id);
            let group = self.group.as_ref().map(|template| {
                let variable = |name: &str| match name {
                    "sink" => Some(self.sink.clone()),
                    "pipeline" => Some(self.pipeline.clone()),
                    _ => None,
                };
                let mut text = String::new();
                template.render(batch, row, &variable, &mut text);
                message::group(text)
            });
            Outgoing { row, id: id.clone(), group, subject: None, body, attributes }
        };
        Ok(ids.iter().enumerate().map(message).collect())
    }

    /// The refused row, or its record where it could not be read, and all that is known about it beside.
    fn dead_letter(&self, batch: &Batch, row: usize, attributes: &mut Attributes) -> String {
        for name in ["component", "port"] {
            attributes.text(name, &message::text(batch, name, row).unwrap_or_default());
        }
        attributes.text("reason", &message::reason(batch, row));
        for name in ["source", "split", "position", "stamps"] {
            attributes.text(name, &message::text(batch, name, row).unwrap_or_default());
        }
        attributes.number("version", message::number(batch, "version", row));
        attributes.number("attempts", message::number(batch, "attempts", row));
        match message::text(batch, "row", row) {
            Some(row) => message::json(&row).into_owned(),
            None => self.raw(batch, "raw", row, attributes),
        }
    }

    fn raw(&self, batch: &Batch, column: &str, row: usize, attributes: &mut Attributes) -> String {
        let (text, base64) = message::raw(message::bytes(batch, column, row).unwrap_or_default());
        if base64 {
            attributes.text(ENCODING, BASE64);
        }
        text
    }
}

fn text(json: &JsonRows, row: usize) -> String {
    let mut text = Vec::new();
    json.write(row, &mut text);
    message::json(&String::from_utf8_lossy(&text)).into_owned()
}
