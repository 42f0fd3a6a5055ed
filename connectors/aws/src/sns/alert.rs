//! Rows as alerts: subject, message, and the attributes that subscriptions filter by.

use millstream_core::sink::SinkOptions;
use millstream_core::{Batch, Error, Result};
use millstream_formats::template::{BoundTemplate, Template};
use millstream_formats::value::{JsonOptions, JsonRows};

use super::client::LIMIT;
use super::config::SnsConfig;
use crate::message::{self, Attributes, ID};
use crate::post::Outgoing;

/// Characters of a subject at most.
const SUBJECT: usize = 99;
/// The attribute of a message that was cut, with the bytes it had.
const CUT: &str = "cut_from_bytes";

/// Makes alerts of rows.
pub(crate) struct Shape {
    pipeline: String,
    sink: String,
    subject: Option<BoundTemplate>,
    message: Option<BoundTemplate>,
    /// Of a FIFO topic.
    group: Option<BoundTemplate>,
    json: JsonOptions,
}

fn template(options: &SinkOptions, what: &'static str, text: Option<&str>) -> Result<Option<BoundTemplate>> {
    let Some(text) = text else { return Ok(None) };
    let bound = Template::parse(text).and_then(|template| template.bind(&options.schema));
    bound.map(Some).map_err(|e| Error::config(format!("the {what} `{text}`: {e}")))
}

impl Shape {
    /// # Errors
    /// `Config` where a template is wrong.
    pub(crate) fn new(config: &SnsConfig, options: &SinkOptions) -> Result<Self> {
        let group = config.is_fifo().then(|| config.group.as_deref().unwrap_or("{sink}"));
        Ok(Self {
            pipeline: options.pipeline.clone(),
            sink: options.id.clone(),
            subject: template(options, "subject", options.subject.as_deref())?,
            message: template(options, "message", options.message.as_deref())?,
            group: template(options, "message group", group)?,
            json: JsonOptions { decimals_as_strings: options.decimals_as_strings },
        })
    }

    /// The alerts of a batch whose rows have these ids.
    ///
    /// # Errors
    /// `Bug` only.
    pub(crate) fn alerts(&self, batch: &Batch, ids: &[String]) -> Result<Vec<Outgoing>> {
        let json = JsonRows::new(&batch.rows, self.json)?;
        let alert = |(row, id): (usize, &String)| {
            let fill = |template: &BoundTemplate| self.fill(template, batch, row);
            let body = match &self.message {
                Some(template) => message::allowed(&fill(template)).into_owned(),
                None => {
                    let mut text = Vec::new();
                    json.write(row, &mut text);
                    message::json(&String::from_utf8_lossy(&text)).into_owned()
                }
            };
            let mut alert = Outgoing {
                row,
                id: id.clone(),
                group: self.group.as_ref().map(|template| message::group(fill(template))),
                subject: self.subject.as_ref().and_then(|template| subject(&fill(template))),
                // SNS knows no empty message.
                body: if body.is_empty() { " ".to_owned() } else { body },
                attributes: self.attributes(batch, row, id),
            };
            cut(&mut alert);
            alert
        };
        Ok(ids.iter().enumerate().map(alert).collect())
    }

    fn fill(&self, template: &BoundTemplate, batch: &Batch, row: usize) -> String {
        let variable = |name: &str| match name {
            "sink" => Some(self.sink.clone()),
            "pipeline" => Some(self.pipeline.clone()),
            _ => None,
        };
        let mut text = String::new();
        template.render(batch, row, &variable, &mut text);
        text
    }

    /// What filter policies ask for: of a refused row its node and its rules, of a digest those it is about.
    fn attributes(&self, batch: &Batch, row: usize, id: &str) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.text("pipeline", &self.pipeline);
        attributes.text("sink", &self.sink);
        for name in ["component", "port"] {
            attributes.text(name, &message::text(batch, name, row).unwrap_or_default());
        }
        let mut rules = message::texts(batch, "rules", row);
        rules.extend(message::text(batch, "rule", row));
        attributes.texts("rule", rules);
        attributes.text(ID, id);
        attributes
    }
}

/// A subject as SNS takes it: one line of less than 100 characters; none where nothing is left.
fn subject(text: &str) -> Option<String> {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line: String = message::allowed(line.trim()).chars().take(SUBJECT).collect();
    Some(line).filter(|line| !line.is_empty())
}

/// Cuts the text of an alert that is larger than SNS takes: whoever reads it learns of the row all the same, and the row
/// itself is where it was.
fn cut(alert: &mut Outgoing) {
    let bytes = alert.bytes();
    if bytes <= LIMIT {
        return;
    }
    alert.attributes.number(CUT, Some(alert.body.len() as u64));
    let over = alert.bytes() - LIMIT;
    let mut end = alert.body.len().saturating_sub(over);
    while !alert.body.is_char_boundary(end) {
        end -= 1;
    }
    alert.body.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_one_short_line() {
        assert_eq!(subject("order 7\nfailed"), Some("order 7 failed".into()));
        assert_eq!(subject(&"é".repeat(300)).unwrap().chars().count(), SUBJECT);
        assert_eq!(subject("\n"), None);
    }

    #[test]
    fn a_message_that_is_too_large_is_cut_to_what_fits() {
        let body = "é".repeat(LIMIT);
        let mut alert =
            Outgoing { row: 0, id: "1".into(), group: None, subject: None, body, attributes: Attributes::default() };
        cut(&mut alert);
        assert!(alert.bytes() <= LIMIT && alert.bytes() > LIMIT - 8, "{}", alert.bytes());
        assert_eq!(alert.attributes.iter().next().unwrap().1.typed().1, (2 * LIMIT).to_string());
    }
}
