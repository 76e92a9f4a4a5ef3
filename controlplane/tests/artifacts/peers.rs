//! Two replicas at work: one compiles for both, and what a registry gave only one of them reaches the other.

use crate::bench::{Bench, CONFIG, headers, policy, push, running, told, wanted};
use std::io::Read as _;
use std::sync::Arc;
use weft_controlplane::artifacts::{Artifacts, Item, LastGood, Made, Peers, Stock};
use weft_snapshot::Digest;

/// The other replica, without a wire between.
struct Beside(Artifacts);

#[tonic::async_trait]
impl Peers for Beside {
    async fn make(&self, component: Digest, key: &str, stock: &Stock) -> Made {
        match self.0.make(component, key).await {
            Ok(item) => {
                copy(&self.0.stock(), item, stock);
                Made::There
            }
            Err(_) => Made::Here,
        }
    }

    async fn last_good(&self, filter: &str, stock: &Stock) -> Option<LastGood> {
        let theirs = self.0.stock();
        let all = stock.read_last_good(&theirs.last_good().unwrap()).unwrap();
        let component = all.component(filter)?;
        theirs.items().into_iter().filter(|item| item.component == component).for_each(|item| {
            copy(&theirs, item, stock);
        });
        Some(all)
    }
}

fn copy(from: &Stock, item: Item, to: &Stock) {
    let mut bytes = Vec::new();
    std::fs::File::open(from.path(&item).unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
    let mut intake = to.intake(item).unwrap();
    intake.write(&bytes).unwrap();
    intake.finish().unwrap();
}

#[tokio::test]
async fn one_replica_compiles_for_both() {
    let first = Bench::new();
    let second = Bench::beside(Arc::new(Beside(first.artifacts().clone())));
    let image = first.images("1");
    let pushed = push(&image, headers(1)).await;
    let ask = || wanted(vec![policy(&image, CONFIG, None)]);
    let (a, b) = tokio::join!(first.want(ask()), second.want(ask()));
    assert_eq!(running(&a), running(&b));
    assert_eq!(running(&b).0, pushed.component);
    assert_eq!((first.compilations(), second.compilations()), (1, 0));
    assert_eq!(a.artifacts.keys().collect::<Vec<_>>(), b.artifacts.keys().collect::<Vec<_>>());

    // Where the first has no such component and gets none, the second does not wait for ever.
    let own = second.images("1");
    push(&own, headers(2)).await;
    let facts = second.want(wanted(vec![policy(&own, CONFIG, None)])).await;
    assert_ne!(running(&facts).0, pushed.component);
    assert_eq!((first.compilations(), second.compilations()), (1, 1));
}

#[tokio::test]
async fn what_the_registry_gave_one_replica_reaches_the_other() {
    let first = Bench::new();
    let image = first.images("1");
    push(&image, headers(1)).await;
    let ask = || wanted(vec![policy(&image, CONFIG, None)]);
    let facts = first.want(ask()).await;
    std::fs::remove_dir_all(first.folder.path().join("images")).unwrap();

    let second = Bench::beside(Arc::new(Beside(first.artifacts().clone())));
    let late = second.want(ask()).await;
    assert_eq!(running(&late), running(&facts));
    assert!(told(&late).contains("ImageUnavailable"), "{}", told(&late));
    assert_eq!(second.compilations(), 0);
    // Not for another object: what that one asks for is not known.
    let other = second.want(wanted(vec![policy(&first.images("2"), CONFIG, None)])).await;
    assert_eq!(running(&other), running(&facts), "the last good version runs on");
}
