//! Templates of sinks: the names in them, and which files two sinks would share.

use millstream_core::sink::WriteMode;
use millstream_formats::template::Template;
use millstream_spec::model::SinkSpec;
use millstream_spec::{Span, Spanned, codes};

use crate::planner::Planner;

impl<'a> Planner<'a> {
    /// A file that is overwritten has the name its rows give it, not that of a batch.
    pub(crate) fn overwritten_path(&mut self, sink: &'a SinkSpec, path: &str) -> Option<()> {
        let text = sink.path.as_ref().filter(|_| sink.mode == WriteMode::Overwrite);
        let Some(text) = text else { return Some(()) };
        let template = Template::parse(&text.value).ok()?;
        let Some((_, range)) = template.names().find(|(name, _)| *name == "batch_id") else { return Some(()) };
        let span = template_span(text, range);
        let finding = self.find(
            codes::BAD_TEMPLATE,
            span,
            &format!("{path}.path"),
            "`batch_id` names a file that is never overwritten",
        );
        finding.help = Some("name the file by columns of its rows, such as `{window_start:%F}`".to_owned());
        None
    }

    /// Checks a template over rows of `schema`.
    pub(crate) fn template(
        &mut self,
        text: Option<&Spanned<String>>,
        schema: &arrow::datatypes::SchemaRef,
        path: &str,
    ) -> Option<()> {
        let Some(text) = text else { return Some(()) };
        let at = |range| template_span(text, range);
        let template = match Template::parse(&text.value) {
            Ok(template) => template,
            Err(e) => return self.bad_template(at(e.range), path, e.message),
        };
        let users = millstream_core::batch::user_columns(schema);
        let mut known: Vec<&str> = schema.fields().iter().take(users).map(|f| f.name().as_str()).collect();
        known.extend(["arrived_at", "position", "source", "split"]);
        if path.ends_with(".path") {
            known.extend(["batch_id", "pipeline", "sink"]);
        }
        let unknown = template.names().find(|(name, _)| !known.contains(name)).map(|(n, r)| (n.to_owned(), r));
        let Some((name, range)) = unknown else {
            return match template.bind(schema) {
                Ok(_) => Some(()),
                Err(e) => self.bad_template(at(e.range), path, e.message),
            };
        };
        let help = millstream_spec::suggest::help(&name, "names", known);
        let finding = self.find(codes::BAD_TEMPLATE, at(range), path, format!("no column named `{name}`"));
        finding.label = Some("not a column of the rows".to_owned());
        finding.help = help;
        None
    }

    fn bad_template(&mut self, span: Span, path: &str, message: String) -> Option<()> {
        let help = "a template has columns in braces, times with a format: `{id}`, `{at:%F}`; `{{` is a brace";
        self.find(codes::BAD_TEMPLATE, span, path, message).help = Some(help.to_owned());
        None
    }

    /// Each of two sinks that overwrite one file would remove the other's rows.
    pub(crate) fn shared_path(&mut self, id: &Spanned<String>, sink: &'a SinkSpec, path: &str) -> Option<()> {
        let Some(text) = overwrites(sink) else { return Some(()) };
        let mut before = self.pipeline.sinks.iter().take_while(|(other, _)| other.value != id.value);
        let shares = |other: &SinkSpec| {
            other.write.value == sink.write.value
                && overwrites(other).is_some_and(|t| shape(&t.value) == shape(&text.value))
        };
        let Some((other, _)) = before.find(|(_, other)| shares(other)) else { return Some(()) };
        let message = format!("`{}` overwrites files of the same names", other.value);
        self.find(codes::SHARED_PATH, text.span, &format!("{path}.path"), message).help = Some(
            "each would remove the other's rows: give them different folders, or bring both inputs into one sink"
                .into(),
        );
        None
    }
}

fn overwrites(sink: &SinkSpec) -> Option<&Spanned<String>> {
    sink.path.as_ref().filter(|_| sink.mode == WriteMode::Overwrite)
}

/// A template without what stands in its braces: two of one shape can give one name.
fn shape(template: &str) -> String {
    let (mut shape, mut inside) = (String::new(), false);
    for c in template.chars() {
        match c {
            '{' => inside = true,
            '}' if inside => {
                inside = false;
                shape.push('*');
            }
            c if !inside => shape.push(c),
            _ => {}
        }
    }
    shape
}

/// Where a part of a template stands in the file.
fn template_span(text: &Spanned<String>, range: std::ops::Range<usize>) -> Span {
    match (text.span.end - text.span.start).checked_sub(text.value.len()) {
        Some(0) => Span::new(text.span.start + range.start, text.span.start + range.end),
        // Quotes around it.
        Some(2) => Span::new(text.span.start + 1 + range.start, text.span.start + 1 + range.end),
        _ => text.span,
    }
}
