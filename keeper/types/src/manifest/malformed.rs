//! Where a document is no manifest: which field is wrong, and what it may be.
//!
//! Reading a manifest does not keep track of where in it one is; this reads it again once it is known to be wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Manifest, ManifestError, MatmulJob, ProcessJob};

/// The fields that are objects. The format's reader takes lists in their place as well, by the fields' order, and then
/// speaks of list entries that nobody meant.
const OBJECTS: [&str; 4] = ["executor", "limits", "placement", "placement.prefers"];
/// What is expected in the reader's words, and in those of docs/manifest.md.
const PLAINLY: [(&str, &str); 9] = [
    ("expected u8", "expected a whole number from 0 to 255"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u64", "expected a whole number from 0 to 18446744073709551615"),
    ("expected a boolean", "expected true or false"),
    ("expected a string", "expected a text"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected an object"),
    ("expected struct ", "expected the object "),
];

/// What is wrong with a document that `error` says is no manifest, with the path of the field.
pub(super) fn describe(bytes: &[u8], error: &serde_json::Error) -> ManifestError {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    let field = value.as_ref().and_then(|value| list_for_object(value).or_else(|| wrong_field(bytes, value)));
    field.unwrap_or_else(|| ManifestError::Json(plainly(&error.to_string())))
}

fn list_for_object(document: &Value) -> Option<ManifestError> {
    let is_list = |path: &&str| document.pointer(&format!("/{}", path.replace('.', "/"))).is_some_and(Value::is_array);
    let reason = "is a list, but must be an object".to_owned();
    OBJECTS.into_iter().find(is_list).map(|path| ManifestError::Field { field: path.to_owned(), reason })
}

/// The path of the field that is wrong, and how; none where it is the document as a whole.
fn wrong_field(bytes: &[u8], document: &Value) -> Option<ManifestError> {
    let reader = &mut serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, Manifest>(reader).err()?;
    let path = error.path().to_string();
    let found = match path.as_str() {
        "." => return None,
        // Its fields are read only once its kind is known, out of sight of the path.
        "executor" => in_executor(document.get("executor")?),
        _ => None,
    };
    let (path, reason) = found.unwrap_or_else(|| (path, error.into_inner().to_string()));
    Some(ManifestError::Malformed { field: path, reason: plainly(&reason) })
}

fn in_executor(executor: &Value) -> Option<(String, String)> {
    let mut fields = executor.as_object()?.clone();
    let kind = fields.remove("kind")?;
    match kind.as_str()? {
        "process" => wrong_in_job::<ProcessJob>(fields.into()),
        "matmul" => wrong_in_job::<MatmulJob>(fields.into()),
        _ => None,
    }
}

fn wrong_in_job<Job: DeserializeOwned>(fields: Value) -> Option<(String, String)> {
    let error = serde_path_to_error::deserialize::<_, Job>(fields).err()?;
    let path = error.path().to_string();
    let path = if path == "." { "executor".to_owned() } else { format!("executor.{path}") };
    Some((path, error.into_inner().to_string()))
}

/// The reader's message in words that do not need Rust.
fn plainly(message: &str) -> String {
    let words = |message: &str, from: &str, to: &str| match message.split_once(from) {
        // `expected u8` is no beginning of `expected u80`.
        Some((before, after)) if from.ends_with(' ') || !after.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            format!("{before}{to}{after}")
        }
        _ => message.to_owned(),
    };
    PLAINLY.into_iter().fold(message.to_owned(), |message, (from, to)| words(&message, from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Manifest::parse(text.as_bytes()).unwrap_err().to_string()
    }

    fn with(field: &str) -> String {
        told(&format!(r#"{{"version":1,"executor":{{"kind":"matmul","size":1,"seed":0}},{field}}}"#))
    }

    #[test]
    fn a_field_of_a_wrong_type_is_named_by_its_path_with_what_it_may_be() {
        for (field, expected) in [
            (
                r#""limits":{"time_s":"long"}"#,
                "field `limits.time_s` is malformed: invalid type: string \"long\", expected a whole number from 0 to 4294967295",
            ),
            (
                r#""placement":{"trust":"mine"}"#,
                "field `placement.trust` is malformed: unknown variant `mine`, expected `staked` or `admitted`",
            ),
            (
                r#""placement":{"gpu_models":["H100",7]}"#,
                "field `placement.gpu_models[1]` is malformed: invalid type: integer `7`, expected a text",
            ),
            (
                r#""placement":{"prefers":{"warm_model":1}}"#,
                "field `placement.prefers.warm_model` is malformed: invalid type: integer `1`, expected true or false",
            ),
            (
                r#""placement":{"prefers":[{"kind":"region"}]}"#,
                "field `placement.prefers` is a list, but must be an object",
            ),
            (r#""limits":7"#, "field `limits` is malformed: invalid type: integer `7`, expected the object Limits"),
            (
                r#""placement":{"prefers":{"warm":true}}"#,
                "unknown field `warm`, expected one of `warm_model`, `region`",
            ),
        ] {
            let told = with(field);
            assert!(told.contains(expected), "{field}: {told}");
        }
        assert!(with(r#""placement":{"prefers":{"warm":true}}"#).contains("`placement.prefers.warm"));
        assert!(with(r#""limit":{}"#).contains("unknown field `limit`, expected one of `version`, `executor`"));
    }

    #[test]
    fn so_is_what_is_wrong_with_the_executor() {
        let executor = |fields: &str| told(&format!(r#"{{"version":1,"executor":{{{fields}}}}}"#));
        for (fields, expected) in [
            (
                r#""kind":"shell""#,
                "field `executor.kind` is malformed: unknown variant `shell`, expected `process` or `matmul`",
            ),
            (r#""kind":7"#, "field `executor.kind` is malformed: invalid type: integer `7`"),
            (r#""size":1,"seed":2"#, "field `executor` is malformed: missing field `kind`"),
            (
                r#""kind":"matmul","size":"1","seed":2"#,
                "field `executor.size` is malformed: invalid type: string \"1\", expected a whole",
            ),
            (r#""kind":"matmul","size":1"#, "field `executor` is malformed: missing field `seed`"),
            (r#""kind":"matmul","size":1,"seed":2,"gpu":1"#, "unknown field `gpu`, expected `size` or `seed`"),
            (
                r#""kind":"process","command":["a",3]"#,
                "field `executor.command[1]` is malformed: invalid type: integer `3`",
            ),
            (
                r#""kind":"process","command":["a"],"env":{"A":1}"#,
                "field `executor.env.A` is malformed: invalid type: integer `1`",
            ),
        ] {
            let told = executor(fields);
            assert!(told.contains(expected), "{fields}: {told}");
        }
    }

    #[test]
    fn whatever_is_refused_is_described() {
        for text in ["", "7", "[]", "not json", "{\"version\":1,", r#"{"version":1,"version":1}"#, r#"{"version":-1}"#]
        {
            let error = serde_json::from_slice::<Manifest>(text.as_bytes()).unwrap_err();
            assert!(!describe(text.as_bytes(), &error).to_string().is_empty(), "{text}");
        }
        assert_eq!(told("{}"), "the manifest is malformed: missing field `version` at line 1 column 2");
        assert!(told(r#"{"version":-1}"#).contains("field `version` is malformed: invalid value: integer `-1`"));
    }
}
