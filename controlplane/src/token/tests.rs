//! Every way in which a token can be misused has an answer of its own.
#![allow(clippy::unwrap_used)]

use super::used::{FirstUse, UsedTokens};
use super::*;
use crate::ca::{Authority, AuthorityOptions};
use crate::state::StateFolder;

const NOW: Seconds = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn authority(scratch: &tempfile::TempDir, name: &str) -> (StateFolder, Authority) {
    let folder = StateFolder::open(&scratch.path().join(name)).unwrap();
    let authority = Authority::open(&folder, AuthorityOptions::default(), NOW).unwrap();
    (folder, authority)
}

fn token(authority: &Authority, uses: Uses) -> String {
    let account = "default/reviews".parse().unwrap();
    create(&authority.issuing(), &account, uses, HOUR, NOW).unwrap()
}

#[test]
fn a_token_reads_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, authority) = authority(&scratch, "a");
    for uses in [Uses::Once, Uses::Many] {
        let text = token(&authority, uses);
        let read: Token = text.parse().unwrap();
        let claims = read.verify(&authority.issuing(), NOW).unwrap();
        assert_eq!(claims.uses, uses);
        assert_eq!(claims.identity.as_str(), "spiffe://cluster.local/ns/default/sa/reviews");
        assert_eq!(claims.roots, authority.issuing().root_hashes());
        assert_eq!(read.to_string(), text);
    }
}

#[test]
fn what_is_no_token_of_ours_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, ours) = authority(&scratch, "ours");
    let (_, theirs) = authority(&scratch, "theirs");
    let good = token(&ours, Uses::Once);
    let cases = [
        ("foreign", token(&theirs, Uses::Once), NOW, "was not signed by this control plane"),
        ("expired", good.clone(), NOW + 3600, "expired"),
        ("other account", good.replace(":reviews:", ":admin:"), NOW, "was not signed"),
        ("made reusable", good.replace(":once:", ":reusable:"), NOW, "was not signed"),
        ("later expiry", good.replace(&(NOW + 3600).to_string(), &(NOW + 9999).to_string()), NOW, "was not signed"),
        (
            "other root",
            good.replacen(&hex(&ours.issuing().root_hashes()[0]), &"0".repeat(64), 1),
            NOW,
            "was not signed",
        ),
        ("cut", good[..good.len() - 2].to_owned(), NOW, "no join token"),
        ("empty", String::new(), NOW, "no join token"),
        ("another thing", "eyJhbGciOiJSUzI1NiJ9.e30.x".to_owned(), NOW, "no join token"),
    ];
    for (row, text, now, want) in cases {
        let refusal = text.parse::<Token>().and_then(|token| token.verify(&ours.issuing(), now).map(|_| ()));
        let refusal = refusal.expect_err(row).to_string();
        assert!(refusal.contains(want), "{row}: {refusal}");
    }
}

#[test]
fn a_token_outlives_a_change_of_trust_domain_only_as_a_clear_refusal() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, authority) = authority(&scratch, "a");
    let text = token(&authority, Uses::Once);
    authority.set_trust_domain("other.example", NOW).unwrap();
    let read: Token = text.parse().unwrap();
    let refused = read.verify(&authority.issuing(), NOW);
    assert!(matches!(refused, Err(TokenError::OtherTrustDomain { .. })), "{refused:?}");
}

#[test]
fn a_single_use_survives_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, authority) = authority(&scratch, "a");
    let read: Token = token(&authority, Uses::Once).parse().unwrap();
    let claims = read.verify(&authority.issuing(), NOW).unwrap();
    let (first, second) = ([1; 32], [2; 32]);
    let mut used = UsedTokens::open(&folder).unwrap();
    assert_eq!(used.claim(claims, &first, NOW).unwrap(), FirstUse::Yes);
    assert_eq!(used.claim(claims, &first, NOW).unwrap(), FirstUse::Yes, "the same key, its answer was lost");
    assert_eq!(used.claim(claims, &second, NOW).unwrap(), FirstUse::No);
    let mut again = UsedTokens::open(&folder).unwrap();
    assert_eq!(again.claim(claims, &second, NOW).unwrap(), FirstUse::No, "after a restart");
}
