//! The AWS CLI's shorthand syntax, `Key=value,Key={Key=value},Key=[value,value]`: its grammar, whatever the members
//! mean.
//!
//! No crate has it: it is the AWS CLI's own. The grammar follows what the CLI takes (user guide, "Using shorthand
//! syntax"; its behaviour was compared with version 1.45): keys are letters, digits and `-_.#/:`; a value ends before
//! `,`, a quote, `]` or `}`; several values in a row are a list as long as no `=` follows; `\,` is a comma; quoted
//! values hold anything. Left out: `Key@=file://…`, which no mapping needs; and what the CLI takes by accident: empty
//! names, two commas in a row, values that begin with `]` or `}`, and a name that is given twice in braces.

use serde_json::{Map, Value};

/// How deep lists and objects may stand in each other.
const MAX_DEPTH: usize = 16;

/// What is wrong, and at which character.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: usize,
    pub(crate) what: String,
}

type Parsed<T> = Result<T, SyntaxError>;

/// Reads `Key=value` pairs to the end of the text. Values are strings, lists and objects.
pub(crate) fn parse(text: &str) -> Parsed<Map<String, Value>> {
    let mut reader = Reader { characters: text.chars().collect(), at: 0 };
    let mut members = Map::new();
    loop {
        let start = reader.at;
        let key = reader.key()?;
        let value = reader.values()?;
        insert(&mut members, key, value, start)?;
        if reader.current().is_none() {
            return Ok(members);
        }
        reader.expect(',')?;
    }
}

/// Splits where a new mapping begins: at white space that is in no quotes or brackets and does not belong to a `=` or
/// `,`. The shell does this with unquoted words; here the whole may be one quoted word.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let (mut depth, mut quote, mut part) = (0usize, None, String::new());
    let mut characters = text.trim().chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                part.push(c);
                part.extend(characters.next());
                continue;
            }
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth = depth.saturating_add(1),
            (None, '}' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        let space = quote.is_none() && depth == 0 && c.is_whitespace();
        if !space {
            part.push(c);
            continue;
        }
        while characters.next_if(|next| next.is_whitespace()).is_some() {}
        let glue = |c: Option<char>| c.is_none_or(|c| matches!(c, ',' | '='));
        if glue(part.chars().next_back()) || glue(characters.peek().copied()) {
            part.push(c);
        } else {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts
}

fn insert(members: &mut Map<String, Value>, key: String, value: Value, at: usize) -> Parsed<()> {
    if members.contains_key(&key) {
        return Err(SyntaxError {
            at,
            what: format!("{key} is given twice: mappings are separated by a space"),
        });
    }
    members.insert(key, value);
    Ok(())
}

struct Reader {
    characters: Vec<char>,
    at: usize,
}

impl Reader {
    fn current(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn skip_space(&mut self) {
        while self.current().is_some_and(char::is_whitespace) {
            self.step();
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        let taken: String = rest.iter().copied().take_while(|c| wanted(*c)).collect();
        self.at = self.at.saturating_add(taken.chars().count());
        taken
    }

    fn error<T>(&self, wanted: &str) -> Parsed<T> {
        let there = self.current().map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
        Err(SyntaxError { at: self.at, what: format!("{wanted} is missing before {there}") })
    }

    /// One character, with white space around it.
    fn expect(&mut self, wanted: char) -> Parsed<()> {
        self.skip_space();
        if self.current() != Some(wanted) {
            return self.error(&format!("`{wanted}`"));
        }
        self.step();
        self.skip_space();
        Ok(())
    }

    /// A key and the `=` behind it.
    fn key(&mut self) -> Parsed<String> {
        let key = self.take_while(|c| c.is_ascii_alphanumeric() || "-_.#/:".contains(c));
        if key.is_empty() {
            return self.error("a member's name");
        }
        self.skip_space();
        if self.current() == Some('@') {
            let what = "`@=` is not supported here: write the value itself".to_owned();
            return Err(SyntaxError { at: self.at, what });
        }
        self.expect('=')?;
        Ok(key)
    }

    /// What stands behind a `=` outside of brackets.
    fn values(&mut self) -> Parsed<Value> {
        match self.current() {
            Some('[' | '{') => {
                let value = self.bracketed(0)?;
                self.skip_space();
                Ok(value)
            }
            _ => self.one_or_more(),
        }
    }

    /// `a` is a string and `a,b` a list, but in `a,b=c` the b is the next key.
    fn one_or_more(&mut self) -> Parsed<Value> {
        let first = self.value()?;
        self.skip_space();
        let mut all = vec![Value::String(first)];
        while self.current() == Some(',') {
            let comma = self.at;
            self.expect(',')?;
            let next = self.further_value();
            self.skip_space();
            match (next, self.current()) {
                (Ok(next), None | Some(',')) => all.push(Value::String(next)),
                (Err(cause), None) => return Err(cause),
                _ => {
                    self.at = comma;
                    break;
                }
            }
        }
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                all.extend(last);
                Ok(Value::Array(all))
            }
        }
    }

    /// A value that is not the first of a list: it is not empty, and holds no `=`, which would make it a key.
    fn further_value(&mut self) -> Parsed<String> {
        match self.current() {
            Some('\'' | '"') => self.quoted(),
            _ => match self.plain(|c| !matches!(c, '=' | ',' | '"' | '\'')) {
                value if value.is_empty() => self.error("a value"),
                value => Ok(value),
            },
        }
    }

    /// A value, which may be empty.
    fn value(&mut self) -> Parsed<String> {
        match self.current() {
            Some('\'' | '"') => self.quoted(),
            _ => Ok(self.plain(ends_no_value)),
        }
    }

    fn plain(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut value = String::new();
        // What begins with white space, a bracket or a second `=` is no value.
        if self.current().is_some_and(|c| c.is_whitespace() || "[{=".contains(c)) {
            return value;
        }
        loop {
            value.push_str(&self.take_while(|c| c != '\\' && wanted(c)));
            if self.current() != Some('\\') {
                break;
            }
            self.step();
            match self.current() {
                Some(',') => {
                    value.push(',');
                    self.step();
                }
                _ => value.push('\\'),
            }
        }
        value.truncate(value.trim_end().len());
        value
    }

    /// In quotes, `\` before the quote or before itself is not meant literally. Where no quote ends the value but an
    /// escaped one, that ends it.
    fn quoted(&mut self) -> Parsed<String> {
        let Some(quote) = self.current() else { return self.error("a value") };
        let inside = self.characters.get(self.at.saturating_add(1)..).unwrap_or_default();
        let (mut escaped, mut last_escaped, mut end) = (false, None, None);
        for (index, c) in inside.iter().enumerate() {
            if *c == quote && !escaped {
                end = Some(index);
                break;
            }
            if *c == quote {
                last_escaped = Some(index);
            }
            // Only a quote can be escaped here: `\\'` is a backslash and an escaped quote.
            escaped = *c == '\\';
        }
        let Some(end) = end.or(last_escaped) else {
            return Err(SyntaxError { at: self.at, what: format!("this {quote} has no partner") });
        };
        let value: String = inside.iter().take(end).collect();
        self.at = self.at.saturating_add(end).saturating_add(2);
        Ok(value.replace(&format!("\\{quote}"), &quote.to_string()).replace("\\\\", "\\"))
    }

    fn bracketed(&mut self, depth: usize) -> Parsed<Value> {
        if depth >= MAX_DEPTH {
            let what = format!("more than {MAX_DEPTH} brackets stand in each other");
            return Err(SyntaxError { at: self.at, what });
        }
        match self.current() {
            Some('[') => self.list(depth),
            Some('{') => self.object(depth),
            _ => self.value().map(Value::String),
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Value> {
        self.expect('[')?;
        let mut all = Vec::new();
        while self.current() != Some(']') {
            all.push(self.bracketed(depth.saturating_add(1))?);
            self.separator(']')?;
        }
        self.step();
        Ok(Value::Array(all))
    }

    fn object(&mut self, depth: usize) -> Parsed<Value> {
        self.expect('{')?;
        let mut members = Map::new();
        while self.current() != Some('}') {
            let start = self.at;
            let key = self.key()?;
            let value = self.bracketed(depth.saturating_add(1))?;
            insert(&mut members, key, value, start)?;
            self.separator('}')?;
        }
        self.step();
        Ok(Value::Object(members))
    }

    /// A comma, or nothing before the bracket that ends it all.
    fn separator(&mut self, end: char) -> Parsed<()> {
        self.skip_space();
        if self.current() == Some(end) { Ok(()) } else { self.expect(',') }
    }
}

/// The CLI's set of characters that a plain value goes on with: all but these.
fn ends_no_value(c: char) -> bool {
    !matches!(c, ',' | '"' | '\'' | ']' | '}')
}

#[cfg(test)]
#[path = "shorthand_test.rs"]
mod tests;
