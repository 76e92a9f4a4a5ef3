//! Entries of a webhook configuration that an apply cannot remove.
//!
//! An entry is shared: install owns its rules, the control plane its `caBundle`. Applying without it takes only the rules
//! away, and the API server refuses what is left.

use super::cluster::{Cluster, Reference};
use anyhow::Result;
use serde_json::Value;

/// Removes, from the object in the cluster, the entries that `wanted` does not have.
pub(super) async fn drop_others(cluster: &Cluster, wanted: &Value) -> Result<()> {
    let Some(mut now) = cluster.get(&Reference::of(wanted)).await? else { return Ok(()) };
    if keep(&mut now, wanted) {
        return Ok(());
    }
    cluster.replace(&now).await
}

/// Answers whether all entries could stay.
fn keep(now: &mut Value, wanted: &Value) -> bool {
    let names: Vec<_> = wanted["webhooks"].as_array().into_iter().flatten().map(|entry| &entry["name"]).collect();
    let Some(entries) = now["webhooks"].as_array_mut() else { return true };
    let before = entries.len();
    entries.retain(|entry| names.contains(&&entry["name"]));
    entries.len() == before
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_entries_that_are_wanted_stay() {
        let entries =
            |names: &[&str]| json!({"webhooks": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
        type Names = &'static [&'static str];
        let cases: [(Names, Names, bool, Names); 3] = [
            (&["a", "b"], &["a", "b"], true, &["a", "b"]),
            (&["a", "b"], &["b", "c"], false, &["b"]),
            (&[], &["a"], true, &[]),
        ];
        for (now, wanted, all, left) in cases {
            let mut object = entries(now);
            assert_eq!(keep(&mut object, &entries(wanted)), all, "{now:?} {wanted:?}");
            assert_eq!(object, entries(left), "{now:?} {wanted:?}");
        }
    }
}
