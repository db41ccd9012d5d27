use super::*;

fn plain(interest: &mut Interest, subject: &str) -> Vec<SubId> {
    let mut ids = interest.lookup(subject.as_bytes()).plain.clone();
    ids.sort_unstable();
    ids
}

#[test]
fn finds_literals_and_wildcards() {
    let mut interest = Interest::new(1, true);
    for (id, pattern) in ["a.b", "a.*", "a.>", "*.b", ">", "a.b.c", "a.b.>"].iter().enumerate() {
        interest.insert(pattern.as_bytes(), None, id as u32);
    }
    assert_eq!(plain(&mut interest, "a.b"), [0, 1, 2, 3, 4]);
    assert_eq!(plain(&mut interest, "a.b.c"), [2, 4, 5, 6]);
    assert_eq!(plain(&mut interest, "x"), [4]);
}

/// A publish to `foo.*` is taken literally: it reaches `foo.*` and `foo.>` as any third subject would,
/// once each.
#[test]
fn a_published_star_is_a_character() {
    let mut interest = Interest::new(1, true);
    interest.insert(b"foo.*", None, 1);
    interest.insert(b"foo.>", None, 2);
    interest.insert(b"foo.bar", None, 3);
    assert_eq!(plain(&mut interest, "foo.*"), [1, 2]);
    assert_eq!(plain(&mut interest, "foo.>"), [1, 2]);
}

#[test]
fn one_group_whatever_the_pattern() {
    let mut interest = Interest::new(1, true);
    interest.insert(b"t.*", Some(b"g"), 1);
    interest.insert(b"t.q", Some(b"g"), 2);
    interest.insert(b"t.q", Some(b"h"), 3);
    let found = interest.lookup(b"t.q");
    assert!(found.plain.is_empty());
    let mut groups: Vec<_> = found.groups.iter().map(|g| (g.name.to_vec(), g.members.clone())).collect();
    groups.sort();
    groups[0].1.sort_unstable();
    assert_eq!(groups, [(b"g".to_vec(), vec![1, 2]), (b"h".to_vec(), vec![3])]);
}

/// Random subscriptions come, go and are looked up, next to a list that is searched with
/// [`subject::matches`]; with and without the cache the answers must be the same.
#[test]
fn agrees_with_a_plain_list() {
    for caching in [true, false] {
        let mut interest = Interest::new(7, caching);
        let mut list: Vec<Option<Held>> = Vec::new();
        let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
        for _ in 0..20_000 {
            match draw.below(4) {
                0 => {
                    let (pattern, queue) =
                        (draw.pattern(true), (draw.below(3) == 0).then(|| vec![b'q', draw.below(3) as u8]));
                    let place = interest.insert(&pattern, queue.as_deref(), list.len() as u32);
                    list.push(Some((pattern, queue, place)));
                }
                1 if !list.is_empty() => {
                    let at = draw.below(list.len() as u64) as usize;
                    if let Some((pattern, queue, place)) = list[at].take()
                        && let Some(moved) = interest.remove(&pattern, queue.as_deref(), place)
                    {
                        list[moved as usize].as_mut().expect("it moved, so it is there").2 = place;
                    }
                }
                _ => {
                    let subject = draw.pattern(false);
                    let found = interest.lookup(&subject);
                    let mut all: Vec<u32> = found.plain.clone();
                    all.extend(found.groups.iter().flat_map(|g| g.members.iter().copied()));
                    all.sort_unstable();
                    let wanted: Vec<u32> = (0..list.len() as u32)
                        .filter(|&i| list[i as usize].as_ref().is_some_and(|(p, ..)| subject::matches(p, &subject)))
                        .collect();
                    assert_eq!(all, wanted, "{}", String::from_utf8_lossy(&subject));
                }
            }
        }
        assert_eq!(interest.len(), list.iter().flatten().count());
        assert_eq!(interest.counters().cache_hits > 0, caching);
    }
}

/// More subjects than the cache has places: answers stay right and the table keeps its bound.
#[test]
fn the_cache_keeps_its_bound() {
    let mut interest = Interest::new(3, true);
    interest.insert(b"s.*", None, 9);
    for round in 0..2 {
        for i in 0..100_000u32 {
            assert_eq!(interest.lookup(format!("s.{i}").as_bytes()).plain, [9], "round {round}");
        }
    }
    assert!(interest.cached() <= 32_768);
    interest.insert(b"s.5", None, 10);
    assert_eq!(plain(&mut interest, "s.5"), [9, 10]);
}

/// Pattern, queue and place of a subscription that is there.
type Held = (Vec<u8>, Option<Vec<u8>>, Place);

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn pattern(&mut self, wild: bool) -> Vec<u8> {
        let count = 1 + self.below(4);
        let mut tokens: Vec<&[u8]> = Vec::new();
        for i in 0..count {
            tokens.push(match self.below(if wild { 6 } else { 4 }) {
                0 => b"a",
                1 => b"b",
                2 => b"c",
                3 => b"dd",
                4 => b"*",
                _ if i + 1 == count => b">",
                _ => b"*",
            });
        }
        tokens.join(&b'.')
    }
}
