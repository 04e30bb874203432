use super::*;

const KEY: &str = "0x71d7bb07b9a64f6f78ac4c816aff4da9";

fn public_key() -> Felt {
    SigningKey::from_secret_scalar(Felt::from_hex_unchecked(KEY)).verifying_key().scalar()
}

fn account_file(dir: &Path, variant: &str, deployment: &str) -> PathBuf {
    let path = dir.join("account.json");
    let text = format!(r#"{{"version":1,"variant":{variant},"deployment":{deployment}}}"#);
    std::fs::write(&path, text).unwrap();
    path
}

fn open_zeppelin(legacy: &str) -> String {
    format!(r#"{{"type":"open_zeppelin","version":1,"public_key":"{:#x}"{legacy}}}"#, public_key())
}

const DEPLOYED: &str = r#"{"status":"deployed","class_hash":"0x1","address":"0x1234"}"#;

fn plain() -> KeySource {
    KeySource::Plain(KEY.to_owned().into())
}

#[test]
fn a_starkli_account_with_its_keystore_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let account = account_file(dir.path(), &open_zeppelin(r#","legacy":false"#), DEPLOYED);
    let path = dir.path().join("key.json");
    SigningKey::from_secret_scalar(Felt::from_hex_unchecked(KEY)).save_as_keystore(&path, "secret").unwrap();
    let keystore = |password: &str| KeySource::Keystore { path: path.clone(), password: password.to_owned().into() };

    let credentials = Credentials::from_files(&account, &keystore("secret")).unwrap();
    assert_eq!(credentials.address, Address(Felt::from(0x1234)));
    assert!(!format!("{credentials:?}").contains("71d7bb"), "a key is never shown");

    let error = Credentials::from_files(&account, &keystore("wrong")).unwrap_err().to_string();
    assert!(error.contains("does not open") && error.contains("STARKNET_KEYSTORE_PASSWORD"), "{error}");
}

#[test]
fn a_legacy_account_is_refused_also_where_the_flag_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    for legacy in [r#","legacy":true"#, ""] {
        let account = account_file(dir.path(), &open_zeppelin(legacy), DEPLOYED);
        let error = Credentials::from_files(&account, &plain()).unwrap_err().to_string();
        assert!(error.contains("describes a legacy (Cairo 0) account"), "{error}");
        assert!(error.contains("upgrade the account"), "{error}");
    }
}

#[test]
fn an_undeployed_account_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let undeployed = r#"{"status":"undeployed","class_hash":"0x1","salt":"0x2"}"#;
    let account = account_file(dir.path(), &open_zeppelin(r#","legacy":false"#), undeployed);
    let error = Credentials::from_files(&account, &plain()).unwrap_err().to_string();
    assert!(error.contains("is not deployed") && error.contains("starkli account deploy"), "{error}");
}

#[test]
fn a_key_of_another_account_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let account = account_file(dir.path(), &open_zeppelin(r#","legacy":false"#), DEPLOYED);
    let other = KeySource::Plain("0x5".to_owned().into());
    let error = Credentials::from_files(&account, &other).unwrap_err().to_string();
    assert!(error.contains("the key does not belong to the account"), "{error}");
}

#[test]
fn files_that_are_missing_or_malformed_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.json");
    let error = Credentials::from_files(&missing, &plain()).unwrap_err().to_string();
    assert!(error.contains("none.json cannot be read"), "{error}");
    let path = dir.path().join("account.json");
    std::fs::write(&path, "{}").unwrap();
    let error = Credentials::from_files(&path, &plain()).unwrap_err().to_string();
    assert!(error.contains("is not a starkli account file: missing field `version`"), "{error}");
}

#[test]
fn what_is_not_below_the_fields_prime_is_refused_and_a_key_is_not_repeated() {
    let prime = "0x800000000000011000000000000000000000000000000000000000000000001";
    let dir = tempfile::tempdir().unwrap();
    let deployed = DEPLOYED.replace("0x1234", prime);
    let account = account_file(dir.path(), &open_zeppelin(r#","legacy":false"#), &deployed);
    let error = Credentials::from_files(&account, &plain()).unwrap_err().to_string();
    assert!(error.contains("deployment.address") && error.contains("not below the field's prime"), "{error}");
    let account = account_file(dir.path(), &open_zeppelin(r#","legacy":false"#), DEPLOYED);
    let error = Credentials::from_files(&account, &KeySource::Plain(prime.to_owned().into())).unwrap_err().to_string();
    assert!(error.contains("STARKNET_PRIVATE_KEY") && error.contains("below the field's prime"), "{error}");
    assert!(!error.contains("80000000"), "{error}");
}
