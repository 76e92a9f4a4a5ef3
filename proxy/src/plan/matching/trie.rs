//! Which prefixes does a path begin with? A radix tree, so that the answer costs the length of the path.
//!
//! It does not know rules: it hands out the numbers that were put in.

/// Built once, then only read.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// What comes after the parent's text.
    label: Box<[u8]>,
    /// By the first byte of their labels, in order.
    children: Vec<(u8, usize)>,
    numbers: Vec<u32>,
}

impl Trie {
    /// Numbers under one prefix keep the order in which they come.
    pub(super) fn insert(&mut self, prefix: &[u8], number: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let (mut node, mut rest) = (0, prefix);
        while let Some(first) = rest.first() {
            let place = self.nodes[node].children.binary_search_by_key(first, |(byte, _)| *byte);
            let child = match place {
                Ok(place) => self.nodes[node].children[place].1,
                Err(place) => {
                    let child = self.push(rest);
                    self.nodes[node].children.insert(place, (*first, child));
                    child
                }
            };
            let common = common_length(&self.nodes[child].label, rest);
            if common < self.nodes[child].label.len() {
                self.split(child, common);
            }
            (node, rest) = (child, &rest[common..]);
        }
        self.nodes[node].numbers.push(number);
    }

    /// Calls `found` with the numbers of each prefix of `path`, shortest first.
    pub(super) fn walk<'t>(&'t self, path: &[u8], mut found: impl FnMut(&'t [u32])) {
        let Some(mut node) = self.nodes.first() else { return };
        let mut rest = path;
        loop {
            if !node.numbers.is_empty() {
                found(&node.numbers);
            }
            let Some(first) = rest.first() else { return };
            let Ok(place) = node.children.binary_search_by_key(first, |(byte, _)| *byte) else { return };
            let child = &self.nodes[node.children[place].1];
            let Some(after) = rest.strip_prefix(&*child.label) else { return };
            (node, rest) = (child, after);
        }
    }

    fn push(&mut self, label: &[u8]) -> usize {
        self.nodes.push(Node { label: label.into(), ..Node::default() });
        self.nodes.len() - 1
    }

    /// `node` keeps the first `length` bytes of its label; a new child takes the rest and all that it had.
    fn split(&mut self, node: usize, length: usize) {
        let label = std::mem::take(&mut self.nodes[node].label);
        let lower = self.push(&label[length..]);
        self.nodes[lower].children = std::mem::take(&mut self.nodes[node].children);
        self.nodes[lower].numbers = std::mem::take(&mut self.nodes[node].numbers);
        self.nodes[node].children = vec![(label[length], lower)];
        self.nodes[node].label = label[..length].into();
    }
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_a_path() {
        let mut trie = Trie::default();
        for (number, prefix) in ["/", "/ab", "/abc", "/abd", "", "/ab", "/x/y"].into_iter().enumerate() {
            trie.insert(prefix.as_bytes(), number as u32);
        }
        let rows: &[(&str, &[&[u32]])] = &[
            ("", &[&[4]]),
            ("/", &[&[4], &[0]]),
            ("/abcd", &[&[4], &[0], &[1, 5], &[2]]),
            ("/ab", &[&[4], &[0], &[1, 5]]),
            ("/x/", &[&[4], &[0]]),
            ("/x/yz", &[&[4], &[0], &[6]]),
            ("x", &[&[4]]),
        ];
        for (path, want) in rows {
            let mut found = Vec::new();
            trie.walk(path.as_bytes(), |numbers| found.push(numbers));
            assert_eq!(found, *want, "{path:?}");
        }
    }
}
