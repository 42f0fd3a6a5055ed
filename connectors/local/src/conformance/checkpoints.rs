//! What every checkpoint store promises.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use millstream_core::ErrorKind;
use millstream_core::checkpoint::{CheckpointStore, Created, Object};

use crate::checkpoints::Holds;

/// Below this everything of the suite lies.
const PREFIX: &str = "conformance/";
/// How many create one name at once.
const CREATORS: u8 = 8;
/// How often they do.
const RACES: usize = 12;
/// A large object: more than one request or one buffer takes.
const LARGE: usize = 20 << 20;

/// The promises of `CheckpointStore`. `open` opens the store; opened again, it has the same objects. Creators race on
/// threads where the runtime has several. What the suite has created is deleted at its end.
pub async fn checkpoints(open: impl AsyncFn() -> Arc<dyn CheckpointStore>, holds: Holds) {
    let left = open().await.list(PREFIX).await.unwrap();
    assert_eq!(left, [], "the suite begins with an empty store");
    create_get_delete(&open).await;
    lists_by_prefix(&open).await;
    names(&open).await;
    sizes(&open).await;
    for size in [32, 300 << 10] {
        for race in 0..RACES {
            one_creator_wins(&open, &format!("{PREFIX}race/{size}/{race}.claim"), size).await;
        }
    }
    deleting_makes_no_trouble_for_creating(&open).await;
    holding(&open, holds).await;
    let store = open().await;
    for object in store.list(PREFIX).await.unwrap() {
        store.delete(&object.name).await.unwrap();
    }
    assert_eq!(store.list(PREFIX).await.unwrap(), [], "what is deleted is not listed");
}

fn name(name: &str) -> String {
    format!("{PREFIX}{name}")
}

async fn listed(store: &dyn CheckpointStore, prefix: &str) -> Vec<String> {
    store.list(&name(prefix)).await.unwrap().into_iter().map(|o| o.name[PREFIX.len()..].to_owned()).collect()
}

async fn create_get_delete(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>) {
    let store = open().await;
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"another"));
    let a = name("basic/a");
    assert_eq!(store.get(&a).await.unwrap(), None, "what is not there is not an error");
    store.delete(&a).await.expect("what is not there is deleted already");
    assert_eq!(store.create(&a, first.clone()).await.unwrap(), Created::New);
    assert_eq!(store.create(&a, second.clone()).await.unwrap(), Created::Exists);
    assert_eq!(store.get(&a).await.unwrap(), Some(first.clone()), "an object never changes");
    assert_eq!(store.create(&a, first.clone()).await.unwrap(), Created::Exists, "also with the same bytes");
    assert_eq!(store.get(&a).await.unwrap(), Some(first.clone()), "an object never changes");
    drop(store);

    let store = open().await;
    assert_eq!(store.get(&a).await.unwrap(), Some(first), "an object is there when the store is opened again");
    assert_eq!(store.create(&a, second.clone()).await.unwrap(), Created::Exists, "and still has its name");
    for _ in 0..2 {
        store.delete(&a).await.expect("deleting is idempotent");
        assert_eq!(store.get(&a).await.unwrap(), None);
    }
    assert_eq!(open().await.get(&a).await.unwrap(), None, "it is deleted for all");
    assert_eq!(store.create(&a, second.clone()).await.unwrap(), Created::New, "a name is free when it is deleted");
    assert_eq!(open().await.get(&a).await.unwrap(), Some(second));
    assert!(store.place(&a).contains("basic/a") && !store.location().is_empty(), "people can find it");
}

async fn lists_by_prefix(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>) {
    let store = open().await;
    let names = ["l/10.x", "l/9.x", "l/a/b/c", "l/a/b.c", "l/a-b", "l/B", "l/a/0", "la", "l_"];
    for (i, object) in names.iter().enumerate() {
        assert_eq!(store.create(&name(object), vec![b'x'; i].into()).await.unwrap(), Created::New);
    }
    let store = open().await;
    let all = ["l/10.x", "l/9.x", "l/B", "l/a-b", "l/a/0", "l/a/b.c", "l/a/b/c"];
    assert_eq!(listed(&*store, "l/").await, all, "all below a prefix, by name, byte by byte");
    assert_eq!(listed(&*store, "l").await, [&all[..], &["l_", "la"]].concat(), "a prefix need not end with a part");
    assert_eq!(listed(&*store, "l/a").await, all[3..]);
    assert_eq!(listed(&*store, "l/a/").await, all[4..]);
    assert_eq!(listed(&*store, "l/a/b").await, all[5..]);
    assert_eq!(listed(&*store, "l/a/b/c").await, all[6..], "the whole name is a prefix");
    for none in ["l/a/b/c/", "l/b", "l//", "x", "l/a/b/cc"] {
        assert_eq!(listed(&*store, none).await, [""; 0], "{none}");
    }
    for outside in ["../", "/", ".", "conformance/../", "conformance//"] {
        assert_eq!(store.list(outside).await.unwrap(), [], "no name begins with `{outside}`");
    }
    let everything = store.list("").await.unwrap();
    assert!(everything.is_sorted() && everything.iter().any(|o| o.name == name("l/B")));
    let sizes: Vec<Object> = store.list(&name("l/a/")).await.unwrap();
    assert_eq!(sizes.iter().map(|o| o.bytes).collect::<Vec<_>>(), [6, 3, 2], "with their sizes in bytes");
    store.delete(&name("l/a/b.c")).await.unwrap();
    assert_eq!(listed(&*store, "l/a/").await, ["l/a/0", "l/a/b/c"], "a neighbour stays");
}

async fn names(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>) {
    let store = open().await;
    let long = "n".repeat(200);
    let deep = vec!["d"; 40].join("/");
    for (i, good) in ["-", "_", "0", "x..y", "y.", "A-Z_09.tmp", &long, &deep].into_iter().enumerate() {
        let (good, bytes) = (name(&format!("names/{good}")), Bytes::from(vec![b'n'; i + 1]));
        assert_eq!(store.create(&good, bytes.clone()).await.unwrap(), Created::New, "{good}");
        assert_eq!(store.get(&good).await.unwrap(), Some(bytes), "{good}");
        assert_eq!(store.list(&good).await.unwrap().len(), 1, "{good}");
    }
    // A part of a name is no object, nor is what would be inside one.
    for none in ["names", "names/0/0", "names/d/d"] {
        assert_eq!(store.get(&name(none)).await.unwrap(), None, "{none}");
        store.delete(&name(none)).await.expect(none);
    }
    assert_eq!(listed(&*store, "names/").await.len(), 8, "deleting a part of a name deletes nothing");
    for bad in
        ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".a", "a/.b", "a b", "a\\b", "a\0b", "ä", "a:b"]
    {
        let kinds = [
            store.create(bad, Bytes::new()).await.err().map(|e| e.kind()),
            store.get(bad).await.err().map(|e| e.kind()),
            store.delete(bad).await.err().map(|e| e.kind()),
        ];
        assert_eq!(kinds, [Some(ErrorKind::Bug); 3], "`{bad}` is not a name");
    }
}

async fn sizes(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>) {
    for size in [0, 1, (64 << 10) - 1, 64 << 10, LARGE] {
        let bytes: Bytes = (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>().into();
        let object = name(&format!("sizes/{size}"));
        assert_eq!(open().await.create(&object, bytes.clone()).await.unwrap(), Created::New);
        let store = open().await;
        assert!(store.get(&object).await.unwrap() == Some(bytes), "{size} bytes come back");
        assert_eq!(store.list(&object).await.unwrap(), [Object { name: object, bytes: size as u64 }]);
    }
}

/// Whether these are the whole bytes of a creator.
fn whole(bytes: &Bytes, size: usize) -> bool {
    bytes.len() == size && bytes.iter().all(|b| *b == bytes[0])
}

async fn one_creator_wins(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>, object: &str, size: usize) {
    let start = Arc::new(tokio::sync::Barrier::new(usize::from(CREATORS) + 1));
    let mut creators = Vec::new();
    for creator in 0..CREATORS {
        let (store, start, object) = (open().await, start.clone(), object.to_owned());
        creators.push(tokio::spawn(async move {
            start.wait().await;
            let created = store.create(&object, vec![creator; size].into()).await.unwrap();
            let seen = store.get(&object).await.unwrap().expect("it is there for whoever lost, too");
            (creator, created, seen)
        }));
    }
    let (store, watched) = (open().await, object.to_owned());
    let reader = tokio::spawn(async move {
        start.wait().await;
        loop {
            if let Some(bytes) = store.get(&watched).await.unwrap() {
                return bytes;
            }
            tokio::task::yield_now().await;
        }
    });
    let first_seen = reader.await.unwrap();
    let outcomes: Vec<_> = join_all(creators).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<u8> = outcomes.iter().filter(|(_, c, _)| *c == Created::New).map(|(n, ..)| *n).collect();
    assert_eq!(winners.len(), 1, "exactly one of {CREATORS} creators is told that it was the one: {winners:?}");
    let seen = outcomes.iter().map(|(.., seen)| seen).chain([&first_seen]);
    for bytes in seen {
        assert!(whole(bytes, size), "nobody reads a part of an object, or a mixture: {} bytes", bytes.len());
        assert_eq!(bytes[0], winners[0], "the bytes are the winner's");
    }
    assert_eq!(store_of(open, object).await, vec![winners[0]; size]);
    assert_eq!(open().await.list(object).await.unwrap().len(), 1, "and nothing else is left");
}

async fn store_of(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>, object: &str) -> Bytes {
    open().await.get(object).await.unwrap().expect("it is there")
}

/// One deletes what it has created while others create beside it, and one lists.
async fn deleting_makes_no_trouble_for_creating(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>) {
    let mut tasks = Vec::new();
    for task in 0..4 {
        let store = open().await;
        tasks.push(tokio::spawn(async move {
            for round in 0..25 {
                let object = name(&format!("shared/folder/{task}-{round}"));
                let created = store.create(&object, Bytes::from_static(b"x")).await;
                assert_eq!(created.expect("a name that nobody else has"), Created::New);
                store.list(&name("shared/")).await.expect("a list beside deletions");
                store.delete(&object).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(listed(&*open().await, "shared/").await, [""; 0]);
}

async fn holding(open: &impl AsyncFn() -> Arc<dyn CheckpointStore>, holds: Holds) {
    let (store, other) = (open().await, open().await);
    let before = store.list("").await.unwrap();
    let hold = store.hold("the first pipeline").await.unwrap();
    for second in [&other, &store] {
        match (holds, second.hold("the second pipeline").await) {
            (Holds::Shared, Ok(_)) => {}
            (Holds::Exclusive, Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                assert!(error.message().contains("the first pipeline"), "it says who holds it: {error}");
            }
            (_, answer) => panic!("of {holds:?} holds a second one is told {answer:?}"),
        }
    }
    assert_eq!(store.list("").await.unwrap(), before, "a hold is not an object");
    let object = name("held/0");
    let created = other.create(&object, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(created, Created::New, "a hold keeps nobody from creating: claims do that");
    drop(hold);
    let again = other.hold("the second pipeline").await.expect("a store that was let go can be held");
    assert!(store.get(&object).await.unwrap().is_some(), "a new holder finds all objects");
    drop(again);
    store.hold("the first pipeline again").await.expect("also by who has held it before");
}
