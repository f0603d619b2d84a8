//! JSON with the spaces that EC2 puts into it: `"Code" : "Success"`.

use serde_json::Value;

/// One member: a text, a list of texts, or null.
pub(crate) enum Member<'a> {
    Text(&'a str),
    List(&'a [String]),
}

/// An object, a member a line.
pub(crate) fn object(members: &[(&str, Option<Member<'_>>)]) -> String {
    let lines: Vec<_> =
        members.iter().map(|(name, member)| format!("  \"{name}\" : {}", value(member.as_ref()))).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// The same of texts only.
pub(crate) fn texts(members: &[(&str, &str)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, text)| (*name, Some(Member::Text(text)))).collect();
    object(&members)
}

fn value(member: Option<&Member<'_>>) -> String {
    match member {
        None => "null".to_owned(),
        Some(Member::Text(text)) => quoted(text),
        Some(Member::List(list)) => {
            format!("[ {} ]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
        }
    }
}

pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_ec2_s_spaces() {
        let list = ["a\"b".to_owned(), "c".to_owned()];
        let text = object(&[("A", Some(Member::Text("x\n"))), ("B", Some(Member::List(&list))), ("C", None)]);
        assert_eq!(text, "{\n  \"A\" : \"x\\n\",\n  \"B\" : [ \"a\\\"b\", \"c\" ],\n  \"C\" : null\n}");
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }
}
