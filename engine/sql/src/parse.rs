//! Text to syntax tree, and what the tree alone tells: which streams, functions and hidden columns it names.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, ObjectName, Query, Spanned, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use crate::error::{SqlError, SqlErrorKind};
use crate::findings::lower_first;
use crate::functions::Functions;
use crate::hidden::Hidden;
use crate::relation::{FORM, NAMES};
use crate::session;
use crate::text::{Text, suggest};

/// One query.
pub(crate) fn query(text: &Text<'_>, sql: &str) -> Result<Statement, SqlError> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, sql).map_err(|e| syntax(text, e))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(query @ Statement::Query(_)), true) => Ok(query),
        (Some(other), true) => {
            let word = other.to_string().split(' ').next().unwrap_or_default().to_owned();
            Err(SqlError::new(SqlErrorKind::NotAQuery, format!("only queries run here, not {word}"))
                .at(text.parser_range(other.span()))
                .help("begin with SELECT or WITH".to_owned()))
        }
        (Some(second), false) => Err(SqlError::new(SqlErrorKind::NotAQuery, "more than one statement")
            .at(text.parser_range(second.span()))
            .help("write one query; make a second node for the other".to_owned())),
        (None, _) => Err(SqlError::new(SqlErrorKind::NotAQuery, "the SQL is empty")
            .help("write a query such as SELECT .. FROM stream".to_owned())),
    }
}

/// One expression.
pub(crate) fn expression(text: &Text<'_>, sql: &str) -> Result<Expr, SqlError> {
    let parse = || {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql)?;
        let expr = parser.parse_expr()?;
        let next = parser.peek_token();
        match next.token {
            datafusion::sql::sqlparser::tokenizer::Token::EOF => Ok(expr),
            _ => parser.expected("end of the condition", next),
        }
    };
    parse().map_err(|e| syntax(text, e))
}

fn syntax(text: &Text<'_>, error: ParserError) -> SqlError {
    let message = match error {
        ParserError::TokenizerError(m) | ParserError::ParserError(m) => m,
        ParserError::RecursionLimitExceeded => "the SQL is nested too deeply".to_owned(),
    };
    let (message, range) = text.take_place(&message);
    let found = message.rsplit_once(", found: ").map(|(_, found)| found);
    let closes = message.starts_with("Expected: ),");
    let open = text.open_before(if found == Some("EOF") { range.end } else { range.start }).filter(|_| closes);
    let help = match found.map(|f| (f, crate::text::closest(f, KEYWORDS))) {
        _ if text.has_word("DESCRIPTOR") => format!("a window is {FORM}"),
        Some((found, _)) if let Some(open) = &open => {
            let place = if found == "EOF" { "at the end".to_owned() } else { format!("before `{found}`") };
            format!("the parenthesis of `{open}` is still open: put a `)` where it ends, at the latest {place}")
        }
        Some(("EOF", _)) => "something is missing behind this".to_owned(),
        Some((found, Some(keyword))) if !found.eq_ignore_ascii_case(keyword) => format!("did you mean {keyword}?"),
        Some(_) => "look at what stands before it; a name that is a word of SQL needs double quotes".to_owned(),
        None => "close what was opened: quotes, parentheses".to_owned(),
    };
    let message = match message.strip_prefix("Expected: ").and_then(|m| m.split_once(", found: ")) {
        Some((expected, "EOF")) => format!("expected {expected}, but the SQL ends here"),
        Some((expected, found)) => {
            format!("expected {}, found `{found}`", expected.replace("an SQL statement", "SELECT"))
        }
        None => lower_first(&message),
    };
    SqlError::new(SqlErrorKind::Parse, message).at(range).help(help)
}

/// Words a query is built from, for those who mistyped one.
const KEYWORDS: [&str; 16] = [
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "JOIN", "UNION", "BETWEEN", "WITH", "CASE", "WHEN",
    "THEN", "ELSE", "END",
];

/// A call of a function.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its name in lower case.
    pub(crate) name: String,
    /// The name's bytes.
    pub(crate) name_range: Option<Range<usize>>,
    /// The whole call's bytes.
    pub(crate) range: Option<Range<usize>>,
}

/// What a tree names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Streams, in the order of the text: name and bytes.
    pub(crate) streams: Vec<(String, Option<Range<usize>>)>,
    /// Functions called in expressions.
    pub(crate) calls: Vec<Call>,
    /// Functions called as relations.
    pub(crate) relations: Vec<Call>,
    /// Names of `WITH` queries.
    withs: BTreeSet<String>,
    /// Hidden columns that may be meant.
    pub(crate) hidden: BTreeSet<Hidden>,
    /// Identifiers, with the bytes of each.
    pub(crate) identifiers: Vec<(String, Option<Range<usize>>)>,
    /// Subqueries within expressions.
    pub(crate) subqueries: Vec<Option<Range<usize>>>,
}

impl Names {
    pub(crate) fn of(text: &Text<'_>, tree: &impl Visit) -> Self {
        let mut reader = Reader { text, names: Self::default() };
        let _: ControlFlow<()> = tree.visit(&mut reader);
        let withs = std::mem::take(&mut reader.names.withs);
        reader.names.streams.retain(|(name, _)| !withs.contains(name));
        reader.names
    }

    /// Streams that are not in `known`, each as a finding.
    pub(crate) fn unknown_streams(&self, known: &[&str]) -> Vec<SqlError> {
        let unknown = self.streams.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        unknown.map(|(name, range)| unknown_stream(name, known).at(range.clone())).collect()
    }

    /// Functions there are not.
    pub(crate) fn unknown_functions(&self, known: &Functions) -> Vec<SqlError> {
        let finding = |call: &Call, known: &[&str]| {
            if let Some(window) = self.window_outside(call) {
                return window;
            }
            let message = format!("no function named `{}`", call.name);
            let likely = crate::text::closest(&call.name, known.iter().copied());
            SqlError::new(SqlErrorKind::UnknownFunction, message)
                .at(call.name_range.clone())
                .help(likely.map(|l| format!("did you mean `{l}`?")))
        };
        let functions = known.names();
        let calls = self.calls.iter().filter(|c| !known.contains(&c.name)).map(|c| finding(c, &functions));
        let relations = session::relations();
        let sources = self.relations.iter().filter(|c| !relations.contains(&c.name.as_str()));
        calls.chain(sources.map(|c| finding(c, &relations))).collect()
    }

    /// A window as an expression, as other dialects have it.
    fn window_outside(&self, call: &Call) -> Option<SqlError> {
        let (window, rest) = call.name.split_once('_').unwrap_or((&call.name, ""));
        if !NAMES.contains(&window) || !matches!(rest, "" | "start" | "end" | "rowtime" | "proctime") {
            return None;
        }
        let form = match self.streams.as_slice() {
            [(stream, _)] => FORM.replace("stream", stream),
            _ => FORM.to_owned(),
        };
        let (message, help) = match rest {
            "" => (format!("`{}` stands in FROM here, not in an expression", call.name), form),
            "start" => {
                (format!("no function named `{}`", call.name), format!("the column is `window_start`, of {form}"))
            }
            _ => (format!("no function named `{}`", call.name), format!("the column is `window_end`, of {form}")),
        };
        Some(SqlError::new(SqlErrorKind::UnknownFunction, message).at(call.name_range.clone()).help(help))
    }

    /// Whether a function is called that cannot be used.
    pub(crate) fn calls_unusable(&self, functions: &Functions) -> bool {
        self.calls.iter().any(|c| functions.is_unusable(&c.name))
    }

    /// Functions whose result depends on when they are called.
    pub(crate) fn volatile(&self) -> Vec<SqlError> {
        let volatile = self.calls.iter().filter(|c| session::is_volatile(&c.name));
        volatile
            .map(|c| {
                let help = match c.name.as_str() {
                    "random" | "uuid" => "derive it from the row, such as md5(concat(..)) of its key",
                    _ => "use arrived_at, the time the record reached the stream",
                };
                SqlError::new(SqlErrorKind::Volatile, format!("`{}` gives another result at every replay", c.name))
                    .at(c.range.clone())
                    .label("depends on when it runs")
                    .help(help.to_owned())
            })
            .collect()
    }

    /// Where a function is called: the call that covers `inner`, else the first of that name.
    pub(crate) fn call_at(&self, name: &str, inner: Option<&Range<usize>>) -> Option<Range<usize>> {
        let calls = || self.calls.iter().filter(|c| c.name == name).filter_map(|c| c.range.clone());
        let covers = |r: &Range<usize>| inner.is_some_and(|i| r.start <= i.start && i.end <= r.end);
        calls().find(covers).or_else(|| calls().next())
    }

    /// Where an identifier stands first.
    pub(crate) fn identifier_at(&self, name: &str) -> Option<Range<usize>> {
        self.identifiers.iter().find(|(n, _)| n == name).and_then(|(_, r)| r.clone())
    }
}

fn unknown_stream(name: &str, known: &[&str]) -> SqlError {
    let error = SqlError::new(SqlErrorKind::UnknownPort, format!("no stream named `{name}`"));
    let (node, port) = name.split_once('.').unwrap_or((name, ""));
    let own: Vec<&str> = known.iter().filter_map(|k| k.strip_prefix(node)?.strip_prefix('.')).collect();
    if port.is_empty() || own.is_empty() {
        return error.label("not a stream of this pipeline").help(suggest(name, "streams", known));
    }
    let likely = crate::text::closest(port, own.iter().copied());
    let likely = likely.map(|p| format!("did you mean `{node}.{p}`?  ")).unwrap_or_default();
    error.label(format!("not a port of `{node}`")).help(format!("{likely}ports: {}", own.join(", ")))
}

struct Reader<'a, 'b> {
    text: &'a Text<'b>,
    names: Names,
}

impl Reader<'_, '_> {
    fn call(&mut self, function: &Function) -> Call {
        Call {
            name: function.name.to_string().to_lowercase(),
            name_range: self.text.parser_range(function.name.span()),
            range: self.text.call_range(function.name.span()),
        }
    }
    fn stream(&mut self, name: String, range: Option<Range<usize>>) {
        if !self.names.streams.iter().any(|(n, _)| *n == name) {
            self.names.streams.push((name, range));
        }
    }
    fn relation(&mut self, name: &ObjectName, args: &[FunctionArg]) {
        let call = Call {
            name: name.to_string().to_lowercase(),
            name_range: self.text.parser_range(name.span()),
            range: self.text.parser_range(name.span()),
        };
        // Where the stream was left out, what stands in its place is none.
        let lacks_stream = matches!(args.get(1), Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Interval(_)))));
        let ours = NAMES.contains(&call.name.as_str()) && !lacks_stream;
        self.names.relations.push(call);
        if let (true, Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(stream)))) = (ours, args.first()) {
            let range = self.text.parser_range(stream.span());
            match stream {
                Expr::Identifier(id) => self.stream(id.value.clone(), range),
                Expr::CompoundIdentifier(ids) => self.stream(dotted(ids.iter().map(|i| i.value.as_str())), range),
                _ => {}
            }
        }
    }
}

fn dotted<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(".")
}

/// An object's name as the catalog has it: without quotes.
pub(crate) fn plain(name: &ObjectName) -> String {
    dotted(name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.as_str()))
}

impl Visitor for Reader<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.names.withs.extend(with.cte_tables.iter().map(|t| t.alias.name.value.clone()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args, .. } = factor {
            match args {
                Some(args) => self.relation(name, &args.args),
                None => self.stream(plain(name), self.text.parser_range(name.span())),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let mut named = |name: &str, range| {
            self.names.hidden.extend(Hidden::named(name));
            self.names.identifiers.push((name.to_owned(), range));
        };
        match expr {
            Expr::Function(function) => {
                let call = self.call(function);
                self.names.calls.push(call);
            }
            Expr::Identifier(id) => named(&id.value, self.text.parser_range(id.span)),
            Expr::CompoundIdentifier(ids) => {
                for id in ids {
                    named(&id.value, self.text.parser_range(id.span));
                }
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                self.names.subqueries.push(self.text.parser_range(expr.span()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Names {
        let text = Text::new(sql);
        Names::of(&text, &query(&text, sql).unwrap())
    }

    #[test]
    fn streams_are_found_wherever_they_stand() {
        let sql = "WITH a AS (SELECT * FROM trips.completed) SELECT * FROM a JOIN tumble(b, ts, INTERVAL '1 day') \
                   WHERE x IN (SELECT y FROM c)";
        let found: Vec<String> = names(sql).streams.into_iter().map(|(n, _)| n).collect();
        assert_eq!(found, ["trips.completed", "b", "c"]);
    }

    #[test]
    fn every_unknown_name_is_a_finding_of_its_own_bytes() {
        let sql = "SELECT summ(x), upper(lowr(y)) FROM tumbl(trips.complete, ts, INTERVAL '1 day'), trips.complete";
        let names = names(sql);
        let mut places: Vec<&str> = (names.unknown_functions(&Functions::new()).iter())
            .chain(&names.unknown_streams(&["trips.completed", "starts"]))
            .map(|e| &sql[e.range.clone().unwrap()])
            .collect();
        places.sort_unstable();
        assert_eq!(places, ["lowr", "summ", "trips.complete", "tumbl"]);
    }
}
