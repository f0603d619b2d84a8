//! The shorthand grammar. The values are what the AWS CLI 1.45.11 makes of the same text.

use super::*;

/// Text, and the JSON that it means.
const READ: &[(&str, &str)] = &[
    (
        "DeviceName=/dev/sda1,Ebs={VolumeSize=20,VolumeType=gp3}",
        r#"{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": "20", "VolumeType": "gp3"}}"#,
    ),
    ("DeviceName=/dev/sdb,NoDevice=", r#"{"DeviceName": "/dev/sdb", "NoDevice": ""}"#),
    (r#"DeviceName=/dev/sdb,NoDevice="""#, r#"{"DeviceName": "/dev/sdb", "NoDevice": ""}"#),
    ("NoDevice=,DeviceName=/dev/sdb", r#"{"NoDevice": "", "DeviceName": "/dev/sdb"}"#),
    (
        "DeviceName = /dev/sdb , VirtualName = ephemeral0",
        r#"{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}"#,
    ),
    ("a=b,c,d=e", r#"{"a": ["b", "c"], "d": "e"}"#),
    ("a=b,c", r#"{"a": ["b", "c"]}"#),
    ("a=,b=c", r#"{"a": "", "b": "c"}"#),
    ("a=[b,c, d],e=f", r#"{"a": ["b", "c", "d"], "e": "f"}"#),
    ("a=[],b={}", r#"{"a": [], "b": {}}"#),
    ("a={b={c=d},e=[f,{g=h}]}", r#"{"a": {"b": {"c": "d"}, "e": ["f", {"g": "h"}]}}"#),
    (r"a=b\,c", r#"{"a": "b,c"}"#),
    (r"a=b\,c,d", r#"{"a": ["b,c", "d"]}"#),
    ("a='b,c=d',e=f", r#"{"a": "b,c=d", "e": "f"}"#),
    (r#"a='it\'s',b="say \"x\"""#, r#"{"a": "it's", "b": "say \"x\""}"#),
    (r"a='x\\y'", r#"{"a": "x\\y"}"#),
    (r"a='abc\'", r#"{"a": "abc\\"}"#),
    (r"a='abc\\'", r#"{"a": "abc\\"}"#),
    (r"a='x\\'y'", r#"{"a": "x\\'y"}"#),
    ("a=b=c", r#"{"a": "b=c"}"#),
    ("a=b,c=d=e", r#"{"a": "b", "c": "d=e"}"#),
    ("a=b c,d=e", r#"{"a": "b c", "d": "e"}"#),
    ("a=b  ,c=d", r#"{"a": "b", "c": "d"}"#),
    ("a= b", r#"{"a": "b"}"#),
    ("a={b= c , d=e }", r#"{"a": {"b": "c", "d": "e"}}"#),
    ("a={b=c d=e}", r#"{"a": {"b": "c d=e"}}"#),
    ("a=b,'c',d", r#"{"a": ["b", "c", "d"]}"#),
    ("a='b','c'", r#"{"a": ["b", "c"]}"#),
    ("a=x{y,z=1", r#"{"a": "x{y", "z": "1"}"#),
    ("a=[b c,d]", r#"{"a": ["b c", "d"]}"#),
    ("a=[ b]", r#"{"a": ["b"]}"#),
    ("a={b=x=y}", r#"{"a": {"b": "x=y"}}"#),
    ("a=[x=y]", r#"{"a": ["x=y"]}"#),
    ("a=b,c d,e=f", r#"{"a": ["b", "c d"], "e": "f"}"#),
    ("a=x~y|z^w,q", r#"{"a": ["x~y|z^w", "q"]}"#),
    ("a=b,c[d", r#"{"a": ["b", "c[d"]}"#),
    ("a=b,c=", r#"{"a": "b", "c": ""}"#),
    (r"a=\x,b=y", r#"{"a": "\\x", "b": "y"}"#),
    ("a:b/c#d.e-f_g=h", r#"{"a:b/c#d.e-f_g": "h"}"#),
    ("a=é b,c=ü", r#"{"a": "é b", "c": "ü"}"#),
    ("a=[b,]", r#"{"a": ["b"]}"#),
];

#[test]
fn the_grammar_is_the_cli_s() {
    for (text, json) in READ {
        let expected: Map<String, Value> = serde_json::from_str(json).unwrap();
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_the_cli_refuses_is_refused_with_its_place() {
    let refused = [
        ("", 0),
        ("a", 1),
        ("a=b,", 4),
        ("a=b,c,", 6),
        ("a=b]c", 3),
        ("a=b}", 3),
        ("a=[b", 4),
        ("a={b=c", 6),
        ("a={b}", 4),
        ("a='b", 2),
        ("a='b'c", 5),
        ("a=b,a=c", 4),
        ("a=b,[c]", 4),
        ("a=b,{c}", 4),
        ("a==b", 2),
        ("é=b", 0),
        // Ours: the CLI takes an empty name, and `@=` for a file.
        ("=b", 0),
        ("a@=file://x", 1),
        ("a={b=c,b=d}", 7),
    ];
    for (text, at) in refused {
        assert_eq!(parse(text).map_err(|cause| cause.at), Err(at), "{text}");
    }
}

#[test]
fn brackets_stand_in_each_other_only_so_deep() {
    let deep = |count: usize| format!("a={}{}", "[".repeat(count), "]".repeat(count));
    assert!(parse(&deep(MAX_DEPTH)).is_ok());
    assert!(parse(&deep(100_000)).unwrap_err().what.contains("more than 16 brackets"));
}

#[test]
fn a_space_outside_of_brackets_and_quotes_begins_the_next_mapping() {
    let cases: &[(&str, &[&str])] = &[
        ("a=b", &["a=b"]),
        (" a=b  c=d ", &["a=b", "c=d"]),
        ("a=b,c={d=e f} g='h i'", &["a=b,c={d=e f}", "g='h i'"]),
        ("a = b , c = d e=f", &["a = b , c = d", "e=f"]),
        (r"a='it\'s here' b=c", &[r"a='it\'s here'", "b=c"]),
        ("a=[b, c] d=e", &["a=[b, c]", "d=e"]),
        ("", &[""]),
    ];
    for (text, parts) in cases {
        assert_eq!(split(text), *parts, "{text}");
    }
}
